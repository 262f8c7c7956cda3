/*
 * cron.c
 *		When pg_cron would call: the expression of an entry by a schedule, read as it
 *		reads it, for a simulation alone.
 *
 * Five fields (minute, hour, day of the month, month, day of the week) of numbers, names,
 * ranges, steps and lists.  Of two days that are both limited one is enough.  Times are
 * those of the zone of cron.timezone.
 */
#include "base/base.h"

#include "journeys/simulate/simulate.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/guc.h"

#define MAX_NUMBER 1000			/* stands for all larger ones: beyond each field */
#define MAX_DAYS 3000			/* nothing in eight years: never */

/* A bit for each value. */
typedef struct Cron
{
	uint64		minutes;
	uint64		hours;
	uint64		days;
	uint64		months;
	uint64		weekdays;
	bool		any_day;
	bool		any_weekday;
} Cron;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug",
	"sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static bool parse(const char *text, Cron *cron);
static bool parse_field(const char **text, int least, int most, const char *const *names,
						int first_name, uint64 *bits);
static bool parse_value(const char **text, const char *const *names, int first_name, int *value);
static bool is_day(const Cron *cron, int32 date);

/* A number, or a name. */
static bool
parse_value(const char **text, const char *const *names, int first_name, int *value)
{
	char	   *end;

	for (int i = 0; names != NULL && names[i] != NULL; i++)
		if (pg_strncasecmp(*text, names[i], 3) == 0)
		{
			*value = first_name + i;
			*text += 3;
			return true;
		}
	if (**text < '0' || **text > '9')
		return false;
	*value = (int) Min(strtol(*text, &end, 10), MAX_NUMBER);
	*text = end;
	return true;
}

/* "1,5-9/2", and the blanks behind it. */
static bool
parse_field(const char **text, int least, int most, const char *const *names, int first_name,
			uint64 *bits)
{
	do
	{
		int			from = least;
		int			to = most;
		int			step = 1;

		*text += **text == ',';
		if (**text == '*')
			(*text)++;
		else
		{
			if (!parse_value(text, names, first_name, &from))
				return false;
			to = from;
			if (**text == '-')
			{
				(*text)++;
				if (!parse_value(text, names, first_name, &to))
					return false;
			}
			else if (**text == '/')
				to = most;
		}
		if (**text == '/')
		{
			(*text)++;
			if (!parse_value(text, NULL, 0, &step))
				return false;
		}
		if (from < least || to > most || from > to || step < 1)
			return false;
		for (int i = from; i <= to; i += step)
			*bits |= UINT64CONST(1) << i;
	} while (**text == ',');
	if (**text != ' ' && **text != '\t' && **text != '\0')
		return false;
	*text += strspn(*text, " \t");
	return true;
}

static bool
parse(const char *text, Cron *cron)
{
	memset(cron, 0, sizeof(*cron));
	text += strspn(text, " \t");
	if (!parse_field(&text, 0, 59, NULL, 0, &cron->minutes) ||
		!parse_field(&text, 0, 23, NULL, 0, &cron->hours))
		return false;
	cron->any_day = *text == '*';
	if (!parse_field(&text, 1, 31, NULL, 0, &cron->days) ||
		!parse_field(&text, 1, 12, month_names, 1, &cron->months))
		return false;
	cron->any_weekday = *text == '*';
	if (!parse_field(&text, 0, 7, day_names, 0, &cron->weekdays))
		return false;
	/* Sunday is 0 and 7. */
	cron->weekdays |= cron->weekdays >> 7 & 1;
	return *text == '\0';
}

static bool
is_day(const Cron *cron, int32 date)
{
	int			year;
	int			month;
	int			day;
	bool		fits;
	bool		weekday = cron->weekdays >> j2day(date + POSTGRES_EPOCH_JDATE) & 1;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (!(cron->months >> month & 1))
		return false;
	fits = cron->days >> day & 1;
	return cron->any_day || cron->any_weekday ? fits && weekday : fits || weekday;
}

bool
ma_cron_next(const char *expression, TimestampTz after, TimestampTz *next)
{
	const char *setting = GetConfigOption("cron.timezone", true, false);
	struct pg_tz *zone = pg_tzset(setting ? setting : "GMT");
	Timestamp	wall;
	int32		first;
	Cron		cron;

	if (zone == NULL || !parse(expression, &cron))
		return false;
	wall = ma_local_of_instant(after, zone);
	first = (int32) (wall / USECS_PER_DAY) - (wall % USECS_PER_DAY < 0);
	for (int32 date = first; date < first + MAX_DAYS; date++)
		for (int i = 0; i < 24 * 60 && is_day(&cron, date); i++)
		{
			if (!(cron.hours >> i / 60 & 1) || !(cron.minutes >> i % 60 & 1))
				continue;
			*next = ma_instant_of_local(date * USECS_PER_DAY + i * USECS_PER_MINUTE, zone);
			if (*next > after)
				return true;
		}
	return false;
}
