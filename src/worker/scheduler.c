/*
 * scheduler.c
 *		The scheduler of one database: wait, look, do the duties that are due.
 *
 * The order is wait, reset the latch, look, work: a wake that comes during the
 * work is seen at the next wait.  No wait is longer than a second, so that
 * whatever sends no signal (a prepared transaction committed elsewhere, time
 * passing) is found by the poll, and SIGTERM, barriers and stop requests are
 * answered at once.
 *
 * Each duty has a transaction of its own that begins by locking the extension
 * without waiting.  DROP EXTENSION therefore waits for one tick at most (and asks
 * the scheduler to end, dbevents.c), and the scheduler never waits for it.  No
 * transaction is open while the scheduler waits.
 *
 * The helper runs by the same loop with duties of its own, in a library of its own
 * (it calls ma_helper_run()).  It is not interrupted in the midst of a piece of work,
 * and ends when it has had nothing to do for a minute.
 *
 * An error inside a duty ends in duty.c.  What still gets here comes from the
 * commit or from our own steps around a tick; it is counted against the duty and
 * the loop goes on.  Only FATAL ends the process, and then the launcher decides.
 */
#include "worker/worker_internal.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#define BUSY_MS 100				/* look again while the extension is being dropped */
#define TICK_TIMEOUT_MS 60000	/* a tick that takes this long is cancelled */
#define FINISH_MS 5000			/* a process asked to end takes no longer */
#define HELPER_TIMEOUT_MS 10000 /* ... of a helper, which SIGTERM does not interrupt */

static const MaHelper *helper = NULL;	/* registered */
static const MaPump *pump = NULL;	/* likewise */
static bool is_helper = false;	/* this process is one */

static void run(void);
static void wait_for(int pause);
static bool wait_with_pump(long ms);
static bool woken(void);
static void end_if_idle(bool worked);
static int	turn(void);
static MaTurn work(int duty, bool *more);
static void recover(int duty, MemoryContext context);
static void look_around(void);
static bool must_finish(void);
static void answer(MaTurn met, const char *installed);
static void count_turn(void);
static void leave(void);

void
ma_worker_register_helper(const MaHelper *what)
{
	helper = what;
}

void
ma_worker_set_pump(const MaPump *what)
{
	pump = what;
}

const MaHelper *
ma_helper(void)
{
	return helper;
}

void
ma_scheduler_main(Datum arg)
{
	run();
}

void
ma_helper_run(void)
{
	is_helper = true;
	run();
}

static void
run(void)
{
	MaLaunch	launch;
	MemoryContext context;
	int			pause = 0;

	if (!ma_process_attach(&launch))
		proc_exit(0);
	ma_process_signals(is_helper);
	BackgroundWorkerInitializeConnectionByOid(launch.database, launch.role,
											  MA_WORKER_CONNECT_FLAGS);
	ma_process_settings(is_helper ? helper->name : MA_SCHEDULER_NAME);
	if (RecoveryInProgress())
		proc_exit(0);
	ma_worker_set_active(true);
	ma_duty_choose(!is_helper, is_helper);

	context = AllocSetContextCreate(TopMemoryContext, "marketing_automation turn",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		wait_for(pause);
		ResetLatch(MyLatch);
		look_around();
		if (woken())
			ma_duty_woken();

		MemoryContextSwitchTo(context);
		pause = turn();
		MemoryContextReset(context);
	}
}

/*
 * The one wait: for the latch, for time to pass, and in the helper for its sockets, which
 * are served here until a duty should look.
 */
static void
wait_for(int pause)
{
	int64		end = ma_monotonic_ms() + pause;
	bool		woken_up = false;

	if (pump == NULL)
	{
		if (pause > 0)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 pause, ma_wait_event());
		return;
	}
	do
	{
		int64		left = Max(end - ma_monotonic_ms(), 0);
		long		timeout = pump->timeout();

		if (left > 0)
			woken_up = wait_with_pump(timeout < 0 ? (long) left : Min((long) left, timeout));
		if (pump->run())
		{
			ma_duty_woken();
			return;
		}
	} while (!woken_up && ma_monotonic_ms() < end);
}

/*
 * True if the latch is set.  The set of what is waited for is kept: the helper waits for
 * each reply of a mail server, and to make a set anew costs as much as to read it.
 */
static bool
wait_with_pump(long ms)
{
	static WaitEventSet *set = NULL;
	WaitEvent	event;

	if (set == NULL)
	{
		set = ma_wait_set_create(3);
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(set, WL_SOCKET_READABLE, pump->file(), NULL, NULL);
	}
	return WaitEventSetWait(set, ms, &event, 1, ma_wait_event()) == 1 &&
		(event.events & WL_LATCH_SET) != 0;
}

/* Was this process told to look? */
static bool
woken(void)
{
	MaSlot	   *slot = ma_process_slot();

	return pg_atomic_exchange_u32(is_helper ? &slot->wake_helper : &slot->wake, 0) != 0;
}

/* A helper makes room when there has been nothing for it for a while. */
static void
end_if_idle(bool worked)
{
	static int64 last = 0;
	int64		now = ma_monotonic_ms();

	if (!is_helper)
		return;
	if (worked || last == 0)
		last = now;
	else if (now - last > MA_HELPER_IDLE_MS && !ma_duty_busy())
		proc_exit(0);
}

