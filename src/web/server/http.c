/*
 * http.c
 *		The side of the clients: libmicrohttpd without a thread of its own.
 *
 * A request is read up to its limits, suspended while the database has it, and answered.
 * Paths that no link of ours has are refused here, so that scanners cost no statement.
 */
#include "web/server/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PATH_LIMIT 512
#define ALLOWED \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./"
#define METHOD_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ROUTE_LETTERS "abcdefghijklmnopqrstuvwxyz"
#define MEMORY_OF_CLIENT (16 * 1024)	/* request line and headers */

/* How the content of a request is delimited. */
typedef struct Framing
{
	int			lengths;		/* headers of each kind */
	int			encodings;
	bool		strange;		/* an encoding that we do not undo */
} Framing;

static const Options *options;
static struct MHD_Daemon *http = NULL;
static bool ending = false;

static void
log_of_library(void *arg, const char *format, va_list arguments)
{
	(void) arg;
	(void) format;
	(void) arguments;
}

/* Letters, digits and what base64 of URLs, names of servers and folders have besides. */
static bool
path_may_be_ours(const char *path)
{
	size_t		length = strlen(path);

	return length <= PATH_LIMIT && path[0] == '/' &&
		strspn(path, ALLOWED) == length && strstr(path, "..") == NULL;
}

/*
 * A line for the request: of the path the first part, since what follows is a secret of the
 * client's, and of both no more than what can stand in a line.  A path may be empty, or
 * begin with anything.
 */
static void
log_request(const Request *request)
{
	const char *path = request->path;
	int			shown = path[0] == '/' ? 1 + (int) strspn(path + 1, ROUTE_LETTERS) : 0;

	log_line("%.*s %.*s %u %lld ms",
			 (int) strspn(request->method, METHOD_LETTERS), request->method, shown, path,
			 request->status, (long long) (now_ms() - request->began));
}

/* Counts the headers that say how long the content is; see framing_fault(). */
static enum MHD_Result
count_framing(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	Framing    *framing = arg;

	(void) kind;
	if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
		framing->lengths++;
	else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0)
	{
		framing->encodings++;
		framing->strange |= value == NULL || strcasecmp(value, "chunked") != 0;
	}
	return MHD_YES;
}

/*
 * True where the server before us may have seen another end of the request than
 * libmicrohttpd does: what it takes for the content would be a request of its own here.
 */
static bool
framing_fault(struct MHD_Connection *connection)
{
	Framing		framing = {0};

	MHD_get_connection_values(connection, MHD_HEADER_KIND, count_framing, &framing);
	return framing.lengths + framing.encodings > 1 || framing.strange;
}

static enum MHD_Result
send_answer(Request *request)
{
	static const char *const headers[][2] = {
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "no-referrer"},
		{"X-Robots-Tag", "noindex, nofollow"},
		{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline' https:; "
			"img-src https: data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"},
	};
	struct MHD_Response *response = MHD_create_response_from_buffer(request->page_length,
		request->page ? request->page : (void *) "", MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
	if (request->content_type != NULL)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, request->content_type);
	/* libmicrohttpd takes no line breaks in a header. */
	if (request->location != NULL &&
		MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, request->location) != MHD_YES)
		request->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	if (request->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD, POST");
	if (ending)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (request->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "30");
	if (options->log_requests)
		log_request(request);
	result = MHD_queue_response(request->connection, request->status, response);
	MHD_destroy_response(response);
	return result;
}

/* The first call for a request, before its content. */
static enum MHD_Result
begin_request(struct MHD_Connection *connection, const char *method, const char *path,
			  Request **result)
{
	Request    *request = request_new(connection, method, path);
	const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

	*result = request;
	connections_asks(connection);
	if (framing_fault(connection))
		request_refuse(request, MHD_HTTP_BAD_REQUEST, "Bad request.\n");
	else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
			 strcmp(method, "POST") != 0)
		request_refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "Method not allowed.\n");
	else if (!path_may_be_ours(path))
		request_refuse(request, MHD_HTTP_NOT_FOUND, "Not found.\n");
	else if (length != NULL && strtoull(length, NULL, 10) > request->content_limit)
		request_refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "Too large.\n");
	else
		return MHD_YES;
	return send_answer(request);
}

/* Called at the beginning, with each piece of the content, at its end, and for the answer. */
static enum MHD_Result
handle(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
	   const char *version, const char *data, size_t *length, void **context)
{
	Request    *request = *context;

	(void) arg;
	(void) version;
	if (request == NULL)
		return begin_request(connection, method, path, (Request **) context);
	if (*length > 0)
	{
		/* Who sends more than he has said, or does not say, is cut off. */
		if (request->status == 0 && !request_add_content(request, data, *length))
			return MHD_NO;
		*length = 0;
		return MHD_YES;
	}
	if (request->status != 0)
		return send_answer(request);
	if (request->complete)
		return MHD_YES;
	request->complete = true;
	request_read_headers(request, options);
	connections_busy(connection);
	/* Before the pool gets it, which may be done with it at once. */
	MHD_suspend_connection(connection);
	if (!pool_submit(request))
	{
		request_refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "Too many requests at once.\n");
		MHD_resume_connection(connection);
	}
	return MHD_YES;
}

/* The answer is sent, or the client gone. */
static void
end_request(void *arg, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode code)
{
	(void) arg;
	(void) code;
	if (*context != NULL)
	{
		connections_served(connection);
		request_free(*context);
		*context = NULL;
	}
}

/* From now on it is the client again that we wait for: to take the answer. */
void
http_done(Request *request)
{
	connections_idle(request->connection);
	MHD_resume_connection(request->connection);
}

int
http_start(const Options *given)
{
	const union MHD_DaemonInfo *info;
	unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

	options = given;
	if (options->address.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	http = MHD_start_daemon(flags, 0, NULL, NULL, handle, NULL,
							MHD_OPTION_EXTERNAL_LOGGER, log_of_library, NULL,
							MHD_OPTION_SOCK_ADDR, (const struct sockaddr *) &options->address,
							MHD_OPTION_NOTIFY_COMPLETED, end_request, NULL,
							MHD_OPTION_NOTIFY_CONNECTION, connections_notify, NULL,
							MHD_OPTION_CONNECTION_LIMIT, (unsigned int) options->clients,
							MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned int) options->per_address,
							MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) options->timeout,
							MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) MEMORY_OF_CLIENT,
							MHD_OPTION_STRICT_FOR_CLIENT, 1,
							MHD_OPTION_END);
	if (http == NULL)
		fail("cannot listen: %s", strerror(errno));
	info = MHD_get_daemon_info(http, MHD_DAEMON_INFO_EPOLL_FD);
	return info->epoll_fd;
}

void
http_run(void)
{
	MHD_run(http);
}

int
http_wait(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	return MHD_get_timeout(http, &timeout) == MHD_YES ? (int) timeout : -1;
}

int
http_clients(void)
{
	return (int) MHD_get_daemon_info(http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* The sockets of clients that are served stay; who comes now is refused by the system. */
void
http_quiesce(void)
{
	MHD_socket	listening = MHD_quiesce_daemon(http);

	ending = true;
	if (listening != MHD_INVALID_SOCKET)
		close(listening);
	connections_close_idle();
}

void
http_stop(void)
{
	MHD_stop_daemon(http);
}
