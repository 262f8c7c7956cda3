/*
 * lookups.c
 *		"lookup" of attach_events(): tables whose columns conditions on an event may read
 *		(product.category), as they are stored and compiled, and who is concerned when a
 *		row of one changes.
 *
 * A changed row does not say whose events point to it, and a commit must not ask: it
 * leaves the row's key to the worker.  Who added an event at the same time may have
 * been evaluated without seeing the change and not have committed when the worker
 * looks; so the worker waits until every transaction that was running when it first
 * saw the key has ended, and only then looks whose events point to it.  Meanwhile reads
 * are exact, since a key in the log may concern anybody.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/flush/drain.h"
#include "contacts/events.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_KEYS 1000			/* of one lookup in a transaction; more: everybody */
#define BATCH_KEYS 1000			/* looked up in one statement */
#define MAX_CONTACTS 20000		/* concerned by a batch; more: everybody */

/* Keys of one lookup table that changed in this transaction. */
typedef struct MaLookupMarks
{
	int32		event_source_id;
	int32		table_id;
	List	   *keys;			/* char *; NIL: too many, everybody is concerned */
	bool		everybody;
} MaLookupMarks;

static MaLookupMarks *marks_of(MaChanges *set, int32 event_source_id, int32 table_id);
static void begin_waits(void);
static MaRows next_batch(void);
static char *concerned_sql(const MaEventSource *source, int32 table_id, Oid *type);
static bool add_concerned(const MaEventSource *source, int32 table_id, const MaRows *rows);
static void add_everybody(int32 table_id, const MaRows *rows);
static TimestampTz oldest(const MaRows *rows);

/* ---- definitions ---- */

void
ma_lookups_load(MaDefinitions *definitions)
{
	static MaStatement all = {
		"SELECT l.event_source_id, l.name, l.table_id, l.link_column, l.key_column "
		"FROM marketing_internal.event_lookup AS l ORDER BY l.event_source_id, l.name"
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaEventSource *source = ma_event_source_by_id(definitions, ma_int32(&rows, i, 1));
		MaLookup   *lookup = palloc0_object(MaLookup);

		lookup->name = ma_text(&rows, i, 2);
		lookup->table = ma_table_by_id(definitions, ma_int32(&rows, i, 3));
		lookup->link_column = ma_text(&rows, i, 4);
		lookup->key_column = ma_text(&rows, i, 5);
		if (source != NULL && lookup->table != NULL)
			source->lookups = lappend(source->lookups, lookup);
	}
}

void
ma_lookups_store(int32 event_source_id, List *links, List *table_ids)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.event_lookup "
		"WHERE event_source_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	static MaStatement add = {
		"INSERT INTO marketing_internal.event_lookup "
		"(event_source_id, name, table_id, link_column, key_column) VALUES ($1, $2, $3, $4, $5)",
		5, {INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[5] = {Int32GetDatum(event_source_id)};
	ListCell   *link;
	ListCell   *table;

	ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
	forboth(link, links, table, table_ids)
	{
		const MaLink *lookup = lfirst(link);

		values[1] = CStringGetTextDatum(lookup->name);
		values[2] = Int32GetDatum(lfirst_int(table));
		values[3] = CStringGetTextDatum(lookup->column);
		values[4] = CStringGetTextDatum(lookup->key);
		ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	}
}

bool
ma_source_looks_up(const MaEventSource *source, const MaTable *table)
{
	ListCell   *cell;

	foreach(cell, source->lookups)
		if (((MaLookup *) lfirst(cell))->table == table)
			return true;
	return false;
}

/* ---- the commit that changes a row ---- */

static MaLookupMarks *
marks_of(MaChanges *set, int32 event_source_id, int32 table_id)
{
	MaLookupMarks *marks;
	ListCell   *cell;

	foreach(cell, set->lookups)
	{
		marks = lfirst(cell);
		if (marks->event_source_id == event_source_id && marks->table_id == table_id)
			return marks;
	}
	marks = palloc0_object(MaLookupMarks);
	marks->event_source_id = event_source_id;
	marks->table_id = table_id;
	set->lookups = lappend(set->lookups, marks);
	return marks;
}

