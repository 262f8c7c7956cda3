/*
 * timeline.c
 *		contact_timeline(): one person's events, journeys and messages, newest first.
 *
 * Events are read from the users' own rows as they are now, each table's as its
 * owner; a row that was deleted is no part of the timeline any more.  The newest of
 * each event are enough: a person with a long history has no more than LIMIT of each.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define LIMIT "1000"			/* rows of one event, or one kind, at most */

MA_FUNCTION(ma_contact_timeline);

/* One line, as it is collected. */
typedef struct Line
{
	TimestampTz at;
	const char *kind;
	const char *what;
	const char *detail;			/* may be NULL */
	int			place;			/* among lines of one instant */
} Line;

static List *add_events(List *lines, MaContactChange *contact);
static List *add_source(List *lines, MaEvent *event, MaEventSource *source,
		MaContactChange *contact);
static char *row_detail(Datum row);
static List *add_rows(List *lines, MaStatement *statement, Datum *values, const char *nulls);
static int	newest_first(const ListCell *a, const ListCell *b);

/* contact_timeline(contact, channel) */
Datum
ma_contact_timeline(PG_FUNCTION_ARGS)
{
	static MaStatement journeys = {
		"SELECT l.at, 'journey', j.name OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) l.what, "
		"NULLIF(pg_catalog.concat_ws(', ', 'step ' OPERATOR(pg_catalog.||) l.step, l.detail), '') "
		"FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j "
		"ON j.journey_id OPERATOR(pg_catalog.=) l.journey_id "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND ($2 IS NULL OR l.what OPERATOR(pg_catalog.=) ANY ('{message,sent,\"not sent\"}')) "
		"ORDER BY l.log_id DESC LIMIT " LIMIT,
		2, {INT8ARRAYOID, TEXTOID}
	};
	static MaStatement messages = {
		"SELECT m.at, 'message', m.channel OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) m.state, "
		"m.template OPERATOR(pg_catalog.||) ' #' OPERATOR(pg_catalog.||) m.message_id::pg_catalog.text "
		"OPERATOR(pg_catalog.||) COALESCE(': ' OPERATOR(pg_catalog.||) m.reason, '') FROM ("
		"SELECT m.since AS at, m.channel, m.state, m.template, m.message_id, m.reason "
		"FROM marketing_internal.message AS m WHERE m.contact_id OPERATOR(pg_catalog.=) ANY ($1) UNION ALL "
		"SELECT l.settled_at, l.channel, l.state, l.template, l.message_id, l.reason "
		"FROM marketing_internal.message_log AS l WHERE l.contact_id OPERATOR(pg_catalog.=) ANY ($1)) AS m "
		"WHERE $2 IS NULL OR m.channel OPERATOR(pg_catalog.=) $2 ORDER BY m.message_id DESC "
		"LIMIT " LIMIT,
		2, {INT8ARRAYOID, TEXTOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *lines = NIL;
	MaCall		call;
	int64		contact_id;
	Datum		values[2];
	char		nulls[] = "  ";
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	contact_id = ma_contact_argument(fcinfo, false);
	values[0] = ma_contact_with_merged(contact_id);
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	nulls[1] = PG_ARGISNULL(1) ? 'n' : ' ';
	if (PG_ARGISNULL(1))
		lines = add_events(lines, ma_read_contacts_as(&contact_id, 1, MA_RUN_READ));
	lines = add_rows(lines, &messages, values, nulls);
	lines = add_rows(lines, &journeys, values, nulls);
	list_sort(lines, newest_first);
	foreach(cell, lines)
	{
		Line	   *line = lfirst(cell);
		Datum		columns[4] = {0};
		bool		missing[4] = {false};

		columns[0] = TimestampTzGetDatum(line->at);
		columns[1] = CStringGetTextDatum(line->kind);
		columns[2] = CStringGetTextDatum(line->what);
		if (line->detail != NULL)
			columns[3] = CStringGetTextDatum(line->detail);
		missing[3] = line->detail == NULL;
		tuplestore_putvalues(result->setResult, result->setDesc, columns, missing);
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* At one instant: what was written first comes last. */
static int
newest_first(const ListCell *a, const ListCell *b)
{
	const Line *left = lfirst(a);
	const Line *right = lfirst(b);

	if (left->at != right->at)
		return left->at < right->at ? 1 : -1;
	return left->place - right->place;
}

/* Rows (at, kind, what, detail), newest first. */
static List *
add_rows(List *lines, MaStatement *statement, Datum *values, const char *nulls)
{
	MaRows		rows = ma_run(statement, values, nulls, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		Line	   *line = palloc0_object(Line);

		line->at = ma_int64(&rows, i, 1);
		line->kind = ma_text(&rows, i, 2);
		line->what = ma_text(&rows, i, 3);
		line->detail = ma_text(&rows, i, 4);
		line->place = list_length(lines);
		lines = lappend(lines, line);
	}
	return lines;
}

static List *
add_events(List *lines, MaContactChange *contact)
{
	MaDefinitions *definitions = ma_definitions();
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, definitions->events)
		foreach(inner, ma_event_sources(definitions, lfirst(cell)))
		{
			MaEventSource *source = lfirst(inner);

			if (source == NULL || (OidIsValid(source->table->relid) &&
								   (source->via_table == NULL ||
										OidIsValid(source->via_table->relid))))
				lines = add_source(lines, lfirst(cell), source, contact);
		}
	return lines;
}

/* Rows of one event in one place, for each key of the contact. */
static List *
add_source(List *lines, MaEvent *event, MaEventSource *source, MaContactChange *contact)
{
	Oid			type;
	char	   *sql = ma_event_select(event, source,
									  source ? "r.at, pg_catalog.to_jsonb(t)" : "r.at, t.properties",
									  "$1", &type);
	int64	   *ids;
	Datum	   *keys;
	int			nkeys = ma_event_keys(source, contact, 1, &ids, &keys);

	for (int i = 0; i < nkeys; i++)
	{
		int			zone = source ? ma_pin_time_zone(source->time_zone) : -1;
		MaIdentity	caller;
		MaRows		rows;

		if (source != NULL)
			ma_become_table_owner(&caller, source->table->relid);
		rows = ma_run_once(psprintf("%s ORDER BY r.at DESC LIMIT " LIMIT, sql), 1, &type, &keys[i],
						   NULL, MA_RUN_READ);
		if (source != NULL)
			ma_become_back(&caller);
		ma_unpin_settings(zone);
		for (uint64 j = 0; j < rows.n; j++)
		{
			Line	   *line = palloc0_object(Line);
			bool		isnull;

			line->at = ma_int64(&rows, j, 1);
			line->kind = "event";
			line->what = event->name;
			line->detail = row_detail(ma_value(&rows, j, 2, &isnull));
			line->place = list_length(lines);
			lines = lappend(lines, line);
		}
	}
	return lines;
}

/* "id 7, total 30": the columns that are not null; long values are cut. */
static char *
row_detail(Datum row)
{
	Jsonb	   *jsonb = DatumGetJsonbP(row);
	char	   *text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

	if (strcmp(text, "{}") == 0)
		return NULL;
	if (strlen(text) > 200)
		strcpy(text + pg_mbcliplen(text, (int) strlen(text), 197), "...");
	return text;
}
