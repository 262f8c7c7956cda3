/*
 * filters_array.c
 *		Filters over arrays: order, choice, parts.
 *
 * A single value counts as an array of it, nothing as an empty one, and arrays within
 * arrays are opened.  Selecting a property of what has none is an error; of nothing
 * it ends the selection with nothing, as elsewhere in Liquid.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* What a property of an element is. */
typedef enum Selected
{
	SELECTED_VALUE,
	SELECTED_NOTHING			/* the element cannot have any: nil, true, false */
} Selected;

/* An element with what it is sorted by. */
typedef struct SortItem
{
	LiquidValue value;
	LiquidValue key;
	int			place;
} SortItem;

typedef struct SortContext
{
	LiquidRender *render;
	bool		natural;
} SortContext;

static void flatten(LiquidRender *render, LiquidArray *from, LiquidArray *to, int *allocated);

/* The elements of the input, as the filters of this file take it. */
static LiquidArray *
elements(LiquidRender *render, LiquidValue input)
{
	LiquidArray *items;
	LiquidArray *flat;
	bool		nested = false;
	int			allocated;

	if (ma_liquid_is_object(input))
	{
		items = palloc_object(LiquidArray);
		items->n = 1;
		items->items = palloc_object(LiquidValue);
		items->items[0] = input;
		return items;
	}
	items = ma_liquid_items(render, input);
	for (int i = 0; i < items->n && !nested; i++)
		nested = ma_liquid_is_array(items->items[i]);
	if (!nested)
		return items;
	flat = palloc0_object(LiquidArray);
	allocated = items->n + 8;
	flat->items = palloc_array(LiquidValue, allocated);
	flatten(render, items, flat, &allocated);
	return flat;
}

static void
flatten(LiquidRender *render, LiquidArray *from, LiquidArray *to, int *allocated)
{
	check_stack_depth();
	ma_liquid_step(render, from->n);
	for (int i = 0; i < from->n; i++)
	{
		if (ma_liquid_is_array(from->items[i]) && from->items[i].kind != LIQUID_RANGE)
		{
			flatten(render, ma_liquid_items(render, from->items[i]), to, allocated);
			continue;
		}
		if (to->n == *allocated)
		{
			*allocated *= 2;
			to->items = repalloc_array(to->items, LiquidValue, *allocated);
		}
		to->items[to->n++] = from->items[i];
	}
}

/* A new array with room for `n` elements. */
static LiquidArray *
room(int n)
{
	LiquidArray *array = palloc0_object(LiquidArray);

	array->items = palloc_array(LiquidValue, Max(n, 1));
	return array;
}

static LiquidValue
array_value(LiquidArray *array)
{
	return ma_liquid_array(array->items, array->n);
}

/* The property of an element; of a text the property is its own name, if it is in it. */
static Selected
select_property(LiquidRender *render, LiquidValue item, LiquidValue property, LiquidValue *value)
{
	*value = ma_liquid_nil();
	if (item.kind == LIQUID_NIL || item.kind == LIQUID_BOOL)
		return SELECTED_NOTHING;
	if (ma_liquid_is_object(item))
	{
		if (property.kind == LIQUID_STRING)
		{
			LiquidValue found;
			int			n = item.kind == LIQUID_LAYERS ? item.u.layers->n : 1;

			if (item.kind == LIQUID_LOOP)
				*value = ma_liquid_member(render, item, property.u.string, property.length);
			else
				for (int i = 0; i < n; i++)
					if (ma_liquid_object_get(item.kind == LIQUID_LAYERS ? item.u.layers->layers[i]
																		: item.u.json,
											 property.u.string, property.length, &found))
					{
						*value = found;
						break;
					}
		}
		return SELECTED_VALUE;
	}
	if (item.kind == LIQUID_STRING && property.kind == LIQUID_STRING)
	{
		ma_liquid_step(render, item.length / 256);
		if (property.length == 0 ||
			memmem(item.u.string, item.length, property.u.string, property.length) != NULL)
			*value = property;
		return SELECTED_VALUE;
	}
	property = ma_liquid_to_string(render, property);
	ma_liquid_error(render, "Its elements must be objects.",
					"the property \"%.*s\" cannot be selected", Min(property.length, 60),
					property.u.string);
}

