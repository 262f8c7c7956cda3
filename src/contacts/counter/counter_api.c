/*
 * counter_api.c
 *		Counters as users of schema marketing_internal define and read them, the
 *		read that is exact whatever the workers do, and the wake by time.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/counter/counter.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define CONSUMER "counters"
#define MAX_WITHIN_YEARS 100

/* A read that computes values. */
typedef struct Reading
{
	ReturnSetInfo *result;
	MaCounterGroup *group;
	const MaCounterDefinition *counter;
	TimestampTz now;
} Reading;

static void check_within(const Interval *within);
static MaCounterDefinition *counter_required(const char *name, MaCounterGroup **group);
static char *name_argument(FunctionCallInfo fcinfo);
static void emit_stored(ReturnSetInfo *result, MaCounterDefinition *counter, MaStale *stale,
						TimestampTz now);
static void emit_computed(const int64 *ids, int n, void *arg);
static bool due(void);
static bool due_turn(void);
static TimestampTz next_due(void);

MA_FUNCTION(ma_define_counter);
MA_FUNCTION(ma_drop_counter);
MA_FUNCTION(ma_counter_values);

static const MaDuty due_duty = {"due counters", 0, due, next_due};

void
ma_counter_api_init(void)
{
	ma_worker_register_duty(&due_duty);
}

/*
 * define_counter(name, event, within): the state is built by the worker from the
 * dirty log; until then reads compute it.
 */
Datum
ma_define_counter(PG_FUNCTION_ARGS)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.counter (name, event_id, within) VALUES ($1, $2, $3)",
		3, {TEXTOID, INT4OID, INTERVALOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name;
	MaEvent    *event;
	Datum		values[3];
	char		nulls[] = "   ";
	MaCall		call;
	char	   *answer;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a counter needs a name and an event")));
	if (!PG_ARGISNULL(2))
		check_within(PG_GETARG_INTERVAL_P(2));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ma_call_begin(&call);
	event = ma_event_required(ma_definitions(), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	ma_events_lock_writers(list_make1_int(event->id));
	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(event->id);
	values[2] = PG_GETARG_DATUM(2);
	nulls[2] = PG_ARGISNULL(2) ? 'n' : ' ';
	ma_run(&add, values, nulls, MA_RUN_WRITE);
	ma_watch_event(CONSUMER, name, event->id, false, NIL);
	ma_contacts_leave_all();
	MemoryContextSwitchTo(context);
	answer = psprintf("%s: created", name);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/*
 * A time back from now that the calendar has, whatever the rows are: beyond its
 * ends every evaluation would fail.  Parts of both signs have no clear start.
 */
static void
check_within(const Interval *within)
{
	double		days = within->month * (DAYS_PER_YEAR / MONTHS_PER_YEAR) + within->day +
		(double) within->time / USECS_PER_DAY;

	if (within->month < 0 || within->day < 0 || within->time < 0 ||
		days <= 0 || days > MAX_WITHIN_YEARS * DAYS_PER_YEAR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a counter counts within a time of more than zero and at most %d years",
						MAX_WITHIN_YEARS),
				 errhint("Leave the time out to count all rows.")));
}

/* The counter of this name and the group it is computed with. */
static MaCounterDefinition *
counter_required(const char *name, MaCounterGroup **group)
{
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, ma_counter_groups())
	{
		*group = lfirst(outer);
		foreach(cell, (*group)->counters)
			if (strcmp(((MaCounterDefinition *) lfirst(cell))->name, name) == 0)
				return lfirst(cell);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no counter \"%s\"", name)));
}

/* Argument 0, which must not be null. */
static char *
name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the counter must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

