/*
 * calendar.c
 *		Time in a zone: durations, periods, and when the zone's clocks jump.
 *
 * Done in C and not by SQL, since every contact may have a zone of his own and a
 * row has an end in each window.  The results are those of PostgreSQL's functions
 * (timezone, date_trunc, timestamp + interval), which the oracle calls.
 */
#include "base/base.h"

#include "common/int.h"
#include "datatype/timestamp.h"
#include "parser/scansup.h"
#include "rules/rules_internal.h"
#include "utils/datetime.h"

static bool to_local(TimestampTz at, pg_tz *zone, struct pg_tm *tm, fsec_t *fraction);
static TimestampTz from_local(struct pg_tm *tm, fsec_t fraction, pg_tz *zone);
static TimestampTz add_exact(TimestampTz at, int64 usecs);
static TimestampTz add_months(TimestampTz at, int months, pg_tz *zone);
static bool period_midnight(TimestampTz at, MaPeriod period, int shift, pg_tz *zone,
							struct pg_tm *midnight);
static TimestampTz next_transition(TimestampTz at, pg_tz *zone);

/*
 * As SQL reads it (AT TIME ZONE), so that evaluator and plain SQL agree: a name that is
 * an abbreviation as well, like CET, is that, a fixed offset.
 */
pg_tz *
ma_zone(const char *name)
{
	pg_tz	   *zone = NULL;
	int			type = UNKNOWN_FIELD;
	int			offset = 0;

	if (strlen(name) <= TOKMAXLEN)
		ma_zone_abbreviation(downcase_truncate_identifier(name, strlen(name), false), &type,
							 &offset, &zone);
	if (type == TZ || type == DTZ)
		return pg_tzset_offset(-offset);
	zone = pg_tzset(name);
	return zone != NULL && pg_tz_acceptable(zone) ? zone : NULL;
}

static bool
to_local(TimestampTz at, pg_tz *zone, struct pg_tm *tm, fsec_t *fraction)
{
	int			offset;

	return timestamp2tm(at, &offset, tm, fraction, NULL, zone) == 0;
}

/* Beyond the ends of time it is never. */
static TimestampTz
from_local(struct pg_tm *tm, fsec_t fraction, pg_tz *zone)
{
	int			offset = DetermineTimeZoneOffset(tm, zone);
	TimestampTz at;

	if (tm2timestamp(tm, fraction, &offset, &at) != 0)
		return DT_NOEND;
	return at;
}

static TimestampTz
add_exact(TimestampTz at, int64 usecs)
{
	TimestampTz sum;

	if (pg_add_s64_overflow(at, usecs, &sum) || !IS_VALID_TIMESTAMP(sum))
		return usecs < 0 ? DT_NOBEGIN : DT_NOEND;
	return sum;
}

/* The same local day and time so many months on; the month's last day where it has no such. */
static TimestampTz
add_months(TimestampTz at, int months, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fraction;
	int			total;

	if (!to_local(at, zone, &tm, &fraction))
		return months < 0 ? DT_NOBEGIN : DT_NOEND;
	total = tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + months;
	tm.tm_year = total / MONTHS_PER_YEAR;
	tm.tm_mon = total % MONTHS_PER_YEAR + 1;
	if (tm.tm_mon <= 0)
	{
		tm.tm_mon += MONTHS_PER_YEAR;
		tm.tm_year--;
	}
	tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
	return from_local(&tm, fraction, zone);
}

TimestampTz
ma_time_add(TimestampTz at, const MaDuration *by, bool back, pg_tz *zone)
{
	if (TIMESTAMP_NOT_FINITE(at))
		return at;
	if (by->months == 0)
		return add_exact(at, back ? -by->usecs : by->usecs);
	return add_months(at, back ? -by->months : by->months, zone);
}

/* The midnight on the wall; false beyond the ends of time. */
static bool
period_midnight(TimestampTz at, MaPeriod period, int shift, pg_tz *zone, struct pg_tm *midnight)
{
	struct pg_tm tm;
	fsec_t		fraction;
	int			day;
	int			months = 0;

	if (!to_local(at, zone, &tm, &fraction))
		return false;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	switch (period)
	{
		case MA_PERIOD_DAY:
		case MA_PERIOD_WEEK:
			day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
			if (period == MA_PERIOD_WEEK)
				day -= (j2day(day) + 6) % 7;
			day += shift * (period == MA_PERIOD_WEEK ? 7 : 1);
			j2date(day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
			break;
		case MA_PERIOD_YEAR:
			tm.tm_mon = 1;
			months = shift * MONTHS_PER_YEAR;
			break;
		case MA_PERIOD_QUARTER:
			tm.tm_mon = (tm.tm_mon - 1) / 3 * 3 + 1;
			months = shift * 3;
			break;
		case MA_PERIOD_MONTH:
			months = shift;
			break;
	}
	if (period > MA_PERIOD_WEEK)
	{
		int			total = tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + months;

		tm.tm_mday = 1;
		tm.tm_year = total / MONTHS_PER_YEAR;
		tm.tm_mon = total % MONTHS_PER_YEAR + 1;
	}
	*midnight = tm;
	return true;
}

TimestampTz
ma_period_start(TimestampTz at, MaPeriod period, int shift, pg_tz *zone)
{
	struct pg_tm midnight;

	if (!period_midnight(at, period, shift, zone, &midnight))
		return at;
	return from_local(&midnight, 0, zone);
}

/*
 * Where clocks are set back over midnight it comes twice.  A day begins at the second
 * (from_local), but the date is another one from the first on, and again the old one
 * when they are set back.
 */
TimestampTz
ma_period_changes(TimestampTz at, MaPeriod period, pg_tz *zone)
{
	TimestampTz changes = next_transition(at, zone);
	struct pg_tm midnight;
	Timestamp	wall;
	TimestampTz bound;

	if (!period_midnight(at, period, 1, zone, &midnight))
		return changes;
	bound = from_local(&midnight, 0, zone);
	changes = Min(changes, bound > at ? bound : at + USECS_PER_HOUR);
	if (tm2timestamp(&midnight, 0, NULL, &wall) != 0)
		return changes;
	bound = ma_instant_of_local(wall, zone);
	return bound > at ? Min(changes, bound) : changes;
}

static TimestampTz
next_transition(TimestampTz at, pg_tz *zone)
{
	pg_time_t	time = timestamptz_to_time_t(at);
	pg_time_t	boundary;
	long		before_offset;
	long		after_offset;
	int			before_dst;
	int			after_dst;

	if (pg_next_dst_boundary(&time, &before_offset, &before_dst, &boundary, &after_offset,
							 &after_dst, zone) != 1)
		return DT_NOEND;
	return time_t_to_timestamptz(boundary);
}

TimestampTz
ma_local_to_instant(Timestamp local, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fraction;

	if (TIMESTAMP_NOT_FINITE(local) || timestamp2tm(local, NULL, &tm, &fraction, NULL, NULL) != 0)
		return local;
	return from_local(&tm, fraction, zone);
}
