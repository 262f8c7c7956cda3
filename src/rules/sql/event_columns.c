/*
 * event_columns.c
 *		SQL leaves over the rows of an event: its columns and properties, and beside
 *		them those of the contact and of the row a journey was entered by.
 *
 * One condition stands for the rows of all tables the event may be in, so it is
 * analysed for each; a column that only another of them has is null.  A contact's
 * column is compiled twice: as a member of an image, by which rows are read with the
 * rights of their table's owner alone, and as the column itself, for the plain SQL
 * of the rule, by which PostgreSQL knows that the rule reads it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static Jsonb *declared_properties(int32 event_id);
static bool part_has(const MaLeaf *leaf, MaEventSource *part, const char *name,
					 const char **type);
static Node *resolve_row(List *names, int location, void *arg);
static Node *resolve_bare(MaLeaf *leaf, const char *name, int location);
static Node *resolve_dotted(MaLeaf *leaf, List *names, int location);
static Node *resolve_contact(MaLeaf *leaf, List *names, int location);
static Node *null_like(const MaLeaf *leaf, const char *name);
static void row_scope(MaLeaf *leaf, MaEventSource *part, bool direct);
static void check_value(MaLeaf *leaf, const MaScopedExpression *checked, MaValueType type,
						const char *shown);
static MaScopedExpression *analyse(MaLeaf *leaf, MaValueType type, char **text);
static char *typed(const MaScopedExpression *checked, MaValueType type);
static void check_condition(MaParser *parser, const MaEventSource *source);
static void compile(MaLeaf *leaf, MaValueType type, MaStreamPart *part, char **text, char **sql,
					char **direct);

/* ---- what a row has ---- */

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
part_has(const MaLeaf *leaf, MaEventSource *part, const char *name, const char **type)
{
	const MaBuiltinColumn *columns = ma_builtin_columns(leaf->event->name);
	JsonbValue	value;

	*type = NULL;
	for (; part == NULL && columns != NULL && columns->name != NULL; columns++)
		if (strcmp(columns->name, name) == 0)
		{
			*type = format_type_be_qualified(columns->type);
			return true;
		}
	if (part != NULL)
		return OidIsValid(part->table->relid) && get_attnum(part->table->relid, name) > 0;
	if (leaf->properties == NULL ||
		getKeyJsonValueFromContainer(&leaf->properties->root, name, strlen(name), &value) == NULL ||
		value.type != jbvString)
		return false;
	*type = pnstrdup(value.val.string.val, value.val.string.len);
	return true;
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

MaMemberType
ma_event_member(MaDefinitions *definitions, const MaEvent *event, const char *name)
{
	const MaBuiltinColumn *columns = ma_builtin_columns(event->name);
	MaMemberType member = {0};
	MaLeaf		leaf = {0};
	const char *declared;
	bool		tables = false;
	ListCell   *cell;

	for (int i = 0; columns != NULL && columns[i].name != NULL; i++)
	{
		member.candidates = lappend(member.candidates, unconstify(char *, columns[i].name));
		if (strcmp(columns[i].name, name) == 0)
			return (MaMemberType) {true, format_type_be_qualified(columns[i].type)};
	}
	if (columns != NULL)
		return member;
	foreach(cell, ma_event_sources(definitions, event))
	{
		MaEventSource *source = lfirst(cell);
		AttrNumber	number;
		Oid			type;

		if (source == NULL || !OidIsValid(source->table->relid))
			continue;
		tables = true;
		number = get_attnum(source->table->relid, name);
		if (number <= 0)
		{
			member.candidates = list_concat(member.candidates,
											ma_column_names(source->table->relid));
			continue;
		}
		type = getBaseType(get_atttype(source->table->relid, number));
		/* Values of arrays and rows are no texts of their type in an image. */
		if (OidIsValid(get_element_type(type)) || get_typtype(type) == TYPTYPE_COMPOSITE)
			return (MaMemberType) {true, NULL, format_type_be(type)};
		return (MaMemberType) {true, ma_leaf_type(type)};
	}
	leaf.event = unconstify(MaEvent *, event);
	leaf.properties = declared_properties(event->id);
	if (part_has(&leaf, NULL, name, &declared))
		return (MaMemberType) {true, unconstify(char *, declared)};
	member.known = !tables;
	return member;
}

/* ---- names ---- */

static Node *
resolve_row(List *names, int location, void *arg)
{
	MaLeaf	   *leaf = arg;

	if (list_length(names) == 1)
		return resolve_bare(leaf, linitial(names), location);
	return resolve_dotted(leaf, names, location);
}

static Node *
resolve_bare(MaLeaf *leaf, const char *name, int location)
{
	List	   *candidates = NIL;
	bool		elsewhere = false;
	bool		tables = false;
	const char *type;
	ListCell   *cell;

	if (part_has(leaf, leaf->source_part, name, &type))
		return leaf->source_part != NULL ? ma_scope_column(MA_ROW_ALIAS, name) :
			ma_scope_member(MA_ROW_ALIAS, "properties", name, type);
	foreach(cell, leaf->parts)
	{
		MaEventSource *part = lfirst(cell);

		elsewhere |= part_has(leaf, part, name, &type);
		if (part == NULL || !OidIsValid(part->table->relid))
			continue;
		tables = true;
		candidates = list_concat(candidates, ma_column_names(part->table->relid));
	}
	for (const MaBuiltinColumn *column = ma_builtin_columns(leaf->event->name);
		 column != NULL && column->name != NULL; column++)
	{
		tables = true;
		candidates = lappend(candidates, unconstify(char *, column->name));
	}
	if (leaf->source_part == NULL && !elsewhere && !tables && strcmp(name, "properties") == 0)
		return ma_scope_column(MA_ROW_ALIAS, "properties");
	/* A property need not be declared, but of an event that stands in tables it must. */
	if (!elsewhere && tables)
		ma_leaf_unknown_column(leaf, name, location, candidates);
	return leaf->source_part == NULL && !elsewhere ?
		ma_scope_member(MA_ROW_ALIAS, "properties", name, NULL) : null_like(leaf, name);
}

/* Null, of the type the name has where there is one. */
static Node *
null_like(const MaLeaf *leaf, const char *name)
{
	const char *type = NULL;
	TypeCast   *cast;
	ListCell   *cell;

	foreach(cell, leaf->parts)
	{
		MaEventSource *part = lfirst(cell);

		if (type == NULL && part_has(leaf, part, name, &type) && part != NULL)
			type = ma_leaf_type(get_atttype(part->table->relid,
														get_attnum(part->table->relid, name)));
	}
	if (type == NULL)
		return ma_scope_null();
	cast = makeNode(TypeCast);
	cast->arg = ma_scope_null();
	cast->typeName = ma_type_name(type);
	cast->location = -1;
	return (Node *) cast;
}

/*
 * contact.x, entry.x, table.x of a contact, lookup.x, properties.x, the event's own name
 * before a column.
 */
static Node *
resolve_dotted(MaLeaf *leaf, List *names, int location)
{
	char	   *first = linitial(names);
	char	   *name = llast(names);
	Node	   *found;
	ListCell   *cell;

	if (strcmp(first, MA_ENTRY_ALIAS) == 0)
		return ma_leaf_entry_member(leaf, names, location);
	if (list_length(names) > 2)
		ma_leaf_unknown_column(leaf, name, location, NIL);
	if (strcmp(first, MA_ROW_ALIAS) == 0 || strcmp(first, leaf->event->name) == 0)
		return resolve_bare(leaf, name, location);
	foreach(cell, leaf->parts)
		if (lfirst(cell) == NULL && strcmp(first, "properties") == 0)
			return leaf->source_part == NULL ? resolve_bare(leaf, name, location) :
				null_like(leaf, name);
	found = strcmp(first, "contact") == 0 ? NULL : ma_leaf_lookup(leaf, first, name, location);
	if (found == NULL)
		found = resolve_contact(leaf, names, location);
	if (found == NULL)
	{
		List	   *candidates = list_make3("contact", MA_ENTRY_ALIAS, leaf->event->name);

		candidates = list_concat(candidates, ma_lookup_names(leaf->parts, name));
		foreach(cell, leaf->parser->definitions->sources)
			candidates = lappend(candidates, ma_source_alias(lfirst(cell)));
		ma_leaf_unknown_column(leaf, psprintf("%s.%s", first, name), location, candidates);
	}
	return found;
}

static Node *
resolve_contact(MaLeaf *leaf, List *names, int location)
{
	MaAttribute *attribute;
	Node	   *found;

	leaf->reads_contact = true;
	if (leaf->direct)
		return ma_leaf_contact_column(leaf, names, location);
	found = ma_leaf_contact_image(leaf, names, location, &attribute);
	if (found != NULL)
		leaf->stream->outer = list_append_unique_ptr(leaf->stream->outer, attribute);
	return found;
}

/* ---- one condition or value, for the rows of one source ---- */

/* The row, the images, and for the plain SQL the contact's tables instead. */
static void
row_scope(MaLeaf *leaf, MaEventSource *part, bool direct)
{
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);
	int			n = list_length(leaf->parser->definitions->sources) + 4;

	leaf->source_part = part;
	leaf->direct = direct;
	leaf->tables = palloc0_array(MaScopeTable, n);
	leaf->sources = palloc0_array(MaSource *, n);
	leaf->tables[0] = (MaScopeTable) {MA_ROW_ALIAS, part != NULL ? part->table->relid : images};
	leaf->tables[1] = (MaScopeTable) {MA_ENTRY_ALIAS, images};
	leaf->ntables = 2;
	if (direct)
		ma_leaf_add_contacts(leaf);
	else
		leaf->tables[leaf->ntables++] = (MaScopeTable) {MA_PERSON_ALIAS, images};
	if (!OidIsValid(leaf->tables[0].relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached table \"%s\" is gone", part->table->name)));
}

