/*
 * spill.c
 *		Writes what a commit leaves to the worker into the dirty log and the
 *		capture log.
 *
 * These are plain INSERTs under our owner, of raw marks that need nothing to be
 * resolved, so that they succeed where an evaluation failed.  At commit they are
 * the only statements outside the subtransaction: an error here reaches the
 * user, since otherwise his change would be lost to us.
 */
#include "base/base.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define IMAGES 500				/* of one statement: its arrays hold them once more */

static char *events_text(const MaMark *mark);
static bool is_of_same_event(const MaMark *a, const MaMark *b);
static void spill_images(List *images, int from, int end);

void
ma_spill_insert(MaStatement *statement, Datum *values, const char *nulls)
{
	MaCall		call;
	bool		read_only = XactReadOnly;

	/* Before the rows get their numbers, on which drain_read.c relies. */
	(void) GetCurrentTransactionId();
	XactReadOnly = false;
	ma_call_begin(&call);
	ma_run(statement, values, nulls, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	XactReadOnly = read_only;
	ma_worker_wake_at_commit();
}

/* Events of the mark as an array literal; NULL when the contact itself changed. */
static char *
events_text(const MaMark *mark)
{
	StringInfoData text;

	if (mark->identity)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < mark->nevents; i++)
		appendStringInfo(&text, "%c%d", i == 0 ? '{' : ',', mark->events[i].event_id);
	appendStringInfoChar(&text, '}');
	return text.data;
}

static bool
is_of_same_event(const MaMark *a, const MaMark *b)
{
	return !a->identity && !b->identity && a->nevents == 1 && b->nevents == 1 &&
		a->events[0].event_id == b->events[0].event_id;
}

void
ma_spill_marks(MaMark **marks, int n)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty "
		"(xid, contact_id, source_id, event_source_id, external_id, events) "
		"SELECT pg_catalog.pg_current_xact_id(), "
		"CASE WHEN m.kind OPERATOR(pg_catalog.=) 2 THEN m.contact_id END, "
		"CASE WHEN m.kind OPERATOR(pg_catalog.=) 0 THEN m.id END, "
		"CASE WHEN m.kind OPERATOR(pg_catalog.=) 1 THEN m.id END, "
		"m.external_id, m.events::pg_catalog.int4[] "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5)) "
		"AS m (kind, id, contact_id, external_id, events)",
		5, {INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	int32	   *kinds = palloc_array(int32, Max(n, 1));
	int32	   *ids = palloc_array(int32, Max(n, 1));
	int64	   *contacts = palloc_array(int64, Max(n, 1));
	char	  **keys = palloc_array(char *, Max(n, 1));
	char	  **events = palloc_array(char *, Max(n, 1));
	Datum		values[5];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		kinds[i] = marks[i]->tag.kind;
		ids[i] = marks[i]->tag.id;
		contacts[i] = marks[i]->tag.contact_id;
		keys[i] = marks[i]->tag.text;
		/* Mostly all are of the one event whose rows are being loaded. */
		events[i] = i > 0 && is_of_same_event(marks[i], marks[i - 1]) ? events[i - 1] :
			events_text(marks[i]);
	}
	values[0] = ma_int4_array(kinds, n);
	values[1] = ma_int4_array(ids, n);
	values[2] = ma_int8_array(contacts, n);
	values[3] = ma_text_array(keys, n);
	values[4] = ma_text_array(events, n);
	ma_spill_insert(&add, values, NULL);
}

