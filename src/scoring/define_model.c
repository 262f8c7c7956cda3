/*
 * define_model.c
 *		define_score_model() and drop_score_model().
 *
 * A changed model gets a new version: state of another version is out of date, which
 * reads see at once and the worker mends.  Nothing is computed in the call.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "rules/rules.h"
#include "scoring/define.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

#define MAX_NAME 63
#define MAX_YEARS 100
#define MAX_THRESHOLDS 100

/* Arguments of define_score_model() by position, and columns in that order. */
enum
{
	ARG_NAME, ARG_HALF_LIFE, ARG_FLOOR, ARG_CEILING, ARG_THRESHOLDS, NUM_ARGS
};

#define NUM_FIELDS 4
static const char *const fields[NUM_FIELDS] = {"half_life", "floor", "ceiling", "thresholds"};

static void check_thresholds(Jsonb *thresholds, const char *model, const float8 *floor,
							 const float8 *ceiling);
static void check_bands(const MaScoreThreshold *all, int n, const char *model);
static float8 check_threshold(const char *model, const char *name, const JsonbValue *value,
							float8 nobody, const float8 *ceiling);
static char *define(const char *name, Datum *values, const char *nulls);
static char *replace(MaScoreModel *model, Datum *values, const char *nulls);
static void stored_texts(int32 id, char **texts);

MA_FUNCTION(ma_define_score_model);
MA_FUNCTION(ma_drop_score_model);

/* marketing.define_score_model(name, half_life, floor, ceiling, thresholds) */
Datum
ma_define_score_model(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name;
	float8	   *floor;
	float8	   *ceiling;
	Datum		values[NUM_ARGS];
	char		nulls[NUM_ARGS + 1] = "     ";
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	name = ma_score_name(fcinfo, ARG_NAME, "name");
	floor = ma_score_number(fcinfo, ARG_FLOOR, "floor");
	ceiling = ma_score_number(fcinfo, ARG_CEILING, "ceiling");
	if (!PG_ARGISNULL(ARG_HALF_LIFE))
		ma_score_check_time(PG_GETARG_INTERVAL_P(ARG_HALF_LIFE),
							psprintf("half_life of score model \"%s\"", name), true);
	if (floor != NULL && ceiling != NULL && *floor >= *ceiling)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("floor of score model \"%s\" is not below its ceiling", name)));
	values[ARG_THRESHOLDS] = PG_ARGISNULL(ARG_THRESHOLDS) ?
		DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) : PG_GETARG_DATUM(ARG_THRESHOLDS);
	check_thresholds(DatumGetJsonbP(values[ARG_THRESHOLDS]), name, floor, ceiling);

	values[ARG_NAME] = CStringGetTextDatum(name);
	values[ARG_HALF_LIFE] = PG_GETARG_DATUM(ARG_HALF_LIFE);
	values[ARG_FLOOR] = Float8GetDatum(floor ? *floor : 0);
	values[ARG_CEILING] = Float8GetDatum(ceiling ? *ceiling : 0);
	for (int i = ARG_HALF_LIFE; i <= ARG_CEILING; i++)
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	ma_call_begin(&call);
	/* Against define_grade(). */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_score_definitions_lock();
	ma_grades_check_model(name, JB_ROOT_COUNT(DatumGetJsonbP(values[ARG_THRESHOLDS])) > 0);
	ma_hand_off_check_model(name, values[ARG_THRESHOLDS]);
	answer = MemoryContextStrdup(context, define(name, values, nulls));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

void
ma_score_definitions_lock(void)
{
	Oid			schema = ma_extension_required()->internal_schema;

	LockRelationOid(get_relname_relid("score_model", schema), ShareRowExclusiveLock);
}

