/*
 * define.h
 *		What the files that define models and rules share; private to scoring/.
 */
#ifndef MA_SCORING_DEFINE_H
#define MA_SCORING_DEFINE_H

#include "scoring/scoring_internal.h"

/* Lets one transaction at a time change models and rules. */
extern void ma_score_definitions_lock(void);

/* Text argument; NULL for null. */
extern char *ma_score_text(FunctionCallInfo fcinfo, int number);
/* A name: not null, not empty, short and printable. */
extern char *ma_score_name(FunctionCallInfo fcinfo, int number, const char *argument);
/* A finite number, or NULL for null. */
extern float8 *ma_score_number(FunctionCallInfo fcinfo, int number, const char *argument);
/* Errors out on an interval that is not longer than zero, or longer than 100 years. */
extern void ma_score_check_time(const Interval *time, const char *argument, bool exact);

/* Names of those of `n` texts that differ, as "half_life, floor"; NULL if none does. */
extern char *ma_score_changes(char **before, char **after, const char *const *names, int n);

/* The model as it is stored now, for a definition that goes on from there. */
extern MaScoreModel *ma_score_model_changed(MaScoreModel *model);

/* Errors out if a combined grade does not go with a score model of this name. */
extern void ma_grades_check_model(const char *name, bool has_thresholds);

/* Errors out if the hand-off of this model is from a threshold on that is none of these (jsonb). */
extern void ma_hand_off_check_model(const char *name, Datum thresholds);

/* The score of a contact without points. */
extern float8 ma_score_nobody(const float8 *floor, const float8 *ceiling);

#endif							/* MA_SCORING_DEFINE_H */
