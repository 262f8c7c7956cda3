/*
 * feedback.c
 *		marketing.record_delivery_event(): what became of messages after they were sent, as
 *		providers and mail servers tell it.
 *
 * They tell some things twice and in any order.  A dedup_key makes the second time
 * nothing; and nothing here depends on the order: a bounce that says the address is none,
 * and a complaint, are never taken back by what comes after; soft bounces are weighed by
 * when they happened (bounce_limit.c); what became of a message is the most telling of
 * its events, not the last.
 *
 * A message is known by its key, which bears its number (message_key.c).
 */
#include "base/base.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/feedback.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)
#define MAX_STATUS 200			/* octets of it in the reason of a suppression */

enum
{
	ARG_SERVER, ARG_DEDUP_KEY, ARG_KIND, ARG_MESSAGE, ARG_RECIPIENT, ARG_STATUS, ARG_DETAIL,
	ARG_OCCURRED_AT, NUM_ARGS
};

typedef enum Kind
{
	KIND_DELIVERED,
	KIND_BOUNCED,
	KIND_COMPLAINED,
	KIND_UNSUBSCRIBED
} Kind;

static const char *const kind_names[] = {"delivered", "bounced", "complained", "unsubscribed"};

/* What is told, and of which message. */
typedef struct Feedback
{
	char	   *server;
	char	   *dedup_key;
	Kind		kind;
	const char *class;			/* of a bounce, else NULL */
	char	   *status;
	char	   *detail;
	TimestampTz occurred_at;
	/* the message; 0 and NULL: not known */
	int64		message_id;
	int64		logged_for;		/* the contact its row names */
	int64		contact_id;		/* who that is now */
	int32		topic_id;
	char	   *channel;
	char	   *template;
	char	   *journey;
	char	   *step;
	char	   *state;			/* of a live one */
	Datum		address_hash;	/* 0: it is not known */
} Feedback;

#define TOPIC_SQL(topic_id) \
	"CASE WHEN " topic_id " OPERATOR(pg_catalog.=) 0 THEN 'transactional' ELSE " \
	"(SELECT t.name FROM marketing_internal.topic AS t " \
	"WHERE t.topic_id OPERATOR(pg_catalog.=) " topic_id ") END"

#define ROWS_SQL(channel, kind) \
	"SELECT e.contact_id, e.occurred_at, pg_catalog.jsonb_build_object('template', e.template, " \
	"'journey', e.journey, 'step', e.step, 'topic', " TOPIC_SQL("e.topic_id") ") AS properties " \
	"FROM marketing_internal.delivery_event AS e " \
	"WHERE e.channel OPERATOR(pg_catalog.=) '" channel "' " \
	"AND e.kind OPERATOR(pg_catalog.=) '" kind "' AND e.message_id IS NOT NULL"

#define CHANNEL_ROWS(channel) \
	{channel "_delivered", "delivery_event", ROWS_SQL(channel, "delivered")}, \
	{channel "_bounced", "delivery_event", ROWS_SQL(channel, "bounced")}, \
	{channel "_complained", "delivery_event", ROWS_SQL(channel, "complained")}

static const MaBuiltinRows builtin_rows[] = {
	CHANNEL_ROWS("email"), CHANNEL_ROWS("sms"), CHANNEL_ROWS("push")
};

const MaPartitioned ma_delivery_event_log = {
	.name = "delivery_event", .column = "recorded_at", .key = "contact_id, event_id, recorded_at",
	.index = "address_hash"
};

static bool partition_tick(void);
static char *text_argument(FunctionCallInfo fcinfo, int n);
static void read_arguments(FunctionCallInfo fcinfo, Feedback *feedback);
static Kind kind_of(const char *name);
static int64 message_of(const char *text);
static bool find_message(Feedback *feedback, int64 message_id, char **address);
static void forget_message(Feedback *feedback, char **address);
static bool is_erased(Datum address_hash);
static bool find_target(FunctionCallInfo fcinfo, Feedback *feedback);
static bool is_new(const Feedback *feedback);
static void store(Feedback *feedback);
static void raise_event(const Feedback *feedback, int64 event_id);
static char *bounce_reason(const char *status);
static const char *consequences(const Feedback *feedback);
static void withdraw(const Feedback *feedback, const char *origin);
static void settle_suspect(const Feedback *feedback);

MA_FUNCTION(ma_record_delivery_event);
MA_FUNCTION(ma_contact_of_message);

