/*
 * cache.c
 *		The segments, compiled once per backend and kept until any definition changes.
 *
 * A rule that cannot be compiled (what it reads was dropped with CASCADE) makes its
 * segment broken: it is left as it is, reads give nobody, and all others go on.
 */
#include "base/base.h"

#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void *load(void);
static void compile(MaSegment *segment);

MaSegments *
ma_segments(void)
{
	static MaKept segments = {"segments", load, NULL};

	return ma_kept(&segments);
}

static void *
load(void)
{
	static MaStatement all = {
		"SELECT segment_id, name, slot, rule, rule_source, time_zone, description, "
		"state OPERATOR(pg_catalog.=) 'building' "
		"FROM marketing_internal.segment ORDER BY segment_id"
	};
	MaSegments *segments = palloc0_object(MaSegments);
	MaIdentity	caller;
	MaRule	  **rules;
	MaRows		rows;

	ma_become_owner(&caller);
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	segments->segments = palloc_array(MaSegment *, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSegment  *segment = palloc0_object(MaSegment);

		segment->id = ma_int32(&rows, i, 1);
		segment->name = ma_text(&rows, i, 2);
		segment->slot = pg_strtoint16(ma_text(&rows, i, 3));
		segment->text = ma_text(&rows, i, 4);
		segment->source = ma_text(&rows, i, 5);
		segment->time_zone = ma_text(&rows, i, 6);
		segment->description = ma_text(&rows, i, 7);
		segment->building = ma_bool(&rows, i, 8);
		segments->segments[segments->n++] = segment;
		segments->nslots = Max(segments->nslots, segment->slot + 1);
	}
	segments->places = palloc_array(int, Max(segments->nslots, 1));
	memset(segments->places, -1, sizeof(int) * segments->nslots);
	rules = palloc_array(MaRule *, Max(segments->n, 1));
	for (int i = 0; i < segments->n; i++)
	{
		MaSegment  *segment = segments->segments[i];

		segments->places[segment->slot] = i;
		compile(segment);
		segment->place = segment->rule ? segments->nrules : -1;
		if (segment->rule != NULL)
			rules[segments->nrules++] = segment->rule;
	}
	segments->set = ma_rule_set_make(rules, segments->nrules);
	ma_become_back(&caller);
	return segments;
}

static void
compile(MaSegment *segment)
{
	MaRuleScope scope = {psprintf("segment \"%s\"", segment->name), segment->time_zone};
	MemoryContext context = CurrentMemoryContext;
	MaIdentity	identity;

	ma_become_owner(&identity);
	if (!ma_rule_view_exists("segment", segment->name))
	{
		segment->broken = "its view was dropped with what it reads";
		return;
	}
	PG_TRY();
	{
		segment->rule = ma_rule_parse(segment->text, &scope, InvalidOid);
		segment->sync = ma_rule_is_sync(segment->rule);
		segment->events = ma_rule_events(segment->rule);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		/* A cancel or a lock that is not to be had says nothing about the rule. */
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_MA_INVALID_RULE) &&
			category != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		FlushErrorState();
		segment->rule = NULL;
		segment->broken = pstrdup(error->message);
	}
	PG_END_TRY();
	ma_become_back(&identity);
}

MaSegment *
ma_segment_find(MaSegments *all, const char *name)
{
	for (int i = 0; i < all->n; i++)
		if (strcmp(all->segments[i]->name, name) == 0)
			return all->segments[i];
	return NULL;
}

MaSegment *
ma_segment_get(MaSegments *all, const char *name)
{
	MaSegment  *segment = ma_segment_find(all, name);
	List	   *names = NIL;
	char	   *nearest;

	if (segment != NULL)
		return segment;
	for (int i = 0; i < all->n; i++)
		names = lappend(names, all->segments[i]->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SEGMENT),
			 errmsg("there is no segment \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("marketing.segments lists them.")));
}

void
ma_segment_required(const char *name)
{
	(void) ma_segment_get(ma_segments(), name);
}

char *
ma_segment_name_argument(FunctionCallInfo fcinfo, int i)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}
