/*
 * connections.c
 *		Clients that are connected, in the order in which they began what they are at.
 *
 * libmicrohttpd closes a connection that is silent.  One that sends a byte now and then
 * is never silent, so that a few hundred such clients would hold all places: here a
 * whole request has a time limit, however busy its sender is.
 */
#include "web/server/server.h"

#include <microhttpd.h>
#include <stdlib.h>

typedef struct Client
{
	struct MHD_Connection *connection;
	int			socket;
	bool		asks;			/* a request of it has begun */
	Milliseconds since;
	struct Client *earlier;
	struct Client *later;
} Client;

/* Those we wait for, the longest first; who waits for us is in no list. */
static Client *first = NULL;
static Client *last = NULL;
static bool closing = false;	/* nobody asks a second time */

static void
leave(Client *client)
{
	if (client->earlier == NULL && first != client)
		return;
	if (client->earlier != NULL)
		client->earlier->later = client->later;
	else
		first = client->later;
	if (client->later != NULL)
		client->later->earlier = client->earlier;
	else
		last = client->earlier;
	client->earlier = client->later = NULL;
}

static void
join(Client *client)
{
	leave(client);
	client->since = now_ms();
	client->earlier = last;
	client->later = NULL;
	if (last != NULL)
		last->later = client;
	else
		first = client;
	last = client;
}

static Client *
client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void
connections_notify(void *arg, struct MHD_Connection *connection, void **socket_context,
				   enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;

	(void) arg;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		Client	   *client = must_allocate(sizeof(Client));

		client->connection = connection;
		info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		client->socket = info->connect_fd;
		client->asks = false;
		client->earlier = client->later = NULL;
		join(client);
		*socket_context = client;
	}
	else if (*socket_context != NULL)
	{
		leave(*socket_context);
		free(*socket_context);
		*socket_context = NULL;
	}
}

void
connections_asks(struct MHD_Connection *connection)
{
	Client	   *client = client_of(connection);

	if (client != NULL)
		client->asks = true;
}

void
connections_served(struct MHD_Connection *connection)
{
	Client	   *client = client_of(connection);

	if (client == NULL)
		return;
	client->asks = false;
	join(client);
	if (closing)
		shutdown(client->socket, SHUT_RDWR);
}

void
connections_busy(struct MHD_Connection *connection)
{
	Client	   *client = client_of(connection);

	if (client != NULL)
		leave(client);
}

void
connections_idle(struct MHD_Connection *connection)
{
	Client	   *client = client_of(connection);

	if (client != NULL)
		join(client);
}

/* libmicrohttpd finds the socket at its end and tells us. */
void
connections_close_slow(Milliseconds limit)
{
	Milliseconds now = now_ms();

	while (first != NULL && now - first->since > limit)
	{
		shutdown(first->socket, SHUT_RDWR);
		leave(first);
	}
}

/* Who has sent a part of a request's head only has asked for nothing yet. */
void
connections_close_idle(void)
{
	Client	   *next;

	closing = true;
	for (Client *client = first; client != NULL; client = next)
	{
		next = client->later;
		if (client->asks)
			continue;
		shutdown(client->socket, SHUT_RDWR);
		leave(client);
	}
}