Datum
ma_drop_counter(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"WITH gone AS (DELETE FROM marketing_internal.counter "
		"WHERE name OPERATOR(pg_catalog.=) $1 RETURNING counter_id) "
		"DELETE FROM marketing_internal.contact_counter AS s USING gone "
		"WHERE s.counter_id OPERATOR(pg_catalog.=) gone.counter_id",
		1, {TEXTOID}
	};
	/* What evaluations wrote that had begun before a counter was dropped. */
	static MaStatement sweep = {
		"DELETE FROM marketing_internal.contact_counter AS s WHERE NOT EXISTS "
		"(SELECT FROM marketing_internal.counter AS c "
		"WHERE c.counter_id OPERATOR(pg_catalog.=) s.counter_id)"
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = name_argument(fcinfo);
	Datum		value = CStringGetTextDatum(name);
	MaCounterGroup *group;
	MaCall		call;
	char	   *answer;

	ma_call_begin(&call);
	(void) counter_required(name, &group);
	ma_events_lock_writers(list_make1_int(group->event_id));
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_run(&sweep, NULL, NULL, MA_RUN_WRITE_LATEST);
	ma_unwatch_events(CONSUMER, name);
	MemoryContextSwitchTo(context);
	answer = psprintf("%s: dropped", name);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

Datum
ma_counter_values(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = name_argument(fcinfo);
	MaCounterDefinition *counter;
	MaCounterGroup *group;
	MaStale    *stale;
	TimestampTz now = ma_now();
	Reading		reading;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	counter = counter_required(name, &group);
	stale = ma_stale_contacts();
	reading = (Reading) {result, group, counter, now};
	if (stale->any)
		ma_contacts_each(0, MA_RUN_READ, emit_computed, &reading);
	else
	{
		emit_stored(result, counter, stale, now);
		ma_contacts_each_of(stale->ids, stale->n, emit_computed, &reading);
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* Stored values that hold now; overdue ones join the stale contacts. */
static void
emit_stored(ReturnSetInfo *result, MaCounterDefinition *counter, MaStale *stale, TimestampTz now)
{
	static MaStatement read = {
		"SELECT contact_id, value, until OPERATOR(pg_catalog.>) $2 "
		"FROM marketing_internal.contact_counter WHERE counter_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		arguments[2];
	MaRows		rows;

	arguments[0] = Int32GetDatum(counter->id);
	arguments[1] = TimestampTzGetDatum(now);
	rows = ma_run(&read, arguments, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = Int64GetDatum(ma_int64(&rows, i, 1));
		values[1] = Int64GetDatum(ma_int64(&rows, i, 2));
		if (!ma_bool(&rows, i, 3))
			ma_stale_add(stale, ma_int64(&rows, i, 1));
		else if (!ma_stale_has(stale, ma_int64(&rows, i, 1)) && ma_int64(&rows, i, 2) != 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_stale_sort(stale);
}

/* Computes the values of these contacts from their rows. */
static void
emit_computed(const int64 *ids, int n, void *arg)
{
	const Reading *reading = arg;
	MaContactChange *contacts = ma_read_contacts(ids, n);
	MaCounterValue *computed = ma_counter_compute(reading->group, contacts, n, reading->now,
												  MA_RUN_READ);

	for (int i = 0; i < n * list_length(reading->group->counters); i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = Int64GetDatum(computed[i].contact_id);
		values[1] = Int64GetDatum(computed[i].value);
		if (computed[i].counter_id == reading->counter->id && computed[i].value != 0)
			tuplestore_putvalues(reading->result->setResult, reading->result->setDesc, values,
								 nulls);
	}
}

/* The duty: counters that change by time alone. */
static bool
due(void)
{
	return ma_drain_turn(due_turn);
}

static bool
due_turn(void)
{
	static MaStatement read = {
		"SELECT s.contact_id, c.event_id FROM marketing_internal.contact_counter AS s "
		"JOIN marketing_internal.counter AS c USING (counter_id) " MA_JOIN_DIRTY
		"WHERE s.until OPERATOR(pg_catalog.<=) $1 AND w.waits IS NULL "
		"ORDER BY s.until LIMIT $2",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	MaRows		rows = ma_due_read(&read);
	int64	   *contacts;
	int32	   *events;

	if (rows.n == 0)
		return false;
	contacts = palloc_array(int64, rows.n);
	events = palloc_array(int32, rows.n);
	for (uint64 i = 0; i < rows.n; i++)
	{
		contacts[i] = ma_int64(&rows, i, 1);
		events[i] = ma_int32(&rows, i, 2);
	}
	return ma_contacts_wake(contacts, events, (int) rows.n, false);
}

/* The next instant at which a counter changes, but of contacts who are in the dirty log. */
static TimestampTz
next_due(void)
{
	static MaStatement read = {
		"SELECT s.until FROM marketing_internal.contact_counter AS s "
		"JOIN marketing_internal.counter AS c USING (counter_id) " MA_JOIN_DIRTY
		"WHERE s.until OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"AND w.waits IS NULL ORDER BY s.until LIMIT 1"
	};

	return ma_due_next(&read);
}
