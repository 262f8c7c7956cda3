/*
 * lexer.c
 *		Source of a template to tokens: text, outputs and tags.
 *
 * Whitespace control, raw, comments and the lines of {% liquid %} are settled here,
 * since they are about the text between tags and not about what tags mean: behind
 * this file there are only text that is shown, markup of outputs, and named tags.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

typedef struct Lexer
{
	MaLiquid   *liquid;
	LiquidTokens *tokens;
	int			position;
	bool		trim;			/* the text that follows loses its leading blanks */
} Lexer;

/* An output or tag as it stands in the source. */
typedef struct Markup
{
	int			at;
	int			start;			/* of the inside, without markers */
	int			end;
	int			after;
	bool		is_tag;
	bool		trim_before;
	bool		trim_after;
} Markup;

static LiquidToken *add(LiquidTokens *tokens, LiquidTokenKind kind, int at, int start, int end);
static int	find(const MaLiquid *liquid, int from, const char *what);
static bool next_markup(Lexer *lexer, int from, Markup *markup);
static void add_text(Lexer *lexer, int start, int end, bool trim_after);
static void add_tag(Lexer *lexer, const Markup *markup);
static LiquidName tag_name(const MaLiquid *liquid, int *start, int end);
static void skip_raw(Lexer *lexer, const Markup *markup);
static void skip_comment(Lexer *lexer, const Markup *markup);
static void skip_doc(Lexer *lexer, const Markup *markup);
static bool is_end(const Lexer *lexer, const Markup *markup, const char *name);
static void check_inline_comment(Lexer *lexer, int start, int end);
static void add_lines(Lexer *lexer, const LiquidToken *liquid_tag, int depth);
static int	skip_comment_lines(Lexer *lexer, int at, int position, int end);
static bool next_line(const MaLiquid *liquid, int *position, int end, int *start, int *stop);

static inline bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

LiquidTokens *
ma_liquid_tokens(MaLiquid *liquid)
{
	Lexer		lexer = {liquid, palloc0_object(LiquidTokens)};
	Markup		markup;

	lexer.tokens->allocated = 64;
	lexer.tokens->tokens = palloc_array(LiquidToken, lexer.tokens->allocated);
	while (next_markup(&lexer, lexer.position, &markup))
	{
		add_text(&lexer, lexer.position, markup.at, markup.trim_before);
		lexer.trim = markup.trim_after;
		lexer.position = markup.after;
		if (markup.is_tag)
			add_tag(&lexer, &markup);
		else
			add(lexer.tokens, LIQUID_TOKEN_OUTPUT, markup.at, markup.start, markup.end);
	}
	add_text(&lexer, lexer.position, liquid->length, false);
	add(lexer.tokens, LIQUID_TOKEN_END, liquid->length, liquid->length, liquid->length);
	return lexer.tokens;
}

static LiquidToken *
add(LiquidTokens *tokens, LiquidTokenKind kind, int at, int start, int end)
{
	LiquidToken *token;

	if (tokens->n == tokens->allocated)
	{
		tokens->allocated *= 2;
		tokens->tokens = repalloc_array(tokens->tokens, LiquidToken, tokens->allocated);
	}
	token = &tokens->tokens[tokens->n++];
	memset(token, 0, sizeof(LiquidToken));
	token->kind = kind;
	token->at = at;
	token->start = start;
	token->end = end;
	return token;
}

/* Offset of the two characters `what` from `from` on, or -1. */
static int
find(const MaLiquid *liquid, int from, const char *what)
{
	const char *source = liquid->source;

	for (int i = from; i + 1 < liquid->length; i++)
	{
		const char *found = memchr(source + i, what[0], liquid->length - 1 - i);

		if (found == NULL)
			return -1;
		i = found - source;
		if (source[i + 1] == what[1])
			return i;
	}
	return -1;
}

/* The next output or tag; false if there is none. */
static bool
next_markup(Lexer *lexer, int from, Markup *markup)
{
	const MaLiquid *liquid = lexer->liquid;
	const char *source = liquid->source;
	int			end;

	for (;; from++)
	{
		const char *brace = from < liquid->length ?
			memchr(source + from, '{', liquid->length - from) : NULL;

		if (brace == NULL || brace - source + 1 >= liquid->length)
			return false;
		from = brace - source;
		if (source[from + 1] == '{' || source[from + 1] == '%')
			break;
	}
	markup->at = from;
	markup->is_tag = (source[from + 1] == '%');
	markup->start = from + 2;
	end = find(liquid, markup->start, markup->is_tag ? "%}" : "}}");
	if (end < 0)
		ma_liquid_syntax_error(liquid, from,
							   markup->is_tag ? "A tag ends with %}." : "An output ends with }}.",
							   "%s is not closed", markup->is_tag ? "tag {%" : "output {{");
	markup->after = end + 2;
	markup->trim_before = (markup->start < end && source[markup->start] == '-');
	markup->start += markup->trim_before;
	markup->trim_after = (markup->start < end && source[end - 1] == '-');
	markup->end = end - markup->trim_after;
	return true;
}

