/*
 * calendar.c
 *		Durations of journeys: "2 days" keeps the hour of the contact's day,
 *		"48 hours" does not.
 *
 * Days, weeks, months and years follow the calendar of the contact's zone; hours,
 * minutes and seconds are exact.  A time of the wall that is skipped or comes twice
 * is the one of local_time.c.  A zone that the server does not know counts as none: the
 * database's is used.
 */
#include "base/base.h"

#include "journeys/program.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define MAX_YEARS 100

typedef struct Unit
{
	const char *name;
	int			months;
	int			days;
	int64		seconds;
} Unit;

static const Unit units[] = {
	{"second", 0, 0, 1}, {"minute", 0, 0, 60}, {"hour", 0, 0, 3600}, {"day", 0, 1, 0},
	{"week", 0, 7, 0}, {"month", 1, 0, 0}, {"year", 12, 0, 0}
};

/* "2 days" or "1 day 12 hours". */
static bool
parse(const char *text, Interval *interval)
{
	const char *at = text;
	bool		any = false;

	memset(interval, 0, sizeof(*interval));
	for (;;)
	{
		char	   *end;
		long		number;
		int			length = 0;
		int			unit;

		while (*at == ' ')
			at++;
		if (*at == '\0')
			return any;
		if (*at < '0' || *at > '9')
			return false;
		errno = 0;
		number = strtol(at, &end, 10);
		if (errno != 0 || number > 1000000)
			return false;
		for (at = end; *at == ' '; at++)
			;
		while (at[length] >= 'a' && at[length] <= 'z')
			length++;
		for (unit = 0; unit < lengthof(units); unit++)
		{
			int			size = (int) strlen(units[unit].name);

			if (strncmp(at, units[unit].name, size) == 0 &&
				(length == size || (length == size + 1 && at[size] == 's')))
				break;
		}
		if (unit == lengthof(units))
			return false;
		interval->month += units[unit].months * (int32) number;
		interval->day += units[unit].days * (int32) number;
		interval->time += units[unit].seconds * number * USECS_PER_SEC;
		any = true;
		at += length;
	}
}

bool
ma_duration_valid(const char *text)
{
	Interval	interval;

	if (!parse(text, &interval))
		return false;
	return interval.month / 12.0 + interval.day / 365.0 +
		interval.time / ((double) USECS_PER_DAY * 365) <= MAX_YEARS;
}

bool
ma_duration_is_zero(const char *text)
{
	Interval	interval;

	return parse(text, &interval) && interval.month == 0 && interval.day == 0 &&
		interval.time == 0;
}

/* Days and months by the calendar, hours exactly. */
TimestampTz
ma_duration_from_wall(Timestamp wall, const char *text, bool before, struct pg_tz *zone)
{
	Interval	interval;
	Interval	days;

	if (!parse(text, &interval))
		elog(ERROR, "cannot happen: \"%s\" is no duration", text);
	days = interval;
	days.time = 0;
	wall = DatumGetTimestamp(DirectFunctionCall2(before ? timestamp_mi_interval :
												 timestamp_pl_interval,
												 TimestampGetDatum(wall),
												 IntervalPGetDatum(&days)));
	return ma_instant_of_local(wall, zone) + (before ? -interval.time : interval.time);
}

TimestampTz
ma_duration_add(TimestampTz at, const char *text, const char *zone_name)
{
	Interval	interval;
	Interval	days;
	struct pg_tz *zone;
	Datum		local;

	if (!parse(text, &interval))
		elog(ERROR, "cannot happen: \"%s\" is no duration", text);
	if (interval.month == 0 && interval.day == 0)
		return at + interval.time;
	days = interval;
	days.time = 0;
	zone = ma_zone_or_default(zone_name);
	local = DirectFunctionCall2(timestamp_pl_interval,
								TimestampGetDatum(ma_local_of_instant(at, zone)),
								IntervalPGetDatum(&days));
	return ma_instant_of_local(DatumGetTimestamp(local), zone) + interval.time;
}
