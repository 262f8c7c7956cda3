/*
 * counter_rows.c
 *		Computes counters from the users' rows.
 *
 * The number of counters costs next to nothing, reading rows costs all: so the
 * rows of an event are read once for all its counters.  Times within the widest
 * window are fetched one by one, newest first, and counted in C; rows before it
 * matter only to counters that count ever, and those are counted by SQL, so that
 * a contact with a long history needs no memory for it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/counter/counter.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* How the rows of one source of the event are read. */
typedef struct Fetch
{
	MaEventSource *source;		/* NULL: tracked */
	Oid			key_type;
	MaStatement recent;			/* (keys, since) to (place of the key, time) */
	MaStatement before;			/* (keys, since) to (place of the key, count) */
	MaStatement recent_one;		/* the same for a single key */
	MaStatement before_one;
} Fetch;

/* Times of the rows of one contact. */
typedef struct Times
{
	int			n;
	int			space;
	TimestampTz *at;
	int64		before;
} Times;

/* Where the rows of a fetch go; a row tells its contact by the place of its key. */
typedef struct Reading
{
	const MaContactChange *contacts;
	int			n;
	const int64 *ids;			/* contact of each key */
	int			place;			/* of the last row's contact */
	Times	   *times;
} Reading;

static void *load(void);
static void free_plans(void *arg);
static List *add_counter(List *loaded, const MaRows *rows, uint64 row);
static void prepare(MaCounterGroup *group);
static Fetch *keep(const Fetch *fetch);
static void set_statements(Fetch *fetch, MaEvent *event);
static void set_statement(MaStatement *statement, Oid key_type, const char *sql);
static TimestampTz window_start(const MaCounterGroup *group, TimestampTz now);
static void read_source(MaCounterGroup *group, Fetch *fetch, MaContactChange *contacts, int n,
						TimestampTz since, MaRun how, Times *times);
static bool take_time(TupleTableSlot *slot, void *arg);
static bool take_before(TupleTableSlot *slot, void *arg);
static Times *times_of_row(Reading *reading, TupleTableSlot *slot);
static void add_time(Times *times, TimestampTz at);
static int64 row_value(TupleTableSlot *slot, int column);
static MaCounterValue count(const MaCounterDefinition *counter, const Times *times,
							TimestampTz now);
static TimestampTz shift(TimestampTz at, const Interval *by, bool back);

List *
ma_counter_groups(void)
{
	static MaKept groups = {"counters", load, free_plans};

	return ma_kept(&groups);
}

/* Reads all counters into the current context. */
static void *
load(void)
{
	static MaStatement all = {
		"SELECT counter_id, name, event_id, within FROM marketing_internal.counter "
		"ORDER BY counter_id"
	};
	MaIdentity	caller;
	MaRows		rows;
	List	   *loaded = NIL;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&caller);
	for (uint64 i = 0; i < rows.n; i++)
		loaded = add_counter(loaded, &rows, i);
	return loaded;
}

static void
free_plans(void *arg)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, (List *) arg)
	{
		foreach(inner, ((MaCounterGroup *) lfirst(cell))->fetches)
		{
			Fetch	   *fetch = lfirst(inner);

			ma_statement_forget(&fetch->recent);
			ma_statement_forget(&fetch->before);
			ma_statement_forget(&fetch->recent_one);
			ma_statement_forget(&fetch->before_one);
		}
	}
}

static List *
add_counter(List *loaded, const MaRows *rows, uint64 row)
{
	MaCounterDefinition *counter = palloc0_object(MaCounterDefinition);
	MaCounterGroup *group = NULL;
	bool		isnull;
	Datum		within = ma_value(rows, row, 4, &isnull);
	ListCell   *cell;

	counter->id = ma_int32(rows, row, 1);
	counter->name = ma_text(rows, row, 2);
	counter->event_id = ma_int32(rows, row, 3);
	if (!isnull)
	{
		counter->within = palloc_object(Interval);
		*counter->within = *DatumGetIntervalP(within);
	}
	foreach(cell, loaded)
		if (((MaCounterGroup *) lfirst(cell))->event_id == counter->event_id)
			group = lfirst(cell);
	if (group == NULL)
	{
		group = palloc0_object(MaCounterGroup);
		group->event_id = counter->event_id;
		loaded = lappend(loaded, group);
	}
	group->ever |= counter->within == NULL;
	group->counters = lappend(group->counters, counter);
	return loaded;
}

