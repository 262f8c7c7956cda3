/*
 * define.c
 *		define_journey() and drop_journey().
 *
 * A version is written once.  Defining makes a draft beside the version that is
 * active; activating (activate.c) lets contacts enter by the draft.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "journeys/catalog.h"
#include "journeys/define/define.h"
#include "journeys/engine.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

static void refuse(const char *name, const List *problems) pg_attribute_noreturn();
static bool stored_definition_is(int32 journey_id, int32 version, Datum definition);
static int32 add_version(int32 journey_id, Datum definition);

MA_FUNCTION(ma_define_journey);
MA_FUNCTION(ma_drop_journey);

char *
ma_journey_text_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Two who define at once take turns; nor is dropped meanwhile what a definition names. */
void
ma_journeys_lock(void)
{
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
}

MaJourney *
ma_journey_lock(const char *name)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.journey AS j WHERE j.name OPERATOR(pg_catalog.=) $1 "
		"FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	ma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST);
	return ma_journey_required(name);
}

/* One line for each problem, with its place. */
static void
refuse(const char *name, const List *problems)
{
	StringInfoData lines;
	bool		unsupported = true;
	ListCell   *cell;

	initStringInfo(&lines);
	foreach(cell, problems)
	{
		MaProblem  *problem = lfirst(cell);

		unsupported &= problem->unsupported;
		appendStringInfo(&lines, "%s%s%s%s%s%s", lines.len > 0 ? "\n" : "",
						 problem->path, problem->path[0] ? ": " : "", problem->message,
						 problem->hint ? ". " : "", problem->hint ? problem->hint : "");
	}
	ereport(ERROR,
			(errcode(unsupported ? ERRCODE_FEATURE_NOT_SUPPORTED : ERRCODE_MA_INVALID_JOURNEY),
			 list_length(problems) == 1 ?
			 errmsg("the definition of journey \"%s\" has an error", name) :
			 errmsg("the definition of journey \"%s\" has %d errors", name, list_length(problems)),
			 errdetail_internal("%s", lines.data)));
}

/* The program of a definition in which nothing is wrong; `active`: nor beside the others. */
MaProgram *
ma_program_checked(const char *name, Datum definition, Oid definer, bool active)
{
	List	   *problems = NIL;
	MaProgram  *program = ma_program_parse(definition, &problems);

	ma_program_check(program, name, definer, &problems);
	if (problems == NIL)
		ma_ring_check(name, program, active, &problems);
	if (problems != NIL)
		refuse(name, problems);
	return program;
}

/* define_journey(name, definition) */
Datum
ma_define_journey(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_journey_text_argument(fcinfo, 0, "name");
	MaProgram  *program;
	MaCall		call;
	char	   *answer;

	ma_name_check(name, "journey");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("definition must not be null")));
	ma_call_begin(&call);
	ma_journeys_lock();
	program = ma_program_checked(name, PG_GETARG_DATUM(1), call.caller.userid, false);
	answer = ma_journey_define(name, PG_GETARG_DATUM(1));
	if (strstr(answer, ": unchanged") == NULL)
		ma_program_notice(program, name, call.caller.userid);
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

char *
ma_journey_define(const char *name, Datum definition)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.journey (name, draft, created_at) VALUES ($1, 1, $2) "
		"RETURNING journey_id",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	static MaStatement forget_draft = {
		"UPDATE marketing_internal.journey SET draft = NULL "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaJourney  *journey = ma_journey_find(name);
	Datum		values[2];
	int32		version;

	if (journey == NULL)
	{
		MaRows		rows;

		values[0] = CStringGetTextDatum(name);
		values[1] = TimestampTzGetDatum(ma_now());
		rows = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
		(void) add_version(ma_int32(&rows, 0, 1), definition);
		return psprintf("%s: created", name);
	}
	if (stored_definition_is(journey->id, journey->draft ? journey->draft : journey->version,
							 definition))
		return psprintf("%s: unchanged", name);
	if (journey->draft && journey->version &&
		stored_definition_is(journey->id, journey->version, definition))
	{
		values[0] = Int32GetDatum(journey->id);
		ma_run(&forget_draft, values, NULL, MA_RUN_WRITE_LATEST);
		return psprintf("%s: replaced: as version %d, which is active; the draft is dropped",
						name, journey->version);
	}
	version = add_version(journey->id, definition);
	return psprintf("%s: replaced: draft version %d", name, version);
}

