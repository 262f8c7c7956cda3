/*
 * value.c
 *		Values of templates: from jsonb, to text, their elements and members.
 *
 * Values that come from jsonb stay there: a string points into the datum, an array or
 * object is its container, and elements are made values when somebody asks.  Numbers
 * keep their digits, so that a price of 12.50 reads 12.50.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static LiquidArray *array_of_json(LiquidRender *render, JsonbContainer *json);
static LiquidArray *array_of_range(LiquidRender *render, const LiquidRange *range);
static LiquidArray *pairs_of(LiquidRender *render, LiquidValue object);
static LiquidValue array_text(LiquidRender *render, LiquidValue value);
static LiquidValue object_text(LiquidRender *render, LiquidValue value);
static void array_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth);
static void layers_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth);

LiquidValue
ma_liquid_array(LiquidValue *items, int n)
{
	LiquidValue value = {LIQUID_ARRAY};

	value.u.array = palloc_object(LiquidArray);
	value.u.array->n = n;
	value.u.array->items = items;
	return value;
}

LiquidValue
ma_liquid_from_json(const JsonbValue *json)
{
	LiquidValue value = {LIQUID_NIL};

	switch (json->type)
	{
		case jbvBool:
			return ma_liquid_bool(json->val.boolean);
		case jbvString:
			return ma_liquid_string(json->val.string.val, json->val.string.len);
		case jbvNumeric:
			return ma_liquid_from_numeric(json->val.numeric);
		case jbvBinary:
			value.u.json = json->val.binary.data;
			if (JsonContainerIsObject(value.u.json))
				value.kind = LIQUID_OBJECT;
			else if (JsonContainerIsArray(value.u.json))
				value.kind = LIQUID_JSON_ARRAY;
			return value;
		default:
			return value;
	}
}

/* The member of an object; false if it has none of this name. */
bool
ma_liquid_object_get(JsonbContainer *object, const char *name, int length, LiquidValue *value)
{
	JsonbValue	found;

	if (getKeyJsonValueFromContainer(object, name, length, &found) == NULL)
		return false;
	*value = ma_liquid_from_json(&found);
	return true;
}

bool
ma_liquid_is_array(LiquidValue value)
{
	return value.kind == LIQUID_ARRAY || value.kind == LIQUID_JSON_ARRAY ||
		value.kind == LIQUID_RANGE;
}

bool
ma_liquid_is_object(LiquidValue value)
{
	return value.kind == LIQUID_OBJECT || value.kind == LIQUID_LAYERS || value.kind == LIQUID_LOOP;
}

LiquidArray *
ma_liquid_items(LiquidRender *render, LiquidValue value)
{
	LiquidArray *array;

	switch (value.kind)
	{
		case LIQUID_ARRAY:
			ma_liquid_step(render, value.u.array->n);
			return value.u.array;
		case LIQUID_JSON_ARRAY:
			return array_of_json(render, value.u.json);
		case LIQUID_RANGE:
			return array_of_range(render, value.u.range);
		case LIQUID_OBJECT:
		case LIQUID_LAYERS:
			return pairs_of(render, value);
		default:
			array = palloc0_object(LiquidArray);
			if (value.kind == LIQUID_NIL || value.kind == LIQUID_UNSET ||
				value.kind == LIQUID_EMPTY || value.kind == LIQUID_BLANK)
				return array;
			array->n = 1;
			array->items = palloc_object(LiquidValue);
			array->items[0] = value;
			return array;
	}
}

static LiquidArray *
array_of_json(LiquidRender *render, JsonbContainer *json)
{
	LiquidArray *array = palloc0_object(LiquidArray);
	JsonbIterator *iterator;
	JsonbValue	item;
	JsonbIteratorToken token;
	int			n = JsonContainerSize(json);

	ma_liquid_step(render, n);
	array->items = palloc_array(LiquidValue, Max(n, 1));
	iterator = JsonbIteratorInit(json);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			array->items[array->n++] = ma_liquid_from_json(&item);
	return array;
}

