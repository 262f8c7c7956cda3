/*
 * escape.c
 *		Values into the output, escaped for the place where they stand.
 *
 * The runs between characters that need escaping are copied as they are, since most
 * texts have none.  What is in a URL keeps its characters unless they cannot stand in
 * one; a URL that begins with the value has no scheme that runs code.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

static void write_mapped(LiquidRender *render, const char *text, int length, const uint8 *map);
static void write_url(LiquidRender *render, const char *text, int length, bool value);
static bool runs_code(const char *text, int length);
static void write_script(LiquidRender *render, const char *text, int length);
static void write_style(LiquidRender *render, const char *text, int length);

/* What a character becomes; 0: itself. */
static const char *const entities[] = {
	NULL, "&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#96;", "&#61;", "&#32;", "&#9;", "&#10;", "&#13;",
	"&#47;", "&#12;"
};
static const uint8 text_map[256] = {['&'] = 1, ['<'] = 2, ['>'] = 3, ['"'] = 4, ['\''] = 5};
static const uint8 tag_map[256] = {
	['&'] = 1, ['<'] = 2, ['>'] = 3, ['"'] = 4, ['\''] = 5, ['`'] = 6, ['='] = 7, [' '] = 8,
	['\t'] = 9, ['\n'] = 10, ['\r'] = 11, ['/'] = 12, ['\f'] = 13
};

void
ma_liquid_write(LiquidRender *render, LiquidValue value, LiquidContext context)
{
	if (value.kind == LIQUID_NIL)
		return;
	if (value.kind != LIQUID_STRING)
		value = ma_liquid_to_string(render, value);
	if (context == LIQUID_IN_PLAIN || value.safe)
	{
		ma_liquid_append(render, value.u.string, value.length);
		return;
	}
	switch (context)
	{
		case LIQUID_IN_TEXT:
			write_mapped(render, value.u.string, value.length, text_map);
			break;
		case LIQUID_IN_TAG:
			write_mapped(render, value.u.string, value.length, tag_map);
			break;
		case LIQUID_IN_URL_START:
			if (runs_code(value.u.string, value.length))
				ma_liquid_append(render, "#", 1);
			else
				write_url(render, value.u.string, value.length, false);
			break;
		case LIQUID_IN_URL:
			write_url(render, value.u.string, value.length, false);
			break;
		case LIQUID_IN_URL_VALUE:
			write_url(render, value.u.string, value.length, true);
			break;
		case LIQUID_IN_SCRIPT:
			write_script(render, value.u.string, value.length);
			break;
		default:
			write_style(render, value.u.string, value.length);
	}
}

void
ma_liquid_escape_html(LiquidRender *render, const char *text, int length)
{
	write_mapped(render, text, length, text_map);
}

static void
write_mapped(LiquidRender *render, const char *text, int length, const uint8 *map)
{
	int			from = 0;

	for (int i = 0; i < length; i++)
	{
		uint8		kind = map[(unsigned char) text[i]];

		if (likely(kind == 0))
			continue;
		ma_liquid_append(render, text + from, i - from);
		ma_liquid_append(render, entities[kind], strlen(entities[kind]));
		from = i + 1;
	}
	ma_liquid_append(render, text + from, length - from);
}

/* Percent signs for what cannot stand in a URL, or (`value`) in the value of a query. */
static void
write_url(LiquidRender *render, const char *text, int length, bool value)
{
	static const char hex[] = "0123456789ABCDEF";

	for (int i = 0; i < length; i++)
	{
		unsigned char c = text[i];
		char		coded[3] = {'%', hex[c >> 4], hex[c & 15]};
		bool		plain = isalnum(c) && !IS_HIGHBIT_SET(c);

		if (plain || (c != '\0' && strchr(value ? "-._~" : "-._~:/?#[]@!$()*+,;=%", c) != NULL))
			ma_liquid_append(render, text + i, 1);
		else if (!value && c == '&')
			ma_liquid_append(render, "&amp;", 5);
		else
			ma_liquid_append(render, coded, 3);
	}
}

/* True for a scheme other than those that are known to do no harm. */
static bool
runs_code(const char *text, int length)
{
	static const char *const harmless[] = {
		"http", "https", "mailto", "tel", "sms", "ftp", "cid", "webcal", "geo", "whatsapp"
	};
	int			colon = 0;

	while (colon < length && strchr(":/?#", text[colon]) == NULL)
		colon++;
	if (colon == length || text[colon] != ':')
		return false;
	for (int i = 0; i < lengthof(harmless); i++)
		if ((int) strlen(harmless[i]) == colon &&
			pg_strncasecmp(text, harmless[i], colon) == 0)
			return false;
	/* Schemes of apps (myshop:...) cannot be told from others by name, but these are known. */
	for (int i = 0; i < colon; i++)
		if (!isalnum((unsigned char) text[i]) && strchr("+-.", text[i]) == NULL)
			return true;
	return pg_strncasecmp(text, "javascript", colon) == 0 ||
		pg_strncasecmp(text, "vbscript", colon) == 0 || pg_strncasecmp(text, "data", colon) == 0 ||
		pg_strncasecmp(text, "file", colon) == 0 || pg_strncasecmp(text, "blob", colon) == 0;
}

/* Inside quotes of a script, or of an event's attribute. */
static void
write_script(LiquidRender *render, const char *text, int length)
{
	for (int i = 0; i < length; i++)
	{
		unsigned char c = text[i];
		char		coded[8];

		if (IS_HIGHBIT_SET(c) || isalnum(c) || strchr(" ,._-:;()[]@#!?*+/", c) != NULL)
		{
			/* U+2028 and U+2029 end a line there. */
			if (c == 0xE2 && i + 2 < length && (unsigned char) text[i + 1] == 0x80 &&
				((unsigned char) text[i + 2] & 0xFE) == 0xA8)
			{
				snprintf(coded, sizeof(coded), "\\u202%c",
							(unsigned char) text[i + 2] & 1 ? '9' : '8');
				ma_liquid_append(render, coded, 6);
				i += 2;
				continue;
			}
			ma_liquid_append(render, text + i, 1);
			continue;
		}
		snprintf(coded, sizeof(coded), "\\u%04x", c);
		ma_liquid_append(render, coded, 6);
	}
}

/* A value of a style; what could end it or begin another property is coded. */
static void
write_style(LiquidRender *render, const char *text, int length)
{
	for (int i = 0; i < length; i++)
	{
		unsigned char c = text[i];
		char		coded[12];

		if (IS_HIGHBIT_SET(c) || isalnum(c) || strchr(" #.,%-_:/?=+", c) != NULL)
			ma_liquid_append(render, text + i, 1);
		else
		{
			snprintf(coded, sizeof(coded), "\\%06x ", c);
			ma_liquid_append(render, coded, strlen(coded));
		}
	}
}
