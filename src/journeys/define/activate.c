/*
 * activate.c
 *		activate_journey(): contacts enter by this version from now on.
 *
 * That is the draft, or an earlier version again.  Who is inside stays in the version he
 * entered by, or moves to this one (step_map.c).  The events of a version are watched
 * from its activation on.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/define/define.h"
#include "journeys/engine.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* What is asked for. */
typedef struct Activation
{
	const char *name;
	const char *existing;		/* "skip", "enroll" or NULL */
	int32		version;		/* 0: the draft */
	MaMove		move;
	Oid			caller;
} Activation;

static char *activate(Activation *asked, const MaCall *call);
static void choose_version(Activation *asked, const MaJourney *journey);
static bool version_exists(const MaJourney *journey, int32 version);
static void store(const MaJourney *journey, const Activation *asked);
static void renew_dates(const MaJourney *journey, const MaProgram *program);
static int64 members_of(const MaProgram *program, int64 **members);
static Datum definition_of(int32 journey_id, int32 version);
static void watch(const MaJourney *journey, int32 version, const MaProgram *program, Oid definer);
static void unwatch_version(const MaJourney *journey, int32 version, const MaProgram *program);
static char *watch_name(const char *journey, int32 version, int condition);
static void compile(void *arg);
static void score_changed(const char *word, const char *model, bool changed);

MA_FUNCTION(ma_activate_journey);

/* activate_journey(name, existing, inside, step_map, version) */
Datum
ma_activate_journey(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Activation	asked = {.name = ma_journey_text_argument(fcinfo, 0, "name")};
	char	   *inside = PG_ARGISNULL(2) ? "stay" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	MaCall		call;
	char	   *answer;

	asked.existing = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	asked.move.moves = strcmp(inside, "move") == 0;
	asked.move.map = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	asked.version = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4);
	if (asked.existing != NULL && strcmp(asked.existing, "skip") != 0 &&
		strcmp(asked.existing, "enroll") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("existing must be skip or enroll, not \"%s\"", asked.existing)));
	if (!asked.move.moves && strcmp(inside, "stay") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("inside must be stay or move, not \"%s\"", inside)));
	if (asked.move.map != 0 && !asked.move.moves)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step_map is for inside => 'move'")));
	ma_call_begin(&call);
	ma_journeys_lock();
	asked.caller = call.caller.userid;
	answer = MemoryContextStrdup(context, activate(&asked, &call));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

void
ma_journey_make(const char *name, Datum definition, Oid role)
{
	Activation	asked = {.name = name, .caller = role};
	MaCall		call;

	ma_call_begin(&call);
	ma_journeys_lock();
	(void) ma_program_checked(name, definition, role, false);
	(void) ma_journey_define(name, definition);
	(void) activate(&asked, &call);
	ma_call_end(&call);
}

bool
ma_journey_is_open(const char *name)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.journey "
		"WHERE name OPERATOR(pg_catalog.=) $1 AND closed IS NULL",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	return ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

/* Looks behind the lock: who closes it comes before this, or after it. */
bool
ma_journey_make_again(const char *name, Datum definition, Oid role)
{
	MaCall		call;
	bool		open;

	ma_call_begin(&call);
	ma_journeys_lock();
	open = ma_journey_is_open(name);
	if (open)
		ma_journey_make(name, definition, role);
	ma_call_end(&call);
	return open;
}

