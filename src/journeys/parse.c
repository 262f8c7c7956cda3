/*
 * parse.c
 *		From the JSON of a definition to the program: what it says, and how its
 *		steps follow each other.
 *
 * Nothing is looked up here, so a stored definition can always be read again,
 * whatever has been dropped since; check.c looks at names and rules when a journey
 * is defined.  The id of a step is what enrollments are stored with: its "id", else
 * the template of a send, else its place in the definition, which never changes in
 * one version.
 */
#include "base/base.h"

#include "journeys/program.h"

/* Keys that belong to the language and are not part of this version. */
static const char *const later_keys[] = {
	"goal", "milestones", "quiet_hours", "holdout", "max_lateness", "surge_limit", NULL
};
static const char *const later_steps[] = {
	"wait_for_time", "split", "test", "update", "score", "stage", "task", "webhook", "sql",
			"notify", NULL
};

static const struct
{
	const char *name;
	MaStepKind	kind;
	const char *keys[6];		/* that may stand beside it */
}			step_kinds[] = {
	{"wait", MA_STEP_WAIT, {"wait", "id"}},
	{"wait_until", MA_STEP_WAIT_UNTIL, {"wait_until", "timeout", "else", "id"}},
	{"send", MA_STEP_SEND, {"send", "otherwise", "nowait", "to", "id"}},
	{"branch", MA_STEP_BRANCH, {"branch", "id"}},
	{"add_to_list", MA_STEP_ADD_TO_LIST, {"add_to_list", "id"}},
	{"remove_from_list", MA_STEP_REMOVE_FROM_LIST, {"remove_from_list", "id"}},
	{"enroll", MA_STEP_ENROLL, {"enroll", "id"}},
	{"goto", MA_STEP_GOTO, {"goto", "at_most", "id"}},
	{"exit", MA_STEP_EXIT, {"exit", "id"}},
};

