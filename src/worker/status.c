/*
 * status.c
 *		Rows about workers for marketing.status: what runs, what rests, and what to
 *		do about it.
 *
 * Reads the board and this database's settings; shows no secrets, changes
 * nothing.
 */
#include "worker/worker_internal.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

MA_FUNCTION(ma_worker_status);

#define SLOW_TURN_MS 30000		/* a scheduler this long without a turn is stuck */

typedef struct Output
{
	ReturnSetInfo *result;
} Output;

static void row(Output *output, const char *item, const char *state, const char *value,
				const char *detail);
static void launcher_row(Output *output);
static void scheduler_rows(Output *output, const MaSlot *slot);
static void resting_row(Output *output, const MaSlot *slot);
static void duty_rows(Output *output, const MaSlot *slot);
static void clock_rows(Output *output);

/* marketing_internal.worker_status() */
Datum
ma_worker_status(PG_FUNCTION_ARGS)
{
	Output		output = {(ReturnSetInfo *) fcinfo->resultinfo};
	MaSlot	   *slot = ma_slot_of_database();
	MaSlot	   *copy = NULL;

	InitMaterializedSRF(fcinfo, 0);
	if (ma_registry == NULL)
		row(&output, "preload", "warning", "no",
			"No workers run. Add marketing_automation to shared_preload_libraries and restart; until then, CALL marketing.work().");
	else
	{
		row(&output, "preload", "ok", "yes", NULL);
		launcher_row(&output);
		if (slot != NULL)
		{
			copy = palloc_object(MaSlot);
			LWLockAcquire(ma_registry_lock, LW_SHARED);
			memcpy(copy, slot, sizeof(MaSlot));
			LWLockRelease(ma_registry_lock);
		}
		scheduler_rows(&output, copy);
		if (copy != NULL)
			duty_rows(&output, copy);
	}
	clock_rows(&output);
	return (Datum) 0;
}

static void
row(Output *output, const char *item, const char *state, const char *value, const char *detail)
{
	const char *texts[4] = {item, state, value, detail};
	Datum		values[4];
	bool		nulls[4];

	for (int i = 0; i < 4; i++)
	{
		nulls[i] = (texts[i] == NULL);
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	tuplestore_putvalues(output->result->setResult, output->result->setDesc, values, nulls);
}

static void
launcher_row(Output *output)
{
	int			pid = (int) ma_registry->launcher.pid;

	if (pid != 0)
		row(output, "launcher", "ok", "running", psprintf("process %d", pid));
	else if (RecoveryInProgress())
		row(output, "launcher", "note", "standby", "Workers start when this server is promoted.");
	else
		row(output, "launcher", "warning", "not running",
			"It comes back within five seconds; if not, look at max_worker_processes and the server's log.");
}

/* State of this database's scheduler, and the number of its turns. */
static void
scheduler_rows(Output *output, const MaSlot *slot)
{
	const MaProcess *scheduler;
	int64		quiet;

	if (slot == NULL || slot->process[MA_PROCESS_SCHEDULER].pid == 0)
	{
		resting_row(output, slot);
		return;
	}
	scheduler = &slot->process[MA_PROCESS_SCHEDULER];
	quiet = ma_monotonic_ms() - Max(slot->last_turn, scheduler->started_at);
	if (slot->version_misfit)
		row(output, "scheduler", "error", "wrong version",
			"Library and extension are of different versions. Run ALTER EXTENSION marketing_automation UPDATE, or restart the server.");
	else
		row(output, "scheduler", quiet > SLOW_TURN_MS ? "warning" : "ok", "running",
			psprintf("process %d, last turn %.1f seconds ago", (int) scheduler->pid,
					 quiet / 1000.0));
	row(output, "scheduler turns", "ok",
		psprintf(UINT64_FORMAT, pg_atomic_read_u64(&unconstify(MaSlot *, slot)->turns)), NULL);
}

/* Why no scheduler runs here. */
static void
resting_row(Output *output, const MaSlot *slot)
{
	if (RecoveryInProgress())
		row(output, "scheduler", "note", "standby", NULL);
	else if (slot == NULL || !slot->listed)
		row(output, "scheduler", "warning", "not running",
			"This database is not in marketing_automation.databases, or the launcher has not seen it yet.");
	else if (slot->blocked > 0)
		row(output, "scheduler", "note", "stopped",
			"It makes way for a statement that is running: on the database, or DROP or ALTER EXTENSION.");
	else if (slot->no_slot)
		row(output, "scheduler", "error", "no free worker",
			"Increase max_worker_processes.");
	else if (slot->state == MA_SLOT_NOT_ACCESSIBLE)
		row(output, "scheduler", "error", "not accessible", slot->reason);
	else if (slot->state == MA_SLOT_READY && slot->failures > 0)
		row(output, "scheduler", "error", "failing",
			psprintf("It ended %d times in a row and is started again; the reason is in the server's log.",
					 slot->failures));
	else
		row(output, "scheduler", "note", "starting", NULL);
}

static void
duty_rows(Output *output, const MaSlot *slot)
{
	for (int i = 0; i < ma_duty_count(); i++)
	{
		const MaDutyFigures *figures = &slot->duties[i];
		const char *item = psprintf("duty %s", ma_duty_name(i));

		if (figures->errors == 0)
			row(output, item, "ok", "no errors", NULL);
		else
			row(output, item, figures->failures > 0 ? "error" : "note",
				psprintf(UINT64_FORMAT " errors", figures->errors),
				psprintf("last at %s: %s (SQLSTATE %s)", timestamptz_to_str(figures->failed_at),
						 figures->message, unpack_sql_state(figures->sqlstate)));
	}
}

static void
clock_rows(Output *output)
{
	bool		armed = ma_armed();

	row(output, "delivery", armed ? "ok" : "note", armed ? "armed" : "disarmed",
		armed ? NULL : "Nothing leaves through real servers; SELECT marketing.arm() allows it.");
	if (ma_clock_is_set())
		row(output, "clock", "note", timestamptz_to_str(ma_now()),
			"A test clock is set and stands still; marketing.set_clock(NULL) returns to real time.");
	else
		row(output, "clock", "ok", "real time", NULL);
}
