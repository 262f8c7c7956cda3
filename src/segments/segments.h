/*
 * segments.h
 *		The one public header of segments/ (layer 3): segments and lists.
 *
 * Upper rooms meet them by name: in rules (`in segment x`, `in list x`), by the events
 * segment_entered and segment_left, and by the functions of schema marketing.
 */
#ifndef MA_SEGMENTS_H
#define MA_SEGMENTS_H

#include "rules/rules.h"

/* Contacts that are in the segment as stored, for head-counts; an error MA021 if there is none. */
extern int64 ma_segment_stored_size(const char *name);

/*
 * Contacts in the segment, exact at marketing.now() (ids ascending); an error MA021 if
 * there is none of this name.  Inside ma_call_begin().
 */
extern int64 *ma_segment_contacts(const char *name, int *n);

/*
 * Puts contacts on a list or takes them off; error MA021 if there is none of this name.
 * The caller holds their locks or runs in a call; returns how many it changed.
 */
extern int	ma_list_add(const char *name, const int64 *contact_ids, int n);
extern int	ma_list_remove(const char *name, const int64 *contact_ids, int n);
/* Errors out with the nearest names unless there is a list of this name. */
extern void ma_list_required(const char *name);
/* Likewise a segment. */
extern void ma_segment_required(const char *name);
/* The zone of its contacts who have none; NULL if there is no such segment. */
extern char *ma_segment_time_zone(const char *name);
/* True if its rule reads the list, also through segments it names; false if it is not there. */
extern bool ma_segment_reads_list(const char *segment, const char *list);
/*
 * True if rows of the event that only come may both bring somebody into the segment and
 * take him out of it; false if they do at most one of the two.
 */
extern bool ma_segment_swings_by(const char *segment, const char *event);

/*
 * Does `work` in a subtransaction; NULL, or the error that undid it.  Whatever does
 * not come of rules and what they read (a cancel, a lock, memory) is thrown on.
 */
extern ErrorData *ma_segment_guard(void (*work) (void *arg), void *arg);

extern void ma_segments_init(void);

#endif							/* MA_SEGMENTS_H */
