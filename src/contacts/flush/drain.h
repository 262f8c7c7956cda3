/*
 * drain.h
 *		What the drains of the dirty and the capture log share; private to
 *		contacts/.
 */
#ifndef MA_CONTACTS_DRAIN_H
#define MA_CONTACTS_DRAIN_H

#include "contacts/flush/evaluate.h"

#define MA_REST_MS 200			/* of what is busy just now */

/* Deadlines, well below that of the tick (scheduler.c) also when they add up. */
#define MA_DRAIN_BATCH_MS 5000	/* of a batch */
#define MA_DRAIN_ALONE_MS 15000 /* of one change alone, after the batch failed */

/* A mark read from a log, and the rows (places in the batch) it came from. */
typedef struct MaDrainMark
{
	MaMark		mark;			/* first: &drain->mark is handed on */
	List	   *places;			/* int */
} MaDrainMark;

/* The marks of one batch, those with equal tags together. */
typedef struct MaDrainBatch
{
	List	   *marks;			/* MaDrainMark * */
} MaDrainBatch;

/* Finds or adds the mark of a tag; `place` is the row it came from. */
extern MaMark *ma_drain_mark(MaDrainBatch *batch, MaMarkKind kind, int32 id,
							 int64 contact_id, char *text, int place);

/* An evaluation as the worker does it: patient, in batches. */
extern void ma_drain_start(MaEvaluation *evaluation, MaDrainBatch *batch);

/* Evaluates in such a subtransaction. */
extern ErrorData *ma_drain_try(MaEvaluation *evaluation);

/*
 * Rows of the dirty log, by their places in `rows`, of which column 1 is the ctid
 * and which are locked, so that their place is theirs.
 */
extern void ma_drain_delete(const MaRows *rows, const List *places);
/* Lets rows that are not to be had rest a moment, so that they do not fill the next batch. */
extern void ma_drain_rest(const MaRows *rows, const List *places, int ms);
/* Lets rows that failed rest longer each time, with the reason. */
extern void ma_drain_park(const MaRows *rows, const List *places, const ErrorData *error);

/* ---- drain_read.c ---- */

/*
 * Locks and reads the next marks: ctid, contact_id, source_id, event_source_id,
 * external_id, events, dirty_id, and whether they are tried for the first time.
 */
extern MaRows ma_dirty_read(int size);

/* ---- drain_rekeys.c ---- */

/* Does waiting re-keyings; true if any was done. */
extern bool ma_drain_rekeys(void);

/* ---- lookups.c ---- */

/* Leaves to the log whom changed rows of lookup tables concern; true if any row was done. */
extern bool ma_drain_lookups(void);

/* ---- the duties ---- */

extern void ma_drain_init(void);
extern void ma_drain_rows_init(void);

#endif							/* MA_CONTACTS_DRAIN_H */