char *
ma_score_text(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

char *
ma_score_name(FunctionCallInfo fcinfo, int number, const char *argument)
{
	char	   *name = ma_score_text(fcinfo, number);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", argument)));
	ma_name_check(name, strcmp(argument, "name") == 0 ? "score model" : argument);
	return name;
}

float8 *
ma_score_number(FunctionCallInfo fcinfo, int number, const char *argument)
{
	float8	   *value = palloc_object(float8);

	if (PG_ARGISNULL(number))
		return NULL;
	*value = DatumGetFloat8(DirectFunctionCall1(numeric_float8, PG_GETARG_DATUM(number)));
	if (!isfinite(*value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a finite number", argument)));
	return value;
}

void
ma_score_check_time(const Interval *time, const char *argument, bool exact)
{
	double		days = time->month * (DAYS_PER_YEAR / MONTHS_PER_YEAR) + time->day +
		(double) time->time / USECS_PER_DAY;

	if (exact && time->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be in months or years", argument),
				 errdetail("They are not all equally long."),
				 errhint("Write it in days, as in '30 days'.")));
	if (time->month < 0 || time->day < 0 || time->time < 0 || days <= 0 ||
		days > MAX_YEARS * DAYS_PER_YEAR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be longer than zero and at most %d years", argument, MAX_YEARS)));
}

float8
ma_score_nobody(const float8 *floor, const float8 *ceiling)
{
	float8		score = 0;

	if (floor != NULL)
		score = Max(score, *floor);
	if (ceiling != NULL)
		score = Min(score, *ceiling);
	return score;
}

/* {"hot": 50, "warm": 20}: names with numbers that a score can reach and lack. */
static void
check_thresholds(Jsonb *thresholds, const char *model, const float8 *floor, const float8 *ceiling)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *name = NULL;
	char	   *names[MAX_THRESHOLDS];
	float8		numbers[MAX_THRESHOLDS];
	MaScoreThreshold all[MAX_THRESHOLDS];
	int			n = 0;

	if (!JB_ROOT_IS_OBJECT(thresholds) || JB_ROOT_COUNT(thresholds) > MAX_THRESHOLDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("thresholds of score model \"%s\" must be a JSON object of at most %d numbers",
						model, MAX_THRESHOLDS),
				 errhint("As in '{\"hot\": 50}'.")));
	iterator = JsonbIteratorInit(&thresholds->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE)
		{
			names[n] = name;
			numbers[n] = check_threshold(model, name, &item, ma_score_nobody(floor, ceiling),
										 ceiling);
			ma_score_threshold_read(&item, &all[n]);
			all[n].name = name;
			for (int i = 0; i < n; i++)
				if (numbers[i] == numbers[n])
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("thresholds.%s and thresholds.%s of score model \"%s\" are the same",
									names[i], name, model),
							 errdetail("Both are %g.", numbers[n]),
							 errhint("One threshold has one name: leave one out.")));
			n++;
		}
	}
	check_bands(all, n, model);
}

/* A threshold is lost above where the next lower one is reached: they come and go in order. */
static void
check_bands(const MaScoreThreshold *all, int n, const char *model)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			if (all[j].value < all[i].value && all[i].lost < all[j].value)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("thresholds.%s.lost_below of score model \"%s\" lies below thresholds.%s",
								all[i].name, model, all[j].name),
						 errdetail("%g is below %g: the higher one would outlast the lower.",
								   all[i].lost, all[j].value)));
}

static float8
check_threshold(const char *model, const char *name, const JsonbValue *value, float8 nobody,
				const float8 *ceiling)
{
	MaScoreThreshold threshold;
	float8		number;

	ma_score_threshold_read(value, &threshold);
	number = threshold.value;
	ma_name_check(name, "threshold");
	if (!isfinite(number) || !isfinite(threshold.lost) || threshold.lost > number)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("thresholds.%s of score model \"%s\" is not a number under a name",
						name, model),
				 errhint("As in '{\"hot\": 50}', or '{\"hot\": {\"at\": 50, \"lost_below\": 40}}'.")));
	if (number < nobody + MA_SCORE_STEP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("thresholds.%s of score model \"%s\" is reached by everybody", name, model),
				 errdetail("A contact without any points has a score of %g.", nobody),
				 errhint("A threshold lies above that.")));
	if (threshold.lost < nobody + MA_SCORE_STEP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("thresholds.%s.lost_below of score model \"%s\" is never passed", name,
						model),
				 errdetail("A contact without any points has a score of %g.", nobody)));
	if (ceiling != NULL && number > *ceiling)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("thresholds.%s of score model \"%s\" is never reached", name, model),
				 errdetail("The model's ceiling is %g.", *ceiling)));
	return number;
}

/* Stores the model; returns the answer. */
static char *
define(const char *name, Datum *values, const char *nulls)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.score_model "
		"(name, half_life, floor, ceiling, thresholds, time_zone) "
		"VALUES ($1, $2, $3, $4, $5, $6)",
		6, {TEXTOID, INTERVALOID, FLOAT8OID, FLOAT8OID, JSONBOID, TEXTOID}
	};
	MaScoreModel *model = ma_score_model_by_name(name);
	Datum		all[NUM_ARGS + 1];
	char		all_nulls[NUM_ARGS + 2];

	if (model != NULL)
		return replace(model, values, nulls);
	memcpy(all, values, sizeof(Datum) * NUM_ARGS);
	memcpy(all_nulls, nulls, NUM_ARGS);
	all[NUM_ARGS] = CStringGetTextDatum(ma_database_time_zone());
	all_nulls[NUM_ARGS] = ' ';
	all_nulls[NUM_ARGS + 1] = '\0';
	ma_run(&add, all, all_nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("%s: created", name);
}

