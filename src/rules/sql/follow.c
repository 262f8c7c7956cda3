/*
 * follow.c
 *		A rule from its stored text, also after what it reads was renamed.
 *
 * The text names columns; the rule view follows renames, as PostgreSQL keeps it by
 * numbers.  So a text that no longer compiles is tried with the names that the view
 * reads now, and the one whose SQL is the view's, word for word, says what the old one
 * said: that is proof, not a guess.  Where there is none the rule is broken.
 *
 * A text may go on compiling and mean other columns, where names went from one to
 * another.  So where a column that the view reads was altered since the view was made,
 * what the text says is compared with what the view says.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#define MAX_TRIES 400			/* texts that are tried to follow renames */

/* A parse under guard. */
typedef struct Attempt
{
	const char *text;
	const MaRuleScope *scope;
	MaRule	   *rule;
	const char *definition;		/* of its view, to be compared with */
	bool		differs;
} Attempt;

/* The search for the text that a view stands for. */
typedef struct Search
{
	const MaRuleScope *scope;
	const char *definition;		/* of the view */
	List	   *names;			/* columns (char *) it reads */
	int			tries;
	MaRule	   *rule;			/* found */
	char	   *text;
} Search;

static List *altered = NIL;		/* Oid: views of which a column was altered since */
static MemoryContext altered_context = NULL;

static void parse(void *arg);
static void compare(void *arg);
static List *altered_views(void);
static bool is_altered(Oid view);
static char *view_definition(Oid view);
static List *view_columns(Oid view);
static char *rule_definition(const MaRule *rule);
static bool follow(Search *search, const char *text, int last);
static bool replace_at(Search *search, const char *text, int place);
static bool replace_name(Search *search, const char *text, int place, int start, int end);
static bool exchanged(Search *search, const char *text);
static char *exchange(const char *text, const char *one, const char *other);
static List *names_in(const char *text);
static int	string_end(const char *text, int start);
static int	name_end(const char *text, int start);

void
ma_rule_views_look(void)
{
	if (altered_context == NULL)
		altered_context = AllocSetContextCreate(CacheMemoryContext,
												"marketing_automation altered views",
												ALLOCSET_SMALL_SIZES);
	MemoryContextReset(altered_context);
	altered = NIL;
	altered = altered_views();
}

/* All at once, as there may be many rules. */
static List *
altered_views(void)
{
	static MaStatement read = {
		"SELECT DISTINCT w.ev_class FROM pg_catalog.pg_rewrite AS w "
		"JOIN pg_catalog.pg_class AS v ON v.oid OPERATOR(pg_catalog.=) w.ev_class "
		"JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace "
		"AND n.nspname OPERATOR(pg_catalog.=) 'marketing_rule' "
		"JOIN pg_catalog.pg_depend AS d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
		"AND d.objid OPERATOR(pg_catalog.=) w.oid "
		"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
		"AND d.refobjsubid OPERATOR(pg_catalog.>) 0 "
		"JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid "
		"AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid "
		"WHERE pg_catalog.age(a.xmin) OPERATOR(pg_catalog.<) pg_catalog.age(w.xmin) "
		"OR pg_catalog.age(w.xmin) OPERATOR(pg_catalog.<) 0 "
		"OR (a.xmin OPERATOR(pg_catalog.=) w.xmin AND a.cmin::pg_catalog.text::pg_catalog.int8 "
		"OPERATOR(pg_catalog.>) w.cmin::pg_catalog.text::pg_catalog.int8)"
	};
	MemoryContext previous;
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *views = NIL;

	previous = MemoryContextSwitchTo(altered_context);
	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;

		views = lappend_oid(views, DatumGetObjectId(ma_value(&rows, i, 1, &isnull)));
	}
	MemoryContextSwitchTo(previous);
	return views;
}

/* Within a round; who compiles outside of one goes by what the last one found. */
static bool
is_altered(Oid view)
{
	return list_member_oid(altered, view);
}

static void
parse(void *arg)
{
	Attempt    *attempt = arg;

	attempt->rule = ma_rule_parse(attempt->text, attempt->scope, InvalidOid);
}

static void
compare(void *arg)
{
	Attempt    *attempt = arg;

	attempt->differs = strcmp(rule_definition(attempt->rule), attempt->definition) != 0;
}

