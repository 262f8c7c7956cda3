/*
 * declare_event.c
 *		marketing.declare_event(): names a tracked event, and the types of its
 *		properties, before the first one is tracked.
 *
 * Rules may only use events that are known, so that a typo is an error; this makes
 * one known.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/* What event_type says of the event. */
typedef struct Declaration
{
	bool		declared;
	Jsonb	   *properties;
} Declaration;

static char *declare(const char *name, Jsonb *properties);
static Declaration read_declaration(const char *name);
static void store(const char *name, Jsonb *properties);
static char *describe(const Declaration *before, Jsonb *types);
static void compare(StringInfo text, Jsonb *types, Jsonb *others, const char *missing,
					const char *different);

MA_FUNCTION(ma_declare_event);

/* marketing.declare_event(name, properties) */
Datum
ma_declare_event(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name;
	Jsonb	   *properties;
	char	   *answer;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "name" : "properties")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ma_event_name_check(name);
	properties = ma_property_types_read(PG_GETARG_JSONB_P(1));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, declare(name, properties));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
declare(const char *name, Jsonb *properties)
{
	MaEvent    *event;
	Declaration before;
	char	   *changed;

	ma_event_partitions_ensure();
	(void) ma_event_ensure(name);
	before = read_declaration(name);
	event = ma_event_by_name(ma_definitions(), name);
	if (event != NULL && event->source != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_NAME_IN_USE),
				 errmsg("event \"%s\" is attached to table \"%s\"", name,
						event->source->table->name),
				 errdetail("Its properties are the columns of the table."),
				 errhint("Choose another name.")));
	changed = describe(&before, properties);
	if (before.declared && changed == NULL)
		return psprintf("unchanged: %s", name);
	store(name, properties);
	ma_definitions_changed();
	if (!before.declared)
		return psprintf("%s: declared%s", name,
						changed ? psprintf(" with %s", changed) : "");
	return psprintf("%s: %s", name, changed);
}

/* The event's row, locked so that two calls (or an attach) do not both decide by it. */
static Declaration
read_declaration(const char *name)
{
	static MaStatement find = {
		"SELECT declared, properties FROM marketing_internal.event_type "
		"WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	Declaration found;
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_WRITE_LATEST);
	bool		isnull;

	if (rows.n != 1)
		elog(ERROR, "cannot happen: event \"%s\" was not made", name);
	found.declared = ma_bool(&rows, 0, 1);
	found.properties = DatumGetJsonbP(ma_value(&rows, 0, 2, &isnull));
	return found;
}

static void
store(const char *name, Jsonb *properties)
{
	static MaStatement declare = {
		"UPDATE marketing_internal.event_type SET declared = true, properties = $2 "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		2, {TEXTOID, JSONBOID}
	};
	Datum		values[2];

	values[0] = CStringGetTextDatum(name);
	values[1] = JsonbPGetDatum(properties);
	ma_run(&declare, values, NULL, MA_RUN_WRITE_LATEST);
}

/* The types of a new declaration, or how they differ from those before; NULL if they do not. */
static char *
describe(const Declaration *before, Jsonb *types)
{
	StringInfoData text;

	initStringInfo(&text);
	compare(&text, types, before->properties, before->declared ? "added " : "", "changed ");
	compare(&text, before->properties, types, "removed ", NULL);
	return text.len > 0 ? text.data : NULL;
}

/* Appends members of `types` that `others` has not (`missing`) or has as another type. */
static void
compare(StringInfo text, Jsonb *types, Jsonb *others, const char *missing, const char *different)
{
	JsonbIterator *iterator = JsonbIteratorInit(&types->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		JsonbValue	other;
		const char *word = NULL;

		if (token == WJB_KEY)
			key = item;
		if (token != WJB_VALUE)
			continue;
		if (getKeyJsonValueFromContainer(&others->root, key.val.string.val,
										 key.val.string.len, &other) == NULL)
			word = missing;
		else if (other.val.string.len != item.val.string.len ||
				 memcmp(other.val.string.val, item.val.string.val, item.val.string.len) != 0)
			word = different;
		if (word != NULL)
			appendStringInfo(text, "%s%s%.*s (%.*s)", text->len > 0 ? ", " : "", word,
							 key.val.string.len, key.val.string.val,
							 item.val.string.len, item.val.string.val);
	}
}
