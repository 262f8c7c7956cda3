/*
 * attach_events.c
 *		marketing.attach_events(): makes rows of a user's table an event.
 *
 * The checks come first and as the caller (event_options.c), the reads next, the
 * lock on the user's table last.  Two calls at once wait for each other on our
 * own table, so that neither decides on what the other is changing.  The stored
 * row is compared field by field with the one there is: a file of definitions
 * can be run again and again, and a changed one says what changed.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

/* Columns of event_source besides its number, table and event. */
typedef struct Field
{
	const char *column;
	const char *type;
	const char *argument;		/* as the answer names a change; NULL: not compared */
} Field;

enum
{
	FIELD_EVENT_COLUMN, FIELD_CONTACT_SOURCE, FIELD_CONTACT, FIELD_OCCURRED, FIELD_TIME_ZONE,
	FIELD_CONDITION, FIELD_REPEAT, FIELD_VALUE, FIELD_CURRENCY, FIELD_LOOKUP, FIELD_VIA,
	FIELD_ASYNC, FIELD_CONDITION_SOURCE, FIELD_CONDITION_COLUMNS, FIELD_VIA_TABLE,
	FIELD_VIA_LINK, FIELD_VIA_KEY, NUM_FIELDS
};

static const Field fields[NUM_FIELDS] = {
	{"event_column", "text", "event_column"},
	{"contact_source_id", "int4", "contact_source"},
	{"contact_column", "text", "contact"},
	{"occurred_column", "text", "occurred_at"},
	{"time_zone", "text", "time_zone"},
	{"condition", "text", "condition"},
	{"repeat", "bool", "repeat"},
	{"value_column", "text", "value"},
	{"currency_column", "text", "currency"},
	{"lookup", "jsonb", "lookup"},
	{"via", "jsonb", "via"},
	{"async", "bool", "mode"},
	{"condition_source", "text", NULL},
	{"condition_columns", "_text", NULL},
	{"via_table_id", "int4", NULL},
	{"via_link_column", "text", NULL},
	{"via_key_column", "text", NULL}
};

/* The row of event_source that a definition had before. */
typedef struct Previous
{
	int32		event_source_id;	/* 0: none */
	int32		table_id;
	int32		via_table_id;	/* 0: none */
	List	   *lookup_table_ids;
	char	   *values[NUM_FIELDS];
} Previous;

static char *attach(MaCall *call, MaEventOptions *options);
static MaEventSource *find_previous(const MaEventOptions *options);
static int32 claim_name(const MaCall *call, const MaEventOptions *options);
static void read_previous(const MaEventSource *source, Previous *previous);
static void fill(const MaEventOptions *options, const char *time_zone, char **values);
static char *columns_text(List *columns);
static char *changes(const Previous *previous, char **values, const MaEventOptions *options);
static int32 write_row(const Previous *previous, int32 table_id, int32 event_id, char **values);
static List *attach_lookups(MaCall *call, const MaEventOptions *options, bool *unseen);
static void release_tables(MaCall *call, const Previous *previous, int32 table_id);
static void reevaluate(int32 table_id);
static void tell_without_key(Oid relid);

MA_FUNCTION(ma_attach_events);

/* marketing.attach_events(relation, event, event_column, contact, ...) */
Datum
ma_attach_events(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaEventOptions *options = ma_event_options_read(fcinfo);
	MaCall		call;
	char	   *answer;

	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, attach(&call, options));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

void
ma_event_definitions_lock(void)
{
	Oid			schema = ma_extension_required()->internal_schema;

	LockRelationOid(get_relname_relid("event_source", schema), ShareRowExclusiveLock);
}

