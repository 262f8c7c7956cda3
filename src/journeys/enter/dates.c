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
 * Of whom a plan has still to come to (date_plan.c) nothing is done here, nor anything for a
 * journey that rests, since its dates could not be read (date_rest.c).  When they cannot be read
 * of all journeys together, each is looked at by itself, so that one that fails keeps no other.
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

/* For which journeys something is done, if not for one of this number. */
#define ALL 0					/* but those that rest */
#define OTHERS -1				/* than those now entered by a date: no table of a user is read */

/* Contacts, and up to when each of them enters. */
typedef struct Renewal
{
	int64	   *ids;
	TimestampTz *since;
	int			n;
} Renewal;

/* What reads users' tables, and the journeys it is done for. */
typedef struct Part
{
	void		(*work) (void *arg, int32 journey);
	void	   *arg;
	int32		journey;
} Part;

static bool tick(void);
static bool turn(void);
static void renew(void *arg, int32 journey);
static void call_part(void *arg);
static void do_apart(void (*work) (void *arg, int32 journey), void *arg);
static bool is_by_date(const MaVersion *version);
static bool is_meant(int32 journey_id, int32 journey);
static Datum left_out(int32 journey);
static bool read_due(Renewal *renewal, TimestampTz now, TimestampTz *at, int64 *contact_id);
static TimestampTz next_due(void);
static void clock_back(void);
static int	those_not_behind(int64 *ids, int n);
static Datum instants_of(const Renewal *renewal);
static void enter_due(const Renewal *renewal, int32 journey);
static void let_in(const MaRows *rows);
static void write_next(MaVersion *version, const int64 *ids, const TimestampTz *since, int n,
					   bool planned);
static void leave_for_resting(const Renewal *renewal);
static void leave_resting(MaTurnBatch *batch, MaPerson *person);

static const MaDuty duty = {
	.name = "journey dates", .tick = tick, .next_due = next_due, .end = ma_journey_dates_rest_end
};

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

/* Rows of journey_date (as d) for journey $2, if not 0 or less, but not $3; and no plan's. */
#define MEANT \
	"($2 OPERATOR(pg_catalog.<=) 0 OR d.journey_id OPERATOR(pg_catalog.=) $2) " \
	"AND d.journey_id OPERATOR(pg_catalog.<>) ALL ($3) AND " PLANNED("d.contact_id", "d.journey_id")

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
		do_apart(renew, &renewal);
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
		"AND d.at OPERATOR(pg_catalog.>=) $3 AND d.journey_id OPERATOR(pg_catalog.<>) ALL ($5) "
		"AND " PLANNED("d.contact_id", "d.journey_id")
		"ORDER BY d.at, d.contact_id LIMIT $2",
		5, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT4ARRAYOID}
	};
	int			limit = ma_drain_batch_size();
	Datum		values[5];
	MaRows		rows;
	int64	   *ids;
	int			nest_level = ma_pin_index_scans();
	int			n = 0;

	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(limit);
	values[2] = TimestampTzGetDatum(*at);
	values[3] = Int64GetDatum(*contact_id);
	values[4] = ma_journey_dates_resting();
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

