/*
 * expression.c
 *		One SQL expression over one row: parsed alone, checked, made canonical.
 *
 * A user's text never reaches a statement of ours as it is.  PostgreSQL's own
 * parser reads it as one expression (so that "true) OR (true" is a syntax
 * error), the analysed tree is checked, and what is stored is the text printed
 * back from that tree: names qualified, literals typed, columns as t.column.
 *
 * Allowed is what depends on the row only: no subquery, no aggregate, nothing
 * volatile, and none of the stable functions that read the session, the clock or
 * other tables.
 */
#include "base/base.h"

#include "base/expression_internal.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

typedef struct CheckContext
{
	const char *what;
	const char *source;			/* NULL: an error has no place */
	int			location;		/* of the node looked at */
	bool		builtin_only;
	bool		queries;		/* sub-selects are allowed */
	Oid			clock;			/* then this function, too */
	bool		subquery;		/* there is one */
	List	   *relations;		/* Oid: that they read */
} CheckContext;

typedef struct PlaceContext
{
	const char *source;
	const char *what;
} PlaceContext;

static Node *analyse(const char *source, Node *raw, Relation relation, const char *alias, Oid type,
					 const char *what, MaLiterals *literals);
static Node *analyse_checked(const char *source, Relation relation, const char *alias, Oid type,
							 const char *what);
static bool has_virtual_column(TupleDesc desc);
static bool prints_value(Node *node, void *context);
static bool check_walker(Node *node, CheckContext *context);
static void check_query(Query *query, CheckContext *context);
static bool check_function(Oid function, void *context);
static bool runs_builtin_only(Node *node);
static bool is_plain_call(const FuncExpr *call);
static bool reaches_outside(const char *name, int nargs);
static List *columns_of(Node *tree, Oid relid, const char *what);
static void place_callback(void *arg);
static void refuse(const char *what, const char *detail) pg_attribute_noreturn();
static void refuse_node(const CheckContext *context, const char *detail) pg_attribute_noreturn();

/* Puts the caret of a parser's error into the expression's own text. */
static void
place_callback(void *arg)
{
	PlaceContext *place = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(place->source);
	}
	errcontext("%s", place->what);
}

static void
refuse(const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_INVALID_EXPRESSION),
			 errmsg("%s is not allowed as an expression over one row", what),
			 errdetail_internal("%s", detail),
			 errhint("Use columns of the table, constants, operators and functions that depend on their arguments only.")));
}

MaExpression *
ma_expression_check(const char *source, Oid relid, Oid type, const char *what)
{
	MaExpression *result = palloc0_object(MaExpression);
	Relation	relation;
	Node	   *tree;
	PlaceContext place = {source, what};
	ErrorContextCallback callback;
	int			nest_level;

	callback.callback = place_callback;
	callback.arg = &place;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	relation = table_open(relid, AccessShareLock);
	tree = analyse_checked(source, relation, NULL, type, what);
	error_context_stack = callback.previous;

	result->builtin_only = ma_expression_check_tree(tree, what, NULL);
	result->type = exprType(tree);
	result->columns = columns_of(tree, relid, what);

	nest_level = ma_pin_settings();
	result->text = deparse_expression(tree, deparse_context_for("t", relid), true, false);
	ma_unpin_settings(nest_level);
	table_close(relation, NoLock);
	return result;
}

bool
ma_expression_check_tree(Node *tree, const char *what, const char *source)
{
	CheckContext context = {what, source, -1, true};

	(void) check_walker(tree, &context);
	return context.builtin_only;
}

bool
ma_expression_is_builtin(const char *text, Oid relid, const char *what)
{
	Relation	relation = table_open(relid, AccessShareLock);
	Node	   *tree = analyse_checked(text, relation, "t", InvalidOid, what);

	table_close(relation, NoLock);
	return ma_expression_check_tree(tree, what, NULL);
}

