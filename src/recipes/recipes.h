/*
 * recipes.h
 *		The one public header of recipes/ (layer 5): journeys that many shops run, ready
 *		to be installed under names of their own.
 *
 * A recipe is rows of marketing_internal.recipe and recipe_parameter, which the
 * extension's script writes and nobody changes.  Nothing of this room is called from
 * C; install_recipe() is SQL over preview_recipe() and the define_*() functions.
 */
#ifndef MA_RECIPES_H
#define MA_RECIPES_H

#include "base/base.h"
#include "utils/jsonb.h"

/* ---- parameters.c ---- */

/* What a parameter is, which is also how it stands within a rule or a condition. */
typedef enum MaRecipeKind
{
	MA_RECIPE_EVENT,			/* names: as identifiers */
	MA_RECIPE_COLUMN,
	MA_RECIPE_SEGMENT,
	MA_RECIPE_LIST,
	MA_RECIPE_MODEL,
	MA_RECIPE_TEMPLATE,			/* values: as literals */
	MA_RECIPE_TOPIC,
	MA_RECIPE_TEXT,
	MA_RECIPE_DURATION,			/* checked: as they are */
	MA_RECIPE_TIME,
	MA_RECIPE_NUMBER,
	MA_RECIPE_RULE,				/* SQL or a rule of the user's: nowhere but as a whole */
	MA_RECIPE_CONDITION,
	MA_RECIPE_FUNCTION,
	MA_RECIPE_STAGE,
	MA_RECIPE_TEAM				/* as it is: no rule has it */
} MaRecipeKind;

typedef struct MaRecipeParameter
{
	char	   *name;
	MaRecipeKind kind;
	bool		required;
	JsonbValue *value;			/* a string or number; NULL: without */
} MaRecipeParameter;

/* The parameters of a recipe with what is given for them; all that is wrong is one error. */
extern List *ma_recipe_parameters(const char *recipe, Jsonb *given);
extern MaRecipeParameter *ma_recipe_parameter(List *parameters, const char *name, int length);

/* ---- fill.c ---- */

/* A definition, and a rule, with the parameters in place of their marks. */
extern Jsonb *ma_recipe_fill(Jsonb *definition, List *parameters);
extern char *ma_recipe_fill_rule(const char *rule, List *parameters);

#endif							/* MA_RECIPES_H */
