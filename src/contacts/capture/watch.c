/*
 * watch.c
 *		What depends on an event, or on columns of a contact's row.
 *
 * Capture marks nothing for an event that no consumer depends on: that is what
 * makes an attached table cost next to nothing until a rule reads it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static List *add_relations(List *relids, const MaEventSource *source);

void
ma_watch_event(const char *consumer, const char *object, int32 event_id,
			   bool row_grade, List *columns)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.event_watch (consumer, object, event_id, row_grade, columns) "
		"VALUES ($1, $2, $3, $4, $5)",
		5, {TEXTOID, TEXTOID, INT4OID, BOOLOID, TEXTARRAYOID}
	};
	Datum		values[5];

	values[0] = CStringGetTextDatum(consumer);
	values[1] = CStringGetTextDatum(object);
	values[2] = Int32GetDatum(event_id);
	values[3] = BoolGetDatum(row_grade);
	values[4] = ma_text_list_array(columns);
	ma_run(&add, values, NULL, MA_RUN_WRITE);
	ma_definitions_changed();
}

void
ma_watch_source(const char *consumer, const char *object, int32 source_id, List *columns)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.source_watch AS w (consumer, object, source_id, columns) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT (consumer, object, source_id) DO UPDATE "
		"SET columns = w.columns OPERATOR(pg_catalog.||) EXCLUDED.columns",
		4, {TEXTOID, TEXTOID, INT4OID, TEXTARRAYOID}
	};
	Datum		values[4];

	values[0] = CStringGetTextDatum(consumer);
	values[1] = CStringGetTextDatum(object);
	values[2] = Int32GetDatum(source_id);
	values[3] = ma_text_list_array(columns);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}

void
ma_unwatch_events(const char *consumer, const char *object)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.event_watch "
		"WHERE consumer OPERATOR(pg_catalog.=) $1 AND object OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, TEXTOID}
	};
	static MaStatement remove_sources = {
		"DELETE FROM marketing_internal.source_watch "
		"WHERE consumer OPERATOR(pg_catalog.=) $1 AND object OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2];

	values[0] = CStringGetTextDatum(consumer);
	values[1] = CStringGetTextDatum(object);
	ma_run(&remove, values, NULL, MA_RUN_WRITE);
	ma_run(&remove_sources, values, NULL, MA_RUN_WRITE);
	ma_definitions_changed();
}

void
ma_event_require_row_key(MaDefinitions *definitions, const MaEvent *event)
{
	ListCell   *cell;

	foreach(cell, ma_event_sources(definitions, event))
	{
		MaEventSource *source = lfirst(cell);

		if (source != NULL && OidIsValid(source->table->relid) &&
			ma_row_key_columns(source->table->relid) == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_MA_NOT_ATTACHABLE),
					 errmsg("table %s has no unique key", source->table->qualified),
					 errdetail("Without one its rows can be counted, but not followed one by one."),
					 errhint("Add a primary key.")));
	}
}

void
ma_events_lock_writers(List *event_ids)
{
	MaDefinitions *definitions = ma_definitions();
	List	   *relids = NIL;
	ListCell   *cell;

	foreach(cell, event_ids)
	{
		MaEvent    *event = ma_event_by_id(definitions, lfirst_int(cell));
		ListCell   *inner;

		foreach(inner, ma_event_sources(definitions, event))
			relids = add_relations(relids, lfirst(inner));
		/* Somebody may be tracking it for the first time. */
		if (event->source == NULL && !event->builtin)
			relids = add_relations(relids, NULL);
	}
	ma_relations_lock_writers(relids);
}

void
ma_relations_lock_writers(List *relids)
{
	ListCell   *cell;

	list_sort(relids, list_oid_cmp);
	foreach(cell, relids)
		ma_table_lock_writers(lfirst_oid(cell));
}

/* Adds the tables that rows of the source stand in; NULL: that of tracked events. */
static List *
add_relations(List *relids, const MaEventSource *source)
{
	ListCell   *cell;

	if (source == NULL)
		return list_append_unique_oid(relids, ma_own_table("event"));
	if (OidIsValid(source->table->relid))
		relids = list_append_unique_oid(relids, source->table->relid);
	if (source->via_table != NULL && OidIsValid(source->via_table->relid))
		relids = list_append_unique_oid(relids, source->via_table->relid);
	foreach(cell, source->lookups)
		if (OidIsValid(((MaLookup *) lfirst(cell))->table->relid))
			relids = list_append_unique_oid(relids, ((MaLookup *) lfirst(cell))->table->relid);
	return relids;
}
