/*
 * pruned.c
 *		Old partitions that go: rows that nothing reads any more go without a look at
 *		the contacts.
 *
 * What is known of the rows of a partition that is dropped or detached is its bound:
 * where the time of the event is the partition key, none is later.  That is noted at
 * once; whether anything still reads so far back is asked by the worker, since it may
 * need what the commit cannot read.  A row that no evaluation from now on would fetch
 * changes nothing by going: neither who is in a segment nor until when.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "contacts/contacts_internal.h"
#include "contacts/flush/evaluate.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static PartitionBoundSpec *bound_of(Oid relid);
static char *key_column(Oid parent, Oid *type);
static bool upper_bound(const PartitionBoundSpec *bound, Oid type, TimestampTz *before);
static bool reads_source(MaDefinitions *definitions, const MaEventSource *source,
						 TimestampTz before);

/* The bound of a partition; NULL: it is none, or that is not known. */
static PartitionBoundSpec *
bound_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	PartitionBoundSpec *bound = NULL;
	bool		isnull;
	Datum		value;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
		bound = (PartitionBoundSpec *) stringToNode(TextDatumGetCString(value));
	ReleaseSysCache(tuple);
	return bound;
}

/* The first column of the parent's partition key; NULL if that is an expression. */
static char *
key_column(Oid parent, Oid *type)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(parent));
	AttrNumber	column;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	column = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partattrs.values[0];
	ReleaseSysCache(tuple);
	if (column == 0)
		return NULL;
	*type = get_atttype(parent, column);
	return get_attname(parent, column, true);
}

/* An instant after all rows of the partition; local times may be of any zone. */
static bool
upper_bound(const PartitionBoundSpec *bound, Oid type, TimestampTz *before)
{
	const PartitionRangeDatum *last;
	const Const *value;

	if (bound->strategy != PARTITION_STRATEGY_RANGE || bound->is_default)
		return false;
	last = linitial_node(PartitionRangeDatum, bound->upperdatums);
	if (last->kind != PARTITION_RANGE_DATUM_VALUE || !IsA(last->value, Const))
		return false;
	value = (const Const *) last->value;
	if (value->consttype != type || value->constisnull)
		return false;
	if (type == DATEOID)
		*before = date2timestamp_no_overflow(DatumGetDateADT(value->constvalue));
	else if (type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		*before = DatumGetTimestampTz(value->constvalue);
	else
		return false;
	if (TIMESTAMP_NOT_FINITE(*before))
		return false;
	/* With a second key column the bound itself may be in it. */
	*before += type == TIMESTAMPTZOID ? 1 : 2 * USECS_PER_DAY;
	return true;
}

bool
ma_partition_bound(Oid relid, char **column, TimestampTz *before)
{
	List	   *parents = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;
	ListCell   *cell;

	foreach(cell, parents)
	{
		PartitionBoundSpec *bound = bound_of(relid);
		Oid			type;

		*column = key_column(lfirst_oid(cell), &type);
		if (bound != NULL && *column != NULL && upper_bound(bound, type, before))
			return true;
		relid = lfirst_oid(cell);
	}
	return false;
}

bool
ma_pruned_is_read(int32 table_id, const char *column, TimestampTz before)
{
	MaDefinitions *definitions = ma_definitions();
	MaTable    *table = ma_table_by_id(definitions, table_id);
	ListCell   *cell;
	ListCell   *inner;

	if (table == NULL)
		return true;
	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table == table)
			return true;
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->via_table == table)
			return true;
		foreach(inner, source->lookups)
			if (((MaLookup *) lfirst(inner))->table == table)
				return true;
		if (source->table == table && (strcmp(source->occurred_column, column) != 0 ||
									   reads_source(definitions, source, before)))
			return true;
	}
	return false;
}

/* True if anything may read a row of the source from before that instant. */
static bool
reads_source(MaDefinitions *definitions, const MaEventSource *source, TimestampTz before)
{
	ListCell   *cell;

	foreach(cell, definitions->events)
	{
		const MaEvent *event = lfirst(cell);

		if (event->set_grade && list_member_ptr(ma_event_sources(definitions, event), source) &&
			before > ma_event_read_from(event->id))
			return true;
	}
	return false;
}

bool
ma_builtin_read_before(const char *table, TimestampTz before)
{
	ListCell   *cell;

	foreach(cell, ma_definitions()->events)
	{
		const MaEvent *event = lfirst(cell);
		const MaBuiltinRows *rows = event->builtin ? ma_builtin_rows(event->name) : NULL;

		if (rows != NULL && event->set_grade && strcmp(rows->table, table) == 0 &&
			before > ma_event_read_from(event->id))
			return true;
	}
	return false;
}

/* Nothing that counts rows of the event reads one from before this instant any more. */
TimestampTz
ma_event_read_from(int32 event_id)
{
	static MaStatement read = {
		"SELECT DISTINCT w.consumer FROM marketing_internal.event_watch AS w "
		"WHERE w.event_id OPERATOR(pg_catalog.=) $1 AND NOT w.row_grade",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(event_id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	TimestampTz from = DT_NOEND;

	for (uint64 i = 0; i < rows.n; i++)
		from = Min(from, ma_consumer_reads_from(ma_text(&rows, i, 1), event_id));
	return from;
}