static void
check_value(MaLeaf *leaf, const MaScopedExpression *checked, MaValueType type, const char *shown)
{
	if (type == MA_VALUE_NUMBER && TypeCategory(checked->type) != TYPCATEGORY_NUMERIC)
		ma_parse_failed(leaf->parser, leaf->first,
						psprintf("\"%s\" is of type %s, not a number", shown,
								 format_type_be(checked->type)),
						leaf->source_part == NULL && !leaf->event->builtin ?
						"Declare the property's type with declare_event(), or cast it." : NULL);
}

static MaScopedExpression *
analyse(MaLeaf *leaf, MaValueType type, char **text)
{
	MaScopedExpression *checked = ma_leaf_analyse(leaf, type == MA_VALUE_BOOL ? BOOLOID :
												  type == MA_VALUE_TEXT ? TEXTOID : InvalidOid,
												  resolve_row, text);

	check_value(leaf, checked, type, *text);
	return checked;
}

static char *
typed(const MaScopedExpression *checked, MaValueType type)
{
	return type == MA_VALUE_NUMBER ? psprintf("(%s)::pg_catalog.numeric", checked->text) :
		checked->text;
}

/*
 * *sql is for reading the rows, *direct for the plain SQL of the rule; *text, set once,
 * is what is shown.
 */