void
ma_mark_lookup(int32 event_source_id, int32 table_id, const char *key)
{
	MaChanges  *set = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(set->context);
	MaLookupMarks *marks = marks_of(set, event_source_id, table_id);
	bool		known = marks->everybody;
	ListCell   *cell;

	if (!known && list_length(marks->keys) == MAX_KEYS)
	{
		known = marks->everybody = true;
		marks->keys = NIL;
	}
	foreach(cell, marks->keys)
		known |= strcmp(lfirst(cell), key) == 0;
	if (!known)
		marks->keys = lappend(marks->keys, pstrdup(key));
	MemoryContextSwitchTo(previous);
}

void
ma_spill_lookups(List *lookups)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty (xid, table_id, event_source_id, external_id) "
		"SELECT pg_catalog.pg_current_xact_id(), $1, $2, u.key FROM pg_catalog.unnest($3) AS u (key)",
		3, {INT4OID, INT4OID, TEXTARRAYOID}
	};
	ListCell   *cell;

	foreach(cell, lookups)
	{
		MaLookupMarks *marks = lfirst(cell);
		char	   *none = NULL;
		Datum		values[3];

		values[0] = Int32GetDatum(marks->table_id);
		values[1] = Int32GetDatum(marks->event_source_id);
		values[2] = marks->everybody ? ma_text_array(&none, 1) : ma_text_list_array(marks->keys);
		ma_spill_insert(&add, values, NULL);
	}
}

/* ---- the worker ---- */

/*
 * Keys seen for the first time: their xid becomes ours, which is greater than that of
 * every transaction that writes already.  They rest, so that nobody's messages wait for
 * a long transaction.
 */
static void
begin_waits(void)
{
	static MaStatement begin = {
		"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp(), "
		"xid = pg_catalog.pg_current_xact_id() "
		"WHERE table_id IS NOT NULL AND event_source_id IS NOT NULL AND retry_at IS NULL"
	};

	ma_run(&begin, NULL, NULL, MA_RUN_WRITE_LATEST);
}

/*
 * Keys of one lookup whose wait is over.  One from the future is of another server,
 * whose dump this was.
 */
