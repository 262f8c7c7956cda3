/*
 * evaluate.c
 *		Expressions, filters and conditions to values.
 *
 * What does not exist is nil and no error: a contact without a first name is no fault
 * of the template.  Comparing a text with a number, or a filter that cannot do with
 * its input, is one.
 */
#include "base/base.h"

#include "catalog/pg_collation.h"
#include "content/liquid/liquid.h"
#include "miscadmin.h"
#include "utils/varlena.h"

static LiquidValue evaluate_path(LiquidRender *render, const LiquidExpression *path);
static LiquidValue evaluate_range(LiquidRender *render, const LiquidExpression *range);
static LiquidValue member(LiquidRender *render, LiquidValue value, const LiquidName *name);
static LiquidValue special_member(LiquidRender *render, LiquidValue value, const LiquidName *name);
static LiquidValue loop_member(const LiquidLoop *loop, const LiquidName *name);
static LiquidValue element(LiquidRender *render, LiquidValue value, int64 index);
static LiquidValue index_value(LiquidRender *render, LiquidValue value, LiquidValue index);
static bool compare(LiquidRender *render, const LiquidCondition *condition);
static bool contains(LiquidRender *render, LiquidValue left, LiquidValue right);
static bool equal_items(LiquidRender *render, LiquidValue left, LiquidValue right);
static bool equal_objects(LiquidRender *render, LiquidValue left, LiquidValue right);

LiquidValue
ma_liquid_evaluate(LiquidRender *render, const LiquidExpression *expression)
{
	switch (expression->kind)
	{
		case LIQUID_CONSTANT:
			return expression->constant;
		case LIQUID_PATH:
			return evaluate_path(render, expression);
		default:
			return evaluate_range(render, expression);
	}
}

static LiquidValue
evaluate_path(LiquidRender *render, const LiquidExpression *path)
{
	LiquidValue value;

	if (likely(path->root_of == NULL))
		value = ma_liquid_lookup(render, &path->root, path->root_slot);
	else
	{
		LiquidValue name = ma_liquid_to_string(render, ma_liquid_evaluate(render, path->root_of));
		LiquidName	root = ma_liquid_name(name.u.string, name.length);

		value = ma_liquid_lookup(render, &root, -1);
	}
	for (int i = 0; i < path->nsegments; i++)
	{
		const LiquidSegment *segment = &path->segments[i];

		if (likely(segment->index == NULL))
			value = member(render, value, &segment->name);
		else
			value = index_value(render, value, ma_liquid_evaluate(render, segment->index));
	}
	return value;
}

/* (first..last): what is no integer counts as its whole part, or 0 */
static LiquidValue
evaluate_range(LiquidRender *render, const LiquidExpression *range)
{
	LiquidValue value = {LIQUID_RANGE};

	value.u.range = palloc_object(LiquidRange);
	value.u.range->first = ma_liquid_int_of(ma_liquid_evaluate(render, range->first));
	value.u.range->last = ma_liquid_int_of(ma_liquid_evaluate(render, range->last));
	return value;
}

static LiquidValue
member(LiquidRender *render, LiquidValue value, const LiquidName *name)
{
	LiquidValue found;

	switch (value.kind)
	{
		case LIQUID_OBJECT:
			if (ma_liquid_object_get(value.u.json, name->text, name->length, &found))
				return found;
			break;
		case LIQUID_LAYERS:
			for (int i = 0; i < value.u.layers->n; i++)
				if (ma_liquid_object_get(value.u.layers->layers[i], name->text, name->length,
							&found))
					return found;
			break;
		case LIQUID_LOOP:
			return loop_member(value.u.loop, name);
		case LIQUID_NIL:
			return value;
		default:
			break;
	}
	return special_member(render, value, name);
}

LiquidValue
ma_liquid_member(LiquidRender *render, LiquidValue value, const char *name, int length)
{
	LiquidName	wanted = {name, length};

	return member(render, value, &wanted);
}

static inline bool
name_is(const LiquidName *name, const char *text)
{
	return name->length == (int) strlen(text) && memcmp(name->text, text, name->length) == 0;
}

/* size, first and last */
static LiquidValue
special_member(LiquidRender *render, LiquidValue value, const LiquidName *name)
{
	if (name_is(name, "size") && (value.kind == LIQUID_STRING || ma_liquid_is_array(value) ||
								  value.kind == LIQUID_OBJECT || value.kind == LIQUID_LAYERS))
		return ma_liquid_int(ma_liquid_size(render, value));
	if (!ma_liquid_is_array(value) && value.kind != LIQUID_OBJECT)
		return ma_liquid_nil();
	if (name_is(name, "first"))
		return element(render, value, 0);
	if (name_is(name, "last") && value.kind != LIQUID_OBJECT)
		return element(render, value, -1);
	return ma_liquid_nil();
}

