/*
 * versions.c
 *		journey_versions() and journey_diff(): what versions there are, and what differs.
 *
 * Steps are compared by their ids, wherever they stand, as a marketer speaks of them, and
 * each without its paths: a change deep in a branch is one line, that of its step.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "journeys/catalog.h"
#include "journeys/engine.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* One version of the two. */
typedef struct Side
{
	int32		version;
	MaJson	   *tree;
	MaProgram  *program;
} Side;

static void choose(const MaJourney *journey, FunctionCallInfo fcinfo, int32 *before, int32 *after);
static Side read_side(const MaJourney *journey, int32 version);
static void diff_keys(ReturnSetInfo *result, const Side *before, const Side *after);
static void diff_steps(ReturnSetInfo *result, const Side *before, const Side *after);
static void emit(ReturnSetInfo *result, const char *place, const char *change, char *before,
				 char *after);
static char *step_text(const Side *side, const MaStep *step);
static const MaJson *find(const MaJson *json, const char *path);
static bool is_path_key(const char *key);
static void print_alone(StringInfo text, const MaJson *json);

MA_FUNCTION(ma_journey_versions);
MA_FUNCTION(ma_journey_diff);

static char *
name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* journey_versions(name) */
Datum
ma_journey_versions(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT v.version, CASE v.version WHEN j.version THEN 'active' WHEN j.draft THEN 'draft' "
		"ELSE 'earlier' END, (SELECT pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) v.journey_id "
		"AND e.version OPERATOR(pg_catalog.=) v.version "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}')), "
		"v.created_at, v.activated_at, v.definition "
		"FROM marketing_internal.journey_version AS v JOIN marketing_internal.journey AS j "
		"ON j.journey_id OPERATOR(pg_catalog.=) v.journey_id "
		"WHERE v.journey_id OPERATOR(pg_catalog.=) $1 ORDER BY v.version DESC",
		1, {INT4OID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = name_argument(fcinfo);
	MaCall		call;
	MaRows		rows;
	Datum		value;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	value = Int32GetDatum(ma_journey_required(name)->id);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
		tuplestore_puttuple(result->setResult, rows.rows[i]);
	ma_call_end(&call);
	return (Datum) 0;
}

