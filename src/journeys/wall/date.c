/*
 * date.c
 *		Dates of contacts: a column of an attached table, or an attribute of identify(), and
 *		the instants they tell.
 *
 * A bare name is found as in rules: the first attached table that has such a column, else
 * an attribute.  A date without a time is the day on the wall of the contact's zone, one
 * with a zone is the instant it says.  What is no date tells nothing: an attribute may
 * hold anything.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "journeys/engine.h"
#include "journeys/program.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"

#define LAST_YEAR 9999

static void read_columns(MaSource *source, const char *column, const int64 *ids, int n,
						 char **values);
static void read_attributes(const char *name, const int64 *ids, int n, char **values);
static bool parse_date(const char *text, struct pg_tz *zone, int32 *date, int64 *time);
static TimestampTz instant_on(const MaDateRule *rule, int32 date, int64 time, struct pg_tz *zone);
static int32 day_in_year(const MaDateRule *rule, int year, int month, int day);

/* ---- whose column it is ---- */

MaSource *
ma_date_source(const MaDateRule *rule, const char **column)
{
	const char *dot = strchr(rule->column, '.');
	bool		any = dot == NULL || strncmp(rule->column, "contact.", 8) == 0;
	ListCell   *cell;

	*column = dot ? dot + 1 : rule->column;
	foreach(cell, ma_definitions()->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table == NULL || !OidIsValid(source->table->relid) ||
			(!any && (strlen(source->name) != (size_t) (dot - rule->column) ||
					  strncmp(source->name, rule->column, dot - rule->column) != 0)))
			continue;
		if (get_attnum(source->table->relid, *column) > 0)
			return source;
	}
	return NULL;
}

void
ma_date_check(const MaDateRule *rule)
{
	const char *column;
	MaSource   *source = ma_date_source(rule, &column);
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;
	Oid			type;

	if (source != NULL)
	{
		type = getBaseType(get_atttype(source->table->relid,
									   get_attnum(source->table->relid, column)));
		if (type != DATEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" is of type %s, not a date", column,
							source->name, format_type_be(type))));
		return;
	}
	if ((column == rule->column || strncmp(rule->column, "contact.", 8) == 0) &&
		ma_attribute_known(column))
		return;
	foreach(cell, ma_definitions()->sources)
	{
		source = lfirst(cell);
		if (source->table != NULL && OidIsValid(source->table->relid))
			names = list_concat(names, ma_column_names(source->table->relid));
	}
	nearest = ma_nearest(column, names);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("no attached table has a column \"%s\", and no contact such an attribute",
					rule->column),
			 nearest ? errhint("Did you mean %s?", nearest) : 0));
}

/* ---- the dates ---- */

char **
ma_dates_read(const MaDateRule *rule, const int64 *contact_ids, int n)
{
	char	  **values = palloc0_array(char *, Max(n, 1));
	const char *column;
	MaSource   *source = ma_date_source(rule, &column);

	if (n == 0)
		return values;
	if (source != NULL)
		read_columns(source, column, contact_ids, n, values);
	else
		read_attributes(column, contact_ids, n, values);
	return values;
}

/* Of several rows of a contact the first that has one. */
static void
read_columns(MaSource *source, const char *column, const int64 *ids, int n, char **values)
{
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ_LATEST);
	int			nkeys = 0;
	char	  **keys;
	int		   *whose;
	Jsonb	  **images;

	for (int i = 0; i < n; i++)
		nkeys += contacts[i].nkeys;
	keys = palloc_array(char *, Max(nkeys, 1));
	whose = palloc_array(int, Max(nkeys, 1));
	images = palloc0_array(Jsonb *, Max(nkeys, 1));
	nkeys = 0;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < contacts[i].nkeys; j++)
			if (contacts[i].keys[j].source_id == source->id)
			{
				whose[nkeys] = i;
				keys[nkeys++] = contacts[i].keys[j].external_id;
			}
	ma_source_images(source, keys, images, nkeys);
	for (int i = 0; i < nkeys; i++)
		if (images[i] != NULL && values[whose[i]] == NULL)
			values[whose[i]] = ma_row_text(JsonbPGetDatum(images[i]), column);
}

/* A contact who is gone has none. */
static void
read_attributes(const char *name, const int64 *ids, int n, char **values)
{
	static MaStatement read = {
		"SELECT i.n, c.attributes "
		"FROM pg_catalog.unnest($1) WITH ORDINALITY AS i (contact_id, n) "
		"JOIN marketing_internal.contact AS c ON c.contact_id OPERATOR(pg_catalog.=) i.contact_id "
		"WHERE EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) c.contact_id AND NOT k.excluded)",
		1, {INT8ARRAYOID}
	};
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = (int) ma_int64(&rows, i, 1) - 1;
		bool		isnull;
		Datum		own = ma_value(&rows, i, 2, &isnull);

		values[place] = ma_row_text(ma_supposed_attributes_over(ids[place], own), name);
	}
}

