/*
 * moves.c
 *		How a run goes from step to step, ends, or is parked; in memory, until the
 *		batch is written.
 *
 * Each arrival has an instant: the wait's due time, the settling of the message, the
 * event that woke it.  Waits count from there and not from when the scheduler came
 * to it, so a server that was down makes nobody's journey longer.
 */
#include "base/base.h"

#include "journeys/engine.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define GROUP_MS 5000
#define ALONE_MS 15000
#define MAX_BLOCKED 3			/* runs of a group that wait for a lock in vain, each alone */
#define MAX_TRIES 8				/* of a function that meets a lock: four minutes */

/* What ma_guarded() hands on. */
typedef struct Guarded
{
	MaTurnBatch *batch;
	MaGroupWork work;
	MaJourneyRun **runs;
	int			n;
} Guarded;

static const char *const state_names[] = {"due", "waiting", "parked", "completed", "exited"};

static bool wake_by_past(MaTurnBatch *batch, MaJourneyRun *run);
static void keep_events(MaJourneyRun *run, int from, TimestampTz since, TimestampTz until);
static bool is_hopeless(const MaJourneyRun *run);
static void call_work(void *arg);
static void block(const MaTurnBatch *batch, MaJourneyRun *run);
static bool is_function(const MaJourneyRun *run);
static void rest(const MaTurnBatch *batch, MaJourneyRun *run, int seconds);
static bool try_later(MaTurnBatch *batch, MaJourneyRun *run, const ErrorData *error);

const char *
ma_run_state_name(MaRunState state)
{
	return state_names[state];
}

bool
ma_run_is_live(const MaJourneyRun *run)
{
	return run->state <= MA_STATE_PARKED;
}

const char *
ma_run_zone(const MaJourneyRun *run)
{
	return run->person->zone ? run->person->zone : run->version->zone;
}

void
ma_run_check(MaJourneyRun *run, TimestampTz at)
{
	if (!run->version->has_rules)
		return;
	run->as_of = run->check && run->as_of != 0 ? Min(run->as_of, at) : at;
	run->check = true;
}

void
ma_run_log(MaTurnBatch *batch, const MaJourneyRun *run, TimestampTz at, const char *what,
		   const char *detail)
{
	MaLogEntry *entry = palloc0_object(MaLogEntry);

	entry->contact_id = run->person->contact_id;
	entry->journey_id = run->version->journey_id;
	entry->version = run->version->version;
	entry->enrollment_id = run->enrollment_id;
	entry->at = at;
	entry->step = run->step ? run->step->id : NULL;
	entry->what = what;
	entry->detail = detail;
	batch->log = lappend(batch->log, entry);
}

void
ma_run_arrive(MaTurnBatch *batch, MaJourneyRun *run, MaStep *step, TimestampTz at)
{
	const char *zone = ma_run_zone(run);
	TimestampTz due = at;

	/* A wait that is over when it begins arrives at the next step in here. */
	check_stack_depth();
	if (step == NULL)
	{
		ma_run_finish(batch, run, MA_STATE_COMPLETED, at, NULL);
		return;
	}
	if (step->kind == MA_STEP_WAIT)
		due = ma_duration_add(at, step->text, zone);
	else if (step->kind == MA_STEP_WAIT_UNTIL)
		due = step->timeout ? ma_duration_add(at, step->timeout, zone) : DT_NOEND;
	else if (step->kind == MA_STEP_WAIT_FOR_TIME && step->window->by == NULL)
		due = ma_window_open(step->window, at, zone);
	else if (ma_step_sends(step) && ma_send_is_held(run->version->program, step))
		due = ma_window_open(run->version->program->send_window, at, zone);
	run->step = step;
	run->since = at;
	run->due_at = due;
	run->message_id = 0;
	run->looked_at = 0;
	run->state = step->kind == MA_STEP_WAIT_UNTIL ? MA_STATE_WAITING : MA_STATE_DUE;
	run->changed = true;
	ma_run_check(run, at);
	run->moved = true;
	if (step->kind == MA_STEP_WAIT_UNTIL && !wake_by_past(batch, run) && is_hopeless(run))
		ma_run_wake(batch, run, NULL, at);
}

/*
 * At the beginning of a wait: what it counts from before (marks), and events of this
 * batch that came after the instant it begins.
 */
static bool
wake_by_past(MaTurnBatch *batch, MaJourneyRun *run)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, run->step->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (ma_mark_at(run, psprintf("event %d", condition->number)) > DT_NOBEGIN)
		{
			ma_run_wake(batch, run, condition, run->since);
			return true;
		}
	}
	foreach(cell, run->person->signals)
	{
		MaSignal   *signal = lfirst(cell);

		if (signal->kind != MA_SIGNAL_EVENT || signal->at < run->since ||
				signal->at >= run->due_at ||
			signal->signal_id <= run->last_signal)
			continue;
		foreach(inner, run->step->conditions)
			if (ma_condition_met(batch, run, lfirst(inner), signal))
			{
				run->last_signal = signal->signal_id;
				ma_run_wake(batch, run, lfirst(inner), signal->at);
				return true;
			}
			/* Somebody has locked what the condition reads: this one is to be the first again. */
			else if (run->blocked)
			{
				keep_events(run, foreach_current_index(cell), run->since, run->due_at);
				block(batch, run);
				return true;
			}
	}
	return false;
}

/* Those from this place on, and of this time: in the next turn they would be gone. */
static void
keep_events(MaJourneyRun *run, int from, TimestampTz since, TimestampTz until)
{
	for (int i = from; i < list_length(run->person->signals); i++)
	{
		MaSignal   *signal = list_nth(run->person->signals, i);

		if (signal->kind == MA_SIGNAL_EVENT && signal->at >= since && signal->at < until &&
			signal->signal_id > run->last_signal)
			run->kept = lappend(run->kept, signal);
	}
}

