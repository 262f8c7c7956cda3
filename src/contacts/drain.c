/*
 * drain.c
 *		The worker's duty that evaluates what commits left in the dirty log.
 *
 * A batch is small, since users' commits meet its contact locks: they try for
 * their budget and then leave the contact to us again.  Rows are deleted only
 * when their contact was evaluated; a contact that is busy stays for the next
 * turn, one that fails is tried alone and then rests, and nobody waits for it.
 *
 * Re-keyings come first: evaluating a row under its new key before the key was
 * renamed would make a second contact of it.
 */
#include "base/base.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "contacts/drain.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "worker/worker.h"

#define BATCH 100
#define WAIT_MS 200				/* patience for locks of one batch */
#define LOCK_TIMEOUT_MS 500		/* at most: see ma_drain_turn() */
#define MAX_PAUSE 3600
#define EXPAND 5000				/* contacts of a changed table per turn */

static bool drain(void);
static void evaluate(void *arg);
static bool drain_rekeys(void);
static bool expand_table(void);
static bool drain_marks(void);
static void read_batch(const MaRows *rows, MaDrainBatch *batch);
static void add_events(MaMark *mark, const MaRows *rows, uint64 row);
static bool drain_batch(const MaRows *rows, MaDrainBatch *batch);
static void drain_single(const MaRows *rows, MaDrainMark *single);
static int	delete_done(const MaRows *rows, MaDrainBatch *batch);
static void delete_rows(Datum tids);
static Datum tid_array(const MaRows *rows, const List *places);
static void park(const MaRows *rows, const List *places, const ErrorData *error);

static const MaDuty drain_duty = {"dirty log", 0, drain, NULL};

void
ma_drain_init(void)
{
	ma_worker_register_duty(&drain_duty);
}

static bool
drain(void)
{
	return ma_drain_turn(drain_rekeys) || ma_drain_turn(expand_table) || ma_drain_turn(drain_marks);
}

bool
ma_drain_turn(bool (*turn) (void))
{
	int			lock_timeout = LockTimeout;
	volatile bool more = false;

	/* We give up before the deadlock check runs, which might choose a user. */
	LockTimeout = Max(Min(LOCK_TIMEOUT_MS, DeadlockTimeout / 2), 1);
	PG_TRY();
	{
		MaCall		call;
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
													  "marketing_automation drain",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext previous;

		ma_call_begin(&call);
		previous = MemoryContextSwitchTo(context);
		more = turn();
		MemoryContextSwitchTo(previous);
		ma_call_end(&call);
		MemoryContextDelete(context);
	}
	PG_FINALLY();
	{
		LockTimeout = lock_timeout;
	}
	PG_END_TRY();
	return more;
}

int
ma_drain_batch_size(void)
{
	int			table = max_locks_per_xact * (MaxBackends + max_prepared_xacts);

	return Max(Min(BATCH, table / 32), 1);
}

MaMark *
ma_drain_mark(MaDrainBatch *batch, MaMarkKind kind, int32 id, int64 contact_id,
			  char *text, int place)
{
	MaDrainMark *found = NULL;
	ListCell   *cell;

	foreach(cell, batch->marks)
	{
		MaMarkTag  *tag = &((MaDrainMark *) lfirst(cell))->mark.tag;

		if (tag->kind == kind && tag->id == id && tag->contact_id == contact_id &&
			(text == NULL || strcmp(tag->text, text) == 0))
			found = lfirst(cell);
	}
	if (found == NULL)
	{
		found = palloc0_object(MaDrainMark);
		found->mark.tag.kind = kind;
		found->mark.tag.id = id;
		found->mark.tag.contact_id = contact_id;
		found->mark.tag.text = text;
		found->mark.space = MA_MARK_EVENTS;
		found->mark.events = found->mark.own;
		batch->marks = lappend(batch->marks, found);
	}
	found->places = lappend_int(found->places, place);
	return &found->mark;
}

void
ma_drain_start(MaEvaluation *evaluation, MaDrainBatch *batch)
{
	ListCell   *cell;

	memset(evaluation, 0, sizeof(*evaluation));
	evaluation->definitions = ma_definitions();
	evaluation->worker = true;
	evaluation->wait_ms = WAIT_MS;
	evaluation->max_locks = INT_MAX;
	evaluation->marks = palloc_array(MaMark *, Max(list_length(batch->marks), 1));
	foreach(cell, batch->marks)
	{
		MaMark	   *mark = &((MaDrainMark *) lfirst(cell))->mark;

		mark->done = false;
		evaluation->marks[evaluation->nmarks++] = mark;
	}
}

