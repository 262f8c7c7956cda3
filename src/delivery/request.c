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
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

static MaLiquid *template_of(MaServerOptions *options, int which, const char *source,
							 const char *what);
static char *render(MaServerOptions *options, int which, const char *source, const char *what,
					Datum data);
static void append_member(StringInfo json, const char *name, const char *value);
static void append_options(StringInfo json, const MaServerOptions *options);
static void append_files(StringInfo json, const MaRendered *rendered);
static char *from_header(const MaSender *sender);
static Datum parse_json(const char *json);
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

static void
append_member(StringInfo json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	escape_json(json, value);
}

static void
append_options(StringInfo json, const MaServerOptions *options)
{
	append_member(json, "account", options->account);
	append_member(json, "region", options->region);
}

/* What goes with a mail, in base64. */
static void
append_files(StringInfo json, const MaRendered *rendered)
{
	appendStringInfoString(json, ", \"attachments\": [");
	for (int i = 0; i < rendered->nattachments; i++)
	{
		const MaAttachment *file = &rendered->attachments[i];
		int			size = pg_b64_enc_len((int) file->length) + 1;
		char	   *content = palloc0(size);

		(void) pg_b64_encode((const MA_BASE64_BYTE *) file->content, (int) file->length, content,
							 size);
		appendStringInfoString(json, i > 0 ? ", {" : "{");
		append_member(json, "filename", file->filename);
		append_member(json, "type", file->type);
		appendStringInfo(json, ", \"inline\": %s, \"content\": \"%s\"}",
						 file->shown ? "true" : "false", content);
		pfree(content);
	}
	appendStringInfoChar(json, ']');
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

static Datum
parse_json(const char *json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

/* In a transaction; an error is one of this message or of its server. */
void
ma_request_build(MaMessage *message, const MaRendered *rendered, const char *unsubscribe_url)
{
	MaOutgoing *outgoing = &message->outgoing;
	MaServerOptions *options = message->options;
	MaLiquid   *body = template_of(options, TEMPLATE_BODY, options->body, "body");
	bool		mime = ma_liquid_shows(body, "mime");
	bool		files = ma_liquid_shows(body, "attachments");
	StringInfoData server;
	StringInfoData json;
	Datum		data;
	char	   *redirected;

	if (rendered->nattachments > 0 && !mime && !files)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("server \"%s\" does not carry files, of which the mail has %d: its body shows neither message.attachments nor message.mime",
						options->name, rendered->nattachments)));
	if (ma_preset_missing(options) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server \"%s\" needs option \"%s\"", options->name,
						ma_preset_missing(options))));
	initStringInfo(&server);
	appendStringInfoChar(&server, '{');
	append_options(&server, options);
	appendStringInfoChar(&server, '}');
	outgoing->url = render(options, TEMPLATE_URL, options->url, "url", parse_json(server.data));

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"message\": {");
	append_member(&json, "key", outgoing->key);
	append_member(&json, "channel", message->channel);
	append_member(&json, "to", outgoing->to_address);
	append_member(&json, "from", message->sender->from_address);
	append_member(&json, "from_name", message->sender->from_name);
	append_member(&json, "from_header", from_header(message->sender));
	append_member(&json, "reply_to", message->sender->reply_to);
	append_member(&json, "subject", rendered->subject);
	append_member(&json, "text", rendered->text);
	if (rendered->html != NULL)
		append_member(&json, "html", ma_html_with_preheader(rendered->html, rendered->preheader));
	append_member(&json, "template", message->template_name);
	append_member(&json, "unsubscribe_url", unsubscribe_url);
	if (ma_redirect(message->channel, &redirected))
		append_member(&json, "redirected_from", message->address);
	/* Copies of large files are made for those who look at them only. */
	if (mime)
		append_member(&json, "mime", outgoing->content);
	if (files)
		append_files(&json, rendered);
	appendStringInfoChar(&json, '}');
	append_options(&json, options);
	appendStringInfoChar(&json, '}');
	data = parse_json(json.data);
	if (options->headers != NULL)
		outgoing->headers = render(options, TEMPLATE_HEADERS, options->headers, "headers", data);
	outgoing->content = render(options, TEMPLATE_BODY, options->body, "body", data);
	outgoing->length = strlen(outgoing->content);
}

/* ---- the answer ---- */

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

/* Names in small letters. */
static void
append_headers(StringInfo json, const char *headers)
{
	appendStringInfoString(json, ", \"headers\": {");
	while (*headers != '\0')
	{
		Size		length = strcspn(headers, "\r\n");
		const char *colon = memchr(headers, ':', length);

		if (colon != NULL && pg_encoding_verifymbstr(PG_UTF8, headers, length) == (int) length)
		{
			char	   *name = pnstrdup(headers, colon - headers);
			const char *value = colon + 1 + strspn(colon + 1, " \t");

			for (char *p = name; *p != '\0'; p++)
				*p = *p == '"' || *p == '\\' || (unsigned char) *p < ' ' ? '_' :
					pg_ascii_tolower((unsigned char) *p);
			append_member(json, name, pnstrdup(value, Max(headers + length - value, 0)));
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
	int			length = (int) outgoing->body_length;
	char	   *body = pnstrdup(outgoing->body, outgoing->body_length);

	/* What is not UTF-8 is no text that a template could look at. */
	if (pg_encoding_verifymbstr(PG_UTF8, body, length) != length ||
		GetDatabaseEncoding() != PG_UTF8)
		for (int i = 0; i < length; i++)
			if ((unsigned char) body[i] >= 0x80)
				body[i] = '?';
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