/* True when it waits only for events of messages that never went out. */
static bool
is_hopeless(const MaJourneyRun *run)
{
	ListCell   *cell;

	if (run->state != MA_STATE_WAITING || run->step->kind != MA_STEP_WAIT_UNTIL)
		return false;
	foreach(cell, run->step->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (condition->step == NULL ||
			ma_mark_at(run, psprintf("unsent %s", condition->step)) == DT_NOBEGIN)
			return false;
	}
	return true;
}

void
ma_run_wake(MaTurnBatch *batch, MaJourneyRun *run, const MaCondition *condition, TimestampTz at)
{
	if (condition == NULL)
	{
		ma_run_log(batch, run, at, "timed out", NULL);
		ma_run_arrive(batch, run, run->step->other, at);
		return;
	}
	ma_run_log(batch, run, at, "woken", condition->event ? condition->event : condition->rule);
	ma_run_arrive(batch, run, condition->then, at);
}

void
ma_run_finish(MaTurnBatch *batch, MaJourneyRun *run, MaRunState state, TimestampTz at,
			  const char *reason)
{
	ma_run_log(batch, run, at, state_names[state], reason);
	run->state = state;
	run->ended_at = at;
	run->reason = reason ? pstrdup(reason) : NULL;
	run->due_at = run->check_at = DT_NOEND;
	run->check = false;
	run->changed = true;
	if (state == MA_STATE_COMPLETED)
		run->step = NULL;
}

void
ma_engine_error(int sqlerrcode, const char *message)
{
	if (!ma_supposing())
		ma_count_error(sqlerrcode, message);
}

/* The run stays where it is until it is tried again by hand. */
void
ma_run_park(MaTurnBatch *batch, MaJourneyRun *run, const ErrorData *error)
{
	run->state = MA_STATE_PARKED;
	run->error_state = pstrdup(unpack_sql_state(error->sqlerrcode));
	run->error = pstrdup(error->message ? error->message : "");
	run->due_at = run->check_at = DT_NOEND;
	run->check = false;
	run->changed = true;
	ma_run_log(batch, run, batch->now, "parked", psprintf("%s: %s", run->error_state, run->error));
	ma_engine_error(error->sqlerrcode, run->error);
}

static void
call_work(void *arg)
{
	Guarded    *guarded = arg;

	guarded->work(guarded->batch, guarded->runs, guarded->n);
}

void
ma_guarded(MaTurnBatch *batch, MaGroupWork work, MaJourneyRun **runs, int n)
{
	Guarded		guarded = {batch, work, runs, n};
	MaJourneyRun *before = palloc_array(MaJourneyRun, n);
	int			logged = list_length(batch->log);
	ErrorData  *error;

	for (int i = 0; i < n; i++)
		before[i] = *runs[i];
	error = ma_drain_protect(call_work, &guarded, n > 1 ? GROUP_MS : ALONE_MS);
	if (error == NULL)
		return;
	/* Undone in the database, so undone here. */
	for (int i = 0; i < n; i++)
		*runs[i] = before[i];
	batch->log = list_truncate(batch->log, logged);
	if (n > 1)
	{
		int			blocked = 0;

		for (int i = 0; i < n; i++)
		{
			/* What blocks several mostly is a table, and all of them would wait for it. */
			if (blocked >= MAX_BLOCKED && is_function(runs[i]))
				rest(batch, runs[i], 1);
			else if (blocked >= MAX_BLOCKED)
				block(batch, runs[i]);
			else
				ma_guarded(batch, work, &runs[i], 1);
			blocked += runs[i]->blocked;
		}
	}
	else if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || batch->simulation != NULL ||
			 (is_function(runs[0]) && !try_later(batch, runs[0], error)))
		ma_run_park(batch, runs[0], error);
	else if (!is_function(runs[0]))
		block(batch, runs[0]);
}

static bool
is_function(const MaJourneyRun *run)
{
	return run->step != NULL && run->step->kind == MA_STEP_SQL;
}

/* Its step is done so many seconds later, and nothing else of its is done before. */
static void
rest(const MaTurnBatch *batch, MaJourneyRun *run, int seconds)
{
	run->due_at = batch->now + seconds * USECS_PER_SEC;
	run->changed = true;
	run->blocked = true;
}

/*
 * A user's function has met a lock.  Somebody mostly lets go in a moment, so it is tried
 * again, each time twice as much later, as any queue would; but it may wait for what it
 * holds itself by other means, and then no wait is long enough: false.
 */
static bool
try_later(MaTurnBatch *batch, MaJourneyRun *run, const ErrorData *error)
{
	char	   *mark = psprintf("tried %s", run->step->id);
	int			tries = ma_mark_count(run, mark);

	if (tries >= MAX_TRIES)
	{
		ma_mark_remove(run, mark);
		return false;
	}
	ma_mark_count_up(run, mark);
	rest(batch, run, 1 << tries);
	ma_run_log(batch, run, batch->now, "put off",
			   psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message));
	return true;
}

/* Somebody has locked what the run needs: no fault of its, so the next turn does it. */
static void
block(const MaTurnBatch *batch, MaJourneyRun *run)
{
	run->blocked = true;
	/* What came after its step was due may be what the next one waits for. */
	if (run->state == MA_STATE_DUE)
		keep_events(run, 0, run->due_at, DT_NOEND);
	/* A rule that could not be asked is to be asked before anything else is done. */
	if (run->check)
		run->check_at = run->as_of == 0 ? batch->now : run->as_of;
	ma_worker_again_soon();
}
