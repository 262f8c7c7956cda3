/*
 * program.h
 *		A journey as it is defined, parsed: what the definition says, its steps and
 *		how they follow each other; private to journeys/.
 */
#ifndef MA_JOURNEYS_PROGRAM_H
#define MA_JOURNEYS_PROGRAM_H

#include "base/base.h"

#include "contacts/contacts.h"
#include "rules/rules.h"

/* ---- json.c: the definition as a tree with places ---- */

typedef enum MaJsonType
{
	MA_JSON_NULL, MA_JSON_BOOL, MA_JSON_NUMBER, MA_JSON_TEXT, MA_JSON_ARRAY, MA_JSON_OBJECT
} MaJsonType;

typedef struct MaJson
{
	MaJsonType	type;
	const char *path;			/* "steps[2].send"; "" for the whole */
	char	   *key;			/* in its object, else NULL */
	char	   *text;			/* of a text or number */
	bool		truth;
	List	   *items;			/* MaJson *, of an array or object */
} MaJson;

/* Something wrong with a definition. */
typedef struct MaProblem
{
	const char *path;
	char	   *message;
	char	   *hint;			/* may be NULL */
	bool		unsupported;	/* known, but not there in this version */
} MaProblem;

extern MaJson *ma_json_tree(Datum definition);
extern MaJson *ma_json_member(const MaJson *object, const char *key);
/* Appends to *problems (MaProblem *). */
extern void ma_problem(List **problems, const char *path, const char *hint,
					   const char *message,...) pg_attribute_printf(4, 5);
/* Texts, numbers etc. of a given kind; NULL, 0 or false with a problem if it is another one. */
extern char *ma_json_text(const MaJson *value, List **problems);
extern int	ma_json_number(const MaJson *value, int least, int most, List **problems);
/* More than 0 and at most 1. */
extern double ma_json_share(const MaJson *value, List **problems);
/* Its text again. */
extern char *ma_json_print(const MaJson *value);
extern bool ma_json_bool(const MaJson *value, List **problems);
extern List *ma_json_array(const MaJson *value, List **problems);
extern bool ma_json_is_object(const MaJson *value, List **problems);
/* A problem for each member whose key is not among `keys` (ended by NULL). */
extern void ma_json_known_keys(const MaJson *object, const char *const *keys, List **problems);

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
	MA_STEP_NOTIFY
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
								 * attributes, function or channel */
	char	   *timeout;		/* wait_until; NULL: never */
	bool		nowait;
	int			at_most;		/* goto */
	MaWindow   *window;			/* wait_for_time */
	List	   *conditions;		/* MaCondition *: wait_until, branch */
	List	   *otherwise;		/* MaStep *: not sent, timed out, no condition true */
	struct MaStep *next;		/* NULL: the end */
	struct MaStep *other;		/* first step of otherwise, or next */
	struct MaStep *target;		/* goto */
} MaStep;

typedef struct MaProgram
{
	MaCondition *entry;			/* NULL: by enroll() alone */
	MaReentry	reentry;
	char	   *every;
	MaOnRepeat	on_repeat;
	int			max_live;		/* 0: no limit */
	char	   *filter;
	List	   *exits;			/* MaCondition * */
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

/* ---- check.c: do the names exist, are rules and conditions right ---- */

extern void ma_program_check(const MaProgram *program, const char *name, Oid definer,
							 List **problems);
/* The event whose row entry.x is; NULL: there is none, or it is not known. */
extern MaEvent *ma_program_entry_event(const MaProgram *program);
/* Names (char *) of all events whose rows the program follows. */
extern List *ma_program_events(const MaProgram *program);

/* ---- ring.c: does it lead back into itself without end ---- */

/* By itself alone, or together with the journeys that are active. */
extern void ma_ring_check(const char *name, const MaProgram *program, bool with_others,
						  List **problems);

/* ---- calendar.c: durations in a contact's zone ---- */

/* True if the text is one ("2 days"); *calendar then says if it follows the zone. */
extern bool ma_duration_valid(const char *text);
extern bool ma_duration_is_zero(const char *text);
extern TimestampTz ma_duration_add(TimestampTz at, const char *text, const char *zone);

/* ---- window.c: times of the wall ---- */

/* The first instant, this one or later, within the window; `zone`: the contact's, or NULL. */
extern TimestampTz ma_window_open(const MaWindow *window, TimestampTz at, const char *zone);
/* True within it; *until, when it ends. */
extern bool ma_window_within(const MaWindow *window, TimestampTz at, const char *zone,
							 TimestampTz *until);

/* ---- share.c: stable chance ---- */

/* 0 to 1: always the same for the same contact and names, and independent of other names. */
extern double ma_share_of(const char *journey, const char *what, int64 contact_id);

/* ---- holiday.c ---- */

extern bool ma_is_holiday(int32 date);

#endif							/* MA_JOURNEYS_PROGRAM_H */
