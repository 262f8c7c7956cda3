/*
 * occurrence.c
 *		The consumer of row grade: records each time an event of a recorded name
 *		happened, was taken back or changed, with the row as it was.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "contacts/counter/counter.h"
#include "utils/builtins.h"

#define CONSUMER "occurrences"

static void record(MaRowChange *rows, int n, TimestampTz now);

MA_FUNCTION(ma_record_event);

static const MaConsumer consumer = {CONSUMER, NULL, record, NULL};

void
ma_occurrence_init(void)
{
	ma_register_consumer(&consumer);
}

static void
record(MaRowChange *rows, int n, TimestampTz now)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.occurrence (contact_id, event_id, row_key, kind, "
		"occurred_at, properties, enroll, recorded_at) "
		"SELECT r.contact_id, r.event_id, r.row_key, r.kind, r.occurred_at, r.properties, r.enroll, $8 "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) "
		"WITH ORDINALITY AS r (contact_id, event_id, row_key, kind, occurred_at, properties, enroll, n) "
		"JOIN marketing_internal.event_watch AS w ON w.event_id OPERATOR(pg_catalog.=) r.event_id "
		"AND w.consumer OPERATOR(pg_catalog.=) '" CONSUMER "' ORDER BY r.n",
		8, {INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID,
		JSONBARRAYOID, BOOLARRAYOID, TIMESTAMPTZOID}
	};
	static const char *const kinds[] = {"happened", "taken_back", "changed"};
	int64	   *contacts = palloc_array(int64, n);
	int32	   *events = palloc_array(int32, n);
	char	  **keys = palloc_array(char *, n);
	char	  **names = palloc_array(char *, n);
	Datum	   *times = palloc_array(Datum, n);
	Datum	   *properties = palloc_array(Datum, n);
	Datum	   *enroll = palloc_array(Datum, n);
	Datum		values[8];

	for (int i = 0; i < n; i++)
	{
		contacts[i] = rows[i].contact_id;
		events[i] = rows[i].event_id;
		keys[i] = rows[i].row_key;
		names[i] = unconstify(char *, kinds[rows[i].kind]);
		times[i] = TimestampTzGetDatum(rows[i].occurred_at);
		properties[i] = rows[i].properties;
		enroll[i] = BoolGetDatum(rows[i].enroll);
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int4_array(events, n);
	values[2] = ma_text_array(keys, n);
	values[3] = ma_text_array(names, n);
	values[4] = ma_datum_array(times, n, TIMESTAMPTZOID);
	values[5] = ma_datum_array(properties, n, JSONBOID);
	values[6] = ma_datum_array(enroll, n, BOOLOID);
	values[7] = TimestampTzGetDatum(now);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}

/* record_event(event, recorded) */
Datum
ma_record_event(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name;
	bool		recorded;
	MaDefinitions *definitions;
	MaEvent    *event;
	MaCall		call;
	char	   *answer;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "event" : "recorded")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	recorded = PG_GETARG_BOOL(1);
	ma_call_begin(&call);
	definitions = ma_definitions();
	event = ma_event_required(definitions, name);
	ma_event_require_row_key(definitions, event);
	ma_unwatch_events(CONSUMER, name);
	if (recorded)
		ma_watch_event(CONSUMER, name, event->id, true, NIL);
	MemoryContextSwitchTo(context);
	answer = psprintf("%s: %s", name, recorded ? "recorded" : "no longer recorded");
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
