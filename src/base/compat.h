/*
 * compat.h
 *		Every difference between PostgreSQL 15, 16, 17 and 18 that this
 *		extension meets.
 *
 * The code is written to the newest interface; this header gives it to older
 * servers.  PG_VERSION_NUM appears nowhere else (a lint checks it), so that a
 * new major version is one file to read.
 */
#ifndef MA_BASE_COMPAT_H
#define MA_BASE_COMPAT_H

#include "postgres.h"
#include "fmgr.h"

#if PG_VERSION_NUM < 150000
#error "marketing_automation needs PostgreSQL 15 or newer"
#endif

/* Before 16 an extension's symbols are not marked for export by the server. */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

/* 16 replaced the one-per-kind ownership checks by one function. */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "utils/acl.h"
#define object_ownercheck(classid, objectid, roleid) \
	(AssertMacro((classid) == RelationRelationId), pg_class_ownercheck(objectid, roleid))
#endif

/* 17 lets one ask for a lock of at least the mode, too. */
#include "storage/lock.h"
#if PG_VERSION_NUM >= 170000
#define ma_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode, true)
#else
#define ma_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode)
#endif

/* 17 lets an extension name its wait events. */
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#define ma_wait_event_new(name) WaitEventExtensionNew(name)
#else
#include "pgstat.h"
#include "utils/wait_event.h"
#define ma_wait_event_new(name) PG_WAIT_EXTENSION
#endif

#endif							/* MA_BASE_COMPAT_H */
