/*
 * locks.c
 *		Locks on contacts and on addresses.
 *
 * They are heavyweight locks of classes no SQL function can take (SQL's advisory
 * functions use 1 and 2), so users can neither collide with nor release them,
 * need no row (a contact that does not exist yet can be locked) and cost no WAL.
 * They are held to the end of the transaction; those on contacts and keys not over
 * a PREPARE, which may wait for days: what such a transaction changed is in its
 * dirty log, and evaluated once it commits.
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
#include "utils/resowner.h"

#define LOCK_CLASS_CONTACT 3
#define LOCK_CLASS_ADDRESS 4
#define LOCK_CLASS_KEY 5

/* Locks taken in this transaction that a PREPARE gives back; in TopTransactionContext. */
static LOCKTAG *taken = NULL;
static int	ntaken = 0;
static int	taken_space = 0;

static void set_tag(LOCKTAG *tag, uint64 key, uint16 class);
static uint64 address_key(const char *address);
static MaLockResult acquire(const LOCKTAG *tag, bool wait);
static void remember(const LOCKTAG *tag);

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

/* Takes the lock and notes it for a PREPARE. */
static MaLockResult
acquire(const LOCKTAG *tag, bool wait)
{
	switch (LockAcquire(tag, ExclusiveLock, false, !wait))
	{
		case LOCKACQUIRE_OK:
			remember(tag);
			return MA_LOCK_NEW;
		case LOCKACQUIRE_ALREADY_HELD:
		case LOCKACQUIRE_ALREADY_CLEAR:
			return MA_LOCK_HELD;
		default:
			return MA_LOCK_BUSY;
	}
}

static void
remember(const LOCKTAG *tag)
{
	if (ntaken == taken_space)
	{
		int			space = Max(taken_space * 2, 16);
		Size		size = mul_size(sizeof(LOCKTAG), space);

		taken = taken == NULL ? MemoryContextAlloc(TopTransactionContext, size) :
			repalloc_huge(taken, size);
		taken_space = space;
	}
	taken[ntaken++] = *tag;
}

void
ma_locks_end(void)
{
	taken = NULL;
	ntaken = taken_space = 0;
}

/* Some may be gone with a subtransaction, others may have been taken more than once. */
void
ma_locks_give_back(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	for (int i = 0; i < ntaken; i++)
		while (ma_lock_held_by_me(&taken[i], ExclusiveLock))
			if (!LockRelease(&taken[i], ExclusiveLock, false))
				break;
	CurrentResourceOwner = owner;
	ntaken = 0;
}

void
ma_contact_lock(int64 contact_id)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint64) contact_id, LOCK_CLASS_CONTACT);
	(void) acquire(&tag, true);
}

MaLockResult
ma_contact_try_lock(int64 contact_id)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint64) contact_id, LOCK_CLASS_CONTACT);
	return acquire(&tag, false);
}

void
ma_key_lock(int32 source_id, const char *external_id)
{
	LOCKTAG		tag;

	set_tag(&tag, address_key(psprintf("%d %s", source_id, external_id)), LOCK_CLASS_KEY);
	(void) acquire(&tag, true);
}

bool
ma_key_try_lock(int32 source_id, const char *external_id)
{
	LOCKTAG		tag;

	set_tag(&tag, address_key(psprintf("%d %s", source_id, external_id)), LOCK_CLASS_KEY);
	return acquire(&tag, false) != MA_LOCK_BUSY;
}

void
ma_address_lock(const char *address)
{
	LOCKTAG		tag;

	set_tag(&tag, address_key(address), LOCK_CLASS_ADDRESS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
ma_address_try_lock(const char *address)
{
	LOCKTAG		tag;

	set_tag(&tag, address_key(address), LOCK_CLASS_ADDRESS);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}
