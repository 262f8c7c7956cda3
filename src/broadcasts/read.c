/*
 * read.c
 *		From the JSON of a broadcast to what it says, and on to the JSON of the journey
 *		that does it.
 *
 * The journey is one of a few steps that anybody could have written: a wait for the
 * instant, then the send, or a split into the variants of a test.  Everything else
 * (gate, zones, reports, why_not_sent) is the journey's.
 */
#include "base/base.h"

#include <math.h>

#include "broadcasts/broadcasts_internal.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static char *text_of(const MaJson *object, const char *key, List **problems);
static void parse_at(MaBroadcast *broadcast, const MaJson *json, List **problems);
static void parse_clock(MaBroadcast *broadcast, const MaJson *json, List **problems);
static void parse_test(MaBroadcast *broadcast, const MaJson *json, List **problems);
static void check_whole(const MaBroadcast *broadcast, const MaJson *tree, List **problems);
static void begin_journey(const MaBroadcast *broadcast, StringInfo text);
static void put_send(StringInfo text, const char *template, const char *id);
static Datum as_jsonb(const StringInfoData *text);

static char *
text_of(const MaJson *object, const char *key, List **problems)
{
	MaJson	   *member = ma_json_member(object, key);

	return member ? ma_json_text(member, problems) : NULL;
}

static char *
duration_of(const MaJson *object, const char *key, List **problems)
{
	char	   *text = text_of(object, key, problems);

	if (text != NULL && (!ma_duration_valid(text) || ma_duration_is_zero(text)))
		ma_problem(problems, ma_json_member(object, key)->path, "For example \"4 hours\".",
				   "\"%s\" is not a duration", text);
	return text;
}

MaBroadcast *
ma_broadcast_parse(Datum definition, List **problems)
{
	static const char *const keys[] = {
		"audience", "exclude", "resend_of", "send", "test", "at", "clock", "campaign", "priority",
		"max_lateness", "description", NULL
	};
	MaBroadcast *broadcast = palloc0_object(MaBroadcast);
	MaJson	   *tree = ma_json_tree(definition);
	MaJson	   *member;

	if (!ma_json_is_object(tree, problems))
		return broadcast;
	ma_json_known_keys(tree, keys, problems);
	broadcast->audience = text_of(tree, "audience", problems);
	broadcast->exclude = text_of(tree, "exclude", problems);
	broadcast->resend_of = text_of(tree, "resend_of", problems);
	broadcast->send = text_of(tree, "send", problems);
	broadcast->campaign = text_of(tree, "campaign", problems);
	broadcast->max_lateness = duration_of(tree, "max_lateness", problems);
	(void) text_of(tree, "description", problems);
	if ((member = ma_json_member(tree, "priority")) != NULL)
	{
		broadcast->priority = ma_json_number(member, -1000000, 1000000, problems);
		broadcast->has_priority = true;
	}
	if ((member = ma_json_member(tree, "at")) != NULL)
		parse_at(broadcast, member, problems);
	if ((member = ma_json_member(tree, "clock")) != NULL)
		parse_clock(broadcast, member, problems);
	if ((member = ma_json_member(tree, "test")) != NULL)
		parse_test(broadcast, member, problems);
	check_whole(broadcast, tree, problems);
	return broadcast;
}

static void
check_whole(const MaBroadcast *broadcast, const MaJson *tree, List **problems)
{
	if (ma_json_member(tree, "audience") == NULL && ma_json_member(tree, "resend_of") == NULL)
		ma_problem(problems, "audience", "For example \"in segment engaged\".", "is missing");
	if ((ma_json_member(tree, "send") == NULL) == (ma_json_member(tree, "test") == NULL))
		ma_problem(problems, "", "A template, or variants of which the better one wins.",
				   "needs either \"send\" or \"test\"");
	if (broadcast->by_contact && ma_json_member(tree, "at") == NULL)
		ma_problem(problems, "clock", NULL, "belongs to \"at\"");
}

