/*
 * links.c
 *		Links of an HTML part, each handed to who may put another in its place; and
 *		tags of a campaign in the query of a URL.
 *
 * The scanner reads tags as browsers do, so that a quote or a bracket inside an
 * attribute does not hide a link; what is inside comments is read as well, since
 * there the buttons for one mail program stand.  All that is no href of a link stays
 * byte for byte as it was.
 */
#include "base/base.h"

#include "content/content.h"
#include "lib/stringinfo.h"

/* One tag: where it ends, its address, and whether it asks to be left alone. */
typedef struct LinkTag
{
	const char *end;			/* behind the > */
	const char *value;			/* of href, as it is written; NULL: none */
	const char *value_end;
	bool		quoted;
	bool		left_alone;
} LinkTag;

static bool read_tag(const char *at, LinkTag *tag);
static const char *read_attribute(const char *at, LinkTag *tag);
static bool is_link(const char *name, int length);
static char *decoded(const char *from, const char *to);
static int	entity(const char *at, const char *to, char *character);
static void append_escaped(StringInfo out, const char *text);

char *
ma_html_links(const char *html, MaLinkChange change, void *argument)
{
	StringInfoData out;
	const char *done = html;
	const char *at = html;

	initStringInfo(&out);
	while ((at = strchr(at, '<')) != NULL)
	{
		LinkTag		tag = {0};
		char	   *url;

		if (!read_tag(at, &tag))
		{
			/* One that has no end hides what follows, and is looked at once. */
			if (tag.end != NULL)
				break;
			at++;
			continue;
		}
		at = tag.end;
		if (tag.value == NULL || tag.left_alone)
			continue;
		url = change(argument, decoded(tag.value, tag.value_end));
		if (url == NULL)
			continue;
		appendBinaryStringInfo(&out, done, tag.value - done);
		if (!tag.quoted)
			appendStringInfoChar(&out, '"');
		append_escaped(&out, url);
		if (!tag.quoted)
			appendStringInfoChar(&out, '"');
		done = tag.value_end;
	}
	appendStringInfoString(&out, done);
	return out.data;
}

/* The tag that begins here; false if it is none that can be a link. */
static bool
read_tag(const char *at, LinkTag *tag)
{
	const char *name = at + 1;
	int			length = strcspn(name, " \t\r\n\f/>");

	if (!is_link(name, length))
		return false;
	at = name + length;
	while (*at != '\0' && *at != '>')
		at = read_attribute(at, tag);
	tag->end = *at == '>' ? at + 1 : at;
	return *at == '>';
}

/* The next attribute, or what stands between two; returns behind it. */
static const char *
read_attribute(const char *at, LinkTag *tag)
{
	const char *name = at;
	const char *value;
	const char *value_end;
	int			length;
	bool		quoted = false;

	if (isspace((unsigned char) *at) || *at == '/')
		return at + 1;
	length = strcspn(name + 1, " \t\r\n\f/>=") + 1;
	at = name + length;
	if (length == 13 && pg_strncasecmp(name, "data-no-track", length) == 0)
		tag->left_alone = true;
	while (isspace((unsigned char) *at))
		at++;
	if (*at != '=')
		return at;
	at++;
	while (isspace((unsigned char) *at))
		at++;
	if (*at == '"' || *at == '\'')
	{
		quoted = true;
		value = at + 1;
		value_end = strchr(value, *at);
		if (value_end == NULL)
			return at + strlen(at);
		at = value_end + 1;
	}
	else
	{
		value = at;
		value_end = at = value + strcspn(value, " \t\r\n\f>");
	}
	if (length == 4 && pg_strncasecmp(name, "href", 4) == 0 && tag->value == NULL)
	{
		/* In single quotes a new address would need others: both are escaped below. */
		tag->value = value;
		tag->value_end = value_end;
		tag->quoted = quoted;
	}
	return at;
}

