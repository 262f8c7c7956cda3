/*
 * parser.c
 *		Tokens of a template to its tree of nodes, and errors with their place.
 *
 * Blocks call tags and tags call blocks; the depth is bounded, so that no text can
 * exhaust the stack.  While it goes through the text in its order, it also follows
 * in which place of the HTML each output stands (context.c).
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define CARET_BEFORE 60			/* octets of the line that are shown */
#define CARET_BEHIND 20

static LiquidNode *parse_token(LiquidParser *parser, const LiquidToken *token);
static bool is_one_of(const LiquidToken *token, const char *tags);
static void not_closed(LiquidParser *parser, const LiquidToken *opener, const char *ends)
	pg_attribute_noreturn();
static char *caret(const MaLiquid *liquid, int at);
static void block_add(LiquidBlock *block, LiquidNode *node, int *allocated);

MaLiquid *
ma_liquid_compile(const char *source, int length, MaEscape escape, const char *what)
{
	MaLiquid   *liquid = palloc0_object(MaLiquid);
	LiquidParser parser = {liquid};
	LiquidToken end;

	liquid->what = pstrdup(what);
	liquid->source = pnstrdup(source, length);
	liquid->length = length;
	liquid->escape = escape;
	if (length > LIQUID_MAX_SOURCE)
		ma_liquid_syntax_error(liquid, 0, "Put parts of it into snippets.",
							   "the text is longer than %d octets", LIQUID_MAX_SOURCE);
	parser.tokens = ma_liquid_tokens(liquid);
	if (escape == MA_ESCAPE_HTML)
		parser.html = ma_liquid_html_begin();
	liquid->block = ma_liquid_parse_block(&parser, NULL, "", &end);
	return liquid;
}

LiquidBlock *
ma_liquid_parse_block(LiquidParser *parser, const LiquidToken *opener, const char *ends,
					  LiquidToken *end)
{
	LiquidBlock *block = palloc0_object(LiquidBlock);
	int			allocated = 0;

	check_stack_depth();
	if (++parser->depth > LIQUID_MAX_NESTING)
		ma_liquid_syntax_error(parser->liquid, opener->at, "Put the inner part into a snippet.",
							   "more than %d blocks stand in one another", LIQUID_MAX_NESTING);
	block->blank = true;
	for (;;)
	{
		const LiquidToken *token = &parser->tokens->tokens[parser->next++];
		LiquidNode *node;

		CHECK_FOR_INTERRUPTS();
		*end = *token;
		if (token->kind == LIQUID_TOKEN_TAG && is_one_of(token, ends))
			break;
		if (token->kind == LIQUID_TOKEN_END && opener == NULL)
			break;
		if (token->kind == LIQUID_TOKEN_LINES_END && opener == NULL)
			continue;
		/* What a {% liquid %} opens is closed in it. */
		if (token->kind == LIQUID_TOKEN_END || token->kind == LIQUID_TOKEN_LINES_END)
		{
			if (token->kind == LIQUID_TOKEN_LINES_END &&
				opener->start < parser->liquid->length &&
				parser->liquid->source[opener->at] == '{')
				continue;
			not_closed(parser, opener, ends);
		}
		node = parse_token(parser, token);
		if (node == NULL)
			continue;
		block->blank &= ma_liquid_node_is_blank(node);
		block_add(block, node, &allocated);
	}
	parser->depth--;
	return block;
}

static void
block_add(LiquidBlock *block, LiquidNode *node, int *allocated)
{
	if (block->n == *allocated)
	{
		*allocated = Max(*allocated * 2, 8);
		block->nodes = block->nodes == NULL ? palloc_array(LiquidNode *, *allocated) :
			repalloc_array(block->nodes, LiquidNode *, *allocated);
	}
	block->nodes[block->n++] = node;
}

static LiquidNode *
parse_token(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node;

	if (token->kind == LIQUID_TOKEN_OUTPUT)
		return ma_liquid_parse_output(parser, token);
	if (token->kind == LIQUID_TOKEN_TAG)
		return ma_liquid_parse_tag(parser, token);
	node = ma_liquid_node(LIQUID_TEXT, token);
	node->label.text = parser->liquid->source + token->start;
	node->label.length = token->end - token->start;
	if (parser->html != NULL)
		ma_liquid_html_text(parser->html, node->label.text, node->label.length);
	return node;
}

/* {{ expression | filters }}; also {% echo %} */
LiquidNode *
ma_liquid_parse_output(LiquidParser *parser, const LiquidToken *token)
{
	LiquidNode *node = ma_liquid_node(LIQUID_OUTPUT, token);
	LiquidScanner scanner;

	ma_liquid_scan_begin(&scanner, parser->liquid, token->start, token->end);
	ma_liquid_parse_pipe(&scanner, &node->pipe);
	node->context = ma_liquid_output_context(parser);
	return node;
}

LiquidContext
ma_liquid_output_context(LiquidParser *parser)
{
	return parser->html == NULL ? LIQUID_IN_PLAIN : ma_liquid_html_output(parser->html);
}

