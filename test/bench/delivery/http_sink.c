/*
 * http_sink.c
 *		A server that takes any request and answers 200, as fast as one process can, so
 *		that what is measured is who asks.  http_sink PORT FILE MS: the file comes into
 *		being when it listens, and each answer goes MS milliseconds after its request, as
 *		that of a provider somewhere else does.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES 1024
#define ROOM 65536
#define EVENTS 64
#define WAITING 65536			/* answers, more than there can be connections */

/* What has come of a request that is not whole yet. */
typedef struct Client
{
	char		data[ROOM + 1];
	size_t		length;
} Client;

/* An answer that is due later. */
typedef struct Later
{
	double		due;			/* ms */
	int			file;
} Later;

static Client *clients[MAX_FILES];
static Later later[WAITING];	/* a ring, in the order of their times */
static unsigned first = 0;
static unsigned count = 0;
static double delay;			/* ms */
static const char answer[] =
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"1\"}";

static double
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void
reply(int file)
{
	if (write(file, answer, sizeof(answer) - 1) < 0)
		perror("http_sink");
}

/* Sends what is due; returns how long the next one is to wait, as epoll_wait takes it. */
static int
reply_due(void)
{
	double		left = 0;

	while (count > 0 && (left = later[first].due - now_ms()) <= 0)
	{
		reply(later[first].file);
		first = (first + 1) % WAITING;
		count--;
	}
	return count == 0 ? -1 : (int) left;
}

/* Octets of the first request that is whole; 0: none is. */
static size_t
whole_request(Client *client)
{
	char	   *end;
	char	   *length;
	size_t		total;

	client->data[client->length] = '\0';
	end = strstr(client->data, "\r\n\r\n");
	if (end == NULL)
		return 0;
	length = strcasestr(client->data, "\r\nContent-Length:");
	total = end + 4 - client->data;
	if (length != NULL && length < end)
		total += strtoul(length + 17, NULL, 10);
	return total <= client->length ? total : 0;
}

static void
serve(int epoll, int file)
{
	Client	   *client = clients[file];
	ssize_t		n = read(file, client->data + client->length, ROOM - client->length);
	size_t		taken;

	if (n <= 0)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, file, NULL);
		close(file);
		return;
	}
	client->length += n;
	while ((taken = whole_request(client)) > 0)
	{
		if (delay > 0 && count < WAITING)
			later[(first + count++) % WAITING] = (Later) {now_ms() + delay, file};
		else
			reply(file);
		client->length -= taken;
		memmove(client->data, client->data + taken, client->length);
	}
}

static void
welcome(int epoll, int server)
{
	struct epoll_event event = {.events = EPOLLIN};
	int			yes = 1;
	int			file = accept(server, NULL, NULL);

	if (file < 0 || file >= MAX_FILES)
		exit(1);
	setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (clients[file] == NULL)
		clients[file] = malloc(sizeof(Client));
	clients[file]->length = 0;
	event.data.fd = file;
	epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int			epoll = epoll_create1(0);
	int			server = socket(AF_INET, SOCK_STREAM, 0);
	int			yes = 1;
	struct epoll_event events[EVENTS] = {{.events = EPOLLIN}};
	FILE	   *ready;

	if (argc != 4)
		return 2;
	delay = atof(argv[3]);
	address.sin_port = htons(atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(server, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(server, 200) != 0)
	{
		perror("http_sink");
		return 1;
	}
	events[0].data.fd = server;
	epoll_ctl(epoll, EPOLL_CTL_ADD, server, &events[0]);
	ready = fopen(argv[2], "w");
	if (ready == NULL)
		return 1;
	fclose(ready);
	for (;;)
	{
		int			n = epoll_wait(epoll, events, EVENTS, reply_due());

		for (int i = 0; i < n; i++)
			if (events[i].data.fd == server)
				welcome(epoll, server);
			else
				serve(epoll, events[i].data.fd);
	}
}
