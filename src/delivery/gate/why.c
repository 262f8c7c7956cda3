/*
 * why.c
 *		marketing.why_not_sent(): gate by gate, up to the one that is shut.
 *
 * The gates stand in a fixed order (DESIGN §10); those of journeys and caps register
 * themselves.  The answer is also given where no message ever came to be.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "delivery/gate/why.h"
#include "funcapi.h"
#include "utils/builtins.h"

#define MAX_GATES 32
#define MAX_SUBJECTS 4
#define COLUMNS 6

static const MaWhyGate *gates[MAX_GATES];
static int	ngates = 0;
static const MaWhySubject *subjects[MAX_SUBJECTS];
static int	nsubjects = 0;

static const char *const verdict_names[] = {"ok", "no", "waiting", "not reached"};

static void recognise(MaWhyQuestion *question);
static bool find_message(MaWhyQuestion *question, const char *step);
static void find_cause(MaWhyQuestion *question);
static void take_message(MaWhyQuestion *question, const MaRows *rows);
static void ask_all(MaWhyQuestion *question, ReturnSetInfo *result);
static void put(ReturnSetInfo *result, int n, const char *gate, const char *verdict,
				TimestampTz since, const char *detail, const char *next);
static char *sentence(const MaWhyGate *gate, const MaWhyAnswer *answer);

MA_FUNCTION(ma_why_not_sent);

MaWhyMessage ma_why_message;

/* Kept in the order of their numbers; of equal ones the first registered comes first. */
void
ma_register_why_gate(const MaWhyGate *gate)
{
	int			place = ngates;

	if (ngates == MAX_GATES)
		elog(ERROR, "cannot happen: more than %d gates", MAX_GATES);
	while (place > 0 && gates[place - 1]->n > gate->n)
	{
		gates[place] = gates[place - 1];
		place--;
	}
	gates[place] = gate;
	ngates++;
}

void
ma_register_why_subject(const MaWhySubject *subject)
{
	if (nsubjects == MAX_SUBJECTS)
		elog(ERROR, "cannot happen: more than %d subjects", MAX_SUBJECTS);
	subjects[nsubjects++] = subject;
}

/* marketing.why_not_sent(contact, what, at) */
Datum
ma_why_not_sent(PG_FUNCTION_ARGS)
{
	MaWhyQuestion question = {0};
	MaCall		call;

	(void) ma_extension_required();
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("what must not be null"),
				 errhint("Name a template or a journey.")));
	question.what = text_to_cstring(PG_GETARG_TEXT_PP(1));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	question.at = PG_ARGISNULL(2) ? ma_now() : PG_GETARG_TIMESTAMPTZ(2);
	question.contact = ma_contact_argument_text(fcinfo);
	question.contact_id = ma_contact_look_up(fcinfo);
	recognise(&question);
	if (question.contact_id != 0)
	{
		(void) find_message(&question, NULL);
		find_cause(&question);
	}
	else
		memset(&ma_why_message, 0, sizeof(ma_why_message));
	ask_all(&question, (ReturnSetInfo *) fcinfo->resultinfo);
	ma_call_end(&call);
	return (Datum) 0;
}

/* Journeys and broadcasts by registration, else a template; or an error with near names. */
static void
recognise(MaWhyQuestion *question)
{
	bool		known = false;

	/* All of them: a broadcast is a journey, too. */
	for (int i = 0; i < nsubjects; i++)
		known |= subjects[i]->recognise(question->what, question);
	if (known)
		return;
	question->template_id = ma_template_required(question->what)->id;
	question->template_asked = true;
}

/*
 * The latest message of the question (at this step, unless it is NULL), live or ended, and
 * what was decided last.  Of those of a journey the latest that was not sent in the last
 * run: it is what is asked about.
 */
