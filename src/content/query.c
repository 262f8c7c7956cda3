/*
 * query.c
 *		marketing.define_query(): rows that templates show, read for a batch at once.
 *
 * The author's SELECT is parsed when it is defined, under his search_path, and stored
 * with qualified names.  Its parameters are found by PostgreSQL's own scanner, not by
 * searching the text.  For a batch it runs inside a
 * lateral join over the messages, with $n replaced by the n-th value of each message,
 * cast to the type the parser gave the parameter: one statement, whatever the number
 * of messages.  It runs as the role that defined it, restricted and read-only.
 *
 * If the statement fails it is run again for each message alone, each in a
 * subtransaction, so that only the message whose values are wrong has the error.
 */
#include "base/base.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "parser/parse_param.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

/* The same in all messages: names that a query of templates cannot have. */
static const char *const taken[] = {"contact", "entry",   "data",
									"content", "forloop", "tablerowloop"};

static char *check_query(const char *name, char *sql, int nparams, Datum *types);
static void try_query(const char *name, char *sql, Datum types, char *role);
static char *batch_sql(const MaQuery *query);
static char *with_parameters(const MaQuery *query);
static Query *analyse(const char *name, const char *sql, Oid **types, int *ntypes);
static char *define_query(const char *name, char *sql, Datum params, Datum types,
						  const char *role);
static void place_callback(void *arg);
static char **texts_of(ArrayType *array, int *n);
static void run_all(const MaQuery *query, char **params, const int *which, int n, Datum *rows);
static void run_part(void *arg);
static char **params_of(ArrayType *array, int *n);

/* A run of the query for some messages of a batch. */
typedef struct Part
{
	const MaQuery *query;
	char	  **params;
	const int  *which;
	int			n;
	Datum	   *rows;
} Part;

MA_FUNCTION(ma_define_query);
MA_FUNCTION(ma_drop_query);

/* marketing.define_query(name, sql, params) */
Datum
ma_define_query(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "query");
	char	   *sql = ma_content_argument(fcinfo, 1);
	char	   *role = GetUserNameFromId(GetUserId(), false);
	Datum		params = PG_ARGISNULL(2) ? PointerGetDatum(construct_empty_array(TEXTOID)) :
		PG_GETARG_DATUM(2);
	int			nparams;
	Datum		types;
	char	   *answer;

	if (sql == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("sql of query \"%s\" must not be null", name)));
	(void) params_of(DatumGetArrayTypeP(params), &nparams);
	for (int i = 0; i < lengthof(taken); i++)
		if (strcmp(name, taken[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_MA_NAME_IN_USE),
					 errmsg("a query cannot be named \"%s\"", name),
					 errdetail("Templates have that name for something else."),
					 errhint("Choose another name.")));
	sql = check_query(name, sql, nparams, &types);
	ma_call_begin(&call);
	try_query(name, sql, types, role);
	answer = MemoryContextStrdup(context, define_query(name, sql, params, types, role));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Each param is a path, compiled for its errors. */
static char **
params_of(ArrayType *array, int *n)
{
	char	  **params = texts_of(array, n);

	for (int i = 0; i < *n; i++)
		(void) ma_liquid_compile(psprintf("{{%s}}", params[i]), strlen(params[i]) + 4,
								 MA_ESCAPE_NONE, psprintf("param \"%s\"", params[i]));
	return params;
}

static char **
texts_of(ArrayType *array, int *n)
{
	Datum	   *datums;
	bool	   *nulls;
	char	  **texts;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &datums, &nulls, n);
	texts = palloc_array(char *, Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("params must not hold nulls")));
		texts[i] = TextDatumGetCString(datums[i]);
	}
	return texts;
}

