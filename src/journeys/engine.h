/*
 * engine.h
 *		The engine's own structures: a batch of contacts, their runs, what has been
 *		signalled; private to journeys/.
 */
#ifndef MA_JOURNEYS_ENGINE_H
#define MA_JOURNEYS_ENGINE_H

#include "contacts/contacts.h"
#include "delivery/delivery.h"
#include "journeys/catalog.h"
#include "journeys/journeys.h"
#include "storage/itemptr.h"

#define MA_PAUSED "the journey is paused"	/* why the gate defers messages */
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
	MA_SIGNAL_RETRY,			/* retry_enrollment() */
	MA_SIGNAL_RESUME,			/* resume_journey(), of a run that is overdue */
	MA_SIGNAL_MOVE,				/* activate_journey(): to the version that the key says */
	MA_SIGNAL_DATES				/* its dates may have changed */
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
	char	   *key;			/* entry: value of the key; move: number of the version */
	Datum		row;			/* jsonb, or 0 */
	char	   *reason;			/* exit; settled: null when sent; entry: why it is refused */
	bool		by_time;		/* entry: no row has caused it */
	bool		filter_known;	/* entry: the filter has been evaluated: */
	bool		filter_true;
	char	   *filter_error;
	bool		filter_locked;	/* somebody has locked what it reads */
	bool		left;			/* event: for one run, in the table */
} MaSignal;

extern const char *ma_signal_kind_name(MaSignalKind kind);

/*
 * Inserts signals and wakes the scheduler.  An event or check is for those inside a
 * journey, or about to be: without `always` it is left out for anybody else.
 */
extern void ma_signals_insert(const MaSignal *signals, const bool *always, int n);

/*
 * True if the row is the entry of this version.  A condition that fails stops nobody else:
 * its entry is refused, as by a filter that fails, and *reason (else NULL) says why.
 */
extern bool ma_entry_fits(MaVersion *version, MaRowChange *row, char **reason);

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

	/* as it was read: its row is written whole */
	ItemPointerData tid;
	int64		enrolled_as;
	Datum		stored_entry;	/* 0: null */
	Datum		read_entry;		/* the same in memory */
	Datum		stored_marks;

	/* in work */
	bool		is_new;
	bool		changed;
	bool		marks_changed;
	bool		check;			/* evaluate its rules */
	TimestampTz as_of;			/* as of this instant; 0: now */
	bool		moved;			/* has come to a step since they were evaluated */
	bool		was_parked;		/* when it was read */
	bool		hint_used;		/* a hint of it was read: write new ones */
	TimestampTz stored_due;
	TimestampTz stored_check;
	bool		blocked;		/* somebody has locked what it needs: next turn */
	List	   *kept;			/* MaSignal *: events that it is then to be told once more */
	int			steps;			/* done in this turn */
	int64		last_signal;	/* what has been taken into account */
	TimestampTz looked_at;		/* no event of this instant wakes it from its step; 0: not known */
	bool		over;			/* it had ended before this turn */
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
	TimestampTz until;			/* steps due from here on wait for signals put off; 0: none */
	List	   *runs;			/* MaJourneyRun * */
	List	   *over;			/* MaJourneyRun *, ended ones whose goals still count */
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

/* A run has reached its goal, or a milestone. */
typedef struct MaGoalHit
{
	const MaJourneyRun *run;
	const MaGoal *goal;
	TimestampTz at;
	int32		event_id;
	Datum		row;			/* of the event, jsonb */
} MaGoalHit;

typedef struct MaTurnBatch
{
	TimestampTz now;
	MaJourneys *journeys;
	MaPerson   *persons;		/* in the order of contact_id */
	int			n;
	List	   *signals;		/* MaSignal *, of locked persons */
	List	   *runs;			/* MaJourneyRun *, live ones */
	List	   *log;			/* MaLogEntry * */
	List	   *hits;			/* MaGoalHit * */
	List	   *intakes;		/* MaIntake *, see intake.c */
	List	   *held;			/* MaSignal *: entries held back */
	List	   *dues;			/* ItemPointer of hints to delete */
	int64	   *new_ids;		/* numbers for new enrollments */
	int			nnew_ids;
	int			limit;			/* hints, and signals, that are read */
	bool		full;			/* there was more than a batch */
	const MaCondition *condition;	/* for the work of ma_guarded(): whose rule */
	struct MaSimulation *simulation;	/* NULL: what the steps do is done in truth */
} MaTurnBatch;

