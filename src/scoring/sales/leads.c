/*
 * leads.c
 *		What sales says of leads: accept_lead(), reject_lead(), lead_outcome(); the rows of
 *		their events; and which leads are not handed over again.
 *
 * A rejected lead has been judged by all that was known then.  So it is one again when
 * rows from after that give as many points as the threshold asks for, by themselves.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/lines.h"
#include "scoring/sales/sales.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* An answer, as it is given. */
typedef struct Answer
{
	const char *kind;
	const char *event;			/* NULL: it raises none */
	int64		contact_id;
	char	   *model;			/* NULL: of all */
	char	   *by;
	char	   *reason;
	Datum		value;			/* numeric, or 0 */
} Answer;

static void read_model(Answer *answer, FunctionCallInfo fcinfo, int number);
static void store(const Answer *answer);
static Datum finish(const Answer *answer, MaCall *call, MemoryContext context);
static TimestampTz rejected_at(const char *model, int64 contact_id);
static TimestampTz back_since(MaScoreModel *model, const MaScoreThreshold *threshold,
							  int64 contact_id, TimestampTz now);

MA_FUNCTION(ma_accept_lead);
MA_FUNCTION(ma_reject_lead);
MA_FUNCTION(ma_lead_outcome);
MA_FUNCTION(ma_lead_since);

#define ANSWERS_SQL(kind) \
	"SELECT l.contact_id, l.at AS occurred_at, pg_catalog.jsonb_build_object(" \
	"'model', l.model, 'by', l.by_name, 'reason', l.reason) AS properties " \
	"FROM marketing_internal.lead_answer AS l WHERE l.kind OPERATOR(pg_catalog.=) '" kind "'"

static const MaBuiltinRows rows[] = {
	{"lead_accepted", "lead_answer", ANSWERS_SQL("accepted")},
	{"lead_rejected", "lead_answer", ANSWERS_SQL("rejected")}
};

void
ma_leads_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}

/* ---- answers ---- */

/* The model must be there, before the contact is locked. */
static void
read_model(Answer *answer, FunctionCallInfo fcinfo, int number)
{
	answer->model = ma_score_text(fcinfo, number);
	if (answer->model != NULL)
		(void) ma_score_model_required(answer->model);
}

static void
store(const Answer *answer)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.lead_answer (contact_id, at, kind, model, by_name, reason, value) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING answer_id",
		7, {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NUMERICOID}
	};
	static const char *const names[] = {"model", "by", "reason"};
	const char *texts[3] = {answer->model, answer->by, answer->reason};
	Datum		values[7];
	char		nulls[] = "       ";
	MaRows		found;

	values[0] = Int64GetDatum(answer->contact_id);
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = CStringGetTextDatum(answer->kind);
	for (int i = 0; i < 3; i++)
	{
		values[3 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[3 + i] = texts[i] ? ' ' : 'n';
	}
	values[6] = answer->value;
	nulls[6] = answer->value != 0 ? ' ' : 'n';
	found = ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	if (answer->event == NULL)
		return;
	ma_mark_contact(answer->contact_id);
	ma_raise_event(answer->event, answer->contact_id, ma_int64(&found, 0, 1), ma_now(),
				   ma_sales_properties(names, texts, lengthof(names)));
}

/* Stores the answer and ends the call: "42: accepted by leyla". */
static Datum
finish(const Answer *answer, MaCall *call, MemoryContext context)
{
	char	   *contact = ma_contact_text(answer->contact_id);
	char	   *text;

	store(answer);
	text = psprintf("%s: %s", contact ? contact : "", strcmp(answer->kind, "outcome") == 0 ?
					answer->reason : answer->kind);
	if (answer->by != NULL)
		text = psprintf("%s by %s", text, answer->by);
	text = MemoryContextStrdup(context, text);
	ma_call_end(call);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* marketing.accept_lead(contact, by, model) */
Datum
ma_accept_lead(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Answer		answer = {"accepted", "lead_accepted"};
	MaCall		call;

	(void) ma_extension_required();
	answer.by = ma_score_text(fcinfo, 1);
	ma_call_begin(&call);
	read_model(&answer, fcinfo, 2);
	if (answer.by != NULL)
		(void) ma_owner_required(answer.by);
	answer.contact_id = ma_contact_argument_locked(fcinfo, false);
	if (answer.by != NULL)
		(void) ma_owner_give(answer.contact_id, answer.by);
	else
		answer.by = ma_owner_name(ma_owner_of(answer.contact_id));
	return finish(&answer, &call, context);
}

/* marketing.reject_lead(contact, reason, by, model) */
Datum
ma_reject_lead(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Answer		answer = {"rejected", "lead_rejected"};
	MaCall		call;

	(void) ma_extension_required();
	answer.reason = ma_score_text(fcinfo, 1);
	answer.by = ma_score_text(fcinfo, 2);
	if (answer.reason == NULL || strspn(answer.reason, " \t\n\r") == strlen(answer.reason))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reason must not be empty"),
				 errhint("Say why, so that the score can be made better: 'student', 'no budget'.")));
	ma_call_begin(&call);
	read_model(&answer, fcinfo, 3);
	if (answer.by != NULL)
		(void) ma_owner_required(answer.by);
	answer.contact_id = ma_contact_argument_locked(fcinfo, false);
	if (answer.by == NULL)
		answer.by = ma_owner_name(ma_owner_of(answer.contact_id));
	return finish(&answer, &call, context);
}

