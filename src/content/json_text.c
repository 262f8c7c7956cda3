/*
 * json_text.c
 *		A text as one of JSON.
 *
 * A request to a provider says what a mail says, and so do its templates' values: most of its
 * octets go through here, and PostgreSQL 15 looks at each of them by a call of its own.
 */
#include "base/base.h"

#include "content/content.h"

/* The same octets as escape_json() gives; what needs no escape is copied in pieces. */
void
ma_append_json(StringInfo out, const char *text, int length)
{
	static const char letters[] = {
		['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'
	};
	int			from = 0;

	enlargeStringInfo(out, length + 2);
	appendStringInfoCharMacro(out, '"');
	for (int i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, text + from, i - from);
		from = i + 1;
		if (c >= ' ')
			appendStringInfo(out, "\\%c", c);
		else if (c < sizeof(letters) && letters[c] != '\0')
			appendStringInfo(out, "\\%c", letters[c]);
		else
			appendStringInfo(out, "\\u%04x", c);
	}
	appendBinaryStringInfo(out, text + from, length - from);
	appendStringInfoCharMacro(out, '"');
}