static void
compile(MaLeaf *leaf, MaValueType type, MaStreamPart *part, char **text, char **sql, char **direct)
{
	char	   *shown;
	MaScopedExpression *checked;
	ListCell   *cell;

	leaf->reads_contact = leaf->reads_entry = false;
	leaf->lookups = leaf->lookup_columns = NIL;
	row_scope(leaf, part->source, false);
	checked = analyse(leaf, type, &shown);
	*sql = *direct = typed(checked, type);
	leaf->parser->rule->named = list_concat(leaf->parser->rule->named,
											ma_row_names(checked->tree, leaf->event,
														 leaf->parser->rule->entry_event));
	leaf->stream->builtin_only &= checked->builtin_only;
	ma_check_functions(leaf->parser, leaf->start, checked->builtin_only,
					   part->source ? part->source->table->relid : InvalidOid);
	foreach(cell, checked->reads)
		if (((MaScopeRead *) lfirst(cell))->table == 0)
			part->columns = lappend(part->columns, ((MaScopeRead *) lfirst(cell))->column);
	part->columns = list_concat(part->columns, leaf->lookup_columns);
	part->lookups = list_concat_unique_ptr(part->lookups, leaf->lookups);
	leaf->stream->entry |= leaf->reads_entry;
	if (leaf->reads_contact)
	{
		row_scope(leaf, part->source, true);
		checked = analyse(leaf, type, &shown);
		*direct = typed(checked, type);
		part->reads_contact = true;
		foreach(cell, checked->reads)
		{
			MaSource   *source = leaf->sources[((MaScopeRead *) lfirst(cell))->table];

			if (source != NULL)
				part->contacts = list_append_unique_ptr(part->contacts, source);
		}
	}
	if (*text == NULL)
		*text = shown;
}

