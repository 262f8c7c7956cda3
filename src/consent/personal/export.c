/*
 * export.c
 *		marketing.export_contact(): all that is known about a person, as one JSON object.
 *
 * His own row of each attached table, his consents with their proofs, and every row of ours
 * that has his number, by table (personal_data.c).  Our numbers of topics, segments,
 * journeys and the like are joined by their names.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static void append_member(StringInfo json, const char *name, Datum value, bool isnull);
static void append_rows(StringInfo json, int64 contact_id);
static void append_query(StringInfo json, const char *name, const char *sql, Datum ids);
static char *names_sql(const char *table);

MA_FUNCTION(ma_export_contact);

/* "name": value */
static void
append_member(StringInfo json, const char *name, Datum value, bool isnull)
{
	if (isnull)
		return;
	appendStringInfo(json, "%s", json->data[json->len - 1] == '{' ? "" : ", ");
	escape_json(json, name);
	appendStringInfo(json, ": %s", DatumGetCString(DirectFunctionCall1(jsonb_out, value)));
}

/* A statement that gives one jsonb, null where there is nothing. */
static void
append_query(StringInfo json, const char *name, const char *sql, Datum ids)
{
	Oid			type = INT8ARRAYOID;
	MaRows		rows = ma_run_once(sql, 1, &type, &ids, NULL, MA_RUN_READ_LATEST);
	bool		isnull;
	Datum		value = ma_value(&rows, 0, 1, &isnull);

	append_member(json, name, value, isnull);
}

/* The rows of the attached tables, read with the rights of their owners. */
static void
append_rows(StringInfo json, int64 contact_id)
{
	static MaStatement find = {
		"SELECT k.source_id, k.external_id FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) $1 ORDER BY k.source_id, k.external_id",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	appendStringInfoString(json, ", \"rows\": {");
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSource   *source = ma_source_by_id(ma_definitions(), ma_int32(&rows, i, 1));
		char	   *id = ma_text(&rows, i, 2);
		Jsonb	   *image = NULL;

		if (source == NULL || source->table == NULL || !OidIsValid(source->table->relid))
			continue;
		ma_source_images(source, &id, &image, 1);
		append_member(json, psprintf("%s:%s", source->name, id), JsonbPGetDatum(image),
					  image == NULL);
	}
	appendStringInfoChar(json, '}');
}

/*
 * Names for the numbers of the table: where it has a column x_id and there is a table x with
 * x_id and a name, the name of that.
 */
static char *
names_sql(const char *table)
{
	static MaStatement find = {
		"SELECT pg_catalog.string_agg(pg_catalog.format("
		"'%L, (SELECT n.name FROM marketing_internal.%I AS n WHERE n.%I OPERATOR(pg_catalog.=) x.%I)', "
		"t.relname, t.relname, a.attname, a.attname), ', ' ORDER BY t.relname) "
		"FROM pg_catalog.pg_class AS c "
		"JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid "
		"JOIN pg_catalog.pg_class AS t ON t.relnamespace OPERATOR(pg_catalog.=) c.relnamespace "
		"AND pg_catalog.concat(t.relname, '_id') OPERATOR(pg_catalog.=) a.attname::pg_catalog.text "
		"JOIN pg_catalog.pg_attribute AS n ON n.attrelid OPERATOR(pg_catalog.=) t.oid "
		"AND n.attname OPERATOR(pg_catalog.=) 'name' AND n.atttypid OPERATOR(pg_catalog.=) 25 "
		"JOIN pg_catalog.pg_attribute AS k ON k.attrelid OPERATOR(pg_catalog.=) t.oid "
		"AND k.attname OPERATOR(pg_catalog.=) a.attname "
		"WHERE c.relnamespace OPERATOR(pg_catalog.=) "
		"'marketing_internal'::pg_catalog.regnamespace::pg_catalog.oid "
		"AND c.relname OPERATOR(pg_catalog.=) $1::pg_catalog.name "
		"AND t.oid OPERATOR(pg_catalog.<>) c.oid AND NOT a.attisdropped",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(table);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	return ma_text(&rows, 0, 1);
}

/* marketing.export_contact(contact) */
Datum
ma_export_contact(PG_FUNCTION_ARGS)
{
	static const char ledger[] =
		"SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('topic', t.name, 'channel', e.channel, "
		"'state', e.state, 'source', e.origin, 'proof', e.proof, 'recorded_at', e.recorded_at) "
		"ORDER BY e.entry_id) FROM marketing_internal.consent_entry AS e "
		"LEFT JOIN marketing_internal.topic AS t ON t.topic_id OPERATOR(pg_catalog.=) e.topic_id "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1)";
	MemoryContext context = CurrentMemoryContext;
	StringInfoData json;
	int64		contact_id;
	Datum		ids;
	MaCall		call;
	Datum		result;
	ListCell   *cell;

	(void) ma_extension_required();
	ma_call_begin(&call);
	contact_id = ma_contact_argument(fcinfo, false);
	ids = ma_contact_with_merged(contact_id);
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"id\": ");
	escape_json(&json, ma_contact_text(contact_id));
	append_rows(&json, contact_id);
	append_query(&json, "consent_ledger", ledger, ids);
	foreach(cell, ma_personal_tables("contact_id"))
	{
		char	   *table = lfirst(cell);
		char	   *names = names_sql(table);

		append_query(&json, table, psprintf(
			"SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls("
			"(pg_catalog.to_jsonb(x) OPERATOR(pg_catalog.-) 'contact_id') OPERATOR(pg_catalog.||) "
			"pg_catalog.jsonb_build_object(%s)) ORDER BY pg_catalog.to_jsonb(x)) FROM marketing_internal.%s AS x "
			"WHERE x.contact_id OPERATOR(pg_catalog.=) ANY ($1)",
			names ? names : "", quote_identifier(table)), ids);
	}
	appendStringInfoChar(&json, '}');
	MemoryContextSwitchTo(context);
	result = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	ma_call_end(&call);
	PG_RETURN_DATUM(result);
}
