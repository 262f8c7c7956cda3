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

#include "journeys/parse/parse.h"

static void parse_entry(MaProgram *program, const MaJson *json, List **problems);
static void parse_entry_event(MaProgram *program, const MaJson *json, List **problems);
static void parse_entry_date(MaProgram *program, const MaJson *json, const char *key,
							 List **problems);
static void parse_entry_schedule(MaProgram *program, const MaJson *json, List **problems);
static void parse_max_entries(MaProgram *program, const MaJson *json, List **problems);
static void parse_reentry(MaProgram *program, const MaJson *json, List **problems);
static void parse_exits(MaProgram *program, const MaJson *json, List **problems);
static void link_steps(List *steps, MaStep *after);
static void check_ids(MaProgram *program, List **problems);

MaProgram *
ma_program_parse(Datum definition, List **problems)
{
	static const char *const keys[] = {
		"entry", "reentry", "max_live", "filter", "exit_on", "steps", "campaign", "priority",
		"description",
		"quiet_hours", "send_window", "holdout", "max_lateness", "goal", "milestones",
		"surge_limit", "max_entries", NULL
	};
	MaProgram  *program = palloc0_object(MaProgram);
	MaJson	   *tree = ma_json_tree(definition);
	MaJson	   *member;

	program->reentry = MA_REENTRY_AFTER_EXIT;
	if (!ma_json_is_object(tree, problems))
		return program;
	ma_json_known_keys(tree, keys, problems);
	if ((member = ma_json_member(tree, "entry")) != NULL)
		parse_entry(program, member, problems);
	if ((member = ma_json_member(tree, "reentry")) != NULL)
		parse_reentry(program, member, problems);
	if ((member = ma_json_member(tree, "max_live")) != NULL)
		program->max_live = ma_json_number(member, 1, 1000000, problems);
	if ((member = ma_json_member(tree, "max_entries")) != NULL)
		parse_max_entries(program, member, problems);
	if ((member = ma_json_member(tree, "surge_limit")) != NULL)
		program->surge_limit = ma_json_share(member, problems);
	if ((member = ma_json_member(tree, "priority")) != NULL)
	{
		program->priority = ma_json_number(member, -1000000, 1000000, problems);
		program->has_priority = true;
	}
	program->filter = ma_read_text(tree, "filter", problems);
	program->campaign = ma_read_text(tree, "campaign", problems);
	(void) ma_read_text(tree, "description", problems);
	if ((member = ma_json_member(tree, "max_lateness")) != NULL)
		program->max_lateness = ma_read_duration(member, problems);
	if ((member = ma_json_member(tree, "holdout")) != NULL)
		program->holdout = ma_json_share(member, problems);
	if ((member = ma_json_member(tree, "quiet_hours")) != NULL)
		program->quiet = ma_read_quiet(member, problems);
	if ((member = ma_json_member(tree, "send_window")) != NULL)
		program->send_window = ma_read_window(member, problems);
	if ((member = ma_json_member(tree, "exit_on")) != NULL)
		parse_exits(program, member, problems);
	ma_read_goals(program, tree, problems);
	if ((member = ma_json_member(tree, "steps")) == NULL)
		ma_problem(problems, "steps", "For example {\"steps\": [{\"wait\": \"1 day\"}, {\"send\": \"welcome\"}]}.",
				   "is missing");
	else
		program->steps = ma_read_steps(program, member, problems);
	if (member != NULL && member->type == MA_JSON_ARRAY && member->items == NIL)
		ma_problem(problems, "steps", "For example {\"steps\": [{\"wait\": \"1 day\"}, {\"send\": \"welcome\"}]}.",
				   "is empty");
	link_steps(program->steps, NULL);
	check_ids(program, problems);
	return program;
}

/* Text of an optional member; NULL if it is not there. */
char *
ma_read_text(const MaJson *object, const char *key, List **problems)
{
	MaJson	   *member = ma_json_member(object, key);

	return member ? ma_json_text(member, problems) : NULL;
}

char *
ma_read_duration(const MaJson *value, List **problems)
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

MaCondition *
ma_read_condition(MaProgram *program, const char *path)
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
	MaJson	   *event;
	const char *by_date;
	int			kinds = 0;

	if (!ma_json_is_object(json, problems))
		return;
	event = ma_json_member(json, "event");
	by_date = ma_json_member(json, "date") ? "date" :
		ma_json_member(json, "anniversary") ? "anniversary" : NULL;
	kinds += (event != NULL) + (ma_json_member(json, "segment_entered") != NULL) +
		(ma_json_member(json, "segment_left") != NULL) + (ma_json_member(json, "date") != NULL) +
		(ma_json_member(json, "anniversary") != NULL) + (ma_json_member(json, "schedule") != NULL);
	if (kinds != 1)
		ma_problem(problems, json->path, "Without \"entry\" contacts enter by enroll() only.",
				   "needs exactly one of \"event\", \"segment_entered\", \"segment_left\", \"date\", \"anniversary\" and \"schedule\"");
	else if (by_date != NULL)
		parse_entry_date(program, json, by_date, problems);
	else if (ma_json_member(json, "schedule") != NULL)
		parse_entry_schedule(program, json, problems);
	else
		parse_entry_event(program, json, problems);
}

