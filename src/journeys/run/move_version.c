/*
 * move_version.c
 *		A run goes on in another version of its journey.
 *
 * Who waits for a time goes on waiting for it, whatever the new step is, and then does
 * that: so a version with shorter waits does not send to everybody at once.  A wait for
 * events begins anew, but for one that has been such a wait before: its time out
 * stays.  What is remembered for conditions goes to those that say the same.
 */
#include "base/base.h"

#include "journeys/engine.h"
#include "utils/builtins.h"

static MaStep *step_in(const MaVersion *version, const MaJourneyRun *run, bool *lost);
static void move_marks(MaJourneyRun *run, const MaVersion *from, const MaVersion *to);
static bool is_same(const MaCondition *left, const MaCondition *right);
static void stand_at(MaTurnBatch *batch, MaJourneyRun *run, MaStep *step, TimestampTz at);

void
ma_run_move(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal)
{
	MaVersion  *version = ma_journey_version(batch->journeys, signal->journey_id,
											 pg_strtoint32(signal->key));
	MaVersion  *from = run->version;
	bool		lost = false;
	MaStep	   *step;

	if (version == NULL || version == from)
		return;
	step = step_in(version, run, &lost);
	/* An event of the same commit may have taken him to where nobody stood when it was asked. */
	if (lost)
	{
		ma_run_log(batch, run, signal->at, "stays",
				   psprintf("version %d has no such step", version->version));
		return;
	}
	ma_run_log(batch, run, signal->at, "moved", psprintf("from version %d to version %d",
														 from->version, version->version));
	if (step == NULL)
	{
		ma_run_finish(batch, run, MA_STATE_EXITED, signal->at, "step_map");
		return;
	}
	run->version = version;
	/* That of the other version's rules; those of this one are asked at once. */
	run->check_at = DT_NOEND;
	run->changed = true;
	move_marks(run, from, version);
	stand_at(batch, run, step, signal->at);
}

/* NULL: the map ends the run. */
static MaStep *
step_in(const MaVersion *version, const MaJourneyRun *run, bool *lost)
{
	const char *id = run->step ? run->step->id : "";
	MaJson	   *item = version->step_map ? ma_json_member(version->step_map, id) : NULL;
	MaStep	   *step;

	if (item != NULL && item->type != MA_JSON_TEXT)
		return NULL;
	step = ma_program_step(version->program, item ? item->text : id);
	*lost = step == NULL;
	return step;
}

/* Marks of conditions bear their numbers, which are others in each version. */
static void
move_marks(MaJourneyRun *run, const MaVersion *from, const MaVersion *to)
{
	int			n = list_length(from->program->conditions);
	TimestampTz *at = palloc_array(TimestampTz, Max(n, 1));
	ListCell   *cell;

	for (int i = 0; i < n; i++)
	{
		char	   *name = psprintf("event %d", i);

		at[i] = ma_mark_at(run, name);
		ma_mark_remove(run, name);
	}
	foreach(cell, to->program->conditions)
	{
		MaCondition *condition = lfirst(cell);

		for (int i = 0; i < n; i++)
			if (at[i] != DT_NOBEGIN && is_same(list_nth(from->program->conditions, i), condition))
				ma_mark_set(run, psprintf("event %d", condition->number), at[i]);
	}
}

static bool
is_same_text(const char *left, const char *right)
{
	return left == right || (left != NULL && right != NULL && strcmp(left, right) == 0);
}

static bool
is_same(const MaCondition *left, const MaCondition *right)
{
	return is_same_text(left->event, right->event) && is_same_text(left->where, right->where) &&
		is_same_text(left->step, right->step) && left->since_entry == right->since_entry &&
		(right->since_entry || right->step != NULL);
}

static void
stand_at(MaTurnBatch *batch, MaJourneyRun *run, MaStep *step, TimestampTz at)
{
	MaStep	   *old = run->step;
	bool		has_time = run->message_id == 0 && !TIMESTAMP_NOT_FINITE(run->due_at);

	/* What is under way, and what is parked, only stands somewhere else now. */
	if (run->state == MA_STATE_PARKED || (run->message_id != 0 && ma_step_sends(step)))
	{
		run->step = step;
		/* Nothing waits for the message at another step. */
		if (!ma_step_sends(step))
			run->message_id = 0;
	}
	else if (old->kind == MA_STEP_WAIT_UNTIL && step->kind == MA_STEP_WAIT_UNTIL &&
			 TIMESTAMP_NOT_FINITE(run->due_at) == (step->timeout == NULL))
		run->step = step;
	else if (has_time && step->kind != MA_STEP_WAIT_UNTIL)
	{
		run->step = step;
		run->state = MA_STATE_DUE;
	}
	else
	{
		ma_run_arrive(batch, run, step, at);
		return;
	}
	ma_run_check(run, at);
	run->moved = true;
}
