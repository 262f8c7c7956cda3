/*
 * http.c
 *		Requests to HTTP interfaces, over libcurl.
 *
 * A request is in doubt once libcurl has all of it and no status has come back.  A short body
 * goes in one piece with the headers (is_short), of which libcurl has all when it has a connection;
 * a longer one when it has read it to its end.  libcurl repeats a request by itself when a
 * connection that it used before is closed without an answer; it cannot here, since what it has
 * had is not given a second time (on_connected, on_seek), so a message never goes twice by
 * its doing, and connections are used again all the same, for as long as hardly any server
 * closes them.
 *
 * To make a handle and set its options costs as much as the rest of a short request: they
 * are kept for the next one to the same server, without what is secret.  They and the
 * connections belong to the server as its options were (HttpCache), and go when these have
 * changed, or when nothing was sent to it for a while, be it that there is no such server any
 * more.
 *
 * Which address a name leads to is known only when a socket is made, so that is where
 * private ones are refused (address.c); redirects are not followed.
 */
#include "delivery/net/http.h"

#include <arpa/inet.h>

#define REUSE_SECONDS 3L
#define MAX_REQUESTS 100
#define SHORT_BODY 60000		/* libcurl sends 64 kB with the headers */

/* Handles and connections made by one version of a server's options. */
typedef struct HttpCache
{
	uint64		version;
	int			holders;		/* the pool that uses it, and each of its requests */
	CURLSH	   *share;			/* the connections; NULL: they are those of all servers */
	struct Request *idle;
} HttpCache;

typedef struct HttpPool
{
	struct HttpPool *next;		/* in the list of all */
	char		name[NAMEDATALEN];
	int			active;
	int64		used;			/* when a request has begun or ended */
	HttpCache  *cache;			/* of the latest options; NULL: none yet */
	MaOutgoing **queue;			/* from `first` on */
	int			size;
	int			first;
	int			queued;
} HttpPool;

typedef struct Request
{
	NetTransfer transfer;
	HttpPool   *pool;
	HttpCache  *cache;
	MaOutgoing *message;
	CURL	   *easy;
	struct curl_slist *headers;
	Size		read;			/* octets of the body that libcurl has taken */
	bool		connected;		/* it has taken any, or may send a short one */
	bool		repeated;		/* it wanted to send that again */
	bool		refused;		/* the address is private */
	char		answer[HTTP_ANSWER + 1];
	Size		answer_length;
	char		answer_headers[HTTP_HEADERS + 1];
	Size		headers_length;
	char		error[CURL_ERROR_SIZE];
	struct Request *next;
	struct Request *previous;
} Request;

static HttpPool *pools = NULL;	/* of all servers that have had a message lately */
static Request *requests = NULL;	/* all that are under way */
static bool ending = false;

static HttpPool *find_pool(const char *name);
static void dispatch(HttpPool *pool);
static void begin(HttpPool *pool, MaOutgoing *message);
static HttpCache *make_cache(uint64 version);
static void release_cache(HttpCache *cache);
static void empty_cache(HttpCache *cache);
static Request *take_idle(HttpPool *pool, const MaServerOptions *options);
static void free_request(Request *request);
static void keep_idle(Request *request);
static void set_server_options(Request *request, const MaServerOptions *options);
static bool is_short(const MaOutgoing *message);
static bool set_options(Request *request, const char *secret, const char **error);
static bool add_headers(Request *request, const char *secret, const char **error);
static bool add_header(Request *request, const char *name, const char *value);
static size_t on_read(char *buffer, size_t size, size_t n, void *arg);
static int	on_seek(void *arg, curl_off_t offset, int origin);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_connected(void *arg, char *address, char *own_address, int port, int own_port);
static void on_done(NetTransfer *transfer, CURLcode result);
static void keep_answer(Request *request);
static MaOutcome outcome_of(const Request *request, long status);
static void forget(Request *request);
static bool is_used(const HttpPool *pool);
static void free_pool(HttpPool *pool);

/* ---- pools ---- */

