/*
 * why_step.c
 *		What journeys tell why_not_sent() of a run: the control group, the step it has come
 *		to, and the way it took.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/tell/why.h"
#include "utils/builtins.h"

static bool is_within(const List *steps, const char *id);
static void holdout(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void step_reached(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void still_inside(const MaWhyQuestion *question, const MaStory *story,
						 MaWhyAnswer *answer);
static char *way_taken(const MaStory *story, const char *step);
static void branch(const MaWhyQuestion *question, MaWhyAnswer *answer);

static const MaWhyGate gates[] = {
	{9, "holdout", holdout}, {10, "step", step_reached}, {11, "branch", branch}
};

void
ma_journey_why_steps_init(void)
{
	for (int i = 0; i < lengthof(gates); i++)
		ma_register_why_gate(&gates[i]);
}

static bool
is_within(const List *steps, const char *id)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, steps)
	{
		const MaStep *step = lfirst(cell);

		if (strcmp(step->id, id) == 0 || is_within(step->otherwise, id))
			return true;
		foreach(inner, step->conditions)
			if (is_within(((MaCondition *) lfirst(inner))->steps, id))
				return true;
	}
	return false;
}

const char *
ma_why_cause(const MaWhyQuestion *question)
{
	const char *cause = NULL;
	MaStory		story;
	MaVersion  *version;
	ListCell   *cell;

	if (question->step == NULL || question->enrollment_id == 0 ||
		!ma_story_read(question, &story))
		return NULL;
	version = ma_journey_version(ma_journeys(), story.journey->id, story.run_version);
	/* The innermost one: those around it stand before it in the list. */
	foreach(cell, version ? version->program->all : NIL)
	{
		const MaStep *step = lfirst(cell);

		if (ma_step_sends(step) && is_within(step->otherwise, question->step))
			cause = step->id;
	}
	return cause;
}

/* Who is held out and got none; a transactional message goes to him, too. */
static void
holdout(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;
	double		share;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.version == NULL)
		return;
	share = story.version->program->holdout;
	if (share == 0)
		return;
	answer->verdict = MA_WHY_OK;
	if (question->message_id != 0 ||
		ma_share_of(story.journey->name, "holdout", question->contact_id) >= share)
		return;
	answer->verdict = MA_WHY_NO;
	answer->detail = psprintf("is in the control group of journey \"%s\" (holdout %g)",
							  story.journey->name, share);
}

static void
step_reached(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story))
		return;
	answer->since = story.since;
	if (question->message_id != 0)
	{
		answer->verdict = MA_WHY_OK;
		answer->detail = psprintf("step %s", question->step ? question->step : "?");
		answer->since = DT_NOBEGIN;
	}
	else if (story.enrollment_id == 0)
		answer->since = DT_NOBEGIN;
	else if (strcmp(story.state, "parked") == 0)
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("parked at step %s: %s", story.step, story.reason);
		answer->next = psprintf("marketing.retry_enrollment('%s', '%s')", question->contact,
								question->journey);
	}
	else if (strcmp(story.state, "exited") == 0)
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("exited at step %s: %s", story.step ? story.step : "?",
								  story.reason);
	}
	else if (strcmp(story.state, "completed") == 0)
		answer->verdict = MA_WHY_OK;
	else
		still_inside(question, &story, answer);
}

/* What it waits for. */
static void
still_inside(const MaWhyQuestion *question, const MaStory *story, MaWhyAnswer *answer)
{
	MaVersion  *version = ma_journey_version(ma_journeys(), story->journey->id,
											 story->run_version);
	MaStep	   *step = version && story->step ?
		ma_program_step(version->program, story->step) : NULL;

	answer->verdict = MA_WHY_WAITING;
	answer->detail = psprintf("is at step %s%s%s", story->step,
							  step != NULL && step->kind == MA_STEP_TEST ?
							  ", for the winner of its test" : "",
							  story->journey->paused ? psprintf("; the journey is paused (%s)",
																story->journey->paused) : "");
	answer->next = TIMESTAMP_NOT_FINITE(story->due_at) ? "an event" :
		psprintf("goes on at %s", timestamptz_to_str(story->due_at));
	if (story->version != NULL && story->version->held)
		answer->next = psprintf("marketing.resume_journey('%s')", question->journey);
}

/* "branch: in segment vip": the last fork before the step; NULL: there was none. */
static char *
way_taken(const MaStory *story, const char *step)
{
	static MaStatement read = {
		"SELECT l.what OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) l.detail "
		"FROM marketing_internal.enrollment_log AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) $1 AND l.enrollment_id OPERATOR(pg_catalog.=) $2 "
		"AND l.what OPERATOR(pg_catalog.=) ANY ('{branch,split,test}') "
		"AND ($3 OPERATOR(pg_catalog.=) '' OR l.log_id OPERATOR(pg_catalog.<=) ("
		"SELECT pg_catalog.max(m.log_id) FROM marketing_internal.enrollment_log AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) l.contact_id "
		"AND m.enrollment_id OPERATOR(pg_catalog.=) $2 AND m.step OPERATOR(pg_catalog.=) $3)) "
		"ORDER BY l.log_id DESC LIMIT 1",
		3, {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = Int64GetDatum(story->contact_id);
	values[1] = Int64GetDatum(story->enrollment_id);
	values[2] = CStringGetTextDatum(step ? step : "");
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

static void
branch(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;
	char	   *way;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.enrollment_id == 0)
		return;
	way = way_taken(&story, question->step);
	if (question->message_id != 0)
	{
		answer->verdict = MA_WHY_OK;
		answer->since = story.message_at;
		answer->detail = psprintf("step %s, version %d%s%s", question->step, story.run_version,
								  way ? ", by " : "", way ? way : "");
		return;
	}
	/* It has come to its end. */
	answer->verdict = MA_WHY_NO;
	answer->since = story.since;
	answer->detail = psprintf("came to the end by a path without a message%s%s",
							  way ? ", by " : "", way ? way : "");
	answer->next = psprintf("marketing.explain_enrollment('%s', '%s')", question->contact,
							question->journey);
}
