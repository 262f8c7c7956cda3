/*
 * expression.c
 *		Words to expressions: values, paths, ranges, filters and conditions.
 *
 * Names of filters and the number of their arguments are checked here, so that what
 * compiles can fail at rendering only by the data it meets.
 */
#include "base/base.h"

#include "common/hashfn.h"
#include "content/liquid/liquid.h"
#include "miscadmin.h"

static LiquidExpression *parse_range(LiquidScanner *scanner);
static LiquidExpression *parse_path(LiquidScanner *scanner);
static void note_member(MaLiquid *liquid, const LiquidExpression *path);
static bool parse_segment(LiquidScanner *scanner, LiquidSegment *segment);
static bool word_constant(const LiquidExpression *path, LiquidValue *value);
static int	root_slot(MaLiquid *liquid, const LiquidName *name);
static void parse_filter(LiquidScanner *scanner, LiquidFilter *filter);
static void parse_argument(LiquidScanner *scanner, LiquidFilter *filter);
static void unknown_filter(LiquidScanner *scanner) pg_attribute_noreturn();
static LiquidCondition *parse_comparison(LiquidScanner *scanner);
static LiquidOperator comparison(const LiquidScanner *scanner);

LiquidName
ma_liquid_name(const char *text, int length)
{
	LiquidName	name = {text, length};

	name.hash = hash_bytes((const unsigned char *) text, length);
	return name;
}

LiquidExpression *
ma_liquid_parse_expression(LiquidScanner *scanner)
{
	LiquidExpression *expression = NULL;

	check_stack_depth();
	if (++scanner->depth > LIQUID_MAX_NESTING)
		ma_liquid_syntax_error(scanner->liquid, scanner->at, "Assign a part of it to a variable first.",
							   "more than %d brackets stand in one another", LIQUID_MAX_NESTING);
	switch (scanner->kind)
	{
		case LIQUID_WORD_INTEGER:
		case LIQUID_WORD_DECIMAL:
			expression = palloc0_object(LiquidExpression);
			expression->at = scanner->at;
			expression->constant = ma_liquid_number(scanner->text, scanner->length);
			ma_liquid_scan_next(scanner);
			break;
		case LIQUID_WORD_STRING:
			expression = palloc0_object(LiquidExpression);
			expression->at = scanner->at;
			expression->constant = ma_liquid_string(scanner->text, scanner->length);
			ma_liquid_scan_next(scanner);
			break;
		case LIQUID_WORD_NAME:
			expression = parse_path(scanner);
			break;
		default:
			if (ma_liquid_scan_is(scanner, "("))
				expression = parse_range(scanner);
			else if (ma_liquid_scan_is(scanner, "["))
				expression = parse_path(scanner);
			else
				ma_liquid_scan_unexpected(scanner, "a value");
	}
	scanner->depth--;
	return expression;
}

/* (first..last) */
static LiquidExpression *
parse_range(LiquidScanner *scanner)
{
	LiquidExpression *range = palloc0_object(LiquidExpression);

	range->kind = LIQUID_RANGE_OF;
	range->at = scanner->at;
	ma_liquid_scan_expect(scanner, "(");
	range->first = ma_liquid_parse_expression(scanner);
	ma_liquid_scan_expect(scanner, "..");
	range->last = ma_liquid_parse_expression(scanner);
	ma_liquid_scan_expect(scanner, ")");
	return range;
}

/* name, [expression], and what follows: .name and [expression] */
static LiquidExpression *
parse_path(LiquidScanner *scanner)
{
	LiquidExpression *path = palloc0_object(LiquidExpression);
	int			allocated = 4;

	path->kind = LIQUID_PATH;
	path->at = scanner->at;
	path->segments = palloc_array(LiquidSegment, allocated);
	if (ma_liquid_scan_take(scanner, "["))
	{
		path->root_of = ma_liquid_parse_expression(scanner);
		ma_liquid_scan_expect(scanner, "]");
	}
	else
	{
		path->root = ma_liquid_name(scanner->text, scanner->length);
		ma_liquid_scan_next(scanner);
	}
	while (ma_liquid_scan_is(scanner, ".") || ma_liquid_scan_is(scanner, "["))
	{
		if (path->nsegments == allocated)
		{
			allocated *= 2;
			path->segments = repalloc_array(path->segments, LiquidSegment, allocated);
		}
		path->nsegments += parse_segment(scanner, &path->segments[path->nsegments]);
	}
	/* It may be any variable, and all of it. */
	if (path->root_of != NULL)
	{
		scanner->liquid->members = lappend(scanner->liquid->members, "contact.*");
		scanner->liquid->members = lappend(scanner->liquid->members, "message.*");
		return path;
	}
	if (path->nsegments == 0 && word_constant(path, &path->constant))
		path->kind = LIQUID_CONSTANT;
	else
		path->root_slot = root_slot(scanner->liquid, &path->root);
	note_member(scanner->liquid, path);
	return path;
}

