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
	List	   *statements;		/* CounterStatement *, one per source of the event */
} MaCounterDefinition;

/* Value of a counter for a contact, and until when it holds. */
typedef struct MaCounterValue
{
	int64		contact_id;
	int64		value;
	TimestampTz until;			/* DT_NOEND: until a row changes */
} MaCounterValue;

/* All counters; valid until the definitions change. */
extern List *ma_counters(void);

/* Computes the counter for the contacts from their rows, as of `now`; `how`: which snapshot. */
extern MaCounterValue *ma_counter_compute(MaCounterDefinition *counter,
										  MaContactChange *contacts, int n, TimestampTz now,
										  MaRun how);

extern void ma_counter_init(void);
extern void ma_counter_api_init(void);
extern void ma_occurrence_init(void);

#endif							/* MA_CONTACTS_COUNTER_H */
