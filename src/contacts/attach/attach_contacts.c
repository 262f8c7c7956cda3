/*
 * attach_contacts.c
 *		marketing.attach_contacts(): a user's table becomes a source of contacts.
 *
 * Everything is checked first, with the caller's rights and before anything is
 * locked: the strong lock on his table comes last and is held while its rows are
 * read, so that no row is missed between the reading and the first capture.
 */
#include "base/base.h"

#include "access/table.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "worker/worker.h"

/* What is compared with, and stored in, contact_source. */
typedef enum Property
{
	PROPERTY_SOURCE,
	PROPERTY_ID,
	PROPERTY_EMAIL,
	PROPERTY_PHONE,
	PROPERTY_TIME_ZONE,
	PROPERTY_LOCALE,
	PROPERTY_CONSENT,
	PROPERTY_MATCH,
	PROPERTY_EXCLUDE,
	NUM_PROPERTIES
} Property;

static const char *const property_names[NUM_PROPERTIES] = {
	"source", "id", "email", "phone", "time_zone", "locale", "consent", "match", "exclude"
};

typedef struct Attachment
{
	Oid			relid;
	char	   *value[NUM_PROPERTIES];	/* consent as jsonb text, exclude canonical */
	char	   *exclude_source;
	List	   *exclude_columns;
} Attachment;

static char *text_argument(FunctionCallInfo fcinfo, int n);
static void read_arguments(FunctionCallInfo fcinfo, Attachment *attachment);
static void check(Attachment *attachment);
static void check_source_name(const char *name);
static void check_id(Attachment *attachment);
static char *name_in_sql(Relation relation);
static void check_text_column(Attachment *attachment, Property property);
static void check_consent(Attachment *attachment);
static void check_consent_entry(Attachment *attachment, const char *name, JsonbValue *value);
static void check_match(Attachment *attachment);
static void check_exclude(Attachment *attachment);
static void refuse(const Attachment *attachment, const char *detail, const char *hint)
	pg_attribute_noreturn();
static MaTable *find_table(Oid relid);
static int32 find_stored(const Attachment *attachment, char **stored);
static void check_name_free(const Attachment *attachment, int32 source_id);
static char *changes(const Attachment *attachment, int32 source_id, char **stored, bool *reread);
static int32 store(const Attachment *attachment, int32 source_id, int32 table_id);
static char *attach(MaCall *call, Attachment *attachment);
static void sweep(MaSource *source);
static char *read_rows(int32 source_id, bool unseen);
static char *summary(const MaSource *source, const MaBuildCounts *counts);
static void append_addresses(StringInfo text, const char *what, int64 valid, int64 invalid);

MA_FUNCTION(ma_attach_contacts);

/* marketing.attach_contacts(relation, id, email, phone, ...) */
Datum
ma_attach_contacts(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Attachment	attachment = {0};
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	read_arguments(fcinfo, &attachment);
	check(&attachment);
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, attach(&call, &attachment));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
read_arguments(FunctionCallInfo fcinfo, Attachment *attachment)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "relation" : "id")));
	attachment->relid = PG_GETARG_OID(0);
	attachment->value[PROPERTY_ID] = text_argument(fcinfo, 1);
	attachment->value[PROPERTY_EMAIL] = text_argument(fcinfo, 2);
	attachment->value[PROPERTY_PHONE] = text_argument(fcinfo, 3);
	attachment->value[PROPERTY_TIME_ZONE] = text_argument(fcinfo, 4);
	attachment->value[PROPERTY_LOCALE] = text_argument(fcinfo, 5);
	attachment->value[PROPERTY_CONSENT] = PG_ARGISNULL(6) ? pstrdup("{}") :
		JsonbToCString(NULL, &PG_GETARG_JSONB_P(6)->root, VARSIZE(PG_GETARG_JSONB_P(6)));
	attachment->value[PROPERTY_MATCH] = text_argument(fcinfo, 7);
	attachment->exclude_source = text_argument(fcinfo, 8);
	attachment->value[PROPERTY_SOURCE] = text_argument(fcinfo, 9);
}

/* All checks, as the caller; fills what has a default or a canonical form. */
static void
check(Attachment *attachment)
{
	ma_table_check_attachable(attachment->relid);
	if (attachment->value[PROPERTY_SOURCE] == NULL)
		attachment->value[PROPERTY_SOURCE] = get_rel_name(attachment->relid);
	check_source_name(attachment->value[PROPERTY_SOURCE]);
	check_id(attachment);
	for (Property property = PROPERTY_EMAIL; property <= PROPERTY_LOCALE; property++)
		if (attachment->value[property] != NULL)
			check_text_column(attachment, property);
	check_consent(attachment);
	check_match(attachment);
	if (attachment->exclude_source != NULL)
		check_exclude(attachment);
}

