/*
 * drain_read.c
 *		Reads the next marks of the dirty log.
 *
 * Rows that were drained stay where they are until nobody can see them any more, so
 * a scan that begins at the start of the log each time costs as much as all that
 * was ever drained, for as long as somebody holds an old snapshot.  So the scan by
 * number goes on from where it ended, and returns:
 *
 * - when it found nothing, and each second while it finds something, to the
 *   number below which everything is decided and was found drained: a number may
 *   become visible after higher ones, but not later than the end of a transaction
 *   that ran when the higher one was read;
 * - each minute, and in a session each time it finds nothing, to the very start,
 *   in case somebody reset what had rested, or a row was locked by another.
 *
 * Rows that rest after a try are found by the time they rest to.
 */
#include "base/base.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "contacts/flush/drain.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "utils/snapmgr.h"

#define RETURN_MS 1000			/* to what may have become visible late */
#define RETURN_SHARE 20			/* ... but not more than 1/20 of the time */
#define RESTART_MS 60000		/* to the start */

static int64 low = 0;			/* the scan goes on after this number */
static int64 highest = 0;		/* number read */
static int64 settled = 0;		/* all up to this one is drained */
static int64 mark = 0;			/* will be settled, if a scan finds nothing below ... */
static TransactionId mark_xid = InvalidTransactionId;	/* ... once all before this have ended */
static int64 return_at = 0;
static int64 restart_at = 0;
static bool resting_first = false;

static int64 now_ms(void);
static MaRows read_after(int64 number, int size);
static MaRows scan(int size);
static bool mark_is_over(void);
static int64 note(const MaRows *rows);

static int64
now_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* Rows that have rested, and rows after the number; they take turns in coming first. */
static MaRows
read_after(int64 number, int size)
{
	static MaStatement read = {
		"WITH rested AS MATERIALIZED ("
		"SELECT d.ctid, d.contact_id, d.source_id, d.event_source_id, d.external_id, d.events, d.dirty_id "
		"FROM marketing_internal.dirty AS d WHERE d.previous_id IS NULL AND d.table_id IS NULL "
		"AND d.retry_at IS NOT NULL AND d.retry_at OPERATOR(pg_catalog.<=) $4 "
		"ORDER BY d.retry_at LIMIT $2 FOR UPDATE SKIP LOCKED), "
		"fresh AS MATERIALIZED ("
		"SELECT d.ctid, d.contact_id, d.source_id, d.event_source_id, d.external_id, d.events, d.dirty_id "
		"FROM marketing_internal.dirty AS d WHERE d.previous_id IS NULL AND d.table_id IS NULL "
		"AND d.retry_at IS NULL AND d.dirty_id OPERATOR(pg_catalog.>) $1 "
		"ORDER BY d.dirty_id LIMIT $3 OPERATOR(pg_catalog.-) (SELECT pg_catalog.count(*) FROM rested) "
		"FOR UPDATE SKIP LOCKED) "
		"SELECT r.*, false FROM rested AS r UNION ALL SELECT f.*, true FROM fresh AS f",
		4, {INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[4];
	MaRows		rows;
	int			nest_level = ma_pin_index_scans();

	values[0] = Int64GetDatum(number);
	values[1] = Int32GetDatum(resting_first ? size : size / 2);
	values[2] = Int32GetDatum(size);
	/* A parameter, not clock_timestamp(): only then does the index end the scan. */
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	rows = ma_run(&read, values, NULL, MA_RUN_WRITE_LATEST);
	ma_unpin_settings(nest_level);
	return rows;
}

/* Every transaction has ended that ran when the mark was set. */
static bool
mark_is_over(void)
{
	return TransactionIdIsValid(mark_xid) &&
		TransactionIdFollowsOrEquals(GetLatestSnapshot()->xmin, mark_xid);
}

/* Notes how far the scan came; returns how many fresh rows there are. */
static int64
note(const MaRows *rows)
{
	int64		fresh = 0;

	for (uint64 i = 0; i < rows->n; i++)
		if (ma_bool(rows, i, 8))
		{
			low = Max(low, ma_int64(rows, i, 7));
			fresh++;
		}
	highest = Max(highest, low);
	return fresh;
}

/* One scan from `low`; one from the settled number moves that on when it finds nothing. */
static MaRows
scan(int size)
{
	bool		whole = low <= settled;
	bool		over = whole && mark_is_over();
	MaRows		rows = read_after(low, size);

	/* Rows that have rested may have left no room for others. */
	if (note(&rows) > 0 || !whole || rows.n >= (uint64) size)
		return rows;
	if (over)
		settled = mark;
	if (over || !TransactionIdIsValid(mark_xid))
	{
		mark = highest;
		mark_xid = ReadNextTransactionId();
	}
	low = settled;
	return rows;
}

MaRows
ma_dirty_read(int size)
{
	int64		start = now_ms();
	bool		in_session = MyBgworkerEntry == NULL;
	MaRows		rows;

	resting_first = !resting_first;
	if (start >= restart_at)
	{
		low = settled = 0;
		restart_at = start + RESTART_MS;
	}
	if (start >= return_at)
	{
		low = settled;
		rows = scan(size);
		return_at = now_ms() + Max(RETURN_MS, (now_ms() - start) * RETURN_SHARE);
	}
	else
		rows = scan(size);
	if (rows.n == 0 && low > settled)
	{
		low = settled;
		rows = scan(size);
	}
	if (rows.n == 0 && in_session && settled > 0)
	{
		low = settled = 0;
		rows = scan(size);
	}
	return rows;
}
