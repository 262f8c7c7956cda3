/*
 * row_sql.c
 *		SQL over the row of an event where it stands in its table, with columns of the
 *		event's lookups: conditions and points of score rules.
 *
 * Tracked and built-in events have no table of the user's: there a name is a property,
 * read as its type.
 *
 * What is stored names the lookup's row as `lookup_product`, and the lookup is joined
 * when a statement is made of it: so it follows the table when that is renamed, as all
 * that is attached does.  Without lookups it is an expression like any other over one row.
 */
#include "base/base.h"

#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static Node *resolve(List *names, int location, void *arg);
static Node *resolve_property(MaLeaf *leaf, const char *name, int location);
static bool stands_in_tables(const MaLeaf *leaf);
static void unknown_column(const MaLeaf *leaf, const char *name, int location,
						   List *candidates) pg_attribute_noreturn();
static Oid	relation_of(const MaEventSource *source);
static char *alias_of(const MaLookup *lookup);
static MaLookup *lookup_of(const MaEventSource *source, const char *column, const char **own);
static bool has_lookup(const MaEventSource *source, const char *column);

static char *
alias_of(const MaLookup *lookup)
{
	return psprintf("lookup_%s", lookup->name);
}

/* A column of the row, or of a lookup. */
static Node *
resolve(List *names, int location, void *arg)
{
	MaLeaf	   *leaf = arg;
	MaEventSource *source = leaf->source_part;
	char	   *first = linitial(names);
	char	   *name = llast(names);
	MaLookup   *lookup;

	if (list_length(names) == 1 ||
		(list_length(names) == 2 && (strcmp(first, MA_ROW_ALIAS) == 0 ||
									 strcmp(first, leaf->event->name) == 0 ||
									 (source != NULL && strcmp(first, source->table->name) == 0))))
	{
		if (source == NULL)
			return resolve_property(leaf, name, location);
		if (get_attnum(source->table->relid, name) == InvalidAttrNumber)
			unknown_column(leaf, name, location, ma_column_names(source->table->relid));
		return ma_scope_column(MA_ROW_ALIAS, name);
	}
	lookup = list_length(names) == 2 && source != NULL ?
		ma_leaf_take_lookup(leaf, first, name, location) : NULL;
	if (lookup == NULL)
		unknown_column(leaf, psprintf("%s.%s", first, name), location,
					   ma_lookup_names(leaf->parts, name));
	return ma_scope_column(alias_of(lookup), name);
}

/* A property; of an event that stands in tables as well only `properties` is the same in all. */
static Node *
resolve_property(MaLeaf *leaf, const char *name, int location)
{
	MemoryContext context = CurrentMemoryContext;
	MaMemberType member;
	MaCall		call;

	if (!leaf->event->builtin &&
		(strcmp(name, "properties") == 0 || strcmp(name, "occurred_at") == 0))
		return ma_scope_column(MA_ROW_ALIAS, name);
	if (stands_in_tables(leaf))
		unknown_column(leaf, name, location, NIL);
	/* The expression is checked as the caller; declared types stand in our tables. */
	ma_call_begin(&call);
	MemoryContextSwitchTo(context);
	member = ma_event_member(leaf->parser->definitions, leaf->event, name);
	ma_call_end(&call);
	if (!member.known)
		unknown_column(leaf, name, location, member.candidates);
	return ma_scope_member(MA_ROW_ALIAS, "properties", name, member.type);
}

static bool
stands_in_tables(const MaLeaf *leaf)
{
	ListCell   *cell;

	foreach(cell, ma_event_sources(leaf->parser->definitions, leaf->event))
		if (lfirst(cell) != NULL)
			return true;
	return false;
}

static void
unknown_column(const MaLeaf *leaf, const char *name, int location, List *candidates)
{
	char	   *nearest = ma_nearest(name, candidates);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: there is no column \"%s\"", leaf->parser->what, name),
			 leaf->source_part != NULL ?
			 errdetail("Names are columns of table \"%s\" here, and of its lookups.",
					   leaf->source_part->table->name) :
			 errdetail("Names are columns of event \"%s\" here.", leaf->event->name),
			 nearest ? errhint("Did you mean %s?", nearest) : 0,
			 ma_rule_place(leaf->parser->text, location)));
}

static Oid
relation_of(const MaEventSource *source)
{
	return source ? source->table->relid :
		get_relname_relid("event", ma_extension_required()->internal_schema);
}

