/*
 * wake.c
 *		What our workers are told when a transaction ends.
 *
 * Work of a transaction exists for others only from its commit on, so requests
 * are kept until then; an abort forgets them, and that of a subtransaction those that
 * were made in it: a duty whose work is rolled back asks for it at each try, and would
 * be woken by itself for ever.  Callbacks are registered once and live as long as the
 * process: one for each transaction would make the list grow.
 *
 * A prepared transaction is committed by another session, which knows nothing of
 * the flags: they are dropped, and COMMIT PREPARED itself wakes (dbevents.c).
 */
#include "worker/worker_internal.h"

#include "access/xact.h"
#include "miscadmin.h"

#define MA_MAX_BLOCKED 16

typedef enum Request
{
	WAKE,						/* this database's scheduler */
	HELPER,						/* this database's helper */
	PROBE,						/* extensions of this database have changed */
	LIST,						/* databases have changed */
	NUMBER_OF_REQUESTS
} Request;

/*
 * The nesting level of the outermost transaction under way in which each was made, 1 is the
 * top; 0: not asked for.
 */
static int	wanted[NUMBER_OF_REQUESTS];

/* Databases that this transaction keeps workers out of. */
static struct
{
	Oid			database;
	bool		dropped;		/* and drops, if it commits */
	int			level;			/* as above */
}			blocked[MA_MAX_BLOCKED];
static int	number_blocked = 0;

static void want(Request request);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
								  SubTransactionId parent, void *arg);
static void at_commit(void);
static void unblock(int level, bool committed);

void
ma_wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

static void
want(Request request)
{
	int			level = GetCurrentTransactionNestLevel();

	if (wanted[request] == 0 || wanted[request] > level)
		wanted[request] = level;
}

void
ma_worker_wake_at_commit(void)
{
	want(WAKE);
}

void
ma_worker_helper_at_commit(void)
{
	want(HELPER);
}

/* Has this database looked into by the launcher after the commit. */
void
ma_wake_probe(void)
{
	want(PROBE);
}

/* Has the launcher read the list of databases after the commit. */
void
ma_wake_list(void)
{
	want(LIST);
}

/*
 * Has the block on a database lifted when the (sub)transaction ends, however it does;
 * to be called before the block is laid.  False when there is one already, or no
 * room to remember it.
 */
bool
ma_wake_unblock(Oid database, bool dropped)
{
	for (int i = 0; i < number_blocked; i++)
		if (blocked[i].database == database)
			return false;
	if (number_blocked == MA_MAX_BLOCKED)
		return false;
	blocked[number_blocked].database = database;
	blocked[number_blocked].dropped = dropped;
	blocked[number_blocked].level = GetCurrentTransactionNestLevel();
	number_blocked++;
	return true;
}

/* Must not fail: at the time of XACT_EVENT_COMMIT the commit has happened. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			at_commit();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			unblock(1, false);
			break;
		default:
			return;
	}
	memset(wanted, 0, sizeof(wanted));
}

/* What a subtransaction has asked for is its parent's when it commits. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
					  void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = 0; i < NUMBER_OF_REQUESTS; i++)
			wanted[i] = Min(wanted[i], level - 1);
		for (int i = 0; i < number_blocked; i++)
			blocked[i].level = Min(blocked[i].level, level - 1);
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		for (int i = 0; i < NUMBER_OF_REQUESTS; i++)
			if (wanted[i] >= level)
				wanted[i] = 0;
		unblock(level, false);
	}
}

static void
at_commit(void)
{
	if (wanted[WAKE] || wanted[PROBE])
		ma_scheduler_wake(MyDatabaseId);
	if (wanted[HELPER])
		ma_helper_wake(MyDatabaseId);
	/* A duty left work to another one: CALL marketing.work() goes on with that. */
	if ((wanted[WAKE] || wanted[HELPER]) && ma_worker_is_active())
		ma_duty_woken();
	if (wanted[PROBE])
		ma_probe_request(MyDatabaseId);
	unblock(1, true);
	if (wanted[LIST])
		ma_launcher_wake(true);
}

/* Lets workers into the databases that were blocked from this level on, or forgets them. */
static void
unblock(int level, bool committed)
{
	int			first = 0;

	/* A deeper level blocks after the ones around it. */
	while (first < number_blocked && blocked[first].level < level)
		first++;
	if (first == number_blocked)
		return;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	for (int i = first; i < number_blocked; i++)
	{
		MaSlot	   *slot = ma_slot_find(blocked[i].database);

		if (slot == NULL || slot->blocked == 0)
			continue;
		slot->blocked--;
		slot->next_start = 0;
		if (committed && blocked[i].dropped)
			slot->listed = false;
	}
	LWLockRelease(ma_registry_lock);
	for (int i = first; i < number_blocked; i++)
		if (committed && blocked[i].dropped)
			ma_shared_forget_database(blocked[i].database);
	number_blocked = first;
	ma_launcher_wake(true);
}
