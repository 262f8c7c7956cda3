/*
 * model.c
 *		The definitions of models and rules, compiled once per backend and kept until
 *		any definition changes.
 *
 * All models are read together, since an event that gives points in several of them
 * is read once for all.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "scoring/scoring_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

static void *load(void);
static void free_fetches(void *arg);
static MaScoreModel *model_of_row(const MaRows *rows, uint64 row);
static float8 number_of(const JsonbValue *value);
static void read_thresholds(MaScoreModel *model, const MaRows *rows, uint64 row);
static void load_rules(MaScoreModels *models);
static MaScoreRule *rule_of_row(const MaRows *rows, uint64 row);
static int	compare_thresholds(const void *left, const void *right);
static List *add_columns(List *columns, const List *more);

static MaKept kept = {"scores", load, free_fetches};

MaScoreModels *
ma_score_models(void)
{
	return ma_kept(&kept);
}

MaScoreModels *
ma_score_models_current(void)
{
	return ma_kept_current(&kept);
}

static void
free_fetches(void *arg)
{
	ma_score_fetches_free(arg);
}

/* Reads all models into the current context. */
static void *
load(void)
{
	static MaStatement all = {
		"SELECT model_id, name, "
		"(pg_catalog.date_part('epoch', half_life) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, "
		"floor, ceiling, thresholds, time_zone, version, built, built_upto, "
		"EXISTS (SELECT FROM marketing_internal.score_entry AS e "
		"WHERE e.model_id OPERATOR(pg_catalog.=) m.model_id), "
		"EXISTS (SELECT FROM marketing_internal.hand_off AS h "
		"WHERE h.model_id OPERATOR(pg_catalog.=) m.model_id AND h.assign IS NOT NULL) "
		"FROM marketing_internal.score_model AS m ORDER BY model_id"
	};
	MaScoreModels *models = palloc0_object(MaScoreModels);
	MaIdentity	caller;
	MaRows		rows;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaScoreModel *model = model_of_row(&rows, i);

		model->place = models->nmodels++;
		models->models = lappend(models->models, model);
	}
	if (models->nmodels > 0)
		load_rules(models);
	if (models->nrules > 0)
		ma_score_views_load(models);
	ma_become_back(&caller);
	return models;
}

static MaScoreModel *
model_of_row(const MaRows *rows, uint64 row)
{
	MaScoreModel *model = palloc0_object(MaScoreModel);
	bool		isnull;
	Datum		bound;

	model->id = ma_int32(rows, row, 1);
	model->name = ma_text(rows, row, 2);
	model->half_life = ma_int64(rows, row, 3);
	bound = ma_value(rows, row, 4, &isnull);
	model->floor = isnull ? -INFINITY : DatumGetFloat8(bound);
	bound = ma_value(rows, row, 5, &isnull);
	model->ceiling = isnull ? INFINITY : DatumGetFloat8(bound);
	read_thresholds(model, rows, row);
	model->time_zone = ma_text(rows, row, 7);
	model->version = ma_int32(rows, row, 8);
	model->built = ma_bool(rows, row, 9);
	model->built_upto = ma_int64(rows, row, 10);
	model->entries = ma_bool(rows, row, 11);
	model->assigned = ma_bool(rows, row, 12);
	return model;
}

/* One number of a threshold's; NaN if it is none. */
static float8
number_of(const JsonbValue *value)
{
	return value == NULL || value->type != jbvNumeric ? NAN :
		DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}

void
ma_score_threshold_read(const JsonbValue *value, MaScoreThreshold *threshold)
{
	JsonbValue	at;
	JsonbValue	lost;
	JsonbContainer *object;
	int			known = 1;

	threshold->value = threshold->lost = number_of(value);
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return;
	object = value->val.binary.data;
	threshold->value = threshold->lost =
		number_of(getKeyJsonValueFromContainer(object, "at", strlen("at"), &at));
	if (getKeyJsonValueFromContainer(object, "lost_below", strlen("lost_below"), &lost) != NULL)
	{
		threshold->lost = number_of(&lost);
		known++;
	}
	/* Another key is a slip. */
	if (JsonContainerSize(object) != known)
		threshold->value = NAN;
}

/* {"hot": 50, "top": {"at": 80, "lost_below": 70}}, as checked by define_score_model(). */
static void
read_thresholds(MaScoreModel *model, const MaRows *rows, uint64 row)
{
	bool		isnull;
	Jsonb	   *thresholds = DatumGetJsonbP(ma_value(rows, row, 6, &isnull));
	JsonbIterator *iterator = JsonbIteratorInit(&thresholds->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *name = NULL;

	model->thresholds = palloc0_array(MaScoreThreshold, Max(JB_ROOT_COUNT(thresholds), 1));
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE)
		{
			model->thresholds[model->nthresholds].name = name;
			ma_score_threshold_read(&item, &model->thresholds[model->nthresholds++]);
		}
	}
	qsort(model->thresholds, model->nthresholds, sizeof(MaScoreThreshold), compare_thresholds);
}

