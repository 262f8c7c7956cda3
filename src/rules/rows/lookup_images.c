/*
 * lookup_images.c
 *		Columns of lookups in a condition on a row that is an image (row_rule.c): they are
 *		read when the condition is asked, by what the image links to.
 *
 * An image is a row as it was; the lookup's row is the one there is now.  It is read
 * with the rights of the owner of the event's table, as in every other rule, so before
 * the condition itself, which runs over images alone and reads no table.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

static MaLookupRead *read_of(List **reads, MaLookup *lookup);
static void prepare(MaLookupRead *read, const MaEventSource *source);
static void read_rows(MaLookupRead *read, const MaEventSource *source, Datum *rows, int n,
					  MaRun how, JsonbValue *values, int nvalues, int first);

static MaLookupRead *
read_of(List **reads, MaLookup *lookup)
{
	MaLookupRead *read;
	ListCell   *cell;

	foreach(cell, *reads)
		if (((MaLookupRead *) lfirst(cell))->lookup == lookup)
			return lfirst(cell);
	read = palloc0_object(MaLookupRead);
	read->lookup = lookup;
	*reads = lappend(*reads, read);
	return read;
}

void
ma_lookup_reads_add(List **reads, MaLookup *lookup, const char *column)
{
	MaLookupRead *read = read_of(reads, lookup);
	ListCell   *cell;

	foreach(cell, read->columns)
		if (strcmp(lfirst(cell), column) == 0)
			return;
	read->columns = lappend(read->columns, pstrdup(column));
}

/* Rows ($2, images) by their place ($1) to the looked-up row's columns, as text. */
static void
prepare(MaLookupRead *read, const MaEventSource *source)
{
	const MaLookup *lookup = read->lookup;
	Oid			relid = source->table->relid;
	AttrNumber	link = get_attnum(relid, lookup->link_column);
	Oid			key = ma_lookup_key_type(lookup);
	StringInfoData sql;
	ListCell   *cell;

	if (link <= 0 || !OidIsValid(key))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("a column that lookup \"%s\" of table \"%s\" is found by is gone",
						lookup->name, source->table->name),
				 errhint("Attach the event again.")));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT k.n");
	foreach(cell, read->columns)
		appendStringInfo(&sql, ", l.%s::pg_catalog.text", quote_identifier(lfirst(cell)));
	appendStringInfo(&sql, " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (n, image) "
					 "JOIN %s AS l ON l.%s %s (k.image OPERATOR(pg_catalog.->>) %s)::%s",
					 lookup->table->qualified, quote_identifier(lookup->key_column),
					 ma_equality_operator(key), quote_literal_cstr(lookup->link_column),
					 ma_leaf_type(getBaseType(get_atttype(relid, link))));
	read->statement.sql = sql.data;
	read->statement.nargs = 2;
	read->statement.argtypes[0] = INT4ARRAYOID;
	read->statement.argtypes[1] = JSONBARRAYOID;
}

void
ma_lookup_reads_prepare(List *reads, const MaEventSource *source)
{
	ListCell   *cell;

	foreach(cell, reads)
		prepare(lfirst(cell), source);
}

void
ma_lookup_reads_forget(List *reads)
{
	ListCell   *cell;

	foreach(cell, reads)
		ma_statement_forget(&((MaLookupRead *) lfirst(cell))->statement);
}

/* Puts the columns of one lookup into values[row * nvalues + first ...]. */
static void
read_rows(MaLookupRead *read, const MaEventSource *source, Datum *rows, int n, MaRun how,
		  JsonbValue *values, int nvalues, int first)
{
	int32	   *places = palloc_array(int32, n);
	Datum		arguments[2];
	MaIdentity	caller;
	MaRows		found;

	for (int i = 0; i < n; i++)
		places[i] = i;
	arguments[0] = ma_int4_array(places, n);
	arguments[1] = ma_datum_array(rows, n, JSONBOID);
	ma_become_table_owner(&caller, source->table->relid);
	found = ma_run(&read->statement, arguments, NULL, how);
	ma_become_back(&caller);
	for (uint64 i = 0; i < found.n; i++)
		for (int j = 0; j < list_length(read->columns); j++)
		{
			char	   *text = ma_text(&found, i, j + 2);
			JsonbValue *value = &values[ma_int32(&found, i, 1) * nvalues + first + j];

			if (text == NULL)
				continue;
			value->type = jbvString;
			value->val.string.val = text;
			value->val.string.len = strlen(text);
		}
}

Datum *
ma_lookup_images(List *reads, const MaEventSource *source, Datum *rows, int n, MaRun how)
{
	Datum	   *images = palloc_array(Datum, Max(n, 1));
	List	   *names = NIL;
	JsonbValue *values;
	int			first = 0;
	ListCell   *cell;
	ListCell   *column;

	foreach(cell, reads)
	{
		MaLookupRead *read = lfirst(cell);

		foreach(column, read->columns)
			names = lappend(names, psprintf("%s.%s", read->lookup->name, (char *) lfirst(column)));
	}
	values = palloc0_array(JsonbValue, Max(n * list_length(names), 1));
	for (int i = 0; i < n * list_length(names); i++)
		values[i].type = jbvNull;
	foreach(cell, reads)
	{
		read_rows(lfirst(cell), source, rows, n, how, values, list_length(names), first);
		first += list_length(((MaLookupRead *) lfirst(cell))->columns);
	}
	for (int i = 0; i < n; i++)
	{
		JsonbParseState *state = NULL;

		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		foreach(cell, names)
		{
			JsonbValue	key = {.type = jbvString};

			key.val.string.val = lfirst(cell);
			key.val.string.len = strlen(lfirst(cell));
			(void) pushJsonbValue(&state, WJB_KEY, &key);
			(void) pushJsonbValue(&state, WJB_VALUE,
								  &values[i * list_length(names) + foreach_current_index(cell)]);
		}
		images[i] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	}
	return images;
}
