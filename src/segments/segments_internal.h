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
	TimestampTz known_from;		/* its log is complete from then on; DT_NOEND: not yet */
	MaRule	   *rule;			/* NULL: broken, it cannot be compiled */
	const char *error;			/* why it is broken or failing; NULL: it is neither */
	bool		marked;			/* so for everybody, until it is rebuilt: see failures.c */
	bool		misses_column;	/* what it reads lacks one, which may come back */
	bool		followed;		/* text is not what is stored: names were renamed since */
	bool		altered;		/* a column its view reads was altered since that was made */
	bool		sync;
	bool		recheck;
	List	   *events;			/* MaRuleEvent */
	int			place;			/* of its rule in the set; -1: broken or failing */
} MaSegment;

/* A segment that reads an event, and how rows of it move the segment. */
typedef struct MaSegmentReader
{
	int32		event_id;
	int			segment;		/* place in MaSegments.segments */
	uint8		moves;
} MaSegmentReader;

typedef struct MaSegments
{
	int			n;
	MaSegment **segments;		/* in order of their ids */
	MaRuleSet  *set;			/* of those that are neither broken nor failing */
	int			nrules;
	int			nslots;			/* the greatest slot + 1 */
	int		   *places;			/* by slot: place in segments; -1: none */
	bool		building;		/* some segment is */
	bool		unmarked;		/* some segment misses a column and is not marked */
	MaSegmentReader *readers;	/* in order of events; not of the broken and failing */
	int			nreaders;
	unsigned char *known;		/* nslots bits: there is a segment of the slot */
} MaSegments;

/* All segments; valid to the end of the transaction. */
extern MaSegments *ma_segments(void);
/* The same without reading anything; NULL if they are to be read anew. */
extern MaSegments *ma_segments_current(void);
/* The readers of the event: *n of them. */
extern const MaSegmentReader *ma_segment_readers(const MaSegments *all, int32 event_id, int *n);
extern MaSegment *ma_segment_find(MaSegments *all, const char *name);
/* The segment of this name, or an error MA021 with the nearest names. */
extern MaSegment *ma_segment_get(MaSegments *all, const char *name);
/* As above, and an error MA023 if it is broken or failing. */
extern MaSegment *ma_segment_get_whole(MaSegments *all, const char *name);
/* The name in SQL argument `i`, which must not be null. */
extern char *ma_segment_name_argument(FunctionCallInfo fcinfo, int i);

/* ---- compile.c: the rule of a stored text ---- */

/* Sets rule and what depends on it, or error; names that were renamed are followed. */
extern void ma_segment_compile(MaSegment *segment);
/* A new round of compilations begins, in the order of the segments' ids. */
extern void ma_segments_compile_begin(void);
/* The text a segment compiled in this round stands for, if it is not the stored one. */
extern char *ma_segment_followed_text(const char *name);

/* ---- failures.c: a rule that fails fails alone ---- */

/*
 * Evaluates as ma_rule_set_evaluate() does; the segment of a rule that fails is marked
 * for everybody, and its `wanted` is taken back.
 */
extern void ma_segments_evaluate(MaSegments *all, MaContactChange *contacts, int n,
								 const TimestampTz *as_of, bool *wanted, MaTruth *out);

/* The segment is failing from now on, for everybody. */
extern void ma_segment_mark_failed(const MaSegment *segment, int sqlerrcode, const char *message);
/* Those that are passed over since a column is missing: the mark outlasts its return. */
extern void ma_segments_mark_broken(const MaSegments *all);
/* What was noted of it, failures and drift, is of the past. */
extern void ma_segment_forget_failures(int32 segment_id);

/* ---- slots.c ---- */

extern void ma_segment_slots_init(void);
/* A slot for a new segment; within ma_segments_lock(). */
extern int	ma_segment_slot_take(void);
/* The slot's segment was dropped: it is to be cleared. */
extern void ma_segment_slot_drop(int slot);