void
ma_rule_compile_stored(MaRuleStored *stored, const char *kind, const char *object,
					   const char *text, const MaRuleScope *scope)
{
	Attempt		attempt = {text, scope, NULL};
	Search		search = {scope};
	Oid			view = ma_rule_view_relid(kind, object);
	MaIdentity	identity;
	ErrorData  *error;

	*stored = (MaRuleStored) {NULL, unconstify(char *, text)};
	if (!OidIsValid(view))
	{
		stored->error = "its view was dropped with what it reads";
		return;
	}
	ma_become_owner(&identity);
	error = ma_expression_guard(parse, &attempt);
	stored->altered = is_altered(view);
	if (error == NULL && stored->altered)
	{
		attempt.definition = view_definition(view);
		error = ma_expression_guard(compare, &attempt);
	}
	if (error == NULL && !attempt.differs)
		stored->rule = attempt.rule;
	else
	{
		search.definition = view_definition(view);
		search.names = view_columns(view);
		if ((error != NULL && follow(&search, text, -1)) || exchanged(&search, text))
		{
			stored->followed = true;
			stored->text = search.text;
			stored->rule = search.rule;
		}
		else
		{
			stored->misses_column = error && error->sqlerrcode == ERRCODE_UNDEFINED_COLUMN;
			stored->error = error ? pstrdup(error->message) : MA_RULE_RENAMED;
		}
	}
	ma_become_back(&identity);
}

/* ---- what the view says ---- */

