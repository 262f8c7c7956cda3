/*
 * counter.c
 *		Counters: how often an event happened to a contact within a time back
 *		from now, kept as (value, until).
 *
 * The consumer of set grade.  The value is computed from the user's rows, never
 * added up from arrivals, so updates, deletes and late rows need no special case;
 * `until` is the first instant at which it changes by time alone: the oldest row
 * leaving the window, or a future row entering it.  State is written only when
 * it changes, and every write must meet exactly one row: anything else means
 * that somebody evaluated without the contact's lock, and is an error.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/counter.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* The rows of one source of the event. */
typedef struct CounterStatement
{
	MaEventSource *source;		/* NULL: tracked */
	MaStatement statement;
} CounterStatement;

static List *counters = NIL;
static MemoryContext counters_context = NULL;
static uint64 counters_epoch = 0;

static void forget(void);
static void prepare(MaCounterDefinition *counter);
static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static void evaluate_counter(MaCounterDefinition *counter, MaContactChange *contacts, int n,
							 TimestampTz now);
static void add_source(MaCounterDefinition *counter, CounterStatement *statement,
					   MaContactChange *contacts, int n, TimestampTz now, MaRun how,
					   MaCounterValue *values);
static void store(MaCounterDefinition *counter, MaCounterValue *values, int n);
static void write_values(MaStatement *statement, int32 counter_id, MaCounterValue **values, int n);
static bool wants_new_contacts(void);

static const MaConsumer consumer = {"counters", evaluate, NULL, wants_new_contacts};

void
ma_counter_init(void)
{
	ma_register_consumer(&consumer);
}

static bool
wants_new_contacts(void)
{
	return ma_counters() != NIL;
}

List *
ma_counters(void)
{
	static MaStatement all = {
		"SELECT counter_id, name, event_id, within FROM marketing_internal.counter"
	};
	MaIdentity	caller;
	MaRows		rows;
	MemoryContext previous;

	if (counters_context != NULL && counters_epoch == ma_definitions_epoch())
		return counters;
	forget();
	counters_epoch = ma_definitions()->epoch;
	counters_context = AllocSetContextCreate(CacheMemoryContext, "marketing_automation counters",
											 ALLOCSET_SMALL_SIZES);
	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&caller);
	previous = MemoryContextSwitchTo(counters_context);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaCounterDefinition *counter = palloc0_object(MaCounterDefinition);
		bool		isnull;
		Datum		within = ma_value(&rows, i, 4, &isnull);

		counter->id = ma_int32(&rows, i, 1);
		counter->name = ma_text(&rows, i, 2);
		counter->event_id = ma_int32(&rows, i, 3);
		if (!isnull)
		{
			counter->within = palloc_object(Interval);
			*counter->within = *DatumGetIntervalP(within);
		}
		counters = lappend(counters, counter);
	}
	MemoryContextSwitchTo(previous);
	return counters;
}

static void
forget(void)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, counters)
		foreach(inner, ((MaCounterDefinition *) lfirst(cell))->statements)
			ma_statement_forget(&((CounterStatement *) lfirst(inner))->statement);
	counters = NIL;
	if (counters_context != NULL)
		MemoryContextDelete(counters_context);
	counters_context = NULL;
}

/*
 * One statement per source: (contact ids, keys, now, within) to (contact, rows in
 * the window, the next instant one leaves or enters).
 */
