/*
 * scoped_expression.c
 *		One SQL expression over several rows, whose names are resolved by the caller.
 *
 * As expression.c, for the leaves of rules: there `city` may be a column of one of
 * several tables or a member of a jsonb, and errors belong at their place in the
 * rule.  PostgreSQL's parser asks a hook for each name; what the hook gives is
 * analysed in its place, so that types and operators come out as always.
 *
 * Within a sub-select PostgreSQL's own rules come first: a name is a column of its
 * tables if they have it, and one of the caller's else.
 */
#include "base/base.h"

#include "access/table.h"
#include "base/expression_internal.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* occurred_at of marketing_internal.event, which stands for a row of the clock. */
#define CLOCK_COLUMN 3

typedef struct HookState
{
	MaLiterals	literals;		/* must be first */
	const MaScope *scope;
	ParseState *top;			/* that of the expression, not of a sub-select */
	bool		inner;			/* what resolve() gave is being analysed */
} HookState;

/* A walk through a tree and its sub-selects. */
typedef struct Walk
{
	int			depth;			/* sub-selects around the node */
	List	   *vars;			/* Var: columns of the expression's own tables */
	Oid			clock;			/* its calls become ... */
	int			clock_table;	/* ... a column of this table */
} Walk;

typedef struct Place
{
	const char *whole;
	const char *what;
} Place;

static void place_callback(void *arg);
static Node *column_hook(ParseState *pstate, ColumnRef *reference);
static Node *nested_hook(ParseState *pstate, ColumnRef *reference, Node *found);
static Node *resolve(ParseState *pstate, ColumnRef *reference);
static bool name_results(Node *node, void *context);
static bool collect_vars(Node *node, Walk *walk);
static Node *replace_clock(Node *node, Walk *walk);
static Node *with_clock_column(Node *tree, Oid clock, const MaScope *scope);
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
	HookState	state = {{what}, scope, NULL, false};
	Place		place = {whole, what};
	ErrorContextCallback callback;
	ParseState *pstate;
	Oid			clock = InvalidOid;
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
	if (scope->subqueries)
	{
		clock = LookupFuncName(list_make2(makeString(MA_SCHEMA), makeString("now")), 0, NULL, true);
		result->builtin_only = ma_expression_check_queries(result->tree, what, source, clock,
														   &result->relations, &result->subquery);
		(void) name_results(result->tree, NULL);
	}
	else
		result->builtin_only = ma_expression_check_tree(result->tree, what, source);
	result->reads = reads_of(result->tree, pstate, what);
	error_context_stack = callback.previous;

	result->type = exprType(result->tree);
	result->text = result->run = deparse(result->tree, pstate, scope);
	if (scope->clock != NULL && scope->subqueries)
	{
		Node	   *tree = with_clock_column(result->tree, clock, scope);

		result->reads = reads_of(tree, pstate, what);
		result->run = deparse(tree, pstate, scope);
	}
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
	pstate->p_post_columnref_hook = nested_hook;
	pstate->p_ref_hook_state = state;
	state->top = pstate;
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

/*
 * Names are the caller's; within what he gave for one they are the aliases'.  In a
 * sub-select those of the expression's own tables are, before PostgreSQL takes them
 * for columns of the rows they stand for.
 */
static Node *
column_hook(ParseState *pstate, ColumnRef *reference)
{
	HookState  *state = pstate->p_ref_hook_state;
	int			depth = 0;
	int			levels_up;
	ParseNamespaceItem *item;

	if (state->inner)
		return NULL;
	if (pstate == state->top)
		return resolve(pstate, reference);
	if (list_length(reference->fields) < 2 || !IsA(linitial(reference->fields), String))
		return NULL;
	for (ParseState *outer = pstate; outer != state->top; outer = outer->parentParseState)
		depth++;
	item = refnameNamespaceItem(pstate, NULL, strVal(linitial(reference->fields)),
								reference->location, &levels_up);
	return item != NULL && levels_up == depth ? resolve(pstate, reference) : NULL;
}

/* A name in a sub-select that is none of its tables' columns. */
static Node *
nested_hook(ParseState *pstate, ColumnRef *reference, Node *found)
{
	HookState  *state = pstate->p_ref_hook_state;

	if (found != NULL || state->inner || pstate == state->top)
		return NULL;
	return resolve(pstate, reference);
}

/* What the caller has for the name, seen from this sub-select. */
static Node *
resolve(ParseState *pstate, ColumnRef *reference)
{
	HookState  *state = pstate->p_ref_hook_state;
	List	   *names = NIL;
	int			depth = 0;
	Node	   *raw;
	Node	   *tree;
	ListCell   *cell;

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
	tree = transformExpr(state->top, raw, EXPR_KIND_WHERE);
	state->inner = false;
	for (ParseState *outer = pstate; outer != state->top; outer = outer->parentParseState)
		depth++;
	if (depth > 0)
		IncrementVarSublevelsUp(tree, depth, 0);
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

/*
 * Results of sub-selects get names of their own: those of columns would be printed
 * as before once the columns are renamed.
 */
static bool
name_results(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
	{
		Query	   *query = castNode(Query, castNode(SubLink, node)->subselect);
		ListCell   *cell;

		foreach(cell, query->targetList)
			if (!lfirst_node(TargetEntry, cell)->resjunk)
				lfirst_node(TargetEntry, cell)->resname = psprintf("value%d",
																   foreach_current_index(cell) + 1);
	}
	if (IsA(node, Query))
		return query_tree_walker(castNode(Query, node), name_results, context, 0);
	return expression_tree_walker(node, name_results, context);
}

/* The columns of the expression's own tables. */
static bool
collect_vars(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && castNode(Var, node)->varlevelsup == walk->depth)
		walk->vars = lappend(walk->vars, node);
	if (IsA(node, Query))
	{
		bool		stop;

		walk->depth++;
		stop = query_tree_walker(castNode(Query, node), collect_vars, walk, 0);
		walk->depth--;
		return stop;
	}
	return expression_tree_walker(node, collect_vars, walk);
}

/* The tree with the clock's column in place of calls of the clock. */
static Node *
with_clock_column(Node *tree, Oid clock, const MaScope *scope)
{
	Walk		walk = {0, NIL, clock, 0};

	for (int i = 0; i < scope->ntables; i++)
		if (strcmp(scope->tables[i].alias, scope->clock) == 0)
			walk.clock_table = i + 1;
	return replace_clock(tree, &walk);
}

static Node *
replace_clock(Node *node, Walk *walk)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr) && castNode(FuncExpr, node)->funcid == walk->clock)
		return (Node *) makeVar(walk->clock_table, CLOCK_COLUMN, TIMESTAMPTZOID, -1, InvalidOid,
								walk->depth);
	if (IsA(node, Query))
	{
		Node	   *query;

		walk->depth++;
		query = (Node *) query_tree_mutator(castNode(Query, node), replace_clock, walk, 0);
		walk->depth--;
		return query;
	}
	return expression_tree_mutator(node, replace_clock, walk);
}

/* The columns the tree reads; whole rows and system columns are refused. */
static List *
reads_of(Node *tree, const ParseState *pstate, const char *what)
{
	List	   *reads = NIL;
	Walk		walk = {0};
	ListCell   *cell;
	ListCell   *seen;

	(void) collect_vars(tree, &walk);
	foreach(cell, walk.vars)
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
