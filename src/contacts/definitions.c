/*
 * definitions.c
 *		The definitions of attached tables, sources and events, compiled once per
 *		backend and kept until any of them changes.
 *
 * They are few and small, so all are read together; one epoch (base/extension.c)
 * says when they are stale.  Tables are stored by name, never by OID, since OIDs
 * do not survive a dump; what binds a definition to its table is our trigger,
 * which carries the definition's number as its argument.  A renamed table is
 * found by that; a table of the stored owner comes first, by whatever name, so
 * that nobody can put a forged trigger on a table of his own and speak for
 * another's.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static MaDefinitions *current = NULL;
static MemoryContext current_context = NULL;
static uint64 messages = 0;		/* relcache messages of any table */

static void load(MaDefinitions *definitions);
static void load_tables(MaDefinitions *definitions);
static char *qualified_name(Oid relid);
static void load_sources(MaDefinitions *definitions);
static void load_events(MaDefinitions *definitions);
static void load_event_sources(MaDefinitions *definitions);
static void load_watches(MaDefinitions *definitions);
static Oid	find_relation(const MaTable *table);
static Oid	find_by_trigger(const MaTable *table, Oid named);
static bool is_owners(const MaTable *table, Oid relid);
static char *occurred_sql(const MaTable *table, const char *column, const char *zone);
static List *text_list(const MaRows *rows, uint64 row, int column);
static List *int_list(const MaRows *rows, uint64 row, int column);
static void free_plans(void *arg);
static void table_callback(Datum arg, Oid relid);

MaDefinitions *
ma_definitions(void)
{
	MemoryContext previous;
	MemoryContext context;
	MaDefinitions *definitions;
	uint64		before;
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(table_callback, (Datum) 0);
		registered = true;
	}
	if (current != NULL && current->epoch == ma_definitions_epoch())
		return current;

	context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation definitions",
									ALLOCSET_SMALL_SIZES);
	previous = MemoryContextSwitchTo(context);
	definitions = palloc0_object(MaDefinitions);
	definitions->epoch = ma_definitions_epoch();
	before = messages;
	load(definitions);
	/* A table may have changed after it was looked up: good for now, read anew next time. */
	if (messages != before)
		definitions->epoch = 0;
	MemoryContextSwitchTo(previous);

	/*
	 * Complete: it may now outlive the transaction, and replace the old one.  That goes
	 * at the end of the transaction: whoever asked for it earlier still goes by it,
	 * perhaps with a plan kept in it running.
	 */
	if (current != NULL)
		ma_retire(current_context, free_plans, current);
	MemoryContextSetParent(context, CacheMemoryContext);
	current = definitions;
	current_context = context;
	return current;
}

/* An attached table was renamed, altered or dropped: its name, types or OID may be others now. */
static void
table_callback(Datum arg, Oid relid)
{
	ListCell   *cell;

	messages++;
	if (current == NULL)
		return;
	foreach(cell, current->tables)
		if (!OidIsValid(relid) || ((MaTable *) lfirst(cell))->relid == relid)
		{
			ma_definitions_expire();
			return;
		}
}


/* Frees the plans kept in definitions that go. */
static void
free_plans(void *arg)
{
	MaDefinitions *definitions = arg;
	ListCell   *cell;

	foreach(cell, definitions->sources)
	{
		ma_statement_forget(&((MaSource *) lfirst(cell))->read);
		ma_statement_forget(&((MaSource *) lfirst(cell))->images);
	}
	foreach(cell, definitions->event_sources)
	{
		ma_statement_forget(&((MaEventSource *) lfirst(cell))->images);
		ma_statement_forget(&((MaEventSource *) lfirst(cell))->via);
	}
}

static void
load(MaDefinitions *definitions)
{
	MemoryContext context = CurrentMemoryContext;
	MaIdentity	caller;

	ma_spi_begin();
	ma_become_owner(&caller);
	/* What the loaders palloc belongs to the definitions, not to SPI. */
	MemoryContextSwitchTo(context);
	load_tables(definitions);
	load_sources(definitions);
	load_events(definitions);
	load_event_sources(definitions);
	ma_lookups_load(definitions);
	load_watches(definitions);
	ma_become_back(&caller);
	ma_spi_end();
}

static void
load_tables(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT table_id, schema_name, table_name, owner_name, on_replica "
		"FROM marketing_internal.attached_table ORDER BY table_id"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaTable    *table = palloc0_object(MaTable);

		table->id = ma_int32(&rows, i, 1);
		table->schema = ma_text(&rows, i, 2);
		table->name = ma_text(&rows, i, 3);
		table->owner = ma_text(&rows, i, 4);
		table->on_replica = ma_bool(&rows, i, 5);
		table->relid = find_relation(table);
		if (OidIsValid(table->relid))
			table->qualified = qualified_name(table->relid);
		if (table->qualified == NULL)
			table->relid = InvalidOid;
		definitions->tables = lappend(definitions->tables, table);
	}
}

