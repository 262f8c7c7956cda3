/*
 * dates.c
 *		Entries by a date of the contact's: when each contact is next due, and the duty that
 *		lets him in.
 *
 * journey_date has the next instant of each contact in each such journey.  A change of the
 * contact, whatever it is, leaves a signal in its commit; the scheduler then reads
 * his date as it is and writes his row anew.  What fell due before that change enters by the
 * date there was.  So an update, a move to another zone or a delete is exact
 * to its commit, however late the scheduler comes; but a date that came and went again
 * before he came is not known to him.  Everything is done under the contact's lock.
 *
 * Of whom a plan has still to come to (date_plan.c) nothing is done here.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "journeys/enter/dates.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

#define RENEW_MS 5000

/* Contacts, and up to when each of them enters. */
typedef struct Renewal
{
	int64	   *ids;
	TimestampTz *since;
	int			n;
} Renewal;

static bool tick(void);
static bool turn(void);
static void renew(void *arg);
static bool read_due(Renewal *renewal, TimestampTz now, TimestampTz *at, int64 *contact_id);
static TimestampTz next_due(void);
static void clock_back(void);
static int	those_not_behind(int64 *ids, int n);
static void enter_due(const int64 *ids, const TimestampTz *since, int n);
static void let_in(const MaRows *rows);
static void write_next(MaVersion *version, const int64 *ids, const TimestampTz *since, int n,
					   bool planned);
static void put_off(MaTurnBatch *batch);

static const MaDuty duty = {"journey dates", 0, tick, next_due};

void
ma_journey_dates_init(void)
{
	ma_worker_register_duty(&duty);
	ma_register_clock_back(clock_back);
}

/* Contacts (of d) whom a plan has still to come to; the name is that of its journey. */
#define PLANNED(contact, journey) \
	"NOT EXISTS (SELECT FROM marketing_internal.journey_date_plan AS p " \
	"WHERE p.journey_id OPERATOR(pg_catalog.=) " journey \
	" AND p.done OPERATOR(pg_catalog.<) " contact ") "

/* ---- who is to be looked at ---- */

/* What stands in journey_date may be of the future then. */
static void
clock_back(void)
{
	ListCell   *cell;

	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (version->current && version->program->date != NULL)
			ma_journey_dates_plan(version->journey_id, ma_now());
	}
}

static bool
tick(void)
{
	return ma_drain_turn(turn);
}

static TimestampTz
next_due(void)
{
	static MaStatement first = {
		"SELECT x.at FROM ((SELECT d.at FROM marketing_internal.journey_date AS d ORDER BY d.at LIMIT 1) "
		"UNION ALL (SELECT p.since FROM marketing_internal.journey_date_plan AS p LIMIT 1)) AS x "
		"ORDER BY 1 LIMIT 1"
	};

	return ma_due_next(&first);
}

/* Portions in which nobody can be let in are passed over, so that they keep nobody else. */
static bool
turn(void)
{
	Renewal		renewal = {0};
	TimestampTz now = ma_now();
	TimestampTz at = DT_NOBEGIN;
	int64		contact_id = 0;

	while (renewal.n == 0 && read_due(&renewal, now, &at, &contact_id))
		continue;
	if (renewal.n > 0)
	{
		/* Who cannot be looked at keeps no plan. */
		if (ma_journey_dates_guard(renew, &renewal))
			return true;
	}
	return ma_journey_dates_go_on();
}

/*
 * The next portion of those who are due, without who is locked or behind: his signal, or
 * the dirty log, may tell of another date.  False when it was the last one.
 */
static bool
read_due(Renewal *renewal, TimestampTz now, TimestampTz *at, int64 *contact_id)
{
	static MaStatement read = {
		"SELECT d.contact_id, d.at FROM marketing_internal.journey_date AS d "
		"WHERE d.at OPERATOR(pg_catalog.<=) $1 AND (d.at OPERATOR(pg_catalog.>) $3 "
		"OR d.at OPERATOR(pg_catalog.=) $3 AND d.contact_id OPERATOR(pg_catalog.>) $4) "
		"AND d.at OPERATOR(pg_catalog.>=) $3 AND " PLANNED("d.contact_id", "d.journey_id")
		"ORDER BY d.at, d.contact_id LIMIT $2",
		4, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID}
	};
	int			limit = ma_drain_batch_size();
	Datum		values[4];
	MaRows		rows;
	int64	   *ids;
	int			nest_level = ma_pin_index_scans();
	int			n = 0;

	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(limit);
	values[2] = TimestampTzGetDatum(*at);
	values[3] = Int64GetDatum(*contact_id);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	ma_unpin_settings(nest_level);
	if (rows.n == 0)
		return false;
	*contact_id = ma_int64(&rows, rows.n - 1, 1);
	*at = ma_int64(&rows, rows.n - 1, 2);
	ids = palloc_array(int64, rows.n);
	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	qsort(ids, rows.n, sizeof(int64), ma_compare_int64);
	for (int i = 0; i < rows.n; i++)
		if ((i == 0 || ids[i] != ids[i - 1]) && ma_contact_lock_if_free(ids[i]))
			ids[n++] = ids[i];
	renewal->n = those_not_behind(ids, n);
	renewal->ids = ids;
	renewal->since = palloc_array(TimestampTz, rows.n);
	for (int i = 0; i < renewal->n; i++)
		renewal->since[i] = now;
	return rows.n == (uint64) limit;
}

