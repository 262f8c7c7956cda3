/*
 * row_write.c
 *		Rows of our tables inserted, updated and deleted without a statement.
 *
 * What a batch of contacts writes goes through arrays, functions that unnest them and
 * tuplestores before a statement inserts it, and that costs twice what the inserting
 * does; for one contact it is the start and end of the executor.  Here rows are put into
 * the table many at a time, as COPY does it, and then into its indexes.
 *
 * Only for tables without triggers, checks, foreign keys and generated columns but a
 * partition's key, and never a user's table: nothing of what statements look after is
 * looked after here.  Rights are not asked for either.
 */
#include "base/base.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define ROWS_AT_ONCE 256

struct MaRowWrite
{
	Relation	table;
	Snapshot	snapshot;
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *slots[ROWS_AT_ONCE];
	int			nslots;			/* made so far */
	int			n;				/* of them are to be inserted */
};

static MaRowWrite *begin(Oid table, int columns);
static void open_indexes(MaRowWrite *write);
static void check_columns(Relation table, int columns);
static Oid	partition_at(Oid parent, TimestampTz at);
static void insert_rows(MaRowWrite *write);
static void insert_into_indexes(MaRowWrite *write, TupleTableSlot *slot, bool update,
								ma_index_updates which);
static TupleTableSlot *filled(TupleTableSlot *slot, const Datum *values, const bool *nulls);

MaRowWrite *
ma_write_begin(const char *name, int columns)
{
	return begin(ma_own_table(name), columns);
}

/*
 * Who waits for the lock of the default partition may wait for one that makes the
 * partition of this instant: so it is asked for again under the lock.
 */
MaRowWrite *
ma_write_begin_at(const char *name, TimestampTz at, int columns)
{
	Oid			parent = ma_own_table(name);
	Oid			partition;

	LockRelationOid(parent, RowExclusiveLock);
	partition = partition_at(parent, at);
	LockRelationOid(partition, RowExclusiveLock);
	for (Oid again = partition_at(parent, at); again != partition; again = partition_at(parent, at))
	{
		UnlockRelationOid(partition, RowExclusiveLock);
		partition = again;
		LockRelationOid(partition, RowExclusiveLock);
	}
	return begin(partition, columns);
}

static MaRowWrite *
begin(Oid table, int columns)
{
	MaRowWrite *write = palloc0_object(MaRowWrite);

	write->table = table_open(table, RowExclusiveLock);
	check_columns(write->table, columns);
	/* What stands outside of its row may be read only while some snapshot is held. */
	write->snapshot = RegisterSnapshot(GetLatestSnapshot());
	return write;
}

/* Most updates are of no indexed column, and need none of this. */
static void
open_indexes(MaRowWrite *write)
{
	if (write->estate != NULL)
		return;
	write->estate = CreateExecutorState();
	write->info = makeNode(ResultRelInfo);
	InitResultRelInfo(write->info, write->table, 0, NULL, 0);
	ExecOpenIndices(write->info, false);
}

/* Values come by their places: the table must be the one that this library knows. */
static void
check_columns(Relation table, int columns)
{
	TupleDesc	desc = RelationGetDescr(table);
	int			n = desc->natts;

	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attisdropped)
			n = -1;
	if (n == columns)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s.%s\" does not have the columns of this version", MA_INTERNAL,
					RelationGetRelationName(table)),
			 errhint("After an installation run ALTER EXTENSION marketing_automation UPDATE.")));
}

/* The partition for rows of this instant; the parent is locked. */
static Oid
partition_at(Oid parent, TimestampTz at)
{
	Relation	relation = table_open(parent, NoLock);
	PartitionKey key = RelationGetPartitionKey(relation);
	PartitionDesc partitions = RelationGetPartitionDesc(relation, false);
	Datum		value = TimestampTzGetDatum(at);
	int			place = -1;
	Oid			found;

	Assert(key->strategy == PARTITION_STRATEGY_RANGE && key->partnatts == 1);
	if (partitions->nparts > 0)
	{
		bool		equal;
		int			bound = partition_range_datum_bsearch(key->partsupfunc, key->partcollation,
														  partitions->boundinfo, 1, &value, &equal);

		place = partitions->boundinfo->indexes[bound + 1];
		if (place < 0)
			place = partitions->boundinfo->default_index;
	}
	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("table \"%s.%s\" has no partition for %s", MA_INTERNAL,
						RelationGetRelationName(relation), timestamptz_to_str(at))));
	found = partitions->oids[place];
	table_close(relation, NoLock);
	return found;
}

static TupleTableSlot *
filled(TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	int			n = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * n);
	if (nulls != NULL)
		memcpy(slot->tts_isnull, nulls, sizeof(bool) * n);
	else
		memset(slot->tts_isnull, false, sizeof(bool) * n);
	return ExecStoreVirtualTuple(slot);
}

void
ma_write_insert(MaRowWrite *write, const Datum *values, const bool *nulls)
{
	if (write->n == ROWS_AT_ONCE)
		insert_rows(write);
	if (write->n == write->nslots)
		write->slots[write->nslots++] = table_slot_create(write->table, NULL);
	(void) filled(write->slots[write->n++], values, nulls);
}

static void
insert_rows(MaRowWrite *write)
{
	if (write->n == 0)
		return;
	table_multi_insert(write->table, write->slots, write->n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < write->n; i++)
	{
		insert_into_indexes(write, write->slots[i], false, MA_INDEX_UPDATES_ALL);
		ExecClearTuple(write->slots[i]);
	}
	write->n = 0;
}

static void
insert_into_indexes(MaRowWrite *write, TupleTableSlot *slot, bool update, ma_index_updates which)
{
	open_indexes(write);
	if (write->info->ri_NumIndices > 0)
		(void) ma_insert_index_tuples(write->info, slot, write->estate, update, which);
	ResetPerTupleExprContext(write->estate);
}

/* A heap needs no snapshot to know whether the row is still the last one of its kind. */
bool
ma_write_update(MaRowWrite *write, ItemPointer at, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot;
	TM_FailureData failure;
	LockTupleMode mode;
	ma_index_updates which = MA_INDEX_UPDATES_NONE;

	if (write->n == ROWS_AT_ONCE)
		insert_rows(write);
	if (write->n == write->nslots)
		write->slots[write->nslots++] = table_slot_create(write->table, NULL);
	slot = filled(write->slots[write->n], values, nulls);
	if (table_tuple_update(write->table, at, slot, GetCurrentCommandId(true), InvalidSnapshot,
						   InvalidSnapshot, true, &failure, &mode, &which) != TM_Ok)
		return false;
	if (which != MA_INDEX_UPDATES_NONE)
		insert_into_indexes(write, slot, true, which);
	ExecClearTuple(slot);
	return true;
}

bool
ma_write_delete(MaRowWrite *write, ItemPointer at)
{
	TM_FailureData failure;

	return table_tuple_delete(write->table, at, GetCurrentCommandId(true), InvalidSnapshot,
							  InvalidSnapshot, true, &failure, false) == TM_Ok;
}

/* What was written is seen by what is read next. */
void
ma_write_end(MaRowWrite *write)
{
	insert_rows(write);
	for (int i = 0; i < write->nslots; i++)
		ExecDropSingleTupleTableSlot(write->slots[i]);
	if (write->estate != NULL)
	{
		ExecCloseIndices(write->info);
		FreeExecutorState(write->estate);
	}
	UnregisterSnapshot(write->snapshot);
	table_close(write->table, NoLock);
	pfree(write);
	CommandCounterIncrement();
}
