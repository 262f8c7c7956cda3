/*
 * columns.h
 *		Helpers around SQL leaves; private to rules/.
 */
#ifndef MA_RULES_COLUMNS_H
#define MA_RULES_COLUMNS_H

#include "rules/rules_internal.h"

/* The alias under which leaves name the rows of a source of contacts. */
extern char *ma_source_alias(const MaSource *source);

/* A column of an event's row, or a property: how it is read from the row's image. */
typedef struct MaMemberType
{
	bool		known;
	char	   *type;			/* as SQL; NULL: text */
	char	   *unfit;			/* a type that has no text in an image; else NULL */
	List	   *candidates;		/* names (char *), where it is not known */
} MaMemberType;

extern MaMemberType ma_event_member(MaDefinitions *definitions, const MaEvent *event,
									const char *name);

/*
 * What is not built in makes the rule one for the worker, and runs with the rights of
 * the table's owner (InvalidOid: ours), who must be no superuser.
 */
extern void ma_check_functions(MaParser *parser, int byte, bool builtin_only, Oid relid);

#endif							/* MA_RULES_COLUMNS_H */
