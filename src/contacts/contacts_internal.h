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

/* ---- heal.c ---- */

/* Stores the names tables and their owners have now; inside ma_call_begin(). */
extern void ma_tables_heal(void);
extern void ma_heal_init(void);

/* ---- locks.c ---- */

/* Releases all locks of this transaction early: a prepared one must hold none. */
extern void ma_locks_release_all(void);
/* Forgets them at the end of the transaction, which has released them. */
extern void ma_locks_forget_taken(void);

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
 * returns the number.  That of a lost table of this name is taken over only by who
 * may dispose of it.  The table is locked against writers from here to the end
 * of the transaction, so this comes after every check.  on_replica = true lets
 * the triggers fire on replicas too and stays so until the table is detached.
 * *unseen: the row trigger did not fire until now, so the rows are to be read anew.
 * The definitions are read anew after it: do not keep pointers into them.
 */
extern int32 ma_table_attach(MaCall *call, Oid relid, bool on_replica, bool *unseen);

/*
 * Locks table and partitions against writers to the end of the transaction; waits for
 * lock_timeout, else two seconds.
 */
extern void ma_table_lock_writers(Oid relid);

/*
 * True if all triggers of the table (already locked) are there and fire, so that
 * an unchanged definition needs no ma_table_attach() and so no strong lock.
 */
extern bool ma_table_is_captured(Oid relid, int32 table_id, bool on_replica);

/*
 * Errors out unless the role may dispose of what was defined on a table that is not
 * found any more: the role that owned it, and the owner of the extension (detach.c).
 */
extern void ma_require_right_on_lost(const MaTable *table, Oid role);

/*
 * Once no source and no event refers to the table: drops the triggers (as the
 * caller of `call`) and the number, and returns true.
 */
extern bool ma_table_detach_if_unused(MaCall *call, int32 table_id);

/* The contact and all who were merged into him; `read` is of contact_merge_contact_idx. */
extern int64 *ma_contact_and_merged(MaIndexRead *read, int64 contact_id, int *n);

/*
 * Leaves to the worker whom contacts without keys were merged into: events of theirs,
 * such as the end of a message, are his.
 */
extern void ma_merged_leave(const MaContactChange *contacts, int n);

/*
 * ---- Contacts and their rows: the parts of which attach, adopt, the flush and the
 * ---- drain put a change of a contact's row together.
 *
 * 1. ma_source_read() reads the rows of keys, ma_keys_look_up() their contacts.
 * 2. Row there and counting, key unknown: ma_match_lock() if the source has
 *    match, ma_contacts_match(), lock the contacts found, ma_contacts_make().
 *    Row gone: ma_keys_delete().  Row there, excluded differs: ma_keys_exclude().
 *    A row that is excluded and has no key is none of our business.
 * 3. ma_contacts_recompute() for contacts that were there before (linked ones,
 *    and where a row changed, went or came back).
 *
 * All run inside the frame of an API function or of the flush (SPI connected, as
 * our owner, settings pinned), read under the latest snapshot, and allocate what
 * they return in the current context.
 */

/* A key of a source: its row as far as contacts go, and its contact. */
typedef struct MaSourceRow
{
	char	   *external_id;	/* as the key's type prints it */

	/* ma_source_read() */
	bool		present;
	bool		excluded;		/* there, but exclude => holds */
	char	   *email;			/* normalised; NULL: none, or not valid */
	char	   *phone;
	bool		invalid_email;	/* there was one, not valid */
	bool		invalid_phone;
	char	   *time_zone;		/* as the server spells it; NULL: none, or not known */
	char	   *locale;
	Datum		mapped;			/* jsonb: values of the mapped columns; 0: all null */

	/* ma_keys_look_up(), ma_contacts_match(), ma_contacts_make() */
	int64		contact_id;		/* 0: none (yet) */
	bool		known;			/* has a key */
	bool		key_excluded;	/* and it is marked as excluded */
	int			follows;		/* same address as this earlier row of the call; -1: none */
	bool		created;		/* the contact was made for this row */
	bool		linked;			/* the row was linked to it by match */
} MaSourceRow;

