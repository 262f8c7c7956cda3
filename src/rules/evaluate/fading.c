/*
 * fading.c
 *		Until when a comparison holds whose numbers have scores in them:
 *		"score(fit) * 0.4 + score(lead) * 0.6 >= 50".
 *
 * A score fades towards zero and never turns, so between two instants it lies between its
 * values at both, and interval arithmetic bounds what is made of it.  Where the bounds
 * leave the answer open the time is halved, down to pieces in which no score changes by
 * one of its steps, where bounds are values: the first instant with another answer is
 * found as exactly as the answer itself.  After Moore, Interval Analysis (1966): natural
 * extensions with bisection.
 *
 * Two scores that fall side by side ("score(a) > score(b)") take many halvings.  When the
 * caller's budget is used up the search ends where it has got to: the answer holds up to
 * there at least.
 */
#include "base/base.h"

#include "rules/evaluator.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* So many steps of scores are taken one by one. */
#define FEW_STEPS 3
/* A quotient is rounded to 16 digits, by more or less of them: its bounds lie this far out. */
#define ROUNDING "0.000000000001"

/* Where a number lies throughout a piece of time. */
typedef struct Bounds
{
	enum
	{
		BETWEEN_BOUNDS,			/* low <= number <= high; equal: it is that number */
		HAS_NONE,				/* has no value at all: divided by zero */
		IS_ANYTHING				/* or has none */
	}			kind;
	Numeric		low;
	Numeric		high;
} Bounds;

typedef struct Search
{
	const Moment *moment;
	const MaNode *node;			/* numbers of scores and constants only */
	bool		truth;			/* at the start */
	int		   *budget;			/* pieces of time that may still be looked at */
	MemoryContext context;		/* for one piece */
} Search;

static TimestampTz first_other(Search *search, TimestampTz from, TimestampTz last);
static bool is_certain(Search *search, TimestampTz from, TimestampTz last);
static bool is_always(bool truth, const char *operator, Bounds left, Bounds right);
static Bounds bounds_of(const Search *search, const MaNumber *number, TimestampTz from,
						TimestampTz last);
static Bounds combined(char operator, Bounds left, Bounds right);
static Bounds bounded(PGFunction function, Bounds left, Bounds right);
static Bounds widened(Bounds quotient);
static bool is_fixed(Bounds number);
static bool is_plain(Bounds number);
static Numeric call(PGFunction function, Numeric left, Numeric right);
static int	order(Numeric left, Numeric right);

/*
 * The first instant of [from, end) at which the comparison of scores and constants is
 * another than `truth`, which it is at `from`; `end` if there is none.  An earlier one, but
 * later than `from`, if the budget ends before, of which 100 are enough to get on.
 */
TimestampTz
ma_fading_holds(const Moment *moment, const MaNode *node, bool truth, TimestampTz from,
				TimestampTz end, int *budget)
{
	Search		search = {moment, node, truth, budget};
	TimestampTz settled = Max(from, Max(ma_score_settled(moment, node->left, from),
										ma_score_settled(moment, node->right, from)));
	TimestampTz last = Min(end - 1, settled);
	TimestampTz first;

	search.context = AllocSetContextCreate(CurrentMemoryContext,
										   "marketing_automation fading scores",
										   ALLOCSET_SMALL_SIZES);
	first = first_other(&search, from, last);
	MemoryContextDelete(search.context);
	return first > last ? end : first;
}

/* Of instants from .. last; last + 1 if there is none. */
static TimestampTz
first_other(Search *search, TimestampTz from, TimestampTz last)
{
	TimestampTz middle = from + (last - from) / 2;
	TimestampTz first;
	float8		steps;

	if ((*search->budget)-- <= 0)
		return from;
	if (is_certain(search, from, last))
		return last + 1;
	steps = ma_score_steps(search->moment, search->node->left, from, last) +
		ma_score_steps(search->moment, search->node->right, from, last);
	/* Bounds are values then, and the answer is surely the other. */
	if (steps == 0)
		return from;
	/* Few are taken one by one. */
	if (steps <= FEW_STEPS)
		middle = Min(last, Min(ma_score_next(search->moment, search->node->left, from),
							   ma_score_next(search->moment, search->node->right, from))) - 1;
	first = first_other(search, from, middle);
	return first <= middle ? first : first_other(search, middle + 1, last);
}

/* True if the answer is surely the same from .. last. */
static bool
is_certain(Search *search, TimestampTz from, TimestampTz last)
{
	MemoryContext previous = MemoryContextSwitchTo(search->context);
	Bounds		left = bounds_of(search, search->node->left, from, last);
	Bounds		right = bounds_of(search, search->node->right, from, last);
	bool		certain = is_always(search->truth, search->node->operator, left, right);

	MemoryContextSwitchTo(previous);
	MemoryContextReset(search->context);
	return certain;
}

