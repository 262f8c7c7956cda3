/*
 * atom.c
 *		What rules know of scores by `score(model)`: values and how long they hold, what
 *		a model reads, and the same as SQL.
 *
 * The SQL is written from the meaning of a score, apart from its evaluation: the
 * oracle that segments with a score are compared with.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "rules/rules.h"
#include "scoring/scoring_internal.h"
#include "utils/builtins.h"
#include "utils/float.h"

/* Of the zone of the contact z, or of the model. */
#define ZONE_SQL "COALESCE(z.time_zone, %s)"

static bool find(const char *name, List **candidates);
static void compute(const char *name, MaContactChange *contacts, int n, const TimestampTz *as_of,
					MaRun how, MaRuleScore *scores);
static void add_supposed(const char *name, int64 contact_id, MaRuleScore *score);
static float8 value(const char *name, const MaRuleScore *score, TimestampTz at);
static TimestampTz holds(const char *name, const MaRuleScore *score, TimestampTz at, float8 bound);
static TimestampTz settled(const char *name, const MaRuleScore *score, TimestampTz at);
static List *events(const char *name);
static List *relations(const char *name);
static List *segments(const char *name);
static TimestampTz reads_from(const char *name, int32 event_id, TimestampTz at);
static char *sql(const char *name, const char *now);
static char *rows_sql(const MaScoreRule *rule);
static char *part_sql(const MaScoreRule *rule, const MaEvent *event, const MaEventSource *source);
static char *counted_sql(const MaScoreRule *rule, const char *now);
static char *number_sql(float8 number);

static const MaRuleScores registered = {
	find, compute, value, holds, settled, events, relations, segments, reads_from, sql
};

void
ma_score_atom_init(void)
{
	ma_register_rule_scores(&registered);
}

/* ---- values ---- */

static bool
find(const char *name, List **candidates)
{
	ListCell   *cell;

	foreach(cell, ma_score_models()->models)
		*candidates = lappend(*candidates, ((MaScoreModel *) lfirst(cell))->name);
	return ma_score_model_by_name(name) != NULL;
}

static void
compute(const char *name, MaContactChange *contacts, int n, const TimestampTz *as_of, MaRun how,
		MaRuleScore *scores)
{
	MaScore    *computed = palloc_array(MaScore, Max(n, 1));

	ma_scores_compute(ma_score_model_required(name), contacts, n, as_of, how, computed);
	for (int i = 0; i < n; i++)
	{
		scores[i] = (MaRuleScore) {computed[i].raw, computed[i].instant, computed[i].until};
		add_supposed(name, contacts[i].contact_id, &scores[i]);
	}
}

/* Points that a simulation supposes. */
static void
add_supposed(const char *name, int64 contact_id, MaRuleScore *score)
{
	ListCell   *cell;

	foreach(cell, ma_supposed_points(contact_id))
	{
		const MaSupposedPoints *points = lfirst(cell);

		if (strcmp(points->model, name) == 0 && points->at <= score->instant)
			score->raw += points->number * ma_score_left(ma_score_model_required(name),
														  score->instant - points->at);
	}
}

static float8
value(const char *name, const MaRuleScore *score, TimestampTz at)
{
	MaScore		own = {0, score->raw, score->instant, score->until};

	return ma_score_at(ma_score_model_required(name), &own, at);
}

static TimestampTz
holds(const char *name, const MaRuleScore *score, TimestampTz at, float8 bound)
{
	MaScore		own = {0, score->raw, score->instant, score->until};

	return ma_score_holds(ma_score_model_required(name), &own, at, bound);
}

static TimestampTz
settled(const char *name, const MaRuleScore *score, TimestampTz at)
{
	MaScore		own = {0, score->raw, score->instant, score->until};

	return ma_score_settled_at(ma_score_model_required(name), &own, at);
}

/* ---- what it reads ---- */

static List *
events(const char *name)
{
	MaScoreModel *model = ma_score_model_required(name);
	List	   *read = NIL;
	ListCell   *cell;

	foreach(cell, ma_score_model_events(model))
	{
		MaEvent    *event = ma_event_by_id(ma_definitions(), lfirst_int(cell));
		MaRuleEvent *one = palloc0_object(MaRuleEvent);

		if (event == NULL)
			continue;
		one->event_id = event->id;
		one->name = event->name;
		one->moves = MA_MOVES_UP | MA_MOVES_DOWN;
		one->columns = ma_score_model_columns(model, event->id);
		read = lappend(read, one);
	}
	return read;
}

