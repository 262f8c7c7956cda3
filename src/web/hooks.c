/*
 * hooks.c
 *		/hook/SERVER/TOKEN: what providers tell of messages, in their own words.
 *
 * The path is the secret: its token is the signature of the server's name (consent/keys/signing.c),
 * so that every provider can be told where to call, whatever signatures it knows; where the
 * server's options name a key, the provider's own signature is demanded besides.  Whose
 * words they are is seen by their form, since a provider tells of mails the same way
 * whether they came to it by SMTP or by HTTP.  Each form is one statement that reads the
 * events out of it; marketing.record_delivery_event() does the rest and takes each once.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "delivery/delivery.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "web/web_internal.h"

#define PURPOSE "hook:"
#define TOKEN_BYTES 18
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/*
 * What the events of the form e are told as; e has the columns of the call.  By contact:
 * each locks his, and two that are told many at once would wait for each other.
 */
#define TELL(e) \
	"SELECT pg_catalog.count(marketing.record_delivery_event($2, e.id, e.kind, " \
	"message => e.message, recipient => e.recipient, status => e.status, " \
	"detail => e.detail, occurred_at => e.at)) FROM (SELECT e.* FROM (" e ") AS e " \
	"WHERE e.kind IS NOT NULL AND (e.message IS NOT NULL OR e.recipient IS NOT NULL) " \
	"ORDER BY marketing_internal.contact_of_message(e.message), e.at) AS e"

#define FROM_EPOCH(text) "pg_catalog.to_timestamp((" text ")::pg_catalog.float8)"

static const char sns[] = "Amazon SNS";

typedef struct Form
{
	const char *name;
	/* An expression over $1, the parsed content: it is of this form. */
	const char *is;
	const char *tell;
} Form;

