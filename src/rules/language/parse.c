/*
 * parse.c
 *		The rule language: recursive descent over the tokens, one function per line of
 *		the grammar.  Here the skeleton (and, or, not, parentheses), words that stand in
 *		several places, and windows; atoms are in parse_atoms.c, numbers in
 *		parse_numbers.c, SQL leaves in columns.c.
 *
 * A name that must exist is looked up while parsing, so that the error has its place.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define MAX_DEPTH 64
#define MAX_DURATION_YEARS 1000

static const char *from_json(const char *text, const char *what);
static MaNode *parse_and(MaParser *parser);
static MaNode *parse_not(MaParser *parser);
static bool opens_expression(MaParser *parser);
static bool parse_calendar(MaParser *parser, MaWindow *window);
static void parse_since(MaParser *parser, MaWindow *window);
static bool parse_period(MaParser *parser, MaPeriod *period);

MaRule *
ma_rule_parse(const char *text, const MaRuleScope *scope, Oid definer)
{
	MaParser	parser = {0};
	MaRule	   *rule = palloc0_object(MaRule);
	MaToken    *rest;

	rule->what = pstrdup(scope->what);
	rule->entry_event = unconstify(MaEvent *, scope->entry_event);
	rule->time_zone = pstrdup(scope->time_zone ? scope->time_zone :
							  pg_get_timezone_name(session_timezone));
	rule->zone = ma_zone(rule->time_zone);
	if (rule->zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", rule->time_zone)));
	rule->sync = rule->plain = true;
	if (text[strspn(text, " \t\r\n")] == '{')
		text = from_json(text, scope->what);
	parser.text = text;
	parser.tokens = ma_rule_tokens(text, &parser.ntokens);
	parser.rule = rule;
	parser.definitions = ma_definitions();
	parser.definer = definer;
	parser.what = scope->what;
	parser.search_path = scope->search_path;
	if (ma_token(&parser, 0)->kind == MA_TOKEN_END)
		ma_parse_failed(&parser, 0, "the rule is empty", ma_rule_example("no", "in 30 days"));
	rule->top = ma_parse_expression(&parser);
	rest = ma_token(&parser, 0);
	if (rest->kind != MA_TOKEN_END)
		ma_parse_failed(&parser, parser.at,
						psprintf("\"%.*s\" is not expected here", rest->end - rest->start,
								 text + rest->start),
						"Conditions are joined by AND and OR.");
	return rule;
}

char *
ma_rule_example(const char *before, const char *after)
{
	char	   *event = ma_event_example();

	return event ? psprintf("For example: %s %s %s.", before, event, after) : NULL;
}

/* The text of a rule that is given as JSON. */
static const char *
from_json(const char *text, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		json = (Datum) 0;

	PG_TRY();
	{
		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	}
	PG_CATCH();
	{
		ma_rule_failed(what, context);
	}
	PG_END_TRY();
	return ma_rule_from_json(DatumGetJsonbP(json), what);
}

/* ---- tokens ---- */

/* A token further on; the last one stands for all behind it. */
MaToken *
ma_token(MaParser *parser, int ahead)
{
	return &parser->tokens[Min(parser->at + ahead, parser->ntokens - 1)];
}

bool
ma_is_word(const MaToken *token, const char *word)
{
	return token->kind == MA_TOKEN_NAME && !token->quoted && strcmp(token->text, word) == 0;
}

bool
ma_is_symbol(const MaToken *token, const char *symbol)
{
	return token->kind == MA_TOKEN_SYMBOL && strcmp(token->text, symbol) == 0;
}

bool
ma_accept_word(MaParser *parser, const char *word)
{
	if (!ma_is_word(ma_token(parser, 0), word))
		return false;
	parser->at++;
	return true;
}

bool
ma_accept_symbol(MaParser *parser, const char *symbol)
{
	if (!ma_is_symbol(ma_token(parser, 0), symbol))
		return false;
	parser->at++;
	return true;
}

void
ma_expect_word(MaParser *parser, const char *word, const char *what)
{
	if (!ma_accept_word(parser, word))
		ma_parse_failed(parser, parser->at, psprintf("\"%s\" is expected %s", word, what), NULL);
}

void
ma_expect_symbol(MaParser *parser, const char *symbol, const char *what)
{
	if (!ma_accept_symbol(parser, symbol))
		ma_parse_failed(parser, parser->at, psprintf("\"%s\" is expected %s", symbol, what), NULL);
}

/* An error at a token. */
void
ma_parse_failed(MaParser *parser, int at, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_INVALID_RULE),
			 errmsg("%s: %s", parser->what, message),
			 hint ? errhint("%s", hint) : 0,
			 ma_rule_place(parser->text, parser->tokens[Min(at, parser->ntokens - 1)].start)));
}

