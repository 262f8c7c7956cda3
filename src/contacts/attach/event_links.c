/*
 * event_links.c
 *		"lookup" and "via" of attach_events(): columns that hold a key of another
 *		table, read from JSON, checked, and written back in canonical form.
 *
 * Each is {"table": "orders", "on": "order_id = id"}: left the column of the
 * attached table, right that of the other one, which must be unique there, so
 * that a row has at most one partner.  Tables are stored by qualified name, never
 * by OID; errors name the place in the JSON.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_index.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_oper.h"
#include "parser/scansup.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define SHAPE "Write {\"table\": \"products\", \"on\": \"product_id = id\"}: left the column of the attached table, right that of the other one."

/* A member of a JSON object. */
typedef struct Member
{
	char	   *key;
	JsonbValue	value;
} Member;

static void refuse(const char *path, const char *detail) pg_attribute_noreturn();
static List *object_members(JsonbContainer *object);
static MaLink *read_link(JsonbContainer *object, Oid relid, const char *path);
static char *string_member(const Member *member, const char *path);
static Oid	find_table(const char *name, const char *path);
static void split_on(MaLink *link, const char *on, const char *path);
static char *read_identifier(const char **place);
static void check_via_types(const MaLink *link, Oid relid);
static void check_columns(const MaLink *link, Oid relid, const char *path);
static void append_link(StringInfo json, const MaLink *link);

static void
refuse(const char *path, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is not valid", path),
			 errdetail_internal("%s", detail),
			 errhint(SHAPE)));
}

List *
ma_lookup_read(Jsonb *lookup, Oid relid)
{
	List	   *links = NIL;
	ListCell   *cell;

	if (!JB_ROOT_IS_OBJECT(lookup))
		refuse("lookup", "It must be an object with a name for each table.");
	foreach(cell, object_members(&lookup->root))
	{
		Member	   *member = lfirst(cell);
		char	   *path = psprintf("lookup.%s", member->key);
		MaLink	   *link;

		if (member->key[0] == '\0')
			refuse("lookup", "A name is empty.");
		if (member->value.type != jbvBinary ||
			!JsonContainerIsObject(member->value.val.binary.data))
			refuse(path, "It must be an object with \"table\" and \"on\".");
		link = read_link(member->value.val.binary.data, relid, path);
		link->name = member->key;
		links = lappend(links, link);
	}
	return links;
}

MaLink *
ma_via_read(Jsonb *via, Oid relid)
{
	MaLink	   *link;

	if (!JB_ROOT_IS_OBJECT(via))
		refuse("via", "It must be an object with \"table\" and \"on\".");
	link = read_link(&via->root, relid, "via");
	check_via_types(link, relid);
	return link;
}

/* A link is captured as text and read back in the type of the key it points to. */
static void
check_via_types(const MaLink *link, Oid relid)
{
	Oid			type = get_atttype(relid, get_attnum(relid, link->column));
	Oid			key_type = get_atttype(link->relid, get_attnum(link->relid, link->key));

	ma_key_column_check(relid, link->column);
	ma_key_column_check(link->relid, link->key);
	if (!ma_key_types_alike(getBaseType(type), getBaseType(key_type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("columns \"%s\" and \"%s\" are not of the same type", link->column,
						link->key),
				 errdetail("via.on: the types are %s and %s.",
						   format_type_be(type), format_type_be(key_type))));
}

/* The members of an object in jsonb's own order. */
static List *
object_members(JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *members = NIL;
	Member	   *member = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			member = palloc0_object(Member);
			member->key = pnstrdup(value.val.string.val, value.val.string.len);
		}
		else if (token == WJB_VALUE)
		{
			member->value = value;
			members = lappend(members, member);
		}
	}
	return members;
}

/* One {"table": ..., "on": ...}, checked against both tables. */
static MaLink *
read_link(JsonbContainer *object, Oid relid, const char *path)
{
	MaLink	   *link = palloc0_object(MaLink);
	char	   *table = NULL;
	char	   *on = NULL;
	ListCell   *cell;

	foreach(cell, object_members(object))
	{
		Member	   *member = lfirst(cell);

		if (strcmp(member->key, "table") == 0)
			table = string_member(member, path);
		else if (strcmp(member->key, "on") == 0)
			on = string_member(member, path);
		else
			refuse(psprintf("%s.%s", path, member->key), "There is no such key.");
	}
	if (table == NULL || on == NULL)
		refuse(path, table == NULL ? "It has no \"table\"." : "It has no \"on\".");
	link->relid = find_table(table, psprintf("%s.table", path));
	path = psprintf("%s.on", path);
	split_on(link, on, path);
	check_columns(link, relid, path);
	return link;
}

