/*
 * partitions.c
 *		Monthly partitions of our logs, made at run time.
 *
 * Never by the install script: pg_dump takes a table made there for a part of
 * the extension and would lose its rows.  The first row makes the default
 * partition, so that none is ever without a place, and the months at hand; a
 * duty of the worker makes the following ones ahead.
 *
 * A partition is made as a table of its own and then attached, because CREATE
 * TABLE ... PARTITION OF would lock the parent against everybody, while ATTACH
 * takes a lock that only another ATTACH waits for; the same lock on the parent,
 * taken first, lets the second of two who begin find what the other made.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define MONTHS_AHEAD 1
#define EXTEND_LOCK_TIMEOUT "2s"

/* A month of UTC. */
typedef struct Month
{
	int			year;
	int			month;			/* 1 to 12 */
} Month;

static char *default_of(const MaPartitioned *table);
static bool partition_exists(const char *name);
static void make_months(const MaPartitioned *table);
static Month month_of(TimestampTz at);
static Month next_month(Month month);
static char *month_start(Month month);
static bool default_holds(const MaPartitioned *table, Month month);
static void make_partition(const MaPartitioned *table, const char *name, const char *bounds);

static char *
default_of(const MaPartitioned *table)
{
	return psprintf("%s_default", table->name);
}

void
ma_partitions_extend(const MaPartitioned *table)
{
	MaCall		call;

	if (ma_extension() == NULL || !partition_exists(default_of(table)))
		return;
	ma_call_begin(&call);
	(void) set_config_option("lock_timeout", EXTEND_LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	make_months(table);
	ma_call_end(&call);
}

void
ma_partitions_ensure(const MaPartitioned *table)
{
	char	   *first = default_of(table);
	Oid			parent;

	if (partition_exists(first))
		return;
	parent = get_relname_relid(table->name, ma_extension_required()->internal_schema);
	LockRelationOid(parent, ShareUpdateExclusiveLock);
	if (partition_exists(first))
		return;
	make_partition(table, first, "DEFAULT");
	make_months(table);
}

TimestampTz
ma_partitions_month(TimestampTz before)
{
	Month		month;

	if (TIMESTAMP_NOT_FINITE(before) || before > ma_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("before must be an instant of the past")));
	month = month_of(before);
	return (date2j(month.year, month.month, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

int
ma_partitions_drop(const MaPartitioned *table, TimestampTz before)
{
	static MaStatement read = {
		"SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_inherits AS i "
		"JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid "
		"WHERE i.inhparent OPERATOR(pg_catalog.=) "
		"pg_catalog.concat('marketing_internal.', $1)::pg_catalog.regclass "
		"AND c.relname::pg_catalog.text OPERATOR(pg_catalog.~) '_[0-9]{4}_[0-9]{2}$' "
		"AND c.relname::pg_catalog.text COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.<) $2 ORDER BY 1",
		2, {TEXTOID, TEXTOID}
	};
	Month		month = month_of(before);
	Datum		values[2];
	MaRows		rows;

	values[0] = CStringGetTextDatum(table->name);
	values[1] = CStringGetTextDatum(psprintf("%s_%04d_%02d", table->name, month.year, month.month));
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		ma_run_once(psprintf("DROP TABLE marketing_internal.%s",
							 quote_identifier(ma_text(&rows, i, 1))),
					0, NULL, NULL, NULL, MA_RUN_WRITE);
	return (int) rows.n;
}

/* True if marketing_internal has a partition of this name. */
static bool
partition_exists(const char *name)
{
	Oid			relid = get_relname_relid(name, ma_extension_required()->internal_schema);

	return OidIsValid(relid) && get_rel_relispartition(relid);
}

/* Makes this month's partition and the next ones, where they are missing and can be made. */
static void
make_months(const MaPartitioned *table)
{
	Oid			parent = get_relname_relid(table->name, ma_extension_required()->internal_schema);
	Month		month = month_of(ma_clock());

	for (int i = 0; i <= MONTHS_AHEAD; i++, month = next_month(month))
	{
		char	   *name = psprintf("%s_%04d_%02d", table->name, month.year, month.month);

		if (partition_exists(name))
			continue;
		LockRelationOid(parent, ShareUpdateExclusiveLock);
		if (partition_exists(name) || default_holds(table, month))
			continue;
		make_partition(table, name, psprintf("FOR VALUES FROM (%s) TO (%s)", month_start(month),
									  month_start(next_month(month))));
	}
}

/* The month in UTC, so that servers and sessions of any zone agree on the bounds. */
static Month
month_of(TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fraction;
	Month		month;

	if (timestamp2tm(at, NULL, &tm, &fraction, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	month.year = tm.tm_year;
	month.month = tm.tm_mon;
	return month;
}

static Month
next_month(Month month)
{
	if (month.month == 12)
		return (Month) {month.year + 1, 1};
	return (Month) {month.year, month.month + 1};
}

/* The month's first instant as an SQL literal. */
static char *
month_start(Month month)
{
	return psprintf("'%04d-%02d-01 00:00:00+00'", month.year, month.month);
}

/* True if the default partition has rows of the month, which then stay there. */
static bool
default_holds(const MaPartitioned *table, Month month)
{
	char	   *sql = psprintf("SELECT FROM marketing_internal.%s AS e "
							   "WHERE e.%s OPERATOR(pg_catalog.>=) %s "
							   "AND e.%s OPERATOR(pg_catalog.<) %s LIMIT 1",
							   default_of(table), table->column, month_start(month),
							   table->column, month_start(next_month(month)));

	return ma_run_once(sql, 0, NULL, NULL, NULL, MA_RUN_READ_LATEST).n > 0;
}

/*
 * Makes one partition; `bounds` as in ATTACH PARTITION.  The primary key is the
 * partition's own: pg_dump restores the parent with the extension, where a key
 * of the parent would give each partition one before its own is restored.
 */
static void
make_partition(const MaPartitioned *table, const char *name, const char *bounds)
{
	ma_run_once(psprintf("CREATE TABLE marketing_internal.%s "
						 "(LIKE marketing_internal.%s INCLUDING COMMENTS, PRIMARY KEY (%s))",
						 quote_identifier(name), table->name, table->key),
				0, NULL, NULL, NULL, MA_RUN_WRITE);
	if (table->index != NULL)
		ma_run_once(psprintf("CREATE INDEX ON marketing_internal.%s (%s)", quote_identifier(name),
							 table->index), 0, NULL, NULL, NULL, MA_RUN_WRITE);
	ma_run_once(psprintf("ALTER TABLE marketing_internal.%s "
						 "ATTACH PARTITION marketing_internal.%s %s",
						 table->name, quote_identifier(name), bounds),
				0, NULL, NULL, NULL, MA_RUN_WRITE);
}
