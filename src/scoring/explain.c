/*
 * explain.c
 *		explain_score(): every row of a contact that gives points, or would, and the
 *		few words of it that sales_ready shows.
 *
 * It reads the rows rule by rule with their keys, apart from the evaluation, which
 * knows no keys; that both come to the same sum is tested.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "rules/rules.h"
#include "scoring/define.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define FADED 0.01				/* with less than this left, points count as faded */
#define REASONS 3

/* A row that fits a rule. */
typedef struct Line
{
	MaScoreRule *rule;
	char	   *row_key;
	TimestampTz at;
	float8		points;
	float8		points_now;
	TimestampTz fades_at;		/* DT_NOEND: never */
	const char *state;
} Line;

/* The lines of one contact and model. */
typedef struct Lines
{
	MaContactChange *contact;
	pg_tz	   *zone;
	TimestampTz now;
	int			n;
	int			space;
	Line	   *lines;
} Lines;

/* Points of one rule, in sum. */
typedef struct Reason
{
	const MaScoreRule *rule;
	float8		points;
	int			rows;
} Reason;

static Lines *read_lines(MaScoreModel *model, int64 contact_id, TimestampTz now);
static void read_rule(Lines *lines, MaScoreRule *rule);
static void read_source(Lines *lines, MaScoreRule *rule, const MaEvent *event,
						MaEventSource *source);
static char *row_key_sql(const MaEventSource *source);
static Line *add_line(Lines *lines);
static void judge(Lines *lines, int first);
static TimestampTz fades_at(const Line *line, TimestampTz expiry);
static int	compare_candidates(const void *left, const void *right);
static int	compare_lines(const void *left, const void *right);
static int	compare_reasons(const void *left, const void *right);
static void put_line(ReturnSetInfo *result, const Line *line);

MA_FUNCTION(ma_explain_score);
MA_FUNCTION(ma_score_reasons);

/* marketing.explain_score(contact, model) */
Datum
ma_explain_score(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaScoreModel *model;
	Lines	   *lines;
	char	   *name;
	TimestampTz now = ma_now();
	MaCall		call;

	(void) ma_extension_required();
	name = ma_score_name(fcinfo, 1, "model");
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	model = ma_score_model_required(name);
	lines = read_lines(model, ma_contact_argument(fcinfo, false), now);
	qsort(lines->lines, lines->n, sizeof(Line), compare_lines);
	for (int i = 0; i < lines->n; i++)
		put_line(result, &lines->lines[i]);
	ma_call_end(&call);
	return (Datum) 0;
}

static void
put_line(ReturnSetInfo *result, const Line *line)
{
	MaEvent    *event = ma_event_by_id(ma_definitions(), line->rule->event_id);
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = CStringGetTextDatum(line->rule->name);
	values[1] = CStringGetTextDatum(event->name);
	nulls[2] = line->row_key == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(line->row_key);
	values[3] = TimestampTzGetDatum(line->at);
	values[4] = ma_score_numeric(line->points);
	values[5] = ma_score_numeric(line->points_now);
	nulls[6] = line->fades_at == DT_NOEND;
	values[6] = TimestampTzGetDatum(line->fades_at);
	values[7] = CStringGetTextDatum(line->state);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* All rows that fit a rule of the model, judged. */
static Lines *
read_lines(MaScoreModel *model, int64 contact_id, TimestampTz now)
{
	Lines	   *lines = palloc0_object(Lines);
	ListCell   *cell;

	lines->contact = ma_read_contacts(&contact_id, 1);
	lines->zone = *ma_score_zones(lines->contact, 1, MA_RUN_READ);
	lines->now = now;
	lines->space = 64;
	lines->lines = palloc_array(Line, lines->space);
	foreach(cell, model->rules)
		read_rule(lines, lfirst(cell));
	return lines;
}

static void
read_rule(Lines *lines, MaScoreRule *rule)
{
	MaDefinitions *definitions = ma_definitions();
	MaEvent    *event = ma_event_by_id(definitions, rule->event_id);
	int			first = lines->n;
	ListCell   *cell;

	if (event == NULL)
		return;
	foreach(cell, ma_score_sources(event))
		if (ma_score_rule_fits(rule, lfirst(cell)))
			read_source(lines, rule, event, lfirst(cell));
	judge(lines, first);
}

static void
read_source(Lines *lines, MaScoreRule *rule, const MaEvent *event, MaEventSource *source)
{
	Oid			type;
	int64	   *ids;
	Datum	   *keys;
	int			nkeys = ma_score_keys(event, source, lines->contact, 1, MA_RUN_READ, &ids, &keys);
	char	   *condition = ma_score_condition(rule, event, source);
	char	   *columns = psprintf("r.at AS at, %s::pg_catalog.float8 AS points, %s AS row_key",
								   ma_row_sql(source, rule->points, rule->columns),
								   event->builtin ? "NULL::pg_catalog.text" : row_key_sql(source));
	char	   *sql = ma_event_select(event, source, columns, "ANY ($1)", &type);
	Datum		argument = ma_datum_array(keys, nkeys, type);
	Oid			array_type = get_array_type(type);
	MaIdentity	caller;
	MaRows		rows;
	int			zone = -1;

	if (condition != NULL)
		sql = psprintf("%s AND %s", sql, ma_row_sql(source, condition, rule->columns));
	if (source != NULL)
	{
		zone = ma_pin_time_zone(source->time_zone);
		ma_become_table_owner(&caller, source->table->relid);
	}
	rows = ma_run_once(sql, 1, &array_type, &argument, NULL, MA_RUN_READ);
	if (source != NULL)
	{
		ma_become_back(&caller);
		ma_unpin_settings(zone);
	}
	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;
		TimestampTz at = ma_int64(&rows, i, 1);
		Datum		points = ma_value(&rows, i, 2, &isnull);
		Line	   *line;

		if (isnull || !isfinite(DatumGetFloat8(points)) || TIMESTAMP_NOT_FINITE(at))
			continue;
		line = add_line(lines);
		line->rule = rule;
		line->at = at;
		line->points = DatumGetFloat8(points);
		line->row_key = ma_text(&rows, i, 3);
	}
}

