/*
 * parse_goal.c
 *		The goal of a journey, and milestones on the way to it.
 *
 * Both are an event with its condition, counted from the entry.  They end nothing by
 * themselves: "exit_on" does.
 */
#include "base/base.h"

#include "journeys/parse/parse.h"

static MaGoal *parse_goal(MaProgram *program, const MaJson *json, const char *const *keys,
						  List **problems);
static void parse_milestones(MaProgram *program, const MaJson *json, List **problems);

void
ma_read_goals(MaProgram *program, const MaJson *tree, List **problems)
{
	static const char *const keys[] = {"event", "where", "within", "target", NULL};
	MaJson	   *goal = ma_json_member(tree, "goal");
	MaJson	   *milestones = ma_json_member(tree, "milestones");

	if (goal != NULL && ma_json_is_object(goal, problems))
		parse_goal(program, goal, keys, problems)->name = "goal";
	if (milestones != NULL)
		parse_milestones(program, milestones, problems);
}

/* What goal and milestones have in common. */
static MaGoal *
parse_goal(MaProgram *program, const MaJson *json, const char *const *keys, List **problems)
{
	MaGoal	   *goal = palloc0_object(MaGoal);
	MaJson	   *member;

	ma_json_known_keys(json, keys, problems);
	goal->condition = ma_read_condition(program, json->path);
	goal->condition->event = ma_read_text(json, "event", problems);
	goal->condition->where = ma_read_text(json, "where", problems);
	if (ma_json_member(json, "event") == NULL)
		ma_problem(problems, json->path, "For example {\"event\": \"order_placed\", \"within\": \"30 days\"}.",
				   "needs \"event\"");
	else if (goal->condition->event != NULL &&
			 strcmp(goal->condition->event, "goal_reached") == 0)
		ma_problem(problems, json->path, "Name the event that is wanted.",
				   "\"goal_reached\" comes of a goal and cannot be one");
	if ((member = ma_json_member(json, "within")) != NULL)
		goal->within = ma_read_duration(member, problems);
	if ((member = ma_json_member(json, "target")) != NULL)
		goal->target = ma_json_share(member, problems);
	program->goals = lappend(program->goals, goal);
	return goal;
}

static void
parse_milestones(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"name", "event", "where", "within", "target", NULL};
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, ma_json_array(json, problems))
	{
		MaJson	   *item = lfirst(cell);
		MaGoal	   *milestone;
		char	   *name;

		if (!ma_json_is_object(item, problems))
			continue;
		name = ma_read_text(item, "name", problems);
		if (ma_json_member(item, "name") == NULL)
			ma_problem(problems, item->path, NULL, "needs \"name\"");
		else if (name != NULL && strcmp(name, "goal") == 0)
			ma_problem(problems, item->path, NULL, "\"goal\" is the name of the goal itself");
		foreach(inner, program->goals)
			if (name != NULL && ((MaGoal *) lfirst(inner))->milestone &&
				strcmp(((MaGoal *) lfirst(inner))->name, name) == 0)
				ma_problem(problems, item->path, NULL, "there is another one of the name \"%s\"",
						   name);
		milestone = parse_goal(program, item, keys, problems);
		milestone->name = name ? name : "";
		milestone->milestone = true;
	}
}
