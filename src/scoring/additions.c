/*
 * additions.c
 *		Scores to which rows are added, without reading the others of the contact.
 *
 * All points of a score fade alike, so the points of a new row are added to what is left
 * of the sum.  That is the usual commit of a shop, and what it costs does not depend on
 * how many rows the contact has.
 *
 * It is right because a score stands as it was before this transaction: whoever changed
 * rows of the contact has evaluated him under the lock that is held now, or left him to
 * the worker, who computes.  Computed is also whatever is not plainly a sum: rules with
 * at_most, by which a late row displaces another, and a score that crosses a threshold,
 * since that is told to others and must rest on the rows alone.
 */
#include "base/base.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "scoring/scoring_internal.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* Columns of marketing_internal.score. */
typedef enum ScoreColumn
{
	SCORE_VALUE = 3,
	SCORE_INSTANT,
	SCORE_WAKE,
	SCORE_VERSION,
	SCORE_REACHED,
	SCORE_COLUMNS = 10
} ScoreColumn;

#define ROOM 250				/* for some more versions of a row, in octets */

/* A stored row as it is to be written, and where it stands. */
typedef struct Settled
{
	ItemPointerData at;
	Datum		values[SCORE_COLUMNS];
	bool		nulls[SCORE_COLUMNS];
} Settled;

static bool add_row(MaScoreModels *models, const MaScoreModel *model, const MaAddedRow *added,
					TimestampTz now, MaScore *score);
static bool is_plain(const MaScoreModel *model, const MaScoreFetch *fetch, bool *any);
static bool add_points(const MaScoreModel *model, const MaScoreFetch *fetch, MaRowPoints *points,
					   const MaAddedRow *added, TimestampTz now, MaScore *score);
static bool settle_stored(MaScoreModels *models, const MaContactChange *contact, TimestampTz now,
						  Settled *settled, int *n);
static MaScoreRow row_of_slot(TupleTableSlot *slot);
static void keep_settled(Settled *settled, TupleTableSlot *slot, const MaScoreRow *row);
static void write_settled(Settled *settled, int n);

bool
ma_score_add(MaScoreModels *models, const MaScoreModel *model, const MaContactChange *contact,
			 TimestampTz now, MaScoreRow *row)
{
	MaScore		score = row->score;
	TimestampTz wake;
	ListCell   *cell;

	if (!contact->added_only || row->version != model->version ||
		row->wake <= now || score.instant > now)
		return false;
	score.raw *= ma_score_left(model, now - score.instant);
	score.instant = now;
	score.until = row->wake;
	foreach(cell, contact->added)
		if (!add_row(models, model, lfirst(cell), now, &score))
			return false;
	if (!isfinite(score.raw) ||
		ma_score_level_from(model, ma_score_at(model, &score, now), row->nreached) !=
		row->nreached)
		return false;
	/* Until then at least: what it was before, a crossing or the end of a row, is not known. */
	wake = ma_score_level_holds(model, &score, now, row->nreached);
	if (wake <= now)
		return false;
	row->score = score;
	row->wake = wake;
	return true;
}

/* False if what the row gives is not plainly to be added. */
static bool
add_row(MaScoreModels *models, const MaScoreModel *model, const MaAddedRow *added,
		TimestampTz now, MaScore *score)
{
	ListCell   *cell;

	foreach(cell, ma_score_fetches(models))
	{
		const MaScoreFetch *fetch = lfirst(cell);
		bool		any;
		MaRowPoints *points;

		if (fetch->source == NULL || fetch->source->id != added->event_source_id ||
			fetch->event->id != added->event_id)
			continue;
		if (!is_plain(model, fetch, &any))
			return false;
		if (!any)
			continue;
		points = ma_row_points(models, fetch, added);
		if (points == NULL || !add_points(model, fetch, points, added, now, score))
			return false;
	}
	return true;
}

/* True if no rule of the model counts rows or needs a calendar; *any: there is one. */
static bool
is_plain(const MaScoreModel *model, const MaScoreFetch *fetch, bool *any)
{
	*any = false;
	for (int i = 0; i < fetch->nrules; i++)
	{
		const MaScoreRule *rule = fetch->rules[i];

		if (rule->model != model)
			continue;
		*any = true;
		if (rule->at_most > 0 || (rule->expires != NULL && rule->expires->month != 0))
			return false;
	}
	return true;
}

