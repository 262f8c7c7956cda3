/*
 * expression_internal.h
 *		What expression.c and scoped_expression.c share; private to base/.
 */
#ifndef MA_BASE_EXPRESSION_INTERNAL_H
#define MA_BASE_EXPRESSION_INTERNAL_H

#include "base/base.h"
#include "nodes/primnodes.h"

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

#endif							/* MA_BASE_EXPRESSION_INTERNAL_H */
