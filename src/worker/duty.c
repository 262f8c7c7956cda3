/*
 * duty.c
 *		The duties: pieces of work that higher rooms register, and how one tick of
 *		one of them is run.
 *
 * A tick runs as the owner of our tables in a subtransaction of its own, so that
 * an error costs the batch and nothing else: it is counted, kept for status,
 * logged at most once a minute, and the duty rests for 1 to 60 seconds while the
 * others go on.
 *
 * Two processes may want the same duty of the same database at once: a scheduler
 * and a session in CALL marketing.work(), or two such sessions.  Each tick holds
 * a transaction lock of the duty, so a duty has one writer at a time whoever runs
 * it.  The scheduler passes over a duty that is busy; work() waits for it, since
 * it promises that nothing is left when it returns.  So no further guard against
 * a second scheduler is needed.
 *
 * Pauses are measured on a clock that is never set.
 */
#include "worker/worker_internal.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#define LOCK_CLASS 5			/* of advisory locks: one duty of one database */
#define SOON_MS 2				/* first look at what was left, see ma_worker_again_soon() */
#define BUSY_MS 100				/* look again at a duty that another process runs */

typedef struct DutyState
{
	const MaDuty *duty;
	int64		earliest;		/* ma_monotonic_ms() from which it may run when woken */
	int64		due;			/* ... and from which it runs anyway */
	int			failures;		/* in a row */
	bool		passed_over;	/* its last tick did not run: another process had its lock */
	bool		failed;			/* the last tick did */
	int64		logged;			/* mark of ma_log_allowed() */
	int			left;			/* ticks in a row that left something, see again_soon */
} DutyState;

static DutyState duties[MA_MAX_DUTIES];
static int	number_of_duties = 0;
static bool active = false;
static bool woken = false;
static bool again_soon = false; /* this tick has left something */
static bool does_scheduler = true;
static bool does_helper = true;

static bool is_ours(int duty);
static bool lock_duty(int duty, bool wait);
static bool tick(int duty, bool wait, int *pause);
static int	pause_after(int duty, TimestampTz looked_at);
static void rest(DutyState *state, int at_least, int at_most);

void
ma_worker_register_duty(const MaDuty *duty)
{
	if (number_of_duties == MA_MAX_DUTIES)
		elog(ERROR, "cannot happen: more than %d duties", MA_MAX_DUTIES);
	duties[number_of_duties++].duty = duty;
}

bool
ma_worker_is_active(void)
{
	return active;
}

void
ma_worker_set_active(bool now_active)
{
	active = now_active;
	ma_prefer_keys(now_active);
}

int
ma_duty_count(void)
{
	return number_of_duties;
}

const char *
ma_duty_name(int duty)
{
	return duties[duty].duty->name;
}

void
ma_duty_choose(bool scheduler, bool helper)
{
	does_scheduler = scheduler;
	does_helper = helper;
}

/* Does this process do the duty? */
static bool
is_ours(int duty)
{
	return duties[duty].duty->helper ? does_helper : does_scheduler;
}

bool
ma_duty_is_due(int duty)
{
	return is_ours(duty) && duties[duty].due <= ma_monotonic_ms();
}

bool
ma_duty_is_busy(int duty)
{
	return is_ours(duty) && duties[duty].duty->busy != NULL && duties[duty].duty->busy();
}

bool
ma_duty_busy(void)
{
	for (int i = 0; i < number_of_duties; i++)
		if (ma_duty_is_busy(i))
			return true;
	return false;
}

void
ma_duty_end(void)
{
	for (int i = 0; i < number_of_duties; i++)
		if (duties[i].duty->end != NULL)
			duties[i].duty->end();
}

int
ma_duty_pause(int limit)
{
	int64		now = ma_monotonic_ms();
	int64		pause = limit;

	for (int i = 0; i < number_of_duties; i++)
		if (is_ours(i))
			pause = Min(pause, Max(duties[i].due - now, 0));
	return (int) pause;
}

void
ma_duty_woken(void)
{
	woken = true;
	for (int i = 0; i < number_of_duties; i++)
	{
		duties[i].due = duties[i].earliest;
		duties[i].left = 0;
	}
}

void
ma_worker_again_soon(void)
{
	again_soon = true;
}

bool
ma_duty_has_left(void)
{
	for (int i = 0; i < number_of_duties; i++)
		if (duties[i].left > 0)
			return true;
	return false;
}

bool
ma_duty_was_woken(void)
{
	bool		was = woken;

	woken = false;
	return was;
}

void
ma_duty_restart(void)
{
	for (int i = 0; i < number_of_duties; i++)
	{
		rest(&duties[i], 0, 0);
		duties[i].failures = 0;
	}
}

/*
 * To be called first in each transaction of a worker: keeps DROP EXTENSION out
 * to the transaction's end, and compares the versions of library and extension.
 */
