/*
 * steps.c
 *		Does the steps: all runs of a batch that stand at the same step together, in
 *		one subtransaction.
 *
 * What a step does in the database and the run's move are one transaction, the
 * batch's, so a step is done once whatever kills the server.  A step that fails for
 * somebody parks that run alone.
 */
#include "base/base.h"

#include "content/content.h"
#include "delivery/delivery.h"
#include "journeys/engine.h"

static bool is_ready(const MaTurnBatch *batch, const MaJourneyRun *run);
static void do_step(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_send(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_branch(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_list(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_enroll(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_goto(MaTurnBatch *batch, MaJourneyRun *run);
static void forget_events_of(MaJourneyRun *run, const char *step);

static bool
is_ready(const MaTurnBatch *batch, const MaJourneyRun *run)
{
	return (run->state == MA_STATE_DUE || run->state == MA_STATE_WAITING) &&
		run->due_at <= batch->now && run->steps < MA_STEPS_PER_TURN;
}

bool
ma_steps_do(MaTurnBatch *batch)
{
	int			total = list_length(batch->runs);
	MaJourneyRun **ready = palloc_array(MaJourneyRun *, Max(total, 1));
	MaJourneyRun **group = palloc_array(MaJourneyRun *, Max(total, 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (is_ready(batch, run))
			ready[n++] = run;
	}
	for (int i = 0; i < n; i++)
	{
		MaVersion  *version;
		MaStep	   *step;
		int			size = 0;

		if (ready[i] == NULL)
			continue;
		version = ready[i]->version;
		step = ready[i]->step;
		for (int j = i; j < n; j++)
			if (ready[j] != NULL && ready[j]->version == version && ready[j]->step == step)
			{
				ready[j]->steps++;
				group[size++] = ready[j];
				ready[j] = NULL;
			}
		if (group[0]->steps == MA_STEPS_PER_TURN)
			batch->full = true;
		ma_guarded(batch, do_step, group, size);
	}
	return n > 0;
}

/* One step for runs that all stand at it. */
static void
do_step(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;

	switch (step ? step->kind : MA_STEP_EXIT)
	{
		case MA_STEP_SEND:
			do_send(batch, runs, n);
			return;
		case MA_STEP_BRANCH:
			do_branch(batch, runs, n);
			return;
		case MA_STEP_ADD_TO_LIST:
		case MA_STEP_REMOVE_FROM_LIST:
			do_list(batch, runs, n);
			return;
		case MA_STEP_ENROLL:
			do_enroll(batch, runs, n);
			return;
		default:
			break;
	}
	for (int i = 0; i < n; i++)
	{
		MaJourneyRun *run = runs[i];

		if (step == NULL)
			ma_run_finish(batch, run, MA_STATE_COMPLETED, run->due_at, NULL);
		else if (step->kind == MA_STEP_WAIT)
			ma_run_arrive(batch, run, step->next, run->due_at);
		else if (step->kind == MA_STEP_WAIT_UNTIL)
			ma_run_wake(batch, run, NULL, run->due_at);
		else if (step->kind == MA_STEP_GOTO)
			do_goto(batch, run);
		else
			ma_run_finish(batch, run, MA_STATE_EXITED, run->due_at, step->text);
	}
}

/* Puts the messages into the outbox; the run goes on when its message is settled. */
static void
do_send(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	MaProgram  *program = runs[0]->version->program;
	MaMessageRequest *requests = palloc0_array(MaMessageRequest, n);
	int64	   *ids = palloc0_array(int64, n);
	MaTemplate *template = ma_template_required(step->text);

	for (int i = 0; i < n; i++)
	{
		requests[i].contact_id = runs[i]->person->contact_id;
		requests[i].template_id = template->id;
		requests[i].enrollment_id = runs[i]->enrollment_id;
		requests[i].journey = runs[i]->version->journey;
		requests[i].step = step->id;
		requests[i].entry = runs[i]->entry;
		requests[i].not_before = DT_NOBEGIN;
		requests[i].not_after = DT_NOEND;
		requests[i].priority = program->has_priority ? program->priority : MA_PRIORITY_DEFAULT;
	}
	ma_message_enqueue(requests, n, ids);
	for (int i = 0; i < n; i++)
	{
		forget_events_of(runs[i], step->id);
		ma_run_log(batch, runs[i], batch->now, "message", psprintf("%s #" INT64_FORMAT,
				step->text, ids[i]));
		if (step->nowait)
		{
			ma_run_arrive(batch, runs[i], step->next, batch->now);
			continue;
		}
		runs[i]->state = MA_STATE_WAITING;
		runs[i]->message_id = ids[i];
		runs[i]->since = batch->now;
		runs[i]->due_at = DT_NOEND;
		runs[i]->changed = true;
	}
}

/* Events of an earlier message of this step do not count for the new one. */
static void
forget_events_of(MaJourneyRun *run, const char *step)
{
	ListCell   *cell;

	ma_mark_remove(run, psprintf("unsent %s", step));
	foreach(cell, run->version->program->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (condition->step != NULL && strcmp(condition->step, step) == 0)
			ma_mark_remove(run, psprintf("event %d", condition->number));
	}
}

/* The first path whose rule is true, one rule after the other for those that are left. */
static void
do_branch(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	MaJourneyRun **left = palloc_array(MaJourneyRun *, n);
	int			nleft = n;
	ListCell   *cell;

	memcpy(left, runs, n * sizeof(MaJourneyRun *));
	foreach(cell, step->conditions)
	{
		MaCondition *condition = lfirst(cell);
		MaTruth    *truth;
		int			kept = 0;

		if (nleft == 0)
			break;
		truth = ma_rule_of_runs(batch, left, nleft, condition);
		for (int i = 0; i < nleft; i++)
		{
			if (truth[i].truth)
			{
				ma_run_log(batch, left[i], left[i]->due_at, "branch", condition->rule);
				ma_run_arrive(batch, left[i], condition->then, left[i]->due_at);
			}
			else
				left[kept++] = left[i];
		}
		nleft = kept;
	}
	for (int i = 0; i < nleft; i++)
	{
		ma_run_log(batch, left[i], left[i]->due_at, "branch", "else");
		ma_run_arrive(batch, left[i], step->other, left[i]->due_at);
	}
}

static void
do_list(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	bool		add = step->kind == MA_STEP_ADD_TO_LIST;

	ma_effect_list(step->text, add, runs, n);
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, add ? "added to list" : "removed from list",
				   step->text);
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

static void
do_enroll(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;
	MaJourney  *journey = ma_journey_required(step->text);
	int64	   *contacts = palloc_array(int64, n);
	Datum	   *entries = palloc_array(Datum, n);

	for (int i = 0; i < n; i++)
	{
		contacts[i] = runs[i]->person->contact_id;
		entries[i] = runs[i]->entry;
	}
	ma_journey_enroll(journey->id, contacts, n, entries);
	batch->full = true;
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, "enrolled", step->text);
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

/* Back, or on, as often as it may be taken; then the step after it. */
static void
do_goto(MaTurnBatch *batch, MaJourneyRun *run)
{
	MaStep	   *step = run->step;
	char	   *mark = psprintf("goto %s", step->id);

	if (step->target != NULL && ma_mark_count(run, mark) < step->at_most)
	{
		ma_mark_count_up(run, mark);
		ma_run_log(batch, run, run->due_at, "goto", step->text);
		ma_run_arrive(batch, run, step->target, run->due_at);
		return;
	}
	ma_run_arrive(batch, run, step->next, run->due_at);
}
