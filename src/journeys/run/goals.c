/*
 * goals.c
 *		Which runs reach what their journey is for: the goal, and milestones on the way.
 *
 * A goal counts once for a run, from its entry on, within its time, and after the run's end
 * as well: who orders a day after the last mail has been won by it.  Until when events of
 * a contact are told for that stands in enrollment.goal_until; what has been
 * reached is a mark of the run, and a row of enrollment_goal for reports.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static void write_over(MaTurnBatch *batch);
static void insert_hits(MaTurnBatch *batch);
static void raise_goals(MaTurnBatch *batch);

bool
ma_is_own_goal(const MaCondition *condition)
{
	return condition->event != NULL && condition->where == NULL &&
		strcmp(condition->event, "goal_reached") == 0;
}

static char *
mark_of(const MaGoal *goal)
{
	return psprintf(goal->milestone ? "milestone %s" : "%s", goal->name);
}

/* The last instant at which an event is this goal of the run. */
static TimestampTz
deadline(const MaJourneyRun *run, const MaGoal *goal)
{
	if (goal->within == NULL)
		return ma_run_is_live(run) ? DT_NOEND : DT_NOBEGIN;
	return ma_duration_add(run->entered_at, goal->within, ma_run_zone(run));
}

/* What comes after a restart is for the run that has taken its place. */
static bool
is_replaced(const MaJourneyRun *run)
{
	return run->state == MA_STATE_EXITED && run->reason != NULL &&
		strcmp(run->reason, "restarted") == 0;
}

TimestampTz
ma_goals_until(const MaJourneyRun *run)
{
	TimestampTz until = DT_NOBEGIN;
	ListCell   *cell;

	if (is_replaced(run))
		return DT_NOBEGIN;
	foreach(cell, run->version->program->goals)
	{
		MaGoal	   *goal = lfirst(cell);

		if (goal->within != NULL && ma_mark_at(run, mark_of(goal)) == DT_NOBEGIN)
			until = Max(until, deadline(run, goal));
	}
	return until;
}

bool
ma_goals_reach(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	bool		reached = false;
	ListCell   *cell;

	if (is_replaced(run))
		return false;
	foreach(cell, run->version->program->goals)
	{
		MaGoal	   *goal = lfirst(cell);
		MaGoalHit  *hit;

		if (signal->signal_id <= run->last_signal || ma_mark_at(run, mark_of(goal)) != DT_NOBEGIN ||
			signal->at > deadline(run, goal) ||
			!ma_condition_met(batch, run, goal->condition, signal))
			continue;
		ma_mark_set(run, mark_of(goal), signal->at);
		ma_run_log(batch, run, signal->at, goal->milestone ? "milestone" : "goal reached",
				   goal->milestone ? goal->name : goal->condition->event);
		hit = palloc0_object(MaGoalHit);
		hit->run = run;
		hit->goal = goal;
		hit->at = signal->at;
		hit->event_id = signal->event_id;
		hit->row = signal->row;
		batch->hits = lappend(batch->hits, hit);
		reached |= !goal->milestone;
	}
	return reached;
}

void
ma_goals_write(MaTurnBatch *batch)
{
	if (batch->hits == NIL)
		return;
	write_over(batch);
	insert_hits(batch);
	raise_goals(batch);
}

/* Marks of runs that had ended before; the others are written with all they are. */
static void
write_over(MaTurnBatch *batch)
{
	static MaStatement update = {
		"UPDATE marketing_internal.enrollment AS e SET marks = u.marks, goal_until = u.goal_until "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4)) AS u (contact_id, enrollment_id, marks, goal_until) "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND e.enrollment_id OPERATOR(pg_catalog.=) u.enrollment_id",
		4, {INT8ARRAYOID, INT8ARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID}
	};
	int			space = list_length(batch->hits);
	int64	   *contacts = palloc_array(int64, space);
	int64	   *ids = palloc_array(int64, space);
	Datum	   *marks = palloc_array(Datum, space);
	Datum	   *until = palloc_array(Datum, space);
	bool	   *nulls = palloc_array(bool, space);
	Datum		values[4];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->hits)
	{
		const MaJourneyRun *run = ((MaGoalHit *) lfirst(cell))->run;
		TimestampTz at = ma_goals_until(run);

		if (!run->over)
			continue;
		contacts[n] = run->person->contact_id;
		ids[n] = run->enrollment_id;
		marks[n] = ma_marks_datum(run->marks);
		until[n] = TimestampTzGetDatum(at);
		nulls[n++] = at == DT_NOBEGIN;
	}
	if (n == 0)
		return;
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int8_array(ids, n);
	values[2] = ma_datum_array(marks, n, JSONBOID);
	values[3] = ma_datum_array_nulls(until, nulls, n, TIMESTAMPTZOID);
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
}

