/*
 * columns.c
 *		SQL leaves of a rule: expressions over a contact's columns and over the rows
 *		of an event.
 *
 * A leaf is kept twice: as it is read again and shown (the user's words, blanks
 * made even, the table put before a bare column) and as SQL that PostgreSQL printed
 * from the analysed tree.  Where the user's words mean something else without his
 * search path, the printed SQL takes their place.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "rules/columns.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

/* A leaf being analysed. */
typedef struct Leaf
{
	MaParser   *parser;
	int			first;			/* tokens */
	int			end;
	int			blanks;			/* characters of the rule before it */
	List	   *insertions;		/* Insertion */
	MaScopeTable *tables;
	MaSource  **sources;		/* of contacts: the source of each table */
	int			ntables;
	MaEvent    *event;			/* of rows: the event, and which of its sources */
	List	   *parts;
	MaEventSource *part;
	Jsonb	   *properties;
} Leaf;

/* A table's name that goes before a bare column. */
typedef struct Insertion
{
	int			token;
	const char *text;
} Insertion;

static int	leaf_byte(const Leaf *leaf, int location);
static char *leaf_source(const Leaf *leaf);
static char *leaf_text(const Leaf *leaf);
static MaScopedExpression *analyse(Leaf *leaf, Oid type, Node *(*resolve) (List *, int, void *),
								   char **text);
static void contact_scope(Leaf *leaf);
static Node *resolve_contact(List *names, int location, void *arg);
static Node *contact_column(Leaf *leaf, const char *name, int token);
static bool attribute_known(const char *name);
static void unknown_column(Leaf *leaf, const char *name, int location,
						   List *candidates) pg_attribute_noreturn();
static List *contact_names(const Leaf *leaf);
static void check_rights(Leaf *leaf, const MaScopedExpression *checked);
static MaAttribute *keep_attribute(Leaf *leaf, const MaScopedExpression *checked, char *text,
								   char *sql, MaValueType type);
static Node *resolve_row(List *names, int location, void *arg);
static bool part_has(const Leaf *leaf, MaEventSource *part, const char *name, const char **type);
static void row_scope(Leaf *leaf, MaEventSource *part);
static char *row_expression(Leaf *leaf, Oid type, char **text, List **columns, bool *builtin_only);
static Jsonb *declared_properties(int32 event_id);

/* ---- texts ---- */

/*
 * The leaf alone, behind as many blanks as the rule has characters before it: so the
 * places PostgreSQL's parser reports are those in the rule.
 */
static char *
leaf_source(const Leaf *leaf)
{
	const MaParser *parser = leaf->parser;
	int			start = parser->tokens[leaf->first].start;
	int			length = parser->tokens[leaf->end - 1].end - start;

	return psprintf("%*s%.*s", leaf->blanks, "", length, parser->text + start);
}

/* The user's words with even blanks, without comments, with the tables of bare columns. */
static char *
leaf_text(const Leaf *leaf)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	for (int i = leaf->first; i < leaf->end; i++)
	{
		MaToken    *token = &leaf->parser->tokens[i];

		if (i > leaf->first && token->spaced)
			appendStringInfoChar(&text, ' ');
		foreach(cell, leaf->insertions)
			if (((Insertion *) lfirst(cell))->token == i)
				appendStringInfo(&text, "%s.",
								 quote_identifier(((Insertion *) lfirst(cell))->text));
		appendBinaryStringInfo(&text, leaf->parser->text + token->start, token->end - token->start);
	}
	return text.data;
}

/* Analyses the leaf; *text becomes what is shown of it and read again. */
static MaScopedExpression *
analyse(Leaf *leaf, Oid type, Node *(*resolve) (List *, int, void *), char **text)
{
	MaParser   *parser = leaf->parser;
	MaScope		scope = {leaf->tables, leaf->ntables, resolve, leaf, parser->search_path};
	MaScopedExpression *checked;
	MaScopedExpression *again;

	if (leaf->first == leaf->end)
		ma_parse_failed(parser, leaf->end, "an SQL expression is expected here", NULL);
	leaf->blanks = pg_mbstrlen_with_len(parser->text, parser->tokens[leaf->first].start);
	leaf->insertions = NIL;
	checked = ma_scoped_expression_check(leaf_source(leaf), parser->text, &scope, type,
										 parser->what);
	check_rights(leaf, checked);
	*text = leaf_text(leaf);
	if (parser->search_path == NULL)
		return checked;
	scope.search_path = NULL;
	PG_TRY();
	{
		again = ma_scoped_expression_check(leaf_source(leaf), parser->text, &scope, type,
										   parser->what);
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
			PG_RE_THROW();
		FlushErrorState();
		again = NULL;
	}
	PG_END_TRY();
	if (again == NULL || !equal(again->tree, checked->tree))
		*text = IsA(checked->tree, BoolExpr) ? psprintf("(%s) is true", checked->text) :
			checked->text;
	return checked;
}