static LiquidArray *
array_of_range(LiquidRender *render, const LiquidRange *range)
{
	LiquidArray *array = palloc0_object(LiquidArray);

	if (range->last < range->first)
		return array;
	if ((uint64) range->last - (uint64) range->first >= LIQUID_MAX_STEPS)
		ma_liquid_too_many_steps(render);
	array->n = range->last - range->first + 1;
	ma_liquid_step(render, array->n);
	array->items = palloc_array(LiquidValue, array->n);
	for (int i = 0; i < array->n; i++)
		array->items[i] = ma_liquid_int(range->first + i);
	return array;
}

/* Each member of an object as an array of name and value. */
static LiquidArray *
pairs_of(LiquidRender *render, LiquidValue object)
{
	LiquidArray *array = palloc0_object(LiquidArray);
	int			nlayers = object.kind == LIQUID_LAYERS ? object.u.layers->n : 1;
	JsonbContainer **layers =
				object.kind == LIQUID_LAYERS ? object.u.layers->layers : &object.u.json;
	int			allocated = 0;

	for (int i = 0; i < nlayers; i++)
		allocated += JsonContainerSize(layers[i]);
	ma_liquid_step(render, allocated);
	array->items = palloc_array(LiquidValue, Max(allocated, 1));
	for (int i = 0; i < nlayers; i++)
	{
		JsonbIterator *iterator = JsonbIteratorInit(layers[i]);
		JsonbIteratorToken token;
		JsonbValue	item;
		LiquidValue *pair = NULL;

		while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		{
			LiquidValue ignored;
			bool		hidden = false;

			if (token == WJB_VALUE && pair != NULL)
				pair[1] = ma_liquid_from_json(&item);
			if (token != WJB_KEY)
				continue;
			pair = NULL;
			for (int j = 0; j < i && !hidden; j++)
				hidden = ma_liquid_object_get(layers[j], item.val.string.val, item.val.string.len,
											  &ignored);
			if (hidden)
				continue;
			pair = palloc0_array(LiquidValue, 2);
			pair[0] = ma_liquid_string(item.val.string.val, item.val.string.len);
			array->items[array->n++] = ma_liquid_array(pair, 2);
		}
	}
	return array;
}

/* Text as an output shows it. */
LiquidValue
ma_liquid_to_string(LiquidRender *render, LiquidValue value)
{
	int			length;
	char	   *text;

	switch (value.kind)
	{
		case LIQUID_STRING:
			return value;
		case LIQUID_BOOL:
			return value.u.boolean ? ma_liquid_string("true", 4) : ma_liquid_string("false", 5);
		case LIQUID_INT:
		case LIQUID_NUMERIC:
			text = ma_liquid_number_text(value, &length);
			return ma_liquid_string(text, length);
		case LIQUID_ARRAY:
		case LIQUID_JSON_ARRAY:
			return array_text(render, value);
		case LIQUID_RANGE:
			text = psprintf(INT64_FORMAT ".." INT64_FORMAT, value.u.range->first,
							value.u.range->last);
			return ma_liquid_string(text, strlen(text));
		case LIQUID_OBJECT:
		case LIQUID_LAYERS:
			return object_text(render, value);
		case LIQUID_LOOP:
			return ma_liquid_string("forloop", 7);
		default:
			return ma_liquid_string("", 0);
	}
}

char *
ma_liquid_to_cstring(LiquidRender *render, LiquidValue value)
{
	value = ma_liquid_to_string(render, value);
	return pnstrdup(value.u.string, value.length);
}

/* The elements one behind the other. */
static LiquidValue
array_text(LiquidRender *render, LiquidValue value)
{
	LiquidArray *array = ma_liquid_items(render, value);
	StringInfoData text;

	check_stack_depth();
	initStringInfo(&text);
	for (int i = 0; i < array->n; i++)
	{
		LiquidValue item = ma_liquid_to_string(render, array->items[i]);

		if (text.len + item.length > render->max_output)
			ma_liquid_too_many_steps(render);
		appendBinaryStringInfo(&text, item.u.string, item.length);
		ma_liquid_step(render, item.length / 256);
	}
	return ma_liquid_string(text.data, text.len);
}

