/*
 * define.c
 *		define_stage() and drop_stage(); and the worker's turn that finds out when a rule
 *		says something else, since what it names was defined anew.
 *
 * Whom a new definition finds in a stage already is put there by the rule's SQL, and that
 * starts no journey: nobody did anything.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "scoring/define.h"
#include "scoring/stages/stages.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

#define LOOK_EVERY_MS 5000

static List *uses_of(const char *kind, const char *name);
static List *uses_of_segment(const char *name);
static List *uses_of_score(const char *name);
static List *uses_of_stage(const char *name);
static List *uses_of_topic(const char *name);
static List *uses_of_list(const char *name);
static void attached(void);
static void named_changes(const char *word, const char *name, bool changed);
static void lock(void);
static char *define(const char *name, int place, const char *source, const char *search_path,
					Oid definer);
static void check_place(const char *name, int place);
static char *changes(const MaStage *before, int place, const char *text);
static void store(const char *name, int place, const char *text);
static char *fits_sql(const MaStage *stage);
static int64 *lock_free(const MaStage *stage, int *n);
static int64 fill(const MaStage *stage);
static void store_text(const MaStage *stage);
static void renew(const MaStage *stage);
static void note_signature(const MaStage *stage);
static bool duty_tick(void);

MA_FUNCTION(ma_define_stage);
MA_FUNCTION(ma_drop_stage);

void
ma_stage_define_init(void)
{
	static const MaDuty duty = {
		.name = "rules of stages", .every_ms = LOOK_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
	ma_register_uses("segment", uses_of_segment);
	ma_register_uses("score model", uses_of_score);
	ma_register_uses("stage", uses_of_stage);
	ma_register_uses("topic", uses_of_topic);
	ma_register_uses("list", uses_of_list);
	ma_register_attach_listener(attached);
	ma_register_named_listener(named_changes);
}

/* Stages whose rule names it. */
static List *
uses_of(const char *kind, const char *name)
{
	MaStages   *all = ma_stages();
	List	   *uses = NIL;
	ListCell   *cell;

	for (int i = 0; i < all->n; i++)
	{
		const MaStage *stage = all->stages[i];

		/* A rule that names its own stage goes with it. */
		if (stage->rule == NULL || (strcmp(kind, "stage") == 0 && strcmp(stage->name, name) == 0))
			continue;
		foreach(cell, ma_rule_uses(stage->rule, kind))
			if (strcmp(lfirst(cell), name) == 0)
			{
				uses = lappend(uses, psprintf("stage \"%s\"", stage->name));
				break;
			}
	}
	return uses;
}

static List *
uses_of_segment(const char *name)
{
	return uses_of("segment", name);
}

static List *
uses_of_score(const char *name)
{
	return uses_of("score model", name);
}

static List *
uses_of_stage(const char *name)
{
	return uses_of("stage", name);
}

static List *
uses_of_topic(const char *name)
{
	return uses_of("topic", name);
}

static List *
uses_of_list(const char *name)
{
	return uses_of("list", name);
}

/* Something was attached or detached: rules that mean other rows now hold on to no old ones. */
static void
attached(void)
{
	MaStages   *all = ma_stages();

	for (int i = 0; i < all->n; i++)
	{
		const MaStage *stage = all->stages[i];

		if (stage->rule != NULL && ma_rule_view_differs(MA_STAGE_VIEW, stage->name, stage->rule))
			ma_rule_view_set(MA_STAGE_VIEW, stage->name, stage->rule);
	}
}

/*
 * A segment or score becomes another one.  Renames are told by views that say what the
 * rules do: so names that were renamed since are stored before, and the views say after it
 * what the rules do then.  All else is done by the duty.
 */
static void
named_changes(const char *word, const char *name, bool changed)
{
	MaStages   *all = ma_stages();
	bool		any = false;

	for (int i = 0; i < all->n; i++)
	{
		const MaStage *stage = all->stages[i];

		if (stage->rule == NULL || ma_rule_path(stage->rule, word, name) == NULL)
			continue;
		/* Before writers are held back, as whoever defines a stage does. */
		if (!any)
			lock();
		any = true;
		if (stage->followed)
			store_text(stage);
		if (changed || stage->followed)
			ma_rule_view_set(MA_STAGE_VIEW, stage->name, stage->rule);
	}
	if (any)
		ma_definitions_changed();
}

/* One transaction at a time changes stages. */
static void
lock(void)
{
	LockRelationOid(ma_own_table("stage"), ShareRowExclusiveLock);
}

