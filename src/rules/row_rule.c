/*
 * row_rule.c
 *		`where (...)` over one row of an event that is held as a jsonb image: entries,
 *		exits and waits of journeys.
 *
 * The row itself may be another one by now, or gone, so nothing is read from the
 * event's table: a name stands for a member of the image, cast to the column's type.
 * That is the same for rows of tables, tracked events and our own ones.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

struct MaRowRule
{
	char	   *text;
	List	   *columns;		/* char * */
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
static MaScopedExpression *check(const char *text, const MaScope *scope, const char *what);
static void forget(void *arg);

MaRowRule *
ma_row_rule_parse(const MaEvent *event, const char *text, const MaEvent *entry_event,
				  const char *what)
{
	MaRowRule  *rule = palloc0_object(MaRowRule);
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);
	MaScopeTable tables[] = {{MA_ROW_ALIAS, images}, {MA_ENTRY_ALIAS, images},
	{MA_PERSON_ALIAS, images}};
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
	resolver.leaf.event = unconstify(MaEvent *, event);
	checked = check(text, &scope, what);
	if (!checked->builtin_only)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only functions and types that are built in are allowed here", what)));
	rule->set = ma_rule_set_make(&contact, 1);
	rule->statement.nargs = 4;
	rule->statement.argtypes[0] = INT4ARRAYOID;
	for (int i = 1; i < 4; i++)
		rule->statement.argtypes[i] = JSONBARRAYOID;
	rule->statement.sql = psprintf("SELECT k.n FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), "
								   "pg_catalog.unnest($3), pg_catalog.unnest($4)) AS k (n, t, entry, contact) "
								   "CROSS JOIN LATERAL (SELECT k.t AS properties) AS "
								   MA_ROW_ALIAS
								   " CROSS JOIN LATERAL (SELECT k.entry AS properties) AS "
								   MA_ENTRY_ALIAS
								   " CROSS JOIN LATERAL (SELECT k.contact AS properties) AS "
								   MA_PERSON_ALIAS " WHERE %s", checked->text);
	callback->func = forget;
	callback->arg = rule;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return rule;
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

/* ---- names ---- */

static Node *
resolve(List *names, int location, void *arg)
{
	Resolver   *resolver = arg;
	MaLeaf	   *leaf = &resolver->leaf;
	char	   *name = llast(names);
	char	   *first = linitial(names);
	MaAttribute *attribute;
	Node	   *found;

	if (list_length(names) == 1 || strcmp(first, MA_ROW_ALIAS) == 0 ||
		strcmp(first, leaf->event->name) == 0)
		return row_member(resolver, name, location);
	if (strcmp(first, MA_ENTRY_ALIAS) == 0)
		return ma_leaf_entry_member(leaf, names, location);
	found = ma_leaf_contact_image(leaf, names, location, &attribute);
	if (found == NULL)
		ma_leaf_unknown_column(leaf, psprintf("%s.%s", first, name), location,
							   list_make2("contact", MA_ENTRY_ALIAS));
	return found;
}

/* A column of the event's row. */
static Node *
row_member(Resolver *resolver, char *name, int location)
{
	MaLeaf	   *leaf = &resolver->leaf;
	MaMemberType member = ma_event_member(leaf->parser->definitions, leaf->event, name);
	bool		known = false;
	ListCell   *cell;

	if (!member.known)
		ma_leaf_unknown_column(leaf, name, location, member.candidates);
	if (member.unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" is of type %s, which cannot be used here",
						leaf->parser->what, name, member.unfit),
				 ma_rule_place(leaf->parser->text, location)));
	foreach(cell, resolver->rule->columns)
		known |= strcmp(lfirst(cell), name) == 0;
	if (!known)
		resolver->rule->columns = lappend(resolver->rule->columns, pstrdup(name));
	return ma_scope_member(MA_ROW_ALIAS, "properties", name, member.type);
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
	Datum		arguments[4];
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
