/*
 * scoped_expression.c
 *		One SQL expression over several rows, whose names are resolved by the caller.
 *
 * As expression.c, for the leaves of rules: there `city` may be a column of one of
 * several tables or a member of a jsonb, and errors belong at their place in the
 * rule.  PostgreSQL's parser asks a hook for each name; what the hook gives is
 * analysed in its place, so that types and operators come out as always.
 */
#include "base/base.h"

#include "access/table.h"
#include "base/expression_internal.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

typedef struct HookState
{
	MaLiterals	literals;		/* must be first */
	const MaScope *scope;
	bool		inner;			/* what resolve() gave is being analysed */
} HookState;

typedef struct Place
{
	const char *whole;
	const char *what;
} Place;

static void place_callback(void *arg);
static Node *column_hook(ParseState *pstate, ColumnRef *reference);
static ParseState *open_scope(const char *source, const MaScope *scope, HookState *state);
static void close_scope(ParseState *pstate);
static Node *analyse(ParseState *pstate, Node *raw, Oid type, const char *what);
static void check_literals(const char *source, const MaScope *scope, Oid type, const char *what);
static List *reads_of(Node *tree, const ParseState *pstate, const char *what);
static char *deparse(Node *tree, const ParseState *pstate, const MaScope *scope);

/* Puts the caret of a parser's error into the whole text. */
static void
place_callback(void *arg)
{
	Place	   *place = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(place->whole);
	}
}

MaScopedExpression *
ma_scoped_expression_check(const char *source, const char *whole, const MaScope *scope, Oid type,
						   const char *what)
{
	MaScopedExpression *result = palloc0_object(MaScopedExpression);
	HookState	state = {{what}, scope};
	Place		place = {whole, what};
	ErrorContextCallback callback;
	ParseState *pstate;
	int			nest_level = -1;

	callback.callback = place_callback;
	callback.arg = &place;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	if (scope->search_path != NULL)
	{
		nest_level = NewGUCNestLevel();
		(void) set_config_option("search_path", scope->search_path, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	check_literals(source, scope, type, what);
	pstate = open_scope(source, scope, &state);
	result->tree = analyse(pstate, ma_expression_parse(source, what), type, what);
	ma_unpin_settings(nest_level);
	result->builtin_only = ma_expression_check_tree(result->tree, what, source);
	result->reads = reads_of(result->tree, pstate, what);
	error_context_stack = callback.previous;

	result->type = exprType(result->tree);
	result->text = deparse(result->tree, pstate, scope);
	close_scope(pstate);
	return result;
}

/* A parse state that knows the tables and asks the hook for names. */
static ParseState *
open_scope(const char *source, const MaScope *scope, HookState *state)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	pstate->p_pre_columnref_hook = column_hook;
	pstate->p_ref_hook_state = state;
	for (int i = 0; i < scope->ntables; i++)
	{
		Relation	relation = table_open(scope->tables[i].relid, AccessShareLock);
		ParseNamespaceItem *item;

		item = addRangeTableEntryForRelation(pstate, relation, AccessShareLock,
											 makeAlias(scope->tables[i].alias, NIL), false, true);
		addNSItemToQuery(pstate, item, true, true, false);
		table_close(relation, NoLock);
	}
	return pstate;
}

static void
close_scope(ParseState *pstate)
{
	pstate->p_target_relation = NULL;
	free_parsestate(pstate);
}

/* Names are the caller's; within what he gave for one they are the aliases'. */
static Node *
column_hook(ParseState *pstate, ColumnRef *reference)
{
	HookState  *state = pstate->p_ref_hook_state;
	List	   *names = NIL;
	Node	   *raw;
	Node	   *tree;
	ListCell   *cell;

	if (state->inner)
		return NULL;
	foreach(cell, reference->fields)
	{
		if (!IsA(lfirst(cell), String))
			ereport(ERROR,
					(errcode(ERRCODE_MA_INVALID_EXPRESSION),
					 errmsg("\"*\" is not allowed here"),
					 parser_errposition(pstate, reference->location)));
		names = lappend(names, strVal(lfirst(cell)));
	}
	raw = state->scope->resolve(names, reference->location, state->scope->arg);
	state->inner = true;
	tree = transformExpr(pstate, raw, pstate->p_expr_kind);
	state->inner = false;
	return tree;
}

/* Parse analysis, coerced to `type`. */
static Node *
analyse(ParseState *pstate, Node *raw, Oid type, const char *what)
{
	Node	   *tree = transformExpr(pstate, raw, EXPR_KIND_WHERE);

	if (exprType(tree) == UNKNOWNOID && type == InvalidOid)
		type = TEXTOID;
	if (OidIsValid(type))
	{
		Node	   *coerced = coerce_to_target_type(pstate, tree, exprType(tree), type, -1,
													type == BOOLOID ? COERCION_ASSIGNMENT :
													COERCION_EXPLICIT,
													type == BOOLOID ? COERCE_IMPLICIT_CAST :
													COERCE_EXPLICIT_CAST, -1);

		if (coerced == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s: type %s is expected, not %s", what,
							format_type_be(type), format_type_be(exprType(tree))),
					 parser_errposition(pstate, exprLocation(tree))));
		tree = coerced;
	}
	assign_expr_collations(pstate, tree);
	return tree;
}

