/*
 * cache.c
 *		The segments, compiled once per backend and kept until any definition changes.
 *
 * A segment whose rule cannot be compiled or has failed is left as it is and given
 * no place in the set: reads of it are errors, and all others go on.
 */
#include "base/base.h"

#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void *load(void);
static void set_readers(MaSegments *segments);
static int	compare_readers(const void *left, const void *right);

static MaKept kept = {"segments", load, NULL};

MaSegments *
ma_segments(void)
{
	return ma_kept(&kept);
}

MaSegments *
ma_segments_current(void)
{
	return ma_kept_current(&kept);
}

static void *
load(void)
{
	static MaStatement all = {
		"SELECT s.segment_id, s.name, s.slot, s.rule, s.rule_source, s.time_zone, s.description, "
		"s.state OPERATOR(pg_catalog.=) 'building', f.error, s.known_from "
		"FROM marketing_internal.segment AS s LEFT JOIN LATERAL (SELECT f.error "
		"FROM marketing_internal.segment_failure AS f "
		"WHERE f.segment_id OPERATOR(pg_catalog.=) s.segment_id "
		"ORDER BY f.failure_id LIMIT 1) AS f ON true ORDER BY s.segment_id"
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
		bool		unknown;

		segment->id = ma_int32(&rows, i, 1);
		segment->name = ma_text(&rows, i, 2);
		segment->slot = pg_strtoint16(ma_text(&rows, i, 3));
		segment->text = ma_text(&rows, i, 4);
		segment->source = ma_text(&rows, i, 5);
		segment->time_zone = ma_text(&rows, i, 6);
		segment->description = ma_text(&rows, i, 7);
		segment->building = ma_bool(&rows, i, 8);
		segment->error = ma_text(&rows, i, 9);
		segment->marked = segment->error != NULL;
		segment->known_from = DatumGetTimestampTz(ma_value(&rows, i, 10, &unknown));
		if (unknown)
			segment->known_from = DT_NOEND;
		segments->segments[segments->n++] = segment;
		segments->nslots = Max(segments->nslots, segment->slot + 1);
	}
	segments->places = palloc_array(int, Max(segments->nslots, 1));
	memset(segments->places, -1, sizeof(int) * segments->nslots);
	segments->known = palloc0(segments->nslots / 8 + 1);
	rules = palloc_array(MaRule *, Max(segments->n, 1));
	ma_segments_compile_begin();
	for (int i = 0; i < segments->n; i++)
	{
		MaSegment  *segment = segments->segments[i];

		segments->places[segment->slot] = i;
		segments->known[segment->slot / 8] |= 1 << (segment->slot % 8);
		ma_segment_compile(segment);
		segment->place = segment->error == NULL ? segments->nrules : -1;
		segments->unmarked |= segment->misses_column && !segment->marked;
		if (segment->error == NULL)
			rules[segments->nrules++] = segment->rule;
	}
	segments->set = ma_rule_set_make(rules, segments->nrules);
	set_readers(segments);
	ma_become_back(&caller);
	return segments;
}

/* So that a change need not ask each segment what it reads. */
static void
set_readers(MaSegments *segments)
{
	ListCell   *cell;
	int			space = 0;

	for (int i = 0; i < segments->n; i++)
		space += list_length(segments->segments[i]->events);
	segments->readers = palloc_array(MaSegmentReader, Max(space, 1));
	for (int i = 0; i < segments->n; i++)
	{
		MaSegment  *segment = segments->segments[i];

		segments->building |= segment->building;
		foreach(cell, segment->place >= 0 ? segment->events : NIL)
		{
			MaRuleEvent *event = lfirst(cell);

			segments->readers[segments->nreaders++] =
				(MaSegmentReader) {event->event_id, i, event->moves};
		}
	}
	qsort(segments->readers, segments->nreaders, sizeof(MaSegmentReader), compare_readers);
}

static int
compare_readers(const void *left, const void *right)
{
	int32		a = ((const MaSegmentReader *) left)->event_id;
	int32		b = ((const MaSegmentReader *) right)->event_id;

	return a < b ? -1 : a > b;
}

const MaSegmentReader *
ma_segment_readers(const MaSegments *all, int32 event_id, int *n)
{
	int			low = 0;
	int			high = all->nreaders;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (all->readers[middle].event_id < event_id)
			low = middle + 1;
		else
			high = middle;
	}
	for (*n = 0; low + *n < all->nreaders && all->readers[low + *n].event_id == event_id;)
		(*n)++;
	return &all->readers[low];
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

MaSegment *
ma_segment_get_whole(MaSegments *all, const char *name)
{
	MaSegment  *segment = ma_segment_get(all, name);

	if (segment->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RULE_BROKEN),
				 errmsg("segment \"%s\" is %s", name, segment->rule ? "failing" : "broken"),
				 errdetail("%s", segment->error),
				 errhint("Correct what it reads and run marketing.rebuild_segment(), or define it anew.")));
	return segment;
}

void
ma_segment_required(const char *name)
{
	(void) ma_segment_get(ma_segments(), name);
}

char *
ma_segment_time_zone(const char *name)
{
	MaSegment  *segment = ma_segment_find(ma_segments(), name);

	return segment ? segment->time_zone : NULL;
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
