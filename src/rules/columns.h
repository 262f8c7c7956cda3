/*
 * columns.h
 *		Helpers around SQL leaves; private to rules/.
 */
#ifndef MA_RULES_COLUMNS_H
#define MA_RULES_COLUMNS_H

#include "rules/rules_internal.h"

/* The alias under which leaves name the rows of a source of contacts. */
extern char *ma_source_alias(const MaSource *source);

/* Where rows of the event may stand (MaEventSource *; NULL: tracked). */
extern List *ma_event_parts(MaDefinitions *definitions, const MaEvent *event);

/* The column named by the tokens, as text; *type is its own type. */
extern MaAttribute *ma_text_attribute(MaParser *parser, int first, int end, Oid *type);

/* Declared type of a tracked event's property as SQL; NULL if it is not declared. */
extern const char *ma_declared_type(int32 event_id, const char *name);

/*
 * What is not built in makes the rule one for the worker, and runs with the rights of
 * the table's owner (InvalidOid: ours), who must be no superuser.
 */
extern void ma_check_functions(MaParser *parser, int token, bool builtin_only, Oid relid);

#endif							/* MA_RULES_COLUMNS_H */