static void
check_source_name(const char *name)
{
	if (name[0] == '\0' || strchr(name, ':') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a source: \"%s\"", name),
				 errhint("Give a name without a colon with source => ....")));
}

static void
refuse(const Attachment *attachment, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_NOT_ATTACHABLE),
			 errmsg("table \"%s\" cannot be attached", get_rel_name(attachment->relid)),
			 errdetail_internal("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

/* The key must find one row, for ever: unique, not null, comparable. */
static void
check_id(Attachment *attachment)
{
	const char *column = attachment->value[PROPERTY_ID];
	AttrNumber	number = ma_column_required(attachment->relid, column, "id");
	Relation	relation = table_open(attachment->relid, AccessShareLock);
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), number - 1);
	Oid			type = getBaseType(attribute->atttypid);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);

	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->gt_opr) ||
		!OidIsValid(get_array_type(type)) || !ma_key_type_fits(type))
		refuse(attachment, psprintf("Column \"%s\" is of type %s, which cannot be a key.",
									column, format_type_be(attribute->atttypid)), MA_KEY_TYPES);
	if (!attribute->attnotnull)
		refuse(attachment, psprintf("Column \"%s\" may be null.", column),
			   "Make it the primary key, or set it NOT NULL.");
	if (!ma_column_is_unique(attachment->relid, number, true))
		refuse(attachment,
			   psprintf("Column \"%s\" alone is not unique: it has no primary key or unique index "
						"that is immediate, without condition and without further columns.",
						column),
			   psprintf("Use CREATE UNIQUE INDEX ON %s (%s).",
						name_in_sql(relation), quote_identifier(column)));
	table_close(relation, NoLock);
}

static char *
name_in_sql(Relation relation)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									  RelationGetRelationName(relation));
}

static void
check_text_column(Attachment *attachment, Property property)
{
	const char *column = attachment->value[property];
	AttrNumber	number = ma_column_required(attachment->relid, column, property_names[property]);
	Oid			type = get_atttype(attachment->relid, number);

	if (TypeCategory(getBaseType(type)) != TYPCATEGORY_STRING)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s, not text",
						column, get_rel_name(attachment->relid), format_type_be(type)),
				 errdetail("It was given as %s.", property_names[property])));
}

/* {"topic/channel": "column"} */
static void
check_consent(Attachment *attachment)
{
	char	   *text = attachment->value[PROPERTY_CONSENT];
	Jsonb	   *consent = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbIterator *iterator;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(consent))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("consent must be a JSON object"),
				 errhint("Write it as {\"topic/channel\": \"column\"}.")));
	iterator = JsonbIteratorInit(&consent->root);
	(void) JsonbIteratorNext(&iterator, &value, true);
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY)
	{
		char	   *name = pnstrdup(value.val.string.val, value.val.string.len);

		(void) JsonbIteratorNext(&iterator, &value, true);
		check_consent_entry(attachment, name, &value);
	}
}

static void
check_consent_entry(Attachment *attachment, const char *name, JsonbValue *value)
{
	const char *slash = strchr(name, '/');
	char	   *column;
	Oid			type;

	if (slash == NULL || slash == name || slash[1] == '\0' || strchr(slash + 1, '/') != NULL ||
		value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid entry \"%s\" of consent", name),
				 errhint("Write consent as {\"topic/channel\": \"column\"}.")));
	column = pnstrdup(value->val.string.val, value->val.string.len);
	type = getBaseType(get_atttype(attachment->relid,
								   ma_column_required(attachment->relid, column,
													  psprintf("consent for %s", name))));
	if (type != BOOLOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s, not boolean or timestamp",
						column, get_rel_name(attachment->relid), format_type_be(type)),
				 errdetail("It was given as consent for %s.", name)));
}

static void
check_match(Attachment *attachment)
{
	const char *match = attachment->value[PROPERTY_MATCH];

	if (match == NULL)
		return;
	if (strcmp(match, "email") != 0 && strcmp(match, "phone") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for match: \"%s\"", match),
				 errhint("Use email or phone.")));
	if (attachment->value[strcmp(match, "email") == 0 ? PROPERTY_EMAIL : PROPERTY_PHONE] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("match by %s needs the column that holds it", match),
				 errhint("Add %s => 'column'.", match)));
}

