/*
 * row_rule.c
 *		`where (...)` of journeys: a condition over one row of an event that is held
 *		as jsonb, and over the row of the entry and the contact's fields.
 *
 * The image is all there is: the row may have changed or gone since.  So a name
 * stands for a member of the image, cast to the type its column has in the user's
 * table; the tests of a batch are one statement.  Nothing but images and fields is
 * read, and only functions that are built in are allowed, so it runs as our owner.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

struct MaRowRule
{
	char	   *text;
	List	   *columns;		/* char *, of the event's row */
	MaStatement test;
};

/* What a name is looked up in. */
typedef struct RowScope
{
	MaDefinitions *definitions;
	const MaEvent *event;
	const MaEvent *entry;		/* NULL: there is none */
	const char *what;
	List	   *columns;
} RowScope;

static void forget_plan(void *arg);
static Node *resolve(List *names, int location, void *arg);
static Node *member_of(RowScope *scope, const MaEvent *event, const char *alias, const char *name,
					   int location);
static char *column_type(RowScope *scope, const MaEvent *event, const char *name, bool *known,
						 List **candidates);
static char *table_column_type(RowScope *scope, Oid relid, const char *name);
static char *declared_type(const MaEvent *event, const char *name);
static void unknown(const RowScope *scope, const char *name, const char *event, List *candidates,
					int location) pg_attribute_noreturn();
static void set_statement(MaRowRule *rule, const char *condition);

MaRowRule *
ma_row_rule_parse(const MaEvent *event, const char *text, const MaEvent *entry_event,
		const char *what)
{
	Oid			images = get_relname_relid("event", ma_extension_required()->internal_schema);
	Oid			contacts = get_relname_relid("contact", ma_extension_required()->internal_schema);
	MaScopeTable tables[] = {{"t", images}, {"entry", images}, {"contact", contacts}};
	RowScope	names = {ma_definitions(), event, entry_event, what, NIL};
	MaScope		scope = {tables, lengthof(tables), resolve, &names, NULL};
	MaRowRule  *rule = palloc0_object(MaRowRule);
	MemoryContextCallback *forget = palloc0_object(MemoryContextCallback);
	MaScopedExpression *checked = ma_scoped_expression_check(text, text, &scope, BOOLOID, what);

	if (!checked->builtin_only)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only functions and types that are built in are allowed here", what)));
	rule->text = pstrdup(text);
	rule->columns = names.columns;
	set_statement(rule, checked->text);
	forget->func = forget_plan;
	forget->arg = &rule->test;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, forget);
	return rule;
}

/* The rule goes with its memory context; its kept plan must go too. */
static void
forget_plan(void *arg)
{
	ma_statement_forget(arg);
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

/* A bare name, entry.name or contact.name. */
static Node *
resolve(List *names, int location, void *arg)
{
	static const char *const fields[] = {"email", "phone", "time_zone", "locale"};
	RowScope   *scope = arg;
	char	   *first = linitial(names);
	char	   *last = llast(names);

	if (list_length(names) == 1)
	{
		scope->columns = lappend(scope->columns, pstrdup(last));
		return member_of(scope, scope->event, "t", last, location);
	}
	if (list_length(names) == 2 && strcmp(first, "entry") == 0 && scope->entry != NULL)
		return member_of(scope, scope->entry, "entry", last, location);
	if (list_length(names) == 2 && strcmp(first, "contact") == 0)
	{
		for (int i = 0; i < lengthof(fields); i++)
			if (strcmp(last, fields[i]) == 0)
				return ma_scope_column("contact", last);
		return ma_scope_member("contact", "attributes", last, NULL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: there is no \"%s.%s\"", scope->what, first, last),
			 errhint(scope->entry ? "Bare names are columns of the event's row; entry.x and "
					"contact.x are the others." :
					 "Bare names are columns of the event's row; contact.x is a field or attribute of the contact."),
			 errposition(location + 1)));
}

static Node *
member_of(RowScope *scope, const MaEvent *event, const char *alias, const char *name, int location)
{
	List	   *candidates = NIL;
	bool		known = false;
	char	   *type = column_type(scope, event, name, &known, &candidates);

	if (!known)
		unknown(scope, name, event->name, candidates, location);
	return ma_scope_member(alias, "properties", name, type);
}

static void
unknown(const RowScope *scope, const char *name, const char *event, List *candidates, int location)
{
	char	   *nearest = ma_nearest(name, candidates);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: event \"%s\" has no column \"%s\"", scope->what, event, name),
			 nearest ? errhint("Did you mean %s?", nearest) : 0,
			 errposition(location + 1)));
}

