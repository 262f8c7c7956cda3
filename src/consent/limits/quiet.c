/*
 * quiet.c
 *		marketing.set_quiet_hours(): when nobody gets messages by a channel, on the wall
 *		of the contact's zone.
 *
 * Quiet hours are intervals of instants: from when the wall first shows `starts`
 * until it first shows `ends`.  So a clock that is put back in the night neither ends
 * them twice nor begins them anew.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"

typedef struct Quiet
{
	char	   *channel;
	TimeADT		starts;
	TimeADT		ends;
} Quiet;

static void *load(void);
static List *all_quiet(void);
static char *time_text(TimeADT time);
static char *set(const char *channel, Datum starts, Datum ends);

MA_FUNCTION(ma_set_quiet_hours);

static List *
all_quiet(void)
{
	static MaKept kept = {"quiet hours", load, NULL};

	return ((MaKeptList *) ma_kept(&kept))->items;
}

/* Reads all of them into the current context. */
static void *
load(void)
{
	static MaStatement all = {
		"SELECT channel, starts, ends FROM marketing_internal.quiet_hours ORDER BY channel", 0
	};
	MaKeptList  *list = palloc0_object(MaKeptList);
	MaIdentity	caller;
	MaRows		rows;
	bool		isnull;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Quiet	   *quiet = palloc0_object(Quiet);

		quiet->channel = ma_text(&rows, i, 1);
		quiet->starts = DatumGetTimeADT(ma_value(&rows, i, 2, &isnull));
		quiet->ends = DatumGetTimeADT(ma_value(&rows, i, 3, &isnull));
		list->items = lappend(list->items, quiet);
	}
	ma_become_back(&caller);
	return list;
}

bool
ma_quiet_any(void)
{
	return all_quiet() != NIL;
}

/* "09:00" */
static char *
time_text(TimeADT time)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(time_out, TimeADTGetDatum(time)));

	if (strlen(text) == 8 && strcmp(text + 5, ":00") == 0)
		text[5] = '\0';
	return text;
}

/*
 * The night that began yesterday, or the one of today: `now` is in it if it is between
 * their two instants.
 */
bool
ma_quiet_until(const char *channel, TimestampTz now, const char *time_zone, TimestampTz *until,
			   char **reason)
{
	ListCell   *cell;

	foreach(cell, all_quiet())
	{
		Quiet	   *quiet = lfirst(cell);
		struct pg_tz *zone;
		Timestamp	midnight;

		if (strcmp(quiet->channel, channel) != 0)
			continue;
		zone = ma_zone_or_default(time_zone);
		midnight = ma_local_of_instant(now, zone);
		midnight -= midnight % USECS_PER_DAY +
			(midnight % USECS_PER_DAY < 0 ? USECS_PER_DAY : 0);
		for (int day = -1; day <= 0; day++)
		{
			Timestamp	date = midnight + day * USECS_PER_DAY;
			TimestampTz begins = ma_instant_of_local(date + quiet->starts, zone);
			int64		night = quiet->ends <= quiet->starts ? USECS_PER_DAY : 0;
			TimestampTz ends = ma_instant_of_local(date + night + quiet->ends, zone);

			if (now < begins || now >= ends)
				continue;
			*until = ends;
			*reason = psprintf("quiet hours of %s until %s", channel, time_text(quiet->ends));
			return true;
		}
	}
	return false;
}

/* marketing.set_quiet_hours(channel, starts, ends); both null: none. */
Datum
ma_set_quiet_hours(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *channel = ma_consent_required(fcinfo, 0, "channel");
	Datum		times[2];
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	ma_channel_check(channel);
	if (PG_ARGISNULL(1) != PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "starts" : "ends"),
				 errhint("Both null take the quiet hours off.")));
	if (!PG_ARGISNULL(1) && PG_GETARG_TIMEADT(1) == PG_GETARG_TIMEADT(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("starts and ends must differ"),
				 errhint("For example '21:00' and '09:00'.")));
	for (int i = 0; i < lengthof(times); i++)
		times[i] = PG_ARGISNULL(i + 1) ? (Datum) 0 : PG_GETARG_DATUM(i + 1);
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, set(channel, times[0], times[1]));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/*
 * Stores them if they differ; says what it did.  Midnight is the number 0: what is null
 * is known by the other one, since the two differ.
 */
static char *
set(const char *channel, Datum starts, Datum ends)
{
	static MaStatement find = {
		"SELECT starts OPERATOR(pg_catalog.=) $2 AND ends OPERATOR(pg_catalog.=) $3 "
		"FROM marketing_internal.quiet_hours WHERE channel OPERATOR(pg_catalog.=) $1",
		3, {TEXTOID, TIMEOID, TIMEOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.quiet_hours (channel, starts, ends) VALUES ($1, $2, $3) "
		"ON CONFLICT (channel) DO UPDATE SET starts = excluded.starts, ends = excluded.ends",
		3, {TEXTOID, TIMEOID, TIMEOID}
	};
	static MaStatement remove = {
		"DELETE FROM marketing_internal.quiet_hours WHERE channel OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	bool		none = starts == ends;
	Datum		values[3];
	MaRows		found;
	const char *done = "set";

	values[0] = CStringGetTextDatum(channel);
	values[1] = starts;
	values[2] = ends;
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	found = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (none ? found.n == 0 : found.n > 0 && ma_bool(&found, 0, 1))
		return psprintf("quiet hours of %s: unchanged", channel);
	if (none)
	{
		(void) ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
		done = "removed";
	}
	else
		(void) ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("quiet hours of %s: %s", channel,
					found.n > 0 && !none ? "replaced" : done);
}