MaExpression *
ma_row_sql_check(const MaEvent *event, const MaEventSource *source, const char *text, Oid type,
				 const char *what, Oid definer)
{
	MaExpression *result = palloc0_object(MaExpression);
	MaParser	parser = {text, .what = what, .definer = definer, .definitions = ma_definitions()};
	MaLeaf		leaf = {&parser};
	List	   *lookups = source ? source->lookups : NIL;
	MaScopeTable *tables = palloc0_array(MaScopeTable, list_length(lookups) + 1);
	MaScope		scope = {tables, 1, resolve, &leaf, NULL};
	MaScopedExpression *checked;
	ListCell   *cell;

	leaf.event = unconstify(MaEvent *, event);
	leaf.source_part = unconstify(MaEventSource *, source);
	leaf.parts = list_make1(leaf.source_part);
	tables[0] = (MaScopeTable) {MA_ROW_ALIAS, relation_of(source)};
	foreach(cell, lookups)
	{
		MaLookup   *lookup = lfirst(cell);

		if (OidIsValid(lookup->table->relid))
			tables[scope.ntables++] = (MaScopeTable) {alias_of(lookup), lookup->table->relid};
	}
	/* An explicit cast, as the scope has it, would make a number of any text. */
	checked = ma_scoped_expression_check(text, text, &scope, type == BOOLOID ? BOOLOID : InvalidOid,
										 what);
	if (type != BOOLOID && TypeCategory(checked->type) != TYPCATEGORY_NUMERIC)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s must be of type %s, not %s", what, format_type_be(type),
						format_type_be(checked->type))));
	result->text = checked->text;
	result->type = checked->type;
	result->builtin_only = checked->builtin_only;
	foreach(cell, checked->reads)
		if (((MaScopeRead *) lfirst(cell))->table == 0)
			result->columns = lappend(result->columns, ((MaScopeRead *) lfirst(cell))->column);
	foreach(cell, leaf.lookups)
		result->columns = lappend(result->columns, ((MaLookup *) lfirst(cell))->link_column);
	result->columns = list_concat(result->columns, leaf.lookup_columns);
	return result;
}

List *
ma_row_sql_names(const MaEvent *event, const char *text, Oid type, const char *kind)
{
	MaParser	parser = {text, .what = "expression", .definitions = ma_definitions()};
	MaLeaf		leaf = {&parser, .event = unconstify(MaEvent *, event)};
	MaScopeTable table = {MA_ROW_ALIAS, relation_of(NULL)};
	MaScope		scope = {&table, 1, resolve, &leaf, NULL};
	MaScopedExpression *checked;

	checked = ma_scoped_expression_check(text, text, &scope, type == BOOLOID ? BOOLOID : InvalidOid,
										 parser.what);
	return ma_row_names_of(ma_row_names(checked->tree, event, NULL), kind);
}

/* The lookup whose column this is by its name ("product.price"), and *own, "price"; NULL. */
static MaLookup *
lookup_of(const MaEventSource *source, const char *column, const char **own)
{
	ListCell   *cell;

	foreach(cell, source != NULL ? source->lookups : NIL)
	{
		MaLookup   *lookup = lfirst(cell);
		size_t		length = strlen(lookup->name);

		if (strncmp(column, lookup->name, length) != 0 || column[length] != '.')
			continue;
		*own = column + length + 1;
		return lookup;
	}
	return NULL;
}

static bool
has_lookup(const MaEventSource *source, const char *column)
{
	const char *own;
	const MaLookup *lookup = lookup_of(source, column, &own);

	return lookup != NULL && OidIsValid(lookup->table->relid) &&
		get_attnum(lookup->table->relid, own) != InvalidAttrNumber &&
		get_attnum(lookup->table->relid, lookup->key_column) != InvalidAttrNumber &&
		get_attnum(source->table->relid, lookup->link_column) != InvalidAttrNumber;
}

bool
ma_row_sql_fits(const MaEventSource *source, List *columns)
{
	Oid			relid = relation_of(source);
	ListCell   *cell;

	/* Nobody has rows of a table that was dropped. */
	if (!OidIsValid(relid) ||
		(source != NULL && (!OidIsValid(source->contact_type) ||
							(source->via_table != NULL && !OidIsValid(source->via_table->relid)))))
		return false;
	foreach(cell, columns)
		if (get_attnum(relid, lfirst(cell)) == InvalidAttrNumber &&
			!has_lookup(source, lfirst(cell)))
			return false;
	return true;
}

char *
ma_row_sql(const MaEventSource *source, const char *expression, List *columns)
{
	List	   *lookups = NIL;
	StringInfoData sql;
	ListCell   *cell;

	foreach(cell, columns)
	{
		const char *own;
		MaLookup   *lookup = lookup_of(source, lfirst(cell), &own);

		if (lookup != NULL && get_attnum(source->table->relid, lfirst(cell)) == InvalidAttrNumber)
			lookups = list_append_unique_ptr(lookups, lookup);
	}
	if (lookups == NIL)
		return psprintf("(%s)", expression);
	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT (%s) FROM (SELECT) AS lookup", expression);
	foreach(cell, lookups)
	{
		MaLookup   *lookup = lfirst(cell);
		const char *alias = quote_identifier(alias_of(lookup));

		appendStringInfo(&sql, " LEFT JOIN %s AS %s ON %s.%s %s t.%s", lookup->table->qualified,
						 alias, alias, quote_identifier(lookup->key_column),
						 ma_equality_operator(ma_lookup_key_type(lookup)),
						 quote_identifier(lookup->link_column));
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
