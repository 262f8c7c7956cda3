/*
 * render.c
 *		Nodes of a compiled template to text.
 *
 * The work is counted in steps and the output in octets, and both are bounded: a
 * template can end in an error, but not in a server that waits or runs out of memory.
 * break, continue and abort go up as results of the functions, not as errors.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "miscadmin.h"
#include "pgtime.h"

static char *render_data(MaLiquid *liquid, Datum data, const char *zone, bool large,
						 char **abort_reason);
static LiquidOutcome render_node(LiquidRender *render, const LiquidNode *node);
static LiquidOutcome render_case(LiquidRender *render, const LiquidNode *node);
static LiquidOutcome render_capture(LiquidRender *render, const LiquidNode *node);
static LiquidOutcome render_ifchanged(LiquidRender *render, const LiquidNode *node);
static void render_counter(LiquidRender *render, const LiquidNode *node);

char *
ma_liquid_render(MaLiquid *liquid, Datum data, const char *zone, char **abort_reason)
{
	return render_data(liquid, data, zone, false, abort_reason);
}

char *
ma_liquid_render_large(MaLiquid *liquid, Datum data, char **abort_reason)
{
	return render_data(liquid, data, NULL, true, abort_reason);
}

static char *
render_data(MaLiquid *liquid, Datum data, const char *zone, bool large, char **abort_reason)
{
	Jsonb	   *jsonb = DatumGetJsonbP(data);
	JsonbContainer *root = &jsonb->root;
	LiquidGlobals globals = {0};
	struct pg_tz *tz = zone != NULL ? pg_tzset(zone) : NULL;
	int			length;

	globals.large = large;
	if (JB_ROOT_IS_OBJECT(jsonb))
	{
		globals.nobjects = 1;
		globals.objects = &root;
	}
	return ma_liquid_run(liquid, &globals, tz ? tz : session_timezone, &length, abort_reason);
}

char *
ma_liquid_run(const MaLiquid *liquid, const LiquidGlobals *globals, struct pg_tz *zone,
			  int *length, char **abort_reason)
{
	LiquidRender render = {liquid};
	LiquidBuffer out;
	LiquidOutcome outcome;

	ma_liquid_buffer_init(&out, Max(liquid->length, 64));
	render.globals = globals;
	render.steps = globals->large ? -LIQUID_LARGE_STEPS : 0;
	render.max_output = globals->large ? LIQUID_LARGE_OUTPUT : LIQUID_MAX_OUTPUT;
	render.out = &out;
	render.zone = zone;
	render.roots = palloc0_array(LiquidValue, Max(liquid->nroots, 1));
	outcome = ma_liquid_render_block(&render, liquid->block);
	*abort_reason = render.abort_reason;
	if (outcome == LIQUID_DID_ABORT)
		return NULL;
	ma_liquid_append(&render, "", 1);
	*length = out.length - 1;
	return out.data;
}

LiquidOutcome
ma_liquid_render_block(LiquidRender *render, const LiquidBlock *block)
{
	for (int i = 0; i < block->n; i++)
	{
		const LiquidNode *node = block->nodes[i];
		LiquidOutcome outcome;

		ma_liquid_step(render, 1);
		if (node->kind == LIQUID_TEXT)
		{
			ma_liquid_append(render, node->label.text, node->label.length);
			continue;
		}
		render->at = node->at;
		if (node->kind == LIQUID_OUTPUT)
		{
			if (unlikely(render->globals->strict || render->globals->missing != NULL))
				ma_liquid_require_value(render, &node->pipe);
			ma_liquid_write(render, ma_liquid_evaluate_pipe(render, &node->pipe), node->context);
			continue;
		}
		outcome = render_node(render, node);
		if (outcome != LIQUID_GO_ON)
			return outcome;
	}
	return LIQUID_GO_ON;
}

static LiquidOutcome
render_node(LiquidRender *render, const LiquidNode *node)
{
	switch (node->kind)
	{
		case LIQUID_IF:
			return ma_liquid_render_branches(render, node);
		case LIQUID_CASE:
			return render_case(render, node);
		case LIQUID_FOR:
			return ma_liquid_render_for(render, node);
		case LIQUID_TABLEROW:
			return ma_liquid_render_tablerow(render, node);
		case LIQUID_ASSIGN:
			ma_liquid_local_set(&render->assigned, &node->name,
								ma_liquid_evaluate_pipe(render, &node->pipe));
			return LIQUID_GO_ON;
		case LIQUID_CAPTURE:
			return render_capture(render, node);
		case LIQUID_INCREMENT:
		case LIQUID_DECREMENT:
			render_counter(render, node);
			return LIQUID_GO_ON;
		case LIQUID_CYCLE:
			ma_liquid_render_cycle(render, node);
			return LIQUID_GO_ON;
		case LIQUID_IFCHANGED:
			return render_ifchanged(render, node);
		case LIQUID_BREAK:
			return LIQUID_DID_BREAK;
		case LIQUID_CONTINUE:
			return LIQUID_DID_CONTINUE;
		case LIQUID_RENDER:
		case LIQUID_INCLUDE:
			return ma_liquid_render_partial(render, node);
		case LIQUID_ABORT:
			render->abort_reason = ma_liquid_to_cstring(render,
														ma_liquid_evaluate_pipe(render,
																	&node->pipe));
			return LIQUID_DID_ABORT;
		default:
			elog(ERROR, "cannot happen: liquid node %d", node->kind);
	}
}

/* if, unless: the first branch whose condition holds */
LiquidOutcome
ma_liquid_render_branches(LiquidRender *render, const LiquidNode *node)
{
	for (int i = 0; i < node->nbranches; i++)
	{
		const LiquidBranch *branch = &node->branches[i];

		if (branch->condition == NULL ||
			ma_liquid_test(render, branch->condition) != branch->negated)
			return ma_liquid_render_block(render, branch->block);
	}
	return LIQUID_GO_ON;
}

