/*
 * holiday.c
 *		define_holiday() and drop_holiday(): days on which windows with
 *		"holidays": "skip" stay closed.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "journeys/program.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

/* The days, in order. */
typedef struct Holidays
{
	int			n;
	int32	   *days;
} Holidays;

static void *load(void);
static char *define(Datum day, Datum name);
static DateADT day_argument(FunctionCallInfo fcinfo);

MA_FUNCTION(ma_define_holiday);
MA_FUNCTION(ma_drop_holiday);

static void *
load(void)
{
	static MaStatement all = {"SELECT day FROM marketing_internal.holiday ORDER BY day"};
	Holidays   *holidays = palloc0_object(Holidays);
	MaIdentity	caller;
	MaRows		rows;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	holidays->days = palloc_array(int32, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
		holidays->days[holidays->n++] = ma_int32(&rows, i, 1);
	ma_become_back(&caller);
	return holidays;
}

bool
ma_is_holiday(int32 date)
{
	static MaKept kept = {"holidays", load, NULL};
	const Holidays *holidays = ma_kept(&kept);
	int			from = 0;
	int			to = holidays->n;

	while (from < to)
	{
		int			middle = (from + to) / 2;

		if (holidays->days[middle] == date)
			return true;
		if (holidays->days[middle] < date)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}

static DateADT
day_argument(FunctionCallInfo fcinfo)
{
	DateADT		day;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("holiday must not be null")));
	day = PG_GETARG_DATEADT(0);
	if (DATE_NOT_FINITE(day))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("holiday must be a day of the calendar")));
	return day;
}

/* "2026-01-01", whatever the session's style is. */
static char *
day_text(DateADT day)
{
	int			y;
	int			m;
	int			d;

	j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return psprintf("%04d-%02d-%02d", y, m, d);
}

/* define_holiday(holiday, name) */
Datum
ma_define_holiday(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	DateADT		day = day_argument(fcinfo);
	MaCall		call;
	char	   *answer;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	ma_call_begin(&call);
	answer = psprintf("%s: %s", day_text(day), define(DateADTGetDatum(day), PG_GETARG_DATUM(1)));
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
define(Datum day, Datum name)
{
	static MaStatement find = {
		"SELECT name OPERATOR(pg_catalog.=) $2 FROM marketing_internal.holiday "
		"WHERE day OPERATOR(pg_catalog.=) $1",
		2, {DATEOID, TEXTOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.holiday (day, name) VALUES ($1, $2) "
		"ON CONFLICT (day) DO UPDATE SET name = excluded.name",
		2, {DATEOID, TEXTOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = day;
	values[1] = name;
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0 && ma_bool(&rows, 0, 1))
		return "unchanged";
	ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return rows.n > 0 ? "replaced (name)" : "created";
}

/* drop_holiday(holiday) */
Datum
ma_drop_holiday(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.holiday WHERE day OPERATOR(pg_catalog.=) $1 RETURNING 1",
		1, {DATEOID}
	};
	DateADT		day = day_argument(fcinfo);
	Datum		value = DateADTGetDatum(day);
	MaCall		call;

	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	if (ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is no holiday", day_text(day)),
				 errhint("Look at marketing.holidays.")));
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", day_text(day))));
}