void
ma_feedback_init(void)
{
	static const MaDuty duty = {
		.name = "delivery event partitions", .every_ms = DUTY_EVERY_MS, .tick = partition_tick
	};

	ma_register_builtin_rows(builtin_rows, lengthof(builtin_rows));
	ma_bounce_limit_init();
	ma_worker_register_duty(&duty);
}

static bool
partition_tick(void)
{
	ma_partitions_extend(&ma_delivery_event_log);
	return false;
}

/* ---- what is told ---- */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Kind
kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for kind: \"%s\"", name),
			 errhint("Use delivered, bounced, complained or unsubscribed.")));
}

static void
read_arguments(FunctionCallInfo fcinfo, Feedback *feedback)
{
	static const char *const names[] = {"server", "dedup_key", "kind"};

	for (int i = ARG_SERVER; i <= ARG_KIND; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	if (PG_ARGISNULL(ARG_MESSAGE) && PG_ARGISNULL(ARG_RECIPIENT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("message and recipient must not both be null")));
	memset(feedback, 0, sizeof(*feedback));
	feedback->server = text_argument(fcinfo, ARG_SERVER);
	feedback->dedup_key = text_argument(fcinfo, ARG_DEDUP_KEY);
	feedback->kind = kind_of(text_argument(fcinfo, ARG_KIND));
	feedback->status = text_argument(fcinfo, ARG_STATUS);
	feedback->detail = text_argument(fcinfo, ARG_DETAIL);
	if (feedback->kind == KIND_BOUNCED)
		feedback->class = ma_bounce_class_name(ma_bounce_class(feedback->status ? feedback->status :
															   feedback->detail));
}

/* Of a key, a Message-ID or a number. */
static int64
message_of(const char *text)
{
	int64		number = ma_message_of_key(text);
	size_t		digits = strspn(text, "0123456789");

	if (number == 0 && digits > 0 && digits < 19 && text[digits] == '\0')
		number = strtoll(text, NULL, 10);
	return number;
}

static bool
find_message(Feedback *feedback, int64 message_id, char **address)
{
	static MaStatement find = {
		"SELECT m.contact_id, m.topic_id, m.channel, m.template, m.journey, m.step, m.address, m.state "
		"FROM marketing_internal.message AS m WHERE m.message_id OPERATOR(pg_catalog.=) $1 "
		"AND m.state OPERATOR(pg_catalog.=) ANY ('{sending,suspect}') UNION ALL "
		"SELECT l.contact_id, l.topic_id, l.channel, l.template, l.journey, l.step, l.address, NULL "
		"FROM marketing_internal.message_log AS l WHERE l.message_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(message_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	if (message_id == 0 || rows.n == 0)
		return false;
	feedback->message_id = message_id;
	feedback->logged_for = ma_int64(&rows, 0, 1);
	feedback->topic_id = ma_int32(&rows, 0, 2);
	feedback->channel = ma_text(&rows, 0, 3);
	feedback->template = ma_text(&rows, 0, 4);
	feedback->journey = ma_text(&rows, 0, 5);
	feedback->step = ma_text(&rows, 0, 6);
	*address = ma_text(&rows, 0, 7);
	feedback->state = ma_text(&rows, 0, 8);
	return true;
}

/* It was there, and is not any more. */
static void
forget_message(Feedback *feedback, char **address)
{
	feedback->message_id = feedback->logged_for = feedback->contact_id = 0;
	feedback->topic_id = 0;
	feedback->template = feedback->journey = feedback->step = feedback->state = NULL;
	*address = NULL;
}

/* True for the address of somebody who was erased: no more than the hash is kept of it. */
static bool
is_erased(Datum address_hash)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.erasure WHERE address_hash OPERATOR(pg_catalog.=) $1 LIMIT 1",
		1, {BYTEAOID}
	};

	return ma_run(&find, &address_hash, NULL, MA_RUN_READ_LATEST).n > 0;
}

/*
 * The message and where it went; without one the recipient that is told.  The locks of
 * its contact and address are taken.  False: neither is known.
 */
