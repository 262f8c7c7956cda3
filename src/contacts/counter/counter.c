/*
 * counter.c
 *		Counters: how often an event happened to a contact within a time back
 *		from now, kept as (value, until).
 *
 * The consumer of set grade.  The value is computed from the user's rows
 * (counter_rows.c), never added up from arrivals, so updates, deletes and late
 * rows need no special case; `until` is the first instant at which it changes by
 * time alone.  State is written only when
 * it changes, and every write must meet exactly one row: anything else means
 * that somebody evaluated without the contact's lock, and is an error.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/counter/counter.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Columns of marketing_internal.contact_counter. */
typedef enum CounterColumn
{
	COUNTER_ID = 2,
	COUNTER_VALUE,
	COUNTER_UNTIL
} CounterColumn;

/* What the state of a counter of a contact needs. */
typedef enum Change
{
	SAME,
	INSERTED,
	UPDATED,
	DELETED
} Change;

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static MaCounterValue *find_value(MaCounterValue *values, int n, int64 contact_id,
								  int32 counter_id);
static void compare_state(MaCounterValue *values, int n, Change *changes);
static bool is_nothing(const MaCounterValue *value);
static Datum column(TupleTableSlot *row, CounterColumn number);
static void store(MaCounterValue *values, int n);
static void write_values(MaStatement *statement, MaCounterValue **values, int n);
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
	return ma_counter_groups() != NIL;
}

static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	MaContactChange *concerned = palloc_array(MaContactChange, Max(n, 1));
	ListCell   *cell;

	foreach(cell, ma_counter_groups())
	{
		MaCounterGroup *group = lfirst(cell);
		int			count = 0;

		for (int i = 0; i < n; i++)
		{
			bool		concerns = contacts[i].identity;

			for (int j = 0; j < contacts[i].nevents; j++)
				concerns |= contacts[i].events[j].event_id == group->event_id;
			if (concerns)
				concerned[count++] = contacts[i];
		}
		if (count > 0)
			store(ma_counter_compute(group, concerned, count, now, MA_RUN_READ_LATEST),
				  count * list_length(group->counters));
	}
}

/* The value of this contact and counter; they stand ordered by both. */
static MaCounterValue *
find_value(MaCounterValue *values, int n, int64 contact_id, int32 counter_id)
{
	int			low = 0;
	int			high = n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		MaCounterValue *value = &values[middle];

		if (value->contact_id == contact_id && value->counter_id == counter_id)
			return value;
		if (value->contact_id < contact_id ||
			(value->contact_id == contact_id && value->counter_id < counter_id))
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/*
 * Notes on each value what is to be done so that the stored state becomes it; the values
 * of a contact stand together.
 */
static void
compare_state(MaCounterValue *values, int n, Change *changes)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read = ma_index_begin("contact_counter_pkey", lengthof(equal), equal,
						  MA_RUN_READ_LATEST);

	for (int i = 0; i < n; i++)
		changes[i] = is_nothing(&values[i]) ? SAME : INSERTED;
	for (int i = 0; i < n; i++)
	{
		Datum		contact = Int64GetDatum(values[i].contact_id);
		TupleTableSlot *row;

		if (i > 0 && values[i].contact_id == values[i - 1].contact_id)
			continue;
		ma_index_find(read, &contact);
		while ((row = ma_index_next(read)) != NULL)
		{
			MaCounterValue *value = find_value(values, n, values[i].contact_id,
											   DatumGetInt32(column(row, COUNTER_ID)));

			if (value == NULL)
				continue;
			if (is_nothing(value))
				changes[value - values] = DELETED;
			else if (value->value == DatumGetInt64(column(row, COUNTER_VALUE)) &&
					 value->until == DatumGetTimestampTz(column(row, COUNTER_UNTIL)))
				changes[value - values] = SAME;
			else
				changes[value - values] = UPDATED;
		}
	}
	ma_index_end(read);
}

/* Of such a value no row is kept. */
static bool
is_nothing(const MaCounterValue *value)
{
	return value->value == 0 && value->until == DT_NOEND;
}

/* No column is ever null. */
static Datum
column(TupleTableSlot *row, CounterColumn number)
{
	bool		isnull;

	return slot_getattr(row, number, &isnull);
}

/* Writes what differs from the stored state. */
static void
store(MaCounterValue *values, int n)
{
#define VALUES_SQL "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), " \
		"pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (counter_id, contact_id, value, until) "
#define SAME_SQL "s.contact_id OPERATOR(pg_catalog.=) u.contact_id " \
		"AND s.counter_id OPERATOR(pg_catalog.=) u.counter_id "
#define VALUES_TYPES 4, {INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	static MaStatement statements[] = {
		[INSERTED] = {
			"INSERT INTO marketing_internal.contact_counter (counter_id, contact_id, value, until) "
			"SELECT u.counter_id, u.contact_id, u.value, u.until FROM " VALUES_SQL "RETURNING 1",
			VALUES_TYPES
		},
		[UPDATED] = {
			"UPDATE marketing_internal.contact_counter AS s SET value = u.value, until = u.until "
			"FROM " VALUES_SQL "WHERE " SAME_SQL "RETURNING 1",
			VALUES_TYPES
		},
		[DELETED] = {
			"DELETE FROM marketing_internal.contact_counter AS s USING " VALUES_SQL
			"WHERE " SAME_SQL "RETURNING 1",
			VALUES_TYPES
		},
	};
	Change	   *changes = palloc_array(Change, n);
	MaCounterValue **changed = palloc_array(MaCounterValue *, n);

	compare_state(values, n, changes);
	for (Change change = INSERTED; change <= DELETED; change++)
	{
		int			count = 0;

		for (int i = 0; i < n; i++)
			if (changes[i] == change)
				changed[count++] = &values[i];
		write_values(&statements[change], changed, count);
	}
}

/* Every value must meet its one row. */
static void
write_values(MaStatement *statement, MaCounterValue **values, int n)
{
	int32	   *counters = palloc_array(int32, Max(n, 1));
	int64	   *contacts = palloc_array(int64, Max(n, 1));
	int64	   *counts = palloc_array(int64, Max(n, 1));
	Datum	   *untils = palloc_array(Datum, Max(n, 1));
	Datum		arguments[4];
	MaRows		rows;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		counters[i] = values[i]->counter_id;
		contacts[i] = values[i]->contact_id;
		counts[i] = values[i]->value;
		untils[i] = TimestampTzGetDatum(values[i]->until);
	}
	arguments[0] = ma_int4_array(counters, n);
	arguments[1] = ma_int8_array(contacts, n);
	arguments[2] = ma_int8_array(counts, n);
	arguments[3] = ma_datum_array(untils, n, TIMESTAMPTZOID);
	rows = ma_run(statement, arguments, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("state of counters was changed by somebody else"),
				 errdetail("The write met %d rows instead of %d.", (int) rows.n, n)));
}
