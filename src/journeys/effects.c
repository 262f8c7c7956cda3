/*
 * effects.c
 *		What steps do in the rooms below: lists and segments.
 */
#include "base/base.h"

#include "journeys/engine.h"
#include "segments/segments.h"

/* The contacts' locks are held by the batch. */
void
ma_effect_list(const char *list, bool add, MaJourneyRun **runs, int n)
{
	int64	   *contacts = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		contacts[i] = runs[i]->person->contact_id;
	if (add)
		(void) ma_list_add(list, contacts, n);
	else
		(void) ma_list_remove(list, contacts, n);
}

int64 *
ma_segment_members_now(const char *segment, int *n)
{
	return ma_segment_contacts(segment, n);
}
