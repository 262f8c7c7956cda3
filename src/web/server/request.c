/*
 * request.c
 *		One request: what of it goes to the database, and its answer.
 *
 * The database gets texts that are safe in any encoding: what is not ASCII in a header
 * becomes a question mark.  Cookies are nobody's business and stay here.
 */
#include "web/server/server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOOK "/hook/"
#define HOOK_LIMIT (1024 * 1024)	/* what a provider tells at once */
#define FORM_LIMIT (16 * 1024)
#define HOOKS_LIMIT (64 * 1024 * 1024)	/* ... all of them together, of which few are true ones */

typedef struct Text
{
	char	   *data;
	size_t		length;
	size_t		room;
} Text;

static size_t hooks_size = 0;	/* of the content of all requests that may be larger than a form */

static void add(Text *text, const char *data, size_t length);
static void add_json(Text *text, const char *data);
static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *name,
								  const char *value);
static char *client_address(const Request *request, const Options *options);

Request *
request_new(struct MHD_Connection *connection, const char *method, const char *path)
{
	Request    *request = must_allocate(sizeof(Request));

	memset(request, 0, sizeof(Request));
	request->connection = connection;
	/* libmicrohttpd keeps it as long as the request lives. */
	request->method = method;
	request->acts = strcmp(method, "POST") == 0;
	request->path = must_copy(path);
	request->began = now_ms();
	request->content_limit = strncmp(path, HOOK, strlen(HOOK)) == 0 ? HOOK_LIMIT : FORM_LIMIT;
	return request;
}

void
request_free(Request *request)
{
	if (request->content_limit > FORM_LIMIT)
		hooks_size -= request->content_length;
	free(request->path);
	free(request->headers);
	free(request->content);
	free(request->address);
	free(request->content_type);
	free(request->location);
	free(request->page);
	free(request);
}

static void
add(Text *text, const char *data, size_t length)
{
	if (text->length + length + 1 > text->room)
	{
		text->room = (text->length + length + 1) * 2;
		text->data = must_resize(text->data, text->room);
	}
	memcpy(text->data + text->length, data, length);
	text->length += length;
	text->data[text->length] = '\0';
}

static void
add_json(Text *text, const char *data)
{
	add(text, "\"", 1);
	for (; *data != '\0'; data++)
	{
		unsigned char c = (unsigned char) *data;

		if (c == '"' || c == '\\')
			add(text, "\\", 1);
		add(text, c < ' ' || c > '~' ? "?" : data, 1);
	}
	add(text, "\"", 1);
}

/* Of a header that comes twice the database takes the last one, as jsonb does. */
static enum MHD_Result
add_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	Text	   *text = arg;
	char	   *lower;

	(void) kind;
	if (strcasecmp(name, "cookie") == 0)
		return MHD_YES;
	lower = must_copy(name);
	for (char *c = lower; *c != '\0'; c++)
		*c = (char) tolower((unsigned char) *c);
	if (text->length > 1)
		add(text, ",", 1);
	add_json(text, lower);
	add(text, ":", 1);
	add_json(text, value != NULL ? value : "");
	free(lower);
	return MHD_YES;
}

const char *
request_header(const Request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/*
 * The last address of X-Forwarded-For is the one our proxy has seen, those before it
 * are what the client says.
 */
static char *
client_address(const Request *request, const Options *options)
{
	char		text[INET6_ADDRSTRLEN];
	unsigned char bytes[sizeof(struct in6_addr)];
	const union MHD_ConnectionInfo *info;
	const struct sockaddr *address;
	const void *place;

	if (options->trust_proxy)
	{
		const char *said = request_header(request, "X-Forwarded-For");
		const char *last = said ? strrchr(said, ',') : NULL;

		last = last ? last + 1 : said;
		while (last != NULL && *last == ' ')
			last++;
		if (last == NULL ||
			(inet_pton(AF_INET, last, bytes) != 1 && inet_pton(AF_INET6, last, bytes) != 1))
			return NULL;
		return must_copy(last);
	}
	info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	address = info ? info->client_addr : NULL;
	if (address == NULL || (address->sa_family != AF_INET && address->sa_family != AF_INET6))
		return NULL;
	place = address->sa_family == AF_INET ?
		(const void *) &((const struct sockaddr_in *) address)->sin_addr :
		(const void *) &((const struct sockaddr_in6 *) address)->sin6_addr;
	return inet_ntop(address->sa_family, place, text, sizeof(text)) ? must_copy(text) : NULL;
}

void
request_read_headers(Request *request, const Options *options)
{
	Text		text = {0};

	add(&text, "{", 1);
	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, add_header, &text);
	add(&text, "}", 1);
	request->headers = text.data;
	request->address = client_address(request, options);
}

bool
request_add_content(Request *request, const char *data, size_t length)
{
	if (length > request->content_limit - request->content_length)
		return false;
	if (request->content_limit > FORM_LIMIT)
	{
		if (hooks_size + length > HOOKS_LIMIT)
			return false;
		hooks_size += length;
	}
	request->content = must_resize(request->content, request->content_length + length);
	memcpy(request->content + request->content_length, data, length);
	request->content_length += length;
	return true;
}

void
request_refuse(Request *request, unsigned int status, const char *text)
{
	request->status = status;
	free(request->content_type);
	free(request->page);
	request->content_type = must_copy("text/plain; charset=utf-8");
	request->page = must_copy(text);
	request->page_length = strlen(text);
}
