/*
 * contacts_internal.h
 *		What the files of contacts/ share among themselves and nobody else sees.
 */
#ifndef MA_CONTACTS_INTERNAL_H
#define MA_CONTACTS_INTERNAL_H

#include "contacts/contacts.h"

/* ---- binding.c: what ties a definition to its table ---- */

/* OID of the relation's capture trigger with this number, or InvalidOid. */
extern Oid	ma_capture_trigger(Oid relid, int32 table_id);

/* Table of the trigger if it is an own (not cloned) capture trigger with this number. */
extern Oid	ma_trigger_table(Oid trigger, int32 table_id);

extern Oid	ma_relation_owner(Oid relid);

/* ---- locks.c ---- */

typedef enum MaLockResult
{
	MA_LOCK_NEW,				/* taken now */
	MA_LOCK_HELD,				/* this transaction had it */
	MA_LOCK_BUSY				/* somebody else has it */
} MaLockResult;

extern MaLockResult ma_contact_try_lock(int64 contact_id);
extern bool ma_address_try_lock(const char *address);

#endif							/* MA_CONTACTS_INTERNAL_H */
