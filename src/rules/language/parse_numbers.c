/*
 * parse_numbers.c
 *		Comparisons of numbers in a rule: aggregates over rows, columns of the
 *		contact, constants, and arithmetic between them.
 */
#include "base/base.h"

#include "rules/rules_internal.h"
#include "utils/builtins.h"

static MaNumber *parse_sum(MaParser *parser);
static MaNumber *parse_product(MaParser *parser);
static MaNumber *parse_factor(MaParser *parser);
static MaNumber *parse_aggregate(MaParser *parser, MaFunction function);
static MaNumber *combine(char operator, MaNumber *left, MaNumber *right);
static void parse_measure(MaParser *parser, int *first, int *end);

/* num cmp num */
MaNode *
ma_parse_comparison(MaParser *parser, int end)
{
	static const char *const operators[] = {"=", "<>", "!=", "<=", ">=", "<", ">"};
	MaNode	   *node = palloc0_object(MaNode);
	int			at;

	node->kind = MA_NODE_COMPARE;
	node->left = parse_sum(parser);
	at = parser->at;
	for (int i = 0; i < lengthof(operators) && node->operator == NULL; i++)
		if (ma_accept_symbol(parser, operators[i]))
			node->operator = pstrdup(i == 2 ? "<>" : operators[i]);
	if (node->operator == NULL)
		ma_parse_failed(parser, at, "a comparison is expected here",
						"Such as >= 3; it stands behind the window.");
	node->right = parse_sum(parser);
	if (parser->at < end)
		ma_parse_failed(parser, parser->at, "AND, OR or the end of the comparison is expected here",
						NULL);
	return node;
}

static MaNumber *
combine(char operator, MaNumber *left, MaNumber *right)
{
	MaNumber   *number = palloc0_object(MaNumber);

	number->kind = MA_NUMBER_OPERATOR;
	number->operator = operator;
	number->left = left;
	number->right = right;
	return number;
}

static MaNumber *
parse_sum(MaParser *parser)
{
	MaNumber   *number = parse_product(parser);

	for (;;)
	{
		if (ma_accept_symbol(parser, "+"))
			number = combine('+', number, parse_product(parser));
		else if (ma_accept_symbol(parser, "-"))
			number = combine('-', number, parse_product(parser));
		else
			return number;
	}
}

static MaNumber *
parse_product(MaParser *parser)
{
	MaNumber   *number = parse_factor(parser);

	for (;;)
	{
		if (ma_accept_symbol(parser, "*"))
			number = combine('*', number, parse_factor(parser));
		else if (ma_accept_symbol(parser, "/"))
			number = combine('/', number, parse_factor(parser));
		else
			return number;
	}
}

MaNumber *
ma_parse_constant(MaParser *parser)
{
	MaNumber   *number = palloc0_object(MaNumber);
	MaToken    *token = ma_token(parser, 0);

	if (token->kind != MA_TOKEN_NUMBER)
		ma_parse_failed(parser, parser->at, "a number is expected here", NULL);
	number->kind = MA_NUMBER_CONSTANT;
	number->text = token->text;
	number->constant = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(token->text),
														   ObjectIdGetDatum(InvalidOid),
														   Int32GetDatum(-1)));
	parser->at++;
	return number;
}