/* ---- batch_read.c, batch_write.c ---- */

/* False when there is nothing to do. */
extern bool ma_turn_read(MaTurnBatch *batch);
extern void ma_turn_write(MaTurnBatch *batch);
extern int64 ma_turn_new_id(MaTurnBatch *batch);
/* The earliest hint; DT_NOEND when there is none.  Inside ma_call_begin(). */
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

/* ---- dates.c: entries by dates of contacts ---- */

/* Those whom signals of the batch tell of. */
extern void ma_journey_dates_take(MaTurnBatch *batch);

/* The row (jsonb) that an entry by a date goes on with. */
extern Datum ma_journey_date_row(const char *day);
/* The contacts' zones; NULL: the database's. */
extern char **ma_journey_zones(const int64 *ids, int n);

/* ---- date_rest.c: journeys whose dates could not be read ---- */

/* The journeys (int[]) whose signals of dates are left where they are. */
extern Datum ma_journey_dates_resting(void);
/* True if the rest of one is over since this was last asked: its signals are to be found again. */
extern bool ma_journey_dates_rest_over(void);

/* ---- date_plan.c: everybody's dates, by and by ---- */

/*
 * Everybody is looked at: when he is due after now.  Who was due up to `keep` by what was
 * noted before, and has not been let in, enters.
 */
extern void ma_journey_dates_plan(int32 journey_id, TimestampTz keep);

/* ---- admit.c ---- */

extern void ma_filters_evaluate(MaTurnBatch *batch);
/* False if the entry is to be looked at when what fell due before it has been done. */
extern bool ma_admit(MaTurnBatch *batch, MaPerson *person, MaSignal *signal);

/* ---- cron.c: entries by pg_cron ---- */

/* The job of the journey, as the caller; a schedule of NULL takes it away. */
extern void ma_journey_schedule(const char *journey, const char *schedule, const MaCall *call);
extern void ma_journey_cron_init(void);

/* ---- intake.c: how many enter ---- */

/* Why nobody enters any more by max_entries; NULL: he does. */
extern const char *ma_intake_refusal(MaTurnBatch *batch, MaVersion *version, TimestampTz at);
/* True if the entry is held back: so many by time are a surge. */
extern bool ma_intake_holds(MaTurnBatch *batch, MaVersion *version, MaSignal *signal);
extern void ma_intake_count(MaTurnBatch *batch, MaVersion *version, const MaSignal *signal);
/* What surge_limit lets in within a day; PG_INT64_MAX: there is no limit. */
extern int64 ma_surge_most(const MaProgram *program);
/* The first day of the day, week or month of max_entries, on the database's wall. */
extern int32 ma_intake_period(const MaProgram *program, TimestampTz at);
extern char *ma_intake_reason(const MaProgram *program);
extern void ma_intake_write(MaTurnBatch *batch);
extern void ma_intake_init(void);

/* ---- apply.c: signals to runs ---- */

extern void ma_signals_apply(MaTurnBatch *batch);
/* True if the event of the signal is this condition, with its where, for the run. */
extern bool ma_condition_met(MaTurnBatch *batch, MaJourneyRun *run, const MaCondition *condition,
							 const MaSignal *signal);

/* ---- move_version.c ---- */

extern void ma_run_move(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);

/* ---- goals.c ---- */