static List *
relations(const char *name)
{
	List	   *relids = list_make1_oid(ma_own_table("score_entry"));
	ListCell   *cell;
	ListCell   *part;
	ListCell   *lookup;

	foreach(cell, ma_score_model_events(ma_score_model_required(name)))
	{
		MaEvent    *event = ma_event_by_id(ma_definitions(), lfirst_int(cell));

		if (event != NULL && event->builtin && ma_builtin_rows(event->name) != NULL)
			relids = list_append_unique_oid(relids,
											ma_own_table(ma_builtin_rows(event->name)->table));
		foreach(part, event != NULL ? ma_score_sources(event) : NIL)
		{
			MaEventSource *source = lfirst(part);

			if (source == NULL)
				continue;
			relids = list_append_unique_oid(relids, source->table->relid);
			if (source->via_table != NULL)
				relids = list_append_unique_oid(relids, source->via_table->relid);
			foreach(lookup, source->lookups)
				relids = list_append_unique_oid(relids,
												((MaLookup *) lfirst(lookup))->table->relid);
			/* Those that were dropped have no rows. */
			relids = list_delete_oid(relids, InvalidOid);
		}
	}
	return relids;
}

static List *
segments(const char *name)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, ma_score_model_required(name)->rules)
		if (((MaScoreRule *) lfirst(cell))->segment != NULL)
			names = lappend(names, ((MaScoreRule *) lfirst(cell))->segment);
	return names;
}

static TimestampTz
reads_from(const char *name, int32 event_id, TimestampTz at)
{
	return ma_score_model_reads_from(ma_score_model_required(name), event_id, at);
}

/* ---- the same as SQL ---- */

static char *
number_sql(float8 number)
{
	return psprintf("'%s'::pg_catalog.float8", float8out_internal(number));
}

/* contact_id and score of everybody: rows by rule, what counts of them, faded, in bounds. */
static char *
sql(const char *name, const char *now)
{
	MaScoreModel *model = ma_score_model_required(name);
	StringInfoData rows;
	char	   *fade = "1";
	ListCell   *cell;

	initStringInfo(&rows);
	foreach(cell, model->rules)
		appendStringInfo(&rows, "%s%s", rows.len > 0 ? " UNION ALL " : "",
						 counted_sql(lfirst(cell), now));
	/* Also if there are none: what changes without a definition passes for a renamed column. */
	appendStringInfo(&rows, "%sSELECT COALESCE(h.contact_id, e.contact_id) AS contact_id, e.at, e.points "
					 "FROM marketing_internal.score_entry AS e "
					 "LEFT JOIN marketing_internal.contact_holder AS h "
					 "ON h.merged_id OPERATOR(pg_catalog.=) e.contact_id "
					 "WHERE e.model_id OPERATOR(pg_catalog.=) %d "
					 "AND e.at OPERATOR(pg_catalog.<=) %s",
					 rows.len > 0 ? " UNION ALL " : "", model->id, now);
	/* Powers of two end far below; of what is that little nothing is left. */
	if (model->half_life > 0)
		fade = psprintf("pg_catalog.power(2, GREATEST(pg_catalog.date_part('epoch', "
						"w.at OPERATOR(pg_catalog.-) %s) OPERATOR(pg_catalog./) %s, -900))", now,
						number_sql((float8) model->half_life / USECS_PER_SEC));
	return psprintf("SELECT f.contact_id, (pg_catalog.sign(f.v) OPERATOR(pg_catalog.*) "
					"pg_catalog.floor((pg_catalog.abs(f.v) OPERATOR(pg_catalog.*) 10000) "
					"OPERATOR(pg_catalog.+) 0.5) OPERATOR(pg_catalog./) 10000)::pg_catalog.numeric AS score "
					"FROM (SELECT p.contact_id, LEAST(GREATEST(COALESCE(s.raw, 0), %s), %s) AS v "
					"FROM marketing_internal.contact AS p LEFT JOIN (SELECT w.contact_id, "
					"pg_catalog.sum(w.points OPERATOR(pg_catalog.*) %s) AS raw FROM (%s) AS w "
					"GROUP BY w.contact_id) AS s ON s.contact_id OPERATOR(pg_catalog.=) p.contact_id) AS f",
					number_sql(model->floor), number_sql(model->ceiling), fade, rows.data);
}

