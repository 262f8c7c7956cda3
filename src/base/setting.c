/*
 * setting.c
 *		marketing.set_clock(): the database's test clock, a row of setting.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#define MAX_LISTENERS 8

static void (*clock_back[MAX_LISTENERS]) (void);
static int	nlisteners = 0;

MA_FUNCTION(ma_set_clock);

void
ma_register_clock_back(void (*back) (void))
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "cannot happen: more than %d rooms want to know of the clock", MAX_LISTENERS);
	clock_back[nlisteners++] = back;
}

/* set_clock(at timestamptz): null returns to real time. */
Datum
ma_set_clock(PG_FUNCTION_ARGS)
{
	static MaStatement set = {
		"INSERT INTO marketing_internal.setting (name, value) VALUES ('clock', $1) "
		"ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		1, {TEXTOID}
	};
	static MaStatement unset = {
		"DELETE FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) 'clock'"
	};
	MaCall		call;
	StringInfoData answer;
	Datum		value;
	TimestampTz before;

	initStringInfo(&answer);
	appendStringInfoString(&answer, "clock follows real time");

	ma_call_begin(&call);
	before = ma_now();
	if (PG_ARGISNULL(0))
		ma_run(&unset, NULL, NULL, MA_RUN_WRITE);
	else
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
		char	   *text;

		if (TIMESTAMP_NOT_FINITE(at))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("the clock cannot be set to infinity")));
		if (ma_armed())
			ereport(ERROR,
					(errcode(ERRCODE_MA_ARMED),
					 errmsg("the clock cannot be set while delivery is armed"),
					 errhint("Call marketing.disarm() first.")));
		text = DatumGetCString(DirectFunctionCall1(timestamptz_out, PG_GETARG_DATUM(0)));
		resetStringInfo(&answer);
		appendStringInfo(&answer, "clock stands at %s", text);
		value = CStringGetTextDatum(text);
		ma_run(&set, &value, NULL, MA_RUN_WRITE);
	}
	ma_definitions_changed();
	for (int i = 0; i < nlisteners && ma_now() < before; i++)
		clock_back[i] ();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer.data));
}
