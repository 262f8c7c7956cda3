/*
 * pool.c
 *		A few connections to PostgreSQL, each with one request at a time.
 *
 * Each request is a statement and so a transaction of its own: one that fails or waits
 * harms no other, and an answer is given when the commit is done.  Commits of several
 * connections share their writes to disk.  A connection that is lost is made again after
 * a pause; requests wait for one for a while and are then refused, so that clients, which
 * try again, are the queue and not we.
 *
 * What may change something waits for others' locks, with a time limit.  It never gets all
 * connections, nor more than half of the places of clients: so somebody who holds a lock in
 * the shop does not keep pictures, links and the question of health from being answered.
 */
#include "web/server/server.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define QUEUE_LIMIT 5000
#define FIRST_PAUSE 500			/* ms */
#define LONGEST_PAUSE 30000
#define CONNECT_LIMIT 15000
#define LOCK_SHARE 3			/* of the time for an answer that may be spent waiting for a lock */
#define NAME "request"
#define COLUMNS 4

static const char *const settings =
	"SET statement_timeout = %d; SET lock_timeout = %d; "
	"SET idle_in_transaction_session_timeout = %d; SET client_encoding = 'UTF8'";
static const char *const statement =
	"SELECT status, content_type, location, page "
	"FROM marketing.web_request($1, $2, $3::jsonb, $4, $5::inet)";

typedef enum State
{
	DOWN,						/* until `due` */
	CONNECTING,
	SETTING,					/* the session's settings are on their way */
	PREPARING,
	READY,
	BUSY
} State;

typedef struct Connection
{
	PGconn	   *pg;
	State		state;
	int			socket;			/* in the epoll, -1: none */
	Milliseconds due;			/* to connect; or by when it must have gone on */
	Milliseconds pause;			/* before the next attempt */
	Request    *request;
	PGresult   *result;			/* what has come of the answer */
} Connection;

/* Requests in the order in which they came. */
typedef struct Queue
{
	Request    *first;
	Request    *last;
} Queue;

static const Options *options;
static int	epoll = -1;
static void (*tell) (Request *request);
static Connection *all;
static Queue queues[2];			/* of what reads and of what acts */
static int	pending[2];			/* in the queue or at work */
static Milliseconds last_complaint = 0;

static void connect_now(Connection *connection);
static void watch(Connection *connection, uint32_t events);
static void close_connection(Connection *connection);
static void lose(Connection *connection, const char *what);
static void finish(Request *request);
static void refuse(Request *request);
static void go_on(Connection *connection);
static void answer(Connection *connection);
static bool send_setting(Connection *connection);
static Request *take_first(Queue *queue);
static Queue *next_queue(void);
static void serve(Connection *connection);

void
pool_start(int descriptor, const Options *given, void (*done) (Request *request))
{
	epoll = descriptor;
	options = given;
	tell = done;
	all = must_allocate(sizeof(Connection) * options->connections);
	for (int i = 0; i < options->connections; i++)
	{
		memset(&all[i], 0, sizeof(Connection));
		all[i].socket = -1;
		all[i].pause = FIRST_PAUSE;
		connect_now(&all[i]);
	}
}

/* ---- connecting ---- */

static void
connect_now(Connection *connection)
{
	const char *keywords[] = {"fallback_application_name", "dbname", NULL};
	const char *values[] = {"marketing-web", options->database, NULL};

	if (options->database == NULL)
		keywords[1] = NULL;
	connection->pg = PQconnectStartParams(keywords, values, 1);
	if (connection->pg == NULL)
		fail("out of memory");
	connection->state = CONNECTING;
	connection->due = now_ms() + CONNECT_LIMIT;
	if (PQstatus(connection->pg) == CONNECTION_BAD)
		lose(connection, "cannot connect");
	else
		watch(connection, EPOLLOUT);
}

/* While it connects, libpq may change its socket. */
static void
watch(Connection *connection, uint32_t events)
{
	struct epoll_event event = {.events = events};
	int			socket = PQsocket(connection->pg);

	event.data.u32 = (uint32_t) (connection - all);
	if (connection->socket == socket && epoll_ctl(epoll, EPOLL_CTL_MOD, socket, &event) == 0)
		return;
	if (connection->socket >= 0 && connection->socket != socket)
		epoll_ctl(epoll, EPOLL_CTL_DEL, connection->socket, NULL);
	connection->socket = socket;
	if (socket < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0)
		connection->socket = -1;
}

