/*
 * filters_string.c
 *		Filters that make text of text.
 *
 * Each first makes text of what it gets, so that a number or nothing is no error.
 * Characters are those of the database's encoding.  Results are written through the
 * bounded buffer, so that none can grow beyond a message.
 */
#include "base/base.h"

#include "catalog/pg_collation.h"
#include "content/liquid/liquid.h"
#include "mb/pg_wchar.h"
#include "utils/formatting.h"

/* A result that is being written. */
typedef struct Writing
{
	LiquidBuffer buffer;
	LiquidBuffer *out;
} Writing;

static void
begin(LiquidRender *render, Writing *result, int size)
{
	ma_liquid_buffer_init(&result->buffer, Max(size, 16));
	result->out = ma_liquid_buffer_swap(render, &result->buffer);
}

static LiquidValue
end(LiquidRender *render, Writing *result)
{
	ma_liquid_buffer_swap(render, result->out);
	ma_liquid_step(render, result->buffer.length / 256);
	return ma_liquid_string(result->buffer.data, result->buffer.length);
}

static inline bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static LiquidValue
concatenate(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	Writing		result;

	begin(render, &result, left.length + right.length);
	ma_liquid_append(render, left.u.string, left.length);
	ma_liquid_append(render, right.u.string, right.length);
	return end(render, &result);
}

static LiquidValue
filter_append(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return concatenate(render, ma_liquid_to_string(render, input),
					   ma_liquid_to_string(render, arguments[0]));
}

static LiquidValue
filter_prepend(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return concatenate(render, ma_liquid_to_string(render, arguments[0]),
					   ma_liquid_to_string(render, input));
}

/* Letters of the database's default collation. */
static LiquidValue
change_case(LiquidRender *render, LiquidValue input, char *(*change) (const char *, size_t, Oid))
{
	LiquidValue text = ma_liquid_to_string(render, input);
	char	   *changed = change(text.u.string, text.length, DEFAULT_COLLATION_OID);

	return ma_liquid_string(changed, strlen(changed));
}

static LiquidValue
filter_upcase(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return change_case(render, input, str_toupper);
}

static LiquidValue
filter_downcase(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return change_case(render, input, str_tolower);
}

/* The first character large, all others small. */
static LiquidValue
filter_capitalize(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue rest = text;
	int			first;

	if (text.length == 0)
		return text;
	first = Min(pg_mblen(text.u.string), text.length);
	rest.u.string += first;
	rest.length -= first;
	text.length = first;
	return concatenate(render, change_case(render, text, str_toupper),
					   change_case(render, rest, str_tolower));
}

static LiquidValue
stripped(LiquidRender *render, LiquidValue input, bool left, bool right)
{
	LiquidValue text = ma_liquid_to_string(render, input);

	while (left && text.length > 0 && is_space(*text.u.string))
	{
		text.u.string++;
		text.length--;
	}
	while (right && text.length > 0 && is_space(text.u.string[text.length - 1]))
		text.length--;
	return text;
}

static LiquidValue
filter_strip(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return stripped(render, input, true, true);
}

static LiquidValue
filter_lstrip(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return stripped(render, input, true, false);
}

static LiquidValue
filter_rstrip(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return stripped(render, input, false, true);
}

/* Runs of blanks become one, and none stay at the ends. */
static LiquidValue
filter_squish(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = stripped(render, input, true, true);
	Writing		result;

	begin(render, &result, text.length);
	for (int i = 0; i < text.length; i++)
	{
		if (!is_space(text.u.string[i]))
			ma_liquid_append(render, text.u.string + i, 1);
		else if (!is_space(text.u.string[i - 1]))
			ma_liquid_append(render, " ", 1);
	}
	return end(render, &result);
}

static LiquidValue
filter_strip_newlines(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	Writing		result;

	begin(render, &result, text.length);
	for (int i = 0; i < text.length; i++)
		if (text.u.string[i] != '\n' &&
			!(text.u.string[i] == '\r' && i + 1 < text.length && text.u.string[i + 1] == '\n'))
			ma_liquid_append(render, text.u.string + i, 1);
	return end(render, &result);
}

/* Offset of `what` in `text` from `from` on, or -1. */
static int
find(LiquidValue text, LiquidValue what, int from)
{
	const char *found = memmem(text.u.string + from, text.length - from, what.u.string,
				what.length);

	return found == NULL ? -1 : found - text.u.string;
}

/* Every `what` becomes `with`; an empty one stands between all characters. */
static LiquidValue
replace_all(LiquidRender *render, LiquidValue text, LiquidValue what, LiquidValue with)
{
	Writing		result;
	int			from = 0;
	int			at;

	begin(render, &result, text.length);
	while (from <= text.length && (at = find(text, what, from)) >= 0)
	{
		int			step = what.length;

		ma_liquid_step(render, 1);
		ma_liquid_append(render, text.u.string + from, at - from);
		ma_liquid_append(render, with.u.string, with.length);
		if (step == 0)
		{
			if (at >= text.length)
				return end(render, &result);
			step = Min(pg_mblen(text.u.string + at), text.length - at);
			ma_liquid_append(render, text.u.string + at, step);
		}
		from = at + step;
	}
	ma_liquid_append(render, text.u.string + from, text.length - from);
	return end(render, &result);
}