/* A name of something of ours: a word, a quoted name or a string. */
char *
ma_parse_name(MaParser *parser, const char *what)
{
	MaToken    *token = ma_token(parser, 0);

	if (token->kind != MA_TOKEN_NAME && token->kind != MA_TOKEN_STRING)
		ma_parse_failed(parser, parser->at, psprintf("the name of %s is expected", what), NULL);
	parser->at++;
	return token->text;
}

/* An event that is known; of our own ones, one whose rows can be read. */
MaEvent *
ma_parse_event(MaParser *parser)
{
	MaToken    *token = ma_token(parser, 0);
	char	   *name = ma_parse_name(parser, "an event");
	MaEvent    *event = ma_event_by_name(parser->definitions, name);
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	if (ma_builtin_rows(name) != NULL && !ma_builtin_rows(name)->points_only)
		return ma_builtin_event(parser->definitions, name);
	if (ma_builtin_columns(name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: built-in event \"%s\" is not available in rules yet", parser->what,
						name),
				 ma_rule_place(parser->text, token->start)));
	if (event != NULL)
		return event;
	foreach(cell, parser->definitions->events)
		names = lappend(names, ((MaEvent *) lfirst(cell))->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_EVENT),
			 errmsg("%s: there is no event \"%s\"", parser->what, name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Events are known when attached, declared with declare_event(), or seen once."),
			 ma_rule_place(parser->text, token->start)));
}

/* The token that closes the parenthesis at token `open`. */
int
ma_match_parenthesis(MaParser *parser, int open)
{
	int			depth = 0;

	for (int i = open; i < parser->ntokens; i++)
	{
		if (ma_is_symbol(&parser->tokens[i], "("))
			depth++;
		else if (ma_is_symbol(&parser->tokens[i], ")") && --depth == 0)
			return i;
	}
	ma_parse_failed(parser, open, "this parenthesis is not closed", NULL);
}

/* The tokens between the parenthesis that is next and its match, which are passed. */
void
ma_parse_brackets(MaParser *parser, int *first, int *end)
{
	*first = parser->at + 1;
	*end = ma_match_parenthesis(parser, parser->at);
	/* An empty range would say that there is no expression at all. */
	if (*first == *end)
		ma_parse_failed(parser, *end, "an SQL expression is expected here", NULL);
	parser->at = *end + 1;
}

/* ---- and, or, not ---- */

MaNode *
ma_parse_expression(MaParser *parser)
{
	MaNode	   *first = parse_and(parser);
	MaNode	   *node;

	if (!ma_is_word(ma_token(parser, 0), "or"))
		return first;
	node = palloc0_object(MaNode);
	node->kind = MA_NODE_OR;
	node->children = list_make1(first);
	while (ma_accept_word(parser, "or"))
		node->children = lappend(node->children, parse_and(parser));
	return node;
}

static MaNode *
parse_and(MaParser *parser)
{
	MaNode	   *first = parse_not(parser);
	MaNode	   *node;

	if (!ma_is_word(ma_token(parser, 0), "and"))
		return first;
	node = palloc0_object(MaNode);
	node->kind = MA_NODE_AND;
	node->children = list_make1(first);
	while (ma_accept_word(parser, "and"))
		node->children = lappend(node->children, parse_not(parser));
	return node;
}

static MaNode *
parse_not(MaParser *parser)
{
	MaNode	   *node;

	check_stack_depth();
	if (++parser->depth > MAX_DEPTH)
		ma_parse_failed(parser, parser->at, "the rule is nested too deeply", NULL);
	if (ma_accept_word(parser, "not"))
	{
		node = palloc0_object(MaNode);
		node->kind = MA_NODE_NOT;
		node->children = list_make1(parse_not(parser));
	}
	else if (ma_is_symbol(ma_token(parser, 0), "(") && opens_expression(parser))
	{
		parser->at++;
		node = ma_parse_expression(parser);
		ma_expect_symbol(parser, ")", "here");
	}
	else
		node = ma_parse_atom(parser);
	parser->depth--;
	return node;
}

/* A parenthesis groups conditions only if nothing of an SQL expression follows its match. */
static bool
opens_expression(MaParser *parser)
{
	int			close = ma_match_parenthesis(parser, parser->at);
	MaToken    *next = &parser->tokens[close + 1];

	return next->kind == MA_TOKEN_END || ma_is_symbol(next, ")") ||
		ma_is_word(next, "and") || ma_is_word(next, "or");
}

/* ---- durations and windows ---- */