static LiquidValue
loop_member(const LiquidLoop *loop, const LiquidName *name)
{
	int64		columns = Max(loop->columns, 1);
	LiquidValue parent = {LIQUID_LOOP};

	if (name_is(name, "index"))
		return ma_liquid_int(loop->index + 1);
	if (name_is(name, "index0"))
		return ma_liquid_int(loop->index);
	if (name_is(name, "rindex"))
		return ma_liquid_int(loop->length - loop->index);
	if (name_is(name, "rindex0"))
		return ma_liquid_int(loop->length - loop->index - 1);
	if (name_is(name, "first"))
		return ma_liquid_bool(loop->index == 0);
	if (name_is(name, "last"))
		return ma_liquid_bool(loop->index == loop->length - 1);
	if (name_is(name, "length"))
		return ma_liquid_int(loop->length);
	if (loop->columns == 0)
	{
		parent.u.loop = loop->parent;
		if (name_is(name, "parentloop") && loop->parent != NULL)
			return parent;
		return name_is(name, "name") && loop->name != NULL ?
			ma_liquid_string(loop->name, loop->name_length) : ma_liquid_nil();
	}
	if (name_is(name, "col"))
		return ma_liquid_int(loop->index % columns + 1);
	if (name_is(name, "col0"))
		return ma_liquid_int(loop->index % columns);
	if (name_is(name, "row"))
		return ma_liquid_int(loop->index / columns + 1);
	if (name_is(name, "col_first"))
		return ma_liquid_bool(loop->index % columns == 0);
	if (name_is(name, "col_last"))
		return ma_liquid_bool(loop->index % columns == columns - 1);
	return ma_liquid_nil();
}

/* Element of an array by number, from the end if negative. */
static LiquidValue
element(LiquidRender *render, LiquidValue value, int64 index)
{
	int64		size = ma_liquid_size(render, value);
	LiquidArray *pairs;

	if (index < 0)
		index += size;
	if (index < 0 || index >= size)
		return ma_liquid_nil();
	switch (value.kind)
	{
		case LIQUID_ARRAY:
			return value.u.array->items[index];
		case LIQUID_RANGE:
			return ma_liquid_int(value.u.range->first + index);
		case LIQUID_JSON_ARRAY:
			return ma_liquid_from_json(getIthJsonbValueFromContainer(value.u.json, index));
		default:
			pairs = ma_liquid_items(render, value);
			return pairs->items[index];
	}
}

/* value[index] */
static LiquidValue
index_value(LiquidRender *render, LiquidValue value, LiquidValue index)
{
	if (index.kind == LIQUID_STRING)
		return ma_liquid_member(render, value, index.u.string, index.length);
	if (index.kind == LIQUID_INT && ma_liquid_is_array(value))
		return element(render, value, index.u.integer);
	if (ma_liquid_is_number(index) && ma_liquid_is_object(value))
	{
		index = ma_liquid_to_string(render, index);
		return ma_liquid_member(render, value, index.u.string, index.length);
	}
	return ma_liquid_nil();
}

LiquidValue
ma_liquid_evaluate_pipe(LiquidRender *render, const LiquidPipe *pipe)
{
	LiquidValue value = ma_liquid_nil();

	if (pipe->expression != NULL)
		value = ma_liquid_evaluate(render, pipe->expression);
	for (int i = 0; i < pipe->nfilters; i++)
	{
		const LiquidFilter *filter = &pipe->filters[i];
		LiquidValue arguments[LIQUID_MAX_ARGUMENTS];
		LiquidValue keyword = {LIQUID_UNSET};

		for (int j = 0; j < LIQUID_MAX_ARGUMENTS; j++)
		{
			if (j < filter->narguments)
				arguments[j] = ma_liquid_evaluate(render, filter->arguments[j]);
			else
				memset(&arguments[j], 0, sizeof(LiquidValue));
		}
		if (filter->keyword != NULL)
			keyword = ma_liquid_evaluate(render, filter->keyword);
		render->at = filter->at;
		render->keyword = keyword;
		ma_liquid_step(render, 1 + (value.kind == LIQUID_STRING ? value.length / 256 : 0));
		value = filter->type->apply(render, value, arguments);
	}
	return value;
}

/* `a and b or c` is `a and (b or c)`: from the right, without precedence. */
bool
ma_liquid_test(LiquidRender *render, const LiquidCondition *condition)
{
	for (;; condition = condition->next)
	{
		bool		truth;

		ma_liquid_step(render, 1);
		render->at = condition->at;
		truth = compare(render, condition);
		if (condition->next == NULL || truth == condition->is_or)
			return truth;
	}
}