LiquidNode *
ma_liquid_node(LiquidNodeKind kind, const LiquidToken *token)
{
	LiquidNode *node = palloc0_object(LiquidNode);

	node->kind = kind;
	node->at = token->at;
	return node;
}

bool
ma_liquid_token_is(const LiquidToken *token, const char *tag)
{
	return token->kind == LIQUID_TOKEN_TAG && token->tag.length == (int) strlen(tag) &&
		memcmp(token->tag.text, tag, token->tag.length) == 0;
}

static bool
is_one_of(const LiquidToken *token, const char *tags)
{
	while (*tags)
	{
		int			length = strcspn(tags, " ");

		if (token->tag.length == length && memcmp(token->tag.text, tags, length) == 0)
			return true;
		tags += length + (tags[length] == ' ');
	}
	return false;
}

static void
not_closed(LiquidParser *parser, const LiquidToken *opener, const char *ends)
{
	const char *last = strrchr(ends, ' ');

	ma_liquid_syntax_error(parser->liquid, opener->at,
						   psprintf("Add {%% %s %%}.", last ? last + 1 : ends),
						   "tag %.*s is not closed", opener->tag.length, opener->tag.text);
}

/* True for what shows nothing by itself. */
bool
ma_liquid_node_is_blank(const LiquidNode *node)
{
	switch (node->kind)
	{
		case LIQUID_TEXT:
			for (int i = 0; i < node->label.length; i++)
				if (!isspace((unsigned char) node->label.text[i]))
					return false;
			return true;
		case LIQUID_ASSIGN:
		case LIQUID_CAPTURE:
			return true;
		case LIQUID_IF:
		case LIQUID_CASE:
			for (int i = 0; i < node->nbranches; i++)
				if (!node->branches[i].block->blank)
					return false;
			return true;
		case LIQUID_FOR:
			return node->block->blank && (node->otherwise == NULL || node->otherwise->blank);
		default:
			return false;
	}
}

/* Takes the text away from a block that is all blank. */
void
ma_liquid_remove_blanks(LiquidBlock *block)
{
	int			n = 0;

	if (block == NULL)
		return;
	for (int i = 0; i < block->n; i++)
		if (block->nodes[i]->kind != LIQUID_TEXT)
			block->nodes[n++] = block->nodes[i];
	block->n = n;
}

/* Line and column, counted in characters, of an offset of the source. */
void
ma_liquid_place(const MaLiquid *liquid, int at, int *line, int *column)
{
	int			begin = 0;

	*line = 1;
	at = Min(at, liquid->length);
	for (int i = 0; i < at; i++)
		if (liquid->source[i] == '\n')
		{
			(*line)++;
			begin = i + 1;
		}
	*column = pg_mbstrlen_with_len(liquid->source + begin, at - begin) + 1;
}

void
ma_liquid_syntax_error(const MaLiquid *liquid, int at, const char *hint, const char *format, ...)
{
	va_list		arguments;

	va_start(arguments, format);
	ma_liquid_fail(liquid, at, ERRCODE_MA_INVALID_TEMPLATE, hint, format, arguments);
}

/* The source's line, or what is near in a long one, with a caret below the place. */
static char *
caret(const MaLiquid *liquid, int at)
{
	const char *source = liquid->source;
	StringInfoData out;
	int			begin;
	int			end;

	at = begin = end = Min(at, liquid->length);
	while (begin > 0 && source[begin - 1] != '\n' && at - begin < CARET_BEFORE)
		begin--;
	while (begin < at && IS_HIGHBIT_SET(source[begin]) &&
		   !pg_verifymbstr(source + begin, at - begin, true))
		begin++;
	while (end < liquid->length && source[end] != '\n' && source[end] != '\r' &&
		   end - at < CARET_BEHIND)
		end++;
	end = at + pg_mbcliplen(source + at, end - at, end - at);
	initStringInfo(&out);
	appendStringInfo(&out, "\n%.*s\n", end - begin, source + begin);
	/* Tabs stay tabs, so that the caret stands where it should. */
	for (int i = begin; i < at; i += pg_mblen(source + i))
		appendStringInfoChar(&out, source[i] == '\t' ? '\t' : ' ');
	appendStringInfoChar(&out, '^');
	return out.data;
}

/* The error ends the call, and with it the arguments' va_list. */
void
ma_liquid_fail(const MaLiquid *liquid, int at, int code, const char *hint, const char *format,
			   va_list arguments)
{
	StringInfoData text;
	int			line;
	int			column;
	int			needed;

	initStringInfo(&text);
	do
	{
		va_list		copy;

		va_copy(copy, arguments);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed > 0)
			enlargeStringInfo(&text, needed);
	} while (needed > 0);
	ma_liquid_place(liquid, at, &line, &column);
	ereport(ERROR,
			(errcode(code),
			 errmsg("%s: %s", liquid->what, text.data),
			 errdetail("Line %d, column %d.%s", line, column,
					   code == ERRCODE_MA_INVALID_TEMPLATE ? caret(liquid, at) : ""),
			 errhint("%s", hint)));
}
