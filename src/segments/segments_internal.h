/*
 * segments_internal.h
 *		What the files of segments/ share; private to segments/.
 */
#ifndef MA_SEGMENTS_INTERNAL_H
#define MA_SEGMENTS_INTERNAL_H

#include "segments/segments.h"

#define MA_SEGMENT_CONSUMER "segments"

/* ---- cache.c: the segments, compiled ---- */

typedef struct MaSegment
{
	int32		id;
	char	   *name;
	int			slot;
	char	   *text;			/* canonical rule */
	char	   *source;			/* as the user wrote it */
	char	   *time_zone;
	char	   *description;
	bool		building;
	MaRule	   *rule;			/* NULL: broken */
	char	   *broken;			/* why */
	bool		sync;
	List	   *events;			/* MaRuleEvent */
	int			place;			/* of its rule in the set; -1: broken */
} MaSegment;

typedef struct MaSegments
{
	int			n;
	MaSegment **segments;		/* in order of their ids */
	MaRuleSet  *set;			/* of those that are not broken */
	int			nrules;
	int			nslots;			/* the greatest slot + 1 */
	int		   *places;			/* by slot: place in segments; -1: none */
} MaSegments;

/* All segments; valid to the end of the transaction. */
extern MaSegments *ma_segments(void);
extern MaSegment *ma_segment_find(MaSegments *all, const char *name);
/* The segment of this name, or an error MA021 with the nearest names. */
extern MaSegment *ma_segment_get(MaSegments *all, const char *name);
/* As above, of SQL argument `i`, which must not be null. */
extern char *ma_segment_name_argument(FunctionCallInfo fcinfo, int i);

/* ---- state.c: what is stored of contacts ---- */

typedef struct MaSegmentFlip
{
	int			segment;		/* place in MaSegments.segments */
	int			contact;		/* place in the batch */
	bool		entered;
	TimestampTz at;
	const char *cause;
} MaSegmentFlip;

/* State of a batch of contacts: bit and wake of each segment. */
typedef struct MaSegmentStates
{
	MaSegments *all;
	int			n;
	const int64 *contact_ids;
	bool	   *stored;			/* there is a row */
	bool	   *changed;		/* bits or wakes are to be written */
	Datum	   *old_bits;		/* as stored */
	Datum	   *old_wakes;
	bool	   *bits;			/* n * all->n */
	TimestampTz *wakes;			/* n * all->n; DT_NOEND: none */
	bool	   *before;			/* the bits as stored */
	bool	   *done;			/* its member row is written */
	List	   *flips;			/* MaSegmentFlip */
	const char *cause;			/* of the next ones: row, time or definition */
} MaSegmentStates;

extern MaSegmentStates *ma_states_read(MaSegments *all, const int64 *contact_ids, int n, MaRun how);

/* Sets bit and wake (lazily: a wake that is not due and not too late stays). */
extern void ma_state_set(MaSegmentStates *states, int contact, int segment, MaTruth truth,
						 TimestampTz at);

/* Writes what changed: members, transitions, state. */
extern void ma_states_write(MaSegmentStates *states, TimestampTz now);

/* ---- consumer.c: evaluation at commit and in the worker ---- */

extern void ma_segment_consumer_init(void);
/* Evaluates the segments of these names for all contacts and writes what differs. */
extern void ma_segments_build(MaSegments *all, List *names, TimestampTz now);

/* ---- transitions.c ---- */

extern void ma_transitions_ensure(void);
extern void ma_transitions_init(void);

/* ---- reads.c ---- */

/* The members at now: ids ascending, and since when (0: not known yet). */
typedef struct MaMembers
{
	int			n;
	int			space;
	int64	   *ids;
	TimestampTz *since;
} MaMembers;

extern MaMembers *ma_members_read(MaSegments *all, MaSegment *segment, TimestampTz now);

/* contact_ids the rule is true for at now, by its SQL, ascending. */
extern int64 *ma_oracle_read(const MaRule *rule, TimestampTz now, int *n);

/* ---- lists.c ---- */

extern void ma_segment_facts_init(void);

/* ---- merge.c ---- */

extern void ma_segment_merge_init(void);

/* ---- define.c ---- */

extern char *ma_segments_naming(const char *word, const char *name);

#endif							/* MA_SEGMENTS_INTERNAL_H */
