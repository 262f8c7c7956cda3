/*
 * cap.c
 *		marketing.define_cap(): how many messages a contact gets within a period.
 *
 * A period is rolling (`7 days`: counted back from each message, exactly) or of the
 * calendar of the contact's zone (`day`, `week`, `month`).  What counts is known to
 * delivery, which asks here when a message stops counting.  Transactional messages neither
 * count nor are held.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define MAX_SECONDS ((int64) 366 * SECS_PER_DAY)

enum
{
	ARG_NAME, ARG_AT_MOST, ARG_PER, ARG_CHANNEL, ARG_TOPIC, ARG_WHEN_OVER, NUM_ARGS
};

static const char *const argument_names[NUM_ARGS] = {
	"name", "at_most", "per", "channel", "topic", "when_over"
};
static const char *const when_names[] = {"skip", "defer", "displace"};
static const char *const period_names[] = {"rolling", "day", "week", "month"};

typedef struct Unit
{
	const char *name;
	int64		seconds;
} Unit;

static const Unit units[] = {
	{"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", SECS_PER_DAY}, {"week", 7 * SECS_PER_DAY}
};

static void *load(void);
static int	number_of(const char *const *names, int n, const char *name);
static int64 seconds_of(const char *text);
static char *per_text(const char *per, int64 *seconds);
static char *define(MaCap *cap, const char *topic);
static Timestamp start_of_period(MaCapPeriod period, Timestamp local, int shift);
static List *uses_of_topic(const char *topic);
static void unknown(const char *name) pg_attribute_noreturn();

MA_FUNCTION(ma_define_cap);
MA_FUNCTION(ma_drop_cap);

void
ma_cap_init(void)
{
	ma_register_uses("topic", uses_of_topic);
}

/* ---- what is defined ---- */

List *
ma_caps(void)
{
	static MaKept caps = {"caps", load, NULL};

	return ((MaKeptList *) ma_kept(&caps))->items;
}

static int
number_of(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* Reads all of them into the current context. */
static void *
load(void)
{
	static MaStatement all = {
		"SELECT name, at_most, per, seconds, channel, topic_id, when_over "
		"FROM marketing_internal.cap ORDER BY name", 0
	};
	MaKeptList  *list = palloc0_object(MaKeptList);
	MaIdentity	caller;
	MaRows		rows;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaCap	   *cap = palloc0_object(MaCap);

		cap->name = ma_text(&rows, i, 1);
		cap->at_most = ma_int32(&rows, i, 2);
		cap->per = ma_text(&rows, i, 3);
		cap->window = ma_int64(&rows, i, 4) * USECS_PER_SEC;
		if (cap->window == 0)
			cap->period = number_of(period_names, lengthof(period_names), cap->per);
		cap->channel = ma_text(&rows, i, 5);
		cap->topic_id = ma_int32(&rows, i, 6);
		cap->when = number_of(when_names, lengthof(when_names), ma_text(&rows, i, 7));
		list->items = lappend(list->items, cap);
	}
	ma_become_back(&caller);
	return list;
}

bool
ma_cap_counts(const MaCap *cap, const char *channel, int32 topic_id)
{
	return topic_id != MA_TOPIC_TRANSACTIONAL_ID &&
		(cap->channel == NULL || strcmp(cap->channel, channel) == 0) &&
		(cap->topic_id == 0 || cap->topic_id == topic_id);
}

