/*
 * parse_atoms.c
 *		Atoms of the rule language: what stands between AND, OR and NOT.
 *
 * The first word of an atom is a keyword only when a name or string follows, so
 * that columns may be called what they like: `last` alone is a column, `last
 * order_placed` is not.  What is no keyword's atom is a run of tokens, read as a
 * date condition, a comparison of numbers or one SQL boolean.
 */
#include "base/base.h"

#include "miscadmin.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"

#define MAX_SEGMENTS 256		/* that a name may stand for, through those it names */

static bool is_keyword(MaParser *parser, const char *word);
static MaNode *parse_exists(MaParser *parser, MaTest test);
static MaNode *parse_last_rows(MaParser *parser, MaTest test);
static MaNode *parse_ends(MaParser *parser, bool last);
static MaNode *parse_overdue(MaParser *parser);
static bool find_fact(MaParser *parser, const MaNode *node, List **candidates);
static MaNode *parse_fact(MaParser *parser, const char *word);
static MaRule *parse_segment(MaParser *parser, int place, const char *text,
							 const MaRuleScope *scope);
static MaNode *parse_anniversary(MaParser *parser);
static MaNode *parse_date(MaParser *parser);
static int	column_length(MaParser *parser);
static int	end_of_run(MaParser *parser);
static bool holds_aggregate(MaParser *parser, int end);
static MaStream *parse_matching(MaParser *parser, MaEvent *event, int where, int where_end);
static MaEvent *parse_event(MaParser *parser, int *where, int *where_end);
static void refuse_later(MaParser *parser, const char *atom) pg_attribute_noreturn();

MaNode *
ma_parse_atom(MaParser *parser)
{
	static const struct
	{
		const char *word;
		MaTest		test;
	}			existence[] = {{"any", MA_TEST_ANY}, {"no", MA_TEST_NO}, {"none", MA_TEST_NO},
	{"all", MA_TEST_ALL}};
	MaToken    *first = ma_token(parser, 0);
	MaToken    *second = ma_token(parser, 1);

	for (int i = 0; i < lengthof(existence); i++)
	{
		if (!is_keyword(parser, existence[i].word))
			continue;
		if (ma_is_word(second, "of") && ma_is_word(ma_token(parser, 2), "last"))
			return parse_last_rows(parser, existence[i].test);
		if (i < 2)
			return parse_exists(parser, existence[i].test);
	}
	if (is_keyword(parser, "first") || is_keyword(parser, "last"))
		return parse_ends(parser, ma_is_word(first, "last"));
	if (is_keyword(parser, "overdue"))
		return parse_overdue(parser);
	if (ma_is_word(first, "in") && (ma_is_word(second, "segment") || ma_is_word(second, "list")))
	{
		parser->at++;
		return parse_fact(parser, second->text);
	}
	if (is_keyword(parser, "subscribed") || is_keyword(parser, "stage"))
		return parse_fact(parser, first->text);
	if (ma_is_word(first, "anniversary") && ma_is_symbol(second, "("))
		return parse_anniversary(parser);
	if (is_keyword(parser, "distinct"))
		ma_parse_failed(parser, parser->at, "distinct stands within the brackets",
						"For example count(distinct visited.page).");
	if (ma_is_word(first, "sql") && ma_is_symbol(second, "("))
		return ma_parse_recheck(parser);
	return ma_parse_run(parser);
}

/* What the grammar has and this version has not. */
static void
refuse_later(MaParser *parser, const char *atom)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s: \"%s\" is not available yet", parser->what, atom),
			 ma_rule_place(parser->text, ma_token(parser, 0)->start)));
}

/* The word begins an atom: a name or string follows that does not go on as SQL. */
static bool
is_keyword(MaParser *parser, const char *word)
{
	static const char *const others[] = {"is", "in", "like", "between", "not", "and", "or",
	"ilike", "similar", "isnull", "notnull", "collate", "at"};
	MaToken    *next = ma_token(parser, 1);

	if (!ma_is_word(ma_token(parser, 0), word) ||
		(next->kind != MA_TOKEN_NAME && next->kind != MA_TOKEN_STRING))
		return false;
	for (int i = 0; i < lengthof(others); i++)
		if (ma_is_word(next, others[i]))
			return false;
	return true;
}

/* ---- events ---- */

