/*
 * compare.c
 *		Comparisons of numbers: aggregates over windows, columns, constants, and
 *		arithmetic between them, at any instant.
 *
 * Sums are numeric and computed anew from the rows, so that nothing drifts.  Counts
 * compared with whole numbers, the usual case, need no numeric at all.
 */
#include "base/base.h"

#include "catalog/pg_collation_d.h"
#include "rules/evaluator.h"
#include "utils/builtins.h"

#define MAX_WORK 20000
#define MAX_AGGREGATES 16

/* The aggregates of one comparison with their rows' spans. */
typedef struct Work
{
	Moment	   *moment;
	const MaNumber *numbers[MAX_AGGREGATES];
	Spans		spans[MAX_AGGREGATES];
	int			n;
	int			rows;
} Work;

static bool needs_rows(const MaNumber *number);
static void collect(Work *work, const MaNumber *number);
static bool truth_at(Work *work, const MaNode *node, TimestampTz t);
static TimestampTz next_after(Work *work, TimestampTz t);
static bool number_at(Work *work, const MaNumber *number, TimestampTz t, Numeric *value);
static bool aggregate_at(const MaNumber *number, const Spans *spans, TimestampTz t,
						 Numeric *value);
static int64 count_at(const MaNumber *number, const Spans *spans, TimestampTz t);
static bool counted_before(const MaNumber *number, const Spans *spans, int i, TimestampTz t);
static bool arithmetic(char operator, Numeric left, Numeric right, Numeric *value);
static bool holds(const char *operator, int order);

static bool
needs_rows(const MaNumber *number)
{
	if (number == NULL)
		return false;
	return number->kind == MA_NUMBER_AGGREGATE || needs_rows(number->left) ||
		needs_rows(number->right);
}

static void
collect(Work *work, const MaNumber *number)
{
	if (number == NULL)
		return;
	if (number->kind == MA_NUMBER_AGGREGATE)
	{
		if (work->n == MAX_AGGREGATES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("one comparison has at most %d aggregates", MAX_AGGREGATES)));
		work->numbers[work->n] = number;
		work->spans[work->n] = ma_spans(work->moment, number->stream, number->window);
		work->rows += work->spans[work->n++].n + 1;
	}
	collect(work, number->left);
	collect(work, number->right);
}

MaTruth
ma_compare(Moment *moment, const MaNode *node)
{
	Work		work = {moment};
	MaTruth		truth;

	if (!moment->batch->have_rows && (needs_rows(node->left) || needs_rows(node->right)))
	{
		moment->pending = true;
		return (MaTruth) {false, DT_NOBEGIN};
	}
	collect(&work, node->left);
	collect(&work, node->right);
	truth.truth = truth_at(&work, node, moment->at);
	truth.until = next_after(&work, moment->at);
	for (int done = 0; truth.until != DT_NOEND && done < MAX_WORK; done += work.rows)
	{
		if (truth_at(&work, node, truth.until) != truth.truth)
			break;
		truth.until = next_after(&work, truth.until);
	}
	return truth;
}

static TimestampTz
next_after(Work *work, TimestampTz t)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < work->n; i++)
		next = Min(next, ma_spans_next(&work->spans[i], t));
	return next;
}

static bool
holds(const char *operator, int order)
{
	switch (operator[0])
	{
		case '=':
			return order == 0;
		case '<':
			return operator[1] == '>' ? order != 0 : operator[1] == '=' ? order <= 0 : order < 0;
		default:
			return operator[1] == '=' ? order >= 0 : order > 0;
	}
}

/* Unknown counts as false. */
static bool
truth_at(Work *work, const MaNode *node, TimestampTz t)
{
	Numeric		left;
	Numeric		right;

	if (!number_at(work, node->left, t, &left) || !number_at(work, node->right, t, &right))
		return false;
	return holds(node->operator,
				 DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(left),
												   NumericGetDatum(right))));
}

bool
ma_number_at(Moment *moment, const MaNumber *number, TimestampTz t, Numeric *value)
{
	Work		work = {moment};

	collect(&work, number);
	return number_at(&work, number, t, value);
}

