/*
 * engine.h
 *		The engine's own structures: a batch of contacts, their runs, what has been
 *		signalled; private to journeys/.
 */
#ifndef MA_JOURNEYS_ENGINE_H
#define MA_JOURNEYS_ENGINE_H

#include "contacts/contacts.h"
#include "journeys/catalog.h"
#include "journeys/journeys.h"
#include "storage/itemptr.h"

#define MA_JOURNEYS "journeys"	/* the name of consumer and duty */

/* Steps of one run in one turn at most: a run that goes round ends the turn. */
#define MA_STEPS_PER_TURN 100

/* Entries of one contact into one journey within an hour that are no row of a user's table. */
#define MA_ENTRIES_PER_HOUR 50

/* ---- signals ---- */

typedef enum MaSignalKind
{
	MA_SIGNAL_ENTER,			/* wants to enter a journey */
	MA_SIGNAL_EVENT,			/* an event that a run may exit or wake by */
	MA_SIGNAL_CHECK,			/* rules of its runs may have changed, or it is gone */
	MA_SIGNAL_SETTLED,			/* a message of a run was settled */
	MA_SIGNAL_EXIT,				/* exit_journey() */
	MA_SIGNAL_RETRY				/* retry_enrollment() */
} MaSignalKind;

typedef struct MaSignal
{
	ItemPointerData tid;
	int64		signal_id;
	int64		contact_id;
	MaSignalKind kind;
	TimestampTz at;
	int32		journey_id;		/* 0: of any */
	int64		enrollment_id;	/* 0: of any */
	int32		event_id;
	int64		message_id;
	char	   *key;			/* entry: value of the key */
	Datum		row;			/* jsonb, or 0 */
	char	   *reason;			/* exit; settled: null when sent; entry: why it is refused */
	bool		filter_known;	/* entry: the filter has been evaluated: */
	bool		filter_true;
	char	   *filter_error;
} MaSignal;

extern const char *ma_signal_kind_name(MaSignalKind kind);

/*
 * Inserts signals and wakes the scheduler.  An event or check is for those inside a
 * journey, or about to be: without `always` it is left out for anybody else.
 */
extern void ma_signals_insert(const MaSignal *signals, const bool *always, int n);

/* Value of a column of a row (jsonb) as text; NULL if it is null or not there. */
extern char *ma_row_text(Datum row, const char *column);
/* True for opens and clicks judged machine-made. */
extern bool ma_row_is_machine(Datum row);

/* ---- runs ---- */

typedef enum MaRunState
{
	MA_STATE_DUE,				/* the step is done at due_at */
	MA_STATE_WAITING,			/* for an event or message, at most to due_at */
	MA_STATE_PARKED,			/* by an error */
	MA_STATE_COMPLETED,
	MA_STATE_EXITED
} MaRunState;

extern const char *ma_run_state_name(MaRunState state);

struct MaPerson;

/* An enrollment. */
typedef struct MaJourneyRun
{
	int64		enrollment_id;
	MaVersion  *version;
	struct MaPerson *person;
	MaRunState	state;
	MaStep	   *step;			/* NULL: the end */
	TimestampTz since;			/* at this step */
	TimestampTz due_at;			/* DT_NOEND: not by time */
	TimestampTz check_at;		/* a rule may change by time; DT_NOEND: none does */
	int64		message_id;		/* the message waited for; 0: none */
	char	   *key;
	Datum		entry;			/* jsonb, or 0 */
	List	   *marks;			/* MaRunMark *: see marks.c */
	TimestampTz entered_at;
	TimestampTz ended_at;
	char	   *reason;
	char	   *error_state;
	char	   *error;

	/* in work */
	bool		is_new;
	bool		changed;
	bool		marks_changed;
	bool		check;			/* evaluate its rules */
	TimestampTz as_of;			/* as of this instant; 0: now */
	bool		moved;			/* has come to a step since they were evaluated */
	bool		hint_used;		/* a hint of it was read: write new ones */
	TimestampTz stored_due;
	TimestampTz stored_check;
	int			steps;			/* done in this turn */
	int64		last_signal;	/* what has been taken into account */
	TimestampTz looked_at;		/* no event of this instant wakes it from its step; 0: not known */
} MaJourneyRun;

/* Of ended runs: what re-entry rules ask. */
typedef struct MaHistory
{
	int32		journey_id;
	char	   *key;
	TimestampTz last_entry;
	int			recent;			/* entries of the last hour */
} MaHistory;

typedef struct MaPerson
{
	int64		contact_id;
	MaContactChange *contact;	/* with its keys */
	char	   *zone;			/* NULL: the database's */
	bool		locked;
	List	   *runs;			/* MaJourneyRun * */
	List	   *history;		/* MaHistory *, read when an entry is among the signals */
	List	   *signals;		/* MaSignal * */
} MaPerson;

typedef struct MaLogEntry
{
	int64		contact_id;
	int32		journey_id;
	int32		version;
	int64		enrollment_id;	/* 0: none */
	TimestampTz at;
	const char *step;
	const char *what;
	const char *detail;
} MaLogEntry;

