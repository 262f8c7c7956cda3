/*
 * number.c
 *		Numbers of templates: integers of 64 bits, and PostgreSQL's numeric for all
 *		else.
 *
 * Decimal arithmetic, so that 10.1 less 2.2 is 7.9.  Only a division that does not
 * come out is binary, with the digits that other Liquids show.  What the data give is
 * shown with the digits it has; what was computed, with as many as it needs and at
 * least one behind the point.
 *
 * A message shows dozens of small numbers, and numeric_out() would be a good part of
 * its cost: read_small() reads the common form of a numeric itself.  Its layout is
 * that of PostgreSQL's data on disk, which pg_upgrade keeps; the regression test
 * compares it with numeric_out().
 */
#include "base/base.h"

#include <math.h>

#include "content/liquid/liquid.h"
#include "common/int.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define SHORT_FORM 0x8000
#define FORM_BITS 0xC000
#define SHORT_SIGN 0x2000
#define SHORT_SCALE 0x1F80
#define SHORT_SCALE_SHIFT 7
#define SHORT_WEIGHT_SIGN 0x0040
#define SHORT_WEIGHT 0x003F

static bool read_small(Numeric numeric, bool *negative, int64 *whole, int64 *fraction, int *scale);
static Numeric numeric_of_text(const char *text, int length);
static LiquidValue decimal(Numeric numeric);
static int	numeric_scale_of(Numeric numeric);
static int64 leading_int(const char *text, int length);

/*
 * Reads a numeric with up to twelve digits before the point and eight behind it;
 * false if it is larger or not a number.
 */
static bool
read_small(Numeric numeric, bool *negative, int64 *whole, int64 *fraction, int *scale)
{
	static const int divisors[] = {1, 1000, 100, 10};
	uint16		header;
	int			weight;
	int			ndigits;
	const int16 *digits;

	if (VARATT_IS_EXTENDED(numeric))
		return false;
	memcpy(&header, VARDATA(numeric), sizeof(uint16));
	if ((header & FORM_BITS) != SHORT_FORM)
		return false;
	weight = header & SHORT_WEIGHT;
	if (header & SHORT_WEIGHT_SIGN)
		weight |= ~SHORT_WEIGHT;
	*scale = (header & SHORT_SCALE) >> SHORT_SCALE_SHIFT;
	if (weight > 2 || *scale > 8)
		return false;
	ndigits = (VARSIZE(numeric) - VARHDRSZ - sizeof(uint16)) / sizeof(int16);
	digits = (const int16 *) (VARDATA(numeric) + sizeof(uint16));
	*negative = (header & SHORT_SIGN) != 0;
	*whole = 0;
	*fraction = 0;
	for (int i = 0; i <= weight; i++)
		*whole = *whole * 10000 + (i < ndigits ? digits[i] : 0);
	for (int i = 0; i < (*scale + 3) / 4; i++)
	{
		int			at = weight + 1 + i;

		*fraction = *fraction * 10000 + (at >= 0 && at < ndigits ? digits[at] : 0);
	}
	*fraction /= divisors[*scale % 4];
	return true;
}

/* A number of the data: an integer if it has no digits behind the point. */
LiquidValue
ma_liquid_from_numeric(Numeric numeric)
{
	LiquidValue value = {LIQUID_NUMERIC};
	bool		negative;
	int64		whole;
	int64		fraction;
	int			scale;

	if (read_small(numeric, &negative, &whole, &fraction, &scale) && scale == 0)
		return ma_liquid_int(negative ? -whole : whole);
	value.u.numeric = numeric;
	return value;
}

static int
numeric_scale_of(Numeric numeric)
{
	if (numeric_is_nan(numeric) || numeric_is_inf(numeric))
		return 1;
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(numeric)));
}

static Numeric
numeric_of_text(const char *text, int length)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(text, length)),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* A computed decimal: no digits more than needed, but one. */
static LiquidValue
decimal(Numeric numeric)
{
	LiquidValue value = {LIQUID_NUMERIC};
	Datum		trimmed = DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(numeric));

	if (numeric_scale_of(DatumGetNumeric(trimmed)) == 0)
		trimmed = DirectFunctionCall2(numeric_round, trimmed, Int32GetDatum(1));
	value.u.numeric = DatumGetNumeric(trimmed);
	return value;
}

