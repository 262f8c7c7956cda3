/*
 * lists.c
 *		Lists: contacts put together by hand or by journeys; and how rules name segments
 *		and lists.
 *
 * A change of a list is a change of the contact: he is marked, and evaluated at the
 * commit like after a change of his row.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

static int32 list_id(const char *name, List **names);
static bool find_list(const char *name, const char *by, List **candidates);
static void test_list(const char *name, const char *by, const int64 *contact_ids, int n,
					  TimestampTz as_of, MaRun how, MaTruth *out);
static char *list_sql(const char *name, const char *by, const char *now);
static bool find_segment(const char *name, const char *by, List **candidates);
static char *segment_text(const char *name, char **time_zone);
static int32 list_required(const char *name);
static int	change(MaStatement *statement, const char *name, const int64 *contact_ids, int n);
static Datum change_one(FunctionCallInfo fcinfo,
						int (*change_list) (const char *, const int64 *, int));

MA_FUNCTION(ma_define_list);
MA_FUNCTION(ma_drop_list);
MA_FUNCTION(ma_add_to_list);
MA_FUNCTION(ma_remove_from_list);

static const MaRuleFact segment_fact = {"segment", find_segment, segment_text, NULL, NULL};
static const MaRuleFact list_fact = {"list", find_list, NULL, test_list, list_sql};

void
ma_segment_facts_init(void)
{
	ma_register_rule_fact(&segment_fact);
	ma_register_rule_fact(&list_fact);
}

/* ---- segments as rules name them; read directly, since the cache is made of rules ---- */

static bool
find_segment(const char *name, const char *by, List **candidates)
{
	static MaStatement read = {"SELECT s.name FROM marketing_internal.segment AS s ORDER BY 1"};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	bool		found = false;

	for (uint64 i = 0; i < rows.n; i++)
	{
		*candidates = lappend(*candidates, ma_text(&rows, i, 1));
		found |= strcmp(llast(*candidates), name) == 0;
	}
	return found;
}

static char *
segment_text(const char *name, char **time_zone)
{
	static MaStatement read = {
		"SELECT s.rule, s.time_zone FROM marketing_internal.segment AS s "
		"WHERE s.name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	char	   *followed;

	/* It was there when find_segment() looked: somebody's drop_segment() came between. */
	if (rows.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SEGMENT),
				 errmsg("segment \"%s\" was dropped just now", name),
				 errhint("Define it again, or leave it out of the rule.")));
	*time_zone = ma_text(&rows, 0, 2);
	followed = ma_segment_followed_text(name);
	return followed ? followed : ma_text(&rows, 0, 1);
}

/* ---- lists in rules ---- */

/* 0 if there is none; then *names has all there are. */
static int32
list_id(const char *name, List **names)
{
	static MaStatement read = {
		"SELECT l.name, l.list_id FROM marketing_internal.list AS l ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		*names = lappend(*names, ma_text(&rows, i, 1));
		if (strcmp(llast(*names), name) == 0)
			return ma_int32(&rows, i, 2);
	}
	return 0;
}

static bool
find_list(const char *name, const char *by, List **candidates)
{
	return list_id(name, candidates) != 0;
}

static void
test_list(const char *name, const char *by, const int64 *contact_ids, int n, TimestampTz as_of,
		  MaRun how, MaTruth *out)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4 FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.list_member AS m ON m.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"JOIN marketing_internal.list AS l ON l.list_id OPERATOR(pg_catalog.=) m.list_id "
		"WHERE l.name OPERATOR(pg_catalog.=) $2",
		2, {INT8ARRAYOID, TEXTOID}
	};

	ma_rule_fact_in_rows(&read, name, contact_ids, n, how, out);
}

static char *
list_sql(const char *name, const char *by, const char *now)
{
	return psprintf("EXISTS (SELECT FROM marketing_internal.list_member AS m "
					"JOIN marketing_internal.list AS l ON l.list_id OPERATOR(pg_catalog.=) m.list_id "
					"WHERE m.contact_id OPERATOR(pg_catalog.=) c.contact_id "
					"AND l.name OPERATOR(pg_catalog.=) %s)", quote_literal_cstr(name));
}

/* ---- functions ---- */

static int32
list_required(const char *name)
{
	List	   *names = NIL;
	int32		id = list_id(name, &names);
	char	   *nearest;

	if (id != 0)
		return id;
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SEGMENT),
			 errmsg("there is no list \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make it with marketing.define_list().")));
}

void
ma_list_required(const char *name)
{
	(void) list_required(name);
}

bool
ma_segment_reads_list(const char *segment, const char *list)
{
	MaSegment  *found = ma_segment_find(ma_segments(), segment);
	ListCell   *cell;

	if (found == NULL || found->rule == NULL)
		return false;
	foreach(cell, ma_rule_names(found->rule, "list"))
		if (strcmp(lfirst(cell), list) == 0)
			return true;
	foreach(cell, ma_rule_names(found->rule, "segment"))
		if (ma_segment_reads_list(lfirst(cell), list))
			return true;
	return false;
}

