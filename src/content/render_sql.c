/*
 * render_sql.c
 *		marketing.render_liquid(): the language from SQL, and the room's init.
 *
 * The last source of a call site stays compiled with it (fn_extra), so that a query
 * over many rows compiles its text once.  Our own tables are read only if the text
 * shows a snippet that this backend has not compiled yet.
 */
#include "base/base.h"

#include "content/content_internal.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef struct RenderCache
{
	MemoryContext context;
	MaEscape	escape;
	MaLiquid   *liquid;
} RenderCache;

static MaEscape escape_argument(FunctionCallInfo fcinfo, int number);
static const MaLiquid *compile_cached(FunctionCallInfo fcinfo, const char *source, int length,
									  MaEscape escape);
static MaLiquid *snippet_outside(void *argument, const char *name, int length, MaEscape escape);

MA_FUNCTION(ma_render_liquid);

/* marketing.render_liquid(source, data, escape) */
Datum
ma_render_liquid(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext work;
	MaEscape	escape = escape_argument(fcinfo, 2);
	LiquidGlobals globals = {0};
	JsonbContainer *root;
	const MaLiquid *liquid;
	text	   *source;
	text	   *result = NULL;
	char	   *rendered;
	char	   *abort_reason;
	int			length;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	source = PG_GETARG_TEXT_PP(0);
	liquid = compile_cached(fcinfo, VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), escape);
	work = AllocSetContextCreate(context, "marketing_automation rendering", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	if (!PG_ARGISNULL(1))
	{
		Jsonb	   *data = PG_GETARG_JSONB_P(1);

		if (!JB_ROOT_IS_OBJECT(data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("data must be an object"),
					 errhint("Give the variables of the template as members, as in {\"name\": \"Ada\"}.")));
		root = &data->root;
		globals.nobjects = 1;
		globals.objects = &root;
	}
	globals.snippet = snippet_outside;
	rendered = ma_liquid_run(liquid, &globals, session_timezone, &length, &abort_reason);
	MemoryContextSwitchTo(context);
	if (rendered != NULL)
		result = cstring_to_text_with_len(rendered, length);
	else
		ereport(NOTICE,
				(errmsg("the template gave up: %s", abort_reason)));
	MemoryContextDelete(work);
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

char *
ma_liquid_render_contact(MaLiquid *liquid, int64 contact_id, Datum entry, char **abort_reason)
{
	MaContactView *view = ma_contact_views(&contact_id, 1);
	LiquidLocal names[2];
	LiquidGlobals globals = {0};
	int			length;

	names[0].name = ma_liquid_name("contact", strlen("contact"));
	names[0].value = view->value;
	names[1].name = ma_liquid_name("entry", strlen("entry"));
	names[1].value = (LiquidValue) {LIQUID_NIL};
	if (entry != 0 && JB_ROOT_IS_OBJECT(DatumGetJsonbP(entry)))
	{
		names[1].value.kind = LIQUID_OBJECT;
		names[1].value.u.json = &DatumGetJsonbP(entry)->root;
	}
	globals.names = names;
	globals.nnames = lengthof(names);
	globals.snippet = snippet_outside;
	return ma_liquid_run(liquid, &globals, ma_zone_or_default(view->time_zone), &length,
						 abort_reason);
}

static MaEscape
escape_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *escape;

	if (PG_ARGISNULL(number))
		return MA_ESCAPE_NONE;
	escape = text_to_cstring(PG_GETARG_TEXT_PP(number));
	if (strcmp(escape, "none") == 0)
		return MA_ESCAPE_NONE;
	if (strcmp(escape, "html") == 0)
		return MA_ESCAPE_HTML;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("escape must be none or html, not \"%s\"", escape)));
}

static const MaLiquid *
compile_cached(FunctionCallInfo fcinfo, const char *source, int length, MaEscape escape)
{
	RenderCache *cache = fcinfo->flinfo->fn_extra;
	MemoryContext before;
	MemoryContext context;

	if (cache != NULL && cache->liquid != NULL && cache->escape == escape &&
		cache->liquid->length == length && memcmp(cache->liquid->source, source, length) == 0)
		return cache->liquid;
	if (cache == NULL)
		cache = fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
																  sizeof(RenderCache));
	cache->liquid = NULL;
	if (cache->context != NULL)
		MemoryContextDelete(cache->context);
	cache->context = NULL;

	/* A text that is wrong must leave nothing behind. */
	context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation template",
									ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(context);
	cache->escape = escape;
	cache->liquid = ma_liquid_compile(source, length, escape, "source");
	MemoryContextSwitchTo(before);
	MemoryContextSetParent(context, fcinfo->flinfo->fn_mcxt);
	cache->context = context;
	return cache->liquid;
}

static MaLiquid *
snippet_outside(void *argument, const char *name, int length, MaEscape escape)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaLiquid   *liquid;

	ma_call_begin(&call);
	liquid = ma_snippet_find(name, length, escape);
	ma_call_end(&call);
	MemoryContextSwitchTo(context);
	return liquid;
}
