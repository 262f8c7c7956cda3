/*
 * main.c
 *		marketing-web: options, the one loop, and the end.
 *
 * The loop waits for the clients' epoll, the sockets of PostgreSQL and the signals, all in
 * one place.  On SIGTERM no new clients come in, those that ask for nothing are closed, what
 * is on its way is answered within the time limit, and the program ends.
 */
#include "web/server/server.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "marketing-web"
#define EVENTS 64
#define HTTP_EVENT UINT32_MAX
#define SIGNAL_EVENT (UINT32_MAX - 1)
#define OTHER_FILES 50			/* besides the sockets of clients and connections */

static void usage(void);
static int	number_option(const char *name, const char *text, int least, int most);
static void listen_option(Options *options, const char *text);
static void read_options(Options *options, int argc, char **argv);
static int	open_signals(void);
static void wait_for(int epoll, int descriptor, uint32_t what);
static void loop(int epoll, int http, int signals, const Options *options);

Milliseconds
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (Milliseconds) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
log_line(const char *format,...)
{
	char		line[1024];
	char		at[32];
	time_t		now = time(NULL);
	struct tm	parts;
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", gmtime_r(&now, &parts));
	fprintf(stderr, "%s UTC " PROGRAM ": %s\n", at, line);
}

void
fail(const char *format,...)
{
	va_list		arguments;

	fprintf(stderr, PROGRAM ": ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(1);
}

void *
must_allocate(size_t size)
{
	void	   *memory = malloc(size > 0 ? size : 1);

	if (memory == NULL)
		fail("out of memory");
	return memory;
}

void *
must_resize(void *memory, size_t size)
{
	memory = realloc(memory, size > 0 ? size : 1);
	if (memory == NULL)
		fail("out of memory");
	return memory;
}

char *
must_copy(const char *text)
{
	size_t		size = strlen(text) + 1;

	return memcpy(must_allocate(size), text, size);
}

static void
usage(void)
{
	printf(PROGRAM " " MA_VERSION ": answers the links in messages of marketing_automation.\n\n"
		   "  -d, --database TEXT      connection string; default: libpq's environment (PGHOST ...)\n"
		   "  -l, --listen HOST:PORT   where to listen; default 127.0.0.1:8480\n"
		   "  -c, --connections N      to PostgreSQL, at most 100; default 4\n"
		   "  -n, --clients N          at once; default 1000\n"
		   "  -a, --per-address N      ... of one address; default 0: as many as --clients\n"
		   "  -t, --timeout SECONDS    for a whole request, and for its answer; default 15\n"
		   "  -x, --trust-proxy        the client's address is the last one of X-Forwarded-For\n"
		   "  -v, --log-requests       a line for each request, without what is secret in it\n"
		   "  -h, --help\n\n"
		   "It speaks plain HTTP: put the web server that has your certificate before it.\n"
		   "The role it connects as needs nothing but to call marketing.web_request().\n");
}

static int
number_option(const char *name, const char *text, int least, int most)
{
	char	   *end;
	long		value = strtol(text, &end, 10);

	if (end == text || *end != '\0' || value < least || value > most)
		fail("--%s must be a number from %d to %d, not \"%s\"", name, least, most, text);
	return (int) value;
}

/* HOST:PORT, or [HOST]:PORT where the host is an address of IPv6. */
static void
listen_option(Options *options, const char *text)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char	   *host = must_copy(text);
	char	   *port = strrchr(host, ':');
	char	   *name = host;
	int			code;

	if (port == NULL || port[1] == '\0')
		fail("--listen must be HOST:PORT, not \"%s\"", text);
	*port++ = '\0';
	if (name[0] == '[' && name[strlen(name) - 1] == ']')
	{
		name[strlen(name) - 1] = '\0';
		name++;
	}
	code = getaddrinfo(name, port, &hints, &found);
	if (code != 0)
		fail("--listen \"%s\": %s", text, gai_strerror(code));
	memcpy(&options->address, found->ai_addr, found->ai_addrlen);
	options->address_length = found->ai_addrlen;
	freeaddrinfo(found);
	free(host);
}