/* ---- key_type.c: types of ids, and their values ---- */

#define MA_KEY_TYPES "Ids are of an ordered base type or an enum, such as bigint, uuid or text, or of a domain over one; not of a composite type, a range or an array, nor of timestamptz or money, which print by settings."

/* True for a base type without elements that prints alike in all sessions, or an enum. */
extern bool ma_key_type_fits(Oid type);

/* Errors out (MA004) unless the column's type without its domains is one of these. */
extern void ma_key_column_check(Oid relid, const char *column);

/* ma_key_value() of contacts.h back again: as the type prints it. */
extern char *ma_key_value_text(Oid relid, Oid type, Datum value);

/* Base type of the table's column; InvalidOid if either is gone. */
extern Oid	ma_column_type(const MaTable *table, const char *column);

/* FROM of the source's rows (alias t); *contact is the SQL of the contact column. */
extern char *ma_event_from(const MaEventSource *source, char **contact);

/* ---- lookups.c ---- */

extern void ma_lookups_load(MaDefinitions *definitions);
extern bool ma_source_looks_up(const MaEventSource *source, const MaTable *table);

/*
 * False for the text of a key that a value of this type, narrower than where the
 * key comes from, cannot be: no row has it.
 */
extern bool ma_key_holds(Oid type, const char *text);

/*
 * True if a valid unique index without condition is on this column alone;
 * `immediate`: one that is checked with each row, not DEFERRABLE.
 */
extern bool ma_column_is_unique(Oid relid, AttrNumber column, bool immediate);

/* True if texts of both types, without domains, mean the same: int and bigint, text and varchar. */
extern bool ma_key_types_alike(Oid left, Oid right);

/* True if equal values of the column print alike, so that their texts can be compared. */
extern bool ma_key_prints_alike(Oid relid, const char *column);

/* Length or scale of the column: numeric(10,2) prints 42 as 42.00. */
extern int32 ma_key_typmod(Oid relid, const char *column);

/* ---- source_rows.c: rows of an attached table by their keys ---- */

/* Sets external_id and clears the rest. */
extern void ma_source_row_init(MaSourceRow *row, char *external_id);

/* The key in its type; an error of the type's input function if it is none. */
extern Datum ma_source_key(const MaSource *source, const char *text);

/* The key as its type prints it, so that '042' and 42 are one. */
extern char *ma_source_key_text(const MaSource *source, const char *text);

/*
 * Reads the rows of n keys.  Of a table that is not found no row is present, nor
 * of a key that the type cannot hold.
 */
extern void ma_source_read(MaSource *source, MaSourceRow *rows, int n);

/*
 * Reads up to `limit` rows with a key beyond `from` (NULL: from the first) in the
 * order of the keys; *n says how many.
 */
extern MaSourceRow *ma_source_read_from(MaSource *source, const char *from, int limit, int *n);

/* The time zone's name as the server spells it; NULL if it knows none of this name. */
extern char *ma_known_time_zone(const char *name);

/* How many rows the table has, but no more than limit. */
extern int64 ma_source_count(MaSource *source, int64 limit);

/* ---- keys.c: contacts, their keys, and links by match ---- */

/* Sets contact_id, known and key_excluded of rows whose key is known. */
extern void ma_keys_look_up(int32 source_id, MaSourceRow *rows, int n);

/*
 * Locks an address against a second contact for it; NULL: all addresses of the
 * kind ("email", "phone").  Addresses share 64 locks a kind, so that a build can
 * take them all.  Waits (in the flush no longer than LockTimeout).  Taken before
 * any contact's lock; of several addresses in ascending order, which
 * ma_match_lock_rows() sees to.
 */
extern void ma_match_lock(const char *kind, const char *address);
extern void ma_match_lock_rows(const MaSource *source, const MaSourceRow *rows, int n);

/*
 * For rows without a contact, if the source has match: sets contact_id to the
 * lowest contact with the same address that has a counting key, or follows.
 */
extern void ma_contacts_match(const MaSource *source, MaSourceRow *rows, int n);