/* Puts the caret of a parser's error into the query's own text. */
static void
place_callback(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/*
 * One SELECT that only reads, with as many parameters as there are params.  Read under
 * the caller's search_path; returns its canonical text, in which all names are
 * qualified, and in *types the types of its parameters, which that text may not show.
 */
static char *
check_query(const char *name, char *sql, int nparams, Datum *types)
{
	Oid		   *oids;
	int			n;
	Query	   *query = analyse(name, sql, &oids, &n);
	char	  **names = palloc_array(char *, Max(n, 1));
	int			nest_level;

	if (query->commandType != CMD_SELECT || query->utilityStmt != NULL || query->hasModifyingCTE ||
		query->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query \"%s\" is not a SELECT that only reads", name)));
	if (n != nparams || n >= MA_MAX_PARAMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query \"%s\" has %d parameters, but %d params are given", name, n,
							nparams),
				 errdetail("There can be %d at most.", MA_MAX_PARAMS - 1),
				 errhint("Give a path for each of $1, $2 ..., as in params => '{entry.id}'.")));
	nest_level = ma_pin_settings();
	sql = pg_get_querydef(query, false);
	for (int i = 0; i < n; i++)
		names[i] = format_type_extended(oids[i], -1, FORMAT_TYPE_FORCE_QUALIFY);
	ma_unpin_settings(nest_level);
	*types = ma_text_array(names, n);
	return sql;
}

/* Runs the query for no message: its role may read what it reads. */
static void
try_query(const char *name, char *sql, Datum types, char *role)
{
	MaQuery		query = {unconstify(char *, name), sql, role};

	query.types = texts_of(DatumGetArrayTypeP(types), &query.nparams);
	run_all(&query, NULL, NULL, 0, NULL);
}

/* Parses and analyses the one statement; the types of its parameters are those found. */
static Query *
analyse(const char *name, const char *sql, Oid **types, int *ntypes)
{
	ErrorContextCallback callback = {error_context_stack, place_callback, unconstify(char *, sql)};
	ParseState *pstate = make_parsestate(NULL);
	List	   *statements;
	Query	   *query;

	error_context_stack = &callback;
	statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	if (list_length(statements) != 1 ||
		!IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt) ||
		castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query \"%s\" is not one SELECT", name)));
	*types = NULL;
	*ntypes = 0;
	pstate->p_sourcetext = sql;
	setup_parse_variable_parameters(pstate, types, ntypes);
	query = transformTopLevelStmt(pstate, linitial_node(RawStmt, statements));
	check_variable_parameters(pstate, query);
	free_parsestate(pstate);
	error_context_stack = callback.previous;
	for (int i = 0; i < *ntypes; i++)
		if (!OidIsValid((*types)[i]) || (*types)[i] == UNKNOWNOID)
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("the type of parameter $%d of query \"%s\" is not known", i + 1, name),
					 errhint("Write it with a cast, as in $%d::bigint.", i + 1)));
	return query;
}

static char *
define_query(const char *name, char *sql, Datum params, Datum types, const char *role)
{
	static MaStatement find = {
		"SELECT sql OPERATOR(pg_catalog.=) $2 AND params OPERATOR(pg_catalog.=) $3 "
		"AND role OPERATOR(pg_catalog.=) $4 AND types OPERATOR(pg_catalog.=) $5 "
		"FROM marketing_internal.content_query WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		5, {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTARRAYOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.content_query (name, sql, params, role, types) "
		"VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET "
		"sql = excluded.sql, params = excluded.params, role = excluded.role, types = excluded.types",
		5, {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTARRAYOID}
	};
	Datum		values[5];
	MaRows		rows;

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(sql);
	values[2] = params;
	values[3] = CStringGetTextDatum(role);
	values[4] = types;
	rows = ma_run(&find, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n > 0 && ma_bool(&rows, 0, 1))
		return psprintf("%s: unchanged", name);
	ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("%s: %s", name, rows.n > 0 ? "replaced" : "created");
}