/*
 * Builds the statements of each source of the event; the group gets all of them or,
 * after an error, none.
 */
static void
prepare(MaCounterGroup *group)
{
	MaDefinitions *definitions = ma_definitions();
	MaEvent    *event = ma_event_by_id(definitions, group->event_id);
	MemoryContext previous;
	List	   *built = NIL;
	List	   *kept = NIL;
	ListCell   *cell;

	if (group->fetches != NIL || event == NULL)
		return;
	foreach(cell, ma_event_sources(definitions, event))
	{
		Fetch	   *fetch = palloc0_object(Fetch);

		fetch->source = lfirst(cell);
		set_statements(fetch, event);
		built = lappend(built, fetch);
	}
	/* Where the group itself is kept: it may be one that was replaced meanwhile. */
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(group));
	foreach(cell, built)
		kept = lappend(kept, keep(lfirst(cell)));
	group->fetches = kept;
	MemoryContextSwitchTo(previous);
}

/* A copy with its texts in the current context. */
static Fetch *
keep(const Fetch *fetch)
{
	Fetch	   *copy = palloc_object(Fetch);

	*copy = *fetch;
	copy->recent.sql = pstrdup(fetch->recent.sql);
	copy->before.sql = pstrdup(fetch->before.sql);
	copy->recent_one.sql = pstrdup(fetch->recent_one.sql);
	copy->before_one.sql = pstrdup(fetch->before_one.sql);
	return copy;
}

/*
 * The statements for many keys and those for one: at commit it is mostly one, and
 * a set of one costs more than the rows.
 */
static void
set_statements(Fetch *fetch, MaEvent *event)
{
	static const char *const keys = "pg_catalog.unnest($1) WITH ORDINALITY AS k (key, n)";
	char	   *rows = ma_event_select(event, fetch->source, "r.at", "k.key", &fetch->key_type);
	char	   *row = ma_event_select(event, fetch->source, "r.at", "$1", &fetch->key_type);

	set_statement(&fetch->recent, get_array_type(fetch->key_type),
				  psprintf("SELECT k.n, e.at FROM %s CROSS JOIN LATERAL "
						   "(%s AND r.at OPERATOR(pg_catalog.>) $2) AS e", keys, rows));
	set_statement(&fetch->before, get_array_type(fetch->key_type),
				  psprintf("SELECT k.n, e.n FROM %s CROSS JOIN LATERAL "
						   "(SELECT pg_catalog.count(*) AS n FROM (%s "
						   "AND r.at OPERATOR(pg_catalog.<=) $2) AS c) AS e", keys, rows));
	set_statement(&fetch->recent_one, fetch->key_type,
				  psprintf("SELECT 1::pg_catalog.int8, e.at FROM "
						   "(%s AND r.at OPERATOR(pg_catalog.>) $2) AS e", row));
	set_statement(&fetch->before_one, fetch->key_type,
				  psprintf("SELECT 1::pg_catalog.int8, pg_catalog.count(*) FROM "
						   "(%s AND r.at OPERATOR(pg_catalog.<=) $2) AS e", row));
}

static void
set_statement(MaStatement *statement, Oid key_type, const char *sql)
{
	statement->sql = sql;
	statement->nargs = 2;
	statement->argtypes[0] = key_type;
	statement->argtypes[1] = TIMESTAMPTZOID;
}

MaCounterValue *
ma_counter_compute(MaCounterGroup *group, MaContactChange *contacts, int n, TimestampTz now,
				   MaRun how)
{
	Times	   *times = palloc0_array(Times, Max(n, 1));
	MaCounterValue *values = palloc_array(MaCounterValue,
										  Max(n * list_length(group->counters), 1));
	TimestampTz since = window_start(group, now);
	int			count_of_values = 0;
	ListCell   *cell;

	prepare(group);
	foreach(cell, group->fetches)
		read_source(group, lfirst(cell), contacts, n, since, how, times);
	for (int i = 0; i < n; i++)
		foreach(cell, group->counters)
		{
			values[count_of_values] = count(lfirst(cell), &times[i], now);
			values[count_of_values++].contact_id = contacts[i].contact_id;
		}
	return values;
}

/* Before this instant no row is in any window; at most `now`. */
static TimestampTz
window_start(const MaCounterGroup *group, TimestampTz now)
{
	TimestampTz start = now;
	ListCell   *cell;

	foreach(cell, group->counters)
	{
		MaCounterDefinition *counter = lfirst(cell);

		/*
		 * A month back from today is not the inverse of a month ahead of then, so
		 * three days more are read; count() decides row by row.
		 */
		if (counter->within != NULL)
			start = Min(start, shift(now, counter->within, true) - 3 * USECS_PER_DAY);
	}
	return start;
}

