/*
 * waiting.c
 *		Whose changes are committed and not evaluated yet.
 *
 * Before somebody is written to, what he has done must be known: a withdrawal or an
 * order may stand in the logs still.  What stands there by a link or as a whole table
 * is nobody's until it is resolved, so everybody waits for it; but not for what rests
 * after an error, which may be there for long.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"

#define LOG_LIMIT 20000			/* beyond this nothing is looked up: everybody waits */

static char *image_sql(void);

void
ma_contacts_waiting(const int64 *contact_ids, int n, bool *waiting)
{
	/* Runs once for a batch of messages; the logs are empty most of the time. */
	static MaStatement any = {
		"SELECT FROM (SELECT FROM marketing_internal.dirty LIMIT 1) AS d UNION ALL "
		"SELECT FROM (SELECT FROM marketing_internal.capture_row LIMIT 1) AS c",
		0
	};
	Oid			types[2] = {INT8ARRAYOID, INT4OID};
	Datum		values[2];
	MaRows		found;
	bool		all = false;

	memset(waiting, 0, sizeof(bool) * n);
	if (n == 0 || ma_run(&any, NULL, NULL, MA_RUN_READ_LATEST).n == 0)
		return;
	values[0] = ma_int8_array(contact_ids, n);
	values[1] = Int32GetDatum(LOG_LIMIT);
	found = ma_run_once(psprintf(
		"WITH c AS MATERIALIZED (SELECT u.contact_id, u.n FROM pg_catalog.unnest($1) "
		"WITH ORDINALITY AS u (contact_id, n)), "
		"keys AS MATERIALIZED (SELECT c.n, k.source_id, k.external_id FROM c "
		"JOIN marketing_internal.contact_key AS k "
		"ON k.contact_id OPERATOR(pg_catalog.=) c.contact_id), "
		"log AS MATERIALIZED (SELECT contact_id, source_id, event_source_id, external_id, "
		"previous_id, table_id, retry_at FROM marketing_internal.dirty "
		"LIMIT $2 OPERATOR(pg_catalog.+) 1), "
		"image AS MATERIALIZED (SELECT event_source_id, contact_id, old_row, new_row, retry_at "
		"FROM marketing_internal.capture_row LIMIT $2 OPERATOR(pg_catalog.+) 1) "
		"SELECT c.n FROM c JOIN log ON log.contact_id OPERATOR(pg_catalog.=) c.contact_id "
		"UNION SELECT k.n FROM keys AS k JOIN log "
		"ON log.source_id OPERATOR(pg_catalog.=) k.source_id "
		"AND log.external_id OPERATOR(pg_catalog.=) k.external_id "
		"UNION SELECT k.n FROM keys AS k JOIN log "
		"ON log.source_id OPERATOR(pg_catalog.=) k.source_id "
		"AND log.previous_id OPERATOR(pg_catalog.=) k.external_id "
		"UNION SELECT c.n FROM c JOIN image "
		"ON image.contact_id OPERATOR(pg_catalog.=) c.contact_id "
		"UNION SELECT 0 FROM log WHERE retry_at IS NULL "
		"AND (table_id IS NOT NULL OR event_source_id IS NOT NULL) "
		"UNION SELECT 0 WHERE (SELECT pg_catalog.count(*) FROM log) OPERATOR(pg_catalog.>) $2 "
		"OR (SELECT pg_catalog.count(*) FROM image) OPERATOR(pg_catalog.>) $2%s",
		image_sql()), 2, types, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < found.n; i++)
	{
		int64		place = ma_int64(&found, i, 1);

		if (place == 0)
			all = true;
		else
			waiting[place - 1] = true;
	}
	for (int i = 0; i < n && all; i++)
		waiting[i] = true;
}

/* Row images by the contact that stands in them; those that hold a link are nobody's yet. */
static char *
image_sql(void)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, ma_definitions()->event_sources)
	{
		MaEventSource *source = lfirst(cell);
		char	   *column = quote_literal_cstr(source->contact_column);

		if (source->via_table != NULL ||
			!ma_key_types_alike(source->contact_type, source->contact_source->key_type))
			appendStringInfo(&sql, " UNION SELECT 0 FROM image "
							 "WHERE event_source_id OPERATOR(pg_catalog.=) %d AND retry_at IS NULL",
							 source->id);
		else
			appendStringInfo(&sql, " UNION SELECT k.n FROM keys AS k JOIN image AS i "
							 "ON i.event_source_id OPERATOR(pg_catalog.=) %d "
							 "AND k.source_id OPERATOR(pg_catalog.=) %d "
							 "AND (k.external_id OPERATOR(pg_catalog.=) "
							 "(i.new_row OPERATOR(pg_catalog.->>) %s) "
							 "OR k.external_id OPERATOR(pg_catalog.=) "
							 "(i.old_row OPERATOR(pg_catalog.->>) %s))",
							 source->id, source->contact_source->id, column, column);
	}
	return sql.data;
}
