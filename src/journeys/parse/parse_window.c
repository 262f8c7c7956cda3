/*
 * parse_window.c
 *		Times of the wall as definitions say them: windows, quiet hours, wait_for_time.
 */
#include "base/base.h"

#include "journeys/parse/parse.h"
#include "pgtime.h"
#include "utils/date.h"
#include "utils/datetime.h"

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static void parse_between(MaWindow *window, const MaJson *json, List **problems);
static void parse_days(MaWindow *window, const MaJson *json, List **problems);
static void parse_zone(MaWindow *window, const MaJson *json, List **problems);
static void parse_date(MaWindow *window, const MaJson *json, List **problems);

/* "09:30" as usecs after midnight; as an end also "24:00". */
int64
ma_read_clock(const MaJson *json, bool end, List **problems)
{
	const char *text = ma_json_text(json, problems);
	int			hour;
	int			minute;

	if (text == NULL)
		return 0;
	if (strlen(text) == 5 && text[2] == ':' && isdigit((unsigned char) text[0]) &&
		isdigit((unsigned char) text[1]) && isdigit((unsigned char) text[3]) &&
		isdigit((unsigned char) text[4]))
	{
		hour = (text[0] - '0') * 10 + text[1] - '0';
		minute = (text[3] - '0') * 10 + text[4] - '0';
		if ((hour < 24 && minute < 60) || (end && hour == 24 && minute == 0))
			return (hour * INT64CONST(60) + minute) * 60 * USECS_PER_SEC;
	}
	ma_problem(problems, json->path, "For example \"09:00\".",
			   "\"%s\" is not a time of the day", text);
	return 0;
}

static void
parse_between(MaWindow *window, const MaJson *json, List **problems)
{
	List	   *items = ma_json_array(json, problems);

	if (json->type != MA_JSON_ARRAY)
		return;
	if (list_length(items) != 2)
	{
		ma_problem(problems, json->path, "For example [\"10:00\", \"18:00\"].",
				   "needs two times");
		return;
	}
	window->from = ma_read_clock(linitial(items), false, problems);
	window->to = ma_read_clock(lsecond(items), true, problems);
	if (window->from == window->to)
		ma_problem(problems, json->path, "Leave \"between\" out for the whole day.",
				   "begins and ends at the same time");
}

static void
parse_days(MaWindow *window, const MaJson *json, List **problems)
{
	List	   *items = ma_json_array(json, problems);
	ListCell   *cell;

	if (json->type == MA_JSON_ARRAY && items == NIL)
		ma_problem(problems, json->path, NULL, "names no day");
	foreach(cell, items)
	{
		MaJson	   *item = lfirst(cell);
		int			day = 0;

		if (ma_json_text(item, problems) == NULL)
			continue;
		while (day < lengthof(day_names) && strcmp(day_names[day], item->text) != 0)
			day++;
		if (day == lengthof(day_names))
			ma_problem(problems, item->path, "Days are mon, tue, wed, thu, fri, sat and sun.",
					   "\"%s\" is not a day", item->text);
		else
			window->days |= 1 << day;
	}
}

static void
parse_zone(MaWindow *window, const MaJson *json, List **problems)
{
	const char *text = ma_json_text(json, problems);

	if (text == NULL || strcmp(text, "contact") == 0)
		return;
	if (strcmp(text, "database") != 0 && pg_tzset(text) == NULL)
		ma_problem(problems, json->path, "For example \"contact\", \"database\" or \"Europe/Istanbul\".",
				   "there is no time zone \"%s\"", text);
	window->zone = text;
}

/* Keys that all of them have. */
static MaWindow *
parse_common(const MaJson *json, List **problems)
{
	MaWindow   *window = palloc0_object(MaWindow);
	MaJson	   *member;

	window->to = USECS_PER_DAY;
	if ((member = ma_json_member(json, "between")) != NULL)
		parse_between(window, member, problems);
	if ((member = ma_json_member(json, "days")) != NULL)
		parse_days(window, member, problems);
	if ((member = ma_json_member(json, "zone")) != NULL)
		parse_zone(window, member, problems);
	if ((member = ma_json_member(json, "holidays")) != NULL &&
		ma_json_text(member, problems) != NULL)
	{
		window->skip_holidays = strcmp(member->text, "skip") == 0;
		if (!window->skip_holidays)
			ma_problem(problems, member->path, NULL, "must be \"skip\"");
	}
	return window;
}

