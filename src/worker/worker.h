/*
 * worker.h
 *		The one public header of worker/ (layer 1): background work.
 *
 * Higher layers register duties; they never wait, sleep, start processes or end
 * transactions themselves.
 */
#ifndef MA_WORKER_H
#define MA_WORKER_H

#include "base/base.h"

/*
 * A duty is a piece of work that the scheduler of each database does turn by
 * turn, and that CALL marketing.work() does in a session.
 *
 * tick() is called inside a transaction and an internal subtransaction that
 * worker/ begins and ends; it does one bounded batch (well under a second) and
 * returns true when there is more to do at once.  An error undoes the batch, is
 * counted, and the duty rests with growing pauses (1 s to 60 s); other duties go
 * on.  next_due() may say when work falls due by itself (DT_NOEND: not known).
 */
typedef struct MaDuty
{
	const char *name;			/* shown in status and pg_stat_activity */
	int			every_ms;		/* least time between two ticks; 0: each turn */
	bool		(*tick) (void);
	TimestampTz (*next_due) (void); /* may be NULL */
} MaDuty;

/* Registers a duty, in the order they are to run; from a room's init only. */
extern void ma_worker_register_duty(const MaDuty *duty);

/*
 * Wakes this database's scheduler when the transaction commits (at once if it
 * is not preloaded: nothing happens).  Cheap, may be called many times.
 */
extern void ma_worker_wake_at_commit(void);

/*
 * Pauses for about `ms` milliseconds, answering interrupts; for the short waits
 * of a lock that is not free.
 */
extern void ma_worker_pause(long ms);

/*
 * After `ms` milliseconds cancels what this process does (an error of SQLSTATE
 * 57014 as by a user).  ma_deadline_end() takes the deadline off and says whether
 * it has passed; `interrupted` when an error has ended the work.
 */
extern void ma_deadline_set(int ms);
extern bool ma_deadline_end(bool interrupted);

/* True in a scheduler or in CALL marketing.work(), whose locks may wait. */
extern bool ma_worker_is_active(void);

extern void ma_worker_init(void);

#endif							/* MA_WORKER_H */