/* ['-'] (NUMBER | agg | score '(' MODEL ')' | COL | '(' num ')') */
static MaNumber *
parse_factor(MaParser *parser)
{
	static const char *const functions[] = {"count", "sum", "avg", "min", "max"};
	MaToken    *token = ma_token(parser, 0);
	MaNumber   *number;
	int			end;

	if (++parser->depth > 64)
		ma_parse_failed(parser, parser->at, "the rule is nested too deeply", NULL);
	if (ma_accept_symbol(parser, "-"))
	{
		number = palloc0_object(MaNumber);
		number->kind = MA_NUMBER_NEGATE;
		number->left = parse_factor(parser);
		parser->depth--;
		return number;
	}
	parser->depth--;
	if (ma_accept_symbol(parser, "("))
	{
		parser->depth++;
		number = parse_sum(parser);
		parser->depth--;
		ma_expect_symbol(parser, ")", "here");
		return number;
	}
	if (token->kind == MA_TOKEN_NUMBER)
		return ma_parse_constant(parser);
	if (ma_is_word(token, "case"))
		ma_parse_failed(parser, parser->at, "CASE holds no aggregates and no scores",
						"It is SQL over columns of the contact; join conditions by AND, OR and NOT.");
	if (token->kind != MA_TOKEN_NAME)
		ma_parse_failed(parser, parser->at, "a number, a column or an aggregate is expected here",
						NULL);
	if (ma_is_symbol(ma_token(parser, 1), "("))
	{
		for (int i = 0; i < lengthof(functions); i++)
			if (ma_is_word(token, functions[i]))
				return parse_aggregate(parser, (MaFunction) i);
		if (ma_is_word(token, "score"))
			return ma_parse_score(parser);
		ma_parse_failed(parser, parser->at,
						psprintf("\"%s\" is not an aggregate", token->text),
						"Use count, sum, avg, min, max or score; other functions are for conditions without aggregates.");
	}
	end = parser->at + (ma_is_symbol(ma_token(parser, 1), ".") ? 3 : 1);
	number = palloc0_object(MaNumber);
	number->kind = MA_NUMBER_COLUMN;
	number->column = ma_attribute(parser, parser->at, end, MA_VALUE_NUMBER);
	parser->at = end;
	return number;
}

/* The tokens of '.' (NAME ['.' NAME] | '(' sql ')'); an empty range if there is none. */
static void
parse_measure(MaParser *parser, int *first, int *end)
{
	*first = *end = parser->at;
	if (!ma_accept_symbol(parser, "."))
		return;
	*first = parser->at;
	if (ma_is_symbol(ma_token(parser, 0), "("))
	{
		ma_parse_brackets(parser, first, end);
		return;
	}
	if (ma_token(parser, 0)->kind != MA_TOKEN_NAME)
		ma_parse_failed(parser, parser->at, "a column is expected after the event", NULL);
	parser->at++;
	if (ma_is_symbol(ma_token(parser, 0), ".") && ma_token(parser, 1)->kind == MA_TOKEN_NAME)
		parser->at += 2;
	*end = parser->at;
}

/* (count | ...) '(' [distinct] EVENT [measure] [where '(' sql ')'] ')' [window] */
static MaNumber *
parse_aggregate(MaParser *parser, MaFunction function)
{
	MaNumber   *number = palloc0_object(MaNumber);
	MaEvent    *event;
	int			where;
	int			where_end;
	int			measure;
	int			measure_end;
	int			start;
	MaToken    *next;
	MaValueType type;

	parser->at += 2;
	number->kind = MA_NUMBER_AGGREGATE;
	number->function = function;
	start = parser->at;
	next = ma_token(parser, 1);
	number->distinct = ma_is_word(ma_token(parser, 0), "distinct") &&
		(next->kind == MA_TOKEN_NAME || next->kind == MA_TOKEN_STRING) &&
		!ma_is_word(next, "where");
	if (number->distinct)
		parser->at++;
	event = ma_parse_event(parser);
	parse_measure(parser, &measure, &measure_end);
	where = where_end = parser->at;
	if (ma_accept_word(parser, "where"))
	{
		if (!ma_is_symbol(ma_token(parser, 0), "("))
			ma_parse_failed(parser, parser->at, "\"(\" is expected after \"where\"",
							"The condition over the row stands in parentheses: where (total > 100).");
		ma_parse_brackets(parser, &where, &where_end);
	}
	ma_expect_symbol(parser, ")", "at the end of the aggregate");
	if (measure == measure_end && (function != MA_FN_COUNT || number->distinct))
		ma_parse_failed(parser, start, "a column is expected after the event",
						psprintf("Such as %s.total, with a column of its rows.",
								 quote_identifier(event->name)));
	type = measure == measure_end ? MA_VALUE_NONE :
		function == MA_FN_COUNT ? MA_VALUE_TEXT : MA_VALUE_NUMBER;
	number->stream = ma_stream(parser, event, where, where_end, measure, measure_end, type);
	number->window = ma_parse_window(parser);
	return number;
}
