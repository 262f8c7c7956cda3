/*
 * ways.c
 *		Which steps can be reached, which loops have no wait, and which waits are for
 *		what cannot come.
 *
 * The ways are those of the engine (run/steps.c, run/moves.c); where it depends on facts,
 * all that is possible counts as possible.
 */
#include "base/base.h"

#include "journeys/analyse/analyse.h"
#include "miscadmin.h"

static void add_conditions(const MaAnalysis *analysis, const MaStep *step, List **next);
static bool times_out(const MaStep *step);
static List *reach_from(const MaAnalysis *analysis, MaStep *from, bool through_waits);
static bool is_told(const MaAnalysis *analysis, const MaStep *step);
static void warn_unreached(MaAnalysis *analysis);
static void warn_loops(MaAnalysis *analysis);
static void warn_waits(MaAnalysis *analysis, const MaStep *step);
static bool same_event(const MaCondition *a, const MaCondition *b);

static void
add(List **list, MaStep *step)
{
	if (step != NULL)
		*list = list_append_unique_ptr(*list, step);
}

static void
add_conditions(const MaAnalysis *analysis, const MaStep *step, List **next)
{
	ListCell   *cell;

	foreach(cell, step->conditions)
		if (!analysis->dead[((MaCondition *) lfirst(cell))->number])
			add(next, ((MaCondition *) lfirst(cell))->then);
}

/* True if a wait may end by its time, or because no message it waits for went out. */
static bool
times_out(const MaStep *step)
{
	bool		messages = true;
	ListCell   *cell;

	foreach(cell, step->conditions)
		messages &= ((MaCondition *) lfirst(cell))->step != NULL;
	return step->timeout != NULL || messages;
}

List *
ma_step_successors(const MaAnalysis *analysis, const MaStep *step)
{
	List	   *next = NIL;
	double		shares = 0;
	ListCell   *cell;

	switch (step->kind)
	{
		case MA_STEP_EXIT:
			break;
		case MA_STEP_GOTO:
			add(&next, step->target);
			add(&next, step->next);
			break;
		case MA_STEP_SEND:
		case MA_STEP_TEST:
			add(&next, step->next);
			if (!step->nowait)
				add(&next, step->other);
			break;
		case MA_STEP_WAIT_UNTIL:
			add_conditions(analysis, step, &next);
			if (times_out(step))
				add(&next, step->other);
			break;
		case MA_STEP_BRANCH:
			add_conditions(analysis, step, &next);
			if (!list_member_ptr(analysis->no_else, step))
				add(&next, step->other);
			break;
		case MA_STEP_SPLIT:
			add_conditions(analysis, step, &next);
			foreach(cell, step->conditions)
				shares += ((MaCondition *) lfirst(cell))->share;
			if (shares < 1 - 1e-9)
				add(&next, step->other);
			break;
		default:
			add(&next, step->next);
			break;
	}
	return next;
}

static bool
is_wait(const MaStep *step)
{
	return step->kind == MA_STEP_WAIT || step->kind == MA_STEP_WAIT_UNTIL ||
		step->kind == MA_STEP_WAIT_FOR_TIME;
}

/* This one and all that may follow; not beyond waits, unless through them. */
static List *
reach_from(const MaAnalysis *analysis, MaStep *from, bool through_waits)
{
	List	   *reached = NIL;

	add(&reached, from);
	for (int i = 0; i < list_length(reached); i++)
	{
		MaStep	   *step = list_nth(reached, i);
		ListCell   *cell;

		if (is_wait(step) && !through_waits)
			continue;
		foreach(cell, ma_step_successors(analysis, step))
			add(&reached, lfirst(cell));
	}
	return reached;
}

/* True if the path it begins has been warned of already. */
static bool
is_told(const MaAnalysis *analysis, const MaStep *step)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, analysis->program->all)
	{
		MaStep	   *other = lfirst(cell);

		if (list_member_ptr(analysis->no_else, other) && other->otherwise != NIL &&
			linitial(other->otherwise) == step)
			return true;
		foreach(inner, other->conditions)
		{
			MaCondition *condition = lfirst(inner);

			if (analysis->dead[condition->number] && condition->steps != NIL &&
				linitial(condition->steps) == step)
				return true;
		}
		/* What follows one that is not reached is not reached because of that. */
		if (other != step && !list_member_ptr(analysis->reached, other) &&
			list_member_ptr(ma_step_successors(analysis, other), step))
			return true;
	}
	return false;
}

static void
warn_unreached(MaAnalysis *analysis)
{
	ListCell   *cell;

	foreach(cell, analysis->program->all)
	{
		MaStep	   *step = lfirst(cell);

		if (!list_member_ptr(analysis->reached, step) && !is_told(analysis, step))
			ma_problem(&analysis->warnings, step->path, "Every way before it ends or goes elsewhere.",
					   "is never reached");
	}
}

static void
warn_loops(MaAnalysis *analysis)
{
	const MaProgram *program = analysis->program;
	ListCell   *cell;

	foreach(cell, analysis->reached)
	{
		MaStep	   *step = lfirst(cell);

		if (step->kind == MA_STEP_GOTO && step->target != NULL &&
			list_member_ptr(reach_from(analysis, step->target, false), step))
			ma_problem(&analysis->warnings, psprintf("%s.goto", step->path), "Put a wait between.",
					   "goes round up to %d times without a wait", step->at_most);
		if (step->kind == MA_STEP_ENROLL && strcmp(step->text, analysis->name) == 0 &&
			program->reentry == MA_REENTRY_ALWAYS && program->filter == NULL)
			ma_problem(&analysis->warnings, psprintf("%s.enroll", step->path),
					   "\"goto\" with \"at_most\" goes round so often, and {\"every\": \"30 days\"} is a pace.",
					   "begins the journey again without end");
	}
}

static bool
same_event(const MaCondition *a, const MaCondition *b)
{
	if (a->event == NULL || b->event == NULL || strcmp(a->event, b->event) != 0)
		return false;
	if ((a->where == NULL) != (b->where == NULL) || (a->step == NULL) != (b->step == NULL))
		return false;
	return (a->where == NULL || strcmp(a->where, b->where) == 0) &&
		(a->step == NULL || strcmp(a->step, b->step) == 0) && a->since_entry >= b->since_entry;
}

/* Conditions of a wait that never end it. */
static void
warn_waits(MaAnalysis *analysis, const MaStep *step)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, step->conditions)
	{
		MaCondition *condition = lfirst(cell);
		MaStep	   *send = condition->step ?
			ma_program_step(analysis->program, condition->step) : NULL;

		if (send != NULL && !list_member_ptr(reach_from(analysis, send, true), step))
			ma_problem(&analysis->warnings, psprintf("%s.step", condition->path), NULL,
					   "\"%s\" is not sent before this wait", condition->step);
		foreach(inner, step->conditions)
		{
			if (lfirst(inner) == condition)
				break;
			if (!same_event(lfirst(inner), condition))
				continue;
			ma_problem(&analysis->warnings, condition->path, NULL,
					   "never ends the wait: the same event stands before it");
			break;
		}
	}
}

void
ma_analyse_ways(MaAnalysis *analysis)
{
	const MaProgram *program = analysis->program;
	ListCell   *cell;

	analysis->reached = reach_from(analysis, program->steps ? linitial(program->steps) : NULL,
								   true);
	warn_unreached(analysis);
	warn_loops(analysis);
	foreach(cell, analysis->reached)
		if (((MaStep *) lfirst(cell))->kind == MA_STEP_WAIT_UNTIL)
			warn_waits(analysis, lfirst(cell));
}
