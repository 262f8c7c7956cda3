/*
 * parameters.c
 *		What install_recipe() is given for the parameters of a recipe.
 *
 * Only the form is looked at: whether events, templates and columns exist says
 * define_journey(), with the place in the definition.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "recipes/recipes.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* By MaRecipeKind. */
static const struct
{
	const char *name;
	const char *form;
}			kinds[] = {
	{"event", "the name of an event"},
	{"column", "the name of a column"},
	{"segment", "the name of a segment"},
	{"list", "the name of a list"},
	{"model", "the name of a score model"},
	{"template", "the name of a template"},
	{"topic", "the name of a topic"},
	{"text", "a text"},
	{"duration", "a duration such as \"2 days\""},
	{"time", "a time such as \"09:00\""},
	{"number", "a number that is not negative"},
	{"rule", "a rule such as \"in segment vip\""},
	{"condition", "SQL over the event's row"},
	{"function", "the name of a function with its schema"},
	{"stage", "the name of a stage"},
	{"team", "the name of a team of owners"},
};

static MaRecipeKind kind_of(const char *name);
static bool is_duration(const char *text);
static bool is_time(const char *text);
static bool fits(MaRecipeKind kind, const JsonbValue *value);
static void problem(StringInfo problems, int *count, const char *text);
static void take(List *parameters, Jsonb *given, StringInfo problems, int *count);

static MaRecipeKind
kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return (MaRecipeKind) i;
	elog(ERROR, "cannot happen: kind of parameter \"%s\"", name);
}

/* "1 day 12 hours": numbers and units by turns, and nothing else. */
static bool
is_duration(const char *text)
{
	static const char *const units[] = {
		"second", "minute", "hour", "day", "week", "month", "year"
	};
	const char *here = text + strspn(text, " ");
	int			n = 0;

	for (; *here != '\0'; n++)
	{
		size_t		digits = strspn(here, "0123456789");
		size_t		letters;
		bool		known = false;

		here += digits;
		here += strspn(here, " ");
		letters = strspn(here, "abcdefghijklmnopqrstuvwxyz");
		for (int i = 0; i < lengthof(units); i++)
		{
			size_t		length = strlen(units[i]);

			known |= strncmp(here, units[i], length) == 0 &&
				(letters == length || (letters == length + 1 && here[length] == 's'));
		}
		if (digits == 0 || digits > 9 || !known)
			return false;
		here += letters;
		here += strspn(here, " ");
	}
	return n > 0;
}

static bool
is_time(const char *text)
{
	int			hour;
	int			minute;

	if (strlen(text) != 5 || strspn(text, "0123456789") != 2 || text[2] != ':' ||
		strspn(text + 3, "0123456789") != 2)
		return false;
	hour = atoi(text);
	minute = atoi(text + 3);
	return minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
}

static bool
fits(MaRecipeKind kind, const JsonbValue *value)
{
	char	   *text;

	if (kind == MA_RECIPE_NUMBER)
		return value->type == jbvNumeric &&
			DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->val.numeric),
											  NumericGetDatum(int64_to_numeric(0)))) >= 0;
	if (value->type != jbvString)
		return false;
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (text[strspn(text, " \t\r\n")] == '\0')
		return false;
	return kind == MA_RECIPE_DURATION ? is_duration(text) :
		kind == MA_RECIPE_TIME ? is_time(text) : true;
}

static void
problem(StringInfo problems, int *count, const char *text)
{
	appendStringInfo(problems, "%s%s", (*count)++ > 0 ? "\n" : "", text);
}

MaRecipeParameter *
ma_recipe_parameter(List *parameters, const char *name, int length)
{
	ListCell   *cell;

	foreach(cell, parameters)
	{
		MaRecipeParameter *parameter = lfirst(cell);

		if (strlen(parameter->name) == length && strncmp(parameter->name, name, length) == 0)
			return parameter;
	}
	return NULL;
}

/* What is given in the place of the defaults; null leaves without. */
static void
take(List *parameters, Jsonb *given, StringInfo problems, int *count)
{
	JsonbIterator *iterator = JsonbIteratorInit(&given->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	MaRecipeParameter *parameter = NULL;
	List	   *known = NIL;
	ListCell   *cell;

	foreach(cell, parameters)
		known = lappend(known, ((MaRecipeParameter *) lfirst(cell))->name);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val, value.val.string.len);

			parameter = ma_recipe_parameter(parameters, name, strlen(name));
			if (parameter == NULL)
			{
				char	   *nearest = ma_nearest(name, known);

				problem(problems, count, psprintf("There is no parameter %s.%s", name, nearest ?
												  psprintf(" Did you mean %s?", nearest) : ""));
			}
		}
		else if (token == WJB_VALUE && parameter != NULL)
		{
			if (value.type == jbvNull)
				parameter->value = NULL;
			else if (fits(parameter->kind, &value))
			{
				parameter->value = palloc_object(JsonbValue);
				*parameter->value = value;
			}
			else
			{
				problem(problems, count, psprintf("%s must be %s.", parameter->name,
												  kinds[parameter->kind].form));
				parameter->required = false;
			}
		}
	}
}

List *
ma_recipe_parameters(const char *recipe, Jsonb *given)
{
	static MaStatement find = {
		"SELECT p.parameter, p.kind, p.required, p.value "
		"FROM marketing_internal.recipe_parameter AS p WHERE p.recipe OPERATOR(pg_catalog.=) $1 ORDER BY p.place",
		1, {TEXTOID}
	};
	Datum		name = CStringGetTextDatum(recipe);
	MaRows		rows = ma_run(&find, &name, NULL, MA_RUN_READ_LATEST);
	List	   *parameters = NIL;
	StringInfoData problems;
	int			count = 0;
	ListCell   *cell;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaRecipeParameter *parameter = palloc0_object(MaRecipeParameter);
		bool		isnull;
		Datum		value = ma_value(&rows, i, 4, &isnull);

		parameter->name = ma_text(&rows, i, 1);
		parameter->kind = kind_of(ma_text(&rows, i, 2));
		if (!isnull)
		{
			parameter->value = palloc_object(JsonbValue);
			(void) JsonbExtractScalar(&DatumGetJsonbPCopy(value)->root, parameter->value);
		}
		parameter->required = DatumGetBool(ma_value(&rows, i, 3, &isnull));
		parameters = lappend(parameters, parameter);
	}
	initStringInfo(&problems);
	if (JB_ROOT_IS_OBJECT(given))
		take(parameters, given, &problems, &count);
	else
		problem(&problems, &count, "The parameters must be a JSON object.");
	foreach(cell, parameters)
	{
		MaRecipeParameter *parameter = lfirst(cell);

		if (parameter->required && parameter->value == NULL)
			problem(&problems, &count, psprintf("%s is missing: %s.", parameter->name,
												kinds[parameter->kind].form));
	}
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(count == 1 ? "the parameters of recipe \"%s\" have an error" :
						"the parameters of recipe \"%s\" have errors", recipe),
				 errdetail_internal("%s", problems.data),
				 errhint("SELECT meaning FROM marketing.recipes WHERE name = %s tells all of them.",
						 quote_literal_cstr(recipe))));
	return parameters;
}
