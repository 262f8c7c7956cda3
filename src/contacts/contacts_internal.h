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

/* ---- event_rows.c ---- */

/* "=" of the type's btree operator class, schema-qualified. */
extern char *ma_equality_operator(Oid type);

/* ---- locks.c ---- */

typedef enum MaLockResult
{
	MA_LOCK_NEW,				/* taken now */
	MA_LOCK_HELD,				/* this transaction had it */
	MA_LOCK_BUSY				/* somebody else has it */
} MaLockResult;

extern MaLockResult ma_contact_try_lock(int64 contact_id);
extern bool ma_address_try_lock(const char *address);

/* ---- triggers.c: a user's table with our capture triggers ---- */

/*
 * Errors out unless the caller owns the table and it is one that can be attached.
 * Runs as the caller, before ma_call_begin(); holds an AccessShareLock after.
 */
extern void ma_table_check_attachable(Oid relid);

/*
 * Finds or makes the table's number and its triggers (as the caller of `call`);
 * returns the number.  The table is locked against writers from here to the end
 * of the transaction, so this comes after every check.  on_replica = true lets
 * the triggers fire on replicas too and stays so until the table is detached.
 * *unseen: the row trigger did not fire until now, so the rows are to be read anew.
 * The definitions are read anew after it: do not keep pointers into them.
 */
extern int32 ma_table_attach(MaCall *call, Oid relid, bool on_replica, bool *unseen);

/*
 * Once no source and no event refers to the table: drops the triggers (as the
 * caller of `call`) and the number, and returns true.
 */
extern bool ma_table_detach_if_unused(MaCall *call, int32 table_id);

#endif							/* MA_CONTACTS_INTERNAL_H */
