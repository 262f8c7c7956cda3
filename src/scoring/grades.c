/*
 * grades.c
 *		Combined grades: what several models say of a contact in one word, as "A1" of fit
 *		and engagement: define_grade(), grade(), explain_grade().
 *
 * A grade is the highest threshold reached in each of its models, one after the other.
 * Nothing is stored of contacts: it is as exact as their scores, which keep what was
 * reached.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "scoring/define.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_MODELS 5
#define NONE "-"				/* no threshold of a model is reached */

static List *models_argument(FunctionCallInfo fcinfo, int number);
static List *models_of(const char *name);
static void refuse(const char *name, List *names) pg_attribute_noreturn();
static List *uses_of_score(const char *model);
static char *grade_of(int64 contact_id, const List *models);
static MaScoreState *state_of(MaContactChange *contact, MaScoreModel *model);
static void explain_model(ReturnSetInfo *result, MaContactChange *contact, MaScoreModel *model);

MA_FUNCTION(ma_define_grade);
MA_FUNCTION(ma_drop_grade);
MA_FUNCTION(ma_score_grade);
MA_FUNCTION(ma_grade_of);
MA_FUNCTION(ma_explain_grade);

void
ma_grades_init(void)
{
	ma_register_uses("score model", uses_of_score);
}

/* ---- definitions ---- */

/* The models (MaScoreModel *) of these names, each with thresholds, each once. */
static List *
models_argument(FunctionCallInfo fcinfo, int number)
{
	List	   *models = NIL;
	Datum	   *names;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("models must not be null")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), TEXTOID, -1, false, TYPALIGN_INT, &names,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? "" : TextDatumGetCString(names[i]);
		MaScoreModel *model = ma_score_model_required(name);

		if (list_member_ptr(models, model))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("models names score model \"%s\" twice", model->name)));
		models = lappend(models, model);
	}
	return models;
}

/* Those of a combined grade, or the model of this name, or an error with the nearest names. */
static List *
models_of(const char *name)
{
	static MaStatement read = {
		"SELECT g.name, m.name FROM marketing_internal.grade AS g "
		"CROSS JOIN LATERAL pg_catalog.unnest(g.models) WITH ORDINALITY AS m (name, n) "
		"ORDER BY 1, m.n"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);
	List	   *models = NIL;
	List	   *names = NIL;
	ListCell   *cell;

	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *grade = ma_text(&rows, i, 1);

		if (names == NIL || strcmp(llast(names), grade) != 0)
			names = lappend(names, grade);
		if (strcmp(grade, name) == 0)
			models = lappend(models, ma_score_model_required(ma_text(&rows, i, 2)));
	}
	if (models != NIL)
		return models;
	if (ma_score_model_by_name(name) != NULL)
		return list_make1(ma_score_model_by_name(name));
	foreach(cell, ma_score_models()->models)
		names = lappend(names, ((MaScoreModel *) lfirst(cell))->name);
	refuse(name, names);
}

static void
refuse(const char *name, List *names)
{
	char	   *nearest = ma_nearest(name, names);

	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SCORE),
			 errmsg("there is no combined grade \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make it with marketing.define_grade().")));
}

static List *
uses_of_score(const char *model)
{
	static MaStatement read = {
		"SELECT g.name FROM marketing_internal.grade AS g "
		"WHERE $1 OPERATOR(pg_catalog.=) ANY (g.models) ORDER BY 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(model);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		uses = lappend(uses, psprintf("combined grade \"%s\"", ma_text(&rows, i, 1)));
	return uses;
}

/* A score model of this name would be out of reach of grade(); one without thresholds has none. */
void
ma_grades_check_model(const char *name, bool has_thresholds)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.grade AS g WHERE g.name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	List	   *uses = has_thresholds ? NIL : uses_of_score(name);

	if (ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is the name of a combined grade", name),
				 errhint("grade() takes both: give the score model another name.")));
	if (uses != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("score model \"%s\" needs a threshold", name),
				 errdetail("It is part of %s.", (char *) linitial(uses))));
}

