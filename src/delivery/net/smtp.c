/*
 * smtp.c
 *		Connections to mail servers: a pool for each, and who carries which message.
 *
 * libcurl makes the connection: names, addresses, TLS, STARTTLS, EHLO, AUTH
 * (CURLOPT_CONNECT_ONLY).  The dialogue of each message is ours (smtp_dialogue.c), over
 * libcurl's reading and writing: it keeps the connection after a refused recipient,
 * sends the envelope at once where the server allows it, and above all knows whether
 * the end of the message has been handed to the socket, which decides what is in doubt
 * after a failure.
 *
 * A connection that cannot be made is the server's fault and not a message's: while
 * others work, the server only gets no more of them for a while.
 */
#include "delivery/net/smtp.h"

#define LIMITED_MS 60000
#define LOOK_MS 100				/* how often deadlines are looked at */

static SmtpPool *pools = NULL;	/* of all servers that have had a message lately */
static bool ending = false;
static int64 looked = 0;

static SmtpPool *find_pool(MaServerOptions *options);
static void renew_options(SmtpPool *pool, MaServerOptions *options);
static void push(SmtpPool *pool, MaOutgoing *message, bool first);
static MaOutgoing *pop(SmtpPool *pool);
static bool connect_one(SmtpPool *pool);
static void set_options(SmtpConnection *connection, const char *secret);
static size_t on_line(char *data, size_t size, size_t n, void *arg);
static void on_connected(NetTransfer *transfer, CURLcode result);
static void connect_failed(SmtpConnection *connection, CURLcode result);
static void pool_failed(SmtpPool *pool, const char *reason);
static void look_at(SmtpConnection *connection, int64 now);
static bool is_over(const SmtpPool *pool, int64 now);
static void free_pool(SmtpPool *pool);

/* ---- pools ---- */

static SmtpPool *
find_pool(MaServerOptions *options)
{
	SmtpPool   *pool;

	for (pool = pools; pool != NULL; pool = pool->next)
		if (strcmp(pool->options->name, options->name) == 0)
			return pool;
	pool = MemoryContextAllocZero(TopMemoryContext, sizeof(SmtpPool));
	pool->options = options;
	ma_options_hold(options);
	pool->next = pools;
	pools = pool;
	return pool;
}

/* Connections made by what was said before end with the message they carry. */
static void
renew_options(SmtpPool *pool, MaServerOptions *options)
{
	if (pool->options->version == options->version)
		return;
	ma_options_hold(options);
	ma_options_release(pool->options);
	pool->options = options;
	pool->limited_until = 0;
	for (int i = pool->n - 1; i >= 0; i--)
	{
		pool->connections[i]->retire = true;
		if (pool->connections[i]->stage == SMTP_IDLE)
			smtp_close(pool->connections[i], true);
	}
}

static void
push(SmtpPool *pool, MaOutgoing *message, bool first)
{
	if (pool->queued == pool->queue_size)
	{
		int			size = Max(pool->queue_size * 2, 64);
		MaOutgoing **queue = MemoryContextAlloc(TopMemoryContext, sizeof(MaOutgoing *) * size);

		for (int i = 0; i < pool->queued; i++)
			queue[i] = pool->queue[(pool->queue_first + i) % pool->queue_size];
		if (pool->queue != NULL)
			pfree(pool->queue);
		pool->queue = queue;
		pool->queue_size = size;
		pool->queue_first = 0;
	}
	if (first)
		pool->queue_first = (pool->queue_first + pool->queue_size - 1) % pool->queue_size;
	pool->queue[(pool->queue_first + (first ? 0 : pool->queued)) % pool->queue_size] = message;
	pool->queued++;
}

static MaOutgoing *
pop(SmtpPool *pool)
{
	MaOutgoing *message = pool->queue[pool->queue_first];

	pool->queue_first = (pool->queue_first + 1) % pool->queue_size;
	pool->queued--;
	return message;
}

void
net_smtp_begin(MaOutgoing *message)
{
	SmtpPool   *pool = find_pool(message->options);

	renew_options(pool, message->options);
	push(pool, message, false);
	smtp_dispatch(pool);
}

/* It met a connection that the server had closed meanwhile. */
void
smtp_requeue(SmtpPool *pool, MaOutgoing *message)
{
	push(pool, message, true);
}

