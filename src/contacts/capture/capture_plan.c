/*
 * capture_plan.c
 *		Compiles, for one relation, what the capture trigger has to look at.
 *
 * A plan is made per relation, not per definition, since a partition may have its
 * columns at other places than its root.  It is valid until the definitions or
 * the relation change; the callback that says so only sets flags.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "contacts/capture/capture_plan.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static HTAB *plans = NULL;
static CapturePlan *last = NULL;	/* the one used last; most statements have one table */

static void relcache_callback(Datum arg, Oid relid);
static void expire(CapturePlan *plan);
static void build(CapturePlan *plan, Relation relation, Trigger *trigger);
static void build_source(CapturePlan *plan, Relation relation, MaSource *source);
static void build_events(CapturePlan *plan, Relation relation, MaDefinitions *definitions,
						 MaTable *table);
static bool build_event(CaptureEvent *event, Relation relation, MaDefinitions *definitions,
						MaEventSource *source);
static void build_via(CaptureVia *via, Relation relation, MaDefinitions *definitions,
					  MaEventSource *source);
static void build_lookups(CapturePlan *plan, Relation relation, MaDefinitions *definitions,
						  MaTable *table);
static int	watched_names(MaDefinitions *definitions, MaEventSource *source, CaptureName **names);
static List *watched_columns(MaDefinitions *definitions, MaEventSource *source);
static void build_row(CapturePlan *plan, Relation relation);
static bool belongs_to(Oid relid, Oid root);
static void set_column(CaptureColumn *column, Relation relation, const char *name);
static AttrNumber *to_attnums(Relation relation, List *names, int *n);

/* Registers the callback; once per process. */
void
ma_capture_plan_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

static void
relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CapturePlan *plan;

	last = NULL;
	if (plans == NULL)
		return;
	if (OidIsValid(relid))
	{
		plan = hash_search(plans, &relid, HASH_FIND, NULL);
		if (plan != NULL)
			expire(plan);
		return;
	}
	hash_seq_init(&scan, plans);
	while ((plan = hash_seq_search(&scan)) != NULL)
		expire(plan);
}

static void
expire(CapturePlan *plan)
{
	plan->valid = false;
	plan->expired = true;
}

CapturePlan *
ma_capture_plan(Relation relation, Trigger *trigger)
{
	Oid			relid = RelationGetRelid(relation);
	CapturePlan *plan = last;
	bool		found;

	if (plan == NULL || plan->relid != relid)
	{
		if (plans == NULL)
		{
			HASHCTL		control = {0};

			control.keysize = sizeof(Oid);
			control.entrysize = sizeof(CapturePlan);
			control.hcxt = CacheMemoryContext;
			plans = hash_create("marketing_automation capture plans", 16, &control,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		plan = hash_search(plans, &relid, HASH_ENTER, &found);
		if (!found)
		{
			plan->valid = false;
			plan->expired = true;
			plan->context = NULL;
		}
	}
	if (!plan->valid || plan->epoch != ma_definitions_epoch())
		build(plan, relation, trigger);
	last = plan;
	return plan->table_id == 0 ? NULL : plan;
}

/*
 * Fills the plan; table_id stays 0 for a relation that is not attached.  Only at the
 * end is it valid: after an error half way it would pass for one with nothing to do.
 */
static void
build(CapturePlan *plan, Relation relation, Trigger *trigger)
{
	MaDefinitions *definitions;
	MaTable    *table;
	ListCell   *cell;
	MemoryContext previous;
	MemoryContext old_context = plan->context;
	bool		changed = plan->expired;

	plan->valid = plan->expired = false;
	plan->context = NULL;
	plan->table_id = 0;
	plan->source_id = plan->nevents = plan->nvias = plan->nkey = plan->ncolumns = 0;
	plan->nlookups = 0;
	plan->idle = true;
	if (old_context != NULL)
		MemoryContextDelete(old_context);
	plan->epoch = ma_definitions_epoch();
	if (ma_extension() == NULL || trigger->tgnargs < 1)
	{
		plan->valid = !plan->expired;
		return;
	}
	definitions = ma_definitions();
	plan->epoch = definitions->epoch;
	table = ma_table_by_id(definitions, pg_strtoint32(trigger->tgargs[0]));
	if (table != NULL && !OidIsValid(table->relid) && changed)
	{
		/* Its table was not found when they were read: it may be this one, back again. */
		ma_definitions_expire();
		definitions = ma_definitions();
		plan->epoch = definitions->epoch;
		table = ma_table_by_id(definitions, table->id);
	}
	if (table == NULL || !OidIsValid(table->relid) ||
		!belongs_to(RelationGetRelid(relation), table->relid))
	{
		plan->valid = !plan->expired;
		return;
	}

	plan->context = AllocSetContextCreate(CacheMemoryContext, "marketing_automation capture plan",
										  ALLOCSET_SMALL_SIZES);
	previous = MemoryContextSwitchTo(plan->context);
	plan->table_id = table->id;
	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table == table)
			build_source(plan, relation, lfirst(cell));
	build_events(plan, relation, definitions, table);
	build_lookups(plan, relation, definitions, table);
	plan->idle = plan->source_id == 0 && plan->nevents == 0 && plan->nvias == 0 &&
		plan->nlookups == 0;
	MemoryContextSwitchTo(previous);
	/* What was looked up before a message came in may be out of date. */
	plan->valid = !plan->expired;
}

static void
build_source(CapturePlan *plan, Relation relation, MaSource *source)
{
	List	   *columns = list_make1(source->key_column);
	ListCell   *cell;

	if (source->email_column)
		columns = lappend(columns, source->email_column);
	if (source->phone_column)
		columns = lappend(columns, source->phone_column);
	if (source->time_zone_column)
		columns = lappend(columns, source->time_zone_column);
	if (source->locale_column)
		columns = lappend(columns, source->locale_column);
	foreach(cell, source->mapped)
		columns = lappend(columns, ((MaMappedColumn *) lfirst(cell))->column);
	columns = list_concat(columns, source->exclude_columns);
	columns = list_concat(columns, source->watched);
	set_column(&plan->source_key, relation, source->key_column);
	plan->source_columns = to_attnums(relation, columns, &plan->nsource_columns);
	plan->source_id = source->id;
}

/* The events of this table, and those for which it is the via table. */
static void
build_events(CapturePlan *plan, Relation relation, MaDefinitions *definitions, MaTable *table)
{
	int			n = list_length(definitions->event_sources);
	bool		row_grade = false;
	ListCell   *cell;

	plan->events = palloc_array(CaptureEvent, Max(n, 1));
	plan->vias = palloc_array(CaptureVia, Max(n, 1));
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->table == table &&
			build_event(&plan->events[plan->nevents], relation, definitions, source))
			row_grade |= plan->events[plan->nevents++].row_grade;
		if (source->via_table == table)
		{
			build_via(&plan->vias[plan->nvias], relation, definitions, source);
			if (plan->vias[plan->nvias].nnames > 0)
				plan->nvias++;
		}
	}
	if (row_grade)
		build_row(plan, relation);
}