MaWindow *
ma_read_window(const MaJson *json, List **problems)
{
	static const char *const keys[] = {"between", "days", "holidays", "zone", NULL};

	if (!ma_json_is_object(json, problems))
		return NULL;
	ma_json_known_keys(json, keys, problems);
	if (ma_json_member(json, "between") == NULL && ma_json_member(json, "days") == NULL &&
		ma_json_member(json, "holidays") == NULL)
		ma_problem(problems, json->path, "For example {\"between\": [\"10:00\", \"18:00\"], \"days\": [\"mon\"]}.",
				   "needs \"between\", \"days\" or \"holidays\"");
	return parse_common(json, problems);
}

static void
parse_date(MaWindow *window, const MaJson *json, List **problems)
{
	const char *text = ma_json_text(json, problems);
	int			year;
	int			month;
	int			day;
	int			length = 0;

	if (text == NULL)
		return;
	if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &length) == 3 && length == 10 &&
		text[10] == '\0' && month >= 1 && month <= 12 && day >= 1 && year > 0)
	{
		int			j = date2j(year, month, day);
		int			y;
		int			m;
		int			d;

		j2date(j, &y, &m, &d);
		if (d == day)
		{
			window->date = j - POSTGRES_EPOCH_JDATE;
			return;
		}
	}
	ma_problem(problems, json->path, "For example \"2026-12-24\".", "\"%s\" is not a date", text);
}

/* A window; "at", the next such time; or a date, of the calendar or of the contact. */
MaWindow *
ma_read_time_step(const MaJson *json, List **problems)
{
	static const char *const keys[] = {
		"between", "days", "holidays", "zone", "at", "date", "offset", NULL
	};
	MaWindow   *window;
	MaJson	   *at = NULL;
	MaJson	   *date = NULL;

	if (!ma_json_is_object(json, problems))
		return NULL;
	at = ma_json_member(json, "at");
	date = ma_json_member(json, "date");
	if (at == NULL && date == NULL)
		return ma_read_window(json, problems);
	ma_json_known_keys(json, keys, problems);
	window = parse_common(json, problems);
	if (ma_json_member(json, "between") != NULL)
		ma_problem(problems, json->path, NULL, "\"between\" does not go with \"at\" or \"date\"");
	if (date != NULL && (ma_json_member(json, "days") || ma_json_member(json, "holidays")))
		ma_problem(problems, json->path, NULL, "\"days\" and \"holidays\" do not go with \"date\"");
	if (date != NULL && date->type == MA_JSON_TEXT && !isdigit((unsigned char) date->text[0]))
	{
		window->by = ma_read_date(json, "date", problems);
		return window;
	}
	if (ma_json_member(json, "offset") != NULL)
		ma_problem(problems, json->path, NULL, "\"offset\" belongs to a date of the contact's");
	if (at != NULL)
		window->from = ma_read_clock(at, false, problems);
	if (date != NULL)
		parse_date(window, date, problems);
	window->is_date = date != NULL;
	window->is_point = date == NULL;
	return window;
}

MaWindow *
ma_read_quiet(const MaJson *json, List **problems)
{
	static const char *const keys[] = {"from", "to", "zone", NULL};
	MaWindow   *window;
	MaJson	   *from;
	MaJson	   *to;

	if (!ma_json_is_object(json, problems))
		return NULL;
	ma_json_known_keys(json, keys, problems);
	window = parse_common(json, problems);
	from = ma_json_member(json, "from");
	to = ma_json_member(json, "to");
	if (from == NULL || to == NULL)
	{
		ma_problem(problems, json->path, "For example {\"from\": \"21:00\", \"to\": \"09:00\"}.",
				   "needs \"from\" and \"to\"");
		return window;
	}
	window->from = ma_read_clock(from, false, problems);
	window->to = ma_read_clock(to, true, problems);
	if (window->from == window->to)
		ma_problem(problems, json->path, NULL, "begins and ends at the same time");
	return window;
}