ErrorData *
ma_drain_protect(void (*work) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
evaluate(void *arg)
{
	ma_evaluate(arg);
}

ErrorData *
ma_drain_try(MaEvaluation *evaluation)
{
	ErrorData  *error = ma_drain_protect(evaluate, evaluation);

	if (error == NULL)
		ma_count(MA_COUNT_DRAINED, evaluation->evaluated);
	else
		for (int i = 0; i < evaluation->nmarks; i++)
			evaluation->marks[i]->done = false;
	return error;
}

/* Renames the keys of one transaction's re-keyed rows; true if there may be more. */
static bool
drain_rekeys(void)
{
	static MaStatement read = {
		"SELECT d.ctid, d.source_id, d.previous_id, d.external_id, d.attempts "
		"FROM marketing_internal.dirty AS d "
		"WHERE d.previous_id IS NOT NULL AND d.xid OPERATOR(pg_catalog.=) "
		"(SELECT o.xid FROM marketing_internal.dirty AS o WHERE o.previous_id IS NOT NULL "
		"AND (o.retry_at IS NULL OR o.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()) "
		"ORDER BY o.xid LIMIT 1) FOR UPDATE"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_WRITE_LATEST);
	MaDrainBatch batch = {NIL};
	MaEvaluation evaluation;
	List	   *places = NIL;
	ErrorData  *error;

	if (rows.n == 0)
		return false;
	ma_drain_start(&evaluation, &batch);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaRekey    *rekey = palloc0_object(MaRekey);

		rekey->source_id = ma_int32(&rows, i, 2);
		rekey->old_key = ma_text(&rows, i, 3);
		rekey->new_key = ma_text(&rows, i, 4);
		evaluation.rekeys = lappend(evaluation.rekeys, rekey);
		places = lappend_int(places, (int) i);
	}
	error = ma_drain_try(&evaluation);
	if (error != NULL)
		park(&rows, places, error);
	else if (((MaRekey *) linitial(evaluation.rekeys))->done)
		delete_rows(tid_array(&rows, places));
	else
		return false;
	return true;
}

/*
 * A table was truncated or attached anew: everything its rows may have decided
 * is to be looked at again.  Keys of contacts are added to the log in portions, the
 * progress kept in the row itself.
 */
static bool
expand_table(void)
{
	static MaStatement next = {
		"SELECT d.ctid, d.contact_id FROM marketing_internal.dirty AS d "
		"WHERE d.table_id IS NOT NULL LIMIT 1 FOR UPDATE SKIP LOCKED"
	};
	static MaStatement add = {
		"WITH part AS (SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY c.contact_id LIMIT $2), "
		"keys AS (INSERT INTO marketing_internal.dirty (xid, source_id, external_id) "
		"SELECT pg_catalog.pg_current_xact_id(), k.source_id, k.external_id "
		"FROM part JOIN marketing_internal.contact_key AS k USING (contact_id)) "
		"SELECT pg_catalog.max(contact_id), pg_catalog.count(*) FROM part",
		2, {INT8OID, INT4OID}
	};
	static MaStatement progress = {
		"UPDATE marketing_internal.dirty SET contact_id = $2 "
		"WHERE ctid OPERATOR(pg_catalog.=) $1",
		2, {TIDOID, INT8OID}
	};
	MaRows		rows = ma_run(&next, NULL, NULL, MA_RUN_WRITE_LATEST);
	MaRows		part;
	Datum		values[2];
	List	   *first = list_make1_int(0);

	if (rows.n == 0)
		return false;
	values[0] = Int64GetDatum(ma_int64(&rows, 0, 2));
	values[1] = Int32GetDatum(EXPAND);
	part = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	if (ma_int64(&part, 0, 2) < EXPAND)
		delete_rows(tid_array(&rows, first));
	else
	{
		bool		isnull;

		values[0] = ma_value(&rows, 0, 1, &isnull);
		values[1] = Int64GetDatum(ma_int64(&part, 0, 1));
		ma_run(&progress, values, NULL, MA_RUN_WRITE_LATEST);
	}
	return true;
}

/* One batch of marks; true if there may be more. */
static bool
drain_marks(void)
{
	static MaStatement read = {
		"SELECT d.ctid, d.contact_id, d.source_id, d.event_source_id, d.external_id, "
		"d.events, d.attempts FROM marketing_internal.dirty AS d "
		"WHERE d.table_id IS NULL AND d.previous_id IS NULL "
		"AND (d.retry_at IS NULL OR d.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()) "
		"AND NOT EXISTS (SELECT FROM marketing_internal.dirty AS r WHERE r.previous_id IS NOT NULL "
		"AND r.attempts OPERATOR(pg_catalog.<) $2) "
		"LIMIT $1 FOR UPDATE SKIP LOCKED",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2];
	MaRows		rows;
	MaDrainBatch batch = {NIL};
	int			size = ma_drain_batch_size();

	values[0] = Int32GetDatum(size);
	values[1] = Int32GetDatum(MA_GIVE_UP_REKEY);
	rows = ma_run(&read, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n == 0)
		return false;
	read_batch(&rows, &batch);
	return drain_batch(&rows, &batch) && rows.n == (uint64) size;
}