/* The name of an event and the tokens of its condition; an empty range if it has none. */
static MaEvent *
parse_event(MaParser *parser, int *where, int *where_end)
{
	MaEvent    *event = ma_parse_event(parser);

	*where = *where_end = parser->at;
	if (ma_accept_word(parser, "where"))
	{
		if (!ma_is_symbol(ma_token(parser, 0), "("))
			ma_parse_failed(parser, parser->at, "\"(\" is expected after \"where\"",
							"The condition over the row stands in parentheses: where (total > 100).");
		ma_parse_brackets(parser, where, where_end);
	}
	return event;
}

MaStream *
ma_parse_source(MaParser *parser)
{
	int			where;
	int			end;
	MaEvent    *event = parse_event(parser, &where, &end);

	return ma_stream(parser, event, where, end, 0, 0, MA_VALUE_NONE);
}

/* matching ( sql ) */
static MaStream *
parse_matching(MaParser *parser, MaEvent *event, int where, int where_end)
{
	int			first;
	int			end;

	ma_expect_word(parser, "matching", "here");
	if (!ma_is_symbol(ma_token(parser, 0), "("))
		ma_parse_failed(parser, parser->at, "\"(\" is expected after \"matching\"", NULL);
	ma_parse_brackets(parser, &first, &end);
	return ma_stream(parser, event, where, where_end, first, end, MA_VALUE_BOOL);
}

/* (any | no) SRC [window] [[not] followed by SRC within DUR] */
static MaNode *
parse_exists(MaParser *parser, MaTest test)
{
	MaNode	   *node = palloc0_object(MaNode);

	parser->at++;
	node->kind = MA_NODE_EXISTS;
	node->test = test;
	node->stream = ma_parse_source(parser);
	node->window = ma_parse_window(parser);
	node->not_followed = ma_is_word(ma_token(parser, 0), "not") &&
		ma_is_word(ma_token(parser, 1), "followed");
	if (node->not_followed)
		parser->at++;
	if (ma_accept_word(parser, "followed"))
	{
		ma_expect_word(parser, "by", "after \"followed\"");
		node->follower = ma_parse_source(parser);
		ma_expect_word(parser, "within", "after the event that follows");
		node->to = ma_parse_duration(parser);
	}
	return node;
}

/* (any | none | all) of last N SRC matching ( sql ) */
static MaNode *
parse_last_rows(MaParser *parser, MaTest test)
{
	MaNode	   *node = palloc0_object(MaNode);
	MaToken    *number;
	MaEvent    *event;
	int			where;
	int			end;

	parser->at += 3;
	number = ma_token(parser, 0);
	if (number->kind != MA_TOKEN_NUMBER || strlen(number->text) > 4 ||
		strspn(number->text, "0123456789") != strlen(number->text) ||
		pg_strtoint32(number->text) == 0)
		ma_parse_failed(parser, parser->at, "a number of rows from 1 to 9999 is expected", NULL);
	parser->at++;
	node->kind = MA_NODE_LAST_ROWS;
	node->test = test;
	node->count = pg_strtoint32(number->text);
	event = parse_event(parser, &where, &end);
	node->stream = parse_matching(parser, event, where, end);
	return node;
}

/* (first | last) SRC (more than D ago | less than D ago | between D and D ago | matching) */
static MaNode *
parse_ends(MaParser *parser, bool last)
{
	MaNode	   *node = palloc0_object(MaNode);
	MaEvent    *event;
	int			where;
	int			end;

	parser->at++;
	node->kind = MA_NODE_ENDS;
	node->last = last;
	event = parse_event(parser, &where, &end);
	if (ma_is_word(ma_token(parser, 0), "matching"))
	{
		node->test = MA_TEST_MATCHING;
		node->stream = parse_matching(parser, event, where, end);
		return node;
	}
	node->stream = ma_stream(parser, event, where, end, 0, 0, MA_VALUE_NONE);
	if (ma_accept_word(parser, "between"))
	{
		node->test = MA_TEST_BETWEEN;
		node->from = ma_parse_duration(parser);
		ma_expect_word(parser, "and", "between two durations");
	}
	else if (ma_is_word(ma_token(parser, 0), "more") || ma_is_word(ma_token(parser, 0), "less"))
	{
		node->test = ma_is_word(ma_token(parser, 0), "more") ? MA_TEST_MORE : MA_TEST_LESS;
		parser->at++;
		ma_expect_word(parser, "than", "here");
	}
	else
		ma_parse_failed(parser, parser->at,
						psprintf("after \"%s\" and an event a time or \"matching\" is expected",
								 last ? "last" : "first"),
						psprintf("For example: %s %s more than 90 days ago.",
								 last ? "last" : "first",
								 quote_identifier(node->stream->event->name)));
	node->to = ma_parse_duration(parser);
	ma_expect_word(parser, "ago", "after a duration");
	return node;
}

