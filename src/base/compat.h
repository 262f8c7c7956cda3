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

/* 18 marks what does not return before the declaration (pg_noreturn), not behind it. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* 16 replaced the one-per-kind ownership checks by one function. */
#include "utils/acl.h"
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"

#define object_ownercheck(classid, objectid, roleid) \
	((classid) == DatabaseRelationId ? pg_database_ownercheck(objectid, roleid) : \
	 (classid) == ExtensionRelationId ? pg_extension_ownercheck(objectid, roleid) : \
	 (AssertMacro((classid) == RelationRelationId), pg_class_ownercheck(objectid, roleid)))

/* Likewise the checks of rights; the one that is used here. */
#include "catalog/pg_namespace.h"
#define object_aclcheck(classid, objectid, roleid, mode) \
	(AssertMacro((classid) == NamespaceRelationId), pg_namespace_aclcheck(objectid, roleid, mode))
#define ma_foreign_server_aclcheck(server, role, mode) \
	pg_foreign_server_aclcheck(server, role, mode)
#define ma_function_aclcheck(function, role, mode) pg_proc_aclcheck(function, role, mode)
#define ma_qualified_names(text) stringToQualifiedNameList(text)
#else
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#define ma_foreign_server_aclcheck(server, role, mode) \
	object_aclcheck(ForeignServerRelationId, server, role, mode)
#define ma_function_aclcheck(function, role, mode) \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#define ma_qualified_names(text) stringToQualifiedNameList(text, NULL)
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

/* 17 gave the number of a process's PGPROC a variable of its own. */
#if PG_VERSION_NUM >= 170000
#define ma_my_proc_number() MyProcNumber
#else
#define ma_my_proc_number() (MyProc->pgprocno)
#endif

/* 17 lets a background worker connect as a role that may not log in. */
#if PG_VERSION_NUM >= 170000
#define MA_WORKER_CONNECT_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#define MA_WORKER_NEEDS_LOGIN false
#else
#define MA_WORKER_CONNECT_FLAGS 0
#define MA_WORKER_NEEDS_LOGIN true
#endif

/* Before 15.4 a database could not be marked invalid by an interrupted DROP. */
#include "catalog/pg_database.h"
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

/* 18 has generated columns that are not stored: a tuple does not hold them. */
#include "catalog/pg_attribute.h"
#ifdef ATTRIBUTE_GENERATED_VIRTUAL
#define ma_is_virtual(attgenerated) ((attgenerated) == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define ma_is_virtual(attgenerated) false
#endif

/* 16 lets the parser of type names report errors softly. */
#include "parser/parse_type.h"
#if PG_VERSION_NUM >= 160000
#define ma_type_name(name) typeStringToTypeName(name, NULL)
#else
#define ma_type_name(name) typeStringToTypeName(name)
#endif

/* 16 gave DecodeDateTime() a place for details of its errors. */
#if PG_VERSION_NUM >= 160000
#define ma_decode_datetime(fields, types, n, type, tm, fsec, zone) \
	DecodeDateTime(fields, types, n, type, tm, fsec, zone, &(DateTimeErrorExtra) {0})
#else
#define ma_decode_datetime(fields, types, n, type, tm, fsec, zone) \
	DecodeDateTime(fields, types, n, type, tm, fsec, zone)
#endif

/* 18 counts what the scan of an index does, if it is told where. */
#if PG_VERSION_NUM >= 180000
#define ma_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#else
#define ma_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, nkeys, 0)
#endif

/* 16 tells which indexes an update concerns: all, none, or those that sum up blocks. */
#include "access/tableam.h"
#include "executor/executor.h"
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes ma_index_updates;
#define MA_INDEX_UPDATES_ALL TU_All
#define MA_INDEX_UPDATES_NONE TU_None
#define ma_insert_index_tuples(info, slot, estate, update, which) \
	ExecInsertIndexTuples(info, slot, estate, update, false, NULL, NIL, (which) == TU_Summarizing)
#else
typedef bool ma_index_updates;
#define MA_INDEX_UPDATES_ALL true
#define MA_INDEX_UPDATES_NONE false
#define ma_insert_index_tuples(info, slot, estate, update, which) \
	ExecInsertIndexTuples(info, slot, estate, update, false, NULL, NIL)
#endif

/* 18 made the bytes of base64 unsigned. */
#if PG_VERSION_NUM >= 180000
#define MA_BASE64_BYTE uint8
#else
#define MA_BASE64_BYTE char
#endif

/* How SQL reads a zone's name that is an abbreviation: *type is TZ or DTZ for a fixed offset. */
#if PG_VERSION_NUM >= 160000
#define ma_zone_abbreviation(name, type, offset, zone) \
	do { \
		DateTimeErrorExtra extra_; \
		if (DecodeTimezoneAbbrev(0, name, type, offset, zone, &extra_) != 0) \
			*(type) = UNKNOWN_FIELD; \
	} while (0)
#else
#define ma_zone_abbreviation(name, type, offset, zone) \
	(*(type) = DecodeTimezoneAbbrev(0, name, offset, zone))
#endif

/* Sets of what is waited for belong to a resource owner since 17; ours to the process. */
#if PG_VERSION_NUM >= 170000
#define ma_wait_set_create(n) CreateWaitEventSet(NULL, n)
#else
#define ma_wait_set_create(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

/* The number of this transaction in this process; 17 put it into a struct. */
#if PG_VERSION_NUM >= 170000
#define MA_LOCAL_XID (MyProc->vxid.lxid)
#else
#define MA_LOCAL_XID (MyProc->lxid)
#endif

#endif							/* MA_BASE_COMPAT_H */