/* The rows that count at `now` under one rule. */
static char *
counted_sql(const MaScoreRule *rule, const char *now)
{
	static const char *const words[] = {NULL, "day", "week", "month"};
	char	   *zone = psprintf(ZONE_SQL, quote_literal_cstr(rule->model->time_zone));
	const char *period = "";
	const char *expired = "";
	const char *place = "1";

	if (rule->per != MA_PER_EVER)
		period = psprintf(", pg_catalog.date_trunc('%s', pg_catalog.timezone(%s, e.at))",
						  words[rule->per], zone);
	if (rule->at_most > 0)
		place = psprintf("pg_catalog.row_number() OVER (PARTITION BY e.contact_id%s "
						 "ORDER BY e.at, e.points DESC)", period);
	if (rule->expires != NULL)
	{
		int64		exact = rule->expires->time + rule->expires->day * USECS_PER_DAY;
		char	   *at = "c.at";

		if (rule->expires->month != 0)
			at = psprintf("pg_catalog.timezone(c.zone, pg_catalog.timezone(c.zone, c.at) "
						  "OPERATOR(pg_catalog.+) '%d months'::pg_catalog.interval)",
						  rule->expires->month);
		expired = psprintf(" AND (%s OPERATOR(pg_catalog.+) '" INT64_FORMAT
						   " microseconds'::pg_catalog.interval) OPERATOR(pg_catalog.>) %s",
						   at, exact, now);
	}
	return psprintf("SELECT c.contact_id, c.at, c.points FROM (SELECT e.contact_id, e.at, e.points, "
					"%s AS zone, %s AS place FROM (%s) AS e JOIN marketing_internal.contact AS z "
					"ON z.contact_id OPERATOR(pg_catalog.=) e.contact_id "
					"WHERE pg_catalog.isfinite(e.at) AND e.points OPERATOR(pg_catalog.>) "
					"'-infinity'::pg_catalog.float8 AND e.points OPERATOR(pg_catalog.<) "
					"'infinity'::pg_catalog.float8) AS c WHERE c.at OPERATOR(pg_catalog.<=) %s "
					"AND c.place OPERATOR(pg_catalog.<=) %d%s",
					zone, place, rows_sql(rule), now, Max(rule->at_most, 1), expired);
}

/*
 * contact_id, at and points of all rows that fit.  Where the event may be tracked, those rows
 * are among them before there is one: the views of rules hold this SQL, and one that the first
 * track() changed would look like one of renamed columns (rules/sql/follow.c).
 */
static char *
rows_sql(const MaScoreRule *rule)
{
	MaEvent    *event = ma_event_by_id(ma_definitions(), rule->event_id);
	List	   *sources = NIL;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	if (event != NULL)
		sources = event->builtin ? ma_score_sources(event) :
			ma_event_parts(ma_definitions(), event);
	foreach(cell, sources)
	{
		MaScoreRule *own = ma_score_rule_for(rule, lfirst(cell));

		if (own != NULL)
			appendStringInfo(&sql, "%s%s", sql.len > 0 ? " UNION ALL " : "",
							 part_sql(own, event, lfirst(cell)));
	}
	return sql.len > 0 ? sql.data : "SELECT 0::pg_catalog.int8 AS contact_id, "
		"'infinity'::pg_catalog.timestamptz AS at, 0::pg_catalog.float8 AS points";
}

static char *
part_sql(const MaScoreRule *rule, const MaEvent *event, const MaEventSource *source)
{
	char	   *condition = ma_score_condition(rule, event, source);
	char	   *points = psprintf("%s::pg_catalog.float8 AS points",
								  ma_row_sql(source, rule->points, rule->columns));
	char	   *filter = "";
	Oid			type;

	if (condition != NULL)
		filter = psprintf(" AND %s", ma_row_sql(source, condition, rule->columns));
	if (source == NULL)
		return psprintf("SELECT %s, o.at, o.points FROM (%s%s) AS o%s",
						event->builtin ? "COALESCE(h.contact_id, o.contact_id) AS contact_id" :
						"o.contact_id",
						ma_event_select(event, NULL, psprintf("t.contact_id, r.at, %s", points),
										"t.contact_id", &type), filter,
						/* Ledgers and logs of who was merged stay as they were written. */
						event->builtin ? " LEFT JOIN marketing_internal.contact_holder AS h "
						"ON h.merged_id OPERATOR(pg_catalog.=) o.contact_id" : "");
	return psprintf("SELECT k.contact_id, o.at, o.points FROM (SELECT kk.contact_id, "
					"kk.external_id::%s AS key FROM marketing_internal.contact_key AS kk "
					"WHERE kk.source_id OPERATOR(pg_catalog.=) %d AND NOT kk.excluded) AS k "
					"CROSS JOIN LATERAL (%s%s) AS o",
					format_type_extended(source->contact_source->key_type, -1,
										 FORMAT_TYPE_FORCE_QUALIFY), source->contact_source->id,
					ma_event_select(event, source, psprintf("r.at, %s", points), "k.key", &type),
					filter);
}