static const Form forms[] = {
	{
		"SendGrid",
		"pg_catalog.jsonb_typeof($1) OPERATOR(pg_catalog.=) 'array'",
		TELL("SELECT e ->> 'sg_event_id' AS id, CASE e ->> 'event' WHEN 'delivered' THEN 'delivered' "
			 "WHEN 'bounce' THEN 'bounced' WHEN 'dropped' THEN 'bounced' "
			 "WHEN 'spamreport' THEN 'complained' WHEN 'unsubscribe' THEN 'unsubscribed' "
			 "WHEN 'group_unsubscribe' THEN 'unsubscribed' END AS kind, "
			 "COALESCE(e ->> 'ma_key', pg_catalog.btrim(e ->> 'smtp-id', '<>')) AS message, "
			 "e ->> 'email' AS recipient, CASE e ->> 'event' WHEN 'dropped' THEN 'blocked' "
			 "WHEN 'bounce' THEN COALESCE(e ->> 'status', CASE e ->> 'type' WHEN 'blocked' "
			 "THEN 'blocked' ELSE 'hard' END) END AS status, e ->> 'reason' AS detail, "
			 FROM_EPOCH("e ->> 'timestamp'") " AS at "
			 "FROM pg_catalog.jsonb_array_elements($1) AS e")
	},
	{
		"Mailgun",
		"$1 OPERATOR(pg_catalog.?) 'event-data'",
		TELL("SELECT e ->> 'id' AS id, CASE e ->> 'event' WHEN 'delivered' THEN 'delivered' "
			 "WHEN 'failed' THEN 'bounced' WHEN 'complained' THEN 'complained' "
			 "WHEN 'unsubscribed' THEN 'unsubscribed' END AS kind, "
			 "COALESCE(e -> 'user-variables' ->> 'ma_key', "
			 "e -> 'message' -> 'headers' ->> 'message-id') AS message, "
			 "e ->> 'recipient' AS recipient, CASE WHEN e ->> 'event' OPERATOR(pg_catalog.=) 'failed' "
			 "THEN CASE e ->> 'severity' WHEN 'temporary' THEN 'soft' "
			 "ELSE COALESCE(e -> 'delivery-status' ->> 'enhanced-code', "
			 "e -> 'delivery-status' ->> 'code', 'hard') END END AS status, "
			 "COALESCE(e -> 'delivery-status' ->> 'message', "
			 "e -> 'delivery-status' ->> 'description') AS detail, "
			 FROM_EPOCH("e ->> 'timestamp'") " AS at FROM (SELECT $1 -> 'event-data' AS e) AS d")
	},
	{
		"Postmark",
		"$1 OPERATOR(pg_catalog.?) 'RecordType'",
		TELL("SELECT COALESCE(e ->> 'ID', pg_catalog.concat(e ->> 'MessageID', ' ', e ->> 'RecordType', "
			 "' ', e ->> 'ChangedAt')) AS id, CASE e ->> 'RecordType' WHEN 'Delivery' THEN 'delivered' "
			 "WHEN 'Bounce' THEN 'bounced' WHEN 'SpamComplaint' THEN 'complained' "
			 "WHEN 'SubscriptionChange' THEN CASE WHEN (e ->> 'SuppressSending')::pg_catalog.bool "
			 "AND e ->> 'Origin' OPERATOR(pg_catalog.=) 'Recipient' THEN 'unsubscribed' END END AS kind, "
			 "e -> 'Metadata' ->> 'ma_key' AS message, "
			 "COALESCE(e ->> 'Email', e ->> 'Recipient') AS recipient, "
			 "CASE WHEN e ->> 'RecordType' OPERATOR(pg_catalog.=) 'Bounce' THEN CASE e ->> 'Type' "
			 "WHEN 'HardBounce' THEN 'hard' WHEN 'BadEmailAddress' THEN 'hard' "
			 "WHEN 'SpamNotification' THEN 'blocked' WHEN 'Blocked' THEN 'blocked' "
			 "ELSE 'soft' END END AS status, "
			 "COALESCE(e ->> 'Description', e ->> 'Details') AS detail, "
			 "COALESCE(e ->> 'DeliveredAt', e ->> 'BouncedAt', e ->> 'ChangedAt')::pg_catalog.timestamptz "
			 "AS at FROM (SELECT $1 AS e) AS d")
	},
	{
		sns,
		"$1 OPERATOR(pg_catalog.?) 'TopicArn' AND $1 ->> 'Type' OPERATOR(pg_catalog.=) 'Notification'",
		/* By its place: an id is kept longer than the address may be. */
		TELL("SELECT pg_catalog.concat($1 ->> 'MessageId', ' ', r.n) AS id, r.kind, "
			 "COALESCE((SELECT h ->> 'value' FROM pg_catalog.jsonb_array_elements(m -> 'mail' -> 'headers') AS h "
			 "WHERE pg_catalog.lower(h ->> 'name') OPERATOR(pg_catalog.=) 'x-ma-key'), "
			 "pg_catalog.btrim(m -> 'mail' -> 'commonHeaders' ->> 'messageId', '<>')) AS message, "
			 "r.address AS recipient, r.status, r.detail, "
			 "COALESCE(m -> 'bounce' ->> 'timestamp', m -> 'complaint' ->> 'timestamp', "
			 "m -> 'delivery' ->> 'timestamp')::pg_catalog.timestamptz AS at "
			 "FROM (SELECT ($1 ->> 'Message')::pg_catalog.jsonb AS m) AS n CROSS JOIN LATERAL ("
			 "SELECT 'delivered' AS kind, d #>> '{}' AS address, NULL AS status, "
			 "m -> 'delivery' ->> 'smtpResponse' AS detail, n "
			 "FROM pg_catalog.jsonb_array_elements(m -> 'delivery' -> 'recipients') "
			 "WITH ORDINALITY AS d (d, n) "
			 "UNION ALL SELECT 'bounced', b ->> 'emailAddress', "
			 "CASE m -> 'bounce' ->> 'bounceType' WHEN 'Transient' THEN 'soft' "
			 "ELSE COALESCE(b ->> 'status', 'hard') END, b ->> 'diagnosticCode', n "
			 "FROM pg_catalog.jsonb_array_elements(m -> 'bounce' -> 'bouncedRecipients') "
			 "WITH ORDINALITY AS b (b, n) "
			 "UNION ALL SELECT 'complained', c ->> 'emailAddress', NULL, "
			 "m -> 'complaint' ->> 'complaintFeedbackType', n "
			 "FROM pg_catalog.jsonb_array_elements(m -> 'complaint' -> 'complainedRecipients') "
			 "WITH ORDINALITY AS c (c, n)) AS r")
	},
	{
		"events",
		"pg_catalog.jsonb_typeof($1 -> 'events') OPERATOR(pg_catalog.=) 'array'",
		TELL("SELECT e ->> 'id' AS id, e ->> 'kind' AS kind, e ->> 'message' AS message, "
			 "e ->> 'recipient' AS recipient, e ->> 'status' AS status, e ->> 'detail' AS detail, "
			 "(e ->> 'occurred_at')::pg_catalog.timestamptz AS at "
			 "FROM pg_catalog.jsonb_array_elements($1 -> 'events') AS e")
	},
};