/* -?digits(.digits)? as it stands in a template. */
LiquidValue
ma_liquid_number(const char *text, int length)
{
	LiquidValue value = {LIQUID_NUMERIC};

	if (memchr(text, '.', length) != NULL)
		return decimal(numeric_of_text(text, length));
	if (length <= 18)
		return ma_liquid_int(leading_int(text, length));
	value.u.numeric = numeric_of_text(text, length);
	return value;
}

bool
ma_liquid_is_number(LiquidValue value)
{
	return value.kind == LIQUID_INT || value.kind == LIQUID_NUMERIC;
}

/* Digits at the beginning of a text, 0 without; too many of them are cut. */
static int64
leading_int(const char *text, int length)
{
	int64		result = 0;
	bool		negative = length > 0 && *text == '-';
	int			i = length > 0 && (*text == '-' || *text == '+');

	for (; i < length && text[i] >= '0' && text[i] <= '9' && result < PG_INT64_MAX / 100; i++)
		result = result * 10 + (text[i] - '0');
	return negative ? -result : result;
}

/* What arithmetic takes a value for: a text with a number is that number, all else is 0. */
LiquidValue
ma_liquid_to_number(LiquidValue value)
{
	const char *text = value.u.string;
	int			length = value.length;
	int			i;
	int			point = -1;

	if (ma_liquid_is_number(value))
		return value;
	if (value.kind != LIQUID_STRING)
		return ma_liquid_int(0);
	while (length > 0 && isspace((unsigned char) *text))
	{
		text++;
		length--;
	}
	while (length > 0 && isspace((unsigned char) text[length - 1]))
		length--;
	if (length > 1000)
		return ma_liquid_int(0);
	for (i = (length > 0 && *text == '-'); i < length; i++)
	{
		if (text[i] == '.' && point < 0 && i > 0 && text[i - 1] != '-')
			point = i;
		else if (text[i] < '0' || text[i] > '9')
			break;
	}
	if (i < length || length == 0 || point == length - 1)
		return ma_liquid_int(leading_int(text, length));
	return ma_liquid_number(text, length);
}

int64
ma_liquid_int_of(LiquidValue value)
{
	const char *text;
	int			length;

	value = ma_liquid_to_number(value);
	if (value.kind == LIQUID_INT)
		return value.u.integer;
	if (numeric_is_nan(value.u.numeric) || numeric_is_inf(value.u.numeric))
		return 0;
	value.u.numeric = DatumGetNumeric(DirectFunctionCall2(numeric_trunc,
														  NumericGetDatum(value.u.numeric),
														  Int32GetDatum(0)));
	text = ma_liquid_number_text(value, &length);
	return leading_int(text, length);
}

int64
ma_liquid_to_int(LiquidRender *render, LiquidValue value, const char *what)
{
	const char *text = value.u.string;
	int			from;

	if (value.kind == LIQUID_INT)
		return value.u.integer;
	if (value.kind == LIQUID_STRING)
	{
		int			length = value.length;

		from = length > 0 && (*text == '-' || *text == '+');
		for (; from < length && text[from] >= '0' && text[from] <= '9'; from++)
			;
		if (from == length && length > 0 && length <= 18 &&
					isdigit((unsigned char) text[length - 1]))
			return leading_int(text, length);
	}
	ma_liquid_error(render, "Use the filter round, or give a number.", "%s must be an integer",
				what);
}

/* The number's digits, not ended by NUL. */
char *
ma_liquid_number_text(LiquidValue value, int *length)
{
	char	   *text;
	bool		negative;
	int64		whole;
	int64		fraction;
	int			scale;

	if (value.kind == LIQUID_INT)
	{
		text = palloc(24);
		*length = pg_lltoa(value.u.integer, text);
		return text;
	}
	if (!read_small(value.u.numeric, &negative, &whole, &fraction, &scale))
	{
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.u.numeric)));
		*length = strlen(text);
		return text;
	}
	text = palloc(32);
	text[0] = '-';
	*length = negative;
	*length += pg_ulltoa_n(whole, text + *length);
	if (scale > 0)
	{
		text[(*length)++] = '.';
		for (int i = scale - 1; i >= 0; i--)
		{
			text[*length + i] = '0' + fraction % 10;
			fraction /= 10;
		}
		*length += scale;
	}
	return text;
}

