/*
 * context.c
 *		Where in the HTML an output of a template stands.
 *
 * What must be escaped depends on the place: a name in a text, an address in href, a
 * value behind the = of a query, a colour in style.  The text of the template is read
 * once, in its order, when it is compiled; branches are not told apart, since a
 * template whose branches leave the HTML in different states is wrong anyway, and
 * every state escapes what could end an attribute or begin a tag.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

typedef enum HtmlState
{
	HTML_TEXT,
	HTML_TAG_NAME,
	HTML_TAG,					/* between attributes */
	HTML_ATTRIBUTE,				/* the name of one */
	HTML_AFTER_ATTRIBUTE,
	HTML_BEFORE_VALUE,
	HTML_VALUE,
	HTML_COMMENT,
	HTML_RAW					/* inside script or style */
} HtmlState;

struct LiquidHtml
{
	HtmlState	state;
	char		quote;			/* of the value, 0: none */
	char		word[16];		/* name of the tag or attribute, lower case, cut */
	int			word_length;
	bool		closing;		/* an end tag */
	char		raw[16];		/* tag whose content is raw, "" if none */
	LiquidContext value;		/* what kind of value this attribute has */
	bool		query;			/* ? was seen in this URL */
	char		last;			/* last character of the text */
	int			dashes;			/* of the end of a comment */
};

static void text_state(LiquidHtml *html, char c, const char *rest, int left);
static bool is_raw_tag(const LiquidHtml *html);
static void tag_state(LiquidHtml *html, char c);
static void value_state(LiquidHtml *html, char c);
static void raw_state(LiquidHtml *html, const char *rest, int left);
static void begin_value(LiquidHtml *html, char quote);
static void end_tag(LiquidHtml *html);
static void word_add(LiquidHtml *html, char c);

LiquidHtml *
ma_liquid_html_begin(void)
{
	return palloc0_object(LiquidHtml);
}

/* Follows a piece of the template's text. */
void
ma_liquid_html_text(LiquidHtml *html, const char *text, int length)
{
	for (int i = 0; i < length; i++)
	{
		char		c = text[i];

		switch (html->state)
		{
			case HTML_TEXT:
				text_state(html, c, text + i, length - i);
				break;
			case HTML_COMMENT:
				if (c == '>' && html->dashes >= 2)
					html->state = HTML_TEXT;
				html->dashes = (c == '-') ? html->dashes + 1 : 0;
				break;
			case HTML_RAW:
				raw_state(html, text + i, length - i);
				break;
			case HTML_VALUE:
				value_state(html, c);
				break;
			default:
				tag_state(html, c);
		}
		html->last = c;
	}
}

static void
text_state(LiquidHtml *html, char c, const char *rest, int left)
{
	if (c != '<' || left < 2)
		return;
	if (left >= 4 && memcmp(rest, "<!--", 4) == 0)
	{
		html->state = HTML_COMMENT;
		html->dashes = 0;
	}
	else if (isalpha((unsigned char) rest[1]) || rest[1] == '/' || rest[1] == '!')
	{
		html->state = HTML_TAG_NAME;
		html->closing = (rest[1] == '/');
		html->word_length = 0;
		html->raw[0] = '\0';
	}
}

/* True for the start tag of what is not HTML inside. */
static bool
is_raw_tag(const LiquidHtml *html)
{
	return !html->closing && (strcmp(html->word, "script") == 0 || strcmp(html->word,
				"style") == 0);
}