/* The `what` at `at` becomes `with`; nothing if it is -1. */
static LiquidValue
replace_at(LiquidRender *render, LiquidValue text, LiquidValue what, LiquidValue with, int at)
{
	Writing		result;

	if (at < 0)
		return text;
	begin(render, &result, text.length + with.length);
	ma_liquid_append(render, text.u.string, at);
	ma_liquid_append(render, with.u.string, with.length);
	ma_liquid_append(render, text.u.string + at + what.length, text.length - at - what.length);
	return end(render, &result);
}

/* Offset of the last `what`, or -1. */
static int
find_last(LiquidRender *render, LiquidValue text, LiquidValue what)
{
	if (what.length == 0)
		return text.length;
	for (int at = text.length - what.length; at >= 0; at--)
	{
		if (text.u.string[at] != what.u.string[0])
			continue;
		ma_liquid_step(render, 1 + what.length / 256);
		if (memcmp(text.u.string + at, what.u.string, what.length) == 0)
			return at;
	}
	return -1;
}

static LiquidValue
filter_replace(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return replace_all(render, ma_liquid_to_string(render, input),
					   ma_liquid_to_string(render, arguments[0]),
					   ma_liquid_to_string(render, arguments[1]));
}

static LiquidValue
filter_replace_first(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue what = ma_liquid_to_string(render, arguments[0]);

	return replace_at(render, text, what, ma_liquid_to_string(render, arguments[1]),
					  find(text, what, 0));
}

static LiquidValue
filter_replace_last(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue what = ma_liquid_to_string(render, arguments[0]);

	ma_liquid_step(render, text.length / 64);
	return replace_at(render, text, what, ma_liquid_to_string(render, arguments[1]),
					  find_last(render, text, what));
}

static LiquidValue
filter_remove(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue what = ma_liquid_to_string(render, arguments[0]);

	input = ma_liquid_to_string(render, input);
	return what.length == 0 ? input : replace_all(render, input, what, ma_liquid_string("", 0));
}

static LiquidValue
filter_remove_first(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue nothing[2] = {arguments[0]};

	return filter_replace_first(render, input, nothing);
}

static LiquidValue
filter_remove_last(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue nothing[2] = {arguments[0]};

	return filter_replace_last(render, input, nothing);
}

/* Offset behind `n` characters. */
static int
characters(LiquidRender *render, LiquidValue text, int64 n)
{
	int			at = 0;

	ma_liquid_step(render, Min(n, text.length) / 64);
	for (; n > 0 && at < text.length; n--)
		at += pg_mblen(text.u.string + at);
	return Min(at, text.length);
}

/* slice: from, length - of a text or of an array */
static LiquidValue
filter_slice(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	int64		from = ma_liquid_to_int(render, arguments[0], "the first argument of slice");
	int64		count = arguments[1].kind <= LIQUID_NIL ? 1 :
		ma_liquid_to_int(render, arguments[1], "the second argument of slice");
	int64		size;
	LiquidValue text = input;

	if (!ma_liquid_is_array(input))
		text = ma_liquid_to_string(render, input);
	size = ma_liquid_size(render, text);
	if (from < 0)
		from += size;
	if (from < 0 || from > size || count < 0)
		count = from = 0;
	count = Min(count, size - from);
	if (ma_liquid_is_array(input))
		return ma_liquid_array(ma_liquid_items(render, input)->items + from, count);
	size = characters(render, text, from);
	text.u.string += size;
	text.length -= size;
	text.length = characters(render, text, count);
	text.safe = false;
	return text;
}

/* truncate: characters, "end" - with the end no longer than that */
static LiquidValue
filter_truncate(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue ending = arguments[1].kind == LIQUID_UNSET ? ma_liquid_string("...", 3) :
		ma_liquid_to_string(render, arguments[1]);
	int64		length = 50;

	if (arguments[0].kind != LIQUID_UNSET)
		length = ma_liquid_to_int(render, arguments[0], "the first argument of truncate");
	if (input.kind == LIQUID_NIL || ma_liquid_size(render, text) <= length)
		return text;
	text.length = characters(render, text, Max(length - ma_liquid_size(render, ending), 0));
	return concatenate(render, text, ending);
}

