/*
 * encode.c
 *		Texts of headers and bodies as ASCII: RFC 2047 encoded words, folding,
 *		quoted-printable and base64.
 *
 * A text that is plain ASCII stays legible; anything that a parser could take for
 * something else (=?, runs of blanks, very long words, control characters) is encoded,
 * so that what is read back is what was given.
 */
#include "base/base.h"

#include "content/mime/mime.h"
#include "mb/pg_wchar.h"

static bool is_plain(const char *text);
static int	write_words(StringInfo out, const char *text, int line, bool phrase);
static int	character_length(const char *text);
static int	quoted_length(const char *text, int length);
static void write_quoted_word(StringInfo out, const char *text, int length);
static void write_base64(StringInfo out, const char *bytes, int length);
static void write_quoted_body(StringInfo out, const char *body);
static void write_base64_body(StringInfo out, const char *body);
static void write_plain_body(StringInfo out, const char *body);
static const char *line_end(const char *at);

#define ENCODED_WORD 75			/* octets of an encoded word */
#define WORD_FRAME 12			/* =?UTF-8?Q? and ?= */

bool
ma_mime_is_utf8(const char *text)
{
	return pg_encoding_verifymbstr(PG_UTF8, text, strlen(text)) == (int) strlen(text);
}

/* ASCII words with single blanks between them, none of which looks like an encoded word. */
static bool
is_plain(const char *text)
{
	int			word = 0;

	if (*text == ' ' || strstr(text, "=?") != NULL)
		return false;
	for (const char *c = text; *c; c++)
	{
		if ((unsigned char) *c < ' ' || (unsigned char) *c >= 0x7F)
			return false;
		if (*c == ' ' && (c[1] == ' ' || c[1] == '\0'))
			return false;
		word = *c == ' ' ? 0 : word + 1;
		if (word > 200)
			return false;
	}
	return true;
}

void
ma_mime_write_text(StringInfo out, const char *name, const char *text)
{
	int			line = strlen(name) + 2;

	appendStringInfo(out, "%s: ", name);
	if (!is_plain(text))
	{
		write_words(out, text, line, false);
		appendStringInfoString(out, "\r\n");
		return;
	}
	while (*text)
	{
		int			word = strcspn(text + 1, " ") + 1;

		/* The blank before a word begins the next line. */
		if (*text == ' ' && line + word > MIME_LINE)
		{
			appendStringInfoString(out, "\r\n");
			line = 0;
		}
		appendBinaryStringInfo(out, text, word);
		line += word;
		text += word;
	}
	appendStringInfoString(out, "\r\n");
}

int
ma_mime_write_phrase(StringInfo out, const char *phrase, int line)
{
	int			start = out->len;

	if (!is_plain(phrase) || strlen(phrase) > MIME_LINE - 20)
		return write_words(out, phrase, line, true);
	appendStringInfoChar(out, '"');
	for (const char *c = phrase; *c; c++)
	{
		if (*c == '"' || *c == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *c);
	}
	appendStringInfoChar(out, '"');
	return line + out->len - start;
}

/* Octets of the character; one that separates lines counts as a blank. */
static int
character_length(const char *text)
{
	return pg_utf_mblen((const unsigned char *) text);
}

/* A control character, or one that some programs take for a line end. */
static bool
separates(const char *text)
{
	const unsigned char *c = (const unsigned char *) text;

	return c[0] < ' ' || c[0] == 0x7F || (c[0] == 0xC2 && c[1] >= 0x80 && c[1] <= 0x9F) ||
		(c[0] == 0xE2 && c[1] == 0x80 && (c[2] == 0xA8 || c[2] == 0xA9));
}

/* Encoded words, one a line but for the first, split between characters. */
static int
write_words(StringInfo out, const char *text, int line, bool phrase)
{
	StringInfoData clean;

	initStringInfo(&clean);
	for (const char *c = text; *c; c += character_length(c))
	{
		if (separates(c))
			appendStringInfoChar(&clean, ' ');
		else
			appendBinaryStringInfo(&clean, c, character_length(c));
	}
	for (const char *c = clean.data; *c || c == clean.data;)
	{
		int			room = Min(ENCODED_WORD, MIME_LINE - line) - WORD_FRAME;
		int			quoted = 0;
		int			length = 0;

		/* As many characters as both encodings hold; the shorter one is taken. */
		while (c[length])
		{
			int			next = length + character_length(c + length);
			int			as_quoted = quoted_length(c, next);
			int			as_base64 = (next + 2) / 3 * 4;

			if (Min(as_quoted, as_base64) > room)
				break;
			quoted = as_quoted;
			length = next;
		}
		if (length == 0 && *c && line > 1)
		{
			appendStringInfoString(out, "\r\n ");
			line = 1;
			continue;
		}
		if (length == 0)
			break;
		if (quoted <= (length + 2) / 3 * 4)
		{
			appendStringInfoString(out, "=?UTF-8?Q?");
			write_quoted_word(out, c, length);
			line += quoted;
		}
		else
		{
			appendStringInfoString(out, "=?UTF-8?B?");
			write_base64(out, c, length);
			line += (length + 2) / 3 * 4;
		}
		appendStringInfoString(out, "?=");
		line += WORD_FRAME;
		c += length;
		if (*c)
		{
			appendStringInfoString(out, "\r\n ");
			line = 1;
		}
	}
	return line;
}

/* What may stand in an encoded word anywhere, also in a phrase. */
static bool
stands(char c)
{
	return (unsigned char) c < 0x80 && (isalnum((unsigned char) c) || strchr("!*+-/", c) != NULL);
}

