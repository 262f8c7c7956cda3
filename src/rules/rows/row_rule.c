/*
 * row_rule.c
 *		`where (...)` over one row of an event that is held as a jsonb image: entries,
 *		exits and waits of journeys.
 *
 * The row itself may be another one by now, or gone, so nothing is read from the
 * event's table: a name stands for a member of the image, cast to the column's type.
 * That is the same for rows of tables, tracked events and our own ones.  Lookups are
 * read as they are when the condition is asked (lookup_images.c).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

struct MaRowRule
{
	char	   *text;
	List	   *columns;		/* char * */
	List	   *names;			/* MaRowName * */
	const MaEventSource *source;	/* of the only table with its rows; NULL: none or many */
	List	   *lookups;		/* MaLookupRead */
	MaRule		contact;		/* attributes of the contact it reads, nothing else */
	MaRuleSet  *set;
	MaStatement statement;
};

typedef struct Resolver
{
	MaLeaf		leaf;
	MaRowRule  *rule;
} Resolver;

static Node *resolve(List *names, int location, void *arg);
static Node *row_member(Resolver *resolver, char *name, int location);
static void note_column(MaRowRule *rule, const char *name);
static Node *lookup_member(Resolver *resolver, const char *name, const char *column, int location);
static void require_select(const MaLeaf *leaf, const char *column, int location);
static MaEventSource *only_table(const List *parts);
static MaScopedExpression *check(const char *text, const MaScope *scope, const char *what);
static void forget(void *arg);

MaRowRule *
ma_row_rule_parse(const MaEvent *event, const char *text, const MaEvent *entry_event,
				  const char *what, Oid definer)
{
	MaRowRule  *rule = palloc0_object(MaRowRule);
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);
	MaScopeTable tables[] = {{MA_ROW_ALIAS, images}, {MA_ENTRY_ALIAS, images},
	{MA_PERSON_ALIAS, images}, {MA_LOOKUP_ALIAS, images}};
	MaParser	parser = {text};
	Resolver	resolver = {{&parser}, rule};
	MaScope		scope = {tables, lengthof(tables), resolve, &resolver, NULL};
	MaScopedExpression *checked;
	MemoryContextCallback *callback = palloc0_object(MemoryContextCallback);
	MaRule	   *contact = &rule->contact;

	rule->text = pstrdup(text);
	contact->what = pstrdup(what);
	contact->entry_event = unconstify(MaEvent *, entry_event);
	parser.rule = contact;
	parser.definitions = ma_definitions();
	parser.what = what;
	parser.definer = definer;
	resolver.leaf.event = unconstify(MaEvent *, event);
	resolver.leaf.parts = ma_event_sources(parser.definitions, event);
	rule->source = resolver.leaf.source_part = only_table(resolver.leaf.parts);
	checked = check(text, &scope, what);
	if (!checked->builtin_only)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only functions and types that are built in are allowed here", what)));
	rule->names = ma_row_names(checked->tree, event, entry_event);
	ma_lookup_reads_prepare(rule->lookups, rule->source);
	rule->set = ma_rule_set_make(&contact, 1);
	rule->statement.nargs = 5;
	rule->statement.argtypes[0] = INT4ARRAYOID;
	for (int i = 1; i < 5; i++)
		rule->statement.argtypes[i] = JSONBARRAYOID;
	rule->statement.sql = psprintf("SELECT k.n FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), "
								   "pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) "
								   "AS k (n, t, entry, contact, looked_up) "
								   "CROSS JOIN LATERAL (SELECT k.t AS properties) AS "
								   MA_ROW_ALIAS
								   " CROSS JOIN LATERAL (SELECT k.entry AS properties) AS "
								   MA_ENTRY_ALIAS
								   " CROSS JOIN LATERAL (SELECT k.contact AS properties) AS "
								   MA_PERSON_ALIAS
								   " CROSS JOIN LATERAL (SELECT k.looked_up AS properties) AS "
								   MA_LOOKUP_ALIAS " WHERE %s", checked->text);
	callback->func = forget;
	callback->arg = rule;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return rule;
}

