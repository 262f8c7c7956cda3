/*
 * quiet.c
 *		Quiet hours of a journey, which for its messages replace those of the channel.
 *
 * Those of the version that takes entries hold for all its messages, also of runs that
 * entered by an older one: quieter hours that are defined today hold tonight.
 */
#include "base/base.h"

#include "delivery/delivery.h"
#include "journeys/engine.h"

static bool any(void);
static bool find(const char *journey, TimestampTz now, const char *time_zone, TimestampTz *until,
				 char **reason);

static const MaOwnQuietHours hours = {any, find};

void
ma_journey_quiet_init(void)
{
	ma_register_own_quiet_hours(&hours);
}

static bool
any(void)
{
	ListCell   *cell;

	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (version->current && version->program->quiet != NULL)
			return true;
	}
	return false;
}

char *
ma_quiet_reason(const char *journey, const MaWindow *quiet)
{
	return psprintf("quiet hours of journey %s until %02d:%02d", journey,
					(int) (quiet->to / USECS_PER_HOUR),
					(int) (quiet->to % USECS_PER_HOUR / USECS_PER_MINUTE));
}

static bool
find(const char *journey, TimestampTz now, const char *time_zone, TimestampTz *until,
	 char **reason)
{
	ListCell   *cell;

	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);
		const MaWindow *quiet = version->program->quiet;

		if (!version->current || quiet == NULL || strcmp(version->journey, journey) != 0)
			continue;
		if (!ma_window_within(quiet, now, time_zone ? time_zone : version->zone, until))
			*until = 0;
		*reason = ma_quiet_reason(journey, quiet);
		return true;
	}
	return false;
}
