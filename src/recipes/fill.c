/*
 * fill.c
 *		Puts parameters in the place of their marks in a definition.
 *
 * A definition is taken apart as JSON and built again, so what a user gives is always
 * the value of one string or number and never JSON.  A string that is a mark and nothing
 * else, "{mail}", becomes the value; a mark within a string, "topic = {topic}", is part
 * of a rule or a condition and becomes an identifier or a literal in its quotes.
 *
 * A member whose mark has no value falls away.  So does an object with "when" of a
 * parameter that has none, or with "unless" of one that has.
 */
#include "base/base.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "recipes/recipes.h"
#include "utils/builtins.h"

/* The definition that is built. */
typedef struct Filling
{
	List	   *parameters;
	JsonbParseState *state;
	JsonbValue *result;
} Filling;

static MaRecipeParameter *mark_at(const char *text, int length, List *parameters);
static char *value_text(const MaRecipeParameter *parameter);
static void append_value(StringInfo text, const MaRecipeParameter *parameter);
static char *fill_text(const char *text, int length, List *parameters);
static bool fill_string(JsonbValue *value, List *parameters);
static bool is_wanted(JsonbContainer *container, List *parameters);
static bool is_switch(const JsonbValue *key);
static void fill_container(Filling *filling, JsonbContainer *container);
static void fill_object(Filling *filling, JsonbContainer *container);
static void fill_array(Filling *filling, JsonbContainer *container);

/* The parameter whose mark begins here, or NULL; Liquid has two braces. */
static MaRecipeParameter *
mark_at(const char *text, int length, List *parameters)
{
	const char *end;

	if (length < 2 || text[0] != '{' || text[1] == '{')
		return NULL;
	end = memchr(text, '}', length);
	return end ? ma_recipe_parameter(parameters, text + 1, end - text - 1) : NULL;
}

static char *
value_text(const MaRecipeParameter *parameter)
{
	const JsonbValue *value = parameter->value;

	return value->type == jbvNumeric ?
		DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))) :
		pnstrdup(value->val.string.val, value->val.string.len);
}

/* As it stands within a rule or a condition. */
static void
append_value(StringInfo text, const MaRecipeParameter *parameter)
{
	char	   *value = value_text(parameter);

	switch (parameter->kind)
	{
		case MA_RECIPE_EVENT:
		case MA_RECIPE_COLUMN:
		case MA_RECIPE_SEGMENT:
		case MA_RECIPE_LIST:
		case MA_RECIPE_MODEL:
			appendStringInfoString(text, quote_identifier(value));
			break;
		case MA_RECIPE_TEMPLATE:
		case MA_RECIPE_TOPIC:
		case MA_RECIPE_TEXT:
			appendStringInfoString(text, quote_literal_cstr(value));
			break;
		case MA_RECIPE_DURATION:
		case MA_RECIPE_TIME:
		case MA_RECIPE_NUMBER:
		case MA_RECIPE_TEAM:
			appendStringInfoString(text, value);
			break;
		case MA_RECIPE_RULE:
		case MA_RECIPE_CONDITION:
		case MA_RECIPE_FUNCTION:
		case MA_RECIPE_STAGE:
			elog(ERROR, "cannot happen: parameter \"%s\" within a text", parameter->name);
	}
}

/* The text with its marks filled; NULL if one has no value. */
static char *
fill_text(const char *text, int length, List *parameters)
{
	StringInfoData filled;

	initStringInfo(&filled);
	for (int i = 0; i < length; i++)
	{
		MaRecipeParameter *parameter = NULL;

		if (i == 0 || text[i - 1] != '{')
			parameter = mark_at(text + i, length - i, parameters);
		if (parameter == NULL)
			appendStringInfoChar(&filled, text[i]);
		else if (parameter->value == NULL)
			return NULL;
		else
		{
			append_value(&filled, parameter);
			i += strlen(parameter->name) + 1;
		}
	}
	return filled.data;
}

/* Fills a string in its place; false: it falls away. */
static bool
fill_string(JsonbValue *value, List *parameters)
{
	int			length = value->val.string.len;
	MaRecipeParameter *parameter = mark_at(value->val.string.val, length, parameters);
	char	   *text;

	if (parameter != NULL && strlen(parameter->name) + 2 == length)
	{
		if (parameter->value != NULL)
			*value = *parameter->value;
		return parameter->value != NULL;
	}
	text = fill_text(value->val.string.val, length, parameters);
	if (text == NULL)
		return false;
	value->val.string.val = text;
	value->val.string.len = strlen(text);
	return true;
}

static bool
is_wanted(JsonbContainer *container, List *parameters)
{
	static const char *const words[] = {"when", "unless"};

	for (int i = 0; JsonContainerIsObject(container) && i < lengthof(words); i++)
	{
		JsonbValue *name = getKeyJsonValueFromContainer(container, words[i],
														strlen(words[i]), NULL);
		MaRecipeParameter *parameter;

		if (name == NULL)
			continue;
		parameter = ma_recipe_parameter(parameters, name->val.string.val, name->val.string.len);
		if (parameter == NULL)
			elog(ERROR, "cannot happen: \"%s\" of no parameter", words[i]);
		if ((parameter->value != NULL) != (i == 0))
			return false;
	}
	return true;
}

static bool
is_switch(const JsonbValue *key)
{
	return (key->val.string.len == 4 && strncmp(key->val.string.val, "when", 4) == 0) ||
		(key->val.string.len == 6 && strncmp(key->val.string.val, "unless", 6) == 0);
}

static void
fill_container(Filling *filling, JsonbContainer *container)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		fill_object(filling, container);
	else
		fill_array(filling, container);
}

static void
fill_object(Filling *filling, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	key = {0};
	JsonbValue	value;

	pushJsonbValue(&filling->state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = value;
		if (token != WJB_VALUE || is_switch(&key) ||
			(value.type == jbvBinary && !is_wanted(value.val.binary.data, filling->parameters)) ||
			(value.type == jbvString && !fill_string(&value, filling->parameters)))
			continue;
		pushJsonbValue(&filling->state, WJB_KEY, &key);
		if (value.type == jbvBinary)
			fill_container(filling, value.val.binary.data);
		else
			pushJsonbValue(&filling->state, WJB_VALUE, &value);
	}
	filling->result = pushJsonbValue(&filling->state, WJB_END_OBJECT, NULL);
}

static void
fill_array(Filling *filling, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;

	pushJsonbValue(&filling->state, WJB_BEGIN_ARRAY, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM ||
			(value.type == jbvBinary && !is_wanted(value.val.binary.data, filling->parameters)) ||
			(value.type == jbvString && !fill_string(&value, filling->parameters)))
			continue;
		if (value.type == jbvBinary)
			fill_container(filling, value.val.binary.data);
		else
			pushJsonbValue(&filling->state, WJB_ELEM, &value);
	}
	filling->result = pushJsonbValue(&filling->state, WJB_END_ARRAY, NULL);
}

Jsonb *
ma_recipe_fill(Jsonb *definition, List *parameters)
{
	Filling		filling = {parameters, NULL, NULL};

	fill_container(&filling, &definition->root);
	return JsonbValueToJsonb(filling.result);
}

char *
ma_recipe_fill_rule(const char *rule, List *parameters)
{
	char	   *text = fill_text(rule, strlen(rule), parameters);

	if (text == NULL)
		elog(ERROR, "cannot happen: a rule with a parameter that may be missing");
	return text;
}