static bool
find_message(MaWhyQuestion *question, const char *step)
{
	static MaStatement find = {
		"SELECT x.message_id, x.template_id, x.enrollment_id, x.step, x.state, x.reason, x.at, "
		"x.next_at, x.address, x.detail, x.channel, x.topic_id, x.journey, "
		"(SELECT d.gate FROM marketing_internal.message_decision AS d "
		"WHERE d.contact_id OPERATOR(pg_catalog.=) x.contact_id "
		"AND d.message_id OPERATOR(pg_catalog.=) x.message_id "
		"ORDER BY d.decision_id DESC LIMIT 1), x.contact_id "
		"FROM (SELECT m.contact_id, m.message_id, m.template_id, m.enrollment_id, m.step, m.state, m.reason, "
		"m.since AS at, m.next_at, m.address, NULL AS detail, m.channel, m.topic_id, m.journey "
		"FROM marketing_internal.message AS m WHERE m.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND (m.template_id OPERATOR(pg_catalog.=) $2 OR m.journey OPERATOR(pg_catalog.=) $3) "
		"AND m.created_at OPERATOR(pg_catalog.<=) $4 UNION ALL "
		"SELECT l.contact_id, l.message_id, l.template_id, l.enrollment_id, l.step, l.state, l.reason, "
		"l.settled_at, NULL, l.address, l.detail, l.channel, l.topic_id, l.journey "
		"FROM marketing_internal.message_log AS l WHERE l.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND (l.template_id OPERATOR(pg_catalog.=) $2 OR l.journey OPERATOR(pg_catalog.=) $3) "
		"AND l.created_at OPERATOR(pg_catalog.<=) $4) AS x "
		"WHERE $5 IS NULL OR (x.step OPERATOR(pg_catalog.=) $5 "
		"AND x.enrollment_id OPERATOR(pg_catalog.=) $6 "
		"AND x.state OPERATOR(pg_catalog.<>) ALL ('{sent,sending}')) "
		"ORDER BY CASE WHEN $3 IS NOT NULL THEN COALESCE(x.enrollment_id, 0) END DESC, "
		"$3 IS NOT NULL AND x.state OPERATOR(pg_catalog.=) ANY ('{sent,sending}'), "
		"x.message_id DESC LIMIT 1",
		6, {INT8ARRAYOID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, INT8OID}
	};
	Datum		values[6];
	char		nulls[] = "      ";
	MaRows		rows;

	if (step == NULL)
		memset(&ma_why_message, 0, sizeof(ma_why_message));
	values[0] = ma_contact_with_merged(question->contact_id);
	values[1] = Int32GetDatum(question->journey ? 0 : question->template_id);
	values[2] = question->journey ? CStringGetTextDatum(question->journey) : (Datum) 0;
	nulls[2] = question->journey ? ' ' : 'n';
	values[3] = TimestampTzGetDatum(question->at);
	values[4] = step ? CStringGetTextDatum(step) : (Datum) 0;
	nulls[4] = step ? ' ' : 'n';
	values[5] = Int64GetDatum(question->enrollment_id);
	rows = ma_run(&find, values, nulls, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		take_message(question, &rows);
	return rows.n > 0;
}

/* What was sent, or not, in place of another message: why that one was not sent. */
static void
find_cause(MaWhyQuestion *question)
{
	/* Of a template exactly that is asked. */
	if (question->message_id == 0 || question->template_asked)
		return;
	for (int i = 0; i < nsubjects; i++)
		while (subjects[i]->cause != NULL)
		{
			const char *step = subjects[i]->cause(question);

			if (step == NULL || !find_message(question, step))
				break;
		}
}

/* The row of find_message()'s statement. */
static void
take_message(MaWhyQuestion *question, const MaRows *rows)
{
	MaWhyMessage *message = &ma_why_message;
	bool		isnull;

	question->message_id = ma_int64(rows, 0, 1);
	question->template_id = ma_int32(rows, 0, 2);
	question->enrollment_id = ma_int64(rows, 0, 3);
	question->step = ma_text(rows, 0, 4);
	message->state = ma_text(rows, 0, 5);
	message->reason = ma_text(rows, 0, 6);
	message->at = DatumGetTimestampTz(ma_value(rows, 0, 7, &isnull));
	message->next_at = DatumGetTimestampTz(ma_value(rows, 0, 8, &isnull));
	if (isnull)
		message->next_at = DT_NOBEGIN;
	message->live = !isnull;
	message->address = ma_text(rows, 0, 9);
	message->detail = ma_text(rows, 0, 10);
	message->channel = ma_text(rows, 0, 11);
	message->topic_id = ma_int32(rows, 0, 12);
	if (question->journey == NULL)
		question->journey = ma_text(rows, 0, 13);
	message->gate = ma_text(rows, 0, 14);
	if (message->live && strcmp(message->state, "sending") != 0 &&
		strcmp(message->state, "suspect") != 0)
	{
		/* What the gate would say now, rather than what it said last. */
		MaGateVerdict *verdict = ma_gate_ask(ma_int64(rows, 0, 15), question->message_id);

		message->gate = verdict ? unconstify(char *, verdict->gate) : NULL;
		/* No gate is shut: what it was deferred with holds until its time comes. */
		if (verdict != NULL || message->next_at <= ma_now())
			message->reason = verdict ? verdict->reason : NULL;
		message->next_try = verdict ? verdict->next_try : 0;
	}
}

/* Row 0 comes first, so the others wait until it is known. */
static void
ask_all(MaWhyQuestion *question, ReturnSetInfo *result)
{
	MaWhyAnswer *answers = palloc0_array(MaWhyAnswer, Max(ngates, 1));
	int			last = -1;
	int			shut = -1;

	for (int i = 0; i < ngates && shut < 0; i++)
	{
		answers[i].since = DT_NOBEGIN;
		gates[i]->answer(question, &answers[i]);
		if (answers[i].verdict == MA_WHY_SKIP)
			continue;
		last = i;
		if (answers[i].verdict != MA_WHY_OK)
			shut = i;
	}
	put(result, 0, "ANSWER", NULL, DT_NOBEGIN,
		last < 0 ? "nothing is known" : sentence(gates[last], &answers[last]),
		last < 0 ? NULL : answers[last].next);
	for (int i = 0; i <= last; i++)
		if (answers[i].verdict != MA_WHY_SKIP)
			put(result, gates[i]->n, gates[i]->gate, verdict_names[answers[i].verdict],
				answers[i].since, answers[i].detail, answers[i].next);
}

/* "skipped: consent for offers/email is unknown" */
static char *
sentence(const MaWhyGate *gate, const MaWhyAnswer *answer)
{
	const char *state = ma_why_message.state;

	if (answer->sentence != NULL)
		return answer->sentence;
	if (answer->verdict == MA_WHY_OK)
		return psprintf("sent%s%s", answer->detail ? ": " : "", answer->detail ? answer->detail : "");
	return psprintf("%s: %s", state != NULL && !ma_why_message.live ? state :
					answer->verdict == MA_WHY_NO ? "not sent" : verdict_names[answer->verdict],
					answer->detail ? answer->detail : gate->gate);
}

static void
put(ReturnSetInfo *result, int n, const char *gate, const char *verdict, TimestampTz since,
	const char *detail, const char *next)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];

	values[0] = Int32GetDatum(n);
	values[1] = CStringGetTextDatum(gate);
	values[2] = verdict ? CStringGetTextDatum(verdict) : (Datum) 0;
	values[3] = TimestampTzGetDatum(since);
	values[4] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	values[5] = next ? CStringGetTextDatum(next) : (Datum) 0;
	nulls[0] = nulls[1] = false;
	nulls[2] = verdict == NULL;
	nulls[3] = since == DT_NOBEGIN;
	nulls[4] = detail == NULL;
	nulls[5] = next == NULL;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