static int
quoted_length(const char *text, int length)
{
	int			result = 0;

	for (int i = 0; i < length; i++)
		result += (stands(text[i]) || text[i] == ' ') ? 1 : 3;
	return result;
}

static void
write_quoted_word(StringInfo out, const char *text, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (text[i] == ' ')
			appendStringInfoChar(out, '_');
		else if (stands(text[i]))
			appendStringInfoChar(out, text[i]);
		else
			appendStringInfo(out, "=%02X", (unsigned char) text[i]);
	}
}

static void
write_base64(StringInfo out, const char *bytes, int length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (int i = 0; i < length; i += 3)
	{
		uint32		group = (unsigned char) bytes[i] << 16;
		char		four[4];

		if (i + 1 < length)
			group |= (unsigned char) bytes[i + 1] << 8;
		if (i + 2 < length)
			group |= (unsigned char) bytes[i + 2];
		four[0] = digits[group >> 18];
		four[1] = digits[(group >> 12) & 63];
		four[2] = i + 1 < length ? digits[(group >> 6) & 63] : '=';
		four[3] = i + 2 < length ? digits[group & 63] : '=';
		appendBinaryStringInfo(out, four, 4);
	}
}

/* ---- bodies ---- */

/* The end of the line that begins here: CR LF, CR or LF, or the end of the text. */
static const char *
line_end(const char *at)
{
	return at + strcspn(at, "\r\n");
}

/* Behind the line end that stands here. */
static const char *
next_line(const char *at)
{
	if (at[0] == '\r' && at[1] == '\n')
		return at + 2;
	return *at ? at + 1 : at;
}

const char *
ma_mime_encoding(const char *body)
{
	bool		plain = true;
	int			coded = 0;
	int			total = 0;

	for (const char *at = body; *at;)
	{
		const char *end = line_end(at);

		if (end - at > MIME_LINE || *at == '.' || strncmp(at, "From ", 5) == 0 ||
			strncmp(at, "--", 2) == 0 || (end > at && (end[-1] == ' ' || end[-1] == '\t')))
			plain = false;
		for (const char *c = at; c < end; c++)
		{
			bool		is_coded = ((unsigned char) *c < ' ' && *c != '\t') ||
				(unsigned char) *c >= 0x7F;

			total++;
			coded += is_coded || *c == '=';
			plain &= !is_coded;
		}
		at = next_line(end);
	}
	if (plain)
		return "7bit";
	/* Quoted-printable costs two octets a coded one, base64 a third of all. */
	return coded * 6 <= total ? "quoted-printable" : "base64";
}

void
ma_mime_write_encoded(StringInfo out, const char *body, const char *encoding)
{
	if (strcmp(encoding, "7bit") == 0)
		write_plain_body(out, body);
	else if (strcmp(encoding, "base64") == 0)
		write_base64_body(out, body);
	else
		write_quoted_body(out, body);
}

static void
write_plain_body(StringInfo out, const char *body)
{
	for (const char *at = body; *at;)
	{
		const char *end = line_end(at);

		appendBinaryStringInfo(out, at, end - at);
		appendStringInfoString(out, "\r\n");
		at = next_line(end);
	}
}

/* So many octets from here on stand for themselves in quoted-printable. */
static int
plain_run(const char *at, int most)
{
	int			n = 0;

	while (n < most && at[n] >= ' ' && at[n] < 0x7F && at[n] != '=')
		n++;
	return n;
}

/*
 * Lines of at most 76 octets; the last character of a line, a dot or From at its start are
 * coded.  A line is put together before it is appended: most of a mail goes through here.
 */
static void
write_quoted_body(StringInfo out, const char *body)
{
	static const char digits[] = "0123456789ABCDEF";
	char		line[MIME_LINE + 8];

	for (const char *at = body; *at;)
	{
		const char *end = line_end(at);
		int			n = 0;

		for (const char *c = at; c < end; c++)
		{
			/* As much at once as is as it stands: neither begins nor ends a line. */
			int			run = n == 0 ? 0 : plain_run(c, Min(end - c - 1, MIME_LINE - 1 - n));
			unsigned char byte;
			bool		coded;

			memcpy(line + n, c, run);
			n += run;
			c += run;
			byte = *c;
			coded = (byte < ' ' && byte != '\t') || byte >= 0x7F || byte == '=' ||
				((byte == ' ' || byte == '\t') && c + 1 == end) ||
				(n == 0 && (byte == '.' || byte == '-' || byte == 'F'));

			if (n + (coded ? 3 : 1) > MIME_LINE - 1)
			{
				memcpy(line + n, "=\r\n", 3);
				appendBinaryStringInfo(out, line, n + 3);
				n = 0;
				coded |= (byte == '.' || byte == '-' || byte == 'F');
			}
			line[n++] = coded ? '=' : (char) byte;
			if (coded)
			{
				line[n++] = digits[byte >> 4];
				line[n++] = digits[byte & 15];
			}
		}
		memcpy(line + n, "\r\n", 2);
		appendBinaryStringInfo(out, line, n + 2);
		at = next_line(end);
	}
}

static void
write_base64_body(StringInfo out, const char *body)
{
	StringInfoData text;

	initStringInfo(&text);
	write_plain_body(&text, body);
	ma_mime_write_file(out, text.data, text.len);
}

void
ma_mime_write_file(StringInfo out, const char *bytes, Size length)
{
	for (Size i = 0; i < length; i += 57)
	{
		write_base64(out, bytes + i, Min(57, length - i));
		appendStringInfoString(out, "\r\n");
	}
}