static HttpPool *
find_pool(const char *name)
{
	HttpPool   *pool;

	for (pool = pools; pool != NULL; pool = pool->next)
		if (strcmp(pool->name, name) == 0)
			return pool;
	pool = MemoryContextAllocZero(TopMemoryContext, sizeof(HttpPool));
	strlcpy(pool->name, name, NAMEDATALEN);
	pool->used = net_now();
	pool->next = pools;
	pools = pool;
	return pool;
}

void
net_http_begin(MaOutgoing *message)
{
	HttpPool   *pool = find_pool(message->options->name);

	if (pool->first + pool->queued == pool->size)
	{
		int			size = Max(pool->queued * 2, 64);
		MaOutgoing **queue = MemoryContextAlloc(TopMemoryContext, sizeof(MaOutgoing *) * size);

		if (pool->queue != NULL)
		{
			memcpy(queue, pool->queue + pool->first, sizeof(MaOutgoing *) * pool->queued);
			pfree(pool->queue);
		}
		pool->queue = queue;
		pool->size = size;
		pool->first = 0;
	}
	pool->queue[pool->first + pool->queued++] = message;
	dispatch(pool);
}

static void
dispatch(HttpPool *pool)
{
	while (pool->queued > 0 && !ending &&
		   pool->active < Min(pool->queue[pool->first]->options->max_connections, MAX_REQUESTS))
	{
		MaOutgoing *message = pool->queue[pool->first++];

		pool->queued--;
		begin(pool, message);
	}
}

/* ---- a request ---- */

static void
begin(HttpPool *pool, MaOutgoing *message)
{
	char		secret[NET_SECRET];
	const char *error = "libcurl cannot begin a request";
	Request    *request;
	bool		added = false;

	net_api->begun(message);
	if (!net_secret(message->options, secret, &error))
	{
		net_finish(message, MA_OUTCOME_SERVER, error ? error : "its password file is empty");
		return;
	}
	net_enter();
	request = take_idle(pool, message->options);
	request->message = message;
	added = request->easy != NULL && set_options(request, secret, &error) &&
		curl_multi_add_handle(net_multi, request->easy) == CURLM_OK;
	if (!added)
		keep_idle(request);
	net_leave();
	explicit_bzero(secret, sizeof(secret));
	if (!added)
	{
		net_finish(message, MA_OUTCOME_SERVER, error);
		return;
	}
	request->next = requests;
	request->previous = NULL;
	if (requests != NULL)
		requests->previous = request;
	requests = request;
	pool->active++;
	pool->used = net_now();
}

/* Within net_enter(), as all that follows. */
static HttpCache *
make_cache(uint64 version)
{
	HttpCache  *cache = MemoryContextAllocZero(TopMemoryContext, sizeof(HttpCache));

	cache->version = version;
	cache->holders = 1;
	cache->share = curl_share_init();
	if (cache->share != NULL)
		curl_share_setopt(cache->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT);
	return cache;
}

/* The last one closes the connections. */
static void
release_cache(HttpCache *cache)
{
	if (--cache->holders > 0)
		return;
	if (cache->share != NULL)
		curl_share_cleanup(cache->share);
	pfree(cache);
}

/* Its pool needs it no more: what is under way holds it for so long. */
static void
empty_cache(HttpCache *cache)
{
	Request    *request = cache->idle;

	cache->idle = NULL;
	while (request != NULL)
	{
		Request    *next = request->next;

		free_request(request);
		request = next;
	}
	release_cache(cache);
}

/* One that was used before by the same options, else a new one. */
static Request *
take_idle(HttpPool *pool, const MaServerOptions *options)
{
	Request    *request;

	if (pool->cache != NULL && pool->cache->version != options->version)
	{
		empty_cache(pool->cache);
		pool->cache = NULL;
	}
	if (pool->cache == NULL)
		pool->cache = make_cache(options->version);
	request = pool->cache->idle;
	if (request != NULL)
		pool->cache->idle = request->next;
	else
	{
		request = MemoryContextAlloc(TopMemoryContext, sizeof(Request));
		request->pool = pool;
		request->cache = pool->cache;
		request->cache->holders++;
		request->transfer.done = on_done;
		request->headers = NULL;
		request->easy = curl_easy_init();
		if (request->easy != NULL)
			set_server_options(request, options);
	}
	request->read = request->answer_length = request->headers_length = 0;
	request->connected = request->repeated = request->refused = false;
	request->error[0] = '\0';
	return request;
}