/* Midnight at which the period of the local time begins, or one `shift` periods on. */
static Timestamp
start_of_period(MaCapPeriod period, Timestamp local, int shift)
{
	struct pg_tm tm;
	fsec_t		fraction;
	int			day;
	int			months;
	Timestamp	start;

	if (timestamp2tm(local, NULL, &tm, &fraction, NULL, NULL) != 0)
		return local;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	if (period == MA_CAP_MONTH)
	{
		months = tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + shift;
		tm.tm_year = months / MONTHS_PER_YEAR;
		tm.tm_mon = months % MONTHS_PER_YEAR + 1;
		tm.tm_mday = 1;
	}
	else
	{
		day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
		if (period == MA_CAP_WEEK)
			day -= (j2day(day) + 6) % 7;
		day += shift * (period == MA_CAP_WEEK ? 7 : 1);
		j2date(day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	}
	return tm2timestamp(&tm, 0, NULL, &start) == 0 ? start : local;
}

TimestampTz
ma_cap_frees(const MaCap *cap, TimestampTz counted, const char *time_zone)
{
	struct pg_tz *zone;

	if (cap->window > 0)
		return counted + cap->window;
	zone = ma_zone_or_default(time_zone);
	return ma_instant_of_local(start_of_period(cap->period, ma_local_of_instant(counted, zone), 1),
							   zone);
}

/* Far enough back for any zone and any period of the calendar. */
TimestampTz
ma_cap_look_back(const MaCap *cap, TimestampTz now)
{
	return now - (cap->window > 0 ? cap->window : 33 * USECS_PER_DAY);
}

char *
ma_cap_text(const MaCap *cap)
{
	return psprintf("cap \"%s\": at most %d %s %s", cap->name, cap->at_most,
					cap->window > 0 ? "in" : "a", cap->per);
}

/* ---- defining ---- */

/* "7 days" or "1 day 12 hours" in seconds; 0 if it is not of that form. */
static int64
seconds_of(const char *text)
{
	int64		sum = 0;
	const char *at = text;

	while (*at != '\0')
	{
		int64		number = 0;
		const char *digits = at;
		size_t		length;
		int			unit = 0;

		for (; *at >= '0' && *at <= '9' && at - digits < 9; at++)
			number = number * 10 + (*at - '0');
		if (at == digits || number == 0)
			return 0;
		at += strspn(at, " ");
		length = strcspn(at, " ");
		while (unit < lengthof(units) &&
			   !(strncmp(at, units[unit].name, strlen(units[unit].name)) == 0 &&
				 (length == strlen(units[unit].name) ||
				  (length == strlen(units[unit].name) + 1 && at[length - 1] == 's'))))
			unit++;
		if (unit == lengthof(units))
			return 0;
		sum += number * units[unit].seconds;
		at += length + strspn(at + length, " ");
	}
	return sum;
}

/* The same period is the same text: what was written, or its length in its largest units. */
static char *
per_text(const char *per, int64 *seconds)
{
	StringInfoData text;
	int64		rest;

	*seconds = 0;
	if (number_of(period_names + 1, lengthof(period_names) - 1, per) >= 0)
		return pstrdup(per);
	rest = *seconds = seconds_of(per);
	if (rest <= 0 || rest > MAX_SECONDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for per: \"%s\"", per),
				 errhint("Use a time such as 7 days or 24 hours, up to 366 days, counted back from each "
						 "message, or day, week or month of the contact's calendar.")));
	initStringInfo(&text);
	/* Not in weeks: 7 days is what everybody writes. */
	for (int i = lengthof(units) - 2; i >= 0; i--)
	{
		int64		number = rest / units[i].seconds;

		if (number > 0)
			appendStringInfo(&text, "%s" INT64_FORMAT " %s%s", text.len > 0 ? " " : "", number,
							 units[i].name, number > 1 ? "s" : "");
		rest %= units[i].seconds;
	}
	return text.data;
}