/* Gives what is queued to connections, and makes as many as it takes. */
void
smtp_dispatch(SmtpPool *pool)
{
	int			connecting = 0;

	while (pool->queued > 0)
	{
		SmtpConnection *idle = NULL;

		for (int i = 0; i < pool->n && idle == NULL; i++)
			if (pool->connections[i]->stage == SMTP_IDLE && !pool->connections[i]->retire)
				idle = pool->connections[i];
		if (idle == NULL)
			break;
		smtp_start(idle, pop(pool));
	}
	for (int i = 0; i < pool->n; i++)
		connecting += pool->connections[i]->stage == SMTP_CONNECT;
	while (pool->queued > connecting && pool->n < Min(pool->options->max_connections,
													  SMTP_MAX_CONNECTIONS) &&
		   (pool->limited_until < net_now() || pool->n < Max(pool->limit, 1)) && !ending)
	{
		if (!connect_one(pool))
			break;
		connecting++;
	}
}

/* ---- connecting ---- */

static bool
connect_one(SmtpPool *pool)
{
	MaServerOptions *options = pool->options;
	char		secret[NET_SECRET];
	const char *error;
	SmtpConnection *connection;
	bool		added;

	if (!net_secret(options, secret, &error))
	{
		explicit_bzero(secret, sizeof(secret));
		pool_failed(pool, error ? error : "its password file is empty");
		return false;
	}
	connection = MemoryContextAllocZero(TopMemoryContext, sizeof(SmtpConnection));
	connection->pool = pool;
	connection->stage = SMTP_CONNECT;
	connection->deadline = net_now() + options->connect_timeout * INT64CONST(1000) + 1000;
	connection->transfer.done = on_connected;
	connection->watch.ready = smtp_ready;
	net_enter();
	connection->easy = curl_easy_init();
	if (connection->easy != NULL)
		set_options(connection, secret);
	added = connection->easy != NULL &&
		curl_multi_add_handle(net_multi, connection->easy) == CURLM_OK;
	net_leave();
	explicit_bzero(secret, sizeof(secret));
	if (!added)
	{
		if (connection->easy != NULL)
			curl_easy_cleanup(connection->easy);
		pfree(connection);
		pool_failed(pool, "libcurl cannot begin a connection");
		return false;
	}
	pool->connections[pool->n++] = connection;
	return true;
}

static void
set_options(SmtpConnection *connection, const char *secret)
{
	MaServerOptions *options = connection->pool->options;
	CURL	   *easy = connection->easy;
	bool		is_ipv6 = strchr(options->host, ':') != NULL;

	curl_easy_setopt(easy, CURLOPT_URL,
					 psprintf("%s://%s%s%s:%d/%s", options->tls == MA_TLS_FROM_START ? "smtps" : "smtp",
							  is_ipv6 ? "[" : "", options->host, is_ipv6 ? "]" : "", options->port,
							  options->helo ? options->helo : ""));
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	net_prepare(easy, options, &connection->transfer);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, options->connect_timeout * 1000L);
	curl_easy_setopt(easy, CURLOPT_USE_SSL,
					 (long) (options->tls == MA_TLS_NONE ? CURLUSESSL_NONE : CURLUSESSL_ALL));
	if (options->user != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_USERNAME, options->user);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, secret);
	}
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, connection);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, connection->error);
}

/* A line of the greeting, of EHLO, STARTTLS or AUTH.  A callback: no memory, no error. */
static size_t
on_line(char *data, size_t size, size_t n, void *arg)
{
	SmtpConnection *connection = arg;
	size_t		length = Min(size * n, SMTP_LINE - 1);
	char	   *word;

	if (++connection->lines > SMTP_MAX_LINES)
		return 0;
	memcpy(connection->line, data, length);
	while (length > 0 && (unsigned char) connection->line[length - 1] <= ' ')
		length--;
	connection->line[length] = '\0';
	connection->line_length = (int) length;
	if (length < 4)
		return size * n;
	word = connection->line + 4;
	/* What is said before TLS does not count after it. */
	if (strncmp(connection->line, "220", 3) == 0)
		connection->pipelining = connection->smtputf8 = connection->size = false;
	else if (strncmp(connection->line, "250", 3) == 0)
	{
		connection->pipelining |= pg_strcasecmp(word, "PIPELINING") == 0;
		connection->smtputf8 |= pg_strcasecmp(word, "SMTPUTF8") == 0;
		connection->size |= pg_strncasecmp(word, "SIZE", 4) == 0;
	}
	return size * n;
}

static void
on_connected(NetTransfer *transfer, CURLcode result)
{
	SmtpConnection *connection = (SmtpConnection *) ((char *) transfer -
													 offsetof(SmtpConnection, transfer));
	curl_socket_t file = CURL_SOCKET_BAD;

	if (result == CURLE_OK)
		(void) curl_easy_getinfo(connection->easy, CURLINFO_ACTIVESOCKET, &file);
	if (result != CURLE_OK || file == CURL_SOCKET_BAD)
	{
		connect_failed(connection, result);
		return;
	}
	connection->watch.file = (int) file;
	connection->watched = true;
	net_watch(&connection->watch);
	connection->stage = SMTP_IDLE;
	connection->deadline = net_now() + NET_IDLE_MS;
	if (connection->retire || ending)
		smtp_close(connection, true);
	else
		smtp_dispatch(connection->pool);
}

