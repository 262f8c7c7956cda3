/*
 * tags.c
 *		One tag at a time: conditions, variables, echo, abort.  Loops and snippets
 *		stand in loop_tags.c.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

typedef LiquidNode *(*TagParser) (LiquidParser *parser, const LiquidToken *token);

static LiquidNode *parse_if(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_case(LiquidParser *parser, const LiquidToken *token);
static void parse_when(LiquidParser *parser, const LiquidToken *token, LiquidBranch *branch);
static LiquidNode *parse_assign(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_capture(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_counter(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_ifchanged(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_interrupt(LiquidParser *parser, const LiquidToken *token);
static LiquidNode *parse_abort(LiquidParser *parser, const LiquidToken *token);
static LiquidBranch *add_branch(LiquidNode *node);
static LiquidName variable_name(LiquidScanner *scanner);
static void unknown_tag(LiquidParser *parser, const LiquidToken *token) pg_attribute_noreturn();

static const struct
{
	const char *name;
	TagParser	parse;
}			tags[] = {
	{"if", parse_if}, {"unless", parse_if}, {"case", parse_case},
	{"for", ma_liquid_parse_for}, {"tablerow", ma_liquid_parse_tablerow},
	{"cycle", ma_liquid_parse_cycle}, {"render", ma_liquid_parse_partial},
	{"include", ma_liquid_parse_partial}, {"assign", parse_assign}, {"capture", parse_capture},
	{"increment", parse_counter}, {"decrement", parse_counter}, {"echo", ma_liquid_parse_output},
	{"ifchanged", parse_ifchanged}, {"break", parse_interrupt}, {"continue", parse_interrupt},
	{"abort", parse_abort}};

LiquidNode *
ma_liquid_parse_tag(LiquidParser *parser, const LiquidToken *token)
{
	for (int i = 0; i < lengthof(tags); i++)
		if (ma_liquid_token_is(token, tags[i].name))
			return tags[i].parse(parser, token);
	unknown_tag(parser, token);
}

static void
unknown_tag(LiquidParser *parser, const LiquidToken *token)
{
	static const char *const others[] = {"elsif",   "else",   "when", "raw",
										 "comment", "liquid", "doc"};
	char	   *name = pnstrdup(token->tag.text, token->tag.length);
	List	   *names = NIL;
	char	   *near;

	for (int i = 0; i < lengthof(others); i++)
		if (strcmp(name, others[i]) == 0)
			ma_liquid_syntax_error(parser->liquid, token->at, "Look at the tags around it.",
								   "tag %s stands outside of the block it belongs to", name);
	if (strncmp(name, "end", 3) == 0)
		ma_liquid_syntax_error(parser->liquid, token->at, "Take it away, or look at the tags before it.",
							   "tag %s closes nothing that is open here", name);
	for (int i = 0; i < lengthof(tags); i++)
		names = lappend(names, unconstify(char *, tags[i].name));
	for (int i = 0; i < lengthof(others); i++)
		names = lappend(names, unconstify(char *, others[i]));
	near = ma_nearest(name, names);
	ma_liquid_syntax_error(parser->liquid, token->at,
						   near ? psprintf("Did you mean %s?", near) : "README.md lists the tags.",
						   "there is no tag \"%s\"", name);
}

/* if and unless, with elsif and else */
static LiquidNode *
parse_if(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_IF, token);
	const char *closing = ma_liquid_token_is(token, "if") ? "endif" : "endunless";
	const char *ends = psprintf("elsif else %s", closing);
	LiquidToken end = *token;
	bool		blank = true;

	while (!ma_liquid_token_is(&end, closing))
	{
		LiquidBranch *branch = add_branch(node);
		LiquidScanner scanner;

		if (!ma_liquid_token_is(&end, "else"))
		{
			ma_liquid_scan_begin(&scanner, parser->liquid, end.start, end.end);
			branch->condition = ma_liquid_parse_condition(&scanner);
			branch->negated = ma_liquid_token_is(&end, "unless");
		}
		branch->block = ma_liquid_parse_block(parser, token, ends, &end);
		blank &= branch->block->blank;
	}
	for (int i = 0; blank && i < node->nbranches; i++)
		ma_liquid_remove_blanks(node->branches[i].block);
	return node;
}