/* Type of the column in the first place that has it; NULL is text. */
static char *
column_type(RowScope *scope, const MaEvent *event, const char *name, bool *known, List **candidates)
{
	const MaBuiltinColumn *column = ma_builtin_columns(event->name);
	List	   *sources = ma_event_sources(scope->definitions, event);
	bool		free_form = false;
	ListCell   *cell;

	for (; column != NULL && column->name != NULL; column++)
	{
		*candidates = lappend(*candidates, unconstify(char *, column->name));
		if (strcmp(column->name, name) != 0)
			continue;
		*known = true;
		return format_type_extended(column->type, -1, FORMAT_TYPE_FORCE_QUALIFY);
	}
	foreach(cell, sources)
	{
		MaEventSource *source = lfirst(cell);
		Oid			relid = source ? source->table->relid : InvalidOid;

		free_form |= source == NULL;
		if (!OidIsValid(relid))
			continue;
		if (get_attnum(relid, name) > 0)
		{
			*known = true;
			return table_column_type(scope, relid, name);
		}
		*candidates = list_concat(*candidates, ma_column_names(relid));
	}
	/* Properties of tracked events have the types of their declaration, or are texts. */
	*known = free_form || (sources == NIL && !event->builtin);
	return *known ? declared_type(event, name) : NULL;
}

/* The image holds scalars as their texts; what is not one is not cast back. */
static char *
table_column_type(RowScope *scope, Oid relid, const char *name)
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	char		kind;

	get_atttypetypmodcoll(relid, get_attnum(relid, name), &type, &typmod, &collation);
	kind = get_typtype(getBaseType(type));
	if (OidIsValid(get_element_type(getBaseType(type))) || kind == TYPTYPE_COMPOSITE ||
		kind == TYPTYPE_RANGE || kind == TYPTYPE_MULTIRANGE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" of type %s cannot be used here", scope->what, name,
						format_type_be(type))));
	/* Types of users would bring functions of theirs: their texts are compared. */
	if (getBaseType(type) >= FirstNormalObjectId)
		return NULL;
	return format_type_extended(getBaseType(type), typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

static char *
declared_type(const MaEvent *event, const char *name)
{
	static MaStatement find = {
		"SELECT e.properties OPERATOR(pg_catalog.->>) $2 FROM marketing_internal.event_type AS e "
		"WHERE e.event_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = Int32GetDatum(event->id);
	values[1] = CStringGetTextDatum(name);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

/* The numbers of those who fit; NULLs of `entries` are rows without anything in them. */
static void
set_statement(MaRowRule *rule, const char *condition)
{
	rule->test.sql =
		psprintf("SELECT u.n::pg_catalog.int4 FROM ROWS FROM (pg_catalog.unnest($1), "
				 "pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY "
				 "AS u (properties, entered, contact_id, n) "
				 "CROSS JOIN LATERAL (SELECT u.properties) AS t (properties) "
				 "CROSS JOIN LATERAL (SELECT u.entered) AS entry (properties) "
				 "LEFT JOIN marketing_internal.contact AS contact "
				 "ON contact.contact_id OPERATOR(pg_catalog.=) u.contact_id "
				 "WHERE (%s) ORDER BY u.n", condition);
	rule->test.nargs = 3;
	rule->test.argtypes[0] = JSONBARRAYOID;
	rule->test.argtypes[1] = JSONBARRAYOID;
	rule->test.argtypes[2] = INT8ARRAYOID;
}

void
ma_row_rule_test(MaRowRule *rule, Datum *rows, Datum *entries, MaContactChange *contacts, int n,
				 MaRun how, bool *out)
{
	int64	   *ids = palloc_array(int64, Max(n, 1));
	bool	   *none = palloc_array(bool, Max(n, 1));
	Datum	   *empty = palloc0_array(Datum, Max(n, 1));
	Datum		values[3];
	MaRows		fits;

	for (int i = 0; i < n; i++)
	{
		ids[i] = contacts[i].contact_id;
		none[i] = entries == NULL;
		out[i] = false;
	}
	values[0] = ma_datum_array(rows, n, JSONBOID);
	values[1] = ma_datum_array_nulls(entries ? entries : empty, none, n, JSONBOID);
	values[2] = ma_int8_array(ids, n);
	fits = ma_run(&rule->test, values, NULL, how);
	for (uint64 i = 0; i < fits.n; i++)
		out[ma_int32(&fits, i, 1) - 1] = true;
}