/* How long events still count for goals of the run after its end; DT_NOBEGIN: not at all. */
extern TimestampTz ma_goals_until(const MaJourneyRun *run);
/* Notes what the event is of the run's goals; true if it is the goal itself. */
extern bool ma_goals_reach(MaTurnBatch *batch, MaJourneyRun *run, const MaSignal *signal);
/* True if the condition is that the run's own goal has been reached. */
extern bool ma_is_own_goal(const MaCondition *condition);
extern void ma_goals_write(MaTurnBatch *batch);

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
/* Counts an error, but not one of a simulation: nothing has gone wrong. */
extern void ma_engine_error(int sqlerrcode, const char *message);
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
/*
 * Sends the template (`name`) for the step, which all of them stand at; `variant`: of a test,
 * in words for the log.
 */
extern void ma_step_send(MaTurnBatch *batch, MaJourneyRun **runs, int n, const char *name,
						 const char *variant);
/* Whether the journey's send_window holds this send. */
extern bool ma_send_is_held(const MaProgram *program, const MaStep *step);
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

/* ---- simulate/: the same turns as of history ---- */

/* In place of ma_message_enqueue(). */
extern void ma_simulate_send(MaTurnBatch *batch, const MaMessageRequest *requests,
							 MaJourneyRun **runs, int n, int64 *ids);
/* What lists, attributes, points and stages are then: of a step that changes them. */
extern void ma_simulate_effect(MaTurnBatch *batch, MaJourneyRun **runs, int n);
/* In place of what intake.c counts. */
extern const char *ma_simulate_refusal(MaTurnBatch *batch, TimestampTz at);
extern bool ma_simulate_holds(MaTurnBatch *batch, const MaSignal *signal);
extern void ma_simulate_entry(MaTurnBatch *batch, const MaSignal *signal);
extern int64 ma_simulate_run_id(MaTurnBatch *batch);
/* "quiet hours of journey x until 09:00" */
extern char *ma_quiet_reason(const char *journey, const MaWindow *quiet);

/* ---- run/steps.c: what sends share ---- */

/* Until when the message of a run that stands at a send may go; DT_NOEND: at any time. */
extern TimestampTz ma_send_latest(const MaJourneyRun *run);
/* The message is on its way (`address`: to the owner); the run waits, unless told not to. */
extern void ma_run_sends(MaTurnBatch *batch, MaJourneyRun *run, const char *template,
						 int64 message_id, const char *address);

/* ---- run/sales.c: steps score, stage and task, and sends to owners ---- */

extern void ma_step_sales(MaTurnBatch *batch, MaJourneyRun **runs, int n);
extern void ma_step_send_owner(MaTurnBatch *batch, MaJourneyRun **runs, int n);

/* ---- variants/: the step test ---- */

extern void ma_step_test(MaTurnBatch *batch, MaJourneyRun **runs, int n);

typedef struct MaTestState
{
	TimestampTz next_at;		/* when it is decided */
	char	   *winner;			/* NULL: it goes on */
} MaTestState;

/* Of the test of a step, which begins now if it has not. */
extern MaTestState *ma_test_state(const MaVersion *version, const MaStep *step, TimestampTz now);
/* Decides tests whose horizon has come; false if there are none. */
extern bool ma_tests_decide(MaTurnBatch *batch);
/* The next horizon; DT_NOEND when there is none. */
extern TimestampTz ma_tests_next(void);

/* ---- the rest of the room ---- */

/* Keeps turns out until the commit: nobody moves a run meanwhile. */
extern void ma_engine_lock(void);
/* Definitions of journeys: who changes them at once takes turns. */
extern void ma_journeys_lock(void);
/* This journey alone, as it is behind the lock; after the other two, if they are needed. */
extern MaJourney *ma_journey_lock(const char *name);
extern void ma_define_init(void);
extern void ma_listen_init(void);
extern void ma_journey_dates_init(void);
extern void ma_journey_gate_init(void);
extern void ma_journey_quiet_init(void);
extern void ma_journey_why_init(void);

/* ---- events.c ---- */

extern void ma_journey_events_init(void);
/* True if rules read rows of journey_entered or journey_exited. */
extern bool ma_journey_events_read(void);

#endif							/* MA_JOURNEYS_ENGINE_H */
