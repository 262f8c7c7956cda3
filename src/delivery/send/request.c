/*
 * request.c
 *		A message as an HTTP request, and the answer to it, by the templates of its server.
 *
 * The templates are Liquid: `url` knows only what the server says (account, region), so
 * that nothing of a contact's can choose the host; `headers` and `body` know the message;
 * `response` knows status, headers and body of the answer (parsed, if it is JSON) and
 * says in its first word what the answer means: sent, failed, retry, server or unknown,
 * then the provider's number of the message or its reason.  If it says nothing, the
 * status decides.
 *
 * A mail with files leaves by a body that shows them, in message.attachments or in
 * message.mime; by another one it waits, with the reason, rather than lose them.
 */
#include "base/base.h"

#include "common/base64.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

static MaLiquid *template_of(MaServerOptions *options, int which, const char *source,
							 const char *what);
static char *render(MaServerOptions *options, int which, const char *source, const char *what,
					Datum data);
static char *in_utf8(const char *text);
static void push_member(JsonbParseState **state, const char *name, const char *value);
static void push_key(JsonbParseState **state, const char *name);
static void push_options(JsonbParseState **state, const MaServerOptions *options);
static void push_files(JsonbParseState **state, const MaRendered *rendered);
static char *from_header(const MaSender *sender);
static Datum message_data(const MaMessage *message, const MaRendered *rendered,
						  MaRenderVariable *unsubscribe, const MaLiquid *shown_by, bool lines);
static char *url_of(MaServerOptions *options);
static Datum parse_json(const char *json);
static void append_member(StringInfo json, const char *name, const char *value);
static char *answer_text(const char *octets, int length);
static char *answer_json(const MaOutgoing *outgoing);
static void append_headers(StringInfo json, const char *headers);
static bool is_json(const char *text);
static void read_verdict(MaOutgoing *outgoing, const char *verdict);

enum
{
	TEMPLATE_URL, TEMPLATE_HEADERS, TEMPLATE_BODY, TEMPLATE_RESPONSE
};

/* Compiled once for as long as the options hold. */
static MaLiquid *
template_of(MaServerOptions *options, int which, const char *source, const char *what)
{
	if (options->compiled[which] == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(options->context);

		char	   *place = psprintf("option \"%s\" of server \"%s\"", what, options->name);

		options->compiled[which] = ma_liquid_compile(source, strlen(source), MA_ESCAPE_NONE, place);
		MemoryContextSwitchTo(previous);
	}
	return options->compiled[which];
}

static char *
render(MaServerOptions *options, int which, const char *source, const char *what, Datum data)
{
	char	   *reason = NULL;
	char	   *result = ma_liquid_render_large(template_of(options, which, source, what), data,
												&reason);

	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RENDER_FAILED),
				 errmsg("option \"%s\" of server \"%s\" gave up: %s", what, options->name,
						reason ? reason : "")));
	return result;
}

/* Requests are UTF-8, whatever the database is. */
static char *
in_utf8(const char *text)
{
	return pg_server_to_any(text, (int) strlen(text), PG_UTF8);
}

/* ---- what templates are given, as jsonb that nobody has to read first ---- */

/* NULL: no such member. */
static void
push_member(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	text = {.type = jbvString};

	if (value == NULL)
		return;
	push_key(state, name);
	text.val.string.val = unconstify(char *, value);
	text.val.string.len = (int) strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &text);
}

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &key);
}

static void
push_options(JsonbParseState **state, const MaServerOptions *options)
{
	push_member(state, "account", options->account);
	push_member(state, "region", options->region);
}

