/*
 * rules.c
 *		Exits and waits by rule: evaluated when a row they read has changed (a
 *		signal), when time may change them (check_at), and when a run comes to a step.
 *
 * A rule says until when its truth holds, so nothing is evaluated in between.  It is
 * evaluated as of the instant at which it may have changed (MaJourneyRun.as_of), not of
 * the one at which the scheduler comes to it: so a scheduler that was away takes the same
 * way as one that was there, where a rule became true before a time out.
 */
#include "base/base.h"

#include "journeys/engine.h"

#define MAX_ROUNDS 1000			/* instants of a turn that one run is looked at as of */

static bool check_round(MaTurnBatch *batch);
static void check_group(MaTurnBatch *batch, const MaCondition *condition, MaGroupWork work,
						MaVersion *version, MaStep *step);
static void exits(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static void wakes(MaTurnBatch *batch, MaJourneyRun **runs, int n);
static TimestampTz instant_of(const MaTurnBatch *batch, const MaJourneyRun *run);

MaTruth *
ma_rule_of_runs(MaTurnBatch *batch, MaJourneyRun **runs, int n, const MaCondition *condition)
{
	MaVersion  *version = runs[0]->version;
	MaContactChange *contacts = palloc_array(MaContactChange, n);
	TimestampTz *as_of = palloc_array(TimestampTz, n);
	Datum	   *entries = palloc_array(Datum, n);
	MaTruth    *truth = palloc0_array(MaTruth, n);

	(void) ma_version_rule(version, condition);
	for (int i = 0; i < n; i++)
	{
		contacts[i] = *runs[i]->person->contact;
		as_of[i] = instant_of(batch, runs[i]);
		entries[i] = runs[i]->entry;
	}
	ma_rule_set_evaluate_entered(version->conditions[condition->number].set, contacts, n, as_of,
								 entries, MA_RUN_READ_LATEST, NULL, truth);
	return truth;
}

void
ma_rules_check(MaTurnBatch *batch)
{
	for (int round = 0; check_round(batch); round++)
	{
		ListCell   *cell;

		/* One that changes so often is looked at as of now. */
		foreach(cell, round == MAX_ROUNDS ? batch->runs : NIL)
			((MaJourneyRun *) lfirst(cell))->as_of = 0;
	}
}

/*
 * Checks each run as of its instant.  True if time has changed one of their rules again
 * since: then they are checked as of that.
 */
static bool
check_round(MaTurnBatch *batch)
{
	bool		any = false;
	bool		again = false;
	ListCell   *cell;
	ListCell   *inner;
	ListCell   *third;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		run->moved = false;
		if (run->check && !run->blocked)
			run->check_at = DT_NOEND;
		any |= run->check && !run->blocked;
	}
	if (!any)
		return false;
	foreach(cell, batch->journeys->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (!version->has_rules)
			continue;
		foreach(inner, version->program->exits)
			if (((MaCondition *) lfirst(inner))->rule != NULL)
				check_group(batch, lfirst(inner), exits, version, NULL);
		foreach(inner, version->program->all)
		{
			MaStep	   *step = lfirst(inner);

			foreach(third, step->kind == MA_STEP_WAIT_UNTIL ? step->conditions : NIL)
				if (((MaCondition *) lfirst(third))->rule != NULL)
					check_group(batch, lfirst(third), wakes, version, step);
		}
	}
	/* A run that a rule has moved on is checked again in the next round of steps. */
	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);
		bool		later = run->check && !run->moved && run->as_of != 0 &&
			run->check_at <= batch->now && !run->blocked;

		if (!run->moved)
			run->as_of = later && run->check_at > run->as_of ? run->check_at : 0;
		run->check = run->check && (run->moved || later);
		again |= later;
	}
	return again;
}

/* Runs of the version that are to be checked and, with a step, wait in it. */
static void
check_group(MaTurnBatch *batch, const MaCondition *condition, MaGroupWork work,
			MaVersion *version, MaStep *step)
{
	MaJourneyRun **runs = palloc_array(MaJourneyRun *, Max(list_length(batch->runs), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (run->version != version || !run->check || run->blocked ||
			run->state > MA_STATE_WAITING ||
			(step != NULL && (run->step != step || run->state != MA_STATE_WAITING)))
			continue;
		runs[n++] = run;
	}
	batch->condition = condition;
	if (n > 0)
		ma_guarded(batch, work, runs, n);
}

static TimestampTz
instant_of(const MaTurnBatch *batch, const MaJourneyRun *run)
{
	return run->as_of == 0 ? batch->now : Max(run->as_of, run->since);
}

static void
exits(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	MaTruth    *truth = ma_rule_of_runs(batch, runs, n, batch->condition);

	for (int i = 0; i < n; i++)
	{
		if (truth[i].truth)
			ma_run_finish(batch, runs[i], MA_STATE_EXITED, instant_of(batch, runs[i]),
						  batch->condition->rule);
		else
			runs[i]->check_at = Min(runs[i]->check_at, truth[i].until);
	}
}

/* A time out that came first is left to the step. */
static void
wakes(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	const MaCondition *condition = batch->condition;
	MaTruth    *truth = ma_rule_of_runs(batch, runs, n, condition);

	for (int i = 0; i < n; i++)
	{
		TimestampTz at = instant_of(batch, runs[i]);

		if (truth[i].truth && runs[i]->due_at > at)
			ma_run_wake(batch, runs[i], condition, at);
		else
			runs[i]->check_at = Min(runs[i]->check_at, truth[i].until);
	}
}
