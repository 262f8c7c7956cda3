/*
 * effects.c
 *		What steps do in the rooms below: lists and segments.
 */
#include "base/base.h"

#include "journeys/engine.h"

void
ma_effect_list(const char *list, bool add, MaJourneyRun **runs, int n)
{
}

int64 *
ma_segment_members_now(const char *segment, int *n)
{
	*n = 0;
	return NULL;
}
