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
#define MAX_CRASHES 5			/* ... if it was never handed over, fails after so many */
#define CRASH_PAUSE 2			/* seconds after the first of them, doubled each time */
#define RETRY_SECONDS 60

static const char *const state_names[] = {
	"queued", "sending", "deferred", "suspect", "sent", "failed", "skipped", "expired"
};

static MaSettleListener listeners[MAX_LISTENERS];
static int	nlisteners = 0;

static bool is_end(MaMessageState state);
static void settle_free(void *arg);
static int	pick(MaMessage **messages, int n, bool ended, MaMessage **picked);
static void end_messages(MaMessage **messages, int n);
static void return_coupons(MaMessage **messages, int n);
static void change_messages(MaMessage **messages, int n);
static int	by_number(const void *left, const void *right);
static void set_numbers(MaMessage **messages, int n, Datum *values);
static int *places_of(const MaRows *rows, int n);
static void tell(MaMessage **messages, int n, const MaRows *rows, const int *places);
static void raise_event(const MaSettled *message, const MaRows *rows, uint64 row);
static MaMessage *abandoned(const MaRows *rows, uint64 row);
static MaMessage *composed(void);
static void pause_after_crash(MaMessage *message, int crashes);
static void blame(MaMessage *message);
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
	static MaStatement take = {
		"DELETE FROM marketing_internal.message AS m USING ROWS FROM ("
		"pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY "
		"AS r (contact_id, message_id, n) "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) r.message_id "
		"RETURNING " MA_HISTORY_COLUMNS ", r.n",
		2, {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[2];
	MaRows		rows;
	int		   *places;

	qsort(messages, n, sizeof(MaMessage *), by_number);
	set_numbers(messages, n, values);
	rows = ma_run(&take, values, NULL, MA_RUN_WRITE_LATEST);
	places = places_of(&rows, n);
	ma_history_ended(messages, n, &rows, places);
	return_coupons(messages, n);
	tell(messages, n, &rows, places);
}

static int
by_number(const void *left, const void *right)
{
	return ma_compare_int64(&(*(MaMessage *const *) left)->message_id,
							&(*(MaMessage *const *) right)->message_id);
}

