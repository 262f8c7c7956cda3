/*
 * define.h
 *		What define.c and activate.c share; private to journeys/define.
 */
#ifndef MA_JOURNEYS_DEFINE_H
#define MA_JOURNEYS_DEFINE_H

#include "journeys/catalog.h"

/* ---- define.c ---- */

/* An argument of type text; an error if it is null. */
extern char *ma_journey_text_argument(FunctionCallInfo fcinfo, int argument, const char *name);
/* The program of a definition in which nothing is wrong; `active`: nor beside the others. */
extern MaProgram *ma_program_checked(const char *name, Datum definition, Oid definer, bool active);

/* Stores what differs from the newest version; returns the answer. */
extern char *ma_journey_define(const char *name, Datum definition);

/* ---- activate.c ---- */

/* What follows rows of events for a journey, in all its versions, follows no more. */
extern void ma_journey_unwatch(const MaJourney *journey);
extern void ma_journey_scores_init(void);

/* ---- uses.c ---- */

extern void ma_journey_uses_init(void);

/* ---- step_map.c: what becomes of those inside earlier versions ---- */

typedef struct MaMove
{
	int32		version;		/* the one they move to */
	const MaProgram *program;
	bool		moves;			/* else they stay */
	Datum		map;			/* jsonb, {"step": "step of the new version" or null}; 0: none */
} MaMove;

/* Says how many do what, or why they cannot; how many there are. */
extern int64 ma_moves_count(const MaJourney *journey, const MaMove *move);
/* Tells the scheduler. */
extern void ma_moves_ask(const MaJourney *journey, const MaMove *move);

#endif							/* MA_JOURNEYS_DEFINE_H */