/*
 * Minutes to weeks are exact (a day is 24 hours), months and years are calendar:
 * so the rule language says, and only the latter need the calendar's arithmetic.
 */
static TimestampTz
shift(TimestampTz at, const Interval *by, bool back)
{
	if (by->month == 0)
	{
		int64		exact = by->time + by->day * USECS_PER_DAY;

		return back ? at - exact : at + exact;
	}
	return DatumGetTimestampTz(DirectFunctionCall2(back ? timestamptz_mi_interval :
												   timestamptz_pl_interval,
												   TimestampTzGetDatum(at),
												   IntervalPGetDatum(by)));
}

/* Adds the rows of one source to the contacts' times. */
static void
read_source(MaCounterGroup *group, Fetch *fetch, MaContactChange *contacts, int n,
			TimestampTz since, MaRun how, Times *times)
{
	Reading		reading = {contacts, n, NULL, 0, times};
	int64	   *ids;
	Datum	   *keys;
	int			nkeys = ma_event_keys(fetch->source, contacts, n, &ids, &keys);
	Datum		arguments[2];
	MaIdentity	caller;
	int			zone = -1;

	if (nkeys == 0)
		return;
	reading.ids = ids;
	arguments[0] = nkeys == 1 ? keys[0] : ma_datum_array(keys, nkeys, fetch->key_type);
	arguments[1] = TimestampTzGetDatum(since);
	if (fetch->source != NULL)
	{
		zone = ma_pin_time_zone(fetch->source->time_zone);
		ma_become_table_owner(&caller, fetch->source->table->relid);
	}
	ma_run_each(nkeys == 1 ? &fetch->recent_one : &fetch->recent, arguments, how,
				take_time, &reading);
	if (group->ever)
		ma_run_each(nkeys == 1 ? &fetch->before_one : &fetch->before, arguments, how,
					take_before, &reading);
	if (fetch->source != NULL)
	{
		ma_become_back(&caller);
		ma_unpin_settings(zone);
	}
}

static bool
take_time(TupleTableSlot *slot, void *arg)
{
	add_time(times_of_row(arg, slot), row_value(slot, 2));
	return true;
}

static bool
take_before(TupleTableSlot *slot, void *arg)
{
	times_of_row(arg, slot)->before += row_value(slot, 2);
	return true;
}

/* An int8 or a time; none of the statements gives nulls. */
static int64
row_value(TupleTableSlot *slot, int column)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, column, &isnull));
}

/* Rows of one contact are neighbours, and contacts mostly in order: look there first. */
static Times *
times_of_row(Reading *reading, TupleTableSlot *slot)
{
	int64		contact_id = reading->ids[row_value(slot, 1) - 1];

	for (int i = 0; i < reading->n; i++)
	{
		if (reading->contacts[reading->place].contact_id == contact_id)
			return &reading->times[reading->place];
		reading->place = (reading->place + 1) % reading->n;
	}
	/* ids[] holds only contacts that ma_event_keys() found in those it was given. */
	elog(ERROR, "cannot happen: a row of contact " INT64_FORMAT ", who was not asked for",
		 contact_id);
}

static void
add_time(Times *times, TimestampTz at)
{
	if (times->n == times->space)
	{
		times->space = Max(64, times->space * 2);
		times->at = times->at == NULL ? palloc_array(TimestampTz, times->space) :
			repalloc_huge(times->at, mul_size(sizeof(TimestampTz), times->space));
	}
	times->at[times->n++] = at;
}

/* One counter over the times: its value, and the first instant it changes by time alone. */
static MaCounterValue
count(const MaCounterDefinition *counter, const Times *times, TimestampTz now)
{
	MaCounterValue value = {counter->id, 0, 0, DT_NOEND};

	if (counter->within == NULL)
		value.value = times->before;
	for (int i = 0; i < times->n; i++)
	{
		TimestampTz at = times->at[i];

		if (at > now)
			value.until = Min(value.until, at);
		else if (counter->within == NULL)
			value.value++;
		else
		{
			TimestampTz leaves = shift(at, counter->within, false);

			if (leaves > now)
			{
				value.value++;
				value.until = Min(value.until, leaves);
			}
		}
	}
	return value;
}
