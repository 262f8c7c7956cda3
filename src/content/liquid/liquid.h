/*
 * liquid.h
 *		Inside content/: the parts of the template language and how they meet.
 *
 *		lexer.c		source text to tokens: text, {{ output }}, {% tag %}
 *		scan.c		the words within one of them
 *		expression.c words to expressions, filters and conditions
 *		parser.c		tokens to a tree of nodes; tags.c: one tag each
 *		context.c	where in the HTML an output stands
 *		evaluate.c	expressions to values; scope.c: names to values
 *		render.c		nodes to text; loops.c, partials.c
 *		strict.c		variables without a value
 *		value.c		values; number.c: their arithmetic
 *		filters*.c	filters by kind
 *		escape.c		escaping by context
 *
 * A compiled template is never written to after it was made, so that it can be kept
 * and rendered again; all that a rendering needs is in its LiquidRender.  Values are
 * 16 bytes and passed by value; those from jsonb point into the datum.
 */
#ifndef MA_CONTENT_LIQUID_H
#define MA_CONTENT_LIQUID_H

#include "content/content.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Bounds: more is an error of the template, never of the server. */
#define LIQUID_MAX_SOURCE (1024 * 1024) /* octets of a template */
#define LIQUID_MAX_OUTPUT (1024 * 1024) /* octets that it may make */
#define LIQUID_MAX_STEPS \
	250000 /* nodes, loop turns, elements; 256 octets a filter works on are one */
/* A request that carries a mail with its files may make so much, in so many steps more. */
#define LIQUID_LARGE_OUTPUT (100 * 1024 * 1024)
#define LIQUID_LARGE_STEPS 2000000
#define LIQUID_MAX_NESTING 100	/* blocks and brackets within one another */
#define LIQUID_MAX_ROOTS 1000	/* different first names of paths */
#define LIQUID_MAX_PARTIALS 32	/* snippets within one another */

/* ---- values ---- */

typedef enum LiquidKind
{
	LIQUID_UNSET,				/* no value at all: an argument not given */
	LIQUID_NIL,
	LIQUID_BOOL,
	LIQUID_INT,
	LIQUID_NUMERIC,
	LIQUID_STRING,
	LIQUID_ARRAY,				/* made by us */
	LIQUID_JSON_ARRAY,
	LIQUID_OBJECT,				/* of jsonb */
	LIQUID_LAYERS,				/* objects one over the other */
	LIQUID_RANGE,
	LIQUID_LOOP,				/* forloop, tablerowloop */
	LIQUID_EMPTY,
	LIQUID_BLANK
} LiquidKind;

typedef struct LiquidArray LiquidArray;
typedef struct LiquidLayers LiquidLayers;
typedef struct LiquidLoop LiquidLoop;
typedef struct LiquidRange LiquidRange;

typedef struct LiquidValue
{
	uint8		kind;
	bool		safe;			/* a string that is HTML already */
	int32		length;			/* of a string, in octets */
	union
	{
		bool		boolean;
		int64		integer;
		Numeric		numeric;
		const char *string;
		LiquidArray *array;
		JsonbContainer *json;
		LiquidLayers *layers;
		LiquidLoop *loop;
		LiquidRange *range;
	}			u;
} LiquidValue;

struct LiquidArray
{
	int			n;
	LiquidValue *items;
};

struct LiquidRange
{
	int64		first;
	int64		last;
};

/* A member is that of the first layer that has it, be it null. */
struct LiquidLayers
{
	int			n;
	JsonbContainer **layers;
};

/* State of a running loop; index from 0. */
struct LiquidLoop
{
	int64		index;
	int64		length;
	int64		columns;		/* of a tablerow, else 0 */
	LiquidLoop *parent;
	const char *name;
	int			name_length;
};

/* ---- the tree ---- */

typedef struct LiquidExpression LiquidExpression;
typedef struct LiquidRender LiquidRender;

/* A name with its hash, compared before the text is. */
typedef struct LiquidName
{
	const char *text;
	int			length;
	uint32		hash;
} LiquidName;

/* One step of a path: .name, or [expression]. */
typedef struct LiquidSegment
{
	LiquidName	name;
	LiquidExpression *index;	/* NULL: name */
} LiquidSegment;

typedef enum LiquidExpressionKind
{
	LIQUID_CONSTANT,
	LIQUID_PATH,
	LIQUID_RANGE_OF
} LiquidExpressionKind;