/* The source of the only table that has rows of the event, beside tracked ones; NULL. */
static MaEventSource *
only_table(const List *parts)
{
	MaEventSource *only = NULL;
	ListCell   *cell;

	foreach(cell, parts)
	{
		if (lfirst(cell) != NULL && only != NULL)
			return NULL;
		if (lfirst(cell) != NULL)
			only = lfirst(cell);
	}
	return only;
}

/* An error of PostgreSQL's parser does not say whose condition it is in. */
static MaScopedExpression *
check(const char *text, const MaScope *scope, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	MaScopedExpression *checked = NULL;

	PG_TRY();
	{
		checked = ma_scoped_expression_check(text, text, scope, BOOLOID, what);
	}
	PG_CATCH();
	{
		ma_rule_failed(what, context);
	}
	PG_END_TRY();
	return checked;
}

static void
forget(void *arg)
{
	ma_statement_forget(&((MaRowRule *) arg)->statement);
	ma_lookup_reads_forget(((MaRowRule *) arg)->lookups);
}

char *
ma_row_rule_text(const MaRowRule *rule)
{
	return rule->text;
}

List *
ma_row_rule_columns(const MaRowRule *rule)
{
	return rule->columns;
}

List *
ma_row_rule_names(const MaRowRule *rule, const char *kind)
{
	return ma_row_names_of(rule->names, kind);
}

/* ---- names ---- */

static Node *
resolve(List *names, int location, void *arg)
{
	Resolver   *resolver = arg;
	MaLeaf	   *leaf = &resolver->leaf;
	char	   *name = llast(names);
	char	   *first = linitial(names);
	MaAttribute *attribute;
	Node	   *found = NULL;

	if (list_length(names) == 1 || strcmp(first, MA_ROW_ALIAS) == 0 ||
		strcmp(first, leaf->event->name) == 0)
		return row_member(resolver, name, location);
	if (strcmp(first, MA_ENTRY_ALIAS) == 0)
		return ma_leaf_entry_member(leaf, names, location);
	if (list_length(names) == 2 && strcmp(first, "contact") != 0)
		found = lookup_member(resolver, first, name, location);
	if (found == NULL)
		found = ma_leaf_contact_image(leaf, names, location, &attribute);
	if (found == NULL)
		ma_leaf_unknown_column(leaf, psprintf("%s.%s", first, name), location,
							   list_concat(list_make2("contact", MA_ENTRY_ALIAS),
										   ma_lookup_names(leaf->parts, name)));
	return found;
}

/*
 * A column of a lookup, NULL if there is none of this name.  An image does not say which
 * table it is a row of, so the event must have one table only.
 */
static Node *
lookup_member(Resolver *resolver, const char *name, const char *column, int location)
{
	MaLeaf	   *leaf = &resolver->leaf;
	MaLookup   *lookup;
	char	   *member = psprintf("%s.%s", name, column);
	Oid			relid;
	Oid			type;
	ListCell   *cell;

	if (resolver->rule->source == NULL)
	{
		foreach(cell, ma_lookup_names(leaf->parts, column))
			if (strcmp(lfirst(cell), member) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("%s: \"%s\" cannot be read here", leaf->parser->what, member),
						 errdetail("Rows of event \"%s\" stand in several tables, and a row that has happened does not say in which.",
								   leaf->event->name),
						 errhint("Say it in a rule: any %s where (%s ...).", leaf->event->name,
								 member),
						 ma_rule_place(leaf->parser->text, location)));
		return NULL;
	}
	lookup = ma_leaf_take_lookup(leaf, name, column, location);
	if (lookup == NULL)
		return NULL;
	note_column(resolver->rule, lookup->link_column);
	ma_lookup_reads_add(&resolver->rule->lookups, lookup, column);
	relid = lookup->table->relid;
	type = getBaseType(get_atttype(relid, get_attnum(relid, column)));
	return ma_scope_member(MA_LOOKUP_ALIAS, "properties", member, ma_leaf_type(type));
}

static void
note_column(MaRowRule *rule, const char *name)
{
	ListCell   *cell;

	foreach(cell, rule->columns)
		if (strcmp(lfirst(cell), name) == 0)
			return;
	rule->columns = lappend(rule->columns, pstrdup(name));
}

