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
#include "rules/columns.h"
#include "rules/evaluator.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define ROW "t"					/* aliases of the images */
#define ENTRY "entry"
#define PERSON "contact_image"

struct MaRowRule
{
	char	   *text;
	List	   *columns;		/* char * */
	bool		reads_entry;
	MaRule		contact;		/* attributes of the contact it reads, nothing else */
	MaRuleSet  *set;
	MaStatement statement;
};

typedef struct Resolver
{
	MaRowRule  *rule;
	const char *text;
	const char *what;
	MaDefinitions *definitions;
	const MaEvent *event;
	const MaEvent *entry_event;
} Resolver;

static Node *resolve(List *names, int location, void *arg);
static char *member_type(Resolver *resolver, const MaEvent *event, const char *name, int location);
static char *table_column_type(Resolver *resolver, Oid relid, const char *name, int location);
static Node *contact_member(Resolver *resolver, const char *name, int location);
static void unknown_name(Resolver *resolver, const char *name, int location,
						 List *candidates) pg_attribute_noreturn();
static void forget(void *arg);
static Datum contact_image(Batch *batch, int contact, const MaRowRule *rule);

MaRowRule *
ma_row_rule_parse(const MaEvent *event, const char *text, const MaEvent *entry_event,
				  const char *what)
{
	MaRowRule  *rule = palloc0_object(MaRowRule);
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);
	MaScopeTable tables[] = {{ROW, images}, {ENTRY, images}, {PERSON, images}};
	Resolver	resolver = {rule, text, what, ma_definitions(), event, entry_event};
	MaScope		scope = {tables, lengthof(tables), resolve, &resolver, NULL};
	MaScopedExpression *checked;
	MemoryContextCallback *callback = palloc0_object(MemoryContextCallback);
	MaRule	   *contact = &rule->contact;

	rule->text = pstrdup(text);
	checked = ma_scoped_expression_check(text, text, &scope, BOOLOID, what);
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
								   "CROSS JOIN LATERAL (SELECT k.t AS properties) AS " ROW
								   " CROSS JOIN LATERAL (SELECT k.entry AS properties) AS " ENTRY
								   " CROSS JOIN LATERAL (SELECT k.contact AS properties) AS " PERSON
								   " WHERE %s", checked->text);
	callback->func = forget;
	callback->arg = rule;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return rule;
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

static void
unknown_name(Resolver *resolver, const char *name, int location, List *candidates)
{
	char	   *nearest = ma_nearest(name, candidates);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: there is no column \"%s\"", resolver->what, name),
			 errdetail("Bare names are columns of event \"%s\"; entry.x is the row of the entry, contact.x the contact.",
					   resolver->event->name),
			 nearest ? errhint("Did you mean %s?", nearest) : 0,
			 ma_rule_place(resolver->text, location)));
}

static Node *
resolve(List *names, int location, void *arg)
{
	Resolver   *resolver = arg;
	char	   *name = llast(names);
	char	   *first = linitial(names);
	ListCell   *cell;
	char	   *type;

	if (list_length(names) > 2)
		unknown_name(resolver, name, location, NIL);
	if (list_length(names) == 2 && strcmp(first, "contact") == 0)
		return contact_member(resolver, name, location);
	if (list_length(names) == 2 && strcmp(first, ENTRY) == 0 && resolver->entry_event != NULL)
	{
		resolver->rule->reads_entry = true;
		return ma_scope_member(ENTRY, "properties", name,
							   member_type(resolver, resolver->entry_event, name, location));
	}
	if (list_length(names) == 2 && strcmp(first, ROW) != 0)
		unknown_name(resolver, psprintf("%s.%s", first, name), location, NIL);
	type = member_type(resolver, resolver->event, name, location);
	foreach(cell, resolver->rule->columns)
		if (strcmp(lfirst(cell), name) == 0)
			return ma_scope_member(ROW, "properties", name, type);
	resolver->rule->columns = lappend(resolver->rule->columns, pstrdup(name));
	return ma_scope_member(ROW, "properties", name, type);
}

/* Type of a column of the event as SQL; NULL: text. */
static char *
member_type(Resolver *resolver, const MaEvent *event, const char *name, int location)
{
	const MaBuiltinColumn *columns = ma_builtin_columns(event->name);
	List	   *candidates = NIL;
	const char *declared;
	bool		tables = false;
	ListCell   *cell;

	for (int i = 0; columns != NULL && columns[i].name != NULL; i++)
	{
		candidates = lappend(candidates, unconstify(char *, columns[i].name));
		if (strcmp(columns[i].name, name) == 0)
			return format_type_be_qualified(columns[i].type);
	}
	if (columns != NULL)
		unknown_name(resolver, name, location, candidates);
	foreach(cell, ma_event_sources(resolver->definitions, event))
	{
		MaEventSource *source = lfirst(cell);

		if (source == NULL || !OidIsValid(source->table->relid))
			continue;
		tables = true;
		if (get_attnum(source->table->relid, name) > 0)
			return table_column_type(resolver, source->table->relid, name, location);
		candidates = list_concat(candidates, ma_column_names(source->table->relid));
	}
	declared = ma_declared_type(event->id, name);
	if (declared == NULL && tables)
		unknown_name(resolver, name, location, candidates);
	return unconstify(char *, declared);
}