static int
those_not_behind(int64 *ids, int n)
{
	static MaStatement told = {
		"SELECT u.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"WHERE EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.kind OPERATOR(pg_catalog.=) 'dates')",
		1, {INT8ARRAYOID}
	};
	bool	   *behind = palloc0_array(bool, Max(n, 1));
	int			kept = 0;
	Datum		value;
	MaRows		rows;

	if (n == 0)
		return 0;
	ma_contacts_waiting(ids, n, behind);
	value = ma_int8_array(ids, n);
	rows = ma_run(&told, &value, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		behind[ma_int64(&rows, i, 1) - 1] = true;
	for (int i = 0; i < n; i++)
		if (!behind[i])
			ids[kept++] = ids[i];
	return kept;
}

/* ---- their dates ---- */

/*
 * Lets in who was due up to the contact's instant, and notes when he is next due after it.
 */
void
ma_journey_dates_renew(const int64 *contact_ids, const TimestampTz *since, int n)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.journey_date AS d "
		"WHERE d.contact_id OPERATOR(pg_catalog.=) ANY ($1) AND " PLANNED("d.contact_id", "d.journey_id"),
		1, {INT8ARRAYOID}
	};
	Datum		value;
	ListCell   *cell;

	if (n == 0)
		return;
	enter_due(contact_ids, since, n);
	value = ma_int8_array(contact_ids, n);
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (version->current && !version->closed && version->program->date != NULL)
			write_next(version, contact_ids, since, n, false);
	}
}

static void
renew(void *arg)
{
	const Renewal *renewal = arg;

	ma_journey_dates_renew(renewal->ids, renewal->since, renewal->n);
}

bool
ma_journey_dates_guard(void (*work) (void *arg), void *arg)
{
	ErrorData  *error = ma_drain_protect(work, arg, RENEW_MS);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ma_count_error(error->sqlerrcode, psprintf("dates of contacts: %s",
												   error->message ? error->message : ""));
	ma_worker_again_soon();
	return false;
}

void
ma_journey_dates_renew_one(int32 journey_id, const int64 *ids, int n, TimestampTz since,
						   TimestampTz keep)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.journey_date AS d "
		"WHERE d.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND d.journey_id OPERATOR(pg_catalog.=) $2 RETURNING d.contact_id, d.journey_id, d.at, d.day, "
		"d.at OPERATOR(pg_catalog.<=) $3",
		3, {INT8ARRAYOID, INT4OID, TIMESTAMPTZOID}
	};
	MaVersion  *version = ma_journey_current(ma_journeys(), journey_id);
	TimestampTz *instants = palloc_array(TimestampTz, Max(n, 1));
	Datum		values[3] = {ma_int8_array(ids, n), Int32GetDatum(journey_id),
	TimestampTzGetDatum(keep)};
	MaRows		rows = ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);

	let_in(&rows);
	for (int i = 0; i < n; i++)
		instants[i] = since;
	if (version != NULL && !version->closed && version->program->date != NULL)
		write_next(version, ids, instants, n, true);
}

