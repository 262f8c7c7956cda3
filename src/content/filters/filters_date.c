/*
 * filters_date.c
 *		date: "%d.%m.%Y" - instants and days as text, in the zone of the rendering.
 *
 * A text is read by PostgreSQL's own input, so what SQL understands a template does;
 * numbers are seconds since 1970; "now" and "today" are marketing.now().  A text
 * without a zone is taken as local time and printed as it is, whatever the zone.
 * Names of months and days are those of the language of the text, or of one that is
 * given: date: "%d %B", "tr".
 */
#include "base/base.h"

#include <math.h>

#include "content/liquid/liquid.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

static bool read_time(LiquidRender *render, LiquidValue input, TimestampTz *at);
static bool parse_time(LiquidRender *render, const char *text, TimestampTz *at);
static bool from_seconds(int64 seconds, TimestampTz *at);
static void format_time(LiquidRender *render, StringInfo out, const char *format, TimestampTz at,
						const LiquidLocale *locale);
static bool format_one(StringInfo out, char code, char flag, const struct pg_tm *tm, fsec_t fsec,
					   TimestampTz at, int zone, const char *abbreviation,
					   const LiquidLocale *locale);
static int64 field(char code, const struct pg_tm *tm, fsec_t fsec, TimestampTz at);
static bool format_words(StringInfo out, char code, char flag, const struct pg_tm *tm, fsec_t fsec,
						 int zone, const char *abbreviation, const LiquidLocale *locale);
static void word(StringInfo out, const char *words, const char *const *english, int n, bool cut,
				 char flag);
static void number(StringInfo out, int64 value, int width, char pad, char flag);
static void name(StringInfo out, const char *text, int length, char flag);
static int	week_of_year(const struct pg_tm *tm, int first_weekday);

static LiquidValue
filter_date(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidValue format = ma_liquid_to_string(render, arguments[0]);
	StringInfoData out;
	TimestampTz at;

	if (format.length == 0 || !read_time(render, input, &at))
		return input;
	initStringInfo(&out);
	format_time(render, &out, ma_liquid_to_cstring(render, format), at,
				ma_liquid_locale(render, arguments[1]));
	return ma_liquid_string(out.data, out.len);
}

/* False if the value is no time; it is shown as it is then. */
static bool
read_time(LiquidRender *render, LiquidValue input, TimestampTz *at)
{
	char	   *text;
	char	   *end;
	long long	seconds;

	if (ma_liquid_is_number(input))
		return from_seconds(ma_liquid_int_of(input), at);
	if (input.kind != LIQUID_STRING || input.length == 0 || input.length > 100)
		return false;
	text = ma_liquid_to_cstring(render, input);
	if (pg_strcasecmp(text, "now") == 0 || pg_strcasecmp(text, "today") == 0)
	{
		*at = ma_now();
		return true;
	}
	errno = 0;
	seconds = strtoll(text, &end, 10);
	if (*end == '\0' && errno == 0)
		return from_seconds(seconds, at);
	return parse_time(render, text, at);
}

static bool
from_seconds(int64 seconds, TimestampTz *at)
{
	if (seconds < -INT64CONST(100000000000) || seconds > INT64CONST(100000000000))
		return false;
	*at = (seconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC;
	return true;
}

/* As timestamptz_in(), in the rendering's zone, without its errors. */
static bool
parse_time(LiquidRender *render, const char *text, TimestampTz *at)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	int			type;
	int			nfields;
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	char		work[MAXDATELEN + MAXDATEFIELDS];
	pg_tz	   *session = session_timezone;
	int			error;

	session_timezone = render->zone;
	error = ParseDateTime(text, work, sizeof(work), fields, types, MAXDATEFIELDS, &nfields);
	if (error == 0)
		error = ma_decode_datetime(fields, types, nfields, &type, &tm, &fsec, &zone);
	session_timezone = session;
	if (error != 0 || type != DTK_DATE)
		return false;
	return tm2timestamp(&tm, fsec, &zone, at) == 0;
}

