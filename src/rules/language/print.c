/*
 * print.c
 *		The canonical text of a rule: parsed again it is the same rule.
 */
#include "base/base.h"

#include "rules/rules_internal.h"
#include "utils/builtins.h"

static int	precedence(const MaNode *node);
static void print_node(StringInfo out, const MaNode *node, int outer);
static void print_list(StringInfo out, const MaNode *node, const char *word);
static void print_atom(StringInfo out, const MaNode *node);
static void print_date(StringInfo out, const MaNode *node);
static bool is_name(const char *text);
static void print_number(StringInfo out, const MaNumber *number, int outer);

char *
ma_rule_text(const MaRule *rule)
{
	return ma_print_node(rule->top);
}

char *
ma_print_node(const MaNode *node)
{
	StringInfoData out;

	initStringInfo(&out);
	print_node(&out, node, 0);
	return out.data;
}

static int
precedence(const MaNode *node)
{
	switch (node->kind)
	{
		case MA_NODE_OR:
			return 1;
		case MA_NODE_AND:
			return 2;
		case MA_NODE_NOT:
			return 3;
		default:
			return 4;
	}
}

static void
print_node(StringInfo out, const MaNode *node, int outer)
{
	bool		wrap = precedence(node) < outer;

	if (wrap)
		appendStringInfoChar(out, '(');
	switch (node->kind)
	{
		case MA_NODE_AND:
			print_list(out, node, " and ");
			break;
		case MA_NODE_OR:
			print_list(out, node, " or ");
			break;
		case MA_NODE_NOT:
			appendStringInfoString(out, "not ");
			print_node(out, linitial(node->children), 3);
			break;
		default:
			print_atom(out, node);
	}
	if (wrap)
		appendStringInfoChar(out, ')');
}

static void
print_list(StringInfo out, const MaNode *node, const char *word)
{
	ListCell   *cell;

	foreach(cell, node->children)
	{
		if (foreach_current_index(cell) > 0)
			appendStringInfoString(out, word);
		print_node(out, lfirst(cell), precedence(node) + 1);
	}
}

static void
print_atom(StringInfo out, const MaNode *node)
{
	char	   *source = node->stream ? ma_print_source(node->stream) : "";

	switch (node->kind)
	{
		case MA_NODE_LEAF:
			appendStringInfoString(out, node->attribute->text);
			break;
		case MA_NODE_RECHECK:
			appendStringInfo(out, "sql (%s) recheck every %s", node->attribute->text,
							 node->to.text);
			break;
		case MA_NODE_DATE:
		case MA_NODE_ANNIVERSARY:
			print_date(out, node);
			break;
		case MA_NODE_EXISTS:
			appendStringInfo(out, "%s %s%s", node->test == MA_TEST_NO ? "no" : "any", source,
							 ma_print_window(node->window));
			if (node->follower != NULL)
				appendStringInfo(out, " %sfollowed by %s within %s",
								 node->not_followed ? "not " : "",
								 ma_print_source(node->follower), node->to.text);
			break;
		case MA_NODE_LAST_ROWS:
			appendStringInfo(out, "%s of last %d %s matching (%s)",
							 node->test == MA_TEST_ANY ? "any" :
							 node->test == MA_TEST_ALL ? "all" : "none",
							 node->count, source, node->stream->measure);
			break;
		case MA_NODE_ENDS:
			appendStringInfo(out, "%s %s ", node->last ? "last" : "first", source);
			if (node->test == MA_TEST_MATCHING)
				appendStringInfo(out, "matching (%s)", node->stream->measure);
			else if (node->test == MA_TEST_BETWEEN)
				appendStringInfo(out, "between %s and %s ago", node->from.text, node->to.text);
			else
				appendStringInfo(out, "%s than %s ago",
								 node->test == MA_TEST_MORE ? "more" : "less", node->to.text);
			break;
		case MA_NODE_OVERDUE:
			appendStringInfo(out, "overdue %s by %s", source, node->left->text);
			break;
		case MA_NODE_FACT:
		case MA_NODE_SEGMENT:
			appendStringInfo(out, "%s%s %s",
							 strcmp(node->fact->word, "segment") == 0 ||
							 strcmp(node->fact->word, "list") == 0 ? "in " : "",
							 node->fact->word, quote_identifier(node->name));
			if (node->by != NULL)
				appendStringInfo(out, " by %s", quote_identifier(node->by));
			break;
		case MA_NODE_COMPARE:
			print_number(out, node->left, 0);
			appendStringInfo(out, " %s ", node->operator);
			print_number(out, node->right, 0);
			break;
		default:
			/* And, or and not are printed by the caller. */
			elog(ERROR, "cannot happen: kind %d of an atom", (int) node->kind);
	}
}

