/*
 * broadcasts_internal.h
 *		What the files of broadcasts/ share.
 */
#ifndef MA_BROADCASTS_INTERNAL_H
#define MA_BROADCASTS_INTERNAL_H

#include "contacts/contacts.h"
#include "journeys/journeys.h"

/* What a definition says. */
typedef struct MaBroadcast
{
	char	   *audience;		/* rule; NULL: all whom resend_of names */
	char	   *exclude;		/* rule; NULL: nobody */
	char	   *resend_of;		/* broadcast whose message they got and did not open */
	char	   *send;			/* template; NULL: a test */
	char	   *at;				/* "2026-11-27 10:00"; NULL: at once */
	Timestamp	wall;			/* the same */
	bool		by_contact;		/* on the wall of the contact's zone, else of the database's */
	char	   *campaign;
	char	   *max_lateness;
	bool		has_priority;
	int			priority;
	MaTest	   *test;			/* NULL: none; the step of a variant is its split's */
} MaBroadcast;

#define MA_ALL_ENTERED (-1)

/* A row of marketing_internal.broadcast. */
typedef struct MaBroadcastRow
{
	int32		id;
	char	   *name;
	Datum		definition;
	char	   *state;			/* draft, sending, testing, cancelled */
	char	   *launched_by;	/* role; NULL: nobody yet */
	TimestampTz launched_at;
	TimestampTz decide_at;		/* DT_NOEND: not known yet */
	int64		entered_to;		/* contact; MA_ALL_ENTERED: nobody is to enter */
	int32		tries;			/* how often its test could not be counted */
	MaBroadcast *parsed;
} MaBroadcastRow;

/* ---- read.c ---- */

/* As far as it could be read when there are problems (MaProblem *). */
extern MaBroadcast *ma_broadcast_parse(Datum definition, List **problems);
/* The definition (jsonb) of the journey of the first sends, or of the winner's. */
extern Datum ma_broadcast_journey(const MaBroadcast *broadcast);
extern Datum ma_broadcast_winner_journey(const MaBroadcast *broadcast, const MaVariant *winner);

/* ---- define.c ---- */

/* Who changes the same broadcast at once takes turns; before anything is read. */
extern void ma_broadcast_lock(const char *name);
/* False if somebody else has it; for who must not wait. */
extern bool ma_broadcast_lock_if_free(const char *name);
/* NULL, or an error MA051, if there is none; parsed. */
extern MaBroadcastRow *ma_broadcast_find(const char *name);
extern MaBroadcastRow *ma_broadcast_required(const char *name);
extern char *ma_broadcast_name_argument(FunctionCallInfo fcinfo);

/* ---- uses.c ---- */

extern void ma_broadcast_uses_init(void);

/* ---- audience.c ---- */

/*
 * Hands over all of the audience as it is now, in portions; the rules are read with the
 * rights of `definer`.
 */
extern void ma_audience_each(const MaBroadcast *broadcast, Oid definer, MaContactTaker take,
							 void *arg);

/* The same of one contact, by the rules alone. */
extern void ma_audience_of(const MaBroadcast *broadcast, Oid definer, int64 contact_id,
						   MaContactTaker take, void *arg);

/* ---- why.c ---- */

extern void ma_broadcast_why_init(void);

/* ---- launch.c ---- */

/* The instant at which a contact of this zone is to get it; `now` if none is said. */
extern TimestampTz ma_broadcast_instant(const MaBroadcast *broadcast, const char *zone,
										TimestampTz now);
extern void ma_broadcast_state_set(int32 id, const char *state);
/* Whoever has yet to enter does not; how many they are. */
extern int64 ma_broadcast_stop(int32 id);

/* ---- enter.c ---- */

/* Lets the next batch of the audience into the journey. */
extern void ma_broadcast_enter(const MaBroadcastRow *row);
extern void ma_broadcast_entered_set(int32 id, int64 entered_to);

/* ---- test.c ---- */

/* Looks whether the test is over; true if it has been decided now. */
extern bool ma_broadcast_look_at(MaBroadcastRow *row);

/* ---- duty.c ---- */

extern void ma_broadcast_duty_init(void);
/* After an error: it is looked at again in a minute. */
extern void ma_broadcast_put_off(int32 id, bool tried);

#endif							/* MA_BROADCASTS_INTERNAL_H */