static char *
activate(Activation *asked, const MaCall *call)
{
	MaJourney  *journey;
	bool		again;			/* it is active already */
	int64	   *members = NULL;
	int64		head_count;
	int64		inside;
	char	   *answer;
	MaProgram  *program;

	if (asked->move.moves)
		ma_engine_lock();
	journey = ma_journey_lock(asked->name);
	choose_version(asked, journey);
	again = asked->version == journey->version && journey->closed == NULL;
	if (again && !asked->move.moves)
		return psprintf("%s: unchanged: version %d is active", asked->name, journey->version);
	/* What it names may have gone since it was defined. */
	program = ma_program_checked(asked->name, definition_of(journey->id, asked->version),
								 asked->caller, true);
	head_count = again ? -1 : members_of(program, &members);
	if (head_count >= 0 && asked->existing == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("segment \"%s\" has " INT64_FORMAT " %s now: say what becomes of them",
						program->entry->segment, head_count, head_count == 1 ? "member" : "members"),
				 errhint("existing => 'skip' lets in who enters the segment from now on; existing => 'enroll' also its members of now.")));
	asked->move.version = asked->version;
	asked->move.program = program;
	inside = ma_moves_count(journey, &asked->move);
	store(journey, asked);
	ma_journey_schedule(journey->name, program->schedule, call);
	watch(journey, asked->version, program, asked->caller);
	renew_dates(journey, program);
	if (asked->move.moves)
		ma_moves_ask(journey, &asked->move);
	answer = psprintf("%s: version %d is active", asked->name, asked->version);
	if (head_count >= 0 && strcmp(asked->existing, "enroll") == 0)
	{
		ma_journey_enroll(journey->id, members, (int) head_count, NULL);
		answer = psprintf("%s; members of now that enter: " INT64_FORMAT, answer, head_count);
	}
	else if (head_count >= 0)
		answer = psprintf("%s; members of now skipped: " INT64_FORMAT, answer, head_count);
	if (inside > 0)
		answer = psprintf("%s; runs of other versions that %s: " INT64_FORMAT, answer,
						  asked->move.moves ? "move to it" : "stay there", inside);
	return answer;
}

/* The draft, else the one that is active; or the one asked for, which must be there. */
static void
choose_version(Activation *asked, const MaJourney *journey)
{
	if (asked->version == 0)
		asked->version = journey->draft ? journey->draft : journey->version;
	else if (!version_exists(journey, asked->version))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("journey \"%s\" has no version %d", journey->name, asked->version),
				 errhint("Look at marketing.journey_versions('%s').", journey->name)));
}

static bool
version_exists(const MaJourney *journey, int32 version)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.journey_version "
		"WHERE journey_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(journey->id), Int32GetDatum(version)};

	return ma_run(&find, values, NULL, MA_RUN_READ_LATEST).n > 0;
}

/*
 * The version takes entries; a draft besides stays one.  Those who are still to move to it
 * since it was active before keep the map they were told to move by.
 */
static void
store(const MaJourney *journey, const Activation *asked)
{
	static MaStatement update = {
		"WITH j AS (UPDATE marketing_internal.journey SET version = $2, draft = NULLIF(draft, $2), "
		"activated_at = $3, closed = NULL WHERE journey_id OPERATOR(pg_catalog.=) $1) "
		"UPDATE marketing_internal.journey_version AS v "
		"SET activated_at = $3, activated_by = $4, step_map = CASE WHEN $6 OR NOT EXISTS ("
		"SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.kind OPERATOR(pg_catalog.=) 'move' AND s.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND s.key OPERATOR(pg_catalog.=) $2::pg_catalog.text) THEN $5 ELSE v.step_map END "
		"WHERE v.journey_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
		6, {INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, JSONBOID, BOOLOID}
	};
	char		nulls[] = "      ";
	Datum		values[6];

	values[0] = Int32GetDatum(journey->id);
	values[1] = Int32GetDatum(asked->version);
	values[2] = TimestampTzGetDatum(ma_now());
	values[3] = CStringGetTextDatum(GetUserNameFromId(asked->caller, false));
	values[4] = asked->move.map;
	nulls[4] = asked->move.map == 0 ? 'n' : ' ';
	values[5] = BoolGetDatum(asked->move.moves);
	ma_run(&update, values, nulls, MA_RUN_WRITE_LATEST);
}

/*
 * Who is due when, by this version: the scheduler looks at everybody.  Who was due before it
 * and has not been let in yet enters all the same, unless the journey was closed.
 */
