/*
 * program.h
 *		A journey as it is defined, parsed: what the definition says, its steps and
 *		how they follow each other; private to journeys/.
 */
#ifndef MA_JOURNEYS_PROGRAM_H
#define MA_JOURNEYS_PROGRAM_H

#include "base/base.h"

#include "contacts/contacts.h"
#include "journeys/journeys.h"
#include "rules/rules.h"

/* ---- parse.c: what it says ---- */

typedef enum MaStepKind
{
	MA_STEP_WAIT,
	MA_STEP_WAIT_UNTIL,
	MA_STEP_SEND,
	MA_STEP_BRANCH,
	MA_STEP_ADD_TO_LIST,
	MA_STEP_REMOVE_FROM_LIST,
	MA_STEP_ENROLL,
	MA_STEP_GOTO,
	MA_STEP_EXIT,
	MA_STEP_WAIT_FOR_TIME,
	MA_STEP_SPLIT,
	MA_STEP_UPDATE,
	MA_STEP_SQL,
	MA_STEP_NOTIFY,
	MA_STEP_SCORE,
	MA_STEP_STAGE,
	MA_STEP_TASK,
	MA_STEP_TEST
} MaStepKind;

typedef enum MaReentry
{
	MA_REENTRY_ONCE, MA_REENTRY_AFTER_EXIT, MA_REENTRY_ALWAYS, MA_REENTRY_EVERY, MA_REENTRY_PER_KEY
} MaReentry;

typedef enum MaOnRepeat
{
	MA_REPEAT_IGNORE, MA_REPEAT_RESTART, MA_REPEAT_REFRESH
} MaOnRepeat;

struct MaStep;
struct pg_tz;

/* An instant told by a date of the contact's; see date.c. */
typedef struct MaDateRule
{
	const char *path;
	const char *column;			/* "birth_date", "contact.birth_date" or "customers.birth_date" */
	bool		anniversary;	/* each year */
	char	   *offset;			/* duration; NULL: none */
	bool		before;			/* the offset goes back */
	bool		has_at;
	int64		at;				/* usecs after midnight */
	bool		leap_march;		/* 29 February is 1 March in common years, else 28 February */
} MaDateRule;

/* Times of the day and days, on the wall of a zone; see window.c. */
typedef struct MaWindow
{
	int64		from;			/* usecs after midnight */
	int64		to;				/* not after `from`: of the next day */
	uint8		days;			/* bits by weekday, Sunday 1; 0: all */
	bool		is_point;		/* the next `from`, and no window */
	bool		skip_holidays;
	bool		is_date;		/* once, on this date at `from` */
	int32		date;			/* as DateADT */
	const char *zone;			/* NULL: the contact's; "database", or its name */
	MaDateRule *by;				/* a date of the contact's, and nothing of the above but zone */
} MaWindow;

/* An event with its condition, or a rule: of an entry, exit, wait or path of a branch. */
typedef struct MaCondition
{
	const char *path;
	int			number;			/* within the journey, for marks */
	char	   *event;			/* NULL: a rule, or the else of a branch */
	char	   *where;			/* over the event's row; NULL: any */
	char	   *segment;		/* of segment_entered and segment_left */
	char	   *key;			/* entry: name of the key column */
	char	   *step;			/* wait_until: event of the message of this step */
	bool		since_entry;
	char	   *rule;
	double		share;			/* split */
	char	   *name;			/* split: of the path; may be NULL */
	List	   *steps;			/* MaStep *, the path taken */
	struct MaStep *then;		/* its first step, or what follows */
} MaCondition;

typedef struct MaStep
{
	const char *id;
	const char *path;
	const char *word;			/* its key in the definition: "send", "webhook" */
	MaStepKind	kind;
	char	   *text;			/* duration, template, list, journey, target, reason,
								 * attributes, function, channel, score model,
								 * stage or title of a task */
	char	   *timeout;		/* wait_until; NULL: never */
	bool		nowait;
	bool		to_owner;		/* send: to the contact's owner */
	double		points;			/* score */
	char	   *reason;			/* score; may be NULL */
	char	   *assign;			/* task; NULL: to the contact's owner */
	char	   *due;			/* task, a duration; NULL: never */
	MaTest	   *test;			/* test */
	char	   *form;			/* test: what it says, as jsonb has it */
	int			at_most;		/* goto */
	MaWindow   *window;			/* wait_for_time */
	List	   *conditions;		/* MaCondition *: wait_until, branch */
	List	   *otherwise;		/* MaStep *: not sent, timed out, no condition true */
	struct MaStep *next;		/* NULL: the end */
	struct MaStep *other;		/* first step of otherwise, or next */
	struct MaStep *target;		/* goto */
} MaStep;