static void
free_request(Request *request)
{
	curl_easy_cleanup(request->easy);
	release_cache(request->cache);
	pfree(request);
}

/*
 * For the next one, unless options have changed since, or a file of theirs is to be read
 * each time, or a password went by the handle: what libcurl made of it would stay there.
 */
static void
keep_idle(Request *request)
{
	if (request->easy != NULL)
		curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(request->headers);
	request->headers = NULL;
	if (request->easy != NULL && request->cache == request->pool->cache &&
		request->message->options->ca_file == NULL &&
		request->message->options->auth != MA_AUTH_BASIC)
	{
		request->next = request->cache->idle;
		request->cache->idle = request;
	}
	else
		free_request(request);
}

/* What is the same for each request to the server. */
static void
set_server_options(Request *request, const MaServerOptions *options)
{
	CURL	   *easy = request->easy;

	net_prepare(easy, options, &request->transfer);
	curl_easy_setopt(easy, CURLOPT_SHARE, request->cache->share);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, options->allow_http ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, options->timeout * 1000L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, REUSE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, request);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	if (options->auth == MA_AUTH_BASIC)
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
}

/* It is sent with its headers, and not by on_read(). */
static bool
is_short(const MaOutgoing *message)
{
	return message->length <= SHORT_BODY;
}

/* What is this message's. */
static bool
set_options(Request *request, const char *secret, const char **error)
{
	MaOutgoing *message = request->message;
	MaServerOptions *options = message->options;
	CURL	   *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_URL, message->url);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, is_short(message) ? message->content : NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) message->length);
	if (options->auth == MA_AUTH_BASIC)
	{
		curl_easy_setopt(easy, CURLOPT_USERNAME, options->user ? options->user : "");
		curl_easy_setopt(easy, CURLOPT_PASSWORD, secret);
	}
	if (!add_headers(request, secret, error))
		return false;
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	return true;
}

/* Those of the templates, and what the way to log in adds. */
static bool
add_headers(Request *request, const char *secret, const char **error)
{
	MaOutgoing *message = request->message;
	MaServerOptions *options = message->options;
	const char *line = message->headers ? message->headers : "";
	HttpHeader	headers[HTTP_SIGN_HEADERS];
	bool		typed = false;
	int			n;

	*error = "a header cannot stand in a request";
	if (!add_header(request, "Expect", "") ||
		!add_header(request, "User-Agent", "marketing_automation"))
		return false;
	while (*line != '\0')
	{
		const char *end = line + strcspn(line, "\n");
		const char *colon = memchr(line, ':', end - line);

		if (end > line && colon == NULL)
			return false;
		if (end > line &&
			!add_header(request, pnstrdup(line, colon - line),
						pnstrdup(colon + 1 + strspn(colon + 1, " "),
								 Max(end - colon - 1 - (int) strspn(colon + 1, " "), 0))))
			return false;
		typed |= end > line && pg_strncasecmp(line, "Content-Type:", 13) == 0;
		line = *end == '\n' ? end + 1 : end;
	}
	if (!typed && !add_header(request, "Content-Type", options->content_type))
		return false;
	switch (options->auth)
	{
		case MA_AUTH_BEARER:
			return add_header(request, "Authorization", psprintf("Bearer %s", secret));
		case MA_AUTH_HEADER:
			return options->auth_header != NULL &&
				add_header(request, options->auth_header, secret);
		case MA_AUTH_SIGNED:
		case MA_AUTH_AWS:
			n = options->auth == MA_AUTH_AWS ? http_sign_aws(message, secret, headers) :
				http_sign_webhook(message, secret, headers);
			for (int i = 0; i < n; i++)
				if (!add_header(request, headers[i].name, headers[i].value))
					return false;
			return n > 0;
		default:
			return true;
	}
}