/* One number for all, and the order in which they are to be done. */
void
ma_spill_rekeys(List *rekeys)
{
	static MaStatement add = {
		"WITH one AS MATERIALIZED (SELECT pg_catalog.nextval("
		"'marketing_internal.dirty_dirty_id_seq') AS number) "
		"INSERT INTO marketing_internal.dirty "
		"(dirty_id, step, xid, source_id, external_id, previous_id) "
		"SELECT one.number, s.step, pg_catalog.pg_current_xact_id(), s.source_id, s.new_key, s.old_key "
		"FROM one CROSS JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), "
		"pg_catalog.unnest($3)) WITH ORDINALITY AS s (source_id, old_key, new_key, step)",
		3, {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	List	   *steps = ma_rekeys_order(rekeys);
	int			n = list_length(steps);
	int32	   *sources = palloc_array(int32, Max(n, 1));
	char	  **old_keys = palloc_array(char *, Max(n, 1));
	char	  **new_keys = palloc_array(char *, Max(n, 1));
	Datum		values[3];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		MaRekey    *step = list_nth(steps, i);

		sources[i] = step->source_id;
		old_keys[i] = step->old_key;
		new_keys[i] = step->new_key;
	}
	values[0] = ma_int4_array(sources, n);
	values[1] = ma_text_array(old_keys, n);
	values[2] = ma_text_array(new_keys, n);
	ma_spill_insert(&add, values, NULL);
}

void
ma_spill_images(List *images)
{
	ma_number_images(images);
	for (int from = 0; from < list_length(images); from += IMAGES)
		spill_images(images, from, Min(from + IMAGES, list_length(images)));
}

/* A part of them in one statement. */
static void
spill_images(List *images, int from, int end)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.capture_row "
		"(capture_row_id, xid, event_source_id, event_id, contact_id, row_key, old_row, new_row, "
		"occurred_at, enroll) "
		"SELECT u.id, pg_catalog.pg_current_xact_id(), NULLIF(u.source_id, 0), "
		"CASE WHEN u.source_id OPERATOR(pg_catalog.=) 0 THEN u.event_id END, "
		"CASE WHEN u.source_id OPERATOR(pg_catalog.=) 0 THEN u.contact_id END, "
		"u.row_key, u.old_row, u.new_row, "
		"CASE WHEN u.source_id OPERATOR(pg_catalog.=) 0 THEN u.occurred_at END, u.enroll "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), "
		"pg_catalog.unnest($8), pg_catalog.unnest($9)) "
		"AS u (id, source_id, event_id, contact_id, row_key, old_row, new_row, occurred_at, enroll)",
		9, {INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		JSONBARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID}
	};
	static const Oid types[9] = {INT8OID, INT4OID, INT4OID, INT8OID, TEXTOID, JSONBOID, JSONBOID,
	TIMESTAMPTZOID, BOOLOID};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation images",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	Datum	   *columns[9];
	bool	   *nulls[9];
	Datum		values[9];

	for (int i = 0; i < 9; i++)
	{
		columns[i] = palloc_array(Datum, IMAGES);
		nulls[i] = palloc0_array(bool, IMAGES);
	}
	for (int i = 0; i < end - from; i++)
	{
		MaImage    *image = list_nth(images, from + i);

		columns[0][i] = Int64GetDatum(image->capture_row_id);
		columns[1][i] = Int32GetDatum(image->event_source_id);
		columns[2][i] = Int32GetDatum(image->event_id);
		columns[3][i] = Int64GetDatum(image->contact_id);
		columns[4][i] = CStringGetTextDatum(image->row_key);
		columns[5][i] = image->old_row;
		nulls[5][i] = image->old_row == 0;
		columns[6][i] = image->new_row;
		nulls[6][i] = image->new_row == 0;
		columns[7][i] = TimestampTzGetDatum(image->occurred_at);
		columns[8][i] = BoolGetDatum(image->enroll);
	}
	for (int i = 0; i < 9; i++)
		values[i] = ma_datum_array_nulls(columns[i], nulls[i], end - from, types[i]);
	ma_spill_insert(&add, values, NULL);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
}

void
ma_number_images(List *images)
{
	static MaStatement next = {
		"SELECT pg_catalog.nextval('marketing_internal.capture_row_capture_row_id_seq') "
		"FROM pg_catalog.generate_series(1, $1)",
		1, {INT4OID}
	};
	List	   *new = NIL;
	ListCell   *cell;
	MaCall		call;
	MaRows		rows;
	Datum		value;
	bool		read_only = XactReadOnly;

	foreach(cell, images)
		if (((MaImage *) lfirst(cell))->capture_row_id == 0)
			new = lappend(new, lfirst(cell));
	if (new == NIL)
		return;
	value = Int32GetDatum(list_length(new));
	XactReadOnly = false;
	ma_call_begin(&call);
	rows = ma_run(&next, &value, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		((MaImage *) list_nth(new, (int) i))->capture_row_id = ma_int64(&rows, i, 1);
	ma_call_end(&call);
	XactReadOnly = read_only;
}

void
ma_spill_tables(List *tables)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty (xid, table_id) "
		"VALUES (pg_catalog.pg_current_xact_id(), $1)",
		1, {INT4OID}
	};
	ListCell   *cell;

	foreach(cell, tables)
	{
		Datum		value = Int32GetDatum(lfirst_int(cell));

		ma_spill_insert(&add, &value, NULL);
	}
}

void
ma_spill_pruned(List *pruned)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.dirty (xid, table_id, pruned_column, pruned_before) "
		"VALUES (pg_catalog.pg_current_xact_id(), $1, $2, $3)",
		3, {INT4OID, TEXTOID, TIMESTAMPTZOID}
	};
	ListCell   *cell;

	foreach(cell, pruned)
	{
		const MaPruned *one = lfirst(cell);
		Datum		values[3];

		values[0] = Int32GetDatum(one->table_id);
		values[1] = CStringGetTextDatum(one->column);
		values[2] = TimestampTzGetDatum(one->before);
		ma_spill_insert(&add, values, NULL);
	}
}
