/*
 * define.c
 *		define_journey(), activate_journey() and drop_journey().
 *
 * A version is written once.  Defining makes a draft beside the version that is
 * active; activating lets contacts enter by the draft, and who is inside stays in
 * the version he entered by.  The events of a version are watched from its
 * activation on.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "journeys/catalog.h"
#include "journeys/engine.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

static char *text_argument(FunctionCallInfo fcinfo, int argument, const char *name);
static void lock_definitions(void);
static void refuse(const char *name, const List *problems) pg_attribute_noreturn();
static MaProgram *checked_program(const char *name, Datum definition, Oid definer, bool active);
static char *define(const char *name, Datum definition);
static bool stored_definition_is(int32 journey_id, int32 version, Datum definition);
static int32 add_version(int32 journey_id, Datum definition);
static char *activate(const char *name, const char *existing, Oid caller);
static int64 members_of(const MaProgram *program, int64 **members);
static void watch(const MaJourney *journey, int32 version, const MaProgram *program, Oid definer);
static char *watch_name(const char *journey, int32 version, int condition);
static void unwatch(const MaJourney *journey);
static Datum definition_of(int32 journey_id, int32 version);

MA_FUNCTION(ma_define_journey);
MA_FUNCTION(ma_activate_journey);
MA_FUNCTION(ma_drop_journey);

static char *
text_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Two who define at once take turns. */
static void
lock_definitions(void)
{
	static MaStatement lock = {"LOCK TABLE marketing_internal.journey IN SHARE ROW EXCLUSIVE MODE"};

	/* Nor is dropped meanwhile what a definition names. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
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
static MaProgram *
checked_program(const char *name, Datum definition, Oid definer, bool active)
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
	char	   *name = text_argument(fcinfo, 0, "name");
	MaCall		call;
	char	   *answer;

	ma_name_check(name, "journey");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("definition must not be null")));
	ma_call_begin(&call);
	lock_definitions();
	(void) checked_program(name, PG_GETARG_DATUM(1), call.caller.userid, false);
	answer = define(name, PG_GETARG_DATUM(1));
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Stores what differs from the newest version; returns the answer. */
static char *
define(const char *name, Datum definition)
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

/* activate_journey(name, existing, inside) */
Datum
ma_activate_journey(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = text_argument(fcinfo, 0, "name");
	char	   *existing = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *inside = PG_ARGISNULL(2) ? "stay" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	MaCall		call;
	char	   *answer;

	if (existing != NULL && strcmp(existing, "skip") != 0 && strcmp(existing, "enroll") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("existing must be skip or enroll, not \"%s\"", existing)));
	if (strcmp(inside, "stay") != 0)
		ereport(ERROR,
				(errcode(strcmp(inside, "move") == 0 ? ERRCODE_FEATURE_NOT_SUPPORTED :
						 ERRCODE_INVALID_PARAMETER_VALUE),
				 strcmp(inside, "move") == 0 ?
				 errmsg("inside => 'move' is not supported by this version") :
				 errmsg("inside must be stay, not \"%s\"", inside)));
	ma_call_begin(&call);
	lock_definitions();
	answer = MemoryContextStrdup(context, activate(name, existing, call.caller.userid));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
activate(const char *name, const char *existing, Oid caller)
{
	static MaStatement update = {
		"WITH j AS (UPDATE marketing_internal.journey SET version = draft, draft = NULL, activated_at = $2 "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 RETURNING journey_id, version) "
		"UPDATE marketing_internal.journey_version AS v SET activated_at = $2, activated_by = $3 "
		"FROM j WHERE v.journey_id OPERATOR(pg_catalog.=) j.journey_id "
		"AND v.version OPERATOR(pg_catalog.=) j.version",
		3, {INT4OID, TIMESTAMPTZOID, TEXTOID}
	};
	MaJourney  *journey = ma_journey_required(name);
	int32		version = journey->draft;
	Datum		values[3];
	MaProgram  *program;
	int64	   *members = NULL;
	int64		head_count;

	if (version == 0)
		return psprintf("%s: unchanged: version %d is active", name, journey->version);
	/* What it names may have gone since it was defined. */
	program = checked_program(name, definition_of(journey->id, version), caller, true);
	head_count = members_of(program, &members);
	if (head_count >= 0 && existing == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("segment \"%s\" has " INT64_FORMAT " %s now: say what becomes of them",
						program->entry->segment, head_count, head_count == 1 ? "member" : "members"),
				 errhint("existing => 'skip' lets in who enters the segment from now on; existing => 'enroll' also its members of now.")));
	values[0] = Int32GetDatum(journey->id);
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = CStringGetTextDatum(GetUserNameFromId(caller, false));
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
	watch(journey, version, program, caller);
	if (existing == NULL || strcmp(existing, "enroll") != 0 || head_count < 0)
		return psprintf("%s: version %d is active%s", name, version,
						existing && head_count >= 0 ?
						psprintf("; members of now skipped: " INT64_FORMAT, head_count) : "");
	ma_journey_enroll(journey->id, members, (int) head_count, NULL);
	return psprintf("%s: version %d is active; members of now that enter: " INT64_FORMAT, name,
			version,
					head_count);
}

