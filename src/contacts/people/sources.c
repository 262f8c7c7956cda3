/*
 * sources.c
 *		Contacts of the rows that a table has when it is attached, or that are
 *		found before their turn.
 *
 * A build goes through the table in the order of its key, batch by batch, so that
 * it can stop anywhere and go on in another transaction.  In the call the table is
 * locked against writers; by the worker it is not: a row that changes meanwhile
 * comes through the capture trigger as well, and the two meet at its key.  A row
 * deleted after it was read leaves a key too much, so the flush puts keys of a
 * table that is still building and that it cannot find into the dirty log, and
 * they are looked at again when the build is over.
 *
 * Contacts that were there before are left to the worker by their keys, which looks
 * at their rows again under their locks (a batch has thousands, so it takes none).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "contacts/flush/evaluate.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define BATCH_ROWS 5000

static void count_row(const MaSourceRow *row, MaBuildCounts *counts);
static void make_contacts(MaSource *source, MaSourceRow *rows, int n, bool locked,
						  MaBuildCounts *counts);
static void follow_mapped(MaSource *source, MaSourceRow *rows, int n);
static void settle_matches(MaSource *source, MaSourceRow *rows, int n, bool locked);
static void refresh_contacts(MaSource *source, MaSourceRow *rows, int n, bool locked);
static int	collect(const MaSourceRow *rows, int n, bool (*wanted) (const MaSourceRow *row),
					int64 *contact_ids);
static bool is_linked(const MaSourceRow *row);
static bool is_created(const MaSourceRow *row);
static void analyze_tables(void);
static char *sweep_batch(MaSource *source, const char *from);
static void lock_match(const MaSource *source, MaSourceRow *row);
static bool build_tick(void);
static MaSource *next_building(char **from);

char *
ma_source_build(MaSource *source, const char *from, int limit, bool locked, MaBuildCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	MaSourceRow *rows;
	int			n;
	char	   *last = NULL;

	/* Its own level of SPI: what a batch allocates goes with it. */
	ma_spi_begin();
	rows = ma_source_read_from(source, from, limit, &n);
	ma_keys_look_up(source->id, rows, n);
	for (int i = 0; i < n; i++)
		if (!rows[i].excluded)
			count_row(&rows[i], counts);
	refresh_contacts(source, rows, n, locked);
	make_contacts(source, rows, n, locked, counts);
	if (n == limit)
		last = MemoryContextStrdup(context, rows[n - 1].external_id);
	ma_spi_end();
	return last;
}

static void
count_row(const MaSourceRow *row, MaBuildCounts *counts)
{
	counts->rows++;
	counts->with_email += row->email != NULL;
	counts->invalid_email += row->invalid_email;
	counts->with_phone += row->phone != NULL;
	counts->invalid_phone += row->invalid_phone;
}

/* Mapped columns of new contacts here; of linked ones by the worker, under their locks. */
static void
follow_mapped(MaSource *source, MaSourceRow *rows, int n)
{
	MaSourceRow *created = palloc_array(MaSourceRow, Max(n, 1));
	MaSourceRow *linked = palloc_array(MaSourceRow, Max(n, 1));
	int			ncreated = 0;
	int			nlinked = 0;

	if (source->mapped == NIL)
		return;
	for (int i = 0; i < n; i++)
		if (rows[i].created)
			created[ncreated++] = rows[i];
		else if (rows[i].linked)
			linked[nlinked++] = rows[i];
	ma_mapped_follow(source, created, ncreated, false);
	ma_keys_leave(source->id, linked, nlinked);
}

/* Makes or links the contacts of rows that have none. */
static void
make_contacts(MaSource *source, MaSourceRow *rows, int n, bool locked, MaBuildCounts *counts)
{
	MaSourceRow *lacking = palloc_array(MaSourceRow, Max(n, 1));
	int64	   *ids = palloc_array(int64, Max(n, 1));
	int			count = 0;
	int			linked;
	int			created;

	for (int i = 0; i < n; i++)
		if (!rows[i].known && !rows[i].excluded)
			lacking[count++] = rows[i];
	if (count == 0)
		return;
	if (source->match != NULL)
		ma_match_lock(source->match, NULL);
	ma_contacts_match(source, lacking, count);
	settle_matches(source, lacking, count, locked);
	ma_contacts_make(source, lacking, count);

	linked = collect(lacking, count, is_linked, ids);
	ma_contacts_recompute(ids, linked);
	ma_contacts_leave(ids, linked);
	created = collect(lacking, count, is_created, ids);
	follow_mapped(source, lacking, count);
	if (ma_consumers_want_new_contacts())
		ma_contacts_leave(ids, created);
	counts->linked += linked;
	counts->created += created;
}

