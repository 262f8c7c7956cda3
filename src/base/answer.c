/*
 * answer.c
 *		How figures are written in the line of text that a function answers with.
 */
#include "base/base.h"

#include "lib/stringinfo.h"

/* By hand, since lc_numeric must not change what tests and users compare. */
char *
ma_grouped(int64 n)
{
	char	   *digits = psprintf(INT64_FORMAT, n);
	int			length = strlen(digits);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoChar(&text, digits[i]);
	}
	return text.data;
}