bool
ma_segment_swings_by(const char *segment, const char *event)
{
	MaSegment  *found = ma_segment_find(ma_segments(), segment);
	ListCell   *cell;

	if (found == NULL || found->rule == NULL)
		return false;
	foreach(cell, ma_rule_events(found->rule))
	{
		MaRuleEvent *read = lfirst(cell);

		if (strcmp(read->name, event) == 0)
			return read->moves == (MA_MOVES_UP | MA_MOVES_DOWN);
	}
	return false;
}

/* define_list(name, description) */
Datum
ma_define_list(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT l.description FROM marketing_internal.list AS l WHERE l.name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static MaStatement add = {
		"INSERT INTO marketing_internal.list (name, description, defined_at) VALUES ($1, $2, $3) "
		"ON CONFLICT (name) DO UPDATE SET description = EXCLUDED.description",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	char	   *description = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		values[3];
	char		nulls[] = "   ";
	const char *what = "created";
	MaCall		call;
	MaRows		rows;
	char	   *answer;

	ma_name_check(name, "list");
	ma_call_begin(&call);
	values[0] = CStringGetTextDatum(name);
	values[1] = description ? CStringGetTextDatum(description) : (Datum) 0;
	nulls[1] = description ? ' ' : 'n';
	values[2] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
	{
		char	   *before = ma_text(&rows, 0, 1);

		what = (before == NULL && description == NULL) ||
			(before != NULL && description != NULL && strcmp(before, description) == 0) ?
			"unchanged" : "replaced (description)";
	}
	ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	answer = MemoryContextStrdup(context, psprintf("%s: %s", name, what));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* drop_list(name) */
Datum
ma_drop_list(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"WITH gone AS (DELETE FROM marketing_internal.list AS l "
		"WHERE l.list_id OPERATOR(pg_catalog.=) $1 RETURNING l.list_id) "
		"DELETE FROM marketing_internal.list_member AS m USING gone "
		"WHERE m.list_id OPERATOR(pg_catalog.=) gone.list_id",
		1, {INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	char	   *naming;
	MaCall		call;
	Datum		value;
	char	   *answer;

	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	value = Int32GetDatum(list_required(name));
	naming = ma_segments_naming("list", name);
	if (naming != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("list \"%s\" is named by the rule of segment %s", name, naming),
				 errhint("Drop that segment, or define it without the list, first.")));
	ma_require_unused("list", name);
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	answer = MemoryContextStrdup(context, psprintf("%s: dropped", name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Runs the statement for contacts, marks those it changed; returns how many. */
static int
change(MaStatement *statement, const char *name, const int64 *contact_ids, int n)
{
	Datum		values[3];
	MaRows		rows;

	values[0] = Int32GetDatum(list_required(name));
	values[1] = ma_int8_array(contact_ids, n);
	values[2] = TimestampTzGetDatum(ma_now());
	rows = ma_run(statement, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		ma_mark_contact(ma_int64(&rows, i, 1));
	return (int) rows.n;
}

int
ma_list_add(const char *name, const int64 *contact_ids, int n)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.list_member (list_id, contact_id, added_at) "
		"SELECT $1, u.contact_id, $3 FROM pg_catalog.unnest($2) AS u (contact_id) ORDER BY 2 "
		"ON CONFLICT DO NOTHING RETURNING contact_id",
		3, {INT4OID, INT8ARRAYOID, TIMESTAMPTZOID}
	};

	return change(&add, name, contact_ids, n);
}

int
ma_list_remove(const char *name, const int64 *contact_ids, int n)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.list_member AS m WHERE m.list_id OPERATOR(pg_catalog.=) $1 "
		"AND m.contact_id OPERATOR(pg_catalog.=) ANY ($2) AND $3 IS NOT NULL RETURNING m.contact_id",
		3, {INT4OID, INT8ARRAYOID, TIMESTAMPTZOID}
	};

	return change(&remove, name, contact_ids, n);
}

/* One contact, as SQL calls it: the arguments are contact and list. */
static Datum
change_one(FunctionCallInfo fcinfo, int (*change_list) (const char *, const int64 *, int))
{
	char	   *name = ma_segment_name_argument(fcinfo, 1);
	int64		contact_id;
	MaCall		call;
	int			n;

	ma_call_begin(&call);
	contact_id = ma_contact_argument(fcinfo, false);
	n = change_list(name, &contact_id, 1);
	ma_call_end(&call);
	PG_RETURN_BOOL(n > 0);
}

/* add_to_list(contact, list) */
Datum
ma_add_to_list(PG_FUNCTION_ARGS)
{
	return change_one(fcinfo, ma_list_add);
}

/* remove_from_list(contact, list) */
Datum
ma_remove_from_list(PG_FUNCTION_ARGS)
{
	return change_one(fcinfo, ma_list_remove);
}
