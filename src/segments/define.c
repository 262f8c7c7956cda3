/*
 * define.c
 *		define_segment() and drop_segment().
 *
 * A new rule must miss no change: writers of what it reads are kept out from before
 * the members are found until the definition is there for everybody.  The state is
 * locked too, so that nobody who computed from the old one overwrites the new.  Of
 * many contacts the members are found by the worker afterwards; until then reads ask
 * the rule's SQL.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "segments/segments_internal.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"


/* What define_segment() was asked for. */
typedef struct Wanted
{
	char	   *name;
	char	   *source;
	char	   *time_zone;
	char	   *description;
	char	   *text;			/* canonical rule */
	MaRule	   *rule;
} Wanted;

static char *text_argument(FunctionCallInfo fcinfo, int i);
static char *define(Wanted *wanted, const char *search_path, Oid definer);
static void check_cycle(const MaSegments *all, const Wanted *wanted);
static void follow(const MaSegments *all, const char *name, const Wanted *wanted, char *path);
static char *changes(const MaSegment *before, const Wanted *wanted);
static bool same(const char *a, const char *b);
static void store(const MaSegment *before, const Wanted *wanted, bool building,
				  const char *definer);
static List *dependents(const MaSegments *all, const char *name);
static int64 count_members(const char *name);
static void tell_without_events(const Wanted *wanted);

MA_FUNCTION(ma_define_segment);
MA_FUNCTION(ma_drop_segment);

static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

/* define_segment(name, rule, time_zone, description) */
Datum
ma_define_segment(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Wanted		wanted = {0};
	char	   *search_path = pstrdup(namespace_search_path);
	MaCall		call;
	char	   *answer;

	wanted.name = ma_segment_name_argument(fcinfo, 0);
	wanted.source = text_argument(fcinfo, 1);
	wanted.time_zone = text_argument(fcinfo, 2);
	wanted.description = text_argument(fcinfo, 3);
	if (wanted.source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rule must not be null")));
	ma_name_check(wanted.name, "segment");
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define(&wanted, search_path, call.caller.userid));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

char *
ma_segment_define(const char *name, const char *rule, const char *description,
				  const char *search_path, Oid definer)
{
	Wanted		wanted = {0};

	ma_name_check(name, "segment");
	wanted.name = pstrdup(name);
	wanted.source = pstrdup(rule);
	wanted.description = pstrdup(description);
	return define(&wanted, search_path, definer);
}

static char *
define(Wanted *wanted, const char *search_path, Oid definer)
{
	MaRuleScope scope = {psprintf("rule of segment \"%s\"", wanted->name)};
	MaSegments *all;
	MaSegment  *before;
	char	   *changed;
	bool		building;
	List	   *names;

	/* Against whoever drops what the rule names. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_segments_lock();
	ma_tell_named("segment", wanted->name, false);
	all = ma_segments();
	before = ma_segment_find(all, wanted->name);
	if (wanted->time_zone == NULL)
		wanted->time_zone = before ? before->time_zone :
			ma_database_time_zone();
	scope.time_zone = wanted->time_zone;
	scope.search_path = search_path;
	wanted->rule = ma_rule_parse(wanted->source, &scope, definer);
	wanted->time_zone = pstrdup(ma_rule_time_zone(wanted->rule));
	wanted->text = ma_rule_text(wanted->rule);
	check_cycle(all, wanted);
	changed = before ? changes(before, wanted) : NULL;
	if (before != NULL && changed == NULL)
		return psprintf("%s: unchanged", wanted->name);
	tell_without_events(wanted);

	ma_segment_lock_writers(wanted->rule);
	building = ma_segment_build_later();
	ma_transitions_ensure();
	store(before, wanted, building, GetUserNameFromId(definer, false));
	if (before != NULL)
		ma_segment_forget_failures(before->id);
	ma_rule_view_set("segment", wanted->name, wanted->rule);
	ma_definitions_changed();
	all = ma_segments();
	names = dependents(all, wanted->name);
	ma_segments_rewatch(names);
	ma_definitions_changed();
	ma_tell_named("segment", wanted->name, true);
	all = ma_segments();
	if (building)
		ma_worker_wake_at_commit();
	else
		ma_segments_build(all, names, ma_now());
	return psprintf("%s: %s, %s", wanted->name,
					before ? psprintf("replaced (%s)", changed) : "created",
					building ? "being built" :
					ma_segment_members_text(wanted->name));
}

char *
ma_segment_members_text(const char *name)
{
	int64		n = count_members(name);

	return psprintf("%s contact%s", ma_grouped(n), n == 1 ? "" : "s");
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What differs, in words; NULL: nothing. */
static char *
changes(const MaSegment *before, const Wanted *wanted)
{
	StringInfoData text;

	initStringInfo(&text);
	if (before->error != NULL || before->followed)
		appendStringInfoString(&text, before->rule == NULL ? "it was broken" :
							   before->error ? "it was failing" : "names");
	else if (!same(before->text, wanted->text))
		appendStringInfoString(&text, "rule");
	if (!same(before->time_zone, wanted->time_zone))
		appendStringInfo(&text, "%stime zone", text.len > 0 ? ", " : "");
	if (!same(before->description, wanted->description))
		appendStringInfo(&text, "%sdescription", text.len > 0 ? ", " : "");
	return text.len > 0 ? text.data : NULL;
}

/* ---- cycles ---- */

/* A segment that the rule names must not lead back to it. */
static void
check_cycle(const MaSegments *all, const Wanted *wanted)
{
	char	   *path;
	ListCell   *cell;

	foreach(cell, ma_rule_names(wanted->rule, "segment"))
		follow(all, lfirst(cell), wanted, wanted->name);
	path = ma_rule_path(wanted->rule, "segment", wanted->name);
	if (path != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RULE_CYCLE),
				 errmsg("segment \"%s\" would depend on itself", wanted->name),
				 errdetail("%s%s", wanted->name, path)));
}

