/*
 * operate.c
 *		pause_journey(), resume_journey(), drain_journey() and archive_journey().
 *
 * Each changes the row of the journey, which the engine and the gate read.  None changes a
 * run: who is to go on, or to exit, gets a signal.  They keep the scheduler out until
 * their commit, so no step is done by it that had begun before; and what a held run's
 * hints said is given again by the signals of resume_journey().  They name nothing else, so
 * who defines or launches something meanwhile keeps them not waiting, nor they him.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/catalog.h"
#include "journeys/engine.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "worker/worker.h"

typedef char *(*Operation) (MaJourney *journey, const char *mode);

static Datum operate(FunctionCallInfo fcinfo, Operation operation, const char *mode);
static void require_open(const MaJourney *journey);
static char *pause_it(MaJourney *journey, const char *mode);
static char *resume(MaJourney *journey, const char *mode);
static char *drain(MaJourney *journey, const char *mode);
static char *archive(MaJourney *journey, const char *mode);
static void set_state(const MaJourney *journey, const char *paused, const char *closed);
static int64 count_live(const MaJourney *journey);
static int64 count_late(const MaJourney *journey, TimestampTz now);

MA_FUNCTION(ma_pause_journey);
MA_FUNCTION(ma_resume_journey);
MA_FUNCTION(ma_drain_journey);
MA_FUNCTION(ma_archive_journey);

Datum
ma_pause_journey(PG_FUNCTION_ARGS)
{
	char	   *mode = PG_ARGISNULL(1) ? "hold" : text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (strcmp(mode, "hold") != 0 && strcmp(mode, "skip") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode must be hold or skip, not \"%s\"", mode),
				 errhint("hold: nothing moves until resume_journey(). skip: steps go on, and messages are skipped.")));
	return operate(fcinfo, pause_it, mode);
}

Datum
ma_resume_journey(PG_FUNCTION_ARGS)
{
	return operate(fcinfo, resume, NULL);
}

Datum
ma_drain_journey(PG_FUNCTION_ARGS)
{
	return operate(fcinfo, drain, NULL);
}

Datum
ma_archive_journey(PG_FUNCTION_ARGS)
{
	return operate(fcinfo, archive, NULL);
}

static Datum
operate(FunctionCallInfo fcinfo, Operation operation, const char *mode)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaJourney  *journey;
	char	   *name;
	char	   *answer;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ma_call_begin(&call);
	ma_engine_lock();
	journey = ma_journey_lock(name);
	/* A turn may have come before us since this statement had begun: what it did is past. */
	ma_now_renew();
	answer = MemoryContextStrdup(context, operation(journey, mode));
	if (operation == archive)
		ma_journey_schedule(journey->name, NULL, &call);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* A draft, and what is archived, has nobody inside and lets nobody in. */
static void
require_open(const MaJourney *journey)
{
	bool		archived = journey->closed != NULL && strcmp(journey->closed, "archived") == 0;

	if (archived || journey->version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_JOURNEY_NOT_ACTIVE),
				 archived ? errmsg("journey \"%s\" is archived", journey->name) :
				 errmsg("journey \"%s\" is a draft", journey->name),
				 errhint("Activate it with marketing.activate_journey('%s').", journey->name)));
}

static char *
pause_it(MaJourney *journey, const char *mode)
{
	require_open(journey);
	if (journey->paused != NULL && strcmp(journey->paused, mode) == 0)
		return psprintf("%s: unchanged: it is paused (%s)", journey->name, mode);
	/* Those a hold has kept go on, though their messages do not. */
	if (journey->paused != NULL && strcmp(mode, "skip") == 0)
		(void) resume(journey, mode);
	set_state(journey, mode, journey->closed);
	return psprintf("%s: paused (%s); runs inside: " INT64_FORMAT, journey->name, mode,
					count_live(journey));
}

