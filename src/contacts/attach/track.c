/*
 * track.c
 *		marketing.track(): records an event that has no table of the user's.
 *
 * A call that is repeated with the same dedup_key is recorded once.  The contact's
 * keys are locked FOR SHARE first: those who track do not wait for each other, but
 * a merge, which moves the keys before the events, waits for them (or they for it,
 * and then find the contact it was merged into), so no event is left behind with
 * a contact that was merged away.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define NEAR_NAME 2				/* edits at which a new name is taken for a typo */

#define MAX_MERGES 5			/* merges of the same contact that one call follows */

/* Arguments of marketing.track() by position. */
enum
{
	ARG_CONTACT, ARG_EVENT, ARG_PROPERTIES, ARG_OCCURRED_AT, ARG_DEDUP_KEY
};

static char *required_name(FunctionCallInfo fcinfo);
static Jsonb *read_properties(FunctionCallInfo fcinfo);
static TimestampTz read_time(FunctionCallInfo fcinfo);
static int32 event_to_track(const char *name, Jsonb *properties, bool *new);
static void refuse_attached(const MaEvent *event);
static void begin_tracking(const char *name);
static void tell_new(const char *name);
static char *near_names(const char *name);
static Jsonb *declared_types(const char *name);
static int64 lock_contact(FunctionCallInfo fcinfo);
static bool first_time(int64 contact_id, Datum dedup_key);
static int64 insert_event(int64 contact_id, int32 event_id, TimestampTz occurred_at,
						  Jsonb *properties);

MA_FUNCTION(ma_track);

/* marketing.track(contact, event, properties, occurred_at, dedup_key) */
Datum
ma_track(PG_FUNCTION_ARGS)
{
	MaCall		call;
	char	   *name = required_name(fcinfo);
	Jsonb	   *properties = read_properties(fcinfo);
	TimestampTz occurred_at = read_time(fcinfo);
	int32		event_id;
	int64		contact_id;
	bool		new;
	bool		recorded;

	ma_call_begin(&call);
	ma_event_partitions_ensure();
	event_id = event_to_track(name, properties, &new);
	contact_id = lock_contact(fcinfo);
	recorded = PG_ARGISNULL(ARG_DEDUP_KEY) ||
		first_time(contact_id, PG_GETARG_DATUM(ARG_DEDUP_KEY));
	if (recorded)
	{
		int64		row_id = insert_event(contact_id, event_id, occurred_at, properties);

		ma_mark_tracked(contact_id, ma_event_by_id(ma_definitions(), event_id), row_id,
						occurred_at, JsonbPGetDatum(properties));
	}
	if (new)
		tell_new(name);
	ma_call_end(&call);
	PG_RETURN_BOOL(recorded);
}

static char *
required_name(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(ARG_EVENT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_EVENT));
	ma_event_name_check(name);
	return name;
}

static Jsonb *
read_properties(FunctionCallInfo fcinfo)
{
	Jsonb	   *properties;

	if (PG_ARGISNULL(ARG_PROPERTIES))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	properties = PG_GETARG_JSONB_P(ARG_PROPERTIES);
	if (!JB_ROOT_IS_OBJECT(properties))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("properties must be a JSON object"),
				 errhint("For example {\"plan\": \"pro\"}.")));
	return properties;
}

static TimestampTz
read_time(FunctionCallInfo fcinfo)
{
	TimestampTz at;

	if (PG_ARGISNULL(ARG_OCCURRED_AT))
		return ma_now();
	at = PG_GETARG_TIMESTAMPTZ(ARG_OCCURRED_AT);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("occurred_at must be a point in time, not infinity")));
	return at;
}