/* What a journey is for: its goal, or a milestone on the way. */
typedef struct MaGoal
{
	const char *name;			/* of a milestone; "goal" */
	bool		milestone;
	MaCondition *condition;
	char	   *within;			/* of the entry; NULL: while the run goes on */
	double		target;			/* share of the runs; 0: none is said */
} MaGoal;

typedef struct MaProgram
{
	MaCondition *entry;			/* NULL: by a date, or by enroll() alone */
	MaDateRule *date;			/* entry by a date of the contact's; NULL: none */
	MaReentry	reentry;
	char	   *every;
	MaOnRepeat	on_repeat;
	int			max_live;		/* 0: no limit */
	int			max_entries;	/* of all contacts; 0: no limit */
	char		entries_per;	/* 'd', 'w' or 'm': in each day, week or month; 0: ever */
	double		surge_limit;	/* share of contacts who enter by time in a day; 0: the shop's */
	char	   *schedule;		/* entry by a cron expression; NULL: none */
	char	   *scheduled;		/* segment whose members enter then; NULL: who fits the filter */
	char	   *filter;
	List	   *exits;			/* MaCondition * */
	List	   *goals;			/* MaGoal *, the goal before the milestones */
	char	   *campaign;
	int			priority;
	bool		has_priority;
	double		holdout;		/* share of contacts who get no marketing message; 0: none */
	char	   *max_lateness;	/* of a message behind its instant; NULL: any */
	MaWindow   *quiet;			/* quiet hours; NULL: the channel's */
	MaWindow   *send_window;	/* NULL: sends go at any time */
	List	   *steps;			/* MaStep * of the main path */
	List	   *all;			/* MaStep *, all of them, in order of the text */
	List	   *conditions;		/* MaCondition *, all of them; number is the place */
} MaProgram;

/* The program; as far as it could be read when there are problems. */
extern MaProgram *ma_program_parse(Datum definition, List **problems);
extern MaStep *ma_program_step(const MaProgram *program, const char *id);
extern const char *ma_step_kind_name(MaStepKind kind);

/* True for the steps that send a message and wait until it is settled. */
static inline bool
ma_step_sends(const MaStep *step)
{
	return step->kind == MA_STEP_SEND || step->kind == MA_STEP_TEST;
}

/* Names (char *) of the templates such a step may send. */
extern List *ma_step_templates(const MaStep *step);

/* ---- check.c: do the names exist, are rules and conditions right ---- */

extern void ma_program_check(const MaProgram *program, const char *name, Oid definer,
							 List **problems);
/* The event whose row entry.x is; NULL: there is none, or it is not known. */
extern MaEvent *ma_program_entry_event(const MaProgram *program);
/* Names (char *) of all events whose rows the program follows. */
extern List *ma_program_events(const MaProgram *program);

/* ---- analyse/: what can be proved of it that nobody can have meant ---- */

/* Warnings (MaProblem *) of a program without errors; its rules are read as the definer. */
extern List *ma_program_warnings(const MaProgram *program, const char *name, Oid definer);
/* The same as notices. */
extern void ma_program_notice(const MaProgram *program, const char *name, Oid definer);

/* ---- ring.c: does it lead back into itself without end ---- */

/* By itself alone, or together with the journeys that are active. */
extern void ma_ring_check(const char *name, const MaProgram *program, bool with_others,
						  List **problems);

/* ---- calendar.c: durations in a contact's zone ---- */

/* The instant so long after, or before, the wall of the zone shows this. */
extern TimestampTz ma_duration_from_wall(Timestamp wall, const char *text, bool before,
										 struct pg_tz *zone);

/* ---- date.c: dates of contacts ---- */

/* The attached table that has the column, which *column then names; NULL: an attribute. */
extern MaSource *ma_date_source(const MaDateRule *rule, const char **column);
/* An error unless there is such a date. */
extern void ma_date_check(const MaDateRule *rule);
/* The dates of contacts as text; NULL where there is none. */
extern char **ma_dates_read(const MaDateRule *rule, const int64 *contact_ids, int n);
/*
 * The first instant after `after` that the date tells, and the day it is told by, as
 * YYYY-MM-DD; false if there is none (any more).
 */
extern bool ma_date_next(const MaDateRule *rule, const char *date, TimestampTz after,
						 const char *zone, TimestampTz *at, char **day);

/* ---- window.c: times of the wall ---- */

/* The first instant, this one or later, within the window; `zone`: the contact's, or NULL. */
extern TimestampTz ma_window_open(const MaWindow *window, TimestampTz at, const char *zone);
/* True within it; *until, when it ends. */
extern bool ma_window_within(const MaWindow *window, TimestampTz at, const char *zone,
							 TimestampTz *until);

/* ---- holiday.c ---- */

extern bool ma_is_holiday(int32 date);

#endif							/* MA_JOURNEYS_PROGRAM_H */