static void
print_date(StringInfo out, const MaNode *node)
{
	static const char *const periods[] = {"today", "this week", "this month"};
	const char *column = node->attribute->text;

	if (node->kind == MA_NODE_ANNIVERSARY)
		appendStringInfo(out, "anniversary(%s) is %s%s", column,
						 node->test == MA_TEST_NEXT ? "within " : "today",
						 node->test == MA_TEST_NEXT ? node->to.text : "");
	else if (node->test == MA_TEST_PERIOD)
		appendStringInfo(out, "%s is %s", column, periods[node->period]);
	else if (node->test == MA_TEST_NEXT)
		appendStringInfo(out, "%s within next %s", column, node->to.text);
	else
		appendStringInfo(out, "%s %s than %s ago", column,
						 node->test == MA_TEST_MORE ? "more" : "less", node->to.text);
}

char *
ma_print_source(const MaStream *stream)
{
	const char *name = quote_identifier(stream->event->name);

	return stream->where ? psprintf("%s where (%s)", name, stream->where) : pstrdup(name);
}

char *
ma_print_number(const MaNumber *number)
{
	StringInfoData out;

	initStringInfo(&out);
	print_number(&out, number, 0);
	return out.data;
}

/* outer: 0 none, 1 a sum's left, 2 its right or a product's left, 3 a product's right or a sign. */
static void
print_number(StringInfo out, const MaNumber *number, int outer)
{
	bool		product = number->operator == '*' || number->operator == '/';
	bool		wrap;

	switch (number->kind)
	{
		case MA_NUMBER_CONSTANT:
			appendStringInfoString(out, number->text);
			break;
		case MA_NUMBER_COLUMN:
			appendStringInfoString(out, number->column->text);
			break;
		case MA_NUMBER_SCORE:
			appendStringInfo(out, "score(%s)", quote_identifier(number->text));
			break;
		case MA_NUMBER_AGGREGATE:
			appendStringInfo(out, "%s%s", ma_print_aggregate(number),
							 ma_print_window(number->window));
			break;
		case MA_NUMBER_NEGATE:
			appendStringInfoString(out, outer > 0 ? "(- " : "- ");
			print_number(out, number->left, 3);
			if (outer > 0)
				appendStringInfoChar(out, ')');
			break;
		case MA_NUMBER_OPERATOR:
			wrap = product ? outer > 2 : outer > 1;
			if (wrap)
				appendStringInfoChar(out, '(');
			print_number(out, number->left, product ? 2 : 1);
			appendStringInfo(out, " %c ", number->operator);
			print_number(out, number->right, product ? 3 : 2);
			if (wrap)
				appendStringInfoChar(out, ')');
			break;
	}
}

/* A name that needs no quotes, or two with a dot between. */
static bool
is_name(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz_0123456789";
	const char *rest = text + strspn(text, letters);

	if (rest == text || isdigit((unsigned char) *text))
		return false;
	if (*rest == '.' && strspn(rest + 1, letters) > 0 && !isdigit((unsigned char) rest[1]))
		rest += 1 + strspn(rest + 1, letters);
	return *rest == '\0';
}

/* The aggregate without its window. */
char *
ma_print_aggregate(const MaNumber *number)
{
	static const char *const functions[] = {"count", "sum", "avg", "min", "max"};
	StringInfoData out;
	const MaStream *stream = number->stream;

	initStringInfo(&out);
	appendStringInfo(&out, "%s(%s%s", functions[number->function],
					 number->distinct ? "distinct " : "", quote_identifier(stream->event->name));
	if (stream->measure != NULL)
		appendStringInfo(&out, is_name(stream->measure) ? ".%s" : ".(%s)", stream->measure);
	if (stream->where != NULL)
		appendStringInfo(&out, " where (%s)", stream->where);
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* The instant so that no setting matters when it is read again. */
char *
ma_instant_text(TimestampTz at)
{
	int			nest_level = ma_pin_time_zone("UTC");
	char	   *text = DatumGetCString(DirectFunctionCall1(timestamptz_out,
														   TimestampTzGetDatum(at)));

	ma_unpin_settings(nest_level);
	return text;
}

char *
ma_print_instant(TimestampTz at)
{
	return quote_literal_cstr(ma_instant_text(at));
}

/* With a blank before it; empty for all time. */
char *
ma_print_window(const MaWindow *window)
{
	static const char *const periods[] = {"day", "week", "month", "quarter", "year"};

	switch (window->kind)
	{
		case MA_WINDOW_EVER:
			return "";
		case MA_WINDOW_IN:
			return psprintf(" in %s", window->to.text);
		case MA_WINDOW_BETWEEN:
			return psprintf(" between %s and %s ago", window->from.text, window->to.text);
		case MA_WINDOW_SINCE:
			return psprintf(" since %s", ma_print_instant(window->since));
		case MA_WINDOW_SINCE_COLUMN:
			return psprintf(" since %s", window->column->text);
		case MA_WINDOW_CALENDAR:
			if (window->period == MA_PERIOD_DAY)
				return window->last ? " yesterday" : " today";
			return psprintf(" %s %s", window->last ? "last" : "this", periods[window->period]);
	}
	return "";
}