static void
format_time(LiquidRender *render, StringInfo out, const char *format, TimestampTz at,
			const LiquidLocale *locale)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	const char *abbreviation = NULL;

	if (timestamp2tm(at, &zone, &tm, &fsec, &abbreviation, render->zone) != 0)
		ma_liquid_error(render, "Look at the data.", "a date is out of range");
	tm.tm_wday = j2day(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday));
	tm.tm_yday = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - date2j(tm.tm_year, 1, 1) + 1;
	for (const char *c = format; *c; c++)
	{
		const char *start = c;
		char		flag = 0;

		if (out->len > 10000)
			ma_liquid_error(render, "Use a shorter format.", "a date is too long");
		if (*c != '%' || c[1] == '\0')
		{
			appendStringInfoChar(out, *c);
			continue;
		}
		c++;
		while (*c && strchr("-_0^#:", *c) != NULL)
			flag = *c++;
		while (isdigit((unsigned char) *c))
			c++;
		if (*c == '\0')
		{
			appendStringInfoString(out, start);
			break;
		}
		if (!format_one(out, *c, flag, &tm, fsec, at, zone, abbreviation, locale))
			appendBinaryStringInfo(out, start, c - start + 1);
	}
}

/* One directive, as strftime and Ruby have it; false if there is no such. */
static bool
format_one(StringInfo out, char code, char flag, const struct pg_tm *tm, fsec_t fsec,
		   TimestampTz at, int zone, const char *abbreviation, const LiquidLocale *locale)
{
	static const char *const composed[][2] = {
		{"D", "%m/%d/%y"}, {"x", "%m/%d/%y"}, {"F", "%Y-%m-%d"}, {"T", "%H:%M:%S"},
		{"X", "%H:%M:%S"}, {"R", "%H:%M"}, {"r", "%I:%M:%S %p"}, {"c", "%a %b %e %H:%M:%S %Y"},
		{"v", "%e-%^b-%Y"}, {"+", "%a %b %e %H:%M:%S %Z %Y"}
	};
	static const struct
	{
		char		code;
		int			width;
		char		pad;
	}			fields[] = {
		{'Y', 1, '0'}, {'C', 2, '0'}, {'y', 2, '0'}, {'m', 2, '0'}, {'d', 2, '0'}, {'e', 2, ' '},
		{'j', 3, '0'}, {'H', 2, '0'}, {'k', 2, ' '}, {'I', 2, '0'}, {'l', 2, ' '}, {'M', 2, '0'},
		{'S', 2, '0'}, {'L', 3, '0'}, {'s', 1, '0'}, {'u', 1, '0'}, {'w', 1, '0'}, {'U', 2, '0'},
		{'W', 2, '0'}, {'V', 2, '0'}, {'G', 1, '0'}, {'g', 2, '0'}};

	for (int i = 0; i < lengthof(composed); i++)
		if (composed[i][0][0] == code)
		{
			for (const char *c = composed[i][1]; *c; c++)
			{
				char		inner = 0;

				if (*c != '%')
				{
					appendStringInfoChar(out, *c);
					continue;
				}
				if (*++c == '^')
					inner = *c++;
				(void) format_one(out, *c, inner, tm, fsec, at, zone, abbreviation, locale);
			}
			return true;
		}
	for (int i = 0; i < lengthof(fields); i++)
		if (fields[i].code == code)
		{
			number(out, field(code, tm, fsec, at), fields[i].width, fields[i].pad, flag);
			return true;
		}
	return format_words(out, code, flag, tm, fsec, zone, abbreviation, locale);
}

