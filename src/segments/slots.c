/*
 * slots.c
 *		Slots of segments: the places of their bits in the state of contacts, given out,
 *		cleared after a drop, and given out again.
 *
 * A drop costs no look at the contacts; the bits it leaves behind are cleared by the
 * worker, contact by contact under the lock.  A slot is free when no contact has its bit
 * any more and every snapshot sees that, so that nobody who reads as of an earlier
 * moment takes a bit of the old segment for one of the new.  Who evaluated with the old
 * segment and comes to write is stopped by state.c.
 *
 * The row of a dropped slot tells by its own xmin since when it is clear: a number of a
 * transaction would mean nothing after a restore.
 */
#include "base/base.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "storage/procarray.h"
#include "utils/rel.h"
#include "worker/worker.h"

#define CLEAR_EVERY_MS 10000
#define PORTION 5000			/* contacts looked at in a turn */
#define MAX_SLOTS 1000			/* slots cleared at once */

/* The dropped slots that are being cleared. */
typedef struct Gone
{
	int			n;
	int			slots[MAX_SLOTS];
	bool		found[MAX_SLOTS];	/* somebody has its bit */
	int64		after;			/* the contacts up to this one were looked at */
} Gone;

/* Contacts of one turn. */
typedef struct Look
{
	Gone		gone;
	int64	   *ids;			/* who has a bit of one of them */
	int			n;
	int			most;
	bool		any;			/* somebody was looked at */
	int64		last;			/* the last one of them */
} Look;

static int	free_slot(void);
static bool clear(void);
static bool clear_turn(void);
static void read_gone(Gone *gone);
static bool has_bit(Gone *gone, const bytea *bits);
static bool look_at(TupleTableSlot *row, void *arg);
static void store_progress(const Gone *gone, int64 last);
static void store_end(void);

void
ma_segment_slots_init(void)
{
	static const MaDuty duty = {
		.name = "slots of segments", .every_ms = CLEAR_EVERY_MS, .tick = clear
	};

	ma_worker_register_duty(&duty);
}

/* The lowest slot that was cleared before the oldest snapshot was taken; -1: none. */
static int
free_slot(void)
{
	static MaStatement cleared = {
		"SELECT g.slot::pg_catalog.int4, g.xmin FROM marketing_internal.segment_slot_gone AS g "
		"WHERE g.cleared ORDER BY g.slot"
	};
	static MaStatement take = {
		"DELETE FROM marketing_internal.segment_slot_gone AS g "
		"WHERE g.slot OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaRows		rows = ma_run(&cleared, NULL, NULL, MA_RUN_READ_LATEST);
	Relation	state = table_open(ma_own_table("segment_state"), AccessShareLock);
	TransactionId oldest = GetOldestNonRemovableTransactionId(state);

	table_close(state, NoLock);
	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;
		Datum		value = ma_value(&rows, i, 2, &isnull);
		int			slot = ma_int32(&rows, i, 1);

		if (!TransactionIdPrecedes(DatumGetTransactionId(value), oldest))
			continue;
		value = Int32GetDatum(slot);
		ma_run(&take, &value, NULL, MA_RUN_WRITE_LATEST);
		return slot;
	}
	return -1;
}

int
ma_segment_slot_take(void)
{
	static MaStatement last = {
		"SELECT GREATEST((SELECT pg_catalog.max(s.slot) FROM marketing_internal.segment AS s), "
		"(SELECT pg_catalog.max(g.slot) FROM marketing_internal.segment_slot_gone AS g), "
		"0::pg_catalog.int2)::pg_catalog.int4"
	};
	int			slot = free_slot();
	MaRows		rows;

	if (slot >= 0)
		return slot;
	rows = ma_run(&last, NULL, NULL, MA_RUN_READ_LATEST);
	slot = ma_int32(&rows, 0, 1) + 1;
	if (slot > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many segments"),
				 errhint("Those that were dropped count until the worker has cleared what is left of them.")));
	return slot;
}