static char *
replace(MaScoreModel *model, Datum *values, const char *nulls)
{
	static MaStatement update = {
		"UPDATE marketing_internal.score_model SET half_life = $2, floor = $3, ceiling = $4, "
		"thresholds = $5 WHERE name OPERATOR(pg_catalog.=) $1",
		5, {TEXTOID, INTERVALOID, FLOAT8OID, FLOAT8OID, JSONBOID}
	};
	char	   *name = model->name;
	char	   *before[NUM_FIELDS];
	char	   *after[NUM_FIELDS];
	char	   *changes;

	ma_tell_named("score", name, false);
	stored_texts(model->id, before);
	ma_run(&update, values, nulls, MA_RUN_WRITE_LATEST);
	stored_texts(model->id, after);
	changes = ma_score_changes(before, after, fields, NUM_FIELDS);
	if (changes == NULL)
		return psprintf("%s: unchanged", name);
	(void) ma_score_model_changed(model);
	ma_tell_named("score", name, true);
	return psprintf("%s: replaced (%s)", name, changes);
}

static void
stored_texts(int32 id, char **texts)
{
	static MaStatement read = {
		"SELECT pg_catalog.justify_hours(half_life), floor, ceiling, thresholds "
		"FROM marketing_internal.score_model WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		argument = Int32GetDatum(id);
	MaRows		rows = ma_run(&read, &argument, NULL, MA_RUN_READ_LATEST);

	for (int i = 0; i < NUM_FIELDS; i++)
		texts[i] = ma_text(&rows, 0, i + 1);
}

char *
ma_score_changes(char **before, char **after, const char *const *names, int n)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		if ((before[i] == NULL) != (after[i] == NULL) ||
			(before[i] != NULL && strcmp(before[i], after[i]) != 0))
			appendStringInfo(&text, ", %s", names[i]);
	return text.len > 0 ? text.data + strlen(", ") : NULL;
}

MaScoreModel *
ma_score_model_changed(MaScoreModel *model)
{
	static MaStatement update = {
		"UPDATE marketing_internal.score_model SET version = version OPERATOR(pg_catalog.+) 1, "
		"built = false, built_upto = 0 WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	/* Nobody has points under a model without rules, unless by hand. */
	static MaStatement clear = {
		"DELETE FROM marketing_internal.score WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	char	   *name = model->name;
	Datum		argument = Int32GetDatum(model->id);
	List	   *events = ma_score_model_events(model);
	MaScoreModel *changed;
	ListCell   *cell;

	ma_run(&update, &argument, NULL, MA_RUN_WRITE_LATEST);
	ma_unwatch_events(MA_SCORE_CONSUMER, name);
	changed = ma_score_model_required(name);
	foreach(cell, ma_score_model_events(changed))
	{
		MaEvent    *event = ma_event_by_id(ma_definitions(), lfirst_int(cell));

		/* Entries and exits of segments are told while they happen, not marked. */
		ma_watch_event(MA_SCORE_CONSUMER, name, lfirst_int(cell),
					   event != NULL && event->builtin &&
					   strncmp(event->name, "segment_", strlen("segment_")) == 0,
					   ma_score_model_columns(changed, lfirst_int(cell)));
	}
	events = list_concat_unique_int(events, ma_score_model_events(changed));
	ma_worker_wake_at_commit();
	ma_events_lock_writers(events);
	if (changed->rules == NIL && !changed->entries)
		ma_run(&clear, &argument, NULL, MA_RUN_WRITE_LATEST);
	return ma_score_model_required(name);
}

/* marketing.drop_score_model(name) */
Datum
ma_drop_score_model(PG_FUNCTION_ARGS)
{
	/* Also what evaluations wrote that had begun before a model was dropped. */
	static MaStatement removes[] = {
		{"DELETE FROM marketing_internal.score_rule WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.score_model WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.hand_off WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.lead_waiting WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.score_entry WHERE model_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.score AS s "
			"WHERE s.model_id OPERATOR(pg_catalog.=) $1 OR NOT EXISTS ("
			"SELECT FROM marketing_internal.score_model AS m "
		"WHERE m.model_id OPERATOR(pg_catalog.=) s.model_id)", 1, {INT4OID}},
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name;
	MaScoreModel *model;
	Datum		argument;
	MaCall		call;
	ListCell   *cell;
	char	   *answer;

	(void) ma_extension_required();
	name = ma_score_name(fcinfo, 0, "name");
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_score_definitions_lock();
	model = ma_score_model_required(name);
	ma_require_unused("score model", name);
	argument = Int32GetDatum(model->id);
	foreach(cell, model->rules)
		ma_score_view_drop(lfirst(cell));
	ma_events_lock_writers(ma_score_model_events(model));
	for (int i = 0; i < lengthof(removes); i++)
		ma_run(&removes[i], &argument, NULL, MA_RUN_WRITE_LATEST);
	ma_unwatch_events(MA_SCORE_CONSUMER, name);
	MemoryContextSwitchTo(context);
	answer = psprintf("%s: dropped", name);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
