/*
 * stages.c
 *		The stages of the life cycle, compiled and kept, and `stage NAME` in rules.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "scoring/stages/stages.h"
#include "utils/builtins.h"

static void *load(void);
static MaStage *stage_of_row(const MaRows *rows, uint64 row);
static bool find_fact(const char *name, const char *by, List **candidates);
static void test_fact(const char *name, const char *by, const int64 *contact_ids, int n,
					  TimestampTz as_of, MaRun how, MaTruth *out);
static char *sql_fact(const char *name, const char *by, const char *now);

static const MaRuleFact fact = {"stage", find_fact, NULL, test_fact, sql_fact};

void
ma_stages_init(void)
{
	ma_register_rule_fact(&fact);
	ma_stage_move_init();
	ma_stage_consumer_init();
	ma_stage_define_init();
	ma_stage_build_init();
}

MaStages *
ma_stages(void)
{
	static MaKept kept = {"stages", load, NULL};

	return ma_kept(&kept);
}

static void *
load(void)
{
	static MaStatement read = {
		"SELECT s.stage_id, s.name, s.place, s.rule, s.time_zone, s.signature, "
		"s.built_upto IS NOT NULL "
		"FROM marketing_internal.stage AS s ORDER BY s.place"
	};
	static MaStatement passed_over = {
		"SELECT EXISTS (SELECT FROM marketing_internal.stage_passed_over)"
	};
	MaStages   *all = palloc0_object(MaStages);
	MaRule	  **rules;
	MaIdentity	caller;
	MaRows		rows;

	ma_become_owner(&caller);
	ma_rule_views_look();
	rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	all->stages = palloc_array(MaStage *, Max(rows.n, 1));
	rules = palloc_array(MaRule *, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaStage    *stage = stage_of_row(&rows, i);

		all->stages[all->n++] = stage;
		all->building |= stage->building;
		if (stage->rule == NULL)
			continue;
		stage->number = all->nrules;
		rules[all->nrules++] = stage->rule;
	}
	if (all->nrules > 0)
		all->set = ma_rule_set_make(rules, all->nrules);
	rows = ma_run(&passed_over, NULL, NULL, MA_RUN_READ_LATEST);
	all->passed_over = ma_bool(&rows, 0, 1);
	ma_become_back(&caller);
	return all;
}

/* A rule that is broken moves nobody; the others go on. */
static MaStage *
stage_of_row(const MaRows *rows, uint64 row)
{
	MaStage    *stage = palloc0_object(MaStage);
	MaRuleScope scope = {0};
	MaRuleStored stored;

	stage->id = ma_int32(rows, row, 1);
	stage->name = ma_text(rows, row, 2);
	stage->place = ma_int32(rows, row, 3);
	stage->text = ma_text(rows, row, 4);
	stage->time_zone = ma_text(rows, row, 5);
	stage->signature = ma_text(rows, row, 6);
	if (stage->text == NULL)
		return stage;
	scope.what = psprintf("rule of stage \"%s\"", stage->name);
	scope.time_zone = stage->time_zone;
	stage->building = ma_bool(rows, row, 7);
	ma_rule_compile_stored(&stored, MA_STAGE_VIEW, stage->name, stage->text, &scope);
	stage->rule = stored.rule;
	stage->text = stored.text;
	stage->followed = stored.followed;
	stage->error = stored.error;
	return stage;
}

bool
ma_stage_is_stale(const MaStage *stage)
{
	return stage->signature == NULL ||
		strcmp(stage->signature, ma_stage_signature(stage->rule)) != 0;
}

char *
ma_stage_signature(const MaRule *rule)
{
	char	   *sql = ma_rule_sql(rule, MA_SCHEMA ".now()");

	return psprintf("%016llx", (unsigned long long)
					hash_bytes_extended((const unsigned char *) sql, (int) strlen(sql), 0));
}

MaStage *
ma_stage_by_name(const char *name)
{
	MaStages   *all = ma_stages();

	for (int i = 0; i < all->n; i++)
		if (strcmp(all->stages[i]->name, name) == 0)
			return all->stages[i];
	return NULL;
}

MaStage *
ma_stage_by_id(int32 id)
{
	MaStages   *all = ma_stages();

	for (int i = 0; i < all->n; i++)
		if (all->stages[i]->id == id)
			return all->stages[i];
	return NULL;
}

MaStage *
ma_stage_get(const char *name)
{
	MaStages   *all = ma_stages();
	MaStage    *stage = ma_stage_by_name(name);
	List	   *names = NIL;
	char	   *nearest;

	if (stage != NULL)
		return stage;
	for (int i = 0; i < all->n; i++)
		names = lappend(names, all->stages[i]->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SEGMENT),
			 errmsg("there is no stage \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make it with marketing.define_stage().")));
}

void
ma_stage_required(const char *name)
{
	(void) ma_stage_get(name);
}

/* ---- in rules; read directly, since what is kept is made of rules ---- */

static bool
find_fact(const char *name, const char *by, List **candidates)
{
	static MaStatement read = {"SELECT s.name FROM marketing_internal.stage AS s ORDER BY 1"};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	bool		found = false;

	for (uint64 i = 0; i < rows.n; i++)
	{
		*candidates = lappend(*candidates, ma_text(&rows, i, 1));
		found |= strcmp(llast(*candidates), name) == 0;
	}
	return found;
}

static void
test_fact(const char *name, const char *by, const int64 *contact_ids, int n, TimestampTz as_of,
		  MaRun how, MaTruth *out)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4 FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.contact_stage AS c ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"JOIN marketing_internal.stage AS s ON s.stage_id OPERATOR(pg_catalog.=) c.stage_id "
		"WHERE s.name OPERATOR(pg_catalog.=) $2",
		2, {INT8ARRAYOID, TEXTOID}
	};

	ma_rule_fact_in_rows(&read, name, contact_ids, n, how, out);
}

static char *
sql_fact(const char *name, const char *by, const char *now)
{
	return psprintf("EXISTS (SELECT FROM marketing_internal.contact_stage AS s "
					"JOIN marketing_internal.stage AS g ON g.stage_id OPERATOR(pg_catalog.=) s.stage_id "
					"WHERE s.contact_id OPERATOR(pg_catalog.=) c.contact_id "
					"AND g.name OPERATOR(pg_catalog.=) %s)", quote_literal_cstr(name));
}
