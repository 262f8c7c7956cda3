/*
 * apply.c
 *		Signals to runs: who enters, exits, wakes, goes on because his message was
 *		settled.
 *
 * All signals of a contact are taken into account, in the order of their commits,
 * before any step of his is done: so nothing is done for a run whose exit was
 * committed before the batch was read.  Between an event and a time out the earlier
 * instant decides, whenever the scheduler comes to it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "journeys/run/scan.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

/* A where over one row, for one run. */
typedef struct Test
{
	MaVersion  *version;
	MaJourneyRun *run;
	const MaCondition *condition;
	const MaSignal *signal;
	bool		fits;
} Test;

static void apply_person(MaTurnBatch *batch, MaPerson *person);
static bool forward(MaTurnBatch *batch, MaPerson *person);
static void put_off(MaTurnBatch *batch, MaPerson *person, MaSignal *first);
static bool apply_whole(MaTurnBatch *batch, MaPerson *person, MaSignal *signal);
static void apply_signal(MaTurnBatch *batch, MaPerson *person, MaSignal *signal);
static void apply_event(MaTurnBatch *batch, MaJourneyRun *run, MaSignal *signal);
static bool exit_by(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal, bool goal);
static bool wake_by(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);
static bool has_blocked(const MaPerson *person);
static void remember(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);
static void apply_settled(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);
static void apply_retry(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);
static bool is_about_step(const MaJourneyRun *run, const MaCondition *condition, Datum row);
static void test_where(void *arg);

static bool may_wait = false;	/* an event is taken into account that can be put off */
static bool lock_met = false;	/* a condition could not be asked for a lock */

void
ma_signals_apply(MaTurnBatch *batch)
{
	may_wait = false;
	ma_filters_evaluate(batch);
	for (int i = 0; i < batch->n; i++)
		if (batch->persons[i].locked)
			apply_person(batch, &batch->persons[i]);
}

static void
apply_person(MaTurnBatch *batch, MaPerson *person)
{
	ListCell   *cell;

	if (person->contact->nkeys == 0 && forward(batch, person))
		return;
	if (person->contact->nkeys == 0)
		foreach(cell, person->runs)
			if (ma_run_is_live(lfirst(cell)))
				ma_run_finish(batch, lfirst(cell), MA_STATE_EXITED, batch->now, "contact deleted");
	foreach(cell, person->signals)
	{
		MaSignal   *signal = lfirst(cell);

		/* What a run was to be told that waits for a lock is to come before the others. */
		if (!has_blocked(person) &&
			(signal->kind == MA_SIGNAL_ENTER ? ma_admit(batch, person, signal) :
			 apply_whole(batch, person, signal)))
			continue;
		put_off(batch, person, signal);
		/* What is locked now is so for a while; an entry can be looked at again at once. */
		if (signal->kind == MA_SIGNAL_ENTER && !signal->filter_locked && !has_blocked(person))
			batch->full = true;
		else
			ma_worker_again_soon();
		return;
	}
}

static bool
has_blocked(const MaPerson *person)
{
	ListCell   *cell;

	foreach(cell, person->runs)
		if (((MaJourneyRun *) lfirst(cell))->blocked)
			return true;
	return false;
}

/*
 * Takes an event into account for all runs of the contact; false if somebody has locked
 * what a condition of one of them reads.  Then nothing is changed: told later, the event
 * still is an exit, a wake-up or a goal, which it would not be if the run were parked and
 * the event gone.
 */
static bool
apply_whole(MaTurnBatch *batch, MaPerson *person, MaSignal *signal)
{
	List	   *runs;
	MaJourneyRun *before;
	int			logged = list_length(batch->log);
	int			hits = list_length(batch->hits);
	ListCell   *cell;

	if (signal->kind != MA_SIGNAL_EVENT || batch->simulation != NULL)
	{
		apply_signal(batch, person, signal);
		return true;
	}
	runs = list_concat_copy(person->runs, person->over);
	before = palloc_array(MaJourneyRun, Max(list_length(runs), 1));
	foreach(cell, runs)
		before[foreach_current_index(cell)] = *(MaJourneyRun *) lfirst(cell);
	may_wait = true;
	lock_met = false;
	apply_signal(batch, person, signal);
	may_wait = false;
	if (!lock_met)
		return true;
	foreach(cell, runs)
		*(MaJourneyRun *) lfirst(cell) = before[foreach_current_index(cell)];
	batch->log = list_truncate(batch->log, logged);
	batch->hits = list_truncate(batch->hits, hits);
	return false;
}