/* marketing.define_stage(name, place, rule) */
Datum
ma_define_stage(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *search_path = pstrdup(namespace_search_path);
	char	   *name = ma_score_text(fcinfo, 0);
	char	   *rule = ma_score_text(fcinfo, 2);
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	if (name == NULL || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name == NULL ? "name" : "place")));
	ma_name_check(name, "stage");
	ma_call_begin(&call);
	/* Against whoever drops what the rule names. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	lock();
	answer = define(name, PG_GETARG_INT32(1), rule, search_path, call.caller.userid);
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
define(const char *name, int place, const char *source, const char *search_path, Oid definer)
{
	MaStage    *before = ma_stage_by_name(name);
	MaRuleScope scope = {
		psprintf("rule of stage \"%s\"", name), ma_database_time_zone(), search_path
	};
	MaRule	   *rule = NULL;
	char	   *text = NULL;
	char	   *changed = NULL;
	int64		moved = 0;

	if (source != NULL)
	{
		rule = ma_rule_parse(source, &scope, definer);
		text = ma_rule_text(rule);
	}
	if (before != NULL)
	{
		changed = changes(before, place, text);
		if (changed == NULL)
			return psprintf("%s: unchanged", name);
	}
	check_place(name, place);
	store(name, place, text);
	if (rule != NULL)
		ma_rule_view_set(MA_STAGE_VIEW, name, rule);
	else
		ma_rule_view_drop(MA_STAGE_VIEW, name);
	ma_definitions_changed();
	if (rule != NULL)
	{
		renew(ma_stage_get(name));
		moved = fill(ma_stage_get(name));
	}
	else
		ma_unwatch_events(MA_STAGE_CONSUMER, name);
	return psprintf("%s: %s, %s contact%s %s", name,
					changed ? psprintf("replaced (%s)", changed) : "created", ma_grouped(moved),
					moved == 1 ? "" : "s", rule ? "moved there" : "moved");
}

/* Two stages of one place would have no order. */
static void
check_place(const char *name, int place)
{
	MaStages   *all = ma_stages();

	for (int i = 0; i < all->n; i++)
		if (all->stages[i]->place == place && strcmp(all->stages[i]->name, name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stage \"%s\" has place %d already", all->stages[i]->name, place),
					 errhint("Each stage has a place of its own; leave room between them: 10, 20, 30.")));
}

static char *
changes(const MaStage *before, int place, const char *text)
{
	bool		rule = (before->text == NULL) != (text == NULL) ||
		(text != NULL && strcmp(before->text, text) != 0);

	if (before->text != NULL && before->rule == NULL && text != NULL)
		return "it was broken";
	if (before->place != place)
		return rule ? "place, rule" : "place";
	return rule ? "rule" : NULL;
}