static LiquidBranch *
add_branch(LiquidNode *node)
{
	LiquidBranch *branch;

	node->branches = node->branches == NULL ? palloc_array(LiquidBranch, 1) :
		repalloc_array(node->branches, LiquidBranch, node->nbranches + 1);
	branch = &node->branches[node->nbranches++];
	memset(branch, 0, sizeof(LiquidBranch));
	return branch;
}

/* case, with when and else; what stands before the first of them is not shown */
static LiquidNode *
parse_case(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_CASE, token);
	LiquidScanner scanner;
	LiquidToken end;
	bool		blank = true;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	node->value = ma_liquid_parse_expression(&scanner);
	ma_liquid_scan_finish(&scanner);
	(void) ma_liquid_parse_block(parser, token, "when else endcase", &end);
	while (!ma_liquid_token_is(&end, "endcase"))
	{
		LiquidBranch *branch = add_branch(node);

		if (ma_liquid_token_is(&end, "when"))
			parse_when(parser, &end, branch);
		branch->block = ma_liquid_parse_block(parser, token, "when else endcase", &end);
		blank &= branch->block->blank;
	}
	for (int i = 0; blank && i < node->nbranches; i++)
		ma_liquid_remove_blanks(node->branches[i].block);
	return node;
}

/* when value {, | or value} */
static void
parse_when(LiquidParser *parser, const LiquidToken *token, LiquidBranch *branch)
{
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	do
	{
		branch->values = branch->values == NULL ? palloc_array(LiquidExpression *, 1) :
			repalloc_array(branch->values, LiquidExpression *, branch->nvalues + 1);
		branch->values[branch->nvalues++] = ma_liquid_parse_expression(&scanner);
	} while (ma_liquid_scan_take(&scanner, ",") || ma_liquid_scan_take(&scanner, "or"));
	if (scanner.kind != LIQUID_WORD_END)
		ma_liquid_scan_unexpected(&scanner, "a comma, \"or\" or the end");
}

/* assign name = expression | filters */
static LiquidNode *
parse_assign(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_ASSIGN, token);
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	node->name = variable_name(&scanner);
	ma_liquid_scan_expect(&scanner, "=");
	if (scanner.kind == LIQUID_WORD_END)
		ma_liquid_scan_unexpected(&scanner, "a value");
	ma_liquid_parse_pipe(&scanner, &node->pipe);
	return node;
}

static LiquidName
variable_name(LiquidScanner *scanner)
{
	LiquidName	name;

	if (scanner->kind != LIQUID_WORD_NAME && scanner->kind != LIQUID_WORD_INTEGER)
		ma_liquid_scan_unexpected(scanner, "the name of a variable");
	name = ma_liquid_name(scanner->text, scanner->length);
	ma_liquid_scan_next(scanner);
	return name;
}

static LiquidNode *
parse_capture(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_CAPTURE, token);
	LiquidScanner scanner;
	LiquidToken end;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	if (scanner.kind == LIQUID_WORD_STRING)
	{
		node->name = ma_liquid_name(scanner.text, scanner.length);
		ma_liquid_scan_next(&scanner);
	}
	else
		node->name = variable_name(&scanner);
	ma_liquid_scan_finish(&scanner);
	node->block = ma_liquid_parse_block(parser, token, "endcapture", &end);
	return node;
}

/* increment and decrement */
static LiquidNode *
parse_counter(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(ma_liquid_token_is(token, "increment") ?
									  LIQUID_INCREMENT : LIQUID_DECREMENT, token);
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	node->name = variable_name(&scanner);
	ma_liquid_scan_finish(&scanner);
	node->context = ma_liquid_output_context(parser);
	return node;
}

static LiquidNode *
parse_ifchanged(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_IFCHANGED, token);
	LiquidToken end;

	node->block = ma_liquid_parse_block(parser, token, "endifchanged", &end);
	return node;
}

static LiquidNode *
parse_interrupt(LiquidParser *parser, const LiquidToken *token)
{
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	ma_liquid_scan_finish(&scanner);
	return ma_liquid_node(ma_liquid_token_is(token, "break") ? LIQUID_BREAK : LIQUID_CONTINUE,
						  token);
}

/* abort "reason": the message is not sent */
static LiquidNode *
parse_abort(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_ABORT, token);
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	ma_liquid_parse_pipe(&scanner, &node->pipe);
	return node;
}