/* As score_rows.c adds a row: from its instant on, until it expires.  False as add_row(). */
static bool
add_points(const MaScoreModel *model, const MaScoreFetch *fetch, MaRowPoints *points,
		   const MaAddedRow *added, TimestampTz now, MaScore *score)
{
	TimestampTz at;
	float8		sum = 0;

	if (!ma_row_points_take(points, added->tuple, &at))
		return true;
	for (int i = 0; i < fetch->nrules; i++)
	{
		const MaScoreRule *rule = fetch->rules[i];
		TimestampTz end = DT_NOEND;
		float8		number;

		if (rule->model != model)
			continue;
		if (!ma_row_points_knows(points, i))
			return false;
		if (!ma_row_points_of(points, i, &number))
			continue;
		if (at > now)
		{
			score->until = Min(score->until, at);
			continue;
		}
		if (rule->expires != NULL)
			end = ma_score_expiry(rule->expires, at, NULL);
		if (end <= now)
			continue;
		score->until = Min(score->until, end);
		sum += number;
	}
	if (at <= now)
		score->raw += sum * ma_score_left(model, now - at);
	return true;
}

bool
ma_score_settle(const MaContactChange *contact, TimestampTz now)
{
	MaScoreModels *models = ma_score_models_current();
	Settled    *settled;
	int			n = 0;

	if (models == NULL || !models->fetches_ready)
		return false;
	settled = palloc_array(Settled, Max(models->nmodels, 1));
	if (!settle_stored(models, contact, now, settled, &n))
		return false;
	if (n > 0)
		write_settled(settled, n);
	return true;
}

/* What becomes of his scores; false if one must be computed. */
static bool
settle_stored(MaScoreModels *models, const MaContactChange *contact, TimestampTz now,
			  Settled *settled, int *n)
{
	static const RegProcedure equal[] = {F_INT8EQ, F_INT4EQ};
	MaIndexRead *read = NULL;
	bool		all = true;
	ListCell   *cell;

	foreach(cell, models->models)
	{
		MaScoreModel *model = lfirst(cell);
		TupleTableSlot *slot;
		MaScoreRow	row;
		MaScoreRow	was;
		Datum		key[2];

		if (!ma_score_depends(model, contact))
			continue;
		if (read == NULL)
			read = ma_index_begin("score_pkey", lengthof(equal), equal, MA_RUN_READ_LATEST);
		key[0] = Int64GetDatum(contact->contact_id);
		key[1] = Int32GetDatum(model->id);
		ma_index_find(read, key);
		slot = ma_index_next_untidied(read, ROOM);
		all = slot != NULL && slot->tts_tupleDescriptor->natts == SCORE_COLUMNS;
		if (!all)
			break;
		was = row = row_of_slot(slot);
		all = ma_score_add(models, model, contact, now, &row);
		if (!all)
			break;
		/* A row that gives nothing leaves it as it is. */
		if (row.wake == was.wake && row.score.raw == was.score.raw *
			ma_score_left(model, now - was.score.instant))
			continue;
		keep_settled(&settled[(*n)++], slot, &row);
	}
	if (read != NULL)
		ma_index_end(read);
	return all;
}

/* Without the thresholds' names: those reached are the first ones of the model. */
static MaScoreRow
row_of_slot(TupleTableSlot *slot)
{
	MaScoreRow	row = {{0}};
	bool		isnull;
	ArrayType  *reached;

	row.score.contact_id = DatumGetInt64(slot_getattr(slot, 1, &isnull));
	row.score.raw = DatumGetFloat8(slot_getattr(slot, SCORE_VALUE, &isnull));
	row.score.instant = DatumGetTimestampTz(slot_getattr(slot, SCORE_INSTANT, &isnull));
	row.score.until = row.wake = DatumGetTimestampTz(slot_getattr(slot, SCORE_WAKE, &isnull));
	row.version = DatumGetInt32(slot_getattr(slot, SCORE_VERSION, &isnull));
	reached = DatumGetArrayTypeP(slot_getattr(slot, SCORE_REACHED, &isnull));
	row.nreached = ArrayGetNItems(ARR_NDIM(reached), ARR_DIMS(reached));
	return row;
}

static void
keep_settled(Settled *settled, TupleTableSlot *slot, const MaScoreRow *row)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	settled->at = tuple->t_self;
	heap_deform_tuple(tuple, slot->tts_tupleDescriptor, settled->values, settled->nulls);
	settled->values[SCORE_VALUE - 1] = Float8GetDatum(row->score.raw);
	settled->values[SCORE_INSTANT - 1] = TimestampTzGetDatum(row->score.instant);
	settled->values[SCORE_WAKE - 1] = TimestampTzGetDatum(row->wake);
}

static void
write_settled(Settled *settled, int n)
{
	MaRowWrite *write = ma_write_begin("score", SCORE_COLUMNS);

	for (int i = 0; i < n; i++)
		ma_score_check_met(ma_write_update(write, &settled[i].at, settled[i].values,
										   settled[i].nulls), 1);
	ma_write_end(write);
}