/* marketing.lead_outcome(contact, outcome, value, model) */
Datum
ma_lead_outcome(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Answer		answer = {"outcome", NULL};
	MaCall		call;

	(void) ma_extension_required();
	answer.reason = ma_score_name(fcinfo, 1, "outcome");
	answer.value = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	if (answer.value != 0 && (numeric_is_nan(DatumGetNumeric(answer.value)) ||
							  numeric_is_inf(DatumGetNumeric(answer.value))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value must be a finite number")));
	ma_call_begin(&call);
	read_model(&answer, fcinfo, 3);
	answer.contact_id = ma_contact_argument_locked(fcinfo, false);
	return finish(&answer, &call, context);
}

/* ---- who is not handed over again ---- */

/* When the lead was rejected, unless it has been accepted since; DT_NOBEGIN: it was not. */
static TimestampTz
rejected_at(const char *model, int64 contact_id)
{
	static MaStatement read = {
		"SELECT l.kind, l.at FROM marketing_internal.lead_answer AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND l.kind OPERATOR(pg_catalog.=) ANY ('{accepted,rejected}') "
		"AND COALESCE(l.model OPERATOR(pg_catalog.=) $2, true) ORDER BY l.at DESC, l.answer_id DESC LIMIT 1",
		2, {INT8ARRAYOID, TEXTOID}
	};
	Datum		values[2];
	MaRows		found;

	values[0] = ma_contact_with_merged(contact_id);
	values[1] = CStringGetTextDatum(model);
	found = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	return found.n > 0 && strcmp(ma_text(&found, 0, 1), "rejected") == 0 ?
		ma_int64(&found, 0, 2) : DT_NOBEGIN;
}

bool
ma_lead_is_spent(MaScoreModel *model, const MaScoreThreshold *threshold, int64 contact_id,
				 TimestampTz now)
{
	TimestampTz since = rejected_at(model->name, contact_id);

	return since != DT_NOBEGIN &&
		ma_score_finish(model, ma_score_since(model, contact_id, since, now)) < threshold->value;
}

/*
 * Since when what happened after the lead was rejected is over the threshold by itself;
 * DT_NOBEGIN: it was not rejected.
 */
static TimestampTz
back_since(MaScoreModel *model, const MaScoreThreshold *threshold, int64 contact_id,
		   TimestampTz now)
{
	TimestampTz rejected = rejected_at(model->name, contact_id);
	TimestampTz since = rejected;
	TimestampTz last = rejected;
	float8		raw = 0;
	MaScoreChange *changes;
	int			n;

	if (rejected == DT_NOBEGIN)
		return rejected;
	changes = ma_score_course(ma_score_lines(model, contact_id, now, MA_RUN_READ), rejected, now,
							  &n);
	for (int i = 0; i < n; i++)
	{
		bool		was;

		raw *= ma_score_left(model, changes[i].at - last);
		last = changes[i].at;
		was = ma_score_finish(model, raw) >= threshold->value;
		raw += changes[i].ends ?
			-changes[i].points * ma_score_left(model, last - changes[i].line->at) :
			changes[i].points;
		if (!was && ma_score_finish(model, raw) >= threshold->value)
			since = last;
	}
	return since;
}

/* marketing_internal.lead_since(contact_id, model, threshold, wanted, since) */
Datum
ma_lead_since(PG_FUNCTION_ARGS)
{
	MaScoreModel *model;
	const MaScoreThreshold *reached = NULL;
	const MaScoreThreshold *wanted = NULL;
	char	   *names[2];
	TimestampTz since = DT_NOBEGIN;
	bool		ready;
	MaCall		call;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	names[0] = text_to_cstring(PG_GETARG_TEXT_PP(2));
	names[1] = ma_score_text(fcinfo, 3);
	ma_call_begin(&call);
	model = ma_score_model_required(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	for (int i = 0; i < model->nthresholds; i++)
	{
		if (strcmp(model->thresholds[i].name, names[0]) == 0)
			reached = &model->thresholds[i];
		if (names[1] != NULL && strcmp(model->thresholds[i].name, names[1]) == 0)
			wanted = &model->thresholds[i];
	}
	ready = reached != NULL && (wanted == NULL || reached->value >= wanted->value) &&
		!ma_lead_is_spent(model, wanted ? wanted : reached, PG_GETARG_INT64(0), ma_now());
	if (ready)
		since = back_since(model, wanted ? wanted : reached, PG_GETARG_INT64(0), ma_now());
	ma_call_end(&call);
	if (!ready)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(Max(since, PG_GETARG_TIMESTAMPTZ(4)));
}
