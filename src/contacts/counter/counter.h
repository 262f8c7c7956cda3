/*
 * counter.h
 *		Counters per contact and the record of occurrences; private to contacts/.
 */
#ifndef MA_CONTACTS_COUNTER_H
#define MA_CONTACTS_COUNTER_H

#include "contacts/contacts_internal.h"

/* A counter's definition. */
typedef struct MaCounterDefinition
{
	int32		id;
	char	   *name;
	int32		event_id;
	Interval   *within;			/* NULL: ever */
} MaCounterDefinition;

/* The counters of one event: its rows are read once for all of them. */
typedef struct MaCounterGroup
{
	int32		event_id;
	List	   *counters;		/* MaCounterDefinition *, in order of their ids */
	bool		ever;			/* one of them counts all rows */
	List	   *fetches;		/* one per source of the event, see counter_rows.c */
} MaCounterGroup;

/* Value of a counter for a contact, and until when it holds. */
typedef struct MaCounterValue
{
	int32		counter_id;
	int64		contact_id;
	int64		value;
	TimestampTz until;			/* DT_NOEND: until a row changes */
} MaCounterValue;

/* ---- counter_rows.c ---- */

/* All groups (MaCounterGroup *); valid until the definitions change. */
extern List *ma_counter_groups(void);

/*
 * Computes the group's counters for the contacts from their rows as of `now`:
 * for each contact in turn a value for each counter in turn.  `how`: which snapshot.
 */
extern MaCounterValue *ma_counter_compute(MaCounterGroup *group, MaContactChange *contacts,
										  int n, TimestampTz now, MaRun how);

extern void ma_counter_init(void);
extern void ma_counter_api_init(void);
extern void ma_occurrence_init(void);

#endif							/* MA_CONTACTS_COUNTER_H */