/* What goes with a mail, in base64. */
static void
push_files(JsonbParseState **state, const MaRendered *rendered)
{
	push_key(state, "attachments");
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < rendered->nattachments; i++)
	{
		const MaAttachment *file = &rendered->attachments[i];
		int			size = pg_b64_enc_len((int) file->length) + 1;
		char	   *content = palloc0(size);
		JsonbValue	shown = {.type = jbvBool, .val.boolean = file->shown};

		if (pg_b64_encode((const MA_BASE64_BYTE *) file->content, (int) file->length, content,
						  size) < 0)
			elog(ERROR, "cannot happen: base64 is longer than it can be");
		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_member(state, "filename", pg_any_to_server(file->filename, strlen(file->filename),
														PG_UTF8));
		push_member(state, "type", file->type);
		push_key(state, "inline");
		(void) pushJsonbValue(state, WJB_VALUE, &shown);
		push_member(state, "content", content);
		(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* "Name" <address>, as providers take it in one text. */
static char *
from_header(const MaSender *sender)
{
	StringInfoData text;

	if (sender->from_name == NULL)
		return pstrdup(sender->from_address);
	initStringInfo(&text);
	appendStringInfoChar(&text, '"');
	for (const char *p = sender->from_name; *p != '\0'; p++)
		if (*p == '"' || *p == '\\')
			appendStringInfo(&text, "\\%c", *p);
		else
			appendStringInfoChar(&text, *p);
	appendStringInfo(&text, "\" <%s>", sender->from_address);
	return text.data;
}

/*
 * What templates call `message`, as far as this one shows it; for headers (`lines`) without the
 * octets that would end a line.
 */
static Datum
message_data(const MaMessage *message, const MaRendered *rendered, MaRenderVariable *unsubscribe,
			 const MaLiquid *shown_by, bool lines)
{
	const MaOutgoing *outgoing = &message->outgoing;
	const MaSender *sender = message->sender;
	char	   *html = rendered->html;
	const struct
	{
		const char *name;
		const char *value;
	}			members[] = {
		{"key", outgoing->key},
		{"channel", message->channel},
		{"to", outgoing->to_address},
		{"from", sender->from_address},
		{"from_name", sender->from_name},
		{"from_header", from_header(sender)},
		{"reply_to", sender->reply_to},
		{"subject", rendered->subject},
		{"text", rendered->text},
		{"html", html ? ma_html_with_preheader(html, rendered->preheader) : NULL},
		{"template", message->template_name},
		{"unsubscribe_url", unsubscribe && ma_liquid_shows(shown_by, "unsubscribe_url") ?
			ma_render_variable(unsubscribe) : NULL},
		{"redirected_from", message->redirected ? message->address : NULL},
		{"test", ma_message_is_test(message) ? "true" : NULL},
		{"mime", lines ? NULL : outgoing->content},
	};
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "message");
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(members); i++)
	{
		const char *value = members[i].value;
		char	   *line;

		if (value == NULL || !ma_liquid_shows(shown_by, members[i].name))
			continue;
		line = lines ? pstrdup(value) : NULL;
		for (char *p = line; p != NULL && *p != '\0'; p++)
			if ((unsigned char) *p < ' ' || *p == 0x7f)
				*p = ' ';
		push_member(&state, members[i].name, lines ? line : value);
	}
	if (!lines && ma_liquid_shows(shown_by, "attachments"))
		push_files(&state, rendered);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	push_options(&state, message->options);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * It knows nothing of a message, so it is rendered once for as long as the options hold, but for
 * one with a filter, which may show the time.
 */
static char *
url_of(MaServerOptions *options)
{
	JsonbParseState *state = NULL;
	Datum		server;
	char	   *url;

	if (options->rendered_url != NULL)
		return options->rendered_url;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_options(&state, options);
	server = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	url = in_utf8(render(options, TEMPLATE_URL, options->url, "url", server));
	if (strchr(options->url, '|') == NULL)
		options->rendered_url = MemoryContextStrdup(options->context, url);
	return url;
}

/* In a transaction; an error is one of this message or of its server. */
void
ma_request_build(MaMessage *message, const MaRendered *rendered, MaRenderVariable *unsubscribe)
{
	MaOutgoing *outgoing = &message->outgoing;
	MaServerOptions *options = message->options;
	MaLiquid   *body = template_of(options, TEMPLATE_BODY, options->body, "body");

	if (rendered->nattachments > 0 && !ma_liquid_shows(body, "mime") &&
		!ma_liquid_shows(body, "attachments"))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("server \"%s\" does not carry files, of which the mail has %d: its body shows neither message.attachments nor message.mime",
						options->name, rendered->nattachments)));
	if (ma_preset_missing(options) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server \"%s\" needs option \"%s\"", options->name,
						ma_preset_missing(options))));
	outgoing->url = url_of(options);
	if (options->headers != NULL)
	{
		const MaLiquid *headers = template_of(options, TEMPLATE_HEADERS, options->headers, "headers");

		outgoing->headers = in_utf8(render(options, TEMPLATE_HEADERS, options->headers, "headers",
										   message_data(message, rendered, unsubscribe, headers,
														true)));
	}
	outgoing->content = in_utf8(render(options, TEMPLATE_BODY, options->body, "body",
									   message_data(message, rendered, unsubscribe, body, false)));
	outgoing->length = strlen(outgoing->content);
}

