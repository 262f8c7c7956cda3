/*
 * columns.c
 *		SQL leaves over a contact's columns: his fields, the columns of the attached
 *		tables in order of attachment, attributes of identify(), and, in the rules of a
 *		journey, the row it was entered by.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static const char *const fields[] = {"email", "phone", "time_zone", "locale"};

static void contact_scope(MaLeaf *leaf);
static bool is_known_word(const char *name);
static Node *resolve_contact(List *names, int location, void *arg);
static Node *contact_column(MaLeaf *leaf, const char *name, int token);
static List *contact_names(const MaLeaf *leaf);
static MaAttribute *keep_attribute(MaLeaf *leaf, const MaScopedExpression *checked, char *text,
								   char *sql, MaValueType type);

/* Table `contact` holds the contact's own fields, the others are the attached tables in order. */
static void
contact_scope(MaLeaf *leaf)
{
	int			n = list_length(leaf->parser->definitions->sources) + 3;
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);

	leaf->tables = palloc0_array(MaScopeTable, n);
	leaf->sources = palloc0_array(MaSource *, n);
	ma_leaf_add_contacts(leaf);
	if (leaf->parser->rule->entry_event != NULL)
		leaf->tables[leaf->ntables++] = (MaScopeTable) {MA_ENTRY_ALIAS, images};
	if (leaf->recheck)
		leaf->tables[leaf->ntables++] = (MaScopeTable) {MA_CLOCK_ALIAS, images};
}

void
ma_leaf_add_contacts(MaLeaf *leaf)
{
	ListCell   *cell;

	leaf->contact = leaf->ntables;
	leaf->tables[leaf->ntables].alias = "contact";
	leaf->tables[leaf->ntables++].relid =
		get_relname_relid("contact", ma_extension_required()->internal_schema);
	foreach(cell, leaf->parser->definitions->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table == NULL || !OidIsValid(source->table->relid))
			continue;
		leaf->tables[leaf->ntables].alias = ma_source_alias(source);
		leaf->tables[leaf->ntables].relid = source->table->relid;
		leaf->sources[leaf->ntables++] = source;
	}
	leaf->ncontact = leaf->ntables;
}

/* A word of rules, which a table's name does not stand for. */
static bool
is_known_word(const char *name)
{
	static const char *const known[] = {"contact", MA_ENTRY_ALIAS, MA_PERSON_ALIAS, MA_CLOCK_ALIAS};

	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(name, known[i]) == 0)
			return true;
	return false;
}

/*
 * A table may be called as something of ours in the same statement: names of one or two
 * letters, with a number or without, and those that rules know.  What it is called
 * then is no other table's name.
 */
char *
ma_source_alias(const MaSource *source)
{
	const char *name = source->name;
	size_t		letters = strspn(name, "abcdefghijklmnopqrstuvwxyz");
	char	   *alias;
	bool		taken = is_known_word(name) ||
		(letters <= 2 && strspn(name + letters, "0123456789") == strlen(name + letters));
	ListCell   *cell;

	if (!taken)
		return source->name;
	alias = psprintf("%s_table", name);
	do
	{
		taken = false;
		foreach(cell, ma_definitions()->sources)
			taken |= strcmp(((MaSource *) lfirst(cell))->name, alias) == 0;
		if (taken)
			alias = psprintf("%s_table", alias);
	} while (taken);
	return alias;
}

static Node *
resolve_contact(List *names, int location, void *arg)
{
	MaLeaf	   *leaf = arg;
	char	   *last = llast(names);
	char	   *first = linitial(names);
	int			token = -1;
	Node	   *found = NULL;

	for (int i = leaf->first; i < leaf->end; i++)
		if (leaf->parser->tokens[i].start == ma_leaf_byte(leaf, location))
			token = i;
	if (list_length(names) == 1)
		found = contact_column(leaf, last, token);
	else
	{
		found = ma_leaf_contact_column(leaf, names, location);
		if (found == NULL && strcmp(first, MA_ENTRY_ALIAS) == 0)
			return ma_leaf_entry_member(leaf, names, location);
		if (found == NULL)
		{
			List	   *aliases = NIL;

			for (int i = 0; i < leaf->ntables - leaf->recheck; i++)
				aliases = lappend(aliases, unconstify(char *, leaf->tables[i].alias));
			ma_leaf_unknown_column(leaf, psprintf("%s.%s", first, last), location, aliases);
		}
	}
	if (found == NULL)
		ma_leaf_unknown_column(leaf, last, location, contact_names(leaf));
	return found;
}