/* True if the comparison of numbers that lie there is surely this; unknown counts as false. */
static bool
is_always(bool truth, const char *operator, Bounds left, Bounds right)
{
	int			least;			/* numeric_cmp() of them at least, and at most */
	int			greatest;

	if (left.kind == HAS_NONE || right.kind == HAS_NONE)
		return !truth;
	if (left.kind == IS_ANYTHING || right.kind == IS_ANYTHING)
		return false;
	if (strcmp(operator, "<>") == 0)
		return is_always(!truth, "=", left, right);
	least = order(left.low, right.high);
	greatest = order(left.high, right.low);
	if (operator[0] == '=')
		return truth ? least == 0 && greatest == 0 : least > 0 || greatest < 0;
	return ma_number_order_holds(operator, least) == truth &&
		ma_number_order_holds(operator, greatest) == truth;
}

static Bounds
bounds_of(const Search *search, const MaNumber *number, TimestampTz from, TimestampTz last)
{
	Bounds		result = {BETWEEN_BOUNDS};
	Bounds		left;

	switch (number->kind)
	{
		case MA_NUMBER_SCORE:
			result.low = ma_score_at_moment(search->moment, number, from);
			result.high = ma_score_at_moment(search->moment, number, last);
			if (order(result.low, result.high) > 0)
			{
				Numeric		swap = result.low;

				result.low = result.high;
				result.high = swap;
			}
			return result;
		case MA_NUMBER_NEGATE:
			result.low = result.high = int64_to_numeric(0);
			return combined('-', result, bounds_of(search, number->left, from, last));
		case MA_NUMBER_OPERATOR:
			left = bounds_of(search, number->left, from, last);
			return combined(number->operator, left,
							bounds_of(search, number->right, from, last));
		default:
			/* Aggregates and columns were made constants; NULL: unknown. */
			result.low = result.high = number->constant;
			if (number->constant == NULL)
				result.kind = HAS_NONE;
			return result;
	}
}

static Bounds
combined(char operator, Bounds left, Bounds right)
{
	Bounds		result = {BETWEEN_BOUNDS};
	Numeric		zero = int64_to_numeric(0);

	if (left.kind == HAS_NONE || right.kind == HAS_NONE)
		return (Bounds) {HAS_NONE};
	if (left.kind == IS_ANYTHING || right.kind == IS_ANYTHING)
		return (Bounds) {IS_ANYTHING};
	if (is_fixed(left) && is_fixed(right))
	{
		if (!ma_number_arithmetic(operator, left.low, right.low, &result.low))
			return (Bounds) {HAS_NONE};
		result.high = result.low;
		return result;
	}
	if (operator == '/' && is_fixed(right) && order(right.low, zero) == 0)
		return (Bounds) {HAS_NONE};
	if (!is_plain(left) || !is_plain(right))
		return (Bounds) {IS_ANYTHING};
	switch (operator)
	{
		case '+':
			result.low = call(numeric_add, left.low, right.low);
			result.high = call(numeric_add, left.high, right.high);
			return result;
		case '-':
			result.low = call(numeric_sub, left.low, right.high);
			result.high = call(numeric_sub, left.high, right.low);
			return result;
		case '*':
			return bounded(numeric_mul, left, right);
		default:
			if (order(right.low, zero) <= 0 && order(right.high, zero) >= 0)
				return (Bounds) {IS_ANYTHING};
			return widened(bounded(numeric_div, left, right));
	}
}

/* The least and the greatest of what the ends give. */
static Bounds
bounded(PGFunction function, Bounds left, Bounds right)
{
	Numeric		ends[] = {call(function, left.low, right.low), call(function, left.low, right.high),
	call(function, left.high, right.low), call(function, left.high, right.high)};
	Bounds		result = {BETWEEN_BOUNDS, ends[0], ends[0]};

	for (int i = 1; i < lengthof(ends); i++)
	{
		result.low = call(numeric_smaller, result.low, ends[i]);
		result.high = call(numeric_larger, result.high, ends[i]);
	}
	return result;
}

/* By what quotients within may be rounded beyond the quotients at the ends. */
static Bounds
widened(Bounds quotient)
{
	Numeric		share = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(ROUNDING),
															ObjectIdGetDatum(InvalidOid),
															Int32GetDatum(-1)));
	Numeric		zero = int64_to_numeric(0);
	Numeric		size = call(numeric_larger, quotient.high, call(numeric_sub, zero, quotient.low));
	Numeric		by = call(numeric_mul, size, share);

	quotient.low = call(numeric_sub, quotient.low, by);
	quotient.high = call(numeric_add, quotient.high, by);
	return quotient;
}

static bool
is_fixed(Bounds number)
{
	return order(number.low, number.high) == 0;
}

/* Infinities and what is no number are compared, but have no place between others. */
static bool
is_plain(Bounds number)
{
	return !numeric_is_nan(number.low) && !numeric_is_inf(number.low) &&
		!numeric_is_nan(number.high) && !numeric_is_inf(number.high);
}

static Numeric
call(PGFunction function, Numeric left, Numeric right)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(left),
											   NumericGetDatum(right)));
}

static int
order(Numeric left, Numeric right)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(left),
											 NumericGetDatum(right)));
}