/*
 * A contact that was found may be merged in this moment.  In the call its row is locked,
 * as a merge locks it, and looked for again; what is found only then, and by the
 * worker, who must not wait, everything is left by its key and linked under the lock.
 */
static void
settle_matches(MaSource *source, MaSourceRow *rows, int n, bool locked)
{
	MaSourceRow *left = palloc_array(MaSourceRow, Max(n, 1));
	int64	   *found = palloc0_array(int64, Max(n, 1));
	int			nleft = 0;

	if (source->match == NULL)
		return;
	if (locked)
	{
		for (int i = 0; i < n; i++)
		{
			found[i] = rows[i].contact_id;
			rows[i].contact_id = 0;
			rows[i].follows = -1;
		}
		ma_contacts_lock_rows(found, n);
		ma_contacts_match(source, rows, n);
	}
	for (int i = 0; i < n; i++)
		if (rows[i].contact_id != 0 && rows[i].contact_id != found[i])
		{
			left[nleft++] = rows[i];
			rows[i].known = true;
		}
	ma_keys_leave(source->id, left, nleft);
}

/*
 * Brings contacts that are known already up to what the definition says now.  Their
 * keys are left to the worker as well: whoever evaluates one in this moment may do
 * so by the definition before.  Unless the table is locked that is all, since what
 * was read here without the contacts' locks may be older than what they have now.
 */
static void
refresh_contacts(MaSource *source, MaSourceRow *rows, int n, bool locked)
{
	MaSourceRow *known = palloc_array(MaSourceRow, Max(n, 1));
	int64	   *ids = palloc_array(int64, Max(n, 1));
	MaSourceRow *counted = palloc_array(MaSourceRow, Max(n, 1));
	int			old = 0;
	int			ncounted = 0;

	for (int i = 0; i < n; i++)
		if (rows[i].known)
		{
			ids[old] = rows[i].contact_id;
			known[old++] = rows[i];
		}
	if (locked && old > 0)
	{
		ma_keys_exclude(source->id, known, old);
		ma_contacts_recompute(ids, old);
		/* Columns that are mapped from now on: the answer of the call counts what they say. */
		for (int i = 0; i < old; i++)
			if (!known[i].excluded)
				counted[ncounted++] = known[i];
		ma_mapped_follow(source, counted, ncounted, false);
	}
	ma_keys_leave(source->id, known, old);
}

static bool
is_linked(const MaSourceRow *row)
{
	return row->linked;
}

static bool
is_created(const MaSourceRow *row)
{
	return row->created;
}

/* Contacts of the rows that are wanted; returns how many. */
static int
collect(const MaSourceRow *rows, int n, bool (*wanted) (const MaSourceRow *row),
		int64 *contact_ids)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (wanted(&rows[i]))
			contact_ids[count++] = rows[i].contact_id;
	return count;
}

/* Builds the whole source in this transaction. */
void
ma_source_build_all(MaSource *source, MaBuildCounts *counts)
{
	char	   *from = NULL;

	do
	{
		CHECK_FOR_INTERRUPTS();
		from = ma_source_build(source, from, BATCH_ROWS, true, counts);
	} while (from != NULL);
	if (counts->created + counts->linked >= BATCH_ROWS)
		analyze_tables();
}

/*
 * New statistics: sessions keep plans, and those made while our tables were empty
 * would read them as a whole for every key.
 */
static void
analyze_tables(void)
{
	(void) ma_run_once("ANALYZE marketing_internal.contact, marketing_internal.contact_key",
					   0, NULL, NULL, NULL, MA_RUN_WRITE);
}

/* Forgets keys whose rows went while the trigger did not fire. */
void
ma_source_sweep(MaSource *source)
{
	char	   *from = "";

	do
	{
		CHECK_FOR_INTERRUPTS();
		from = sweep_batch(source, from);
	} while (from != NULL);
}

