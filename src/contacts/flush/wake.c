/*
 * wake.c
 *		Contacts evaluated again by a duty: because their state changes by time
 *		alone, or because something new is to be computed for them.
 *
 * It is the evaluation of the drain, with marks that stand in no log.  Whoever cannot
 * be evaluated is left to the dirty log, which knows how to rest; a duty that finds
 * its contacts by a query leaves out who waits there (MA_JOIN_DIRTY), or one row that
 * fails would keep it busy for ever.
 */
#include "base/base.h"

#include "contacts/flush/drain.h"
#include "worker/worker.h"

static void leave(const MaDrainBatch *batch, bool all);

bool
ma_contacts_wake(const int64 *contact_ids, const int32 *event_ids, int n, bool leave_busy)
{
	return ma_contacts_wake_each(contact_ids, event_ids, n, leave_busy, NULL);
}

bool
ma_contacts_wake_each(const int64 *contact_ids, const int32 *event_ids, int n, bool leave_busy,
					  bool *busy)
{
	MaDrainBatch batch = {NIL};
	MaEvaluation evaluation;
	ErrorData  *error;
	ListCell   *cell;
	bool		done = false;

	for (int i = 0; i < n; i++)
	{
		MaMark	   *mark = ma_drain_mark(&batch, MA_MARK_CONTACT, 0, contact_ids[i], NULL, i);

		if (event_ids != NULL)
			ma_mark_add_event(mark, event_ids[i], MA_SIGN_PLUS | MA_SIGN_MINUS);
	}
	ma_drain_start(&evaluation, &batch);
	error = ma_drain_try(&evaluation);
	if (error != NULL)
	{
		ma_count_error(error->sqlerrcode, error->message);
		leave(&batch, true);
		for (int i = 0; i < n && busy != NULL && leave_busy; i++)
			busy[i] = true;
		return true;
	}
	foreach(cell, batch.marks)
	{
		const MaDrainMark *mark = lfirst(cell);
		ListCell   *place;

		done |= mark->mark.done;
		foreach(place, busy != NULL && !mark->mark.done ? mark->places : NIL)
			busy[lfirst_int(place)] = true;
	}
	if (leave_busy)
		leave(&batch, false);
	return done;
}

/* Leaves those that were not evaluated to the dirty log; until then they stood not in it. */
static void
leave(const MaDrainBatch *batch, bool all)
{
	int64	   *ids = palloc_array(int64, Max(list_length(batch->marks), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->marks)
	{
		const MaMark *mark = &((MaDrainMark *) lfirst(cell))->mark;

		if (all || !mark->done)
			ids[n++] = mark->tag.contact_id;
	}
	if (n == 0)
		return;
	ma_contacts_leave(ids, n);
	ma_worker_wake_at_commit();
}

void
ma_contacts_leave_all(void)
{
	static MaStatement leave_all = {
		"INSERT INTO marketing_internal.dirty (xid, table_id) "
		"SELECT pg_catalog.pg_current_xact_id(), 0 "
		"WHERE EXISTS (SELECT FROM marketing_internal.contact)"
	};

	ma_run(&leave_all, NULL, NULL, MA_RUN_WRITE);
	ma_worker_wake_at_commit();
}