static bool
find_target(FunctionCallInfo fcinfo, Feedback *feedback)
{
	char	   *message = text_argument(fcinfo, ARG_MESSAGE);
	char	   *recipient = text_argument(fcinfo, ARG_RECIPIENT);
	char	   *address = NULL;

	if (message != NULL && find_message(feedback, message_of(message), &address))
	{
		feedback->contact_id = ma_consent_lock_contact(feedback->logged_for);
		/* While we waited for him it may have been settled, or erased with him. */
		feedback->message_id = 0;
		if (!find_message(feedback, message_of(message), &address))
			forget_message(feedback, &address);
	}
	if (feedback->message_id == 0)
	{
		if (recipient == NULL)
			return false;
		feedback->channel = strchr(recipient, '@') != NULL ? "email" : "sms";
	}
	if (address == NULL && recipient != NULL)
		address = ma_channel_normalise(feedback->channel, recipient);
	if (address != NULL)
	{
		feedback->address_hash = ma_address_hash(feedback->channel, address);
		ma_recipient_lock(ma_recipient_lock_key(feedback->address_hash));
	}
	/* In words a server tells the address, too. */
	if (feedback->message_id == 0 && feedback->address_hash != (Datum) 0 &&
		is_erased(feedback->address_hash))
		feedback->detail = NULL;
	return feedback->message_id != 0 || feedback->address_hash != (Datum) 0;
}

/* marketing_internal.contact_of_message(message) */
Datum
ma_contact_of_message(PG_FUNCTION_ARGS)
{
	Feedback	feedback = {0};
	char	   *address;
	int64		contact_id = 0;
	MaCall		call;

	ma_call_begin(&call);
	if (find_message(&feedback, message_of(text_to_cstring(PG_GETARG_TEXT_PP(0))), &address))
		contact_id = ma_contact_now(feedback.logged_for);
	ma_call_end(&call);
	if (contact_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(contact_id);
}

/* ---- recording it ---- */

static bool
is_new(const Feedback *feedback)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.delivery_event_key (contact_id, server, dedup_key, recorded_at) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT (contact_id, server, dedup_key) DO NOTHING",
		4, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[4];

	/* Of the row's contact: a merge since the first time makes it no other. */
	values[0] = Int64GetDatum(feedback->logged_for);
	values[1] = CStringGetTextDatum(feedback->server);
	values[2] = CStringGetTextDatum(feedback->dedup_key);
	values[3] = TimestampTzGetDatum(ma_now());
	return ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}

static void
store(Feedback *feedback)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.delivery_event (contact_id, recorded_at, occurred_at, server, "
		"kind, class, status, detail, message_id, channel, topic_id, template, journey, step, "
		"address_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULLIF($9, 0), $10, $11, $12, $13, $14, "
		"$15) RETURNING event_id",
		15, {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID}
	};
	const char *texts[] = {
		feedback->server, kind_names[feedback->kind], feedback->class, feedback->status,
		feedback->detail, feedback->channel, feedback->template, feedback->journey, feedback->step
	};
	static const int places[] = {3, 4, 5, 6, 7, 9, 11, 12, 13};
	Datum		values[15];
	char		nulls[] = "               ";
	MaRows		rows;

	ma_partitions_ensure(&ma_delivery_event_log);
	values[0] = Int64GetDatum(feedback->contact_id);
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = TimestampTzGetDatum(feedback->occurred_at);
	values[8] = Int64GetDatum(feedback->message_id);
	values[10] = Int32GetDatum(feedback->topic_id);
	values[14] = feedback->address_hash;
	nulls[14] = feedback->address_hash == (Datum) 0 ? 'n' : ' ';
	for (int i = 0; i < lengthof(texts); i++)
	{
		values[places[i]] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[places[i]] = texts[i] ? ' ' : 'n';
	}
	rows = ma_run(&insert, values, nulls, MA_RUN_WRITE_LATEST);
	if (feedback->message_id != 0)
		raise_event(feedback, ma_int64(&rows, 0, 1));
}

/* email_bounced and the like; an unsubscription is told by the ledger. */
static void
raise_event(const Feedback *feedback, int64 event_id)
{
	static MaStatement properties = {
		"SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('template', $1, "
		"'journey', $2, 'step', $3, 'topic', " TOPIC_SQL("$4") "))",
		4, {TEXTOID, TEXTOID, TEXTOID, INT4OID}
	};
	char	   *name = psprintf("%s_%s", feedback->channel, kind_names[feedback->kind]);
	Datum		values[4];
	char		nulls[] = "    ";
	MaRows		built;
	bool		isnull;

	if (feedback->kind == KIND_UNSUBSCRIBED || feedback->contact_id == 0 ||
		ma_builtin_columns(name) == NULL)
		return;
	values[0] = CStringGetTextDatum(feedback->template);
	values[1] = feedback->journey ? CStringGetTextDatum(feedback->journey) : (Datum) 0;
	values[2] = feedback->step ? CStringGetTextDatum(feedback->step) : (Datum) 0;
	values[3] = Int32GetDatum(feedback->topic_id);
	nulls[1] = feedback->journey ? ' ' : 'n';
	nulls[2] = feedback->step ? ' ' : 'n';
	built = ma_run(&properties, values, nulls, MA_RUN_READ_LATEST);
	ma_raise_event(name, feedback->contact_id, event_id, feedback->occurred_at,
				   PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&built, 0, 1, &isnull))));
}