/*
 * contact.name and message.name, for who looks whether there is such a name, or whether it is
 * shown; with * for what is computed, or for all of it.
 */
static void
note_member(MaLiquid *liquid, const LiquidExpression *path)
{
	bool		named = path->nsegments > 0 && path->segments[0].index == NULL;

	if (path->kind != LIQUID_PATH || path->root.length != 7 ||
		(memcmp(path->root.text, "contact", 7) != 0 && memcmp(path->root.text, "message", 7) != 0))
		return;
	liquid->members = lappend(liquid->members, psprintf("%.7s.%.*s", path->root.text,
														named ? path->segments[0].name.length : 1,
														named ? path->segments[0].name.text : "*"));
}

bool
ma_liquid_shows(const MaLiquid *liquid, const char *member)
{
	ListCell   *cell;

	foreach(cell, liquid->members)
		if (strncmp(lfirst(cell), "message.", 8) == 0 &&
			(strcmp((char *) lfirst(cell) + 8, member) == 0 ||
			 strcmp((char *) lfirst(cell) + 8, "*") == 0))
			return true;
	return false;
}

static bool
parse_segment(LiquidScanner *scanner, LiquidSegment *segment)
{
	memset(segment, 0, sizeof(LiquidSegment));
	if (ma_liquid_scan_take(scanner, "."))
	{
		if (scanner->kind != LIQUID_WORD_NAME)
			ma_liquid_scan_unexpected(scanner, "a name");
		segment->name = ma_liquid_name(scanner->text, scanner->length);
		ma_liquid_scan_next(scanner);
		return true;
	}
	ma_liquid_scan_expect(scanner, "[");
	segment->index = ma_liquid_parse_expression(scanner);
	ma_liquid_scan_expect(scanner, "]");
	if (segment->index->kind == LIQUID_CONSTANT && segment->index->constant.kind == LIQUID_STRING)
	{
		segment->name = ma_liquid_name(segment->index->constant.u.string,
									   segment->index->constant.length);
		segment->index = NULL;
	}
	return true;
}

/* nil, true, false, empty and blank are no variables. */
static bool
word_constant(const LiquidExpression *path, LiquidValue *value)
{
	static const struct
	{
		const char *word;
		LiquidValue value;
	}			words[] = {
		{"nil", {LIQUID_NIL}}, {"null", {LIQUID_NIL}},
		{"true", {LIQUID_BOOL, false, 0, {true}}}, {"false", {LIQUID_BOOL}},
		{"empty", {LIQUID_EMPTY}}, {"blank", {LIQUID_BLANK}}};

	for (int i = 0; i < lengthof(words); i++)
		if (path->root.length == (int) strlen(words[i].word) &&
			memcmp(path->root.text, words[i].word, path->root.length) == 0)
		{
			*value = words[i].value;
			return true;
		}
	return false;
}

/* Number of a first name in this template: it is looked up once in a rendering. */
static int
root_slot(MaLiquid *liquid, const LiquidName *name)
{
	LiquidName *kept;
	ListCell   *cell;

	foreach(cell, liquid->roots)
	{
		LiquidName *other = lfirst(cell);

		if (other->hash == name->hash && other->length == name->length &&
			memcmp(other->text, name->text, name->length) == 0)
			return foreach_current_index(cell);
	}
	if (liquid->nroots >= LIQUID_MAX_ROOTS)
		ma_liquid_syntax_error(liquid, name->text - liquid->source, "Put parts of it into snippets.",
							   "the text uses more than %d variables", LIQUID_MAX_ROOTS);
	kept = palloc_object(LiquidName);
	*kept = *name;
	liquid->roots = lappend(liquid->roots, kept);
	return liquid->nroots++;
}

/* expression | filter: argument, argument | ... */
void
ma_liquid_parse_pipe(LiquidScanner *scanner, LiquidPipe *pipe)
{
	int			allocated = 0;

	memset(pipe, 0, sizeof(LiquidPipe));
	if (scanner->kind == LIQUID_WORD_END)
		return;
	pipe->expression = ma_liquid_parse_expression(scanner);
	while (ma_liquid_scan_take(scanner, "|"))
	{
		if (pipe->nfilters == allocated)
		{
			allocated += 4;
			pipe->filters = pipe->filters == NULL ? palloc_array(LiquidFilter, allocated) :
				repalloc_array(pipe->filters, LiquidFilter, allocated);
		}
		parse_filter(scanner, &pipe->filters[pipe->nfilters++]);
	}
	if (scanner->kind != LIQUID_WORD_END)
		ma_liquid_scan_unexpected(scanner, "\"|\" and a filter, or the end");
}

