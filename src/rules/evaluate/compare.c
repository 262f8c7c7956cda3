/*
 * compare.c
 *		Comparisons of numbers: aggregates over windows, columns, constants, and
 *		arithmetic between them, at any instant.
 *
 * Sums are numeric and computed anew from the rows, so that nothing drifts.  Until when
 * the truth holds is mostly known without looking on: what only falls while rows leave
 * their windows does not become greater, and where it passes a bound is found by bisection.
 * Else it is asked again at each instant at which a row comes or goes.  Scores change
 * between such instants too: those of fading.c, and scores.c where one stands alone.
 */
#include "base/base.h"

#include "catalog/pg_collation_d.h"
#include "rules/evaluator.h"
#include "utils/builtins.h"

#define MAX_WORK 20000
#define MAX_AGGREGATES 16
#define MAX_PIECES 1000			/* of time, between whose ends scores are bounded */

/* Ways in which time alone may change a number: it rises, falls, becomes unknown. */
#define MAY_RISE 1
#define MAY_FALL 2
#define MAY_VANISH 4

/* An aggregate with its rows: a range of the list, or spans where there is no such range. */
typedef struct Aggregate
{
	const MaNumber *number;
	bool		ranged;
	Range		range;
	Spans		spans;
} Aggregate;

/* The aggregates of one comparison. */
typedef struct Work
{
	Moment	   *moment;
	Aggregate	aggregates[MAX_AGGREGATES];
	int			n;
	int			rows;			/* looked at for each instant, about */
	bool		divides;		/* so the scale of a sum matters, not only its value */
} Work;

static bool needs_rows(const MaNumber *number);
static void collect(Work *work, const MaNumber *number);
static bool truth_at(Work *work, const MaNode *node, TimestampTz t);
static TimestampTz next_after(Work *work, TimestampTz t);
static TimestampTz holds_until(Work *work, const MaNode *node, bool truth);
static TimestampTz fading_holds_until(Work *work, const MaNode *node, bool truth);
static MaNumber *settled(Work *work, const MaNumber *number, TimestampTz t);
static TimestampTz bisect(Work *work, const MaNode *node, bool truth);
static uint8 ways(Work *work, const MaNumber *number);
static uint8 ways_of_aggregate(const Aggregate *aggregate, TimestampTz t);
static uint8 turned(uint8 ways);
static const Aggregate *aggregate_of(const Work *work, const MaNumber *number);
static bool number_at(Work *work, const MaNumber *number, TimestampTz t, Numeric *value);
static bool ranged_at(const Work *work, const Aggregate *aggregate, TimestampTz t,
					  Numeric *value);
static Numeric sum_of_range(const Work *work, const RowList *list, int from, int to);
static bool aggregate_at(const MaNumber *number, const Spans *spans, TimestampTz t,
						 Numeric *value);
static int64 count_at(const MaNumber *number, const Spans *spans, TimestampTz t);
static bool counted_before(const MaNumber *number, const Spans *spans, int i, TimestampTz t);

static bool
needs_rows(const MaNumber *number)
{
	if (number == NULL)
		return false;
	return number->kind == MA_NUMBER_AGGREGATE || number->kind == MA_NUMBER_SCORE ||
		needs_rows(number->left) || needs_rows(number->right);
}

static void
collect(Work *work, const MaNumber *number)
{
	if (number == NULL)
		return;
	if (number->kind == MA_NUMBER_AGGREGATE)
	{
		Aggregate  *aggregate = &work->aggregates[work->n];

		if (work->n == MAX_AGGREGATES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("one comparison has at most %d aggregates", MAX_AGGREGATES)));
		aggregate->number = number;
		aggregate->ranged = !number->distinct &&
			ma_range(work->moment, number->stream, number->window, &aggregate->range);
		if (aggregate->ranged)
			ma_rows_add_up(aggregate->range.list, number->stream->type);
		else
			aggregate->spans = ma_spans(work->moment, number->stream, number->window);
		work->rows += !aggregate->ranged ? aggregate->spans.n + 1 :
			number->function == MA_FN_MIN || number->function == MA_FN_MAX ?
			aggregate->range.n + 1 : 1;
		work->n++;
	}
	work->divides |= (number->kind == MA_NUMBER_OPERATOR && number->operator == '/') ||
		(number->kind == MA_NUMBER_AGGREGATE && number->function == MA_FN_AVG);
	collect(work, number->left);
	collect(work, number->right);
}

MaTruth
ma_compare(Moment *moment, const MaNode *node)
{
	Work		work = {moment};
	MaTruth		truth;

	if (ma_compares_one_score(node))
		return ma_compare_score(moment, node);
	if (!moment->batch->have_rows && (needs_rows(node->left) || needs_rows(node->right)))
	{
		moment->pending = true;
		return (MaTruth) {false, DT_NOBEGIN};
	}
	collect(&work, node->left);
	collect(&work, node->right);
	truth.truth = truth_at(&work, node, moment->at);
	truth.until = ma_has_score(node->left) || ma_has_score(node->right) ?
		fading_holds_until(&work, node, truth.truth) : holds_until(&work, node, truth.truth);
	return truth;
}

