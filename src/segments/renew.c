/*
 * renew.c
 *		rebuild_segment(), and what keeps the definitions of segments true as the world
 *		around them changes: stored texts after renames, views and watches after an
 *		event got another table.
 *
 * A call that attaches does it at once, in itself.  Renames are noticed by each process
 * as it compiles (compile.c), so evaluation goes on with the new names; here the
 * worker stores them.  What was not noticed meanwhile, as capture goes by stored names,
 * is found by a build.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define RENEW_EVERY_MS 60000

static void attached(void);
static void named_changes(const char *word, const char *name, bool changed);
static void named_changing(const char *word, const char *name);
static void score_changed(const char *model);
static List *uses_of(const char *kind, const char *name);
static List *uses_of_score(const char *model);
static List *uses_of_stage(const char *stage);
static List *uses_of_topic(const char *topic);
static bool duty_tick(void);
static void store_followed(const MaSegments *all, List **names);
static void start_build(const MaSegment *segment, const char *text, bool later);
static bool differs(const MaSegment *segment);
static bool means_the_same(const MaSegment *segment);
static void reconcile(const MaSegment *segment);
static char *rebuild(const char *name, Oid caller);

MA_FUNCTION(ma_rebuild_segment);

void
ma_segment_renew_init(void)
{
	static const MaDuty duty = {
		.name = "names of segments", .every_ms = RENEW_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
	ma_register_attach_listener(attached);
	ma_register_named_listener(named_changes);
	ma_register_uses("score model", uses_of_score);
	ma_register_uses("stage", uses_of_stage);
	ma_register_uses("topic", uses_of_topic);
}

/* True if the segment's view says something else than its rule. */
static bool
differs(const MaSegment *segment)
{
	return ma_rule_view_differs("segment", segment->name, segment->rule);
}

/* Something was attached or detached: rules that mean other rows now. */
static void
attached(void)
{
	MaSegments *all = ma_segments();
	List	   *names = NIL;

	for (int i = 0; i < all->n; i++)
		if (all->segments[i]->error == NULL && differs(all->segments[i]))
			names = lappend(names, pstrdup(all->segments[i]->name));
	if (names == NIL)
		return;
	ma_segments_lock();
	ma_segments_rewatch(names);
	ma_definitions_changed();
}

/* Those that name a segment are built anew by its definition. */
static void
named_changes(const char *word, const char *name, bool changed)
{
	if (!changed)
		named_changing(word, name);
	else if (strcmp(word, "score") == 0)
		score_changed(name);
}

/*
 * Renames are told by views that say what the rules do; once the score or segment is
 * another one they do not.  So those that have not been renewed since are renewed before.
 */
static void
named_changing(const char *word, const char *name)
{
	MaSegments *all = ma_segments();
	bool		any = false;

	for (int i = 0; i < all->n; i++)
	{
		MaSegment  *segment = all->segments[i];

		if (segment->error != NULL || !(segment->altered || segment->followed) ||
			ma_rule_path(segment->rule, word, name) == NULL)
			continue;
		if (!any)
			ma_segments_lock();
		any = true;
		if (segment->followed)
			start_build(segment, segment->text, true);
		ma_rule_view_set("segment", segment->name, segment->rule);
	}
	if (any)
		ma_definitions_changed();
}

/* A score model says something else now, and so do rules that name it. */
static void
score_changed(const char *model)
{
	MaSegments *all = ma_segments();
	List	   *names = NIL;
	bool		later;

	for (int i = 0; i < all->n; i++)
		if (all->segments[i]->error == NULL &&
			ma_rule_path(all->segments[i]->rule, "score", model) != NULL)
			names = lappend(names, pstrdup(all->segments[i]->name));
	if (names == NIL)
		return;
	ma_segments_lock();
	later = ma_segment_build_later();
	for (int i = 0; i < all->n; i++)
		if (all->segments[i]->error == NULL &&
			ma_rule_path(all->segments[i]->rule, "score", model) != NULL)
		{
			ma_segment_lock_writers(all->segments[i]->rule);
			start_build(all->segments[i], all->segments[i]->text, later);
		}
	ma_definitions_changed();
	ma_segments_rewatch(names);
	ma_definitions_changed();
	if (later)
		ma_worker_wake_at_commit();
	else
		ma_segments_build(ma_segments(), names, ma_now());
}

static List *
uses_of(const char *kind, const char *name)
{
	MaSegments *all = ma_segments();
	List	   *uses = NIL;
	ListCell   *cell;

	for (int i = 0; i < all->n; i++)
		foreach(cell, all->segments[i]->rule ?
				ma_rule_uses(all->segments[i]->rule, kind) : NIL)
			if (strcmp(lfirst(cell), name) == 0)
			{
				uses = lappend(uses, psprintf("segment \"%s\"", all->segments[i]->name));
				break;
			}
	return uses;
}

static List *
uses_of_score(const char *model)
{
	return uses_of("score model", model);
}

static List *
uses_of_stage(const char *stage)
{
	return uses_of("stage", stage);
}

static List *
uses_of_topic(const char *topic)
{
	return uses_of("topic", topic);
}