/* Contacts and numbers, as the first two parameters. */
static void
set_numbers(MaMessage **messages, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
	{
		contacts[i] = messages[i]->contact_id;
		ids[i] = messages[i]->message_id;
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int8_array(ids, n);
}

/* The row of each message, whose last column is its place from 1; -1: it has none. */
static int *
places_of(const MaRows *rows, int n)
{
	int		   *places = palloc_array(int, n);

	for (int i = 0; i < n; i++)
		places[i] = -1;
	for (uint64 i = 0; i < rows->n; i++)
		places[ma_int64(rows, i, rows->desc->natts) - 1] = (int) i;
	return places;
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

/* The values of change_messages(): what each message becomes, why, and when it is tried next. */
static void
set_changes(MaMessage **messages, int n, Datum *values)
{
	int32	   *untried = palloc_array(int32, n);
	int32	   *crashed = palloc_array(int32, n);
	char	  **texts[3];
	Datum	   *times = palloc_array(Datum, n);
	bool	   *nulls = palloc_array(bool, n);
	TimestampTz now = ma_now();

	for (int f = 0; f < lengthof(texts); f++)
		texts[f] = palloc_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		int64		pause = messages[i]->pause > 0 ? messages[i]->pause : RETRY_SECONDS;

		texts[0][i] = unconstify(char *, state_names[messages[i]->becomes]);
		texts[1][i] = messages[i]->reason;
		texts[2][i] = unconstify(char *, messages[i]->gate);
		times[i] = TimestampTzGetDatum(messages[i]->next_try != 0 ? messages[i]->next_try :
									   now + pause * USECS_PER_SEC);
		nulls[i] = messages[i]->becomes != MA_MESSAGE_DEFERRED;
		untried[i] = messages[i]->untried ? 1 : 0;
		crashed[i] = messages[i]->crashed ? 1 : 0;
	}
	set_numbers(messages, n, values);
	for (int f = 0; f < lengthof(texts); f++)
		values[f + 2] = ma_text_array(texts[f], n);
	values[5] = ma_datum_array_nulls(times, nulls, n, TIMESTAMPTZOID);
	values[6] = TimestampTzGetDatum(now);
	values[7] = ma_int4_array(untried, n);
	values[8] = ma_int4_array(crashed, n);
}

/* To another live state: queued (again), deferred or suspect. */
static void
change_messages(MaMessage **messages, int n)
{
	static MaStatement change = {
		"WITH r AS MATERIALIZED (SELECT m.contact_id, m.message_id, u.becomes, u.why, u.gate, "
		"COALESCE(u.next_at, m.next_at) AS next_at, "
		"m.state OPERATOR(pg_catalog.<>) u.becomes OR m.reason IS DISTINCT FROM u.why AS new, "
		"GREATEST(m.attempts OPERATOR(pg_catalog.-) u.untried, 0) AS attempts, "
		"m.crashes OPERATOR(pg_catalog.+) u.crashed AS crashes, "
		"u.n FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($8), pg_catalog.unnest($9)) WITH ORDINALITY "
		"AS u (contact_id, message_id, becomes, why, gate, next_at, untried, crashed, n) "
		"JOIN marketing_internal.message AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) u.message_id), "
		"changed AS (UPDATE marketing_internal.message AS m SET state = r.becomes, "
		"reason = CASE WHEN r.becomes OPERATOR(pg_catalog.=) 'queued' THEN NULL ELSE r.why END, "
		"since = CASE WHEN r.new THEN $7 ELSE m.since END, next_at = r.next_at, "
		"attempts = r.attempts, crashes = r.crashes, leased_until = NULL FROM r "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) r.message_id "
		"RETURNING " MA_HISTORY_COLUMNS ", r.n, m.message_id, m.contact_id, r.becomes, r.why, r.gate, "
		"r.new), "
		"noted AS (INSERT INTO marketing_internal.message_decision "
		"(contact_id, message_id, decided_at, decision, gate, reason) "
		"SELECT contact_id, message_id, $7, "
		"CASE becomes WHEN 'queued' THEN 'returned' ELSE becomes END, gate, why "
		"FROM changed WHERE new) "
		"SELECT channel, topic_id, template_id, template, journey, step, enrollment_id, "
		"address, server, attempts, created_at, test_for, n "
		"FROM changed WHERE becomes OPERATOR(pg_catalog.=) 'suspect'",
		9, {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, INT4ARRAYOID, INT4ARRAYOID}
	};
	Datum		values[9];
	MaRows		rows;

	qsort(messages, n, sizeof(MaMessage *), by_number);
	set_changes(messages, n, values);
	rows = ma_run(&change, values, NULL, MA_RUN_WRITE_LATEST);
	tell(messages, n, &rows, places_of(&rows, n));
}