/* The event of this name, which becomes a tracked one if it was not yet; `new`: nobody knew it. */
static int32
event_to_track(const char *name, Jsonb *properties, bool *new)
{
	MaEvent    *event = ma_event_by_name(ma_definitions(), name);
	Jsonb	   *types;

	*new = event == NULL;
	refuse_attached(event);
	if (event == NULL || !event->tracked)
	{
		begin_tracking(name);
		/* Somebody may have attached it while we waited for him. */
		event = ma_event_by_name(ma_definitions(), name);
		refuse_attached(event);
	}
	types = declared_types(name);
	if (types != NULL)
		ma_properties_check(name, properties, types);
	return event->id;
}

static void
refuse_attached(const MaEvent *event)
{
	if (event == NULL || event->source == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_MA_NAME_IN_USE),
			 errmsg("event \"%s\" is attached to table \"%s\"", event->name,
					event->source->table->name),
			 errhint("Insert a row into the table instead, or track under another name.")));
}

/* Makes the name known as a tracked event. */
static void
begin_tracking(const char *name)
{
	static MaStatement track = {
		"INSERT INTO marketing_internal.event_type AS e (name, tracked) VALUES ($1, true) "
		"ON CONFLICT (name) DO UPDATE SET tracked = true WHERE NOT e.tracked",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	ma_run(&track, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}

/* A new name may be a typo.  Told at the end, so that a call that fails does not speak of it. */
static void
tell_new(const char *name)
{
	char	   *nearest = near_names(name);

	ereport(NOTICE,
			(errmsg("new event \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) : 0));
}

/* Other known names within a few edits, as text for a hint, or NULL. */
static char *
near_names(const char *name)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, ma_event_names(ma_definitions()))
		if (strcmp(name, lfirst(cell)) != 0 &&
			ma_name_distance(name, lfirst(cell), NEAR_NAME) <= NEAR_NAME)
			names = lappend(names, lfirst(cell));
	return ma_nearest(name, names);
}

/* Types of the event's properties; NULL if it was not declared. */
static Jsonb *
declared_types(const char *name)
{
	static MaStatement find = {
		"SELECT properties FROM marketing_internal.event_type "
		"WHERE name OPERATOR(pg_catalog.=) $1 AND declared",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	bool		isnull;

	return rows.n == 0 ? NULL : DatumGetJsonbP(ma_value(&rows, 0, 1, &isnull));
}

/* The contact, which nobody can merge into another one until the end of this transaction. */
static int64
lock_contact(FunctionCallInfo fcinfo)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.contact_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 ORDER BY source_id, external_id FOR SHARE",
		1, {INT8OID}
	};

	for (int tries = 0; tries < MAX_MERGES; tries++)
	{
		int64		contact_id = ma_contact_argument(fcinfo, true);
		Datum		value = Int64GetDatum(contact_id);

		if (ma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST).n > 0)
			return contact_id;
		/* It was merged into another one meanwhile: look again. */
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the contact was merged into another one meanwhile"),
			 errhint("Try again.")));
}

/* Remembers the dedup_key; false if it was there already. */
static bool
first_time(int64 contact_id, Datum dedup_key)
{
	static MaStatement remember = {
		"INSERT INTO marketing_internal.event_key (contact_id, dedup_key) VALUES ($1, $2) "
		"ON CONFLICT (contact_id, dedup_key) DO NOTHING",
		2, {INT8OID, TEXTOID}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(contact_id);
	values[1] = dedup_key;
	return ma_run(&remember, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}

/* Inserts through the parent; returns the row's number. */
static int64
insert_event(int64 contact_id, int32 event_id, TimestampTz occurred_at, Jsonb *properties)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.event "
		"(contact_id, event_id, occurred_at, tracked_for, recorded_at, properties) "
		"VALUES ($1, $2, $3, $1, $4, $5) RETURNING event_row_id",
		5, {INT8OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
	};
	Datum		values[5];
	MaRows		rows;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(event_id);
	values[2] = TimestampTzGetDatum(occurred_at);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = JsonbPGetDatum(properties);
	rows = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	return ma_int64(&rows, 0, 1);
}
