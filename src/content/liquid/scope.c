/*
 * scope.c
 *		Names to values while a template is rendered.
 *
 * Looked for in this order: loop variables and arguments of a snippet, the innermost
 * first; what was assigned; counters of increment; what the caller gave.  The last is
 * asked once for each name and template.  Lists are short, so they are searched from
 * their end, by hash.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

static LiquidValue find_global(const LiquidGlobals *globals, const LiquidName *name);

static inline bool
same_name(const LiquidName *left, const LiquidName *right)
{
	return left->hash == right->hash && left->length == right->length &&
		memcmp(left->text, right->text, left->length) == 0;
}

/* The value of the name, the innermost one, or NULL. */
LiquidValue *
ma_liquid_local(LiquidLocals *locals, const LiquidName *name)
{
	for (int i = locals->n - 1; i >= locals->base; i--)
		if (same_name(&locals->items[i].name, name))
			return &locals->items[i].value;
	return NULL;
}

void
ma_liquid_local_push(LiquidLocals *locals, const LiquidName *name, LiquidValue value)
{
	if (locals->n == locals->allocated)
	{
		locals->allocated = Max(locals->allocated * 2, 8);
		locals->items = locals->items == NULL ? palloc_array(LiquidLocal, locals->allocated) :
			repalloc_array(locals->items, LiquidLocal, locals->allocated);
	}
	locals->items[locals->n].name = *name;
	locals->items[locals->n++].value = value;
}

void
ma_liquid_local_set(LiquidLocals *locals, const LiquidName *name, LiquidValue value)
{
	LiquidValue *there = ma_liquid_local(locals, name);

	if (there != NULL)
		*there = value;
	else
		ma_liquid_local_push(locals, name, value);
}

/* The value of a first name; `slot` is its number in the template that runs, or -1. */
LiquidValue
ma_liquid_lookup(LiquidRender *render, const LiquidName *name, int slot)
{
	LiquidValue *local;
	LiquidValue value;

	if (render->scoped.n > render->scoped.base &&
		(local = ma_liquid_local(&render->scoped, name)) != NULL)
		return *local;
	if (render->assigned.n > render->assigned.base &&
		(local = ma_liquid_local(&render->assigned, name)) != NULL)
		return *local;
	if (render->counters.n > render->counters.base &&
		(local = ma_liquid_local(&render->counters, name)) != NULL)
		return *local;
	if (slot >= 0 && render->roots[slot].kind != LIQUID_UNSET)
		return render->roots[slot];
	value = find_global(render->globals, name);
	if (slot >= 0)
		render->roots[slot] = value;
	return value;
}

static LiquidValue
find_global(const LiquidGlobals *globals, const LiquidName *name)
{
	LiquidValue value;

	for (int i = 0; i < globals->nnames; i++)
		if (same_name(&globals->names[i].name, name))
			return globals->names[i].value.kind != LIQUID_UNSET ? globals->names[i].value :
				globals->lazy(globals->argument, name);
	for (int i = 0; i < globals->nobjects; i++)
		if (ma_liquid_object_get(globals->objects[i], name->text, name->length, &value))
			return value;
	if (globals->lazy != NULL)
	{
		value = globals->lazy(globals->argument, name);
		if (value.kind != LIQUID_UNSET)
			return value;
	}
	return ma_liquid_nil();
}
