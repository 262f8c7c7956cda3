/*
 * changes.h
 *		The change set of a transaction as capture, flush, spill and drain share
 *		it; private to contacts/.
 */
#ifndef MA_CONTACTS_CHANGES_H
#define MA_CONTACTS_CHANGES_H

#include "contacts/contacts_internal.h"
#include "storage/itemptr.h"
#include "utils/hsearch.h"

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
	MaAddedRow *added;			/* rows that are all that came or went ... */
	int			nadded;
	bool		added_lost;		/* ... unless there was something else */
	/* the drain: where the mark came from, and what became of it */
	ItemPointerData ctid;
	char	   *previous;		/* re-keyed from */
	bool		done;
	bool		touched;		/* marked again since the evaluation began */
	int64		contact_id;		/* resolved; 0: no contact */
} MaMark;

/* What one side of an image is, read by rows.c. */
typedef struct MaFact
{
	bool		is_event;		/* condition holds, there is a time and a watched name */
	int32		event_id;
	char	   *contact;		/* contact key, or link key, as text; may be NULL */
	TimestampTz at;
	Datum		properties;		/* jsonb: the row with its types */
} MaFact;

/* OLD and NEW of one row of a row-grade event, as jsonb objects of texts. */
typedef struct MaImage
{
	int32		event_source_id;	/* 0: tracked event */
	int32		event_id;		/* tracked event */
	int64		contact_id;		/* tracked event */
	TransactionId xid;			/* (sub)transaction that changed the row */
	char	   *row_key;
	int32		key_source_id;	/* contact source of contact_column; 0: it is a link */
	char	   *contact_column;
	char	   *old_contact;	/* what the column held */
	char	   *new_contact;
	Datum		old_row;		/* jsonb, 0 if there is none */
	Datum		new_row;
	TimestampTz occurred_at;	/* tracked event */
	bool		enroll;
	int64		capture_row_id; /* in the capture log; 0: it has no number yet */
	struct MaImage *whole;		/* all changes of the row in one, which says: */
	bool		left;			/* they are left to the worker */
	bool		read;			/* the facts are set */
	MaFact		old_fact;
	MaFact		new_fact;
} MaImage;

/* A row of a contact source got another key. */
typedef struct MaRekey
{
	int32		source_id;
	char	   *old_key;
	char	   *new_key;
	TransactionId xid;
	CommandId	command;
	bool		done;
} MaRekey;

/* A partition was dropped or detached: its rows' `column` is before this instant. */
typedef struct MaPruned
{
	Oid			relid;			/* the partitioned table */
	int32		table_id;		/* set at the commit */
	char	   *column;
	TimestampTz before;
} MaPruned;

typedef struct MaChanges
{
	MemoryContext context;
	HTAB	   *marks;			/* MaMark by tag */
	List	   *images;			/* MaImage *, in the order of the changes */
	List	   *rekeys;			/* MaRekey * */
	List	   *tables;			/* int: table_id of truncated tables */
	List	   *relations;		/* Oid: tables of which partitions with rows were dropped */
	List	   *lookups;		/* MaLookupMarks *: changed rows of lookup tables */
	List	   *pruned;			/* MaPruned *: those of which old rows only are gone */
	bool		images_spilled; /* some are in the capture log already */
	Size		added_bytes;	/* of all added rows that are kept */
	bool		evaluated;		/* something of it was evaluated before the commit */
} MaChanges;

/* The change set if this transaction has one, else NULL. */
extern MaChanges *ma_changes_current(void);

/* The change set, made if there is none. */
extern MaChanges *ma_changes_make(void);

/* Marks made by capture; text is copied. */
extern void ma_mark(MaMarkKind kind, int32 id, const char *text, bool identity,
					int32 event_id, uint8 sign);
/* A row of an event was added under a key; it is copied. */
extern void ma_mark_added(int32 source_id, const char *text, MaAddedRow row);
/* From now on nobody may add rows to a state that may have them already. */
extern void ma_changes_note_evaluation(void);
extern void ma_mark_rekey(int32 source_id, const char *old_key, const char *new_key,
						  CommandId command);
extern void ma_mark_table(int32 table_id);
extern void ma_mark_relation(Oid relid);
extern void ma_mark_pruned(Oid relid, const char *column, TimestampTz before);
extern void ma_mark_image(const MaImage *image);
/* lookups.c: the row with this key of a lookup table has changed. */
extern void ma_mark_lookup(int32 event_source_id, int32 table_id, const char *key);

/* Adds an event to a mark, or a sign to an event it has. */
extern void ma_mark_add_event(MaMark *mark, int32 event_id, uint8 sign);

/*
 * The live re-keyings as one simultaneous mapping from the keys before the
 * transaction to those now, in the current context.
 */
extern List *ma_rekeys_compose(List *rekeys);

/*
 * The steps (MaRekey *) that do the re-keyings not done yet of a simultaneous
 * mapping one after the other: the end of each chain first, and in a ring one
 * key goes aside until the others have moved.
 */
extern List *ma_rekeys_order(List *rekeys);

/* True for a key that was moved aside; no row has one. */
extern bool ma_rekey_is_aside(const char *key);

/*
 * Rows that moved along when their contact got another key: their earlier images
 * get the key of now, so that moving is no change of contact.
 */
extern void ma_rekey_images(List *images, List *rekeys);

/* Forgets the change set; at the end of the transaction, without freeing. */
extern void ma_changes_forget(void);

/* True when the (sub)transaction that captured it has not been rolled back. */
extern bool ma_changes_live(TransactionId xid);

/* ---- capture_plan.c ---- */


/* ---- spill.c: what is left to the worker ---- */

extern void ma_spill_marks(MaMark **marks, int n);
extern void ma_spill_rekeys(List *rekeys);
extern void ma_spill_images(List *images);
/* Gives images that have none their numbers in the capture log. */
extern void ma_number_images(List *images);
extern void ma_spill_tables(List *tables);
extern void ma_spill_lookups(List *lookups);
/* Runs one INSERT as our owner, also in a transaction that was set READ ONLY. */
extern void ma_spill_insert(MaStatement *statement, Datum *values, const char *nulls);
/* MaPruned: of which partitions with old rows are gone. */
extern void ma_spill_pruned(List *pruned);

#endif							/* MA_CONTACTS_CHANGES_H */