Node *
ma_leaf_contact_column(MaLeaf *leaf, List *names, int location)
{
	char	   *first = linitial(names);
	char	   *last = llast(names);
	Node	   *found;

	if (list_length(names) > 2)
		ma_leaf_unknown_column(leaf, last, location, NIL);
	if (strcmp(first, "contact") == 0)
	{
		found = contact_column(leaf, last, -1);
		if (found == NULL)
			ma_leaf_unknown_column(leaf, last, location, contact_names(leaf));
		return found;
	}
	for (int i = leaf->contact + 1; i < leaf->ncontact; i++)
	{
		if (strcmp(leaf->sources[i]->name, first) != 0 &&
			strcmp(leaf->tables[i].alias, first) != 0)
			continue;
		if (get_attnum(leaf->tables[i].relid, last) <= 0)
			ma_leaf_unknown_column(leaf, last, location, ma_column_names(leaf->tables[i].relid));
		return ma_scope_column(leaf->tables[i].alias, last);
	}
	return NULL;
}

/* A bare or contact. name: a field, a column of the first table that has it, an attribute. */
static Node *
contact_column(MaLeaf *leaf, const char *name, int token)
{
	const char *table = "contact";
	Node	   *found = NULL;

	for (int i = 0; i < lengthof(fields) && found == NULL; i++)
		if (strcmp(name, fields[i]) == 0)
			found = ma_scope_column("contact", name);
	for (int i = leaf->contact + 1; i < leaf->ncontact && found == NULL; i++)
		if (get_attnum(leaf->tables[i].relid, name) > 0)
		{
			found = ma_scope_column(leaf->tables[i].alias, name);
			table = is_known_word(leaf->sources[i]->name) ? leaf->tables[i].alias :
				leaf->sources[i]->name;
		}
	if (found == NULL && strcmp(name, "attributes") == 0)
		found = ma_scope_column("contact", name);
	if (found == NULL && ma_attribute_known(name))
		found = ma_scope_member("contact", "attributes", name, NULL);
	if (found != NULL && token >= 0)
		ma_leaf_insert(leaf, token, table);
	return found;
}

static List *
contact_names(const MaLeaf *leaf)
{
	List	   *names = NIL;

	for (int i = 0; i < lengthof(fields); i++)
		names = lappend(names, unconstify(char *, fields[i]));
	for (int i = leaf->contact + 1; i < leaf->ncontact; i++)
		names = list_concat(names, ma_column_names(leaf->tables[i].relid));
	return names;
}

/* ---- attributes ---- */

/* The attribute of an analysed expression; it may read one attached table. */
static MaAttribute *
keep_attribute(MaLeaf *leaf, const MaScopedExpression *checked, char *text, char *sql,
			   MaValueType type)
{
	MaAttribute *attribute = palloc0_object(MaAttribute);
	MaRule	   *rule = leaf->parser->rule;
	ListCell   *cell;

	attribute->type = type;
	attribute->text = text;
	attribute->sql = sql;
	attribute->builtin_only = checked->builtin_only;
	attribute->entry = leaf->reads_entry;
	attribute->recheck = leaf->recheck;
	foreach(cell, checked->reads)
	{
		MaScopeRead *read = lfirst(cell);
		MaSource   *source = leaf->sources[read->table];

		if (source == NULL)
		{
			attribute->mixed |= read->table == leaf->contact;
			attribute->clock |= strcmp(leaf->tables[read->table].alias, MA_CLOCK_ALIAS) == 0;
			continue;
		}
		if (attribute->source != NULL && attribute->source != source)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s: one condition reads columns of two tables, \"%s\" and \"%s\"",
							leaf->parser->what, attribute->source->name, source->name),
					 errhint("Write two conditions and join them by AND or OR."),
					 ma_rule_place(leaf->parser->text, leaf->start)));
		attribute->source = source;
		attribute->columns = lappend(attribute->columns, read->column);
	}
	ma_check_functions(leaf->parser, leaf->start, attribute->builtin_only,
					   attribute->source ? attribute->source->table->relid : InvalidOid);
	foreach(cell, rule->attributes)
	{
		MaAttribute *known = lfirst(cell);

		if (known->type == MA_VALUE_TEXT && type == MA_VALUE_TEXT &&
			known->source == attribute->source && strcmp(known->sql, sql) == 0)
			return known;
	}
	rule->attributes = lappend(rule->attributes, attribute);
	return attribute;
}

