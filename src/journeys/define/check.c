/*
 * check.c
 *		Whether what a definition names exists, and whether its rules and conditions
 *		can be read: everything that defining a journey must find at once.
 *
 * The rooms below report one error at a time, by throwing.  Each check runs in a
 * subtransaction, and what it threw becomes one problem with its place.
 */
#include "base/base.h"

#include "content/content.h"
#include "journeys/catalog.h"
#include "journeys/engine.h"
#include "journeys/program.h"
#include "scoring/scoring.h"
#include "segments/segments.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define CHECK_MS 15000

/* What one check needs. */
typedef struct Check
{
	const MaProgram *program;
	const char *name;			/* of the journey */
	Oid			definer;
	List	  **problems;
	const MaCondition *condition;
	const char *path;
	const char *text;
	const char *word;			/* list or segment */
	const MaDateRule *date;
} Check;

static void attempt(Check *check, const char *path, void (*work) (void *arg));
static char *place_in_text(const ErrorData *error);
static void check_event(void *arg);
static void check_where(void *arg);
static void check_key(void *arg);
static void check_rule(void *arg);
static void check_template(void *arg);
static void check_webhook(void *arg);
static void check_update(void *arg);
static void check_function(void *arg);
static void check_channel(void *arg);
static void check_owner_template(void *arg);
static void check_score(void *arg);
static void check_stage(void *arg);
static void check_title(void *arg);
static void check_assign(void *arg);
static void check_member(void *arg);
static void check_journey(void *arg);
static void check_date(void *arg);
static void check_condition(Check *check, const MaCondition *condition);
static void check_measure(void *arg);
static void check_test(Check *check, const MaStep *step);
static void check_step(Check *check, const MaStep *step);

/* Runs a check; what it throws is a problem at this place. */
static void
attempt(Check *check, const char *path, void (*work) (void *arg))
{
	ErrorData  *error;

	check->path = path;
	error = ma_drain_protect(work, check, CHECK_MS);
	if (error != NULL)
	{
		char	   *hint = error->hint;

		if (error->detail != NULL)
			hint = hint ? psprintf("%s %s", error->detail, hint) : error->detail;
		ma_problem(check->problems, path, hint, "%s%s", error->message, place_in_text(error));
		if (error->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED)
			((MaProblem *) llast(*check->problems))->unsupported = true;
	}
}

/* " at character 7", as the caret of an error in a text of its own would show. */
static char *
place_in_text(const ErrorData *error)
{
	int			place = error->internalpos > 0 ? error->internalpos : error->cursorpos;

	return place > 0 ? psprintf(" at character %d", place) : "";
}

static MaEvent *
event_of(const MaCondition *condition)
{
	return ma_event_required(ma_definitions(), condition->event);
}

static void
check_event(void *arg)
{
	Check	   *check = arg;

	ma_event_require_row_key(ma_definitions(), event_of(check->condition));
}

static void
check_where(void *arg)
{
	Check	   *check = arg;
	const MaCondition *entry = check->program->entry;
	MaEvent    *entered_by = entry && entry->event &&
			check->condition != entry ? event_of(entry) : NULL;

	(void) ma_row_rule_parse(event_of(check->condition), check->condition->where, entered_by,
							 "\"where\"", check->definer);
}

/* The column must exist where the columns are known. */
static void
check_key(void *arg)
{
	Check	   *check = arg;
	MaEvent    *event = event_of(check->condition);
	const MaBuiltinColumn *columns = ma_builtin_columns(event->name);
	ListCell   *cell;

	foreach(cell, ma_event_sources(ma_definitions(), event))
	{
		MaEventSource *source = lfirst(cell);

		if (source != NULL && OidIsValid(source->table->relid))
			(void) ma_column_required(source->table->relid, check->condition->key, "key");
	}
	if (columns == NULL)
		return;
	for (; columns->name != NULL; columns++)
		if (strcmp(columns->name, check->condition->key) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("event \"%s\" has no column \"%s\"", event->name, check->condition->key)));
}

static void
check_rule(void *arg)
{
	Check	   *check = arg;
	MaRuleScope scope = {"rule", NULL};

	scope.entry_event = ma_program_entry_event(check->program);
	(void) ma_rule_parse(check->text, &scope, check->definer);
}

static void
check_template(void *arg)
{
	(void) ma_template_required(((Check *) arg)->text);
}

/* Owners have an e-mail address and no other. */
static void
check_owner_template(void *arg)
{
	Check	   *check = arg;
	MaTemplate *template = ma_template_required(check->text);

	if (strcmp(template->channel, "email") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_JOURNEY),
				 errmsg("template \"%s\" is of channel %s", check->text, template->channel),
				 errhint("Owners get e-mail only.")));
}

static void
check_score(void *arg)
{
	(void) ma_score_model_required(((Check *) arg)->text);
}

static void
check_stage(void *arg)
{
	ma_stage_required(((Check *) arg)->text);
}

static void
check_title(void *arg)
{
	const char *title = ((Check *) arg)->text;

	(void) ma_liquid_compile(title, (int) strlen(title), MA_ESCAPE_NONE, "title of the task");
}

static void
check_assign(void *arg)
{
	ma_assignment_check(((Check *) arg)->text);
}

static void
check_webhook(void *arg)
{
	Check	   *check = arg;
	MaTemplate *template = ma_template_required(check->text);

	if (strcmp(template->channel, "webhook") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_JOURNEY),
				 errmsg("template \"%s\" is of channel %s", check->text, template->channel),
				 errhint("Define it with channel => 'webhook', or write \"send\".")));
}

static void
check_update(void *arg)
{
	ma_contact_attributes_check(DirectFunctionCall1(jsonb_in,
									CStringGetDatum(((Check *) arg)->text)));
}