/* NULL for a table that was dropped since it was found. */
static char *
qualified_name(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);

	return schema && name ? quote_qualified_identifier(schema, name) : NULL;
}

static void
load_sources(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT source_id, name, table_id, key_column, email_column, phone_column, "
		"time_zone_column, locale_column, match, exclude, exclude_columns, building, consent "
		"FROM marketing_internal.contact_source ORDER BY source_id"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSource   *source = palloc0_object(MaSource);
		bool		isnull;

		source->id = ma_int32(&rows, i, 1);
		source->name = ma_text(&rows, i, 2);
		source->table = ma_table_by_id(definitions, ma_int32(&rows, i, 3));
		source->key_column = ma_text(&rows, i, 4);
		source->key_type = ma_column_type(source->table, source->key_column);
		source->email_column = ma_text(&rows, i, 5);
		source->phone_column = ma_text(&rows, i, 6);
		source->time_zone_column = ma_text(&rows, i, 7);
		source->locale_column = ma_text(&rows, i, 8);
		source->match = ma_text(&rows, i, 9);
		source->exclude = ma_text(&rows, i, 10);
		source->exclude_columns = text_list(&rows, i, 11);
		source->building = ma_bool(&rows, i, 12);
		source->mapped = ma_mapped_columns(ma_value(&rows, i, 13, &isnull));
		definitions->sources = lappend(definitions->sources, source);
	}
}

static void
load_events(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT event_id, name, tracked FROM marketing_internal.event_type ORDER BY event_id"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaEvent    *event = palloc0_object(MaEvent);

		event->id = ma_int32(&rows, i, 1);
		event->name = ma_text(&rows, i, 2);
		event->tracked = ma_bool(&rows, i, 3);
		event->builtin = ma_builtin_columns(event->name) != NULL;
		definitions->events = lappend(definitions->events, event);
	}
}

static void
load_event_sources(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT event_source_id, table_id, event_id, event_column, contact_source_id, "
		"contact_column, occurred_column, time_zone, condition, condition_columns, repeat, async, "
		"via_table_id, via_link_column, via_key_column "
		"FROM marketing_internal.event_source ORDER BY event_source_id"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaEventSource *source = palloc0_object(MaEventSource);

		source->id = ma_int32(&rows, i, 1);
		source->table = ma_table_by_id(definitions, ma_int32(&rows, i, 2));
		source->event = ma_event_by_id(definitions, ma_int32(&rows, i, 3));
		if (source->event != NULL)
			source->event->source = source;
		source->event_column = ma_text(&rows, i, 4);
		source->contact_source = ma_source_by_id(definitions, ma_int32(&rows, i, 5));
		source->contact_column = ma_text(&rows, i, 6);
		source->occurred_column = ma_text(&rows, i, 7);
		source->time_zone = ma_text(&rows, i, 8);
		source->occurred = occurred_sql(source->table, source->occurred_column, source->time_zone);
		source->condition = ma_text(&rows, i, 9);
		source->condition_columns = text_list(&rows, i, 10);
		source->repeat = ma_bool(&rows, i, 11);
		source->async = ma_bool(&rows, i, 12);
		source->via_table = ma_table_by_id(definitions, ma_int32(&rows, i, 13));
		source->via_link_column = ma_text(&rows, i, 14);
		source->via_key_column = ma_text(&rows, i, 15);
		source->via_key_type = ma_column_type(source->via_table, source->via_key_column);
		source->contact_type = ma_column_type(source->via_table ? source->via_table : source->table,
										   source->contact_column);
		definitions->event_sources = lappend(definitions->event_sources, source);
	}
}

static void
load_watches(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT w.event_id, w.row_grade, w.columns, w.consumer, ARRAY(SELECT o.event_id "
		"FROM marketing_internal.event_watch AS o "
		"WHERE o.consumer OPERATOR(pg_catalog.=) w.consumer "
		"AND o.object OPERATOR(pg_catalog.=) w.object "
		"AND o.event_id OPERATOR(pg_catalog.<>) w.event_id AND NOT o.row_grade AND NOT w.row_grade) "
		"FROM marketing_internal.event_watch AS w"
	};
	static MaStatement sources = {
		"SELECT source_id, columns FROM marketing_internal.source_watch"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaEvent    *event = ma_event_by_id(definitions, ma_int32(&rows, i, 1));

		if (event == NULL)
			continue;
		if (ma_bool(&rows, i, 2))
			event->row_grade = true;
		else
		{
			event->set_grade = true;
			event->watchers = lappend(event->watchers, ma_text(&rows, i, 4));
		}
		event->columns = list_concat(event->columns, text_list(&rows, i, 3));
		event->read_with = list_concat_unique_int(event->read_with, int_list(&rows, i, 5));
	}
	rows = ma_run(&sources, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSource   *source = ma_source_by_id(definitions, ma_int32(&rows, i, 1));

		if (source != NULL)
			source->watched = list_concat(source->watched, text_list(&rows, i, 2));
	}
}