/* False if nothing depends on the event. */
static bool
build_event(CaptureEvent *event, Relation relation, MaDefinitions *definitions,
			MaEventSource *source)
{
	List	   *columns;

	memset(event, 0, sizeof(*event));
	event->nnames = watched_names(definitions, source, &event->names);
	if (event->nnames == 0)
		return false;
	event->event_source_id = source->id;
	event->contact_source_id = source->contact_source->id;
	event->by_link = source->via_table != NULL;
	for (int i = 0; i < event->nnames; i++)
		event->row_grade |= event->names[i].row_grade;
	set_column(&event->contact, relation,
			   event->by_link ? source->via_link_column : source->contact_column);
	if (source->event_column != NULL)
		set_column(&event->name, relation, source->event_column);
	event->occurred = get_attnum(RelationGetRelid(relation), source->occurred_column);

	columns = list_make2(event->contact.name, source->occurred_column);
	if (source->event_column != NULL)
		columns = lappend(columns, source->event_column);
	columns = list_concat(columns, source->condition_columns);
	columns = list_concat(columns, watched_columns(definitions, source));
	/* A row that gets another key is another one to those who follow it. */
	if (event->row_grade)
		columns = list_concat(columns, ma_row_key_columns(RelationGetRelid(relation)));
	event->columns = to_attnums(relation, columns, &event->ncolumns);
	return true;
}

static void
build_via(CaptureVia *via, Relation relation, MaDefinitions *definitions, MaEventSource *source)
{
	memset(via, 0, sizeof(*via));
	via->event_source_id = source->id;
	via->nnames = watched_names(definitions, source, &via->names);
	via->contact_source_id = source->contact_source->id;
	set_column(&via->contact, relation, source->contact_column);
	set_column(&via->key, relation, source->via_key_column);
	if (via->contact.attnum > 0)
		via->columns[via->ncolumns++] = via->contact.attnum;
	if (via->key.attnum > 0)
		via->columns[via->ncolumns++] = via->key.attnum;
}

/* The events for which this is a lookup table, where something reads "name.column". */
static void
build_lookups(CapturePlan *plan, Relation relation, MaDefinitions *definitions, MaTable *table)
{
	List	   *found = NIL;
	ListCell   *cell;
	ListCell   *inner;
	ListCell   *column;

	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);
		List	   *watched = watched_columns(definitions, source);

		foreach(inner, source->lookups)
		{
			MaLookup   *lookup = lfirst(inner);
			size_t		length = strlen(lookup->name);
			List	   *columns = list_make1(lookup->key_column);
			CaptureLookup *captured = palloc0_object(CaptureLookup);

			foreach(column, lookup->table == table ? watched : NIL)
				if (strncmp(lfirst(column), lookup->name, length) == 0 &&
					((char *) lfirst(column))[length] == '.')
					columns = lappend(columns, (char *) lfirst(column) + length + 1);
			if (list_length(columns) == 1)
				continue;
			captured->event_source_id = source->id;
			set_column(&captured->key, relation, lookup->key_column);
			captured->columns = to_attnums(relation, columns, &captured->ncolumns);
			found = lappend(found, captured);
		}
	}
	plan->lookups = palloc_array(CaptureLookup, Max(list_length(found), 1));
	foreach(cell, found)
		plan->lookups[plan->nlookups++] = *(CaptureLookup *) lfirst(cell);
}