static void
check_function(void *arg)
{
	Check	   *check = arg;

	(void) ma_step_function(check->text, check->definer);
}

static void
check_channel(void *arg)
{
	if (strlen(((Check *) arg)->text) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a channel has at most %d bytes", NAMEDATALEN - 1)));
}

static void
check_member(void *arg)
{
	Check	   *check = arg;

	if (strcmp(check->word, "list") == 0)
		ma_list_required(check->text);
	else
		ma_segment_required(check->text);
}

/* A journey may enroll into itself, which is not there when it is defined first. */
static void
check_journey(void *arg)
{
	Check	   *check = arg;

	if (strcmp(check->text, check->name) != 0)
		(void) ma_journey_required(check->text);
}

static void
check_date(void *arg)
{
	ma_date_check(((Check *) arg)->date);
}

static void
check_condition(Check *check, const MaCondition *condition)
{
	bool		known;

	check->condition = condition;
	if (condition->event != NULL)
	{
		int			before = list_length(*check->problems);

		attempt(check, psprintf("%s.event", condition->path), check_event);
		known = list_length(*check->problems) == before;
		if (known && condition->where != NULL)
			attempt(check, psprintf("%s.where", condition->path), check_where);
		if (known && condition->key != NULL)
			attempt(check, psprintf("%s.key", condition->path), check_key);
	}
	if (condition->segment != NULL)
	{
		check->text = condition->segment;
		check->word = "segment";
		attempt(check, psprintf("%s.%s", condition->path, condition->event), check_member);
	}
	if (condition->rule != NULL)
	{
		check->text = condition->rule;
		attempt(check, psprintf("%s.if", condition->path), check_rule);
	}
}

static void
check_measure(void *arg)
{
	ma_test_check_measure(((Check *) arg)->text);
}

static void
check_test(Check *check, const MaStep *step)
{
	ListCell   *cell;

	foreach(cell, step->test->variants)
	{
		const MaVariant *variant = lfirst(cell);

		check->text = variant->template;
		if (variant->template != NULL)
			attempt(check, psprintf("%s.test.variants.%s", step->path, variant->name),
					check_template);
	}
	check->text = step->test->measure;
	if (step->test->measure != NULL)
		attempt(check, psprintf("%s.test.measure.event", step->path), check_measure);
}

static void
check_step(Check *check, const MaStep *step)
{
	const char *path = psprintf("%s.%s", step->path, step->word);

	check->text = step->text;
	check->word = "list";
	if (step->kind == MA_STEP_WAIT_FOR_TIME && step->window != NULL &&
		step->window->by != NULL && step->window->by->column != NULL)
	{
		check->date = step->window->by;
		attempt(check, check->date->path, check_date);
	}
	if (step->kind == MA_STEP_TEST)
		check_test(check, step);
	if (step->text == NULL)
		return;
	if (step->kind == MA_STEP_SEND)
		attempt(check, path, strcmp(step->word, "webhook") == 0 ? check_webhook :
				step->to_owner ? check_owner_template : check_template);
	else if (step->kind == MA_STEP_SCORE)
		attempt(check, path, check_score);
	else if (step->kind == MA_STEP_STAGE)
		attempt(check, path, check_stage);
	else if (step->kind == MA_STEP_TASK)
	{
		attempt(check, path, check_title);
		check->text = step->assign;
		if (step->assign != NULL)
			attempt(check, psprintf("%s.assign", step->path), check_assign);
	}
	else if (step->kind == MA_STEP_UPDATE)
		attempt(check, path, check_update);
	else if (step->kind == MA_STEP_SQL)
		attempt(check, path, check_function);
	else if (step->kind == MA_STEP_NOTIFY)
		attempt(check, path, check_channel);
	else if (step->kind == MA_STEP_ADD_TO_LIST || step->kind == MA_STEP_REMOVE_FROM_LIST)
		attempt(check, path, check_member);
	else if (step->kind == MA_STEP_ENROLL)
		attempt(check, path, check_journey);
}

void
ma_program_check(const MaProgram *program, const char *name, Oid definer, List **problems)
{
	Check		check = {0};
	ListCell   *cell;

	check.program = program;
	check.name = name;
	check.definer = definer;
	check.problems = problems;
	foreach(cell, program->conditions)
		check_condition(&check, lfirst(cell));
	foreach(cell, program->all)
		check_step(&check, lfirst(cell));
	if (program->date != NULL && program->date->column != NULL)
	{
		check.date = program->date;
		attempt(&check, program->date->path, check_date);
	}
	if (program->scheduled != NULL)
	{
		check.text = program->scheduled;
		check.word = "segment";
		attempt(&check, "entry.segment", check_member);
	}
	else if (program->schedule != NULL && program->filter == NULL)
		ma_problem(problems, "entry", "Add \"segment\" to the entry, or \"filter\" to the journey.",
				   "does not say who enters by the schedule");
	if (program->filter != NULL)
	{
		check.text = program->filter;
		attempt(&check, "filter", check_rule);
	}
}

MaEvent *
ma_program_entry_event(const MaProgram *program)
{
	const MaCondition *entry = program->entry;

	return entry != NULL && entry->event != NULL ?
		ma_event_by_name(ma_definitions(), entry->event) : NULL;
}

List *
ma_program_events(const MaProgram *program)
{
	List	   *names = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, program->conditions)
	{
		MaCondition *condition = lfirst(cell);
		bool		found = condition->event == NULL;

		foreach(inner, names)
			found |= !found && strcmp(lfirst(inner), condition->event) == 0;
		if (!found)
			names = lappend(names, condition->event);
	}
	return names;
}