Numeric
ma_liquid_numeric(LiquidValue value)
{
	return value.kind == LIQUID_INT ? int64_to_numeric(value.u.integer) : value.u.numeric;
}

int
ma_liquid_number_compare(LiquidValue left, LiquidValue right)
{
	if (left.kind == LIQUID_INT && right.kind == LIQUID_INT)
		return left.u.integer < right.u.integer ? -1 : left.u.integer > right.u.integer;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(ma_liquid_numeric(left)),
											 NumericGetDatum(ma_liquid_numeric(right))));
}

/* ---- filters ---- */

typedef Datum (*NumericFunction) (PG_FUNCTION_ARGS);

static bool
is_integer(LiquidValue value)
{
	return value.kind == LIQUID_INT || numeric_scale_of(value.u.numeric) == 0;
}

/* Of two integers an integer, else a decimal; too large a result is an error of ours. */
static LiquidValue
calculate(LiquidRender *render, LiquidValue left, LiquidValue right, NumericFunction function)
{
	bool		integer = is_integer(left) && is_integer(right);
	Numeric		result;

	result = DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(ma_liquid_numeric(left)),
												 NumericGetDatum(ma_liquid_numeric(right))));
	ma_liquid_step(render, 1 + VARSIZE(result) / 16);
	if (VARSIZE(result) > 1000)
		ma_liquid_error(render, "Look at the data.", "a number has become too long");
	return integer ? ma_liquid_from_numeric(result) : decimal(result);
}

LiquidValue
ma_liquid_add(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	int64		sum;

	left = ma_liquid_to_number(left);
	right = ma_liquid_to_number(right);
	if (left.kind == LIQUID_INT && right.kind == LIQUID_INT &&
		!pg_add_s64_overflow(left.u.integer, right.u.integer, &sum))
		return ma_liquid_int(sum);
	return calculate(render, left, right, numeric_add);
}

static LiquidValue
filter_plus(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return ma_liquid_add(render, input, arguments[0]);
}

static LiquidValue
filter_minus(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue left = ma_liquid_to_number(input);
	LiquidValue right = ma_liquid_to_number(arguments[0]);
	int64		result;

	if (left.kind == LIQUID_INT && right.kind == LIQUID_INT &&
		!pg_sub_s64_overflow(left.u.integer, right.u.integer, &result))
		return ma_liquid_int(result);
	return calculate(render, left, right, numeric_sub);
}

static LiquidValue
filter_times(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue left = ma_liquid_to_number(input);
	LiquidValue right = ma_liquid_to_number(arguments[0]);
	int64		result;

	if (left.kind == LIQUID_INT && right.kind == LIQUID_INT &&
		!pg_mul_s64_overflow(left.u.integer, right.u.integer, &result))
		return ma_liquid_int(result);
	return calculate(render, left, right, numeric_mul);
}

static bool
is_zero(LiquidValue value)
{
	return ma_liquid_number_compare(value, ma_liquid_int(0)) == 0;
}

/* Of integers rounded down, else as far as a double has digits. */
static LiquidValue
filter_divided_by(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue left = ma_liquid_to_number(input);
	LiquidValue right = ma_liquid_to_number(arguments[0]);
	double		quotient;
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (is_zero(right))
		ma_liquid_error(render, "Test it with {% if %} before.", "division by zero");
	if (left.kind == LIQUID_INT && right.kind == LIQUID_INT && right.u.integer != -1)
	{
		int64		result = left.u.integer / right.u.integer;

		if (left.u.integer % right.u.integer != 0 && (left.u.integer < 0) != (right.u.integer < 0))
			result--;
		return ma_liquid_int(result);
	}
	if (is_integer(left) && is_integer(right))
		return ma_liquid_from_numeric(DatumGetNumeric(
			DirectFunctionCall1(numeric_floor,
								DirectFunctionCall2(numeric_div,
											NumericGetDatum(ma_liquid_numeric(left)),
													NumericGetDatum(ma_liquid_numeric(right))))));
	quotient = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												  NumericGetDatum(ma_liquid_numeric(left)))) /
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
										   NumericGetDatum(ma_liquid_numeric(right))));
	if (isnan(quotient) || isinf(quotient))
		ma_liquid_error(render, "Look at the data.", "a number has become too long");
	double_to_shortest_decimal_buf(quotient, text);
	return decimal(numeric_of_text(text, strlen(text)));
}

