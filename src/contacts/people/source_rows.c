/*
 * source_rows.c
 *		Rows of an attached table as contacts: read by their keys, in the key's own
 *		type.
 *
 * Keys are stored as text, since sources differ in type; what is compared with
 * the user's column is always an array of the column's type, built by its input
 * function, and the type's own equality operator, so that the user's index serves
 * and no cast is ever applied to keys of another source.  Everything is read as
 * the owner of the table, restricted and read-only.
 */
#include "base/base.h"

#include "catalog/pg_operator.h"
#include "contacts/contacts_internal.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Columns of both statements; the first is the ordinal of the key, if there is one. */
#define COLUMN_KEY 7
#define COLUMN_EMAIL 2
#define COLUMN_PHONE 3
#define COLUMN_TIME_ZONE 4
#define COLUMN_LOCALE 5
#define COLUMN_EXCLUDED 6
#define COLUMN_MAPPED 8			/* only of sources that have any */

/* Whether a row counts must not be decided by the zone of who wrote it. */
#define EXCLUDE_TIME_ZONE "UTC"

typedef struct KeyContext
{
	const MaSource *source;
	const char *text;
} KeyContext;

static void key_error_callback(void *arg);
static Datum key_value(const MaSource *source, const char *text, int32 typmod);
static char *operator_sql(Oid operator);
static void append_fields(StringInfo sql, const MaSource *source);
static void append_field(StringInfo sql, const char *column);
static void prepare_read(MaSource *source);
static void set_fields(MaSourceRow *row, const MaRows *rows, uint64 i);
static char *without_blanks(const char *text);

void
ma_source_row_init(MaSourceRow *row, char *external_id)
{
	memset(row, 0, sizeof(MaSourceRow));
	row->external_id = external_id;
	row->follows = -1;
}

/* Says whose key it was that its type did not accept. */
static void
key_error_callback(void *arg)
{
	KeyContext *context = arg;

	errcontext("contact \"%s\" of source \"%s\"", context->text, context->source->name);
}

/*
 * A table that cannot be read is not one without rows: what waits for it waits on,
 * or its contacts would be forgotten.
 */
void
ma_source_require(const MaSource *source)
{
	if (source->table == NULL ||
		(OidIsValid(source->table->relid) && OidIsValid(source->key_type)))
		return;
	if (OidIsValid(source->table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of attached table \"%s\" is gone", source->key_column,
						source->table->name),
				 errhint("Rename it back, or attach the table again with marketing.attach_contacts().")));
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
			 errmsg("the table of contact source \"%s\" is not there", source->name),
			 errdetail("The table or its trigger marketing_capture is gone."),
			 errhint("Attach it again with marketing.attach_contacts(), or take it off with marketing.detach().")));
}

Datum
ma_source_key(const MaSource *source, const char *text)
{
	ma_source_require(source);
	/* Without length or scale, which is only about how it prints. */
	return key_value(source, text, -1);
}

static Datum
key_value(const MaSource *source, const char *text, int32 typmod)
{
	KeyContext	context = {source, text};
	ErrorContextCallback callback;
	Datum		key;

	if (!OidIsValid(source->key_type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the key column \"%s\" of source \"%s\" is not there",
						source->key_column, source->name),
				 errhint("Look at marketing.status; attach the table again, or detach it.")));
	callback.callback = key_error_callback;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	key = ma_key_value(source->table->relid, source->key_type, typmod, text);
	error_context_stack = callback.previous;
	return key;
}

char *
ma_source_key_text(const MaSource *source, const char *text)
{
	Oid			relid;
	int32		typmod;

	if (source->table == NULL)
		return pstrdup(text);
	ma_source_require(source);
	relid = source->table->relid;
	typmod = ma_key_typmod(relid, source->key_column);
	return ma_key_value_text(relid, source->key_type, key_value(source, text, typmod));
}

/* OPERATOR(schema.name) */
static char *
operator_sql(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *sql;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cannot happen: no operator with OID %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	sql = psprintf("OPERATOR(%s.%s)",
				   quote_identifier(get_namespace_name(form->oprnamespace)),
				   NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return sql;
}

static void
append_field(StringInfo sql, const char *column)
{
	if (column == NULL)
		appendStringInfoString(sql, "NULL::pg_catalog.text, ");
	else
		appendStringInfo(sql, "t.%s::pg_catalog.text, ", quote_identifier(column));
}

static void
append_fields(StringInfo sql, const MaSource *source)
{
	append_field(sql, source->email_column);
	append_field(sql, source->phone_column);
	append_field(sql, source->time_zone_column);
	append_field(sql, source->locale_column);
	if (source->exclude == NULL)
		appendStringInfoString(sql, "false");
	else
		appendStringInfo(sql, "(%s) IS TRUE", source->exclude);
	appendStringInfo(sql, ", t.%s", quote_identifier(source->key_column));
	if (source->mapped != NIL)
		appendStringInfo(sql, ", %s", ma_mapped_sql(source));
}

/* Builds the statement that reads by key; it lives as long as the definition. */
static void
prepare_read(MaSource *source)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT k.n, r.* FROM pg_catalog.unnest($1) "
						   "WITH ORDINALITY AS k (key, n) CROSS JOIN LATERAL (SELECT ");
	append_fields(&sql, source);
	appendStringInfo(&sql, " FROM %s AS t WHERE t.%s %s k.key LIMIT 1) AS r",
					 source->table->qualified, quote_identifier(source->key_column),
					 ma_equality_operator(source->key_type));
	source->read.nargs = 1;
	source->read.argtypes[0] = get_array_type(source->key_type);
	source->read.sql = MemoryContextStrdup(GetMemoryChunkContext(source), sql.data);
}

