/*
 * catalog.c
 *		Reads the journeys of this database and keeps them compiled.
 *
 * Kept per process and read anew when any definition has changed.  Rules and
 * conditions are compiled when they are first used: a commit that only raises an
 * event of an entry need not know the rules of the steps.  One that cannot be
 * compiled any more (its table was dropped) is an error where it is used, so that a
 * broken journey stops no other.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/catalog.h"
#include "segments/segments.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void *load(void);
static MaVersion *load_version(const MaRows *rows, uint64 row);

MaJourneys *
ma_journeys(void)
{
	static MaKept journeys = {"journeys", load, NULL};

	return ma_kept(&journeys);
}

static void *
load(void)
{
	static MaStatement all = {
		"SELECT j.journey_id, v.version, j.name, v.version OPERATOR(pg_catalog.=) j.version, "
		"v.definition, v.activated_by, j.paused OPERATOR(pg_catalog.=) 'hold', j.closed, v.step_map FROM marketing_internal.journey AS j "
		"JOIN marketing_internal.journey_version AS v "
		"ON v.journey_id OPERATOR(pg_catalog.=) j.journey_id "
		"WHERE v.activated_at IS NOT NULL ORDER BY 1, 2"
	};
	MaJourneys *loaded = palloc0_object(MaJourneys);
	MaIdentity	caller;
	MaRows		rows;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&caller);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaVersion  *version = load_version(&rows, i);
		ListCell   *cell;

		loaded->versions = lappend(loaded->versions, version);
		loaded->has_dates |= version->current && !version->closed && version->program->date != NULL;
		foreach(cell, version->program->all)
		{
			const MaStep *step = lfirst(cell);

			loaded->has_date_waits |= step->window != NULL && step->window->by != NULL;
			loaded->has_tests |= step->kind == MA_STEP_TEST;
		}
	}
	return loaded;
}

static MaVersion *
load_version(const MaRows *rows, uint64 row)
{
	bool		isnull;
	Datum		definition = ma_value(rows, row, 5, &isnull);
	MaVersion  *version = ma_version_make(ma_int32(rows, row, 1), ma_int32(rows, row, 2),
										  ma_text(rows, row, 3), definition);
	Datum		map;

	version->current = ma_bool(rows, row, 4);
	version->activated_by = ma_text(rows, row, 6);
	version->held = ma_bool(rows, row, 7);
	version->closed = ma_text(rows, row, 8);
	map = ma_value(rows, row, 9, &isnull);
	if (!isnull)
		version->step_map = ma_json_tree(map);
	return version;
}

MaVersion *
ma_version_make(int32 journey_id, int32 number, const char *journey, Datum definition)
{
	MaVersion  *version = palloc0_object(MaVersion);
	List	   *problems = NIL;
	ListCell   *cell;

	version->journey_id = journey_id;
	version->version = number;
	version->journey = pstrdup(journey);
	version->program = ma_program_parse(definition, &problems);
	version->conditions = palloc0_array(MaCompiled,
			Max(list_length(version->program->conditions), 1));
	foreach(cell, version->program->conditions)
	{
		MaCondition *condition = lfirst(cell);
		MaCompiled *compiled = &version->conditions[condition->number];
		MaEvent    *event = condition->event ?
			ma_event_by_name(ma_definitions(), condition->event) : NULL;

		compiled->event_id = event ? event->id : 0;
		compiled->any_machine = condition->where && strstr(condition->where, "machine") != NULL;
	}
	if (version->program->entry != NULL && version->program->entry->segment != NULL)
		version->zone = ma_segment_time_zone(version->program->entry->segment);
	foreach(cell, version->program->exits)
		version->has_rules |= ((MaCondition *) lfirst(cell))->rule != NULL;
	foreach(cell, version->program->all)
	{
		MaStep	   *step = lfirst(cell);
		ListCell   *inner;

		foreach(inner, step->kind == MA_STEP_WAIT_UNTIL ? step->conditions : NIL)
			version->has_rules |= ((MaCondition *) lfirst(inner))->rule != NULL;
	}
	return version;
}

MaVersion *
ma_journey_version(MaJourneys *journeys, int32 journey_id, int32 version)
{
	ListCell   *cell;

	foreach(cell, journeys->versions)
	{
		MaVersion  *found = lfirst(cell);

		if (found->journey_id == journey_id && found->version == version)
			return found;
	}
	return NULL;
}

MaVersion *
ma_journey_current(MaJourneys *journeys, int32 journey_id)
{
	ListCell   *cell;

	foreach(cell, journeys->versions)
	{
		MaVersion  *found = lfirst(cell);

		if (found->journey_id == journey_id && found->current)
			return found;
	}
	return NULL;
}

MaRowRule *
ma_version_where(MaVersion *version, const MaCondition *condition)
{
	MaCompiled *compiled = &version->conditions[condition->number];
	const MaCondition *entry = version->program->entry;

	if (compiled->where == NULL && condition->where != NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(GetMemoryChunkContext(version));
		MaEvent    *event = ma_event_required(ma_definitions(), condition->event);
		MaEvent    *entered_by = entry && entry != condition ?
			ma_event_required(ma_definitions(), entry->event) : NULL;

		compiled->where = ma_row_rule_parse(event, condition->where, entered_by,
											psprintf("%s.where of journey \"%s\"",
													 condition->path, version->journey),
											InvalidOid);
		MemoryContextSwitchTo(previous);
	}
	return compiled->where;
}

MaRule *
ma_version_rule(MaVersion *version, const MaCondition *condition)
{
	MaCompiled *compiled = &version->conditions[condition->number];

	if (compiled->rule == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(GetMemoryChunkContext(version));
		MaRuleScope scope = {
			psprintf("%s.if of journey \"%s\"", condition->path, version->journey), NULL
		};
		MaRule	   *rule;

		scope.entry_event = ma_program_entry_event(version->program);
		rule = ma_rule_parse(condition->rule, &scope, InvalidOid);
		compiled->set = ma_rule_set_make(&rule, 1);
		compiled->rule = rule;
		MemoryContextSwitchTo(previous);
	}
	return compiled->rule;
}

bool
ma_version_follows(const MaVersion *version, int32 event_id)
{
	ListCell   *cell;

	foreach(cell, version->program->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (condition != version->program->entry &&
			version->conditions[condition->number].event_id == event_id)
			return true;
	}
	return false;
}

List *
ma_version_rule_events(MaVersion *version)
{
	static MaStatement read = {
		"SELECT DISTINCT w.event_id FROM marketing_internal.event_watch AS w "
		"WHERE w.consumer OPERATOR(pg_catalog.=) 'journeys' AND NOT w.row_grade "
		"AND pg_catalog.starts_with(w.object, $1)",
		1, {TEXTOID}
	};
	Datum		value;
	MemoryContext previous;
	MaRows		rows;

	if (version->events_known)
		return version->rule_events;
	value = CStringGetTextDatum(psprintf("%s, version %d, rule ", version->journey,
			version->version));
	rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(version));
	for (uint64 i = 0; i < rows.n; i++)
		version->rule_events = lappend_int(version->rule_events, ma_int32(&rows, i, 1));
	MemoryContextSwitchTo(previous);
	version->events_known = true;
	return version->rule_events;
}

MaRule *
ma_version_filter(MaVersion *version)
{
	if (version->filter == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(GetMemoryChunkContext(version));
		MaRuleScope scope = {psprintf("filter of journey \"%s\"", version->journey), NULL};
		MaRule	   *rule;

		scope.entry_event = ma_program_entry_event(version->program);
		rule = ma_rule_parse(version->program->filter, &scope, InvalidOid);
		version->filter_set = ma_rule_set_make(&rule, 1);
		version->filter = rule;
		MemoryContextSwitchTo(previous);
	}
	return version->filter;
}

MaJourney *
ma_journey_find(const char *name)
{
	static MaStatement find = {
		"SELECT journey_id, name, version, draft, paused, closed FROM marketing_internal.journey "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	MaJourney  *journey;

	if (rows.n == 0)
		return NULL;
	journey = palloc0_object(MaJourney);
	journey->id = ma_int32(&rows, 0, 1);
	journey->name = ma_text(&rows, 0, 2);
	journey->version = ma_int32(&rows, 0, 3);
	journey->draft = ma_int32(&rows, 0, 4);
	journey->paused = ma_text(&rows, 0, 5);
	journey->closed = ma_text(&rows, 0, 6);
	return journey;
}

List *
ma_journey_names(void)
{
	static MaStatement all = {"SELECT name FROM marketing_internal.journey ORDER BY name"};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *names = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		names = lappend(names, ma_text(&rows, i, 1));
	return names;
}

MaJourney *
ma_journey_required(const char *name)
{
	MaJourney  *journey = ma_journey_find(name);
	char	   *nearest;

	if (journey != NULL)
		return journey;
	nearest = ma_nearest(name, ma_journey_names());
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_JOURNEY),
			 errmsg("there is no journey \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Look at marketing.journeys.")));
}
