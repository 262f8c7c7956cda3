/*
 * worker_internal.h
 *		What the files of worker/ share: the registry in shared memory and the
 *		private interfaces.
 *
 * The registry is a cache and a notice board, never a truth: after a crash it
 * begins empty and the launcher finds everything out again.  It holds numbers
 * and texts only, no pointers; a process is known by its pid and the number of
 * its PGPROC, and it removes both itself when it ends.
 */
#ifndef MA_WORKER_INTERNAL_H
#define MA_WORKER_INTERNAL_H

#include "worker/worker.h"

#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/lwlock.h"

#define MA_MAX_DATABASES 128
#define MA_MAX_DUTIES 32
#define MA_REASON 160
#define MA_POLL_MS 1000			/* longest pause between two turns */
#define MA_STRETCH_MS 20		/* a duty goes on so long while it has more to do */
#define MA_BACKOFF_MIN_MS 1000
#define MA_BACKOFF_MAX_MS 60000
#define MA_LOG_EVERY_MS 60000	/* least time between two log lines of one cause */

#define MA_LAUNCHER_NAME "marketing_automation launcher"
#define MA_SCHEDULER_NAME "marketing_automation scheduler"
#define MA_PROBE_NAME "marketing_automation probe"
#define MA_HELPER_IDLE_MS 60000	/* a helper with nothing to do ends after this */

/* What is known about a database. */
typedef enum MaSlotState
{
	MA_SLOT_UNKNOWN,			/* not looked at yet */
	MA_SLOT_ABSENT,				/* the extension is not there */
	MA_SLOT_NOT_ACCESSIBLE,		/* it is, but the worker's role cannot connect */
	MA_SLOT_READY				/* a scheduler should run */
} MaSlotState;

/* Kinds of processes that connect to a database on our behalf. */
typedef enum MaProcessKind
{
	MA_PROCESS_PROBE,
	MA_PROCESS_SCHEDULER,
	MA_PROCESS_HELPER,
	MA_NUM_PROCESSES
} MaProcessKind;

typedef struct MaProcess
{
	pid_t		pid;			/* 0: none */
	int			proc_number;	/* of its PGPROC; meaningful while pid is set */
	uint32		generation;		/* of the latest request to start one */
	bool		starting;		/* requested, not yet attached */
	bool		stop;			/* asked to end */
	bool		answered;		/* a probe that wrote its result */
	Oid			role;			/* it connects as; InvalidOid: bootstrap superuser */
	int64		started_at;		/* ma_monotonic_ms() */
} MaProcess;

/* The last failure of a duty in one database. */
typedef struct MaDutyFigures
{
	uint64		errors;
	int			failures;		/* in a row; 0: the last tick went well */
	int			sqlstate;
	TimestampTz failed_at;
	char		message[MA_REASON];
} MaDutyFigures;

/* One database. */
typedef struct MaSlot
{
	pg_atomic_uint32 database;	/* OID, 0 = free; written under the lock */
	pg_atomic_uint32 wake;		/* 1: the scheduler has been told to look */
	pg_atomic_uint32 wake_helper;	/* likewise the helper */
	pg_atomic_uint32 helper_wanted; /* 1: there is work for one */
	pg_atomic_uint64 turns;		/* of schedulers here, since the server's start */
	MaSlotState state;
	bool		listed;			/* the launcher may run workers here */
	bool		probe_wanted;
	bool		no_slot;		/* max_worker_processes was used up at the last try */
	bool		version_misfit; /* the scheduler idles until ALTER EXTENSION UPDATE */
	int			blocked;		/* statements that need the database empty */
	Oid			role;			/* the scheduler is to connect as */
	int			failures;		/* starts in a row that ended badly */
	int64		next_start;		/* ma_monotonic_ms() */
	int64		last_turn;		/* likewise; 0: none yet */
	char		reason[MA_REASON];	/* of NOT_ACCESSIBLE */
	MaProcess	process[MA_NUM_PROCESSES];
	MaDutyFigures duties[MA_MAX_DUTIES];
} MaSlot;

typedef struct MaRegistry
{
	MaProcess	launcher;
	pg_atomic_uint32 list_wanted;	/* 1: pg_database has changed */
	MaSlot		slots[MA_MAX_DATABASES];
} MaRegistry;

/* What the launcher tells a process it starts, in bgw_extra. */
typedef struct MaLaunch
{
	int			slot;
	MaProcessKind kind;
	uint32		generation;
	Oid			database;
	Oid			role;
} MaLaunch;

/* ---- registry.c ---- */

