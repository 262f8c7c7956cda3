/*
 * clock.c
 *		marketing.now(): the one source of time.
 *
 * Normally the server's time, held monotone: a step back of up to five minutes
 * stands still, a larger one is taken as a correction (one log line).  A step is
 * told by the time it is, never by when a statement started: that may be hours
 * ago.  The mark lives in shared memory only; stored, one boot with a wrong clock
 * would stop everything for years.
 *
 * marketing.set_clock() puts the database on a clock that stands still until it
 * is set again, for tests and for trying journeys.  It is a row in setting, so
 * it is transactional and every backend and worker sees it at commit.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "pgtime.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

static TimestampTz statement_start = 0; /* of the statement whose time is known */
static uint64 known_epoch = 0;	/* definitions epoch at which set_clock was read */
static bool clock_set = false;
static TimestampTz clock_at;

static void read_setting(void);
static bool scan_setting(Oid relid, TimestampTz *at);

MA_FUNCTION(ma_now_sql);

/* marketing.now() */
Datum
ma_now_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(ma_now());
}

TimestampTz
ma_now(void)
{
	static TimestampTz statement_now;
	TimestampTz start = GetCurrentStatementStartTimestamp();

	read_setting();
	if (clock_set)
		return clock_at;
	/* Others raise the mark meanwhile, but within a statement the time is one. */
	if (start != statement_start)
	{
		statement_now = ma_shared_clock_raise(start, GetCurrentTimestamp());
		statement_start = start;
	}
	return statement_now;
}

void
ma_now_renew(void)
{
	statement_start = 0;
}

TimestampTz
ma_clock(void)
{
	TimestampTz current;

	read_setting();
	if (clock_set)
		return clock_at;
	current = GetCurrentTimestamp();
	return ma_shared_clock_raise(current, current);
}

bool
ma_clock_is_set(void)
{
	read_setting();
	return clock_set;
}

/*
 * Asked for each contact without a zone of his own, so it is read once for as long as it
 * cannot seem to change: to the transaction's next command.
 */
char *
ma_database_time_zone(void)
{
	static MaStatement find = {
		"SELECT pg_catalog.substr(c.entry, 10) FROM pg_catalog.pg_db_role_setting AS s "
		"JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase "
		"CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (entry) "
		"WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() "
		"AND s.setrole OPERATOR(pg_catalog.=) 0 "
		"AND pg_catalog.lower(pg_catalog.left(c.entry, 9)) OPERATOR(pg_catalog.=) 'timezone='",
		0
	};
	static LocalTransactionId read_in = InvalidLocalTransactionId;
	static CommandId read_after;
	static char read_name[TZ_STRLEN_MAX + 1];
	MaRows		rows;
	const char *name;
	pg_tz	   *zone;

	if (read_in == MA_LOCAL_XID && read_after == GetCurrentCommandId(false))
		return pstrdup(read_name);
	rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	name = rows.n > 0 ? ma_text(&rows, 0, 1) : GetConfigOptionResetString("TimeZone");
	zone = pg_tzset(name);
	strlcpy(read_name, pg_get_timezone_name(zone ? zone : session_timezone), sizeof(read_name));
	read_in = MA_LOCAL_XID;
	read_after = GetCurrentCommandId(false);
	return pstrdup(read_name);
}

/*
 * Reads the row 'clock' of setting when definitions may have changed since it
 * was last read.  A direct scan: this is called inside the flush, where an SPI
 * call would cost more than all the rest.
 */
static void
read_setting(void)
{
	const MaExtension *extension = ma_extension();
	uint64		epoch = ma_definitions_epoch();
	TimestampTz at = 0;
	bool		set = false;

	if (known_epoch == epoch)
		return;
	if (extension != NULL)
		set = scan_setting(extension->setting_table, &at);
	/* Last: after an error on the way it is read again. */
	clock_set = set;
	clock_at = at;
	known_epoch = epoch;
}

/*
 * The row 'clock', if there is one.  Without a snapshot given the scan takes the
 * one for catalogs, which is of this instant and is allowed in parallel queries.
 */
static bool
scan_setting(Oid relid, TimestampTz *at)
{
	Relation	table = table_open(relid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		name = heap_getattr(tuple, 1, RelationGetDescr(table), &isnull);
		Datum		value;

		if (strcmp(TextDatumGetCString(name), "clock") != 0)
			continue;
		value = heap_getattr(tuple, 2, RelationGetDescr(table), &isnull);
		*at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
													  CStringGetDatum(TextDatumGetCString(value)),
													  ObjectIdGetDatum(InvalidOid),
													  Int32GetDatum(-1)));
		found = true;
	}
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return found;
}