static void
check_exclude(Attachment *attachment)
{
	const char *table = get_rel_name(attachment->relid);
	MaExpression *expression = ma_expression_check(attachment->exclude_source, attachment->relid,
												   BOOLOID, psprintf("exclude of %s", table));

	/* It runs as the owner of the table: nobody's function may run as a superuser. */
	if (!expression->builtin_only && superuser_arg(ma_relation_owner(attachment->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("exclude of %s uses a function that is not built in", table),
				 errdetail("The table belongs to a superuser, as whom the expression would run."),
				 errhint("Use built-in functions, or give the table to a role that is no superuser.")));
	attachment->value[PROPERTY_EXCLUDE] = expression->text;
	attachment->exclude_columns = expression->columns;
}

/* Compares with what is stored, stores, makes triggers and contacts; as our owner. */
static char *
attach(MaCall *call, Attachment *attachment)
{
	char	   *stored[NUM_PROPERTIES];
	int32		source_id;
	int32		table_id;
	char	   *changed;
	bool		reread;
	bool		unseen;
	char	   *answer;

	/* One definition at a time; it conflicts with no reader. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_tables_heal();
	ma_mapped_check(DirectFunctionCall1(jsonb_in,
										CStringGetDatum(attachment->value[PROPERTY_CONSENT])));
	source_id = find_stored(attachment, stored);
	check_name_free(attachment, source_id);
	changed = changes(attachment, source_id, stored, &reread);
	if (source_id != 0 && changed == NULL)
	{
		MaTable    *table = find_table(attachment->relid);

		if (ma_table_is_captured(attachment->relid, table->id, table->on_replica))
			return psprintf("unchanged: %s", attachment->value[PROPERTY_SOURCE]);
	}
	table_id = ma_table_attach(call, attachment->relid, false, &unseen);
	reread |= source_id == 0 || unseen;
	unseen &= source_id != 0;
	source_id = store(attachment, source_id, table_id);
	ma_definitions_changed();
	ma_tell_attached();
	if (!reread)
		return psprintf("%s: %s%s", attachment->value[PROPERTY_SOURCE],
						changed ? "changed " : "triggers completed", changed ? changed : "");
	answer = read_rows(source_id, unseen);
	return changed == NULL ? answer : psprintf("%s; changed %s", answer, changed);
}

/* The table if it is attached, or is known by its name but has lost its triggers. */
static MaTable *
find_table(Oid relid)
{
	MaDefinitions *definitions = ma_definitions();
	MaTable    *table = ma_table_by_relid(definitions, relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	ListCell   *cell;

	if (table != NULL)
		return table;
	foreach(cell, definitions->tables)
	{
		table = lfirst(cell);
		if (!OidIsValid(table->relid) && strcmp(table->schema, schema) == 0 &&
			strcmp(table->name, get_rel_name(relid)) == 0)
			return table;
	}
	return NULL;
}

/* Source of the table and its properties; 0 if it is not a source. */
static int32
find_stored(const Attachment *attachment, char **stored)
{
	static MaStatement find = {
		"SELECT source_id, name, key_column, email_column, phone_column, time_zone_column, "
		"locale_column, consent, match, exclude FROM marketing_internal.contact_source "
		"WHERE table_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaTable    *table = find_table(attachment->relid);
	Datum		value;
	MaRows		rows;

	if (table == NULL)
		return 0;
	value = Int32GetDatum(table->id);
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return 0;
	for (int i = 0; i < NUM_PROPERTIES; i++)
		stored[i] = ma_text(&rows, 0, 2 + i);
	return ma_int32(&rows, 0, 1);
}

static void
check_name_free(const Attachment *attachment, int32 source_id)
{
	MaSource   *other = ma_source_by_name(ma_definitions(), attachment->value[PROPERTY_SOURCE]);

	if (other == NULL || other->id == source_id)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_MA_NAME_IN_USE),
			 errmsg("a source of contacts is called \"%s\" already", other->name),
			 other->table == NULL ?
			 errdetail("It is a prefix that identify() or track() has brought.") :
			 errdetail("It is the table %s.%s.", other->table->schema, other->table->name),
			 errhint("Choose another name with source => ....")));
}

/*
 * What differs from the stored definition, as text; NULL if nothing does.
 * *reread: the rows must be read again for it.
 */
static char *
changes(const Attachment *attachment, int32 source_id, char **stored, bool *reread)
{
	StringInfoData text;

	*reread = false;
	if (source_id == 0)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < NUM_PROPERTIES; i++)
	{
		const char *now = attachment->value[i];

		if (now == NULL ? stored[i] == NULL : stored[i] != NULL && strcmp(now, stored[i]) == 0)
			continue;
		if (i == PROPERTY_ID && get_attnum(attachment->relid, stored[i]) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the id of source \"%s\" is column \"%s\" and cannot become \"%s\"",
							stored[PROPERTY_SOURCE], stored[i], now),
					 errdetail("Its contacts are known by that id."),
					 errhint("Detach the table first, with marketing.detach().")));
		appendStringInfo(&text, "%s%s from %s to %s", text.len > 0 ? ", " : "", property_names[i],
						 stored[i] ? stored[i] : "none", now ? now : "none");
		*reread |= i != PROPERTY_SOURCE && i != PROPERTY_MATCH;
	}
	return text.len > 0 ? text.data : NULL;
}

