/*
 * feedback.h
 *		What happened to messages after they were sent: bounces and the like.
 */
#ifndef MA_DELIVERY_FEEDBACK_H
#define MA_DELIVERY_FEEDBACK_H

#include "delivery/delivery_internal.h"

/* ---- feedback.c ---- */

extern const MaPartitioned ma_delivery_event_log;

/* ---- bounce.c ---- */

typedef enum MaBounceClass
{
	MA_BOUNCE_HARD,				/* the address is none: suppressed at once */
	MA_BOUNCE_SOFT,				/* for now: so many of them suppress it */
	MA_BOUNCE_BLOCKED			/* says nothing about the address */
} MaBounceClass;

/* By "5.1.1", "550 5.1.1 no such user", "550" or "hard"; NULL: nothing is known. */
extern MaBounceClass ma_bounce_class(const char *status);
extern const char *ma_bounce_class_name(MaBounceClass class);

/* ---- bounce_limit.c: addresses that bounce again and again ---- */

extern void ma_bounce_limit_init(void);

/*
 * Suppresses the address if its soft bounces have reached the limit, or lifts that if
 * they have not after all; by what is recorded, in whatever order it came.  True if it does.
 */
extern bool ma_soft_bounces_weigh(const char *channel, Datum address_hash);
/* What bounced before this weighs nothing any more. */
extern TimestampTz ma_soft_bounces_since(TimestampTz now);

#endif							/* MA_DELIVERY_FEEDBACK_H */
