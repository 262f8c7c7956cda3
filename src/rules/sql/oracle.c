/*
 * oracle.c
 *		The rule as plain SQL: who fits it at an instant, for all contacts at once.
 *
 * Written from the meaning of the atoms, not from the evaluator: it serves as the
 * oracle that evaluator and stored memberships are compared with, for reads when
 * nothing stored can be trusted, and as the view that PostgreSQL knows what the rule
 * depends on by.  Each atom over rows is a grouped derived table, so that the planner
 * may read each table once instead of once for each contact.
 */
#include "base/base.h"

#include "rules/leaf.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

typedef struct Oracle
{
	const char *now;
	const MaRule *rule;			/* the one whose zone counts; a segment's own while in it */
	StringInfoData joins;
	List	   *sources;		/* MaSource, joined */
	int			n;				/* derived tables */
	bool		clock;			/* now is joined as a row */
	const char *entry;			/* SQL of the entry's row */
} Oracle;

/* = the contact, or somebody who was merged into him. */
#define MERGED_SQL \
	"ANY (ARRAY(WITH RECURSIVE who (contact_id) AS (SELECT contact.contact_id " \
	"UNION SELECT m.merged_id FROM marketing_internal.contact_merge AS m " \
	"JOIN who AS w ON m.contact_id OPERATOR(pg_catalog.=) w.contact_id " \
	"WHERE m.split_at IS NULL) SELECT w.contact_id FROM who AS w))"

static char *node_sql(Oracle *oracle, const MaNode *node);
static char *list_sql(Oracle *oracle, const MaNode *node, const char *word);
static char *number_sql(Oracle *oracle, const MaNumber *number);
static char *aggregate_sql(Oracle *oracle, const MaNumber *number);
static char *exists_sql(Oracle *oracle, const MaNode *node);
static char *last_rows_sql(Oracle *oracle, const MaNode *node);
static char *ends_sql(Oracle *oracle, const MaNode *node);
static char *overdue_sql(Oracle *oracle, const MaNode *node);
static char *date_sql(Oracle *oracle, const MaNode *node);
static char *anniversary_sql(Oracle *oracle, const MaNode *node);
static char *rows_sql(Oracle *oracle, const MaStream *stream);
static char *part_sql(Oracle *oracle, const MaStream *stream, const MaStreamPart *part);
static char *contact_joins(Oracle *oracle, const MaStreamPart *part);
static char *source_join(Oracle *oracle, MaSource *source);
static char *window_sql(Oracle *oracle, const MaWindow *window, const char *at, const char *zone);
static void join_source(Oracle *oracle, MaSource *source);
static void join_clock(Oracle *oracle, const MaAttribute *attribute);
static int	join_table(Oracle *oracle, const char *select, const MaWindow *window);
static char *instant_sql(Oracle *oracle, const MaAttribute *attribute);
static char *zone_sql(const Oracle *oracle, const char *alias);
static char *add_sql(const char *at, const MaDuration *by, const char *sign, const char *zone);
static char *period_sql(const Oracle *oracle, MaPeriod period, int shift, const char *zone);

char *
ma_rule_sql(const MaRule *rule, const char *now)
{
	return ma_rule_sql_entered(rule, now, "'{}'::pg_catalog.jsonb");
}

char *
ma_rule_sql_entered(const MaRule *rule, const char *now, const char *entry)
{
	Oracle		oracle = {now, rule};
	char	   *condition;

	oracle.entry = entry;

	initStringInfo(&oracle.joins);
	condition = node_sql(&oracle, rule->top);
	return psprintf("SELECT contact.contact_id FROM marketing_internal.contact AS contact "
					"CROSS JOIN LATERAL (SELECT contact.contact_id) AS c%s%s "
					"WHERE EXISTS (SELECT FROM marketing_internal.contact_key AS k "
					"WHERE k.contact_id OPERATOR(pg_catalog.=) contact.contact_id "
					"AND NOT k.excluded) AND (%s)",
					rule->entry_event == NULL ? "" :
					psprintf(" CROSS JOIN (SELECT %s AS properties) AS entry", entry),
					oracle.joins.data, condition);
}

/* ---- and, or, not ---- */

static char *
list_sql(Oracle *oracle, const MaNode *node, const char *word)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, node->children)
		appendStringInfo(&sql, "%s(%s)", sql.len > 0 ? word : "", node_sql(oracle, lfirst(cell)));
	return sql.data;
}

