/*
 * compile.c
 *		A segment's rule from its stored text; see rules/follow.c for renamed columns.
 */
#include "base/base.h"

#include "segments/segments_internal.h"
#include "utils/memutils.h"

#define KIND "segment"

/* A segment whose text was followed in this round. */
typedef struct Followed
{
	char	   *name;
	char	   *text;
} Followed;

/* In a context of their own: a segment is also compiled outside of a round. */
static List *followed = NIL;
static MemoryContext followed_context = NULL;

static void remember(const MaSegment *segment);

void
ma_segments_compile_begin(void)
{
	if (followed_context == NULL)
		followed_context = AllocSetContextCreate(CacheMemoryContext,
												 "marketing_automation renamed",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(followed_context);
	followed = NIL;
	ma_rule_views_look();
}

char *
ma_segment_followed_text(const char *name)
{
	ListCell   *cell;

	foreach(cell, followed)
		if (strcmp(((Followed *) lfirst(cell))->name, name) == 0)
			return ((Followed *) lfirst(cell))->text;
	return NULL;
}

static void
remember(const MaSegment *segment)
{
	MemoryContext previous;
	Followed   *entry;

	if (followed_context == NULL || ma_segment_followed_text(segment->name) != NULL)
		return;
	previous = MemoryContextSwitchTo(followed_context);
	entry = palloc_object(Followed);
	entry->name = pstrdup(segment->name);
	entry->text = pstrdup(segment->text);
	followed = lappend(followed, entry);
	MemoryContextSwitchTo(previous);
}

void
ma_segment_compile(MaSegment *segment)
{
	MaRuleScope scope = {psprintf("segment \"%s\"", segment->name), segment->time_zone};
	MaRuleStored stored;
	MaIdentity	identity;

	ma_become_owner(&identity);
	ma_rule_compile_stored(&stored, KIND, segment->name, segment->text, &scope);
	segment->rule = stored.rule;
	segment->text = stored.text;
	segment->altered = stored.altered;
	segment->followed |= stored.followed;
	segment->misses_column = stored.misses_column;
	if (stored.rule != NULL)
	{
		segment->sync = ma_rule_is_sync(stored.rule);
		segment->recheck = ma_rule_recheck(stored.rule) > 0;
		segment->events = ma_rule_events(stored.rule);
	}
	else
		segment->error = stored.error;
	if (stored.followed)
		remember(segment);
	ma_become_back(&identity);
}