static bool
number_at(Work *work, const MaNumber *number, TimestampTz t, Numeric *value)
{
	Moment	   *moment = work->moment;
	Numeric		left;
	Numeric		right;
	int			place;

	switch (number->kind)
	{
		case MA_NUMBER_CONSTANT:
			*value = number->constant;
			return true;
		case MA_NUMBER_COLUMN:
			place = moment->contact * moment->batch->set->nattributes + number->column->place;
			*value = DatumGetNumeric(moment->batch->values[place]);
			return !moment->batch->nulls[place];
		case MA_NUMBER_AGGREGATE:
			for (int i = 0; i < work->n; i++)
				if (work->numbers[i] == number)
					return aggregate_at(number, &work->spans[i], t, value);
			return false;
		case MA_NUMBER_NEGATE:
			if (!number_at(work, number->left, t, &left))
				return false;
			*value = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(left)));
			return true;
		case MA_NUMBER_OPERATOR:
			return number_at(work, number->left, t, &left) &&
				number_at(work, number->right, t, &right) &&
				arithmetic(number->operator, left, right, value);
	}
	return false;
}

/* Division by zero is unknown. */
static bool
arithmetic(char operator, Numeric left, Numeric right, Numeric *value)
{
	PGFunction	function = operator == '+' ? numeric_add : operator == '-' ? numeric_sub :
		operator == '*' ? numeric_mul : numeric_div;

	if (operator == '/' &&
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(right),
										  NumericGetDatum(int64_to_numeric(0)))) == 0)
		return false;
	*value = DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(left),
												 NumericGetDatum(right)));
	return true;
}

/* An equal value counts already. */
static bool
counted_before(const MaNumber *number, const Spans *spans, int i, TimestampTz t)
{
	for (int j = 0; j < i; j++)
	{
		Datum		a = spans->spans[i].value;
		Datum		b = spans->spans[j].value;

		if (spans->spans[j].isnull || !ma_span_holds(spans, j, t))
			continue;
		if (number->stream->type == MA_VALUE_TEXT ?
			DatumGetBool(DirectFunctionCall2Coll(texteq, DEFAULT_COLLATION_OID, a, b)) :
			DatumGetBool(DirectFunctionCall2(numeric_eq, a, b)))
			return true;
	}
	return false;
}

static int64
count_at(const MaNumber *number, const Spans *spans, TimestampTz t)
{
	int64		n = 0;

	for (int i = 0; i < spans->n; i++)
		if ((number->stream->type == MA_VALUE_NONE || !spans->spans[i].isnull) &&
			ma_span_holds(spans, i, t) &&
			!(number->distinct && counted_before(number, spans, i, t)))
			n++;
	return n;
}

/* The sum of no rows is 0; mean, least and greatest of none are unknown. */
static bool
aggregate_at(const MaNumber *number, const Spans *spans, TimestampTz t, Numeric *value)
{
	Numeric		sum = int64_to_numeric(0);
	int64		n = 0;

	if (number->function == MA_FN_COUNT)
	{
		*value = int64_to_numeric(count_at(number, spans, t));
		return true;
	}
	for (int i = 0; i < spans->n; i++)
	{
		Datum		item = spans->spans[i].value;

		if (spans->spans[i].isnull || !ma_span_holds(spans, i, t) ||
			(number->distinct && counted_before(number, spans, i, t)))
			continue;
		n++;
		if (number->function == MA_FN_MIN || number->function == MA_FN_MAX)
		{
			PGFunction	function = number->function == MA_FN_MIN ? numeric_smaller : numeric_larger;

			sum = n == 1 ? DatumGetNumeric(item) :
				DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(sum), item));
		}
		else
			sum = DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(sum), item));
	}
	*value = sum;
	if (number->function == MA_FN_SUM)
		return true;
	if (n == 0)
		return false;
	if (number->function == MA_FN_AVG)
		*value = DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(sum),
													 NumericGetDatum(int64_to_numeric(n))));
	return true;
}