/* The row's key as events have it: the text of one column, or a JSON array of several. */
static char *
row_key_sql(const MaEventSource *source)
{
	List	   *columns = source ? ma_row_key_columns(source->table->relid) :
		list_make1("event_row_id");
	StringInfoData sql;
	ListCell   *cell;

	if (columns == NIL)
		return "NULL::pg_catalog.text";
	if (list_length(columns) == 1)
		return psprintf("t.%s::pg_catalog.text", quote_identifier(linitial(columns)));
	initStringInfo(&sql);
	foreach(cell, columns)
		appendStringInfo(&sql, "%st.%s::pg_catalog.text",
						 sql.len == 0 ? "pg_catalog.jsonb_build_array(" : ", ",
						 quote_identifier(lfirst(cell)));
	appendStringInfoString(&sql, ")::pg_catalog.text");
	return sql.data;
}

static Line *
add_line(Lines *lines)
{
	if (lines->n == lines->space)
	{
		lines->space *= 2;
		lines->lines = repalloc_huge(lines->lines, mul_size(sizeof(Line), lines->space));
	}
	memset(&lines->lines[lines->n], 0, sizeof(Line));
	return &lines->lines[lines->n++];
}

/* Says of the lines of one rule what they give. */
static void
judge(Lines *lines, int first)
{
	int64		period = 0;
	int			count = 0;

	qsort(lines->lines + first, lines->n - first, sizeof(Line), compare_candidates);
	for (int i = first; i < lines->n; i++)
	{
		Line	   *line = &lines->lines[i];
		const MaScoreRule *rule = line->rule;
		pg_tz	   *zone = ma_score_zone(rule->model, lines->zone);
		int64		its = ma_score_period(rule->per, line->at, zone);
		TimestampTz expiry = DT_NOEND;

		if (rule->expires != NULL)
			expiry = ma_score_expiry(rule->expires, line->at, zone);
		count = i > first && its == period ? count + 1 : 1;
		period = its;
		line->fades_at = DT_NOEND;
		if (rule->at_most > 0 && count > rule->at_most)
			line->state = "over at_most";
		else if (line->at > lines->now)
			line->state = "to come";
		else if (expiry <= lines->now)
			line->state = "expired";
		else
		{
			line->state = "counts";
			line->points_now = line->points * ma_score_left(rule->model, lines->now - line->at);
		}
		if (rule->at_most == 0 || count <= rule->at_most)
			line->fades_at = fades_at(line, expiry);
	}
}

/* When the points expire, or next to nothing is left of them. */
static TimestampTz
fades_at(const Line *line, TimestampTz expiry)
{
	int64		half_life = line->rule->model->half_life;
	float8		end;

	if (half_life == 0 || line->points == 0)
		return expiry;
	end = (float8) line->at + Max(log2(fabs(line->points) / FADED), 0) * (float8) half_life;
	return end >= (float8) END_TIMESTAMP ? expiry : Min(expiry, (TimestampTz) end);
}

/* The order in which at_most counts. */
static int
compare_candidates(const void *left, const void *right)
{
	const Line *a = left;
	const Line *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	if (a->points != b->points)
		return a->points > b->points ? -1 : 1;
	return a->row_key && b->row_key ? strcmp(a->row_key, b->row_key) : 0;
}

/* Latest first. */
static int
compare_lines(const void *left, const void *right)
{
	const Line *a = left;
	const Line *b = right;

	if (a->at != b->at)
		return a->at > b->at ? -1 : 1;
	if (a->rule != b->rule)
		return a->rule->place - b->rule->place;
	return compare_candidates(left, right);
}

/* marketing_internal.score_reasons(contact_id, model): "fair +20, page +7.4 (9 rows)" */
Datum
ma_score_reasons(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaScoreModel *model;
	Lines	   *lines;
	Reason	   *reasons;
	StringInfoData words;
	TimestampTz now = ma_now();
	MaCall		call;
	int			n;

	ma_call_begin(&call);
	model = ma_score_model_required(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	lines = read_lines(model, PG_GETARG_INT64(0), now);
	n = list_length(model->rules);
	reasons = palloc0_array(Reason, Max(n, 1));
	for (int i = 0; i < n; i++)
		reasons[i].rule = list_nth(model->rules, i);
	for (int i = 0; i < lines->n; i++)
		for (int j = 0; j < n; j++)
			if (reasons[j].rule == lines->lines[i].rule && lines->lines[i].points_now != 0)
			{
				reasons[j].points += lines->lines[i].points_now;
				reasons[j].rows++;
			}
	qsort(reasons, n, sizeof(Reason), compare_reasons);
	MemoryContextSwitchTo(context);
	initStringInfo(&words);
	for (int i = 0; i < Min(n, REASONS); i++)
	{
		if (reasons[i].rows == 0)
			break;
		appendStringInfo(&words, "%s%s %+.4g", words.len > 0 ? ", " : "",
						 reasons[i].rule->name, reasons[i].points);
		if (reasons[i].rows > 1)
			appendStringInfo(&words, " (%d rows)", reasons[i].rows);
	}
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(words.data, words.len));
}

/* The most points first; negative ones last. */
static int
compare_reasons(const void *left, const void *right)
{
	const Reason *a = left;
	const Reason *b = right;

	if (a->points != b->points)
		return a->points > b->points ? -1 : 1;
	return a->rule->place - b->rule->place;
}
