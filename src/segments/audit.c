/*
 * audit.c
 *		A trickle of proof: some contacts every few seconds, whether what is stored of
 *		them is what their rows say.
 *
 * State, log and rows are read under one snapshot, in which whoever is neither overdue
 * nor in the dirty log must be stored exactly as his rows have him; so no lock is
 * needed, and what differs is drift: a disabled trigger, a changed partition, a hand in
 * our tables.  It is noted for marketing.status and not put right: somebody should know
 * why, and rebuild_segment() does it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define AUDIT_EVERY_MS 10000
#define AUDIT_BATCH 20
#define MAX_DRIFT 1000			/* contacts noted of a segment */

typedef struct Audit
{
	MaSegments *all;
	MaContactChange *contacts;
	int			n;
	TimestampTz *as_of;
	const bool *wanted;
	MaTruth    *truths;
} Audit;

static bool duty_tick(void);
static int64 *next_contacts(int *n);
static void audit(MaSegments *all, int64 *ids, int n);
static void evaluate(void *arg);
static bool *stored_members(const MaSegments *all, const int64 *ids, int n);
static void note(const MaSegment *segment, int64 contact_id, bool expected);

/* The last contact looked at; it goes round. */
static int64 last_contact = 0;

void
ma_segment_audit_init(void)
{
	static const MaDuty duty = {
		.name = "audit of segments", .every_ms = AUDIT_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
}

static bool
duty_tick(void)
{
	MaSegments *all;
	MaCall		call;
	int64	   *ids;
	int			n;

	if (ma_extension() == NULL)
		return false;
	ma_call_begin(&call);
	all = ma_segments();
	if (all->nrules > 0)
	{
		ids = next_contacts(&n);
		if (n > 0)
			audit(all, ids, n);
	}
	ma_call_end(&call);
	return false;
}

/* The next ones by number, and from the first again after the last. */
static int64 *
next_contacts(int *n)
{
	static MaStatement read = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY c.contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	int64	   *ids = palloc_array(int64, AUDIT_BATCH);
	int64		start = last_contact;

	*n = 0;
	for (int round = 0; round < 2 && *n < AUDIT_BATCH; round++)
	{
		Datum		values[2];
		MaRows		rows;

		values[0] = Int64GetDatum(round == 0 ? start : 0);
		values[1] = Int32GetDatum(AUDIT_BATCH - *n);
		rows = ma_run(&read, values, NULL, MA_RUN_READ);
		for (uint64 i = 0; i < rows.n; i++)
		{
			if (round > 0 && ma_int64(&rows, i, 1) > start)
				break;
			ids[(*n)++] = last_contact = ma_int64(&rows, i, 1);
		}
		if (start == 0)
			break;
	}
	if (*n < AUDIT_BATCH)
		last_contact = 0;
	return ids;
}

static void
evaluate(void *arg)
{
	Audit	   *work = arg;

	ma_rule_set_evaluate(work->all->set, work->contacts, work->n, work->as_of, MA_RUN_READ,
						 work->wanted, work->truths);
}

static void
audit(MaSegments *all, int64 *ids, int n)
{
	MaStale    *stale = ma_stale_contacts();
	TimestampTz now = ma_now();
	MaSegmentStates *states = ma_states_read(all, ids, n, MA_RUN_READ);
	bool	   *members = stored_members(all, ids, n);
	bool	   *wanted = palloc0_array(bool, mul_size(n, all->nrules));
	TimestampTz *as_of = palloc_array(TimestampTz, n);
	Audit		work = {all, ma_read_contacts(ids, n), n, as_of, wanted};

	work.truths = palloc_array(MaTruth, mul_size(n, all->nrules));
	for (int i = 0; i < n; i++)
	{
		as_of[i] = now;
		for (int j = 0; j < all->n; j++)
		{
			const MaSegment *segment = all->segments[j];

			if (segment->place >= 0 && segment->sync && !segment->building && !stale->any &&
				!ma_stale_has(stale, ids[i]) && states->wakes[i * all->n + j] > now)
				wanted[i * all->nrules + segment->place] = true;
		}
	}
	/* A rule that fails is found out by evaluation. */
	if (ma_segment_guard(evaluate, &work) != NULL)
		return;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < all->n; j++)
		{
			int			rule = all->segments[j]->place;
			bool		truth;

			if (rule < 0 || !wanted[i * all->nrules + rule])
				continue;
			truth = work.truths[i * all->nrules + rule].truth;
			if (truth != states->bits[i * all->n + j] || truth != members[i * all->n + j])
				note(all->segments[j], ids[i], truth);
		}
}

static bool *
stored_members(const MaSegments *all, const int64 *ids, int n)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, m.segment_id "
		"FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.segment_member AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) u.contact_id",
		1, {INT8ARRAYOID}
	};
	bool	   *members = palloc0_array(bool, mul_size(n, all->n));
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
		for (int j = 0; j < all->n; j++)
			if (all->segments[j]->id == ma_int32(&rows, i, 2))
				members[(ma_int32(&rows, i, 1) - 1) * all->n + j] = true;
	return members;
}

static void
note(const MaSegment *segment, int64 contact_id, bool expected)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_drift (segment_id, contact_id, expected, found_at) "
		"SELECT $1, $2, $3, $4 WHERE (SELECT pg_catalog.count(*) FROM marketing_internal.segment_drift AS d "
		"WHERE d.segment_id OPERATOR(pg_catalog.=) $1) OPERATOR(pg_catalog.<) $5 "
		"ON CONFLICT (segment_id, contact_id) DO NOTHING",
		5, {INT4OID, INT8OID, BOOLOID, TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[5];

	values[0] = Int32GetDatum(segment->id);
	values[1] = Int64GetDatum(contact_id);
	values[2] = BoolGetDatum(expected);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = Int32GetDatum(MAX_DRIFT);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}