static char *
resume(MaJourney *journey, const char *mode)
{
	static MaStatement wake = {
		"INSERT INTO marketing_internal.enrollment_signal (contact_id, kind, at, journey_id, enrollment_id) "
		"SELECT e.contact_id, 'resume', $2, e.journey_id, e.enrollment_id "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}') "
		"AND e.due_at OPERATOR(pg_catalog.<=) $2 ORDER BY e.due_at RETURNING 1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	TimestampTz now = ma_now();
	Datum		values[2] = {Int32GetDatum(journey->id), TimestampTzGetDatum(now)};
	int64		woken;
	int64		late;

	require_open(journey);
	if (journey->paused == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("journey \"%s\" is not paused", journey->name),
				 journey->closed == NULL ? 0 :
				 errhint("It is being drained: activate_journey() lets contacts in again.")));
	set_state(journey, NULL, journey->closed);
	ma_messages_wake(journey->name, MA_PAUSED);
	if (strcmp(journey->paused, "skip") == 0)
		return psprintf("%s: resumed; runs inside: " INT64_FORMAT, journey->name,
						count_live(journey));
	late = count_late(journey, now);
	woken = (int64) ma_run(&wake, values, NULL, MA_RUN_WRITE_LATEST).n;
	if (woken > 0)
		ma_worker_wake_at_commit();
	return psprintf("%s: resumed; runs that are overdue and go on now: " INT64_FORMAT "%s",
					journey->name, woken, late == 0 ? "" :
					psprintf(", of them by more than max_lateness: " INT64_FORMAT, late));
}

static char *
drain(MaJourney *journey, const char *mode)
{
	require_open(journey);
	if (journey->closed != NULL)
		return psprintf("%s: unchanged: it is being drained", journey->name);
	set_state(journey, journey->paused, "drained");
	return psprintf("%s: nobody enters any more; runs that go on to the end: " INT64_FORMAT,
					journey->name, count_live(journey));
}

static char *
archive(MaJourney *journey, const char *mode)
{
	static MaStatement ask = {
		"INSERT INTO marketing_internal.enrollment_signal (contact_id, kind, at, journey_id, reason) "
		"SELECT DISTINCT e.contact_id, 'exit', $2, e.journey_id, 'archived' "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') ORDER BY 1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(journey->id), TimestampTzGetDatum(ma_now())};
	int64		live = count_live(journey);

	if (journey->closed != NULL && strcmp(journey->closed, "archived") == 0)
		return psprintf("%s: unchanged: it is archived", journey->name);
	set_state(journey, NULL, "archived");
	ma_run(&ask, values, NULL, MA_RUN_WRITE_LATEST);
	ma_worker_wake_at_commit();
	return psprintf("%s: archived; runs that exit: " INT64_FORMAT, journey->name, live);
}

static void
set_state(const MaJourney *journey, const char *paused, const char *closed)
{
	static MaStatement update = {
		"UPDATE marketing_internal.journey SET paused = $2, closed = $3 "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {Int32GetDatum(journey->id)};
	char		nulls[] = "   ";

	if (paused != NULL)
		values[1] = CStringGetTextDatum(paused);
	if (closed != NULL)
		values[2] = CStringGetTextDatum(closed);
	nulls[1] = paused ? ' ' : 'n';
	nulls[2] = closed ? ' ' : 'n';
	ma_run(&update, values, nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}

static int64
count_live(const MaJourney *journey)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}')",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1);
}

/* Runs whose instant is over by more than the max_lateness of their version. */
static int64
count_late(const MaJourney *journey, TimestampTz now)
{
	static MaStatement count = {
		"SELECT e.version, e.due_at, pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}') "
		"AND e.due_at OPERATOR(pg_catalog.<=) $2 GROUP BY 1, 2",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(journey->id), TimestampTzGetDatum(now)};
	MaVersion  *current = ma_journey_current(ma_journeys(), journey->id);
	int64		late = 0;
	MaRows		rows;

	if (current == NULL || current->program->max_lateness == NULL)
		return 0;
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaVersion  *version = ma_journey_version(ma_journeys(), journey->id, ma_int32(&rows, i, 1));
		const char *lateness = version ? version->program->max_lateness : NULL;

		if (lateness != NULL && ma_duration_add(ma_int64(&rows, i, 2), lateness, NULL) < now)
			late += ma_int64(&rows, i, 3);
	}
	return late;
}