MaTable *
ma_attached_table(MaDefinitions *definitions, Oid relid)
{
	MaTable    *found = ma_table_by_relid(definitions, relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);
	ListCell   *cell;

	if (found != NULL || name == NULL)
		return found;
	foreach(cell, definitions->tables)
	{
		MaTable    *table = lfirst(cell);

		if (!OidIsValid(table->relid) && strcmp(table->schema, schema) == 0 &&
			strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

/* Stores the definition and sees to the triggers; returns the answer. */
static char *
attach(MaCall *call, MaEventOptions *options)
{
	Previous	previous = {0};
	char	   *values[NUM_FIELDS] = {NULL};
	char	   *time_zone;
	char	   *changed;
	char	   *summary = NULL;
	bool		unseen;
	bool		via_unseen = false;
	List	   *lookups;
	int32		event_id;
	int32		table_id;

	ma_event_definitions_lock();
	event_id = claim_name(call, options);
	read_previous(find_previous(options), &previous);
	time_zone = options->time_zone ? options->time_zone :
		previous.event_source_id ? previous.values[FIELD_TIME_ZONE] :
		ma_database_time_zone();
	fill(options, time_zone, values);
	changed = changes(&previous, values, options);
	if (previous.event_source_id == 0 || changed != NULL)
	{
		tell_without_key(options->relid);
		summary = ma_event_summary(options, time_zone);
		ma_event_tell_strangers(options, time_zone, ma_source_by_id(ma_definitions(),
																	 options->contact_source_id));
		summary = psprintf("%s; %s", summary, ma_index_advice(options));
	}

	table_id = ma_table_attach(call, options->relid, options->on_replica, &unseen);
	if (options->via != NULL)
		values[FIELD_VIA_TABLE] = psprintf("%d", ma_table_attach(call, options->via->relid,
																 options->on_replica, &via_unseen));
	lookups = attach_lookups(call, options, &via_unseen);
	if (summary == NULL && !unseen && !via_unseen && previous.table_id == table_id)
		return psprintf("unchanged: %s", options->label);

	ma_lookups_store(write_row(&previous, table_id, event_id, values), options->lookup, lookups);
	ma_definitions_changed();
	release_tables(call, &previous, table_id);
	ma_tell_attached();
	reevaluate(table_id);
	if (summary == NULL)
		return psprintf("%s: trigger restored", options->label);
	if (previous.event_source_id == 0 || changed == NULL)
		return psprintf("%s: %s", options->label, summary);
	return psprintf("%s: changed %s; %s", options->label, changed, summary);
}

/* Tables (int) of the lookups; *unseen is set if a trigger had to be made. */
static List *
attach_lookups(MaCall *call, const MaEventOptions *options, bool *unseen)
{
	List	   *ids = NIL;
	ListCell   *cell;

	foreach(cell, options->lookup)
	{
		bool		new = false;

		ids = lappend_int(ids, ma_table_attach(call, ((MaLink *) lfirst(cell))->relid,
											   options->on_replica, &new));
		*unseen |= new;
	}
	return ids;
}

/* Lets go of tables that only the previous definition needed. */
static void
release_tables(MaCall *call, const Previous *previous, int32 table_id)
{
	ListCell   *cell;

	if (previous->event_source_id != 0 && previous->table_id != table_id)
		(void) ma_table_detach_if_unused(call, previous->table_id);
	if (previous->via_table_id != 0)
		(void) ma_table_detach_if_unused(call, previous->via_table_id);
	foreach(cell, previous->lookup_table_ids)
		(void) ma_table_detach_if_unused(call, lfirst_int(cell));
}

/*
 * Makes the event's name known and takes it for this definition; refuses one
 * whose rows stand elsewhere.  An event of a table that is gone may be attached
 * anew by who owned that table.  Returns its number, 0 for event_column.
 */
static int32
claim_name(const MaCall *call, const MaEventOptions *options)
{
	static MaStatement known = {
		"SELECT declared, tracked FROM marketing_internal.event_type "
		"WHERE event_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {INT4OID}
	};
	int32		event_id;
	MaEvent    *event;
	MaRows		rows;
	Datum		value;

	if (options->event == NULL)
		return 0;
	event_id = ma_event_ensure(options->event);
	/* Locked: track() and declare_event() write this row when they take the name. */
	value = Int32GetDatum(event_id);
	rows = ma_run(&known, &value, NULL, MA_RUN_WRITE_LATEST);
	event = ma_event_by_id(ma_definitions(), event_id);
	if (event->source != NULL)
	{
		Oid			relid = event->source->table->relid;

		if (relid != options->relid && get_rel_name(relid) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_MA_NAME_IN_USE),
					 errmsg("event \"%s\" is attached to table \"%s\"", options->event,
							get_rel_name(relid)),
					 errhint("Choose another name, or call marketing.detach(%s, %s) first.",
							 quote_literal_cstr(ma_relation_name(relid)),
							 quote_literal_cstr(options->event))));
		if (!OidIsValid(relid))
			ma_require_right_on_lost(event->source->table, call->caller.userid);
	}
	else if (ma_bool(&rows, 0, 1) || ma_bool(&rows, 0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NAME_IN_USE),
				 errmsg("event \"%s\" is %s already", options->event,
						ma_bool(&rows, 0, 2) ? "tracked" : "declared"),
				 errdetail("Its rows are those of marketing.track()."),
				 errhint("Choose another name for the rows of table \"%s\".",
						 get_rel_name(options->relid))));
	return event_id;
}

