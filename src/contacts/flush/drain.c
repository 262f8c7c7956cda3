/*
 * drain.c
 *		The worker's duty that evaluates what commits left in the dirty log.
 *
 * A batch is short, since users' commits meet its contact locks: they try for
 * their budget and then leave the contact to us again.  Rows are deleted only
 * when their contact was evaluated; a contact that is busy stays for the next
 * turn, one that fails is tried alone and then rests, and nobody waits for it.
 *
 * Re-keyings come first: evaluating a row under its new key before the key was
 * renamed would make a second contact of it.  Marks of keys that wait to be renamed
 * are left (rename.c); all others go on.
 */
#include "base/base.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "contacts/flush/drain.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "portability/instr_time.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "worker/worker.h"

#define BATCH 100				/* contacts, to begin with */
#define LEAST_BATCH 25
#define MOST_BATCH 400
#define BATCH_SHORT_MS 5		/* a batch is about this long, while users wait for its locks */
#define BATCH_LONG_MS 10
#define WAIT_MS 200				/* patience for locks of one batch */
#define LOCK_TIMEOUT_MS 500		/* at most: see ma_drain_turn() */
#define MAX_PAUSE 3600
#define EXPAND 5000				/* contacts of a changed table per turn */
#define LATE_MS 20000			/* no more is begun in a turn */
#define SLOW_MS 5000			/* after a turn this long no other one follows in the tick */

static bool drain(void);
static void evaluate(void *arg);
static double turn_ms(void);
static void fit_batch(const MaEvaluation *evaluation);
static Datum sources_of_table(int32 table_id, bool *everybody);
static bool expand_table(void);
static bool drain_marks(void);
static void read_batch(const MaRows *rows, MaDrainBatch *batch);
static void add_events(MaMark *mark, const MaRows *rows, uint64 row);
static bool drain_batch(const MaRows *rows, MaDrainBatch *batch);
static void drain_single(const MaRows *rows, MaDrainMark *single);
static int	finish(const MaRows *rows, MaDrainBatch *batch);
static Datum tid_array(const MaRows *rows, const List *places);

static instr_time turn_start;
static int	batch_size = BATCH;

static const MaDuty drain_duty = {"dirty log", 0, drain, NULL};

void
ma_drain_init(void)
{
	ma_worker_register_duty(&drain_duty);
}

/* All of them, so that a long row of re-keyings does not keep the marks waiting. */
static bool
drain(void)
{
	static bool (*const turns[]) (void) = {ma_drain_rekeys, ma_drain_lookups, expand_table,
	drain_marks};
	bool		more = false;

	for (int i = 0; i < lengthof(turns); i++)
	{
		more |= ma_drain_turn(turns[i]);
		if (turn_ms() > SLOW_MS)
			return true;
	}
	return more;
}

static double
turn_ms(void)
{
	instr_time	passed;

	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, turn_start);
	return INSTR_TIME_GET_MILLISEC(passed);
}

bool
ma_drain_late(void)
{
	return turn_ms() > LATE_MS;
}

bool
ma_drain_turn(bool (*turn) (void))
{
	int			lock_timeout = LockTimeout;
	volatile bool more = false;

	INSTR_TIME_SET_CURRENT(turn_start);
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
	return Min(batch_size, ma_drain_most());
}

int
ma_drain_most(void)
{
	int			table = max_locks_per_xact * (MaxBackends + max_prepared_xacts);

	return Max(table / 32, 1);
}