/* ---- what follows from it ---- */

/* The consent for what the message was about. */
static void
withdraw(const Feedback *feedback, const char *origin)
{
	MaConsentChange change = {
		.contact_id = feedback->contact_id,
		.topic_id = feedback->topic_id,
		.channel = feedback->channel,
		.state = MA_CONSENT_OPTED_OUT,
		.origin = origin,
	};

	if (feedback->message_id == 0 || feedback->topic_id == MA_TOPIC_TRANSACTIONAL_ID)
		return;
	/* The address may be another one now: that lock is out of order, so it is only tried. */
	ma_recipients_lock(&change.contact_id, 1, list_make1(feedback->channel), false);
	(void) ma_consent_append(&change, 1, false);
}

/* "bounced: 5.1.1 no such user", of a status of any length. */
static char *
bounce_reason(const char *status)
{
	if (status == NULL)
		return pstrdup("bounced");
	return psprintf("bounced: %.*s", pg_mbcliplen(status, (int) strlen(status), MAX_STATUS),
					status);
}

/* The end of the answer, or NULL. */
static const char *
consequences(const Feedback *feedback)
{
	bool		added = false;

	if (feedback->kind == KIND_COMPLAINED || feedback->kind == KIND_UNSUBSCRIBED)
		withdraw(feedback, feedback->kind == KIND_COMPLAINED ? "complaint" : "provider");
	if (feedback->address_hash == (Datum) 0)
		return "";
	if (feedback->kind == KIND_COMPLAINED)
		added = ma_suppression_add(feedback->channel, feedback->address_hash, "complaint");
	else if (feedback->class != NULL && strcmp(feedback->class, "hard") == 0)
		added = ma_suppression_add(feedback->channel, feedback->address_hash,
								   bounce_reason(feedback->status));
	else if (feedback->kind != KIND_UNSUBSCRIBED)
		added = ma_soft_bounces_weigh(feedback->channel, feedback->address_hash);
	return added ? ", the address is suppressed" : "";
}

/* Nobody knew whether it was sent: now somebody does. */
static void
settle_suspect(const Feedback *feedback)
{
	MaMessage	message = {0};
	MaMessage  *messages[1] = {&message};

	if (feedback->state == NULL || strcmp(feedback->state, "suspect") != 0)
		return;
	message.contact_id = feedback->logged_for;
	message.message_id = feedback->message_id;
	message.becomes = MA_MESSAGE_SENT;
	message.gate = "feedback";
	message.detail = psprintf("%s says it was %s", feedback->server, kind_names[feedback->kind]);
	ma_settle(messages, 1);
}

/*
 * marketing.record_delivery_event(server, dedup_key, kind, message, recipient, status, detail,
 * occurred_at)
 */
Datum
ma_record_delivery_event(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Feedback	feedback;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	read_arguments(fcinfo, &feedback);
	ma_call_begin(&call);
	feedback.occurred_at = ma_now();
	/* Nothing happens later than now; before 2000 only in a mistake. */
	if (!PG_ARGISNULL(ARG_OCCURRED_AT) && PG_GETARG_TIMESTAMPTZ(ARG_OCCURRED_AT) > 0)
		feedback.occurred_at = Min(feedback.occurred_at, PG_GETARG_TIMESTAMPTZ(ARG_OCCURRED_AT));
	if (!find_target(fcinfo, &feedback))
		answer = "ignored: no such message, and no address";
	else if (!is_new(&feedback))
		answer = "known";
	else
	{
		store(&feedback);
		settle_suspect(&feedback);
		answer = psprintf("%s%s%s%s", kind_names[feedback.kind], feedback.class ? ": " : "",
						  feedback.class ? feedback.class : "", consequences(&feedback));
	}
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