static void
renew_dates(const MaJourney *journey, const MaProgram *program)
{
	bool		any = program->date != NULL;
	ListCell   *cell;

	foreach(cell, ma_journeys()->versions)
		any |= ((MaVersion *) lfirst(cell))->journey_id == journey->id &&
			((MaVersion *) lfirst(cell))->program->date != NULL;
	if (any)
		ma_journey_dates_plan(journey->id, program->date == NULL || journey->closed != NULL ?
							  DT_NOBEGIN : ma_now());
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

/* Columns that are looked at: a change of one is a change of the contact. */
static void
watch_date(const char *object, const MaDateRule *date)
{
	const char *column;
	MaSource   *source = date ? ma_date_source(date, &column) : NULL;

	if (source != NULL)
		ma_watch_source(MA_JOURNEYS, object, source->id,
						list_make1(unconstify(char *, column)));
}

/*
 * Whoever is writing dates of contacts without knowing that they are looked at comes to his
 * end first, so what is read behind this is what there is.
 */
static void
lock_date_writers(const MaProgram *program)
{
	List	   *dates = program->date ? list_make1(program->date) : NIL;
	List	   *relids = NIL;
	bool		attributes = false;
	ListCell   *cell;

	foreach(cell, program->all)
	{
		const MaStep *step = lfirst(cell);

		if (step->window != NULL && step->window->by != NULL)
			dates = lappend(dates, step->window->by);
	}
	foreach(cell, dates)
	{
		const char *column;
		MaSource   *source = ma_date_source(lfirst(cell), &column);

		if (source != NULL)
			relids = list_append_unique_oid(relids, source->table->relid);
		attributes |= source == NULL;
	}
	ma_relations_lock_writers(relids);
	if (attributes)
		ma_relations_lock_writers(list_make1_oid(ma_own_table("contact")));
}

/* Rows of the events of this version are followed from the commit on. */
static void
watch(const MaJourney *journey, int32 version, const MaProgram *program, Oid definer)
{
	char	   *object = watch_name(journey->name, version, -1);
	MaRuleScope scope = {psprintf("rule of journey \"%s\"", journey->name), NULL};
	List	   *events = NIL;
	ListCell   *cell;

	/* Once more, when it has been active before: with the rights of who activates it now. */
	unwatch_version(journey, version, program);
	foreach(cell, ma_program_events(program))
		events = lappend_int(events, ma_event_required(ma_definitions(), lfirst(cell))->id);
	/* Who writes without knowing that the rows are followed comes to his end first. */
	ma_events_lock_writers(events);
	lock_date_writers(program);
	scope.entry_event = ma_program_entry_event(program);
	watch_date(object, program->date);
	foreach(cell, program->all)
	{
		const MaStep *step = lfirst(cell);

		watch_date(object, step->window ? step->window->by : NULL);
	}
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

static void
unwatch_version(const MaJourney *journey, int32 version, const MaProgram *program)
{
	for (int i = -1; i < list_length(program->conditions); i++)
		ma_unwatch_events(MA_JOURNEYS, watch_name(journey->name, version, i));
}

/* Of all versions. */
void
ma_journey_unwatch(const MaJourney *journey)
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

		unwatch_version(journey, ma_int32(&rows, i, 1), program);
	}
}

/* ---- scores in rules ---- */

/* A rule of an active version, compiled under guard. */
typedef struct Compile
{
	MaVersion  *version;
	MaCondition *condition;
	MaRule	   *rule;
} Compile;

static void
compile(void *arg)
{
	Compile    *one = arg;

	one->rule = ma_version_rule(one->version, one->condition);
}

/*
 * A score model reads other events now, and rules that name it follow these.  Who waits
 * by such a rule is looked at as the model is built anew.
 */
static void
score_changed(const char *word, const char *model, bool changed)
{
	ListCell   *cell;
	ListCell   *inner;

	if (!changed || strcmp(word, "score") != 0)
		return;
	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		foreach(inner, version->program->conditions)
		{
			Compile		one = {version, lfirst(inner)};
			char	   *object;

			if (one.condition->rule == NULL || ma_attempt(compile, &one) != NULL ||
				ma_rule_path(one.rule, "score", model) == NULL)
				continue;
			object = watch_name(version->journey, version->version, one.condition->number);
			ma_unwatch_events(MA_JOURNEYS, object);
			ma_rule_watch(MA_JOURNEYS, object, one.rule);
		}
	}
}

void
ma_journey_scores_init(void)
{
	ma_register_named_listener(score_changed);
}