struct LiquidExpression
{
	LiquidExpressionKind kind;
	int			at;				/* offset in the source */
	LiquidValue constant;
	LiquidName	root;			/* of a path; text NULL: [root_of] */
	int			root_slot;		/* number of the root name in this template */
	LiquidExpression *root_of;
	int			nsegments;
	LiquidSegment *segments;
	LiquidExpression *first;	/* of a range */
	LiquidExpression *last;
};

#define LIQUID_MAX_ARGUMENTS 4

typedef struct LiquidFilter LiquidFilter;

/* What a filter is: its arguments are checked when the template is compiled. */
typedef struct LiquidFilterType
{
	const char *name;
	int			min_arguments;
	int			max_arguments;
	LiquidValue (*apply) (LiquidRender *render, LiquidValue input, LiquidValue *arguments);
	const char *keyword;		/* an argument by name, given after the others; or NULL */
} LiquidFilterType;

struct LiquidFilter
{
	const LiquidFilterType *type;
	int			at;
	int			narguments;
	LiquidExpression *arguments[LIQUID_MAX_ARGUMENTS];
	LiquidExpression *keyword;
};

/* An expression with its filters. */
typedef struct LiquidPipe
{
	LiquidExpression *expression;	/* NULL: nothing stands there */
	int			nfilters;
	LiquidFilter *filters;
} LiquidPipe;

typedef enum LiquidOperator
{
	LIQUID_TRUTH,
	LIQUID_EQUAL,
	LIQUID_NOT_EQUAL,
	LIQUID_LESS,
	LIQUID_GREATER,
	LIQUID_LESS_EQUAL,
	LIQUID_GREATER_EQUAL,
	LIQUID_CONTAINS
} LiquidOperator;

/* One comparison and what follows it; `and` and `or` bind to the right, without precedence. */
typedef struct LiquidCondition
{
	LiquidOperator operator;
	int			at;
	LiquidExpression *left;
	LiquidExpression *right;
	bool		is_or;			/* how the next one is joined */
	struct LiquidCondition *next;
} LiquidCondition;

/* Where an output stands, see context.c. */
typedef enum LiquidContext
{
	LIQUID_IN_PLAIN,			/* not HTML */
	LIQUID_IN_TEXT,				/* HTML text, or a quoted attribute */
	LIQUID_IN_TAG,				/* an attribute without quotes, or a tag */
	LIQUID_IN_URL_START,		/* first in a URL: decides its scheme */
	LIQUID_IN_URL,
	LIQUID_IN_URL_VALUE,		/* behind the = of a query */
	LIQUID_IN_SCRIPT,
	LIQUID_IN_STYLE
} LiquidContext;

typedef enum LiquidNodeKind
{
	LIQUID_TEXT,
	LIQUID_OUTPUT,
	LIQUID_IF,
	LIQUID_CASE,
	LIQUID_FOR,
	LIQUID_TABLEROW,
	LIQUID_ASSIGN,
	LIQUID_CAPTURE,
	LIQUID_INCREMENT,
	LIQUID_DECREMENT,
	LIQUID_CYCLE,
	LIQUID_IFCHANGED,
	LIQUID_BREAK,
	LIQUID_CONTINUE,
	LIQUID_RENDER,
	LIQUID_INCLUDE,
	LIQUID_ABORT
} LiquidNodeKind;

typedef struct LiquidNode LiquidNode;

typedef struct LiquidBlock
{
	int			n;
	LiquidNode **nodes;
	bool		blank;			/* makes no output but blanks, which are left out */
} LiquidBlock;

/* A branch of if, unless or case. */
typedef struct LiquidBranch
{
	LiquidCondition *condition; /* NULL: else */
	bool		negated;		/* unless */
	int			nvalues;		/* of a when */
	LiquidExpression **values;
	LiquidBlock *block;
} LiquidBranch;

typedef struct LiquidArgument
{
	LiquidName	name;
	LiquidExpression *value;
} LiquidArgument;

