/*
 * parse_steps.c
 *		The steps of a definition: each kind with its keys and paths.
 *
 * See parse.c; nothing is looked up here either.
 */
#include "base/base.h"

#include "journeys/define/parse.h"
#include "utils/builtins.h"

static const struct
{
	const char *name;
	MaStepKind	kind;
	const char *keys[7];		/* that may stand beside it */
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
	{"wait_for_time", MA_STEP_WAIT_FOR_TIME, {"wait_for_time", "id"}},
	{"webhook", MA_STEP_SEND, {"webhook", "otherwise", "nowait", "id"}},
	{"split", MA_STEP_SPLIT, {"split", "id"}},
	{"update", MA_STEP_UPDATE, {"update", "id"}},
	{"sql", MA_STEP_SQL, {"sql", "id"}},
	{"notify", MA_STEP_NOTIFY, {"notify", "id"}},
	{"score", MA_STEP_SCORE, {"score", "points", "reason", "id"}},
	{"stage", MA_STEP_STAGE, {"stage", "id"}},
	{"task", MA_STEP_TASK, {"task", "assign", "due", "id"}},
	{"test", MA_STEP_TEST, {"test", "otherwise", "id"}},
};

/* Reads what a path of this kind has besides its steps. */
typedef void (*ReadPath) (MaCondition *path, const MaJson *item, List **problems);

static MaStep *parse_step(MaProgram *program, const MaJson *json, List **problems);
static void parse_words(MaProgram *program, MaStep *step, const MaJson *json, MaJson *value,
						List **problems);
