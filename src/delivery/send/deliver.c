/*
 * deliver.c
 *		The duty that delivers: claim, commit, look again, send, settle.
 *
 * Its steps are ticks of one duty, each a transaction of its own, and sending comes
 * after a commit, with no transaction open:
 *
 *	tick: settle what was sent, claim the next messages and compose them -- commit
 *	tick: look again at what was claimed -- commit -- send (send.c)
 *
 * Files are sent when that returns; what goes over a network is under way during the
 * ticks that follow and is settled by the one that finds it finished.
 *
 * What a tick did counts only from its commit on (after_commit): an error leaves the
 * step as it was, and it is tried again.
 *
 * One process of a database delivers at a time: it holds a session lock from its first
 * claim until nothing is left.  Who gets that lock knows that whatever is `sending`
 * was claimed by a process that has died; no time-out is needed to tell.
 */
#include "base/base.h"

#include "access/xact.h"
#include "delivery/delivery_internal.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define LOCK_CLASS 7			/* of advisory locks: delivery in one database */
#define BATCH 50				/* what a crash can leave in doubt of one claim ... */
#define BATCH_JOURNAL 500		/* ... if there is no journal */
#define BATCH_OCTETS (16 * 1024 * 1024) /* what the contents of a batch may take */

/* Messages on their way between two transactions. */
typedef struct Batch
{
	MemoryContext context;
	MaMessage  *messages;
	int			n;
} Batch;

typedef enum Step
{
	STEP_NONE,					/* nothing is under way */
	STEP_TAKEN,					/* what was left behind is settled: the claim follows */
	STEP_CLAIMED,				/* to be looked at again */
	STEP_CHECKED				/* to be sent, right after the commit */
} Step;

static bool holds_lock = false;
static bool taken_over = false; /* abandoned messages have been settled */
static Step step = STEP_NONE;
static Batch batch;				/* under way */
static Batch next;				/* claimed by a tick that has not committed yet */
static Step next_step;
static bool told = false;		/* in this session's work, see tell_unserved() */
static bool choosing = false;	/* a tick was in the midst of settling and claiming */
static bool composing = false;	/* ... and the journal may name a message because of it */
static int	limit = BATCH;
static Size message_octets = 0; /* of the last batch, on average */

static bool lock(void);
static void unlock(bool under_way);
static int	batch_size(void);
static void drop(Batch *which);
static bool tick(void);
static void tell_unserved(void);
static bool claim_next(void);
static bool step_claim(void);
static void step_recheck(void);
static void after_commit(void);
static bool busy(void);
static void end(void);
static TimestampTz next_due(void);
static bool start_tick(void);

static const MaDuty duty = {
	.name = "delivery", .every_ms = 0, .tick = tick, .next_due = next_due, .helper = true,
	.after_commit = after_commit, .busy = busy, .end = end
};

/* The scheduler's part: has a helper started when messages fall due. */
static const MaDuty start_duty = {
	.name = "start delivery", .every_ms = 500, .tick = start_tick, .next_due = next_due
};

void
ma_deliver_init(void)
{
	ma_transport_add(&ma_spool);
	ma_worker_register_duty(&start_duty);
	ma_worker_register_duty(&duty);
}

static bool
lock(void)
{
	LOCKTAG		tag;

	if (holds_lock)
		return true;
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_CLASS);
	holds_lock = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	taken_over = false;
	if (holds_lock)
		ma_journal_open();
	return holds_lock;
}

/* If something is under way, the journal is left for who delivers next. */
static void
unlock(bool under_way)
{
	LOCKTAG		tag;

	if (!holds_lock)
		return;
	ma_journal_rest(under_way);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_CLASS);
	(void) LockRelease(&tag, ExclusiveLock, true);
	holds_lock = false;
}

/* Many at once cost less for each; large mails are claimed a few at a time. */
static int
batch_size(void)
{
	if (!ma_journal_is_open())
		return BATCH;
	return (int) Max(Min(BATCH_OCTETS / Max(message_octets, 1), BATCH_JOURNAL), BATCH);
}

static void
drop(Batch *which)
{
	if (which->context != NULL)
		MemoryContextDelete(which->context);
	memset(which, 0, sizeof(Batch));
}

