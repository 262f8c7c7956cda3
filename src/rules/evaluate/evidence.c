/*
 * evidence.c
 *		The rows an answer rests on, for explanations.
 *
 * A condition on events is shown with rows: those that count now, the newest first and
 * a few only; of the others the one whose leaving changes the answer, the one that has
 * the greatest or least value, the next one to come, and where none counts the last one
 * that did.  They are those that were evaluated: nothing is read a second time, so that
 * rows and answer cannot disagree.
 */
#include "base/base.h"

#include "rules/columns.h"
#include "rules/evaluator.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define SHOWN 5					/* of the rows that count */
#define MAX_STEPS 1000			/* bounds of periods looked at for one row */

/* Rows that are being shown under one line. */
typedef struct Evidence
{
	List	  **lines;
	Moment	   *moment;
	int			depth;
	TimestampTz change;			/* when the answer changes */
} Evidence;

static Evidence begin(List **lines, const MaRuleLine *line, Moment *moment, TimestampTz change);
static MaRuleLine *put(const Evidence *evidence, int key, TimestampTz at, char *because);
static char *value_text(const MaStream *stream, Datum value, bool isnull);
static char *time_text(TimestampTz at);
static char *shown_of_text(const MaAttribute *attribute);
static const MaAttribute *shown_of(const Moment *moment, const MaAttribute *attribute);
static char *columns_sql(const MaAttribute *attribute);
static void set_column_values(MaRuleLine *line, Moment *moment, const MaAttribute *attribute);
static char *count_text(const Spans *spans, TimestampTz t);
static TimestampTz counts_until(const Spans *spans, int i, TimestampTz t);
static void put_window(const Evidence *evidence, const MaStream *stream, const Spans *spans,
					   int always);
static void put_span(const Evidence *evidence, const MaStream *stream, const Spans *spans, int i);
static int	extreme_of(const MaNumber *number, const Spans *spans, TimestampTz t);
static const Row *follower_of(const RowList *others, const Span *span, TimestampTz last);
static void put_followed(const Evidence *evidence, const MaNode *node, const Spans *spans);
static int	first_of(const RowList *list, TimestampTz t);
static void put_last_rows(const Evidence *evidence, MaRuleLine *line, const MaNode *node);
static void put_end(const Evidence *evidence, MaRuleLine *line, const MaNode *node);
static void put_overdue(const Evidence *evidence, MaRuleLine *line, const MaNode *node);

static Evidence
begin(List **lines, const MaRuleLine *line, Moment *moment, TimestampTz change)
{
	return (Evidence) {lines, moment, line->depth + 1, change};
}

static MaRuleLine *
put(const Evidence *evidence, int key, TimestampTz at, char *because)
{
	MaRuleLine *line = palloc0_object(MaRuleLine);

	line->depth = evidence->depth;
	line->node = list_nth(evidence->moment->batch->keys, key);
	line->is_row = true;
	line->at = at;
	line->truth.until = DT_NOBEGIN;
	line->because = because;
	*evidence->lines = lappend(*evidence->lines, line);
	return line;
}

static char *
value_text(const MaStream *stream, Datum value, bool isnull)
{
	if (stream->type == MA_VALUE_NONE)
		return NULL;
	if (isnull)
		return "null";
	switch (stream->type)
	{
		case MA_VALUE_NUMBER:
			return DatumGetCString(DirectFunctionCall1(numeric_out, value));
		case MA_VALUE_TEXT:
			return TextDatumGetCString(value);
		default:
			return NULL;
	}
}

static char *
time_text(TimestampTz at)
{
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(at)));
}

/* ---- columns of the contact ---- */

static char *
shown_of_text(const MaAttribute *attribute)
{
	return psprintf("columns of %s", attribute->text);
}