ExprState *
ma_expression_compile(const char *text, Oid relid, const char *what)
{
	Relation	relation = table_open(relid, AccessShareLock);
	bool		plain = !has_virtual_column(RelationGetDescr(relation));
	int			nest_level = ma_pin_settings();
	Node	   *tree = analyse_checked(text, relation, "t", InvalidOid, what);

	ma_unpin_settings(nest_level);
	table_close(relation, NoLock);
	if (!plain || checkExprHasSubLink(tree) || !ma_expression_check_tree(tree, what, NULL))
		return NULL;
	tree = (Node *) expression_planner((Expr *) tree);
	if (contain_mutable_functions(tree) || prints_value(tree, NULL))
		return NULL;
	return ExecInitExpr((Expr *) tree, NULL);
}

/* The row itself does not hold what such a column is. */
static bool
has_virtual_column(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
		if (ma_is_virtual(TupleDescAttr(desc, i)->attgenerated))
			return true;
	return false;
}

/* True if a value is made a text by its output function, which may heed settings of the session. */
static bool
prints_value(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceViaIO) &&
		TypeCategory(exprType((Node *) castNode(CoerceViaIO, node)->arg)) != TYPCATEGORY_STRING)
		return true;
	return expression_tree_walker(node, prints_value, context);
}

bool
ma_expression_check_queries(Node *tree, const char *what, const char *source, Oid clock,
							List **relations, bool *subquery)
{
	CheckContext context = {what, source, -1, true, true, clock};

	(void) check_walker(tree, &context);
	*relations = context.relations;
	*subquery = context.subquery;
	return context.builtin_only;
}

/* Refuses, with the place of the node if there is a text to point into. */
static void
refuse_node(const CheckContext *context, const char *detail)
{
	if (context->source == NULL || context->location < 0)
		refuse(context->what, detail);
	ereport(ERROR,
			(errcode(ERRCODE_MA_INVALID_EXPRESSION),
			 errmsg("%s is not allowed as an expression over one row", context->what),
			 errdetail_internal("%s", detail),
			 context->queries ?
			 errhint("The time is marketing.now(); what else it calls must not read it.") :
			 errhint("Use columns of the table, constants, operators and functions that depend on their arguments only."),
			 errposition(pg_mbstrlen_with_len(context->source, context->location) + 1)));
}

bool
ma_error_of_expression(int sqlerrcode)
{
	switch (sqlerrcode)
	{
			/* Of a value that a domain refuses; other constraints are not of expressions. */
		case ERRCODE_CHECK_VIOLATION:
		case ERRCODE_NOT_NULL_VIOLATION:
			return true;
	}
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_CARDINALITY_VIOLATION:
		case ERRCODE_SQL_ROUTINE_EXCEPTION:
		case ERRCODE_EXTERNAL_ROUTINE_EXCEPTION:
		case ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION:
		case ERRCODE_PLPGSQL_ERROR:
		case ERRCODE_TO_CATEGORY(ERRCODE_MA_INVALID_RULE):
			return true;
		default:
			return false;
	}
}

void
ma_expression_failed(const char *what, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	/* Before the flush: what was made in a PG_CATCH block lies in the context it resets. */
	error->context = psprintf("%s, of a row that is there", what);
	FlushErrorState();
	ReThrowError(error);
}

/* The raw tree of `source`, which must be one expression and nothing more. */
Node *
ma_expression_parse(const char *source, const char *what)
{
	List	   *statements = raw_parser(source, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	ResTarget  *target;

	if (select->targetList == NIL && select->valuesLists == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s is empty", what),
				 errhint("Give an SQL expression over the columns of the table, or leave it out.")));
	if (list_length(statements) != 1 || list_length(select->targetList) != 1 ||
		select->distinctClause || select->intoClause || select->fromClause ||
		select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause ||
		select->withClause || select->op != SETOP_NONE)
		refuse(what, "It holds more than one expression.");
	target = linitial_node(ResTarget, select->targetList);
	/* "status like" and "total paid" read as an expression and its alias. */
	if (target->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s is incomplete: the word \"%s\" at its end belongs to nothing",
						what, target->name),
				 errhint("Something is missing before or after it.")));
	return target->val;
}

