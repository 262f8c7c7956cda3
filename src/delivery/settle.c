/*
 * settle.c
 *		What became of messages: the log, the decision, the event, and who wants to
 *		know.
 *
 * All of it is in one transaction, so a journey goes on if and only if its message is
 * settled.  A message that is settled already is not settled again: the statement
 * takes it out of the live ones, and what it did not take it does not tell of.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define MAX_LISTENERS 8
#define MAX_RESENDS 5			/* a message that has been under way in so many crashes is held */
#define RETRY_SECONDS 60

static const char *const state_names[] = {
	"queued", "sending", "deferred", "suspect", "sent", "failed", "skipped", "expired"
};

static MaSettleListener listeners[MAX_LISTENERS];
static int	nlisteners = 0;

static bool is_end(MaMessageState state);
static MaMessageState state_of(const char *name);
static void settle_free(void *arg);
static int	pick(MaMessage **messages, int n, bool ended, MaMessage **picked);
static void end_messages(MaMessage **messages, int n);
static void return_coupons(MaMessage **messages, int n);
static void change_messages(MaMessage **messages, int n);
static void tell(const MaRows *rows);
static void raise_event(const MaSettled *message, const MaRows *rows, uint64 row);
static MaMessage *abandoned(const MaRows *rows, uint64 row);
static void close_suspects(void);

static MaMessageState outcome_of(const char *outcome);

MA_FUNCTION(ma_settle_message);

void
ma_register_settle_listener(MaSettleListener listener)
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "cannot happen: more than %d listeners", MAX_LISTENERS);
	listeners[nlisteners++] = listener;
}

const char *
ma_message_state_name(MaMessageState state)
{
	return state_names[state];
}

static MaMessageState
state_of(const char *name)
{
	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(name, state_names[i]) == 0)
			return i;
	/* Both statements give back one of the names above, which we handed to them. */
	elog(ERROR, "cannot happen: a message became \"%s\"", name);
}

static bool
is_end(MaMessageState state)
{
	return state >= MA_MESSAGE_SENT;
}

void
ma_settle(MaMessage **messages, int n)
{
	MaMessage **picked = palloc_array(MaMessage *, Max(n, 1));
	int			count;

	if (n == 0)
		return;
	ma_delivery_partitions_ensure();
	count = pick(messages, n, true, picked);
	if (count > 0)
		end_messages(picked, count);
	count = pick(messages, n, false, picked);
	if (count > 0)
		change_messages(picked, count);
}

/* Not where another transaction has its row, as one that erases the contact. */
static void
settle_free(void *arg)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.message WHERE contact_id OPERATOR(pg_catalog.=) $1 "
		"AND message_id OPERATOR(pg_catalog.=) $2 FOR UPDATE NOWAIT",
		2, {INT8OID, INT8OID}
	};
	MaMessage  *message = arg;
	Datum		values[2];

	values[0] = Int64GetDatum(message->contact_id);
	values[1] = Int64GetDatum(message->message_id);
	(void) ma_run(&lock, values, NULL, MA_RUN_WRITE_LATEST);
	ma_settle(&message, 1);
}

int
ma_settle_each(MaMessage **messages, int n)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		ErrorData  *error = ma_attempt(settle_free, messages[i]);

		if (error == NULL)
			count++;
		else
		{
			messages[i]->settling = false;
			if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
				ma_count_error(error->sqlerrcode, error->message);
			FreeErrorData(error);
		}
	}
	return count;
}

/* Those that end, or those that stay. */
static int
pick(MaMessage **messages, int n, bool ended, MaMessage **picked)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (is_end(messages[i]->becomes) == ended)
			picked[count++] = messages[i];
	return count;
}

