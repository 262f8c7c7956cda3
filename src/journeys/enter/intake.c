/*
 * intake.c
 *		How many enter a journey: max_entries of all contacts, and the surge limit, which
 *		holds those back who come by time alone when they are too many at once.
 *
 * Entries are counted in a row for each journey, by its single writer, so that nothing is
 * ever counted by a scan.  What is held stands in enrollment_held until release().
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "worker/worker.h"

#define SURGE_LIMIT "surge_limit"
#define SURGE_US USECS_PER_DAY	/* entries within so long are one surge */

/* What has entered one journey. */
typedef struct MaIntake
{
	int32		journey_id;
	int64		total;
	int32		period;			/* first day of the present one, as DateADT */
	int64		in_period;
	TimestampTz surge_from;
	int64		surged;
	int64		surge_most;		/* PG_INT64_MAX: no limit */
	bool		told;			/* in this turn */
} MaIntake;

static MaIntake *intake_of(MaTurnBatch *batch, int32 journey_id);
static void write_counts(MaTurnBatch *batch);
static void write_held(MaTurnBatch *batch);
static char *check_share(const char *value);

MA_FUNCTION(ma_release);

static const MaShopSetting setting = {
	SURGE_LIMIT,
	"Share of all contacts, as 0.1, who may enter a journey within a day because time has passed (a segment by time): what is above it is held until release(). Not set: no limit; a journey may have its own.",
	check_share
};

void
ma_intake_init(void)
{
	ma_register_shop_setting(&setting);
}