/* Who defines a rule must be allowed to read what it reads. */
static void
check_rights(Leaf *leaf, const MaScopedExpression *checked)
{
	Oid			definer = leaf->parser->definer;
	ListCell   *cell;

	foreach(cell, checked->reads)
	{
		MaScopeRead *read = lfirst(cell);
		Oid			relid = leaf->tables[read->table].relid;
		Oid			owner;

		/* Our own tables are read for everybody. */
		if (get_rel_namespace(relid) == ma_extension_required()->internal_schema)
			owner = InvalidOid;
		else
			owner = relid;
		if (OidIsValid(definer) && OidIsValid(owner) &&
			pg_class_aclcheck(relid, definer, ACL_SELECT) != ACLCHECK_OK &&
			pg_attribute_aclcheck(relid, read->attnum, definer, ACL_SELECT) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("%s: permission denied for column \"%s\" of table \"%s\"",
							leaf->parser->what, read->column, get_rel_name(relid)),
					 errhint("Who defines a rule needs SELECT on what it reads.")));
	}
}

static void
unknown_column(Leaf *leaf, const char *name, int location, List *candidates)
{
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	foreach(cell, candidates)
		names = list_append_unique(names, makeString(lfirst(cell)));
	candidates = NIL;
	foreach(cell, names)
		candidates = lappend(candidates, strVal(lfirst(cell)));
	nearest = ma_nearest(name, candidates);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: there is no column \"%s\"", leaf->parser->what, name),
			 leaf->event != NULL ?
			 errdetail("Bare names inside the parentheses are columns of event \"%s\".",
					   leaf->event->name) :
			 errdetail("It is neither a field of contacts, nor a column of an attached table, nor an attribute of identify()."),
			 nearest ? errhint("Did you mean %s?", nearest) : 0,
			 ma_rule_place(leaf->parser->text, leaf_byte(leaf, location))));
}

/* A place in the leaf's source as a byte of the rule. */
static int
leaf_byte(const Leaf *leaf, int location)
{
	return leaf->parser->tokens[leaf->first].start + location - leaf->blanks;
}

/* ---- columns of contacts ---- */

/* Table 0 holds the contact's own fields, the others are the attached tables in order. */
static void
contact_scope(Leaf *leaf)
{
	List	   *sources = leaf->parser->definitions->sources;
	ListCell   *cell;

	leaf->tables = palloc0_array(MaScopeTable, list_length(sources) + 1);
	leaf->sources = palloc0_array(MaSource *, list_length(sources) + 1);
	leaf->tables[0].alias = "contact";
	leaf->tables[0].relid = get_relname_relid("contact", ma_extension_required()->internal_schema);
	leaf->ntables = 1;
	foreach(cell, sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table == NULL || !OidIsValid(source->table->relid))
			continue;
		leaf->tables[leaf->ntables].alias = ma_source_alias(source);
		leaf->tables[leaf->ntables].relid = source->table->relid;
		leaf->sources[leaf->ntables++] = source;
	}
}

char *
ma_source_alias(const MaSource *source)
{
	return strcmp(source->name, "contact") == 0 ? "contact_table" : source->name;
}

