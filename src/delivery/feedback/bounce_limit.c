/*
 * bounce_limit.c
 *		The setting bounce_limit: how many soft bounces in a row, within which time, make an
 *		address one that gets nothing.
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

static bool parse(const char *value, int *at_most, int *days);
static char *check(const char *value);
static void read_limit(int *at_most, int *days);

void
ma_bounce_limit_init(void)
{
	static const MaShopSetting setting = {
		SETTING,
		"An address is suppressed when so many messages to it have bounced softly within so many days with no delivery in between; 3 in 30 days as long as it is not set.",
		check
	};

	ma_register_shop_setting(&setting);
}

/* "3 in 30 days" */
static bool
parse(const char *value, int *at_most, int *days)
{
	int			length = -1;

	return sscanf(value, "%9d in %9d days%n", at_most, days, &length) == 2 &&
		length == (int) strlen(value) && *at_most >= 1 && *days >= 1 && *days <= MAX_DAYS;
}

static char *
check(const char *value)
{
	int			at_most;
	int			days;

	if (!parse(value, &at_most, &days))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(SETTING " cannot be \"%s\"", value),
				 errhint("For example 3 in 30 days; 1 bounce or more, and at most %d days.",
						 MAX_DAYS)));
	return psprintf("%d in %d days", at_most, days);
}

static void
read_limit(int *at_most, int *days)
{
	char	   *value = ma_shop_setting(SETTING);

	if (value != NULL && parse(value, at_most, days))
		return;
	*at_most = DEFAULT_AT_MOST;
	*days = DEFAULT_DAYS;
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