/* What a signal tells of a journey that rests concerns no other one. */
static int
those_not_behind(int64 *ids, int n)
{
	static MaStatement told = {
		"SELECT u.n FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"WHERE EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.kind OPERATOR(pg_catalog.=) 'dates' "
		"AND (s.journey_id IS NULL OR s.journey_id OPERATOR(pg_catalog.<>) ALL ($2)))",
		2, {INT8ARRAYOID, INT4ARRAYOID}
	};
	bool	   *behind = palloc0_array(bool, Max(n, 1));
	int			kept = 0;
	Datum		values[2];
	MaRows		rows;

	if (n == 0)
		return 0;
	ma_contacts_waiting(ids, n, behind);
	values[0] = ma_int8_array(ids, n);
	values[1] = ma_journey_dates_resting();
	rows = ma_run(&told, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		behind[ma_int64(&rows, i, 1) - 1] = true;
	for (int i = 0; i < n; i++)
		if (!behind[i])
			ids[kept++] = ids[i];
	return kept;
}

/* ---- for which journeys ---- */

static bool
is_by_date(const MaVersion *version)
{
	return version->current && !version->closed && version->program->date != NULL;
}

static void
call_part(void *arg)
{
	Part	   *part = arg;

	part->work(part->arg, part->journey);
}

/*
 * Does it for all journeys together; if that fails for each by itself, and one that fails
 * rests.  Nor are all tried that take long: who is left comes a moment later.
 */
static void
do_apart(void (*work) (void *arg, int32 journey), void *arg)
{
	Part		part = {work, arg, ALL};
	ListCell   *cell;

	if (ma_drain_protect(call_part, &part, RENEW_MS) == NULL)
		return;
	foreach(cell, ma_journeys()->versions)
	{
		const MaVersion *version = lfirst(cell);
		ErrorData  *error = NULL;
		bool		late = ma_drain_late();

		if (!is_by_date(version) || ma_journey_dates_rests(version->journey_id))
			continue;
		part.journey = version->journey_id;
		if (!late)
			error = ma_drain_protect(call_part, &part, RENEW_MS);
		if (late || error != NULL)
			ma_journey_dates_rest(version, error);
	}
	work(arg, OTHERS);
}

/* Is this journey one of those that something is done for? */
static bool
is_meant(int32 journey_id, int32 journey)
{
	ListCell   *cell;

	if (journey > 0)
		return journey_id == journey;
	if (ma_journey_dates_rests(journey_id))
		return false;
	foreach(cell, journey == OTHERS ? ma_journeys()->versions : NIL)
	{
		const MaVersion *version = lfirst(cell);

		if (is_by_date(version) && version->journey_id == journey_id)
			return false;
	}
	return true;
}

/* The journeys (int[]) that are none of them, for MEANT. */
static Datum
left_out(int32 journey)
{
	List	   *versions = ma_journeys()->versions;
	int32	   *ids = palloc_array(int32, Max(list_length(versions), 1));
	int			n = 0;
	ListCell   *cell;

	if (journey == ALL)
		return ma_journey_dates_resting();
	foreach(cell, journey == OTHERS ? versions : NIL)
	{
		const MaVersion *version = lfirst(cell);

		if (is_by_date(version))
			ids[n++] = version->journey_id;
	}
	return ma_int4_array(ids, n);
}

/* ---- their dates ---- */

/*
 * These contacts, whose locks are held: lets in who was due up to his instant, and notes when
 * he is next due after it.
 */
static void
renew(void *arg, int32 journey)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.journey_date AS d "
		"WHERE d.contact_id OPERATOR(pg_catalog.=) ANY ($1) AND " MEANT,
		3, {INT8ARRAYOID, INT4OID, INT4ARRAYOID}
	};
	const Renewal *renewal = arg;
	Datum		values[3];
	ListCell   *cell;

	if (renewal->n == 0)
		return;
	enter_due(renewal, journey);
	values[0] = ma_int8_array(renewal->ids, renewal->n);
	values[1] = Int32GetDatum(journey);
	values[2] = left_out(journey);
	ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (is_by_date(version) && is_meant(version->journey_id, journey))
			write_next(version, renewal->ids, renewal->since, renewal->n, false);
	}
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
	if (version != NULL && is_by_date(version))
		write_next(version, ids, instants, n, true);
}

static Datum
instants_of(const Renewal *renewal)
{
	Datum	   *instants = palloc_array(Datum, renewal->n);

	for (int i = 0; i < renewal->n; i++)
		instants[i] = TimestampTzGetDatum(renewal->since[i]);
	return ma_datum_array(instants, renewal->n, TIMESTAMPTZOID);
}

