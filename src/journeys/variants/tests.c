/*
 * tests.c
 *		Tests of steps: when one began, when its horizon is, and who has won.
 *
 * A test begins when the first contact comes to its step, and ends so long after that; it
 * is decided once, for all versions in which the step says the same, and a step that says
 * something else begins another one.  The turn that comes first after the horizon decides,
 * before it does any step; so whoever comes to the step from then on gets the winner.
 *
 * What cannot be counted (a table is locked) is tried again, and the test goes on
 * meanwhile; its horizon stays what it was.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define DECISION_MS 15000
#define TRIES 10				/* to count; then it is no_winner */
#define RETRY_SECONDS 60

/* One that is to be decided. */
typedef struct Due
{
	MaTurnBatch *batch;
	int32		journey_id;
	char	   *step;
	char	   *form;
	int			tries;
	MaTestCount count;
	const MaVariant *winner;
	char	   *words;
} Due;

static void decide(Due *due);
static void count(void *arg);
static void note(const Due *due);
static void try_again(const Due *due);

/* ---- the state of one ---- */

MaTestState *
ma_test_state(const MaVersion *version, const MaStep *step, TimestampTz now)
{
	static MaStatement read = {
		"SELECT t.next_at, t.winner FROM marketing_internal.journey_test AS t "
		"WHERE t.journey_id OPERATOR(pg_catalog.=) $1 AND t.step OPERATOR(pg_catalog.=) $2 "
		"AND t.form OPERATOR(pg_catalog.=) pg_catalog.md5($3)",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	static MaStatement begin = {
		"INSERT INTO marketing_internal.journey_test "
		"(journey_id, step, form, definition, begun_at, decide_at, next_at) "
		"VALUES ($1, $2, pg_catalog.md5($3), $3::pg_catalog.jsonb, $4, $5, $5)",
		5, {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	MaTestState *state = palloc0_object(MaTestState);
	Datum		values[5];
	MaRows		rows;

	values[0] = Int32GetDatum(version->journey_id);
	values[1] = CStringGetTextDatum(step->id);
	values[2] = CStringGetTextDatum(step->form);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
	{
		state->next_at = ma_int64(&rows, 0, 1);
		state->winner = ma_text(&rows, 0, 2);
		return state;
	}
	state->next_at = ma_duration_add(now, step->test->after, NULL);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(state->next_at);
	ma_run(&begin, values, NULL, MA_RUN_WRITE_LATEST);
	return state;
}

/* ---- the horizon ---- */

TimestampTz
ma_tests_next(void)
{
	static MaStatement first = {
		"SELECT pg_catalog.min(t.next_at) FROM marketing_internal.journey_test AS t "
		"WHERE t.winner IS NULL"
	};
	MaRows		rows = ma_run(&first, NULL, NULL, MA_RUN_READ_LATEST);
	bool		isnull;
	Datum		at = ma_value(&rows, 0, 1, &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(at);
}

bool
ma_tests_decide(MaTurnBatch *batch)
{
	static MaStatement read = {
		"SELECT t.journey_id, j.name, t.step, t.form, t.definition, t.begun_at, t.decide_at, t.tries "
		"FROM marketing_internal.journey_test AS t JOIN marketing_internal.journey AS j "
		"ON j.journey_id OPERATOR(pg_catalog.=) t.journey_id "
		"WHERE t.winner IS NULL AND t.next_at OPERATOR(pg_catalog.<=) $1 ORDER BY 1, 3, 4",
		1, {TIMESTAMPTZOID}
	};
	Datum		now = TimestampTzGetDatum(batch->now);
	MaRows		rows = ma_run(&read, &now, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		Due			due = {batch, ma_int32(&rows, i, 1), ma_text(&rows, i, 3),
						   ma_text(&rows, i, 4), ma_int32(&rows, i, 8)};
		List	   *problems = NIL;
		bool		isnull;
		MaTest	   *test = ma_test_parse(ma_json_tree(ma_value(&rows, i, 5, &isnull)), true,
										 &problems);
		ListCell   *cell;

		foreach(cell, test->variants)
			((MaVariant *) lfirst(cell))->step = due.step;
		due.count.test = test;
		due.count.journey = ma_text(&rows, i, 2);
		due.count.drawn_by = due.step;
		due.count.since = ma_int64(&rows, i, 6);
		due.count.until = ma_int64(&rows, i, 7);
		decide(&due);
	}
	return rows.n > 0;
}

static void
count(void *arg)
{
	Due		   *due = arg;

	due->winner = ma_test_winner(&due->count, &due->words);
}

static void
decide(Due *due)
{
	ErrorData  *error = ma_drain_protect(count, due, DECISION_MS);

	if (error != NULL)
	{
		ma_count_error(error->sqlerrcode, error->message);
		if (due->tries + 1 < TRIES)
		{
			try_again(due);
			return;
		}
		due->winner = ma_test_variant(due->count.test, due->count.test->no_winner);
		due->words = psprintf("could not be counted (%s: %s), so %s",
							  unpack_sql_state(error->sqlerrcode), error->message,
							  due->winner->name);
	}
	note(due);
}

static void
note(const Due *due)
{
	static MaStatement set = {
		"UPDATE marketing_internal.journey_test SET winner = $4, decided = $5 "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND step OPERATOR(pg_catalog.=) $2 "
		"AND form OPERATOR(pg_catalog.=) $3",
		5, {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[5];

	values[0] = Int32GetDatum(due->journey_id);
	values[1] = CStringGetTextDatum(due->step);
	values[2] = CStringGetTextDatum(due->form);
	values[3] = CStringGetTextDatum(due->winner->name);
	values[4] = CStringGetTextDatum(due->words);
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
try_again(const Due *due)
{
	static MaStatement set = {
		"UPDATE marketing_internal.journey_test SET tries = tries OPERATOR(pg_catalog.+) 1, "
		"next_at = $4 WHERE journey_id OPERATOR(pg_catalog.=) $1 "
		"AND step OPERATOR(pg_catalog.=) $2 AND form OPERATOR(pg_catalog.=) $3",
		4, {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[4];

	values[0] = Int32GetDatum(due->journey_id);
	values[1] = CStringGetTextDatum(due->step);
	values[2] = CStringGetTextDatum(due->form);
	values[3] = TimestampTzGetDatum(due->batch->now + RETRY_SECONDS * USECS_PER_SEC);
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}
