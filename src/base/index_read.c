/*
 * index_read.c
 *		Rows of a table of ours by equal values of an index's first columns, without a
 *		statement.
 *
 * The flush at commit reads three or four tables by the key of one contact.  Through
 * SPI the start and end of the executor cost four times what the descent of the index
 * does, and every commit that touches a captured table pays them; here only the descent
 * is paid.  Meant for such keys on the path of a user's commit: anything else is a
 * statement (spi.c), which says what it reads.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_COLUMNS 4
#define MAX_KNOWN 16

struct MaIndexRead
{
	Relation	table;
	Relation	index;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	int			ncolumns;
	ScanKeyData keys[MAX_COLUMNS];
};

/* Where an index stands, until anything is heard of any relation. */
typedef struct Known
{
	const char *name;			/* the caller's constant */
	Oid			index;
	Oid			table;
	uint64		epoch;
} Known;

static Known known[MAX_KNOWN];

static Known *look_up(const char *name);

/* A place in `known` by the name's address; callers are few, and each has its own constant. */
static Known *
look_up(const char *name)
{
	Known	   *found = &known[0];

	for (int i = 0; i < MAX_KNOWN; i++)
		if (known[i].name == name || known[i].name == NULL)
		{
			found = &known[i];
			break;
		}
	if (found->name == name && found->epoch == ma_relations_epoch())
		return found;
	/* The epoch first: what is heard during the lookup makes it void. */
	found->name = name;
	found->epoch = ma_relations_epoch();
	found->index = ma_own_table(name);
	found->table = OidIsValid(found->index) ? IndexGetRelation(found->index, true) : InvalidOid;
	if (OidIsValid(found->table))
		return found;
	found->epoch = 0;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("index \"%s.%s\" does not exist", MA_INTERNAL, name),
			 errhint("It belongs to the extension: create it as \\d of another database with the extension shows it.")));
}

/*
 * The table is locked first, as everywhere; both locks stay, as those of a statement do.
 * Locking hears of what happened to the index meanwhile.
 */
MaIndexRead *
ma_index_begin(const char *name, int ncolumns, const RegProcedure *equal, MaRun how)
{
	MaIndexRead *read = palloc(sizeof(MaIndexRead));
	Known	   *place = look_up(name);
	Oid			table;

	do
	{
		table = place->table;
		LockRelationOid(table, AccessShareLock);
		place = look_up(name);
	} while (place->table != table);
	read->table = table_open(place->table, NoLock);
	read->index = index_open(place->index, AccessShareLock);
	Assert(ncolumns <= MAX_COLUMNS &&
		   ncolumns <= IndexRelationGetNumberOfKeyAttributes(read->index));
	read->ncolumns = ncolumns;
	for (int i = 0; i < ncolumns; i++)
		ScanKeyEntryInitialize(&read->keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   read->index->rd_indcollation[i], equal[i], (Datum) 0);
	read->slot = table_slot_create(read->table, NULL);
	read->snapshot = ma_read_snapshot(how);
	read->scan = ma_index_beginscan(read->table, read->index, read->snapshot, ncolumns);
	return read;
}

void
ma_index_find(MaIndexRead *read, const Datum *values)
{
	for (int i = 0; i < read->ncolumns; i++)
		read->keys[i].sk_argument = values[i];
	index_rescan(read->scan, read->keys, read->ncolumns, NULL, 0);
}

TupleTableSlot *
ma_index_next(MaIndexRead *read)
{
	return index_getnext_slot(read->scan, ForwardScanDirection, read->slot) ? read->slot : NULL;
}

/*
 * The heap tidies a page at nearly each look once rows on it have been updated, down to the
 * room that its fillfactor keeps free, and that costs more than the look and the update.
 */
TupleTableSlot *
ma_index_next_untidied(MaIndexRead *read, Size room)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) read->slot;
	ItemPointer place;

	if (read->table->rd_tableam != GetHeapamTableAmRoutine())
		return ma_index_next(read);
	while ((place = index_getnext_tid(read->scan, ForwardScanDirection)) != NULL)
	{
		ItemPointerData at = *place;
		Buffer		buffer = ReadBuffer(read->table, ItemPointerGetBlockNumber(&at));
		bool		roomy;
		bool		found = false;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		roomy = PageGetHeapFreeSpace(BufferGetPage(buffer)) >= room;
		if (roomy)
			found = heap_hot_search_buffer(&at, read->table, buffer, read->snapshot,
										   &slot->base.tupdata, NULL, true);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (found)
			ExecStoreBufferHeapTuple(&slot->base.tupdata, read->slot, buffer);
		ReleaseBuffer(buffer);
		if (found || (!roomy && index_fetch_heap(read->scan, read->slot)))
			return read->slot;
	}
	return NULL;
}

void
ma_index_end(MaIndexRead *read)
{
	index_endscan(read->scan);
	UnregisterSnapshot(read->snapshot);
	ExecDropSingleTupleTableSlot(read->slot);
	index_close(read->index, NoLock);
	table_close(read->table, NoLock);
	pfree(read);
}

void
ma_index_renew(MaIndexRead *read, MaRun how)
{
	UnregisterSnapshot(read->snapshot);
	read->snapshot = ma_read_snapshot(how);
}

TupleTableSlot *
ma_index_at(MaIndexRead *read, ItemPointer place)
{
	return table_tuple_fetch_row_version(read->table, place, read->snapshot, read->slot) ?
		read->slot : NULL;
}