static char *
check_share(const char *value)
{
	char	   *end;
	double		share = strtod(value, &end);

	if (end == value || *end != '\0' || !(share > 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a share, more than 0 and at most 1", value)));
	return psprintf("%g", share);
}

/* As stored, with what this batch has added. */
static MaIntake *
intake_of(MaTurnBatch *batch, int32 journey_id)
{
	static MaStatement read = {
		"SELECT total, period, in_period, surge_from, surged, surge_most "
		"FROM marketing_internal.journey_intake WHERE journey_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey_id);
	MaIntake   *intake;
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, batch->intakes)
		if (((MaIntake *) lfirst(cell))->journey_id == journey_id)
			return lfirst(cell);
	intake = palloc0_object(MaIntake);
	intake->journey_id = journey_id;
	intake->surge_from = DT_NOBEGIN;
	rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
	{
		bool		isnull;

		intake->total = ma_int64(&rows, 0, 1);
		intake->period = DatumGetDateADT(ma_value(&rows, 0, 2, &isnull));
		intake->in_period = ma_int64(&rows, 0, 3);
		intake->surge_from = ma_int64(&rows, 0, 4);
		intake->surged = ma_int64(&rows, 0, 5);
		intake->surge_most = ma_int64(&rows, 0, 6);
	}
	batch->intakes = lappend(batch->intakes, intake);
	return intake;
}

int32
ma_intake_period(const MaProgram *program, TimestampTz at)
{
	Timestamp	wall = ma_local_of_instant(at, ma_zone_or_default(NULL));
	int			date = (int) (wall / USECS_PER_DAY) - (wall % USECS_PER_DAY < 0 ? 1 : 0);
	int			year;
	int			month;
	int			day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (program->entries_per == 'w')
		return date - (j2day(date + POSTGRES_EPOCH_JDATE) + 6) % 7;
	return program->entries_per == 'm' ? date - day + 1 : date;
}

const char *
ma_intake_refusal(MaTurnBatch *batch, MaVersion *version, TimestampTz at)
{
	const MaProgram *program = version->program;
	MaIntake   *intake;

	if (program->max_entries == 0)
		return NULL;
	if (batch->simulation != NULL)
		return ma_simulate_refusal(batch, at);
	intake = intake_of(batch, version->journey_id);
	if (program->entries_per == 0 ? intake->total < program->max_entries :
		intake->period != ma_intake_period(program, at) || intake->in_period < program->max_entries)
		return NULL;
	return ma_intake_reason(program);
}

char *
ma_intake_reason(const MaProgram *program)
{
	if (program->entries_per == 0)
		return psprintf("max_entries: %d have entered", program->max_entries);
	return psprintf("max_entries: %d have entered in this %s", program->max_entries,
					program->entries_per == 'd' ? "day" :
					program->entries_per == 'w' ? "week" : "month");
}

/* Contacts that a surge may have; counted where they are few, else the server's estimate. */
int64
ma_surge_most(const MaProgram *program)
{
	static MaStatement count = {
		"SELECT CASE WHEN c.reltuples OPERATOR(pg_catalog.>) 100000 THEN c.reltuples::pg_catalog.int8 "
		"ELSE (SELECT pg_catalog.count(*) FROM marketing_internal.contact) END "
		"FROM pg_catalog.pg_class AS c "
		"WHERE c.oid OPERATOR(pg_catalog.=) 'marketing_internal.contact'::pg_catalog.regclass"
	};
	char	   *shop = program->surge_limit == 0 ? ma_shop_setting(SURGE_LIMIT) : NULL;
	double		share = shop ? strtod(shop, NULL) : program->surge_limit;
	MaRows		rows;

	if (share == 0)
		return PG_INT64_MAX;
	rows = ma_run(&count, NULL, NULL, MA_RUN_READ_LATEST);
	return Max((int64) (share * ma_int64(&rows, 0, 1)), 1);
}

bool
ma_intake_holds(MaTurnBatch *batch, MaVersion *version, MaSignal *signal)
{
	MaIntake   *intake;

	if (!signal->by_time)
		return false;
	if (batch->simulation != NULL)
		return ma_simulate_holds(batch, signal);
	intake = intake_of(batch, version->journey_id);
	if (intake->surge_from == DT_NOBEGIN || signal->at - intake->surge_from >= SURGE_US)
	{
		intake->surge_from = signal->at;
		intake->surged = 0;
		intake->surge_most = ma_surge_most(version->program);
	}
	if (intake->surged < intake->surge_most)
	{
		intake->surged++;
		return false;
	}
	batch->held = lappend(batch->held, signal);
	if (!intake->told)
		ereport(MyBgworkerEntry != NULL ? LOG : NOTICE,
				(errmsg("journey \"%s\": entries by time are held back: more than " INT64_FORMAT " within a day",
						version->journey, intake->surge_most),
				 errhint("If they are wanted, SELECT marketing.release('%s').", version->journey)));
	intake->told = true;
	return true;
}

void
ma_intake_count(MaTurnBatch *batch, MaVersion *version, const MaSignal *signal)
{
	MaIntake   *intake;
	int32		period;

	if (batch->simulation != NULL)
	{
		ma_simulate_entry(batch, signal);
		return;
	}
	intake = intake_of(batch, version->journey_id);
	period = ma_intake_period(version->program, signal->at);
	intake->total++;
	if (intake->period != period)
	{
		intake->period = period;
		intake->in_period = 0;
	}
	intake->in_period++;
}

void
ma_intake_write(MaTurnBatch *batch)
{
	if (batch->intakes != NIL)
		write_counts(batch);
	if (batch->held != NIL)
		write_held(batch);
}

static void
write_counts(MaTurnBatch *batch)
{
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.journey_intake AS i (journey_id, total, period, in_period, "
		"surge_from, surged, surge_most) VALUES ($1, $2, $3, $4, $5, $6, $7) "
		"ON CONFLICT (journey_id) DO UPDATE SET total = excluded.total, period = excluded.period, "
		"in_period = excluded.in_period, surge_from = excluded.surge_from, "
		"surged = excluded.surged, surge_most = excluded.surge_most",
		7, {INT4OID, INT8OID, DATEOID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID}
	};
	ListCell   *cell;

	foreach(cell, batch->intakes)
	{
		MaIntake   *intake = lfirst(cell);
		Datum		values[7];

		values[0] = Int32GetDatum(intake->journey_id);
		values[1] = Int64GetDatum(intake->total);
		values[2] = DateADTGetDatum(intake->period);
		values[3] = Int64GetDatum(intake->in_period);
		values[4] = TimestampTzGetDatum(intake->surge_from);
		values[5] = Int64GetDatum(intake->surged);
		values[6] = Int64GetDatum(intake->surge_most);
		ma_run(&upsert, values, NULL, MA_RUN_WRITE_LATEST);
	}
}

/* Their signals as they are; those are taken away with the others of the batch. */
static void
write_held(MaTurnBatch *batch)
{
	static MaStatement keep = {
		"INSERT INTO marketing_internal.enrollment_held (contact_id, journey_id, at, event_id, key, row) "
		"SELECT s.contact_id, s.journey_id, s.at, s.event_id, s.key, s.row "
		"FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.ctid OPERATOR(pg_catalog.=) ANY ($1) ORDER BY s.signal_id",
		1, {TIDARRAYOID}
	};
	Datum	   *tids = palloc_array(Datum, list_length(batch->held));
	int			n = 0;
	Datum		value;
	ListCell   *cell;

	foreach(cell, batch->held)
		tids[n++] = PointerGetDatum(&((MaSignal *) lfirst(cell))->tid);
	value = ma_datum_array(tids, n, TIDOID);
	ma_run(&keep, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* release(journey) */
Datum
ma_release(PG_FUNCTION_ARGS)
{
	static MaStatement enter = {
		"WITH h AS (DELETE FROM marketing_internal.enrollment_held "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 "
		"RETURNING contact_id, held_id, event_id, key, row) "
		"INSERT INTO marketing_internal.enrollment_signal "
		"(contact_id, kind, at, journey_id, event_id, key, row) "
		"SELECT h.contact_id, 'enter', $2, $1, h.event_id, h.key, h.row FROM h ORDER BY h.held_id "
		"RETURNING 1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	static MaStatement begin_anew = {
		"UPDATE marketing_internal.journey_intake SET surge_from = '-infinity' "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	MaJourney  *journey;
	char	   *name;
	char	   *answer;
	MaCall		call;
	Datum		values[2];
	int64		n;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("journey must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ma_call_begin(&call);
	journey = ma_journey_required(name);
	/* The scheduler holds back what it reads; it waits. */
	ma_engine_lock();
	values[0] = Int32GetDatum(journey->id);
	values[1] = TimestampTzGetDatum(ma_now());
	n = (int64) ma_run(&enter, values, NULL, MA_RUN_WRITE_LATEST).n;
	ma_run(&begin_anew, values, NULL, MA_RUN_WRITE_LATEST);
	if (n > 0)
		ma_worker_wake_at_commit();
	answer = n == 0 ? psprintf("%s: unchanged: nobody is held back", name) :
		psprintf("%s: released; contacts that ask to enter: " INT64_FORMAT, name, n);
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