/* From the live ones to the log. */
static void
end_messages(MaMessage **messages, int n)
{
	static MaStatement end = {
		"WITH gone AS (DELETE FROM marketing_internal.message AS m USING ROWS FROM ("
		"pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($7), pg_catalog.unnest($8)) "
		"AS r (contact_id, message_id, ended, why, detail, gate, address, version) "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) r.message_id "
		"RETURNING m.contact_id, m.message_id, r.ended, r.why, r.detail, r.gate, m.channel, "
		"m.topic_id, m.template_id, m.template, r.version, m.journey, m.step, m.enrollment_id, "
		"COALESCE(r.address, m.address) AS address, m.server, m.attempts, m.created_at, m.test_for), "
		"logged AS (INSERT INTO marketing_internal.message_log (contact_id, message_id, state, "
		"reason, detail, settled_at, channel, topic_id, template_id, template, version, journey, "
		"step, enrollment_id, address, server, attempts, created_at, test_for) "
		"SELECT contact_id, message_id, ended, why, detail, $9, channel, topic_id, template_id, "
		"template, version, journey, step, enrollment_id, address, server, attempts, created_at, "
		"test_for FROM gone), "
		"noted AS (INSERT INTO marketing_internal.message_decision "
		"(contact_id, message_id, decided_at, decision, gate, reason) "
		"SELECT contact_id, message_id, $9, ended, gate, why FROM gone) "
		"SELECT message_id, contact_id, template_id, enrollment_id, step, channel, ended, why, "
		"template, journey, topic_id FROM gone ORDER BY message_id",
		9, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID}
	};
	int64	   *ids[2];
	char	  **texts[5];
	int32	   *versions = palloc_array(int32, n);
	Datum		values[9];
	MaRows		rows;

	for (int f = 0; f < lengthof(ids); f++)
		ids[f] = palloc_array(int64, n);
	for (int f = 0; f < lengthof(texts); f++)
		texts[f] = palloc_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		ids[0][i] = messages[i]->contact_id;
		ids[1][i] = messages[i]->message_id;
		texts[0][i] = unconstify(char *, state_names[messages[i]->becomes]);
		texts[1][i] = messages[i]->reason;
		texts[2][i] = messages[i]->detail;
		texts[3][i] = unconstify(char *, messages[i]->gate);
		texts[4][i] = messages[i]->address;
		versions[i] = messages[i]->version;
	}
	for (int f = 0; f < lengthof(ids); f++)
		values[f] = ma_int8_array(ids[f], n);
	for (int f = 0; f < lengthof(texts); f++)
		values[f + 2] = ma_text_array(texts[f], n);
	values[7] = ma_int4_array(versions, n);
	values[8] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&end, values, NULL, MA_RUN_WRITE_LATEST);
	return_coupons(messages, n);
	tell(&rows);
}

/* What certainly did not go out gives back what it would have given. */
static void
return_coupons(MaMessage **messages, int n)
{
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (messages[i]->becomes != MA_MESSAGE_SENT &&
			(messages[i]->gate == NULL || strcmp(messages[i]->gate, "crash") != 0))
		{
			contacts[count] = messages[i]->contact_id;
			ids[count++] = messages[i]->message_id;
		}
	if (count > 0)
		ma_coupons_return(contacts, ids, count);
}