typedef struct MaTurnBatch
{
	TimestampTz now;
	MaJourneys *journeys;
	MaPerson   *persons;		/* in the order of contact_id */
	int			n;
	List	   *signals;		/* MaSignal *, of locked persons */
	List	   *runs;			/* MaJourneyRun *, live ones */
	List	   *log;			/* MaLogEntry * */
	List	   *dues;			/* ItemPointer of hints to delete */
	int64	   *new_ids;		/* numbers for new enrollments */
	int			nnew_ids;
	bool		full;			/* there was more than a batch */
	const MaCondition *condition;	/* for the work of ma_guarded(): whose rule */
} MaTurnBatch;

/* ---- batch_read.c, batch_write.c ---- */

/* False when there is nothing to do. */
extern bool ma_turn_read(MaTurnBatch *batch);
extern void ma_turn_write(MaTurnBatch *batch);
extern int64 ma_turn_new_id(MaTurnBatch *batch);
/* The earliest hint; DT_NOEND when there is none. */
extern TimestampTz ma_next_due(void);

/* ---- marks.c: what a run remembers ---- */

extern List *ma_marks_read(Datum marks);
extern Datum ma_marks_datum(const List *marks);
/* DT_NOBEGIN if there is none. */
extern TimestampTz ma_mark_at(const MaJourneyRun *run, const char *name);
extern void ma_mark_set(MaJourneyRun *run, const char *name, TimestampTz at);
extern void ma_mark_remove(MaJourneyRun *run, const char *name);
extern int	ma_mark_count(const MaJourneyRun *run, const char *name);
extern void ma_mark_count_up(MaJourneyRun *run, const char *name);

/* ---- admit.c ---- */

extern void ma_filters_evaluate(MaTurnBatch *batch);
extern void ma_admit(MaTurnBatch *batch, MaPerson *person, MaSignal *signal);

/* ---- apply.c: signals to runs ---- */

extern void ma_signals_apply(MaTurnBatch *batch);
/* True if the event of the signal is this condition, with its where, for the run. */
extern bool ma_condition_met(MaTurnBatch *batch, MaJourneyRun *run, const MaCondition *condition,
							 const MaSignal *signal);

/* ---- moves.c: from step to step ---- */

extern bool ma_run_is_live(const MaJourneyRun *run);
/* Of the contact, else of the segment the journey is entered by; NULL: the database's. */
extern const char *ma_run_zone(const MaJourneyRun *run);
/* Its rules are to be evaluated as of this instant, or of an earlier one. */
extern void ma_run_check(MaJourneyRun *run, TimestampTz at);
/* The run comes to a step (NULL: the end) at this instant, from which waits count. */
extern void ma_run_arrive(MaTurnBatch *batch, MaJourneyRun *run, MaStep *step, TimestampTz at);
extern void ma_run_finish(MaTurnBatch *batch, MaJourneyRun *run, MaRunState state,
						  TimestampTz at, const char *reason);
extern void ma_run_park(MaTurnBatch *batch, MaJourneyRun *run, const ErrorData *error);
extern void ma_run_log(MaTurnBatch *batch, const MaJourneyRun *run, TimestampTz at,
					   const char *what, const char *detail);
/* A wait is over: the event came, or the time out (condition NULL). */
extern void ma_run_wake(MaTurnBatch *batch, MaJourneyRun *run, const MaCondition *condition,
						TimestampTz at);

/*
 * Does `work` for runs at one step in a subtransaction; when it fails, for each alone,
 * and parks whose fault it is.
 */
typedef void (*MaGroupWork) (MaTurnBatch *batch, MaJourneyRun **runs, int n);
extern void ma_guarded(MaTurnBatch *batch, MaGroupWork work, MaJourneyRun **runs, int n);

/* ---- steps.c, rules.c ---- */

/* What is due, each run one step; false when nothing was. */
extern bool ma_steps_do(MaTurnBatch *batch);
/* Exits and waits by rule, of runs that are to be checked. */
extern void ma_rules_check(MaTurnBatch *batch);
/* Truth of a condition's rule for the contacts of runs of one version. */
extern MaTruth *ma_rule_of_runs(MaTurnBatch *batch, MaJourneyRun **runs, int n,
								const MaCondition *condition);

/* ---- effects.c: what a step does in other rooms ---- */

extern void ma_effect_list(const char *list, bool add, MaJourneyRun **runs, int n);
extern void ma_effect_update(const char *attributes, MaJourneyRun **runs, int n);
extern void ma_effect_sql(const char *function, MaJourneyRun **runs, int n);
extern void ma_effect_notify(const char *channel, MaJourneyRun **runs, int n);
/* The function of a step sql; an error unless it is there and the role may call it. */
extern Oid	ma_step_function(const char *name, Oid role);
extern int64 *ma_segment_members_now(const char *segment, int *n);

/* ---- the rest of the room ---- */

extern void ma_engine_lock(void);
extern void ma_define_init(void);
extern void ma_listen_init(void);
extern void ma_journey_gate_init(void);
extern void ma_journey_quiet_init(void);
extern void ma_journey_why_init(void);

/* ---- events.c ---- */

extern void ma_journey_events_init(void);
/* True if rules read rows of journey_entered or journey_exited. */
extern bool ma_journey_events_read(void);

#endif							/* MA_JOURNEYS_ENGINE_H */
