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
#include "scoring/lines.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define FADED 0.01				/* with less than this left, points count as faded */
#define REASONS 3

/* Points of one rule, in sum. */
typedef struct Reason
{
	const MaScoreRule *rule;
	float8		points;
	int			rows;
} Reason;

static bool only_fades(const MaScoreModel *model);
static float8 left_of(MaScoreModel *model, MaContactChange *contact, TimestampTz then,
					  TimestampTz now);
static void read_rule(MaScoreLines *lines, MaScoreRule *rule);
static void read_entries(MaScoreLines *lines, MaScoreModel *model);
static void read_source(MaScoreLines *lines, MaScoreRule *rule, const MaEvent *event,
						MaEventSource *source);
static char *row_key_sql(const MaEventSource *source);
static MaScoreLine *add_line(MaScoreLines *lines);
static void judge(MaScoreLines *lines, int first);
static TimestampTz fades_at(const MaScoreLine *line, TimestampTz expiry);
static int	compare_candidates(const void *left, const void *right);
static int	compare_lines(const void *left, const void *right);
static int	compare_reasons(const void *left, const void *right);
static void put_line(ReturnSetInfo *result, const MaScoreLine *line);

MA_FUNCTION(ma_explain_score);
MA_FUNCTION(ma_score_reasons);

/* marketing.explain_score(contact, model) */
Datum
ma_explain_score(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaScoreModel *model;
	MaScoreLines *lines;
	char	   *name;
	TimestampTz now = ma_now();
	MaCall		call;

	(void) ma_extension_required();
	name = ma_score_name(fcinfo, 1, "model");
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	model = ma_score_model_required(name);
	lines = ma_score_lines(model, ma_contact_argument(fcinfo, false), now, MA_RUN_READ);
	qsort(lines->lines, lines->n, sizeof(MaScoreLine), compare_lines);
	for (int i = 0; i < lines->n; i++)
		put_line(result, &lines->lines[i]);
	ma_call_end(&call);
	return (Datum) 0;
}

static void
put_line(ReturnSetInfo *result, const MaScoreLine *line)
{
	MaEvent    *event = ma_event_by_id(ma_definitions(), line->rule->event_id);
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = CStringGetTextDatum(line->rule->name);
	nulls[1] = event == NULL;
	values[1] = event ? CStringGetTextDatum(event->name) : (Datum) 0;
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
MaScoreLines *
ma_score_lines(MaScoreModel *model, int64 contact_id, TimestampTz now, MaRun how)
{
	MaScoreLines *lines = palloc0_object(MaScoreLines);
	ListCell   *cell;

	lines->how = how;
	lines->contact = ma_read_contacts_as(&contact_id, 1, how);
	lines->zone = *ma_score_zones(lines->contact, 1, how);
	lines->now = now;
	lines->space = 64;
	lines->lines = palloc_array(MaScoreLine, lines->space);
	foreach(cell, model->rules)
		read_rule(lines, lfirst(cell));
	if (model->entries)
		read_entries(lines, model);
	return lines;
}

/* Points without a row, as of a rule of their own. */
static void
read_entries(MaScoreLines *lines, MaScoreModel *model)
{
	static MaStatement read = {
		"SELECT e.at, e.points, e.reason FROM marketing_internal.score_entry AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1) AND e.model_id OPERATOR(pg_catalog.=) $2",
		2, {INT8ARRAYOID, INT4OID}
	};
	MaScoreRule *rule = palloc0_object(MaScoreRule);
	int			first = lines->n;
	Datum	   *keys;
	int			nkeys = ma_builtin_keys(lines->contact, lines->how, &keys);
	Datum		arguments[2];
	MaRows		rows;

	rule->model = model;
	rule->name = "by hand";
	rule->place = PG_INT32_MAX;
	arguments[0] = ma_datum_array(keys, nkeys, INT8OID);
	arguments[1] = Int32GetDatum(model->id);
	rows = ma_run(&read, arguments, NULL, lines->how);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaScoreLine	   *line = add_line(lines);
		bool		isnull;

		line->rule = rule;
		line->at = ma_int64(&rows, i, 1);
		line->points = DatumGetFloat8(ma_value(&rows, i, 2, &isnull));
		line->row_key = ma_text(&rows, i, 3);
	}
	judge(lines, first);
}

/* True if points that count at one instant count at all later ones, but for fading. */
static bool
only_fades(const MaScoreModel *model)
{
	ListCell   *cell;

	foreach(cell, model->rules)
		if (((MaScoreRule *) lfirst(cell))->expires != NULL)
			return false;
	return true;
}

/* What the rows give as of then, within no bounds, as it is left now. */
static float8
left_of(MaScoreModel *model, MaContactChange *contact, TimestampTz then, TimestampTz now)
{
	MaScore		score;

	ma_scores_compute(model, contact, 1, &then, MA_RUN_READ_LATEST, &score);
	return score.raw * ma_score_left(model, now - score.instant);
}

/*
 * What there is now less what is left of what there was: the evaluation's plans are kept,
 * which reading row by row has none of.
 */
float8
ma_score_since(MaScoreModel *model, int64 contact_id, TimestampTz since, TimestampTz now)
{
	MaScoreLines *lines;
	float8		sum = 0;

	if (only_fades(model))
	{
		MaContactChange *contact = ma_read_contacts_as(&contact_id, 1, MA_RUN_READ_LATEST);

		return left_of(model, contact, now, now) - left_of(model, contact, since, now);
	}
	lines = ma_score_lines(model, contact_id, now, MA_RUN_READ_LATEST);
	for (int i = 0; i < lines->n; i++)
		if (lines->lines[i].at > since)
			sum += lines->lines[i].points_now;
	return sum;
}