static void
read_options(Options *options, int argc, char **argv)
{
	static const struct option names[] = {
		{"database", required_argument, NULL, 'd'},
		{"listen", required_argument, NULL, 'l'},
		{"connections", required_argument, NULL, 'c'},
		{"clients", required_argument, NULL, 'n'},
		{"per-address", required_argument, NULL, 'a'},
		{"timeout", required_argument, NULL, 't'},
		{"trust-proxy", no_argument, NULL, 'x'},
		{"log-requests", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	listen_option(options, "127.0.0.1:8480");
	while ((option = getopt_long(argc, argv, "d:l:c:n:a:t:xvh", names, NULL)) != -1)
		switch (option)
		{
			case 'd':
				options->database = optarg;
				break;
			case 'l':
				listen_option(options, optarg);
				break;
			case 'c':
				options->connections = number_option("connections", optarg, 1, 100);
				break;
			case 'n':
				options->clients = number_option("clients", optarg, 1, 100000);
				break;
			case 'a':
				options->per_address = number_option("per-address", optarg, 0, 100000);
				break;
			case 't':
				options->timeout = number_option("timeout", optarg, 1, 300);
				break;
			case 'x':
				options->trust_proxy = true;
				break;
			case 'v':
				options->log_requests = true;
				break;
			case 'h':
				usage();
				exit(0);
			default:
				fprintf(stderr, "Try " PROGRAM " --help.\n");
				exit(2);
		}
	if (optind < argc)
		fail("what is \"%s\"? Options begin with a dash, see --help", argv[optind]);
}

/* SIGTERM and SIGINT as a descriptor; a client that is gone is no signal. */
static int
open_signals(void)
{
	sigset_t	set;
	int			descriptor;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (descriptor < 0)
		fail("signalfd: %s", strerror(errno));
	return descriptor;
}

static void
wait_for(int epoll, int descriptor, uint32_t what)
{
	struct epoll_event event = {.events = EPOLLIN};

	event.data.u32 = what;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0)
		fail("epoll: %s", strerror(errno));
}

/* Each client needs a socket: as many as the system allows, if fewer than wished. */
static void
have_files(Options *options)
{
	struct rlimit limit;
	rlim_t		wanted = (rlim_t) options->clients + options->connections + OTHER_FILES;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < wanted)
	{
		options->clients = (int) limit.rlim_cur - options->connections - OTHER_FILES;
		if (options->clients < 1)
			fail("the limit of open files, %ld, is too low", (long) limit.rlim_cur);
		log_line("at most %d clients at once: the limit of open files is %ld", options->clients,
				 (long) limit.rlim_cur);
	}
}

static void
loop(int epoll, int http, int signals, const Options *options)
{
	Milliseconds end = 0;

	for (;;)
	{
		struct epoll_event events[EVENTS];
		int			wait = pool_due();
		int			n;

		connections_close_slow((Milliseconds) options->timeout * 1000);
		http_run();
		if (end != 0 && ((http_clients() == 0 && pool_pending() == 0) || now_ms() > end))
			return;
		if (http_wait() >= 0 && http_wait() < wait)
			wait = http_wait();
		n = epoll_wait(epoll, events, EVENTS, wait);
		for (int i = 0; i < n; i++)
		{
			if (events[i].data.u32 == SIGNAL_EVENT)
			{
				/* Once is enough; unread it would wake us for ever. */
				epoll_ctl(epoll, EPOLL_CTL_DEL, signals, NULL);
				log_line("ending");
				http_quiesce();
				end = now_ms() + (Milliseconds) options->timeout * 1000;
			}
			else if (events[i].data.u32 < SIGNAL_EVENT)
				pool_ready((int) events[i].data.u32);
		}
	}
}

int
main(int argc, char **argv)
{
	Options		options = {.connections = 4, .clients = 1000, .timeout = 15};
	int			epoll;
	int			signals;
	int			http;

	read_options(&options, argc, argv);
	if (geteuid() == 0)
		fail("does not run as root: it needs no rights of the system's");
	have_files(&options);
	signals = open_signals();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		fail("epoll: %s", strerror(errno));
	http = http_start(&options);
	wait_for(epoll, http, HTTP_EVENT);
	wait_for(epoll, signals, SIGNAL_EVENT);
	pool_start(epoll, &options, http_done);
	log_line("ready");
	loop(epoll, http, signals, &options);
	/* libmicrohttpd aborts if a client is still suspended. */
	pool_stop();
	http_run();
	http_stop();
	return 0;
}