/* Events and listeners, in the order of the messages' numbers. */
static void
tell(MaMessage **messages, int n, const MaRows *rows, const int *places)
{
	MaSettled  *settled = palloc0_array(MaSettled, Max(rows->n, 1));
	TimestampTz now = ma_now();
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		MaSettled  *message = &settled[count];

		if (places[i] < 0)
			continue;
		count++;
		message->message_id = messages[i]->message_id;
		message->contact_id = messages[i]->contact_id;
		message->about = ma_int64(rows, places[i], 12);
		if (message->about == 0)
			message->about = message->contact_id;
		message->state = messages[i]->becomes;
		message->reason = messages[i]->reason;
		message->at = now;
		message->channel = ma_text(rows, places[i], 1);
		message->template_id = ma_int32(rows, places[i], 3);
		message->step = ma_text(rows, places[i], 6);
		message->enrollment_id = ma_int64(rows, places[i], 7);
		raise_event(message, rows, places[i]);
	}
	for (int i = 0; i < nlisteners && count > 0; i++)
		listeners[i] (settled, count);
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
	const char *journey = ma_text(rows, row, 5);
	Datum		values[4];
	char		nulls[] = "    ";
	MaRows		built;
	bool		isnull;

	/* A test happened to nobody. */
	if (message->contact_id == 0 || event == NULL || (!event->row_grade && !event->set_grade) ||
		ma_builtin_columns(name) == NULL)
		return;
	values[0] = CStringGetTextDatum(ma_text(rows, row, 4));
	values[1] = journey ? CStringGetTextDatum(journey) : (Datum) 0;
	values[2] = message->step ? CStringGetTextDatum(message->step) : (Datum) 0;
	values[3] = Int32GetDatum(ma_int32(rows, row, 2));
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
int
ma_settle_abandoned(void)
{
	static MaStatement find = {
		"SELECT contact_id, message_id, topic_id, channel, attempts, crashes, server, since, "
		"COALESCE(not_after, 'infinity') "
		"FROM marketing_internal.message WHERE state OPERATOR(pg_catalog.=) 'sending' "
		"AND leased_until IS NULL "
		"ORDER BY message_id",
		0
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	MaMessage **messages = palloc_array(MaMessage *, rows.n + 1);
	int			n = 0;

	for (uint64 i = 0; i < rows.n; i++)
		messages[n++] = abandoned(&rows, i);
	messages[n] = composed();
	n += messages[n] != NULL ? 1 : 0;
	ma_settle(messages, n);
	close_suspects();
	return n;
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
	message->crashes = ma_int32(rows, row, 6);
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
	message->untried = phase == MA_PHASE_CLAIMED || phase == MA_PHASE_BEGUN;
	if (phase == MA_PHASE_CLAIMED)
	{
		message->becomes = MA_MESSAGE_QUEUED;
		message->reason = "sending was interrupted while it waited for its turn";
	}
	else if (phase == MA_PHASE_BEGUN)
		blame(message);
	else
	{
		ma_settle_doubt(message, server ? ma_server_options(server) : NULL,
						"its sending was interrupted");
		if (message->becomes == MA_MESSAGE_QUEUED)
			pause_after_crash(message, Max(message->attempts, 1));
		/* Later it makes no sense, and an end as expired would say that it was not sent. */
		if (message->becomes == MA_MESSAGE_DEFERRED &&
			ma_int64(rows, row, 9) < ma_now() + message->pause * USECS_PER_SEC)
		{
			message->becomes = MA_MESSAGE_SUSPECT;
			message->reason = "its sending was interrupted: it may have been sent";
		}
	}
	return message;
}

/*
 * Tried again, later and later: so others go meanwhile, and one that had no part in a crash
 * is hardly ever in the midst of the next.
 */
static void
pause_after_crash(MaMessage *message, int crashes)
{
	message->becomes = MA_MESSAGE_DEFERRED;
	message->pause = CRASH_PAUSE << (crashes - 1);
}

/* The message during whose composing the server crashed; NULL: none, or it is gone. */
static MaMessage *
composed(void)
{
	static MaStatement find = {
		"SELECT crashes FROM marketing_internal.message "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND message_id OPERATOR(pg_catalog.=) $2 "
		"AND state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') FOR UPDATE SKIP LOCKED",
		2, {INT8OID, INT8OID}
	};
	MaMessage  *message = palloc0_object(MaMessage);
	Datum		values[2];
	MaRows		rows;

	if (!ma_journal_composed(&message->contact_id, &message->message_id))
		return NULL;
	values[0] = Int64GetDatum(message->contact_id);
	values[1] = Int64GetDatum(message->message_id);
	rows = ma_run(&find, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n == 0)
		return NULL;
	message->crashes = ma_int32(&rows, 0, 1);
	blame(message);
	return message;
}

/*
 * The server crashed while this message was being composed or sent, which may have been its
 * fault: it is given few tries.
 */
static void
blame(MaMessage *message)
{
	int			crashes = message->crashes + 1;

	message->crashed = true;
	message->gate = "poison";
	if (crashes < MAX_CRASHES)
	{
		pause_after_crash(message, crashes);
		message->reason = psprintf("the server crashed while it was on its way (%d of %d times)",
								   crashes, MAX_CRASHES);
		return;
	}
	message->becomes = MA_MESSAGE_FAILED;
	message->reason = psprintf("the server crashed %d times while it was on its way; it was never handed over",
							   crashes);
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
