/*
 * drain.h
 *		What the drains of the dirty and the capture log share; private to
 *		contacts/.
 */
#ifndef MA_CONTACTS_DRAIN_H
#define MA_CONTACTS_DRAIN_H

#include "contacts/evaluate.h"

#define MA_GIVE_UP_REKEY 5		/* tries of a re-keying before others no longer wait for it */

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

/*
 * Does `work` in a subtransaction; NULL, or the error that undid it (a cancel or
 * shutdown is thrown on).
 */
extern ErrorData *ma_drain_protect(void (*work) (void *arg), void *arg);

/*
 * Evaluates in a subtransaction; NULL, or the error that undid it (a cancel or
 * shutdown is thrown on).
 */
extern ErrorData *ma_drain_try(MaEvaluation *evaluation);

/* How many marks a batch may have here. */
extern int	ma_drain_batch_size(void);

/* Puts a duty's locks and their timeout on for `tick`, and off again. */
extern bool ma_drain_turn(bool (*turn) (void));

/* ---- the duties ---- */

extern void ma_drain_init(void);
extern void ma_drain_rows_init(void);

#endif							/* MA_CONTACTS_DRAIN_H */