/*
 * True if a message is due, or one is left from a process that died.  Not by EXISTS, for
 * which a planner without statistics reads the whole outbox.
 */
static bool
any_due(void)
{
	static MaStatement find = {
		MA_PRIORITIES_SQL "SELECT FROM p CROSS JOIN LATERAL (SELECT FROM marketing_internal.message AS m "
		"WHERE m.lane OPERATOR(pg_catalog.=) p.lane "
		"AND m.priority OPERATOR(pg_catalog.=) p.priority "
		"AND m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"AND m.next_at OPERATOR(pg_catalog.<=) $1 ORDER BY m.next_at LIMIT 1) AS d UNION ALL "
		"SELECT FROM (SELECT FROM marketing_internal.message AS m "
		"WHERE m.state OPERATOR(pg_catalog.=) 'sending' AND m.leased_until IS NULL LIMIT 1) AS s "
		"LIMIT 1",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_now());

	return ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

static bool
start_tick(void)
{
	MaCall		call;

	ma_call_begin(&call);
	ma_claims_look();
	if (any_due())
	{
		ma_message_wake();
		if (ma_armed())
			ma_claims_notify();
	}
	ma_call_end(&call);
	return false;
}

static TimestampTz
next_due(void)
{
	static MaStatement find = {
		MA_PRIORITIES_SQL "SELECT pg_catalog.min(n.next_at) FROM p CROSS JOIN LATERAL ("
		"SELECT m.next_at FROM marketing_internal.message AS m "
		"WHERE m.lane OPERATOR(pg_catalog.=) p.lane "
		"AND m.priority OPERATOR(pg_catalog.=) p.priority "
		"AND m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"AND m.next_at OPERATOR(pg_catalog.>) $1 ORDER BY m.next_at LIMIT 1) AS n",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_now());
	TimestampTz due = DT_NOEND;
	MaCall		call;
	MaRows		rows;
	bool		isnull;

	ma_call_begin(&call);
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	value = ma_value(&rows, 0, 1, &isnull);
	if (!isnull)
		due = DatumGetTimestampTz(value);
	ma_call_end(&call);
	return due;
}

/*
 * A claim that a crash forgets is a message sent twice, whatever the server's or the
 * role's synchronous_commit says.
 */