/* Writes the row of contact_source; returns its number. */
static int32
store(const Attachment *attachment, int32 source_id, int32 table_id)
{
#define COLUMNS "name, key_column, email_column, phone_column, time_zone_column, locale_column, " \
		"consent, match, exclude, exclude_source, exclude_columns"
#define TYPES 12, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, \
		TEXTOID, TEXTOID, TEXTARRAYOID, INT4OID}
	static MaStatement insert = {
		"INSERT INTO marketing_internal.contact_source (" COLUMNS ", table_id) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7::pg_catalog.jsonb, $8, $9, $10, $11, $12) "
		"RETURNING source_id",
		TYPES
	};
	static MaStatement update = {
		"UPDATE marketing_internal.contact_source SET (" COLUMNS ") = "
		"ROW($1, $2, $3, $4, $5, $6, $7::pg_catalog.jsonb, $8, $9, $10, $11) "
		"WHERE source_id OPERATOR(pg_catalog.=) $12 RETURNING source_id",
		TYPES
	};
	Datum		values[12];
	char		nulls[12];
	MaRows		rows;

	memset(nulls, ' ', sizeof(nulls));
	for (int i = 0; i <= NUM_PROPERTIES; i++)
	{
		const char *value = i < NUM_PROPERTIES ? attachment->value[i] : attachment->exclude_source;

		nulls[i] = value ? ' ' : 'n';
		values[i] = value ? CStringGetTextDatum(value) : (Datum) 0;
	}
	values[10] = ma_text_list_array(attachment->exclude_columns);
	values[11] = Int32GetDatum(source_id == 0 ? table_id : source_id);
	rows = ma_run(source_id == 0 ? &insert : &update, values, nulls, MA_RUN_WRITE_LATEST);
	return ma_int32(&rows, 0, 1);
}

/* Forgets keys without rows; a table made anew with ids of another type holds none of them. */
static void
sweep(MaSource *source)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		ma_source_sweep(source);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("table \"%s\" cannot be attached again", source->table->name),
				 errdetail("Its ids were of another type before: %s.", error->message),
				 errhint("Take off what is left of the earlier table first, with marketing.detach('%s').",
						 source->table->name)));
	}
	PG_END_TRY();
}

/* Reads the table's rows, here or by the worker; `unseen`: keys may be out of date. */
static char *
read_rows(int32 source_id, bool unseen)
{
	static MaStatement later = {
		"UPDATE marketing_internal.contact_source SET building = $2, built_to = NULL "
		"WHERE source_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, BOOLOID}
	};
	MaSource   *source = ma_source_by_id(ma_definitions(), source_id);
	bool		large = ma_source_count(source, (int64) ma_guc_build_in_call_rows + 1) >
		ma_guc_build_in_call_rows;
	MaBuildCounts counts = {0};
	Datum		values[2];

	if (unseen)
		sweep(source);
	if (!large)
		ma_source_build_all(source, &counts);
	if (large || source->building)
	{
		values[0] = Int32GetDatum(source_id);
		values[1] = BoolGetDatum(large);
		ma_run(&later, values, NULL, MA_RUN_WRITE_LATEST);
		ma_definitions_changed();
		source = ma_source_by_id(ma_definitions(), source_id);
		ma_worker_wake_at_commit();
	}
	if (large)
		return psprintf("%s: building; its rows are more than %s and are read by the worker",
						source->name, ma_grouped(ma_guc_build_in_call_rows));
	return summary(source, &counts);
}

/*
 * "customers: 52,800 contacts; 51,977 with e-mail, 39 invalid, 0 with consent for any
 * topic; 120 linked by email"
 */
static char *
summary(const MaSource *source, const MaBuildCounts *counts)
{
	char	   *mapped = ma_mapped_summary(source);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s contact%s", source->name, ma_grouped(counts->rows),
					 counts->rows == 1 ? "" : "s");
	if (source->email_column != NULL)
		append_addresses(&text, "e-mail", counts->with_email, counts->invalid_email);
	if (source->phone_column != NULL)
		append_addresses(&text, "phone", counts->with_phone, counts->invalid_phone);
	if (mapped != NULL)
		appendStringInfo(&text, ", %s", mapped);
	if (source->match != NULL)
		appendStringInfo(&text, "; %s linked by %s", ma_grouped(counts->linked), source->match);
	return text.data;
}

static void
append_addresses(StringInfo text, const char *what, int64 valid, int64 invalid)
{
	appendStringInfo(text, "; %s with %s", ma_grouped(valid), what);
	if (invalid > 0)
		appendStringInfo(text, ", %s invalid", ma_grouped(invalid));
}