/*
 * Between two pieces of work.  When the role that workers connect as has been
 * changed, this process is the wrong one: it makes room for a probe, which may
 * need its place, and for its successor.
 */
static void
look_around(void)
{
	static char *role = NULL;

	if (role == NULL)
		role = MemoryContextStrdup(TopMemoryContext, ma_guc_worker_role ? ma_guc_worker_role : "");
	ma_exit_with_server();
	if (must_finish())
	{
		(void) ma_process_reload();
		return;
	}
	(void) ma_process_interrupts();
	if (strcmp(role, ma_guc_worker_role ? ma_guc_worker_role : "") != 0)
	{
		ma_probe_request(MyDatabaseId);
		proc_exit(0);
	}
}

/* Who is asked to end brings to its end what is under way, if that takes no longer than this. */
static bool
must_finish(void)
{
	static int64 since = 0;

	/* A cancel has nothing to cancel here. */
	QueryCancelPending = false;
	if (!ma_worker_is_ending())
		return ma_duty_busy();
	if (since == 0)
		since = ma_monotonic_ms();
	return ma_duty_busy() && ma_monotonic_ms() - since < FINISH_MS;
}

/*
 * Does every duty that is due, for a moment while it has more to do, since asking all others
 * between two batches costs as much as a batch; returns the milliseconds to wait after it.
 */
static int
turn(void)
{
	bool		more = false;
	bool		again = false;
	bool		looked = false;
	bool		worked = false;
	MaTurn		met = MA_TURN_GO;

	for (int i = 0; i < ma_duty_count() && met == MA_TURN_GO; i++)
	{
		int64		end = ma_monotonic_ms() + MA_STRETCH_MS;

		if (!ma_duty_is_due(i))
			continue;
		do
		{
			look_around();
			met = work(i, &again);
			worked |= again;
		} while (again && met == MA_TURN_GO && ma_monotonic_ms() < end);
		more |= again;
		looked = true;
	}
	if (!looked)
		met = work(-1, &again);
	if (!is_helper)
		count_turn();
	end_if_idle(worked);
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (met != MA_TURN_GO)
		return met == MA_TURN_BUSY ? BUSY_MS : MA_POLL_MS;
	return more ? 0 : ma_duty_pause(MA_POLL_MS);
}

/* One duty in its own transaction; without a duty (-1) only looks at the extension. */
static MaTurn
work(int duty, bool *more)
{
	MemoryContext context = CurrentMemoryContext;
	volatile MaTurn met = MA_TURN_BUSY;
	volatile bool again = false;
	char	   *installed = NULL;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		pgstat_report_activity(STATE_RUNNING, duty < 0 ? "looking" : ma_duty_name(duty));
		enable_timeout_after(STATEMENT_TIMEOUT, is_helper ? HELPER_TIMEOUT_MS : TICK_TIMEOUT_MS);
		met = ma_turn_begin(&installed);
		answer(met, installed);
		if (met == MA_TURN_GO && duty >= 0)
			again = ma_duty_run(duty, NULL);
		disable_timeout(STATEMENT_TIMEOUT, false);
		CommitTransactionCommand();
		if (met == MA_TURN_GO && duty >= 0)
			ma_duty_committed(duty);
	}
	PG_CATCH();
	{
		recover(duty, context);
		again = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (met == MA_TURN_GONE)
		leave();
	*more = again;
	return met;
}

/* After an error outside of a tick, as the main loop of a backend does it. */
static void
recover(int duty, MemoryContext context)
{
	static int64 logged = 0;
	ErrorData  *error;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction();
	MemoryContextSwitchTo(context);
	RESUME_INTERRUPTS();

	if (duty >= 0)
		ma_duty_failed(duty, error, false);
	else if (ma_log_allowed(&logged))
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("%s failed: %s", is_helper ? helper->name : MA_SCHEDULER_NAME,
						error->message ? error->message : "no message")));
}

/* Says once that library and extension do not fit, and shows it in the slot. */
static void
answer(MaTurn met, const char *installed)
{
	MaSlot	   *slot = ma_process_slot();
	bool		misfit = (met == MA_TURN_MISFIT);

	if (met == MA_TURN_BUSY || slot->version_misfit == misfit)
		return;
	slot->version_misfit = misfit;
	if (misfit)
		ereport(WARNING,
				(errcode(ERRCODE_MA_NOT_READY),
				 errmsg("extension \"%s\" is version %s, its library is version %s: background work rests",
						MA_EXTENSION, installed ? installed : "unknown", MA_VERSION),
				 errhint("Run ALTER EXTENSION %s UPDATE, or restart the server if its library is the older one.",
						 MA_EXTENSION)));
}

static void
count_turn(void)
{
	MaSlot	   *slot = ma_process_slot();

	slot->last_turn = ma_monotonic_ms();
	pg_atomic_fetch_add_u64(&slot->turns, 1);
}

/*
 * The extension has been dropped: ends for good.  Made again since we looked, it may have
 * been found already, and this would undo the finding: so it is looked for once more.
 */
static void
leave(void)
{
	MaSlot	   *slot = ma_process_slot();

	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot->state = MA_SLOT_ABSENT;
	slot->probe_wanted = true;
	slot->version_misfit = false;
	LWLockRelease(ma_registry_lock);
	proc_exit(0);
}