/* The remainder has the sign of the divisor. */
static LiquidValue
filter_modulo(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue left = ma_liquid_to_number(input);
	LiquidValue right = ma_liquid_to_number(arguments[0]);
	LiquidValue result;

	if (is_zero(right))
		ma_liquid_error(render, "Test it with {% if %} before.", "division by zero");
	result = calculate(render, left, right, numeric_mod);
	if (!is_zero(result) &&
		(ma_liquid_number_compare(result, ma_liquid_int(0)) < 0) !=
		(ma_liquid_number_compare(right, ma_liquid_int(0)) < 0))
		result = calculate(render, result, right, numeric_add);
	return result;
}

static LiquidValue
filter_abs(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = ma_liquid_to_number(input);

	if (ma_liquid_number_compare(value, ma_liquid_int(0)) >= 0)
		return value;
	if (value.kind == LIQUID_INT && value.u.integer != PG_INT64_MIN)
		return ma_liquid_int(-value.u.integer);
	value.u.numeric = DatumGetNumeric(
		DirectFunctionCall1(numeric_abs, NumericGetDatum(ma_liquid_numeric(value))));
	value.kind = LIQUID_NUMERIC;
	return value;
}

/* The integer that `function` makes of a number. */
static LiquidValue
to_integer(LiquidValue value, NumericFunction function)
{
	value = ma_liquid_to_number(value);
	if (value.kind == LIQUID_INT)
		return value;
	return ma_liquid_from_numeric(
		DatumGetNumeric(DirectFunctionCall1(function, NumericGetDatum(value.u.numeric))));
}

static LiquidValue
filter_ceil(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return to_integer(input, numeric_ceil);
}

static LiquidValue
filter_floor(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return to_integer(input, numeric_floor);
}

static LiquidValue
filter_round(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = ma_liquid_to_number(input);
	int64		digits = ma_liquid_int_of(arguments[0]);
	Numeric		rounded;

	if (is_integer(value) && digits >= 0)
		return value;
	digits = Max(Min(digits, 100), -100);
	rounded = DatumGetNumeric(DirectFunctionCall2(numeric_round,
												  NumericGetDatum(ma_liquid_numeric(value)),
												  Int32GetDatum((int32) digits)));
	return digits > 0 ? decimal(rounded) : ma_liquid_from_numeric(rounded);
}

static LiquidValue
filter_at_least(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = ma_liquid_to_number(input);
	LiquidValue least = ma_liquid_to_number(arguments[0]);

	return ma_liquid_number_compare(value, least) < 0 ? least : value;
}

static LiquidValue
filter_at_most(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = ma_liquid_to_number(input);
	LiquidValue most = ma_liquid_to_number(arguments[0]);

	return ma_liquid_number_compare(value, most) > 0 ? most : value;
}

const LiquidFilterType ma_liquid_number_filters[] = {
	{"plus", 1, 1, filter_plus},
	{"minus", 1, 1, filter_minus},
	{"times", 1, 1, filter_times},
	{"divided_by", 1, 1, filter_divided_by},
	{"modulo", 1, 1, filter_modulo},
	{"abs", 0, 0, filter_abs},
	{"ceil", 0, 0, filter_ceil},
	{"floor", 0, 0, filter_floor},
	{"round", 0, 1, filter_round},
	{"at_least", 1, 1, filter_at_least},
	{"at_most", 1, 1, filter_at_most},
	{NULL}
};
