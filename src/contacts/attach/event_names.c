/*
 * event_names.c
 *		Names of events: which are allowed, which are known, and where the rows of
 *		a named event stand.
 *
 * Where the rows of a name stand is told by ma_event_sources() (event_rows.c).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#define MAX_WATCHERS_SHOWN 5

void
ma_event_name_check(const char *name)
{
	ma_name_check(name, "event");
	if (ma_builtin_columns(name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_NAME_IN_USE),
				 errmsg("event name \"%s\" is reserved for a built-in event", name),
				 errhint("Choose another name for your own event.")));
}

List *
ma_event_names(MaDefinitions *definitions)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, definitions->events)
		names = lappend(names, ((MaEvent *) lfirst(cell))->name);
	return names;
}

char *
ma_event_example(void)
{
	ListCell   *cell;

	foreach(cell, ma_definitions()->events)
	{
		const MaEvent *event = lfirst(cell);

		if (!event->builtin && (event->source != NULL || event->tracked))
			return pstrdup(quote_identifier(event->name));
	}
	return NULL;
}

MaEvent *
ma_event_required(MaDefinitions *definitions, const char *name)
{
	MaEvent    *event = ma_event_by_name(definitions, name);
	List	   *names = ma_event_names(definitions);
	char	   *nearest;
	ListCell   *cell;

	if (event != NULL)
		return event;
	if (ma_builtin_columns(name) != NULL)
	{
		int32		event_id = ma_event_ensure(name);

		return ma_event_by_id(ma_definitions(), event_id);
	}
	foreach(cell, ma_builtin_names())
		if (ma_event_by_name(definitions, lfirst(cell)) == NULL)
			names = lappend(names, lfirst(cell));
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_EVENT),
			 errmsg("there is no event \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Attach a table with marketing.attach_events(), or name it with marketing.declare_event().")));
}

int32
ma_event_ensure(const char *name)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.event_type (name) VALUES ($1) "
		"ON CONFLICT (name) DO NOTHING",
		1, {TEXTOID}
	};
	static MaStatement find = {
		"SELECT event_id FROM marketing_internal.event_type "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	if (rows.n == 0)
	{
		ma_run(&add, &value, NULL, MA_RUN_WRITE_LATEST);
		ma_definitions_changed();
		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	}
	if (rows.n != 1)
		elog(ERROR, "cannot happen: event \"%s\" is neither there nor added", name);
	return ma_int32(&rows, 0, 1);
}

char *
ma_event_watchers(int32 event_id)
{
	static MaStatement watchers = {
		"SELECT consumer, object FROM marketing_internal.event_watch "
		"WHERE event_id OPERATOR(pg_catalog.=) $1 ORDER BY consumer, object",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(event_id);
	MaRows		rows = ma_run(&watchers, &value, NULL, MA_RUN_READ_LATEST);
	StringInfoData text;

	if (rows.n == 0)
		return NULL;
	initStringInfo(&text);
	for (uint64 i = 0; i < Min(rows.n, MAX_WATCHERS_SHOWN); i++)
		appendStringInfo(&text, "%s%s \"%s\"", i == 0 ? "" : ", ",
						 ma_text(&rows, i, 1), ma_text(&rows, i, 2));
	if (rows.n > MAX_WATCHERS_SHOWN)
		appendStringInfo(&text, " and " UINT64_FORMAT " more", rows.n - MAX_WATCHERS_SHOWN);
	return text.data;
}