/* Members of the segment whose entering is the entry; -1 if the entry is another one. */
static int64
members_of(const MaProgram *program, int64 **members)
{
	int			n;

	if (program->entry == NULL || program->entry->segment == NULL ||
		strcmp(program->entry->event, "segment_entered") != 0)
		return -1;
	*members = ma_segment_members_now(program->entry->segment, &n);
	return n;
}

static Datum
definition_of(int32 journey_id, int32 version)
{
	static MaStatement read = {
		"SELECT definition FROM marketing_internal.journey_version "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2];
	MaRows		rows;
	bool		isnull;

	values[0] = Int32GetDatum(journey_id);
	values[1] = Int32GetDatum(version);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n != 1)
		elog(ERROR, "cannot happen: version %d of journey %d is not there", version, journey_id);
	return ma_value(&rows, 0, 1, &isnull);
}

/* Rows of the events of this version are followed from the commit on. */
static void
watch(const MaJourney *journey, int32 version, const MaProgram *program, Oid definer)
{
	char	   *object = watch_name(journey->name, version, -1);
	MaRuleScope scope = {psprintf("rule of journey \"%s\"", journey->name), NULL};
	List	   *events = NIL;
	ListCell   *cell;

	foreach(cell, ma_program_events(program))
		events = lappend_int(events, ma_event_required(ma_definitions(), lfirst(cell))->id);
	/* Who writes without knowing that the rows are followed comes to his end first. */
	ma_events_lock_writers(events);
	scope.entry_event = ma_program_entry_event(program);
	foreach(cell, events)
		ma_watch_event(MA_JOURNEYS, object, lfirst_int(cell), true, NIL);
	foreach(cell, program->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (condition->rule != NULL)
			ma_rule_watch(MA_JOURNEYS, watch_name(journey->name, version, condition->number),
						  ma_rule_parse(condition->rule, &scope, definer));
	}
	ma_definitions_changed();
}

/* What watches: a version, and each of its rules under a name of its own. */
static char *
watch_name(const char *journey, int32 version, int condition)
{
	if (condition < 0)
		return psprintf("%s, version %d", journey, version);
	return psprintf("%s, version %d, rule %d", journey, version, condition);
}

/* Of all versions. */
static void
unwatch(const MaJourney *journey)
{
	static MaStatement all = {
		"SELECT version, definition FROM marketing_internal.journey_version "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaRows		rows = ma_run(&all, &value, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;
		List	   *problems = NIL;
		MaProgram  *program = ma_program_parse(ma_value(&rows, i, 2, &isnull), &problems);

		for (int j = -1; j < list_length(program->conditions); j++)
			ma_unwatch_events(MA_JOURNEYS, watch_name(journey->name, ma_int32(&rows, i, 1), j));
	}
}

/* drop_journey(name) */
Datum
ma_drop_journey(PG_FUNCTION_ARGS)
{
	static MaStatement removes[] = {
		{"DELETE FROM marketing_internal.enrollment_due AS d USING marketing_internal.enrollment AS e "
			"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND d.contact_id OPERATOR(pg_catalog.=) e.contact_id "
		"AND d.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment WHERE journey_id OPERATOR(pg_catalog.=) $1",
				1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_signal WHERE journey_id "
				"OPERATOR(pg_catalog.=) $1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.enrollment_log WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey_version WHERE journey_id OPERATOR(pg_catalog.=) "
				"$1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.journey WHERE journey_id OPERATOR(pg_catalog.=) $1", 1,
				{INT4OID}}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = text_argument(fcinfo, 0, "name");
	MaJourney  *journey;
	MaCall		call;
	Datum		value;
	char	   *answer;

	ma_call_begin(&call);
	lock_definitions();
	journey = ma_journey_required(name);
	/* The scheduler is the writer of enrollments: it is kept out till the commit. */
	ma_engine_lock();
	unwatch(journey);
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

/* Steps that send the template, of versions that are active, drafts or have contacts inside. */
static List *
uses_of_template(const char *name)
{
	static MaStatement versions = {
		"SELECT j.name, v.version, v.definition, CASE v.version WHEN j.version THEN 'active' "
		"WHEN j.draft THEN 'a draft' ELSE 'with contacts inside' END "
		"FROM marketing_internal.journey AS j JOIN marketing_internal.journey_version AS v "
		"ON v.journey_id OPERATOR(pg_catalog.=) j.journey_id "
		"WHERE v.version OPERATOR(pg_catalog.=) ANY (ARRAY[j.version, j.draft]) "
		"OR EXISTS (SELECT FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) v.journey_id "
		"AND e.version OPERATOR(pg_catalog.=) v.version "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}')) ORDER BY 1, 2"
	};
	MaRows		rows = ma_run(&versions, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		List	   *problems = NIL;
		bool		isnull;
		ListCell   *cell;
		MaProgram  *program = ma_program_parse(ma_value(&rows, i, 3, &isnull), &problems);

		foreach(cell, program->all)
		{
			MaStep	   *step = lfirst(cell);

			if (step->kind == MA_STEP_SEND && step->text != NULL && strcmp(step->text, name) == 0)
				uses = lappend(uses, psprintf("journey \"%s\", %s.send (version %d, %s)",
											  ma_text(&rows, i, 1), step->path,
											  ma_int32(&rows, i, 2), ma_text(&rows, i, 4)));
		}
	}
	return uses;
}

void
ma_define_init(void)
{
	ma_register_uses("template", uses_of_template);
}
