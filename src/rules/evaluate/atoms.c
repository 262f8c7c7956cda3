/*
 * atoms.c
 *		Truth of one atom, and until when it holds.
 *
 * Where no formula says until when, the atom is asked again at each instant at which
 * it may change, up to one at which it has changed or the work grows too much: any
 * lower bound of the true instant is right, it only costs an evaluation more.
 */
#include "base/base.h"

#include "rules/evaluator.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define MAX_WORK 20000			/* rows looked at in search of `until` */

static MaTruth leaf(Moment *moment, const MaNode *node);
static MaTruth date(Moment *moment, const MaNode *node);
static MaTruth date_period(const MaNode *node, TimestampTz x, TimestampTz t, pg_tz *zone);
static MaTruth between(TimestampTz start, TimestampTz end, TimestampTz t);
static MaTruth anniversary(Moment *moment, const MaNode *node);
static MaTruth exists(Moment *moment, const MaNode *node);
static MaTruth sweep(Moment *moment, const MaNode *node,
					 bool (*truth_at) (Moment *, const MaNode *, TimestampTz, TimestampTz *));
static bool last_rows_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next);
static bool ends_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next);
static bool overdue_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next);
static int	first_row_at(const RowList *list, TimestampTz t, TimestampTz *next);
static bool matches(const Row *row);

MaTruth
ma_atom(Moment *moment, const MaNode *node)
{
	switch (node->kind)
	{
		case MA_NODE_LEAF:
			return leaf(moment, node);
		case MA_NODE_RECHECK:
			return ma_recheck(moment, node);
		case MA_NODE_DATE:
			return date(moment, node);
		case MA_NODE_ANNIVERSARY:
			return anniversary(moment, node);
		case MA_NODE_FACT:
			return moment->batch->facts[moment->contact * moment->batch->set->nfacts + node->place];
		default:
			break;
	}
	if (!moment->batch->have_rows)
	{
		moment->pending = true;
		return (MaTruth) {false, DT_NOBEGIN};
	}
	switch (node->kind)
	{
		case MA_NODE_EXISTS:
			return exists(moment, node);
		case MA_NODE_LAST_ROWS:
			return sweep(moment, node, last_rows_at);
		case MA_NODE_ENDS:
			return sweep(moment, node, ends_at);
		case MA_NODE_OVERDUE:
			return sweep(moment, node, overdue_at);
		default:
			/* The other kinds have children or are numbers, which evaluate.c goes into. */
			elog(ERROR, "cannot happen: kind %d of an atom", (int) node->kind);
	}
}

/* ---- what needs no rows ---- */

static MaTruth
leaf(Moment *moment, const MaNode *node)
{
	int			place = moment->contact * moment->batch->set->nattributes + node->attribute->place;

	return (MaTruth) {!moment->batch->nulls[place] && DatumGetBool(moment->batch->values[place]),
		DT_NOEND};
}

/* True from start on, before end. */
static MaTruth
between(TimestampTz start, TimestampTz end, TimestampTz t)
{
	if (start >= end || t >= end)
		return (MaTruth) {false, DT_NOEND};
	if (t < start)
		return (MaTruth) {false, start};
	return (MaTruth) {true, end};
}

static MaTruth
date(Moment *moment, const MaNode *node)
{
	TimestampTz x;
	TimestampTz t = moment->at;

	if (!ma_instant_of(moment, node->attribute, &x))
		return (MaTruth) {false, DT_NOEND};
	switch (node->test)
	{
		case MA_TEST_NEXT:
			return between(ma_time_add(x, &node->to, true, moment->zone), x, t);
		case MA_TEST_MORE:
			return between(ma_time_add(x, &node->to, false, moment->zone), DT_NOEND, t);
		case MA_TEST_LESS:
			return between(x, ma_time_add(x, &node->to, false, moment->zone), t);
		default:
			return date_period(node, x, t, moment->zone);
	}
}