static void later(const MaJson *value, List **problems);
static bool is_one_of(const char *key, const char *const *keys);
static char *text_member(const MaJson *object, const char *key, List **problems);
static char *duration(const MaJson *value, List **problems);
static MaCondition *new_condition(MaProgram *program, const char *path);
static void parse_entry(MaProgram *program, const MaJson *json, List **problems);
static void parse_entry_event(MaProgram *program, const MaJson *json, List **problems);
static void parse_reentry(MaProgram *program, const MaJson *json, List **problems);
static void parse_exits(MaProgram *program, const MaJson *json, List **problems);
static List *parse_steps(MaProgram *program, const MaJson *json, List **problems);
static MaStep *parse_step(MaProgram *program, const MaJson *json, List **problems);
static void parse_send(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void parse_wait_until(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void parse_wait_condition(MaProgram *program, MaStep *step, const MaJson *json,
								 bool alone, List **problems);
static void parse_branch(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void link_steps(List *steps, MaStep *after);
static void check_ids(MaProgram *program, List **problems);

MaProgram *
ma_program_parse(Datum definition, List **problems)
{
	static const char *const keys[] = {
		"entry", "reentry", "max_live", "filter", "exit_on", "steps", "campaign", "priority",
		"description",
		/* parsed as later_keys */
		"goal", "milestones", "quiet_hours", "holdout", "max_lateness", "surge_limit", NULL
	};
	MaProgram  *program = palloc0_object(MaProgram);
	MaJson	   *tree = ma_json_tree(definition);
	MaJson	   *member;

	program->reentry = MA_REENTRY_AFTER_EXIT;
	if (!ma_json_is_object(tree, problems))
		return program;
	ma_json_known_keys(tree, keys, problems);
	for (int i = 0; later_keys[i] != NULL; i++)
		if ((member = ma_json_member(tree, later_keys[i])) != NULL)
			later(member, problems);
	if ((member = ma_json_member(tree, "entry")) != NULL)
		parse_entry(program, member, problems);
	if ((member = ma_json_member(tree, "reentry")) != NULL)
		parse_reentry(program, member, problems);
	if ((member = ma_json_member(tree, "max_live")) != NULL)
		program->max_live = ma_json_number(member, 1, 1000000, problems);
	if ((member = ma_json_member(tree, "priority")) != NULL)
	{
		program->priority = ma_json_number(member, -1000000, 1000000, problems);
		program->has_priority = true;
	}
	program->filter = text_member(tree, "filter", problems);
	program->campaign = text_member(tree, "campaign", problems);
	(void) text_member(tree, "description", problems);
	if ((member = ma_json_member(tree, "exit_on")) != NULL)
		parse_exits(program, member, problems);
	if ((member = ma_json_member(tree, "steps")) == NULL)
		ma_problem(problems, "steps", "For example {\"steps\": [{\"wait\": \"1 day\"}, {\"send\": \"welcome\"}]}.",
				   "is missing");
	else
		program->steps = parse_steps(program, member, problems);
	if (member != NULL && member->type == MA_JSON_ARRAY && member->items == NIL)
		ma_problem(problems, "steps", "For example {\"steps\": [{\"wait\": \"1 day\"}, {\"send\": \"welcome\"}]}.",
				   "is empty");
	link_steps(program->steps, NULL);
	check_ids(program, problems);
	return program;
}

static void
later(const MaJson *value, List **problems)
{
	ma_problem(problems, value->path, NULL, "is not supported by this version");
	((MaProblem *) llast(*problems))->unsupported = true;
}

static bool
is_one_of(const char *key, const char *const *keys)
{
	for (int i = 0; keys[i] != NULL; i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* Text of an optional member; NULL if it is not there. */
static char *
text_member(const MaJson *object, const char *key, List **problems)
{
	MaJson	   *member = ma_json_member(object, key);

	return member ? ma_json_text(member, problems) : NULL;
}

static char *
duration(const MaJson *value, List **problems)
{
	char	   *text = ma_json_text(value, problems);

	if (text != NULL && ma_duration_valid(text) && ma_duration_is_zero(text))
	{
		ma_problem(problems, value->path, "Leave it out, or give a time as \"1 hour\".",
				   "\"%s\" is no time at all", text);
		return NULL;
	}
	if (text == NULL || ma_duration_valid(text))
		return text;
	ma_problem(problems, value->path, "For example \"2 days\", \"48 hours\" or \"1 day 12 hours\"; at most 100 years.",
			   "\"%s\" is not a duration", text);
	return NULL;
}

static MaCondition *
new_condition(MaProgram *program, const char *path)
{
	MaCondition *condition = palloc0_object(MaCondition);

	condition->path = path;
	condition->number = list_length(program->conditions);
	program->conditions = lappend(program->conditions, condition);
	return condition;
}

static void
parse_entry(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {
		"event", "where", "key", "on_repeat", "segment_entered", "segment_left",
		"date", "anniversary", "schedule", "offset", "at", "leap", NULL
	};
	static const char *const later_entries[] = {
		"date", "anniversary", "schedule", "offset", "at", "leap", NULL
	};
	MaJson	   *event;
	int			kinds = 0;

	if (!ma_json_is_object(json, problems))
		return;
	ma_json_known_keys(json, keys, problems);
	for (int i = 0; later_entries[i] != NULL; i++)
		if (ma_json_member(json, later_entries[i]) != NULL)
		{
			later(ma_json_member(json, later_entries[i]), problems);
			kinds = 1;
		}
	event = ma_json_member(json, "event");
	kinds += (event != NULL) + (ma_json_member(json, "segment_entered") != NULL) +
		(ma_json_member(json, "segment_left") != NULL);
	if (kinds != 1)
		ma_problem(problems, json->path, "Without \"entry\" contacts enter by enroll() only.",
				   "needs exactly one of \"event\", \"segment_entered\" and \"segment_left\"");
	else
		parse_entry_event(program, json, problems);
}

static void
parse_entry_event(MaProgram *program, const MaJson *json, List **problems)
{
	MaCondition *entry = new_condition(program, json->path);
	MaJson	   *repeat = ma_json_member(json, "on_repeat");

	program->entry = entry;
	entry->event = text_member(json, "event", problems);
	if (ma_json_member(json, "segment_entered") != NULL || ma_json_member(json,
			"segment_left") != NULL)
	{
		bool		entered = ma_json_member(json, "segment_entered") != NULL;

		entry->event = entered ? "segment_entered" : "segment_left";
		entry->segment = text_member(json, entry->event, problems);
		if (ma_json_member(json, "where") || ma_json_member(json, "key"))
			ma_problem(problems, json->path, "Use \"filter\" for a rule over the contact.",
					   "\"where\" and \"key\" belong to an entry by event");
	}
	else
	{
		entry->where = text_member(json, "where", problems);
		entry->key = text_member(json, "key", problems);
	}
	if (repeat == NULL || ma_json_text(repeat, problems) == NULL)
		return;
	if (strcmp(repeat->text, "restart") == 0)
		program->on_repeat = MA_REPEAT_RESTART;
	else if (strcmp(repeat->text, "refresh") == 0)
		program->on_repeat = MA_REPEAT_REFRESH;
	else if (strcmp(repeat->text, "ignore") != 0)
		ma_problem(problems, repeat->path, NULL, "must be \"ignore\", \"restart\" or \"refresh\"");
}

static void
parse_reentry(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const names[] = {"once", "after_exit", "always", "every", "per_key"};
	static const char *const keys[] = {"every", NULL};

	if (json->type == MA_JSON_OBJECT)
	{
		MaJson	   *every = ma_json_member(json, "every");

		ma_json_known_keys(json, keys, problems);
		program->reentry = MA_REENTRY_EVERY;
		if (every == NULL)
			ma_problem(problems, json->path, NULL, "needs \"every\", as {\"every\": \"7 days\"}");
		else
			program->every = duration(every, problems);
		return;
	}
	for (int i = 0; i < lengthof(names); i++)
		if (json->type == MA_JSON_TEXT && strcmp(json->text, names[i]) == 0 &&
				i != MA_REENTRY_EVERY)
		{
			program->reentry = i;
			if (i == MA_REENTRY_PER_KEY && (program->entry == NULL || program->entry->key == NULL))
				ma_problem(problems, json->path, "Add \"key\" to \"entry\": the column whose value tells runs apart.",
						   "\"per_key\" needs an entry with a key");
			return;
		}
	ma_problem(problems, json->path, NULL,
			   "must be \"once\", \"after_exit\", \"always\", \"per_key\" or {\"every\": \"7 days\"}");
}

static void
parse_exits(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"event", "where", "if", NULL};
	ListCell   *cell;

	foreach(cell, ma_json_array(json, problems))
	{
		MaJson	   *item = lfirst(cell);
		MaCondition *exit;

		if (!ma_json_is_object(item, problems))
			continue;
		ma_json_known_keys(item, keys, problems);
		exit = new_condition(program, item->path);
		exit->event = text_member(item, "event", problems);
		exit->where = text_member(item, "where", problems);
		exit->rule = text_member(item, "if", problems);
		if ((ma_json_member(item, "event") == NULL) == (ma_json_member(item, "if") == NULL))
			ma_problem(problems, item->path, NULL, "needs either \"event\" or \"if\"");
		else if (ma_json_member(item, "if") && ma_json_member(item, "where"))
			ma_problem(problems, item->path, NULL, "\"where\" belongs to an event");
		program->exits = lappend(program->exits, exit);
	}
}

static List *
parse_steps(MaProgram *program, const MaJson *json, List **problems)
{
	List	   *steps = NIL;
	ListCell   *cell;

	foreach(cell, ma_json_array(json, problems))
	{
		MaStep	   *step = parse_step(program, lfirst(cell), problems);

		if (step != NULL)
			steps = lappend(steps, step);
	}
	return steps;
}

/* Place of the one kind the object has in step_kinds; -1 with a problem. */
static int
kind_of_step(const MaJson *json, List **problems)
{
	List	   *known = NIL;
	int			kind = -1;
	int			count = 0;
	MaJson	   *member = NULL;
	char	   *nearest;
	ListCell   *cell;

	for (int i = 0; i < lengthof(step_kinds); i++)
	{
		known = lappend(known, unconstify(char *, step_kinds[i].name));
		if (ma_json_member(json, step_kinds[i].name) == NULL)
			continue;
		kind = i;
		count++;
	}
	foreach(cell, json->items)
	{
		member = lfirst(cell);
		if (is_one_of(member->key, later_steps))
		{
			later(member, problems);
			return -1;
		}
	}
	if (count == 1)
		return kind;
	/* The name it is most likely meant to have: that of its only or first odd key. */
	member = NULL;
	foreach(cell, json->items)
		if (member == NULL && strcmp(((MaJson *) lfirst(cell))->key, "id") != 0)
			member = lfirst(cell);
	nearest = member ? ma_nearest(member->key, known) : NULL;
	if (count > 1)
		ma_problem(problems, json->path, "Make them steps of their own.",
				   "is more than one step");
	else if (member == NULL)
		ma_problem(problems, json->path, NULL, "names no step");
	else
		ma_problem(problems, member->path, nearest ? psprintf("Did you mean %s?", nearest) : NULL,
				   "there is no step \"%s\"", member->key);
	return -1;
}

static MaStep *
parse_step(MaProgram *program, const MaJson *json, List **problems)
{
	MaStep	   *step;
	MaJson	   *value;
	char	   *id;
	int			kind;

	if (!ma_json_is_object(json, problems))
		return NULL;
	kind = kind_of_step(json, problems);
	if (kind < 0)
		return NULL;
	ma_json_known_keys(json, step_kinds[kind].keys, problems);
	step = palloc0_object(MaStep);
	step->kind = step_kinds[kind].kind;
	step->path = json->path;
	program->all = lappend(program->all, step);
	value = ma_json_member(json, step_kinds[kind].name);
	id = text_member(json, "id", problems);
	switch (step->kind)
	{
		case MA_STEP_WAIT:
			step->text = duration(value, problems);
			break;
		case MA_STEP_SEND:
			step->text = ma_json_text(value, problems);
			parse_send(program, step, json, problems);
			break;
		case MA_STEP_WAIT_UNTIL:
			parse_wait_until(program, step, json, problems);
			break;
		case MA_STEP_BRANCH:
			parse_branch(program, step, value, problems);
			break;
		case MA_STEP_GOTO:
			step->text = ma_json_text(value, problems);
			if (ma_json_member(json, "at_most") == NULL)
				ma_problem(problems, json->path, "For example {\"goto\": \"reminder\", \"at_most\": 3}.",
						   "needs \"at_most\", how often a run may take it");
			else
				step->at_most = ma_json_number(ma_json_member(json, "at_most"), 1, 1000, problems);
			break;
		default:
			step->text = ma_json_text(value, problems);
			break;
	}
	step->id = id ? id : step->kind == MA_STEP_SEND && step->text ? step->text : json->path;
	return step;
}

static void
parse_send(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *otherwise = ma_json_member(json, "otherwise");
	MaJson	   *nowait = ma_json_member(json, "nowait");
	MaJson	   *to = ma_json_member(json, "to");

	if (otherwise != NULL)
		step->otherwise = parse_steps(program, otherwise, problems);
	if (nowait != NULL)
		step->nowait = ma_json_bool(nowait, problems);
	if (step->nowait && otherwise != NULL)
		ma_problem(problems, otherwise->path, "Leave \"nowait\" out.",
				   "a send that is not waited for has no \"otherwise\"");
	if (to != NULL && ma_json_text(to, problems) != NULL && strcmp(to->text, "contact") != 0)
		later(to, problems);
}

static void
parse_wait_until(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *value = ma_json_member(json, "wait_until");
	MaJson	   *timeout = ma_json_member(json, "timeout");
	MaJson	   *otherwise = ma_json_member(json, "else");
	ListCell   *cell;

	if (value->type == MA_JSON_ARRAY)
	{
		foreach(cell, value->items)
			parse_wait_condition(program, step, lfirst(cell), false, problems);
		if (value->items == NIL)
			ma_problem(problems, value->path, NULL, "waits for nothing");
	}
	else
		parse_wait_condition(program, step, value, true, problems);
	if (timeout == NULL)
		ma_problem(problems, json->path, "For example \"timeout\": \"3 days\", or \"never\".",
				   "needs \"timeout\"");
	else if (timeout->type != MA_JSON_TEXT || strcmp(timeout->text, "never") != 0)
		step->timeout = duration(timeout, problems);
	if (otherwise != NULL)
		step->otherwise = parse_steps(program, otherwise, problems);
}

/* One thing a wait_until waits for; in a list each may have a path of its own. */
static void
parse_wait_condition(MaProgram *program, MaStep *step, const MaJson *json, bool alone,
		List **problems)
{
	static const char *const keys[] = {"event", "where", "step", "since", "if", "then", NULL};
	MaCondition *condition;
	MaJson	   *since;
	MaJson	   *then;

	if (!ma_json_is_object(json, problems))
		return;
	ma_json_known_keys(json, keys, problems);
	condition = new_condition(program, json->path);
	step->conditions = lappend(step->conditions, condition);
	condition->event = text_member(json, "event", problems);
	condition->where = text_member(json, "where", problems);
	condition->step = text_member(json, "step", problems);
	condition->rule = text_member(json, "if", problems);
	if ((ma_json_member(json, "event") == NULL) == (ma_json_member(json, "if") == NULL))
		ma_problem(problems, json->path, NULL, "needs either \"event\" or \"if\"");
	since = ma_json_member(json, "since");
	if (since != NULL && ma_json_text(since, problems) != NULL)
	{
		condition->since_entry = strcmp(since->text, "entry") == 0;
		if (!condition->since_entry)
			ma_problem(problems, since->path, NULL, "must be \"entry\"");
	}
	then = ma_json_member(json, "then");
	if (then != NULL && alone)
		ma_problem(problems, then->path, "Write the steps after the wait, or make \"wait_until\" a list.",
				   "a single condition has no path of its own");
	else if (then != NULL)
		condition->steps = parse_steps(program, then, problems);
}

static void
parse_branch(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"if", "then", "else", NULL};
	List	   *items = ma_json_array(json, problems);
	ListCell   *cell;

	if (json->type == MA_JSON_ARRAY && items == NIL)
		ma_problem(problems, json->path, NULL, "has no path");
	foreach(cell, items)
	{
		MaJson	   *item = lfirst(cell);
		MaJson	   *otherwise = ma_json_member(item, "else");
		MaCondition *path;

		if (!ma_json_is_object(item, problems))
			continue;
		ma_json_known_keys(item, keys, problems);
		if (otherwise != NULL)
		{
			step->otherwise = parse_steps(program, otherwise, problems);
			if (lnext(items, cell) != NULL || list_length(item->items) > 1)
				ma_problem(problems, item->path, NULL, "\"else\" stands alone and last");
			continue;
		}
		path = new_condition(program, item->path);
		step->conditions = lappend(step->conditions, path);
		path->rule = text_member(item, "if", problems);
		if (ma_json_member(item, "if") == NULL)
			ma_problem(problems, item->path, NULL, "needs \"if\"");
		if (ma_json_member(item, "then") == NULL)
			ma_problem(problems, item->path, NULL, "needs \"then\"");
		else
			path->steps = parse_steps(program, ma_json_member(item, "then"), problems);
	}
}

/* What follows each step; the paths of a step rejoin at the one after it. */
static void
link_steps(List *steps, MaStep *after)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, steps)
	{
		MaStep	   *step = lfirst(cell);

		step->next = lnext(steps, cell) ? lfirst(lnext(steps, cell)) : after;
		step->other = step->otherwise ? linitial(step->otherwise) : step->next;
		link_steps(step->otherwise, step->next);
		foreach(inner, step->conditions)
		{
			MaCondition *condition = lfirst(inner);

			condition->then = condition->steps ? linitial(condition->steps) : step->next;
			link_steps(condition->steps, step->next);
		}
	}
}

/* Ids are unique; targets of goto and the steps that waits name exist. */
static void
check_ids(MaProgram *program, List **problems)
{
	List	   *ids = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, program->all)
	{
		MaStep	   *step = lfirst(cell);

		if (ma_program_step(program, step->id) != step)
			ma_problem(problems, step->path, "Give one of them an \"id\".",
					   "there is another step with the id \"%s\"", step->id);
		ids = lappend(ids, unconstify(char *, step->id));
	}
	foreach(cell, program->all)
	{
		MaStep	   *step = lfirst(cell);

		if (step->kind == MA_STEP_GOTO && step->text != NULL &&
			(step->target = ma_program_step(program, step->text)) == NULL)
		{
			char	   *nearest = ma_nearest(step->text, ids);

			ma_problem(problems, psprintf("%s.goto", step->path),
					   nearest ? psprintf("Did you mean %s?", nearest) : NULL,
					   "there is no step with the id \"%s\"", step->text);
		}
		foreach(inner, step->conditions)
		{
			MaCondition *condition = lfirst(inner);
			MaStep	   *named = condition->step ? ma_program_step(program, condition->step) : NULL;

			if (condition->step != NULL && (named == NULL || named->kind != MA_STEP_SEND))
				ma_problem(problems, psprintf("%s.step", condition->path), NULL,
						   "there is no send with the id \"%s\"", condition->step);
		}
	}
}

MaStep *
ma_program_step(const MaProgram *program, const char *id)
{
	ListCell   *cell;

	foreach(cell, program->all)
		if (strcmp(((MaStep *) lfirst(cell))->id, id) == 0)
			return lfirst(cell);
	return NULL;
}

const char *
ma_step_kind_name(MaStepKind kind)
{
	for (int i = 0; i < lengthof(step_kinds); i++)
		if (step_kinds[i].kind == kind)
			return step_kinds[i].name;
	elog(ERROR, "cannot happen: step kind %d", (int) kind);
}
