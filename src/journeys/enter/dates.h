/*
 * dates.h
 *		What the files about entries by dates share; private to journeys/enter/.
 */
#ifndef MA_JOURNEYS_ENTER_DATES_H
#define MA_JOURNEYS_ENTER_DATES_H

#include "journeys/engine.h"

/* ---- dates.c ---- */

/*
 * Dates of these contacts, whose locks are held, in this journey alone: who was due by
 * what is noted up to `keep` enters, and when they are next due after `since` is noted.
 */
extern void ma_journey_dates_renew_one(int32 journey_id, const int64 *ids, int n,
									   TimestampTz since, TimestampTz keep);
/*
 * Does what reads users' tables; false when one could not be read, and nothing was done:
 * it must not keep all journeys that somebody has locked it.
 */
extern bool ma_journey_dates_guard(void (*work) (void *arg), void *arg);

/* ---- date_rest.c ---- */

/* Its dates could not be read: an error, or only no time (NULL). */
extern void ma_journey_dates_rest(const MaVersion *version, const ErrorData *error);
extern bool ma_journey_dates_rests(int32 journey_id);
/* Nobody rests any more. */
extern void ma_journey_dates_rest_end(void);

/* ---- date_plan.c ---- */

/* A batch of what ma_journey_dates_plan() has asked for; false when there is nothing to do. */
extern bool ma_journey_dates_go_on(void);

#endif							/* MA_JOURNEYS_ENTER_DATES_H */