static int
compare_thresholds(const void *left, const void *right)
{
	const MaScoreThreshold *a = left;
	const MaScoreThreshold *b = right;

	return a->value < b->value ? -1 : (a->value > b->value ? 1 : strcmp(a->name, b->name));
}

static void
load_rules(MaScoreModels *models)
{
	static MaStatement all = {
		"SELECT model_id, name, event_id, condition, points, constant, at_most, per, expires, columns, segment "
		"FROM marketing_internal.score_rule ORDER BY model_id, name COLLATE pg_catalog.\"C\""
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		ListCell   *cell;

		foreach(cell, models->models)
		{
			MaScoreModel *model = lfirst(cell);
			MaScoreRule *rule;

			if (model->id != ma_int32(&rows, i, 1))
				continue;
			rule = rule_of_row(&rows, i);
			rule->model = model;
			rule->place = models->nrules++;
			model->rules = lappend(model->rules, rule);
			models->any_limit |= (rule->at_most > 0 && rule->per != MA_PER_EVER) ||
				(rule->expires != NULL && rule->expires->month != 0);
		}
	}
}

static MaScoreRule *
rule_of_row(const MaRows *rows, uint64 row)
{
	MaScoreRule *rule = palloc0_object(MaScoreRule);
	char	   *per = ma_text(rows, row, 8);
	bool		isnull;
	Datum		value;
	Datum	   *columns;
	int			n;

	rule->name = ma_text(rows, row, 2);
	rule->event_id = ma_int32(rows, row, 3);
	rule->condition = ma_text(rows, row, 4);
	rule->points = ma_text(rows, row, 5);
	value = ma_value(rows, row, 6, &isnull);
	rule->is_constant = !isnull;
	rule->constant = isnull ? 0 : DatumGetFloat8(value);
	rule->at_most = ma_int32(rows, row, 7);
	rule->per = per == NULL ? MA_PER_EVER : strcmp(per, "day") == 0 ? MA_PER_DAY :
		strcmp(per, "week") == 0 ? MA_PER_WEEK : MA_PER_MONTH;
	value = ma_value(rows, row, 9, &isnull);
	if (!isnull)
	{
		rule->expires = palloc_object(Interval);
		*rule->expires = *DatumGetIntervalP(value);
	}
	value = ma_value(rows, row, 10, &isnull);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &columns, NULL, &n);
	for (int i = 0; i < n; i++)
		rule->columns = lappend(rule->columns, TextDatumGetCString(columns[i]));
	rule->segment = ma_text(rows, row, 11);
	return rule;
}

MaScoreModel *
ma_score_model_by_name(const char *name)
{
	ListCell   *cell;

	foreach(cell, ma_score_models()->models)
		if (strcmp(((MaScoreModel *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

MaScoreModel *
ma_score_model_by_id(int32 id)
{
	ListCell   *cell;

	foreach(cell, ma_score_models()->models)
		if (((MaScoreModel *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

MaScoreModel *
ma_score_model_required(const char *name)
{
	MaScoreModel *model = ma_score_model_by_name(name);
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	if (model != NULL)
		return model;
	foreach(cell, ma_score_models()->models)
		names = lappend(names, ((MaScoreModel *) lfirst(cell))->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SCORE),
			 errmsg("there is no score model \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make it with marketing.define_score_model().")));
}

const char *
ma_score_model_name(const MaScoreModel *model)
{
	return model->name;
}

List *
ma_score_model_events(const MaScoreModel *model)
{
	List	   *events = NIL;
	ListCell   *cell;

	foreach(cell, model->rules)
		events = list_append_unique_int(events, ((MaScoreRule *) lfirst(cell))->event_id);
	return events;
}

int32
ma_score_model_event(const MaScoreModel *model)
{
	return model->rules != NIL ? ((MaScoreRule *) linitial(model->rules))->event_id :
		ma_event_required(ma_definitions(), "score_threshold_reached")->id;
}

List *
ma_score_model_columns(const MaScoreModel *model, int32 event_id)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, model->rules)
	{
		MaScoreRule *rule = lfirst(cell);
		ListCell   *part;

		if (rule->event_id != event_id)
			continue;
		columns = add_columns(columns, rule->columns);
		foreach(part, rule->reads)
			columns = add_columns(columns, ((MaScoreReads *) lfirst(part))->columns);
	}
	return columns;
}

/* Those that are not among them yet. */
static List *
add_columns(List *columns, const List *more)
{
	ListCell   *cell;

	foreach(cell, more)
	{
		ListCell   *seen;
		bool		known = *(char *) lfirst(cell) == '\0';

		foreach(seen, columns)
			known |= strcmp(lfirst(seen), lfirst(cell)) == 0;
		if (!known)
			columns = lappend(columns, lfirst(cell));
	}
	return columns;
}
