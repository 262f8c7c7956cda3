/*
 * history.c
 *		score_history(): the course of a score, from the rows as they are now.
 *
 * At each instant at which a row begins or ceases to count the score is told; between two
 * of them it only fades.  A row that came late stands at its own time.
 */
#include "base/base.h"

#include "funcapi.h"
#include "scoring/define.h"
#include "scoring/lines.h"
#include "utils/builtins.h"

static int	compare_changes(const void *left, const void *right);
static void put(ReturnSetInfo *result, const MaScoreModel *model, TimestampTz at, float8 raw,
				int *level, const MaScoreChange *change);

MA_FUNCTION(ma_score_history);

/* marketing.score_history(contact, model, since, until) */
Datum
ma_score_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_score_name(fcinfo, 1, "model");
	TimestampTz since = PG_ARGISNULL(2) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(2);
	TimestampTz until = PG_ARGISNULL(3) ? ma_now() : PG_GETARG_TIMESTAMPTZ(3);
	MaScoreModel *model;
	MaScoreLines *lines;
	MaScoreChange *changes;
	TimestampTz last;
	float8		raw = 0;
	bool		begun = false;
	int			level = 0;
	MaCall		call;
	int			n;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	model = ma_score_model_required(name);
	lines = ma_score_lines(model, ma_contact_argument(fcinfo, false), ma_now(), MA_RUN_READ);
	changes = ma_score_course(lines, DT_NOBEGIN, until, &n);
	last = n > 0 ? changes[0].at : until;
	for (int i = 0; i < n; i++)
	{
		const MaScoreChange *change = &changes[i];

		if (!begun && change->at > since && since != DT_NOBEGIN)
			put(result, model, since, since < last ? 0 :
				raw * ma_score_left(model, since - last), &level, NULL);
		begun |= change->at > since;
		raw *= ma_score_left(model, change->at - last);
		/* What is lost meanwhile, before the row. */
		level = ma_score_level_from(model, ma_score_finish(model, raw), level);
		raw += change->ends ?
			-change->points * ma_score_left(model, change->at - change->line->at) : change->points;
		last = change->at;
		if (begun)
			put(result, model, change->at, raw, &level, change);
		else
			level = ma_score_level_from(model, ma_score_finish(model, raw), level);
	}
	if (!begun && since != DT_NOBEGIN && since < until)
		put(result, model, since, since < last ? 0 :
			raw * ma_score_left(model, since - last), &level, NULL);
	put(result, model, until, raw * ma_score_left(model, Max(until - last, 0)), &level, NULL);
	ma_call_end(&call);
	return (Datum) 0;
}

MaScoreChange *
ma_score_course(const MaScoreLines *lines, TimestampTz since, TimestampTz until, int *n)
{
	MaScoreChange *changes = palloc_array(MaScoreChange, Max(lines->n * 2, 1));

	*n = 0;
	for (int i = 0; i < lines->n; i++)
	{
		const MaScoreLine *line = &lines->lines[i];

		if (line->over || line->at <= since || line->at > until)
			continue;
		changes[(*n)++] = (MaScoreChange) {line->at, line->points, line, false};
		/* What never expires does not at the end of all time either. */
		if (line->expiry <= until && line->expiry != DT_NOEND)
			changes[(*n)++] = (MaScoreChange) {line->expiry, line->points, line, true};
	}
	qsort(changes, *n, sizeof(MaScoreChange), compare_changes);
	return changes;
}

static int
compare_changes(const void *left, const void *right)
{
	const MaScoreChange *a = left;
	const MaScoreChange *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	if (a->line->rule != b->line->rule)
		return a->line->rule->place < b->line->rule->place ? -1 : 1;
	if (a->ends != b->ends)
		return a->ends ? 1 : -1;
	return a->line->row_key && b->line->row_key ? strcmp(a->line->row_key, b->line->row_key) : 0;
}

/* One line of the answer; without a change it is what the score was then. */
static void
put(ReturnSetInfo *result, const MaScoreModel *model, TimestampTz at, float8 raw, int *level,
	const MaScoreChange *change)
{
	float8		value = ma_score_finish(model, raw);
	float8		points = 0;
	Datum		values[6];
	bool		nulls[6] = {false};

	if (change != NULL)
		points = change->ends ?
			-change->points * ma_score_left(model, at - change->line->at) : change->points;
	values[0] = TimestampTzGetDatum(at);
	values[1] = ma_score_numeric(value);
	nulls[2] = nulls[3] = change == NULL;
	values[2] = ma_score_numeric(points);
	values[3] = change ? CStringGetTextDatum(psprintf("%s%s", change->line->rule->name,
													  change->ends ? " expires" : "")) : (Datum) 0;
	nulls[4] = change == NULL || change->line->row_key == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(change->line->row_key);
	*level = ma_score_level_from(model, value, *level);
	nulls[5] = *level == 0;
	values[5] = *level == 0 ? (Datum) 0 : CStringGetTextDatum(model->thresholds[*level - 1].name);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
