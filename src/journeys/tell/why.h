/*
 * why.h
 *		What the gates of journeys in why_not_sent() share; private to journeys/tell.
 */
#ifndef MA_JOURNEYS_WHY_H
#define MA_JOURNEYS_WHY_H

#include "delivery/delivery.h"
#include "journeys/engine.h"

/* What is known of the contact in the journey. */
typedef struct MaStory
{
	MaJourney  *journey;
	int64		contact_id;
	MaVersion  *version;		/* NULL: a draft */
	int64		enrollment_id;	/* the run in question; 0: none */
	int32		run_version;
	char	   *key;
	char	   *state;
	char	   *step;
	char	   *reason;
	TimestampTz entered_at;
	TimestampTz due_at;
	TimestampTz since;
	TimestampTz message_at;		/* when the step asked for the message; DT_NOBEGIN: none */
	char	   *refused;		/* last word, if there was no run since */
	TimestampTz refused_at;
	bool		signalled;		/* the scheduler has yet to take something into account */
	char	   *row;			/* newest row of the entry event as text; NULL: none */
	Datum		row_image;
	TimestampTz row_at;
	TimestampTz activated_at;
} MaStory;

/* False when the question is about no journey. */
extern bool ma_story_read(const MaWhyQuestion *question, MaStory *story);

/* ---- why_step.c: from the holdout on ---- */

extern void ma_journey_why_steps_init(void);
/* The send in whose "otherwise" the step of the question stands; NULL: none. */
extern const char *ma_why_cause(const MaWhyQuestion *question);

#endif							/* MA_JOURNEYS_WHY_H */
