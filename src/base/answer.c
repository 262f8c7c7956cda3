/*
 * answer.c
 *		What functions answer with, in the one form all rooms use: figures in a line of
 *		text, lines of marketing.status.
 */
#include "base/base.h"

#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

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

void
ma_status_line(ReturnSetInfo *result, const char *item, const char *state, const char *value,
			   const char *detail)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, detail == NULL};

	values[0] = CStringGetTextDatum(item);
	values[1] = CStringGetTextDatum(state);
	values[2] = CStringGetTextDatum(value);
	values[3] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