/* The definition this one replaces, or NULL. */
static MaEventSource *
find_previous(const MaEventOptions *options)
{
	MaDefinitions *definitions = ma_definitions();
	MaTable    *table = ma_attached_table(definitions, options->relid);
	ListCell   *cell;

	if (options->event != NULL)
	{
		MaEvent    *event = ma_event_by_name(definitions, options->event);

		return event ? event->source : NULL;
	}
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->event == NULL && source->table == table)
			return source;
	}
	return NULL;
}

/* Its stored fields, as text. */
static void
read_previous(const MaEventSource *source, Previous *previous)
{
	StringInfoData sql;
	Oid			type = INT4OID;
	Datum		value;
	MaRows		rows;
	ListCell   *cell;

	if (source == NULL)
		return;
	previous->event_source_id = source->id;
	previous->table_id = source->table->id;
	previous->via_table_id = source->via_table ? source->via_table->id : 0;
	foreach(cell, source->lookups)
		previous->lookup_table_ids = list_append_unique_int(previous->lookup_table_ids,
															((MaLookup *) lfirst(cell))->table->id);
	initStringInfo(&sql);
	for (int i = 0; i < NUM_FIELDS; i++)
		appendStringInfo(&sql, "%s %s", i == 0 ? "SELECT" : ",", fields[i].column);
	appendStringInfoString(&sql, " FROM marketing_internal.event_source "
						   "WHERE event_source_id OPERATOR(pg_catalog.=) $1");
	value = Int32GetDatum(source->id);
	rows = ma_run_once(sql.data, 1, &type, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n != 1)
		elog(ERROR, "cannot happen: no event source %d", previous->event_source_id);
	for (int i = 0; i < NUM_FIELDS; i++)
		previous->values[i] = ma_text(&rows, 0, i + 1);
}

/* The fields to store, as text; the number of the via table is filled in later. */
static void
fill(const MaEventOptions *options, const char *time_zone, char **values)
{
	Datum		lookup = ma_lookup_jsonb(options->lookup);

	values[FIELD_EVENT_COLUMN] = options->event_column;
	values[FIELD_CONTACT_SOURCE] = psprintf("%d", options->contact_source_id);
	values[FIELD_CONTACT] = options->contact_column;
	values[FIELD_OCCURRED] = options->occurred_column;
	values[FIELD_TIME_ZONE] = pstrdup(time_zone);
	values[FIELD_REPEAT] = options->repeat ? "t" : "f";
	values[FIELD_VALUE] = options->value_column;
	values[FIELD_CURRENCY] = options->currency_column;
	values[FIELD_LOOKUP] = OidOutputFunctionCall(F_JSONB_OUT, lookup);
	values[FIELD_ASYNC] = options->async ? "t" : "f";
	values[FIELD_CONDITION_COLUMNS] = "{}";
	if (options->condition != NULL)
	{
		values[FIELD_CONDITION] = options->condition->text;
		values[FIELD_CONDITION_SOURCE] = options->condition_source;
		values[FIELD_CONDITION_COLUMNS] = columns_text(options->condition->columns);
	}
	if (options->via != NULL)
	{
		values[FIELD_VIA] = OidOutputFunctionCall(F_JSONB_OUT, ma_via_jsonb(options->via));
		values[FIELD_VIA_LINK] = options->via->column;
		values[FIELD_VIA_KEY] = options->via->key;
	}
}