static void
follow(const MaSegments *all, const char *name, const Wanted *wanted, char *path)
{
	MaSegment  *segment = ma_segment_find(unconstify(MaSegments *, all), name);
	ListCell   *cell;

	path = psprintf("%s -> %s", path, name);
	if (strcmp(name, wanted->name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RULE_CYCLE),
				 errmsg("segment \"%s\" would depend on itself", wanted->name),
				 errdetail("%s", path)));
	if (segment == NULL || segment->rule == NULL)
		return;
	foreach(cell, ma_rule_names(segment->rule, "segment"))
		follow(all, lfirst(cell), wanted, path);
}

/* The segment and those whose rules name it, also through others. */
static List *
dependents(const MaSegments *all, const char *name)
{
	List	   *names = list_make1(pstrdup(name));

	for (int known = 0; known < list_length(names); known++)
		for (int i = 0; i < all->n; i++)
		{
			MaSegment  *segment = all->segments[i];
			bool		leads = false;
			ListCell   *cell;

			if (segment->rule == NULL)
				continue;
			foreach(cell, ma_rule_names(segment->rule, "segment"))
				leads |= strcmp(lfirst(cell), list_nth(names, known)) == 0;
			foreach(cell, names)
				leads &= strcmp(lfirst(cell), segment->name) != 0;
			if (leads)
				names = lappend(names, pstrdup(segment->name));
		}
	return names;
}

/* Segments that name the list or segment, as text for an error; NULL: none does. */
char *
ma_segments_naming(const char *word, const char *name)
{
	MaSegments *all = ma_segments();
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < all->n; i++)
	{
		ListCell   *cell;

		if (all->segments[i]->rule == NULL)
			continue;
		foreach(cell, ma_rule_names(all->segments[i]->rule, word))
			if (strcmp(lfirst(cell), name) == 0)
			{
				appendStringInfo(&text, "%s\"%s\"", text.len > 0 ? ", " : "",
								 all->segments[i]->name);
				break;
			}
	}
	return text.len > 0 ? text.data : NULL;
}

/* What the segments and views of these names read may have changed with one of them. */
void
ma_segments_rewatch(List *names)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		MaSegment  *segment = ma_segment_get(ma_segments(), lfirst(cell));

		ma_unwatch_events(MA_SEGMENT_CONSUMER, segment->name);
		if (segment->rule == NULL)
			continue;
		ma_rule_watch(MA_SEGMENT_CONSUMER, segment->name, segment->rule);
		ma_rule_view_set("segment", segment->name, segment->rule);
	}
}

/* ---- locks ---- */

/* One transaction at a time changes segments; who evaluates goes on. */
void
ma_segments_lock(void)
{
	LockRelationOid(ma_own_table("segment"), ShareRowExclusiveLock);
}

/*
 * Tables the rule reads, all attached contacts, and our own tables of facts: whoever
 * writes them has either committed before we read, or comes after our commit.
 */
void
ma_segment_lock_writers(const MaRule *rule)
{
	static const char *const own[] = {"contact", "contact_key", "event", "list_member", "consent",
	"segment_state"};
	List	   *relids = NIL;
	List	   *ours = NIL;
	ListCell   *cell;

	foreach(cell, ma_rule_relations(rule))
	{
		Oid			relid = lfirst_oid(cell);

		if (get_rel_namespace(relid) == ma_extension_required()->internal_schema)
			ours = lappend_oid(ours, relid);
		else
			relids = lappend_oid(relids, relid);
	}
	foreach(cell, ma_definitions()->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table != NULL && OidIsValid(source->table->relid))
			relids = list_append_unique_oid(relids, source->table->relid);
	}
	for (int i = 0; i < lengthof(own); i++)
		ours = list_append_unique_oid(ours, ma_own_table(own[i]));
	/* In a writer's order: who has written a table of his comes to ours at his commit. */
	ma_relations_lock_writers(relids);
	ma_relations_lock_writers(ours);
}

