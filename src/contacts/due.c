/*
 * due.c
 *		Contacts whose state changes by time alone, evaluated for an engine's duty.
 *
 * An engine keeps by itself when its contacts are due; here they are locked and told
 * to the consumers, as after a change but without one.
 */
#include "base/base.h"

#include "contacts/drain.h"
#include "worker/worker.h"

#define DUE_BATCH 100

static int	(*due_now) (int64 *contact_ids, int limit, TimestampTz now);

static bool turn(void);
static void leave(const MaDrainBatch *batch);

bool
ma_contacts_due_turn(int (*due) (int64 *contact_ids, int limit, TimestampTz now))
{
	due_now = due;
	return ma_drain_turn(turn);
}

static bool
turn(void)
{
	int			limit = Min(DUE_BATCH, ma_drain_batch_size());
	int64	   *ids = palloc_array(int64, limit);
	int			n = due_now(ids, limit, ma_clock());
	MaDrainBatch batch = {NIL};
	MaEvaluation evaluation;
	ErrorData  *error;
	ListCell   *cell;
	bool		done = false;

	if (n == 0)
		return false;
	for (int i = 0; i < n; i++)
		(void) ma_drain_mark(&batch, MA_MARK_CONTACT, 0, ids[i], NULL, 0);
	ma_drain_start(&evaluation, &batch);
	error = ma_drain_try(&evaluation);
	if (error != NULL)
	{
		ma_count_error(error->sqlerrcode, error->message);
		leave(&batch);
		return true;
	}
	foreach(cell, batch.marks)
		done |= ((MaDrainMark *) lfirst(cell))->mark.done;
	return done && n == limit;
}

/* The dirty log knows how to rest, and until they are out of it they are not due. */
static void
leave(const MaDrainBatch *batch)
{
	int64	   *ids = palloc_array(int64, Max(list_length(batch->marks), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->marks)
		ids[n++] = ((MaDrainMark *) lfirst(cell))->mark.tag.contact_id;
	ma_contacts_leave(ids, n);
	ma_worker_wake_at_commit();
}

void
ma_contacts_leave_all(void)
{
	static MaStatement leave_all = {
		"INSERT INTO marketing_internal.dirty (xid, table_id) "
		"VALUES (pg_catalog.pg_current_xact_id(), 0)"
	};

	ma_run(&leave_all, NULL, NULL, MA_RUN_WRITE);
	ma_worker_wake_at_commit();
}