/* Text between two outputs or tags, without the blanks that they take away. */
static void
add_text(Lexer *lexer, int start, int end, bool trim_after)
{
	const char *source = lexer->liquid->source;

	if (lexer->trim)
		while (start < end && is_blank(source[start]))
			start++;
	if (trim_after)
		while (start < end && is_blank(source[end - 1]))
			end--;
	if (start < end)
		add(lexer->tokens, LIQUID_TOKEN_TEXT, start, start, end);
}

static void
add_tag(Lexer *lexer, const Markup *markup)
{
	int			start = markup->start;
	LiquidToken *token;
	LiquidToken tag = {LIQUID_TOKEN_TAG, markup->at};

	tag.tag = tag_name(lexer->liquid, &start, markup->end);
	tag.start = start;
	tag.end = markup->end;
	if (tag.tag.length == 0)
	{
		/* A tag without a name is a comment, or nothing. */
		check_inline_comment(lexer, start, markup->end);
		return;
	}
	if (ma_liquid_token_is(&tag, "raw"))
		skip_raw(lexer, markup);
	else if (ma_liquid_token_is(&tag, "comment"))
		skip_comment(lexer, markup);
	else if (ma_liquid_token_is(&tag, "doc"))
		skip_doc(lexer, markup);
	else if (ma_liquid_token_is(&tag, "liquid"))
	{
		add_lines(lexer, &tag, 0);
		add(lexer->tokens, LIQUID_TOKEN_LINES_END, markup->end, markup->end, markup->end);
	}
	else
	{
		token = add(lexer->tokens, LIQUID_TOKEN_TAG, markup->at, start, markup->end);
		token->tag = tag.tag;
	}
}

/* The first word of a tag; *start moves behind it. */
static LiquidName
tag_name(const MaLiquid *liquid, int *start, int end)
{
	const char *source = liquid->source;
	int			from;

	while (*start < end && is_blank(source[*start]))
		(*start)++;
	from = *start;
	while (*start < end && (isalnum((unsigned char) source[*start]) || source[*start] == '_'))
		(*start)++;
	return ma_liquid_name(source + from, *start - from);
}

/* Text up to {% endraw %} as it stands. */
static void
skip_raw(Lexer *lexer, const Markup *markup)
{
	int			from = markup->after;
	int			start = markup->start;
	int			close = -1;
	Markup		end;

	tag_name(lexer->liquid, &start, markup->end);
	while (start < markup->end && is_blank(lexer->liquid->source[start]))
		start++;
	if (start < markup->end)
		ma_liquid_syntax_error(lexer->liquid, start, "Write {% raw %}.",
							   "tag raw takes no arguments");
	/* What looks like a tag inside need not be a whole one. */
	for (;;)
	{
		int			at = find(lexer->liquid, from, "{%");

		/* One end is that of many beginnings: looked for once. */
		if (at >= 0 && close < at)
			close = find(lexer->liquid, at, "%}");
		if (at < 0 || close < 0)
			ma_liquid_syntax_error(lexer->liquid, markup->at, "Add {% endraw %}.",
								   "tag raw is not closed");
		end = (Markup) {.at = at, .start = at + 2, .end = close, .after = close + 2};
		end.trim_before = lexer->liquid->source[end.start] == '-';
		end.start += end.trim_before;
		end.trim_after = end.end > end.start && lexer->liquid->source[end.end - 1] == '-';
		end.end -= end.trim_after;
		if (is_end(lexer, &end, "endraw"))
			break;
		from = at + 2;
	}
	lexer->trim = false;
	add_text(lexer, markup->after, end.at, end.trim_before);
	lexer->trim = end.trim_after;
	lexer->position = end.after;
}

/* Skips to the matching {% endcomment %}; what is inside must be tokens, not sense. */
static void
skip_comment(Lexer *lexer, const Markup *markup)
{
	int			depth = 1;
	int			from = markup->after;
	bool		raw = false;
	Markup		inner = *markup;

	while (depth > 0)
	{
		int			at = find(lexer->liquid, from, "{%");
		int			close = at < 0 ? -1 : find(lexer->liquid, at + 2, "%}");

		if (close < 0)
			ma_liquid_syntax_error(lexer->liquid, markup->at, "Add {% endcomment %}.",
								   "tag comment is not closed");
		inner = (Markup) {.at = at, .start = at + 2, .end = close, .after = close + 2};
		inner.start += (lexer->liquid->source[inner.start] == '-');
		inner.trim_after = inner.end > inner.start && lexer->liquid->source[inner.end - 1] == '-';
		inner.end -= inner.trim_after;
		if (raw)
			raw = !is_end(lexer, &inner, "endraw");
		else if (is_end(lexer, &inner, "raw"))
			raw = true;
		else if (is_end(lexer, &inner, "comment"))
			depth++;
		else if (is_end(lexer, &inner, "endcomment"))
			depth--;
		from = inner.after;
	}
	lexer->trim = inner.trim_after;
	lexer->position = inner.after;
}