/* truncatewords: words, "end" */
static LiquidValue
filter_truncatewords(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue ending = arguments[1].kind == LIQUID_UNSET ? ma_liquid_string("...", 3) :
		ma_liquid_to_string(render, arguments[1]);
	int64		words = 15;
	Writing		result;
	int			at = 0;

	if (arguments[0].kind != LIQUID_UNSET)
		words = ma_liquid_to_int(render, arguments[0], "the first argument of truncatewords");
	words = Max(words, 1);
	if (input.kind == LIQUID_NIL)
		return input;
	begin(render, &result, 256);
	for (int64 n = 0;; n++)
	{
		int			start;

		while (at < text.length && is_space(text.u.string[at]))
			at++;
		if (at >= text.length)
		{
			/* No more words than are wanted: the text as it is. */
			ma_liquid_buffer_swap(render, result.out);
			return text;
		}
		if (n == words)
			break;
		start = at;
		while (at < text.length && !is_space(text.u.string[at]))
			at++;
		if (n > 0)
			ma_liquid_append(render, " ", 1);
		ma_liquid_append(render, text.u.string + start, at - start);
	}
	ma_liquid_append(render, ending.u.string, ending.length);
	return end(render, &result);
}

typedef struct Pieces
{
	int			n;
	int			allocated;
	LiquidValue *items;
} Pieces;

static void
add_piece(LiquidRender *render, Pieces *pieces, const char *text, int length)
{
	ma_liquid_step(render, 1);
	if (pieces->n == pieces->allocated)
	{
		pieces->allocated = Max(pieces->allocated * 2, 8);
		pieces->items = pieces->items == NULL ? palloc_array(LiquidValue, pieces->allocated) :
			repalloc_array(pieces->items, LiquidValue, pieces->allocated);
	}
	pieces->items[pieces->n++] = ma_liquid_string(text, length);
}

/* Words between blanks, as a single blank as separator means. */
static void
split_words(LiquidRender *render, LiquidValue text, Pieces *pieces)
{
	int			at = 0;

	for (;;)
	{
		int			start;

		while (at < text.length && is_space(text.u.string[at]))
			at++;
		if (at >= text.length)
			return;
		start = at;
		while (at < text.length && !is_space(text.u.string[at]))
			at++;
		add_piece(render, pieces, text.u.string + start, at - start);
	}
}

/* split: "separator"; an empty one splits all characters; empty pieces at the end go */
static LiquidValue
filter_split(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidValue separator = ma_liquid_to_string(render, arguments[0]);
	Pieces		pieces = {0};
	int			from = 0;
	int			at;

	if (separator.length == 1 && separator.u.string[0] == ' ')
		split_words(render, text, &pieces);
	else if (separator.length == 0)
		for (; from < text.length; from = at)
		{
			at = Min(from + pg_mblen(text.u.string + from), text.length);
			add_piece(render, &pieces, text.u.string + from, at - from);
		}
	else
	{
		while ((at = find(text, separator, from)) >= 0)
		{
			add_piece(render, &pieces, text.u.string + from, at - from);
			from = at + separator.length;
		}
		add_piece(render, &pieces, text.u.string + from, text.length - from);
	}
	while (pieces.n > 0 && pieces.items[pieces.n - 1].length == 0)
		pieces.n--;
	return ma_liquid_array(pieces.items, pieces.n);
}

/* default: value, allow_false: true */
static LiquidValue
filter_default(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = arguments[0].kind == LIQUID_UNSET ? ma_liquid_string("", 0) : arguments[0];

	if (input.kind == LIQUID_BOOL && !input.u.boolean && ma_liquid_truth(render->keyword))
		return input;
	if (!ma_liquid_truth(input) || ma_liquid_is_empty(input) || input.kind == LIQUID_EMPTY ||
		input.kind == LIQUID_BLANK)
		return value;
	return input;
}

/* The value as JSON. */
static LiquidValue
filter_json(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	StringInfoData text;

	initStringInfo(&text);
	ma_liquid_to_json(render, input, &text, 0);
	return ma_liquid_string(text.data, text.len);
}

const LiquidFilterType ma_liquid_string_filters[] = {
	{"default", 0, 1, filter_default, "allow_false"},
	{"append", 1, 1, filter_append},
	{"prepend", 1, 1, filter_prepend},
	{"upcase", 0, 0, filter_upcase},
	{"downcase", 0, 0, filter_downcase},
	{"capitalize", 0, 0, filter_capitalize},
	{"strip", 0, 0, filter_strip},
	{"lstrip", 0, 0, filter_lstrip},
	{"rstrip", 0, 0, filter_rstrip},
	{"squish", 0, 0, filter_squish},
	{"strip_newlines", 0, 0, filter_strip_newlines},
	{"replace", 1, 2, filter_replace},
	{"replace_first", 1, 2, filter_replace_first},
	{"replace_last", 2, 2, filter_replace_last},
	{"remove", 1, 1, filter_remove},
	{"remove_first", 1, 1, filter_remove_first},
	{"remove_last", 1, 1, filter_remove_last},
	{"slice", 1, 2, filter_slice},
	{"truncate", 0, 2, filter_truncate},
	{"truncatewords", 0, 2, filter_truncatewords},
	{"split", 1, 1, filter_split},
	{"json", 0, 0, filter_json},
	{NULL}
};
