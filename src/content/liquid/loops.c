/*
 * loops.c
 *		for, tablerow and cycle.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "miscadmin.h"

/* The part of a collection that a loop goes through. */
typedef struct Slice
{
	LiquidArray *items;
	int64		from;
	int64		count;
} Slice;

static Slice slice(LiquidRender *render, const LiquidNode *node);
static int64 option(LiquidRender *render, const LiquidExpression *expression, int64 otherwise,
					const char *what);
static LiquidOutcome turn(LiquidRender *render, const LiquidNode *node, LiquidValue item);

LiquidOutcome
ma_liquid_render_for(LiquidRender *render, const LiquidNode *node)
{
	static LiquidName forloop;
	Slice		part = slice(render, node);
	LiquidLoop *loop = palloc0_object(LiquidLoop);
	LiquidOutcome outcome = LIQUID_GO_ON;
	LiquidValue value = {LIQUID_LOOP};
	int			scoped = render->scoped.n;

	check_stack_depth();
	if (forloop.text == NULL)
		forloop = ma_liquid_name("forloop", 7);
	ma_liquid_local_set(&render->places, &node->label, ma_liquid_int(part.from + part.count));
	if (part.count == 0)
		return node->otherwise ? ma_liquid_render_block(render, node->otherwise) : LIQUID_GO_ON;
	loop->length = part.count;
	loop->parent = render->loop;
	loop->name = node->label.text;
	loop->name_length = node->label.length;
	render->loop = loop;
	value.u.loop = loop;
	ma_liquid_local_push(&render->scoped, &forloop, value);
	for (; loop->index < loop->length && outcome == LIQUID_GO_ON; loop->index++)
	{
		int64		at = node->reversed ? part.from + part.count - 1 - loop->index :
			part.from + loop->index;

		outcome = turn(render, node, part.items->items[at]);
	}
	render->loop = loop->parent;
	render->scoped.n = scoped;
	return outcome == LIQUID_DID_BREAK ? LIQUID_GO_ON : outcome;
}

/* One turn with the loop's variable; continue ends only this. */
static LiquidOutcome
turn(LiquidRender *render, const LiquidNode *node, LiquidValue item)
{
	LiquidOutcome outcome;
	int			scoped = render->scoped.n;

	ma_liquid_step(render, 1);
	ma_liquid_local_push(&render->scoped, &node->name, item);
	outcome = ma_liquid_render_block(render, node->block);
	render->scoped.n = scoped;
	return outcome == LIQUID_DID_CONTINUE ? LIQUID_GO_ON : outcome;
}

static Slice
slice(LiquidRender *render, const LiquidNode *node)
{
	Slice		part;
	LiquidValue value = ma_liquid_evaluate(render, node->value);
	LiquidValue *place;
	int64		limit;

	/* Of single values only a text with something in it is gone through. */
	if ((value.kind == LIQUID_STRING && value.length == 0) || value.kind == LIQUID_BOOL ||
		ma_liquid_is_number(value) || value.kind == LIQUID_LOOP)
		value = ma_liquid_nil();
	part.items = ma_liquid_items(render, value);
	if (node->go_on)
	{
		place = ma_liquid_local(&render->places, &node->label);
		part.from = place != NULL ? place->u.integer : 0;
	}
	else
		part.from = option(render, node->offset, 0, "offset");
	limit = option(render, node->limit, part.items->n, "limit");
	part.from = Min(Max(part.from, 0), part.items->n);
	part.count = Min(Max(limit, 0), part.items->n - part.from);
	return part;
}

/* An integer option; `otherwise` if it is not given or nil. */
static int64
option(LiquidRender *render, const LiquidExpression *expression, int64 otherwise, const char *what)
{
	LiquidValue value;

	if (expression == NULL)
		return otherwise;
	value = ma_liquid_evaluate(render, expression);
	if (value.kind == LIQUID_NIL)
		return otherwise;
	if (value.kind == LIQUID_NUMERIC)
		return ma_liquid_int_of(value);
	return ma_liquid_to_int(render, value, what);
}

LiquidOutcome
ma_liquid_render_tablerow(LiquidRender *render, const LiquidNode *node)
{
	static LiquidName tablerowloop;
	Slice		part = slice(render, node);
	LiquidLoop *loop = palloc0_object(LiquidLoop);
	LiquidOutcome outcome = LIQUID_GO_ON;
	LiquidValue value = {LIQUID_LOOP};
	int			scoped = render->scoped.n;
	char		text[64];

	check_stack_depth();
	if (tablerowloop.text == NULL)
		tablerowloop = ma_liquid_name("tablerowloop", 12);
	if (ma_liquid_evaluate(render, node->value).kind == LIQUID_NIL)
		return LIQUID_GO_ON;
	loop->length = part.count;
	loop->columns = Max(option(render, node->columns, Max(part.count, 1), "cols"), 1);
	value.u.loop = loop;
	ma_liquid_local_push(&render->scoped, &tablerowloop, value);
	ma_liquid_append(render, "<tr class=\"row1\">\n", 18);
	for (; loop->index < loop->length && outcome == LIQUID_GO_ON; loop->index++)
	{
		int64		column = loop->index % loop->columns;

		snprintf(text, sizeof(text), "<td class=\"col" INT64_FORMAT "\">", column + 1);
		ma_liquid_append(render, text, strlen(text));
		outcome = turn(render, node, part.items->items[part.from + loop->index]);
		ma_liquid_append(render, "</td>", 5);
		if (outcome == LIQUID_GO_ON && column == loop->columns - 1 &&
					loop->index < loop->length - 1)
		{
			snprintf(text, sizeof(text), "</tr>\n<tr class=\"row" INT64_FORMAT "\">",
					 loop->index / loop->columns + 2);
			ma_liquid_append(render, text, strlen(text));
		}
	}
	ma_liquid_append(render, "</tr>\n", 6);
	render->scoped.n = scoped;
	return outcome == LIQUID_DID_BREAK ? LIQUID_GO_ON : outcome;
}

/* The next of the items each time; cycles of one group, or of the same items, go on together. */
void
ma_liquid_render_cycle(LiquidRender *render, const LiquidNode *node)
{
	LiquidName	label = node->label;
	LiquidValue *place;
	int64		next;
	char	   *text;

	if (node->value != NULL)
	{
		LiquidValue group = ma_liquid_evaluate(render, node->value);

		text = psprintf("cycle %d %s", group.kind, ma_liquid_to_cstring(render, group));
	}
	else
		text = psprintf("cycle: %.*s", label.length, label.text);
	label = ma_liquid_name(text, strlen(text));
	place = ma_liquid_local(&render->places, &label);
	next = place != NULL ? place->u.integer : 0;
	if (next < node->nitems)
		ma_liquid_write(render, ma_liquid_evaluate(render, node->items[next]), node->context);
	ma_liquid_local_set(&render->places, &label,
						ma_liquid_int(next + 1 >= node->nitems ? 0 : next + 1));
}