static char *
view_definition(Oid view)
{
	static MaStatement read = {
		"SELECT pg_catalog.pg_get_viewdef($1)", 1, {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(view);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	return ma_text(&rows, 0, 1);
}

/* Names of the columns of users' tables that it reads, and of the tables. */
static List *
view_columns(Oid view)
{
	static MaStatement read = {
		"SELECT DISTINCT n.name::pg_catalog.text FROM pg_catalog.pg_rewrite AS w "
		"JOIN pg_catalog.pg_depend AS d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
		"AND d.objid OPERATOR(pg_catalog.=) w.oid "
		"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
		"AND d.refobjsubid OPERATOR(pg_catalog.>) 0 "
		"JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) d.refobjid "
		"AND c.relnamespace OPERATOR(pg_catalog.<>) 'marketing_internal'::pg_catalog.regnamespace "
		"JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid "
		"AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid "
		"CROSS JOIN LATERAL (VALUES (a.attname), (c.relname)) AS n (name) "
		"WHERE w.ev_class OPERATOR(pg_catalog.=) $1 ORDER BY 1",
		1, {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(view);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	List	   *names = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		names = lappend(names, ma_text(&rows, i, 1));
	return names;
}

List *
ma_rule_view_reads(const char *kind, const char *object)
{
	static MaStatement read = {
		"SELECT DISTINCT pg_catalog.format('%s.%s', d.refobjid, d.refobjsubid) "
		"FROM pg_catalog.pg_rewrite AS w "
		"JOIN pg_catalog.pg_depend AS d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
		"AND d.objid OPERATOR(pg_catalog.=) w.oid "
		"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
		"AND d.refobjsubid OPERATOR(pg_catalog.>) 0 "
		"JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) d.refobjid "
		"AND c.relnamespace OPERATOR(pg_catalog.<>) 'marketing_internal'::pg_catalog.regnamespace "
		"WHERE w.ev_class OPERATOR(pg_catalog.=) $1",
		1, {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(ma_rule_view_relid(kind, object));
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	List	   *reads = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		reads = lappend(reads, ma_text(&rows, i, 1));
	return reads;
}

/* The rule's SQL as PostgreSQL prints it, which is how it prints the view's. */
static char *
rule_definition(const MaRule *rule)
{
	char	   *sql = ma_rule_sql(rule, MA_SCHEMA ".now()");
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));
	Query	   *query = parse_analyze_fixedparams(raw, sql, NULL, 0, NULL);

	return psprintf("%s;", pg_get_querydef(query, false));
}

bool
ma_rule_view_differs(const char *kind, const char *object, const MaRule *rule)
{
	Oid			view = ma_rule_view_relid(kind, object);

	return OidIsValid(view) && strcmp(view_definition(view), rule_definition(rule)) != 0;
}

/* ---- renamed columns ---- */

/*
 * Goes from one name that is not there to the next; each may have become any the view
 * reads.  The names before `last`, the place of the one replaced last, are right.
 */
static bool
follow(Search *search, const char *text, int last)
{
	Attempt		attempt = {text, search->scope, NULL, search->definition};
	ErrorData  *error;
	int			place = 0;

	if (search->tries++ >= MAX_TRIES)
		return false;
	error = ma_expression_guard(parse, &attempt);
	if (error == NULL)
	{
		/* Its SQL may fail where its text does not: by the condition of an event it names. */
		if (ma_expression_guard(compare, &attempt) != NULL || attempt.differs)
			return false;
		search->rule = attempt.rule;
		search->text = ma_rule_text(attempt.rule);
		return true;
	}
	if (error->internalpos <= 0 || error->internalquery == NULL ||
		strcmp(error->internalquery, text) != 0)
		return false;
	for (int i = 1; i < error->internalpos && text[place] != '\0'; i++)
		place += pg_mblen(text + place);
	return place > last && replace_at(search, text, place);
}

/* The column of the (qualified) name at the place; then what stands before it. */
static bool
replace_at(Search *search, const char *text, int place)
{
	int			end = name_end(text, place);
	int			second = end;

	if (end == place)
		return false;
	if (text[end] == '.' && name_end(text, end + 1) > end + 1)
	{
		second = end + 1;
		if (replace_name(search, text, place, second, name_end(text, second)))
			return true;
	}
	return replace_name(search, text, place, place, end);
}

/* Tries each name that the view reads in place of the bytes from start to end. */
static bool
replace_name(Search *search, const char *text, int place, int start, int end)
{
	ListCell   *cell;

	foreach(cell, search->names)
	{
		const char *name = quote_identifier(lfirst(cell));

		if ((int) strlen(name) == end - start && strncmp(text + start, name, end - start) == 0)
			continue;
		if (follow(search, psprintf("%.*s%s%s", start, text, name, text + end), place))
			return true;
	}
	return false;
}

/* ---- exchanged names ---- */

/*
 * One of the names may stand for a column that is called otherwise now, and the other way
 * round.  At first these two only, then with others that may have become any.
 */
static bool
exchanged(Search *search, const char *text)
{
	List	   *names = names_in(text);

	for (int round = 0; round < 2; round++)
	{
		ListCell   *cell;
		ListCell   *inner;

		foreach(cell, names)
			foreach(inner, search->names)
			{
				const char *one = lfirst(cell);
				const char *other = quote_identifier(lfirst(inner));
				Search		alone = *search;

				if (strcmp(one, other) == 0)
					continue;
				alone.tries = round == 0 ? MAX_TRIES - 1 : search->tries;
				if (follow(&alone, exchange(text, one, other), -1))
				{
					*search = alone;
					return true;
				}
				search->tries = round == 0 ? search->tries : alone.tries;
			}
	}
	return false;
}

/* The names in the text, each once, as they are written. */
static List *
names_in(const char *text)
{
	List	   *names = NIL;

	for (int at = 0; text[at] != '\0';)
	{
		int			end = text[at] == '\'' ? string_end(text, at) : name_end(text, at);
		char	   *name = pnstrdup(text + at, end - at);
		bool		known = end == at || text[at] == '\'' || isdigit((unsigned char) text[at]);
		ListCell   *cell;

		foreach(cell, names)
			known |= strcmp(lfirst(cell), name) == 0;
		if (!known)
			names = lappend(names, name);
		at = Max(end, at + 1);
	}
	return names;
}

/* Each of the two names in place of the other, wherever it stands. */
static char *
exchange(const char *text, const char *one, const char *other)
{
	StringInfoData result;

	initStringInfo(&result);
	for (int at = 0; text[at] != '\0';)
	{
		bool		string = text[at] == '\'';
		int			end = Max(string ? string_end(text, at) : name_end(text, at), at + 1);
		const char *name = pnstrdup(text + at, end - at);

		if (!string && strcmp(name, one) == 0)
			name = other;
		else if (!string && strcmp(name, other) == 0)
			name = one;
		appendStringInfoString(&result, name);
		at = end;
	}
	return result.data;
}

/* Where the string that starts there ends. */
static int
string_end(const char *text, int start)
{
	int			at = start + 1;

	for (; text[at] != '\0'; at++)
		if (text[at] == '\'' && text[++at] != '\'')
			return at;
	return at;
}

/* Where the name that starts there ends; `start` itself if none does. */
static int
name_end(const char *text, int start)
{
	int			at = start;

	if (text[at] == '"')
	{
		for (at++; text[at] != '\0'; at++)
			if (text[at] == '"' && text[++at] != '"')
				return at;
		return start;
	}
	while (IS_HIGHBIT_SET(text[at]) || isalnum((unsigned char) text[at]) || text[at] == '_' ||
		   text[at] == '$')
		at++;
	return at;
}