/* Errors out if a literal would be of a type whose input may call a user's function. */
static void
check_literals(const char *source, const MaScope *scope, Oid type, const char *what)
{
	HookState	state = {{what}, scope};
	Node	   *raw = ma_expression_parse(source, what);
	ParseState *pstate;

	if (!ma_literals_take(raw, &state.literals))
		return;
	pstate = open_scope(source, scope, &state);
	ma_literals_watch(pstate);
	(void) analyse(pstate, raw, type, what);
	close_scope(pstate);
}

/* The columns the tree reads; whole rows and system columns are refused. */
static List *
reads_of(Node *tree, const ParseState *pstate, const char *what)
{
	List	   *reads = NIL;
	ListCell   *cell;
	ListCell   *seen;

	foreach(cell, pull_var_clause(tree, 0))
	{
		Var		   *var = lfirst_node(Var, cell);
		RangeTblEntry *entry = rt_fetch(var->varno, pstate->p_rtable);
		MaScopeRead *read = palloc_object(MaScopeRead);
		bool		known = false;

		if (var->varattno <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_MA_INVALID_EXPRESSION),
					 errmsg("%s reads a whole row or a system column", what)));
		ma_column_require_stored(entry->relid, var->varattno);
		read->table = var->varno - 1;
		read->attnum = var->varattno;
		read->column = get_attname(entry->relid, var->varattno, false);
		foreach(seen, reads)
			known |= ((MaScopeRead *) lfirst(seen))->table == read->table &&
				((MaScopeRead *) lfirst(seen))->attnum == read->attnum;
		if (!known)
			reads = lappend(reads, read);
	}
	return reads;
}

/*
 * The tree as SQL over the aliases.  A context for several tables is only made for
 * plans, so it gets one that holds nothing but the tables.
 */
static char *
deparse(Node *tree, const ParseState *pstate, const MaScope *scope)
{
	PlannedStmt *plan = makeNode(PlannedStmt);
	List	   *names = NIL;

	plan->commandType = CMD_SELECT;
	plan->rtable = pstate->p_rtable;
	for (int i = 0; i < scope->ntables; i++)
		names = lappend(names, unconstify(char *, scope->tables[i].alias));
	return deparse_expression(tree, deparse_context_for_plan_tree(plan, names), true, false);
}

Node *
ma_scope_column(const char *alias, const char *column)
{
	ColumnRef  *reference = makeNode(ColumnRef);

	reference->fields = list_make2(makeString(pstrdup(alias)), makeString(pstrdup(column)));
	reference->location = -1;
	return (Node *) reference;
}

/* (alias.column ->> 'member')::type */
Node *
ma_scope_member(const char *alias, const char *column, const char *member, const char *type)
{
	A_Const    *name = makeNode(A_Const);
	Node	   *value;
	TypeCast   *cast;

	name->val.sval.type = T_String;
	name->val.sval.sval = pstrdup(member);
	name->location = -1;
	value = (Node *) makeA_Expr(AEXPR_OP, list_make2(makeString("pg_catalog"), makeString("->>")),
								ma_scope_column(alias, column), (Node *) name, -1);
	if (type == NULL)
		return value;
	cast = makeNode(TypeCast);
	cast->arg = value;
	cast->typeName = ma_type_name(type);
	cast->location = -1;
	return (Node *) cast;
}

Node *
ma_scope_null(void)
{
	A_Const    *value = makeNode(A_Const);

	value->isnull = true;
	value->location = -1;
	return (Node *) value;
}
