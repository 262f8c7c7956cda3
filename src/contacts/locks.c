/*
 * locks.c
 *		Locks on contacts and on addresses.
 *
 * They are heavyweight locks of classes no SQL function can take (SQL's advisory
 * functions use 1 and 2), so users can neither collide with nor release them,
 * need no row (a contact that does not exist yet can be locked) and cost no WAL.
 * They are held to the end of the transaction and never over a PREPARE.
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

#define LOCK_CLASS_CONTACT 3
#define LOCK_CLASS_ADDRESS 4

static void set_tag(LOCKTAG *tag, uint64 key, uint16 class);
static uint64 address_key(const char *address);

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

void
ma_contact_lock(int64 contact_id)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint64) contact_id, LOCK_CLASS_CONTACT);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

MaLockResult
ma_contact_try_lock(int64 contact_id)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint64) contact_id, LOCK_CLASS_CONTACT);
	switch (LockAcquire(&tag, ExclusiveLock, false, true))
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
