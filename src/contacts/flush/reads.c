/*
 * reads.c
 *		Reads that are exact whatever the workers do: whoever stands in the dirty
 *		log, or was changed by the reading transaction itself, is computed anew.
 *
 * All of it is under the active snapshot, never the latest: within REPEATABLE
 * READ, log, state and rows must be of one moment.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define PORTION 1000
#define FIRST_SPACE 64
#define MANY 16					/* so many that starting a statement is nothing beside them */

/* Keys that are read into contacts. */
typedef struct KeyReading
{
	MaContactChange *contacts;
	int			n;
	bool		range;			/* by number; else by place */
	int			place;
} KeyReading;

static void add_logged(MaStale *stale);
static void add_own(MaStale *stale);
static bool take_key(TupleTableSlot *row, void *arg);

MA_FUNCTION(ma_dirty_contacts);

MaStale *
ma_stale_contacts(void)
{
	MaStale    *stale = palloc0_object(MaStale);

	add_logged(stale);
	add_own(stale);
	ma_stale_sort(stale);
	return stale;
}

void
ma_stale_add(MaStale *stale, int64 contact_id)
{
	if (stale->n == stale->space)
	{
		stale->space = Max(stale->space * 2, FIRST_SPACE);
		stale->ids = stale->ids == NULL ? palloc_array(int64, stale->space) :
			repalloc_huge(stale->ids, mul_size(sizeof(int64), stale->space));
	}
	stale->ids[stale->n++] = contact_id;
}

void
ma_stale_sort(MaStale *stale)
{
	qsort(stale->ids, stale->n, sizeof(int64), ma_compare_int64);
	stale->n = stale->nsorted = (int) qunique(stale->ids, stale->n, sizeof(int64),
											  ma_compare_int64);
}

bool
ma_stale_has(const MaStale *stale, int64 contact_id)
{
	return stale->nsorted > 0 &&
		bsearch(&contact_id, stale->ids, stale->nsorted, sizeof(int64), ma_compare_int64) != NULL;
}

/*
 * The dirty log.  A link does not tell its contact without reading the user's
 * table, and a truncated table may concern everybody: then it is anybody.
 */
static void
add_logged(MaStale *stale)
{
	static MaStatement read = {
		"SELECT d.contact_id FROM marketing_internal.dirty AS d "
		"WHERE d.contact_id IS NOT NULL AND d.table_id IS NULL "
		"UNION ALL SELECT k.contact_id FROM marketing_internal.dirty AS d "
		"JOIN marketing_internal.contact_key AS k ON k.source_id OPERATOR(pg_catalog.=) d.source_id "
		"AND k.external_id OPERATOR(pg_catalog.=) ANY (ARRAY[d.external_id, d.previous_id]) "
		"UNION ALL SELECT NULL FROM marketing_internal.dirty AS d "
		"WHERE d.table_id IS NOT NULL OR d.event_source_id IS NOT NULL"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		isnull;
		Datum		id = ma_value(&rows, i, 1, &isnull);

		if (isnull)
			stale->any = true;
		else
			ma_stale_add(stale, DatumGetInt64(id));
	}
}

/* Marks of this transaction. */
static void
add_own(MaStale *stale)
{
	MaChanges  *changes = ma_changes_current();
	HASH_SEQ_STATUS scan;
	MaMark	   *mark;

	if (changes == NULL)
		return;
	stale->any |= changes->tables != NIL || changes->relations != NIL || changes->pruned != NIL ||
		changes->rekeys != NIL || changes->lookups != NIL;
	hash_seq_init(&scan, changes->marks);
	while ((mark = hash_seq_search(&scan)) != NULL)
	{
		int64		contact_id = mark->tag.contact_id;

		if (mark->tag.kind == MA_MARK_LINK)
			stale->any = true;
		if (mark->tag.kind == MA_MARK_KEY)
			contact_id = ma_contact_by_key(mark->tag.id, mark->tag.text);
		if (contact_id != 0)
			ma_stale_add(stale, contact_id);
	}
}

MaContactChange *
ma_read_contacts(const int64 *ids, int n)
{
	return ma_read_contacts_as(ids, n, MA_RUN_READ);
}

