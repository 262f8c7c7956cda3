/*
 * event_summary.c
 *		How many rows an event has and of which time, for the answer of
 *		attach_events().
 *
 * The rows are read as the table's owner, restricted and read-only, with the
 * condition as it will be evaluated: a condition that fails on a stored row fails
 * here, in the call, and not in somebody's commit.  Of a large table only the
 * estimated size is told.
 *
 * A column that holds other ids than the contacts' fits by its type and would be found
 * out only by segments that stay empty, so the first rows are looked up as well.
 */
#include "base/base.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "optimizer/plancat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define ROWS_LOOKED_UP 1000

static double estimated_rows(Oid relid);
static MaRows read_rows(const MaEventOptions *options, const char *time_zone, const char *sql);
static char *summary_sql(const MaEventOptions *options, const char *time_zone);
static void append_which_rows(StringInfo sql, const MaEventOptions *options);

char *
ma_event_summary(const MaEventOptions *options, const char *time_zone)
{
	double		estimate = estimated_rows(options->relid);
	MaRows		rows;
	int64		n;
	int64		without;
	char	   *first;
	char	   *last;

	if (estimate > ma_guc_build_in_call_rows)
		return psprintf("about %s rows by estimate", ma_grouped((int64) estimate));

	rows = read_rows(options, time_zone, summary_sql(options, time_zone));
	n = ma_int64(&rows, 0, 1);
	without = ma_int64(&rows, 0, 4);
	if (n == 0)
		return "no rows yet";
	first = ma_text(&rows, 0, 2);
	last = ma_text(&rows, 0, 3);
	return psprintf("%s row%s %s%s", ma_grouped(n), n == 1 ? "" : "s",
					strcmp(first, last) == 0 ? psprintf("on %s", first) :
					psprintf("from %s to %s", first, last),
					without == 0 ? "" : psprintf(", %s without a contact", ma_grouped(without)));
}

/* What a statement over rows of the table says to its owner. */
static MaRows
read_rows(const MaEventOptions *options, const char *time_zone, const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	MaIdentity	saved;
	MaRows		rows;
	int			nest_level;

	ma_become_table_owner(&saved, options->relid);
	nest_level = ma_pin_time_zone(time_zone);
	PG_TRY();
	{
		rows = ma_run_once(sql, 0, NULL, NULL, NULL, MA_RUN_READ_LATEST);
	}
	PG_CATCH();
	{
		if (options->condition == NULL)
			PG_RE_THROW();
		ma_expression_failed(psprintf("condition of event \"%s\"", options->label), context);
	}
	PG_END_TRY();
	ma_unpin_settings(nest_level);
	ma_become_back(&saved);
	return rows;
}

void
ma_event_tell_strangers(const MaEventOptions *options, const char *time_zone,
						const MaSource *source)
{
	static MaStatement count = {
		"SELECT pg_catalog.sum(u.n)::pg_catalog.int8, pg_catalog.sum(u.n) FILTER ("
		"WHERE NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 "
		"AND k.external_id OPERATOR(pg_catalog.=) u.id))::pg_catalog.int8 "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (id, n)",
		3, {INT4OID, TEXTARRAYOID, INT8ARRAYOID}
	};
	StringInfoData sql;
	Datum		values[3];
	MaRows		rows;
	bool		isnull;
	int64		n;
	int64		strangers;

	if (options->via != NULL || source->building)
		return;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.array_agg(g.id), pg_catalog.array_agg(g.n) FROM ("
					 "SELECT r.id, pg_catalog.count(*) AS n FROM (SELECT t.%s::pg_catalog.text AS id",
					 quote_identifier(options->contact_column));
	append_which_rows(&sql, options);
	appendStringInfo(&sql, " AND t.%s IS NOT NULL LIMIT %d) AS r GROUP BY r.id) AS g",
					 quote_identifier(options->contact_column), ROWS_LOOKED_UP);
	rows = read_rows(options, time_zone, sql.data);
	values[0] = Int32GetDatum(source->id);
	values[1] = ma_value(&rows, 0, 1, &isnull);
	if (isnull)
		return;
	values[2] = ma_value(&rows, 0, 2, &isnull);
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	n = ma_int64(&rows, 0, 1);
	(void) ma_value(&rows, 0, 2, &isnull);
	strangers = isnull ? 0 : ma_int64(&rows, 0, 2);
	if (strangers > 0)
		ereport(NOTICE,
				(errmsg("%s of %s row%s looked at in \"%s\" %s of no contact of \"%s\"",
						ma_grouped(strangers), ma_grouped(n), n == 1 ? "" : "s",
						get_rel_name(options->relid), strangers == 1 ? "is" : "are",
						source->name),
				 errhint("They count for nobody. Is \"%s\" the column with the contact's id?",
						 options->contact_column)));
}

/* Size of the table or of all its partitions, from statistics and file sizes. */
static double
estimated_rows(Oid relid)
{
	double		rows = 0;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	relation = relation_open(lfirst_oid(cell), NoLock);

		if (RELKIND_HAS_TABLE_AM(relation->rd_rel->relkind))
		{
			BlockNumber pages;
			double		tuples;
			double		all_visible;

			estimate_rel_size(relation, NULL, &pages, &tuples, &all_visible);
			rows += tuples;
		}
		relation_close(relation, NoLock);
	}
	return rows;
}

/* Rows that are the event, their first and last day, and how many name no contact. */
static char *
summary_sql(const MaEventOptions *options, const char *time_zone)
{
	char	   *column = psprintf("t.%s", quote_identifier(options->occurred_column));
	StringInfoData sql;

	if (options->occurred_type == TIMESTAMPTZOID)
		column = psprintf("pg_catalog.timezone(%s, %s)", quote_literal_cstr(time_zone), column);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*), pg_catalog.min(%s)::pg_catalog.date, "
					 "pg_catalog.max(%s)::pg_catalog.date, ", column, column);
	if (options->via == NULL)
		appendStringInfo(&sql, "pg_catalog.count(*) FILTER (WHERE t.%s IS NULL)",
						 quote_identifier(options->contact_column));
	else
		appendStringInfo(&sql, "pg_catalog.count(*) FILTER (WHERE t.%s IS NULL)",
						 quote_identifier(options->via->column));
	append_which_rows(&sql, options);
	return sql.data;
}

/* FROM and WHERE of the rows, as t, that are the event. */
static void
append_which_rows(StringInfo sql, const MaEventOptions *options)
{
	appendStringInfo(sql, " FROM %s AS t WHERE t.%s IS NOT NULL", ma_relation_name(options->relid),
					 quote_identifier(options->occurred_column));
	if (options->event_column != NULL)
		appendStringInfo(sql, " AND t.%s IS NOT NULL", quote_identifier(options->event_column));
	if (options->condition != NULL)
		appendStringInfo(sql, " AND (%s)", options->condition->text);
}