/* Evaluates a batch; after an error each mark alone.  True if any was done. */
static bool
drain_batch(const MaRows *rows, MaDrainBatch *batch)
{
	MaEvaluation evaluation;
	ErrorData  *error;
	ListCell   *cell;

	ma_drain_start(&evaluation, batch);
	error = ma_drain_try(&evaluation);
	if (error == NULL)
		return delete_done(rows, batch) > 0;
	if (list_length(batch->marks) == 1)
	{
		park(rows, ((MaDrainMark *) linitial(batch->marks))->places, error);
		return true;
	}
	foreach(cell, batch->marks)
		drain_single(rows, lfirst(cell));
	return true;
}

static void
drain_single(const MaRows *rows, MaDrainMark *single)
{
	MaDrainBatch batch = {list_make1(single)};

	(void) drain_batch(rows, &batch);
}

static void
read_batch(const MaRows *rows, MaDrainBatch *batch)
{
	for (uint64 i = 0; i < rows->n; i++)
	{
		int64		contact_id = ma_int64(rows, i, 2);
		int32		source_id = ma_int32(rows, i, 3);
		int32		event_source_id = ma_int32(rows, i, 4);
		MaMark	   *mark = ma_drain_mark(batch,
										 contact_id != 0 ? MA_MARK_CONTACT :
										 event_source_id != 0 ? MA_MARK_LINK : MA_MARK_KEY,
										 event_source_id != 0 ? event_source_id : source_id,
										 contact_id, ma_text(rows, i, 5), (int) i);

		add_events(mark, rows, i);
	}
}

/* Events of the row; without any the contact itself is meant. */
static void
add_events(MaMark *mark, const MaRows *rows, uint64 row)
{
	bool		isnull;
	Datum		events = ma_value(rows, row, 6, &isnull);
	Datum	   *ids;
	int			n;

	if (isnull)
	{
		mark->identity = true;
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(events), INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &ids, NULL, &n);
	for (int i = 0; i < n; i++)
		ma_mark_add_event(mark, DatumGetInt32(ids[i]), MA_SIGN_PLUS | MA_SIGN_MINUS);
}

/*
 * Deletes the rows of marks that are done, and lets the others rest a moment, so
 * that they do not fill the next batch again; returns how many marks are done.
 */
static int
delete_done(const MaRows *rows, MaDrainBatch *batch)
{
	static MaStatement rest = {
		"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp() "
		"OPERATOR(pg_catalog.+) '200 ms'::pg_catalog.interval "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};
	List	   *places = NIL;
	List	   *left = NIL;
	Datum		tids;
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->marks)
	{
		MaDrainMark *mark = lfirst(cell);

		if (!mark->mark.done)
		{
			left = list_concat(left, mark->places);
			continue;
		}
		places = list_concat(places, mark->places);
		n++;
	}
	if (left != NIL)
	{
		tids = tid_array(rows, left);
		ma_run(&rest, &tids, NULL, MA_RUN_WRITE_LATEST);
	}
	if (places != NIL)
		delete_rows(tid_array(rows, places));
	return n;
}

static Datum
tid_array(const MaRows *rows, const List *places)
{
	Datum	   *tids = palloc_array(Datum, Max(list_length(places), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, places)
	{
		bool		isnull;

		tids[n++] = ma_value(rows, lfirst_int(cell), 1, &isnull);
	}
	return ma_datum_array(tids, n, TIDOID);
}

/* Deletes exactly the rows that were read: they are locked, so their place is theirs. */
static void
delete_rows(Datum tids)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.dirty WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};

	ma_run(&remove, &tids, NULL, MA_RUN_WRITE_LATEST);
}

/* Lets rows that failed rest, with the reason. */
static void
park(const MaRows *rows, const List *places, const ErrorData *error)
{
	static MaStatement update = {
		"UPDATE marketing_internal.dirty SET attempts = attempts OPERATOR(pg_catalog.+) 1, "
		"retry_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) "
		"pg_catalog.make_interval(secs => LEAST($2, "
		"pg_catalog.power(2, attempts))), error_state = $3, error = $4 "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		4, {TIDARRAYOID, FLOAT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = tid_array(rows, places);
	values[1] = Float8GetDatum((float8) MAX_PAUSE);
	values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[3] = CStringGetTextDatum(error->message);
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
	ma_count_error(error->sqlerrcode, error->message);
}
