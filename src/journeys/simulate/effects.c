/*
 * effects.c
 *		What the steps of a simulation have done, as later rules of it see it.
 *
 * Nothing is written: lists, attributes, points, stages and the rows of our own events are
 * supposed of the contact (contacts/people/supposed.c), from the instant of the step on.  In truth
 * each of them is a change of the contact, after which rules that may have changed are
 * looked at again; so it is here.
 */
#include "base/base.h"

#include "journeys/simulate/simulate.h"
#include "scoring/scoring.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static void suppose_step(MaJourneyRun *run, TimestampTz at);
static void suppose_stage(const MaJourneyRun *run);

/* In place of what effects.c and sales.c of run/ do. */
void
ma_simulate_effect(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	for (int i = 0; i < n; i++)
		suppose_step(runs[i], batch->now);
	batch->simulation->changed = true;
}

static void
suppose_step(MaJourneyRun *run, TimestampTz at)
{
	const MaStep *step = run->step;

	switch (step->kind)
	{
		case MA_STEP_ADD_TO_LIST:
		case MA_STEP_REMOVE_FROM_LIST:
			ma_suppose_fact("list", step->text, step->kind == MA_STEP_ADD_TO_LIST);
			break;
		case MA_STEP_UPDATE:
			ma_suppose_attributes(DirectFunctionCall1(jsonb_in, CStringGetDatum(step->text)));
			break;
		case MA_STEP_SCORE:
			ma_suppose_points(step->text, at, step->points);
			break;
		case MA_STEP_STAGE:
			suppose_stage(run);
			break;
		default:				/* functions, tasks, notifications: nobody can know */
			break;
	}
}

/* A contact never goes back by a step; of a stage he leaves he is no more. */
static void
suppose_stage(const MaJourneyRun *run)
{
	const char *from = ma_supposed_name(run->person->contact_id, "stage");

	if (from == NULL)
		from = ma_stage_of(run->person->contact_id);
	if (!ma_stage_is_ahead(run->step->text, from))
		return;
	if (from != NULL)
		ma_suppose_fact("stage", from, false);
	ma_suppose_fact("stage", run->step->text, true);
}

/* ---- rows of our own events ---- */

/* What the turn has logged of entries and ends. */
void
ma_simulate_rows_of_log(MaSimulation *simulation, const List *log)
{
	const char *names[] = {"journey", "reason"};
	const char *values[] = {simulation->version->journey, NULL};
	ListCell   *cell;

	foreach(cell, log)
	{
		const MaLogEntry *entry = lfirst(cell);
		bool		entered = strcmp(entry->what, "entered") == 0;

		if (!entered && strcmp(entry->what, "exited") != 0 &&
			strcmp(entry->what, "completed") != 0)
			continue;
		values[1] = entry->detail ? entry->detail : entry->what;
		ma_simulate_row(simulation, entered ? "journey_entered" : "journey_exited", names, values,
						entered ? 1 : 2, entry->at);
	}
}

/* The row, which it also supposes. */
Datum
ma_simulate_row(MaSimulation *simulation, const char *event, const char *const *names,
				const char *const *values, int n, TimestampTz at)
{
	StringInfoData row;
	Datum		properties;

	initStringInfo(&row);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&row, "%s\"%s\": ", i == 0 ? "{" : ", ", names[i]);
		escape_json(&row, values[i]);
	}
	appendStringInfoChar(&row, '}');
	properties = DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data));
	ma_suppose_row(event, at, properties);
	simulation->changed = true;
	return properties;
}