/* The analysed tree of an expression whose literals call nothing of users; see literals.c. */
static Node *
analyse_checked(const char *source, Relation relation, const char *alias, Oid type,
				const char *what)
{
	MaLiterals	literals = {what};
	Node	   *raw = ma_expression_parse(source, what);

	if (ma_literals_take(raw, &literals))
		(void) analyse(source, raw, relation, alias, type, what, &literals);
	return analyse(source, ma_expression_parse(source, what), relation, alias, type, what, NULL);
}

/* Parse analysis against the columns of the relation, coerced to `type`. */
static Node *
analyse(const char *source, Node *raw, Relation relation, const char *alias, Oid type,
		const char *what, MaLiterals *literals)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node	   *tree;

	/* All columns are no expression: transformExpr() would take the star for a name, and crash. */
	if (IsA(raw, ColumnRef) && IsA(linitial(castNode(ColumnRef, raw)->fields), A_Star))
		refuse(what, "It reads the whole row or a system column.");
	pstate->p_sourcetext = source;
	if (literals != NULL)
	{
		pstate->p_ref_hook_state = literals;
		ma_literals_watch(pstate);
	}
	item = addRangeTableEntryForRelation(pstate, relation, AccessShareLock,
										 alias ? makeAlias(alias, NIL) : NULL, false, true);
	addNSItemToQuery(pstate, item, true, true, true);
	tree = transformExpr(pstate, raw, EXPR_KIND_WHERE);
	if (exprType(tree) == UNKNOWNOID && type == InvalidOid)
		type = TEXTOID;
	if (OidIsValid(type))
	{
		Node	   *coerced = coerce_to_target_type(pstate, tree, exprType(tree), type, -1,
													COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);

		if (coerced == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s must be of type %s, not %s", what,
							format_type_be(type), format_type_be(exprType(tree))),
					 parser_errposition(pstate, exprLocation(tree))));
		tree = coerced;
	}
	assign_expr_collations(pstate, tree);
	return tree;
}

/* Refuses node kinds and functions that do not depend on the row alone. */
static bool
check_walker(Node *node, CheckContext *context)
{
	if (node == NULL)
		return false;
	if (exprLocation(node) >= 0)
		context->location = exprLocation(node);
	/* One without a place was put there by us. */
	if (IsA(node, SubLink) && !context->queries && castNode(SubLink, node)->location >= 0)
		refuse_node(context, "It holds a subquery.");
	if (IsA(node, SQLValueFunction))
		refuse_node(context, "It reads the clock or the session (CURRENT_DATE, CURRENT_USER and the like).");
	if (IsA(node, NextValueExpr) || IsA(node, CurrentOfExpr))
		refuse_node(context, "It holds a sequence or cursor.");
	context->builtin_only &= runs_builtin_only(node);
	check_functions_in_node(node, check_function, context);
	if (IsA(node, Query))
	{
		check_query(castNode(Query, node), context);
		return query_tree_walker(castNode(Query, node), check_walker, context, 0);
	}
	return expression_tree_walker(node, check_walker, context);
}

/* A sub-select only reads, and what it reads is there for every session. */
static void
check_query(Query *query, CheckContext *context)
{
	ListCell   *cell;

	context->subquery = true;
	if (query->commandType != CMD_SELECT || query->rowMarks != NIL || query->hasModifyingCTE)
		refuse_node(context, "It locks or changes rows.");
	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind != RTE_RELATION)
			continue;
		if (entry->tablesample != NULL)
			refuse_node(context, "It samples a table.");
		if (get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP)
			refuse_node(context, psprintf("Table \"%s\" is a temporary one.",
										  get_rel_name(entry->relid)));
		context->relations = list_append_unique_oid(context->relations, entry->relid);
	}
}

/*
 * False for a node that may run what users wrote although its function, if it has
 * one, is built in: a value of a user's type is made, and what checks a domain is
 * reached by the input of every type that holds one.  Kinds of node that are not
 * known here count as such.  The functions themselves are check_function()'s.
 */