MaContactChange *
ma_read_contacts_as(const int64 *ids, int n, MaRun how)
{
	static MaStatement each = {
		"SELECT u.n OPERATOR(pg_catalog.-) 1, k.source_id, k.external_id "
		"FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.contact_key AS k "
		"ON k.contact_id OPERATOR(pg_catalog.=) u.contact_id WHERE NOT k.excluded ORDER BY 1",
		1, {INT8ARRAYOID}
	};
	static MaStatement range = {
		"SELECT k.contact_id, k.source_id, k.external_id FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.>=) $1 AND k.contact_id OPERATOR(pg_catalog.<=) $2 "
		"AND NOT k.excluded ORDER BY k.contact_id",
		2, {INT8OID, INT8OID}
	};
	KeyReading	reading = {palloc0_array(MaContactChange, Max(n, 1)), n};
	Datum		values[2];

	for (int i = 0; i < n; i++)
		reading.contacts[i].contact_id = ids[i];
	if (ma_are_neighbours(ids, n))
	{
		int			nest_level = ma_pin_index_scans();

		reading.range = true;
		values[0] = Int64GetDatum(ids[0]);
		values[1] = Int64GetDatum(ids[n - 1]);
		ma_run_each(&range, values, how, take_key, &reading);
		ma_unpin_settings(nest_level);
	}
	else
	{
		values[0] = ma_int8_array(ids, n);
		ma_run_each(&each, values, how, take_key, &reading);
	}
	return reading.contacts;
}

/* A key of the contact at the place, or of the one with the number; in this order. */
static bool
take_key(TupleTableSlot *row, void *arg)
{
	KeyReading *reading = arg;
	bool		isnull;
	int64		whose = DatumGetInt64(slot_getattr(row, 1, &isnull));
	MaContactChange *contact;
	MaKey	   *key;

	if (reading->range)
		while (reading->place < reading->n && reading->contacts[reading->place].contact_id < whose)
			reading->place++;
	else
		reading->place = (int) whose;
	contact = &reading->contacts[reading->place];
	if (reading->place >= reading->n || (reading->range && contact->contact_id != whose))
		return true;
	/* Most have one. */
	contact->keys = contact->keys == NULL ? palloc_object(MaKey) :
		repalloc(contact->keys, mul_size(sizeof(MaKey), contact->nkeys + 1));
	key = &contact->keys[contact->nkeys++];
	key->source_id = DatumGetInt32(slot_getattr(row, 2, &isnull));
	key->external_id = TextDatumGetCString(slot_getattr(row, 3, &isnull));
	return true;
}

bool
ma_are_neighbours(const int64 *ids, int n)
{
	if (n < MANY || ids[n - 1] - ids[0] > (int64) n * 2)
		return false;
	for (int i = 1; i < n; i++)
		if (ids[i] <= ids[i - 1])
			return false;
	return true;
}

/* One portion; what SPI and `take` allocate goes with the portion's own connection. */
void
ma_contacts_each_of(const int64 *ids, int n, MaContactTaker take, void *arg)
{
	for (int i = 0; i < n; i += PORTION)
	{
		MemoryContext context;

		ma_spi_begin();
		context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation portion",
										ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(context);
		take(ids + i, Min(PORTION, n - i), arg);
		ma_spi_end();
	}
}

void
ma_contacts_each(int64 after, MaRun how, MaContactTaker take, void *arg)
{
	static MaStatement read = {
		"SELECT contact_id FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.>) $1 ORDER BY contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	int64	   *ids = palloc_array(int64, PORTION);
	uint64		n;

	do
	{
		Datum		arguments[2];
		MaRows		rows;

		arguments[0] = Int64GetDatum(after);
		arguments[1] = Int32GetDatum(PORTION);
		ma_spi_begin();
		rows = ma_run(&read, arguments, NULL, how);
		n = rows.n;
		for (uint64 i = 0; i < n; i++)
			after = ids[i] = ma_int64(&rows, i, 1);
		ma_spi_end();
		ma_contacts_each_of(ids, (int) n, take, arg);
	} while (n == PORTION);
	pfree(ids);
}

/* marketing_internal.dirty_contacts() */
Datum
ma_dirty_contacts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaStale    *stale;
	MaCall		call;
	Datum		value;
	bool		isnull = true;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	ma_call_begin(&call);
	stale = ma_stale_contacts();
	if (stale->any)
	{
		value = (Datum) 0;
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	isnull = false;
	for (int i = 0; i < stale->n; i++)
	{
		value = Int64GetDatum(stale->ids[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	ma_call_end(&call);
	return (Datum) 0;
}