static LiquidValue
filter_join(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidValue glue = arguments[0].kind == LIQUID_UNSET ? ma_liquid_string(" ", 1) :
		ma_liquid_to_string(render, arguments[0]);
	LiquidBuffer buffer;
	LiquidBuffer *out;

	ma_liquid_buffer_init(&buffer, 64);
	out = ma_liquid_buffer_swap(render, &buffer);
	for (int i = 0; i < items->n; i++)
	{
		LiquidValue text = ma_liquid_to_string(render, items->items[i]);

		if (i > 0)
			ma_liquid_append(render, glue.u.string, glue.length);
		ma_liquid_append(render, text.u.string, text.length);
	}
	ma_liquid_buffer_swap(render, out);
	ma_liquid_step(render, buffer.length / 256);
	return ma_liquid_string(buffer.data, buffer.length);
}

static LiquidValue
filter_first(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	if (!ma_liquid_is_array(input) && input.kind != LIQUID_OBJECT)
		return ma_liquid_nil();
	if (ma_liquid_size(render, input) == 0)
		return ma_liquid_nil();
	if (input.kind == LIQUID_RANGE)
		return ma_liquid_int(input.u.range->first);
	return ma_liquid_items(render, input)->items[0];
}

static LiquidValue
filter_last(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items;

	if (!ma_liquid_is_array(input) || ma_liquid_size(render, input) == 0)
		return ma_liquid_nil();
	if (input.kind == LIQUID_RANGE)
		return ma_liquid_int(input.u.range->last);
	items = ma_liquid_items(render, input);
	return items->items[items->n - 1];
}

static LiquidValue
filter_size(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return ma_liquid_int(ma_liquid_size(render, input));
}

static LiquidValue
filter_concat(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *left = elements(render, input);
	LiquidArray *right;
	LiquidArray *both;

	if (!ma_liquid_is_array(arguments[0]))
		ma_liquid_error(render, "Give it an array, as split makes one.", "concat takes an array");
	right = ma_liquid_items(render, arguments[0]);
	both = room(left->n + right->n);
	memcpy(both->items, left->items, sizeof(LiquidValue) * left->n);
	memcpy(both->items + left->n, right->items, sizeof(LiquidValue) * right->n);
	both->n = left->n + right->n;
	ma_liquid_step(render, both->n);
	return array_value(both);
}

static LiquidValue
filter_reverse(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidArray *reversed = room(items->n);

	for (int i = items->n - 1; i >= 0; i--)
		reversed->items[reversed->n++] = items->items[i];
	return array_value(reversed);
}

static LiquidValue
filter_map(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidArray *mapped = room(items->n);

	for (int i = 0; i < items->n; i++)
		(void) select_property(render, items->items[i], arguments[0],
							   &mapped->items[mapped->n++]);
	return array_value(mapped);
}

/* True if the argument was given and says something. */
static bool
given(LiquidValue argument)
{
	return argument.kind > LIQUID_NIL;
}

static LiquidValue
filter_compact(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidArray *kept = room(items->n);

	for (int i = 0; i < items->n; i++)
	{
		LiquidValue value = items->items[i];

		if (given(arguments[0]))
			(void) select_property(render, items->items[i], arguments[0], &value);
		if (value.kind != LIQUID_NIL)
			kept->items[kept->n++] = items->items[i];
	}
	return array_value(kept);
}

static LiquidValue
filter_uniq(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidArray *kept = room(items->n);
	LiquidValue *keys = palloc_array(LiquidValue, Max(items->n, 1));

	for (int i = 0; i < items->n; i++)
	{
		LiquidValue key = items->items[i];
		bool		seen = false;

		if (given(arguments[0]))
			(void) select_property(render, items->items[i], arguments[0], &key);
		for (int j = 0; j < kept->n && !seen; j++)
			seen = ma_liquid_equal(render, keys[j], key);
		ma_liquid_step(render, 1 + kept->n / 16);
		if (seen)
			continue;
		keys[kept->n] = key;
		kept->items[kept->n++] = items->items[i];
	}
	return array_value(kept);
}

static LiquidValue
filter_sum(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	LiquidValue sum = ma_liquid_int(0);

	for (int i = 0; i < items->n; i++)
	{
		LiquidValue value = items->items[i];

		if (given(arguments[0]))
			(void) select_property(render, items->items[i], arguments[0], &value);
		sum = ma_liquid_add(render, sum, value);
	}
	return sum;
}

/* ---- where, reject, find, find_index, has ---- */

/* Does the element match `property[, value]`?  False in *fits if it cannot be asked. */
static bool
matches(LiquidRender *render, LiquidValue item, LiquidValue *arguments, bool *fits)
{
	LiquidValue value;

	*fits = (select_property(render, item, arguments[0], &value) == SELECTED_VALUE);
	if (!*fits)
		return false;
	return given(arguments[1]) ? ma_liquid_equal(render, value, arguments[1]) :
		ma_liquid_truth(value);
}