static bool
stored_definition_is(int32 journey_id, int32 version, Datum definition)
{
	static MaStatement same = {
		"SELECT FROM marketing_internal.journey_version WHERE journey_id OPERATOR(pg_catalog.=) $1 "
		"AND version OPERATOR(pg_catalog.=) $2 AND definition OPERATOR(pg_catalog.=) $3",
		3, {INT4OID, INT4OID, JSONBOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(journey_id);
	values[1] = Int32GetDatum(version);
	values[2] = definition;
	return ma_run(&same, values, NULL, MA_RUN_READ_LATEST).n > 0;
}

/* Adds the next version as the journey's draft; a draft before it was nobody's and goes. */
static int32
add_version(int32 journey_id, Datum definition)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.journey_version "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND activated_at IS NULL",
		1, {INT4OID}
	};
	static MaStatement add = {
		"WITH v AS (INSERT INTO marketing_internal.journey_version "
		"(journey_id, version, definition, created_at) "
		"SELECT $1, COALESCE(pg_catalog.max(v.version), 0) OPERATOR(pg_catalog.+) 1, $2, $3 "
		"FROM marketing_internal.journey_version AS v WHERE v.journey_id OPERATOR(pg_catalog.=) $1 "
		"RETURNING version) "
		"UPDATE marketing_internal.journey AS j SET draft = v.version FROM v "
		"WHERE j.journey_id OPERATOR(pg_catalog.=) $1 RETURNING v.version",
		3, {INT4OID, JSONBOID, TIMESTAMPTZOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = Int32GetDatum(journey_id);
	values[1] = definition;
	values[2] = TimestampTzGetDatum(ma_now());
	ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
	rows = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	return ma_int32(&rows, 0, 1);
}

/* drop_journey(name) */
Datum
ma_drop_journey(PG_FUNCTION_ARGS)
{
	static MaStatement removes[] = {
		{"DELETE FROM marketing_internal.enrollment_due AS d USING marketing_internal.enrollment AS e "
			"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND d.contact_id OPERATOR(pg_catalog.=) e.contact_id "
		"AND d.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_parked AS p USING marketing_internal.enrollment AS e "
			"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND p.contact_id OPERATOR(pg_catalog.=) e.contact_id "
		"AND p.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment WHERE journey_id OPERATOR(pg_catalog.=) $1",
				1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_signal WHERE journey_id "
				"OPERATOR(pg_catalog.=) $1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_log WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_held WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_test WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_intake WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_date WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_date_plan WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_goal WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_version WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey WHERE journey_id OPERATOR(pg_catalog.=) $1", 1,
				{INT4OID}}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_journey_text_argument(fcinfo, 0, "name");
	MaJourney  *journey;
	MaCall		call;
	Datum		value;
	char	   *answer;

	ma_call_begin(&call);
	ma_journeys_lock();
	journey = ma_journey_required(name);
	ma_require_unused("journey", name);
	/* The scheduler is the writer of enrollments: it is kept out till the commit. */
	ma_engine_lock();
	ma_journey_unwatch(journey);
	ma_journey_schedule(journey->name, NULL, &call);
	value = Int32GetDatum(journey->id);
	for (int i = 0; i < lengthof(removes); i++)
		ma_run(&removes[i], &value, NULL, MA_RUN_WRITE_LATEST);
	if (ma_journey_events_read())
		ma_contacts_leave_all();
	ma_definitions_changed();
	answer = MemoryContextStrdup(context, psprintf("%s: dropped", name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

void
ma_define_init(void)
{
	ma_journey_uses_init();
	ma_journey_scores_init();
}