/* journey_diff(name, old_version, new_version) */
Datum
ma_journey_diff(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = name_argument(fcinfo);
	MaCall		call;
	MaJourney  *journey;
	int32		before;
	int32		after;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	journey = ma_journey_required(name);
	choose(journey, fcinfo, &before, &after);
	if (before > 0 && before != after)
	{
		Side		left = read_side(journey, before);
		Side		right = read_side(journey, after);

		diff_keys(result, &left, &right);
		diff_steps(result, &left, &right);
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* The draft beside the active version; without a draft, that beside the one before it. */
static void
choose(const MaJourney *journey, FunctionCallInfo fcinfo, int32 *before, int32 *after)
{
	static MaStatement previous = {
		"SELECT pg_catalog.max(v.version) FROM marketing_internal.journey_version AS v "
		"WHERE v.journey_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.<) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2];
	MaRows		rows;

	*after = !PG_ARGISNULL(2) ? PG_GETARG_INT32(2) : journey->draft ? journey->draft :
		journey->version;
	if (!PG_ARGISNULL(1))
		*before = PG_GETARG_INT32(1);
	else if (journey->version != 0 && journey->version != *after)
		*before = journey->version;
	else
	{
		values[0] = Int32GetDatum(journey->id);
		values[1] = Int32GetDatum(*after);
		rows = ma_run(&previous, values, NULL, MA_RUN_READ_LATEST);
		*before = ma_int32(&rows, 0, 1);
	}
}

static Side
read_side(const MaJourney *journey, int32 version)
{
	static MaStatement read = {
		"SELECT definition FROM marketing_internal.journey_version "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(journey->id), Int32GetDatum(version)};
	MaRows		rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	List	   *problems = NIL;
	Side		side = {version};
	bool		isnull;
	Datum		definition;

	if (rows.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("journey \"%s\" has no version %d", journey->name, version),
				 errhint("Look at marketing.journey_versions('%s').", journey->name)));
	definition = ma_value(&rows, 0, 1, &isnull);
	side.tree = ma_json_tree(definition);
	side.program = ma_program_parse(definition, &problems);
	return side;
}

/* All keys but the steps. */
static void
diff_keys(ReturnSetInfo *result, const Side *before, const Side *after)
{
	ListCell   *cell;

	foreach(cell, before->tree->items)
	{
		MaJson	   *left = lfirst(cell);
		MaJson	   *right = ma_json_member(after->tree, left->key);
		char	   *was = ma_json_print(left);

		if (strcmp(left->key, "steps") == 0)
			continue;
		if (right == NULL)
			emit(result, left->key, "removed", was, NULL);
		else if (strcmp(was, ma_json_print(right)) != 0)
			emit(result, left->key, "changed", was, ma_json_print(right));
	}
	foreach(cell, after->tree->items)
	{
		MaJson	   *right = lfirst(cell);

		if (strcmp(right->key, "steps") != 0 && ma_json_member(before->tree, right->key) == NULL)
			emit(result, right->key, "added", NULL, ma_json_print(right));
	}
}

/* Those that are gone in their order, then those there are; one may be changed and moved. */
static void
diff_steps(ReturnSetInfo *result, const Side *before, const Side *after)
{
	ListCell   *cell;

	foreach(cell, before->program->all)
	{
		MaStep	   *step = lfirst(cell);

		if (ma_program_step(after->program, step->id) == NULL)
			emit(result, psprintf("step %s", step->id), "removed", step_text(before, step), NULL);
	}
	foreach(cell, after->program->all)
	{
		MaStep	   *step = lfirst(cell);
		MaStep	   *old = ma_program_step(before->program, step->id);
		char	   *place = psprintf("step %s", step->id);
		char	   *is = step_text(after, step);

		if (old == NULL)
		{
			emit(result, place, "added", NULL, is);
			continue;
		}
		if (strcmp(step_text(before, old), is) != 0)
			emit(result, place, "changed", step_text(before, old), is);
		if (strcmp(old->path, step->path) != 0)
			emit(result, place, "moved", pstrdup(old->path), pstrdup(step->path));
	}
}

static void
emit(ReturnSetInfo *result, const char *place, const char *change, char *before, char *after)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, before == NULL, after == NULL};

	values[0] = CStringGetTextDatum(place);
	values[1] = CStringGetTextDatum(change);
	if (before != NULL)
		values[2] = CStringGetTextDatum(before);
	if (after != NULL)
		values[3] = CStringGetTextDatum(after);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* ---- a step without the steps of its paths ---- */

static char *
step_text(const Side *side, const MaStep *step)
{
	StringInfoData text;
	const MaJson *json = find(side->tree, step->path);

	initStringInfo(&text);
	if (json != NULL)
		print_alone(&text, json);
	return text.data;
}

static const MaJson *
find(const MaJson *json, const char *path)
{
	ListCell   *cell;

	if (strcmp(json->path, path) == 0)
		return json;
	foreach(cell, json->items)
	{
		const MaJson *item = lfirst(cell);

		if (strncmp(path, item->path, strlen(item->path)) == 0 && find(item, path) != NULL)
			return find(item, path);
	}
	return NULL;
}

/* Keys whose values are steps of their own. */
static bool
is_path_key(const char *key)
{
	return strcmp(key, "then") == 0 || strcmp(key, "else") == 0 || strcmp(key, "otherwise") == 0;
}

static void
print_alone(StringInfo text, const MaJson *json)
{
	bool		first = true;
	ListCell   *cell;

	if (json->type != MA_JSON_OBJECT && json->type != MA_JSON_ARRAY)
	{
		appendStringInfoString(text, ma_json_print(json));
		return;
	}
	appendStringInfoChar(text, json->type == MA_JSON_ARRAY ? '[' : '{');
	foreach(cell, json->items)
	{
		const MaJson *item = lfirst(cell);

		if (!first)
			appendStringInfoString(text, ", ");
		first = false;
		if (item->key != NULL)
			appendStringInfo(text, "\"%s\": ", item->key);
		if (item->key != NULL && is_path_key(item->key))
			appendStringInfoString(text, "[...]");
		else
			print_alone(text, item);
	}
	appendStringInfoChar(text, json->type == MA_JSON_ARRAY ? ']' : '}');
}
