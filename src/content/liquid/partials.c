/*
 * partials.c
 *		render and include: snippets within a template.
 *
 * A snippet of `render` sees what it is given and nothing else of the template, one of
 * `include` sees and changes the template's variables.  The levels of both are
 * bounded, so a snippet that shows itself is an error.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "miscadmin.h"

/* What runs a level higher. */
typedef struct Outer
{
	const MaLiquid *liquid;
	LiquidValue *roots;
	int			at;
	int			assigned;
	int			scoped;
	int			counters;
	int			assigned_base;
	int			scoped_base;
	int			counters_base;
	LiquidLoop *loop;
	bool		in_render;
} Outer;

static void enter(LiquidRender *render, Outer *outer);
static void leave(LiquidRender *render, const Outer *outer);
static void isolate(LiquidRender *render);
static LiquidOutcome render_isolated(LiquidRender *render, const LiquidNode *node,
									 const MaLiquid *liquid, const LiquidName *name);
static LiquidOutcome render_shared(LiquidRender *render, const LiquidNode *node,
								   const MaLiquid *liquid, const LiquidName *name);
static LiquidOutcome run(LiquidRender *render, const MaLiquid *liquid);

LiquidOutcome
ma_liquid_render_partial(LiquidRender *render, const LiquidNode *node)
{
	LiquidValue value = ma_liquid_evaluate(render, node->value);
	const MaLiquid *liquid = NULL;
	LiquidName	name = node->name;
	LiquidOutcome outcome;

	check_stack_depth();
	if (value.kind != LIQUID_STRING)
		ma_liquid_error(render, "Give its name as a text.", "the name of a snippet is not a text");
	if (node->kind == LIQUID_INCLUDE && render->in_render)
		ma_liquid_error(render, "Use render.", "include is not allowed inside a snippet of render");
	if (render->partials >= LIQUID_MAX_PARTIALS)
		ma_liquid_error(render, "Does one of them show itself?",
						"more than %d snippets stand in one another", LIQUID_MAX_PARTIALS);
	if (render->globals->snippet != NULL)
		liquid = render->globals->snippet(render->globals->argument, value.u.string, value.length,
										  render->liquid->escape);
	if (liquid == NULL)
		ma_liquid_error(render, "Define it with marketing.define_snippet().",
						"there is no snippet \"%.*s\"", value.length, value.u.string);

	/* Without `as` what is given by with or for has the snippet's name. */
	if (name.length == 0)
		name = ma_liquid_name(value.u.string, value.length);
	render->partials++;
	outcome = node->kind == LIQUID_RENDER ? render_isolated(render, node, liquid, &name) :
		render_shared(render, node, liquid, &name);
	render->partials--;
	return outcome;
}

static void
enter(LiquidRender *render, Outer *outer)
{
	outer->liquid = render->liquid;
	outer->roots = render->roots;
	outer->at = render->at;
	outer->assigned = render->assigned.n;
	outer->scoped = render->scoped.n;
	outer->counters = render->counters.n;
	outer->assigned_base = render->assigned.base;
	outer->scoped_base = render->scoped.base;
	outer->counters_base = render->counters.base;
	outer->loop = render->loop;
	outer->in_render = render->in_render;
}

static void
leave(LiquidRender *render, const Outer *outer)
{
	render->assigned.n = outer->assigned;
	render->scoped.n = outer->scoped;
	render->counters.n = outer->counters;
	render->assigned.base = outer->assigned_base;
	render->scoped.base = outer->scoped_base;
	render->counters.base = outer->counters_base;
	render->loop = outer->loop;
	render->in_render = outer->in_render;
}

/* From here on nothing of the template's own variables is seen. */
static void
isolate(LiquidRender *render)
{
	render->assigned.base = render->assigned.n;
	render->scoped.base = render->scoped.n;
	render->counters.base = render->counters.n;
	render->loop = NULL;
	render->in_render = true;
}

/* The snippet's text in the scope that stands; errors inside speak of it. */
static LiquidOutcome
run(LiquidRender *render, const MaLiquid *liquid)
{
	const MaLiquid *before = render->liquid;
	LiquidValue *roots = render->roots;
	int			at = render->at;
	LiquidOutcome outcome;

	render->liquid = liquid;
	render->roots = palloc0_array(LiquidValue, Max(liquid->nroots, 1));
	outcome = ma_liquid_render_block(render, liquid->block);
	render->liquid = before;
	render->roots = roots;
	render->at = at;
	return outcome;
}

static LiquidOutcome
render_isolated(LiquidRender *render, const LiquidNode *node, const MaLiquid *liquid,
				const LiquidName *name)
{
	LiquidValue *arguments = palloc_array(LiquidValue, Max(node->narguments, 1));
	LiquidValue subject = node->subject ? ma_liquid_evaluate(render,
				node->subject) : ma_liquid_nil();
	LiquidArray single = {1, &subject};
	LiquidArray *items = &single;
	LiquidLoop *loop = NULL;
	LiquidOutcome outcome = LIQUID_GO_ON;

	for (int i = 0; i < node->narguments; i++)
		arguments[i] = ma_liquid_evaluate(render, node->arguments[i].value);
	if (node->each && (ma_liquid_is_array(subject)))
	{
		items = ma_liquid_items(render, subject);
		loop = palloc0_object(LiquidLoop);
		loop->length = items->n;
		loop->name = name->text;
		loop->name_length = name->length;
	}
	for (int i = 0; i < items->n && outcome != LIQUID_DID_ABORT; i++)
	{
		LiquidName	forloop = ma_liquid_name("forloop", 7);
		LiquidValue value = {LIQUID_LOOP};
		Outer		outer;

		ma_liquid_step(render, 1);
		enter(render, &outer);
		isolate(render);
		if (node->subject != NULL && !(subject.kind == LIQUID_NIL && !node->each))
			ma_liquid_local_push(&render->assigned, name, items->items[i]);
		for (int j = 0; j < node->narguments; j++)
			ma_liquid_local_set(&render->assigned, &node->arguments[j].name, arguments[j]);
		if (loop != NULL)
		{
			loop->index = i;
			value.u.loop = loop;
			ma_liquid_local_push(&render->scoped, &forloop, value);
		}
		outcome = run(render, liquid);
		leave(render, &outer);
	}
	return outcome == LIQUID_DID_ABORT ? outcome : LIQUID_GO_ON;
}

static LiquidOutcome
render_shared(LiquidRender *render, const LiquidNode *node, const MaLiquid *liquid,
			  const LiquidName *name)
{
	LiquidName	own = *name;
	LiquidValue subject;
	LiquidArray single = {1, &subject};
	LiquidArray *items = &single;
	LiquidOutcome outcome = LIQUID_GO_ON;
	int			scoped = render->scoped.n;

	/* Without with or for, a variable of the snippet's name is what it shows. */
	subject = node->subject ? ma_liquid_evaluate(render, node->subject) :
		ma_liquid_lookup(render, &own, -1);
	for (int i = 0; i < node->narguments; i++)
		ma_liquid_local_push(&render->scoped, &node->arguments[i].name,
							 ma_liquid_evaluate(render, node->arguments[i].value));
	if (ma_liquid_is_array(subject) && subject.kind != LIQUID_RANGE)
		items = ma_liquid_items(render, subject);
	for (int i = 0; i < items->n && outcome == LIQUID_GO_ON; i++)
	{
		int			inner = render->scoped.n;

		ma_liquid_step(render, 1);
		ma_liquid_local_push(&render->scoped, name, items->items[i]);
		outcome = run(render, liquid);
		render->scoped.n = inner;
	}
	render->scoped.n = scoped;
	return outcome;
}
