/*
 * personal_data.c
 *		Where things about a person stand in our tables: found in the catalog, so that no
 *		table of any room, now or later, is forgotten when somebody is exported or erased.
 *
 * A table holds something about a contact if it has the column contact_id (or merged_id,
 * of contacts that were merged; or contact, the text that somebody named him by), and about
 * an address if it has address_hash.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "utils/builtins.h"

/* What is kept of somebody who is erased: numbers and keyed hashes (erase.c). */
static const char *const kept[] = {"consent", "consent_entry", "erasure", "suppression"};

List *
ma_personal_tables(const char *column)
{
	static MaStatement find = {
		"SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class AS c "
		"JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid "
		"WHERE c.relnamespace OPERATOR(pg_catalog.=) "
		"'marketing_internal'::pg_catalog.regnamespace::pg_catalog.oid "
		"AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]) "
		"AND NOT c.relispartition AND NOT a.attisdropped AND a.attnum OPERATOR(pg_catalog.>) 0 "
		"AND a.attname OPERATOR(pg_catalog.=) $1::pg_catalog.name ORDER BY 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(column);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	List	   *tables = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *name = ma_text(&rows, i, 1);
		bool		stays = false;

		for (int k = 0; k < lengthof(kept); k++)
			stays |= strcmp(name, kept[k]) == 0;
		if (!stays)
			tables = lappend(tables, name);
	}
	return tables;
}
