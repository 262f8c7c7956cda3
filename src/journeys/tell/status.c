/*
 * status.c
 *		Rows of marketing.status about journeys: only what somebody should look at.
 *
 * It must answer at once, however many runs there are, so it reads hints (of what is due,
 * of what an error has parked) and the runs they name, and not all of them, as
 * stuck_enrollments() does.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "journeys/engine.h"
#include "utils/builtins.h"

#define OVERDUE "'5 minutes'"	/* as in stuck_enrollments() */

static void put_parked(ReturnSetInfo *result);
static void put_overdue(ReturnSetInfo *result);
static void put_held(ReturnSetInfo *result);

MA_FUNCTION(ma_journeys_status);

/* Runs that wait for somebody to look at their error. */
static void
put_parked(ReturnSetInfo *result)
{
	static MaStatement read = {
		"SELECT j.name, pg_catalog.count(*), (pg_catalog.array_agg(x.what ORDER BY e.enrollment_id))[1] "
		"FROM marketing_internal.enrollment_parked AS p JOIN marketing_internal.enrollment AS e "
		"ON e.contact_id OPERATOR(pg_catalog.=) p.contact_id "
		"AND e.enrollment_id OPERATOR(pg_catalog.=) p.enrollment_id "
		"AND e.state OPERATOR(pg_catalog.=) 'parked' "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id "
		"CROSS JOIN LATERAL (SELECT pg_catalog.format('contact %s at step %s with %s: %s', "
		"marketing_internal.contact_text_now(e.contact_id), e.step, e.error_state, e.error)) AS x (what) "
		"GROUP BY 1 ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *name = ma_text(&rows, i, 1);
		int64		n = ma_int64(&rows, i, 2);

		ma_status_line(result, psprintf("journey %s", name), "warning", "parked",
					   psprintf("%s run%s stopped by an error, such as that of %s. marketing.stuck_enrollments('%s') shows all; mend the cause, then marketing.retry_enrollment().",
								ma_grouped(n), n == 1 ? " was" : "s were", ma_text(&rows, i, 3),
								name));
	}
}

/* What should have gone on long ago, and is not held by a pause. */
static void
put_overdue(ReturnSetInfo *result)
{
	static MaStatement read = {
		"SELECT j.name, pg_catalog.count(*), pg_catalog.min(d.due_at) FROM ("
		"SELECT d.due_at, d.contact_id, d.enrollment_id FROM marketing_internal.enrollment_due AS d "
		"WHERE d.due_at OPERATOR(pg_catalog.<) ($1 OPERATOR(pg_catalog.-) "
		OVERDUE "::pg_catalog.interval) ORDER BY d.due_at LIMIT 1000) AS d "
		"JOIN marketing_internal.enrollment AS e "
		"ON e.contact_id OPERATOR(pg_catalog.=) d.contact_id "
		"AND e.enrollment_id OPERATOR(pg_catalog.=) d.enrollment_id "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}') "
		"AND LEAST(e.due_at, e.check_at) OPERATOR(pg_catalog.<=) d.due_at "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id "
		"WHERE j.paused IS NULL GROUP BY 1 ORDER BY 1",
		1, {TIMESTAMPTZOID}
	};
	Datum		now = TimestampTzGetDatum(ma_now());
	MaRows		rows = ma_run(&read, &now, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		int64		n = ma_int64(&rows, i, 2);

		ma_status_line(result, psprintf("journey %s", ma_text(&rows, i, 1)), "error", "behind",
					   psprintf("%s%s run%s should have gone on, the first at %s. Without workers: CALL marketing.work().",
								n == 1000 ? "At least " : "", ma_grouped(n), n == 1 ? "" : "s",
								timestamptz_to_str(ma_int64(&rows, i, 3))));
	}
}

/* Entries that a surge limit holds back. */
static void
put_held(ReturnSetInfo *result)
{
	static MaStatement read = {
		"SELECT j.name, pg_catalog.count(*) FROM marketing_internal.enrollment_held AS h "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) h.journey_id "
		"GROUP BY 1 ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *name = ma_text(&rows, i, 1);

		ma_status_line(result, psprintf("journey %s", name), "warning", "held",
					   psprintf("The surge limit holds back entries: %s. If they are meant, marketing.release('%s').",
								ma_grouped(ma_int64(&rows, i, 2)), name));
	}
}

/* journeys_status() */
Datum
ma_journeys_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	put_parked(result);
	put_overdue(result);
	put_held(result);
	ma_call_end(&call);
	return (Datum) 0;
}