/* Sweeps the keys after `from`, in order of their text; returns the last one, or NULL. */
static char *
sweep_batch(MaSource *source, const char *from)
{
	static MaStatement keys = {
		"SELECT external_id, contact_id FROM marketing_internal.contact_key "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 AND external_id OPERATOR(pg_catalog.>) $2 "
		"ORDER BY external_id LIMIT $3",
		3, {INT4OID, TEXTOID, INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[3];
	MaRows		found;
	MaSourceRow *rows;
	int64	   *ids;
	int			gone = 0;
	char	   *last = NULL;

	ma_spi_begin();
	values[0] = Int32GetDatum(source->id);
	values[1] = CStringGetTextDatum(from);
	values[2] = Int32GetDatum(BATCH_ROWS);
	found = ma_run(&keys, values, NULL, MA_RUN_READ_LATEST);
	rows = palloc_array(MaSourceRow, Max(found.n, 1));
	ids = palloc_array(int64, Max(found.n, 1));
	for (uint64 i = 0; i < found.n; i++)
	{
		ma_source_row_init(&rows[i], ma_text(&found, i, 1));
		rows[i].contact_id = ma_int64(&found, i, 2);
	}
	if (found.n == BATCH_ROWS)
		last = MemoryContextStrdup(context, rows[found.n - 1].external_id);
	ma_source_read(source, rows, found.n);
	for (uint64 i = 0; i < found.n; i++)
		if (!rows[i].present)
		{
			ids[gone] = rows[i].contact_id;
			rows[gone++] = rows[i];
		}
	ma_keys_delete(source->id, rows, gone);
	ma_contacts_recompute(ids, gone);
	ma_contacts_leave(ids, gone);
	ma_spi_end();
	return last;
}

/* Finds and locks the contact of the row's address; looks again, since it may have been merged. */
static void
lock_match(const MaSource *source, MaSourceRow *row)
{
	int64		locked = 0;

	for (;;)
	{
		row->contact_id = 0;
		ma_contacts_match(source, row, 1);
		if (row->contact_id == locked || row->contact_id == 0)
			return;
		locked = row->contact_id;
		ma_contact_lock(locked);
	}
}

int64
ma_source_adopt(MaSource *source, const char *external_id)
{
	MaSourceRow row;

	if (source->table == NULL || !OidIsValid(source->table->relid))
		return 0;
	ma_source_row_init(&row, pstrdup(external_id));
	ma_source_read(source, &row, 1);
	if (!row.present || row.excluded)
		return 0;
	ma_keys_look_up(source->id, &row, 1);
	if (row.known)
		return row.contact_id;

	ma_match_lock_rows(source, &row, 1);
	lock_match(source, &row);
	ma_contacts_make(source, &row, 1);
	if (row.linked)
		ma_contacts_recompute(&row.contact_id, 1);
	if (row.created || row.linked)
		ma_mapped_follow(source, &row, 1, false);
	return row.contact_id;
}

/* One batch of the first source that is building; true if there is more to do. */
static bool
build_tick(void)
{
	static MaStatement progress = {
		"UPDATE marketing_internal.contact_source SET built_to = $2, building = $3 "
		"WHERE source_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TEXTOID, BOOLOID}
	};
	MaCall		call;
	MaSource   *source;
	MaBuildCounts counts = {0};
	char	   *from;
	char	   *last;
	Datum		values[3];

	ma_call_begin(&call);
	source = next_building(&from);
	if (source == NULL)
	{
		ma_call_end(&call);
		return false;
	}
	last = ma_source_build(source, from, BATCH_ROWS, false, &counts);
	values[0] = Int32GetDatum(source->id);
	values[1] = last ? CStringGetTextDatum(last) : (Datum) 0;
	values[2] = BoolGetDatum(last != NULL);
	ma_run(&progress, values, last ? NULL : " n ", MA_RUN_WRITE_LATEST);
	if (last == NULL)
	{
		analyze_tables();
		ma_definitions_changed();
	}
	ma_call_end(&call);
	return true;
}

/* The first building source whose table is there and which nobody else is building. */
static MaSource *
next_building(char **from)
{
	static MaStatement claim = {
		"SELECT built_to FROM marketing_internal.contact_source "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 AND building FOR NO KEY UPDATE SKIP LOCKED",
		1, {INT4OID}
	};
	ListCell   *cell;

	foreach(cell, ma_definitions()->sources)
	{
		MaSource   *source = lfirst(cell);
		Datum		value = Int32GetDatum(source->id);
		MaRows		found;

		if (!source->building || source->table == NULL || !OidIsValid(source->table->relid))
			continue;
		found = ma_run(&claim, &value, NULL, MA_RUN_WRITE_LATEST);
		if (found.n == 0)
			continue;
		*from = ma_text(&found, 0, 1);
		return source;
	}
	return NULL;
}

/* Registers the worker's part of a build. */
void
ma_build_init(void)
{
	static const MaDuty duty = {"build contacts", 1000, build_tick, NULL};

	ma_worker_register_duty(&duty);
}