static void parse_goto(MaStep *step, const MaJson *json, List **problems);
static void parse_send(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void parse_test(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void parse_wait_until(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void parse_wait_condition(MaProgram *program, MaStep *step, const MaJson *json,
								 bool alone, List **problems);
static void parse_paths(MaProgram *program, MaStep *step, const MaJson *json,
						const char *const *keys, ReadPath read_path, List **problems);
static void parse_split(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void read_share(MaCondition *path, const MaJson *item, List **problems);
static void parse_update(MaStep *step, const MaJson *json, List **problems);
static void parse_score(MaStep *step, const MaJson *json, List **problems);
static void parse_branch(MaProgram *program, MaStep *step, const MaJson *json, List **problems);
static void read_if(MaCondition *path, const MaJson *item, List **problems);

List *
ma_read_steps(MaProgram *program, const MaJson *json, List **problems)
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
	if (count == 1)
		return kind;
	/* The name it is most likely meant to have: that of its only or first odd key. */
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
	step->word = step_kinds[kind].name;
	step->path = json->path;
	program->all = lappend(program->all, step);
	value = ma_json_member(json, step_kinds[kind].name);
	id = ma_read_text(json, "id", problems);
	parse_words(program, step, json, value, problems);
	step->id = id ? id : step->kind == MA_STEP_SEND && step->text ? step->text : json->path;
	return step;
}

/* What the step says, by its kind: `value` is what stands behind the kind's name. */
static void
parse_words(MaProgram *program, MaStep *step, const MaJson *json, MaJson *value, List **problems)
{
	switch (step->kind)
	{
		case MA_STEP_WAIT:
			step->text = ma_read_duration(value, problems);
			break;
		case MA_STEP_SEND:
			step->text = ma_json_text(value, problems);
			parse_send(program, step, json, problems);
			break;
		case MA_STEP_TEST:
			parse_test(program, step, json, problems);
			break;
		case MA_STEP_WAIT_UNTIL:
			parse_wait_until(program, step, json, problems);
			break;
		case MA_STEP_BRANCH:
			parse_branch(program, step, value, problems);
			break;
		case MA_STEP_SPLIT:
			parse_split(program, step, value, problems);
			break;
		case MA_STEP_UPDATE:
			parse_update(step, value, problems);
			break;
		case MA_STEP_WAIT_FOR_TIME:
			step->window = ma_read_time_step(value, problems);
			break;
		case MA_STEP_SCORE:
			step->text = ma_json_text(value, problems);
			parse_score(step, json, problems);
			break;
		case MA_STEP_TASK:
			step->text = ma_json_text(value, problems);
			step->assign = ma_read_text(json, "assign", problems);
			if (ma_json_member(json, "due") != NULL)
				step->due = ma_read_duration(ma_json_member(json, "due"), problems);
			break;
		case MA_STEP_GOTO:
			step->text = ma_json_text(value, problems);
			parse_goto(step, json, problems);
			break;
		default:
			step->text = ma_json_text(value, problems);
			break;
	}
}

static void
parse_goto(MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *at_most = ma_json_member(json, "at_most");

	if (at_most == NULL)
		ma_problem(problems, json->path, "For example {\"goto\": \"reminder\", \"at_most\": 3}.",
				   "needs \"at_most\", how often a run may take it");
	else
		step->at_most = ma_json_number(at_most, 1, 1000, problems);
}

static void
parse_send(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *otherwise = ma_json_member(json, "otherwise");
	MaJson	   *nowait = ma_json_member(json, "nowait");
	MaJson	   *to = ma_json_member(json, "to");

	if (otherwise != NULL)
		step->otherwise = ma_read_steps(program, otherwise, problems);
	if (nowait != NULL)
		step->nowait = ma_json_bool(nowait, problems);
	if (step->nowait && otherwise != NULL)
		ma_problem(problems, otherwise->path, "Leave \"nowait\" out.",
				   "a send that is not waited for has no \"otherwise\"");
	if (to == NULL || ma_json_text(to, problems) == NULL)
		return;
	step->to_owner = strcmp(to->text, "owner") == 0;
	if (!step->to_owner && strcmp(to->text, "contact") != 0)
		ma_problem(problems, to->path, NULL, "must be \"contact\" or \"owner\"");
}

/* The variants' messages are those of the step. */
static void
parse_test(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *value = ma_json_member(json, "test");
	MaJson	   *otherwise = ma_json_member(json, "otherwise");

	step->test = ma_test_parse(value, true, problems);
	step->form = ma_json_print(value);
	if (otherwise != NULL)
		step->otherwise = ma_read_steps(program, otherwise, problems);
}

/* {"score": "lead", "points": 10, "reason": "came back"} */
static void
parse_score(MaStep *step, const MaJson *json, List **problems)
{
	MaJson	   *points = ma_json_member(json, "points");

	step->reason = ma_read_text(json, "reason", problems);
	if (points == NULL || points->type != MA_JSON_NUMBER)
		ma_problem(problems, points ? points->path : json->path,
				   "For example {\"score\": \"lead\", \"points\": 10}.",
				   points ? "must be a number" : "needs \"points\"");
	else
		step->points = DatumGetFloat8(DirectFunctionCall1(float8in,
														  CStringGetDatum(points->text)));
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
		step->timeout = ma_read_duration(timeout, problems);
	if (otherwise != NULL)
		step->otherwise = ma_read_steps(program, otherwise, problems);
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
	condition = ma_read_condition(program, json->path);
	step->conditions = lappend(step->conditions, condition);
	condition->event = ma_read_text(json, "event", problems);
	condition->where = ma_read_text(json, "where", problems);
	condition->step = ma_read_text(json, "step", problems);
	condition->rule = ma_read_text(json, "if", problems);
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
		condition->steps = ma_read_steps(program, then, problems);
}

/* Attributes of the contact, as identify() takes them. */
static void
parse_update(MaStep *step, const MaJson *json, List **problems)
{
	if (!ma_json_is_object(json, problems))
		return;
	if (json->items == NIL)
		ma_problem(problems, json->path, "For example {\"update\": {\"plan\": \"gold\"}}.",
				   "changes nothing");
	step->text = ma_json_print(json);
}

/* The paths of a branch or split, the last of which may be {"else": ...}. */
static void
parse_paths(MaProgram *program, MaStep *step, const MaJson *json, const char *const *keys,
			ReadPath read_path, List **problems)
{
	List	   *items = ma_json_array(json, problems);
	ListCell   *cell;

	if (json->type == MA_JSON_ARRAY && items == NIL)
		ma_problem(problems, json->path, NULL, "has no path");
	foreach(cell, items)
	{
		MaJson	   *item = lfirst(cell);
		MaJson	   *otherwise = ma_json_member(item, "else");
		MaJson	   *then = ma_json_member(item, "then");
		MaCondition *path;

		if (!ma_json_is_object(item, problems))
			continue;
		ma_json_known_keys(item, keys, problems);
		if (otherwise != NULL)
		{
			step->otherwise = ma_read_steps(program, otherwise, problems);
			if (lnext(items, cell) != NULL || list_length(item->items) > 1)
				ma_problem(problems, item->path, NULL, "\"else\" stands alone and last");
			continue;
		}
		path = ma_read_condition(program, item->path);
		step->conditions = lappend(step->conditions, path);
		read_path(path, item, problems);
		if (then != NULL)
			path->steps = ma_read_steps(program, then, problems);
	}
}

/* Paths that take shares of the contacts; who gets none goes on behind them. */
static void
parse_split(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"share", "name", "then", "else", NULL};
	double		sum = 0;
	ListCell   *cell;

	parse_paths(program, step, json, keys, read_share, problems);
	foreach(cell, step->conditions)
		sum += ((MaCondition *) lfirst(cell))->share;
	if (sum > 1 + 1e-9)
		ma_problem(problems, json->path, NULL, "the shares are more than 1 together");
}

static void
read_share(MaCondition *path, const MaJson *item, List **problems)
{
	path->name = ma_read_text(item, "name", problems);
	if (ma_json_member(item, "share") == NULL)
		ma_problem(problems, item->path, "For example {\"share\": 0.5, \"then\": [...]}.",
				   "needs \"share\"");
	else
		path->share = ma_json_share(ma_json_member(item, "share"), problems);
}

static void
parse_branch(MaProgram *program, MaStep *step, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"if", "then", "else", NULL};

	parse_paths(program, step, json, keys, read_if, problems);
}

static void
read_if(MaCondition *path, const MaJson *item, List **problems)
{
	path->rule = ma_read_text(item, "if", problems);
	if (ma_json_member(item, "if") == NULL)
		ma_problem(problems, item->path, NULL, "needs \"if\"");
	if (ma_json_member(item, "then") == NULL)
		ma_problem(problems, item->path, NULL, "needs \"then\"");
}

List *
ma_step_templates(const MaStep *step)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (step->kind == MA_STEP_SEND && step->text != NULL)
		names = lappend(names, step->text);
	foreach(cell, step->kind == MA_STEP_TEST ? step->test->variants : NIL)
		if (((MaVariant *) lfirst(cell))->template != NULL)
			names = lappend(names, ((MaVariant *) lfirst(cell))->template);
	return names;
}

const char *
ma_step_kind_name(MaStepKind kind)
{
	for (int i = 0; i < lengthof(step_kinds); i++)
		if (step_kinds[i].kind == kind)
			return step_kinds[i].name;
	elog(ERROR, "cannot happen: step kind %d", (int) kind);
}