/* Says why in the server's words where there are some. */
static void
connect_failed(SmtpConnection *connection, CURLcode result)
{
	SmtpPool   *pool = connection->pool;
	char		reason[NET_ANSWER];
	bool		refused = connection->line_length >= 3 &&
		(connection->line[0] == '4' || connection->line[0] == '5');
	bool		retired = connection->retire;
	int			working = 0;

	snprintf(reason, sizeof(reason), "%s%s%.300s%s",
			 connection->error[0] ? connection->error : curl_easy_strerror(result),
			 refused ? " (" : "", refused ? connection->line : "", refused ? ")" : "");
	smtp_close(connection, false);
	for (int i = 0; i < pool->n; i++)
		working += pool->connections[i]->stage != SMTP_CONNECT;
	if (retired)
		smtp_dispatch(pool);
	else if (working == 0)
		pool_failed(pool, reason);
	else
	{
		pool->limit = working;
		pool->limited_until = net_now() + LIMITED_MS;
	}
}

/* Nothing can be sent to it now. */
static void
pool_failed(SmtpPool *pool, const char *reason)
{
	while (pool->queued > 0)
		net_finish(pop(pool), MA_OUTCOME_SERVER, reason);
}

/* Whatever message it carried is somebody else's already. */
void
smtp_close(SmtpConnection *connection, bool politely)
{
	SmtpPool   *pool = connection->pool;
	size_t		written;

	if (connection->watched)
		net_unwatch(&connection->watch);
	net_enter();
	if (politely && connection->stage == SMTP_IDLE)
		(void) curl_easy_send(connection->easy, "QUIT\r\n", 6, &written);
	curl_multi_remove_handle(net_multi, connection->easy);
	curl_easy_cleanup(connection->easy);
	net_leave();
	for (int i = 0; i < pool->n; i++)
		if (pool->connections[i] == connection)
			pool->connections[i] = pool->connections[--pool->n];
	pfree(connection);
}

/* ---- time ---- */

long
net_smtp_timeout(void)
{
	for (SmtpPool *pool = pools; pool != NULL; pool = pool->next)
		if (pool->n > 0 || is_over(pool, net_now()))
			return LOOK_MS;
	return -1;
}

void
net_smtp_run(void)
{
	SmtpPool  **place = &pools;
	int64		now = net_now();

	if (now - looked < LOOK_MS)
		return;
	looked = now;
	while (*place != NULL)
	{
		SmtpPool   *pool = *place;

		for (int i = pool->n - 1; i >= 0; i--)
			look_at(pool->connections[i], now);
		smtp_dispatch(pool);
		if (!is_over(pool, now))
		{
			place = &pool->next;
			continue;
		}
		*place = pool->next;
		free_pool(pool);
	}
}

/* Nothing is known of its server that the next message could use. */
static bool
is_over(const SmtpPool *pool, int64 now)
{
	return pool->n == 0 && pool->queued == 0 && pool->limited_until < now;
}

static void
free_pool(SmtpPool *pool)
{
	ma_options_release(pool->options);
	if (pool->queue != NULL)
		pfree(pool->queue);
	pfree(pool);
}

static void
look_at(SmtpConnection *connection, int64 now)
{
	if (connection->deadline > now)
		return;
	if (connection->stage == SMTP_IDLE)
		smtp_close(connection, true);
	else if (connection->stage == SMTP_CONNECT)
		connect_failed(connection, CURLE_OPERATION_TIMEDOUT);
	else
		smtp_lost(connection, "no reply in time");
}

/* What is not in doubt goes back; what is gets its time, but when there is none. */
void
net_smtp_end(bool now)
{
	ending = true;
	for (SmtpPool *pool = pools; pool != NULL; pool = pool->next)
	{
		while (pool->queued > 0)
			net_finish(pop(pool), MA_OUTCOME_NONE, NULL);
		for (int i = pool->n - 1; i >= 0; i--)
		{
			SmtpConnection *connection = pool->connections[i];

			if (connection->message == NULL)
				smtp_close(connection, true);
			else if (!connection->dot_begun)
			{
				net_finish(connection->message, MA_OUTCOME_NONE, NULL);
				smtp_close(connection, false);
			}
			else if (now)
				smtp_lost(connection, "the server was shut down");
		}
	}
}
