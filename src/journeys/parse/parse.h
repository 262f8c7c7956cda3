/*
 * parse.h
 *		What the files that read a definition share; private to journeys/.
 */
#ifndef MA_JOURNEYS_PARSE_H
#define MA_JOURNEYS_PARSE_H

#include "journeys/program.h"

/* ---- parse.c ---- */

/* Text of an optional member; NULL if it is not there. */
extern char *ma_read_text(const MaJson *object, const char *key, List **problems);
extern char *ma_read_duration(const MaJson *value, List **problems);
/* A condition with the next number of the program. */
extern MaCondition *ma_read_condition(MaProgram *program, const char *path);

/* ---- parse_date.c ---- */

/* Of an entry ("date" or "anniversary") or a wait_for_time ("date"), by its keys. */
extern MaDateRule *ma_read_date(const MaJson *json, const char *key, List **problems);
/* "09:30" as usecs after midnight; as an end also "24:00". */
extern int64 ma_read_clock(const MaJson *json, bool end, List **problems);

/* ---- parse_steps.c ---- */

extern List *ma_read_steps(MaProgram *program, const MaJson *json, List **problems);

/* ---- parse_goal.c ---- */

/* "goal" and "milestones" of the definition. */
extern void ma_read_goals(MaProgram *program, const MaJson *tree, List **problems);

/* ---- parse_window.c ---- */

/* {"between": [...], "days": [...], "holidays": "skip", "zone": ...}; others of its keys stay. */
extern MaWindow *ma_read_window(const MaJson *json, List **problems);
extern MaWindow *ma_read_time_step(const MaJson *json, List **problems);
extern MaWindow *ma_read_quiet(const MaJson *json, List **problems);

#endif							/* MA_JOURNEYS_PARSE_H */
