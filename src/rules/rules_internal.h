/*
 * rules_internal.h
 *		The tree of a rule and what the files of rules/ share; private to rules/.
 */
#ifndef MA_RULES_INTERNAL_H
#define MA_RULES_INTERNAL_H

#include "lib/stringinfo.h"
#include "pgtime.h"
#include "rules/rules.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Of the rule views. */
#define MA_RULE_SCHEMA "marketing_rule"

/* ---- lexer.c ---- */

typedef enum MaTokenKind
{
	MA_TOKEN_NAME,				/* an identifier, folded unless quoted */
	MA_TOKEN_STRING,
	MA_TOKEN_NUMBER,
	MA_TOKEN_SYMBOL,			/* an operator or a punctuation mark */
	MA_TOKEN_END
} MaTokenKind;

typedef struct MaToken
{
	MaTokenKind kind;
	char	   *text;			/* folded, unquoted */
	bool		quoted;			/* a name in double quotes */
	bool		spaced;			/* something blank stands before it */
	int			start;			/* bytes of the text */
	int			end;
} MaToken;

/* The tokens of the text, the last one MA_TOKEN_END. */
extern MaToken *ma_rule_tokens(const char *text, int *n);

/*
 * Reports at a byte of the text; used as ereport(ERROR, errcode(..), errmsg(..),
 * ma_rule_place(text, at)).
 */
extern int	ma_rule_place(const char *text, int at);

/* ---- the tree ---- */

/* Months are calendar, the rest is exact; one of the two is 0. */
typedef struct MaDuration
{
	int			months;
	int64		usecs;
	char	   *text;			/* "30 days" */
} MaDuration;

typedef enum MaValueType
{
	MA_VALUE_NONE,
	MA_VALUE_BOOL,
	MA_VALUE_NUMBER,			/* numeric */
	MA_VALUE_TEXT,				/* for distinct */
	MA_VALUE_INSTANT,			/* timestamptz */
	MA_VALUE_LOCAL				/* timestamp, to be read in the contact's zone */
} MaValueType;

/* An SQL expression over a contact's columns. */
typedef struct MaAttribute
{
	MaValueType type;
	char	   *text;			/* canonical, as in the rule */
	char	   *sql;			/* over aliases: contact, and the source's name */
	MaSource   *source;			/* the attached table it reads; NULL: contact's fields only */
	List	   *columns;		/* of that table (char *) */
	bool		builtin_only;
	bool		mixed;			/* reads fields of contact beside the table's columns */
	bool		entry;			/* reads the row a journey was entered by */
	bool		recheck;		/* of sql (...): it may read other tables */
	bool		clock;			/* and the clock */
	int			place;			/* in the set */
} MaAttribute;

/* One source of an event's rows in a stream. */
typedef struct MaStreamPart
{
	MaEventSource *source;		/* NULL: tracked */
	char	   *filter;			/* SQL over alias t and the images, or NULL */
	char	   *measure;		/* likewise */
	char	   *direct_filter;	/* the same with the contact's columns themselves */
	char	   *direct_measure;
	bool		reads_contact;	/* these two do */
	List	   *contacts;		/* MaSource whose columns they read */
	List	   *lookups;		/* MaLookup whose tables they read */
	List	   *columns;		/* of the row; "product.category" of a lookup */
} MaStreamPart;

/* Rows of an event for which a condition holds, with one value each. */
typedef struct MaStream
{
	MaEvent    *event;
	char	   *where;			/* canonical, or NULL */
	char	   *measure;		/* canonical, or NULL */
	MaValueType type;
	List	   *parts;			/* MaStreamPart */
	List	   *outer;			/* MaAttribute: what it reads of the contact */
	bool		entry;			/* reads the row a journey was entered by */
	bool		builtin_only;
	int			place;			/* in the set */
} MaStream;

typedef enum MaWindowKind
{
	MA_WINDOW_EVER,
	MA_WINDOW_IN,				/* at <= t < at + to */
	MA_WINDOW_BETWEEN,			/* at + from <= t < at + to */
	MA_WINDOW_SINCE,			/* an instant */
	MA_WINDOW_SINCE_COLUMN,
	MA_WINDOW_CALENDAR
} MaWindowKind;

typedef enum MaPeriod
{
	MA_PERIOD_DAY,
	MA_PERIOD_WEEK,
	MA_PERIOD_MONTH,
	MA_PERIOD_QUARTER,
	MA_PERIOD_YEAR
} MaPeriod;

typedef struct MaWindow
{
	MaWindowKind kind;
	MaDuration	from;
	MaDuration	to;
	TimestampTz since;
	MaAttribute *column;
	MaPeriod	period;
	bool		last;			/* the period before this one */
} MaWindow;