static void
close_connection(Connection *connection)
{
	if (connection->socket >= 0)
		epoll_ctl(epoll, EPOLL_CTL_DEL, connection->socket, NULL);
	connection->socket = -1;
	PQclear(connection->result);
	connection->result = NULL;
	PQfinish(connection->pg);
	connection->pg = NULL;
	connection->state = DOWN;
}

/* Whether the request of a connection that broke has been committed is not known. */
static void
lose(Connection *connection, const char *what)
{
	const char *message = PQerrorMessage(connection->pg);
	Request    *request = connection->request;

	if (now_ms() - last_complaint > 1000)
		log_line("%s: %.*s", what, (int) strcspn(message, "\n"), message);
	last_complaint = now_ms();
	close_connection(connection);
	connection->due = now_ms() + connection->pause;
	connection->pause *= 2;
	if (connection->pause > LONGEST_PAUSE)
		connection->pause = LONGEST_PAUSE;
	connection->request = NULL;
	if (request != NULL)
	{
		refuse(request);
		finish(request);
	}
}

/* ---- requests ---- */

static void
refuse(Request *request)
{
	request_refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "Not possible now, please try again in a minute.\n");
}

static void
finish(Request *request)
{
	pending[request->acts]--;
	tell(request);
}

bool
pool_submit(Request *request)
{
	Queue	   *queue = &queues[request->acts];

	if (pool_pending() >= QUEUE_LIMIT ||
		(request->acts && pending[true] > 0 && pending[true] >= options->clients / 2))
		return false;
	pending[request->acts]++;
	request->next = NULL;
	if (queue->last != NULL)
		queue->last->next = request;
	else
		queue->first = request;
	queue->last = request;
	for (int i = 0; i < options->connections; i++)
		if (all[i].state == READY)
		{
			serve(&all[i]);
			break;
		}
	return true;
}

static Request *
take_first(Queue *queue)
{
	Request    *request = queue->first;

	queue->first = request->next;
	if (queue->first == NULL)
		queue->last = NULL;
	return request;
}

/* The one whose first request has waited longest and may have a connection; NULL: none. */
static Queue *
next_queue(void)
{
	Queue	   *reads = queues[false].first ? &queues[false] : NULL;
	Queue	   *acts = queues[true].first ? &queues[true] : NULL;
	int			most = options->connections - (options->connections + 3) / 4;
	int			acting = 0;

	for (int i = 0; i < options->connections; i++)
		acting += all[i].request != NULL && all[i].request->acts;
	/* Of a single connection nothing can be kept free. */
	if (acting >= (most > 0 ? most : 1))
		acts = NULL;
	return acts == NULL || (reads != NULL && reads->first->began <= acts->first->began) ?
		reads : acts;
}