bool
ma_segment_build_later(void)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM (SELECT FROM marketing_internal.contact LIMIT $1) AS c",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(ma_guc_build_in_call_rows + 1);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1) > ma_guc_build_in_call_rows;
}

static int64
count_members(const char *name)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM marketing_internal.segment_member AS m "
		"JOIN marketing_internal.segment AS s ON s.segment_id OPERATOR(pg_catalog.=) m.segment_id "
		"WHERE s.name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1);
}

/* ---- the row ---- */

static void
store(const MaSegment *before, const Wanted *wanted, bool building,
	  const char *definer)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment (name, slot, rule, rule_source, time_zone, "
		"description, state, defined_by, defined_at, known_from) "
		"VALUES ($1, $9, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $6 OPERATOR(pg_catalog.=) 'live' THEN $8 END)",
		9, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID}
	};
	static MaStatement replace = {
		"UPDATE marketing_internal.segment SET rule = $2, rule_source = $3, time_zone = $4, "
		"description = $5, state = $6, built_to = 0, defined_by = $7, defined_at = $8, "
		"known_from = COALESCE(known_from, CASE WHEN $6 OPERATOR(pg_catalog.=) 'live' THEN $8 END) "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		8, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[9];
	char		nulls[] = "         ";

	values[0] = CStringGetTextDatum(wanted->name);
	values[1] = CStringGetTextDatum(wanted->text);
	values[2] = CStringGetTextDatum(wanted->source);
	values[3] = CStringGetTextDatum(wanted->time_zone);
	values[4] = wanted->description ? CStringGetTextDatum(wanted->description) : (Datum) 0;
	nulls[4] = wanted->description ? ' ' : 'n';
	values[5] = CStringGetTextDatum(building ? "building" : "live");
	values[6] = CStringGetTextDatum(definer);
	values[7] = TimestampTzGetDatum(ma_now());
	if (before == NULL)
		values[8] = Int32GetDatum(ma_segment_slot_take());
	ma_run(before ? &replace : &add, values, nulls, MA_RUN_WRITE_LATEST);
}

static void
tell_without_events(const Wanted *wanted)
{
	if (ma_rule_true_without_events(wanted->rule))
		ereport(NOTICE,
				(errmsg("segment \"%s\" also holds contacts who never had any of its events",
						wanted->name),
				 errhint("If they are not meant, add a condition such as \"any ...\" on the event.")));
}

/* drop_segment(name) */
Datum
ma_drop_segment(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"WITH gone AS (DELETE FROM marketing_internal.segment AS s "
		"WHERE s.segment_id OPERATOR(pg_catalog.=) $1 RETURNING s.segment_id), "
		"failures AS (DELETE FROM marketing_internal.segment_failure AS f USING gone "
		"WHERE f.segment_id OPERATOR(pg_catalog.=) gone.segment_id), "
		"drift AS (DELETE FROM marketing_internal.segment_drift AS d USING gone "
		"WHERE d.segment_id OPERATOR(pg_catalog.=) gone.segment_id), "
		"members AS (DELETE FROM marketing_internal.segment_member AS m USING gone "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) gone.segment_id) "
		"DELETE FROM marketing_internal.segment_transition AS t USING gone "
		"WHERE t.segment_id OPERATOR(pg_catalog.=) gone.segment_id",
		1, {INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaSegment  *segment;
	char	   *naming;
	MaCall		call;
	Datum		value;
	char	   *answer;

	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_segments_lock();
	segment = ma_segment_get(ma_segments(), name);
	naming = ma_segments_naming("segment", name);
	if (naming != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("segment \"%s\" is named by the rule of segment %s", name, naming),
				 errhint("Drop that segment, or define it without this one, first.")));
	ma_require_unused("segment", name);
	/* Who evaluates now, with the segment, ends first or meets another state. */
	ma_relations_lock_writers(list_make1_oid(ma_own_table("segment_state")));
	value = Int32GetDatum(segment->id);
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_segment_slot_drop(segment->slot);
	ma_unwatch_events(MA_SEGMENT_CONSUMER, name);
	ma_rule_view_drop("segment", name);
	ma_definitions_changed();
	answer = MemoryContextStrdup(context, psprintf("%s: dropped", name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