/* case: each when that matches; an else shows if none before it did */
static LiquidOutcome
render_case(LiquidRender *render, const LiquidNode *node)
{
	LiquidValue value = ma_liquid_evaluate(render, node->value);
	bool		matched = false;

	for (int i = 0; i < node->nbranches; i++)
	{
		const LiquidBranch *branch = &node->branches[i];
		int			times = (branch->nvalues == 0 && !matched);

		for (int j = 0; j < branch->nvalues; j++)
			if (ma_liquid_equal(render, value, ma_liquid_evaluate(render, branch->values[j])))
			{
				times++;
				matched = true;
			}
		for (int j = 0; j < times; j++)
		{
			LiquidOutcome outcome = ma_liquid_render_block(render, branch->block);

			if (outcome != LIQUID_GO_ON)
				return outcome;
		}
	}
	return LIQUID_GO_ON;
}

LiquidBuffer *
ma_liquid_buffer_swap(LiquidRender *render, LiquidBuffer *buffer)
{
	LiquidBuffer *before = render->out;

	render->out = buffer;
	return before;
}

/* What was captured is escaped already. */
static LiquidOutcome
render_capture(LiquidRender *render, const LiquidNode *node)
{
	LiquidBuffer buffer;
	LiquidBuffer *out;
	LiquidOutcome outcome;
	LiquidValue value;

	ma_liquid_buffer_init(&buffer, 256);
	out = ma_liquid_buffer_swap(render, &buffer);
	outcome = ma_liquid_render_block(render, node->block);
	ma_liquid_buffer_swap(render, out);
	value = ma_liquid_string(buffer.data, buffer.length);
	value.safe = (render->liquid->escape == MA_ESCAPE_HTML);
	ma_liquid_local_set(&render->assigned, &node->name, value);
	return outcome;
}

/* Shows its content only if it differs from what the last one showed. */
static LiquidOutcome
render_ifchanged(LiquidRender *render, const LiquidNode *node)
{
	LiquidBuffer buffer;
	LiquidBuffer *out;
	LiquidOutcome outcome;

	ma_liquid_buffer_init(&buffer, 256);
	out = ma_liquid_buffer_swap(render, &buffer);
	outcome = ma_liquid_render_block(render, node->block);
	ma_liquid_buffer_swap(render, out);
	if (render->changed == NULL ? buffer.length > 0 :
		(buffer.length != render->changed_length ||
		 memcmp(buffer.data, render->changed, buffer.length) != 0))
	{
		render->changed = buffer.data;
		render->changed_length = buffer.length;
		ma_liquid_append(render, buffer.data, buffer.length);
	}
	return outcome;
}

/* increment shows the counter and adds one, decrement takes one and shows it. */
static void
render_counter(LiquidRender *render, const LiquidNode *node)
{
	LiquidValue *there = ma_liquid_local(&render->counters, &node->name);
	LiquidValue given = ma_liquid_nil();
	int64		count = 0;

	if (there != NULL)
		count = there->u.integer;
	else
	{
		for (int i = 0; i < render->globals->nobjects; i++)
			if (ma_liquid_object_get(render->globals->objects[i], node->name.text,
									 node->name.length, &given))
				break;
		if (given.kind == LIQUID_INT)
			count = given.u.integer;
	}
	if (count >= PG_INT64_MAX - 1 || count <= PG_INT64_MIN + 1)
		ma_liquid_error(render, "Look at the data.", "a counter has become too large");
	if (node->kind == LIQUID_INCREMENT)
	{
		ma_liquid_write(render, ma_liquid_int(count), node->context);
		ma_liquid_local_set(&render->counters, &node->name, ma_liquid_int(count + 1));
	}
	else
	{
		ma_liquid_write(render, ma_liquid_int(count - 1), node->context);
		ma_liquid_local_set(&render->counters, &node->name, ma_liquid_int(count - 1));
	}
}

void
ma_liquid_buffer_init(LiquidBuffer *buffer, int size)
{
	/* More is not allowed anyway; a value of the data may be longer. */
	buffer->length = 0;
	buffer->allocated = Min(size, LIQUID_MAX_OUTPUT + 1);
	buffer->data = palloc(buffer->allocated);
}

/* Makes room for `by` octets more, or says that it has become too long. */
void
ma_liquid_buffer_grow(LiquidRender *render, LiquidBuffer *buffer, int by)
{
	if (by > render->max_output || buffer->length + by > render->max_output + 1)
		ma_liquid_error(render, "A message is at most that long.",
						"the output is longer than %d octets", render->max_output);
	buffer->allocated = Max(buffer->allocated * 2, buffer->length + by);
	buffer->allocated = Min(buffer->allocated, render->max_output + 1);
	buffer->data = repalloc(buffer->data, buffer->allocated);
}

void
ma_liquid_too_many_steps(const LiquidRender *render)
{
	ma_liquid_error(render, "Limit the loop, or let the query return fewer rows.",
					"the template does too much work");
}

void
ma_liquid_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

void
ma_liquid_error(const LiquidRender *render, const char *hint, const char *format, ...)
{
	va_list		arguments;

	va_start(arguments, format);
	ma_liquid_fail(render->liquid, render->at, ERRCODE_MA_RENDER_FAILED, hint, format, arguments);
}