/* COL is today, this week, this month. */
static MaTruth
date_period(const MaNode *node, TimestampTz x, TimestampTz t, pg_tz *zone)
{
	TimestampTz low = ma_period_start(t, node->period, 0, zone);
	TimestampTz high = ma_period_start(t, node->period, 1, zone);
	MaTruth		truth = {x >= low && x < high, DT_NOEND};
	TimestampTz near;

	if (TIMESTAMP_NOT_FINITE(x) || x < low - 2 * USECS_PER_DAY)
		return truth;
	near = ma_period_start(x, node->period, 0, zone) - 2 * USECS_PER_DAY;
	if (!truth.truth && near > t)
		truth.until = near;
	else
		truth.until = ma_period_changes(t, node->period, zone);
	return truth;
}

/* The day on the calendar; a date is that day also where the zone's clocks left it out. */
static bool
day_of(Moment *moment, const MaAttribute *attribute, struct pg_tm *tm)
{
	int			place = moment->contact * moment->batch->set->nattributes + attribute->place;
	Timestamp	value;
	fsec_t		fraction;
	int			offset;

	if (moment->batch->nulls[place])
		return false;
	value = DatumGetTimestamp(moment->batch->values[place]);
	if (TIMESTAMP_NOT_FINITE(value))
		return false;
	if (attribute->type == MA_VALUE_LOCAL)
		return timestamp2tm(value, NULL, tm, &fraction, NULL, NULL) == 0;
	return timestamp2tm(value, &offset, tm, &fraction, NULL, moment->zone) == 0;
}

/*
 * From the time before the day's start to the end of the day; 29 February is
 * 28 February in common years.
 */
static MaTruth
anniversary(Moment *moment, const MaNode *node)
{
	MaTruth		truth = {false, DT_NOEND};
	struct pg_tm tm;
	struct pg_tm now;
	fsec_t		fraction;
	int			offset;

	if (!day_of(moment, node->attribute, &tm) ||
		timestamp2tm(moment->at, &offset, &now, &fraction, NULL, moment->zone) != 0)
		return truth;
	for (int year = now.tm_year - 1; year <= now.tm_year + 2; year++)
	{
		int			day = tm.tm_mon == 2 && tm.tm_mday == 29 && !isleap(year) ? 28 : tm.tm_mday;
		int			date = date2j(year, tm.tm_mon, day) - POSTGRES_EPOCH_JDATE;
		TimestampTz start = ma_local_to_instant(date * USECS_PER_DAY, moment->zone);
		TimestampTz end = ma_local_to_instant((date + 1) * USECS_PER_DAY, moment->zone);

		if (node->test == MA_TEST_NEXT)
			start = ma_time_add(start, &node->to, true, moment->zone);
		if (start <= moment->at && end > moment->at)
			return (MaTruth) {true, end};
		if (start > moment->at)
			truth.until = Min(truth.until, start);
	}
	return truth;
}

/* ---- what needs rows ---- */

static MaTruth
exists(Moment *moment, const MaNode *node)
{
	bool		negated = node->test == MA_TEST_NO;
	bool		found = false;
	TimestampTz until = DT_NOEND;
	TimestampTz t = moment->at;
	Spans		spans;
	Range		range;

	if (node->follower == NULL && ma_range(moment, node->stream, node->window, &range))
	{
		int			from;
		int			to;

		ma_range_at(&range, t, &from, &to);
		return (MaTruth) {(from < to) != negated, from < to ? ma_range_end(&range, from) :
			ma_range_next(&range, t)};
	}
	spans = ma_spans(moment, node->stream, node->window);
	if (node->follower != NULL)
		ma_spans_follow(&spans, moment, node);
	for (int i = 0; i < spans.n; i++)
		if (ma_span_holds(&spans, i, t))
		{
			until = found ? Max(until, spans.spans[i].end) : spans.spans[i].end;
			found = true;
		}
	if (!found || node->window->kind == MA_WINDOW_CALENDAR)
		until = ma_spans_next(&spans, t);
	return (MaTruth) {found != negated, until};
}