/* What contacts cost depends on the rules: batches are so large that they last about as long. */
static void
fit_batch(const MaEvaluation *evaluation)
{
	instr_time	passed;
	double		ms;

	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, evaluation->start);
	ms = INSTR_TIME_GET_MILLISEC(passed);
	if (ms > BATCH_LONG_MS)
		batch_size = Max(batch_size / 2, LEAST_BATCH);
	else if (ms < BATCH_SHORT_MS && evaluation->nmarks * 2 > batch_size)
		batch_size = Min(batch_size * 2, MOST_BATCH);
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
	INSTR_TIME_SET_CURRENT(evaluation->start);
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
ma_drain_protect(void (*work) (void *arg), void *arg, int ms)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	TimestampTz outer;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	outer = ma_deadline_set(ms);
	PG_TRY();
	{
		work(arg);
		(void) ma_deadline_end(false, outer);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		bool		too_long = ma_deadline_end(true, outer);

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (too_long && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			error->message = psprintf("evaluation took longer than %d s", ms / 1000);
		else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
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
	ErrorData  *error = ma_drain_protect(evaluate, evaluation, evaluation->nmarks > 1 ?
										 MA_DRAIN_BATCH_MS : MA_DRAIN_ALONE_MS);

	if (error == NULL)
	{
		ma_count(MA_COUNT_DRAINED, evaluation->evaluated);
		fit_batch(evaluation);
	}
	else
		for (int i = 0; i < evaluation->nmarks; i++)
			evaluation->marks[i]->done = false;
	return error;
}

/*
 * The sources whose contacts the rows of the table may concern: its own, and those
 * to whom its events belong.  Of a table that is not known it may be everybody.
 */
static Datum
sources_of_table(int32 table_id, bool *everybody)
{
	MaDefinitions *definitions = ma_definitions();
	MaTable    *table = ma_table_by_id(definitions, table_id);
	int			most = list_length(definitions->sources) + list_length(definitions->event_sources);
	int32	   *ids = palloc_array(int32, Max(most, 1));
	int			n = 0;
	ListCell   *cell;

	*everybody = (table == NULL);
	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table == table && table != NULL)
			ids[n++] = ((MaSource *) lfirst(cell))->id;
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (table != NULL && (source->table == table || source->via_table == table ||
							  ma_source_looks_up(source, table)))
			ids[n++] = source->contact_source->id;
	}
	return ma_int4_array(ids, n);
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
		"SELECT d.ctid, d.contact_id, d.table_id, d.left_at, d.pruned_column, d.pruned_before "
		"FROM marketing_internal.dirty AS d "
		"WHERE d.table_id IS NOT NULL AND d.event_source_id IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED"
	};
	static MaStatement add = {
		"WITH part AS (SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY c.contact_id LIMIT $2), "
		"keys AS (INSERT INTO marketing_internal.dirty (xid, source_id, external_id, left_at) "
		"SELECT pg_catalog.pg_current_xact_id(), k.source_id, k.external_id, $4 "
		"FROM part JOIN marketing_internal.contact_key AS k USING (contact_id) "
		"WHERE $3 IS NULL OR k.source_id OPERATOR(pg_catalog.=) ANY ($3)) "
		"SELECT pg_catalog.max(contact_id), pg_catalog.count(*) FROM part",
		4, {INT8OID, INT4OID, INT4ARRAYOID, TIMESTAMPTZOID}
	};
	static MaStatement progress = {
		"UPDATE marketing_internal.dirty SET contact_id = $2 "
		"WHERE ctid OPERATOR(pg_catalog.=) $1",
		2, {TIDOID, INT8OID}
	};
	MaRows		rows = ma_run(&next, NULL, NULL, MA_RUN_WRITE_LATEST);
	MaRows		part;
	Datum		values[4];
	bool		everybody;
	List	   *first = list_make1_int(0);

	if (rows.n == 0)
		return false;
	/* Of a partition that went with rows nobody reads any more there is nothing to do. */
	if (ma_text(&rows, 0, 5) != NULL &&
		!ma_pruned_is_read(ma_int32(&rows, 0, 3), ma_text(&rows, 0, 5), ma_int64(&rows, 0, 6)))
	{
		ma_drain_delete(&rows, first);
		return true;
	}
	values[0] = Int64GetDatum(ma_int64(&rows, 0, 2));
	values[1] = Int32GetDatum(EXPAND);
	values[2] = sources_of_table(ma_int32(&rows, 0, 3), &everybody);
	values[3] = TimestampTzGetDatum(ma_int64(&rows, 0, 4));
	part = ma_run(&add, values, everybody ? "  n " : NULL, MA_RUN_WRITE_LATEST);
	if (ma_int64(&part, 0, 2) < EXPAND)
		ma_drain_delete(&rows, first);
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
	MaDrainBatch batch = {NIL};
	int			size = ma_drain_batch_size();
	MaRows		rows = ma_dirty_read(size);
	uint64		fresh = 0;
	bool		done;

	if (rows.n == 0)
		return false;
	for (uint64 i = 0; i < rows.n; i++)
		fresh += ma_bool(&rows, i, 8);
	read_batch(&rows, &batch);
	done = drain_batch(&rows, &batch);
	return rows.n * 2 >= (uint64) size && (done || fresh > 0);
}

/* Evaluates a batch; after an error each mark alone.  True if any was done. */
static bool
drain_batch(const MaRows *rows, MaDrainBatch *batch)
{
	MaEvaluation evaluation;
	ErrorData  *error;
	List	   *untried = NIL;
	ListCell   *cell;

	ma_drain_start(&evaluation, batch);
	error = ma_drain_try(&evaluation);
	if (error == NULL)
		return finish(rows, batch) > 0;
	if (list_length(batch->marks) == 1)
	{
		ma_drain_park(rows, ((MaDrainMark *) linitial(batch->marks))->places, error);
		return true;
	}
	foreach(cell, batch->marks)
	{
		if (ma_drain_late())
			untried = list_concat(untried, ((MaDrainMark *) lfirst(cell))->places);
		else
			drain_single(rows, lfirst(cell));
	}
	ma_drain_rest(rows, untried, 0);
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

/* Deletes the rows of marks that are done; returns how many marks that are. */
static int
finish(const MaRows *rows, MaDrainBatch *batch)
{
	List	   *places = NIL;
	List	   *left = NIL;
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->marks)
	{
		MaDrainMark *mark = lfirst(cell);

		if (mark->mark.done)
		{
			places = list_concat(places, mark->places);
			n++;
		}
		else
			left = list_concat(left, mark->places);
	}
	ma_drain_rest(rows, left, MA_REST_MS);
	ma_drain_delete(rows, places);
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

void
ma_drain_delete(const MaRows *rows, const List *places)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.dirty WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};
	Datum		tids;

	if (places == NIL)
		return;
	tids = tid_array(rows, places);
	ma_run(&remove, &tids, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_drain_rest(const MaRows *rows, const List *places, int ms)
{
	static MaStatement rest = {
		"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp() "
		"OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $2) "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		2, {TIDARRAYOID, FLOAT8OID}
	};
	Datum		values[2];

	if (places == NIL)
		return;
	values[0] = tid_array(rows, places);
	values[1] = Float8GetDatum(ms / 1000.0);
	ma_run(&rest, values, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_drain_park(const MaRows *rows, const List *places, const ErrorData *error)
{
	static MaStatement update = {
		"UPDATE marketing_internal.dirty SET attempts = attempts OPERATOR(pg_catalog.+) 1, "
		"retry_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) "
		"pg_catalog.make_interval(secs => LEAST($2, "
		"pg_catalog.power(2, LEAST(attempts, 12)))), error_state = $3, error = $4 "
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