struct LiquidNode
{
	LiquidNodeKind kind;
	int			at;
	LiquidName	name;			/* assigned, captured, counted, loop variable, alias */
	LiquidName	label;			/* text: itself; loop and cycle: what they are known by */
	LiquidContext context;		/* of an output */
	LiquidPipe	pipe;			/* output, assign */
	int			nbranches;
	LiquidBranch *branches;
	LiquidExpression *value;	/* case, loop's collection, cycle's group, snippet, with/for */
	LiquidExpression *subject;	/* with or for of a snippet */
	LiquidExpression *limit;
	LiquidExpression *offset;
	LiquidExpression *columns;
	bool		go_on;			/* offset: continue */
	bool		reversed;
	bool		each;			/* render ... for */
	int			nitems;			/* cycle */
	LiquidExpression **items;
	int			narguments;
	LiquidArgument *arguments;
	LiquidBlock *block;
	LiquidBlock *otherwise;		/* for ... else */
};

struct MaLiquid
{
	char	   *what;
	char	   *source;
	int			length;
	MaEscape	escape;
	int			nroots;			/* distinct first names of paths */
	List	   *roots;			/* LiquidName *, while compiling */
	List	   *snippets;		/* char *: those it names outright; not kept in a cache */
	List	   *members;		/* char *, "contact.name": shown of contact and message; likewise */
	LiquidBlock *block;
};

/* Error of a text that is compiled: MA030 with line and column. */
extern void ma_liquid_syntax_error(const MaLiquid *liquid, int at, const char *hint,
								   const char *format, ...)
	pg_attribute_printf(4, 5) pg_attribute_noreturn();
/* Any error at a place of a template. */
extern void ma_liquid_fail(const MaLiquid *liquid, int at, int code, const char *hint,
						   const char *format, va_list arguments)
	pg_attribute_printf(5, 0) pg_attribute_noreturn();

/* "Line 3, column 7." of an offset. */
extern void ma_liquid_place(const MaLiquid *liquid, int at, int *line, int *column);

/* ---- lexer.c ---- */

typedef enum LiquidTokenKind
{
	LIQUID_TOKEN_TEXT,
	LIQUID_TOKEN_OUTPUT,
	LIQUID_TOKEN_TAG,
	LIQUID_TOKEN_LINES_END,		/* end of a {% liquid %} */
	LIQUID_TOKEN_END
} LiquidTokenKind;

/* Text, or the inside of an output or tag without its name. */
typedef struct LiquidToken
{
	LiquidTokenKind kind;
	int			at;				/* where it begins */
	int			start;			/* of text or markup */
	int			end;
	LiquidName	tag;
} LiquidToken;

typedef struct LiquidTokens
{
	int			n;
	int			allocated;
	LiquidToken *tokens;
} LiquidTokens;

extern LiquidTokens *ma_liquid_tokens(MaLiquid *liquid);

/* ---- scan.c ---- */

typedef enum LiquidWordKind
{
	LIQUID_WORD_END,
	LIQUID_WORD_NAME,
	LIQUID_WORD_INTEGER,
	LIQUID_WORD_DECIMAL,
	LIQUID_WORD_STRING,
	LIQUID_WORD_DOTS,			/* .. */
	LIQUID_WORD_COMPARISON,
	LIQUID_WORD_CHARACTER		/* | : , . ( ) [ ] = */
} LiquidWordKind;

/* The words of one piece of markup; `kind`, `text` and `length` are the current one. */
typedef struct LiquidScanner
{
	MaLiquid   *liquid;
	int			position;
	int			end;
	int			at;				/* of the current word */
	LiquidWordKind kind;
	const char *text;
	int			length;
	int			depth;
} LiquidScanner;

extern void ma_liquid_scan_begin(LiquidScanner *scanner, MaLiquid *liquid, int start, int end);
extern void ma_liquid_scan_next(LiquidScanner *scanner);
extern bool ma_liquid_scan_is(const LiquidScanner *scanner, const char *word);
extern bool ma_liquid_scan_take(LiquidScanner *scanner, const char *word);
extern void ma_liquid_scan_expect(LiquidScanner *scanner, const char *word);
extern void ma_liquid_scan_finish(LiquidScanner *scanner);
extern void ma_liquid_scan_unexpected(LiquidScanner *scanner, const char *expected)
	pg_attribute_noreturn();

/* ---- expression.c ---- */

extern LiquidName ma_liquid_name(const char *text, int length);
extern LiquidExpression *ma_liquid_parse_expression(LiquidScanner *scanner);
extern void ma_liquid_parse_pipe(LiquidScanner *scanner, LiquidPipe *pipe);
extern LiquidCondition *ma_liquid_parse_condition(LiquidScanner *scanner);