/* Asked of the endpoint by Amazon before it sends anything. */
static const char *const confirmation_sql =
	"SELECT $1 ->> 'SubscribeURL' WHERE $1 ->> 'Type' OPERATOR(pg_catalog.=) 'SubscriptionConfirmation'";

typedef struct Feedback
{
	const MaWebRequest *request;
	char	   *server;
	MaHookKey	key;
	const char *refused;		/* what is wrong with its signature */
	bool		understood;
} Feedback;

static char *token_of(const char *server);
static bool is_ours(const char *rest, char **server);
static void say(MaWebAnswer *answer, int status, const char *text);
static bool vouched_for(Feedback *feedback, const char *form, Jsonb *content);
static void take(void *arg);
static const Form *form_of(Datum content);

MA_FUNCTION(ma_hook_url);

static char *
token_of(const char *server)
{
	MaSignedText name = {PURPOSE, server, strlen(server)};
	uint8		signature[TOKEN_BYTES];

	ma_sign(&name, signature, TOKEN_BYTES);
	return ma_base64url(signature, TOKEN_BYTES);
}

/* marketing.hook_url(server) */
Datum
ma_hook_url(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *server;
	char	   *url;
	MaCall		call;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the server must not be null")));
	server = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (server[0] == '\0' || strlen(server) >= NAMEDATALEN ||
		strspn(server, NAME_CHARACTERS) != strlen(server))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be part of an address of the web", server),
				 errhint("Use a name of ASCII letters, digits, hyphens, dots and underlines.")));
	ma_call_begin(&call);
	url = psprintf("%s/hook/%s/%s", ma_public_url(), server, token_of(server));
	url = MemoryContextStrdup(context, url);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(url));
}

/* SERVER/TOKEN */
static bool
is_ours(const char *rest, char **server)
{
	const char *slash = strchr(rest, '/');
	MaSignedText name = {PURPOSE};
	uint8		signature[TOKEN_BYTES];

	if (slash == NULL || slash - rest >= NAMEDATALEN ||
		ma_base64url_read(slash + 1, signature, TOKEN_BYTES) != TOKEN_BYTES)
		return false;
	*server = pnstrdup(rest, slash - rest);
	name.data = *server;
	name.length = slash - rest;
	return ma_signed(&name, signature, TOKEN_BYTES);
}

static void
say(MaWebAnswer *answer, int status, const char *text)
{
	answer->status = status;
	answer->content_type = "text/plain; charset=utf-8";
	answer->content = text;
	answer->content_length = strlen(text);
}

/* The form of the content, NULL: none that is known. */
static const Form *
form_of(Datum content)
{
	static MaStatement which = {NULL, 1, {JSONBOID}};
	MaRows		rows;
	StringInfoData sql;

	if (which.sql == NULL)
	{
		initStringInfo(&sql);
		appendStringInfoString(&sql, "SELECT CASE ");
		for (int i = 0; i < lengthof(forms); i++)
			appendStringInfo(&sql, "WHEN %s THEN %d ", forms[i].is, i);
		appendStringInfoString(&sql, "END");
		which.sql = MemoryContextStrdup(TopMemoryContext, sql.data);
	}
	rows = ma_run(&which, &content, NULL, MA_RUN_READ);
	if (ma_text(&rows, 0, 1) == NULL)
		return NULL;
	return &forms[ma_int32(&rows, 0, 1)];
}