/* The int array in the column as a list. */
static List *
int_list(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);
	Datum	   *items;
	int			n;
	List	   *list = NIL;

	deconstruct_array(DatumGetArrayTypeP(value), INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &items, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend_int(list, DatumGetInt32(items[i]));
	return list;
}

/* The table as it is called now: by its name if it carries our trigger, else by the trigger. */
static Oid
find_relation(const MaTable *table)
{
	Oid			schema = get_namespace_oid(table->schema, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(table->name, schema) : InvalidOid;
	Oid			trigger = OidIsValid(relid) ? ma_capture_trigger(relid, table->id) : InvalidOid;

	/* Not a partition, which has the trigger from its root: that one is the table. */
	if (!OidIsValid(trigger) || ma_trigger_table(trigger, table->id) != relid)
		relid = InvalidOid;
	if (OidIsValid(relid) && is_owners(table, relid))
		return relid;
	return find_by_trigger(table, relid);
}

static bool
is_owners(const MaTable *table, Oid relid)
{
	char	   *owner = GetUserNameFromId(ma_relation_owner(relid), true);

	return owner != NULL && strcmp(owner, table->owner) == 0;
}

/*
 * The table of the stored owner whose own (not inherited) trigger carries the
 * number.  Without one it is `named`, the table of the stored name: it was given to
 * another owner, or restored as his; but not where a third table carries the number
 * too, since either may be forged then.
 */
static Oid
find_by_trigger(const MaTable *table, Oid named)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;
	bool		ambiguous = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ma_extension_required()->capture_function));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (!OidIsValid(found) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			relid;

		if (row->classid != TriggerRelationId)
			continue;
		relid = ma_trigger_table(row->objid, table->id);
		if (!OidIsValid(relid))
			continue;
		if (is_owners(table, relid))
			found = relid;
		else
			ambiguous |= relid != named;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	if (OidIsValid(found))
		return found;
	return ambiguous ? InvalidOid : named;
}

/* Base type of a column; InvalidOid when table or column is not there. */
Oid
ma_column_type(const MaTable *table, const char *column)
{
	AttrNumber	attnum;

	if (table == NULL || column == NULL || !OidIsValid(table->relid))
		return InvalidOid;
	attnum = get_attnum(table->relid, column);
	if (attnum <= 0)
		return InvalidOid;
	return getBaseType(get_atttype(table->relid, attnum));
}

/* The time of the event as a timestamptz: local types are read in the source's zone. */
static char *
occurred_sql(const MaTable *table, const char *column, const char *zone)
{
	char	   *name = psprintf("t.%s", quote_identifier(column));

	Oid			type = ma_column_type(table, column);

	if (type != TIMESTAMPOID && type != DATEOID)
		return name;
	return psprintf("pg_catalog.timezone(%s, %s)", quote_literal_cstr(zone),
					ma_local_time_sql(name, type));
}

char *
ma_local_time_sql(const char *sql, Oid type)
{
	const char *name = type == DATEOID ? "date" : "timestamp";

	return psprintf("CASE WHEN %s OPERATOR(pg_catalog.>) '200000-01-01'::pg_catalog.%s "
					"THEN 'infinity'::pg_catalog.timestamp "
					"WHEN %s OPERATOR(pg_catalog.<) '4000-01-01 BC'::pg_catalog.%s "
					"THEN '-infinity'::pg_catalog.timestamp ELSE (%s)::pg_catalog.timestamp END",
					sql, name, sql, name, sql);
}

static List *
text_list(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);
	Datum	   *elements;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

MaTable *
ma_table_by_id(MaDefinitions *definitions, int32 id)
{
	ListCell   *cell;

	foreach(cell, definitions->tables)
		if (((MaTable *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

MaTable *
ma_table_by_relid(MaDefinitions *definitions, Oid relid)
{
	ListCell   *cell;

	foreach(cell, definitions->tables)
		if (((MaTable *) lfirst(cell))->relid == relid)
			return lfirst(cell);
	return NULL;
}

MaSource *
ma_source_by_id(MaDefinitions *definitions, int32 id)
{
	ListCell   *cell;

	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

MaSource *
ma_source_by_name(MaDefinitions *definitions, const char *name)
{
	ListCell   *cell;

	foreach(cell, definitions->sources)
		if (strcmp(((MaSource *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

MaEvent *
ma_event_by_id(MaDefinitions *definitions, int32 id)
{
	ListCell   *cell;

	foreach(cell, definitions->events)
		if (((MaEvent *) lfirst(cell))->id == id)
			return lfirst(cell);
	return ma_supposed_event_by_id(id);
}

MaEvent *
ma_event_by_name(MaDefinitions *definitions, const char *name)
{
	ListCell   *cell;

	foreach(cell, definitions->events)
		if (strcmp(((MaEvent *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return ma_supposed_event(name);
}

MaEventSource *
ma_event_source_by_id(MaDefinitions *definitions, int32 id)
{
	ListCell   *cell;

	foreach(cell, definitions->event_sources)
		if (((MaEventSource *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}
