/*
 * html_text.c
 *		The text part of a mail that has only html.
 *
 * Not a browser: blocks become lines, links keep their address behind their words,
 * items get a dash, styles and scripts go.  What is left says what the mail says to
 * whoever reads without HTML, and to filters that mistrust mail without a text.
 */
#include "base/base.h"

#include "content/content.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

typedef struct TextWriter
{
	StringInfoData out;
	int			breaks;			/* line ends that are due */
	bool		blank;			/* a blank is due */
	char	   *link;			/* address of the link that is open */
	int			link_start;
} TextWriter;

static const char *skip_tag(TextWriter *writer, const char *at);
static const char *skip_raw(const char *at, const char *name);
static void open_tag(TextWriter *writer, const char *name, bool closing, const char *tag,
			int length);
static char *attribute(const char *tag, int length, const char *name);
static void close_link(TextWriter *writer);
static const char *write_entity(TextWriter *writer, const char *at);
static void write_text(TextWriter *writer, const char *text, int length);

MA_FUNCTION(ma_html_to_text_sql);

Datum
ma_html_to_text_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ma_html_to_text(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

char *
ma_html_to_text(const char *html)
{
	TextWriter	writer = {0};
	const char *at = html;

	initStringInfo(&writer.out);
	while (*at)
	{
		if (*at == '<' && (isalpha((unsigned char) at[1]) || at[1] == '/' || at[1] == '!'))
			at = skip_tag(&writer, at);
		else if (*at == '&')
			at = write_entity(&writer, at);
		else if (isspace((unsigned char) *at))
		{
			writer.blank = true;
			at++;
		}
		else
		{
			int			length = strcspn(at + 1, "<& \t\r\n\f\v") + 1;

			write_text(&writer, at, length);
			at += length;
		}
	}
	if (writer.out.len > 0)
		appendStringInfoChar(&writer.out, '\n');
	return writer.out.data;
}

static void
write_text(TextWriter *writer, const char *text, int length)
{
	if (writer->out.len > 0)
	{
		for (int i = 0; i < Min(writer->breaks, 2); i++)
			appendStringInfoChar(&writer->out, '\n');
		if (writer->breaks == 0 && writer->blank)
			appendStringInfoChar(&writer->out, ' ');
	}
	if (writer->link != NULL && writer->link_start < 0)
		writer->link_start = writer->out.len;
	writer->breaks = 0;
	writer->blank = false;
	appendBinaryStringInfo(&writer->out, text, length);
}

/* A tag, a comment, or a whole style, script or title; returns what follows. */
static const char *
skip_tag(TextWriter *writer, const char *at)
{
	const char *start = at;
	char		name[12];
	int			length = 0;
	bool		closing;
	char		quote = 0;

	if (strncmp(at, "<!--", 4) == 0)
	{
		const char *end = strstr(at + 4, "-->");

		return end ? end + 3 : at + strlen(at);
	}
	closing = (at[1] == '/');
	at += 1 + closing;
	while (isalnum((unsigned char) *at) && length < (int) sizeof(name) - 1)
		name[length++] = pg_tolower((unsigned char) *at++);
	name[length] = '\0';
	for (; *at && (quote != 0 || *at != '>'); at++)
	{
		if (quote != 0 ? *at == quote : (*at == '"' || *at == '\''))
			quote = quote != 0 ? 0 : *at;
	}
	if (*at == '>')
		at++;
	if (!closing && (strcmp(name, "style") == 0 || strcmp(name, "script") == 0 ||
					 strcmp(name, "title") == 0))
		return skip_raw(at, name);
	open_tag(writer, name, closing, start, at - start);
	return at;
}

/* Behind the end tag of `name`. */
static const char *
skip_raw(const char *at, const char *name)
{
	int			length = strlen(name);

	for (; *at; at++)
		if (at[0] == '<' && at[1] == '/' && pg_strncasecmp(at + 2, name, length) == 0)
		{
			const char *end = strchr(at, '>');

			return end ? end + 1 : at + strlen(at);
		}
	return at;
}

static void
open_tag(TextWriter *writer, const char *name, bool closing, const char *tag, int length)
{
	static const char *const blocks[] = {
		"address", "article", "blockquote", "center", "dd", "div", "dl", "dt", "footer", "form",
		"header", "hr", "main", "nav", "pre", "section", "table", "tr", "ul", "ol", "body", "html"
	};
	static const char *const paragraphs[] = {"p", "h1", "h2", "h3", "h4", "h5", "h6"};

	if (strcmp(name, "br") == 0)
		writer->breaks++;
	else if (strcmp(name, "td") == 0 || strcmp(name, "th") == 0)
		writer->blank = true;
	else if (strcmp(name, "li") == 0)
	{
		writer->breaks = Max(writer->breaks, 1);
		if (!closing)
		{
			write_text(writer, "-", 1);
			writer->blank = true;
		}
	}
	else if (strcmp(name, "a") == 0)
	{
		close_link(writer);
		if (!closing)
		{
			writer->link = attribute(tag, length, "href");
			writer->link_start = -1;
		}
	}
	else if (strcmp(name, "img") == 0 && !closing)
	{
		char	   *alt = attribute(tag, length, "alt");

		if (alt != NULL && *alt)
			write_text(writer, alt, strlen(alt));
	}
	for (int i = 0; i < lengthof(blocks); i++)
		if (strcmp(name, blocks[i]) == 0)
			writer->breaks = Max(writer->breaks, 1);
	for (int i = 0; i < lengthof(paragraphs); i++)
		if (strcmp(name, paragraphs[i]) == 0)
			writer->breaks = Max(writer->breaks, 2);
}

/* The address of a link behind its words, unless they are the address. */
static void
close_link(TextWriter *writer)
{
	const char *link = writer->link;

	writer->link = NULL;
	if (link == NULL || *link == '\0' || *link == '#')
		return;
	if (pg_strncasecmp(link, "mailto:", 7) == 0 || pg_strncasecmp(link, "tel:", 4) == 0)
		return;
	if (writer->link_start >= 0 && strcmp(writer->out.data + writer->link_start, link) == 0)
		return;
	if (writer->link_start < 0)
		write_text(writer, link, strlen(link));
	else
		appendStringInfo(&writer->out, " (%s)", link);
}

/* The decoded value of a tag's attribute, NULL if it has none. */
static char *
attribute(const char *tag, int length, const char *name)
{
	int			wanted = strlen(name);
	TextWriter	value = {0};
	const char *end = tag + length;

	for (const char *c = tag; c + wanted + 1 < end; c++)
	{
		const char *from = c + wanted + 1;
		const char *stop;
		char	   *raw;

		if (!isspace((unsigned char) *c) || pg_strncasecmp(c + 1, name, wanted) != 0)
			continue;
		while (from < end && isspace((unsigned char) *from))
			from++;
		if (from >= end || *from != '=')
			continue;
		from++;
		while (from < end && isspace((unsigned char) *from))
			from++;
		if (from < end && (*from == '"' || *from == '\''))
		{
			stop = memchr(from + 1, *from, end - from - 1);
			from++;
		}
		else
			stop = from + strcspn(from, " \t\r\n\f>");
		if (stop == NULL)
			return NULL;
		raw = pnstrdup(from, stop - from);
		initStringInfo(&value.out);
		for (const char *at = raw; *at;)
		{
			if (*at == '&')
				at = write_entity(&value, at);
			else
				appendStringInfoChar(&value.out, *at++);
		}
		return value.out.data;
	}
	return NULL;
}

/* The character that an entity stands for; what is none stays as it is. */
static const char *
write_entity(TextWriter *writer, const char *at)
{
	static const struct
	{
		const char *name;
		const char *text;
	}			entities[] = {
		{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"},
		{"&nbsp;", " "}, {"&copy;", "\302\251"}, {"&reg;", "\302\256"}, {"&euro;", "\342\202\254"},
		{"&ndash;", "\342\200\223"}, {"&mdash;", "\342\200\224"}, {"&hellip;", "\342\200\246"},
		{"&laquo;", "\302\253"}, {"&raquo;", "\302\273"}, {"&rsquo;", "\342\200\231"},
		{"&lsquo;", "\342\200\230"}, {"&rdquo;", "\342\200\235"}, {"&ldquo;", "\342\200\234"},
		{"&bull;", "\342\200\242"}, {"&middot;", "\302\267"}, {"&zwnj;", ""}, {"&shy;", ""}};
	char	   *end;
	unsigned long code;
	unsigned char utf8[8];

	/* Their texts are UTF-8; what a database of another encoding may not have stays as it is. */
	for (int i = 0; i < lengthof(entities); i++)
		if (strncmp(at, entities[i].name, strlen(entities[i].name)) == 0 &&
			(!IS_HIGHBIT_SET(entities[i].text[0]) || GetDatabaseEncoding() == PG_UTF8))
		{
			write_text(writer, entities[i].text, strlen(entities[i].text));
			return at + strlen(entities[i].name);
		}
	if (at[1] == '#')
	{
		bool		hex = (at[2] == 'x' || at[2] == 'X');

		code = strtoul(at + 2 + hex, &end, hex ? 16 : 10);
		if (*end == ';' && isxdigit((unsigned char) at[2 + hex]) && code >= ' ' && code != 0x7F &&
			code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF) &&
			(code < 0x80 || GetDatabaseEncoding() == PG_UTF8))
		{
			unicode_to_utf8(code, utf8);
			write_text(writer, (char *) utf8, pg_utf_mblen(utf8));
			return end + 1;
		}
	}
	write_text(writer, "&", 1);
	return at + 1;
}