/* Amazon wants its address to be opened once; we open none, so an administrator is told. */
static bool
log_confirmation(const char *server, Datum content)
{
	static MaStatement find = {NULL, 1, {JSONBOID}};
	MaRows		rows;

	find.sql = confirmation_sql;
	rows = ma_run(&find, &content, NULL, MA_RUN_READ);
	if (rows.n == 0 || ma_text(&rows, 0, 1) == NULL || !ma_web_is_amazon(ma_text(&rows, 0, 1)))
		return false;
	ereport(LOG,
			(errmsg("the topic of Amazon SNS for server \"%s\" waits for a confirmation", server),
			 errhint("If it is yours, open %s.", ma_text(&rows, 0, 1))));
	return true;
}

/* False if it must not be taken, or has been before. */
static bool
vouched_for(Feedback *feedback, const char *form, Jsonb *content)
{
	char	   *token;
	int64		second;

	feedback->refused = ma_web_signature_fault(feedback->request, &feedback->key, form, content);
	if (feedback->refused != NULL)
		return false;
	if (!ma_web_signature_token(&feedback->key, content, &token, &second))
		return true;
	/* Told again by the provider, who has not seen our answer; or by who has seen the token. */
	feedback->understood = true;
	return ma_hook_token_use(feedback->server, token, second,
							 (int64) timestamptz_to_time_t(ma_now()) - MA_WEB_TOKEN_SECONDS);
}

/* Parses and records: all of it, or nothing. */
static void
take(void *arg)
{
	static MaStatement tell[lengthof(forms)];
	Feedback   *feedback = arg;
	char	   *text = pnstrdup(feedback->request->content, feedback->request->content_length);
	Datum		values[2];
	const Form *form;
	MaStatement *statement;

	if (strlen(text) != feedback->request->content_length)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("zero bytes in a text")));
	text = pg_any_to_server(text, strlen(text), PG_UTF8);
	values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	values[1] = CStringGetTextDatum(feedback->server);
	form = form_of(values[0]);
	if (!vouched_for(feedback, form ? form->name : sns, DatumGetJsonbP(values[0])))
		return;
	if (form == NULL)
	{
		feedback->understood = log_confirmation(feedback->server, values[0]);
		return;
	}
	statement = &tell[form - forms];
	statement->sql = form->tell;
	statement->nargs = 2;
	statement->argtypes[0] = JSONBOID;
	statement->argtypes[1] = TEXTOID;
	(void) ma_run(statement, values, NULL, MA_RUN_WRITE);
	feedback->understood = true;
}

void
ma_web_hook(const MaWebRequest *request, MaWebAnswer *answer)
{
	Feedback	feedback = {.request = request};
	ErrorData  *error;

	if (!is_ours(request->rest, &feedback.server))
	{
		say(answer, MA_WEB_NOT_FOUND, "not found\n");
		return;
	}
	feedback.key = ma_hook_key(feedback.server);
	error = ma_attempt(take, &feedback);
	/* Of the content, also if it is nested too deeply; all else is not the provider's fault. */
	if (error != NULL && !ma_error_of_expression(error->sqlerrcode) &&
		error->sqlerrcode != ERRCODE_STATEMENT_TOO_COMPLEX)
		ReThrowError(error);
	if (error == NULL && feedback.refused != NULL)
	{
		ereport(LOG,
				(errmsg("what was told to the hook of server \"%s\" is refused: %s",
						feedback.server, feedback.refused)));
		say(answer, MA_WEB_FORBIDDEN, "not signed\n");
		return;
	}
	if (error == NULL && feedback.understood)
	{
		say(answer, MA_WEB_OK, "ok\n");
		return;
	}
	/* A provider that is refused tells it again for days: somebody should look. */
	ereport(LOG,
			(errmsg("what was told to the hook of server \"%s\" is not understood: %s",
					feedback.server, error ? error->message : "its form is not known")));
	say(answer, MA_WEB_BAD_REQUEST, "not understood\n");
}