/* Values of arrays and rows are no texts of their type in an image. */
static char *
table_column_type(Resolver *resolver, Oid relid, const char *name, int location)
{
	Oid			type = getBaseType(get_atttype(relid, get_attnum(relid, name)));

	if (OidIsValid(get_element_type(type)) || get_typtype(type) == TYPTYPE_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" is of type %s, which cannot be used here",
						resolver->what, name, format_type_be(type)),
				 ma_rule_place(resolver->text, location)));
	return format_type_be_qualified(type);
}

/* contact.x: read when the rule is tested, and handed over as one more image. */
static Node *
contact_member(Resolver *resolver, const char *name, int location)
{
	MaParser	parser = {resolver->text};
	MaToken		tokens[4] = {0};
	MaAttribute *attribute;
	Oid			type;
	ListCell   *cell;

	/* As the tokens contact . name, at their place. */
	tokens[0] = (MaToken) {MA_TOKEN_NAME, "contact", false, false, location, location + 7};
	tokens[1] = (MaToken) {MA_TOKEN_SYMBOL, ".", false, false, location + 7, location + 8};
	tokens[2] = (MaToken) {MA_TOKEN_NAME, unconstify(char *, name), false, false, location + 8,
		location + 8 + (int) strlen(name)};
	tokens[3] = (MaToken) {MA_TOKEN_END, "", false, false, tokens[2].end, tokens[2].end};
	parser.text = psprintf("%*scontact.%s", location, "", quote_identifier(name));
	tokens[2].end = strlen(parser.text);
	parser.tokens = tokens;
	parser.ntokens = lengthof(tokens);
	parser.rule = &resolver->rule->contact;
	parser.definitions = resolver->definitions;
	parser.what = resolver->what;
	attribute = ma_text_attribute(&parser, 0, 3, &type);
	foreach(cell, resolver->rule->contact.attributes)
		if (lfirst(cell) != attribute &&
			strcmp(((MaAttribute *) lfirst(cell))->sql, attribute->sql) == 0)
			resolver->rule->contact.attributes =
				list_delete_ptr(resolver->rule->contact.attributes, attribute);
	attribute->text = pstrdup(name);
	return ma_scope_member(PERSON, "properties", name, format_type_be_qualified(type));
}

/* ---- tests ---- */

/* The contact's attributes as a jsonb object of texts. */
static Datum
contact_image(Batch *batch, int contact, const MaRowRule *rule)
{
	JsonbParseState *state = NULL;
	ListCell   *cell;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	foreach(cell, rule->contact.attributes)
	{
		MaAttribute *attribute = lfirst(cell);
		int			place = contact * batch->set->nattributes + attribute->place;
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvNull};

		key.val.string.val = attribute->text;
		key.val.string.len = strlen(attribute->text);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		if (!batch->nulls[place])
		{
			value.type = jbvString;
			value.val.string.val = TextDatumGetCString(batch->values[place]);
			value.val.string.len = strlen(value.val.string.val);
		}
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

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

	if (n == 0)
		return;
	if (reads_contact)
	{
		ma_fetch_prepare(rule->set);
		ma_fetch_contacts(&batch);
	}
	for (int i = 0; i < n; i++)
	{
		places[i] = i;
		out[i] = false;
		nulls[i] = true;
		if (reads_contact)
			images[i] = contact_image(&batch, i, rule);
	}
	arguments[0] = ma_int4_array(places, n);
	arguments[1] = ma_datum_array(rows, n, JSONBOID);
	arguments[2] = entries != NULL ? ma_datum_array(entries, n, JSONBOID) :
		ma_datum_array_nulls(images, nulls, n, JSONBOID);
	arguments[3] = reads_contact ? ma_datum_array(images, n, JSONBOID) :
		ma_datum_array_nulls(images, nulls, n, JSONBOID);
	ma_become_restricted(&caller, ma_extension_required()->owner);
	found = ma_run(&rule->statement, arguments, NULL, how);
	ma_become_back(&caller);
	for (uint64 i = 0; i < found.n; i++)
		out[ma_int32(&found, i, 1)] = true;
}
