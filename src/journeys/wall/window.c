/*
 * window.c
 *		When a window on the wall of a zone is open: times of the day, weekdays,
 *		holidays.
 *
 * A window is an interval of instants for each of its days: from when the wall first
 * shows its beginning until it first shows its end (local_time.c).  So a clock that is
 * put back opens it once, one that is put forward over the beginning opens it after
 * the gap, and a window that lies within the gap does not open that day.
 */
#include "base/base.h"

#include "journeys/program.h"
#include "utils/date.h"
#include "utils/datetime.h"

#define MAX_DAYS 3700			/* nothing opens in ten years: never */

static struct pg_tz *zone_of(const MaWindow *window, const char *zone);
static bool is_open_on(const MaWindow *window, int32 date);
static void interval_of(const MaWindow *window, int32 date, struct pg_tz *zone,
						TimestampTz *begins, TimestampTz *ends);

static struct pg_tz *
zone_of(const MaWindow *window, const char *zone)
{
	if (window->zone != NULL)
		zone = strcmp(window->zone, "database") == 0 ? NULL : window->zone;
	return ma_zone_or_default(zone);
}

/* The day of the window is the one on which it begins. */
static bool
is_open_on(const MaWindow *window, int32 date)
{
	if (window->days != 0 && !(window->days & (1 << j2day(date + POSTGRES_EPOCH_JDATE))))
		return false;
	return !window->skip_holidays || !ma_is_holiday(date);
}

static void
interval_of(const MaWindow *window, int32 date, struct pg_tz *zone, TimestampTz *begins,
			TimestampTz *ends)
{
	Timestamp	midnight = date * USECS_PER_DAY;
	int64		night = window->to <= window->from ? USECS_PER_DAY : 0;

	*begins = ma_instant_of_local(midnight + window->from, zone);
	*ends = ma_instant_of_local(midnight + night + window->to, zone);
}

/* The date on the wall. */
static int32
date_of(TimestampTz at, struct pg_tz *zone)
{
	Timestamp	local = ma_local_of_instant(at, zone);
	int32		date = (int32) (local / USECS_PER_DAY);

	return local % USECS_PER_DAY < 0 ? date - 1 : date;
}

TimestampTz
ma_window_open(const MaWindow *window, TimestampTz at, const char *zone_name)
{
	struct pg_tz *zone = zone_of(window, zone_name);
	int32		first;

	if (window->is_date)
		return Max(at, ma_instant_of_local(window->date * USECS_PER_DAY + window->from, zone));
	/* Where the wall was put back over midnight, yesterday's may begin later than now. */
	first = date_of(at, zone) - 1;
	for (int32 date = first; date < first + MAX_DAYS; date++)
	{
		TimestampTz begins;
		TimestampTz ends;

		if (!is_open_on(window, date))
			continue;
		interval_of(window, date, zone, &begins, &ends);
		if (window->is_point ? at <= begins : begins < ends && at < ends)
			return Max(at, begins);
	}
	return DT_NOEND;
}

bool
ma_window_within(const MaWindow *window, TimestampTz at, const char *zone_name, TimestampTz *until)
{
	struct pg_tz *zone = zone_of(window, zone_name);
	int32		today = date_of(at, zone);

	for (int32 date = today - 1; date <= today + 1; date++)
	{
		TimestampTz begins;

		if (!is_open_on(window, date))
			continue;
		interval_of(window, date, zone, &begins, until);
		if (at >= begins && at < *until)
			return true;
	}
	return false;
}