/* To another live state: queued (again), deferred or suspect. */
static void
change_messages(MaMessage **messages, int n)
{
	static MaStatement change = {
		"WITH r AS MATERIALIZED (SELECT m.contact_id, m.message_id, u.becomes, u.why, u.gate, "
		"COALESCE(u.next_at, m.next_at) AS next_at, "
		"m.state OPERATOR(pg_catalog.<>) u.becomes OR m.reason IS DISTINCT FROM u.why AS new, "
		"GREATEST(m.attempts OPERATOR(pg_catalog.-) u.untried, 0) AS attempts "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($8)) "
		"AS u (contact_id, message_id, becomes, why, gate, next_at, untried) "
		"JOIN marketing_internal.message AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) u.message_id), "
		"changed AS (UPDATE marketing_internal.message AS m SET state = r.becomes, "
		"reason = CASE WHEN r.becomes OPERATOR(pg_catalog.=) 'queued' THEN NULL ELSE r.why END, "
		"since = CASE WHEN r.new THEN $7 ELSE m.since END, next_at = r.next_at, "
		"attempts = r.attempts, leased_until = NULL FROM r "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) r.message_id "
		"RETURNING m.message_id, m.contact_id, m.template_id, m.enrollment_id, m.step, m.channel, "
		"r.becomes, r.why, m.template, m.journey, m.topic_id, r.gate, r.new), "
		"noted AS (INSERT INTO marketing_internal.message_decision "
		"(contact_id, message_id, decided_at, decision, gate, reason) "
		"SELECT contact_id, message_id, $7, "
		"CASE becomes WHEN 'queued' THEN 'returned' ELSE becomes END, gate, why "
		"FROM changed WHERE new) "
		"SELECT message_id, contact_id, template_id, enrollment_id, step, channel, becomes, why, "
		"template, journey, topic_id FROM changed "
		"WHERE becomes OPERATOR(pg_catalog.=) 'suspect' ORDER BY message_id",
		8, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, INT4ARRAYOID}
	};
	int32	   *untried = palloc_array(int32, n);
	int64	   *ids[2];
	char	  **texts[3];
	Datum	   *times = palloc_array(Datum, n);
	bool	   *nulls = palloc_array(bool, n);
	TimestampTz now = ma_now();
	Datum		values[8];
	MaRows		rows;

	for (int f = 0; f < lengthof(ids); f++)
		ids[f] = palloc_array(int64, n);
	for (int f = 0; f < lengthof(texts); f++)
		texts[f] = palloc_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		int64		pause = messages[i]->pause > 0 ? messages[i]->pause : RETRY_SECONDS;

		ids[0][i] = messages[i]->contact_id;
		ids[1][i] = messages[i]->message_id;
		texts[0][i] = unconstify(char *, state_names[messages[i]->becomes]);
		texts[1][i] = messages[i]->reason;
		texts[2][i] = unconstify(char *, messages[i]->gate);
		times[i] = TimestampTzGetDatum(messages[i]->next_try != 0 ? messages[i]->next_try :
									   now + pause * USECS_PER_SEC);
		nulls[i] = messages[i]->becomes != MA_MESSAGE_DEFERRED;
		untried[i] = messages[i]->untried ? 1 : 0;
	}
	for (int f = 0; f < lengthof(ids); f++)
		values[f] = ma_int8_array(ids[f], n);
	for (int f = 0; f < lengthof(texts); f++)
		values[f + 2] = ma_text_array(texts[f], n);
	values[5] = ma_datum_array_nulls(times, nulls, n, TIMESTAMPTZOID);
	values[6] = TimestampTzGetDatum(now);
	values[7] = ma_int4_array(untried, n);
	rows = ma_run(&change, values, NULL, MA_RUN_WRITE_LATEST);
	tell(&rows);
}

/* Events and listeners; the columns are those both statements end with. */
static void
tell(const MaRows *rows)
{
	MaSettled  *settled = palloc0_array(MaSettled, Max(rows->n, 1));
	TimestampTz now = ma_now();

	if (rows->n == 0)
		return;
	for (uint64 i = 0; i < rows->n; i++)
	{
		MaSettled  *message = &settled[i];

		message->message_id = ma_int64(rows, i, 1);
		message->contact_id = ma_int64(rows, i, 2);
		message->template_id = ma_int32(rows, i, 3);
		message->enrollment_id = ma_int64(rows, i, 4);
		message->step = ma_text(rows, i, 5);
		message->channel = ma_text(rows, i, 6);
		message->state = state_of(ma_text(rows, i, 7));
		message->reason = ma_text(rows, i, 8);
		message->at = now;
		raise_event(message, rows, i);
	}
	for (int i = 0; i < nlisteners; i++)
		listeners[i] (settled, rows->n);
}