/*
 * With the money of the row, where its event says which columns tell it.  A value that is no
 * number, because the column has changed since, is none.
 */
static void
insert_hits(MaTurnBatch *batch)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment_goal "
		"(contact_id, enrollment_id, journey_id, version, goal, milestone, at, value, currency) "
		"SELECT u.contact_id, u.enrollment_id, u.journey_id, u.version, u.goal, u.milestone, u.at, "
		"CASE WHEN (u.properties OPERATOR(pg_catalog.->>) s.value_column) "
		"OPERATOR(pg_catalog.~) '^[-+]?[0-9]{1,200}([.][0-9]{1,200})?$' "
		"THEN (u.properties OPERATOR(pg_catalog.->>) s.value_column)::pg_catalog.numeric END, "
		"u.properties OPERATOR(pg_catalog.->>) s.currency_column "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), "
		"pg_catalog.unnest($8), pg_catalog.unnest($9)) AS u (contact_id, enrollment_id, journey_id, "
		"version, goal, milestone, at, event_id, properties) "
		"LEFT JOIN marketing_internal.event_source AS s ON s.event_id OPERATOR(pg_catalog.=) u.event_id",
		9, {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, BOOLARRAYOID,
		TIMESTAMPTZARRAYOID, INT4ARRAYOID, JSONBARRAYOID}
	};
	int			n = list_length(batch->hits);
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);
	int32	   *journeys = palloc_array(int32, n);
	int32	   *versions = palloc_array(int32, n);
	int32	   *events = palloc_array(int32, n);
	char	  **names = palloc_array(char *, n);
	Datum	   *milestones = palloc_array(Datum, n);
	Datum	   *at = palloc_array(Datum, n);
	Datum	   *rows = palloc_array(Datum, n);
	Datum		values[9];

	for (int i = 0; i < n; i++)
	{
		MaGoalHit  *hit = list_nth(batch->hits, i);

		contacts[i] = hit->run->person->contact_id;
		ids[i] = hit->run->enrollment_id;
		journeys[i] = hit->run->version->journey_id;
		versions[i] = hit->run->version->version;
		events[i] = hit->event_id;
		names[i] = unconstify(char *, hit->goal->name);
		milestones[i] = BoolGetDatum(hit->goal->milestone);
		at[i] = TimestampTzGetDatum(hit->at);
		rows[i] = hit->row;
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int8_array(ids, n);
	values[2] = ma_int4_array(journeys, n);
	values[3] = ma_int4_array(versions, n);
	values[4] = ma_text_array(names, n);
	values[5] = ma_datum_array(milestones, n, BOOLOID);
	values[6] = ma_datum_array(at, n, TIMESTAMPTZOID);
	values[7] = ma_int4_array(events, n);
	values[8] = ma_datum_array(rows, n, JSONBOID);
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
raise_goals(MaTurnBatch *batch)
{
	ListCell   *cell;

	foreach(cell, batch->hits)
	{
		MaGoalHit  *hit = lfirst(cell);
		StringInfoData row;

		if (hit->goal->milestone)
			continue;
		initStringInfo(&row);
		appendStringInfoString(&row, "{\"journey\": ");
		escape_json(&row, hit->run->version->journey);
		/* For other runs of the same journey, whose goal it is not. */
		appendStringInfo(&row, ", \"enrollment\": " INT64_FORMAT "}", hit->run->enrollment_id);
		ma_raise_event("goal_reached", hit->run->person->contact_id, hit->run->enrollment_id,
					   hit->at, DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data)));
	}
}
