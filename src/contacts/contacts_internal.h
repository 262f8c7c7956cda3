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

/* ---- changes.c: the change set of the running transaction ---- */

typedef enum MaMarkKind
{
	MA_MARK_KEY,				/* a key of a source: id = source_id */
	MA_MARK_LINK,				/* a link to a via table: id = event_source_id */
	MA_MARK_CONTACT				/* a contact: contact_id */
} MaMarkKind;

/* What is marked; `text` is the key as its type prints it. */
typedef struct MaMarkTag
{
	MaMarkKind	kind;
	int32		id;
	int64		contact_id;
	char	   *text;
} MaMarkTag;

#define MA_MARK_EVENTS 4		/* events kept in the mark itself */

typedef struct MaMark
{
	MaMarkTag	tag;			/* hash key, must be first */
	SubTransactionId subid;		/* where it was first made */
	bool		identity;		/* the source's row (or the contact) itself */
	int			nevents;
	int			space;
	MaEventChange *events;		/* own, or more */
	MaEventChange own[MA_MARK_EVENTS];
	/* the drain: where the mark came from, and what became of it */
	ItemPointerData ctid;
	char	   *previous;		/* re-keyed from */
	bool		done;
	int64		contact_id;		/* resolved; 0: no contact */
} MaMark;

/* OLD and NEW of one row of a row-grade event, as tuples or as jsonb. */
typedef struct MaImage
{
	int32		event_source_id;	/* 0: tracked event */
	int32		event_id;		/* tracked event */
	int64		contact_id;		/* tracked event */
	TransactionId xid;			/* (sub)transaction that changed the row */
	char	   *row_key;
	Datum		old_row;		/* jsonb, 0 if there is none */
	Datum		new_row;
	TimestampTz occurred_at;	/* tracked event */
	bool		enroll;
	int64		capture_row_id; /* from the capture log */
} MaImage;

/* A row of a contact source got another key. */
typedef struct MaRekey
{
	int32		source_id;
	char	   *old_key;
	char	   *new_key;
	TransactionId xid;
	CommandId	command;
} MaRekey;

typedef struct MaChanges
{
	MemoryContext context;
	HTAB	   *marks;			/* MaMark by tag */
	List	   *images;			/* MaImage *, in the order of the changes */
	List	   *rekeys;			/* MaRekey * */
	List	   *tables;			/* int: table_id of truncated tables */
	bool		images_spilled; /* some are in the capture log already */
} MaChanges;

/* The change set if this transaction has one, else NULL. */
extern MaChanges *ma_changes_current(void);

/* Marks made by capture; text is copied. */
extern void ma_mark(MaMarkKind kind, int32 id, const char *text, bool identity,
					int32 event_id, uint8 sign);
extern void ma_mark_rekey(int32 source_id, const char *old_key, const char *new_key,
						  CommandId command);
extern void ma_mark_table(int32 table_id);
extern void ma_mark_image(const MaImage *image);

/* Adds an event to a mark, or a sign to an event it has. */
extern void ma_mark_add_event(MaMark *mark, int32 event_id, uint8 sign);

/* Forgets the change set; at the end of the transaction, without freeing. */
extern void ma_changes_forget(void);

/* True when the (sub)transaction that captured it has not been rolled back. */
extern bool ma_changes_live(TransactionId xid);

/* ---- capture_plan.c ---- */

/* Columns (char *) of the unique key that identifies a row; NIL if there is none. */
extern List *ma_row_key_columns(Oid relid);

/* ---- spill.c: what is left to the worker ---- */

extern void ma_spill_marks(MaMark **marks, int n);
extern void ma_spill_rekeys(List *rekeys);
extern void ma_spill_images(List *images);
extern void ma_spill_tables(List *tables);
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
