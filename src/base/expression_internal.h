/*
 * expression_internal.h
 *		What expression.c and scoped_expression.c share; private to base/.
 */
#ifndef MA_BASE_EXPRESSION_INTERNAL_H
#define MA_BASE_EXPRESSION_INTERNAL_H

#include "base/base.h"
#include "nodes/primnodes.h"
#include "parser/parse_node.h"

/* The raw tree of `source`, which must be one expression and nothing more. */
extern Node *ma_expression_parse(const char *source, const char *what);

/*
 * Refuses node kinds and functions that depend on more than the row, at their place in
 * `source` (NULL: without one); returns whether only built-in functions are used.
 */
extern bool ma_expression_check_tree(Node *tree, const char *what, const char *source);

/*
 * The same for one that may hold sub-selects and call the function `clock`: *relations
 * becomes what they read, *subquery whether there are any.
 */
extern bool ma_expression_check_queries(Node *tree, const char *what, const char *source,
										Oid clock, List **relations, bool *subquery);

/*
 * True for types whose values hold what users wrote: composite ones, domains, ranges, and
 * arrays of these.  Their input may call functions of users.
 */
extern bool ma_makes_user_value(Oid type);

/* ---- literals.c ---- */

/* What the literals of an expression are, while they are parameters. */
typedef struct MaLiterals
{
	const char *what;			/* names the expression in errors */
	List	   *texts;			/* char * */
} MaLiterals;

/* Makes a parameter of each literal in a raw tree; false if there is none. */
extern bool ma_literals_take(Node *raw, MaLiterals *literals);

/*
 * Has the parser refuse those that would be of a type which makes values of users.  The
 * state of its hooks begins with the MaLiterals.
 */
extern void ma_literals_watch(ParseState *pstate);

#endif							/* MA_BASE_EXPRESSION_INTERNAL_H */