static Node *
resolve_contact(List *names, int location, void *arg)
{
	Leaf	   *leaf = arg;
	char	   *last = llast(names);
	int			token = -1;
	Node	   *found = NULL;

	for (int i = leaf->first; i < leaf->end; i++)
		if (leaf->parser->tokens[i].start == leaf_byte(leaf, location))
			token = i;
	if (list_length(names) > 2)
		unknown_column(leaf, last, location, NIL);
	if (list_length(names) == 1)
		found = contact_column(leaf, last, token);
	else if (strcmp(linitial(names), "contact") == 0)
		found = contact_column(leaf, last, -1);
	else
	{
		List	   *aliases = list_make1("contact");

		for (int i = 1; i < leaf->ntables; i++)
		{
			aliases = lappend(aliases, unconstify(char *, leaf->tables[i].alias));
			if (strcmp(leaf->tables[i].alias, linitial(names)) != 0)
				continue;
			if (get_attnum(leaf->tables[i].relid, last) <= 0)
				unknown_column(leaf, last, location, ma_column_names(leaf->tables[i].relid));
			return ma_scope_column(leaf->tables[i].alias, last);
		}
		unknown_column(leaf, psprintf("%s.%s", (char *) linitial(names), last), location, aliases);
	}
	if (found == NULL)
		unknown_column(leaf, last, location, contact_names(leaf));
	return found;
}

/* A bare or contact. name: a field, a column of the first table that has it, an attribute. */
static Node *
contact_column(Leaf *leaf, const char *name, int token)
{
	static const char *const fields[] = {"email", "phone", "time_zone", "locale"};
	Insertion  *insertion = palloc_object(Insertion);
	Node	   *found = NULL;
	ListCell   *cell;

	insertion->token = token;
	insertion->text = "contact";
	for (int i = 0; i < lengthof(fields) && found == NULL; i++)
		if (strcmp(name, fields[i]) == 0)
			found = ma_scope_column("contact", name);
	for (int i = 1; i < leaf->ntables && found == NULL; i++)
		if (get_attnum(leaf->tables[i].relid, name) > 0)
		{
			insertion->text = leaf->tables[i].alias;
			found = ma_scope_column(leaf->tables[i].alias, name);
		}
	if (found == NULL && strcmp(name, "attributes") == 0)
		found = ma_scope_column("contact", name);
	if (found == NULL && attribute_known(name))
		found = ma_scope_member("contact", "attributes", name, NULL);
	foreach(cell, leaf->insertions)
		if (((Insertion *) lfirst(cell))->token == token)
			token = -1;			/* BETWEEN asks for its operand twice */
	if (found != NULL && token >= 0)
		leaf->insertions = lappend(leaf->insertions, insertion);
	return found;
}

/* Some contact has an attribute of this name. */
static bool
attribute_known(const char *name)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.contact AS c "
		"WHERE c.attributes OPERATOR(pg_catalog.?) $1 LIMIT 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	return ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

static List *
contact_names(const Leaf *leaf)
{
	List	   *names = list_make4("email", "phone", "time_zone", "locale");

	for (int i = 1; i < leaf->ntables; i++)
		names = list_concat(names, ma_column_names(leaf->tables[i].relid));
	return names;
}

/* The attribute of an analysed expression; it may read one attached table. */
static MaAttribute *
keep_attribute(Leaf *leaf, const MaScopedExpression *checked, char *text, char *sql,
			   MaValueType type)
{
	MaAttribute *attribute = palloc0_object(MaAttribute);
	ListCell   *cell;

	attribute->type = type;
	attribute->text = text;
	attribute->sql = sql;
	attribute->builtin_only = checked->builtin_only;
	foreach(cell, checked->reads)
	{
		MaScopeRead *read = lfirst(cell);

		if (read->table == 0)
		{
			attribute->mixed = true;
			continue;
		}
		if (attribute->source != NULL && attribute->source != leaf->sources[read->table])
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s: one condition reads columns of two tables, \"%s\" and \"%s\"",
							leaf->parser->what, attribute->source->name,
							leaf->sources[read->table]->name),
					 errhint("Write two conditions and join them by AND or OR."),
					 ma_rule_place(leaf->parser->text,
								   leaf->parser->tokens[leaf->first].start)));
		attribute->source = leaf->sources[read->table];
		attribute->columns = lappend(attribute->columns, read->column);
	}
	ma_check_functions(leaf->parser, leaf->first, attribute->builtin_only,
					   attribute->source ? attribute->source->table->relid : InvalidOid);
	leaf->parser->rule->attributes = lappend(leaf->parser->rule->attributes, attribute);
	return attribute;
}

