/*
 * local_time.c
 *		Times on the wall of a zone and the instants they stand for.
 *
 * Where a clock is put forward a time of the wall may not exist: it stands for the
 * first instant after the gap.  Where it is put back a time comes twice: it stands for
 * the first of the two.  So each local time of a day comes once, and in order;
 * DetermineTimeZoneOffset() takes the second, and what a gap would have been.
 */
#include "base/base.h"

#include "pgtime.h"

#define SAFELY_BEFORE (24 * SECS_PER_HOUR)	/* more than any zone is away from UTC */

struct pg_tz *
ma_zone_or_default(const char *name)
{
	pg_tz	   *zone = name != NULL ? pg_tzset(name) : NULL;

	if (zone == NULL)
		zone = pg_tzset(ma_database_time_zone());
	return zone != NULL ? zone : session_timezone;
}

Timestamp
ma_local_of_instant(TimestampTz at, struct pg_tz *zone)
{
	pg_time_t	seconds = timestamptz_to_time_t(at);
	struct pg_tm *tm = pg_localtime(&seconds, zone);

	return tm == NULL ? at : at + (int64) tm->tm_gmtoff * USECS_PER_SEC;
}

/*
 * Goes from change to change of the zone's offset, beginning well before, to the first
 * instant at which the wall shows `local` or more.
 */
TimestampTz
ma_instant_of_local(Timestamp local, struct pg_tz *zone)
{
	pg_time_t	from = timestamptz_to_time_t(local) - SAFELY_BEFORE;

	for (;;)
	{
		long		before;
		long		after;
		int			before_dst;
		int			after_dst;
		pg_time_t	boundary;
		int			found = pg_next_dst_boundary(&from, &before, &before_dst, &boundary,
												 &after, &after_dst, zone);
		TimestampTz at;

		if (found < 0)
			return local;
		at = local - (int64) before * USECS_PER_SEC;
		if (found == 0 || at < time_t_to_timestamptz(boundary))
			return at;
		if (local < time_t_to_timestamptz(boundary) + (int64) after * USECS_PER_SEC)
			return time_t_to_timestamptz(boundary);
		from = boundary;
	}
}
