/*
 * report.c
 *		journey_report(): what a journey has done, by step, version, week, channel or variant; and
 *		stuck_enrollments(): whose run does not go on.
 *
 * All is counted from what stands in our tables, under the caller's snapshot: runs and
 * their log, messages that came to their end, openings and clicks by people, goals.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "journeys/engine.h"
#include "utils/builtins.h"

#define OVERDUE "'5 minutes'"	/* a run is stuck that should have gone on so long ago */

static char **step_ids(const MaJourney *journey, int *n);
static void emit(ReturnSetInfo *result, const MaRows *rows);

MA_FUNCTION(ma_journey_report);
MA_FUNCTION(ma_stuck_enrollments);

/* The runs of the journey, for what is told of a run elsewhere. */
#define OF_RUN(alias) \
	"JOIN marketing_internal.enrollment AS e " \
	"ON e.contact_id OPERATOR(pg_catalog.=) " alias ".contact_id " \
	"AND e.enrollment_id OPERATOR(pg_catalog.=) " alias ".enrollment_id "

/*
 * A row for each thing that happened: what, when, and where it is counted.  A run is
 * counted at a step when the log has a line of it there.
 */
static const char *const things_sql =
	"SELECT 'entered' AS what, e.entered_at AS at, NULL::pg_catalog.text AS step, e.version, "
	"NULL::pg_catalog.text AS channel, e.enrollment_id AS id, NULL::pg_catalog.numeric AS value, "
	"NULL::pg_catalog.text AS currency, e.enrollment_id AS run "
	"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
	"UNION ALL SELECT 'at step', l.at, l.step, l.version, NULL, l.enrollment_id, NULL, NULL, l.enrollment_id "
	"FROM marketing_internal.enrollment_log AS l "
	"WHERE l.journey_id OPERATOR(pg_catalog.=) $1 AND l.step IS NOT NULL "
	"UNION ALL SELECT e.state, e.ended_at, e.step, e.version, NULL, e.enrollment_id, NULL, NULL, e.enrollment_id "
	"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
	"AND e.state OPERATOR(pg_catalog.=) ANY ('{completed,exited}') "
	"UNION ALL SELECT CASE m.state WHEN 'sent' THEN 'sent' ELSE 'not sent' END, m.settled_at, "
	"m.step, e.version, m.channel, m.message_id, NULL, NULL, e.enrollment_id "
	"FROM marketing_internal.message_log AS m " OF_RUN("m")
	"WHERE m.journey OPERATOR(pg_catalog.=) $2 AND m.test_for IS NULL "
	"AND e.journey_id OPERATOR(pg_catalog.=) $1 "
	"UNION ALL SELECT CASE WHEN h.link_id IS NULL THEN 'opened' ELSE 'clicked' END, h.occurred_at, "
	"h.step, e.version, h.channel, h.message_id, NULL, NULL, e.enrollment_id "
	"FROM marketing_internal.message_hit AS h JOIN marketing_internal.message_log AS m "
	"ON m.contact_id OPERATOR(pg_catalog.=) h.contact_id "
	"AND m.message_id OPERATOR(pg_catalog.=) h.message_id " OF_RUN("m")
	"WHERE h.journey OPERATOR(pg_catalog.=) $2 AND NOT h.machine AND m.test_for IS NULL "
	"AND e.journey_id OPERATOR(pg_catalog.=) $1 "
	"UNION ALL SELECT 'goal', g.at, NULL, g.version, NULL, g.enrollment_id, g.value, g.currency, g.enrollment_id "
	"FROM marketing_internal.enrollment_goal AS g "
	"WHERE g.journey_id OPERATOR(pg_catalog.=) $1 AND NOT g.milestone";

#define COUNT(what) \
	"pg_catalog.count(DISTINCT x.id) FILTER (WHERE x.what OPERATOR(pg_catalog.=) '" what "')"

/* Of several currencies there is no sum. */
static const char *const report_sql =
	"SELECT x.part, CASE $3 WHEN 'step' THEN " COUNT("at step") " ELSE " COUNT("entered") " END"
	", " COUNT("sent") ", " COUNT("not sent") ", " COUNT("opened") ", " COUNT("clicked")
	", " COUNT("completed") ", " COUNT("exited") ", " COUNT("goal")
	", CASE WHEN pg_catalog.count(DISTINCT COALESCE(x.currency, '')) "
	"FILTER (WHERE x.value IS NOT NULL) OPERATOR(pg_catalog.=) 1 THEN pg_catalog.sum(x.value) END, "
	"CASE WHEN pg_catalog.count(DISTINCT COALESCE(x.currency, '')) "
	"FILTER (WHERE x.value IS NOT NULL) OPERATOR(pg_catalog.=) 1 THEN pg_catalog.min(x.currency) END, "
	"pg_catalog.min(x.at), pg_catalog.max(x.at) FROM ("
	"SELECT x.*, CASE $3 WHEN 'step' THEN x.step WHEN 'version' THEN x.version::pg_catalog.text "
	"WHEN 'channel' THEN x.channel WHEN 'variant' THEN v.part "
	"ELSE pg_catalog.to_char(pg_catalog.timezone($5, x.at), 'IYYY-\"W\"IW') END AS part "
	"FROM (%s) AS x %s) AS x WHERE x.part IS NOT NULL GROUP BY x.part "
	"ORDER BY CASE $3 WHEN 'step' THEN pg_catalog.array_position($4, x.part) END, "
	"CASE $3 WHEN 'version' THEN x.part::pg_catalog.int4 END, x.part";