void
ma_check_functions(MaParser *parser, int token, bool builtin_only, Oid relid)
{
	if (builtin_only)
		return;
	parser->rule->sync = false;
	if (!OidIsValid(relid) || superuser_arg(ma_relation_owner(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only functions and types that are built in are allowed here",
						parser->what),
				 OidIsValid(relid) ?
				 errdetail("Table \"%s\" belongs to a superuser, with whose rights they would run.",
						   get_rel_name(relid)) :
				 errdetail("Fields and attributes of contacts are read with the rights of the extension's owner."),
				 ma_rule_place(parser->text, parser->tokens[token].start)));
}

MaNode *
ma_leaf(MaParser *parser, int first, int end)
{
	MaNode	   *node = palloc0_object(MaNode);
	Leaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;

	contact_scope(&leaf);
	checked = analyse(&leaf, BOOLOID, resolve_contact, &text);
	node->kind = MA_NODE_LEAF;
	node->attribute = keep_attribute(&leaf, checked, text, checked->text, MA_VALUE_BOOL);
	return node;
}

MaAttribute *
ma_attribute(MaParser *parser, int first, int end, MaValueType type)
{
	Leaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;

	contact_scope(&leaf);
	checked = analyse(&leaf, InvalidOid, resolve_contact, &text);
	if (TypeCategory(checked->type) != TYPCATEGORY_NUMERIC)
		ma_parse_failed(parser, first, psprintf("\"%s\" is of type %s, not a number", text,
												format_type_be(checked->type)), NULL);
	return keep_attribute(&leaf, checked, text,
						  psprintf("(%s)::pg_catalog.numeric", checked->text), type);
}

MaAttribute *
ma_text_attribute(MaParser *parser, int first, int end, Oid *type)
{
	Leaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;

	contact_scope(&leaf);
	checked = analyse(&leaf, InvalidOid, resolve_contact, &text);
	*type = getBaseType(checked->type);
	return keep_attribute(&leaf, checked, text,
						  psprintf("(%s)::pg_catalog.text", checked->text), MA_VALUE_TEXT);
}

const char *
ma_declared_type(int32 event_id, const char *name)
{
	Leaf		leaf = {0};
	const char *type;

	leaf.properties = declared_properties(event_id);
	(void) part_has(&leaf, NULL, name, &type);
	return type;
}

MaAttribute *
ma_date_column(MaParser *parser, int first, int end)
{
	Leaf		leaf = {parser, first, end};
	MaScopedExpression *checked;
	char	   *text;
	Oid			type;

	contact_scope(&leaf);
	checked = analyse(&leaf, InvalidOid, resolve_contact, &text);
	type = getBaseType(checked->type);
	if (type == TIMESTAMPTZOID)
		return keep_attribute(&leaf, checked, text, checked->text, MA_VALUE_INSTANT);
	if (type == TIMESTAMPOID || type == DATEOID)
		return keep_attribute(&leaf, checked, text,
							  psprintf("(%s)::pg_catalog.timestamp", checked->text),
							  MA_VALUE_LOCAL);
	ma_parse_failed(parser, first, psprintf("\"%s\" is of type %s, not a date or time", text,
											format_type_be(checked->type)), NULL);
}

/* ---- columns of event rows ---- */

static Jsonb *
declared_properties(int32 event_id)
{
	static MaStatement read = {
		"SELECT e.properties FROM marketing_internal.event_type AS e "
		"WHERE e.event_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(event_id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	bool		isnull = true;

	if (rows.n != 1)
		return NULL;
	return DatumGetJsonbPCopy(ma_value(&rows, 0, 1, &isnull));
}

/* True if rows of this source have the name; *type is the declared type of a property. */
static bool
part_has(const Leaf *leaf, MaEventSource *part, const char *name, const char **type)
{
	JsonbValue	value;

	*type = NULL;
	if (part != NULL)
		return OidIsValid(part->table->relid) && get_attnum(part->table->relid, name) > 0;
	if (leaf->properties == NULL ||
		getKeyJsonValueFromContainer(&leaf->properties->root, name, strlen(name), &value) == NULL ||
		value.type != jbvString)
		return false;
	*type = pnstrdup(value.val.string.val, value.val.string.len);
	return true;
}

static Node *
resolve_row(List *names, int location, void *arg)
{
	Leaf	   *leaf = arg;
	char	   *name = llast(names);
	List	   *candidates = NIL;
	bool		elsewhere = false;
	bool		tables = false;
	const char *type;
	ListCell   *cell;

	if (list_length(names) > 1 && strcmp(linitial(names), "t") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: \"%s.%s\" is not available inside the parentheses of an event yet",
						leaf->parser->what, (char *) linitial(names), name),
				 errhint("Bare names are columns of the event's row."),
				 ma_rule_place(leaf->parser->text, leaf_byte(leaf, location))));
	if (part_has(leaf, leaf->part, name, &type))
		return leaf->part != NULL ? ma_scope_column("t", name) :
			ma_scope_member("t", "properties", name, type);
	foreach(cell, leaf->parts)
	{
		MaEventSource *part = lfirst(cell);

		elsewhere |= part_has(leaf, part, name, &type);
		if (part == NULL || !OidIsValid(part->table->relid))
			continue;
		tables = true;
		candidates = list_concat(candidates, ma_column_names(part->table->relid));
	}
	/* A property need not be declared, but of an event that stands in tables it must. */
	if (!elsewhere && tables)
		unknown_column(leaf, name, location, candidates);
	return leaf->part == NULL && !elsewhere ? ma_scope_member("t", "properties", name, NULL) :
		ma_scope_null();
}