/* A column of the event's row. */
static Node *
row_member(Resolver *resolver, char *name, int location)
{
	MaLeaf	   *leaf = &resolver->leaf;
	MaMemberType member = ma_event_member(leaf->parser->definitions, leaf->event, name);

	if (!member.known)
		ma_leaf_unknown_column(leaf, name, location, member.candidates);
	if (member.unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" is of type %s, which cannot be used here",
						leaf->parser->what, name, member.unfit),
				 ma_rule_place(leaf->parser->text, location)));
	require_select(leaf, name, location);
	note_column(resolver->rule, name);
	return ma_scope_member(MA_ROW_ALIAS, "properties", name, member.type);
}

/* Who defines the condition must be allowed to read what it is about. */
static void
require_select(const MaLeaf *leaf, const char *column, int location)
{
	Oid			definer = leaf->parser->definer;
	ListCell   *cell;

	foreach(cell, OidIsValid(definer) ? leaf->parts : NIL)
	{
		MaEventSource *part = lfirst(cell);
		Oid			relid = part != NULL ? part->table->relid : InvalidOid;
		AttrNumber	number = OidIsValid(relid) ? get_attnum(relid, column) : InvalidAttrNumber;

		if (number > 0 && pg_class_aclcheck(relid, definer, ACL_SELECT) != ACLCHECK_OK &&
			pg_attribute_aclcheck(relid, number, definer, ACL_SELECT) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("%s: permission denied for column \"%s\" of table \"%s\"",
							leaf->parser->what, column, get_rel_name(relid)),
					 errhint("Who defines a rule needs SELECT on what it reads."),
					 ma_rule_place(leaf->parser->text, location)));
	}
}

/* ---- tests ---- */

void
ma_row_rule_test(MaRowRule *rule, Datum *rows, Datum *entries, MaContactChange *contacts, int n,
				 MaRun how, bool *out)
{
	int32	   *places = palloc_array(int32, Max(n, 1));
	Datum	   *images = palloc0_array(Datum, Max(n, 1));
	TimestampTz *as_of = palloc0_array(TimestampTz, Max(n, 1));
	bool	   *nulls = palloc_array(bool, Max(n, 1));
	Batch		batch = {rule->set, contacts, n, as_of, how};
	bool		reads_contact = rule->contact.attributes != NIL;
	Datum		arguments[5];
	MaIdentity	caller;
	MaRows		found;
	MemoryContext context = CurrentMemoryContext;

	if (n == 0)
		return;
	if (reads_contact)
	{
		ma_fetch_prepare(rule->set);
		ma_fetch_contacts(&batch, NULL);
	}
	for (int i = 0; i < n; i++)
	{
		places[i] = i;
		out[i] = false;
		nulls[i] = true;
		if (reads_contact)
			images[i] = ma_contact_image(&batch, i, rule->contact.attributes);
	}
	arguments[0] = ma_int4_array(places, n);
	arguments[1] = ma_datum_array(rows, n, JSONBOID);
	arguments[2] = entries != NULL ? ma_datum_array(entries, n, JSONBOID) :
		ma_datum_array_nulls(images, nulls, n, JSONBOID);
	arguments[3] = reads_contact ? ma_datum_array(images, n, JSONBOID) :
		ma_datum_array_nulls(images, nulls, n, JSONBOID);
	arguments[4] = rule->lookups == NIL ?
		ma_datum_array_nulls(images, nulls, n, JSONBOID) :
		ma_datum_array(ma_lookup_images(rule->lookups, rule->source, rows, n, how), n, JSONBOID);
	ma_become_restricted(&caller, ma_extension_required()->owner);
	PG_TRY();
	{
		found = ma_run(&rule->statement, arguments, NULL, how);
	}
	PG_CATCH();
	{
		ma_rule_failed(rule->contact.what, context);
	}
	PG_END_TRY();
	ma_become_back(&caller);
	for (uint64 i = 0; i < found.n; i++)
		out[ma_int32(&found, i, 1)] = true;
}