/* Events of the source that something depends on. */
static int
watched_names(MaDefinitions *definitions, MaEventSource *source, CaptureName **names)
{
	int			n = 0;
	ListCell   *cell;

	*names = palloc_array(CaptureName, Max(list_length(definitions->events), 1));
	foreach(cell, definitions->events)
	{
		MaEvent    *event = lfirst(cell);

		if ((!event->set_grade && !event->row_grade) ||
			!list_member_ptr(ma_event_sources(definitions, event), source))
			continue;
		(*names)[n].event_id = event->id;
		(*names)[n].name = pstrdup(event->name);
		(*names)[n].row_grade = event->row_grade;
		(*names)[n].adds = source->via_table == NULL && ma_consumers_add(event);
		n++;
	}
	return n;
}

/* Columns that what depends on the source's events reads. */
static List *
watched_columns(MaDefinitions *definitions, MaEventSource *source)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, definitions->events)
	{
		MaEvent    *event = lfirst(cell);

		if (list_member_ptr(ma_event_sources(definitions, event), source))
			columns = list_concat(columns, event->columns);
	}
	return columns;
}

/* Unique key and all columns, for row images. */
static void
build_row(CapturePlan *plan, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	List	   *key = ma_row_key_columns(RelationGetRelid(relation));
	ListCell   *cell;

	plan->key = palloc_array(CaptureColumn, Max(list_length(key), 1));
	foreach(cell, key)
		set_column(&plan->key[plan->nkey++], relation, lfirst(cell));
	plan->columns = palloc_array(CaptureColumn, Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			!ma_is_virtual(TupleDescAttr(desc, i)->attgenerated))
			set_column(&plan->columns[plan->ncolumns++], relation,
					   NameStr(TupleDescAttr(desc, i)->attname));
}

/*
 * Column names of the primary key, else of a unique index that can serve as one: with a
 * column that may be null, any number of rows have the same key or none.
 */
List *
ma_row_key_columns(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		usable = form->indisunique && form->indimmediate && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);

		for (int i = 0; i < form->indnkeyatts && usable; i++)
			usable = TupleDescAttr(desc, form->indkey.values[i] - 1)->attnotnull;
		if (usable && (form->indisprimary || names == NIL))
		{
			names = NIL;
			for (int i = 0; i < form->indnkeyatts; i++)
				names = lappend(names, get_attname(relid, form->indkey.values[i], false));
		}
		index_close(index, AccessShareLock);
	}
	table_close(relation, AccessShareLock);
	return names;
}

/* True if the relation is the root or one of its partitions, at any depth. */
static bool
belongs_to(Oid relid, Oid root)
{
	if (relid == root)
		return true;
	return get_rel_relispartition(relid) &&
		list_member_oid(get_partition_ancestors(relid), root);
}

static void
set_column(CaptureColumn *column, Relation relation, const char *name)
{
	Oid			type;
	Oid			output;
	bool		varlena;

	memset(column, 0, sizeof(*column));
	column->name = pstrdup(name);
	column->attnum = get_attnum(RelationGetRelid(relation), name);
	if (column->attnum <= 0)
	{
		column->attnum = 0;
		return;
	}
	type = getBaseType(get_atttype(RelationGetRelid(relation), column->attnum));
	getTypeOutputInfo(type, &output, &varlena);
	fmgr_info_cxt(output, &column->output, CurrentMemoryContext);
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
		case NUMERICOID:
		case BOOLOID:
			column->pinned = false;
			break;
		default:
			column->pinned = true;
	}
}

char *
ma_capture_text(const CaptureColumn *column, Datum value)
{
	char	   *text;
	int			nest_level;

	if (!column->pinned)
		return OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
	nest_level = ma_pin_settings();
	/* A row's key must read the same in sessions of all zones. */
	(void) ma_pin_time_zone("UTC");
	text = OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
	ma_unpin_settings(nest_level);
	return text;
}

/* Numbers of the columns that exist in this relation, each once. */
static AttrNumber *
to_attnums(Relation relation, List *names, int *n)
{
	AttrNumber *attnums = palloc_array(AttrNumber, Max(list_length(names), 1));
	ListCell   *cell;

	*n = 0;
	foreach(cell, names)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(relation), lfirst(cell));
		bool		known = attnum <= 0;

		for (int i = 0; i < *n; i++)
			known |= attnums[i] == attnum;
		if (!known)
			attnums[(*n)++] = attnum;
	}
	return attnums;
}