/* Asks at each instant at which the atom may change. */
static MaTruth
sweep(Moment *moment, const MaNode *node,
	  bool (*truth_at) (Moment *, const MaNode *, TimestampTz, TimestampTz *))
{
	int			rows = ma_rows_of(moment, node->stream)->n + 1;
	MaTruth		truth;
	TimestampTz next = DT_NOEND;

	truth.truth = truth_at(moment, node, moment->at, &next);
	truth.until = next;
	for (int work = 0; truth.until != DT_NOEND && work < MAX_WORK; work += rows)
	{
		next = DT_NOEND;
		if (truth_at(moment, node, truth.until, &next) != truth.truth)
			break;
		truth.until = next;
	}
	return truth;
}

/* The first (newest) row up to t; *next the earliest one after it. */
static int
first_row_at(const RowList *list, TimestampTz t, TimestampTz *next)
{
	int			first = 0;

	while (first < list->n && list->rows[first].at > t)
		first++;
	if (first > 0)
		*next = Min(*next, list->rows[first - 1].at);
	return first;
}

static bool
matches(const Row *row)
{
	return !row->isnull && DatumGetBool(row->value);
}

static bool
last_rows_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next)
{
	RowList    *list = ma_rows_of(moment, node->stream);
	int			first = first_row_at(list, t, next);
	int			n = 0;
	int			matching = 0;

	for (int i = first; i < list->n && n < node->count; i++, n++)
		matching += matches(&list->rows[i]);
	if (node->test == MA_TEST_ANY)
		return matching > 0;
	return n == node->count && matching == (node->test == MA_TEST_ALL ? n : 0);
}

static bool
ends_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next)
{
	RowList    *list = ma_rows_of(moment, node->stream);
	int			place = first_row_at(list, t, next);
	TimestampTz at;
	TimestampTz from;
	TimestampTz to;

	if (place == list->n)
		return false;
	if (!node->last)
	{
		/* Of several rows of the first instant those that match come first. */
		for (place = list->n - 1; place > 0 && list->rows[place - 1].at == list->rows[place].at;)
			place--;
	}
	at = list->rows[place].at;
	if (node->test == MA_TEST_MATCHING)
		return matches(&list->rows[place]);
	to = ma_time_add(at, &node->to, false, moment->zone);
	from = node->test == MA_TEST_BETWEEN ? ma_time_add(at, &node->from, false, moment->zone) : at;
	if (from > t)
		*next = Min(*next, from);
	if (to > t)
		*next = Min(*next, to);
	if (node->test == MA_TEST_MORE)
		return to <= t;
	return from <= t && to > t;
}

/* More than `by` times the mean interval since the last row; three rows are needed. */
static bool
overdue_at(Moment *moment, const MaNode *node, TimestampTz t, TimestampTz *next)
{
	RowList    *list = ma_rows_of(moment, node->stream);
	int			first = first_row_at(list, t, next);
	int			n = list->n - first;
	TimestampTz last;
	int64		span;
	Numeric		limit;
	int64		whole;

	if (n < 3 || TIMESTAMP_NOT_FINITE(list->rows[list->n - 1].at))
		return false;
	last = list->rows[first].at;
	span = last - list->rows[list->n - 1].at;
	limit = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(node->left->constant),
												NumericGetDatum(int64_to_numeric(span))));
	/* The first whole microsecond that is more than limit / (n - 1) after the last row. */
	limit = DatumGetNumeric(DirectFunctionCall2(numeric_div_trunc, NumericGetDatum(limit),
												NumericGetDatum(int64_to_numeric(n - 1))));
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(limit),
										 NumericGetDatum(int64_to_numeric(PG_INT64_MAX / 4)))))
		return false;
	whole = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(limit))) + 1;
	if (last + whole > t)
		*next = Min(*next, last + whole);
	return last + whole <= t;
}