static void
prepare(MaCounterDefinition *counter)
{
	MaDefinitions *definitions = ma_definitions();
	MaEvent    *event = ma_event_by_id(definitions, counter->event_id);
	MemoryContext previous;
	ListCell   *cell;

	if (counter->statements != NIL || event == NULL)
		return;
	previous = MemoryContextSwitchTo(counters_context);
	foreach(cell, ma_event_sources(definitions, event))
	{
		CounterStatement *statement = palloc0_object(CounterStatement);
		Oid			key_type;
		char	   *rows;

		statement->source = lfirst(cell);
		rows = ma_event_select(event, statement->source, "r.at", &key_type);
		statement->statement.sql =
			psprintf("SELECT k.contact_id, "
					 "pg_catalog.count(*) FILTER (WHERE e.at OPERATOR(pg_catalog.<=) $3%s), "
					 "LEAST(pg_catalog.min(e.at) FILTER (WHERE e.at OPERATOR(pg_catalog.>) $3), "
					 "pg_catalog.min(e.at OPERATOR(pg_catalog.+) $4) FILTER "
					 "(WHERE e.at OPERATOR(pg_catalog.<=) $3%s)) "
					 "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
					 "AS k (contact_id, key) CROSS JOIN LATERAL (%s) AS e GROUP BY 1",
					 counter->within ? " AND e.at OPERATOR(pg_catalog.+) $4 OPERATOR(pg_catalog.>) $3" : "",
					 counter->within ? " AND e.at OPERATOR(pg_catalog.+) $4 OPERATOR(pg_catalog.>) $3" : "",
					 rows);
		statement->statement.nargs = 4;
		statement->statement.argtypes[0] = INT8ARRAYOID;
		statement->statement.argtypes[1] = get_array_type(key_type);
		statement->statement.argtypes[2] = TIMESTAMPTZOID;
		statement->statement.argtypes[3] = INTERVALOID;
		counter->statements = lappend(counter->statements, statement);
	}
	MemoryContextSwitchTo(previous);
}

MaCounterValue *
ma_counter_compute(MaCounterDefinition *counter, MaContactChange *contacts, int n,
				   TimestampTz now, MaRun how)
{
	MaCounterValue *values = palloc_array(MaCounterValue, Max(n, 1));
	ListCell   *cell;

	prepare(counter);
	for (int i = 0; i < n; i++)
	{
		values[i].contact_id = contacts[i].contact_id;
		values[i].value = 0;
		values[i].until = DT_NOEND;
	}
	foreach(cell, counter->statements)
		add_source(counter, lfirst(cell), contacts, n, now, how, values);
	return values;
}

/* Adds what the rows of one source say; contacts without rows stay as they are. */
static void
add_source(MaCounterDefinition *counter, CounterStatement *statement,
		   MaContactChange *contacts, int n, TimestampTz now, MaRun how, MaCounterValue *values)
{
	Datum		arguments[4];
	char		nulls[] = "    ";
	MaIdentity	caller;
	MaRows		rows;
	int			zone = -1;
	int			place = 0;

	if (ma_event_keys(statement->source, contacts, n, &arguments[0], &arguments[1]) == 0)
		return;
	arguments[2] = TimestampTzGetDatum(now);
	arguments[3] = IntervalPGetDatum(counter->within);
	nulls[3] = counter->within ? ' ' : 'n';
	if (statement->source != NULL)
	{
		zone = ma_pin_time_zone(statement->source->time_zone);
		ma_become_table_owner(&caller, statement->source->table->relid);
	}
	rows = ma_run(&statement->statement, arguments, nulls, how);
	if (statement->source != NULL)
	{
		ma_become_back(&caller);
		ma_unpin_settings(zone);
	}
	for (uint64 i = 0; i < rows.n; i++)
	{
		int64		contact_id = ma_int64(&rows, i, 1);
		bool		isnull;
		Datum		until = ma_value(&rows, i, 3, &isnull);

		/* Groups often come in the order of the contacts; else look around. */
		for (int tries = 0; tries < n && values[place].contact_id != contact_id; tries++)
			place = (place + 1) % n;
		values[place].value += ma_int64(&rows, i, 2);
		if (!isnull && DatumGetTimestampTz(until) < values[place].until)
			values[place].until = DatumGetTimestampTz(until);
	}
}

static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	MaContactChange *concerned = palloc_array(MaContactChange, Max(n, 1));
	ListCell   *cell;

	foreach(cell, ma_counters())
	{
		MaCounterDefinition *counter = lfirst(cell);
		int			count = 0;

		for (int i = 0; i < n; i++)
		{
			bool		concerns = contacts[i].identity;

			for (int j = 0; j < contacts[i].nevents; j++)
				concerns |= contacts[i].events[j].event_id == counter->event_id;
			if (concerns)
				concerned[count++] = contacts[i];
		}
		if (count > 0)
			evaluate_counter(counter, concerned, count, now);
	}
}

