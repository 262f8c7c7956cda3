/*
 * pieces.c
 *		Layouts and snippets: define and drop; and what the definitions of content
 *		have in common.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "utils/builtins.h"

static bool holds(List *names, const char *name);
static char *define_layout(const char *name, char *html, char *text);
static char *define_snippet(const char *name, char *source);
static bool shows_content(const MaLiquid *liquid);
static MaLiquid *check(const char *source, MaEscape escape, const char *what, const char *name);
static char *drop_named(const char *what, MaStatement *drop, const char *name);
static void require_unused(const char *name);

MA_FUNCTION(ma_define_layout);
MA_FUNCTION(ma_drop_layout);
MA_FUNCTION(ma_define_snippet);
MA_FUNCTION(ma_drop_snippet);

char *
ma_content_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

char *
ma_content_name(FunctionCallInfo fcinfo, int number, const char *what)
{
	char	   *name = ma_content_argument(fcinfo, number);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the %s must not be null", what)));
	ma_name_check(name, what);
	return name;
}

void
ma_content_unknown(const char *what, const char *table, const char *name)
{
	MaRows		rows = ma_run_once(psprintf("SELECT name FROM marketing_internal.%s", table),
								   0, NULL, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *names = NIL;
	char	   *function = pstrdup(what);
	char	   *near;

	for (uint64 i = 0; i < rows.n; i++)
		names = lappend(names, ma_text(&rows, i, 1));
	near = ma_nearest(name, names);
	for (char *c = function; *c; c++)
		if (*c == ' ')
			*c = '_';
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_TEMPLATE),
			 errmsg("there is no %s \"%s\"", what, name),
			 near ? errhint("Did you mean %s?", near) :
			 errhint("Define it with marketing.define_%s().", function)));
}

bool
ma_content_same(const char *left, const char *right)
{
	if (left == NULL || right == NULL)
		return left == right;
	return strcmp(left, right) == 0;
}

/* Compiles for its errors; the caller may look at the result. */
static MaLiquid *
check(const char *source, MaEscape escape, const char *what, const char *name)
{
	return ma_liquid_compile(source, strlen(source), escape, psprintf("%s \"%s\"", what, name));
}

/*
 * A NOTICE for snippets that are not there, with the nearest names.  No error: a file
 * of definitions may bring them later, and snippets may show each other.
 */
void
ma_snippets_notice(const char *who, const char *own_name, List *names)
{
	static MaStatement all = {"SELECT name FROM marketing_internal.snippet ORDER BY name", 0};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *known = own_name ? list_make1(unconstify(char *, own_name)) : NIL;
	List	   *told = NIL;
	ListCell   *cell;

	for (uint64 i = 0; i < rows.n; i++)
		known = lappend(known, ma_text(&rows, i, 1));
	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		char	   *near;

		if (holds(known, name) || holds(told, name))
			continue;
		told = lappend(told, name);
		near = ma_nearest(name, known);
		ereport(NOTICE,
				(errcode(ERRCODE_MA_UNKNOWN_TEMPLATE),
				 errmsg("%s shows snippet \"%s\", which is not there", who, name),
				 near ? errhint("Did you mean %s?", near) :
				 errhint("Define it with marketing.define_snippet() before the first message.")));
	}
}

static bool
holds(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* marketing.define_layout(name, html, text) */
Datum
ma_define_layout(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "layout");
	char	   *html = ma_content_argument(fcinfo, 1);
	char	   *text = ma_content_argument(fcinfo, 2);
	char	   *answer;

	if (html == NULL && text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("layout \"%s\" has no html and no text", name)));
	if ((html && !shows_content(check(html, MA_ESCAPE_HTML, "html of layout", name))) ||
		(text && !shows_content(check(text, MA_ESCAPE_NONE, "text of layout", name))))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_TEMPLATE),
				 errmsg("layout \"%s\" does not show the template", name),
				 errhint("Write {{ content }} where the part of the template is to stand.")));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define_layout(name, html, text));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static bool
shows_content(const MaLiquid *liquid)
{
	ListCell   *cell;

	foreach(cell, liquid->roots)
	{
		const LiquidName *name = lfirst(cell);

		if (name->length == 7 && memcmp(name->text, "content", 7) == 0)
			return true;
	}
	return false;
}