void
ma_source_read(MaSource *source, MaSourceRow *rows, int n)
{
	Datum	   *keys;
	int		   *places;
	int			nkeys = 0;
	Datum		value;
	MaIdentity	owner;
	MaRows		found;
	int			nest_level;

	if (n == 0 || source->table == NULL)
		return;
	ma_source_require(source);
	keys = palloc_array(Datum, n);
	places = palloc_array(int, n);
	for (int i = 0; i < n; i++)
		if (ma_key_holds(source->key_type, rows[i].external_id))
		{
			places[nkeys] = i;
			keys[nkeys++] = ma_source_key(source, rows[i].external_id);
		}
	if (nkeys == 0)
		return;
	value = ma_datum_array(keys, nkeys, source->key_type);
	if (source->read.sql == NULL)
		prepare_read(source);

	nest_level = ma_pin_time_zone(source->exclude ? EXCLUDE_TIME_ZONE : NULL);
	ma_become_table_owner(&owner, source->table->relid);
	found = ma_run_sized(&source->read, nkeys, &value, MA_RUN_READ_LATEST);
	ma_become_back(&owner);
	ma_unpin_settings(nest_level);
	for (uint64 i = 0; i < found.n; i++)
		set_fields(&rows[places[ma_int64(&found, i, 1) - 1]], &found, i);
}

MaSourceRow *
ma_source_read_from(MaSource *source, const char *from, int limit, int *n)
{
	MemoryContext context = CurrentMemoryContext;
	TypeCacheEntry *type = lookup_type_cache(source->key_type, TYPECACHE_GT_OPR);
	char	   *key = psprintf("t.%s", quote_identifier(source->key_column));
	StringInfoData sql;
	Datum		value = from ? ma_source_key(source, from) : (Datum) 0;
	Oid			argtype = source->key_type;
	MaIdentity	owner;
	MaRows		found;
	MaSourceRow *rows;
	int			nest_level;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT 0, ");
	append_fields(&sql, source);
	appendStringInfo(&sql, " FROM %s AS t", source->table->qualified);
	if (from != NULL)
		appendStringInfo(&sql, " WHERE %s %s $1", key, operator_sql(type->gt_opr));
	appendStringInfo(&sql, " ORDER BY %s LIMIT %d", key, limit);

	nest_level = ma_pin_time_zone(source->exclude ? EXCLUDE_TIME_ZONE : NULL);
	ma_become_table_owner(&owner, source->table->relid);
	PG_TRY();
	{
		found = ma_run_once(sql.data, from ? 1 : 0, &argtype, &value, NULL, MA_RUN_READ_LATEST);
	}
	PG_CATCH();
	{
		if (source->exclude == NULL)
			PG_RE_THROW();
		ma_expression_failed(psprintf("exclude of %s", source->name), context);
	}
	PG_END_TRY();
	ma_become_back(&owner);
	ma_unpin_settings(nest_level);

	*n = found.n;
	rows = palloc_array(MaSourceRow, Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		ma_source_row_init(&rows[i], NULL);
		set_fields(&rows[i], &found, i);
	}
	return rows;
}

int64
ma_source_count(MaSource *source, int64 limit)
{
	char	   *sql = psprintf("SELECT pg_catalog.count(*) FROM (SELECT FROM %s AS t LIMIT "
							   INT64_FORMAT ") AS s", source->table->qualified, limit);
	MaIdentity	owner;
	MaRows		rows;

	ma_become_table_owner(&owner, source->table->relid);
	rows = ma_run_once(sql, 0, NULL, NULL, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&owner);
	return ma_int64(&rows, 0, 1);
}

/* Takes over the fields of result row i. */
static void
set_fields(MaSourceRow *row, const MaRows *rows, uint64 i)
{
	char	   *email = without_blanks(ma_text(rows, i, COLUMN_EMAIL));
	char	   *phone = without_blanks(ma_text(rows, i, COLUMN_PHONE));

	/* Where unlike texts are equal (citext, numeric), the row's own one is the key. */
	row->external_id = ma_text(rows, i, COLUMN_KEY);
	row->present = true;
	row->excluded = ma_bool(rows, i, COLUMN_EXCLUDED);
	row->email = email ? ma_normalise_email(email) : NULL;
	row->invalid_email = email != NULL && row->email == NULL;
	row->phone = phone ? ma_normalise_phone(phone) : NULL;
	row->invalid_phone = phone != NULL && row->phone == NULL;
	row->time_zone = ma_known_time_zone(without_blanks(ma_text(rows, i, COLUMN_TIME_ZONE)));
	row->locale = without_blanks(ma_text(rows, i, COLUMN_LOCALE));
	if (rows->desc->natts >= COLUMN_MAPPED)
	{
		bool		isnull;
		Datum		mapped = ma_value(rows, i, COLUMN_MAPPED, &isnull);

		row->mapped = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(mapped));
	}
}

char *
ma_known_time_zone(const char *name)
{
	pg_tz	   *zone = name ? pg_tzset(name) : NULL;

	if (zone == NULL || !pg_tz_acceptable(zone))
		return NULL;
	return pstrdup(pg_get_timezone_name(zone));
}

/* The text without blanks around it; NULL if nothing is left. */
static char *
without_blanks(const char *text)
{
	size_t		length;

	if (text == NULL)
		return NULL;
	text += strspn(text, " \t\r\n\f\v");
	length = strlen(text);
	while (length > 0 && strchr(" \t\r\n\f\v", text[length - 1]) != NULL)
		length--;
	return length > 0 ? pnstrdup(text, length) : NULL;
}
