/*
 * evaluate.h
 *		One evaluation of marks: what the flush at commit and the worker's drain
 *		have in common; private to contacts/.
 */
#ifndef MA_CONTACTS_EVALUATE_H
#define MA_CONTACTS_EVALUATE_H

#include "contacts/capture/changes.h"
#include "portability/instr_time.h"

/*
 * Marks of one evaluation at most, since works are searched one by one: a commit has
 * sync_max_contacts at most, the worker's batches are smaller.
 */
#define MA_MAX_MARKS 1000

/* What becomes of the source row behind a mark. */
typedef enum MaAction
{
	MA_ACTION_NONE,				/* nothing of the contact changes */
	MA_ACTION_REFRESH,			/* fields may have changed */
	MA_ACTION_CREATE,			/* a contact is to be made */
	MA_ACTION_LINK,				/* ... or linked by its address */
	MA_ACTION_DELETE,			/* the row is gone */
	MA_ACTION_EXCLUDE,			/* the row does not count any more */
	MA_ACTION_INCLUDE			/* it counts again */
} MaAction;

/* A mark being worked on. */
typedef struct MaWork
{
	MaMark	   *mark;
	int32		source_id;		/* key it stands for; 0: a contact mark */
	char	   *external_id;	/* NULL: no key (a link whose row is gone) */
	int64		contact_id;		/* 0: not known */
	bool		excluded;
	MaAction	action;
	MaSourceRow *row;			/* the source's row, for identity marks of a source */
	struct MaWork *same;		/* a link to a key that this work looks at already */
	ItemPointerData key_at;		/* where the row of the key stood */
	bool		settled;		/* its contact need not be evaluated */
	bool		left;			/* for the worker */
	bool		image_left;		/* an image of a row of a key not known is */
} MaWork;

/* A key of a contact, whether it counts or not. */
typedef struct MaOwnedKey
{
	int64		contact_id;
	MaKey		key;
	bool		excluded;
} MaOwnedKey;

/* One evaluation. */
typedef struct MaEvaluation
{
	/* given */
	MaDefinitions *definitions;
	MaMark	  **marks;
	int			nmarks;
	List	   *rekeys;			/* MaRekey *, live ones in order */
	List	   *images;			/* MaImage *, live ones in order */
	bool		worker;			/* batches, patient locks, no budget */
	bool		adds;			/* states stand as before the rows that the marks keep */
	int			wait_ms;		/* time for locks and evaluation in all */
	int			max_locks;
	MaCall	   *call;			/* begun when the first statement is needed; NULL: begun already */

	/* in work */
	bool		called;
	MaIndexRead *keys_read;		/* left open by ma_resolve_keys() where keys are asked again */
	bool		rows_only;		/* nothing but rows of events by key is marked */
	instr_time	start;
	TimestampTz now;
	MaWork	   *works;
	int			nworks;
	MaContactChange *contacts;
	int			ncontacts;
	MaOwnedKey *keys;			/* of the contacts, by contact, source and text */
	int			nkeys;
	List	   *failed_images;	/* left for the worker */

	/* result; mark->done tells which marks are evaluated */
	int64		evaluated;
	int64		left_lock;		/* contacts left, by reason */
	int64		left_budget;
	int64		left_limit;
} MaEvaluation;

/*
 * Runs as our owner under pinned settings with SPI connected; errors are the caller's.
 * With `call` it begins that itself, and only where it is needed: then `called` is set.
 */
extern void ma_evaluate(MaEvaluation *evaluation);

/* True once the time given is used up. */
extern bool ma_evaluation_late(const MaEvaluation *evaluation);

/* ---- resolve.c: marks to contacts ---- */

/* Keys and contacts of all works that are not left, under the latest snapshot. */
extern void ma_resolve_links(MaEvaluation *evaluation);
extern void ma_resolve_keys(MaEvaluation *evaluation);
/* The same once the contacts are locked and their keys loaded; asks for the others only. */
extern void ma_resolve_again(MaEvaluation *evaluation);
/* True if the row of the work's key is still the one that was found, and counts. */
extern bool ma_key_stands(MaEvaluation *evaluation, MaWork *work);
/* Sets `same` of links whose row is to be looked at: each key is looked at once. */
extern void ma_unite_links(MaEvaluation *evaluation);