static char *
node_sql(Oracle *oracle, const MaNode *node)
{
	const MaRule *outer = oracle->rule;
	char	   *sql;

	switch (node->kind)
	{
		case MA_NODE_AND:
			return list_sql(oracle, node, " AND ");
		case MA_NODE_OR:
			return list_sql(oracle, node, " OR ");
		case MA_NODE_NOT:
			return psprintf("NOT (%s)", node_sql(oracle, linitial(node->children)));
		case MA_NODE_LEAF:
			join_source(oracle, node->attribute->source);
			return psprintf("coalesce(%s, false)", node->attribute->sql);
		case MA_NODE_RECHECK:
			join_source(oracle, node->attribute->source);
			join_clock(oracle, node->attribute);
			return psprintf("coalesce(%s, false)", node->attribute->sql);
		case MA_NODE_DATE:
			return psprintf("coalesce(%s, false)", date_sql(oracle, node));
		case MA_NODE_ANNIVERSARY:
			return anniversary_sql(oracle, node);
		case MA_NODE_EXISTS:
			return exists_sql(oracle, node);
		case MA_NODE_LAST_ROWS:
			return last_rows_sql(oracle, node);
		case MA_NODE_ENDS:
			return ends_sql(oracle, node);
		case MA_NODE_OVERDUE:
			return overdue_sql(oracle, node);
		case MA_NODE_FACT:
			return node->fact->sql(node->name, node->by, oracle->now);
		case MA_NODE_SEGMENT:
			oracle->rule = node->rule;
			sql = node_sql(oracle, node->rule->top);
			oracle->rule = outer;
			return sql;
		case MA_NODE_COMPARE:
			return psprintf("coalesce(%s OPERATOR(pg_catalog.%s) %s, false)",
							number_sql(oracle, node->left), node->operator,
							number_sql(oracle, node->right));
	}
	/* The cases are all of the enum; the parser makes no other node. */
	elog(ERROR, "cannot happen: kind %d of a node", (int) node->kind);
}

/* ---- time ---- */

static char *
zone_sql(const Oracle *oracle, const char *alias)
{
	return psprintf("coalesce(%s.time_zone, %s)", alias,
					quote_literal_cstr(oracle->rule->time_zone));
}

/* The instant `at` moved; sign is "+" or "-". */
static char *
add_sql(const char *at, const MaDuration *by, const char *sign, const char *zone)
{
	if (by->months == 0)
		return psprintf("(%s OPERATOR(pg_catalog.%s) '" INT64_FORMAT " seconds'::pg_catalog.interval)",
						at, sign, by->usecs / USECS_PER_SEC);
	return psprintf("pg_catalog.timezone(%s, pg_catalog.timezone(%s, %s) "
					"OPERATOR(pg_catalog.%s) '%d months'::pg_catalog.interval)",
					zone, zone, at, sign, by->months);
}

/* Start of the period of now, `shift` periods on. */
static char *
period_sql(const Oracle *oracle, MaPeriod period, int shift, const char *zone)
{
	static const char *const words[] = {"day", "week", "month", "quarter", "year"};
	static const char *const steps[] = {"1 day", "7 days", "1 month", "3 months", "1 year"};

	return psprintf("pg_catalog.timezone(%s, pg_catalog.date_trunc('%s', pg_catalog.timezone(%s, %s)) "
					"OPERATOR(pg_catalog.+) (%d OPERATOR(pg_catalog.*) '%s'::pg_catalog.interval))",
					zone, words[period], zone, oracle->now, shift, steps[period]);
}

static char *
instant_sql(Oracle *oracle, const MaAttribute *attribute)
{
	join_source(oracle, attribute->source);
	if (attribute->type == MA_VALUE_INSTANT)
		return psprintf("(%s)", attribute->sql);
	return psprintf("pg_catalog.timezone(%s, %s)", zone_sql(oracle, "contact"), attribute->sql);
}

