/*
 * lookup.c
 *		Columns of lookup tables in conditions on an event: product.category.
 *
 * Each is a sub-select by the lookup's unique key, made here and not parsed: so the
 * row's own sub-selects stay refused, and evaluator and plain SQL read the same.
 * Rows are read as the owner of the event's table, who must be allowed to read the
 * lookup's as well.  A change of a lookup's row is captured (contacts/attach/lookups.c).
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rules/leaf.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define ROW "l"					/* the lookup's row within the sub-select */

static MaLookup *find(const MaEventSource *part, const char *name);
static void check(MaLeaf *leaf, const MaEventSource *part, const MaLookup *lookup,
				  const char *column, int location);
static void require_select(MaLeaf *leaf, Oid relid, const char *column, Oid role, int location,
						   const MaEventSource *part);
static Node *subselect(const MaLookup *lookup, const char *column);

static MaLookup *
find(const MaEventSource *part, const char *name)
{
	ListCell   *cell;

	foreach(cell, part != NULL ? part->lookups : NIL)
		if (strcmp(((MaLookup *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/* `part` is the one whose rows are read by its table's owner; NULL: the definer is meant. */
static void
require_select(MaLeaf *leaf, Oid relid, const char *column, Oid role, int location,
			   const MaEventSource *part)
{
	bool		usable = object_aclcheck(NamespaceRelationId, get_rel_namespace(relid), role,
										 ACL_USAGE) == ACLCHECK_OK;

	if (usable && (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
				   pg_attribute_aclcheck(relid, get_attnum(relid, column), role,
										 ACL_SELECT) == ACLCHECK_OK))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s: permission denied for column \"%s\" of table \"%s\"", leaf->parser->what,
					column, get_rel_name(relid)),
			 part == NULL ? errhint("Who defines a rule needs SELECT on what it reads.") :
			 errdetail("It is read with the rights of %s, who owns table \"%s\".",
					   GetUserNameFromId(role, false), part->table->name),
			 part == NULL ? 0 : errhint("Run GRANT SELECT ON %s TO %s.", get_rel_name(relid),
										GetUserNameFromId(role, false)),
			 ma_rule_place(leaf->parser->text, ma_leaf_byte(leaf, location))));
}

/* The column is there and may be read. */
static void
check(MaLeaf *leaf, const MaEventSource *part, const MaLookup *lookup, const char *column,
	  int location)
{
	Oid			relid = lookup->table->relid;
	AttrNumber	number;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s: table \"%s\" of lookup \"%s\" is gone", leaf->parser->what,
						lookup->table->name, lookup->name),
				 ma_rule_place(leaf->parser->text, ma_leaf_byte(leaf, location))));
	number = get_attnum(relid, column);
	if (number <= 0)
	{
		char	   *nearest = ma_nearest(column, ma_column_names(relid));

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s: there is no column \"%s\"", leaf->parser->what, column),
				 errdetail("\"%s\" is a row of table \"%s\" here.", lookup->name,
						   get_rel_name(relid)),
				 nearest ? errhint("Did you mean %s?", nearest) : 0,
				 ma_rule_place(leaf->parser->text, ma_leaf_byte(leaf, location))));
	}
	ma_column_require_stored(relid, number);
	if (!OidIsValid(leaf->parser->definer))
		return;
	require_select(leaf, relid, column, leaf->parser->definer, location, NULL);
	require_select(leaf, relid, column, ma_relation_owner(part->table->relid), location, part);
}

/* (SELECT l.column FROM table AS l WHERE l.key = t.link) */
static Node *
subselect(const MaLookup *lookup, const char *column)
{
	Oid			relid = lookup->table->relid;
	Oid			type = ma_lookup_key_type(lookup);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	SelectStmt *select = makeNode(SelectStmt);
	SubLink    *link = makeNode(SubLink);
	ResTarget  *target = makeNode(ResTarget);
	RangeVar   *table = makeRangeVar(get_namespace_name(get_rel_namespace(relid)),
									 get_rel_name(relid), -1);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	char	   *schema;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cannot happen: key type %u without equality", type);
	schema = get_namespace_name(((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace);
	ReleaseSysCache(tuple);
	table->alias = makeAlias(ROW, NIL);
	/* A name of its own, or a renamed column would be printed with its old one. */
	target->name = "value";
	target->val = ma_scope_column(ROW, column);
	target->location = -1;
	select->targetList = list_make1(target);
	select->fromClause = list_make1(table);
	select->whereClause = (Node *)
		makeA_Expr(AEXPR_OP, list_make2(makeString(schema), makeString("=")),
				   ma_scope_column(ROW, lookup->key_column),
				   ma_scope_column(MA_ROW_ALIAS, lookup->link_column), -1);
	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) select;
	link->location = -1;
	return (Node *) link;
}

MaLookup *
ma_leaf_take_lookup(MaLeaf *leaf, const char *name, const char *column, int location)
{
	MaLookup   *lookup = find(leaf->source_part, name);

	if (lookup == NULL)
		return NULL;
	check(leaf, leaf->source_part, lookup, column, location);
	leaf->lookups = list_append_unique_ptr(leaf->lookups, lookup);
	leaf->lookup_columns = lappend(leaf->lookup_columns, psprintf("%s.%s", name, column));
	return lookup;
}

Node *
ma_leaf_lookup(MaLeaf *leaf, const char *name, const char *column, int location)
{
	MaLookup   *lookup = ma_leaf_take_lookup(leaf, name, column, location);
	ListCell   *cell;

	if (lookup != NULL)
		return subselect(lookup, column);
	/* Rows of another table of the event have it: null here, of its type. */
	foreach(cell, leaf->parts)
	{
		MaEventSource *part = lfirst(cell);
		TypeCast   *cast;
		Oid			type;

		lookup = find(part, name);
		if (lookup == NULL)
			continue;
		check(leaf, part, lookup, column, location);
		type = get_atttype(lookup->table->relid, get_attnum(lookup->table->relid, column));
		cast = makeNode(TypeCast);
		cast->arg = ma_scope_null();
		cast->typeName = ma_type_name(ma_leaf_type(type));
		cast->location = -1;
		return (Node *) cast;
	}
	return NULL;
}

Oid
ma_lookup_key_type(const MaLookup *lookup)
{
	Oid			relid = lookup->table->relid;
	AttrNumber	number = get_attnum(relid, lookup->key_column);

	return number > 0 ? getBaseType(get_atttype(relid, number)) : InvalidOid;
}

char *
ma_leaf_type(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

List *
ma_lookup_names(const List *parts, const char *column)
{
	List	   *names = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, parts)
	{
		MaEventSource *part = lfirst(cell);

		foreach(inner, part != NULL ? part->lookups : NIL)
			names = lappend(names, psprintf("%s.%s", ((MaLookup *) lfirst(inner))->name,
											column));
	}
	return names;
}
