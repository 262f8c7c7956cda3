/*
 * filters_html.c
 *		Filters for HTML, URLs and base64.
 *
 * escape and raw give text that is HTML already, which the output leaves as it is.
 */
#include "base/base.h"

#include "common/base64.h"
#include "content/liquid/liquid.h"
#include "mb/pg_wchar.h"

static LiquidValue
finish(LiquidRender *render, LiquidBuffer *buffer, LiquidBuffer *out, bool safe)
{
	LiquidValue value;

	ma_liquid_buffer_swap(render, out);
	ma_liquid_step(render, buffer->length / 256);
	value = ma_liquid_string(buffer->data, buffer->length);
	value.safe = safe;
	return value;
}

/* The text as HTML, with every character as itself. */
static LiquidValue
filter_escape(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidBuffer buffer;
	LiquidBuffer *out;

	ma_liquid_buffer_init(&buffer, text.length + 16);
	out = ma_liquid_buffer_swap(render, &buffer);
	ma_liquid_escape_html(render, text.u.string, text.length);
	return finish(render, &buffer, out, true);
}

/* Length of the entity that stands at the beginning of the text, or 0. */
static int
entity_length(const char *text, int length)
{
	int			i = 1;

	if (length < 3 || text[0] != '&')
		return 0;
	if (text[1] == '#')
	{
		bool		hex = (text[2] == 'x' || text[2] == 'X');

		for (i = 2 + hex; i < length && (hex ? isxdigit((unsigned char) text[i]) :
										 isdigit((unsigned char) text[i])); i++)
			;
		return i > 2 + hex && i < length && text[i] == ';' ? i + 1 : 0;
	}
	while (i < length && isalnum((unsigned char) text[i]))
		i++;
	return i > 1 && i < length && text[i] == ';' ? i + 1 : 0;
}

/* As escape, but what is an entity stays one. */
static LiquidValue
filter_escape_once(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidBuffer buffer;
	LiquidBuffer *out;
	int			i = 0;

	ma_liquid_buffer_init(&buffer, text.length + 16);
	out = ma_liquid_buffer_swap(render, &buffer);
	while (i < text.length)
	{
		int			entity = entity_length(text.u.string + i, text.length - i);

		if (entity > 0)
			ma_liquid_append(render, text.u.string + i, entity);
		else
			ma_liquid_escape_html(render, text.u.string + i, 1);
		i += Max(entity, 1);
	}
	return finish(render, &buffer, out, true);
}

/* The value is HTML that the author trusts. */
static LiquidValue
filter_raw(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	input = ma_liquid_to_string(render, input);
	input.safe = true;
	return input;
}

/* A tag of the text: true with its end, if it is one. */
static bool
skip_tag(LiquidRender *render, LiquidValue text, int *at)
{
	static const struct
	{
		const char *open;
		const char *close;
	}			wholes[] = {{"<script", "</script>"}, {"<style", "</style>"}, {"<!--", "-->"}};
	const char *found;

	for (int i = 0; i < lengthof(wholes); i++)
	{
		int			length = strlen(wholes[i].open);

		if (text.length - *at < length || pg_strncasecmp(text.u.string + *at, wholes[i].open,
					length) != 0)
			continue;
		for (int j = *at + length; j + (int) strlen(wholes[i].close) <= text.length; j++)
			if (pg_strncasecmp(text.u.string + j, wholes[i].close, strlen(wholes[i].close)) == 0)
			{
				*at = j + strlen(wholes[i].close);
				return true;
			}
		/* All of the rest was looked at for nothing. */
		ma_liquid_step(render, (text.length - *at) / 256);
	}
	found = memchr(text.u.string + *at, '>', text.length - *at);
	if (found == NULL)
		return false;
	*at = found - text.u.string + 1;
	return true;
}

/* Takes away tags, comments, scripts and styles. */
static LiquidValue
filter_strip_html(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidBuffer buffer;
	LiquidBuffer *out;
	int			i = 0;

	ma_liquid_buffer_init(&buffer, text.length + 1);
	out = ma_liquid_buffer_swap(render, &buffer);
	while (i < text.length)
	{
		if (text.u.string[i] == '<')
		{
			int			before = i;
			bool		found = skip_tag(render, text, &i);

			ma_liquid_step(render, 1 + ((found ? i : text.length) - before) / 256);
			if (found)
				continue;
		}
		ma_liquid_append(render, text.u.string + i++, 1);
	}
	return finish(render, &buffer, out, false);
}

/* In HTML the rest is escaped, so that the result is HTML. */
static LiquidValue
filter_newline_to_br(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	bool		html = (render->liquid->escape == MA_ESCAPE_HTML);
	LiquidBuffer buffer;
	LiquidBuffer *out;

	ma_liquid_buffer_init(&buffer, text.length + 16);
	out = ma_liquid_buffer_swap(render, &buffer);
	for (int i = 0; i < text.length; i++)
	{
		if (text.u.string[i] == '\n')
			ma_liquid_append(render, "<br />\n", 7);
		else if (text.u.string[i] == '\r' && i + 1 < text.length && text.u.string[i + 1] == '\n')
			continue;
		else if (html && !text.safe)
			ma_liquid_escape_html(render, text.u.string + i, 1);
		else
			ma_liquid_append(render, text.u.string + i, 1);
	}
	return finish(render, &buffer, out, html);
}