/* ---- the answer ---- */

static Datum
parse_json(const char *json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	ma_append_json(json, value, strlen(value));
}

static bool
is_json(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool valid = true;

	if (text[strspn(text, " \t\r\n")] != '{' && text[strspn(text, " \t\r\n")] != '[')
		return false;
	PG_TRY();
	{
		(void) parse_json(text);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		valid = false;
	}
	PG_END_TRY();
	return valid;
}

/* Octets of somebody else's as a text that templates can look at: what is none is told so. */
static char *
answer_text(const char *octets, int length)
{
	char	   *text = palloc(length + 1);
	bool		is_text = GetDatabaseEncoding() == PG_UTF8 &&
		pg_encoding_verifymbstr(PG_UTF8, octets, length) == length;

	for (int i = 0; i < length; i++)
		text[i] = octets[i] == '\0' || (!is_text && IS_HIGHBIT_SET(octets[i])) ? '?' : octets[i];
	text[length] = '\0';
	return text;
}

/* Names in small letters. */
static void
append_headers(StringInfo json, const char *headers)
{
	appendStringInfoString(json, ", \"headers\": {");
	while (*headers != '\0')
	{
		Size		length = strcspn(headers, "\r\n");
		const char *colon = memchr(headers, ':', length);

		if (colon != NULL)
		{
			char	   *name = answer_text(headers, (int) (colon - headers));
			const char *value = colon + 1 + strspn(colon + 1, " \t");

			for (char *p = name; *p != '\0'; p++)
				*p = *p == '"' || *p == '\\' || (unsigned char) *p < ' ' ? '_' :
					pg_ascii_tolower((unsigned char) *p);
			append_member(json, name,
						  answer_text(value, (int) Max(headers + length - value, 0)));
		}
		headers += length;
		headers += strspn(headers, "\r\n");
	}
	appendStringInfoChar(json, '}');
}

static char *
answer_json(const MaOutgoing *outgoing)
{
	StringInfoData json;
	char	   *body = answer_text(outgoing->body, (int) outgoing->body_length);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"status\": %d", outgoing->status);
	append_headers(&json, outgoing->answer_headers);
	if (is_json(body))
		appendStringInfo(&json, ", \"body\": %s", body);
	else
		append_member(&json, "body", body);
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
read_verdict(MaOutgoing *outgoing, const char *verdict)
{
	static const struct
	{
		const char *word;
		MaOutcome	outcome;
	}			words[] = {
		{"sent", MA_OUTCOME_SENT},
		{"failed", MA_OUTCOME_FAILED},
		{"retry", MA_OUTCOME_RETRY},
		{"server", MA_OUTCOME_SERVER},
		{"unknown", MA_OUTCOME_UNKNOWN},
	};
	const char *word = verdict + strspn(verdict, " \t\r\n");
	Size		length = strcspn(word, " \t\r\n");

	for (int i = 0; i < lengthof(words); i++)
		if (strlen(words[i].word) == length && strncmp(words[i].word, word, length) == 0)
		{
			const char *rest = word + length + strspn(word + length, " \t\r\n");
			int			kept = (int) strlen(rest);

			while (kept > 0 && (unsigned char) rest[kept - 1] <= ' ')
				kept--;
			outgoing->outcome = words[i].outcome;
			if (kept > 0)
				outgoing->answer = pnstrdup(rest, pg_mbcliplen(rest, kept, 500));
			return;
		}
}

/* A template that fails leaves it to the status. */
void
ma_response_read(MaMessage *message)
{
	MaOutgoing *outgoing = &message->outgoing;
	MemoryContext context = CurrentMemoryContext;

	if (message->options->response == NULL)
		return;
	PG_TRY();
	{
		read_verdict(outgoing, render(message->options, TEMPLATE_RESPONSE,
									  message->options->response, "response",
									  parse_json(answer_json(outgoing))));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
}