static void
row_scope(Leaf *leaf, MaEventSource *part)
{
	leaf->part = part;
	leaf->tables = palloc0_array(MaScopeTable, 1);
	leaf->ntables = 1;
	leaf->tables[0].alias = "t";
	leaf->tables[0].relid = part != NULL ? part->table->relid :
		get_relname_relid("event", ma_extension_required()->internal_schema);
	if (!OidIsValid(leaf->tables[0].relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached table \"%s\" is gone", part->table->name)));
}

/* The expression for the rows of leaf->part. */
static char *
row_expression(Leaf *leaf, Oid type, char **text, List **columns, bool *builtin_only)
{
	char	   *shown;
	MaScopedExpression *checked = analyse(leaf, type, resolve_row, &shown);
	ListCell   *cell;

	if (*text == NULL)
		*text = shown;
	*builtin_only &= checked->builtin_only;
	ma_check_functions(leaf->parser, leaf->first, checked->builtin_only,
					   leaf->part ? leaf->part->table->relid : InvalidOid);
	foreach(cell, checked->reads)
		*columns = lappend(*columns, ((MaScopeRead *) lfirst(cell))->column);
	if (type == InvalidOid && TypeCategory(checked->type) != TYPCATEGORY_NUMERIC)
		ma_parse_failed(leaf->parser, leaf->first,
						psprintf("\"%s\" is of type %s, not a number", shown,
								 format_type_be(checked->type)),
						leaf->part == NULL ?
						"Declare the property's type with declare_event(), or cast it." : NULL);
	return type == InvalidOid ? psprintf("(%s)::pg_catalog.numeric", checked->text) : checked->text;
}

List *
ma_event_parts(MaDefinitions *definitions, const MaEvent *event)
{
	List	   *parts = ma_event_sources(definitions, event);

	/* An event without a table of its own may be tracked at any time. */
	if (event->source == NULL && !event->tracked)
		parts = lappend(list_copy(parts), NULL);
	return parts;
}

MaStream *
ma_stream(MaParser *parser, MaEvent *event, int where, int where_end, int measure,
		  int measure_end, MaValueType type)
{
	MaStream   *stream = palloc0_object(MaStream);
	Leaf		leaf = {parser};
	ListCell   *cell;

	leaf.event = event;
	leaf.parts = ma_event_parts(parser->definitions, event);
	leaf.properties = declared_properties(event->id);
	stream->event = event;
	stream->type = type;
	stream->builtin_only = true;
	foreach(cell, leaf.parts)
	{
		MaStreamPart *part = palloc0_object(MaStreamPart);

		part->source = lfirst(cell);
		row_scope(&leaf, part->source);
		leaf.first = where;
		leaf.end = where_end;
		if (where < where_end)
			part->filter = row_expression(&leaf, BOOLOID, &stream->where, &part->columns,
										  &stream->builtin_only);
		leaf.first = measure;
		leaf.end = measure_end;
		if (measure < measure_end)
			part->measure = row_expression(&leaf, type == MA_VALUE_BOOL ? BOOLOID :
										   type == MA_VALUE_TEXT ? TEXTOID : InvalidOid,
										   &stream->measure, &part->columns,
										   &stream->builtin_only);
		stream->parts = lappend(stream->parts, part);
	}
	parser->rule->streams = lappend(parser->rule->streams, stream);
	return stream;
}