/* Inside a tag, but not in the value of an attribute. */
static void
tag_state(LiquidHtml *html, char c)
{
	bool		blank = isspace((unsigned char) c);

	if (c == '>')
	{
		end_tag(html);
		return;
	}
	switch (html->state)
	{
		case HTML_TAG_NAME:
			word_add(html, c);
			if (blank || c == '/')
			{
				if (is_raw_tag(html))
					strlcpy(html->raw, html->word, sizeof(html->raw));
				if (blank)
					html->state = HTML_TAG;
			}
			break;
		case HTML_BEFORE_VALUE:
			if (blank)
				break;
			begin_value(html, (c == '"' || c == '\'') ? c : 0);
			if (html->quote == 0)
				value_state(html, c);
			break;
		case HTML_ATTRIBUTE:
		case HTML_AFTER_ATTRIBUTE:
			if (c == '=')
				html->state = HTML_BEFORE_VALUE;
			else if (blank)
				html->state = HTML_AFTER_ATTRIBUTE;
			else
			{
				if (html->state == HTML_AFTER_ATTRIBUTE)
					html->word_length = 0;
				html->state = HTML_ATTRIBUTE;
				word_add(html, c);
			}
			break;
		default:
			if (blank || c == '/')
				break;
			html->state = HTML_ATTRIBUTE;
			html->word_length = 0;
			word_add(html, c);
	}
}

/* Letters of a name, as far as they are of interest. */
static void
word_add(LiquidHtml *html, char c)
{
	if (!isspace((unsigned char) c) && c != '/' && html->word_length < sizeof(html->word) - 1)
		html->word[html->word_length++] = pg_tolower((unsigned char) c);
	html->word[html->word_length] = '\0';
}

static void
begin_value(LiquidHtml *html, char quote)
{
	static const char *const urls[] = {
		"href", "src", "action", "formaction", "background", "cite", "poster", "data", "xlink:href",
		"srcset", "longdesc", "manifest", "ping", "codebase"
	};

	html->state = HTML_VALUE;
	html->quote = quote;
	html->query = false;
	html->value = quote == 0 ? LIQUID_IN_TAG : LIQUID_IN_TEXT;
	if (strcmp(html->word, "style") == 0)
		html->value = LIQUID_IN_STYLE;
	else if (strncmp(html->word, "on", 2) == 0)
		html->value = LIQUID_IN_SCRIPT;
	for (int i = 0; i < lengthof(urls); i++)
		if (strcmp(html->word, urls[i]) == 0)
			html->value = LIQUID_IN_URL_START;
}

static void
value_state(LiquidHtml *html, char c)
{
	if (html->quote != 0 ? c == html->quote : isspace((unsigned char) c))
	{
		html->state = HTML_TAG;
		return;
	}
	if (html->quote == 0 && c == '>')
	{
		end_tag(html);
		return;
	}
	if (html->value == LIQUID_IN_URL_START && !isspace((unsigned char) c))
		html->value = LIQUID_IN_URL;
	if (c == '?')
		html->query = true;
}

/* At the > of a tag. */
static void
end_tag(LiquidHtml *html)
{
	if (html->state == HTML_TAG_NAME && is_raw_tag(html))
		strlcpy(html->raw, html->word, sizeof(html->raw));
	html->state = html->raw[0] != '\0' ? HTML_RAW : HTML_TEXT;
}

/* Inside script or style, up to its end tag. */
static void
raw_state(LiquidHtml *html, const char *rest, int left)
{
	int			length = strlen(html->raw);

	if (rest[0] != '<' || left < length + 2 || rest[1] != '/' ||
		pg_strncasecmp(rest + 2, html->raw, length) != 0)
		return;
	html->state = HTML_TAG_NAME;
	html->closing = true;
	html->word_length = 0;
	html->raw[0] = '\0';
}

/* The context of an output that stands here. */
LiquidContext
ma_liquid_html_output(LiquidHtml *html)
{
	LiquidContext context;

	switch (html->state)
	{
		case HTML_TEXT:
		case HTML_COMMENT:
			return LIQUID_IN_TEXT;
		case HTML_RAW:
			return strcmp(html->raw, "script") == 0 ? LIQUID_IN_SCRIPT : LIQUID_IN_STYLE;
		case HTML_BEFORE_VALUE:
			begin_value(html, 0);
			break;
		case HTML_VALUE:
			break;
		default:
			return LIQUID_IN_TAG;
	}
	context = html->value;
	if (context == LIQUID_IN_URL_START)
		html->value = LIQUID_IN_URL;
	if (context == LIQUID_IN_URL && html->query && html->last == '=')
		context = LIQUID_IN_URL_VALUE;
	html->last = 'x';
	return context;
}