extern MaRegistry *ma_registry; /* NULL when not preloaded */
extern LWLock *ma_registry_lock;	/* guards all but its atomics */

extern void ma_registry_init(void);
extern int	ma_backoff_ms(int failures);
/* True at most once per MA_LOG_EVERY_MS for the cause whose mark this is. */
extern bool ma_log_allowed(int64 *mark);

/* With the registry's lock held. */
extern MaSlot *ma_slot_find(Oid database);
extern MaSlot *ma_slot_claim(Oid database);
extern void ma_slot_free(MaSlot *slot);
extern bool ma_slot_has_process(const MaSlot *slot);
extern void ma_process_stop(MaProcess *process);

/* Without it. */
extern MaSlot *ma_slot_of_database(void);
extern void ma_launcher_attach(void);
extern void ma_launcher_wake(bool list);
extern void ma_scheduler_wake(Oid database);
extern void ma_helper_wake(Oid database);
extern void ma_probe_request(Oid database);

/* In a process that the launcher started. */
extern bool ma_process_attach(MaLaunch *launch);
extern MaSlot *ma_process_slot(void);
extern bool ma_process_should_stop(void);

/* ---- wake.c: what is to happen when the transaction ends ---- */

extern void ma_wake_init(void);
extern void ma_wake_probe(void);
extern void ma_wake_list(void);
extern bool ma_wake_unblock(Oid database, bool dropped);

/* ---- launcher.c, probe.c, scheduler.c: entry points of the processes ---- */

extern void ma_launcher_register(void);
/* What was registered; NULL: no helper. */
extern const MaHelper *ma_helper(void);

extern PGDLLEXPORT void ma_launcher_main(Datum arg);
extern PGDLLEXPORT void ma_probe_main(Datum arg);
extern PGDLLEXPORT void ma_scheduler_main(Datum arg);

/* ---- process.c: what all our processes have in common ---- */

/* Signal handlers; before anything else.  `gently`: SIGTERM interrupts no statement. */
extern void ma_process_signals(bool gently);
/* Name and pinned settings; after connecting. */
extern void ma_process_settings(const char *name);
/*
 * Between two pieces of work: ends the process when the postmaster has died.  Who has work
 * and so never waits would keep the server from being started again.
 */
extern void ma_exit_with_server(void);
/* After each wait: ends the process or reloads the configuration when asked to. */
extern bool ma_process_interrupts(void);
/* The same while something must be brought to its end first: only reloads. */
extern bool ma_process_reload(void);
/* What ma_worker_is_ending() says in a session that works. */
extern void ma_session_set_ending(bool ending);
extern uint32 ma_wait_event(void);

/* ---- dbevents.c ---- */

extern void ma_dbevents_init(void);

/* ---- duty.c ---- */

/* What a transaction of a worker meets. */
typedef enum MaTurn
{
	MA_TURN_GO,					/* extension locked, version fits */
	MA_TURN_BUSY,				/* somebody is dropping it: not now */
	MA_TURN_GONE,				/* it is not there */
	MA_TURN_MISFIT				/* library and extension are of different versions */
} MaTurn;

extern MaTurn ma_turn_begin(char **installed);
extern int	ma_duty_count(void);
extern const char *ma_duty_name(int duty);
extern bool ma_duty_is_due(int duty);
/* Milliseconds until a duty falls due, at most `limit`. */
extern int	ma_duty_pause(int limit);
/* There may be work: duties are due as soon as their interval allows. */
extern void ma_duty_woken(void);
/* True if that has happened since the last call. */
extern bool ma_duty_was_woken(void);
/* True if the last tick of one had to leave something, see ma_worker_again_soon(). */
extern bool ma_duty_has_left(void);
/* All duties fall due and forget their failures. */
extern void ma_duty_restart(void);
/*
 * Runs one tick; true when there is more to do at once.  `cancel` is NULL in a worker; in
 * a session a user's first cancel is left there, in the current context.
 */
extern bool ma_duty_run(int duty, ErrorData **cancel);
/* To be called when its transaction has committed. */
extern void ma_duty_committed(int duty);
/* Counts a failure outside of the tick (at commit). */
extern void ma_duty_failed(int duty, const ErrorData *error, bool in_session);
extern void ma_worker_set_active(bool active);
/* Whose duties this process does. */
extern void ma_duty_choose(bool scheduler, bool helper);
/* Does a duty of this process wait for its further ticks?  This one? */
extern bool ma_duty_busy(void);
extern bool ma_duty_is_busy(int duty);
/* Tells duties that this session does no more. */
extern void ma_duty_end(void);

#endif							/* MA_WORKER_INTERNAL_H */