/*
 * What the event was attached with is a part of the plain SQL, which runs as our owner: a
 * function of the user's in it must not.  Only an event left to the worker may have one.
 */
static void
check_condition(MaParser *parser, const MaEventSource *source)
{
	if (source == NULL || source->condition == NULL || !source->async ||
		!OidIsValid(source->table->relid))
		return;
	if (!ma_expression_is_builtin(source->condition, source->table->relid,
								  psprintf("condition of table \"%s\"", source->table->name)))
		parser->rule->sync = parser->rule->plain = false;
}

const char *
ma_row_sql_people(const MaEvent *event, const char *condition)
{
	const MaBuiltinColumn *column = ma_builtin_columns(event->name);

	while (event->builtin && column->name != NULL && strcmp(column->name, "machine") != 0)
		column++;
	if (!event->builtin || column->name == NULL ||
		(condition != NULL && strstr(condition, "'machine'") != NULL))
		return NULL;
	return "(" MA_ROW_ALIAS ".properties OPERATOR(pg_catalog.->>) "
		"'machine'::pg_catalog.text) IS DISTINCT FROM 'true'::pg_catalog.text";
}

/* Opens and clicks that a machine made count nowhere, unless the where names `machine`. */
static void
leave_machines(const MaLeaf *leaf, MaStreamPart *part)
{
	const char *people = part->source ? NULL : ma_row_sql_people(leaf->event, part->filter);

	if (people == NULL)
		return;
	part->filter = part->filter ? psprintf("(%s) AND %s", part->filter, people) : pstrdup(people);
	part->direct_filter = part->direct_filter ?
		psprintf("(%s) AND %s", part->direct_filter, people) : pstrdup(people);
}

MaStream *
ma_stream(MaParser *parser, MaEvent *event, int where, int where_end, int measure,
		  int measure_end, MaValueType type)
{
	MaStream   *stream = palloc0_object(MaStream);
	MaLeaf		leaf = {parser};
	ListCell   *cell;

	leaf.event = event;
	leaf.stream = stream;
	leaf.parts = ma_event_parts(parser->definitions, event);
	leaf.properties = declared_properties(event->id);
	stream->event = event;
	stream->type = type;
	stream->builtin_only = true;
	foreach(cell, leaf.parts)
	{
		MaStreamPart *part = palloc0_object(MaStreamPart);

		part->source = lfirst(cell);
		check_condition(parser, part->source);
		leaf.first = where;
		leaf.end = where_end;
		if (where < where_end)
			compile(&leaf, MA_VALUE_BOOL, part, &stream->where, &part->filter,
					&part->direct_filter);
		leave_machines(&leaf, part);
		leaf.first = measure;
		leaf.end = measure_end;
		if (measure < measure_end)
			compile(&leaf, type, part, &stream->measure, &part->measure, &part->direct_measure);
		stream->parts = lappend(stream->parts, part);
	}
	parser->rule->streams = lappend(parser->rule->streams, stream);
	return stream;
}