/*
 * The path or variant that each run took at each split and test.  Of the messages of a run
 * those of the test's own step are told of its variant.
 */
static const char *const variants_sql =
	"JOIN (SELECT DISTINCT l.enrollment_id, l.what, l.step, "
	"l.step OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) l.detail AS part "
	"FROM marketing_internal.enrollment_log AS l WHERE l.journey_id OPERATOR(pg_catalog.=) $1 "
	"AND l.what OPERATOR(pg_catalog.=) ANY ('{split,test}')) AS v "
	"ON v.enrollment_id OPERATOR(pg_catalog.=) x.run AND (v.what OPERATOR(pg_catalog.=) 'split' "
	"OR x.channel IS NULL OR x.step OPERATOR(pg_catalog.=) v.step)";

/* Ids of the steps of all versions, those of the newest first, each once. */
static char **
step_ids(const MaJourney *journey, int *n)
{
	MaJourneys *journeys = ma_journeys();
	List	   *ids = NIL;
	char	  **array;
	ListCell   *cell;

	for (int i = list_length(journeys->versions) - 1; i >= 0; i--)
	{
		MaVersion  *version = list_nth(journeys->versions, i);

		foreach(cell, version->journey_id == journey->id ? version->program->all : NIL)
			ids = lappend(ids, unconstify(char *, ((MaStep *) lfirst(cell))->id));
	}
	*n = list_length(ids);
	array = palloc_array(char *, Max(*n, 1));
	foreach(cell, ids)
		array[foreach_current_index(cell)] = lfirst(cell);
	return array;
}

static void
emit(ReturnSetInfo *result, const MaRows *rows)
{
	for (uint64 i = 0; i < rows->n; i++)
		tuplestore_puttuple(result->setResult, rows->rows[i]);
}

/* journey_report(name, by) */
Datum
ma_journey_report(PG_FUNCTION_ARGS)
{
	static const char *const bys[] = {"step", "version", "week", "channel", "variant"};
	Oid			types[5] = {INT4OID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		known = false;
	MaJourney  *journey;
	Datum		values[5];
	MaCall		call;
	MaRows		rows;
	char	   *by;
	char	  **ids;
	int			n;

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "name" : "by")));
	by = text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (int i = 0; i < lengthof(bys); i++)
		known |= strcmp(by, bys[i]) == 0;
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("by must be step, version, week, channel or variant, not \"%s\"", by)));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	journey = ma_journey_required(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	ids = step_ids(journey, &n);
	values[0] = Int32GetDatum(journey->id);
	values[1] = CStringGetTextDatum(journey->name);
	values[2] = CStringGetTextDatum(by);
	values[3] = ma_text_array(ids, n);
	values[4] = CStringGetTextDatum(ma_database_time_zone());
	rows = ma_run_once(psprintf(report_sql, things_sql,
								strcmp(by, "variant") == 0 ? variants_sql :
								"CROSS JOIN (SELECT NULL::pg_catalog.text AS part) AS v"),
					   lengthof(types), types, values, NULL, MA_RUN_READ);
	emit(result, &rows);
	ma_call_end(&call);
	return (Datum) 0;
}

/* stuck_enrollments(name) */
Datum
ma_stuck_enrollments(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT j.name, marketing_internal.contact_text_now(e.contact_id), e.enrollment_id, e.step, "
		"COALESCE(e.due_at, e.since), CASE WHEN e.state OPERATOR(pg_catalog.=) 'parked' "
		"THEN 'parked: ' OPERATOR(pg_catalog.||) e.error_state OPERATOR(pg_catalog.||) ': ' "
		"OPERATOR(pg_catalog.||) e.error "
		"WHEN e.message_id IS NOT NULL THEN 'its message is gone and was not told of' "
		"ELSE 'should have gone on: is the scheduler there?' END "
		"FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j "
		"ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id "
		"WHERE ($1 IS NULL OR j.journey_id OPERATOR(pg_catalog.=) $1) AND j.paused IS NULL "
		"AND (e.state OPERATOR(pg_catalog.=) 'parked' "
		"OR (e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}') AND e.message_id IS NULL "
		"AND e.due_at OPERATOR(pg_catalog.<) ($2 OPERATOR(pg_catalog.-) "
		OVERDUE "::pg_catalog.interval)) "
		"OR (e.state OPERATOR(pg_catalog.=) 'waiting' AND e.message_id IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM marketing_internal.message AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) ANY (ARRAY[e.contact_id, 0]) "
		"AND m.message_id OPERATOR(pg_catalog.=) e.message_id) "
		"AND NOT EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) e.contact_id "
		"AND s.message_id OPERATOR(pg_catalog.=) e.message_id))) ORDER BY 1, 5, 3",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		all = PG_ARGISNULL(0);
	Datum		values[2] = {0};
	MaCall		call;
	MaRows		rows;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	if (!all)
		values[0] = Int32GetDatum(ma_journey_required(
			text_to_cstring(PG_GETARG_TEXT_PP(0)))->id);
	values[1] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&read, values, all ? "n " : "  ", MA_RUN_READ);
	emit(result, &rows);
	ma_call_end(&call);
	return (Datum) 0;
}