void
ma_segment_slot_drop(int slot)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_slot_gone (slot) VALUES ($1)",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(slot);

	ma_run(&add, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* ---- the worker ---- */

static bool
clear(void)
{
	return ma_drain_turn(clear_turn);
}

static void
read_gone(Gone *gone)
{
	static MaStatement read = {
		"SELECT g.slot::pg_catalog.int4, g.cleared_to FROM marketing_internal.segment_slot_gone AS g "
		"WHERE NOT g.cleared ORDER BY g.cleared_to, g.slot LIMIT $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(MAX_SLOTS);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	memset(gone, 0, sizeof(*gone));
	for (uint64 i = 0; i < rows.n; i++)
		gone->slots[gone->n++] = ma_int32(&rows, i, 1);
	if (gone->n > 0)
		gone->after = ma_int64(&rows, 0, 2);
}

static bool
has_bit(Gone *gone, const bytea *bits)
{
	bool		any = false;

	for (int i = 0; i < gone->n; i++)
		if (ma_state_bit(bits, gone->slots[i]))
			any = gone->found[i] = true;
	return any;
}

/* Takes a row of segment_state: who has a bit of a dropped slot, until they are enough. */
static bool
look_at(TupleTableSlot *row, void *arg)
{
	Look	   *look = arg;
	bool		isnull;

	look->last = DatumGetInt64(slot_getattr(row, 1, &isnull));
	look->any = true;
	if (has_bit(&look->gone, DatumGetByteaPP(slot_getattr(row, 2, &isnull))))
		look->ids[look->n++] = look->last;
	return look->n < look->most;
}

/*
 * One portion of contacts.  Whoever has a bit of a dropped slot is evaluated, which
 * leaves it out; that a slot is clear is told by a round that finds none.
 */
static bool
clear_turn(void)
{
	static MaStatement read = {
		"SELECT s.contact_id, s.bits FROM marketing_internal.segment_state AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY s.contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	Look		look = {.most = ma_drain_batch_size()};
	Datum		values[2];

	read_gone(&look.gone);
	if (look.gone.n == 0)
		return false;
	look.ids = palloc_array(int64, look.most);
	values[0] = Int64GetDatum(look.gone.after);
	values[1] = Int32GetDatum(PORTION);
	ma_run_each(&read, values, MA_RUN_READ_LATEST, look_at, &look);
	if (!look.any)
	{
		store_end();
		return false;
	}
	store_progress(&look.gone, look.last);
	if (look.n > 0)
		(void) ma_contacts_wake(look.ids, NULL, look.n, true);
	return true;
}

static void
store_progress(const Gone *gone, int64 last)
{
	static MaStatement store = {
		"UPDATE marketing_internal.segment_slot_gone AS g "
		"SET cleared_to = GREATEST(g.cleared_to, $2), "
		"found = g.found OR g.slot OPERATOR(pg_catalog.=) ANY ($3) "
		"WHERE NOT g.cleared AND g.slot OPERATOR(pg_catalog.=) ANY ($1)",
		3, {INT4ARRAYOID, INT8OID, INT4ARRAYOID}
	};
	int32	   *slots = palloc_array(int32, gone->n);
	int32	   *found = palloc_array(int32, gone->n);
	int			nfound = 0;
	Datum		values[3];

	for (int i = 0; i < gone->n; i++)
	{
		slots[i] = gone->slots[i];
		if (gone->found[i])
			found[nfound++] = gone->slots[i];
	}
	values[0] = ma_int4_array(slots, gone->n);
	values[1] = Int64GetDatum(last);
	values[2] = ma_int4_array(found, nfound);
	ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
}

/* A round is over: what it found is looked for again in the next tick. */
static void
store_end(void)
{
	static MaStatement store = {
		"UPDATE marketing_internal.segment_slot_gone AS g "
		"SET cleared = NOT g.found, found = false, cleared_to = 0 WHERE NOT g.cleared"
	};

	ma_run(&store, NULL, NULL, MA_RUN_WRITE_LATEST);
}