static bool
compare(LiquidRender *render, const LiquidCondition *condition)
{
	LiquidValue left = ma_liquid_evaluate(render, condition->left);
	LiquidValue right;
	int			order;

	if (condition->operator == LIQUID_TRUTH)
		return ma_liquid_truth(left);
	right = ma_liquid_evaluate(render, condition->right);
	if (condition->operator == LIQUID_EQUAL)
		return ma_liquid_equal(render, left, right);
	if (condition->operator == LIQUID_NOT_EQUAL)
		return !ma_liquid_equal(render, left, right);
	if (condition->operator == LIQUID_CONTAINS)
		return contains(render, left, right);
	if (!(ma_liquid_is_number(left) || left.kind == LIQUID_STRING) ||
		!(ma_liquid_is_number(right) || right.kind == LIQUID_STRING))
		return false;
	order = ma_liquid_compare(render, left, right);
	if (order == 2)
		ma_liquid_error(render, "Make a number of the text with | plus: 0.",
						"a text cannot be compared with a number");
	switch (condition->operator)
	{
		case LIQUID_LESS:
			return order < 0;
		case LIQUID_GREATER:
			return order > 0;
		case LIQUID_LESS_EQUAL:
			return order <= 0;
		default:
			return order >= 0;
	}
}

static bool
contains(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	LiquidArray *items;

	if (!ma_liquid_truth(left) || !ma_liquid_truth(right))
		return false;
	if (left.kind == LIQUID_STRING)
	{
		right = ma_liquid_to_string(render, right);
		ma_liquid_step(render, left.length / 256);
		return right.length == 0 ||
			memmem(left.u.string, left.length, right.u.string, right.length) != NULL;
	}
	if (left.kind == LIQUID_OBJECT || left.kind == LIQUID_LAYERS)
	{
		LiquidValue ignored;
		int			n = left.kind == LIQUID_LAYERS ? left.u.layers->n : 1;
		JsonbContainer **objects =
					left.kind == LIQUID_LAYERS ? left.u.layers->layers : &left.u.json;

		for (int i = 0; i < n && right.kind == LIQUID_STRING; i++)
			if (ma_liquid_object_get(objects[i], right.u.string, right.length, &ignored))
				return true;
		return false;
	}
	if (!ma_liquid_is_array(left))
		return false;
	items = ma_liquid_items(render, left);
	for (int i = 0; i < items->n; i++)
		if (ma_liquid_equal(render, items->items[i], right))
			return true;
	return false;
}

bool
ma_liquid_equal(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	if (left.kind == LIQUID_EMPTY || left.kind == LIQUID_BLANK)
	{
		LiquidValue swap = left;

		left = right;
		right = swap;
	}
	if (right.kind == LIQUID_EMPTY)
		return left.kind == LIQUID_EMPTY || ma_liquid_is_empty(left);
	if (right.kind == LIQUID_BLANK)
		return left.kind == LIQUID_BLANK || (left.kind != LIQUID_EMPTY && ma_liquid_is_blank(left));
	if (ma_liquid_is_number(left) && ma_liquid_is_number(right))
		return ma_liquid_number_compare(left, right) == 0;
	if (ma_liquid_is_array(left) && ma_liquid_is_array(right))
		return equal_items(render, left, right);
	if (ma_liquid_is_object(left) && ma_liquid_is_object(right))
		return equal_objects(render, left, right);
	if (left.kind != right.kind)
		return false;
	switch (left.kind)
	{
		case LIQUID_BOOL:
			return left.u.boolean == right.u.boolean;
		case LIQUID_STRING:
			if (left.length == right.length)
				ma_liquid_step(render, left.length / 1024);
			return left.length == right.length &&
				memcmp(left.u.string, right.u.string, left.length) == 0;
		default:
			return left.kind == LIQUID_NIL;
	}
}

static bool
equal_items(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	LiquidArray *ones = ma_liquid_items(render, left);
	LiquidArray *others = ma_liquid_items(render, right);

	check_stack_depth();
	if (ones->n != others->n)
		return false;
	for (int i = 0; i < ones->n; i++)
		if (!ma_liquid_equal(render, ones->items[i], others->items[i]))
			return false;
	return true;
}

static bool
equal_objects(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	if (left.kind == LIQUID_LOOP || right.kind == LIQUID_LOOP)
		return left.kind == right.kind && left.u.loop == right.u.loop;
	/* Members of jsonb have one order. */
	return equal_items(render, ma_liquid_array(ma_liquid_items(render, left)->items,
											   ma_liquid_items(render, left)->n),
					   ma_liquid_array(ma_liquid_items(render, right)->items,
									   ma_liquid_items(render, right)->n));
}

int
ma_liquid_compare(LiquidRender *render, LiquidValue left, LiquidValue right)
{
	int			order;

	if (ma_liquid_is_number(left) && ma_liquid_is_number(right))
		return ma_liquid_number_compare(left, right);
	if (left.kind != LIQUID_STRING || right.kind != LIQUID_STRING)
		return 2;
	ma_liquid_step(render, Min(left.length, right.length) / 256);
	order = memcmp(left.u.string, right.u.string, Min(left.length, right.length));
	if (order == 0)
		order = left.length - right.length;
	return order < 0 ? -1 : order > 0;
}
