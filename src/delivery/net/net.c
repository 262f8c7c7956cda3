/*
 * net.c
 *		The delivery worker's own shared object: its entry point, and the sockets of all
 *		transports in one epoll file.
 *
 * It is loaded into that process only.  All it can do with the rest of the extension
 * is what MaDeliveryApi offers.  The epoll file is itself watched by the worker's wait
 * beside the latch, so one wait serves the database and the network.
 */
#include "delivery/net/net.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/epoll.h>
#include <unistd.h>

#include "portability/instr_time.h"

PG_MODULE_MAGIC;

#define EVENTS 64
#define KEPT_MEMORY (64 * 1024 * 1024)
#define ROUNDS 128				/* of events, before the database has its turn */
#define MAX_IDLE_CONNECTIONS 1000L
#define MANY_FILES 4096			/* what is remembered of sockets by their numbers */
#define OF_CURL (UINT64CONST(1) << 63)	/* epoll's data is libcurl's socket, not a NetWatch */

extern PGDLLEXPORT void ma_delivery_main(Datum arg);

MaDeliveryApi *net_api = NULL;
CURLM	   *net_multi = NULL;

static int	epoll_file = -1;
static int64 curl_due = -1;		/* when libcurl wants to be called; -1: it does not */
static bool wanted[MANY_FILES];	/* libcurl waits for the socket */
static int	entered = 0;		/* net_enter() without net_leave() */
static sigset_t mask;			/* outside of them */

static void start(void);
static int	on_socket(CURL *easy, curl_socket_t file, int what, void *arg, void *of_socket);
static int	on_timer(CURLM *multi, long timeout, void *arg);
static void action(curl_socket_t file, int what);
static void on_event(curl_socket_t file, uint32 events);
static void finish_transfers(void);
static int	network_file(void);
static long network_timeout(void);
static void network_run(void);
static void network_end(bool now);

static const MaTransport smtp = {.kind = MA_SERVER_SMTP, .begin = net_smtp_begin};
static const MaTransport http = {.kind = MA_SERVER_HTTP, .begin = net_http_begin};
static const MaNetwork network = {network_file, network_timeout, network_run, network_end};

/* Entry point of the background worker. */
void
ma_delivery_main(Datum arg)
{
	net_api = *(MaDeliveryApi **) find_rendezvous_variable(MA_DELIVERY_RENDEZVOUS);

	if (net_api == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_MA_NOT_READY),
				 errmsg("library \"marketing_automation_net\" is version %s, marketing_automation is another one",
						MA_VERSION),
				 errhint("Restart the server after installing a new version.")));
	start();
	net_api->add_transport(&smtp);
	net_api->add_transport(&http);
	net_api->set_network(&network);
	net_api->run();
}

static void
start(void)
{
	bool		started;

#ifdef __GLIBC__
	/* What a batch has used is not given back to the kernel before the next one wants it. */
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY / 4);
#endif
	epoll_file = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_file < 0)
		ereport(FATAL,
				(errcode_for_socket_access(),
				 errmsg("could not create an epoll file: %m")));
	net_enter();
	started = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK &&
		(net_multi = curl_multi_init()) != NULL &&
		curl_multi_setopt(net_multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
		curl_multi_setopt(net_multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
		curl_multi_setopt(net_multi, CURLMOPT_MAXCONNECTS, MAX_IDLE_CONNECTIONS) == CURLM_OK;
	net_leave();
	if (!started)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not start libcurl")));
}

void
net_enter(void)
{
	sigset_t	all;

	if (entered++ > 0)
		return;
	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &mask);
}

void
net_leave(void)
{
	if (--entered == 0)
		(void) sigprocmask(SIG_SETMASK, &mask, NULL);
}

int64
net_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* ---- sockets ---- */

/*
 * libcurl says what it waits for at a socket of its own.  One that it waits for no more is
 * mostly that of the next request: it stays in the epoll file until it has an event (on_event)
 * or is closed, so that each request needs one call instead of three.
 */