/* Skips to {% enddoc %}; there is no doc within a doc. */
static void
skip_doc(Lexer *lexer, const Markup *markup)
{
	int			start = markup->start;
	int			from = markup->after;
	Markup		inner;

	tag_name(lexer->liquid, &start, markup->end);
	while (start < markup->end && is_blank(lexer->liquid->source[start]))
		start++;
	if (start < markup->end)
		ma_liquid_syntax_error(lexer->liquid, start, "Write {% doc %}.",
							   "tag doc takes no arguments");
	for (;;)
	{
		int			at = find(lexer->liquid, from, "{%");
		int			close = at < 0 ? -1 : find(lexer->liquid, at + 2, "%}");

		if (close < 0)
			ma_liquid_syntax_error(lexer->liquid, markup->at, "Add {% enddoc %}.",
								   "tag doc is not closed");
		inner = (Markup) {.at = at, .start = at + 2, .end = close, .after = close + 2};
		inner.start += (lexer->liquid->source[inner.start] == '-');
		inner.trim_after = inner.end > inner.start && lexer->liquid->source[inner.end - 1] == '-';
		inner.end -= inner.trim_after;
		if (is_end(lexer, &inner, "doc"))
			ma_liquid_syntax_error(lexer->liquid, at, "Close the outer one first.",
								   "tag doc stands inside another doc");
		if (is_end(lexer, &inner, "enddoc"))
			break;
		from = inner.after;
	}
	lexer->trim = inner.trim_after;
	lexer->position = inner.after;
}

/* True if the tag's name is `name`. */
static bool
is_end(const Lexer *lexer, const Markup *markup, const char *name)
{
	int			start = markup->start;
	LiquidName	found = tag_name(lexer->liquid, &start, markup->end);

	return found.length == (int) strlen(name) && memcmp(found.text, name, found.length) == 0;
}

/* Each line of {%# ... %} begins with #. */
static void
check_inline_comment(Lexer *lexer, int start, int end)
{
	const char *source = lexer->liquid->source;
	bool		found = false;

	while (start < end || !found)
	{
		while (start < end && is_blank(source[start]))
			start++;
		if (start < end ? source[start] != '#' : !found)
			ma_liquid_syntax_error(lexer->liquid, start,
								   "A tag begins with its name; each line of a comment begins with #.",
								   "a tag has no name");
		found = true;
		while (start < end && source[start] != '\n')
			start++;
	}
}

/* Lines of {% liquid %}: each one is a tag. */
static void
add_lines(Lexer *lexer, const LiquidToken *liquid_tag, int depth)
{
	const MaLiquid *liquid = lexer->liquid;
	int			position = liquid_tag->start;
	int			start;
	int			stop;

	if (depth > LIQUID_MAX_NESTING)
		ma_liquid_syntax_error(liquid, liquid_tag->at, "Write fewer of them.",
							   "more than %d tags liquid stand in one another", LIQUID_MAX_NESTING);
	while (next_line(liquid, &position, liquid_tag->end, &start, &stop))
	{
		LiquidToken line = {LIQUID_TOKEN_TAG, start};

		if (liquid->source[start] == '#')
			continue;
		line.tag = tag_name(liquid, &start, stop);
		line.start = start;
		line.end = stop;
		if (line.tag.length == 0)
			ma_liquid_syntax_error(liquid, line.at, "A line begins with the name of a tag.",
								   "a line of tag liquid has no tag");
		if (ma_liquid_token_is(&line, "comment"))
			position = skip_comment_lines(lexer, line.at, position, liquid_tag->end);
		else if (ma_liquid_token_is(&line, "liquid"))
			add_lines(lexer, &line, depth + 1);
		else
			*add(lexer->tokens, LIQUID_TOKEN_TAG, line.at, line.start, line.end) = line;
	}
}

/* Position behind the line endcomment. */
static int
skip_comment_lines(Lexer *lexer, int at, int position, int end)
{
	int			depth = 1;
	int			start;
	int			stop;

	while (next_line(lexer->liquid, &position, end, &start, &stop))
	{
		LiquidToken line = {LIQUID_TOKEN_TAG};

		line.tag = tag_name(lexer->liquid, &start, stop);
		if (ma_liquid_token_is(&line, "comment"))
			depth++;
		else if (ma_liquid_token_is(&line, "endcomment") && --depth == 0)
			return position;
	}
	ma_liquid_syntax_error(lexer->liquid, at, "Add a line endcomment.", "tag comment is not closed");
}

/* The next line with something in it, without blanks around it. */
static bool
next_line(const MaLiquid *liquid, int *position, int end, int *start, int *stop)
{
	const char *source = liquid->source;

	while (*position < end && is_blank(source[*position]))
		(*position)++;
	if (*position >= end)
		return false;
	*start = *position;
	while (*position < end && source[*position] != '\n')
		(*position)++;
	*stop = *position;
	while (*stop > *start && is_blank(source[*stop - 1]))
		(*stop)--;
	return true;
}
