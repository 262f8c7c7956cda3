/*
 * work.c
 *		CALL marketing.work(): the duties done by a session instead of a worker.
 *
 * For servers without preload, for pg_cron, and for tests that want to see the
 * work done.  It takes the same turns as a scheduler, with a commit after each
 * duty, until no duty has more to do; with run_for it then waits and goes on.
 * Every duty is due at the beginning of a call, whatever its interval and its
 * past failures.
 *
 * A user's cancel (or statement_timeout) ends the call, but not between a duty's ticks
 * that belong together: what was claimed to be sent would be in doubt for ever.  It is
 * put off while a duty is busy, costs at most the tick it hits, and what is under way is
 * then brought to its end without beginning anything new.  A second cancel does not wait.
 *
 * A scheduler may run in the same database: each tick holds the duty's lock
 * (duty.c), so the two take turns.  A NOTICE says so, since the caller may have
 * expected to be the only one.
 */
#include "worker/worker_internal.h"

#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#define FINISH_TURNS 8			/* tries to bring to its end what is under way */

MA_FUNCTION(ma_work);

static void check_call(FunctionCallInfo fcinfo);
static int64 duration_ms(FunctionCallInfo fcinfo);
static void run(int64 run_for);
static bool turn(ErrorData **cancel);
static bool step(int duty, ErrorData **cancel);
static void finish(ErrorData *cancel) pg_attribute_noreturn();
static void begin_or_refuse(void);
static void pause_for(int64 ms);

/* marketing.work(run_for) */
Datum
ma_work(PG_FUNCTION_ARGS)
{
	int64		run_for = duration_ms(fcinfo);
	MaSlot	   *slot = ma_slot_of_database();

	check_call(fcinfo);
	PreventCommandDuringRecovery("CALL marketing.work()");
	(void) ma_extension_required();
	if (slot != NULL && slot->process[MA_PROCESS_SCHEDULER].pid != 0)
		ereport(NOTICE,
				(errmsg("a scheduler works in this database too (process %d)",
						(int) slot->process[MA_PROCESS_SCHEDULER].pid)));
	ma_spi_begin_nonatomic();
	ma_worker_set_active(true);
	ma_duty_choose(true, true);
	PG_TRY();
	{
		run(run_for);
	}
	PG_FINALLY();
	{
		ma_worker_set_active(false);
		ma_session_set_ending(false);
		ma_duty_end();
	}
	PG_END_TRY();
	ma_spi_end();
	PG_RETURN_VOID();
}

/* It commits, so it can run neither in a transaction block nor in a function. */
static void
check_call(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("marketing.work() cannot run inside a transaction block"),
				 errdetail("It commits after each piece of work."),
				 errhint("Use CALL marketing.work() as a statement of its own, outside BEGIN and COMMIT and outside functions.")));
	if (ma_worker_is_active())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("marketing.work() is running in this session already")));
}

static int64
duration_ms(FunctionCallInfo fcinfo)
{
	Interval   *interval;
	int64		ms;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("run_for of marketing.work() must not be null"),
				 errhint("Leave it out to work until nothing is left to do.")));
	interval = PG_GETARG_INTERVAL_P(0);
	ms = interval->time / 1000 +
		((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * SECS_PER_DAY * 1000;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_for of marketing.work() must not be negative")));
	return ms;
}

/* Turns until nothing is left, and then until run_for has passed. */
static void
run(int64 run_for)
{
	int64		end = ma_monotonic_ms() + run_for;
	ErrorData  *cancel = NULL;
	bool		looked_twice = false;

	ma_duty_restart();
	for (;;)
	{
		int64		left;
		bool		more = turn(&cancel);

		if (cancel != NULL)
			finish(cancel);
		/* What one duty has done may be what another one waited for. */
		if (more)
		{
			looked_twice = false;
			ma_duty_woken();
			continue;
		}
		/* Nor need what one had to leave be in its way any more, once all have had a turn. */
		if (!looked_twice && ma_duty_has_left())
		{
			looked_twice = true;
			ma_duty_woken();
			continue;
		}
		left = end - ma_monotonic_ms();
		if (left <= 0)
			break;
		pause_for(Min(left, ma_duty_pause(MA_POLL_MS)));
	}
}

/*
 * Each due duty, with a commit after each tick; true when one has more to do.  Who has more
 * goes on for a moment: asking all others between two batches costs as much as a batch.
 */
static bool
turn(ErrorData **cancel)
{
	bool		more = false;

	(void) ma_duty_was_woken();
	for (int i = 0; i < ma_duty_count() && *cancel == NULL; i++)
	{
		int64		end = ma_monotonic_ms() + MA_STRETCH_MS;
		bool		again = ma_duty_is_due(i) && step(i, cancel);

		while (again && *cancel == NULL && ma_monotonic_ms() < end)
			again = step(i, cancel);
		more |= again;
	}
	/* One may have left work to another that had its turn before. */
	return ma_duty_was_woken() || more;
}

/* One tick and its commit. */
static bool
step(int duty, ErrorData **cancel)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "marketing_automation turn",
												  ALLOCSET_DEFAULT_SIZES);
	ErrorData  *first = *cancel;
	bool		more;

	MemoryContextSwitchTo(context);
	ma_exit_with_server();
	/* A cancel that came while messages were sent is met in the tick, which can bear it. */
	HOLD_CANCEL_INTERRUPTS();
	begin_or_refuse();
	ma_now_renew();
	RESUME_CANCEL_INTERRUPTS();
	more = ma_duty_run(duty, cancel);
	ma_spi_commit();
	ma_duty_committed(duty);
	MemoryContextSwitchTo(outer);
	/* The cancel's own memory is in it. */
	if (*cancel == first)
		MemoryContextDelete(context);
	if (!ma_duty_busy())
		CHECK_FOR_INTERRUPTS();
	return more;
}

/* Brings to its end what is under way, then ends the call as the user wished. */
static void
finish(ErrorData *cancel)
{
	ma_session_set_ending(true);
	for (int tries = 0; ma_duty_busy() && tries < FINISH_TURNS; tries++)
		for (int i = 0; i < ma_duty_count(); i++)
			if (ma_duty_is_busy(i))
				(void) step(i, &cancel);
	ReThrowError(cancel);
}

/* Locks the extension for this transaction. */
static void
begin_or_refuse(void)
{
	char	   *installed = NULL;

	switch (ma_turn_begin(&installed))
	{
		case MA_TURN_GO:
			break;
		case MA_TURN_BUSY:
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("extension \"%s\" is being dropped", MA_EXTENSION)));
			break;
		case MA_TURN_GONE:
			(void) ma_extension_required();
			break;
		case MA_TURN_MISFIT:
			ereport(ERROR,
					(errcode(ERRCODE_MA_NOT_READY),
					 errmsg("extension \"%s\" is version %s, its library is version %s",
							MA_EXTENSION, installed ? installed : "unknown", MA_VERSION),
					 errhint("Run ALTER EXTENSION %s UPDATE, or restart the server if its library is the older one.",
							 MA_EXTENSION)));
			break;
	}
}

/* Waits with no snapshot held; the first wait is after a commit. */
static void
pause_for(int64 ms)
{
	ma_spi_commit();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) ms, ma_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	ma_duty_woken();
}