/* a, area, and the buttons that are drawn for Outlook. */
static bool
is_link(const char *name, int length)
{
	static const char *const names[] = {"a", "area", "v:roundrect", "v:rect"};

	for (int i = 0; i < lengthof(names); i++)
		if (length == (int) strlen(names[i]) && pg_strncasecmp(name, names[i], length) == 0)
			return true;
	return false;
}

/* An attribute's value without blanks around it, its entities as characters. */
static char *
decoded(const char *from, const char *to)
{
	char	   *text = palloc(to - from + 1);
	char	   *out = text;

	while (from < to && isspace((unsigned char) *from))
		from++;
	while (to > from && isspace((unsigned char) to[-1]))
		to--;
	while (from < to)
	{
		int			length = *from == '&' ? entity(from, to, out) : 0;

		if (length == 0)
		{
			*out = *from;
			length = 1;
		}
		out++;
		from += length;
	}
	*out = '\0';
	return text;
}

/* Length of the entity of an ASCII character; 0 if there is none. */
static int
entity(const char *at, const char *to, char *character)
{
	static const struct
	{
		const char *text;
		char		character;
	}			known[] = {{"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}, {"&lt;", '<'},
	{"&gt;", '>'}};
	int			value = 0;
	const char *digit;
	bool		hex;

	for (int i = 0; i < lengthof(known); i++)
	{
		int			length = strlen(known[i].text);

		if (to - at >= length && strncmp(at, known[i].text, length) == 0)
		{
			*character = known[i].character;
			return length;
		}
	}
	if (to - at < 4 || at[1] != '#')
		return 0;
	hex = at[2] == 'x' || at[2] == 'X';
	for (digit = at + 2 + hex; digit < to && value < 0x80; digit++)
	{
		unsigned char c = pg_tolower((unsigned char) *digit);

		if (isdigit(c))
			value = value * (hex ? 16 : 10) + c - '0';
		else if (hex && c >= 'a' && c <= 'f')
			value = value * 16 + c - 'a' + 10;
		else
			break;
	}
	if (digit >= to || *digit != ';' || value <= ' ' || value >= 0x7F)
		return 0;
	*character = value;
	return digit + 1 - at;
}

static void
append_escaped(StringInfo out, const char *text)
{
	for (; *text; text++)
	{
		if (*text == '&')
			appendStringInfoString(out, "&amp;");
		else if (*text == '"')
			appendStringInfoString(out, "&quot;");
		else if (*text == '\'')
			appendStringInfoString(out, "&#39;");
		else if (*text == '<')
			appendStringInfoString(out, "&lt;");
		else if (*text == '>')
			appendStringInfoString(out, "&gt;");
		else
			appendStringInfoChar(out, *text);
	}
}

/* True if the query of the URL has a value of this name. */
static bool
has_tag(const char *query, const char *end, const char *name, int length)
{
	while (query < end)
	{
		query++;
		if (end - query > length && strncmp(query, name, length) == 0 && query[length] == '=')
			return true;
		while (query < end && *query != '&')
			query++;
	}
	return false;
}

/*
 * `tags` are name=value, encoded, with & between them; a name that is in the URL
 * already keeps its value.  They go behind the query and before the fragment.
 */
char *
ma_url_with_tags(const char *url, const char *tags)
{
	const char *end = url + strcspn(url, "#");
	const char *query = memchr(url, '?', end - url);
	StringInfoData out;
	char		separator = query == NULL ? '?' : '&';

	initStringInfo(&out);
	appendBinaryStringInfo(&out, url, end - url);
	if (query != NULL && (query + 1 == end || end[-1] == '&'))
		separator = '\0';
	while (*tags)
	{
		int			length = strcspn(tags, "&");
		int			name = strcspn(tags, "=");

		if (query == NULL || !has_tag(query, end, tags, Min(name, length)))
		{
			if (separator != '\0')
				appendStringInfoChar(&out, separator);
			appendBinaryStringInfo(&out, tags, length);
			separator = '&';
		}
		tags += length + (tags[length] == '&');
	}
	appendStringInfoString(&out, end);
	return out.data;
}