static int
on_socket(CURL *easy, curl_socket_t file, int what, void *arg, void *of_socket)
{
	struct epoll_event event = {0};

	if (file < MANY_FILES)
		wanted[file] = what != CURL_POLL_REMOVE;
	if (what == CURL_POLL_REMOVE)
	{
		if (file >= MANY_FILES)
			(void) epoll_ctl(epoll_file, EPOLL_CTL_DEL, file, NULL);
		return 0;
	}
	event.events = ((what & CURL_POLL_IN) ? EPOLLIN : 0) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
	event.data.u64 = OF_CURL | (uint32) file;
	if (epoll_ctl(epoll_file, EPOLL_CTL_MOD, file, &event) != 0)
		(void) epoll_ctl(epoll_file, EPOLL_CTL_ADD, file, &event);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout, void *arg)
{
	curl_due = timeout < 0 ? -1 : net_now() + timeout;
	return 0;
}

void
net_watch(NetWatch *watch)
{
	struct epoll_event event = {.events = EPOLLIN};

	event.data.ptr = watch;
	watch->writing = false;
	if (epoll_ctl(epoll_file, EPOLL_CTL_ADD, watch->file, &event) != 0)
		(void) epoll_ctl(epoll_file, EPOLL_CTL_MOD, watch->file, &event);
}

void
net_watch_change(NetWatch *watch, bool writing)
{
	struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0)};

	if (watch->writing == writing)
		return;
	watch->writing = writing;
	event.data.ptr = watch;
	(void) epoll_ctl(epoll_file, EPOLL_CTL_MOD, watch->file, &event);
}

void
net_unwatch(NetWatch *watch)
{
	(void) epoll_ctl(epoll_file, EPOLL_CTL_DEL, watch->file, NULL);
}

static void
action(curl_socket_t file, int what)
{
	int			running;

	net_enter();
	(void) curl_multi_socket_action(net_multi, file, what, &running);
	finish_transfers();
	net_leave();
}

/* One that nobody waits for has been closed by its server, say. */
static void
on_event(curl_socket_t file, uint32 events)
{
	if (file < MANY_FILES && !wanted[file])
	{
		(void) epoll_ctl(epoll_file, EPOLL_CTL_DEL, file, NULL);
		return;
	}
	action(file, ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
		   ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
		   ((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0));
}

static void
finish_transfers(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(net_multi, &left)) != NULL)
	{
		NetTransfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		transfer->done(transfer, message->data.result);
	}
}

/* ---- what the worker's wait calls ---- */

static int
network_file(void)
{
	return epoll_file;
}

static long
network_timeout(void)
{
	long		timeouts[] = {net_smtp_timeout(), net_http_timeout(),
		curl_due < 0 ? -1 : (long) Max(curl_due - net_now(), 0)};
	long		timeout = -1;

	for (int i = 0; i < lengthof(timeouts); i++)
		if (timeouts[i] >= 0)
			timeout = timeout < 0 ? timeouts[i] : Min(timeout, timeouts[i]);
	return timeout;
}

/* One event at a time: serving one may close the socket of another. */
static void
network_run(void)
{
	net_enter();
	for (int round = 0; round < ROUNDS; round++)
	{
		struct epoll_event event;

		if (curl_due >= 0 && curl_due <= net_now())
		{
			curl_due = -1;
			action(CURL_SOCKET_TIMEOUT, 0);
		}
		if (epoll_wait(epoll_file, &event, 1, 0) != 1)
			break;
		if ((event.data.u64 & OF_CURL) != 0)
			on_event((curl_socket_t) (event.data.u64 & 0xffffffff), event.events);
		else
		{
			NetWatch   *watch = event.data.ptr;

			watch->ready(watch, (event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0,
						 (event.events & EPOLLOUT) != 0);
		}
	}
	net_smtp_run();
	net_http_run();
	net_leave();
}

static void
network_end(bool now)
{
	net_smtp_end(now);
	net_http_end(now);
}