/* email_sent, sms_skipped ...; nothing unless somebody watches it. */
static void
raise_event(const MaSettled *message, const MaRows *rows, uint64 row)
{
	static MaStatement properties = {
		"SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('template', $1, "
		"'journey', $2, 'step', $3, 'topic', CASE WHEN $4 OPERATOR(pg_catalog.=) 0 "
		"THEN 'transactional' ELSE (SELECT t.name FROM marketing_internal.topic AS t "
		"WHERE t.topic_id OPERATOR(pg_catalog.=) $4) END))",
		4, {TEXTOID, TEXTOID, TEXTOID, INT4OID}
	};
	const char *verb = message->state == MA_MESSAGE_SENT ? "sent" :
		message->state == MA_MESSAGE_FAILED ? "failed" :
		message->state == MA_MESSAGE_SUSPECT ? NULL : "skipped";
	char	   *name = psprintf("%s_%s", message->channel, verb ? verb : "");
	MaEvent    *event = verb ? ma_event_by_name(ma_definitions(), name) : NULL;
	const char *journey = ma_text(rows, row, 10);
	Datum		values[4];
	char		nulls[] = "    ";
	MaRows		built;
	bool		isnull;

	/* A test happened to nobody. */
	if (message->contact_id == 0 || event == NULL || (!event->row_grade && !event->set_grade) ||
		ma_builtin_columns(name) == NULL)
		return;
	values[0] = CStringGetTextDatum(ma_text(rows, row, 9));
	values[1] = journey ? CStringGetTextDatum(journey) : (Datum) 0;
	values[2] = message->step ? CStringGetTextDatum(message->step) : (Datum) 0;
	values[3] = Int32GetDatum(ma_int32(rows, row, 11));
	nulls[1] = journey ? ' ' : 'n';
	nulls[2] = message->step ? ' ' : 'n';
	built = ma_run(&properties, values, nulls, MA_RUN_READ_LATEST);
	ma_raise_event(name, message->contact_id, message->message_id, message->at,
				   PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&built, 0, 1, &isnull))));
}

/* ---- suspects ---- */

/*
 * Called by who has just got the lock of delivery: whatever is `sending` was claimed by
 * a process that died.  A file in the spool is evidence, and so is what that process has
 * written down (journal.c); without either nobody knows: a transactional message is sent
 * again under the same number, others are held.
 */
void
ma_settle_abandoned(void)
{
	static MaStatement find = {
		"SELECT contact_id, message_id, topic_id, channel, attempts, template, server, since "
		"FROM marketing_internal.message WHERE state OPERATOR(pg_catalog.=) 'sending' "
		"AND leased_until IS NULL "
		"ORDER BY message_id",
		0
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	MaMessage **messages = palloc_array(MaMessage *, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
		messages[i] = abandoned(&rows, i);
	ma_settle(messages, rows.n);
	close_suspects();
}

static MaMessage *
abandoned(const MaRows *rows, uint64 row)
{
	MaMessage  *message = palloc0_object(MaMessage);
	const char *server;
	MaPhase		phase;
	bool		isnull;

	message->contact_id = ma_int64(rows, row, 1);
	message->message_id = ma_int64(rows, row, 2);
	message->topic_id = ma_int32(rows, row, 3);
	message->channel = ma_text(rows, row, 4);
	message->attempts = ma_int32(rows, row, 5);
	message->gate = "crash";
	server = ma_text(rows, row, 7);
	if (server == NULL && ma_spool_has(message->message_id, ma_message_key(message->message_id),
									   message->channel, &message->detail))
	{
		message->becomes = MA_MESSAGE_SENT;
		return message;
	}
	phase = ma_journal_find(message->message_id,
							DatumGetTimestampTz(ma_value(rows, row, 8, &isnull)),
							&message->detail);
	if (phase == MA_PHASE_SENT)
	{
		message->becomes = MA_MESSAGE_SENT;
		return message;
	}
	message->detail = NULL;
	if (phase == MA_PHASE_CLAIMED)
	{
		bool		again = message->attempts < MAX_RESENDS;

		/* One that is under way in every crash may be what brings them about. */
		message->becomes = again ? MA_MESSAGE_QUEUED : MA_MESSAGE_SUSPECT;
		message->reason = again ? "its sending was interrupted before it was handed over" :
			"its sending was interrupted too often; it was never handed over";
		return message;
	}
	ma_settle_doubt(message, server ? ma_server_options(server) : NULL,
					"its sending was interrupted");
	return message;
}

/*
 * Nobody knows whether the message was sent.  Held, it waits for somebody who knows;
 * resent, it may come twice, under the same Message-ID.
 */
void
ma_settle_doubt(MaMessage *message, const MaServerOptions *options, const char *what)
{
	MaInDoubt	rule = options ? options->in_doubt : MA_IN_DOUBT_BY_TOPIC;

	if (rule == MA_IN_DOUBT_BY_TOPIC && message->topic_id == MA_TOPIC_TRANSACTIONAL_ID)
		rule = MA_IN_DOUBT_RESEND;
	message->becomes = rule == MA_IN_DOUBT_RESEND && message->attempts < MAX_RESENDS ?
		MA_MESSAGE_QUEUED : MA_MESSAGE_SUSPECT;
	message->reason = message->becomes == MA_MESSAGE_QUEUED ?
		psprintf("%s; it is sent again", what) : psprintf("%s: it may have been sent", what);
}

/* What nobody could tell until the time after which it makes no sense any more. */
static void
close_suspects(void)
{
	static MaStatement find = {
		"SELECT contact_id, message_id FROM marketing_internal.message "
		"WHERE state OPERATOR(pg_catalog.=) 'suspect' AND not_after OPERATOR(pg_catalog.<) $1 "
		"FOR UPDATE SKIP LOCKED",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_now());
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_WRITE_LATEST);
	MaMessage **messages = palloc_array(MaMessage *, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
	{
		messages[i] = palloc0_object(MaMessage);
		messages[i]->contact_id = ma_int64(&rows, i, 1);
		messages[i]->message_id = ma_int64(&rows, i, 2);
		messages[i]->becomes = MA_MESSAGE_FAILED;
		messages[i]->gate = "crash";
		messages[i]->reason = "unknown: it may have been sent";
	}
	ma_settle(messages, rows.n);
}

static MaMessageState
outcome_of(const char *outcome)
{
	static const struct
	{
		const char *name;
		MaMessageState state;
	}			outcomes[] = {
		{"sent", MA_MESSAGE_SENT},
		{"failed", MA_MESSAGE_FAILED},
		{"resend", MA_MESSAGE_QUEUED},
		{"retry", MA_MESSAGE_DEFERRED},
	};

	for (int i = 0; i < lengthof(outcomes); i++)
		if (strcmp(outcome, outcomes[i].name) == 0)
			return outcomes[i].state;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid outcome: \"%s\"", outcome),
			 errhint("Use sent, failed, retry or resend.")));
}