static char *
date_sql(Oracle *oracle, const MaNode *node)
{
	char	   *x = instant_sql(oracle, node->attribute);
	char	   *zone = zone_sql(oracle, "contact");

	switch (node->test)
	{
		case MA_TEST_NEXT:
			return psprintf("%s OPERATOR(pg_catalog.>) %s AND %s OPERATOR(pg_catalog.<=) %s",
							x, oracle->now, add_sql(x, &node->to, "-", zone), oracle->now);
		case MA_TEST_MORE:
			return psprintf("%s OPERATOR(pg_catalog.<=) %s", add_sql(x, &node->to, "+", zone),
							oracle->now);
		case MA_TEST_LESS:
			return psprintf("%s OPERATOR(pg_catalog.<=) %s AND %s OPERATOR(pg_catalog.>) %s",
							x, oracle->now, add_sql(x, &node->to, "+", zone), oracle->now);
		default:
			return psprintf("%s OPERATOR(pg_catalog.>=) %s AND %s OPERATOR(pg_catalog.<) %s",
							x, period_sql(oracle, node->period, 0, zone),
							x, period_sql(oracle, node->period, 1, zone));
	}
}

/* Some year's day, 28 February for 29 February in common years, holds now or comes soon. */
static char *
anniversary_sql(Oracle *oracle, const MaNode *node)
{
	char	   *zone = zone_sql(oracle, "contact");
	char	   *birth = node->attribute->type == MA_VALUE_INSTANT ?
		psprintf("pg_catalog.timezone(%s, %s)", zone, instant_sql(oracle, node->attribute)) :
		psprintf("(%s)::pg_catalog.timestamp", node->attribute->sql);
	char	   *start = psprintf("pg_catalog.timezone(%s, d.day::pg_catalog.timestamp)", zone);

	join_source(oracle, node->attribute->source);
	if (node->test == MA_TEST_NEXT)
		start = add_sql(start, &node->to, "-", zone);
	return psprintf("EXISTS (SELECT FROM (SELECT %s AS day "
					"WHERE pg_catalog.isfinite(%s)) AS b "
					"CROSS JOIN pg_catalog.generate_series(-1, 2) AS s (shift) "
					"CROSS JOIN LATERAL (SELECT (b.day OPERATOR(pg_catalog.+) "
					"pg_catalog.make_interval(years => (pg_catalog.date_part('year', "
					"pg_catalog.timezone(%s, %s)) OPERATOR(pg_catalog.-) "
					"pg_catalog.date_part('year', b.day))::pg_catalog.int4 OPERATOR(pg_catalog.+) "
					"s.shift))::pg_catalog.date AS day) AS d "
					"WHERE %s OPERATOR(pg_catalog.<=) %s AND pg_catalog.timezone(%s, "
					"(d.day OPERATOR(pg_catalog.+) 1)::pg_catalog.timestamp) "
					"OPERATOR(pg_catalog.>) %s)",
					birth, birth, zone, oracle->now, start, oracle->now, zone, oracle->now);
}

/* Which rows count at `at`, their time. */
static char *
window_sql(Oracle *oracle, const MaWindow *window, const char *at, const char *zone)
{
	const char *now = oracle->now;
	StringInfoData sql;

	initStringInfo(&sql);
	if (window->kind == MA_WINDOW_BETWEEN)
		appendStringInfo(&sql, "%s OPERATOR(pg_catalog.<=) %s AND %s OPERATOR(pg_catalog.>) %s",
						 add_sql(at, &window->from, "+", zone), now,
						 add_sql(at, &window->to, "+", zone), now);
	else
		appendStringInfo(&sql, "%s OPERATOR(pg_catalog.<=) %s", at, now);
	if (window->kind == MA_WINDOW_IN)
		appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.>) %s",
						 add_sql(at, &window->to, "+", zone), now);
	if (window->kind == MA_WINDOW_SINCE)
		appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.>=) %s::pg_catalog.timestamptz", at,
						 ma_print_instant(window->since));
	if (window->kind == MA_WINDOW_SINCE_COLUMN)
		appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.>=) %s", at,
						 instant_sql(oracle, window->column));
	if (window->kind == MA_WINDOW_CALENDAR)
	{
		appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.>=) %s", at,
						 period_sql(oracle, window->period, window->last ? -1 : 0, zone));
		if (window->last)
			appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.<) %s", at,
							 period_sql(oracle, window->period, 0, zone));
	}
	return sql.data;
}

/* ---- rows ---- */