/* An object is shown as JSON, which is at least legible. */
static LiquidValue
object_text(LiquidRender *render, LiquidValue value)
{
	StringInfoData text;

	initStringInfo(&text);
	ma_liquid_to_json(render, value, &text, 0);
	return ma_liquid_string(text.data, text.len);
}

/* Elements, members or characters. */
int64
ma_liquid_size(LiquidRender *render, LiquidValue value)
{
	switch (value.kind)
	{
		case LIQUID_STRING:
			ma_liquid_step(render, value.length / 256);
			return pg_mbstrlen_with_len(value.u.string, value.length);
		case LIQUID_ARRAY:
			return value.u.array->n;
		case LIQUID_JSON_ARRAY:
		case LIQUID_OBJECT:
			return JsonContainerSize(value.u.json);
		case LIQUID_RANGE:
			return Max(value.u.range->last - value.u.range->first + 1, 0);
		case LIQUID_LAYERS:
			return pairs_of(render, value)->n;
		default:
			return 0;
	}
}

bool
ma_liquid_is_empty(LiquidValue value)
{
	switch (value.kind)
	{
		case LIQUID_STRING:
			return value.length == 0;
		case LIQUID_ARRAY:
			return value.u.array->n == 0;
		case LIQUID_JSON_ARRAY:
		case LIQUID_OBJECT:
			return JsonContainerSize(value.u.json) == 0;
		default:
			return false;
	}
}

/* Nothing, false, empty, or only blanks. */
bool
ma_liquid_is_blank(LiquidValue value)
{
	if (value.kind == LIQUID_STRING)
	{
		for (int i = 0; i < value.length; i++)
			if (!isspace((unsigned char) value.u.string[i]))
				return false;
		return true;
	}
	return !ma_liquid_truth(value) || ma_liquid_is_empty(value);
}

/* Appends the value as JSON. */
void
ma_liquid_to_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth)
{
	check_stack_depth();
	ma_liquid_step(render, 1 + value.length / 256);
	if (depth > LIQUID_MAX_NESTING || out->len > render->max_output)
		ma_liquid_too_many_steps(render);
	switch (value.kind)
	{
		case LIQUID_STRING:
			ma_append_json(out, value.u.string, value.length);
			break;
		case LIQUID_BOOL:
		case LIQUID_INT:
		case LIQUID_NUMERIC:
			value = ma_liquid_to_string(render, value);
			appendBinaryStringInfo(out, value.u.string, value.length);
			break;
		case LIQUID_OBJECT:
		case LIQUID_LAYERS:
			layers_json(render, value, out, depth);
			break;
		case LIQUID_ARRAY:
		case LIQUID_JSON_ARRAY:
		case LIQUID_RANGE:
			array_json(render, value, out, depth);
			break;
		default:
			appendStringInfoString(out, "null");
	}
}

static void
array_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth)
{
	LiquidArray *array = ma_liquid_items(render, value);

	appendStringInfoChar(out, '[');
	for (int i = 0; i < array->n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		ma_liquid_to_json(render, array->items[i], out, depth + 1);
	}
	appendStringInfoChar(out, ']');
}

static void
layers_json(LiquidRender *render, LiquidValue value, StringInfo out, int depth)
{
	LiquidArray *array = ma_liquid_items(render, value);

	appendStringInfoChar(out, '{');
	for (int i = 0; i < array->n; i++)
	{
		LiquidValue *pair = array->items[i].u.array->items;

		if (i > 0)
			appendStringInfoChar(out, ',');
		ma_liquid_to_json(render, pair[0], out, depth + 1);
		appendStringInfoChar(out, ':');
		ma_liquid_to_json(render, pair[1], out, depth + 1);
	}
	appendStringInfoChar(out, '}');
}
