/*
 * journeys.h
 *		The one public header of journeys/ (layer 4): what happens to contacts over
 *		time, step by step.
 *
 * Users define journeys in JSON.  Commits only insert signals (an entry, an event, a
 * settled message); the duty "journeys" of the scheduler is the single writer of
 * enrollments.  Upper rooms reach them by these functions.
 */
#ifndef MA_JOURNEYS_H
#define MA_JOURNEYS_H

#include "base/base.h"

/*
 * Asks for contacts to enter a journey, as enroll() does; `entry` are their jsonb
 * rows or NULL.  Inside ma_call_begin() or a worker's tick.
 */
extern void ma_journey_enroll(int32 journey_id, const int64 *contact_ids, int n,
							  const Datum *entries);

/* Defines a journey, or another version, and activates it, all as this role. */
extern void ma_journey_make(const char *name, Datum definition, Oid role);
/* The same of one that there is; false, and nothing is done, unless it is open. */
extern bool ma_journey_make_again(const char *name, Datum definition, Oid role);
/* True if there is one of this name that was neither drained nor archived. */
extern bool ma_journey_is_open(const char *name);

/* ---- what definitions of broadcasts share with those of journeys ---- */

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

/* ---- calendar.c: durations in a contact's zone ---- */

/* True if the text is one ("2 days"). */
extern bool ma_duration_valid(const char *text);
extern bool ma_duration_is_zero(const char *text);
extern TimestampTz ma_duration_add(TimestampTz at, const char *text, const char *zone);

/* ---- parse/parse_test.c, variants/: tests of messages ---- */

/* One of the messages that are tried. */
typedef struct MaVariant
{
	char	   *name;
	char	   *template;
	const char *step;			/* whose messages it is counted by */
} MaVariant;

typedef struct MaTest
{
	List	   *variants;		/* MaVariant * */
	double		share;			/* of the contacts who are in the test */
	char	   *measure;		/* event */
	char	   *after;			/* duration up to the horizon */
	char	   *no_winner;		/* variant */
	bool		rest_waits;		/* of a step: the others wait for the winner */
} MaTest;

/* `of_step`: a step of a journey, which may say more than a broadcast. */
extern MaTest *ma_test_parse(const MaJson *json, bool of_step, List **problems);
/* The variant of this name; NULL: there is none. */
extern MaVariant *ma_test_variant(const MaTest *test, const char *name);
/* The variant he gets if he is in the test, else NULL; `name` and `what` tell draws apart. */
extern MaVariant *ma_test_draw(const MaTest *test, const char *name, const char *what,
							   int64 contact_id);
/* An error unless the event is one whose rows can be counted. */
extern void ma_test_check_measure(const char *event);

/* Whose messages are counted. */
typedef struct MaTestCount
{
	const MaTest *test;
	const char *journey;
	const char *drawn_by;		/* only who was drawn by this; NULL: everybody */
	TimestampTz since;			/* messages settled and rows that happened in this time, */
	TimestampTz until;			/* up to the horizon */
} MaTestCount;

/* Who has won; *words: "a: 12 of 100; b: 30 of 98; b wins (z 3.11)". */
extern const MaVariant *ma_test_winner(const MaTestCount *count, char **words);

/* ---- share.c: stable chance ---- */

/* 0 to 1: always the same for the same contact and names, and independent of other names. */
extern double ma_share_of(const char *journey, const char *what, int64 contact_id);

extern void ma_journeys_init(void);

#endif							/* MA_JOURNEYS_H */