/* ---- parser.c, tags.c ---- */

typedef struct LiquidHtml LiquidHtml;

typedef struct LiquidParser
{
	MaLiquid   *liquid;
	LiquidTokens *tokens;
	int			next;			/* number of the next token */
	int			depth;
	LiquidHtml *html;			/* NULL: nothing is escaped */
} LiquidParser;

/*
 * Nodes up to one of the tags of `ends` (separated by blanks), which becomes *end; at
 * the end of the text an error that `opener` was not closed.
 */
extern LiquidBlock *ma_liquid_parse_block(LiquidParser *parser, const LiquidToken *opener,
										  const char *ends, LiquidToken *end);
extern LiquidNode *ma_liquid_parse_tag(LiquidParser *parser, const LiquidToken *token);
extern LiquidNode *ma_liquid_node(LiquidNodeKind kind, const LiquidToken *token);
extern bool ma_liquid_token_is(const LiquidToken *token, const char *tag);
extern bool ma_liquid_node_is_blank(const LiquidNode *node);
extern void ma_liquid_remove_blanks(LiquidBlock *block);
extern LiquidContext ma_liquid_output_context(LiquidParser *parser);
extern LiquidNode *ma_liquid_parse_output(LiquidParser *parser, const LiquidToken *token);

/* ---- loop_tags.c ---- */

extern LiquidNode *ma_liquid_parse_for(LiquidParser *parser, const LiquidToken *token);
extern LiquidNode *ma_liquid_parse_tablerow(LiquidParser *parser, const LiquidToken *token);
extern LiquidNode *ma_liquid_parse_cycle(LiquidParser *parser, const LiquidToken *token);
extern LiquidNode *ma_liquid_parse_partial(LiquidParser *parser, const LiquidToken *token);

/* ---- context.c ---- */

extern LiquidHtml *ma_liquid_html_begin(void);
extern void ma_liquid_html_text(LiquidHtml *html, const char *text, int length);
extern LiquidContext ma_liquid_html_output(LiquidHtml *html);

/* ---- rendering ---- */

typedef struct LiquidBuffer
{
	char	   *data;
	int			length;
	int			allocated;
} LiquidBuffer;

typedef struct LiquidLocal
{
	LiquidName	name;
	LiquidValue value;
} LiquidLocal;

/* A growing array of names and values; those below `base` belong to an outer snippet. */
typedef struct LiquidLocals
{
	int			n;
	int			base;
	int			allocated;
	LiquidLocal *items;
} LiquidLocals;

/* Values of first names that are not set by the template itself. */
typedef struct LiquidGlobals
{
	int			nobjects;		/* searched in this order */
	JsonbContainer **objects;
	int			nnames;			/* searched before them */
	LiquidLocal *names;			/* UNSET: `lazy` makes it, and has one */
	/* The last to be asked, for values made only if used; UNSET: has none. May be NULL. */
	LiquidValue (*lazy) (void *argument, const LiquidName *name);
	void	   *argument;
	/* Another name under which a snippet's text is compiled and kept; NULL: there is none. */
	MaLiquid   *(*snippet) (void *argument, const char *name, int length, MaEscape escape);
	char	   *(*track) (void *argument, const char *url);
	char	   *(*coupon) (void *argument, const char *pool);
	const char *locale;			/* of the text; NULL: none */
	bool		large;			/* a request, not a message: it may be LIQUID_LARGE_OUTPUT long */
	bool		strict;			/* to show a variable without a value is an error */
	/* Told of each such variable instead, with its text and what is near (may be NULL). */
	void		(*missing) (void *argument, const LiquidRender *render, const char *path);
} LiquidGlobals;

typedef enum LiquidOutcome
{
	LIQUID_GO_ON,
	LIQUID_DID_BREAK,
	LIQUID_DID_CONTINUE,
	LIQUID_DID_ABORT
} LiquidOutcome;

struct LiquidRender
{
	const MaLiquid *liquid;		/* which runs, and of which errors speak */
	int			at;				/* what runs in it */
	const LiquidGlobals *globals;
	LiquidValue *roots;			/* by root_slot: globals found already */
	LiquidBuffer *out;
	LiquidLocals assigned;
	LiquidLocals scoped;		/* loop variables, arguments of snippets */
	LiquidLocals counters;		/* increment and decrement */
	LiquidLocals places;		/* offset: continue, and cycle */
	LiquidLoop *loop;			/* the innermost */
	int			partials;		/* depth */
	bool		in_render;		/* include is not allowed */
	int64		steps;
	int			max_output;
	char	   *changed;		/* last output of ifchanged */
	int			changed_length;
	char	   *abort_reason;
	struct pg_tz *zone;
	LiquidValue keyword;		/* argument by name of the filter that runs */
};