/* By the dates there were. */
static void
enter_due(const int64 *ids, const TimestampTz *since, int n)
{
	static MaStatement read = {
		"SELECT d.contact_id, d.journey_id, d.at, d.day, true FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2)) AS u (contact_id, since) "
		"JOIN marketing_internal.journey_date AS d "
		"ON d.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND d.at OPERATOR(pg_catalog.<=) u.since AND " PLANNED("d.contact_id", "d.journey_id")
		"ORDER BY d.at, d.contact_id",
		2, {INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	Datum		values[2];
	Datum	   *instants = palloc_array(Datum, n);
	MaRows		rows;

	for (int i = 0; i < n; i++)
		instants[i] = TimestampTzGetDatum(since[i]);
	values[0] = ma_int8_array(ids, n);
	values[1] = ma_datum_array(instants, n, TIMESTAMPTZOID);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	let_in(&rows);
}

/* Rows of contact, journey, instant, day and whether he enters. */
static void
let_in(const MaRows *rows)
{
	MaSignal   *signals = palloc0_array(MaSignal, Max(rows->n, 1));
	bool	   *always = palloc_array(bool, Max(rows->n, 1));
	int			count = 0;

	for (uint64 i = 0; i < rows->n; i++)
	{
		if (!ma_bool(rows, i, 5))
			continue;
		signals[count].contact_id = ma_int64(rows, i, 1);
		signals[count].kind = MA_SIGNAL_ENTER;
		signals[count].journey_id = ma_int32(rows, i, 2);
		signals[count].at = ma_int64(rows, i, 3);
		signals[count].key = ma_text(rows, i, 4);
		signals[count].row = ma_journey_date_row(signals[count].key);
		always[count++] = true;
	}
	ma_signals_insert(signals, always, count);
}

/* What the run goes on with: entry.date. */
Datum
ma_journey_date_row(const char *day)
{
	StringInfoData row;

	initStringInfo(&row);
	appendStringInfoString(&row, "{\"date\": ");
	escape_json(&row, day);
	appendStringInfoChar(&row, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data));
}

/* `planned`: for a plan, also of those it has not come to before. */
static void
write_next(MaVersion *version, const int64 *ids, const TimestampTz *since, int n, bool planned)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.journey_date (contact_id, journey_id, at, day) "
		"SELECT u.contact_id, $1, u.at, u.day FROM ROWS FROM (pg_catalog.unnest($2), "
		"pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (contact_id, at, day) "
		"WHERE $5 OR " PLANNED("u.contact_id", "$1"),
		5, {INT4OID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, BOOLOID}
	};
	char	  **dates = ma_dates_read(version->program->date, ids, n);
	char	  **zones = ma_journey_zones(ids, n);
	int64	   *contacts = palloc_array(int64, n);
	Datum	   *at = palloc_array(Datum, n);
	char	  **days = palloc_array(char *, n);
	Datum		values[5];
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		TimestampTz next;

		if (!ma_date_next(version->program->date, dates[i], since[i], zones[i], &next,
						  &days[count]))
			continue;
		contacts[count] = ids[i];
		at[count++] = TimestampTzGetDatum(next);
	}
	if (count == 0)
		return;
	values[0] = Int32GetDatum(version->journey_id);
	values[1] = ma_int8_array(contacts, count);
	values[2] = ma_datum_array(at, count, TIMESTAMPTZOID);
	values[3] = ma_text_array(days, count);
	values[4] = BoolGetDatum(planned);
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}

char **
ma_journey_zones(const int64 *ids, int n)
{
	static MaStatement read = {
		"SELECT u.n, c.time_zone FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.contact AS c ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"WHERE c.time_zone IS NOT NULL",
		1, {INT8ARRAYOID}
	};
	char	  **zones = palloc0_array(char *, Max(n, 1));
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
		zones[ma_int64(&rows, i, 1) - 1] = ma_text(&rows, i, 2);
	return zones;
}

/* ---- signals of a batch ---- */

/* Those of one journey, which a plan has left, come before those of all. */
static void
take(void *arg)
{
	MaTurnBatch *batch = arg;
	Renewal		renewal = {palloc_array(int64, Max(batch->n, 1)),
	palloc_array(TimestampTz, Max(batch->n, 1)), 0};

	for (int i = 0; i < batch->n; i++)
	{
		const MaPerson *person = &batch->persons[i];
		TimestampTz first = DT_NOEND;
		ListCell   *cell;

		foreach(cell, person->signals)
		{
			const MaSignal *signal = lfirst(cell);

			if (signal->kind != MA_SIGNAL_DATES)
				continue;
			if (signal->journey_id != 0)
				ma_journey_dates_renew_one(signal->journey_id, &person->contact_id, 1, signal->at,
										   signal->at);
			else
				first = Min(first, signal->at);
		}
		if (first == DT_NOEND)
			continue;
		renewal.ids[renewal.n] = person->contact_id;
		renewal.since[renewal.n++] = first;
	}
	ma_journey_dates_renew(renewal.ids, renewal.since, renewal.n);
}

void
ma_journey_dates_take(MaTurnBatch *batch)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, batch->signals)
		any |= ((MaSignal *) lfirst(cell))->kind == MA_SIGNAL_DATES;
	if (!any)
		return;
	/* Those who enter are signals of the next turn. */
	if (ma_journey_dates_guard(take, batch))
		batch->full = true;
	else
		put_off(batch);
}

/* Signals of dates go behind all others: those are read in the next turn. */
static void
put_off(MaTurnBatch *batch)
{
	static MaStatement move = {
		"UPDATE marketing_internal.enrollment_signal SET signal_id = "
		"pg_catalog.nextval('marketing_internal.enrollment_signal_signal_id_seq'::pg_catalog.regclass) "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};
	Datum	   *tids = palloc_array(Datum, list_length(batch->signals));
	Datum		value;
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->signals)
	{
		MaSignal   *signal = lfirst(cell);

		if (signal->kind != MA_SIGNAL_DATES)
			continue;
		tids[n++] = PointerGetDatum(&signal->tid);
		batch->signals = foreach_delete_current(batch->signals, cell);
	}
	value = ma_datum_array(tids, n, TIDOID);
	ma_run(&move, &value, NULL, MA_RUN_WRITE_LATEST);
}