/* ---- audit.c ---- */

extern void ma_segment_audit_init(void);

/* ---- renew.c ---- */

extern void ma_segment_renew_init(void);

/* ---- state.c: what is stored of contacts ---- */

typedef struct MaSegmentFlip
{
	int			segment;		/* place in MaSegments.segments */
	int			contact;		/* place in the batch */
	bool		entered;
	bool		last;			/* of this contact and segment in the batch */
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
	ItemPointerData *at;		/* where it stands */
	Datum	   *old_bits;		/* as stored */
	Datum	   *old_wakes;
	bool	   *bits;			/* n * all->n */
	TimestampTz *wakes;			/* n * all->n; DT_NOEND: none */
	bool	   *before;			/* the bits as stored */
	bool	   *done;			/* its member row is found */
	List	   *flips;			/* MaSegmentFlip */
	const char *cause;			/* of the next ones: row, time or definition */
} MaSegmentStates;

extern MaSegmentStates *ma_states_read(MaSegments *all, const int64 *contact_ids, int n, MaRun how);

/* The bits of one contact as stored, and when he is to be looked at; NULL: no row. */
extern bytea *ma_state_bits(int64 contact_id, TimestampTz *next_wake);
/* Whether the bit of the slot is set. */
extern bool ma_state_bit(const bytea *bits, int slot);

/* Sets bit and wake (lazily: a wake that is not due and not too late stays). */
extern void ma_state_set(MaSegmentStates *states, int contact, int segment, MaTruth truth,
						 TimestampTz at);

/* Writes what changed: members, transitions, state. */
extern void ma_states_write(MaSegmentStates *states, TimestampTz now);

/* ---- consumer.c: evaluation at commit and in the worker ---- */

extern void ma_segment_consumer_init(void);
/* Evaluates the segments of these names for all contacts and writes what differs. */
extern void ma_segments_build(MaSegments *all, List *names, TimestampTz now);

/* ---- kept.c: segments that the worker keeps ---- */

/* live, worker or recheck: who keeps a segment of this rule (NULL: broken). */
extern const char *ma_segment_maintenance(const MaRule *rule);
/* No answer that is read is of an earlier time; false if it is live, or that is not known. */
extern bool ma_segment_evaluated_at(const MaSegment *segment, TimestampTz *at);
/* contact_ids the rule is true for now, ascending: by its SQL if that runs nothing of users. */
extern int64 *ma_segment_expected(MaSegment *segment, int *n);

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

extern MaMembers *ma_members_read(MaSegment *segment, TimestampTz now);

/* contact_ids the rule is true for at now, by its SQL, ascending. */
extern int64 *ma_oracle_read(const MaRule *rule, TimestampTz now, int *n);

/* ---- forecast.c ---- */

/* When the contact will enter or leave it if no row changes; DT_NOEND: never. */
extern TimestampTz ma_forecast_next(MaSegment *segment, int64 contact_id, bool *enters);

/* ---- lists.c ---- */

extern void ma_segment_facts_init(void);
extern void ma_segment_subscribed_init(void);

/* ---- merge.c ---- */

extern void ma_segment_merge_init(void);

/* ---- define.c ---- */

/* define_segment() within a call; returns its answer. */
extern char *ma_segment_define(const char *name, const char *rule, const char *description,
							   const char *search_path, Oid definer);
/* One transaction at a time changes segments. */
extern void ma_segments_lock(void);
/* Nobody writes what the rule reads to the end of the transaction. */
extern void ma_segment_lock_writers(const MaRule *rule);
/* True if there are so many contacts that the worker finds the members. */
extern bool ma_segment_build_later(void);
/* Watches and views of the segments of these names, as their rules are now. */
extern void ma_segments_rewatch(List *names);
/* "12 contacts": as stored. */
extern char *ma_segment_members_text(const char *name);
extern char *ma_segments_naming(const char *word, const char *name);

#endif							/* MA_SEGMENTS_INTERNAL_H */
