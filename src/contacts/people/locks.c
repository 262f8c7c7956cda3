/*
 * locks.c
 *		Locks on contacts and on addresses.
 *
 * They are heavyweight locks of classes no SQL function can take (SQL's advisory
 * functions use 1 and 2), so users can neither collide with nor release them,
 * need no row (a contact that does not exist yet can be locked) and cost no WAL.
 * They are held to the end of the transaction and never over a PREPARE, for which
 * those taken are remembered.
 *
 * Order everywhere: relations, then contacts ascending, then our rows.  At
 * commit of a user's transaction nothing waits beyond the budget (flush.c);
 * API functions and workers wait.
 */
#include "base/base.h"

#include "common/hashfn.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#define LOCK_CLASS_CONTACT 3
#define LOCK_CLASS_ADDRESS 4

static void set_tag(LOCKTAG *tag, uint64 key, uint16 class);
static uint64 address_key(const char *address);
static LockAcquireResult acquire(uint64 key, uint16 class, bool wait);

static List *taken = NIL;		/* LOCKTAG *, of this transaction */

static void
set_tag(LOCKTAG *tag, uint64 key, uint16 class)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, class);
}

static uint64
address_key(const char *address)
{
	return hash_bytes_extended((const unsigned char *) address, strlen(address), 0);
}

/* Takes the lock and remembers it; false if it is not to be had without waiting. */
static LockAcquireResult
acquire(uint64 key, uint16 class, bool wait)
{
	LOCKTAG		tag;
	LockAcquireResult result;

	set_tag(&tag, key, class);
	result = LockAcquire(&tag, ExclusiveLock, false, !wait);
	if (result == LOCKACQUIRE_OK)
	{
		MemoryContext previous = MemoryContextSwitchTo(TopTransactionContext);
		LOCKTAG    *copy = palloc_object(LOCKTAG);

		*copy = tag;
		taken = lappend(taken, copy);
		MemoryContextSwitchTo(previous);
	}
	return result;
}

void
ma_locks_release_all(void)
{
	ListCell   *cell;

	foreach(cell, taken)
	{
		LOCKTAG    *tag = lfirst(cell);

		/* One taken in a savepoint that was rolled back is gone already. */
		while (ma_lock_held_by_me(tag, ExclusiveLock))
			if (!LockRelease(tag, ExclusiveLock, false))
				break;
	}
	taken = NIL;
}

void
ma_locks_forget_taken(void)
{
	taken = NIL;
}

void
ma_contact_lock(int64 contact_id)
{
	(void) acquire((uint64) contact_id, LOCK_CLASS_CONTACT, true);
}

void
ma_contact_unlock(int64 contact_id)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint64) contact_id, LOCK_CLASS_CONTACT);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

MaLockResult
ma_contact_try_lock(int64 contact_id)
{
	switch (acquire((uint64) contact_id, LOCK_CLASS_CONTACT, false))
	{
		case LOCKACQUIRE_OK:
			return MA_LOCK_NEW;
		case LOCKACQUIRE_ALREADY_HELD:
		case LOCKACQUIRE_ALREADY_CLEAR:
			return MA_LOCK_HELD;
		default:
			return MA_LOCK_BUSY;
	}
}

void
ma_address_lock(const char *address)
{
	(void) acquire(address_key(address), LOCK_CLASS_ADDRESS, true);
}

bool
ma_address_try_lock(const char *address)
{
	return acquire(address_key(address), LOCK_CLASS_ADDRESS, false) != LOCKACQUIRE_NOT_AVAIL;
}