/* marketing.define_grade(name, models) */
Datum
ma_define_grade(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT g.models OPERATOR(pg_catalog.=) $2 FROM marketing_internal.grade AS g "
		"WHERE g.name OPERATOR(pg_catalog.=) $1",
		2, {TEXTOID, TEXTARRAYOID}
	};
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.grade (name, models) VALUES ($1, $2) "
		"ON CONFLICT (name) DO UPDATE SET models = EXCLUDED.models",
		2, {TEXTOID, TEXTARRAYOID}
	};
	char	   *name = ma_score_text(fcinfo, 0);
	const char *what = "created";
	List	   *models;
	ListCell   *cell;
	Datum		values[2];
	MaCall		call;
	MaRows		rows;

	(void) ma_extension_required();
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	ma_name_check(name, "combined grade");
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	models = models_argument(fcinfo, 1);
	if (ma_score_model_by_name(name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is the name of a score model", name),
				 errhint("grade() takes both: give the combined grade another name.")));
	if (list_length(models) < 2 || list_length(models) > MAX_MODELS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a combined grade has 2 to %d score models", MAX_MODELS),
				 errhint("As in define_grade('lead', '{fit,engagement}').")));
	foreach(cell, models)
	{
		const MaScoreModel *model = lfirst(cell);

		if (model->nthresholds == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("score model \"%s\" has no threshold, and so no grades", model->name),
					 errhint("Give it some: define_score_model(..., thresholds => '{\"C\": 20, \"B\": 50, \"A\": 80}').")));
	}
	values[0] = CStringGetTextDatum(name);
	values[1] = PG_GETARG_DATUM(1);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		what = ma_bool(&rows, 0, 1) ? "unchanged" : "replaced (models)";
	ma_run(&upsert, values, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", name, what)));
}

/* marketing.drop_grade(name) */
Datum
ma_drop_grade(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.grade AS g WHERE g.name OPERATOR(pg_catalog.=) $1 RETURNING 1",
		1, {TEXTOID}
	};
	char	   *name = ma_score_name(fcinfo, 0, "name");
	Datum		value;
	MaCall		call;

	(void) ma_extension_required();
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	value = CStringGetTextDatum(name);
	if (ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		refuse(name, NIL);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

/* ---- reads ---- */

static MaScoreState *
state_of(MaContactChange *contact, MaScoreModel *model)
{
	int			nstates;

	return ma_score_states(contact, 1, model, ma_now(), MA_RUN_READ, &nstates);
}

static char *
grade_of(int64 contact_id, const List *models)
{
	MaContactChange *contact = ma_read_contacts(&contact_id, 1);
	StringInfoData grade;
	ListCell   *cell;

	initStringInfo(&grade);
	foreach(cell, models)
	{
		const MaScoreState *state = state_of(contact, lfirst(cell));
		int			n = state->now.nreached;

		appendStringInfoString(&grade, n > 0 ? state->now.reached[n - 1].name : NONE);
	}
	return grade.data;
}

/* marketing.grade(contact, name): "A1"; "-" stands where nothing is reached. */
Datum
ma_score_grade(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_score_name(fcinfo, 1, "name");
	List	   *models;
	MaCall		call;
	char	   *grade;

	(void) ma_extension_required();
	ma_call_begin(&call);
	models = models_of(name);
	grade = grade_of(ma_contact_argument(fcinfo, false), models);
	grade = MemoryContextStrdup(context, grade);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(grade));
}

/* marketing_internal.grade_of(contact_id, name) */
Datum
ma_grade_of(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *grade;

	ma_call_begin(&call);
	grade = grade_of(PG_GETARG_INT64(0), models_of(text_to_cstring(PG_GETARG_TEXT_PP(1))));
	grade = MemoryContextStrdup(context, grade);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(grade));
}

/* marketing.explain_grade(contact, name) */
Datum
ma_explain_grade(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_score_name(fcinfo, 1, "name");
	MaContactChange *contact;
	List	   *models;
	ListCell   *cell;
	int64		contact_id;
	MaCall		call;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	models = models_of(name);
	contact_id = ma_contact_argument(fcinfo, false);
	contact = ma_read_contacts(&contact_id, 1);
	foreach(cell, models)
		explain_model(result, contact, lfirst(cell));
	ma_call_end(&call);
	return (Datum) 0;
}

/* The score, what it has reached, since when and until when by fading, and what is next. */
static void
explain_model(ReturnSetInfo *result, MaContactChange *contact, MaScoreModel *model)
{
	const MaScoreState *state = state_of(contact, model);
	float8		score = ma_score_at(model, &state->now.score, ma_now());
	int			level = state->now.nreached;
	Datum		values[6];
	bool		nulls[6] = {false};

	values[0] = CStringGetTextDatum(model->name);
	values[1] = ma_score_numeric(score);
	nulls[2] = nulls[3] = level == 0;
	values[2] = level == 0 ? (Datum) 0 : CStringGetTextDatum(state->now.reached[level - 1].name);
	values[3] = level == 0 ? (Datum) 0 : TimestampTzGetDatum(state->now.reached[level - 1].since);
	nulls[4] = nulls[5] = level == model->nthresholds;
	if (!nulls[4])
	{
		values[4] = CStringGetTextDatum(model->thresholds[level].name);
		values[5] = ma_score_numeric(model->thresholds[level].value - score);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