/* The worker's turn; nothing unless a definition or an attached table has changed. */
static bool
duty_tick(void)
{
	static uint64 seen = 0;
	MaSegments *all;
	MaCall		call;
	List	   *names = NIL;

	if (ma_extension() == NULL)
		return false;
	ma_call_begin(&call);
	all = ma_segments();
	if (seen != ma_definitions_epoch())
	{
		for (int i = 0; i < all->n; i++)
		{
			MaSegment  *segment = all->segments[i];

			if (segment->error == NULL && !segment->followed &&
				differs(segment) && !means_the_same(segment))
				ma_segment_mark_failed(segment, ERRCODE_MA_RULE_BROKEN, MA_RULE_RENAMED);
			else if (segment->error == NULL && !segment->followed && segment->altered)
				ma_rule_view_set("segment", segment->name, segment->rule);
		}
		store_followed(all, &names);
		if (names != NIL)
		{
			ma_definitions_changed();
			ma_segments_rewatch(names);
			ma_definitions_changed();
			ma_worker_wake_at_commit();
		}
		seen = ma_definitions_epoch();
	}
	ma_call_end(&call);
	return false;
}

/* Stores the texts that follow renames; their segments are built anew. */
static void
store_followed(const MaSegments *all, List **names)
{
	for (int i = 0; i < all->n; i++)
	{
		if (!all->segments[i]->followed || all->segments[i]->error != NULL)
			continue;
		if (*names == NIL)
			ma_segments_lock();
		start_build(all->segments[i], all->segments[i]->text, true);
		*names = lappend(*names, pstrdup(all->segments[i]->name));
	}
}

static void
start_build(const MaSegment *segment, const char *text, bool later)
{
	static MaStatement update = {
		"UPDATE marketing_internal.segment SET built_to = 0, "
		"state = CASE WHEN $3 THEN 'building' ELSE 'live' END, "
		"rule_source = CASE WHEN rule OPERATOR(pg_catalog.=) $2 THEN rule_source ELSE $2 END, "
		"known_from = COALESCE(known_from, CASE WHEN NOT $3 THEN $4 END), "
		"rule = $2 WHERE segment_id OPERATOR(pg_catalog.=) $1",
		4, {INT4OID, TEXTOID, BOOLOID, TIMESTAMPTZOID}
	};
	Datum		values[4];

	values[0] = Int32GetDatum(segment->id);
	values[1] = CStringGetTextDatum(text);
	values[2] = BoolGetDatum(later);
	values[3] = TimestampTzGetDatum(ma_now());
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
}

/*
 * The view has followed renames, but nobody could tell when: after a restore of a dump
 * that was made before the worker had stored the new names.  If it reads columns that
 * the text, as compiled now, does not read of the same table, then the text names
 * others by the old names.
 */
static bool
means_the_same(const MaSegment *segment)
{
	List	   *before = ma_rule_view_reads("segment", segment->name);
	List	   *after;
	ListCell   *cell;

	ma_rule_view_set("segment", segment->name, segment->rule);
	after = ma_rule_view_reads("segment", segment->name);
	foreach(cell, before)
	{
		const char *column = lfirst(cell);
		int			table = (int) (strchr(column, '.') - column) + 1;
		bool		same_table = false;
		bool		found = false;
		ListCell   *other;

		foreach(other, after)
		{
			same_table |= strncmp(lfirst(other), column, table) == 0;
			found |= strcmp(lfirst(other), column) == 0;
		}
		if (same_table && !found)
			return false;
	}
	return true;
}

/* Members and bits say the same of everybody: what a build compares and writes relies on it. */
static void
reconcile(const MaSegment *segment)
{
#define BIT_SQL \
		"(CASE WHEN pg_catalog.length(s.bits) " \
		"OPERATOR(pg_catalog.>) ($2 OPERATOR(pg_catalog./) 8) " \
		"THEN pg_catalog.get_bit(s.bits, $2) ELSE 0 END) OPERATOR(pg_catalog.=) 1 "
	static MaStatement remove = {
		"DELETE FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1 AND NOT EXISTS (SELECT "
		"FROM marketing_internal.segment_state AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) m.contact_id AND " BIT_SQL ")",
		2, {INT4OID, INT8OID}
	};
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_member (segment_id, contact_id, since) "
		"SELECT $1, s.contact_id, $3 FROM marketing_internal.segment_state AS s "
		"WHERE " BIT_SQL "ON CONFLICT (segment_id, contact_id) DO NOTHING",
		3, {INT4OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(segment->id);
	values[1] = Int64GetDatum(segment->slot);
	values[2] = TimestampTzGetDatum(ma_now());
	ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}

/* rebuild_segment(name) */
Datum
ma_rebuild_segment(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaCall		call;
	char	   *answer;

	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, rebuild(name, call.caller.userid));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
rebuild(const char *name, Oid caller)
{
	MaRuleScope scope = {psprintf("rule of segment \"%s\"", name)};
	MaSegment  *segment;
	MaRule	   *rule;
	char	   *text;
	bool		later;

	ma_segments_lock();
	segment = ma_segment_get(ma_segments(), name);
	scope.time_zone = segment->time_zone;
	text = pstrdup(segment->text);
	/* The errors of a broken one, with their places. */
	rule = ma_rule_parse(text, &scope, caller);
	ma_segment_lock_writers(rule);
	reconcile(segment);
	later = ma_segment_build_later();
	start_build(segment, text, later);
	ma_segment_forget_failures(segment->id);
	ma_rule_view_set("segment", name, rule);
	ma_definitions_changed();
	ma_segments_rewatch(list_make1(pstrdup(name)));
	ma_definitions_changed();
	if (later)
		ma_worker_wake_at_commit();
	else
		ma_segments_build(ma_segments(), list_make1(pstrdup(name)), ma_now());
	return psprintf("%s: %s", name, later ? "being rebuilt" :
					psprintf("rebuilt, %s", ma_segment_members_text(name)));
}