/* overdue SRC by NUMBER */
static MaNode *
parse_overdue(MaParser *parser)
{
	MaNode	   *node = palloc0_object(MaNode);

	parser->at++;
	node->kind = MA_NODE_OVERDUE;
	node->stream = ma_parse_source(parser);
	ma_expect_word(parser, "by", "after the event");
	node->left = ma_parse_constant(parser);
	return node;
}

/* ---- what upper layers know ---- */

/* What the room above says of the name is said of the rule. */
static bool
find_fact(MaParser *parser, const MaNode *node, List **candidates)
{
	MemoryContext context = CurrentMemoryContext;
	bool		found = false;

	PG_TRY();
	{
		found = node->fact->find(node->name, node->by, candidates);
	}
	PG_CATCH();
	{
		ma_rule_failed(parser->what, context);
	}
	PG_END_TRY();
	return found;
}

/*
 * The rule in place of a segment's name.  Names in it are replaced likewise, so few
 * segments that each name the one before twice would be very many conditions.
 */
static MaRule *
parse_segment(MaParser *parser, int place, const char *text, const MaRuleScope *scope)
{
	static int	depth = 0;
	static int	count = 0;
	MaRule	   *rule = NULL;

	check_stack_depth();
	count = depth == 0 ? 1 : count + 1;
	if (count > MAX_SEGMENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s: segments that name segments stand for more than %d of them",
						parser->what, MAX_SEGMENTS),
				 errhint("A name stands for the whole rule of its segment: name each segment once."),
				 ma_rule_place(parser->text, parser->tokens[place].start)));
	depth++;
	PG_TRY();
	{
		rule = ma_rule_parse(text, scope, InvalidOid);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	return rule;
}

static MaNode *
parse_fact(MaParser *parser, const char *word)
{
	MaNode	   *node = palloc0_object(MaNode);
	List	   *candidates = NIL;
	char	   *nearest;
	int			place;

	node->fact = ma_rule_fact(word);
	if (node->fact == NULL)
		refuse_later(parser, word);
	parser->at++;
	if (strcmp(word, "subscribed") == 0 && ma_is_word(ma_token(parser, 0), "to") &&
		ma_token(parser, 1)->kind == MA_TOKEN_NAME)
		ma_parse_failed(parser, parser->at, "a topic is expected",
						psprintf("Write subscribed %s, without to.", ma_token(parser, 1)->text));
	place = parser->at;
	node->name = ma_parse_name(parser, psprintf("a %s", strcmp(word, "subscribed") == 0 ?
												"topic" : word));
	if (strcmp(word, "subscribed") == 0 && ma_accept_word(parser, "by"))
		node->by = ma_parse_name(parser, "a channel");
	if (!find_fact(parser, node, &candidates))
	{
		nearest = ma_nearest(node->name, candidates);
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SEGMENT),
				 errmsg("%s: there is no %s \"%s\"", parser->what,
						strcmp(word, "subscribed") == 0 ? "topic" : word, node->name),
				 nearest ? errhint("Did you mean %s?", nearest) : 0,
				 ma_rule_place(parser->text, parser->tokens[place].start)));
	}
	node->kind = MA_NODE_FACT;
	if (node->fact->rule != NULL)
	{
		MaRuleScope scope = {psprintf("segment \"%s\"", node->name)};
		char	   *text = node->fact->rule(node->name, (char **) &scope.time_zone);

		node->kind = MA_NODE_SEGMENT;
		node->rule = parse_segment(parser, place, text, &scope);
		parser->rule->sync &= node->rule->sync;
		parser->rule->segments = lappend(parser->rule->segments, node);
	}
	else
		parser->rule->facts = lappend(parser->rule->facts, node);
	return node;
}

/* ---- dates of the contact ---- */

/* anniversary ( COL ) is (today | within DUR) */
static MaNode *
parse_anniversary(MaParser *parser)
{
	MaNode	   *node = palloc0_object(MaNode);
	int			close = ma_match_parenthesis(parser, parser->at + 1);

	node->kind = MA_NODE_ANNIVERSARY;
	node->attribute = ma_date_column(parser, parser->at + 2, close);
	parser->at = close + 1;
	ma_expect_word(parser, "is", "after the column");
	node->test = MA_TEST_PERIOD;
	if (ma_accept_word(parser, "today"))
		return node;
	ma_expect_word(parser, "within", "here, or \"today\"");
	node->test = MA_TEST_NEXT;
	node->to = ma_parse_duration(parser);
	return node;
}

