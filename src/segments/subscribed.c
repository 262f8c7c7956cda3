/*
 * subscribed.c
 *		`subscribed TOPIC [by CHANNEL]` in rules: who may be written to about a topic,
 *		as far as consent goes.
 *
 * The same condition as the gate's: who said yes (and, where that is asked, confirmed
 * it), and of a topic of kind opt_out also who said nothing.  Without a channel any one
 * of the topic's does.  Suppressed addresses and caps are the gate's alone: they say
 * nothing about what the person wants.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

/* Of t, a topic, and u.channel, one of its channels, for the contact s (LEFT JOIN). */
#define SUBSCRIBED \
	"(s.state OPERATOR(pg_catalog.=) 'opted_in' OR (t.consent OPERATOR(pg_catalog.=) 'opt_out' " \
	"AND COALESCE(s.state, 'none') OPERATOR(pg_catalog.=) 'none'))"

static bool find(const char *name, const char *by, List **candidates);
static void test(const char *name, const char *by, const int64 *contact_ids, int n,
				 TimestampTz as_of, MaRun how, MaTruth *out);
static char *sql(const char *name, const char *by, const char *now);

static const MaRuleFact fact = {"subscribed", find, NULL, test, sql};

void
ma_segment_subscribed_init(void)
{
	ma_register_rule_fact(&fact);
}

/* The topic and, if it is named, the channel must be there. */
static bool
find(const char *name, const char *by, List **candidates)
{
	static MaStatement read = {"SELECT t.name FROM marketing_internal.topic AS t ORDER BY 1"};
	MaTopic    *topic = ma_topic_by_name(name);
	MaRows		rows;

	if (topic == NULL)
	{
		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
		for (uint64 i = 0; i < rows.n; i++)
			*candidates = lappend(*candidates, ma_text(&rows, i, 1));
		return false;
	}
	if (topic->kind == MA_TOPIC_TRANSACTIONAL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_RULE),
				 errmsg("topic \"%s\" needs no consent, so nobody is subscribed to it", name)));
	if (by != NULL)
		ma_channel_check(by);
	if (by != NULL && !ma_topic_has_channel(topic, by))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_RULE),
				 errmsg("topic \"%s\" has no channel \"%s\"", name, by)));
	return true;
}

static void
test(const char *name, const char *by, const int64 *contact_ids, int n, TimestampTz as_of,
	 MaRun how, MaTruth *out)
{
	static MaStatement read = {
		"SELECT k.n::pg_catalog.int4 FROM pg_catalog.unnest($1) WITH ORDINALITY AS k (contact_id, n) "
		"CROSS JOIN marketing_internal.topic AS t "
		"CROSS JOIN LATERAL pg_catalog.unnest(t.channels) AS u (channel) "
		"LEFT JOIN marketing_internal.consent AS s "
		"ON s.contact_id OPERATOR(pg_catalog.=) k.contact_id "
		"AND s.topic_id OPERATOR(pg_catalog.=) t.topic_id "
		"AND s.channel OPERATOR(pg_catalog.=) u.channel "
		"WHERE t.name OPERATOR(pg_catalog.=) $2 "
		"AND COALESCE(u.channel OPERATOR(pg_catalog.=) $3, true) AND " SUBSCRIBED,
		3, {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3];
	MaRows		rows;

	for (int i = 0; i < n; i++)
		out[i] = (MaTruth) {false, DT_NOEND};
	values[0] = ma_int8_array(contact_ids, n);
	values[1] = CStringGetTextDatum(name);
	values[2] = by ? CStringGetTextDatum(by) : (Datum) 0;
	rows = ma_run(&read, values, by ? "   " : "  n", how);
	for (uint64 i = 0; i < rows.n; i++)
		out[ma_int32(&rows, i, 1) - 1].truth = true;
}

static char *
sql(const char *name, const char *by, const char *now)
{
	return psprintf("EXISTS (SELECT FROM marketing_internal.topic AS t "
					"CROSS JOIN LATERAL pg_catalog.unnest(t.channels) AS u (channel) "
					"LEFT JOIN marketing_internal.consent AS s "
					"ON s.contact_id OPERATOR(pg_catalog.=) c.contact_id "
					"AND s.topic_id OPERATOR(pg_catalog.=) t.topic_id "
					"AND s.channel OPERATOR(pg_catalog.=) u.channel "
					"WHERE t.name OPERATOR(pg_catalog.=) %s%s AND " SUBSCRIBED ")",
					quote_literal_cstr(name),
					by ? psprintf(" AND u.channel OPERATOR(pg_catalog.=) %s",
								  quote_literal_cstr(by)) : "");
}
