/*
 * step_map.c
 *		What becomes of those inside earlier versions when a version is activated: they
 *		stay there, or move by a map of steps.
 *
 * Without a word in the map a step goes on at the one of its id.  A step where somebody
 * stands must lead somewhere, so nobody is lost by a slip; to null ends his run.  The
 * counts are told before the commit, with turns kept out, so they are what will be.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/define/define.h"
#include "journeys/engine.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "worker/worker.h"

static void check_map(const MaJourney *journey, const MaMove *move, const MaJson *map);
static void check_target(const MaMove *move, const MaJson *item);
static bool leads(const MaMove *move, const MaJson *map, const char *step, const char **to);
static List *step_ids(const MaProgram *program);

int64
ma_moves_count(const MaJourney *journey, const MaMove *move)
{
	static MaStatement count = {
		"SELECT e.version, e.step, pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND e.version OPERATOR(pg_catalog.<>) $2 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') GROUP BY 1, 2 ORDER BY 1, 2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(journey->id), Int32GetDatum(move->version)};
	MaJson	   *map = move->map ? ma_json_tree(move->map) : NULL;
	MaRows		rows;
	int64		sum = 0;
	StringInfoData lost;

	if (map != NULL)
		check_map(journey, move, map);
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	initStringInfo(&lost);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int32		version = ma_int32(&rows, i, 1);
		char	   *step = ma_text(&rows, i, 2);
		int64		n = ma_int64(&rows, i, 3);
		const char *to;

		sum += n;
		if (!move->moves || step == NULL)
			continue;
		if (!leads(move, map, step, &to))
			appendStringInfo(&lost, "%sstep \"%s\" of version %d: " INT64_FORMAT,
							 lost.len > 0 ? "\n" : "", step, version, n);
		else
			ereport(NOTICE,
					(to == NULL ?
					 errmsg("runs at step \"%s\" of version %d that end: " INT64_FORMAT,
							step, version, n) :
					 errmsg("runs at step \"%s\" of version %d that go on at \"%s\": " INT64_FORMAT,
							step, version, to, n)));
	}
	if (lost.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("runs stand at steps that version %d of journey \"%s\" does not have",
						move->version, journey->name),
				 errdetail_internal("%s", lost.data),
				 errhint("Say where they go on: step_map => '{\"old step\": \"new step\"}'; null ends a run.")));
	return sum;
}

/* Its keys are steps of another version, and its values steps of this one. */
static void
check_map(const MaJourney *journey, const MaMove *move, const MaJson *map)
{
	List	   *old = NIL;
	ListCell   *cell;
	ListCell   *inner;

	if (map->type != MA_JSON_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step_map must be an object, as '{\"old step\": \"new step\"}'")));
	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (version->journey_id == journey->id && version->version != move->version)
			old = list_concat(old, step_ids(version->program));
	}
	foreach(cell, map->items)
	{
		MaJson	   *item = lfirst(cell);
		bool		known = false;
		char	   *nearest;

		foreach(inner, old)
			known |= strcmp(lfirst(inner), item->key) == 0;
		nearest = known ? NULL : ma_nearest(item->key, old);
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("step_map: no other version of journey \"%s\" has a step \"%s\"",
							journey->name, item->key),
					 nearest ? errhint("Did you mean %s?", nearest) : 0));
		check_target(move, item);
	}
}

static void
check_target(const MaMove *move, const MaJson *item)
{
	char	   *nearest;

	if (item->type == MA_JSON_NULL ||
		(item->type == MA_JSON_TEXT && ma_program_step(move->program, item->text) != NULL))
		return;
	nearest = item->type == MA_JSON_TEXT ? ma_nearest(item->text, step_ids(move->program)) : NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("step_map: version %d has no step %s", move->version, ma_json_print(item)),
			 nearest ? errhint("Did you mean %s?", nearest) : 0));
}

/* False if runs at the step would be lost; *to NULL: they end. */
static bool
leads(const MaMove *move, const MaJson *map, const char *step, const char **to)
{
	MaJson	   *item = map ? ma_json_member(map, step) : NULL;

	*to = item == NULL ? step : item->type == MA_JSON_TEXT ? item->text : NULL;
	return *to == NULL || ma_program_step(move->program, *to) != NULL;
}

/* Names (char *). */
static List *
step_ids(const MaProgram *program)
{
	List	   *ids = NIL;
	ListCell   *cell;

	foreach(cell, program->all)
		ids = lappend(ids, unconstify(char *, ((MaStep *) lfirst(cell))->id));
	return ids;
}

void
ma_moves_ask(const MaJourney *journey, const MaMove *move)
{
	static MaStatement ask = {
		"INSERT INTO marketing_internal.enrollment_signal "
		"(contact_id, kind, at, journey_id, enrollment_id, key) "
		"SELECT e.contact_id, 'move', $3, e.journey_id, e.enrollment_id, $2::pg_catalog.text "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.version OPERATOR(pg_catalog.<>) $2 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') ORDER BY e.due_at",
		3, {INT4OID, INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(journey->id);
	values[1] = Int32GetDatum(move->version);
	values[2] = TimestampTzGetDatum(ma_now());
	ma_run(&ask, values, NULL, MA_RUN_WRITE_LATEST);
	ma_worker_wake_at_commit();
}
