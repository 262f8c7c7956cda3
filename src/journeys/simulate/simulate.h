/*
 * simulate.h
 *		What the files of a simulation share; private to journeys/simulate/, but for
 *		struct MaSimulation, which the engine hands on.
 */
#ifndef MA_JOURNEYS_SIMULATE_H
#define MA_JOURNEYS_SIMULATE_H

#include "delivery/delivery.h"
#include "journeys/engine.h"

/* Something that happened in truth, which runs of the journey may enter, exit or wake by. */
typedef struct MaFactSeen
{
	int64		contact_id;
	TimestampTz at;
	int32		event_id;		/* 0: an entry by hand */
	Datum		row;			/* jsonb; 0: none */
	char	   *key;			/* of an entry by a date: the day; else NULL */
	bool		enters;			/* it may be an entry */
	bool		by_time;		/* time has made it one, not a row */
	bool		followed;		/* it may be an exit or wake a wait */
	int			place;			/* among those of one instant */
} MaFactSeen;

/* A message that was asked for and is not settled yet. */
typedef struct MaPendingMessage
{
	int64		message_id;
	MaJourneyRun *run;
	const char *step;
	MaForeseen	foreseen;
	TimestampTz next_try;
	bool		nowait;			/* the run has gone on: what became of it is told here */
} MaPendingMessage;

/* A simulation, and the contact in work. */
typedef struct MaSimulation
{
	MaVersion  *version;
	MaJourneys	journeys;		/* of this version alone */
	TimestampTz since;
	TimestampTz until;
	ReturnSetInfo *result;
	struct MaLimits *limits;	/* of how many enter; NULL: there is none */
	bool		silent;			/* who enters is still being found out */
	bool		by_hand;		/* who is named enters at `since` */

	/* of the contact in work */
	bool		changed;		/* something is supposed of him that rules may read */
	int64		last_run;
	int64		last_message;
	List	   *pending;		/* MaPendingMessage * */
} MaSimulation;

/* ---- facts.c ---- */

/*
 * Facts (MaFactSeen *) of these contacts from the beginning of the simulation up to its
 * end, by contact and time; contacts without an entry among them are left out.
 */
extern List *ma_facts_read(const MaSimulation *simulation, MaContactChange *contacts, int n);

/* ---- walk.c ---- */

/* Goes through the time of one contact; his facts are in order. */
extern void ma_simulate_contact(MaSimulation *simulation, MaContactChange *contact,
								const char *zone, MaFactSeen **facts, int n);

/* ---- limits.c: max_entries and surge_limit ---- */

extern void ma_limits_begin(MaSimulation *simulation);
/* After all contacts: true if they are to be gone through once more. */
extern bool ma_limits_again(MaSimulation *simulation);
/* True if it must be known which entries time has made. */
extern bool ma_limits_by_time(const MaSimulation *simulation);

/* ---- cron.c ---- */

/* The first minute after `after` at which pg_cron would call; false: the expression is none. */
extern bool ma_cron_next(const char *expression, TimestampTz after, TimestampTz *next);

/* ---- effects.c ---- */

/* Entries and ends in a turn's log, as rows of our events. */
extern void ma_simulate_rows_of_log(MaSimulation *simulation, const List *log);
/* A row of an event of ours, which later rules see. */
extern Datum ma_simulate_row(MaSimulation *simulation, const char *event,
							 const char *const *names, const char *const *values, int n,
							 TimestampTz at);

#endif							/* MA_JOURNEYS_SIMULATE_H */