/* This signal and those after it stay for the next turn. */
static void
put_off(MaTurnBatch *batch, MaPerson *person, MaSignal *first)
{
	List	   *kept = NIL;
	bool		off = false;
	ListCell   *cell;

	foreach(cell, person->signals)
	{
		off |= lfirst(cell) == first;
		if (off)
			batch->signals = list_delete_ptr(batch->signals, lfirst(cell));
		else
			kept = lappend(kept, lfirst(cell));
	}
	person->signals = kept;
	/* An exit may be among them: no step that was due after it is done before it is read. */
	person->until = first->at;
	/* They must be found again; those of a simulation stand in no table. */
	if (batch->simulation == NULL)
		(void) ma_scan_signals_read(0, true, false);
}

/*
 * Signals that came for a contact after it was merged into another one (a message that
 * was under way has been settled) are that one's: they go to his next turn.
 */
static bool
forward(MaTurnBatch *batch, MaPerson *person)
{
	int			n = list_length(person->signals);
	int64		now = n > 0 ? ma_contact_now(person->contact_id) : person->contact_id;
	MaSignal   *signals;
	bool	   *always;

	if (now == person->contact_id)
		return false;
	signals = palloc_array(MaSignal, n);
	always = palloc_array(bool, n);
	for (int i = 0; i < n; i++)
	{
		signals[i] = *(MaSignal *) list_nth(person->signals, i);
		signals[i].contact_id = now;
		always[i] = true;
	}
	ma_signals_insert(signals, always, n);
	batch->full = true;
	return true;
}

static void
apply_signal(MaTurnBatch *batch, MaPerson *person, MaSignal *signal)
{
	ListCell   *cell;

	/* Who has come to his end may still come to the goal. */
	foreach(cell, signal->kind == MA_SIGNAL_EVENT && signal->enrollment_id == 0 ?
			person->over : NIL)
		(void) ma_goals_reach(batch, lfirst(cell), signal);
	foreach(cell, person->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (signal->kind == MA_SIGNAL_EVENT && signal->enrollment_id == 0 && !ma_run_is_live(run))
			(void) ma_goals_reach(batch, run, signal);
		if (!ma_run_is_live(run) || signal->signal_id <= run->last_signal ||
			(signal->journey_id != 0 && signal->journey_id != run->version->journey_id) ||
			(signal->enrollment_id != 0 && signal->enrollment_id != run->enrollment_id))
			continue;
		switch (signal->kind)
		{
			case MA_SIGNAL_EVENT:
				apply_event(batch, run, signal);
				break;
			case MA_SIGNAL_CHECK:
				ma_run_check(run, signal->at);
				break;
			case MA_SIGNAL_SETTLED:
				apply_settled(batch, run, signal);
				break;
			case MA_SIGNAL_EXIT:
				ma_run_finish(batch, run, MA_STATE_EXITED, signal->at, signal->reason);
				break;
			case MA_SIGNAL_RESUME:
				/* Its hint was read while it could not go on. */
				run->hint_used = true;
				break;
			case MA_SIGNAL_DATES:
				/* A wait for a date of his looks at it anew. */
				if (run->step != NULL && run->step->window != NULL &&
					run->step->window->by != NULL && run->state == MA_STATE_DUE &&
					run->due_at > signal->at)
				{
					run->due_at = signal->at;
					run->changed = true;
				}
				break;
			case MA_SIGNAL_MOVE:
				ma_run_move(batch, run, signal);
				break;
			default:
				apply_retry(batch, run, signal);
				break;
		}
	}
}

static void
apply_event(MaTurnBatch *batch, MaJourneyRun *run, MaSignal *signal)
{
	bool		goal = ma_goals_reach(batch, run, signal);

	if (exit_by(batch, run, signal, goal) || !ma_run_is_live(run))
		return;
	/* A wait whose time was over before the event has timed out, also if nobody has looked. */
	while (run->state == MA_STATE_WAITING && run->step->kind == MA_STEP_WAIT_UNTIL &&
		   run->due_at <= signal->at)
		ma_run_wake(batch, run, NULL, run->due_at);
	if (!ma_run_is_live(run) || signal->signal_id <= run->last_signal || wake_by(batch, run,
			signal))
		return;
	remember(batch, run, signal);
}

/* `goal`: the event was the goal of this run, which may be what it exits by. */
static bool
exit_by(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal, bool goal)
{
	ListCell   *cell;

	foreach(cell, run->version->program->exits)
	{
		MaCondition *condition = lfirst(cell);

		/* That of another run of his is not this one's. */
		if (ma_is_own_goal(condition) ? !goal : !ma_condition_met(batch, run, condition, signal))
			continue;
		ma_run_finish(batch, run, MA_STATE_EXITED, signal->at, condition->event);
		return true;
	}
	return false;
}

/*
 * Wakes a run that waits for the event.  Of several events of one commit, which share
 * their instant, that of the condition that stands first wakes it.
 */