static void
parse_filter(LiquidScanner *scanner, LiquidFilter *filter)
{
	memset(filter, 0, sizeof(LiquidFilter));
	filter->at = scanner->at;
	if (scanner->kind != LIQUID_WORD_NAME)
		ma_liquid_scan_unexpected(scanner, "the name of a filter");
	filter->type = ma_liquid_filter(scanner->text, scanner->length);
	if (filter->type == NULL)
		unknown_filter(scanner);
	ma_liquid_scan_next(scanner);
	if (ma_liquid_scan_take(scanner, ":"))
		do
			parse_argument(scanner, filter);
		while (ma_liquid_scan_take(scanner, ","));
	if (filter->narguments >= filter->type->min_arguments)
		return;
	ma_liquid_syntax_error(scanner->liquid, filter->at,
						   psprintf("It takes at least %d.", filter->type->min_arguments),
						   "filter %s has too few arguments", filter->type->name);
}

/* value, or name: value */
static void
parse_argument(LiquidScanner *scanner, LiquidFilter *filter)
{
	int			at = scanner->at;
	LiquidScanner ahead = *scanner;

	if (scanner->kind == LIQUID_WORD_NAME)
	{
		ma_liquid_scan_next(&ahead);
		if (ma_liquid_scan_is(&ahead, ":"))
		{
			if (filter->type->keyword == NULL || !ma_liquid_scan_is(scanner, filter->type->keyword))
				ma_liquid_syntax_error(scanner->liquid, at, "Give its arguments by their places.",
									   "filter %s has no argument named %.*s", filter->type->name,
									   scanner->length, scanner->text);
			*scanner = ahead;
			ma_liquid_scan_next(scanner);
			filter->keyword = ma_liquid_parse_expression(scanner);
			return;
		}
	}
	if (filter->narguments == filter->type->max_arguments)
		ma_liquid_syntax_error(scanner->liquid, at,
							   filter->type->max_arguments == 0 ? "It takes none." :
							   psprintf("It takes at most %d.", filter->type->max_arguments),
							   "filter %s has too many arguments", filter->type->name);
	filter->arguments[filter->narguments++] = ma_liquid_parse_expression(scanner);
}

static void
unknown_filter(LiquidScanner *scanner)
{
	char	   *name = pnstrdup(scanner->text, scanner->length);
	char	   *near = ma_nearest(name, ma_liquid_filter_names());

	ma_liquid_syntax_error(scanner->liquid, scanner->at,
						   near ? psprintf("Did you mean %s?", near) : "README.md lists the filters.",
						   "there is no filter \"%s\"", name);
}

/* comparison {and | or comparison} */
LiquidCondition *
ma_liquid_parse_condition(LiquidScanner *scanner)
{
	LiquidCondition *first = parse_comparison(scanner);
	LiquidCondition *last = first;

	while (ma_liquid_scan_is(scanner, "and") || ma_liquid_scan_is(scanner, "or"))
	{
		last->is_or = ma_liquid_scan_is(scanner, "or");
		ma_liquid_scan_next(scanner);
		last->next = parse_comparison(scanner);
		last = last->next;
	}
	if (scanner->kind != LIQUID_WORD_END)
		ma_liquid_scan_unexpected(scanner, "a comparison, \"and\", \"or\" or the end");
	return first;
}

static LiquidCondition *
parse_comparison(LiquidScanner *scanner)
{
	LiquidCondition *condition = palloc0_object(LiquidCondition);

	condition->at = scanner->at;
	condition->left = ma_liquid_parse_expression(scanner);
	condition->operator = comparison(scanner);
	if (condition->operator == LIQUID_TRUTH)
		return condition;
	ma_liquid_scan_next(scanner);
	condition->right = ma_liquid_parse_expression(scanner);
	return condition;
}

/* The operator that the current word is; LIQUID_TRUTH if it is none. */
static LiquidOperator
comparison(const LiquidScanner *scanner)
{
	static const struct
	{
		const char *text;
		LiquidOperator operator;
	}			operators[] = {
		{"==", LIQUID_EQUAL}, {"!=", LIQUID_NOT_EQUAL}, {"<>", LIQUID_NOT_EQUAL},
		{"<", LIQUID_LESS}, {">", LIQUID_GREATER}, {"<=", LIQUID_LESS_EQUAL},
		{">=", LIQUID_GREATER_EQUAL}};

	if (ma_liquid_scan_is(scanner, "contains"))
		return LIQUID_CONTAINS;
	if (scanner->kind == LIQUID_WORD_COMPARISON)
		for (int i = 0; i < lengthof(operators); i++)
			if (scanner->length == (int) strlen(operators[i].text) &&
				memcmp(scanner->text, operators[i].text, scanner->length) == 0)
				return operators[i].operator;
	return LIQUID_TRUTH;
}
