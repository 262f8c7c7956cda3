/*
 * enter.c
 *		How the frozen audience gets into the journey: in batches of the scheduler, each in a
 *		transaction of its own.
 *
 * So a launch to millions holds nothing up, and a cancel comes between two batches.  The
 * rows are taken in the order of contact_id, from where the last batch ended (entered_to).
 * Merging contacts may move a row to a number that has been passed, so when the end is
 * reached the rows that are left are looked through once more, from the beginning.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#define BATCH 5000

static int64 *read_batch(const MaBroadcastRow *row, bool tested, int *n);
static void take(const MaBroadcastRow *row, bool tested, Datum ids);

/* Those of the test while it goes on, else those who are not in one. */
void
ma_broadcast_enter(const MaBroadcastRow *row)
{
	static MaStatement find = {
		"SELECT j.journey_id FROM marketing_internal.journey AS j "
		"WHERE j.name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	bool		tested = strcmp(row->state, "testing") == 0;
	Datum		name = CStringGetTextDatum(row->name);
	MaRows		journey;
	int64	   *ids;
	int			n;

	ids = read_batch(row, tested, &n);
	if (n == 0)
	{
		ma_broadcast_entered_set(row->id, row->entered_to > 0 ? 0 : MA_ALL_ENTERED);
		return;
	}
	journey = ma_run(&find, &name, NULL, MA_RUN_READ_LATEST);
	if (journey.n > 0)
		ma_journey_enroll(ma_int32(&journey, 0, 1), ids, n, NULL);
	take(row, tested, ma_int8_array(ids, n));
	ma_broadcast_entered_set(row->id, ids[n - 1]);
}

static int64 *
read_batch(const MaBroadcastRow *row, bool tested, int *n)
{
	static MaStatement read = {
		"SELECT a.contact_id FROM marketing_internal.broadcast_audience AS a "
		"WHERE a.broadcast_id OPERATOR(pg_catalog.=) $1 AND a.contact_id OPERATOR(pg_catalog.>) $2 "
		"AND a.tested OPERATOR(pg_catalog.=) $3 AND NOT a.entered ORDER BY a.contact_id LIMIT $4",
		4, {INT4OID, INT8OID, BOOLOID, INT4OID}
	};
	Datum		values[4];
	MaRows		rows;
	int64	   *ids;

	values[0] = Int32GetDatum(row->id);
	values[1] = Int64GetDatum(row->entered_to);
	values[2] = BoolGetDatum(tested);
	values[3] = Int32GetDatum(BATCH);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	ids = palloc_array(int64, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	*n = (int) rows.n;
	return ids;
}

/* The test's end is seen by those who were in it; of the others their runs tell. */
static void
take(const MaBroadcastRow *row, bool tested, Datum ids)
{
	static MaStatement keep = {
		"UPDATE marketing_internal.broadcast_audience AS a SET entered = true "
		"WHERE a.broadcast_id OPERATOR(pg_catalog.=) $1 AND a.contact_id OPERATOR(pg_catalog.=) ANY ($2)",
		2, {INT4OID, INT8ARRAYOID}
	};
	static MaStatement forget = {
		"DELETE FROM marketing_internal.broadcast_audience AS a "
		"WHERE a.broadcast_id OPERATOR(pg_catalog.=) $1 AND a.contact_id OPERATOR(pg_catalog.=) ANY ($2)",
		2, {INT4OID, INT8ARRAYOID}
	};
	Datum		values[2] = {Int32GetDatum(row->id), ids};

	ma_run(tested ? &keep : &forget, values, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_broadcast_entered_set(int32 id, int64 entered_to)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET entered_to = $2 "
		"WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INT8OID}
	};
	Datum		values[2] = {Int32GetDatum(id), Int64GetDatum(entered_to)};

	ma_run(&set, values, entered_to == MA_ALL_ENTERED ? " n" : "  ", MA_RUN_WRITE_LATEST);
}
