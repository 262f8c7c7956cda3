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
#include "contacts/counter.h"
#include "utils/builtins.h"

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static MaCounterValue *find_value(MaCounterValue *values, int n, int64 contact_id,
								  int32 counter_id);
static MaRows read_state(const MaCounterValue *values, int n);
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

/* What is stored for the contacts of these values, which stand together for each. */
static MaRows
read_state(const MaCounterValue *values, int n)
{
#define STATE_SQL "SELECT s.contact_id, s.counter_id, s.value, s.until " \
		"FROM marketing_internal.contact_counter AS s WHERE s.contact_id OPERATOR(pg_catalog.=) "
	static MaStatement many = {STATE_SQL "ANY ($1)", 1, {INT8ARRAYOID}};
	static MaStatement one = {STATE_SQL "$1", 1, {INT8OID}};
	int64	   *contacts = palloc_array(int64, n);
	int			ncontacts = 0;
	Datum		argument;

	for (int i = 0; i < n; i++)
		if (i == 0 || values[i].contact_id != values[i - 1].contact_id)
			contacts[ncontacts++] = values[i].contact_id;
	argument = ncontacts == 1 ? Int64GetDatum(contacts[0]) : ma_int8_array(contacts, ncontacts);
	return ma_run(ncontacts == 1 ? &one : &many, &argument, NULL, MA_RUN_READ_LATEST);
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
	static MaStatement insert = {
		"INSERT INTO marketing_internal.contact_counter (counter_id, contact_id, value, until) "
		"SELECT u.counter_id, u.contact_id, u.value, u.until FROM " VALUES_SQL "RETURNING 1",
		VALUES_TYPES
	};
	static MaStatement update = {
		"UPDATE marketing_internal.contact_counter AS s SET value = u.value, until = u.until "
		"FROM " VALUES_SQL "WHERE " SAME_SQL "RETURNING 1",
		VALUES_TYPES
	};
	static MaStatement remove = {
		"DELETE FROM marketing_internal.contact_counter AS s USING " VALUES_SQL
		"WHERE " SAME_SQL "RETURNING 1",
		VALUES_TYPES
	};
	MaCounterValue **lists[3];
	MaStatement *statements[3] = {&insert, &update, &remove};
	int			counts[3] = {0, 0, 0};
	bool	   *stored = palloc0_array(bool, n);
	MaRows		rows = read_state(values, n);

	for (int i = 0; i < 3; i++)
		lists[i] = palloc_array(MaCounterValue *, n);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaCounterValue *value = find_value(values, n, ma_int64(&rows, i, 1), ma_int32(&rows, i, 2));

		if (value == NULL)
			continue;
		stored[value - values] = true;
		if (value->value == 0 && value->until == DT_NOEND)
			lists[2][counts[2]++] = value;
		else if (value->value != ma_int64(&rows, i, 3) || value->until != ma_int64(&rows, i, 4))
			lists[1][counts[1]++] = value;
	}
	for (int i = 0; i < n; i++)
		if (!stored[i] && (values[i].value != 0 || values[i].until != DT_NOEND))
			lists[0][counts[0]++] = &values[i];
	for (int i = 0; i < 3; i++)
		write_values(statements[i], lists[i], counts[i]);
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
