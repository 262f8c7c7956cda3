/*
 * date_plan.c
 *		Who is next due when, of everybody: after a version that is entered by a date was
 *		activated, or the clock was set back.
 *
 * A shop may have millions of contacts, and who activates a journey holds the writers of
 * their table out until he commits.  So he only leaves a plan (journey_date_plan), and the
 * duty "journey dates" goes through the contacts by their numbers, a batch in each
 * transaction.  Whom a plan has not come to is its alone: what stands in journey_date of
 * him and this journey lets nobody in, and a change of his is not looked at, since the plan
 * reads his date as it is then and lets in who was due since the activation.  So the
 * answer does not depend on how far it has come.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "journeys/enter/dates.h"
#include "worker/worker.h"

#define MOST_FAILED 64
#define MOST_TRIES 8			/* in a turn */

/* Journeys whose plans have failed here, the last one last. */
static int32 failed[MOST_FAILED];
static int	nfailed = 0;

/* A row of journey_date_plan, and the batch in work. */
typedef struct DatePlan
{
	int32		journey_id;
	TimestampTz since;
	TimestampTz keep;
	int64		last;
	int64	   *ids;
	int			n;
} DatePlan;

static MaRows read_plans(void);
static void note_failed(int32 journey_id, bool has_failed);
static bool try_plan(DatePlan *plan);
static uint64 read_batch(DatePlan *plan);
static void leave(const DatePlan *plan, const int64 *ids, int n);
static void renew(void *arg);
static void go_on(const DatePlan *plan);
static void finish(const DatePlan *plan);

/*
 * Everybody is looked at: when he is due after now.  Who was due up to `keep` by what
 * stands in journey_date, and has not been let in, enters.
 */
void
ma_journey_dates_plan(int32 journey_id, TimestampTz keep)
{
	static MaStatement ask = {
		"INSERT INTO marketing_internal.journey_date_plan (journey_id, since, keep) "
		"VALUES ($1, $2, $3) "
		"ON CONFLICT (journey_id, since) DO UPDATE SET keep = excluded.keep, done = 0",
		3, {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int32GetDatum(journey_id), TimestampTzGetDatum(ma_now()),
	TimestampTzGetDatum(keep)};

	ma_run(&ask, values, NULL, MA_RUN_WRITE_LATEST);
	ma_worker_wake_at_commit();
}

/*
 * The first plan of each journey, those of one come one after the other; journeys whose
 * plans have failed come last, the one that failed longest ago before the others.
 */
static MaRows
read_plans(void)
{
	static MaStatement read = {
		"SELECT f.journey_id, f.since, f.keep, f.done FROM ("
		"SELECT DISTINCT ON (p.journey_id) p.journey_id, p.since, p.keep, p.done "
		"FROM marketing_internal.journey_date_plan AS p ORDER BY p.journey_id, p.since) AS f "
		"ORDER BY pg_catalog.array_position($1, f.journey_id) NULLS FIRST, f.since, f.journey_id "
		"LIMIT $2",
		2, {INT4ARRAYOID, INT4OID}
	};
	Datum		ids[MOST_FAILED];
	Datum		values[2];

	for (int i = 0; i < nfailed; i++)
		ids[i] = Int32GetDatum(failed[i]);
	values[0] = ma_datum_array(ids, nfailed, INT4OID);
	values[1] = Int32GetDatum(MOST_TRIES);
	return ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
}

/* It goes to the end of those that have failed, of which the first ones are forgotten, or out. */
static void
note_failed(int32 journey_id, bool has_failed)
{
	int			n = 0;

	for (int i = 0; i < nfailed; i++)
		if (failed[i] != journey_id)
			failed[n++] = failed[i];
	if (has_failed && n == MOST_FAILED)
		memmove(failed, failed + 1, sizeof(failed[0]) * (size_t) --n);
	if (has_failed)
		failed[n++] = journey_id;
	nfailed = n;
}

/*
 * The next contacts; of them those who are locked here, and not waited for by the dirty
 * log.  The others get a signal, by which they are looked at as of the same instant.
 */
static uint64
read_batch(DatePlan *plan)
{
	static MaStatement read = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY 1 LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	Datum		values[2] = {Int64GetDatum(plan->last), Int32GetDatum(ma_drain_batch_size())};
	int			nest_level = ma_pin_index_scans();
	MaRows		rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	int64	   *left = palloc_array(int64, Max(rows.n, 1));
	bool	   *waiting = palloc0_array(bool, Max(rows.n, 1));
	int			nleft = 0;
	int			n = 0;

	ma_unpin_settings(nest_level);
	plan->ids = palloc_array(int64, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		plan->last = ma_int64(&rows, i, 1);
		if (ma_contact_lock_if_free(plan->last))
			plan->ids[n++] = plan->last;
		else
			left[nleft++] = plan->last;
	}
	if (n > 0)
		ma_contacts_waiting(plan->ids, n, waiting);
	for (int i = 0; i < n; i++)
	{
		if (waiting[i])
			left[nleft++] = plan->ids[i];
		else
			plan->ids[plan->n++] = plan->ids[i];
	}
	leave(plan, left, nleft);
	return rows.n;
}

static void
leave(const DatePlan *plan, const int64 *ids, int n)
{
	MaSignal   *signals = palloc0_array(MaSignal, Max(n, 1));
	bool	   *always = palloc_array(bool, Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		signals[i].contact_id = ids[i];
		signals[i].kind = MA_SIGNAL_DATES;
		signals[i].journey_id = plan->journey_id;
		signals[i].at = plan->since;
		always[i] = true;
	}
	ma_signals_insert(signals, always, n);
}

static void
renew(void *arg)
{
	const DatePlan *plan = arg;

	ma_journey_dates_renew_one(plan->journey_id, plan->ids, plan->n, plan->since, plan->keep);
}

static void
go_on(const DatePlan *plan)
{
	static MaStatement update = {
		"UPDATE marketing_internal.journey_date_plan SET done = $3 "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND since OPERATOR(pg_catalog.=) $2",
		3, {INT4OID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[3] = {Int32GetDatum(plan->journey_id), TimestampTzGetDatum(plan->since),
	Int64GetDatum(plan->last)};

	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
finish(const DatePlan *plan)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.journey_date_plan "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND since OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(plan->journey_id), TimestampTzGetDatum(plan->since)};

	ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
}

/* One batch of it; false if it could not be done now. */
static bool
try_plan(DatePlan *plan)
{
	if (read_batch(plan) == 0)
	{
		finish(plan);
		return true;
	}
	/* A user's table that somebody has locked: these contacts, and signals, come again. */
	if (plan->n > 0 && !ma_journey_dates_guard(renew, plan))
		return false;
	go_on(plan);
	return true;
}

/* One batch of the first plan that can go on; false if there is none. */
bool
ma_journey_dates_go_on(void)
{
	MaRows		rows = read_plans();

	for (uint64 i = 0; i < rows.n; i++)
	{
		DatePlan	plan = {
			.journey_id = ma_int32(&rows, i, 1), .since = ma_int64(&rows, i, 2),
			.keep = ma_int64(&rows, i, 3), .last = ma_int64(&rows, i, 4)
		};
		bool		done = try_plan(&plan);

		note_failed(plan.journey_id, !done);
		if (done)
			return true;
	}
	return false;
}