/* What stands in the columns that the condition reads: "Rome", or "city = Rome, credit = 5". */
static char *
columns_sql(const MaAttribute *attribute)
{
	const char *alias = quote_identifier(ma_source_alias(attribute->source));
	bool		many = list_length(attribute->columns) > 1;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "pg_catalog.concat(");
	foreach(cell, attribute->columns)
	{
		const char *column = quote_identifier(lfirst(cell));
		int			place = foreach_current_index(cell);

		appendStringInfo(&sql, "%s%s, pg_catalog.format('%%s', %s.%s), "
						 "CASE WHEN %s.%s IS NULL THEN 'null' END", place > 0 ? ", " : "",
						 quote_literal_cstr(many ? psprintf("%s%s = ", place > 0 ? ", " : "",
															column) : ""),
						 alias, column, alias, column);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* With each SQL condition on a table's columns their values are read as text. */
void
ma_evidence_begin(MaRuleSet *set)
{
	List	   *shown = NIL;
	ListCell   *cell;
	ListCell   *inner;

	set->with_keys = true;
	foreach(cell, set->attributes)
	{
		MaAttribute *attribute = lfirst(cell);
		MaAttribute *columns;

		if (attribute->type != MA_VALUE_BOOL || attribute->source == NULL ||
			attribute->columns == NIL)
			continue;
		columns = palloc0_object(MaAttribute);
		columns->type = MA_VALUE_TEXT;
		columns->text = shown_of_text(attribute);
		columns->sql = columns_sql(attribute);
		columns->source = attribute->source;
		columns->place = set->nattributes++;
		shown = lappend(shown, columns);
		foreach(inner, set->contact_fetches)
		{
			ContactFetch *fetch = lfirst(inner);

			if (fetch->source == columns->source)
				fetch->attributes = lappend(fetch->attributes, columns);
		}
	}
	set->attributes = list_concat(set->attributes, shown);
}

static const MaAttribute *
shown_of(const Moment *moment, const MaAttribute *attribute)
{
	char	   *text = shown_of_text(attribute);
	ListCell   *cell;

	foreach(cell, moment->batch->set->attributes)
	{
		const MaAttribute *other = lfirst(cell);

		if (other->type == MA_VALUE_TEXT && other->source == attribute->source &&
			strcmp(other->text, text) == 0)
			return other;
	}
	return NULL;
}

static void
set_column_values(MaRuleLine *line, Moment *moment, const MaAttribute *attribute)
{
	const MaAttribute *shown = shown_of(moment, attribute);
	int			place;

	if (shown == NULL)
		return;
	place = moment->contact * moment->batch->set->nattributes + shown->place;
	if (!moment->batch->nulls[place])
		line->value = TextDatumGetCString(moment->batch->values[place]);
}

/* ---- rows in a window ---- */

/* How many rows are in the window now. */
static char *
count_text(const Spans *spans, TimestampTz t)
{
	TimestampTz first = DT_NOEND;
	int			n = 0;

	for (int i = 0; i < spans->n; i++)
	{
		if (!ma_span_holds(spans, i, t))
			continue;
		n++;
		first = Min(first, spans->spans[i].at);
	}
	if (n == 0)
		return "no row counts";
	if (n <= SHOWN)
		return psprintf("%d row%s", n, n == 1 ? "" : "s");
	return psprintf("%d rows, from %s on; the newest %d", n, time_text(first), SHOWN);
}

/* When a row that counts ceases to. */
static TimestampTz
counts_until(const Spans *spans, int i, TimestampTz t)
{
	TimestampTz next = t;

	if (spans->window->kind != MA_WINDOW_CALENDAR)
		return spans->spans[i].end;
	for (int step = 0; step < MAX_STEPS; step++)
	{
		next = ma_spans_next(spans, next);
		if (next == DT_NOEND || !ma_span_holds(spans, i, next))
			break;
	}
	return next;
}

static void
put_span(const Evidence *evidence, const MaStream *stream, const Spans *spans, int i)
{
	const Span *span = &spans->spans[i];
	TimestampTz t = evidence->moment->at;
	MaRuleLine *line = put(evidence, span->key, span->at, NULL);

	line->value = value_text(stream, span->value, span->isnull);
	if (ma_span_holds(spans, i, t))
	{
		line->truth.until = counts_until(spans, i, t);
		line->because = line->truth.until != DT_NOEND && line->truth.until == evidence->change ?
			"counts; its leaving changes the answer" : "counts";
	}
	else if (span->start > t)
		line->because = psprintf("counts from %s%s", time_text(span->start),
								 span->start == evidence->change ? ", which changes the answer" : "");
	else
		line->because = spans->window->kind == MA_WINDOW_CALENDAR ? "not of that period" :
			"counts no more";
}

/* `always`: a row that is shown in any case; -1: none. */
static void
put_window(const Evidence *evidence, const MaStream *stream, const Spans *spans, int always)
{
	TimestampTz t = evidence->moment->at;
	bool	   *show = palloc0_array(bool, Max(spans->n, 1));
	int			counting = 0;
	int			to_come = -1;
	int			gone = -1;
	bool		decided = false;

	for (int i = 0; i < spans->n; i++)
		if (ma_span_holds(spans, i, t))
		{
			bool		decides = counts_until(spans, i, t) == evidence->change &&
				evidence->change != DT_NOEND;

			show[i] = counting++ < SHOWN || (decides && !decided) || i == always;
			decided |= decides && show[i];
		}
		else if (spans->spans[i].start > t)
		{
			if (to_come < 0 || spans->spans[i].start <= spans->spans[to_come].start)
				to_come = i;
		}
		else if (gone < 0)
			gone = i;
	if (to_come >= 0)
		show[to_come] = true;
	if (gone >= 0 && counting == 0)
		show[gone] = true;
	for (int i = 0; i < spans->n; i++)
		if (show[i])
			put_span(evidence, stream, spans, i);
}

/* The row that has the value of min() or max(). */
static int
extreme_of(const MaNumber *number, const Spans *spans, TimestampTz t)
{
	int			found = -1;

	if (number->function != MA_FN_MIN && number->function != MA_FN_MAX)
		return -1;
	for (int i = 0; i < spans->n; i++)
	{
		int			order;

		if (spans->spans[i].isnull || !ma_span_holds(spans, i, t))
			continue;
		order = found < 0 ? 0 :
			DatumGetInt32(DirectFunctionCall2(numeric_cmp, spans->spans[i].value,
											  spans->spans[found].value));
		if (found < 0 || (number->function == MA_FN_MIN ? order < 0 : order > 0))
			found = i;
	}
	return found;
}

void
ma_evidence_of_number(List **lines, MaRuleLine *line, Moment *moment, const MaNumber *number,
					  TimestampTz change)
{
	Evidence	evidence = begin(lines, line, moment, change);
	Spans		spans = ma_spans(moment, number->stream, number->window);

	line->because = count_text(&spans, moment->at);
	put_window(&evidence, number->stream, &spans, extreme_of(number, &spans, moment->at));
}

/* The first row that followed this one in time, at any instant; NULL: none has. */
static const Row *
follower_of(const RowList *others, const Span *span, TimestampTz last)
{
	const Row  *found = NULL;

	for (int i = 0; i < others->n; i++)
		if (others->rows[i].at > span->at && others->rows[i].at <= last)
			found = &others->rows[i];
	return found;
}

/*
 * The newest rows in the window, each with the row that followed it; and the newest that
 * makes the condition what it is, should it be none of these.
 */
static void
put_followed(const Evidence *evidence, const MaNode *node, const Spans *spans)
{
	Moment	   *moment = evidence->moment;
	RowList    *others = ma_rows_of(moment, node->follower);
	bool		decided = false;
	int			n = 0;

	for (int i = 0; i < spans->n; i++)
	{
		const Span *span = &spans->spans[i];
		TimestampTz last = ma_time_add(span->at, &node->to, false, moment->zone);
		const Row  *other = follower_of(others, span, last);
		bool		decides = node->not_followed ? other == NULL && last <= moment->at :
			other != NULL && other->at <= moment->at;
		MaRuleLine *line;

		if (!ma_span_holds(spans, i, moment->at) || (n++ >= SHOWN && (decided || !decides)))
			continue;
		decided |= decides;
		line = put(evidence, span->key, span->at, other != NULL ? "followed by" :
				   last <= moment->at ? psprintf("not followed within %s", node->to.text) :
				   psprintf("not followed yet, its time ends at %s", time_text(last)));
		line->truth.until = counts_until(spans, i, moment->at);
		if (other != NULL)
			put(evidence, other->key, other->at, "follows it")->depth++;
	}
}

/* ---- rows by their place ---- */

/* Place of the newest row up to t; the list's end if there is none. */
static int
first_of(const RowList *list, TimestampTz t)
{
	int			first = 0;

	while (first < list->n && list->rows[first].at > t)
		first++;
	return first;
}

static void
put_last_rows(const Evidence *evidence, MaRuleLine *line, const MaNode *node)
{
	RowList    *list = ma_rows_of(evidence->moment, node->stream);
	int			first = first_of(list, evidence->moment->at);
	int			n = Min(list->n - first, node->count);
	int			matching = 0;
	bool		decided = false;

	for (int i = 0; i < n; i++)
	{
		const Row  *row = &list->rows[first + i];
		bool		matches = !row->isnull && DatumGetBool(row->value);
		bool		decides = matches == (node->test != MA_TEST_ALL);

		matching += matches;
		if (i < SHOWN || (decides && !decided))
			put(evidence, row->key, row->at, matches ? "matches" : row->isnull ?
				"unknown, so it does not match" : "does not match");
		decided |= decides;
	}
	line->because = psprintf("%d of the last %d match%s%s", matching, n,
							 n < node->count && node->test != MA_TEST_ANY ?
							 psprintf("; %d are needed", node->count) : "",
							 n > SHOWN ? psprintf("; the newest %d", SHOWN) : "");
}

static void
put_end(const Evidence *evidence, MaRuleLine *line, const MaNode *node)
{
	RowList    *list = ma_rows_of(evidence->moment, node->stream);
	int			place = first_of(list, evidence->moment->at);
	const Row  *row;

	line->because = "there is no row";
	if (place == list->n)
		return;
	/* Of several rows of the first instant those that match come first. */
	if (!node->last)
		for (place = list->n - 1; place > 0 && list->rows[place - 1].at == list->rows[place].at;)
			place--;
	row = &list->rows[place];
	line->because = node->last ? "the last row decides" : "the first row decides";
	put(evidence, row->key, row->at, node->test != MA_TEST_MATCHING ? "decides" :
		!row->isnull && DatumGetBool(row->value) ? "matches" : row->isnull ?
		"unknown, so it does not match" : "does not match");
}

/* The first and the last row, and the mean interval they give. */
static void
put_overdue(const Evidence *evidence, MaRuleLine *line, const MaNode *node)
{
	RowList    *list = ma_rows_of(evidence->moment, node->stream);
	int			first = first_of(list, evidence->moment->at);
	int			n = list->n - first;
	const Row  *newest = &list->rows[first];
	const Row  *oldest = &list->rows[list->n - 1];

	line->because = psprintf("%d row%s", n, n == 1 ? "" : "s");
	if (n < 3)
		line->because = psprintf("%s; 3 are needed", line->because);
	else if (!TIMESTAMP_NOT_FINITE(oldest->at))
	{
		Interval   *mean = palloc0_object(Interval);

		mean->time = (newest->at - oldest->at) / (n - 1);
		mean = DatumGetIntervalP(DirectFunctionCall1(interval_justify_hours,
													 IntervalPGetDatum(mean)));
		line->value = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(mean)));
		line->because = psprintf("%s; value is their mean interval", line->because);
	}
	if (n > 0)
		put(evidence, newest->key, newest->at, "the last one");
	if (n > 1)
		put(evidence, oldest->key, oldest->at, "the first one");
}

void
ma_evidence_of_node(List **lines, MaRuleLine *line, Moment *moment, const MaNode *node)
{
	Evidence	evidence = begin(lines, line, moment, line->truth.until);
	Spans		spans;

	switch (node->kind)
	{
		case MA_NODE_LEAF:
			set_column_values(line, moment, node->attribute);
			break;
		case MA_NODE_EXISTS:
			spans = ma_spans(moment, node->stream, node->window);
			line->because = count_text(&spans, moment->at);
			if (node->follower != NULL)
				put_followed(&evidence, node, &spans);
			else
				put_window(&evidence, node->stream, &spans, -1);
			break;
		case MA_NODE_LAST_ROWS:
			put_last_rows(&evidence, line, node);
			break;
		case MA_NODE_ENDS:
			put_end(&evidence, line, node);
			break;
		case MA_NODE_OVERDUE:
			put_overdue(&evidence, line, node);
			break;
		default:
			break;
	}
}