/* The first instant at which the truth is another, or an earlier one. */
static TimestampTz
holds_until(Work *work, const MaNode *node, bool truth)
{
	bool		orders = strcmp(node->operator, "=") != 0 && strcmp(node->operator, "<>") != 0;
	uint8		change = ways(work, node->left) | turned(ways(work, node->right));
	TimestampTz until;

	if (node->operator[0] == '<')
		change = turned(change);
	/* From here on as if it were "greater"; unknown is false. */
	if (change == 0 || (orders && !(change & (truth ? MAY_FALL | MAY_VANISH : MAY_RISE))))
		return DT_NOEND;
	if (orders && work->n == 1 && !(change & (truth ? MAY_RISE : MAY_FALL | MAY_VANISH)))
		return bisect(work, node, truth);
	until = next_after(work, work->moment->at);
	for (int done = 0; until != DT_NOEND && done < MAX_WORK; done += work->rows)
	{
		if (truth_at(work, node, until) != truth)
			break;
		until = next_after(work, until);
	}
	return until;
}

/*
 * The same with scores in it: from one instant at which a row comes or goes to the next,
 * and no longer than the scores are known.
 */
static TimestampTz
fading_holds_until(Work *work, const MaNode *node, bool truth)
{
	Moment	   *moment = work->moment;
	TimestampTz limit = Min(ma_score_known_until(moment, node->left),
							ma_score_known_until(moment, node->right));
	TimestampTz at = moment->at;
	int			budget = MAX_PIECES;

	for (int done = 0; at < limit && done < MAX_WORK; done += work->rows + 1)
	{
		TimestampTz end = Min(limit, next_after(work, at));
		MaNode		between = *node;
		TimestampTz other;

		between.left = settled(work, node->left, at);
		between.right = settled(work, node->right, at);
		other = ma_fading_holds(moment, &between, truth, at, end, &budget);
		if (other < end || end == limit || truth_at(work, node, end) != truth)
			return other;
		at = end;
	}
	return at;
}

/* The number with constants for all that is no score, as it is until a row comes or goes. */
static MaNumber *
settled(Work *work, const MaNumber *number, TimestampTz t)
{
	MaNumber   *result = palloc0_object(MaNumber);

	if (!ma_has_score(number))
	{
		result->kind = MA_NUMBER_CONSTANT;
		if (!number_at(work, number, t, &result->constant))
			result->constant = NULL;
		return result;
	}
	*result = *number;
	if (number->left != NULL)
		result->left = settled(work, number->left, t);
	if (number->right != NULL)
		result->right = settled(work, number->right, t);
	return result;
}

/* Rows only leave the one range, and once the truth is another it stays so. */
static TimestampTz
bisect(Work *work, const MaNode *node, bool truth)
{
	const Range *range = &work->aggregates[0].range;
	int			low = 0;
	int			high;
	TimestampTz until = DT_NOEND;

	ma_range_at(range, work->moment->at, &low, &high);
	/* Of rows low .. high - 1 the last one at whose end it is another. */
	while (low < high)
	{
		int			middle = (low + high) / 2;
		TimestampTz end = ma_range_end(range, middle);

		if (end != DT_NOEND && truth_at(work, node, end) != truth)
		{
			until = end;
			low = middle + 1;
		}
		else
			high = middle;
	}
	return until;
}

/* How the number may change from now on, whatever instant is taken. */
static uint8
ways(Work *work, const MaNumber *number)
{
	uint8		left;
	uint8		right;

	switch (number->kind)
	{
		case MA_NUMBER_AGGREGATE:
			return ways_of_aggregate(aggregate_of(work, number), work->moment->at);
		case MA_NUMBER_NEGATE:
			return turned(ways(work, number->left));
		case MA_NUMBER_OPERATOR:
			left = ways(work, number->left);
			right = ways(work, number->right);
			if (number->operator == '+' || number->operator == '-')
				return left | (number->operator == '-' ? turned(right) : right);
			return left | right ? MAY_RISE | MAY_FALL | MAY_VANISH : 0;
		default:
			return 0;
	}
}

