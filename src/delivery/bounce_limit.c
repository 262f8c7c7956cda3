/*
 * bounce_limit.c
 *		marketing.set_bounce_limit(): how many soft bounces in a row, within which time, make
 *		an address one that gets nothing.
 *
 * A delivery in between begins the count anew, and so does time.  The answer is a function of
 * what is recorded, so events that come late or in another order lead to the same.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/feedback.h"
#include "utils/builtins.h"

#define SETTING "bounce_limit"
#define REASON "soft bounces"
#define DEFAULT_AT_MOST 3
#define DEFAULT_DAYS 30
#define MAX_DAYS 366

static void read_limit(int *at_most, int *days);

MA_FUNCTION(ma_set_bounce_limit);

static void
read_limit(int *at_most, int *days)
{
	static MaStatement find = {
		"SELECT value FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) '" SETTING "'",
		0
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);

	*at_most = DEFAULT_AT_MOST;
	*days = DEFAULT_DAYS;
	if (rows.n > 0 && sscanf(ma_text(&rows, 0, 1), "%d in %d", at_most, days) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the setting \"" SETTING "\" cannot be read"),
				 errhint("Set it anew with marketing.set_bounce_limit().")));
}

bool
ma_soft_bounces_weigh(const char *channel, Datum address_hash)
{
	static MaStatement weigh = {
		"WITH e AS MATERIALIZED (SELECT d.kind, d.class, d.occurred_at, "
		"COALESCE(d.message_id, pg_catalog.int8um(d.event_id)) AS message "
		"FROM marketing_internal.delivery_event AS d "
		"WHERE d.address_hash OPERATOR(pg_catalog.=) $1 AND d.channel OPERATOR(pg_catalog.=) $2), "
		"soft AS (SELECT e.occurred_at, e.message FROM e "
		"WHERE e.kind OPERATOR(pg_catalog.=) 'bounced' AND e.class OPERATOR(pg_catalog.=) 'soft' "
		"AND e.occurred_at OPERATOR(pg_catalog.>) COALESCE((SELECT pg_catalog.max(g.occurred_at) "
		"FROM e AS g WHERE g.kind OPERATOR(pg_catalog.=) 'delivered'), '-infinity')) "
		"SELECT pg_catalog.count(DISTINCT s.message) FROM soft AS s "
		"WHERE s.occurred_at OPERATOR(pg_catalog.>) ((SELECT pg_catalog.max(l.occurred_at) "
		"FROM soft AS l) OPERATOR(pg_catalog.-) pg_catalog.make_interval(hours => $3))",
		3, {BYTEAOID, TEXTOID, INT4OID}
	};
	int			at_most;
	int			days;
	Datum		values[3];
	MaRows		rows;

	read_limit(&at_most, &days);
	values[0] = address_hash;
	values[1] = CStringGetTextDatum(channel);
	values[2] = Int32GetDatum(days * 24);
	rows = ma_run(&weigh, values, NULL, MA_RUN_READ_LATEST);
	if (ma_int64(&rows, 0, 1) >= at_most)
		return ma_suppression_add(channel, address_hash, REASON);
	ma_suppression_lift(channel, address_hash, REASON);
	return false;
}

TimestampTz
ma_soft_bounces_since(TimestampTz now)
{
	int			at_most;
	int			days;

	read_limit(&at_most, &days);
	return now - days * USECS_PER_DAY;
}

/* marketing.set_bounce_limit(soft_bounces, days) */
Datum
ma_set_bounce_limit(PG_FUNCTION_ARGS)
{
	static MaStatement store = {
		"INSERT INTO marketing_internal.setting (name, value) VALUES ('" SETTING "', $1) "
		"ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		1, {TEXTOID}
	};
	int			soft_bounces = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	int			days = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	MaCall		call;
	Datum		value;
	int			had_soft_bounces;
	int			had_days;

	(void) ma_extension_required();
	if (soft_bounces < 1 || days < 1 || days > MAX_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 soft_bounces < 1 ? errmsg("soft_bounces must be 1 or more") :
				 errmsg("days must be between 1 and %d", MAX_DAYS)));
	ma_call_begin(&call);
	read_limit(&had_soft_bounces, &had_days);
	value = CStringGetTextDatum(psprintf("%d in %d", soft_bounces, days));
	(void) ma_run(&store, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(had_soft_bounces == soft_bounces && had_days == days ?
									 "bounce limit: unchanged" : "bounce limit: set"));
}