MaDuration
ma_parse_duration(MaParser *parser)
{
	static const struct
	{
		const char *word;
		int			months;
		int64		usecs;
	}			units[] = {
		{"second", 0, USECS_PER_SEC}, {"minute", 0, USECS_PER_MINUTE}, {"hour", 0, USECS_PER_HOUR},
		{"day", 0, USECS_PER_DAY}, {"week", 0, 7 * USECS_PER_DAY}, {"month", 1, 0}, {"year", 12, 0},
	};
	MaToken    *number = ma_token(parser, 0);
	MaToken    *unit = ma_token(parser, 1);
	MaDuration	duration = {0, 0, NULL};
	int			n;

	if (number->kind != MA_TOKEN_NUMBER ||
		strspn(number->text, "0123456789") != strlen(number->text) || strlen(number->text) > 9)
		ma_parse_failed(parser, parser->at, "a duration is expected", "For example 30 days.");
	n = pg_strtoint32(number->text);
	for (int i = 0; i < lengthof(units) && unit->kind == MA_TOKEN_NAME; i++)
	{
		int64		span = units[i].months * 31 * USECS_PER_DAY + units[i].usecs;

		if (strcmp(unit->text, units[i].word) != 0 &&
			strcmp(unit->text, psprintf("%ss", units[i].word)) != 0)
			continue;
		if (n == 0 || n > (int64) MAX_DURATION_YEARS * 366 * USECS_PER_DAY / span)
			ma_parse_failed(parser, parser->at,
							psprintf("a duration is more than zero and at most %d years",
									 MAX_DURATION_YEARS), NULL);
		duration.months = n * units[i].months;
		duration.usecs = n * units[i].usecs;
		duration.text = psprintf("%d %s%s", n, units[i].word, n == 1 ? "" : "s");
		parser->at += 2;
		return duration;
	}
	ma_parse_failed(parser, parser->at + 1, "a unit of time is expected",
					ma_is_word(unit, "and") ?
					"Each of two times has its unit; a figure between two: >= 3 and, again, <= 5." :
					"Use seconds, minutes, hours, days, weeks, months or years.");
}

/* The window behind an event; MA_WINDOW_EVER if there is none. */
MaWindow *
ma_parse_window(MaParser *parser)
{
	MaWindow   *window = palloc0_object(MaWindow);

	if (ma_is_word(ma_token(parser, 0), "in") || ma_is_word(ma_token(parser, 0), "over"))
	{
		parser->at++;
		if (ma_accept_word(parser, "the"))
			ma_expect_word(parser, "last", "after \"the\"");
		window->kind = MA_WINDOW_IN;
		window->to = ma_parse_duration(parser);
	}
	else if (ma_accept_word(parser, "between"))
	{
		window->kind = MA_WINDOW_BETWEEN;
		window->from = ma_parse_duration(parser);
		ma_expect_word(parser, "and", "between two durations");
		window->to = ma_parse_duration(parser);
		ma_expect_word(parser, "ago", "after two durations");
	}
	else if (ma_accept_word(parser, "since"))
		parse_since(parser, window);
	else
		(void) parse_calendar(parser, window);
	return window;
}

/* since 'timestamp', or since a date column of the contact. */
static void
parse_since(MaParser *parser, MaWindow *window)
{
	MaToken    *token = ma_token(parser, 0);
	int			end = parser->at + 1;
	int			nest_level;

	if (token->kind == MA_TOKEN_STRING)
	{
		if (strpbrk(token->text, "0123456789") == NULL)
			ma_parse_failed(parser, parser->at, "a date or time is expected", NULL);
		nest_level = ma_pin_time_zone(parser->rule->time_zone);
		window->kind = MA_WINDOW_SINCE;
		window->since = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																CStringGetDatum(token->text),
																ObjectIdGetDatum(InvalidOid),
																Int32GetDatum(-1)));
		ma_unpin_settings(nest_level);
		parser->at++;
		return;
	}
	if (token->kind != MA_TOKEN_NAME)
		ma_parse_failed(parser, parser->at, "a time or a date column is expected after \"since\"",
						"For example since '2026-01-01', or since created_at.");
	if (ma_is_symbol(ma_token(parser, 1), "."))
		end += 2;
	window->kind = MA_WINDOW_SINCE_COLUMN;
	window->column = ma_date_column(parser, parser->at, end);
	parser->at = end;
}

/* today, yesterday, this or last week, month, quarter, year. */
static bool
parse_calendar(MaParser *parser, MaWindow *window)
{
	MaToken    *token = ma_token(parser, 0);
	bool		last = ma_is_word(token, "last") || ma_is_word(token, "yesterday");

	if (ma_is_word(token, "today") || ma_is_word(token, "yesterday"))
	{
		parser->at++;
		window->period = MA_PERIOD_DAY;
	}
	else if (ma_is_word(token, "this") || ma_is_word(token, "last"))
	{
		parser->at++;
		if (!parse_period(parser, &window->period))
			ma_parse_failed(parser, parser->at, "week, month, quarter or year is expected", NULL);
	}
	else
		return false;
	window->kind = MA_WINDOW_CALENDAR;
	window->last = last;
	return true;
}

static bool
parse_period(MaParser *parser, MaPeriod *period)
{
	static const char *const words[] = {"day", "week", "month", "quarter", "year"};

	for (int i = 1; i < lengthof(words); i++)
		if (ma_accept_word(parser, words[i]))
		{
			*period = (MaPeriod) i;
			return true;
		}
	return false;
}