static char *
define_layout(const char *name, char *html, char *text)
{
	static MaStatement find = {
		"SELECT html, body FROM marketing_internal.layout "
		"WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.layout (name, html, body) VALUES ($1, $2, $3) "
		"ON CONFLICT (name) DO UPDATE SET html = excluded.html, body = excluded.body",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[3];
	char		nulls[] = "   ";
	MaRows		rows;

	values[0] = CStringGetTextDatum(name);
	values[1] = html ? CStringGetTextDatum(html) : (Datum) 0;
	values[2] = text ? CStringGetTextDatum(text) : (Datum) 0;
	nulls[1] = html ? ' ' : 'n';
	nulls[2] = text ? ' ' : 'n';
	rows = ma_run(&find, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n > 0 && ma_content_same(ma_text(&rows, 0, 1), html) &&
		ma_content_same(ma_text(&rows, 0, 2), text))
		return psprintf("%s: unchanged", name);
	ma_run(&store, values, nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("%s: %s", name, rows.n > 0 ? "replaced" : "created");
}

/* marketing.define_snippet(name, source) */
Datum
ma_define_snippet(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "snippet");
	char	   *source = ma_content_argument(fcinfo, 1);
	MaLiquid   *liquid;
	char	   *answer;

	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the source of snippet \"%s\" must not be null", name)));
	liquid = check(source, MA_ESCAPE_HTML, "snippet", name);
	ma_call_begin(&call);
	ma_snippets_notice(psprintf("snippet \"%s\"", name), name, liquid->snippets);
	answer = MemoryContextStrdup(context, define_snippet(name, source));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
define_snippet(const char *name, char *source)
{
	static MaStatement find = {
		"SELECT source FROM marketing_internal.snippet "
		"WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.snippet (name, source) VALUES ($1, $2) "
		"ON CONFLICT (name) DO UPDATE SET source = excluded.source",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(source);
	rows = ma_run(&find, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n > 0 && strcmp(ma_text(&rows, 0, 1), source) == 0)
		return psprintf("%s: unchanged", name);
	ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("%s: %s", name, rows.n > 0 ? "replaced" : "created");
}

/* marketing.drop_layout(name) */
Datum
ma_drop_layout(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {
		"DELETE FROM marketing_internal.layout WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "layout");
	char	   *answer;

	ma_call_begin(&call);
	require_unused(name);
	answer = MemoryContextStrdup(context, drop_named("layout", &drop, name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* A layout that templates use stays. */
static void
require_unused(const char *name)
{
	static MaStatement users = {
		"SELECT pg_catalog.string_agg(t.name, ', ' ORDER BY t.name) "
		"FROM marketing_internal.template_locale AS l "
		"JOIN marketing_internal.template_version AS v "
		"ON v.template_id OPERATOR(pg_catalog.=) l.template_id AND v.version OPERATOR(pg_catalog.=) l.version "
		"JOIN marketing_internal.template AS t ON t.template_id OPERATOR(pg_catalog.=) l.template_id "
		"WHERE v.layout OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static MaStatement lock = {
		"SELECT 1 FROM marketing_internal.layout WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows;
	char	   *names;

	ma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST);
	rows = ma_run(&users, &value, NULL, MA_RUN_READ_LATEST);
	names = ma_text(&rows, 0, 1);
	if (names != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("layout \"%s\" is in use", name),
				 errdetail("Templates that use it: %s.", names),
				 errhint("Define them with another layout first, or drop them.")));
}

/* marketing.drop_snippet(name) */
Datum
ma_drop_snippet(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {
		"DELETE FROM marketing_internal.snippet WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "snippet");
	char	   *answer;

	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, drop_named("snippet", &drop, name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Runs the DELETE by name, which must find something. */
static char *
drop_named(const char *what, MaStatement *drop, const char *name)
{
	Datum		value = CStringGetTextDatum(name);

	if (ma_run(drop, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ma_content_unknown(what, what, name);
	ma_definitions_changed();
	return psprintf("%s: dropped", name);
}