static void
read_rule(MaScoreLines *lines, MaScoreRule *rule)
{
	MaDefinitions *definitions = ma_definitions();
	MaEvent    *event = ma_event_by_id(definitions, rule->event_id);
	int			first = lines->n;
	ListCell   *cell;

	if (event == NULL)
		return;
	foreach(cell, ma_score_sources(event))
		if (ma_score_rule_for(rule, lfirst(cell)) != NULL)
			read_source(lines, rule, event, lfirst(cell));
	judge(lines, first);
}

static void
read_source(MaScoreLines *lines, MaScoreRule *rule, const MaEvent *event, MaEventSource *source)
{
	Oid			type;
	int64	   *ids;
	Datum	   *keys;
	int			nkeys = ma_score_keys(event, source, lines->contact, 1, lines->how, &ids, &keys);
	MaScoreRule *named = ma_score_rule_for(rule, source);
	char	   *condition = ma_score_condition(named, event, source);
	char	   *columns = psprintf("r.at AS at, %s::pg_catalog.float8 AS points, %s AS row_key",
								   ma_row_sql(source, named->points, named->columns),
								   event->builtin ? "NULL::pg_catalog.text" : row_key_sql(source));
	char	   *sql = ma_event_select(event, source, columns, "ANY ($1)", &type);
	Datum		argument = ma_datum_array(keys, nkeys, type);
	Oid			array_type = get_array_type(type);
	MaIdentity	caller;
	MaRows		rows;
	int			zone = -1;

	if (condition != NULL)
		sql = psprintf("%s AND %s", sql, ma_row_sql(source, condition, named->columns));
	if (source != NULL)
	{
		zone = ma_pin_time_zone(source->time_zone);
		ma_become_table_owner(&caller, source->table->relid);
	}
	rows = ma_run_once(sql, 1, &array_type, &argument, NULL, lines->how);
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
		MaScoreLine	   *line;

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

static MaScoreLine *
add_line(MaScoreLines *lines)
{
	if (lines->n == lines->space)
	{
		lines->space *= 2;
		lines->lines = repalloc_huge(lines->lines, mul_size(sizeof(MaScoreLine), lines->space));
	}
	memset(&lines->lines[lines->n], 0, sizeof(MaScoreLine));
	return &lines->lines[lines->n++];
}

/* Says of the lines of one rule what they give. */
static void
judge(MaScoreLines *lines, int first)
{
	int64		period = 0;
	int			count = 0;

	qsort(lines->lines + first, lines->n - first, sizeof(MaScoreLine), compare_candidates);
	for (int i = first; i < lines->n; i++)
	{
		MaScoreLine	   *line = &lines->lines[i];
		const MaScoreRule *rule = line->rule;
		pg_tz	   *zone = ma_score_zone(rule->model, lines->zone);
		int64		its = ma_score_period(rule->per, line->at, zone);
		TimestampTz expiry = DT_NOEND;

		if (rule->expires != NULL)
			expiry = ma_score_expiry(rule->expires, line->at, zone);
		count = i > first && its == period ? count + 1 : 1;
		period = its;
		line->fades_at = DT_NOEND;
		line->expiry = expiry;
		line->over = rule->at_most > 0 && count > rule->at_most;
		if (line->over)
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
		if (!line->over)
			line->fades_at = fades_at(line, expiry);
	}
}

/* When the points expire, or next to nothing is left of them. */
static TimestampTz
fades_at(const MaScoreLine *line, TimestampTz expiry)
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
	const MaScoreLine *a = left;
	const MaScoreLine *b = right;

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
	const MaScoreLine *a = left;
	const MaScoreLine *b = right;

	if (a->at != b->at)
		return a->at > b->at ? -1 : 1;
	if (a->rule != b->rule)
		return a->rule->place < b->rule->place ? -1 : 1;
	return compare_candidates(left, right);
}

/* marketing_internal.score_reasons(contact_id, model): "fair +20, page +7.4 (9 rows)" */
Datum
ma_score_reasons(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaScoreModel *model;
	MaScoreLines *lines;
	Reason	   *reasons;
	StringInfoData words;
	TimestampTz now = ma_now();
	MaCall		call;
	int			n;

	ma_call_begin(&call);
	model = ma_score_model_required(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	lines = ma_score_lines(model, PG_GETARG_INT64(0), now, MA_RUN_READ);
	/* The last one is of points without a rule. */
	n = list_length(model->rules) + 1;
	reasons = palloc0_array(Reason, n);
	for (int i = 0; i < n - 1; i++)
		reasons[i].rule = list_nth(model->rules, i);
	for (int i = 0; i < lines->n; i++)
		for (int j = 0; j < n; j++)
			if ((reasons[j].rule == lines->lines[i].rule || j == n - 1) &&
				lines->lines[i].points_now != 0)
			{
				reasons[j].rule = lines->lines[i].rule;
				reasons[j].points += lines->lines[i].points_now;
				reasons[j].rows++;
				break;
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
	if (a->rule == NULL || b->rule == NULL)
		return a->rule == NULL ? 1 : -1;
	return a->rule->place < b->rule->place ? -1 : 1;
}