/* Names as an array literal. */
static char *
columns_text(List *columns)
{
	return OidOutputFunctionCall(F_ARRAY_OUT, ma_text_list_array(columns));
}

/* Arguments that differ from those before, as text; NULL if none does. */
static char *
changes(const Previous *previous, char **values, const MaEventOptions *options)
{
	MaTable    *table = ma_attached_table(ma_definitions(), options->relid);
	StringInfoData text;

	initStringInfo(&text);
	if (table == NULL || table->id != previous->table_id)
		appendStringInfoString(&text, ", relation");
	for (int i = 0; i < NUM_FIELDS; i++)
	{
		const char *before = previous->values[i];

		if (fields[i].argument != NULL &&
			((before == NULL) != (values[i] == NULL) ||
			 (before != NULL && strcmp(before, values[i]) != 0)))
			appendStringInfo(&text, ", %s", fields[i].argument);
	}
	if (table != NULL && options->on_replica && !table->on_replica)
		appendStringInfoString(&text, ", on_replica");
	return text.len > 0 ? text.data + strlen(", ") : NULL;
}

/* Adds the row, or overwrites the previous one; returns its number. */
static int32
write_row(const Previous *previous, int32 table_id, int32 event_id, char **values)
{
	StringInfoData columns;
	StringInfoData parameters;
	Oid			types[NUM_FIELDS + 2];
	Datum		datums[NUM_FIELDS + 2];
	char		nulls[NUM_FIELDS + 3];
	char	   *sql;
	MaRows		rows;

	initStringInfo(&columns);
	initStringInfo(&parameters);
	for (int i = 0; i < NUM_FIELDS; i++)
	{
		appendStringInfo(&columns, ", %s", fields[i].column);
		appendStringInfo(&parameters, ", $%d::pg_catalog.%s", i + 3, fields[i].type);
		types[i + 2] = TEXTOID;
		nulls[i + 2] = values[i] ? ' ' : 'n';
		datums[i + 2] = values[i] ? CStringGetTextDatum(values[i]) : (Datum) 0;
	}
	types[0] = types[1] = INT4OID;
	datums[0] = Int32GetDatum(table_id);
	datums[1] = Int32GetDatum(event_id);
	nulls[0] = ' ';
	nulls[1] = event_id != 0 ? ' ' : 'n';
	nulls[NUM_FIELDS + 2] = '\0';
	if (previous->event_source_id == 0)
		sql = psprintf("INSERT INTO marketing_internal.event_source (table_id, event_id%s) "
					   "VALUES ($1, $2%s) RETURNING event_source_id", columns.data,
					   parameters.data);
	else
		sql = psprintf("UPDATE marketing_internal.event_source "
					   "SET (table_id, event_id%s) = ROW($1, $2%s) "
					   "WHERE event_source_id OPERATOR(pg_catalog.=) %d RETURNING event_source_id",
					   columns.data, parameters.data, previous->event_source_id);
	rows = ma_run_once(sql, NUM_FIELDS + 2, types, datums, nulls, MA_RUN_WRITE_LATEST);
	return ma_int32(&rows, 0, 1);
}

/* Leaves what depends on events of the table to the worker, if anything does. */
static void
reevaluate(int32 table_id)
{
	static MaStatement leave = {
		"INSERT INTO marketing_internal.dirty (xid, table_id) "
		"SELECT pg_catalog.pg_current_xact_id(), $1 "
		"WHERE EXISTS (SELECT FROM marketing_internal.event_watch)",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(table_id);

	if (ma_run(&leave, &value, NULL, MA_RUN_WRITE_LATEST).n > 0)
		ma_worker_wake_at_commit();
}

/* Journeys tell rows apart by a unique key; say so where there is none. */
static void
tell_without_key(Oid relid)
{
	if (ma_row_key_columns(relid) == NIL)
		ereport(NOTICE,
				(errmsg("table \"%s\" has no unique key",
						get_rel_name(relid)),
				 errdetail("Segments and scores can use its events, journeys cannot."),
				 errhint("Add a primary key.")));
}