/*
 * Inserts what rows that are not known lack: contact and key, or for matched and
 * following ones the key and the log of the link.  Sets contact_id and created or
 * linked.  A key that another transaction made meanwhile is left as it is (neither
 * created nor linked): the caller locks and recomputes that contact.
 */
extern void ma_contacts_make(const MaSource *source, MaSourceRow *rows, int n);

/* Whether rows exist but do not count, set for keys that are known. */
extern void ma_keys_exclude(int32 source_id, const MaSourceRow *rows, int n);

/* Forgets the keys of rows that are gone. */
extern void ma_keys_delete(int32 source_id, const MaSourceRow *rows, int n);

/* Gives a key another external_id; false if the old one is not known or the new one is. */
extern bool ma_key_rename(int32 source_id, const char *old_id, const char *new_id);

/* Contact of a key, or 0. */
extern int64 ma_contact_by_key(int32 source_id, const char *external_id);

/*
 * As ma_contact_by_key(), of the key a row has now: this transaction may have
 * given it to somebody, or another one whose renaming waits for the worker.
 */
extern int64 ma_contact_of_key(int32 source_id, const char *key);

/* Locks the rows of contacts, to the end of the transaction, against a merge of them. */
extern void ma_contacts_lock_rows(const int64 *contact_ids, int n);

/* Runs a statement whose arrays have n elements: many are planned for anew. */
extern MaRows ma_run_sized(MaStatement *statement, int n, Datum *values, MaRun how);

/* As ma_contacts_leave(), the keys of these rows: row, key and contact are looked at again. */
extern void ma_keys_leave(int32 source_id, const MaSourceRow *rows, int n);

/* ---- sources.c: builds; ma_source_build() and ma_source_adopt() are in contacts.h ---- */

/* All batches in this transaction; the table is locked against writers. */
extern void ma_source_build_all(MaSource *source, MaBuildCounts *counts);

/* Forgets keys whose rows are no longer there, when changes went unseen. */
extern void ma_source_sweep(MaSource *source);

/* Registers the duty that builds large tables; called by ma_contacts_init(). */
extern void ma_build_init(void);

/* ---- mapped.c ---- */

/* MaMappedColumn * of what attach_contacts() was given (jsonb, checked by it). */
extern List *ma_mapped_columns(Datum consent);
/* SQL over alias t of all mapped columns as one jsonb, null if all are null. */
extern char *ma_mapped_sql(const MaSource *source);
/* Has the names checked by who registered; inside ma_call_begin(). */
extern void ma_mapped_check(Datum consent);
/*
 * Compares the values of rows that count and have their contact with those last
 * seen, remembers them, and tells of those that changed.
 */
extern void ma_mapped_follow(const MaSource *source, const MaSourceRow *rows, int n,
							 bool evaluating);
/* What is to be said of the source's contacts; NULL: nothing. */
extern char *ma_mapped_summary(const MaSource *source);

/* ---- contact.c: contacts and keys as people write them ---- */

/* ma_contact_text() in this context; an error if the contact has lost its ids meanwhile. */
extern char *ma_contact_answer(int64 contact_id, MemoryContext context);

/* Source and external_id that a text or argument 0 names; the key may be unknown. */
extern MaSource *ma_key_of_text(const char *text, bool create, char **external_id);
extern MaSource *ma_key_argument(FunctionCallInfo fcinfo, char **external_id);

/* A key in the form every function takes. */
extern char *ma_key_text(const MaSource *source, const char *external_id);

/* ---- consumers.c ---- */

/* Tells what was registered by ma_register_attach_listener(). */
extern void ma_tell_attached(void);

/* ---- pruned.c ---- */

/* All rows of the partition have a time in this column, and it is before this instant. */
extern bool ma_partition_bound(Oid relid, char **column, TimestampTz *before);
/* True if rows of the table whose `column` is before the instant may still be read. */
extern bool ma_pruned_is_read(int32 table_id, const char *column, TimestampTz before);
extern TimestampTz ma_event_read_from(int32 event_id);

/* ---- flush/consumers.c ---- */

/* True if one that depends on the event may want the rows that are added. */
extern bool ma_consumers_add(const MaEvent *event);

#endif							/* MA_CONTACTS_INTERNAL_H */
