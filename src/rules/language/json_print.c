/*
 * json_print.c
 *		A rule as JSON, for programs that build or show rules: one object for each
 *		atom, whose first key says which it is.  doc/rules.md has the list.
 */
#include "base/base.h"

#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

typedef JsonbParseState *State;

static void put_node(State *state, const MaNode *node);
static void put_list(State *state, const char *key, const MaNode *node);
static void put_fact(State *state, const MaNode *node);
static void put_exists(State *state, const MaNode *node);
static void put_date(State *state, const MaNode *node);
static void put_ends(State *state, const MaNode *node);
static void put_source(State *state, const char *key, const MaStream *stream);
static void put_window(State *state, const MaWindow *window);
static void put_number(State *state, const MaNumber *number);
static void put_aggregate(State *state, const MaNumber *number);

/* ---- values ---- */

static void
begin(State *state)
{
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
}

static JsonbValue *
end(State *state)
{
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_text(State *state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

static void
push_numeric(State *state, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = number;
	(void) pushJsonbValue(state, token, &value);
}

static void
put_key(State *state, const char *key)
{
	push_text(state, WJB_KEY, key);
}

static void
put_text(State *state, const char *key, const char *text)
{
	put_key(state, key);
	push_text(state, WJB_VALUE, text);
}

/* An array of two durations. */
static void
put_durations(State *state, const char *key, const MaDuration *from, const MaDuration *to)
{
	put_key(state, key);
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	push_text(state, WJB_ELEM, from->text);
	push_text(state, WJB_ELEM, to->text);
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* ---- conditions ---- */

Datum
ma_rule_json(const MaRule *rule)
{
	State		state = NULL;

	begin(&state);
	put_node(&state, rule->top);
	return JsonbPGetDatum(JsonbValueToJsonb(end(&state)));
}

/* The members of the node's object. */
static void
put_node(State *state, const MaNode *node)
{
	switch (node->kind)
	{
		case MA_NODE_AND:
			put_list(state, "and", node);
			break;
		case MA_NODE_OR:
			put_list(state, "or", node);
			break;
		case MA_NODE_NOT:
			put_key(state, "not");
			begin(state);
			put_node(state, linitial(node->children));
			(void) end(state);
			break;
		case MA_NODE_LEAF:
			put_text(state, "condition", node->attribute->text);
			break;
		case MA_NODE_RECHECK:
			put_text(state, "sql", node->attribute->text);
			put_text(state, "recheck", node->to.text);
			break;
		case MA_NODE_DATE:
		case MA_NODE_ANNIVERSARY:
			put_date(state, node);
			break;
		case MA_NODE_EXISTS:
			put_exists(state, node);
			break;
		case MA_NODE_LAST_ROWS:
			put_key(state, node->test == MA_TEST_ANY ? "any_of_last" :
					node->test == MA_TEST_ALL ? "all_of_last" : "none_of_last");
			push_numeric(state, WJB_VALUE, int64_to_numeric(node->count));
			put_source(state, "rows", node->stream);
			put_text(state, "matching", node->stream->measure);
			break;
		case MA_NODE_ENDS:
			put_ends(state, node);
			break;
		case MA_NODE_OVERDUE:
			put_source(state, "overdue", node->stream);
			put_key(state, "by");
			push_numeric(state, WJB_VALUE, node->left->constant);
			break;
		case MA_NODE_FACT:
		case MA_NODE_SEGMENT:
			put_fact(state, node);
			break;
		case MA_NODE_COMPARE:
			put_key(state, "compare");
			put_number(state, node->left);
			put_text(state, "is", node->operator);
			put_key(state, "to");
			put_number(state, node->right);
			break;
	}
}

static void
put_list(State *state, const char *key, const MaNode *node)
{
	ListCell   *cell;

	put_key(state, key);
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, node->children)
	{
		begin(state);
		put_node(state, lfirst(cell));
		(void) end(state);
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* in segment, in list, subscribed ... */
static void
put_fact(State *state, const MaNode *node)
{
	const char *word = node->fact->word;

	put_text(state, strcmp(word, "segment") == 0 ? "in_segment" :
			 strcmp(word, "list") == 0 ? "in_list" : word, node->name);
	if (node->by != NULL)
		put_text(state, "by", node->by);
}

static void
put_exists(State *state, const MaNode *node)
{
	put_source(state, node->test == MA_TEST_NO ? "no" : "any", node->stream);
	put_window(state, node->window);
	if (node->follower == NULL)
		return;
	put_source(state, node->not_followed ? "not_followed_by" : "followed_by", node->follower);
	put_text(state, "within", node->to.text);
}

static void
put_ends(State *state, const MaNode *node)
{
	put_source(state, node->last ? "last" : "first", node->stream);
	if (node->test == MA_TEST_MATCHING)
		put_text(state, "matching", node->stream->measure);
	else if (node->test == MA_TEST_BETWEEN)
		put_durations(state, "between", &node->from, &node->to);
	else
		put_text(state, node->test == MA_TEST_MORE ? "more_than" : "less_than", node->to.text);
}

static void
put_date(State *state, const MaNode *node)
{
	static const char *const periods[] = {"today", "this week", "this month"};

	put_text(state, node->kind == MA_NODE_DATE ? "date" : "anniversary", node->attribute->text);
	if (node->test == MA_TEST_PERIOD)
		put_text(state, "is", periods[node->period]);
	else if (node->test == MA_TEST_NEXT)
		put_text(state, "within", node->to.text);
	else
		put_text(state, node->test == MA_TEST_MORE ? "more_than" : "less_than", node->to.text);
}

/* The name of the event, or an object if there is a condition. */
static void
put_source(State *state, const char *key, const MaStream *stream)
{
	put_key(state, key);
	if (stream->where == NULL)
	{
		push_text(state, WJB_VALUE, stream->event->name);
		return;
	}
	begin(state);
	put_text(state, "event", stream->event->name);
	put_text(state, "where", stream->where);
	(void) end(state);
}

static void
put_window(State *state, const MaWindow *window)
{
	if (window->kind == MA_WINDOW_EVER)
		return;
	if (window->kind == MA_WINDOW_CALENDAR)
	{
		put_text(state, "window", ma_print_window(window) + 1);
		return;
	}
	put_key(state, "window");
	begin(state);
	if (window->kind == MA_WINDOW_IN)
		put_text(state, "in", window->to.text);
	else if (window->kind == MA_WINDOW_BETWEEN)
		put_durations(state, "between", &window->from, &window->to);
	else if (window->kind == MA_WINDOW_SINCE)
		put_text(state, "since", ma_instant_text(window->since));
	else
		put_text(state, "since_column", window->column->text);
	(void) end(state);
}

/* ---- numbers ---- */

static void
put_number(State *state, const MaNumber *number)
{
	if (number->kind == MA_NUMBER_CONSTANT)
	{
		push_numeric(state, WJB_VALUE, number->constant);
		return;
	}
	begin(state);
	switch (number->kind)
	{
		case MA_NUMBER_COLUMN:
			put_text(state, "column", number->column->text);
			break;
		case MA_NUMBER_SCORE:
			put_text(state, "score", number->text);
			break;
		case MA_NUMBER_AGGREGATE:
			put_aggregate(state, number);
			break;
		case MA_NUMBER_NEGATE:
			put_key(state, "negative");
			put_number(state, number->left);
			break;
		default:
			put_key(state, psprintf("%c", number->operator));
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			for (int i = 0; i < 2; i++)
			{
				const MaNumber *part = i == 0 ? number->left : number->right;

				if (part->kind == MA_NUMBER_CONSTANT)
					push_numeric(state, WJB_ELEM, part->constant);
				else
					put_number(state, part);
			}
			(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	(void) end(state);
}

static void
put_aggregate(State *state, const MaNumber *number)
{
	static const char *const functions[] = {"count", "sum", "avg", "min", "max"};
	JsonbValue	yes = {.type = jbvBool};

	put_source(state, functions[number->function], number->stream);
	if (number->stream->measure != NULL)
		put_text(state, "of", number->stream->measure);
	if (number->distinct)
	{
		yes.val.boolean = true;
		put_key(state, "distinct");
		(void) pushJsonbValue(state, WJB_VALUE, &yes);
	}
	put_window(state, number->window);
}