/* Tokens of a column at the start of a run: 1, 3 (with a table), or 0. */
static int
column_length(MaParser *parser)
{
	if (ma_token(parser, 0)->kind != MA_TOKEN_NAME)
		return 0;
	if (!ma_is_symbol(ma_token(parser, 1), "."))
		return 1;
	return ma_token(parser, 2)->kind == MA_TOKEN_NAME ? 3 : 0;
}

/*
 * COL within next DUR, COL (more | less) than DUR ago, COL is (today | this week | this
 * month); NULL if the run is none of these.
 */
static MaNode *
parse_date(MaParser *parser)
{
	int			length = column_length(parser);
	MaToken    *word = ma_token(parser, length);
	MaToken    *next = ma_token(parser, length + 1);
	MaNode	   *node = palloc0_object(MaNode);
	int			first = parser->at;

	if (length == 0)
		return NULL;
	node->kind = MA_NODE_DATE;
	if (ma_is_word(word, "within") && ma_is_word(next, "next"))
		node->test = MA_TEST_NEXT;
	else if (ma_is_word(word, "more") && ma_is_word(next, "than"))
		node->test = MA_TEST_MORE;
	else if (ma_is_word(word, "less") && ma_is_word(next, "than"))
		node->test = MA_TEST_LESS;
	else if (ma_is_word(word, "is") && (ma_is_word(next, "today") || ma_is_word(next, "this")))
		node->test = MA_TEST_PERIOD;
	else
		return NULL;
	node->attribute = ma_date_column(parser, first, first + length);
	parser->at += length + 2;
	if (node->test == MA_TEST_PERIOD)
	{
		node->period = MA_PERIOD_DAY;
		if (ma_is_word(next, "this"))
		{
			if (ma_accept_word(parser, "week"))
				node->period = MA_PERIOD_WEEK;
			else if (ma_accept_word(parser, "month"))
				node->period = MA_PERIOD_MONTH;
			else
				ma_parse_failed(parser, parser->at, "week or month is expected", NULL);
		}
		return node;
	}
	node->to = ma_parse_duration(parser);
	if (node->test != MA_TEST_NEXT)
		ma_expect_word(parser, "ago", "after a duration");
	return node;
}

/* ---- runs ---- */

/* The token after the run: AND, OR or a parenthesis that is not its own. */
static int
end_of_run(MaParser *parser)
{
	int			depth = 0;
	int			between = 0;
	int			cases = 0;
	int			i;

	for (i = parser->at; i < parser->ntokens - 1; i++)
	{
		MaToken    *token = &parser->tokens[i];

		if (ma_is_symbol(token, "(") || ma_is_symbol(token, "["))
			depth++;
		else if (ma_is_symbol(token, ")") || ma_is_symbol(token, "]"))
		{
			if (depth-- == 0)
				break;
		}
		else if (depth > 0)
			continue;
		else if (ma_is_word(token, "case"))
			cases++;
		else if (ma_is_word(token, "end") && cases > 0)
			cases--;
		else if (cases > 0)
			continue;
		else if (ma_is_word(token, "between"))
			between++;
		else if (ma_is_word(token, "and") && between > 0)
			between--;
		else if (ma_is_word(token, "and") || ma_is_word(token, "or"))
			break;
	}
	return i;
}

static bool
holds_aggregate(MaParser *parser, int end)
{
	static const char *const words[] = {"count", "sum", "avg", "min", "max", "score"};

	for (int i = parser->at; i < end; i++)
		for (int j = 0; j < lengthof(words); j++)
			if (ma_is_word(&parser->tokens[i], words[j]) &&
				ma_is_symbol(&parser->tokens[i + 1], "("))
				return true;
	return false;
}

MaNode *
ma_parse_run(MaParser *parser)
{
	int			end = end_of_run(parser);
	MaNode	   *node;
	int			first = parser->at;

	if (end == parser->at)
		ma_parse_failed(parser, parser->at, "a condition is expected here",
						ma_rule_example("no", "in 30 days"));
	node = parse_date(parser);
	if (node != NULL)
		return node;
	if (holds_aggregate(parser, end))
		return ma_parse_comparison(parser, end);
	node = ma_leaf(parser, first, end);
	parser->at = end;
	return node;
}