/*
 * Renders in the current memory context; *length is the output's.  NULL after
 * {% abort %}.
 */
extern char *ma_liquid_run(const MaLiquid *liquid, const LiquidGlobals *globals,
						   struct pg_tz *zone, int *length, char **abort_reason);

/* Error of what runs: MA031 with line and column. */
extern void ma_liquid_error(const LiquidRender *render, const char *hint, const char *format, ...)
	pg_attribute_printf(3, 4) pg_attribute_noreturn();
/* Counts work, and ends it when it is too much. */
extern void ma_liquid_too_many_steps(const LiquidRender *render) pg_attribute_noreturn();
extern void ma_liquid_interrupts(void);

static inline void
ma_liquid_step(LiquidRender *render, int64 n)
{
	render->steps += n;
	if (unlikely(render->steps > LIQUID_MAX_STEPS))
		ma_liquid_too_many_steps(render);
	if (unlikely((render->steps & 255) < n))
		ma_liquid_interrupts();
}

extern void ma_liquid_buffer_init(LiquidBuffer *buffer, int size);
extern void ma_liquid_buffer_grow(LiquidRender *render, LiquidBuffer *buffer, int by);

static inline void
ma_liquid_append(LiquidRender *render, const char *text, int length)
{
	LiquidBuffer *buffer = render->out;

	if (unlikely(buffer->allocated - buffer->length < length))
		ma_liquid_buffer_grow(render, buffer, length);
	memcpy(buffer->data + buffer->length, text, length);
	buffer->length += length;
}

/* render.c */
extern LiquidOutcome ma_liquid_render_block(LiquidRender *render, const LiquidBlock *block);
extern LiquidOutcome ma_liquid_render_branches(LiquidRender *render, const LiquidNode *node);
/* strict.c: what is shown has a value, or a default. */
extern void ma_liquid_require_value(LiquidRender *render, const LiquidPipe *pipe);
/* loops.c */
extern LiquidOutcome ma_liquid_render_for(LiquidRender *render, const LiquidNode *node);
extern LiquidOutcome ma_liquid_render_tablerow(LiquidRender *render, const LiquidNode *node);
extern void ma_liquid_render_cycle(LiquidRender *render, const LiquidNode *node);
/* partials.c */
extern LiquidOutcome ma_liquid_render_partial(LiquidRender *render, const LiquidNode *node);

/* scope.c */
extern LiquidValue *ma_liquid_local(LiquidLocals *locals, const LiquidName *name);
extern void ma_liquid_local_set(LiquidLocals *locals, const LiquidName *name, LiquidValue value);
extern void ma_liquid_local_push(LiquidLocals *locals, const LiquidName *name, LiquidValue value);
extern LiquidValue ma_liquid_lookup(LiquidRender *render, const LiquidName *name, int slot);

/* evaluate.c */
extern LiquidValue ma_liquid_evaluate(LiquidRender *render, const LiquidExpression *expression);
extern LiquidValue ma_liquid_evaluate_pipe(LiquidRender *render, const LiquidPipe *pipe);
extern bool ma_liquid_test(LiquidRender *render, const LiquidCondition *condition);
extern bool ma_liquid_equal(LiquidRender *render, LiquidValue left, LiquidValue right);
/* -1, 0 or 1; 2 if the two cannot be compared. */
extern int	ma_liquid_compare(LiquidRender *render, LiquidValue left, LiquidValue right);
/* The member `name`, or element `name` if it is a number; size, first and last as in Liquid. */
extern LiquidValue ma_liquid_member(LiquidRender *render, LiquidValue value, const char *name,
									int length);

/* value.c */
static inline LiquidValue
ma_liquid_nil(void)
{
	LiquidValue value = {LIQUID_NIL};

	return value;
}

static inline LiquidValue
ma_liquid_bool(bool boolean)
{
	LiquidValue value = {LIQUID_BOOL};

	value.u.boolean = boolean;
	return value;
}