/* "2026-11-27 10:00": a time of the wall. */
static void
parse_at(MaBroadcast *broadcast, const MaJson *json, List **problems)
{
	const char *text = ma_json_text(json, problems);
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			length = 0;
	int			y;
	int			m;
	int			d;

	if (text == NULL)
		return;
	if (sscanf(text, "%4d-%2d-%2d %2d:%2d%n", &year, &month, &day, &hour, &minute, &length) == 5 &&
		length == 16 && text[16] == '\0' && year > 0 && month >= 1 && month <= 12 && day >= 1 &&
		hour >= 0 && hour < 24 && minute >= 0 && minute < 60)
	{
		int			julian = date2j(year, month, day);

		j2date(julian, &y, &m, &d);
		if (d == day)
		{
			broadcast->at = pstrdup(text);
			broadcast->wall = (julian - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
				(hour * INT64CONST(60) + minute) * USECS_PER_MINUTE;
			return;
		}
	}
	ma_problem(problems, json->path, "For example \"2026-11-27 10:00\".",
			   "\"%s\" is not a date and a time of the day", text);
}

static void
parse_clock(MaBroadcast *broadcast, const MaJson *json, List **problems)
{
	const char *text = ma_json_text(json, problems);

	broadcast->by_contact = text != NULL && strcmp(text, "contact") == 0;
	if (text != NULL && !broadcast->by_contact && strcmp(text, "database") != 0)
		ma_problem(problems, json->path, NULL, "must be \"contact\" or \"database\"");
}

static void
parse_test(MaBroadcast *broadcast, const MaJson *json, List **problems)
{
	ListCell   *cell;

	broadcast->test = ma_test_parse(json, false, problems);
	foreach(cell, broadcast->test->variants)
	{
		MaVariant  *variant = lfirst(cell);

		variant->step = psprintf("test %s", variant->name);
	}
}

/* ---- the journey ---- */

static Datum
as_jsonb(const StringInfoData *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text->data));
}

/* The keys, up to the steps. */
static void
begin_journey(const MaBroadcast *broadcast, StringInfo text)
{
	initStringInfo(text);
	appendStringInfoString(text, "{\"reentry\": \"once\"");
	if (broadcast->campaign != NULL)
	{
		appendStringInfoString(text, ", \"campaign\": ");
		escape_json(text, broadcast->campaign);
	}
	if (broadcast->has_priority)
		appendStringInfo(text, ", \"priority\": %d", broadcast->priority);
	if (broadcast->max_lateness != NULL)
	{
		appendStringInfoString(text, ", \"max_lateness\": ");
		escape_json(text, broadcast->max_lateness);
	}
	appendStringInfoString(text, ", \"steps\": [");
}

static void
put_send(StringInfo text, const char *template, const char *id)
{
	appendStringInfoString(text, "{\"send\": ");
	escape_json(text, template);
	appendStringInfoString(text, ", \"id\": ");
	escape_json(text, id);
	appendStringInfoChar(text, '}');
}

Datum
ma_broadcast_journey(const MaBroadcast *broadcast)
{
	StringInfoData text;
	List	   *variants = broadcast->test ? broadcast->test->variants : NIL;
	ListCell   *cell;

	begin_journey(broadcast, &text);
	if (broadcast->at != NULL)
		appendStringInfo(&text, "{\"wait_for_time\": {\"date\": \"%.10s\", \"at\": \"%s\", "
						 "\"zone\": \"%s\"}, \"id\": \"at\"}, ", broadcast->at, broadcast->at + 11,
						 broadcast->by_contact ? "contact" : "database");
	if (broadcast->send != NULL)
		put_send(&text, broadcast->send, "send");
	else
	{
		appendStringInfoString(&text, "{\"split\": [");
		foreach(cell, variants)
		{
			MaVariant  *variant = lfirst(cell);
			int			rest = list_length(variants) - foreach_current_index(cell) - 1;
			double		share = rint(1e6 / list_length(variants)) / 1e6;

			/* The last one takes what the others leave, to the last digit. */
			if (rest == 0)
				share = 1 - (list_length(variants) - 1) * share;
			appendStringInfo(&text, "{\"share\": %.6f, \"name\": ", share);
			escape_json(&text, variant->name);
			appendStringInfoString(&text, ", \"then\": [");
			put_send(&text, variant->template, variant->step);
			appendStringInfoString(&text, rest == 0 ? "]}" : "]}, ");
		}
		appendStringInfoString(&text, "], \"id\": \"test\"}");
	}
	appendStringInfoString(&text, "]}");
	return as_jsonb(&text);
}

/* With the contacts' clock it goes when that hour comes again for each of them. */
Datum
ma_broadcast_winner_journey(const MaBroadcast *broadcast, const MaVariant *winner)
{
	StringInfoData text;

	begin_journey(broadcast, &text);
	if (broadcast->by_contact)
		appendStringInfo(&text, "{\"wait_for_time\": {\"at\": \"%s\"}, \"id\": \"at\"}, ",
						 broadcast->at + 11);
	put_send(&text, winner->template, psprintf("winner %s", winner->name));
	appendStringInfoString(&text, "]}");
	return as_jsonb(&text);
}
