/*
 * spans.c
 *		When rows count: each row of a window is an interval of time.
 *
 * Arithmetic is on the row's side (at + '1 month' > t), never on now's, which would
 * flicker at the ends of months.  A calendar window is no interval per row: its
 * bounds are those of the period that holds t, and local time may jump back, so
 * the zone's transitions are instants at which it is looked at again.
 */
#include "base/base.h"

#include "rules/evaluator.h"

#define MARGIN (2 * USECS_PER_DAY)	/* more than local time ever jumps back */

static void set_span(Span *span, const Row *row, const MaWindow *window, TimestampTz since,
					 pg_tz *zone);
static TimestampTz calendar_next(const Spans *spans, TimestampTz t);
static TimestampTz first_after(const RowList *list, TimestampTz at, TimestampTz last);

RowList *
ma_rows_of(Moment *moment, const MaStream *stream)
{
	return &moment->batch->rows[moment->contact * moment->batch->set->nstreams + stream->place];
}

bool
ma_instant_of(Moment *moment, const MaAttribute *attribute, TimestampTz *at)
{
	int			place = moment->contact * moment->batch->set->nattributes + attribute->place;

	if (moment->batch->nulls[place])
		return false;
	*at = DatumGetTimestampTz(moment->batch->values[place]);
	if (attribute->type == MA_VALUE_LOCAL)
		*at = ma_local_to_instant(*at, moment->zone);
	return true;
}

Spans
ma_spans(Moment *moment, const MaStream *stream, const MaWindow *window)
{
	RowList    *list = ma_rows_of(moment, stream);
	Spans		spans = {palloc_array(Span, Max(list->n, 1)), 0, window, moment->zone};
	TimestampTz since = window->since;

	if (window->kind == MA_WINDOW_SINCE_COLUMN &&
		!ma_instant_of(moment, window->column, &since))
		return spans;
	for (int i = 0; i < list->n; i++)
	{
		Span	   *span = &spans.spans[spans.n];

		set_span(span, &list->rows[i], window, since, moment->zone);
		if (span->start < span->end)
			spans.n++;
	}
	return spans;
}

static void
set_span(Span *span, const Row *row, const MaWindow *window, TimestampTz since, pg_tz *zone)
{
	span->at = span->start = row->at;
	span->end = DT_NOEND;
	span->value = row->value;
	span->isnull = row->isnull;
	span->key = row->key;
	switch (window->kind)
	{
		case MA_WINDOW_BETWEEN:
			span->start = ma_time_add(row->at, &window->from, false, zone);
			span->end = ma_time_add(row->at, &window->to, false, zone);
			break;
		case MA_WINDOW_IN:
			span->end = ma_time_add(row->at, &window->to, false, zone);
			break;
		case MA_WINDOW_SINCE:
		case MA_WINDOW_SINCE_COLUMN:
			if (row->at < since)
				span->end = span->start;
			break;
		default:
			break;
	}
}

bool
ma_span_holds(const Spans *spans, int i, TimestampTz t)
{
	const Span *span = &spans->spans[i];
	const MaWindow *window = spans->window;

	if (t < span->start || t >= span->end)
		return false;
	if (window->kind != MA_WINDOW_CALENDAR)
		return true;
	return span->at >= ma_period_start(t, window->period, window->last ? -1 : 0, spans->zone) &&
		(!window->last || span->at < ma_period_start(t, window->period, 0, spans->zone));
}

TimestampTz
ma_spans_next(const Spans *spans, TimestampTz t)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < spans->n; i++)
	{
		if (spans->spans[i].start > t)
			next = Min(next, spans->spans[i].start);
		else if (spans->spans[i].end > t)
			next = Min(next, spans->spans[i].end);
	}
	if (spans->window->kind == MA_WINDOW_CALENDAR)
		next = Min(next, calendar_next(spans, t));
	return next;
}

/* The next bound of a period, or jump of the clocks, if a row is near enough to matter. */
static TimestampTz
calendar_next(const Spans *spans, TimestampTz t)
{
	const MaWindow *window = spans->window;
	TimestampTz low = ma_period_start(t, window->period, window->last ? -1 : 0, spans->zone);
	bool		matters = false;

	for (int i = 0; i < spans->n && !matters; i++)
		matters = spans->spans[i].at >= low - MARGIN;
	if (!matters)
		return DT_NOEND;
	return ma_period_changes(t, window->period, spans->zone);
}

/* Time of the first row after `at`, up to `last`; DT_NOEND if there is none. */
static TimestampTz
first_after(const RowList *list, TimestampTz at, TimestampTz last)
{
	TimestampTz found = DT_NOEND;

	for (int i = 0; i < list->n; i++)
		if (list->rows[i].at > at && list->rows[i].at <= last)
			found = Min(found, list->rows[i].at);
	return found;
}

/*
 * Followed: it counts from when the other row came.  Not followed: from when the time
 * is over, if none came in it.
 */
void
ma_spans_follow(Spans *spans, Moment *moment, const MaNode *node)
{
	RowList    *others = ma_rows_of(moment, node->follower);
	int			n = 0;

	for (int i = 0; i < spans->n; i++)
	{
		Span	   *span = &spans->spans[i];
		TimestampTz last = ma_time_add(span->at, &node->to, false, moment->zone);
		TimestampTz came = first_after(others, span->at, last);

		if (node->not_followed ? came != DT_NOEND : came == DT_NOEND)
			continue;
		span->start = Max(span->start, node->not_followed ? last : came);
		if (span->start < span->end)
			spans->spans[n++] = *span;
	}
	spans->n = n;
}
