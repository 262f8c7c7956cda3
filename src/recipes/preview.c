/*
 * preview.c
 *		preview_recipe(): what install_recipe() would define.
 *
 * It defines nothing itself: install_recipe() is SQL that hands this over to
 * define_segment() and define_journey(), which check it as they check anybody's.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "recipes/recipes.h"
#include "utils/builtins.h"
#include "utils/datum.h"

/* A recipe as it is written. */
typedef struct Recipe
{
	Jsonb	   *definition;
	char	   *rule;			/* of its segment; NULL: without */
} Recipe;

static void read_recipe(const char *name, Recipe *recipe);
static char *entry_segment(Recipe *recipe, List *parameters, const char *journey);

MA_FUNCTION(ma_preview_recipe);

static void
read_recipe(const char *name, Recipe *recipe)
{
	static MaStatement find = {
		"SELECT r.name, r.definition, r.segment FROM marketing_internal.recipe AS r ORDER BY 1"
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *known = NIL;
	char	   *nearest;

	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;
		char	   *found = ma_text(&rows, i, 1);

		known = lappend(known, found);
		if (strcmp(found, name) != 0)
			continue;
		recipe->definition = DatumGetJsonbPCopy(ma_value(&rows, i, 2, &isnull));
		(void) ma_value(&rows, i, 3, &isnull);
		recipe->rule = isnull ? NULL : ma_text(&rows, i, 3);
		return;
	}
	nearest = ma_nearest(name, known);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no recipe \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("SELECT name, about FROM marketing.recipes lists them.")));
}

/*
 * The segment of the recipe if one is to be defined, else NULL: a segment that is given
 * is the user's and stays as it is.
 */
static char *
entry_segment(Recipe *recipe, List *parameters, const char *journey)
{
	static const char parameter[] = "segment";
	MaRecipeParameter *segment = ma_recipe_parameter(parameters, parameter, strlen(parameter));
	char	   *name;

	if (recipe->rule == NULL || segment == NULL || segment->value != NULL)
		return NULL;
	name = psprintf("recipe_%s", journey);
	segment->value = palloc_object(JsonbValue);
	segment->value->type = jbvString;
	segment->value->val.string.val = name;
	segment->value->val.string.len = strlen(name);
	return name;
}

/* preview_recipe(name, parameters, journey) */
Datum
ma_preview_recipe(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, true, true};
	char	   *name;
	Jsonb	   *given;
	TupleDesc	desc;
	MaCall		call;
	Recipe		recipe = {0};
	List	   *parameters;
	char	   *segment;

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "name" : "parameters")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cannot happen: no row is asked for");
	desc = BlessTupleDesc(desc);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	given = PG_GETARG_JSONB_P(1);
	ma_call_begin(&call);
	read_recipe(name, &recipe);
	parameters = ma_recipe_parameters(name, given);
	segment = entry_segment(&recipe, parameters,
							PG_ARGISNULL(2) ? name : text_to_cstring(PG_GETARG_TEXT_PP(2)));
	{
		Jsonb	   *definition = ma_recipe_fill(recipe.definition, parameters);
		char	   *rule = segment ? ma_recipe_fill_rule(recipe.rule, parameters) : NULL;
		MemoryContext old = MemoryContextSwitchTo(context);

		values[0] = datumCopy(PointerGetDatum(definition), false, -1);
		if (segment != NULL)
		{
			values[1] = CStringGetTextDatum(segment);
			values[2] = CStringGetTextDatum(rule);
			nulls[1] = nulls[2] = false;
		}
		MemoryContextSwitchTo(old);
	}
	ma_call_end(&call);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