/* Gives a ready connection the next request. */
static void
serve(Connection *connection)
{
	Queue	   *queue = next_queue();
	Request    *request;
	const char *values[5];
	int			lengths[5] = {0};
	static const int formats[5] = {0, 0, 0, 1, 0};

	if (queue == NULL)
		return;
	request = take_first(queue);
	values[0] = request->method;
	values[1] = request->path;
	values[2] = request->headers;
	values[3] = request->content ? request->content : "";
	lengths[3] = (int) request->content_length;
	values[4] = request->address;
	connection->request = request;
	connection->state = BUSY;
	connection->due = now_ms() + (Milliseconds) options->timeout * 2000;
	if (PQsendQueryPrepared(connection->pg, NAME, 5, values, lengths, formats, 1) != 1)
		lose(connection, "cannot ask the database");
	else
		watch(connection, PQflush(connection->pg) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static char *
copy_column(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? NULL : must_copy(PQgetvalue(result, 0, column));
}

/* Takes the row of an answer; false: it is none. */
static bool
take_row(Request *request, const PGresult *result)
{
	uint32_t	status;

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
		PQnfields(result) != COLUMNS || PQgetlength(result, 0, 0) != sizeof(status))
		return false;
	memcpy(&status, PQgetvalue(result, 0, 0), sizeof(status));
	request->status = ntohl(status);
	request->content_type = copy_column(result, 1);
	request->location = copy_column(result, 2);
	request->page_length = (size_t) PQgetlength(result, 0, 3);
	request->page = must_allocate(request->page_length + 1);
	memcpy(request->page, PQgetvalue(result, 0, 3), request->page_length);
	return true;
}

/* The statement has ended. */
static void
answer(Connection *connection)
{
	Request    *request = connection->request;
	PGresult   *result = connection->result;
	bool		good = result != NULL && take_row(request, result);

	if (!good)
	{
		const char *message = result ? PQresultErrorMessage(result) : "no answer\n";

		log_line("the database refused a request: %.*s", (int) strcspn(message, "\n"), message);
		refuse(request);
	}
	PQclear(result);
	connection->result = NULL;
	connection->request = NULL;
	connection->state = READY;
	finish(request);
	/* After DROP EXTENSION and the like the prepared statement is worth nothing. */
	if (!good)
	{
		close_connection(connection);
		connect_now(connection);
	}
	else
		serve(connection);
}

/* ---- going on ---- */

/* The next thing after one has succeeded: settings, statement, requests. */
static bool
send_setting(Connection *connection)
{
	char		text[300];

	if (connection->state == CONNECTING)
	{
		snprintf(text, sizeof(text), settings, options->timeout * 1000,
				 options->timeout * 1000 / LOCK_SHARE, options->timeout * 1000);
		connection->state = SETTING;
		return PQsendQuery(connection->pg, text) == 1;
	}
	connection->state = PREPARING;
	return PQsendPrepare(connection->pg, NAME, statement, 0, NULL) == 1;
}

static void
go_on_connecting(Connection *connection)
{
	switch (PQconnectPoll(connection->pg))
	{
		case PGRES_POLLING_READING:
			watch(connection, EPOLLIN);
			return;
		case PGRES_POLLING_WRITING:
			watch(connection, EPOLLOUT);
			return;
		case PGRES_POLLING_OK:
			if (PQsetnonblocking(connection->pg, 1) == 0 && send_setting(connection))
			{
				watch(connection, PQflush(connection->pg) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
				return;
			}
			break;
		default:
			break;
	}
	lose(connection, "cannot connect");
}

/* The settings give several results: the first, or the one that is an error. */
static void
keep_result(Connection *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (connection->result == NULL || (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK))
	{
		PQclear(connection->result);
		connection->result = result;
	}
	else
		PQclear(result);
}

/* The commands sent have ended. */
static void
ended(Connection *connection)
{
	PGresult   *result = connection->result;

	if (connection->state == BUSY)
	{
		answer(connection);
		return;
	}
	if (connection->state == READY)
		return;
	if (result == NULL || PQresultStatus(result) == PGRES_FATAL_ERROR)
	{
		lose(connection, "the database is not ready");
		return;
	}
	PQclear(result);
	connection->result = NULL;
	if (connection->state == PREPARING)
	{
		connection->state = READY;
		connection->pause = FIRST_PAUSE;
		serve(connection);
	}
	else if (send_setting(connection))
		watch(connection, PQflush(connection->pg) > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
	else
		lose(connection, "cannot ask the database");
}

static void
go_on(Connection *connection)
{
	if (PQconsumeInput(connection->pg) == 0)
	{
		lose(connection, "the connection to the database is lost");
		return;
	}
	if (PQflush(connection->pg) == 0)
		watch(connection, EPOLLIN);
	while (PQisBusy(connection->pg) == 0)
	{
		PGresult   *result = PQgetResult(connection->pg);

		if (result == NULL)
		{
			ended(connection);
			return;
		}
		keep_result(connection, result);
	}
}

void
pool_ready(int number)
{
	Connection *connection = &all[number];

	if (connection->state == CONNECTING)
		go_on_connecting(connection);
	else if (connection->state != DOWN)
		go_on(connection);
}

int
pool_due(void)
{
	Milliseconds now = now_ms();

	for (int i = 0; i < options->connections; i++)
	{
		Connection *connection = &all[i];

		if (connection->state == DOWN && connection->due <= now)
			connect_now(connection);
		else if (connection->state != READY && connection->state != DOWN && connection->due <= now)
			lose(connection, "the database does not answer");
		/* The place of one that was lost may be another one's. */
		if (connection->state == READY)
			serve(connection);
	}
	for (int q = 0; q < 2; q++)
		while (queues[q].first != NULL &&
			   now - queues[q].first->began > (Milliseconds) options->timeout * 1000)
		{
			Request    *request = take_first(&queues[q]);

			refuse(request);
			finish(request);
		}
	return pool_pending() > 0 ? 100 : 1000;
}

int
pool_pending(void)
{
	return pending[false] + pending[true];
}

/* What has no answer yet is refused. */
void
pool_stop(void)
{
	for (int i = 0; i < options->connections; i++)
	{
		Request    *request = all[i].request;

		if (all[i].state != DOWN)
			close_connection(&all[i]);
		if (request != NULL)
		{
			refuse(request);
			finish(request);
		}
	}
	for (int q = 0; q < 2; q++)
		while (queues[q].first != NULL)
		{
			Request    *request = take_first(&queues[q]);

			refuse(request);
			finish(request);
		}
	free(all);
}