static inline LiquidValue
ma_liquid_int(int64 integer)
{
	LiquidValue value = {LIQUID_INT};

	value.u.integer = integer;
	return value;
}

static inline LiquidValue
ma_liquid_string(const char *text, int length)
{
	LiquidValue value = {LIQUID_STRING};

	value.length = length;
	value.u.string = text;
	return value;
}

static inline bool
ma_liquid_truth(LiquidValue value)
{
	return value.kind > LIQUID_BOOL || (value.kind == LIQUID_BOOL && value.u.boolean);
}

extern LiquidValue ma_liquid_array(LiquidValue *items, int n);
extern LiquidValue ma_liquid_from_json(const JsonbValue *json);
extern bool ma_liquid_object_get(JsonbContainer *object, const char *name, int length,
								 LiquidValue *value);
/* Length of the text (at least) and the text itself, not ended by NUL. */
extern LiquidValue ma_liquid_to_string(LiquidRender *render, LiquidValue value);
extern char *ma_liquid_to_cstring(LiquidRender *render, LiquidValue value);
/* True for what has elements: arrays and ranges. */
extern bool ma_liquid_is_array(LiquidValue value);
extern bool ma_liquid_is_object(LiquidValue value);
/* Elements of an array or range, pairs of an object, a scalar itself; none of nil. */
extern LiquidArray *ma_liquid_items(LiquidRender *render, LiquidValue value);
extern int64 ma_liquid_size(LiquidRender *render, LiquidValue value);
extern bool ma_liquid_is_empty(LiquidValue value);
extern bool ma_liquid_is_blank(LiquidValue value);
extern void ma_liquid_to_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth);

/* number.c */
extern LiquidValue ma_liquid_number(const char *text, int length);	/* 0 if it is none */
extern LiquidValue ma_liquid_to_number(LiquidValue value);
extern bool ma_liquid_is_number(LiquidValue value);
/* An integer, or an error that `what` must be one. */
extern int64 ma_liquid_to_int(LiquidRender *render, LiquidValue value, const char *what);
extern int64 ma_liquid_int_of(LiquidValue value);	/* as Ruby's to_i */
extern char *ma_liquid_number_text(LiquidValue value, int *length);
extern int	ma_liquid_number_compare(LiquidValue left, LiquidValue right);
extern LiquidValue ma_liquid_add(LiquidRender *render, LiquidValue left, LiquidValue right);
extern Numeric ma_liquid_numeric(LiquidValue value);
extern LiquidValue ma_liquid_from_numeric(Numeric numeric);

/* escape.c */
extern void ma_liquid_write(LiquidRender *render, LiquidValue value, LiquidContext context);
extern void ma_liquid_escape_html(LiquidRender *render, const char *text, int length);

/* filters*.c: tables that end with a NULL name. */
extern const LiquidFilterType *ma_liquid_filter(const char *name, int length);
extern List *ma_liquid_filter_names(void);
extern const LiquidFilterType ma_liquid_string_filters[];
extern const LiquidFilterType ma_liquid_number_filters[];
extern const LiquidFilterType ma_liquid_array_filters[];
extern const LiquidFilterType ma_liquid_html_filters[];
extern const LiquidFilterType ma_liquid_date_filters[];
extern const LiquidFilterType ma_liquid_locale_filters[];

/* locale.c: how a language writes numbers, amounts and dates. */
typedef struct LiquidLocale
{
	const char *language;
	const char *group;			/* between thousands */
	const char *point;
	enum
	{
		LIQUID_SIGN_BEFORE,		/* of a currency: $9 */
		LIQUID_SIGN_BEFORE_BLANK,
		LIQUID_SIGN_BEHIND
	}			sign;
	const char *months;			/* with blanks between them; NULL: as in English */
	const char *short_months;	/* NULL: the first three letters */
	const char *days;			/* from Sunday on */
	const char *short_days;
} LiquidLocale;

/* Of the argument if there is one, else of the text that is rendered; English if unknown. */
extern const LiquidLocale *ma_liquid_locale(LiquidRender *render, LiquidValue argument);
/* Word `n` of a list with blanks; its length in octets. */
extern const char *ma_liquid_word(const char *words, int n, int *length);

/* A buffer for a filter's result, swapped for the output. */
extern LiquidBuffer *ma_liquid_buffer_swap(LiquidRender *render, LiquidBuffer *buffer);

#endif							/* MA_CONTENT_LIQUID_H */