/* ---- what they tell ---- */

/* As jsonb prints them: "2026-05-17", "2026-05-17T18:00:00", the same with "+03:00". */
static bool
parse_date(const char *text, struct pg_tz *zone, int32 *date, int64 *time)
{
	int			year;
	int			month;
	int			day;
	int			hour = 0;
	int			minute = 0;
	double		second = 0;
	int			zone_hour = 0;
	int			zone_minute = 0;
	int			length = 0;
	char		sign[2] = "+";
	Timestamp	wall;
	int			y;
	int			m;
	int			d;

	if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &length) != 3 || length != 10 ||
		year < 1 || month < 1 || month > 12 || day < 1)
		return false;
	j2date(date2j(year, month, day), &y, &m, &d);
	if (d != day)
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	*time = 0;
	text += length;
	if (*text == '\0')
		return true;
	if (sscanf(text, "%*1[T ]%2d:%2d:%lf%n", &hour, &minute, &second, &length) != 3 ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second >= 60)
		return false;
	*time = (hour * INT64CONST(60) + minute) * 60 * USECS_PER_SEC +
		(int64) (second * USECS_PER_SEC + 0.5);
	text += length;
	if (*text == '\0')
		return true;
	if (strcmp(text, "Z") != 0 &&
		(sscanf(text, "%1[+-]%2d:%2d%n", sign, &zone_hour, &zone_minute, &length) != 3 ||
		 zone_hour > 15 || zone_minute > 59))
		return false;
	wall = *date * USECS_PER_DAY + *time;
	if (strcmp(text, "Z") != 0)
		wall -= (sign[0] == '-' ? -1 : 1) * (zone_hour * USECS_PER_HOUR +
										  zone_minute * USECS_PER_MINUTE);
	wall = ma_local_of_instant(wall, zone);
	*date = (int32) (wall / USECS_PER_DAY);
	*time = wall % USECS_PER_DAY;
	if (*time < 0)
	{
		*time += USECS_PER_DAY;
		(*date)--;
	}
	return true;
}

static TimestampTz
instant_on(const MaDateRule *rule, int32 date, int64 time, struct pg_tz *zone)
{
	Timestamp	wall = date * USECS_PER_DAY + (rule->has_at ? rule->at : time);

	if (rule->offset == NULL)
		return ma_instant_of_local(wall, zone);
	return ma_duration_from_wall(wall, rule->offset, rule->before, zone);
}

static int32
day_in_year(const MaDateRule *rule, int year, int month, int day)
{
	if (month == 2 && day == 29 && !isleap(year))
	{
		month = rule->leap_march ? 3 : 2;
		day = rule->leap_march ? 1 : 28;
	}
	return date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
}

static char *
day_text(int32 date)
{
	int			year;
	int			month;
	int			day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d", year, month, day);
}

bool
ma_date_next(const MaDateRule *rule, const char *text, TimestampTz after, const char *zone_name,
			 TimestampTz *at, char **day_of)
{
	struct pg_tz *zone = ma_zone_or_default(zone_name);
	int32		date;
	int64		time;
	int			year;
	int			month;
	int			day;
	int			now_year;
	int			m;
	int			d;
	Timestamp	wall;

	if (text == NULL || !parse_date(text, zone, &date, &time))
		return false;
	if (!rule->anniversary)
	{
		*at = instant_on(rule, date, time, zone);
		*day_of = day_text(date);
		return *at > after;
	}
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	/* The year on the wall from which the offset leads here. */
	wall = ma_local_of_instant(after, zone);
	if (rule->offset != NULL)
		wall = ma_local_of_instant(ma_duration_from_wall(wall, rule->offset, !rule->before, zone),
								   zone);
	j2date((int) (wall / USECS_PER_DAY) + POSTGRES_EPOCH_JDATE, &now_year, &m, &d);
	/* The day itself is no anniversary. */
	for (int y = Max(now_year - 1, year + 1); y <= Min(Max(now_year + 2, year + 1), LAST_YEAR); y++)
	{
		int32		occurs = day_in_year(rule, y, month, day);

		*at = instant_on(rule, occurs, time, zone);
		*day_of = day_text(occurs);
		if (*at > after)
			return true;
	}
	return false;
}
