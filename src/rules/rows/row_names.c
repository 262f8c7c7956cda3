/*
 * row_names.c
 *		What SQL over an event's row names: "model = 'lead'" and "template in ('a', 'b')"
 *		compare a column of an event of our own with what users define, which must not be
 *		dropped under it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* A walk over the condition; its tables are those of row_rule.c, row and entry first. */
typedef struct Walk
{
	const MaEvent *events[2];	/* of the row, and of the entry's (NULL: there is none) */
	List	   *named;			/* MaRowName * */
} Walk;

static bool collect(Node *node, Walk *walk);
static void compare_case(CaseExpr *node, Walk *walk);
static void compare(List *args, Walk *walk);
static Node *bare(Node *node);
static const char *kind_of(Node *node, const Walk *walk);
static List *texts_of(Node *node);

List *
ma_row_names(Node *tree, const MaEvent *event, const MaEvent *entry_event)
{
	Walk		walk = {{event, entry_event}};

	(void) collect(tree, &walk);
	return walk.named;
}

List *
ma_row_names_of(const List *named, const char *kind)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, named)
		if (strcmp(((MaRowName *) lfirst(cell))->kind, kind) == 0)
			names = lappend(names, ((MaRowName *) lfirst(cell))->name);
	return names;
}

/* Whatever the operator is: a name that must not be the one is named as well. */
static bool
collect(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, CaseExpr))
		compare_case((CaseExpr *) node, walk);
	if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr))
		compare(((OpExpr *) node)->args, walk);
	if (IsA(node, ScalarArrayOpExpr))
		compare(((ScalarArrayOpExpr *) node)->args, walk);
	return expression_tree_walker(node, collect, walk);
}

/* CASE model WHEN 'lead': what is compared with stands before all that it is compared with. */
static void
compare_case(CaseExpr *node, Walk *walk)
{
	ListCell   *cell;
	ListCell   *arg;

	foreach(cell, node->arg ? node->args : NIL)
	{
		Node	   *equal = (Node *) lfirst_node(CaseWhen, cell)->expr;

		foreach(arg, IsA(equal, OpExpr) ? ((OpExpr *) equal)->args : NIL)
			compare(list_make2(node->arg, lfirst(arg)), walk);
	}
}

static void
compare(List *args, Walk *walk)
{
	ListCell   *cell;
	ListCell   *other;
	ListCell   *text;

	foreach(cell, args)
	{
		const char *kind = kind_of(bare(lfirst(cell)), walk);

		foreach(other, kind ? args : NIL)
			foreach(text, texts_of(bare(lfirst(other))))
			{
				MaRowName  *named = palloc_object(MaRowName);

				named->kind = kind;
				named->name = lfirst(text);
				walk->named = lappend(walk->named, named);
			}
	}
}

/* Without casts that leave the value as it is. */
static Node *
bare(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/* Of what the node's value is a name, if it is (row ->> 'column') of an event of ours; or NULL. */
static const char *
kind_of(Node *node, const Walk *walk)
{
	const MaBuiltinColumn *column = NULL;
	List	   *args = IsA(node, OpExpr) ? ((OpExpr *) node)->args : NIL;
	List	   *names;
	Var		   *var;

	if (list_length(args) != 2 || !IsA(linitial(args), Var))
		return NULL;
	var = linitial_node(Var, args);
	names = texts_of(lsecond(args));
	if (var->varno > lengthof(walk->events) || names == NIL)
		return NULL;
	if (walk->events[var->varno - 1] != NULL)
		column = ma_builtin_columns(walk->events[var->varno - 1]->name);
	for (; column != NULL && column->name != NULL; column++)
		if (strcmp(column->name, linitial(names)) == 0)
			return column->kind;
	return NULL;
}

/* The texts (char *) of a constant, or of an array of them. */
static List *
texts_of(Node *node)
{
	List	   *texts = NIL;
	const Const *constant;
	Datum	   *items;
	bool	   *nulls;
	int			n;
	ListCell   *cell;

	if (IsA(node, ArrayExpr))
	{
		foreach(cell, ((ArrayExpr *) node)->elements)
			texts = list_concat(texts, texts_of(bare(lfirst(cell))));
		return texts;
	}
	if (!IsA(node, Const) || ((Const *) node)->constisnull)
		return NIL;
	constant = (Const *) node;
	if (constant->consttype == TEXTOID)
		return list_make1(TextDatumGetCString(constant->constvalue));
	if (constant->consttype != TEXTARRAYOID)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1, false, TYPALIGN_INT,
					  &items, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			texts = lappend(texts, TextDatumGetCString(items[i]));
	return texts;
}
