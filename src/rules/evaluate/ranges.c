/*
 * ranges.c
 *		Which rows of a window count at an instant, where they are neighbours.
 *
 * Rows stand the newest first, and in nearly every window who comes later also goes
 * later: those that count are then one part of the list, found by bisection.  Their
 * number and sum come of what is added up once for all rules that read the stream, so
 * that what many rules cost over one stream is the reading of its rows.
 */
#include "base/base.h"

#include "rules/evaluator.h"
#include "utils/builtins.h"

static bool set_bounds(Range *range, pg_tz *zone);
static TimestampTz start_of(const Range *range, int i);

/* False for a window whose rows need not be neighbours: ma_spans() serves any. */
bool
ma_range(Moment *moment, const MaStream *stream, const MaWindow *window, Range *range)
{
	RowList    *list = ma_rows_of(moment, stream);
	TimestampTz since = window->since;

	*range = (Range) {list, window, list->n};
	switch (window->kind)
	{
		case MA_WINDOW_EVER:
			return true;
		case MA_WINDOW_SINCE_COLUMN:
			if (!ma_instant_of(moment, window->column, &since))
				range->n = 0;
			/* FALLTHROUGH */
		case MA_WINDOW_SINCE:
			while (range->n > 0 && list->rows[range->n - 1].at < since)
				range->n--;
			return true;
		case MA_WINDOW_IN:
			if (window->to.months == 0)
				return window->to.usecs > 0;
			return set_bounds(range, moment->zone);
		case MA_WINDOW_BETWEEN:
			if (window->from.months == 0 && window->to.months == 0)
				return window->from.usecs < window->to.usecs;
			return set_bounds(range, moment->zone);
		default:
			return false;
	}
}

/* Months on, two rows may change places where the clocks were set back. */
static bool
set_bounds(Range *range, pg_tz *zone)
{
	const Row  *rows = range->list->rows;
	int			n = Max(range->n, 1);

	range->starts = palloc_array(TimestampTz, n);
	range->ends = palloc_array(TimestampTz, n);
	for (int i = 0; i < range->n; i++)
	{
		range->starts[i] = range->window->kind == MA_WINDOW_IN ? rows[i].at :
			ma_time_add(rows[i].at, &range->window->from, false, zone);
		range->ends[i] = ma_time_add(rows[i].at, &range->window->to, false, zone);
		if (range->starts[i] >= range->ends[i] ||
			(i > 0 && (range->starts[i] > range->starts[i - 1] ||
					   range->ends[i] > range->ends[i - 1])))
			return false;
	}
	return true;
}

static TimestampTz
start_of(const Range *range, int i)
{
	if (range->starts != NULL)
		return range->starts[i];
	if (range->window->kind == MA_WINDOW_BETWEEN)
		return ma_time_add(range->list->rows[i].at, &range->window->from, false, NULL);
	return range->list->rows[i].at;
}

TimestampTz
ma_range_end(const Range *range, int i)
{
	if (range->ends != NULL)
		return range->ends[i];
	if (range->window->kind == MA_WINDOW_IN || range->window->kind == MA_WINDOW_BETWEEN)
		return ma_time_add(range->list->rows[i].at, &range->window->to, false, NULL);
	return DT_NOEND;
}

/* Rows *from .. *to - 1 count at t: those before have not come yet, those behind are gone. */
void
ma_range_at(const Range *range, TimestampTz t, int *from, int *to)
{
	int			low = 0;
	int			high = range->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (start_of(range, middle) > t)
			low = middle + 1;
		else
			high = middle;
	}
	*from = low;
	high = range->n;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (t >= ma_range_end(range, middle))
			high = middle;
		else
			low = middle + 1;
	}
	*to = low;
}

TimestampTz
ma_range_next(const Range *range, TimestampTz t)
{
	TimestampTz next = DT_NOEND;
	int			from;
	int			to;

	ma_range_at(range, t, &from, &to);
	if (from > 0)
		next = start_of(range, from - 1);
	if (to > from)
		next = Min(next, ma_range_end(range, to - 1));
	return next;
}

void
ma_rows_add_up(RowList *list, MaValueType type)
{
	Datum		zero;

	if (list->known != NULL)
		return;
	list->known = palloc_array(int, list->n + 1);
	list->known[0] = 0;
	for (int i = 0; i < list->n; i++)
		list->known[i + 1] = list->known[i] + !list->rows[i].isnull;
	if (type != MA_VALUE_NUMBER)
		return;
	list->sums = palloc_array(Numeric, list->n + 1);
	list->sums[0] = int64_to_numeric(0);
	zero = NumericGetDatum(list->sums[0]);
	for (int i = 0; i < list->n; i++)
	{
		Datum		value = list->rows[i].value;

		list->sums[i + 1] = list->sums[i];
		if (list->rows[i].isnull)
			continue;
		list->sums[i + 1] = numeric_add_opt_error(DatumGetNumeric(value), list->sums[i], NULL);
		list->negative |= DatumGetBool(DirectFunctionCall2(numeric_lt, value, zero));
	}
}