static void
evaluate_counter(MaCounterDefinition *counter, MaContactChange *contacts, int n, TimestampTz now)
{
	store(counter, ma_counter_compute(counter, contacts, n, now, MA_RUN_READ_LATEST), n);
}

/* Writes what differs from the stored state. */
static void
store(MaCounterDefinition *counter, MaCounterValue *values, int n)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, s.value, s.until "
		"FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.contact_counter AS s "
		"ON s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.counter_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INT8ARRAYOID}
	};
	static MaStatement insert = {
		"INSERT INTO marketing_internal.contact_counter (counter_id, contact_id, value, until) "
		"SELECT $1, u.contact_id, u.value, u.until FROM ROWS FROM (pg_catalog.unnest($2), "
		"pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (contact_id, value, until) RETURNING 1",
		4, {INT4OID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	static MaStatement update = {
		"UPDATE marketing_internal.contact_counter AS s SET value = u.value, until = u.until "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) "
		"AS u (contact_id, value, until) WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.counter_id OPERATOR(pg_catalog.=) $1 RETURNING 1",
		4, {INT4OID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	static MaStatement remove = {
		"DELETE FROM marketing_internal.contact_counter AS s USING ROWS FROM (pg_catalog.unnest($2), "
		"pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (contact_id, value, until) "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.counter_id OPERATOR(pg_catalog.=) $1 RETURNING 1",
		4, {INT4OID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	MaCounterValue **inserts = palloc_array(MaCounterValue *, n);
	MaCounterValue **updates = palloc_array(MaCounterValue *, n);
	MaCounterValue **removes = palloc_array(MaCounterValue *, n);
	int			ninserts = 0;
	int			nupdates = 0;
	int			nremoves = 0;
	bool	   *stored = palloc0_array(bool, n);
	int64	   *ids = palloc_array(int64, n);
	Datum		arguments[2];
	MaRows		rows;

	for (int i = 0; i < n; i++)
		ids[i] = values[i].contact_id;
	arguments[0] = Int32GetDatum(counter->id);
	arguments[1] = ma_int8_array(ids, n);
	rows = ma_run(&read, arguments, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = ma_int32(&rows, i, 1) - 1;
		MaCounterValue *value = &values[place];

		stored[place] = true;
		if (value->value == 0 && value->until == DT_NOEND)
			removes[nremoves++] = value;
		else if (value->value != ma_int64(&rows, i, 2) || value->until != ma_int64(&rows, i, 3))
			updates[nupdates++] = value;
	}
	for (int i = 0; i < n; i++)
		if (!stored[i] && (values[i].value != 0 || values[i].until != DT_NOEND))
			inserts[ninserts++] = &values[i];
	write_values(&insert, counter->id, inserts, ninserts);
	write_values(&update, counter->id, updates, nupdates);
	write_values(&remove, counter->id, removes, nremoves);
}

/* Every value must meet its one row. */
static void
write_values(MaStatement *statement, int32 counter_id, MaCounterValue **values, int n)
{
	int64	   *ids = palloc_array(int64, Max(n, 1));
	int64	   *counts = palloc_array(int64, Max(n, 1));
	Datum	   *untils = palloc_array(Datum, Max(n, 1));
	Datum		arguments[4];
	MaRows		rows;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		ids[i] = values[i]->contact_id;
		counts[i] = values[i]->value;
		untils[i] = TimestampTzGetDatum(values[i]->until);
	}
	arguments[0] = Int32GetDatum(counter_id);
	arguments[1] = ma_int8_array(ids, n);
	arguments[2] = ma_int8_array(counts, n);
	arguments[3] = ma_datum_array(untils, n, TIMESTAMPTZOID);
	rows = ma_run(statement, arguments, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("state of counter %d was changed by somebody else", counter_id),
				 errdetail("%d rows were to be written, " UINT64_FORMAT " were met.", n, rows.n)));
}