/* The number of a directive that is one. */
static int64
field(char code, const struct pg_tm *tm, fsec_t fsec, TimestampTz at)
{
	switch (code)
	{
		case 'Y':
			return tm->tm_year;
		case 'C':
			return tm->tm_year / 100;
		case 'y':
			return tm->tm_year % 100;
		case 'm':
			return tm->tm_mon;
		case 'd':
		case 'e':
			return tm->tm_mday;
		case 'j':
			return tm->tm_yday;
		case 'H':
		case 'k':
			return tm->tm_hour;
		case 'I':
		case 'l':
			return tm->tm_hour % 12 == 0 ? 12 : tm->tm_hour % 12;
		case 'M':
			return tm->tm_min;
		case 'S':
			return tm->tm_sec;
		case 'L':
			return fsec / 1000;
		case 's':
			return at / USECS_PER_SEC +
				(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
		case 'u':
			return tm->tm_wday == 0 ? 7 : tm->tm_wday;
		case 'w':
			return tm->tm_wday;
		case 'U':
			return week_of_year(tm, 0);
		case 'W':
			return week_of_year(tm, 1);
		case 'V':
			return date2isoweek(tm->tm_year, tm->tm_mon, tm->tm_mday);
		case 'G':
			return date2isoyear(tm->tm_year, tm->tm_mon, tm->tm_mday);
		default:
			return date2isoyear(tm->tm_year, tm->tm_mon, tm->tm_mday) % 100;
	}
}

/* Directives that are words; false if it is none. */
static bool
format_words(StringInfo out, char code, char flag, const struct pg_tm *tm, fsec_t fsec, int zone,
			 const char *abbreviation, const LiquidLocale *locale)
{
	switch (code)
	{
		case 'B':
			word(out, locale->months, months, tm->tm_mon - 1, false, flag);
			return true;
		case 'b':
		case 'h':
			word(out, locale->short_months ? locale->short_months : locale->months, months,
				 tm->tm_mon - 1, locale->short_months == NULL, flag);
			return true;
		case 'A':
			word(out, locale->days, days, tm->tm_wday, false, flag);
			return true;
		case 'a':
			word(out, locale->short_days, days, tm->tm_wday, locale->short_days == NULL, flag);
			return true;
		case 'p':
			name(out, tm->tm_hour < 12 ? "AM" : "PM", 0, flag == '#' ? 'l' : flag);
			return true;
		case 'P':
			appendStringInfoString(out, tm->tm_hour < 12 ? "am" : "pm");
			return true;
		case 'Z':
			appendStringInfoString(out, abbreviation ? abbreviation : "");
			return true;
		case 'z':
			appendStringInfo(out, "%c%02d%s%02d", zone > 0 ? '-' : '+', abs(zone) / 3600,
							 flag == ':' ? ":" : "", abs(zone) % 3600 / 60);
			return true;
		case 'N':
			appendStringInfo(out, "%06d000", (int) fsec);
			return true;
		case 'n':
		case 't':
		case '%':
			appendStringInfoChar(out, code == 'n' ? '\n' : code == 't' ? '\t' : '%');
			return true;
		default:
			return false;
	}
}

/* Filled up to `width`; the flag - takes the filling away, _ makes it blanks, 0 zeros. */
static void
number(StringInfo out, int64 value, int width, char pad, char flag)
{
	if (flag == '-')
		width = 1;
	if (flag == '_')
		pad = ' ';
	if (flag == '0')
		pad = '0';
	if (pad == '0')
		appendStringInfo(out, "%0*lld", width, (long long) value);
	else
		appendStringInfo(out, "%*lld", width, (long long) value);
}

/* Name n of the language, or of English; `cut`: its first three letters. */
static void
word(StringInfo out, const char *words, const char *const *english, int n, bool cut, char flag)
{
	int			length;
	int			letters = 0;
	int			end = 0;
	const char *text;

	if (words == NULL)
	{
		name(out, english[n], cut ? 3 : 0, flag);
		return;
	}
	text = ma_liquid_word(words, n, &length);
	while (end < length && (!cut || letters < 3))
	{
		end += pg_utf_mblen((const unsigned char *) text + end);
		letters++;
	}
	/* The lists are UTF-8. */
	text = pg_any_to_server(pnstrdup(text, end), end, PG_UTF8);
	name(out, text, 0, flag);
}

/* The first `length` letters (0: all); the flag ^ makes them large. */
static void
name(StringInfo out, const char *text, int length, char flag)
{
	for (int i = 0; text[i] && (length == 0 || i < length); i++)
		appendStringInfoChar(out, flag == '^' || flag == '#' ? pg_toupper(text[i]) :
							 flag == 'l' ? pg_tolower(text[i]) : text[i]);
}

/* Number of the week whose first day is `first_weekday`; days before the first such are week 0. */
static int
week_of_year(const struct pg_tm *tm, int first_weekday)
{
	return (tm->tm_yday - 1 + 7 - (tm->tm_wday - first_weekday + 7) % 7) / 7;
}

const LiquidFilterType ma_liquid_date_filters[] = {
	{"date", 1, 2, filter_date},
	{NULL}
};