static LiquidValue
choose(LiquidRender *render, LiquidValue input, LiquidValue *arguments, bool wanted)
{
	LiquidArray *items = elements(render, input);
	LiquidArray *kept = room(items->n);

	for (int i = 0; i < items->n; i++)
	{
		bool		fits;
		bool		match = matches(render, items->items[i], arguments, &fits);

		if (!fits)
			return ma_liquid_nil();
		if (match == wanted)
			kept->items[kept->n++] = items->items[i];
	}
	return array_value(kept);
}

static LiquidValue
filter_where(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return choose(render, input, arguments, true);
}

static LiquidValue
filter_reject(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return choose(render, input, arguments, false);
}

/* Number of the first element that matches, -1 if none does, -2 if one cannot be asked. */
static int
find_first(LiquidRender *render, LiquidArray *items, LiquidValue *arguments)
{
	for (int i = 0; i < items->n; i++)
	{
		bool		fits;

		if (matches(render, items->items[i], arguments, &fits))
			return i;
		if (!fits)
			return -2;
	}
	return -1;
}

static LiquidValue
filter_find(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	LiquidArray *items = elements(render, input);
	int			found = find_first(render, items, arguments);

	return found >= 0 ? items->items[found] : ma_liquid_nil();
}

static LiquidValue
filter_find_index(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	int			found = find_first(render, elements(render, input), arguments);

	return found >= 0 ? ma_liquid_int(found) : ma_liquid_nil();
}

static LiquidValue
filter_has(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	int			found = find_first(render, elements(render, input), arguments);

	return found == -2 ? ma_liquid_nil() : ma_liquid_bool(found >= 0);
}

/* ---- order ---- */

static int
compare_items(const void *left, const void *right, void *argument)
{
	const SortItem *one = left;
	const SortItem *other = right;
	SortContext *context = argument;
	int			order;

	ma_liquid_step(context->render, 1);
	if (one->key.kind == LIQUID_NIL || other->key.kind == LIQUID_NIL)
		order = (one->key.kind == LIQUID_NIL) - (other->key.kind == LIQUID_NIL);
	else if (context->natural)
	{
		ma_liquid_step(context->render, Min(one->key.length, other->key.length) / 256);
		order = pg_strncasecmp(one->key.u.string, other->key.u.string,
							   Min(one->key.length, other->key.length));
		if (order == 0)
			order = one->key.length - other->key.length;
	}
	else
	{
		order = ma_liquid_compare(context->render, one->key, other->key);
		if (order == 2 && !ma_liquid_equal(context->render, one->key, other->key))
			ma_liquid_error(context->render, "Sort values of one kind, or use sort_natural.",
							"values of different kinds cannot be sorted");
		if (order == 2)
			order = 0;
	}
	return order != 0 ? order : one->place - other->place;
}

static LiquidValue
sorted(LiquidRender *render, LiquidValue input, LiquidValue property, bool natural)
{
	LiquidArray *items = elements(render, input);
	SortItem   *list = palloc_array(SortItem, Max(items->n, 1));
	LiquidArray *result = room(items->n);
	SortContext context = {render, natural};

	for (int i = 0; i < items->n; i++)
	{
		list[i].value = list[i].key = items->items[i];
		list[i].place = i;
		if (given(property))
			(void) select_property(render, items->items[i], property, &list[i].key);
		if (natural && list[i].key.kind != LIQUID_NIL)
			list[i].key = ma_liquid_to_string(render, list[i].key);
	}
	qsort_arg(list, items->n, sizeof(SortItem), compare_items, &context);
	for (int i = 0; i < items->n; i++)
		result->items[result->n++] = list[i].value;
	return array_value(result);
}

static LiquidValue
filter_sort(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return sorted(render, input, arguments[0], false);
}

static LiquidValue
filter_sort_natural(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return sorted(render, input, arguments[0], true);
}

const LiquidFilterType ma_liquid_array_filters[] = {
	{"join", 0, 1, filter_join},
	{"first", 0, 0, filter_first},
	{"last", 0, 0, filter_last},
	{"size", 0, 0, filter_size},
	{"concat", 1, 1, filter_concat},
	{"reverse", 0, 0, filter_reverse},
	{"map", 1, 1, filter_map},
	{"compact", 0, 1, filter_compact},
	{"uniq", 0, 1, filter_uniq},
	{"sum", 0, 1, filter_sum},
	{"where", 1, 2, filter_where},
	{"reject", 1, 2, filter_reject},
	{"find", 1, 2, filter_find},
	{"find_index", 1, 2, filter_find_index},
	{"has", 1, 2, filter_has},
	{"sort", 0, 1, filter_sort},
	{"sort_natural", 0, 1, filter_sort_natural},
	{NULL}
};
