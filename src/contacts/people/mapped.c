/*
 * mapped.c
 *		Columns of contact tables that mean something to an upper room: followed
 *		here, understood there.
 *
 * The values last seen stand beside the key of the row, so that a change is told
 * once whoever evaluates it, moves with the key when contacts are merged or rows
 * re-keyed, and a change of another column of the row tells nothing.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

static const MaMapping *mapping = NULL;

static char *column_sql(const MaSource *source, const char *column);
static char *value_of(Datum mapped, const char *name);

void
ma_register_mapping(const MaMapping *who)
{
	mapping = who;
}

List *
ma_mapped_columns(Datum consent)
{
	Jsonb	   *object = DatumGetJsonbP(consent);
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	List	   *columns = NIL;
	JsonbValue	value;

	(void) JsonbIteratorNext(&iterator, &value, true);
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY)
	{
		MaMappedColumn *column = palloc_object(MaMappedColumn);

		column->name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvString)
			continue;
		column->column = pnstrdup(value.val.string.val, value.val.string.len);
		columns = lappend(columns, column);
	}
	return columns;
}

void
ma_mapped_check(Datum consent)
{
	ListCell   *cell;

	if (mapping == NULL)
		return;
	foreach(cell, ma_mapped_columns(consent))
		mapping->check(((MaMappedColumn *) lfirst(cell))->name);
}

/* The column as text that does not depend on the session: a time is one of UTC. */
static char *
column_sql(const MaSource *source, const char *column)
{
	AttrNumber	number = get_attnum(source->table->relid, column);

	if (number <= 0)
		return "NULL::pg_catalog.text";
	if (getBaseType(get_atttype(source->table->relid, number)) == TIMESTAMPTZOID)
		return psprintf("pg_catalog.timezone('UTC', t.%s)::pg_catalog.text",
						quote_identifier(column));
	return psprintf("t.%s::pg_catalog.text", quote_identifier(column));
}

char *
ma_mapped_sql(const MaSource *source)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "NULLIF(pg_catalog.jsonb_strip_nulls("
						   "pg_catalog.jsonb_build_object(");
	foreach(cell, source->mapped)
	{
		MaMappedColumn *column = lfirst(cell);

		appendStringInfo(&sql, "%s%s, %s", cell == list_head(source->mapped) ? "" : ", ",
						 quote_literal_cstr(column->name), column_sql(source, column->column));
	}
	appendStringInfoString(&sql, ")), '{}'::pg_catalog.jsonb)");
	return sql.data;
}

/* Text of a member; NULL if there is none. */
static char *
value_of(Datum mapped, const char *name)
{
	JsonbValue	key;
	JsonbValue *value;

	if (mapped == (Datum) 0)
		return NULL;
	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(&DatumGetJsonbP(mapped)->root, JB_FOBJECT, &key);
	return value == NULL || value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);
}

void
ma_mapped_follow(const MaSource *source, const MaSourceRow *rows, int n, bool evaluating)
{
	static MaStatement follow = {
		"UPDATE marketing_internal.contact_key AS k SET mapped = u.mapped "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (external_id, mapped) "
		"JOIN marketing_internal.contact_key AS o ON o.source_id OPERATOR(pg_catalog.=) $1 "
		"AND o.external_id OPERATOR(pg_catalog.=) u.external_id "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 "
		"AND k.external_id OPERATOR(pg_catalog.=) u.external_id "
		"AND o.mapped IS DISTINCT FROM u.mapped "
		"RETURNING k.contact_id, o.mapped, k.mapped",
		3, {INT4OID, TEXTARRAYOID, JSONBARRAYOID}
	};
	char	  **ids = palloc_array(char *, Max(n, 1));
	Datum	   *mapped = palloc_array(Datum, Max(n, 1));
	bool	   *nulls = palloc_array(bool, Max(n, 1));
	Datum		values[3];
	MaRows		found;
	MaMappedChange *changes;
	int			nchanges = 0;

	if (n == 0 || source->mapped == NIL || mapping == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		ids[i] = rows[i].external_id;
		mapped[i] = rows[i].mapped;
		nulls[i] = rows[i].mapped == (Datum) 0;
	}
	values[0] = Int32GetDatum(source->id);
	values[1] = ma_text_array(ids, n);
	values[2] = ma_datum_array_nulls(mapped, nulls, n, JSONBOID);
	found = ma_run_sized(&follow, n, values, MA_RUN_WRITE_LATEST);

	changes = palloc_array(MaMappedChange, Max(found.n * list_length(source->mapped), 1));
	for (uint64 i = 0; i < found.n; i++)
	{
		ListCell   *cell;
		bool		isnull[2];
		Datum		before = ma_value(&found, i, 2, &isnull[0]);
		Datum		now = ma_value(&found, i, 3, &isnull[1]);

		foreach(cell, source->mapped)
		{
			MaMappedColumn *column = lfirst(cell);
			MaMappedChange *change = &changes[nchanges];

			change->contact_id = ma_int64(&found, i, 1);
			change->source = source;
			change->name = column->name;
			change->column = column->column;
			change->old_value = value_of(isnull[0] ? (Datum) 0 : before, column->name);
			change->new_value = value_of(isnull[1] ? (Datum) 0 : now, column->name);
			if (change->old_value == NULL ? change->new_value != NULL :
				change->new_value == NULL || strcmp(change->old_value, change->new_value) != 0)
				nchanges++;
		}
	}
	if (nchanges > 0)
		mapping->changed(changes, nchanges, evaluating);
}

char *
ma_mapped_summary(const MaSource *source)
{
	return mapping == NULL ? NULL : mapping->summary(source);
}