void
ma_delivery_durable(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

static bool
tick(void)
{
	bool		more;

	drop(&next);
	next_step = step;
	if (!lock())
		return false;
	/* An error of ours is no crash: what an earlier process was composing is asked for before. */
	if (composing)
		ma_journal_composing(0, 0);
	composing = false;
	if (choosing)
	{
		ma_send_not_settled();
		/* The last claim ended by an error: find out whose fault it is. */
		ma_gate_resume();
		if (limit == 1)
			ma_gate_pass_over();
		limit = 1;
	}
	ma_delivery_durable();
	if (step == STEP_CLAIMED)
	{
		step_recheck();
		return true;
	}
	choosing = true;
	more = step_claim();
	return more || next.n > 0 || next_step == STEP_TAKEN;
}

/* In CALL marketing.work() of a server that has no workers: why some messages stay. */
static void
tell_unserved(void)
{
	if (told || ma_worker_is_preloaded() || !ma_lanes_unserved())
		return;
	told = true;
	ereport(NOTICE,
			(errmsg("messages for real servers are left: only the delivery worker sends them"),
			 errhint("Add marketing_automation to shared_preload_libraries and restart the server; what goes to the spool or to programs outside needs no worker.")));
}

/* Claims and composes the next messages, as far as they can be; true if there may be more. */
static bool
claim_next(void)
{
	MemoryContext previous;
	bool		more;

	next.context = AllocSetContextCreate(TopMemoryContext, "marketing_automation messages",
										 ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(next.context);
	composing = true;
	ma_delivery_partitions_ensure();
	next.messages = ma_gate_claim(limit, &next.n, &more);
	if (next.n > 0)
	{
		MaMessage **unfit = palloc_array(MaMessage *, next.n);
		int			nunfit = 0;
		int			count = 0;

		/* Who goes back is due at once. */
		if (ma_compose(next.messages, next.n) > 0)
			ma_gate_restart();
		for (int i = 0; i < next.n; i++)
			if (next.messages[i].gate != NULL)
			{
				unfit[nunfit] = palloc_object(MaMessage);
				*unfit[nunfit++] = next.messages[i];
			}
			else
				next.messages[count++] = next.messages[i];
		ma_settle(unfit, nunfit);
		if (nunfit > 0)
			ma_gate_look_again();
		next.n = count;
		message_octets = 0;
		for (int i = 0; i < count; i++)
		{
			ma_journal_claimed(next.messages[i].message_id, ma_now());
			message_octets += next.messages[i].outgoing.length / count + 1;
		}
	}
	MemoryContextSwitchTo(previous);
	return more;
}

/* Settles what was sent and claims the next messages; true if there may be more. */
static bool
step_claim(void)
{
	MaCall		call;
	bool		more = false;
	MaMessage **settled;
	int			nsettled;

	ma_call_begin(&call);
	if (!taken_over && ma_settle_abandoned() > 0)
	{
		next_step = STEP_TAKEN;
		ma_call_end(&call);
		return false;
	}
	nsettled = ma_send_finished(&settled);
	if (limit == 1 || ma_send_stuck())
		nsettled = ma_settle_each(settled, nsettled);
	else
		ma_settle(settled, nsettled);
	next_step = STEP_NONE;
	if (!ma_worker_is_ending())
	{
		more = claim_next();
		if (next.n > 0)
			next_step = STEP_CLAIMED;
		/* What was settled, or a template's query wrote, is evaluated behind the claim. */
		if (ma_changes_pending())
			ma_gate_look_again();
	}
	ma_lanes_store();
	ma_call_end(&call);
	if (!more && next.n == 0)
		tell_unserved();
	return more;
}

static void
step_recheck(void)
{
	MemoryContext previous;
	MaCall		call;

	next.context = AllocSetContextCreate(TopMemoryContext, "marketing_automation messages",
										 ALLOCSET_DEFAULT_SIZES);
	/* Within the call, whose own memory is gone after it. */
	ma_call_begin(&call);
	previous = MemoryContextSwitchTo(next.context);
	next.messages = palloc_array(MaMessage, batch.n);
	memcpy(next.messages, batch.messages, sizeof(MaMessage) * batch.n);
	next.n = ma_gate_recheck(next.messages, batch.n);
	MemoryContextSwitchTo(previous);
	ma_call_end(&call);
	Assert(GetMemoryChunkContext(next.messages) == next.context);
	next_step = STEP_CHECKED;
}

/* The tick has committed: what it did is true now. */
static void
after_commit(void)
{
	bool		claimed = choosing;

	choosing = false;
	if (!holds_lock)
		return;
	if (claimed)
	{
		taken_over = true;
		ma_send_settled();
		ma_lanes_stored();
		limit = Min(limit * 4, batch_size());
		/* The next choice goes on behind these; after an error it begins with them. */
		ma_gate_pass_over();
	}
	if (next_step == STEP_CHECKED)
	{
		/* What was given back is decided about at once. */
		if (next.n < batch.n)
			ma_gate_restart();
		/* The texts of the messages stay in the claim's context. */
		if (next.n > 0)
			memcpy(batch.messages, next.messages, sizeof(MaMessage) * next.n);
		batch.n = next.n;
		drop(&next);
		if (batch.n > 0)
		{
			ma_send(batch.context, batch.messages, batch.n);
			memset(&batch, 0, sizeof(batch));
		}
		drop(&batch);
		step = STEP_NONE;
		return;
	}
	drop(&batch);
	batch = next;
	memset(&next, 0, sizeof(next));
	step = next_step == STEP_TAKEN ? STEP_NONE : next_step;
	if (next_step == STEP_TAKEN)
		return;
	if (step == STEP_NONE)
	{
		drop(&batch);
		if (!ma_send_busy())
			unlock(false);
	}
}

static bool
busy(void)
{
	return step != STEP_NONE || ma_send_busy();
}

/*
 * A session stops working.  Claimed messages are left to who delivers next, also those of a
 * tick of which we do not know whether it has committed.
 */
static void
end(void)
{
	bool		under_way = busy() || next.n > 0;

	drop(&batch);
	drop(&next);
	step = STEP_NONE;
	choosing = told = false;
	limit = BATCH;
	unlock(under_way);
	ma_gate_restart();
}
