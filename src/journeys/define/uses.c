/*
 * uses.c
 *		What journeys name, so that it is not dropped under them: templates, segments,
 *		lists, stages, score models, topics, owners, teams; events that a test measures by (others
 *		are watched); and journeys in conditions of others, but not in steps that enroll, which
 *		may lead to each other.
 *
 * Versions count that are active, drafts, or have contacts inside; others never come
 * to a step again.
 */
#include "base/base.h"

#include "journeys/catalog.h"
#include "journeys/define/define.h"
#include "scoring/scoring.h"

/* What is looked for, in one version after the other. */
typedef struct Search
{
	const char *kind;			/* what it is, as ma_require_unused() has it */
	const char *name;
	MaStepKind	kinds[2];		/* steps that name it */
	int			nkinds;
	bool		is_segment;
	bool		is_template;
	bool		is_owner;
	bool		is_event;
	MaVersion  *version;
	const char *state;			/* of the version: "active" */
	const MaCondition *condition;	/* of the rule or row to read; NULL: the filter */
	List	   *uses;			/* char *, what is answered */
} Search;

static List *search_all(Search *search);
static void search_version(Search *search);
static void search_rule(Search *search, const MaCondition *condition, const char *path);
static void search_where(Search *search, const MaCondition *condition);
static void read_rule(void *arg);
static void read_where(void *arg);
static void note(Search *search, const char *path);
static List *uses_of_template(const char *name);
static List *uses_of_segment(const char *name);
static List *uses_of_list(const char *name);
static List *uses_of_stage(const char *name);
static List *uses_of_score(const char *name);
static List *uses_of_topic(const char *name);
static List *uses_of_owner(const char *name);
static List *uses_of_event(const char *name);
static List *uses_of_team(const char *name);
static List *uses_of_journey(const char *name);

void
ma_journey_uses_init(void)
{
	ma_register_uses("template", uses_of_template);
	ma_register_uses("segment", uses_of_segment);
	ma_register_uses("list", uses_of_list);
	ma_register_uses("stage", uses_of_stage);
	ma_register_uses("score model", uses_of_score);
	ma_register_uses("topic", uses_of_topic);
	ma_register_uses("owner", uses_of_owner);
	ma_register_uses("event", uses_of_event);
	ma_register_uses("team", uses_of_team);
	ma_register_uses("journey", uses_of_journey);
}

static List *
uses_of_template(const char *name)
{
	Search		search = {"template", name, .is_template = true};

	return search_all(&search);
}

static List *
uses_of_segment(const char *name)
{
	Search		search = {"segment", name, .is_segment = true};

	return search_all(&search);
}

static List *
uses_of_list(const char *name)
{
	Search		search = {"list", name, {MA_STEP_ADD_TO_LIST, MA_STEP_REMOVE_FROM_LIST}, 2};

	return search_all(&search);
}

static List *
uses_of_stage(const char *name)
{
	Search		search = {"stage", name, {MA_STEP_STAGE}, 1};

	return search_all(&search);
}

static List *
uses_of_score(const char *name)
{
	Search		search = {"score model", name, {MA_STEP_SCORE}, 1};

	return search_all(&search);
}

static List *
uses_of_topic(const char *name)
{
	Search		search = {"topic", name};

	return search_all(&search);
}

static List *
uses_of_owner(const char *name)
{
	Search		search = {"owner", name, .is_owner = true};

	return search_all(&search);
}

static List *
uses_of_event(const char *name)
{
	Search		search = {"event", name, .is_event = true};

	return search_all(&search);
}

static List *
uses_of_team(const char *name)
{
	Search		search = {"team", psprintf(MA_ROUND_ROBIN "%s", name), .is_owner = true};

	return search_all(&search);
}

/* By others: its own conditions go with it. */
static List *
uses_of_journey(const char *name)
{
	Search		search = {"journey", name};

	return search_all(&search);
}