/* The contact in evaluation->contacts, or NULL. */
extern MaContactChange *ma_find_contact(MaEvaluation *evaluation, int64 contact_id);

/* All keys of the contacts of the evaluation; the contacts get those that count. */
extern void ma_load_keys(MaEvaluation *evaluation);

/* ---- refresh.c: contacts of changed source rows ---- */

/* Decides from the rows what to do with each identity mark of a source. */
extern void ma_refresh_decide(MaEvaluation *evaluation);
/* Reads the rows again under the locks; what is to be done otherwise now is left. */
extern void ma_refresh_check(MaEvaluation *evaluation);
/* Does it, under the locks; returns true if any key changed. */
extern bool ma_refresh_apply(MaEvaluation *evaluation);

/* ---- rename.c: keys of re-keyed rows ---- */

/* True if a re-keying in the log names one of the keys. */
extern bool ma_rekeys_wait(const List *rekeys);
/* Leaves works under keys that a re-keying in the log names. */
extern void ma_leave_renamed(MaEvaluation *evaluation);
/* Does one step, under its locks. */
extern void ma_rekey_apply(const MaRekey *rekey);

/* ---- rows.c: row images to happenings ---- */

/* Reads what the rows of the images are: condition, time, contact, name. */
extern void ma_images_read(MaDefinitions *definitions, List *images);

/* Tells consumers of rows what happened; after the contacts are evaluated. */
extern void ma_evaluate_images(MaEvaluation *evaluation);

/* ---- locking.c: contact and key locks within the budget ---- */

/* False if a relation that is to be read cannot be locked in time. */
extern bool ma_lock_relations(MaEvaluation *evaluation);
/*
 * Locks contacts and keys of the re-keyed rows; false if the re-keyings are to be
 * left: one is busy, there are too many, or they follow others that wait in the log.
 */
extern bool ma_lock_rekeyed(MaEvaluation *evaluation);
/* Locks the links of all works, before they are resolved. */
extern void ma_lock_links(MaEvaluation *evaluation);
/* The locks of one step of renaming; false if one is busy. */
extern bool ma_lock_rekey(MaEvaluation *evaluation, const MaRekey *rekey);
extern void ma_lock_contacts(MaEvaluation *evaluation);
/* qsort() order of MaContactChange. */
extern int	ma_contact_change_compare(const void *left, const void *right);
extern void ma_lock_unknown_keys(MaEvaluation *evaluation);

/* Contact locks this transaction holds; to be given back at its end. */
extern void ma_locks_forget(void);

/* Gives each contact the identity and events of its marks; may be done again. */
extern void ma_collect_changes(MaEvaluation *evaluation);

/* ---- unmoved.c ---- */

/* True if nothing but rows of events by key is marked: nothing else is to be decided. */
extern bool ma_is_rows_only(const MaEvaluation *evaluation);
/* Takes out contacts whose events change nothing, under their locks; true if none is left. */
extern bool ma_settle_unmoved(MaEvaluation *evaluation);

/* ---- consumers.c ---- */

extern void ma_consumers_evaluate(MaContactChange *contacts, int n, TimestampTz now);
/* Only those that depend on what changed of the contact. */
extern void ma_consumers_evaluate_one(MaDefinitions *definitions, MaContactChange *contact,
									  TimestampTz now);
/* True if the events of the contact change nothing for any consumer but who may settle. */
extern bool ma_consumers_unmoved(MaDefinitions *definitions, const MaContactChange *contact,
								 TimestampTz now);
/* He who settles does; false if he has done nothing: then all are to evaluate. */
extern bool ma_consumers_settle(MaDefinitions *definitions, const MaContactChange *contact,
								TimestampTz now);
extern void ma_consumers_rows(MaRowChange *rows, int n, TimestampTz now);
/* Before this instant no row of the event is read; DT_NOBEGIN: all may be. */
extern TimestampTz ma_consumer_reads_from(const char *name, int32 event_id);
/* True if contacts without any event must be told of as well. */
extern bool ma_consumers_want_new_contacts(void);

#endif							/* MA_CONTACTS_EVALUATE_H */