void
ma_check_functions(MaParser *parser, int byte, bool builtin_only, Oid relid)
{
	if (builtin_only)
		return;
	parser->rule->sync = parser->rule->plain = false;
	if (!OidIsValid(relid) || superuser_arg(ma_relation_owner(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only functions and types that are built in are allowed here",
						parser->what),
				 OidIsValid(relid) ?
				 errdetail("Table \"%s\" belongs to a superuser, with whose rights they would run.",
						   get_rel_name(relid)) :
				 errdetail("Fields and attributes of contacts are read with the rights of the extension's owner."),
				 ma_rule_place(parser->text, byte)));
}

MaNode *
ma_leaf(MaParser *parser, int first, int end)
{
	MaNode	   *node = palloc0_object(MaNode);
	MaLeaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;

	contact_scope(&leaf);
	checked = ma_leaf_analyse(&leaf, BOOLOID, resolve_contact, &text);
	node->kind = MA_NODE_LEAF;
	node->attribute = keep_attribute(&leaf, checked, text, checked->text, MA_VALUE_BOOL);
	return node;
}

/* As ma_leaf(), with sub-selects and the clock. */
MaAttribute *
ma_recheck_attribute(MaParser *parser, int first, int end)
{
	MaLeaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	MaAttribute *attribute;
	char	   *text;

	leaf.recheck = true;
	contact_scope(&leaf);
	checked = ma_leaf_analyse(&leaf, BOOLOID, resolve_contact, &text);
	attribute = keep_attribute(&leaf, checked, text, checked->run, MA_VALUE_BOOL);
	ma_recheck_check(parser, leaf.start, checked->relations, attribute->source);
	return attribute;
}

MaAttribute *
ma_attribute(MaParser *parser, int first, int end, MaValueType type)
{
	MaLeaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;

	contact_scope(&leaf);
	checked = ma_leaf_analyse(&leaf, InvalidOid, resolve_contact, &text);
	if (TypeCategory(checked->type) != TYPCATEGORY_NUMERIC)
		ma_parse_failed(parser, first, psprintf("\"%s\" is of type %s, not a number", text,
												format_type_be(checked->type)), NULL);
	return keep_attribute(&leaf, checked, text,
						  psprintf("(%s)::pg_catalog.numeric", checked->text), type);
}

MaAttribute *
ma_date_column(MaParser *parser, int first, int end)
{
	MaLeaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;
	Oid			type;

	contact_scope(&leaf);
	checked = ma_leaf_analyse(&leaf, InvalidOid, resolve_contact, &text);
	type = getBaseType(checked->type);
	if (type == TIMESTAMPTZOID)
		return keep_attribute(&leaf, checked, text, checked->text, MA_VALUE_INSTANT);
	if (type == TIMESTAMPOID || type == DATEOID)
		return keep_attribute(&leaf, checked, text,
							  ma_local_time_sql(psprintf("(%s)", checked->text), type),
							  MA_VALUE_LOCAL);
	ma_parse_failed(parser, first, psprintf("\"%s\" is of type %s, not a date or time", text,
											format_type_be(checked->type)), NULL);
}

/* ---- a column of the contact among those of a row ---- */

/*
 * The contact's value is read with the other attributes of the rule, and handed to the
 * statement that reads the rows as a member of an image, cast to the column's type:
 * rows and contacts may belong to different owners, none of whom reads the other's.
 */
Node *
ma_leaf_contact_image(MaLeaf *row, List *names, int location, MaAttribute **attribute)
{
	MaLeaf		leaf = {row->parser};
	MaScopedExpression *checked;
	char	   *text;
	char	   *sql;

	leaf.start = ma_leaf_byte(row, location);
	leaf.blanks = pg_mbstrlen_with_len(row->parser->text, leaf.start);
	contact_scope(&leaf);
	if (list_length(names) != 2 || (strcmp(linitial(names), "contact") != 0 &&
									ma_leaf_contact_column(&leaf, names, leaf.blanks) == NULL))
		return NULL;
	leaf.source = psprintf("%*s%s.%s", leaf.blanks, "", quote_identifier(linitial(names)),
						   quote_identifier(llast(names)));
	checked = ma_leaf_analyse(&leaf, InvalidOid, resolve_contact, &text);
	sql = psprintf("(%s)::pg_catalog.text", checked->text);
	*attribute = keep_attribute(&leaf, checked, sql, sql, MA_VALUE_TEXT);
	return ma_scope_member(MA_PERSON_ALIAS, "properties", (*attribute)->sql,
						   ma_leaf_type(getBaseType(checked->type)));
}
