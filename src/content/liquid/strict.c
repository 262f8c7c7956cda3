/*
 * strict.c
 *		Variables that are shown and have no value: an error in strict templates, noted
 *		by check_template().
 *
 * A filter `default` says what stands in their place, so they are none then.  Names
 * that are near are looked for among those the value before the last dot has.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "lib/stringinfo.h"

static char *path_text(const LiquidExpression *path);
static char *near_names(LiquidRender *render, const LiquidExpression *path);
static List *names_of(List *names, JsonbContainer *object);

void
ma_liquid_require_value(LiquidRender *render, const LiquidPipe *pipe)
{
	const LiquidExpression *path = pipe->expression;
	LiquidValue value;
	char	   *text;
	char	   *near;

	if (path == NULL || path->kind != LIQUID_PATH || path->root_of != NULL)
		return;
	for (int i = 0; i < pipe->nfilters; i++)
		if (strcmp(pipe->filters[i].type->name, "default") == 0)
			return;
	value = ma_liquid_evaluate(render, path);
	if (value.kind != LIQUID_NIL && value.kind != LIQUID_UNSET)
		return;
	text = path_text(path);
	if (render->globals->missing != NULL)
	{
		render->globals->missing(render->globals->argument, render, text);
		return;
	}
	near = near_names(render, path);
	render->at = path->at;
	ma_liquid_error(render, psprintf("Give it a default, as in {{ %s | default: \"...\" }}.", text),
					near ? "%s has no value; did you mean %s?" : "%s has no value", text, near);
}

/* The path as it is written, with [] for what is computed. */
static char *
path_text(const LiquidExpression *path)
{
	StringInfoData out;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, path->root.text, path->root.length);
	for (int i = 0; i < path->nsegments; i++)
	{
		const LiquidSegment *segment = &path->segments[i];

		if (segment->index != NULL)
			appendStringInfoString(&out, "[]");
		else
			appendStringInfo(&out, ".%.*s", segment->name.length, segment->name.text);
	}
	return out.data;
}

/* Names of the value before the last dot that the last one may be a typo of; NULL: none. */
static char *
near_names(LiquidRender *render, const LiquidExpression *path)
{
	LiquidExpression parent = *path;
	const LiquidName *last = &path->root;
	List	   *names = NIL;

	if (path->nsegments == 0)
	{
		for (int i = 0; i < render->globals->nnames; i++)
			names = lappend(names, pnstrdup(render->globals->names[i].name.text,
											render->globals->names[i].name.length));
		for (int i = 0; i < render->globals->nobjects; i++)
			names = names_of(names, render->globals->objects[i]);
	}
	else
	{
		LiquidValue value;

		parent.nsegments--;
		if (path->segments[parent.nsegments].index != NULL)
			return NULL;
		last = &path->segments[parent.nsegments].name;
		value = ma_liquid_evaluate(render, &parent);
		if (value.kind == LIQUID_OBJECT)
			names = names_of(names, value.u.json);
		for (int i = 0; value.kind == LIQUID_LAYERS && i < value.u.layers->n; i++)
			names = names_of(names, value.u.layers->layers[i]);
	}
	for (int i = 0; i < list_length(names); i++)
		if (strlen(list_nth(names, i)) == last->length &&
			memcmp(list_nth(names, i), last->text, last->length) == 0)
			return NULL;
	return ma_nearest(pnstrdup(last->text, last->length), names);
}

static List *
names_of(List *names, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			names = lappend(names, pnstrdup(value.val.string.val, value.val.string.len));
	return names;
}