typedef enum MaFunction
{
	MA_FN_COUNT,
	MA_FN_SUM,
	MA_FN_AVG,
	MA_FN_MIN,
	MA_FN_MAX
} MaFunction;

typedef enum MaNumberKind
{
	MA_NUMBER_CONSTANT,
	MA_NUMBER_AGGREGATE,
	MA_NUMBER_COLUMN,
	MA_NUMBER_SCORE,
	MA_NUMBER_NEGATE,
	MA_NUMBER_OPERATOR
} MaNumberKind;

typedef struct MaNumber
{
	MaNumberKind kind;
	Numeric		constant;
	char	   *text;			/* of the constant; name of the score model */
	MaFunction	function;		/* of rows */
	bool		distinct;
	MaStream   *stream;
	MaWindow   *window;
	MaAttribute *column;
	char		operator;		/* + - * / */
	struct MaNumber *left;
	struct MaNumber *right;
	int			place;			/* SCORE: in the set */
	int			join;			/* its derived table in the oracle */
} MaNumber;

typedef enum MaNodeKind
{
	MA_NODE_AND,
	MA_NODE_OR,
	MA_NODE_NOT,
	MA_NODE_LEAF,				/* an SQL boolean over contact columns */
	MA_NODE_RECHECK,			/* sql (...) recheck every */
	MA_NODE_DATE,				/* a date column against now */
	MA_NODE_ANNIVERSARY,
	MA_NODE_EXISTS,				/* any / no */
	MA_NODE_LAST_ROWS,			/* any / none / all of last n */
	MA_NODE_ENDS,				/* first / last */
	MA_NODE_OVERDUE,
	MA_NODE_FACT,				/* in list, subscribed, stage */
	MA_NODE_SEGMENT,			/* a fact that is a rule itself */
	MA_NODE_COMPARE
} MaNodeKind;

typedef enum MaTest
{
	MA_TEST_ANY,
	MA_TEST_NO,					/* none */
	MA_TEST_ALL,
	MA_TEST_MORE,				/* more than DUR ago */
	MA_TEST_LESS,
	MA_TEST_BETWEEN,
	MA_TEST_MATCHING,
	MA_TEST_NEXT,				/* within next DUR */
	MA_TEST_PERIOD				/* is today, this week ... */
} MaTest;

typedef struct MaNode
{
	MaNodeKind	kind;
	List	   *children;		/* AND, OR, NOT: MaNode */
	MaTest		test;
	MaAttribute *attribute;		/* LEAF, RECHECK, DATE, ANNIVERSARY */
	MaDuration	from;
	MaDuration	to;
	MaPeriod	period;
	MaStream   *stream;			/* EXISTS, LAST_ROWS, ENDS, OVERDUE */
	MaWindow   *window;
	MaStream   *follower;		/* EXISTS: followed by */
	bool		not_followed;
	bool		last;			/* ENDS: last, not first */
	int			count;			/* LAST_ROWS */
	MaNumber   *left;			/* COMPARE, and OVERDUE: by */
	MaNumber   *right;
	char	   *operator;
	const MaRuleFact *fact;
	char	   *name;			/* of the segment, list ... */
	char	   *by;
	struct MaRule *rule;		/* SEGMENT */
	int			place;			/* FACT: in the set */
	int			join;			/* its derived table in the oracle */
} MaNode;

struct MaRule
{
	MaNode	   *top;
	char	   *what;			/* names it in errors */
	MaEvent    *entry_event;	/* NULL: it has no entry.x */
	char	   *time_zone;
	pg_tz	   *zone;
	List	   *attributes;		/* MaAttribute, of this rule alone */
	List	   *streams;		/* MaStream, likewise */
	List	   *facts;			/* MaNode */
	List	   *segments;		/* MaNode */
	List	   *scores;			/* MaNumber */
	List	   *named;			/* MaRowName: what its wheres compare columns of our events with */
	bool		sync;
	bool		plain;			/* its SQL runs nothing users wrote */
	int64		recheck;		/* usecs, the longest of its own; 0: none */
	uint64		placed_by;		/* id of the set whose places stand in the tree */
};

/* ---- parse.c and parse_atoms.c ---- */

typedef struct MaParser
{
	const char *text;
	MaToken    *tokens;
	int			ntokens;
	int			at;				/* the next token */
	MaRule	   *rule;
	MaDefinitions *definitions;
	Oid			definer;
	const char *what;
	const char *search_path;
	int			depth;
} MaParser;