static bool
add_header(Request *request, const char *name, const char *value)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	struct curl_slist *list;
	char	   *line;

	if (name[0] == '\0' || value == NULL || name[strspn(name, letters)] != '\0' ||
		pg_strcasecmp(name, "Content-Length") == 0 || pg_strcasecmp(name, "Transfer-Encoding") == 0)
		return false;
	for (const unsigned char *p = (const unsigned char *) value; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			return false;
	line = psprintf("%s:%s%s", name, value[0] ? " " : "", value);
	list = curl_slist_append(request->headers, line);
	explicit_bzero(line, strlen(line));
	pfree(line);
	if (list == NULL)
		return false;
	request->headers = list;
	return true;
}

/* ---- callbacks: no memory of the server's, no errors ---- */

static size_t
on_read(char *buffer, size_t size, size_t n, void *arg)
{
	Request    *request = arg;
	size_t		length = Min(size * n, request->message->length - request->read);

	memcpy(buffer, request->message->content + request->read, length);
	request->read += length;
	request->connected = true;
	if (request->read >= request->message->length)
		net_api->handed(request->message);
	return length;
}

/* A request that libcurl would repeat by itself ends instead. */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	return CURL_SEEKFUNC_FAIL;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	Request    *request = arg;
	size_t		length = Min(size * n, HTTP_ANSWER - request->answer_length);

	memcpy(request->answer + request->answer_length, data, length);
	request->answer_length += length;
	/* More than is kept is not read: the status is known. */
	return length;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	Request    *request = arg;
	size_t		length = Min(size * n, HTTP_HEADERS - request->headers_length);

	if (size * n > 5 && memcmp(data, "HTTP/", 5) == 0)
		request->headers_length = 0;
	length = Min(size * n, HTTP_HEADERS - request->headers_length);
	memcpy(request->answer_headers + request->headers_length, data, length);
	request->headers_length += length;
	return length;
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Request    *request = arg;

	if (!request->message->options->allow_private && !http_address_public(&address->addr))
	{
		request->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/*
 * There is a connection.  One that another server, which may go there, has left open was not
 * opened for this one, so it is judged here.
 */
static int
on_connected(void *arg, char *address, char *own_address, int port, int own_port)
{
	Request    *request = arg;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool		allowed = request->message->options->allow_private;

	if (!allowed && inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		allowed = http_address_public((struct sockaddr *) &v4);
	else if (!allowed && inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
		allowed = http_address_public((struct sockaddr *) &v6);
	request->refused = !allowed;
	/* The request goes out as soon as this returns. */
	if (allowed && is_short(request->message))
	{
		if (request->connected)
		{
			request->repeated = true;
			return CURL_PREREQFUNC_ABORT;
		}
		request->connected = true;
		request->read = request->message->length;
		net_api->handed(request->message);
	}
	return allowed ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* ---- the end of it ---- */

static void
on_done(NetTransfer *transfer, CURLcode result)
{
	Request    *request = (Request *) transfer;
	MaOutgoing *message = request->message;
	HttpPool   *pool = request->pool;
	long		status = 0;
	MaOutcome	outcome;
	char		answer[NET_ANSWER];

	(void) curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	outcome = outcome_of(request, status);
	request->answer[request->answer_length] = '\0';
	request->answer_headers[request->headers_length] = '\0';
	if (status >= 200)
	{
		message->status = (int) status;
		if (message->options->response != NULL)
			keep_answer(request);
		snprintf(answer, sizeof(answer), "%ld %.400s", status, request->answer);
	}
	else
		snprintf(answer, sizeof(answer), "%s",
				 request->refused ? "its address is private, and option allow_private is not set" :
				 request->repeated ? "the connection was closed without an answer" :
				 request->error[0] ? request->error : curl_easy_strerror(result));
	forget(request);
	net_finish(message, outcome, answer);
	dispatch(pool);
}

/* For the template that says what it means. */
static void
keep_answer(Request *request)
{
	MaOutgoing *message = request->message;

	message->body_length = request->answer_length;
	message->body = MemoryContextAlloc(message->context, request->answer_length + 1);
	memcpy(message->body, request->answer, request->answer_length + 1);
	message->answer_headers = MemoryContextStrdup(message->context, request->answer_headers);
}

/* By the status, else by how far the request has come. */
static MaOutcome
outcome_of(const Request *request, long status)
{
	static const struct
	{
		int			from;
		int			to;
		MaOutcome	outcome;
	}			rows[] = {
		{200, 299, MA_OUTCOME_SENT},
		{300, 399, MA_OUTCOME_SERVER},	/* redirects are not followed */
		{401, 401, MA_OUTCOME_SERVER},	/* the login is wrong */
		{403, 405, MA_OUTCOME_SERVER},	/* or the URL */
		{407, 407, MA_OUTCOME_SERVER},
		{408, 408, MA_OUTCOME_RETRY},
		{425, 425, MA_OUTCOME_RETRY},
		{429, 429, MA_OUTCOME_SERVER},	/* it wants fewer */
		{400, 499, MA_OUTCOME_FAILED},
		{502, 502, MA_OUTCOME_UNKNOWN}, /* said by somebody in between */
		{504, 504, MA_OUTCOME_UNKNOWN},
		{503, 503, MA_OUTCOME_SERVER},
		{500, 599, MA_OUTCOME_RETRY},
	};

	for (int i = 0; i < lengthof(rows); i++)
		if (status >= rows[i].from && status <= rows[i].to)
			return rows[i].outcome;
	if (request->connected && request->read >= request->message->length)
		return MA_OUTCOME_UNKNOWN;
	return request->connected ? MA_OUTCOME_RETRY : MA_OUTCOME_SERVER;
}

static void
forget(Request *request)
{

	net_enter();
	curl_multi_remove_handle(net_multi, request->easy);
	net_leave();
	if (request->next != NULL)
		request->next->previous = request->previous;
	if (request->previous != NULL)
		request->previous->next = request->next;
	else
		requests = request->next;
	request->pool->active--;
	request->pool->used = net_now();
	net_enter();
	keep_idle(request);
	net_leave();
}

/* ---- time ---- */

static bool
is_used(const HttpPool *pool)
{
	return pool->active > 0 || pool->queued > 0;
}

/* Until one has not been used for long enough. */
long
net_http_timeout(void)
{
	long		timeout = -1;

	for (HttpPool *pool = pools; pool != NULL; pool = pool->next)
		if (!is_used(pool))
		{
			long		left = (long) Max(pool->used + NET_IDLE_MS - net_now(), 0);

			timeout = timeout < 0 ? left : Min(timeout, left);
		}
	return timeout;
}

static void
free_pool(HttpPool *pool)
{

	net_enter();
	if (pool->cache != NULL)
		empty_cache(pool->cache);
	net_leave();
	if (pool->queue != NULL)
		pfree(pool->queue);
	pfree(pool);
}

void
net_http_run(void)
{
	HttpPool  **place = &pools;
	int64		now = net_now();

	while (*place != NULL)
	{
		HttpPool   *pool = *place;

		dispatch(pool);
		if (is_used(pool) || now - pool->used < NET_IDLE_MS)
		{
			place = &pool->next;
			continue;
		}
		*place = pool->next;
		free_pool(pool);
	}
}

void
net_http_end(bool now)
{
	Request    *request = requests;

	ending = true;
	for (HttpPool *pool = pools; pool != NULL; pool = pool->next)
		while (pool->queued > 0)
		{
			pool->queued--;
			net_finish(pool->queue[pool->first++], MA_OUTCOME_NONE, NULL);
		}
	while (request != NULL)
	{
		Request    *next = request->next;
		MaOutgoing *message = request->message;
		bool		in_doubt = request->connected && request->read >= message->length;

		if (!in_doubt || now)
		{
			forget(request);
			net_finish(message, in_doubt ? MA_OUTCOME_UNKNOWN : MA_OUTCOME_NONE,
					   in_doubt ? "the server was shut down" : NULL);
		}
		request = next;
	}
}