/* contact_id, at, value of the rows in one source. */
static char *
part_sql(Oracle *oracle, const MaStream *stream, const MaStreamPart *part)
{
	Oid			type;
	char	   *filter = part->direct_filter ? psprintf(" AND (%s)", part->direct_filter) : "";
	const char *types[] = {"pg_catalog.text", "pg_catalog.bool", "pg_catalog.numeric",
	"pg_catalog.text"};
	char	   *value = psprintf("(%s)::%s AS value",
								 part->direct_measure ? part->direct_measure : "NULL",
								 types[stream->type]);
	char	   *joins = contact_joins(oracle, part);
	MaSource   *contacts;

	if (stream->entry)
		joins = psprintf("%s CROSS JOIN (SELECT %s AS properties) AS entry", joins, oracle->entry);
	if (part->source == NULL && joins[0] == '\0' && !part->reads_contact)
	{
		char	   *rows = ma_event_select(stream->event, NULL,
										   psprintf("t.contact_id, r.at, %s", value),
										   "t.contact_id", &type);

		rows = psprintf("%s%s", rows, filter);
		if (!stream->event->builtin)
			return rows;
		/* Ledgers and logs of who was merged stay as they were written. */
		return psprintf("SELECT COALESCE(h.contact_id, e.contact_id) AS contact_id, e.at, e.value "
						"FROM (%s) AS e LEFT JOIN marketing_internal.contact_holder AS h "
						"ON h.merged_id OPERATOR(pg_catalog.=) e.contact_id", rows);
	}
	if (part->source == NULL)
		return psprintf("SELECT contact.contact_id, e.at, e.value FROM marketing_internal.contact AS contact%s "
						"CROSS JOIN LATERAL (%s%s) AS e", joins,
						ma_event_select(stream->event, NULL, psprintf("r.at, %s", value),
										stream->event->builtin ? MERGED_SQL : "contact.contact_id",
										&type), filter);
	contacts = part->source->contact_source;
	ma_source_require(contacts);
	return psprintf("SELECT k.contact_id, e.at, e.value FROM ("
					"SELECT kk.contact_id, kk.external_id::%s AS key "
					"FROM marketing_internal.contact_key AS kk "
					"WHERE kk.source_id OPERATOR(pg_catalog.=) %d AND NOT kk.excluded) AS k%s%s "
					"CROSS JOIN LATERAL (%s%s) AS e",
					format_type_extended(contacts->key_type, -1, FORMAT_TYPE_FORCE_QUALIFY),
					contacts->id,
					part->reads_contact ? " JOIN marketing_internal.contact AS contact "
					"ON contact.contact_id OPERATOR(pg_catalog.=) k.contact_id" : "", joins,
					ma_event_select(stream->event, part->source, psprintf("r.at, %s", value),
									"k.key", &type), filter);
}

/* Rows of the contact's tables that conditions on this source's rows read. */
static char *
contact_joins(Oracle *oracle, const MaStreamPart *part)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, part->contacts)
		appendStringInfoString(&sql, source_join(oracle, lfirst(cell)));
	return sql.data;
}

/* All rows of the stream with the zone of their contact, as a derived table's SQL. */
static char *
rows_sql(Oracle *oracle, const MaStream *stream)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, stream->parts)
		appendStringInfo(&sql, "%s%s", sql.len > 0 ? " UNION ALL " : "",
						 part_sql(oracle, stream, lfirst(cell)));
	return psprintf("(SELECT u.contact_id, u.at, u.value, z.time_zone FROM (%s) AS u "
					"JOIN marketing_internal.contact AS z "
					"ON z.contact_id OPERATOR(pg_catalog.=) u.contact_id)", sql.data);
}

/* The rows of an attached table under the source's name, null where there is none. */
static void
join_source(Oracle *oracle, MaSource *source)
{
	if (source == NULL || list_member_ptr(oracle->sources, source))
		return;
	oracle->sources = lappend(oracle->sources, source);
	appendStringInfoString(&oracle->joins, source_join(oracle, source));
}

/* The row whose occurred_at is now. */
static void
join_clock(Oracle *oracle, const MaAttribute *attribute)
{
	if (oracle->clock || !attribute->clock)
		return;
	oracle->clock = true;
	appendStringInfo(&oracle->joins, " CROSS JOIN (SELECT %s AS occurred_at) AS " MA_CLOCK_ALIAS,
					 oracle->now);
}

