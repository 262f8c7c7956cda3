/*
 * wake.c
 *		What our workers are told when a transaction ends.
 *
 * Work of a transaction exists for others only from its commit on, so requests
 * are flags until then; an abort forgets them.  One callback is registered once
 * and lives as long as the process: a callback for each transaction would make
 * the list grow.  A request made in a subtransaction that aborts may still wake
 * somebody, who then finds nothing to do.
 *
 * A prepared transaction is committed by another session, which knows nothing of
 * the flags: they are dropped, and COMMIT PREPARED itself wakes (dbevents.c).
 */
#include "worker/worker_internal.h"

#include "access/xact.h"
#include "miscadmin.h"

#define MA_MAX_BLOCKED 16
static bool wake_wanted = false;	/* this database's scheduler */
static bool helper_wanted = false;	/* this database's helper */
static bool probe_wanted = false;	/* extensions of this database have changed */
static bool list_wanted = false;	/* databases have changed */

/* Databases that this transaction keeps workers out of. */
static struct
{
	Oid			database;
	bool		dropped;		/* and drops, if it commits */
}			blocked[MA_MAX_BLOCKED];
static int	number_blocked = 0;

static void at_transaction_end(XactEvent event, void *arg);
static void at_commit(void);
static void unblock(bool committed);

void
ma_wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
ma_worker_wake_at_commit(void)
{
	wake_wanted = true;
	/* A duty left work to another one: CALL marketing.work() goes on with that. */
	if (ma_worker_is_active())
		ma_duty_woken();
}

void
ma_worker_helper_at_commit(void)
{
	helper_wanted = true;
	if (ma_worker_is_active())
		ma_duty_woken();
}

/* Has this database looked into by the launcher after the commit. */
void
ma_wake_probe(void)
{
	probe_wanted = true;
}

/* Has the launcher read the list of databases after the commit. */
void
ma_wake_list(void)
{
	list_wanted = true;
}

/*
 * Has the block on a database lifted when the transaction ends, however it does;
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
			unblock(false);
			break;
		default:
			return;
	}
	wake_wanted = helper_wanted = probe_wanted = list_wanted = false;
}

static void
at_commit(void)
{
	if (wake_wanted || probe_wanted)
		ma_scheduler_wake(MyDatabaseId);
	if (helper_wanted)
		ma_helper_wake(MyDatabaseId);
	if (probe_wanted)
		ma_probe_request(MyDatabaseId);
	unblock(true);
	if (list_wanted)
		ma_launcher_wake(true);
}

/* Lets workers into the databases again, or forgets them. */
static void
unblock(bool committed)
{
	if (number_blocked == 0)
		return;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	for (int i = 0; i < number_blocked; i++)
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
	for (int i = 0; i < number_blocked; i++)
		if (committed && blocked[i].dropped)
			ma_shared_forget_database(blocked[i].database);
	number_blocked = 0;
	ma_launcher_wake(true);
}