static char *
string_member(const Member *member, const char *path)
{
	if (member->value.type != jbvString)
		refuse(psprintf("%s.%s", path, member->key), "It must be a string.");
	return pnstrdup(member->value.val.string.val, member->value.val.string.len);
}

/* The table of this name under the caller's search path, which the caller may read. */
static Oid
find_table(const char *name, const char *path)
{
	List	   *parts = textToQualifiedNameList(cstring_to_text(name));
	RangeVar   *range = makeRangeVarFromNameList(parts);
	Oid			relid = RangeVarGetRelid(range, AccessShareLock, true);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" does not exist", name),
				 errdetail("It was given as %s.", path),
				 errhint("Write it as schema.table, or look at the search_path.")));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
	return relid;
}

/* Splits "column = column"; names as SQL reads them. */
static void
split_on(MaLink *link, const char *on, const char *path)
{
	const char *place = on;

	link->column = read_identifier(&place);
	if (link->column != NULL && *place == '=')
	{
		place++;
		link->key = read_identifier(&place);
	}
	if (link->key == NULL || *place != '\0')
		refuse(path, psprintf("\"%s\" is not of the form \"column = column\".", on));
}

/* Reads an SQL identifier and the blanks around it; NULL if there is none. */
static char *
read_identifier(const char **place)
{
	const char *c = *place;
	StringInfoData name;
	bool		quoted;

	initStringInfo(&name);
	while (scanner_isspace(*c))
		c++;
	quoted = (*c == '"');
	if (quoted)
	{
		for (c++; *c != '\0' && (*c != '"' || c[1] == '"'); c++)
		{
			c += (*c == '"');
			appendStringInfoChar(&name, *c);
		}
		if (*c++ != '"')
			return NULL;
	}
	else
		for (; isalnum((unsigned char) *c) || *c == '_' || *c == '$' || IS_HIGHBIT_SET(*c); c++)
			appendStringInfoChar(&name, *c);
	while (scanner_isspace(*c))
		c++;
	*place = c;
	if (name.len == 0 || (!quoted && isdigit((unsigned char) name.data[0])))
		return NULL;
	return quoted ? name.data : downcase_truncate_identifier(name.data, name.len, false);
}

/* Both columns are there and can be compared, and the key is unique. */
static void
check_columns(const MaLink *link, Oid relid, const char *path)
{
	AttrNumber	column = ma_column_required(relid, link->column, path);
	AttrNumber	key = ma_column_required(link->relid, link->key, path);
	Oid			column_type = get_atttype(relid, column);
	Oid			key_type = get_atttype(link->relid, key);
	Operator	equal = oper(NULL, list_make1(makeString("=")), column_type, key_type, true, -1);

	if (equal == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("columns \"%s\" and \"%s\" cannot be compared", link->column, link->key),
				 errdetail("%s: the types are %s and %s.", path,
						   format_type_be(column_type), format_type_be(key_type))));
	ReleaseSysCache(equal);
	if (!ma_column_is_unique(link->relid, key, false))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("column \"%s\" of table \"%s\" is not unique", link->key,
						get_rel_name(link->relid)),
				 errdetail("%s: a row must have at most one partner.", path),
				 errhint("Name the primary key, or make a unique index on the column alone.")));
}

Datum
ma_lookup_jsonb(List *links)
{
	StringInfoData json;
	ListCell   *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	foreach(cell, links)
	{
		MaLink	   *link = lfirst(cell);

		if (json.len > 1)
			appendStringInfoChar(&json, ',');
		escape_json(&json, link->name);
		appendStringInfoChar(&json, ':');
		append_link(&json, link);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

Datum
ma_via_jsonb(const MaLink *link)
{
	StringInfoData json;

	initStringInfo(&json);
	append_link(&json, link);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
append_link(StringInfo json, const MaLink *link)
{
	appendStringInfoString(json, "{\"table\":");
	escape_json(json, ma_relation_name(link->relid));
	appendStringInfoString(json, ",\"on\":");
	escape_json(json, psprintf("%s = %s", quote_identifier(link->column),
							   quote_identifier(link->key)));
	appendStringInfoChar(json, '}');
}