static void
store(const char *name, int place, const char *text)
{
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.stage (name, place, rule, time_zone) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET place = EXCLUDED.place, "
		"rule = EXCLUDED.rule, time_zone = EXCLUDED.time_zone, signature = NULL, built_upto = NULL",
		4, {TEXTOID, INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(place);
	values[2] = text ? CStringGetTextDatum(text) : (Datum) 0;
	values[3] = CStringGetTextDatum(ma_database_time_zone());
	ma_run(&upsert, values, text ? NULL : "  n ", MA_RUN_WRITE_LATEST);
}

/* Who fits the rule and is not as far yet; $1 is the stage's place. */
static char *
fits_sql(const MaStage *stage)
{
	return psprintf("SELECT r.contact_id, o.name AS from_stage FROM (%s) AS r "
					"LEFT JOIN marketing_internal.contact_stage AS c "
					"ON c.contact_id OPERATOR(pg_catalog.=) r.contact_id "
					"LEFT JOIN marketing_internal.stage AS o ON o.stage_id OPERATOR(pg_catalog.=) c.stage_id "
					"WHERE COALESCE(o.place OPERATOR(pg_catalog.<) $1, true)",
					ma_rule_sql(stage->rule, MA_SCHEMA ".now()"));
}

/* Those of them nobody else has, locked. */
static int64 *
lock_free(const MaStage *stage, int *n)
{
	Oid			type = INT4OID;
	Datum		place = Int32GetDatum(stage->place);
	MaRows		rows = ma_run_once(fits_sql(stage), 1, &type, &place, NULL, MA_RUN_READ_LATEST);
	int64	   *ids = palloc_array(int64, Max(rows.n, 1));

	*n = 0;
	for (uint64 i = 0; i < rows.n; i++)
	{
		int64		id = ma_int64(&rows, i, 1);

		if (ma_contact_lock_if_free(id))
			ids[(*n)++] = id;
	}
	return ids;
}

/*
 * Moves who fits the rule now.  A rule that runs what users wrote is left to the worker, and
 * so is who is busy: we hold writers back, and must not wait for one of them.
 */
static int64
fill(const MaStage *stage)
{
	char	   *sql;
	Oid			types[5] = {INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, INT8ARRAYOID};
	Datum		values[5];
	int64	   *ids;
	int			n;
	MaRows		rows;

	if (!ma_rule_is_plain(stage->rule))
		return 0;
	ids = lock_free(stage, &n);
	if (n == 0)
		return 0;
	/* What they are is read anew, now that it cannot change. */
	sql = psprintf("WITH f AS (SELECT f.contact_id, f.from_stage FROM (%s) AS f "
				   "WHERE f.contact_id OPERATOR(pg_catalog.=) ANY ($5)), "
				   "m AS (INSERT INTO marketing_internal.contact_stage AS c (contact_id, stage_id, since) "
				   "SELECT f.contact_id, $2, $3 FROM f ON CONFLICT (contact_id) DO UPDATE "
				   "SET stage_id = EXCLUDED.stage_id, since = EXCLUDED.since) "
				   "INSERT INTO marketing_internal.stage_change "
				   "(contact_id, at, from_stage, to_stage, origin) "
				   "SELECT f.contact_id, $3, f.from_stage, $4, 'definition' FROM f RETURNING contact_id",
				   fits_sql(stage));
	values[0] = Int32GetDatum(stage->place);
	values[1] = Int32GetDatum(stage->id);
	values[2] = TimestampTzGetDatum(ma_now());
	values[3] = CStringGetTextDatum(stage->name);
	values[4] = ma_int8_array(ids, n);
	rows = ma_run_once(sql, 5, types, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	ma_contacts_leave(ids, (int) rows.n);
	return (int64) rows.n;
}

/* The text with the names that its columns have now. */
static void
store_text(const MaStage *stage)
{
	static MaStatement update = {
		"UPDATE marketing_internal.stage SET rule = $2 WHERE stage_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(stage->id);
	values[1] = CStringGetTextDatum(stage->text);
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
}

/* Watches what the rule reads now, and has everybody looked at: for when it may become true. */
static void
renew(const MaStage *stage)
{
	char	   *name = pstrdup(stage->name);
	List	   *relids = NIL;
	ListCell   *cell;

	if (stage->followed)
		store_text(stage);
	ma_rule_view_set(MA_STAGE_VIEW, name, stage->rule);

	foreach(cell, ma_rule_relations(stage->rule))
		if (get_rel_namespace(lfirst_oid(cell)) != ma_extension_required()->internal_schema)
			relids = lappend_oid(relids, lfirst_oid(cell));
	ma_unwatch_events(MA_STAGE_CONSUMER, name);
	ma_rule_watch(MA_STAGE_CONSUMER, name, ma_stage_get(name)->rule);
	ma_definitions_changed();
	ma_relations_lock_writers(relids);
	note_signature(ma_stage_get(name));
	ma_worker_wake_at_commit();
}

/* What the rule says now, and that nobody has been looked at yet. */
static void
note_signature(const MaStage *stage)
{
	static MaStatement note = {
		"UPDATE marketing_internal.stage SET signature = $2, built_upto = 0 "
		"WHERE stage_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(stage->id);
	values[1] = CStringGetTextDatum(ma_stage_signature(stage->rule));
	ma_run(&note, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}

/* Rules of stages that have come to say something else. */
static bool
duty_tick(void)
{
	static uint64 seen = 0;
	List	   *names = NIL;
	ListCell   *cell;
	MaStages   *all;
	MaCall		call;

	if (ma_extension() == NULL || seen == ma_definitions_epoch())
		return false;
	ma_call_begin(&call);
	all = ma_stages();
	for (int i = 0; i < all->n; i++)
		if (all->stages[i]->rule != NULL &&
			(all->stages[i]->followed || ma_stage_is_stale(all->stages[i])))
			names = lappend(names, pstrdup(all->stages[i]->name));
	if (names != NIL)
		lock();
	foreach(cell, names)
	{
		MaStage    *stage = ma_stage_by_name(lfirst(cell));

		if (stage != NULL && stage->rule != NULL)
			renew(stage);
	}
	seen = ma_definitions_epoch();
	ma_call_end(&call);
	return false;
}

/* marketing.drop_stage(name) */
Datum
ma_drop_stage(PG_FUNCTION_ARGS)
{
	/* Who is just moved there, and has not committed, is waited for. */
	static MaStatement keep = {
		"SELECT FROM marketing_internal.stage AS s WHERE s.stage_id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		1, {INT4OID}
	};
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM marketing_internal.contact_stage AS c "
		"WHERE c.stage_id OPERATOR(pg_catalog.=) $1 AND EXISTS ("
		"SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) c.contact_id)",
		1, {INT4OID}
	};
	static MaStatement removes[] = {
		{"DELETE FROM marketing_internal.contact_stage WHERE stage_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.stage_passed_over WHERE stage_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.stage WHERE stage_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_score_name(fcinfo, 0, "stage");
	MaCall		call;
	Datum		value;
	MaRows		rows;
	char	   *answer;

	(void) ma_extension_required();
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	lock();
	value = Int32GetDatum(ma_stage_get(name)->id);
	ma_require_unused("stage", name);
	ma_run(&keep, &value, NULL, MA_RUN_WRITE_LATEST);
	rows = ma_run(&count, &value, NULL, MA_RUN_READ_LATEST);
	if (ma_int64(&rows, 0, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("stage \"%s\" has contacts in it", name),
				 errdetail("There are %s.", ma_grouped(ma_int64(&rows, 0, 1))),
				 errhint("Move them to another one with marketing.set_stage() first.")));
	for (int i = 0; i < lengthof(removes); i++)
		ma_run(&removes[i], &value, NULL, MA_RUN_WRITE_LATEST);
	ma_unwatch_events(MA_STAGE_CONSUMER, name);
	ma_rule_view_drop(MA_STAGE_VIEW, name);
	ma_definitions_changed();
	answer = MemoryContextStrdup(context, psprintf("%s: dropped", name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