/* marketing.define_cap(name, at_most, per, channel, topic, when_over) */
Datum
ma_define_cap(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCap		cap = {0};
	char	   *topic = ma_consent_text(fcinfo, ARG_TOPIC);
	char	   *when = ma_consent_required(fcinfo, ARG_WHEN_OVER, argument_names[ARG_WHEN_OVER]);
	int			number = number_of(when_names, lengthof(when_names), when);
	int64		seconds;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	cap.name = ma_consent_required(fcinfo, ARG_NAME, argument_names[ARG_NAME]);
	ma_name_check(cap.name, "cap");
	if (PG_ARGISNULL(ARG_AT_MOST) || PG_GETARG_INT32(ARG_AT_MOST) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_most must be 1 or more"),
				 errhint("To send nothing at all of a topic do not ask for its messages; without a limit define no cap.")));
	cap.at_most = PG_GETARG_INT32(ARG_AT_MOST);
	cap.per = per_text(ma_consent_required(fcinfo, ARG_PER, argument_names[ARG_PER]), &seconds);
	cap.window = seconds;
	cap.channel = ma_consent_text(fcinfo, ARG_CHANNEL);
	if (cap.channel != NULL)
		ma_channel_check(cap.channel);
	if (number < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for when_over: \"%s\"", when),
				 errhint("Use skip, defer or displace.")));
	cap.when = number;
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define(&cap, topic));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Stores it if it differs; says what it did.  cap->window is in seconds here. */
static char *
define(MaCap *cap, const char *topic_name)
{
	static MaStatement find = {
		"SELECT true, at_most OPERATOR(pg_catalog.=) $2, "
		"per OPERATOR(pg_catalog.=) $3 AND seconds OPERATOR(pg_catalog.=) $7, "
		"channel IS NOT DISTINCT FROM $4, topic_id IS NOT DISTINCT FROM $5, "
		"when_over OPERATOR(pg_catalog.=) $6 "
		"FROM marketing_internal.cap WHERE name OPERATOR(pg_catalog.=) $1",
		7, {TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT8OID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.cap (name, at_most, per, channel, topic_id, when_over, seconds) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET "
		"at_most = excluded.at_most, per = excluded.per, channel = excluded.channel, "
		"topic_id = excluded.topic_id, when_over = excluded.when_over, seconds = excluded.seconds",
		7, {TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT8OID}
	};
	MaTopic    *topic = topic_name ? ma_topic_required(topic_name) : NULL;
	Datum		values[7];
	char		nulls[] = "       ";
	MaRows		found;
	StringInfoData changed;

	if (topic != NULL && topic->kind == MA_TOPIC_TRANSACTIONAL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" is free of caps", topic->name)));
	values[0] = CStringGetTextDatum(cap->name);
	values[1] = Int32GetDatum(cap->at_most);
	values[2] = CStringGetTextDatum(cap->per);
	values[3] = cap->channel ? CStringGetTextDatum(cap->channel) : (Datum) 0;
	values[4] = Int32GetDatum(topic ? topic->id : 0);
	values[5] = CStringGetTextDatum(when_names[cap->when]);
	values[6] = Int64GetDatum(cap->window);
	nulls[3] = cap->channel ? ' ' : 'n';
	nulls[4] = topic ? ' ' : 'n';
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	found = ma_run(&find, values, nulls, MA_RUN_READ_LATEST);
	initStringInfo(&changed);
	for (int i = ARG_AT_MOST; i < NUM_ARGS && found.n > 0; i++)
		if (!ma_bool(&found, 0, i + 1))
			appendStringInfo(&changed, "%s%s", changed.len > 0 ? ", " : "", argument_names[i]);
	if (found.n > 0 && changed.len == 0)
		return psprintf("%s: unchanged", cap->name);
	(void) ma_run(&store, values, nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return found.n == 0 ? psprintf("%s: created", cap->name) :
		psprintf("%s: replaced (%s)", cap->name, changed.data);
}

/* The error that suggests the nearest. */
static void
unknown(const char *name)
{
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	foreach(cell, ma_caps())
		names = lappend(names, ((MaCap *) lfirst(cell))->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_CAP),
			 errmsg("there is no cap \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("View marketing.caps lists them.")));
}

/* marketing.drop_cap(name) */
Datum
ma_drop_cap(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {
		"DELETE FROM marketing_internal.cap WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	char	   *name = ma_consent_required(fcinfo, 0, "name");
	Datum		value = CStringGetTextDatum(name);
	MaCall		call;

	(void) ma_extension_required();
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	if (ma_run(&drop, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		unknown(name);
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

/* Caps of the topic, for drop_topic(). */
static List *
uses_of_topic(const char *topic_name)
{
	MaTopic    *topic = ma_topic_by_name(topic_name);
	List	   *uses = NIL;
	ListCell   *cell;

	foreach(cell, ma_caps())
	{
		MaCap	   *cap = lfirst(cell);

		if (topic != NULL && cap->topic_id == topic->id)
			uses = lappend(uses, psprintf("cap \"%s\"", cap->name));
	}
	return uses;
}