/* The join that gives the contact's row, by the first of his keys. */
static char *
source_join(Oracle *oracle, MaSource *source)
{
	const char *alias = quote_identifier(ma_source_alias(source));
	int			n = ++oracle->n;

	ma_source_require(source);
	return psprintf(" LEFT JOIN (SELECT DISTINCT ON (kk.contact_id) kk.contact_id, "
					"kk.external_id::%s AS key FROM marketing_internal.contact_key AS kk "
					"WHERE kk.source_id OPERATOR(pg_catalog.=) %d AND NOT kk.excluded "
					"ORDER BY kk.contact_id, kk.external_id) AS k%d "
					"ON k%d.contact_id OPERATOR(pg_catalog.=) contact.contact_id "
					"LEFT JOIN %s AS %s ON %s.%s %s k%d.key",
					format_type_extended(source->key_type, -1, FORMAT_TYPE_FORCE_QUALIFY),
					source->id, n, n, source->table->qualified, alias, alias,
					quote_identifier(source->key_column),
					ma_equality_operator(source->key_type), n);
}

/*
 * Joins a derived table that has contact_id, and one row for a contact at most; its
 * number is in its alias.  One that reads a column of the contact goes contact by contact.
 */
static int
join_table(Oracle *oracle, const char *select, const MaWindow *window)
{
	int			n = ++oracle->n;
	bool		lateral = window != NULL && window->kind == MA_WINDOW_SINCE_COLUMN;

	appendStringInfo(&oracle->joins, " LEFT JOIN %s(%s) AS a%d "
					 "ON a%d.contact_id OPERATOR(pg_catalog.=) contact.contact_id",
					 lateral ? "LATERAL " : "", select, n, n);
	return n;
}

static char *
exists_sql(Oracle *oracle, const MaNode *node)
{
	char	   *zone = zone_sql(oracle, "e");
	char	   *window = window_sql(oracle, node->window, "e.at", zone);
	char	   *followed = "";
	int			n;

	if (node->follower != NULL)
	{
		char	   *end = add_sql("e.at", &node->to, "+", zone);

		followed = psprintf(" AND %s%sEXISTS (SELECT FROM %s AS f "
							"WHERE f.contact_id OPERATOR(pg_catalog.=) e.contact_id "
							"AND f.at OPERATOR(pg_catalog.>) e.at "
							"AND f.at OPERATOR(pg_catalog.<=) %s%s)",
							node->not_followed ? psprintf("%s OPERATOR(pg_catalog.<=) %s AND ", end,
														  oracle->now) : "",
							node->not_followed ? "NOT " : "", rows_sql(oracle, node->follower), end,
							node->not_followed ? "" :
							psprintf(" AND f.at OPERATOR(pg_catalog.<=) %s", oracle->now));
	}
	n = join_table(oracle, psprintf("SELECT e.contact_id FROM %s AS e WHERE %s%s "
									"GROUP BY e.contact_id",
									rows_sql(oracle, node->stream), window, followed),
				   node->window);
	return psprintf("a%d.contact_id IS %sNULL", n, node->test == MA_TEST_NO ? "" : "NOT ");
}

static char *
last_rows_sql(Oracle *oracle, const MaNode *node)
{
	char	   *rows = rows_sql(oracle, node->stream);
	int			n;

	n = join_table(oracle, psprintf("SELECT q.contact_id, pg_catalog.count(*) AS n, "
									"pg_catalog.count(*) FILTER (WHERE q.value) AS matching "
									"FROM (SELECT e.contact_id, e.value, "
									"pg_catalog.row_number() OVER (PARTITION BY e.contact_id "
									"ORDER BY e.at DESC, coalesce(e.value, false) DESC) AS place "
									"FROM %s AS e WHERE e.at OPERATOR(pg_catalog.<=) %s) AS q "
									"WHERE q.place OPERATOR(pg_catalog.<=) %d GROUP BY q.contact_id",
									rows, oracle->now, node->count), NULL);
	if (node->test == MA_TEST_ANY)
		return psprintf("coalesce(a%d.matching OPERATOR(pg_catalog.>) 0, false)", n);
	return psprintf("coalesce(a%d.n OPERATOR(pg_catalog.=) %d "
					"AND a%d.matching OPERATOR(pg_catalog.=) %d, false)",
					n, node->count, n, node->test == MA_TEST_ALL ? node->count : 0);
}