/* marketing.drop_query(name) */
Datum
ma_drop_query(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {"DELETE FROM marketing_internal.content_query WHERE name OPERATOR(pg_catalog.=) $1",
							   1,
							   {TEXTOID}};
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "query");
	Datum		value = CStringGetTextDatum(name);

	ma_call_begin(&call);
	if (ma_run(&drop, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ma_content_unknown("query", "content_query", name);
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

List *
ma_queries(void)
{
	static MaStatement read = {
		"SELECT name, sql, params, role, types FROM marketing_internal.content_query ORDER BY name"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *queries = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaQuery    *query = palloc0_object(MaQuery);
		bool		isnull;

		query->name = ma_text(&rows, i, 1);
		query->sql = ma_text(&rows, i, 2);
		query->params = params_of(DatumGetArrayTypeP(ma_value(&rows, i, 3, &isnull)),
					&query->nparams);
		query->role = ma_text(&rows, i, 4);
		query->types = texts_of(DatumGetArrayTypeP(ma_value(&rows, i, 5, &isnull)),
								&query->nparams);
		queries = lappend(queries, query);
	}
	return queries;
}

/* ---- running ---- */

static void
run_part(void *arg)
{
	Part	   *part = arg;

	run_all(part->query, part->params, part->which, part->n, part->rows);
}

void
ma_query_run(const MaQuery *query, char **params, int n, Datum *rows, char **errors)
{
	int		   *which = palloc_array(int, Max(n, 1));
	Part		part = {query, params, which, n, rows};
	ErrorData  *error;

	for (int i = 0; i < n; i++)
	{
		which[i] = i;
		errors[i] = NULL;
	}
	error = ma_attempt(run_part, &part);
	if (error == NULL)
		return;
	part.n = 1;
	for (int i = 0; i < n; i++)
	{
		part.which = &which[i];
		if (n > 1)
			error = ma_attempt(run_part, &part);
		if (error != NULL)
			errors[i] = psprintf("query \"%s\": %s", query->name, error->message);
	}
}

static void
run_all(const MaQuery *query, char **params, const int *which, int n, Datum *rows)
{
	Oid			role = get_role_oid(query->role, true);
	Oid			argtypes[MA_MAX_PARAMS];
	Datum		values[MA_MAX_PARAMS];
	char	  **column = palloc_array(char *, Max(n, 1));
	MaIdentity	restricted;
	MaRows		found;

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", query->role),
				 errhint("Define the query again.")));
	argtypes[0] = INT4ARRAYOID;
	values[0] = ma_int4_array(which, n);
	for (int j = 0; j < query->nparams; j++)
	{
		for (int i = 0; i < n; i++)
			column[i] = params[which[i] * query->nparams + j];
		argtypes[j + 1] = TEXTARRAYOID;
		values[j + 1] = ma_text_array(column, n);
	}
	ma_become_restricted(&restricted, role);
	found = ma_run_once(batch_sql(query), query->nparams + 1, argtypes, values, NULL,
				MA_RUN_READ_LATEST);
	ma_become_back(&restricted);
	for (uint64 i = 0; i < found.n; i++)
	{
		bool		isnull;
		Datum		array = ma_value(&found, i, 2, &isnull);

		rows[ma_int32(&found, i, 1)] = JsonbPGetDatum(DatumGetJsonbPCopy(array));
	}
}

/* The statement for a batch: the author's SELECT for each message, its rows as one array. */
static char *
batch_sql(const MaQuery *query)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT ma_message.n, ma_rows.list FROM ROWS FROM (pg_catalog.unnest($1)");
	for (int i = 0; i < query->nparams; i++)
		appendStringInfo(&sql, ", pg_catalog.unnest($%d)", i + 2);
	appendStringInfoString(&sql, ") AS ma_message (n");
	for (int i = 0; i < query->nparams; i++)
		appendStringInfo(&sql, ", p%d", i + 1);
	appendStringInfo(&sql, ") CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.jsonb_agg("
					 "pg_catalog.to_jsonb(ma_row)), '[]') AS list FROM (%s\n) AS ma_row) AS ma_rows",
					 with_parameters(query));
	return sql.data;
}

/* The text with each $n as the value of the message, in the parameter's type. */
static char *
with_parameters(const MaQuery *query)
{
	const char *sql = query->sql;
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		location;
	core_yyscan_t scanner = scanner_init(sql, &extra, &ScanKeywords, ScanKeywordTokens);
	StringInfoData out;
	int			from = 0;

	initStringInfo(&out);
	while (core_yylex(&value, &location, scanner) != 0)
	{
		int			end = location + 1;
		int			number;

		/* No other token has a dollar and a digit at its start. */
		if (sql[location] != '$' || !isdigit((unsigned char) sql[end]))
			continue;
		number = atoi(sql + end);
		if (number < 1 || number > query->nparams)
			elog(ERROR, "cannot happen: parameter $%d of %d", number, query->nparams);
		while (isdigit((unsigned char) sql[end]))
			end++;
		appendBinaryStringInfo(&out, sql + from, location - from);
		appendStringInfo(&out, "(ma_message.p%d)::%s", number, query->types[number - 1]);
		from = end;
	}
	scanner_finish(scanner);
	appendStringInfoString(&out, sql + from);
	return out.data;
}
