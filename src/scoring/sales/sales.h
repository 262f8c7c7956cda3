/*
 * sales.h
 *		What the files about the hand-off to sales share; private to scoring/.
 */
#ifndef MA_SCORING_SALES_H
#define MA_SCORING_SALES_H

#include "scoring/define.h"

/* Number of the owner of this name, or an error with the nearest names. */
extern int32 ma_owner_required(const char *name);
/* The name of an owner; NULL if there is none of this number. */
extern char *ma_owner_name(int32 owner_id);
/* Whose the contact is; 0: nobody's. */
extern int32 ma_owner_of(int64 contact_id);
/* The contact is the owner's of this name from now on; his number, or an error. */
extern int32 ma_owner_give(int64 contact_id, const char *name);

/* A jsonb object of texts; one that is NULL is null. */
extern Datum ma_sales_properties(const char *const *names, const char *const *values, int n);

/* ---- hand_off.c, hand_over.c: leads are given to owners ---- */

#define MA_ASSIGN_FUNCTION "function:"

/* The function(contact text) of this name, which the role may call, as SQL. */
extern char *ma_assign_function(const char *name, Oid role);
/* All leads of the model without an owner are to get one: its hand-off is another one now. */
extern void ma_hand_off_reach_all(int32 model_id);

/* ---- the files' inits ---- */

extern void ma_hand_off_init(void);
extern void ma_hand_over_init(void);
extern void ma_leads_init(void);
extern void ma_tasks_init(void);

#endif							/* MA_SCORING_SALES_H */