extern MaToken *ma_token(MaParser *parser, int ahead);
extern bool ma_is_word(const MaToken *token, const char *word);
extern bool ma_is_symbol(const MaToken *token, const char *symbol);
extern bool ma_accept_word(MaParser *parser, const char *word);
extern bool ma_accept_symbol(MaParser *parser, const char *symbol);
extern void ma_expect_word(MaParser *parser, const char *word, const char *what);
extern void ma_expect_symbol(MaParser *parser, const char *symbol, const char *what);
extern void ma_parse_failed(MaParser *parser, int at, const char *message,
							const char *hint) pg_attribute_noreturn();
/* "For example: no <an event the user has> in 30 days."; NULL: there is no event. */
extern char *ma_rule_example(const char *before, const char *after);
extern char *ma_parse_name(MaParser *parser, const char *what);
extern MaEvent *ma_parse_event(MaParser *parser);
extern MaDuration ma_parse_duration(MaParser *parser);
extern int	ma_match_parenthesis(MaParser *parser, int open);
extern void ma_parse_brackets(MaParser *parser, int *first, int *end);
extern char *ma_parse_sql(MaParser *parser, int first, int end);

extern MaNode *ma_parse_expression(MaParser *parser);
extern MaNode *ma_parse_atom(MaParser *parser);
extern MaNode *ma_parse_run(MaParser *parser);
extern MaWindow *ma_parse_window(MaParser *parser);
extern MaStream *ma_parse_source(MaParser *parser);

/* ---- parse_numbers.c ---- */

extern MaNode *ma_parse_comparison(MaParser *parser, int end);
extern MaNumber *ma_parse_constant(MaParser *parser);

/* ---- scores.c: score(model) ---- */

extern MaNumber *ma_parse_score(MaParser *parser);
extern List *ma_score_events(const char *model);
extern List *ma_score_relations(const char *model);
extern TimestampTz ma_score_reads_from(const char *model, int32 event_id, TimestampTz at);
extern char *ma_score_sql(const char *model, const char *now);

/* ---- recheck.c: sql (...) recheck every DUR ---- */

extern MaNode *ma_parse_recheck(MaParser *parser);
/* Errors out unless these relations may be read with columns of the source (NULL: fields). */
extern void ma_recheck_check(const MaParser *parser, int byte, List *relations,
							 const MaSource *source);
extern int64 ma_recheck_interval(const MaDuration *every);

/* ---- columns.c: SQL leaves ---- */

/*
 * The expression of tokens [first, end) over a contact's columns; with split, one
 * whose top is AND or OR gives an MaNode of leaves instead.
 */
extern MaAttribute *ma_attribute(MaParser *parser, int first, int end, MaValueType type);
extern MaNode *ma_leaf(MaParser *parser, int first, int end);
extern MaAttribute *ma_recheck_attribute(MaParser *parser, int first, int end);

/* A column of the contact named by one or two tokens from `first`: INSTANT, LOCAL or NUMBER. */
extern MaAttribute *ma_date_column(MaParser *parser, int first, int end);

/* The stream of an event with these token ranges (empty: none) as condition and value. */
extern MaStream *ma_stream(MaParser *parser, MaEvent *event, int where, int where_end,
						   int measure, int measure_end, MaValueType type);

/* ---- print.c ---- */

extern char *ma_print_node(const MaNode *node);
extern char *ma_print_number(const MaNumber *number);
extern char *ma_print_window(const MaWindow *window);
extern char *ma_print_source(const MaStream *stream);
extern char *ma_print_aggregate(const MaNumber *number);
/* As text that means the same under any setting. */
extern char *ma_instant_text(TimestampTz at);
/* The same as a quoted SQL string. */
extern char *ma_print_instant(TimestampTz at);

/* ---- json_read.c ---- */

/* The text of the rule, still to be parsed. */
extern char *ma_rule_from_json(Jsonb *json, const char *what);

/* ---- calendar.c: time in a zone ---- */

/* The instant moved by a duration; months are the zone's calendar. */
extern TimestampTz ma_time_add(TimestampTz at, const MaDuration *by, bool back, pg_tz *zone);
/* Start of the period holding `at`, `shift` periods on. */
extern TimestampTz ma_period_start(TimestampTz at, MaPeriod period, int shift, pg_tz *zone);
/* An instant after `at` up to which ma_period_start() stays what it is. */
extern TimestampTz ma_period_changes(TimestampTz at, MaPeriod period, pg_tz *zone);
/* A local timestamp as an instant. */
extern TimestampTz ma_local_to_instant(Timestamp local, pg_tz *zone);
extern pg_tz *ma_zone(const char *name);

/* ---- oracle.c ---- */

/* ---- blame.c ---- */

/* Within PG_CATCH(): throws the error again, with the rule's name before its message. */
extern void ma_rule_failed(const char *what, MemoryContext context) pg_attribute_noreturn();

/* ---- facts.c ---- */

extern const MaRuleFact *ma_rule_fact(const char *word);

#endif							/* MA_RULES_INTERNAL_H */