static MaRows
next_batch(void)
{
#define OVER_SQL \
		"(d.xid OPERATOR(pg_catalog.<=) " \
		"pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) " \
		"OR d.xid OPERATOR(pg_catalog.>) pg_catalog.pg_current_xact_id())"
	static MaStatement next = {
		"WITH b AS (SELECT d.table_id, d.event_source_id, d.external_id IS NULL AS everybody "
		"FROM marketing_internal.dirty AS d WHERE d.table_id IS NOT NULL "
		"AND d.event_source_id IS NOT NULL AND d.retry_at IS NOT NULL AND " OVER_SQL " LIMIT 1) "
		"SELECT d.ctid, d.table_id, d.event_source_id, d.external_id, d.left_at "
		"FROM marketing_internal.dirty AS d JOIN b USING (table_id, event_source_id) "
		"WHERE d.retry_at IS NOT NULL AND " OVER_SQL " "
		"AND (d.external_id IS NULL) OPERATOR(pg_catalog.=) b.everybody "
		"LIMIT $1 FOR UPDATE OF d SKIP LOCKED",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(BATCH_KEYS);

	return ma_run(&next, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* Contact columns of the events that point to one of the keys ($1) in this table. */
static char *
concerned_sql(const MaEventSource *source, int32 table_id, Oid *type)
{
	StringInfoData sql;
	char	   *contact;
	char	   *from = ma_event_from(source, &contact);
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, source->lookups)
	{
		MaLookup   *lookup = lfirst(cell);

		if (lookup->table->id != table_id)
			continue;
		*type = ma_column_type(lookup->table, lookup->key_column);
		if (!OidIsValid(*type))
			return NULL;
		appendStringInfo(&sql, "%st.%s %s ANY ($1)", sql.len > 0 ? " OR " : "",
						 quote_identifier(lookup->link_column), ma_equality_operator(*type));
	}
	if (sql.len == 0)
		return NULL;
	return psprintf("SELECT DISTINCT %s FROM %s WHERE (%s) AND %s IS NOT NULL LIMIT %d",
					contact, from, sql.data, contact, MAX_CONTACTS + 1);
}

/* Leaves those concerned to the worker, by their keys; false if they are too many. */
static bool
add_concerned(const MaEventSource *source, int32 table_id, const MaRows *rows)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty (xid, source_id, external_id, left_at) "
		"SELECT pg_catalog.pg_current_xact_id(), $1, u.key, $3 FROM pg_catalog.unnest($2) AS u (key)",
		3, {INT4OID, TEXTARRAYOID, TIMESTAMPTZOID}
	};
	Oid			type = InvalidOid;
	char	   *sql = concerned_sql(source, table_id, &type);
	Datum	   *keys = palloc_array(Datum, rows->n);
	char	  **contacts;
	Datum		values[3];
	Oid			array;
	int			n = 0;
	int			zone;
	MaIdentity	caller;
	MaRows		found;

	/* Without its columns the rule that reads it fails by itself. */
	if (sql == NULL)
		return true;
	for (uint64 i = 0; i < rows->n; i++)
		if (ma_key_holds(type, ma_text(rows, i, 4)))
			keys[n++] = ma_key_value(source->table->relid, type, -1, ma_text(rows, i, 4));
	if (n == 0)
		return true;
	array = get_array_type(type);
	values[0] = ma_datum_array(keys, n, type);
	ma_become_table_owner(&caller, source->table->relid);
	zone = ma_pin_time_zone("UTC");
	found = ma_run_once(sql, 1, &array, values, NULL, MA_RUN_READ_LATEST);
	contacts = palloc_array(char *, Max(found.n, 1));
	for (uint64 i = 0; i < found.n; i++)
		contacts[i] = ma_text(&found, i, 1);
	ma_unpin_settings(zone);
	ma_become_back(&caller);
	if (found.n > MAX_CONTACTS)
		return false;
	values[0] = Int32GetDatum(source->contact_source->id);
	values[1] = ma_text_array(contacts, (int) found.n);
	values[2] = TimestampTzGetDatum(oldest(rows));
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	return true;
}

static void
add_everybody(int32 table_id, const MaRows *rows)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty (xid, table_id, left_at) "
		"VALUES (pg_catalog.pg_current_xact_id(), $1, $2)",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(table_id);
	values[1] = TimestampTzGetDatum(oldest(rows));
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}

/* When the first of these rows was left. */
static TimestampTz
oldest(const MaRows *rows)
{
	TimestampTz at = DT_NOEND;

	for (uint64 i = 0; i < rows->n; i++)
		at = Min(at, ma_int64(rows, i, 5));
	return at;
}

bool
ma_drain_lookups(void)
{
	static MaStatement any = {
		"SELECT FROM marketing_internal.dirty WHERE table_id IS NOT NULL "
		"AND event_source_id IS NOT NULL LIMIT 1"
	};
	MaEventSource *source;
	MaRows		rows;
	List	   *places = NIL;

	if (ma_run(&any, NULL, NULL, MA_RUN_READ_LATEST).n == 0)
		return false;
	begin_waits();
	rows = next_batch();
	if (rows.n == 0)
		return false;
	source = ma_event_source_by_id(ma_definitions(), ma_int32(&rows, 0, 3));
	if (source != NULL && (ma_text(&rows, 0, 4) == NULL ||
						   !add_concerned(source, ma_int32(&rows, 0, 2), &rows)))
		add_everybody(source->table->id, &rows);
	for (uint64 i = 0; i < rows.n; i++)
		places = lappend_int(places, (int) i);
	ma_drain_delete(&rows, places);
	return true;
}