/* By the dates there were. */
static void
enter_due(const Renewal *renewal, int32 journey)
{
	static MaStatement read = {
		"SELECT d.contact_id, d.journey_id, d.at, d.day, true FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($4)) AS u (contact_id, since) "
		"JOIN marketing_internal.journey_date AS d "
		"ON d.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND d.at OPERATOR(pg_catalog.<=) u.since AND " MEANT
		"ORDER BY d.at, d.contact_id",
		4, {INT8ARRAYOID, INT4OID, INT4ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	Datum		values[4];
	MaRows		rows;

	values[0] = ma_int8_array(renewal->ids, renewal->n);
	values[1] = Int32GetDatum(journey);
	values[2] = left_out(journey);
	values[3] = instants_of(renewal);
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

/* Those of one journey, which a plan or a rest has left, come before those of all. */
static void
take(void *arg, int32 journey)
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
			if (signal->journey_id == 0)
				first = Min(first, signal->at);
			else if (is_meant(signal->journey_id, journey))
				ma_journey_dates_renew_one(signal->journey_id, &person->contact_id, 1, signal->at,
										   signal->at);
		}
		if (first == DT_NOEND)
			continue;
		renewal.ids[renewal.n] = person->contact_id;
		renewal.since[renewal.n++] = first;
	}
	renew(&renewal, journey);
	if (journey <= 0)
		leave_for_resting(&renewal);
}

/* What changed for the contacts is read for these journeys when their rest is over. */
static void
leave_for_resting(const Renewal *renewal)
{
	static MaStatement leave = {
		"INSERT INTO marketing_internal.enrollment_signal (contact_id, kind, at, journey_id) "
		"SELECT u.contact_id, 'dates', u.at, j.id FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2)) AS u (contact_id, at) CROSS JOIN pg_catalog.unnest($3) AS j (id) "
		"WHERE " PLANNED("u.contact_id", "j.id")
		"AND NOT EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.journey_id OPERATOR(pg_catalog.=) j.id "
		"AND s.kind OPERATOR(pg_catalog.=) 'dates' AND s.at OPERATOR(pg_catalog.<=) u.at)",
		3, {INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}
	};
	List	   *versions = ma_journeys()->versions;
	int32	   *ids = palloc_array(int32, Max(list_length(versions), 1));
	Datum		values[3];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, versions)
	{
		const MaVersion *version = lfirst(cell);

		if (is_by_date(version) && ma_journey_dates_rests(version->journey_id))
			ids[n++] = version->journey_id;
	}
	if (n == 0 || renewal->n == 0)
		return;
	values[0] = ma_int8_array(renewal->ids, renewal->n);
	values[1] = instants_of(renewal);
	values[2] = ma_int4_array(ids, n);
	ma_run(&leave, values, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_journey_dates_take(MaTurnBatch *batch)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, batch->signals)
	{
		const MaSignal *signal = lfirst(cell);

		any |= signal->kind == MA_SIGNAL_DATES &&
			(signal->journey_id == 0 || !ma_journey_dates_rests(signal->journey_id));
	}
	/* Those who enter are signals of the next turn. */
	if (any)
	{
		do_apart(take, batch);
		batch->full = true;
	}
	for (int i = 0; i < batch->n; i++)
		leave_resting(batch, &batch->persons[i]);
}

/* Signals of journeys that rest stay in the table. */
static void
leave_resting(MaTurnBatch *batch, MaPerson *person)
{
	ListCell   *cell;

	foreach(cell, person->signals)
	{
		MaSignal   *signal = lfirst(cell);

		if (signal->kind != MA_SIGNAL_DATES || signal->journey_id == 0 ||
			!ma_journey_dates_rests(signal->journey_id))
			continue;
		batch->signals = list_delete_ptr(batch->signals, signal);
		person->signals = foreach_delete_current(person->signals, cell);
	}
}
