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
static MaJourneyRun **within_window(MaTurnBatch *batch, MaJourneyRun **runs, int *n);
static void do_branch(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_list(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_split(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_effect(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static bool is_held_out(MaTurnBatch *batch, MaJourneyRun *run, const MaTemplate *template);
static void do_wait_for_date(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_enroll(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void do_goto(MaTurnBatch *batch, MaJourneyRun *run);
static void forget_events_of(MaJourneyRun *run, const char *step);

static bool
is_ready(const MaTurnBatch *batch, const MaJourneyRun *run)
{
	return !run->version->held && (run->state == MA_STATE_DUE || run->state == MA_STATE_WAITING) &&
		!run->blocked && run->due_at <= batch->now && run->steps < MA_STEPS_PER_TURN &&
		(run->person->until == 0 || run->due_at < run->person->until);
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
		case MA_STEP_SCORE:
		case MA_STEP_STAGE:
		case MA_STEP_TASK:
			ma_step_sales(batch, runs, n);
			return;
		case MA_STEP_SEND:
		case MA_STEP_TEST:
			runs = within_window(batch, runs, &n);
			if (n > 0 && step->kind == MA_STEP_TEST)
				ma_step_test(batch, runs, n);
			else if (n > 0 && step->to_owner)
				ma_step_send_owner(batch, runs, n);
			else if (n > 0)
				ma_step_send(batch, runs, n, step->text, NULL);
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
		case MA_STEP_SPLIT:
			do_split(batch, runs, n);
			return;
		case MA_STEP_UPDATE:
		case MA_STEP_SQL:
		case MA_STEP_NOTIFY:
			do_effect(batch, runs, n);
			return;
		case MA_STEP_WAIT_FOR_TIME:
			if (step->window->by == NULL)
				break;
			do_wait_for_date(batch, runs, n);
			return;
		default:
			break;
	}
	for (int i = 0; i < n; i++)
	{
		MaJourneyRun *run = runs[i];

		if (step == NULL)
			ma_run_finish(batch, run, MA_STATE_COMPLETED, run->due_at, NULL);
		else if (step->kind == MA_STEP_WAIT || step->kind == MA_STEP_WAIT_FOR_TIME)
			ma_run_arrive(batch, run, step->next, run->due_at);
		else if (step->kind == MA_STEP_WAIT_UNTIL)
			ma_run_wake(batch, run, NULL, run->due_at);
		else if (step->kind == MA_STEP_GOTO)
			do_goto(batch, run);
		else
			ma_run_finish(batch, run, MA_STATE_EXITED, run->due_at, step->text);
	}
}

TimestampTz
ma_send_latest(const MaJourneyRun *run)
{
	const char *lateness = run->version->program->max_lateness;

	return lateness == NULL ? DT_NOEND : ma_duration_add(run->due_at, lateness, ma_run_zone(run));
}

/* True if the message waits for a window: one that is transactional never does. */
bool
ma_send_is_held(const MaProgram *program, const MaStep *step)
{
	ListCell   *cell;

	foreach(cell, program->send_window ? ma_step_templates(step) : NIL)
	{
		MaTemplate *template = ma_template_by_name(lfirst(cell));

		if (template == NULL || strcmp(template->topic, "transactional") != 0)
			return true;
	}
	return false;
}

/* Who comes to a send after the window has closed waits for the next; returns who does not. */
static MaJourneyRun **
within_window(MaTurnBatch *batch, MaJourneyRun **runs, int *n)
{
	const MaWindow *window = runs[0]->version->program->send_window;
	MaJourneyRun **kept = palloc_array(MaJourneyRun *, *n);
	int			nkept = 0;

	if (!ma_send_is_held(runs[0]->version->program, runs[0]->step))
		return runs;
	for (int i = 0; i < *n; i++)
	{
		TimestampTz open = ma_window_open(window, batch->now, ma_run_zone(runs[i]));

		/* One that is too late by then expires, and so says why it never came. */
		if (open <= batch->now || open > ma_send_latest(runs[i]))
			kept[nkept++] = runs[i];
		else
		{
			runs[i]->due_at = open;
			runs[i]->changed = true;
		}
	}
	*n = nkept;
	return kept;
}

/* Who was due first comes first. */
static int
compare_instants(const void *left, const void *right)
{
	const MaJourneyRun *a = *(MaJourneyRun *const *) left;
	const MaJourneyRun *b = *(MaJourneyRun *const *) right;

	if (a->due_at != b->due_at)
		return a->due_at < b->due_at ? -1 : 1;
	return ma_compare_int64(&a->enrollment_id, &b->enrollment_id);
}

/* Puts the messages into the outbox; the run goes on when its message is settled. */
void
ma_step_send(MaTurnBatch *batch, MaJourneyRun **runs, int n, const char *name,
			 const char *variant)
{
	MaStep	   *step = runs[0]->step;
	MaProgram  *program = runs[0]->version->program;
	MaMessageRequest *requests = palloc0_array(MaMessageRequest, n);
	MaJourneyRun **senders = palloc_array(MaJourneyRun *, n);
	int64	   *ids = palloc0_array(int64, n);
	MaTemplate *template = ma_template_required(name);
	int			count = 0;

	qsort(runs, n, sizeof(MaJourneyRun *), compare_instants);
	for (int i = 0; i < n; i++)
	{
		MaMessageRequest *request = &requests[count];

		forget_events_of(runs[i], step->id);
		if (is_held_out(batch, runs[i], template))
			continue;
		request->contact_id = runs[i]->person->contact_id;
		request->template_id = template->id;
		request->enrollment_id = runs[i]->enrollment_id;
		request->journey = runs[i]->version->journey;
		request->step = step->id;
		request->entry = runs[i]->entry;
		request->not_before = DT_NOBEGIN;
		request->not_after = ma_send_latest(runs[i]);
		request->priority = program->has_priority ? program->priority : MA_PRIORITY_DEFAULT;
		senders[count++] = runs[i];
	}
	if (batch->simulation != NULL)
		ma_simulate_send(batch, requests, senders, count, ids);
	else
		ma_message_enqueue(requests, count, ids);
	for (int i = 0; i < count; i++)
	{
		if (variant != NULL)
			ma_run_log(batch, senders[i], batch->now, "test", variant);
		ma_run_sends(batch, senders[i], template->name, ids[i], NULL);
	}
}

void
ma_run_sends(MaTurnBatch *batch, MaJourneyRun *run, const char *template, int64 message_id,
			 const char *address)
{
	MaStep	   *step = run->step;
	const char *text = template;

	if (batch->simulation == NULL)
		text = psprintf("%s #" INT64_FORMAT, template, message_id);
	ma_run_log(batch, run, batch->now, "message",
			   address ? psprintf("%s to %s", text, address) : text);
	if (step->nowait)
	{
		ma_run_arrive(batch, run, step->next, batch->now);
		return;
	}
	run->state = MA_STATE_WAITING;
	run->message_id = message_id;
	run->since = batch->now;
	run->due_at = DT_NOEND;
	run->changed = true;
}

/*
 * The control group goes the same way and gets no marketing message: its run goes on
 * behind the step, as if it had been sent, and waits for what became of it take "else".
 */
static bool
is_held_out(MaTurnBatch *batch, MaJourneyRun *run, const MaTemplate *template)
{
	double		holdout = run->version->program->holdout;

	if (holdout == 0 || strcmp(template->topic, "transactional") == 0 ||
		ma_share_of(run->version->journey, "holdout", run->person->contact_id) >= holdout)
		return false;
	ma_mark_set(run, psprintf("unsent %s", run->step->id), run->due_at);
	ma_run_log(batch, run, run->due_at, "not sent", "holdout");
	ma_run_arrive(batch, run, run->step->next, run->due_at);
	return true;
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

	if (batch->simulation != NULL)
		ma_simulate_effect(batch, runs, n);
	else
		ma_effect_list(step->text, add, runs, n);
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, add ? "added to list" : "removed from list",
				   step->text);
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

/* The path of the contact's share; the same whenever he comes here again. */
static void
do_split(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;

	for (int i = 0; i < n; i++)
	{
		double		place = ma_share_of(runs[i]->version->journey, step->id,
										runs[i]->person->contact_id);
		MaCondition *taken = NULL;
		int			number = 0;
		ListCell   *cell;

		foreach(cell, step->conditions)
		{
			taken = lfirst(cell);
			number++;
			if (place < taken->share)
				break;
			place -= taken->share;
			taken = NULL;
		}
		ma_run_log(batch, runs[i], runs[i]->due_at, "split",
				   taken == NULL ? "else" :
				   taken->name ? taken->name : psprintf("path %d", number));
		ma_run_arrive(batch, runs[i], taken ? taken->then : step->other, runs[i]->due_at);
	}
}

static void
do_effect(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaStep	   *step = runs[0]->step;

	if (batch->simulation != NULL)
		ma_simulate_effect(batch, runs, n);
	else if (step->kind == MA_STEP_UPDATE)
		ma_effect_update(step->text, runs, n);
	else if (step->kind == MA_STEP_SQL)
		ma_effect_sql(step->text, runs, n);
	else
		ma_effect_notify(step->text, runs, n);
	for (int i = 0; i < n; i++)
	{
		ma_run_log(batch, runs[i], runs[i]->due_at, step->kind == MA_STEP_UPDATE ? "updated" :
				   step->kind == MA_STEP_SQL ? "called" : "notified", step->text);
		if (step->kind == MA_STEP_SQL)
			ma_mark_remove(runs[i], psprintf("tried %s", step->id));
		ma_run_arrive(batch, runs[i], step->next, runs[i]->due_at);
	}
}

/*
 * Waits up to the instant his date tells as it is now; it is read again when that has come,
 * or the contact has changed.  Who has none, or is past it, goes on.
 */
static void
do_wait_for_date(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	const MaWindow *window = runs[0]->step->window;
	int64	   *contacts = palloc_array(int64, n);
	char	  **dates;

	for (int i = 0; i < n; i++)
		contacts[i] = runs[i]->person->contact_id;
	dates = ma_dates_read(window->by, contacts, n);
	for (int i = 0; i < n; i++)
	{
		const char *zone = window->zone ? window->zone : ma_run_zone(runs[i]);
		TimestampTz at;
		char	   *day;

		if (window->zone != NULL && strcmp(window->zone, "database") == 0)
			zone = NULL;
		if (ma_date_next(window->by, dates[i], runs[i]->due_at, zone, &at, &day))
		{
			runs[i]->due_at = at;
			runs[i]->changed = true;
			continue;
		}
		ma_run_log(batch, runs[i], runs[i]->due_at, "date", dates[i] ? dates[i] : "none");
		ma_run_arrive(batch, runs[i], runs[i]->step->next, runs[i]->due_at);
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
	if (batch->simulation == NULL)
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