/* Without rows of the future, rows only leave: none comes any more. */
static uint8
ways_of_aggregate(const Aggregate *aggregate, TimestampTz t)
{
	int			from;
	int			to;

	if (!aggregate->ranged)
		return MAY_RISE | MAY_FALL | MAY_VANISH;
	ma_range_at(&aggregate->range, t, &from, &to);
	if (from > 0)
		return MAY_RISE | MAY_FALL | MAY_VANISH;
	switch (aggregate->number->function)
	{
		case MA_FN_COUNT:
			return MAY_FALL;
		case MA_FN_SUM:
			return aggregate->range.list->negative ? MAY_RISE | MAY_FALL : MAY_FALL;
		case MA_FN_MIN:
			return MAY_RISE | MAY_VANISH;
		case MA_FN_MAX:
			return MAY_FALL | MAY_VANISH;
		default:
			return MAY_RISE | MAY_FALL | MAY_VANISH;
	}
}

static uint8
turned(uint8 ways)
{
	return (ways & MAY_VANISH) | (ways & MAY_RISE ? MAY_FALL : 0) |
		(ways & MAY_FALL ? MAY_RISE : 0);
}

static const Aggregate *
aggregate_of(const Work *work, const MaNumber *number)
{
	for (int i = 0; i < work->n; i++)
		if (work->aggregates[i].number == number)
			return &work->aggregates[i];
	/* collect() goes through the same tree. */
	elog(ERROR, "cannot happen: an aggregate that was not collected");
}

static TimestampTz
next_after(Work *work, TimestampTz t)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < work->n; i++)
		next = Min(next, work->aggregates[i].ranged ?
				   ma_range_next(&work->aggregates[i].range, t) :
				   ma_spans_next(&work->aggregates[i].spans, t));
	return next;
}

bool
ma_number_order_holds(const char *operator, int order)
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
	int			order;

	if (!number_at(work, node->left, t, &left) || !number_at(work, node->right, t, &right))
		return false;
	order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(left),
											  NumericGetDatum(right)));
	return ma_number_order_holds(node->operator, order);
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
	const Aggregate *aggregate;
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
			if (moment->batch->nulls[place])
				return false;
			*value = DatumGetNumeric(moment->batch->values[place]);
			return true;
		case MA_NUMBER_SCORE:
			*value = ma_score_at_moment(moment, number, t);
			return true;
		case MA_NUMBER_AGGREGATE:
			aggregate = aggregate_of(work, number);
			return aggregate->ranged ? ranged_at(work, aggregate, t, value) :
				aggregate_at(number, &aggregate->spans, t, value);
		case MA_NUMBER_NEGATE:
			if (!number_at(work, number->left, t, &left))
				return false;
			*value = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(left)));
			return true;
		case MA_NUMBER_OPERATOR:
			return number_at(work, number->left, t, &left) &&
				number_at(work, number->right, t, &right) &&
				ma_number_arithmetic(number->operator, left, right, value);
	}
	return false;
}

bool
ma_number_arithmetic(char operator, Numeric left, Numeric right, Numeric *value)
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

/* As aggregate_at(), of rows that are neighbours. */
static bool
ranged_at(const Work *work, const Aggregate *aggregate, TimestampTz t, Numeric *value)
{
	const MaNumber *number = aggregate->number;
	const RowList *list = aggregate->range.list;
	PGFunction	better = number->function == MA_FN_MIN ? numeric_smaller : numeric_larger;
	int			from;
	int			to;
	int			n;

	ma_range_at(&aggregate->range, t, &from, &to);
	n = number->stream->type == MA_VALUE_NONE ? to - from : list->known[to] - list->known[from];
	if (number->function == MA_FN_COUNT)
	{
		*value = int64_to_numeric(n);
		return true;
	}
	if (number->function == MA_FN_SUM || number->function == MA_FN_AVG)
	{
		*value = sum_of_range(work, list, from, to);
		if (number->function == MA_FN_AVG && n > 0)
			*value = DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(*value),
														 NumericGetDatum(int64_to_numeric(n))));
		return number->function == MA_FN_SUM || n > 0;
	}
	*value = NULL;
	for (int i = from; i < to; i++)
		if (!list->rows[i].isnull)
			*value = *value == NULL ? DatumGetNumeric(list->rows[i].value) :
				DatumGetNumeric(DirectFunctionCall2(better, NumericGetDatum(*value),
													list->rows[i].value));
	return *value != NULL;
}

/*
 * The difference of two sums has the value of the sum, but perhaps more digits behind the
 * point, by which a quotient of it is rounded; and infinities have no difference.
 */
static Numeric
sum_of_range(const Work *work, const RowList *list, int from, int to)
{
	Numeric		sum = list->sums[0];

	if (from == 0)
		return list->sums[to];
	if (!work->divides && !numeric_is_nan(list->sums[to]) && !numeric_is_inf(list->sums[to]))
		return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(list->sums[to]),
												   NumericGetDatum(list->sums[from])));
	for (int i = from; i < to; i++)
		if (!list->rows[i].isnull)
			sum = DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(sum),
													  list->rows[i].value));
	return sum;
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

/* Of any rows. The sum of no rows is 0; mean, least and greatest of none are unknown. */
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