static void
parse_entry_event(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {
		"event", "where", "key", "on_repeat", "segment_entered", "segment_left", NULL
	};
	MaCondition *entry = ma_read_condition(program, json->path);
	MaJson	   *repeat = ma_json_member(json, "on_repeat");

	ma_json_known_keys(json, keys, problems);
	program->entry = entry;
	entry->event = ma_read_text(json, "event", problems);
	if (ma_json_member(json, "segment_entered") != NULL || ma_json_member(json,
			"segment_left") != NULL)
	{
		bool		entered = ma_json_member(json, "segment_entered") != NULL;

		entry->event = entered ? "segment_entered" : "segment_left";
		entry->segment = ma_read_text(json, entry->event, problems);
		if (ma_json_member(json, "where") || ma_json_member(json, "key"))
			ma_problem(problems, json->path, "Use \"filter\" for a rule over the contact.",
					   "\"where\" and \"key\" belong to an entry by event");
	}
	else
	{
		entry->where = ma_read_text(json, "where", problems);
		entry->key = ma_read_text(json, "key", problems);
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
parse_entry_date(MaProgram *program, const MaJson *json, const char *key, List **problems)
{
	static const char *const keys[] = {"date", "anniversary", "offset", "at", "leap", NULL};

	ma_json_known_keys(json, keys, problems);
	program->date = ma_read_date(json, key, problems);
}

/* Five fields, as cron reads them; what stands in them pg_cron looks at. */
static void
parse_entry_schedule(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"schedule", "segment", NULL};
	int			fields = 0;

	ma_json_known_keys(json, keys, problems);
	program->schedule = ma_read_text(json, "schedule", problems);
	program->scheduled = ma_read_text(json, "segment", problems);
	if (program->schedule == NULL)
		return;
	for (const char *at = program->schedule; *at != '\0'; at++)
		fields += *at != ' ' && (at == program->schedule || at[-1] == ' ');
	if (fields != 5 || strspn(program->schedule, "0123456789*,/- abcdefghijklmnopqrstuvwxyz") !=
		strlen(program->schedule))
		ma_problem(problems, psprintf("%s.schedule", json->path),
				   "For example \"0 8 * * 1\": at eight on mondays.",
				   "\"%s\" does not have five fields of cron", program->schedule);
}

/* A number, or {"at_most": 100, "per": "day"}. */
static void
parse_max_entries(MaProgram *program, const MaJson *json, List **problems)
{
	static const char *const keys[] = {"at_most", "per", NULL};
	static const char *const periods[] = {"day", "week", "month"};
	MaJson	   *most = json->type == MA_JSON_OBJECT ? ma_json_member(json, "at_most") : NULL;
	MaJson	   *per = json->type == MA_JSON_OBJECT ? ma_json_member(json, "per") : NULL;

	if (json->type != MA_JSON_OBJECT)
	{
		program->max_entries = ma_json_number(json, 1, PG_INT32_MAX, problems);
		return;
	}
	ma_json_known_keys(json, keys, problems);
	if (most == NULL || per == NULL)
	{
		ma_problem(problems, json->path, NULL, "needs \"at_most\" and \"per\"");
		return;
	}
	program->max_entries = ma_json_number(most, 1, PG_INT32_MAX, problems);
	if (ma_json_text(per, problems) == NULL)
		return;
	for (int i = 0; i < lengthof(periods); i++)
		if (strcmp(per->text, periods[i]) == 0)
			program->entries_per = periods[i][0];
	if (program->entries_per == 0)
		ma_problem(problems, per->path, NULL, "must be \"day\", \"week\" or \"month\"");
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
			program->every = ma_read_duration(every, problems);
		return;
	}
	for (int i = 0; i < lengthof(names); i++)
		if (json->type == MA_JSON_TEXT && strcmp(json->text, names[i]) == 0 &&
				i != MA_REENTRY_EVERY)
		{
			program->reentry = i;
			if (i == MA_REENTRY_PER_KEY && program->date == NULL &&
				(program->entry == NULL || program->entry->key == NULL))
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
		exit = ma_read_condition(program, item->path);
		exit->event = ma_read_text(item, "event", problems);
		exit->where = ma_read_text(item, "where", problems);
		exit->rule = ma_read_text(item, "if", problems);
		if ((ma_json_member(item, "event") == NULL) == (ma_json_member(item, "if") == NULL))
			ma_problem(problems, item->path, NULL, "needs either \"event\" or \"if\"");
		else if (ma_json_member(item, "if") && ma_json_member(item, "where"))
			ma_problem(problems, item->path, NULL, "\"where\" belongs to an event");
		program->exits = lappend(program->exits, exit);
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

			if (condition->step != NULL && (named == NULL || !ma_step_sends(named)))
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