MaTurn
ma_turn_begin(char **installed)
{
	if (!ma_extension_lock())
		return ma_extension() == NULL ? MA_TURN_GONE : MA_TURN_BUSY;
	if (!ma_extension_version_fits(installed))
		return MA_TURN_MISFIT;
	return MA_TURN_GO;
}

/* Takes the duty's lock to the end of the transaction; waits for it only if told to. */
static bool
lock_duty(int duty, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, duty + 1, LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* The tick itself; `pause` is how long the duty has nothing to do after it. */
static bool
tick(int duty, bool wait, int *pause)
{
	MaIdentity	caller;
	TimestampTz looked_at;
	bool		more = false;

	*pause = BUSY_MS;
	duties[duty].passed_over = !lock_duty(duty, wait);
	if (duties[duty].passed_over)
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	ma_become_owner(&caller);
	again_soon = false;
	looked_at = ma_now();
	more = duties[duty].duty->tick();
	if (!more)
		*pause = pause_after(duty, looked_at);
	ma_become_back(&caller);
	PopActiveSnapshot();
	return more;
}

/*
 * Until work falls due by itself, and no longer than a poll.  What was due when the tick
 * looked could not be done: to try it at once again would be to spin, so it is tried
 * more and more rarely.  What has fallen due since is done at once.
 */
static int
pause_after(int duty, TimestampTz looked_at)
{
	DutyState  *state = &duties[duty];
	TimestampTz due = state->duty->next_due ? state->duty->next_due() : DT_NOEND;
	TimestampTz now = ma_clock();
	int			limit = MA_POLL_MS;

	if (again_soon)
	{
		limit = Min(SOON_MS << state->left, MA_POLL_MS);
		state->left = Min(state->left + 1, 10);
	}
	else
		state->left = 0;
	if (due == DT_NOEND || due <= looked_at)
		return limit;
	return due <= now ? 0 : (int) Min((due - now) / 1000 + 1, limit);
}

/* A wake can end the pause after `at_least` milliseconds. */
static void
rest(DutyState *state, int at_least, int at_most)
{
	int64		now = ma_monotonic_ms();

	state->earliest = now + at_least;
	state->due = now + Max(at_least, at_most);
}

/*
 * Runs one tick in a subtransaction of the caller's transaction.  A scheduler counts a
 * cancel like any error.  In a session the first one is handed to the caller, who may
 * have something to bring to its end; a second one ends the session's work here.
 */
bool
ma_duty_run(int duty, ErrorData **cancel)
{
	bool		in_session = cancel != NULL;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile bool more = false;
	volatile int pause = 0;

	duties[duty].failed = false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		int			wanted = 0;

		more = tick(duty, in_session, &wanted);
		pause = wanted;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		more = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
		rest(&duties[duty], more ? 0 : duties[duty].duty->every_ms, more ? 0 : pause);
	else if (in_session && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		if (*cancel != NULL)
			ReThrowError(error);
		duties[duty].failed = true;
		*cancel = error;
	}
	else
	{
		ma_duty_failed(duty, error, in_session);
		FreeErrorData(error);
	}
	return more;
}

/* After the commit of a tick: only now are past failures over. */
void
ma_duty_committed(int duty)
{
	DutyState  *state = &duties[duty];
	MaSlot	   *slot = ma_slot_of_database();

	if (state->failed)
		return;
	if (state->failures > 0)
	{
		state->failures = 0;
		if (slot != NULL)
		{
			LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
			slot->duties[duty].failures = 0;
			LWLockRelease(ma_registry_lock);
		}
	}
	if (state->duty->after_commit != NULL && !state->passed_over)
		state->duty->after_commit();
}

void
ma_duty_failed(int duty, const ErrorData *error, bool in_session)
{
	DutyState  *state = &duties[duty];
	MaSlot	   *slot = ma_slot_of_database();

	state->failures++;
	state->failed = true;
	rest(state, ma_backoff_ms(state->failures), 0);
	if (slot != NULL)
	{
		MaDutyFigures *figures = &slot->duties[duty];

		LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
		figures->errors++;
		figures->failures = state->failures;
		figures->sqlstate = error->sqlerrcode;
		figures->failed_at = GetCurrentTimestamp();
		ma_text_clip(figures->message, error->message ? error->message : "", MA_REASON);
		LWLockRelease(ma_registry_lock);
	}
	if (!in_session && !ma_log_allowed(&state->logged))
		return;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("duty \"%s\" failed: %s", state->duty->name,
					error->message ? error->message : "no message"),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->context ? errcontext("%s", error->context) : 0,
			 errhint("It is tried again in %d seconds; the other duties go on.",
					 ma_backoff_ms(state->failures) / 1000)));
}