static bool
wake_by(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	ListCell   *cell;
	ListCell   *inner;

	if (run->state != MA_STATE_WAITING || run->step->kind != MA_STEP_WAIT_UNTIL ||
		run->looked_at == signal->at)
		return false;
	foreach(cell, run->step->conditions)
	{
		MaCondition *condition = lfirst(cell);

		foreach(inner, run->person->signals)
		{
			MaSignal   *other = lfirst(inner);

			if (other->kind != MA_SIGNAL_EVENT || other->at != signal->at ||
				other->signal_id < signal->signal_id ||
				!ma_condition_met(batch, run, condition, other))
				continue;
			run->last_signal = other->signal_id;
			ma_run_wake(batch, run, condition, signal->at);
			return true;
		}
	}
	/* Those of the commit that follow have been looked at with it. */
	run->looked_at = signal->at;
	return false;
}

/* Events that a wait further on counts from the entry or from its send. */
static void
remember(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	ListCell   *cell;

	foreach(cell, run->version->program->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if ((condition->since_entry || condition->step) &&
			ma_condition_met(batch, run, condition, signal))
			ma_mark_set(run, psprintf("event %d", condition->number), signal->at);
	}
}

/* The message a run waits for: sent, or why not. */
static void
apply_settled(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	MaStep	   *step = run->step;
	MaStep	   *after;

	if (!ma_run_is_live(run) || step == NULL || !ma_step_sends(step) ||
		run->message_id != signal->message_id)
		return;
	if (signal->reason == NULL)
		ma_run_log(batch, run, signal->at, "sent", step->text);
	else
	{
		ma_mark_set(run, psprintf("unsent %s", step->id), signal->at);
		ma_run_log(batch, run, signal->at, "not sent", signal->reason);
	}
	after = signal->reason == NULL ? step->next : step->other;
	if (run->state != MA_STATE_PARKED || after == NULL)
	{
		ma_run_arrive(batch, run, after, signal->at);
		return;
	}
	/* Still parked, but behind the step: tried again, it must not send once more. */
	run->step = after;
	run->since = signal->at;
	run->message_id = 0;
	run->changed = true;
}

/*
 * The step at which an error parked the run is done again; if its message is under way,
 * what is left of the step is to wait for that.
 */
static void
apply_retry(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	if (run->state != MA_STATE_PARKED)
		return;
	ma_run_log(batch, run, signal->at, "retried", NULL);
	run->error = run->error_state = NULL;
	if (run->message_id == 0)
	{
		ma_run_arrive(batch, run, run->step, signal->at);
		return;
	}
	run->state = MA_STATE_WAITING;
	run->due_at = DT_NOEND;
	ma_run_check(run, signal->at);
	run->changed = true;
}

bool
ma_condition_met(MaTurnBatch *batch, MaJourneyRun *run, const MaCondition *condition,
				 const MaSignal *signal)
{
	MaCompiled *compiled = &run->version->conditions[condition->number];
	Test		test = {run->version, run, condition, signal, false};
	ErrorData  *error;

	if (compiled->event_id == 0 || compiled->event_id != signal->event_id || signal->row == 0 ||
		(!compiled->any_machine && ma_row_is_machine(signal->row)) ||
		!is_about_step(run, condition, signal->row))
		return false;
	if (condition->where == NULL)
		return true;
	error = ma_drain_protect(test_where, &test, 5000);
	if (error != NULL && batch->simulation == NULL &&
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		/* The event is put off, or the run that has come to its wait. */
		lock_met = may_wait;
		run->blocked |= !may_wait;
		return false;
	}
	if (error != NULL && ma_run_is_live(run))
		ma_run_park(batch, run, error);
	return error == NULL && test.fits;
}

/* Events of messages name journey and step, a goal its journey and run. */
static bool
is_about_step(const MaJourneyRun *run, const MaCondition *condition, Datum row)
{
	char	   *journey;
	char	   *step;

	if (condition->step == NULL && !ma_is_own_goal(condition))
		return true;
	journey = ma_row_text(row, "journey");
	if (condition->step == NULL)
	{
		char	   *enrollment = ma_row_text(row, "enrollment");

		return journey && strcmp(journey, run->version->journey) == 0 &&
			(enrollment == NULL ||
			 strcmp(enrollment, psprintf(INT64_FORMAT, run->enrollment_id)) == 0);
	}
	step = ma_row_text(row, "step");
	return journey && step && strcmp(journey, run->version->journey) == 0 &&
		strcmp(step, condition->step) == 0;
}

static void
test_where(void *arg)
{
	Test	   *test = arg;
	MaRowRule  *where = ma_version_where(test->version, test->condition);
	Datum		row = test->signal->row;
	Datum		entry = test->run->entry;

	if (entry == 0)
		entry = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	ma_row_rule_test(where, &row, &entry, test->run->person->contact, 1, MA_RUN_READ_LATEST,
					 &test->fits);
}