static char *
ends_sql(Oracle *oracle, const MaNode *node)
{
	char	   *zone = zone_sql(oracle, "contact");
	char	   *value = node->test == MA_TEST_MATCHING ? "e.value" : "true";
	char	   *at;
	int			n = join_table(oracle, psprintf("SELECT DISTINCT ON (e.contact_id) e.contact_id, e.at, "
												"%s AS value FROM %s AS e "
												"WHERE e.at OPERATOR(pg_catalog.<=) %s "
												"ORDER BY e.contact_id, e.at%s, coalesce(%s, false) DESC",
												value, rows_sql(oracle, node->stream), oracle->now,
												node->last ? " DESC" : "", value), NULL);

	at = psprintf("a%d.at", n);
	if (node->test == MA_TEST_MATCHING)
		return psprintf("coalesce(a%d.value, false)", n);
	if (node->test == MA_TEST_MORE)
		return psprintf("coalesce(%s OPERATOR(pg_catalog.<=) %s, false)",
						add_sql(at, &node->to, "+", zone), oracle->now);
	return psprintf("coalesce(%s OPERATOR(pg_catalog.<=) %s AND %s OPERATOR(pg_catalog.>) %s, false)",
					node->test == MA_TEST_BETWEEN ? add_sql(at, &node->from, "+", zone) : at,
					oracle->now, add_sql(at, &node->to, "+", zone), oracle->now);
}

static char *
overdue_sql(Oracle *oracle, const MaNode *node)
{
	int			n = join_table(oracle, psprintf("SELECT e.contact_id, pg_catalog.count(*) AS n, "
												"pg_catalog.min(e.at) AS first, pg_catalog.max(e.at) AS last "
												"FROM %s AS e WHERE e.at OPERATOR(pg_catalog.<=) %s "
												"GROUP BY e.contact_id",
												rows_sql(oracle, node->stream), oracle->now), NULL);

	return psprintf("coalesce(CASE WHEN a%d.n OPERATOR(pg_catalog.>=) 3 AND pg_catalog.isfinite(a%d.first) "
					"THEN (pg_catalog.extract('epoch', %s OPERATOR(pg_catalog.-) a%d.last) "
					"OPERATOR(pg_catalog.*) (a%d.n OPERATOR(pg_catalog.-) 1)::pg_catalog.numeric) "
					"OPERATOR(pg_catalog.>) (%s::pg_catalog.numeric OPERATOR(pg_catalog.*) "
					"pg_catalog.extract('epoch', a%d.last OPERATOR(pg_catalog.-) a%d.first)) END, false)",
					n, n, oracle->now, n, n, node->left->text, n, n);
}

/* ---- numbers ---- */

static char *
aggregate_sql(Oracle *oracle, const MaNumber *number)
{
	static const char *const functions[] = {"count", "sum", "avg", "min", "max"};
	char	   *zone = zone_sql(oracle, "e");
	char	   *window = window_sql(oracle, number->window, "e.at", zone);
	char	   *value = number->stream->measure == NULL ? "*" :
		psprintf("%se.value", number->distinct ? "DISTINCT " : "");
	int			n = join_table(oracle, psprintf("SELECT e.contact_id, "
												"(pg_catalog.%s(%s))::pg_catalog.numeric AS value "
												"FROM %s AS e WHERE %s GROUP BY e.contact_id",
												functions[number->function], value,
												rows_sql(oracle, number->stream), window),
							   number->window);

	if (number->function == MA_FN_COUNT || number->function == MA_FN_SUM)
		return psprintf("coalesce(a%d.value, 0)", n);
	return psprintf("a%d.value", n);
}

static char *
number_sql(Oracle *oracle, const MaNumber *number)
{
	char	   *right;

	switch (number->kind)
	{
		case MA_NUMBER_CONSTANT:
			return psprintf("%s::pg_catalog.numeric", number->text);
		case MA_NUMBER_COLUMN:
			join_source(oracle, number->column->source);
			return psprintf("(%s)", number->column->sql);
		case MA_NUMBER_NEGATE:
			return psprintf("(OPERATOR(pg_catalog.-) %s)", number_sql(oracle, number->left));
		case MA_NUMBER_OPERATOR:
			right = number_sql(oracle, number->right);
			if (number->operator == '/')
				right = psprintf("nullif(%s, 0)", right);
			return psprintf("(%s OPERATOR(pg_catalog.%c) %s)", number_sql(oracle, number->left),
							number->operator, right);
		case MA_NUMBER_AGGREGATE:
			return aggregate_sql(oracle, number);
		case MA_NUMBER_SCORE:
			return psprintf("a%d.score", join_table(oracle, ma_score_sql(number->text, oracle->now),
													NULL));
	}
	/* As in node_sql(). */
	elog(ERROR, "cannot happen: kind %d of a number", (int) number->kind);
}
