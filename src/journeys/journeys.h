/*
 * journeys.h
 *		The one public header of journeys/ (layer 4): what happens to contacts over
 *		time, step by step.
 *
 * Users define journeys in JSON.  Commits only insert signals (an entry, an event, a
 * settled message); the duty "journeys" of the scheduler is the single writer of
 * enrollments.  Upper rooms reach them by these functions.
 */
#ifndef MA_JOURNEYS_H
#define MA_JOURNEYS_H

#include "base/base.h"

/*
 * Asks for contacts to enter a journey, as enroll() does; `entry` are their jsonb
 * rows or NULL.  Inside ma_call_begin() or a worker's tick.
 */
extern void ma_journey_enroll(int32 journey_id, const int64 *contact_ids, int n,
							  const Datum *entries);

extern void ma_journeys_init(void);

#endif							/* MA_JOURNEYS_H */
