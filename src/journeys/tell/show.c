/*
 * show.c
 *			journey_status() and explain_enrollment(): where everybody
 *		is, and what has happened to one contact.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "journeys/engine.h"
#include "utils/builtins.h"

static void emit(ReturnSetInfo *result, const MaRows *rows);
static void status_of_steps(ReturnSetInfo *result, MaJourney *journey);
static void emit_step(ReturnSetInfo *result, const MaRows *rows, const char *step,
		const char *kind);
static void status_of_goals(ReturnSetInfo *result, MaJourney *journey);
static void status_of_tests(ReturnSetInfo *result, MaJourney *journey);
static char *text_or_null(FunctionCallInfo fcinfo, int argument);

MA_FUNCTION(ma_journey_status);
MA_FUNCTION(ma_explain_enrollment);


/* All rows as they are; the types are those of the function's columns. */
static void
emit(ReturnSetInfo *result, const MaRows *rows)
{
	for (uint64 i = 0; i < rows->n; i++)
		tuplestore_puttuple(result->setResult, rows->rows[i]);
}

static char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* journey_status(name) */
Datum
ma_journey_status(PG_FUNCTION_ARGS)
{
	static MaStatement ended = {
		"SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, "
		"CASE WHEN e.reason IS NULL THEN e.state ELSE e.state OPERATOR(pg_catalog.||) ': ' "
		"OPERATOR(pg_catalog.||) e.reason END, pg_catalog.count(*), pg_catalog.min(e.ended_at), "
		"NULL::pg_catalog.timestamptz "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{completed,exited}') GROUP BY e.state, e.reason "
		"ORDER BY e.state, e.reason",
		1, {INT4OID}
	};
	static MaStatement refused = {
		"SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, "
		"'refused: ' OPERATOR(pg_catalog.||) l.detail, pg_catalog.count(*), pg_catalog.min(l.at), "
		"NULL::pg_catalog.timestamptz "
		"FROM marketing_internal.enrollment_log AS l WHERE l.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND l.what OPERATOR(pg_catalog.=) 'refused' GROUP BY l.detail ORDER BY l.detail",
		1, {INT4OID}
	};
	static MaStatement held = {
		"SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, 'held: surge_limit', pg_catalog.count(*), "
		"pg_catalog.min(h.at), NULL::pg_catalog.timestamptz "
		"FROM marketing_internal.enrollment_held AS h WHERE h.journey_id OPERATOR(pg_catalog.=) $1 "
		"HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
		1, {INT4OID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_or_null(fcinfo, 0);
	MaJourney  *journey;
	MaCall		call;
	MaRows		rows;
	Datum		value;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	journey = ma_journey_required(name);
	status_of_steps(result, journey);
	value = Int32GetDatum(journey->id);
	rows = ma_run(&ended, &value, NULL, MA_RUN_READ);
	emit(result, &rows);
	rows = ma_run(&refused, &value, NULL, MA_RUN_READ);
	emit(result, &rows);
	rows = ma_run(&held, &value, NULL, MA_RUN_READ);
	emit(result, &rows);
	status_of_goals(result, journey);
	status_of_tests(result, journey);
	ma_call_end(&call);
	return (Datum) 0;
}

/* Those inside by step, in the order of the newest version; steps of older ones follow. */
static void
status_of_steps(ReturnSetInfo *result, MaJourney *journey)
{
	static MaStatement inside = {
		"SELECT e.step, e.state, pg_catalog.count(*), pg_catalog.min(e.since), pg_catalog.min(e.due_at) "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') GROUP BY 1, 2 ORDER BY 1, 2",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaRows		rows = ma_run(&inside, &value, NULL, MA_RUN_READ);
	MaJourneys *journeys = ma_journeys();
	List	   *shown = NIL;
	ListCell   *cell;
	ListCell   *inner;

	for (int i = list_length(journeys->versions) - 1; i >= 0; i--)
	{
		MaVersion  *version = list_nth(journeys->versions, i);

		if (version->journey_id != journey->id)
			continue;
		foreach(cell, version->program->all)
		{
			MaStep	   *step = lfirst(cell);
			bool		known = false;

			foreach(inner, shown)
				known |= strcmp(lfirst(inner), step->id) == 0;
			if (known)
				continue;
			shown = lappend(shown, unconstify(char *, step->id));
			emit_step(result, &rows, step->id, ma_step_kind_name(step->kind));
		}
	}
}

/* The rows of one step; a step where nobody is has one too. */
static void
emit_step(ReturnSetInfo *result, const MaRows *rows, const char *step, const char *kind)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {false, false, true, false, true, true};
	bool		any = false;

	values[0] = CStringGetTextDatum(step);
	values[1] = CStringGetTextDatum(kind);
	values[3] = Int64GetDatum(0);
	for (uint64 i = 0; i < rows->n; i++)
	{
		char	   *at = ma_text(rows, i, 1);

		if (at == NULL || strcmp(at, step) != 0)
			continue;
		for (int j = 2; j < 6; j++)
			values[j] = ma_value(rows, i, j, &nulls[j]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		any = true;
	}
	if (!any)
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Goal and milestones of the version that takes entries, of all runs there were. */
static void
status_of_goals(ReturnSetInfo *result, MaJourney *journey)
{
	static MaStatement count = {
		"SELECT g.milestone, g.goal, pg_catalog.count(*), pg_catalog.min(g.at), "
		"(SELECT pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND e.reason IS DISTINCT FROM 'restarted') "
		"FROM marketing_internal.enrollment_goal AS g WHERE g.journey_id OPERATOR(pg_catalog.=) $1 "
		"GROUP BY 1, 2",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaVersion  *version = ma_journey_current(ma_journeys(), journey->id);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ);
	ListCell   *cell;

	foreach(cell, version ? version->program->goals : NIL)
	{
		MaGoal	   *goal = lfirst(cell);
		Datum		values[6] = {0};
		bool		nulls[6] = {false, false, false, false, true, true};
		int64		reached = 0;
		int64		runs = 0;

		for (uint64 i = 0; i < rows.n; i++)
		{
			if (ma_bool(&rows, i, 1) != goal->milestone ||
				strcmp(ma_text(&rows, i, 2), goal->name) != 0)
				continue;
			reached = ma_int64(&rows, i, 3);
			values[4] = ma_value(&rows, i, 4, &nulls[4]);
			runs = ma_int64(&rows, i, 5);
		}
		values[0] = CStringGetTextDatum(goal->name);
		values[1] = CStringGetTextDatum(goal->milestone ? "milestone" : "goal");
		values[2] = CStringGetTextDatum(psprintf("reached%s%s",
												 runs == 0 ? "" :
												 psprintf(" by %.1f %% of the runs",
														  100.0 * reached / runs),
												 goal->target == 0 ? "" :
												 psprintf("; target %.1f %%", 100 * goal->target)));
		values[3] = Int64GetDatum(reached);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * Tests of steps, those of earlier versions before: what has been decided, and how many got
 * which variant in the test.
 */
static void
status_of_tests(ReturnSetInfo *result, MaJourney *journey)
{
	static MaStatement read = {
		"SELECT t.step, 'test', COALESCE(t.decided, 'goes on'), "
		"(SELECT pg_catalog.count(DISTINCT l.contact_id) FROM marketing_internal.enrollment_log AS l "
		"WHERE l.journey_id OPERATOR(pg_catalog.=) t.journey_id "
		"AND l.step OPERATOR(pg_catalog.=) t.step AND l.what OPERATOR(pg_catalog.=) 'test' "
		"AND t.definition OPERATOR(pg_catalog.->) 'variants' OPERATOR(pg_catalog.?) l.detail "
		"AND l.at OPERATOR(pg_catalog.>=) t.begun_at), t.begun_at, "
		"CASE WHEN t.winner IS NULL THEN t.next_at END "
		"FROM marketing_internal.journey_test AS t WHERE t.journey_id OPERATOR(pg_catalog.=) $1 "
		"ORDER BY t.begun_at, t.step",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);

	emit(result, &rows);
}

/* explain_enrollment(contact, journey) */
Datum
ma_explain_enrollment(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT l.enrollment_id, l.at, l.step, l.what, l.detail FROM ("
		"SELECT l.enrollment_id, l.at, l.step, l.what, l.detail, 0 AS part, l.log_id AS n "
		"FROM marketing_internal.enrollment_log AS l WHERE l.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND l.journey_id OPERATOR(pg_catalog.=) $2 UNION ALL "
		"SELECT e.enrollment_id, e.since, e.step, "
		"CASE e.state WHEN 'due' THEN 'now: waits' WHEN 'waiting' THEN 'now: waits' ELSE 'now: parked' END, "
		"CASE WHEN e.state OPERATOR(pg_catalog.=) 'parked' THEN e.error_state OPERATOR(pg_catalog.||) ': ' "
		"OPERATOR(pg_catalog.||) e.error "
		"WHEN e.message_id IS NOT NULL THEN 'for message #' OPERATOR(pg_catalog.||) e.message_id::pg_catalog.text "
		"WHEN e.state OPERATOR(pg_catalog.=) 'waiting' THEN 'for an event' OPERATOR(pg_catalog.||) "
		"COALESCE(', at most until ' OPERATOR(pg_catalog.||) e.due_at::pg_catalog.text, '') "
		"ELSE 'until ' OPERATOR(pg_catalog.||) e.due_at::pg_catalog.text END, 1, 0 "
		"FROM marketing_internal.enrollment AS e WHERE e.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND e.journey_id OPERATOR(pg_catalog.=) $2 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') UNION ALL "
		"SELECT NULL, s.at, NULL, 'next turn', s.kind OPERATOR(pg_catalog.||) "
		"COALESCE(': ' OPERATOR(pg_catalog.||) s.reason, ''), 2, s.signal_id "
		"FROM marketing_internal.enrollment_signal AS s WHERE s.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND s.journey_id OPERATOR(pg_catalog.=) $2) AS l "
		"ORDER BY l.part, l.n",
		2, {INT8OID, INT4OID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_or_null(fcinfo, 1);
	MaCall		call;
	MaRows		rows;
	Datum		values[2];

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("journey must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	values[1] = Int32GetDatum(ma_journey_required(name)->id);
	values[0] = Int64GetDatum(ma_contact_argument(fcinfo, false));
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	emit(result, &rows);
	ma_call_end(&call);
	return (Datum) 0;
}