static List *
search_all(Search *search)
{
	static MaStatement versions = {
		"SELECT j.journey_id, v.version, j.name, v.definition, CASE v.version "
		"WHEN j.version THEN 'active' WHEN j.draft THEN 'a draft' ELSE 'with contacts inside' END "
		"FROM marketing_internal.journey AS j JOIN marketing_internal.journey_version AS v "
		"ON v.journey_id OPERATOR(pg_catalog.=) j.journey_id "
		"WHERE v.version OPERATOR(pg_catalog.=) ANY (ARRAY[j.version, j.draft]) "
		"OR EXISTS (SELECT FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) v.journey_id "
		"AND e.version OPERATOR(pg_catalog.=) v.version "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}')) ORDER BY 3, 2"
	};
	MaRows		rows = ma_run(&versions, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;

		if (strcmp(search->kind, "journey") == 0 && strcmp(ma_text(&rows, i, 3), search->name) == 0)
			continue;
		search->version = ma_version_make(ma_int32(&rows, i, 1), ma_int32(&rows, i, 2),
										  ma_text(&rows, i, 3), ma_value(&rows, i, 4, &isnull));
		search->state = ma_text(&rows, i, 5);
		search_version(search);
	}
	return search->uses;
}

static void
search_version(Search *search)
{
	const MaProgram *program = search->version->program;
	ListCell   *cell;

	if (program->filter != NULL)
		search_rule(search, NULL, "filter");
	if (search->is_segment && program->scheduled != NULL &&
		strcmp(program->scheduled, search->name) == 0)
		note(search, "entry");
	foreach(cell, program->conditions)
	{
		const MaCondition *condition = lfirst(cell);

		if (search->is_segment && condition->segment != NULL &&
			strcmp(condition->segment, search->name) == 0)
			note(search, condition->path);
		if (condition->rule != NULL)
			search_rule(search, condition, condition->path);
		if (condition->where != NULL)
			search_where(search, condition);
	}
	foreach(cell, program->all)
	{
		const MaStep *step = lfirst(cell);
		ListCell   *inner;

		foreach(inner, search->is_template ? ma_step_templates(step) : NIL)
			if (strcmp(lfirst(inner), search->name) == 0)
				note(search, psprintf("%s.%s", step->path, step->word));
		if (search->is_owner && step->assign != NULL && strcmp(step->assign, search->name) == 0)
			note(search, psprintf("%s.assign", step->path));
		if (search->is_event && step->test != NULL && step->test->measure != NULL &&
			strcmp(step->test->measure, search->name) == 0)
			note(search, psprintf("%s.test.measure", step->path));
		for (int i = 0; i < search->nkinds; i++)
			if (step->kind == search->kinds[i] && step->text != NULL &&
				strcmp(step->text, search->name) == 0)
				note(search, psprintf("%s.%s", step->path, step->word));
	}
}

/* Notes the place if its rule names what is looked for; one that is broken names nothing. */
static void
search_rule(Search *search, const MaCondition *condition, const char *path)
{
	MaRule	   *rule;
	ListCell   *cell;

	search->condition = condition;
	if (ma_attempt(read_rule, search) != NULL)
		return;
	rule = condition == NULL ? search->version->filter :
		search->version->conditions[condition->number].rule;
	foreach(cell, ma_rule_uses(rule, search->kind))
		if (strcmp(lfirst(cell), search->name) == 0)
		{
			note(search, path);
			return;
		}
}

/* The same for a condition on an event's row: "model = 'lead'". */
static void
search_where(Search *search, const MaCondition *condition)
{
	ListCell   *cell;

	search->condition = condition;
	if (ma_attempt(read_where, search) != NULL)
		return;
	foreach(cell, ma_row_rule_names(ma_version_where(search->version, condition), search->kind))
		if (strcmp(lfirst(cell), search->name) == 0)
		{
			note(search, psprintf("%s.where", condition->path));
			return;
		}
}

static void
read_where(void *arg)
{
	const Search *search = arg;

	(void) ma_version_where(search->version, search->condition);
}

static void
read_rule(void *arg)
{
	const Search *search = arg;

	if (search->condition == NULL)
		(void) ma_version_filter(search->version);
	else
		(void) ma_version_rule(search->version, search->condition);
}

static void
note(Search *search, const char *path)
{
	search->uses = lappend(search->uses,
						   psprintf("journey \"%s\", %s (version %d, %s)",
									search->version->journey, path, search->version->version,
									search->state));
}
