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
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_COLUMNS 4

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

/* The table is locked first, as everywhere; both locks stay, as those of a statement do. */
MaIndexRead *
ma_index_begin(const char *name, int ncolumns, const RegProcedure *equal, MaRun how)
{
	MaIndexRead *read = palloc(sizeof(MaIndexRead));
	Oid			index = ma_own_table(name);
	Oid			table = OidIsValid(index) ? IndexGetRelation(index, true) : InvalidOid;

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index \"%s.%s\" does not exist", MA_INTERNAL, name),
				 errhint("It belongs to the extension: create it as \\d of another database with the extension shows it.")));
	read->table = table_open(table, AccessShareLock);
	read->index = index_open(index, AccessShareLock);
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
