/*
 * row_points.c
 *		What one row gives under the rules of its event, from its tuple alone.
 *
 * A commit that added a row knows it: to have it read by a statement, ten rules of which
 * are compiled anew each time, costs more than all else a score needs.  So the very SQL
 * of the rules is compiled once for the table and kept with the models.
 *
 * Only where the tuple says all: what calls functions of users (who must run as the
 * table's owner), heeds settings of the session or reads other tables is for the
 * statement (score_rows.c), and so is a table whose owner does not see all of its rows.
 */
#include "base/base.h"

#include <math.h>

#include "access/table.h"
#include "executor/executor.h"
#include "scoring/scoring_internal.h"
#include "utils/memutils.h"
#include "utils/rel.h"

struct MaRowPoints
{
	const MaScoreFetch *fetch;
	Oid			relid;
	uint64		epoch;			/* of the relations when the table was last looked at */
	MemoryContext context;		/* of all below */
	TupleDesc	desc;
	bool		hidden;			/* its owner does not see all rows */
	bool		readable;		/* the time and whether it is the event are compiled */
	TupleTableSlot *slot;
	ExprContext *expressions;
	ExprState  *at;
	ExprState  *condition;		/* of the source; NULL: every row */
	ExprState **rules;			/* NULL: it needs more, or all rows give the constant */
};

static MaRowPoints *find(MaScoreModels *models, const MaScoreFetch *fetch, Oid relid);
static void look_at(MaRowPoints *points);
static void compile(MaRowPoints *points, Relation relation);
static ExprState *compile_one(const MaRowPoints *points, const char *sql);

MaRowPoints *
ma_row_points(MaScoreModels *models, const MaScoreFetch *fetch, const MaAddedRow *row)
{
	MaRowPoints *points = find(models, fetch, row->relid);

	/* With what was heard since the row may have another shape than the table. */
	if (row->epoch != ma_relations_epoch())
		return NULL;
	if (points->epoch != row->epoch)
		look_at(points);
	return points->readable && !points->hidden ? points : NULL;
}

/* Partitions have their columns at places of their own. */
static MaRowPoints *
find(MaScoreModels *models, const MaScoreFetch *fetch, Oid relid)
{
	MemoryContext previous;
	MaRowPoints *points;
	ListCell   *cell;

	foreach(cell, models->row_points)
	{
		points = lfirst(cell);
		if (points->relid == relid && points->fetch == fetch)
			return points;
	}
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(models));
	points = palloc0_object(MaRowPoints);
	points->fetch = fetch;
	points->relid = relid;
	models->row_points = lappend(models->row_points, points);
	MemoryContextSwitchTo(previous);
	return points;
}

/* Something was heard of some relation: compiles where it concerns this one. */
static void
look_at(MaRowPoints *points)
{
	uint64		epoch = ma_relations_epoch();
	Relation	relation = table_open(points->relid, AccessShareLock);

	if (points->context == NULL || !equalTupleDescs(points->desc, RelationGetDescr(relation)))
		compile(points, relation);
	points->hidden = relation->rd_rel->relrowsecurity && relation->rd_rel->relforcerowsecurity;
	points->epoch = epoch;
	table_close(relation, NoLock);
}

static void
compile(MaRowPoints *points, Relation relation)
{
	MaEventSource *source = points->fetch->source;
	MemoryContext previous;
	MemoryContext context;

	if (points->context != NULL)
		MemoryContextDelete(points->context);
	points->context = NULL;
	context = AllocSetContextCreate(GetMemoryChunkContext(points),
									"marketing_automation rules of a row", ALLOCSET_SMALL_SIZES);
	previous = MemoryContextSwitchTo(context);
	points->desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	points->slot = MakeSingleTupleTableSlot(points->desc, &TTSOpsHeapTuple);
	points->expressions = CreateStandaloneExprContext();
	points->rules = palloc0_array(ExprState *, points->fetch->nrules);
	points->condition = NULL;
	points->at = compile_one(points, source->occurred);
	if (source->condition != NULL)
		points->condition = compile_one(points, source->condition);
	for (int i = 0; i < points->fetch->nrules; i++)
		if (points->fetch->sqls[i] != NULL)
			points->rules[i] = compile_one(points, points->fetch->sqls[i]);
	MemoryContextSwitchTo(previous);
	points->readable = points->at != NULL &&
		(source->condition == NULL) == (points->condition == NULL);
	/* Last: after an error half way all is compiled again. */
	points->context = context;
}

static ExprState *
compile_one(const MaRowPoints *points, const char *sql)
{
	return ma_expression_compile(sql, points->relid, "rule of a score");
}

bool
ma_row_points_knows(const MaRowPoints *points, int rule)
{
	return points->fetch->sqls[rule] == NULL || points->rules[rule] != NULL;
}

bool
ma_row_points_take(MaRowPoints *points, HeapTuple tuple, TimestampTz *at)
{
	bool		isnull;
	Datum		value;

	ResetExprContext(points->expressions);
	points->expressions->ecxt_scantuple = ExecStoreHeapTuple(tuple, points->slot, false);
	if (points->condition != NULL)
	{
		value = ExecEvalExprSwitchContext(points->condition, points->expressions, &isnull);
		if (isnull || !DatumGetBool(value))
			return false;
	}
	value = ExecEvalExprSwitchContext(points->at, points->expressions, &isnull);
	*at = DatumGetTimestampTz(value);
	return !isnull && !TIMESTAMP_NOT_FINITE(*at);
}

bool
ma_row_points_of(MaRowPoints *points, int rule, float8 *number)
{
	const MaScoreFetch *fetch = points->fetch;
	bool		isnull;
	Datum		value;

	*number = fetch->rules[rule]->constant;
	if (points->rules[rule] == NULL)
		return true;
	value = ExecEvalExprSwitchContext(points->rules[rule], points->expressions, &isnull);
	if (isnull)
		return false;
	if (fetch->rules[rule]->is_constant)
		return DatumGetBool(value);
	*number = DatumGetFloat8(value);
	return isfinite(*number);
}
