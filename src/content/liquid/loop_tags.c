/*
 * loop_tags.c
 *		Tags that repeat (for, tablerow, cycle) and those that show a snippet
 *		(render, include).
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

static void parse_loop(LiquidParser *parser, const LiquidToken *token, LiquidNode *node);
static void parse_loop_option(LiquidScanner *scanner, LiquidNode *node);
static bool is_named_item(const LiquidScanner *scanner);
static void parse_arguments(LiquidScanner *scanner, LiquidNode *node);

/* for name in collection [reversed] [limit: n] [offset: n | continue], with else */
LiquidNode *
ma_liquid_parse_for(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_FOR, token);
	LiquidToken end;

	parse_loop(parser, token, node);
	node->block = ma_liquid_parse_block(parser, token, "else endfor", &end);
	if (ma_liquid_token_is(&end, "else"))
		node->otherwise = ma_liquid_parse_block(parser, token, "endfor", &end);
	if (ma_liquid_node_is_blank(node))
	{
		ma_liquid_remove_blanks(node->block);
		ma_liquid_remove_blanks(node->otherwise);
	}
	return node;
}

/* tablerow name in collection [cols: n] [limit: n] [offset: n] */
LiquidNode *
ma_liquid_parse_tablerow(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_TABLEROW, token);
	LiquidToken end;

	parse_loop(parser, token, node);
	node->block = ma_liquid_parse_block(parser, token, "endtablerow", &end);
	return node;
}

static void
parse_loop(LiquidParser *parser, const LiquidToken *token, LiquidNode *node)
{
	LiquidScanner scanner;
	int			from;
	int			to;
	char	   *label;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	if (scanner.kind != LIQUID_WORD_NAME)
		ma_liquid_scan_unexpected(&scanner, "the name of a variable");
	node->name = ma_liquid_name(scanner.text, scanner.length);
	ma_liquid_scan_next(&scanner);
	ma_liquid_scan_expect(&scanner, "in");
	from = scanner.at;
	node->value = ma_liquid_parse_expression(&scanner);

	/* A loop is known by its variable and the text of its collection. */
	to = scanner.at;
	while (to > from && isspace((unsigned char) parser->liquid->source[to - 1]))
		to--;
	label = psprintf("%.*s-%.*s", node->name.length, node->name.text,
					 to - from, parser->liquid->source + from);
	node->label = ma_liquid_name(label, strlen(label));
	while (scanner.kind != LIQUID_WORD_END)
		parse_loop_option(&scanner, node);
}

static void
parse_loop_option(LiquidScanner *scanner, LiquidNode *node)
{
	LiquidExpression **value;

	if (ma_liquid_scan_take(scanner, ","))
		return;
	if (node->kind == LIQUID_FOR && ma_liquid_scan_take(scanner, "reversed"))
	{
		node->reversed = true;
		return;
	}
	if (ma_liquid_scan_is(scanner, "limit"))
		value = &node->limit;
	else if (ma_liquid_scan_is(scanner, "offset"))
		value = &node->offset;
	else if (node->kind == LIQUID_TABLEROW && ma_liquid_scan_is(scanner, "cols"))
		value = &node->columns;
	else
		ma_liquid_scan_unexpected(scanner, node->kind == LIQUID_FOR ?
								  "reversed, limit or offset" : "cols, limit or offset");
	ma_liquid_scan_next(scanner);
	ma_liquid_scan_expect(scanner, ":");
	if (value == &node->offset && node->kind == LIQUID_FOR &&
		ma_liquid_scan_take(scanner, "continue"))
		node->go_on = true;
	else
		*value = ma_liquid_parse_expression(scanner);
}

/* cycle [group:] item, item ... */
LiquidNode *
ma_liquid_parse_cycle(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_CYCLE, token);
	LiquidScanner scanner;
	int			from;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	from = scanner.at;
	if (is_named_item(&scanner))
	{
		node->value = ma_liquid_parse_expression(&scanner);
		ma_liquid_scan_expect(&scanner, ":");
		from = scanner.at;
	}
	do
	{
		/* A comma may stand at the end. */
		if (scanner.kind == LIQUID_WORD_END && node->nitems > 0)
			break;
		node->items = node->items == NULL ? palloc_array(LiquidExpression *, 1) :
			repalloc_array(node->items, LiquidExpression *, node->nitems + 1);
		node->items[node->nitems++] = ma_liquid_parse_expression(&scanner);
	} while (ma_liquid_scan_take(&scanner, ","));
	ma_liquid_scan_finish(&scanner);
	node->label = ma_liquid_name(parser->liquid->source + from, token->end - from);
	node->context = ma_liquid_output_context(parser);
	return node;
}

/* True if a value and a colon follow. */
static bool
is_named_item(const LiquidScanner *scanner)
{
	LiquidScanner ahead = *scanner;

	if (ahead.kind == LIQUID_WORD_END)
		return false;
	(void) ma_liquid_parse_expression(&ahead);
	return ma_liquid_scan_is(&ahead, ":");
}

/* render and include: name [with value | for list [as name]] [argument: value ...] */
LiquidNode *
ma_liquid_parse_partial(LiquidParser *parser, const LiquidToken *token)
{
	bool		is_render = ma_liquid_token_is(token, "render");
	LiquidNode *node = ma_liquid_node(is_render ? LIQUID_RENDER : LIQUID_INCLUDE, token);
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	if (is_render && scanner.kind != LIQUID_WORD_STRING)
		ma_liquid_scan_unexpected(&scanner, "the name of a snippet in quotes");
	if (scanner.kind == LIQUID_WORD_STRING)
		parser->liquid->snippets = lappend(parser->liquid->snippets,
										   pnstrdup(scanner.text, scanner.length));
	node->value = ma_liquid_parse_expression(&scanner);
	if (ma_liquid_scan_is(&scanner, "with") || ma_liquid_scan_is(&scanner, "for"))
	{
		node->each = ma_liquid_scan_is(&scanner, "for");
		ma_liquid_scan_next(&scanner);
		node->subject = ma_liquid_parse_expression(&scanner);
		if (ma_liquid_scan_take(&scanner, "as"))
		{
			if (scanner.kind != LIQUID_WORD_NAME)
				ma_liquid_scan_unexpected(&scanner, "the name of a variable");
			node->name = ma_liquid_name(scanner.text, scanner.length);
			ma_liquid_scan_next(&scanner);
		}
	}
	parse_arguments(&scanner, node);
	return node;
}

/* Further arguments by name, with or without commas. */
static void
parse_arguments(LiquidScanner *scanner, LiquidNode *node)
{
	while (scanner->kind != LIQUID_WORD_END)
	{
		LiquidArgument *argument;

		if (ma_liquid_scan_take(scanner, ","))
			continue;
		if (scanner->kind != LIQUID_WORD_NAME)
			ma_liquid_scan_unexpected(scanner, "the name of an argument");
		node->arguments = node->arguments == NULL ? palloc_array(LiquidArgument, 1) :
			repalloc_array(node->arguments, LiquidArgument, node->narguments + 1);
		argument = &node->arguments[node->narguments++];
		argument->name = ma_liquid_name(scanner->text, scanner->length);
		ma_liquid_scan_next(scanner);
		ma_liquid_scan_expect(scanner, ":");
		argument->value = ma_liquid_parse_expression(scanner);
	}
}