/*
 * marketing.settle_message(message, outcome, detail): a person knows what became of a
 * suspect, or a program of what it has claimed.
 */
Datum
ma_settle_message(PG_FUNCTION_ARGS)
{
	static MaStatement find = {
		"SELECT contact_id, attempts, leased_until IS NOT NULL FROM marketing_internal.message "
		"WHERE message_id OPERATOR(pg_catalog.=) $1 AND (state OPERATOR(pg_catalog.=) 'suspect' "
		"OR (state OPERATOR(pg_catalog.=) 'sending' AND leased_until IS NOT NULL)) "
		"FOR UPDATE",
		1, {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	MaMessage	message = {0};
	MaMessage  *messages[1] = {&message};
	char	   *outcome;
	Datum		value;
	MaCall		call;
	MaRows		rows;
	char	   *answer;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "message" : "outcome")));
	message.message_id = PG_GETARG_INT64(0);
	outcome = text_to_cstring(PG_GETARG_TEXT_PP(1));
	message.reason = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	message.becomes = outcome_of(outcome);
	ma_call_begin(&call);
	value = Int64GetDatum(message.message_id);
	rows = ma_run(&find, &value, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_MESSAGE),
				 errmsg("message " INT64_FORMAT " is neither a suspect nor claimed by a program",
						message.message_id),
				 errhint("Those in doubt stand in marketing.messages with state 'suspect'.")));
	message.contact_id = ma_int64(&rows, 0, 1);
	message.attempts = ma_int32(&rows, 0, 2);
	message.gate = ma_bool(&rows, 0, 3) ? "program" : "operator";
	if (message.becomes == MA_MESSAGE_DEFERRED)
		ma_send_retry(&message);
	if (message.becomes == MA_MESSAGE_SENT && ma_bool(&rows, 0, 3))
	{
		message.detail = message.reason;
		message.reason = NULL;
	}
	ma_settle(messages, 1);
	if (message.becomes == MA_MESSAGE_QUEUED)
		ma_message_wake();
	answer = MemoryContextStrdup(context, psprintf(INT64_FORMAT ": %s", message.message_id,
												   state_names[message.becomes]));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