/* Percent signs for all but letters, digits and `plain`. */
static LiquidValue
percent_encode(LiquidRender *render, LiquidValue input, const char *plain, bool plus)
{
	static const char hex[] = "0123456789ABCDEF";
	LiquidValue text = ma_liquid_to_string(render, input);
	LiquidBuffer buffer;
	LiquidBuffer *out;

	ma_liquid_buffer_init(&buffer, text.length + 16);
	out = ma_liquid_buffer_swap(render, &buffer);
	for (int i = 0; i < text.length; i++)
	{
		unsigned char c = text.u.string[i];
		char		coded[3] = {'%', hex[c >> 4], hex[c & 15]};

		if ((isalnum(c) && !IS_HIGHBIT_SET(c)) || strchr(plain, c) != NULL)
			ma_liquid_append(render, text.u.string + i, 1);
		else if (c == ' ' && plus)
			ma_liquid_append(render, "+", 1);
		else
			ma_liquid_append(render, coded, 3);
	}
	return finish(render, &buffer, out, true);
}

static LiquidValue
filter_url_encode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return percent_encode(render, input, "-._~", true);
}

/* What cannot stand in a URL, and nothing else. */
static LiquidValue
filter_url_escape(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue value = percent_encode(render, input, "-._~:/?#[]@!$&'()*+,;=%", false);

	value.safe = false;
	return value;
}

static int
hex_digit(char c)
{
	return isdigit((unsigned char) c) ? c - '0' : pg_tolower((unsigned char) c) - 'a' + 10;
}

/* Bytes that are no text of the database's encoding are an error of the data. */
static void
require_text(LiquidRender *render, const char *text, int length, const char *what)
{
	if (pg_verifymbstr(text, length, true))
		return;
	ma_liquid_error(render, "Look at the data.", "%s is not text", what);
}

static LiquidValue
filter_url_decode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	char	   *decoded = palloc(text.length + 1);
	int			n = 0;

	for (int i = 0; i < text.length; i++)
	{
		char		c = text.u.string[i];

		if (c == '+')
			decoded[n++] = ' ';
		else if (c == '%' && i + 2 < text.length &&
					isxdigit((unsigned char) text.u.string[i + 1]) &&
				 isxdigit((unsigned char) text.u.string[i + 2]))
		{
			decoded[n++] = hex_digit(text.u.string[i + 1]) * 16 + hex_digit(text.u.string[i + 2]);
			i += 2;
		}
		else
			decoded[n++] = c;
	}
	require_text(render, decoded, n, "the decoded URL");
	return ma_liquid_string(decoded, n);
}

static LiquidValue
base64_encoded(LiquidRender *render, LiquidValue input, bool url_safe)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	int			size = pg_b64_enc_len(text.length) + 1;
	char	   *coded;
	int			length;

	if (text.length > render->max_output)
		ma_liquid_too_many_steps(render);
	coded = palloc(size);
	length = pg_b64_encode((const void *) text.u.string, text.length, coded, size);
	for (int i = 0; url_safe && i < length; i++)
		coded[i] = coded[i] == '+' ? '-' : coded[i] == '/' ? '_' : coded[i];
	return ma_liquid_string(coded, length);
}

static LiquidValue
filter_base64_encode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return base64_encoded(render, input, false);
}

static LiquidValue
filter_base64_url_safe_encode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return base64_encoded(render, input, true);
}

static LiquidValue
base64_decoded(LiquidRender *render, LiquidValue input, bool url_safe)
{
	LiquidValue text = ma_liquid_to_string(render, input);
	char	   *coded = palloc(text.length + 4);
	char	   *decoded = palloc(text.length + 4);
	int			length = text.length;

	memcpy(coded, text.u.string, text.length);
	for (int i = 0; url_safe && i < length; i++)
		coded[i] = coded[i] == '-' ? '+' : coded[i] == '_' ? '/' : coded[i];
	while (url_safe && length % 4 != 0)
		coded[length++] = '=';
	length = pg_b64_decode(coded, length, (void *) decoded, text.length + 4);
	if (length < 0)
		ma_liquid_error(render, "Look at the data.", "the text is not base64");
	require_text(render, decoded, length, "the decoded base64");
	return ma_liquid_string(decoded, length);
}

static LiquidValue
filter_base64_decode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return base64_decoded(render, input, false);
}

static LiquidValue
filter_base64_url_safe_decode(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return base64_decoded(render, input, true);
}

/* A link that tells when it is followed. */
static LiquidValue
filter_track(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	char	   *url;

	if (render->globals->track == NULL || !ma_liquid_truth(input))
		return input;
	url = render->globals->track(render->globals->argument, ma_liquid_to_cstring(render, input));
	return ma_liquid_string(url, strlen(url));
}

/* "summer" | coupon: a code of that pool, for this message alone. */
static LiquidValue
filter_coupon(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	char	   *code;

	if (render->globals->coupon == NULL || !ma_liquid_truth(input))
		return ma_liquid_nil();
	code = render->globals->coupon(render->globals->argument, ma_liquid_to_cstring(render, input));
	return ma_liquid_string(code, strlen(code));
}

const LiquidFilterType ma_liquid_html_filters[] = {
	{"escape", 0, 0, filter_escape},
	{"h", 0, 0, filter_escape},
	{"escape_once", 0, 0, filter_escape_once},
	{"raw", 0, 0, filter_raw},
	{"strip_html", 0, 0, filter_strip_html},
	{"newline_to_br", 0, 0, filter_newline_to_br},
	{"url_encode", 0, 0, filter_url_encode},
	{"url_escape", 0, 0, filter_url_escape},
	{"url_decode", 0, 0, filter_url_decode},
	{"base64_encode", 0, 0, filter_base64_encode},
	{"base64_decode", 0, 0, filter_base64_decode},
	{"base64_url_safe_encode", 0, 0, filter_base64_url_safe_encode},
	{"base64_url_safe_decode", 0, 0, filter_base64_url_safe_decode},
	{"track", 0, 0, filter_track},
	{"coupon", 0, 0, filter_coupon},
	{NULL}
};
