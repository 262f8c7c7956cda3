/*
 * request.c
 *		Requests of anybody: marketing-web's part from libmicrohttpd's calls to what goes to
 *		the database, and the form that marketing.web_request() reads of it.
 *
 * The input is method, path, forwarded address, headers (a name and a value each) and
 * content, divided by octets of value 0; the content comes in pieces.
 */
#include "postgres.h"

#include <microhttpd.h>
#include <setjmp.h>

#include "fuzz.h"

/* The two sides of the endpoint as they are, with what is static in them. */
#include "web/server/http.c"
#include "web/preferences.c"

#define PARTS 20
#define PIECE 7

static char *parts[PARTS + 1];
static int	nparts;
static bool submitted;
static bool answered;
static bool suspended;
static int	busy = 0;

/* ---- libmicrohttpd, as far as it is called ---- */

static MHD_AccessHandlerCallback handler;

struct MHD_Daemon *
MHD_start_daemon(unsigned int flags, uint16_t port, MHD_AcceptPolicyCallback accepts,
				 void *of_accepts, MHD_AccessHandlerCallback given, void *of_given,...)
{
	handler = given;
	return (struct MHD_Daemon *) parts;
}

const union MHD_DaemonInfo *
MHD_get_daemon_info(struct MHD_Daemon *daemon, enum MHD_DaemonInfoType type,...)
{
	static union MHD_DaemonInfo info;

	return &info;
}

const char *
MHD_lookup_connection_value(struct MHD_Connection *connection, enum MHD_ValueKind kind,
							const char *name)
{
	if (strcasecmp(name, "X-Forwarded-For") == 0)
		return parts[2];
	for (int i = 3; i + 1 < nparts - 1; i += 2)
		if (strcasecmp(parts[i], name) == 0)
			return parts[i + 1];
	return NULL;
}

int
MHD_get_connection_values(struct MHD_Connection *connection, enum MHD_ValueKind kind,
						  MHD_KeyValueIterator iterator, void *of_iterator)
{
	int			n = 0;

	for (int i = 3; i + 1 < nparts - 1; i += 2, n++)
		iterator(of_iterator, kind, parts[i], n % 3 == 2 && parts[i + 1][0] == '\0' ? NULL : parts[i + 1]);
	return n;
}

const union MHD_ConnectionInfo *
MHD_get_connection_info(struct MHD_Connection *connection, enum MHD_ConnectionInfoType type,...)
{
	return NULL;
}

struct MHD_Response *
MHD_create_response_from_buffer(size_t size, void *buffer, enum MHD_ResponseMemoryMode mode)
{
	return (struct MHD_Response *) parts;
}

enum MHD_Result
MHD_add_response_header(struct MHD_Response *response, const char *name, const char *value)
{
	return strpbrk(value, "\r\n") == NULL ? MHD_YES : MHD_NO;
}

enum MHD_Result
MHD_queue_response(struct MHD_Connection *connection, unsigned int status,
				   struct MHD_Response *response)
{
	if (answered || submitted)
		fuzz_fail("a request is answered once");
	answered = true;
	return MHD_YES;
}

void
MHD_destroy_response(struct MHD_Response *response)
{
}

void
MHD_suspend_connection(struct MHD_Connection *connection)
{
	if (submitted || answered)
		fuzz_fail("who waits for the database is suspended first");
	suspended = true;
}

void
MHD_resume_connection(struct MHD_Connection *connection)
{
	if (!suspended)
		fuzz_fail("who is resumed was suspended");
	suspended = false;
}

/* ---- the program around it ---- */

Milliseconds
now_ms(void)
{
	return 0;
}

void
log_line(const char *format,...)
{
}

void
fail(const char *format,...)
{
	abort();
}

void *
must_allocate(size_t size)
{
	return malloc(size);
}

void *
must_resize(void *memory, size_t size)
{
	return realloc(memory, Max(size, 1));
}

char *
must_copy(const char *text)
{
	return strdup(text);
}

void
connections_busy(struct MHD_Connection *connection)
{
	busy++;
}

void
connections_idle(struct MHD_Connection *connection)
{
	busy--;
}

/* Who asks is known to connections.c alone; here each input is one request. */
void
connections_notify(void *arg, struct MHD_Connection *connection, void **socket_context,
				   enum MHD_ConnectionNotificationCode code)
{
}

void
connections_asks(struct MHD_Connection *connection)
{
}

void
connections_served(struct MHD_Connection *connection)
{
}

void
connections_close_idle(void)
{
}

/* What the database would get. */
bool
pool_submit(Request *request)
{
	MaWebRequest web = {.content = request->content, .content_length = (int) request->content_length};
	List	   *shown;
	List	   *wanted;
	size_t		length = strlen(request->headers);
	bool		in_text = false;

	submitted = request->content_length % 5 != 4;
	if (!path_may_be_ours(request->path))
		fuzz_fail("only paths that may be ours come to the database");
	if (request->headers[0] != '{' || request->headers[length - 1] != '}')
		fuzz_fail("headers are an object");
	for (size_t i = 0; i < length; i++)
	{
		if (request->headers[i] < ' ' || request->headers[i] > '~')
			fuzz_fail("headers are ASCII");
		if (request->headers[i] == '\\')
			i++;
		else if (request->headers[i] == '"')
			in_text = !in_text;
		else if (!in_text && strchr("{}:,", request->headers[i]) == NULL)
			fuzz_fail("headers are texts");
	}
	if (in_text)
		fuzz_fail("texts of headers end");
	if (request->address != NULL && strspn(request->address, "0123456789abcdefABCDEF:.") != strlen(request->address))
		fuzz_fail("an address is one");
	if (web.content == NULL)
		web.content = "";
	read_form(&web, &shown, &wanted);
	return submitted;
}

/* ---- a run ---- */

static void
target(char *text, int length)
{
	static const Options settings = {.trust_proxy = true, .log_requests = true};
	void	   *context = NULL;
	char	   *content;
	size_t		left;

	nparts = 0;
	for (char *at = text; at <= text + length && nparts < PARTS; at += strlen(at) + 1)
		parts[nparts++] = at;
	if (nparts < 4)
		return;
	submitted = answered = suspended = false;
	busy = 0;
	if (handler == NULL)
		(void) http_start(&settings);
	content = parts[nparts - 1];
	left = text + length - content;
	for (bool first = true;; first = false)
	{
		size_t		piece = first ? 0 : Min(left, PIECE * (1 + left % 3));
		size_t		taken = piece;
		bool		at_end = !first && piece == 0;

		if (handler(NULL, NULL, parts[1], parts[0], "HTTP/1.1", content, &taken, &context) != MHD_YES ||
			answered || suspended)
			break;
		/* Who was turned away is asked for once more, to be told so. */
		if (at_end && (handler(NULL, NULL, parts[1], parts[0], "HTTP/1.1", content, &taken, &context) != MHD_YES ||
					   !answered))
			fuzz_fail("who is turned away is answered");
		if (at_end)
			break;
		if (taken != 0)
			fuzz_fail("all of a piece is taken");
		content += piece;
		left -= piece;
	}
	end_request(NULL, NULL, &context, MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