static bool
runs_builtin_only(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Const:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_ConvertRowtypeExpr:
		case T_CoerceToDomain:
			return !ma_makes_user_value(exprType(node));
		case T_FuncExpr:
			return is_plain_call(castNode(FuncExpr, node));
		case T_Var:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_NamedArgExpr:
		case T_SubscriptingRef:
		case T_FieldSelect:
		case T_CollateExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_RowCompareExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_XmlExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CoerceToDomainValue:
		case T_List:
		case T_SubLink:
		case T_Query:
		case T_TargetEntry:
		case T_FromExpr:
		case T_JoinExpr:
		case T_RangeTblRef:
		case T_RangeTblFunction:
		case T_CommonTableExpr:
		case T_SetOperationStmt:
		case T_Aggref:
		case T_WindowFunc:
		case T_WindowClause:
		case T_GroupingFunc:
			return true;
		default:
			return false;
	}
}

/*
 * False for a function that works on any type and may make values of it: the input
 * functions, which take the type as a number and its text as cstring, and those of
 * JSON, which fill rows field by field and heed casts that users made.
 */
static bool
is_plain_call(const FuncExpr *call)
{
	char	   *name = get_func_name(call->funcid);
	bool		json = name == NULL || strstr(name, "json") != NULL;
	ListCell   *cell;

	foreach(cell, call->args)
	{
		Oid			type = exprType(lfirst(cell));

		if (type == CSTRINGOID ||
			(json && (type >= FirstNormalObjectId || type == RECORDOID)))
			return false;
	}
	return true;
}

/*
 * True for types that hold what users wrote: composite ones, domains, ranges, and
 * arrays of these.  A user's enum has only labels; base types are superusers'.
 */
bool
ma_makes_user_value(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		type = element;
	return type >= FirstNormalObjectId && get_typtype(type) != TYPTYPE_ENUM &&
		get_typtype(type) != TYPTYPE_BASE;
}

/* check_functions_in_node() callback; never stops the walk, errors instead. */
static bool
check_function(Oid function, void *arg)
{
	CheckContext *context = arg;
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		allowed;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cannot happen: no function with OID %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	allowed = proc->provolatile == PROVOLATILE_IMMUTABLE ||
		(proc->provolatile == PROVOLATILE_STABLE &&
		 !(proc->pronamespace == PG_CATALOG_NAMESPACE &&
		   reaches_outside(NameStr(proc->proname), proc->pronargs)));
	if (!allowed)
		refuse_node(context, psprintf("Function %s depends on more than its arguments.",
									  format_procedure(function)));
	if (function >= FirstNormalObjectId && function != context->clock)
		context->builtin_only = false;
	ReleaseSysCache(tuple);
	return false;
}

/* Stable functions of pg_catalog that read the session, the clock or tables. */
static bool
reaches_outside(const char *name, int nargs)
{
	static const char *const prefixes[] = {"pg_", "has_", "current_", "txid_", "inet_client_",
	"inet_server_", "to_reg", "row_security", "get_current_ts", "col_description", "obj_description",
	"shobj_description"};
	static const char *const names[] = {"now", "transaction_timestamp", "statement_timestamp",
	"version", "session_user", "getpgusername", "getdatabaseencoding", "format_type", "mxid_age"};

	for (int i = 0; i < lengthof(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	/* age() of one argument is the time from it to the current date. */
	return strstr(name, "_to_xml") != NULL || (nargs == 1 && strcmp(name, "age") == 0);
}

/* Names of the columns the tree reads; whole-row and system columns are refused. */
static List *
columns_of(Node *tree, Oid relid, const char *what)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, pull_var_clause(tree, 0))
	{
		Var		   *var = lfirst_node(Var, cell);
		char	   *name;
		ListCell   *seen;
		bool		known = false;

		if (var->varattno <= 0)
			refuse(what, "It reads the whole row or a system column.");
		ma_column_require_stored(relid, var->varattno);
		name = get_attname(relid, var->varattno, false);
		foreach(seen, names)
			known |= strcmp(lfirst(seen), name) == 0;
		if (!known)
			names = lappend(names, name);
	}
	return names;
}
