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
 *
 * What takes time outside of the database (sending) is a duty of the helper: a
 * process of its own beside the scheduler, started when there is something to do.
 * after_commit() is called when a tick's transaction has committed, with no snapshot
 * and, in the helper, no transaction at all; that is where such work is done.
 */
typedef struct MaDuty
{
	const char *name;			/* shown in status and pg_stat_activity */
	int			every_ms;		/* least time between two ticks; 0: each turn */
	bool		(*tick) (void);
	TimestampTz (*next_due) (void); /* this and what follows may be NULL */
	bool		helper;			/* of the helper, not of the scheduler */
	void		(*after_commit) (void);
	bool		(*busy) (void); /* in the midst of something: a stop waits for its ticks */
	void		(*end) (void);	/* CALL marketing.work() ends, also by an error */
} MaDuty;

/* Registers a duty, in the order they are to run; from a room's init only. */
extern void ma_worker_register_duty(const MaDuty *duty);

/*
 * The process for duties of the helper: its entry point stands in a library of its
 * own, which may need what must not be loaded into every backend, and calls
 * ma_helper_run() (handed to it as it sees fit).  One kind per server; from an init.
 */
typedef struct MaHelper
{
	const char *name;			/* of the process */
	const char *library;
	const char *function;		/* void (Datum), exported by the library */
} MaHelper;

extern void ma_worker_register_helper(const MaHelper *helper);

/*
 * What the helper's wait looks at besides its latch, for work that happens on sockets
 * while no transaction is open: `file` becomes readable when there is something for
 * run(), which is called at the latest after timeout() milliseconds (-1: no limit) and
 * says whether duties should have their turn.
 */
typedef struct MaPump
{
	int			(*file) (void);
	long		(*timeout) (void);
	bool		(*run) (void);
} MaPump;

extern void ma_worker_set_pump(const MaPump *pump);

/* The main loop of the helper: does its duties until it is asked to end or idle. */
extern void ma_helper_run(void);

/* Wakes or starts this database's helper when the transaction commits; cheap. */
extern void ma_worker_helper_at_commit(void);

/* True when this process was asked to end: what need not be begun is left. */
extern bool ma_worker_is_ending(void);

/*
 * Wakes this database's scheduler when the transaction commits (at once if it
 * is not preloaded: nothing happens).  Cheap, may be called many times.
 */
extern void ma_worker_wake_at_commit(void);

/*
 * Called in a tick that left something only because somebody else has it just now: the
 * duty looks again after 2 ms, then after twice as long each time, to a poll at most.
 * Needed by whoever does not wait for a lock: a commit wakes us before it gives up its
 * locks, and what else ends such a state mostly wakes nobody.
 */
extern void ma_worker_again_soon(void);

/* Milliseconds of a clock that is never set. */
extern int64 ma_monotonic_ms(void);

/*
 * Pauses for about `ms` milliseconds, answering interrupts; for the short waits
 * of a lock that is not free.
 */
extern void ma_worker_pause(long ms);

/*
 * After `ms` milliseconds, or when a deadline set before has passed, cancels what this
 * process does (an error of SQLSTATE 57014 as by a user).  ma_deadline_end() takes the
 * deadline off and says whether it has passed; `interrupted` when an error has ended
 * the work, `outer` what ma_deadline_set() returned.  False for an outer one that has
 * passed, whose cancel goes on to who set that.
 */
extern TimestampTz ma_deadline_set(int ms);
extern bool ma_deadline_end(bool interrupted, TimestampTz outer);

/* False: this server has no workers, and only CALL marketing.work() does their duties. */
extern bool ma_worker_is_preloaded(void);

/* True in a scheduler or in CALL marketing.work(), whose locks may wait. */
extern bool ma_worker_is_active(void);

extern void ma_worker_init(void);

#endif							/* MA_WORKER_H */
