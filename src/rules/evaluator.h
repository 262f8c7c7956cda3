/*
 * evaluator.h
 *		What the files of the evaluator share: a set of rules, what was read for a
 *		batch of contacts, and one contact at one instant; private to rules/.
 */
#ifndef MA_RULES_EVALUATOR_H
#define MA_RULES_EVALUATOR_H

#include "nodes/bitmapset.h"
#include "rules/rules_internal.h"

/* Attributes that are read together: those over one attached table, or the fields. */
typedef struct ContactFetch
{
	MaSource   *source;			/* NULL: marketing_internal.contact */
	List	   *attributes;		/* MaAttribute, one for each place */
	bool		mixed;			/* reads fields of contact besides the table's */
	bool		entry;			/* reads the row of the entry */
	bool		clock;			/* reads the instant it is evaluated as of */
	bool		worker;			/* for the worker: not read for who wants no such rule */
	MaStatement statement;
	List	   *places;			/* int: of the attributes */
} ContactFetch;

/* Rows of an event that are read together: those in one table, for all its streams. */
typedef struct EventFetch
{
	MaEvent    *event;
	MaEventSource *source;		/* NULL: tracked */
	Oid			key_type;
	List	   *streams;		/* MaStream, one for each place */
	List	   *outer;			/* MaAttribute: what the rows are read with of the contact */
	bool		images;			/* so an image of contact and entry is handed over */
	bool		worker;			/* as in ContactFetch */
	bool		ever;			/* some window reaches back for ever */
	int64		reach;			/* usecs the widest window reaches back at most */
	TimestampTz since;			/* the earliest fixed instant; DT_NOEND: none */
	MaStatement many;			/* (keys, after[, images]) to (place of the key, time, values) */
	MaStatement one;
} EventFetch;

/* What one rule of a set needs, itself or by segments it names. */
typedef struct RuleNeeds
{
	Bitmapset  *contacts;		/* places in contact_fetches */
	Bitmapset  *events;			/* places in event_fetches */
	Bitmapset  *facts;			/* places of facts */
	Bitmapset  *scores;			/* likewise */
} RuleNeeds;

struct MaRuleSet
{
	uint64		id;
	MaRule	  **rules;
	int			nrules;
	RuleNeeds  *needs;			/* of each rule */
	List	   *attributes;		/* MaAttribute, one for each place */
	List	   *streams;		/* MaStream, likewise */
	int			nattributes;
	int			nstreams;
	int			nfacts;
	bool		with_keys;		/* to explain: rows bring their keys, however old they are */
	List	   *facts;			/* MaNode, one for each place */
	List	   *scores;			/* MaNumber, likewise */
	int			nscores;
	List	   *contact_fetches;
	List	   *event_fetches;
	bool		worker;			/* a rule is for the worker */
	bool		needs_fields;	/* of contact: the zone, or what a mixed attribute reads */
};

/* A row of a stream. */
typedef struct Row
{
	TimestampTz at;
	Datum		value;
	bool		isnull;
	int32		key;			/* place in Batch.keys, where the set is with_keys */
} Row;

/* Rows of one stream for one contact, the newest first once sorted. */
typedef struct RowList
{
	Row		   *rows;
	int			n;
	int			space;
	/* ma_rows_add_up(): of the first i rows, for i from 0 to n */
	int		   *known;			/* how many have a value; NULL: not added up yet */
	Numeric    *sums;
	bool		negative;		/* some value is below zero */
} RowList;

/* What was read for a batch. */
typedef struct Batch
{
	MaRuleSet  *set;
	MaContactChange *contacts;
	int			n;
	const TimestampTz *as_of;
	MaRun		how;
	const Datum *entries;		/* jsonb for each contact, 0: none; NULL: none at all */
	const bool *worker;			/* who wants rules for the worker; NULL: everybody */
	Datum	   *values;			/* n * nattributes */
	bool	   *nulls;
	char	  **fields[5];		/* email, phone, time_zone, locale, attributes; if mixed */
	pg_tz	  **zones;
	MaTruth    *facts;			/* n * nfacts */
	RowList    *rows;			/* n * nstreams */
	MaRuleScore *scores;		/* n * nscores, read with the rows */
	bool		have_rows;
	List	   *keys;			/* char *: "orders id = 7", see Row.key */
} Batch;

/* One contact of the batch at one instant. */
typedef struct Moment
{
	Batch	   *batch;
	int			contact;
	TimestampTz at;
	pg_tz	   *zone;			/* the contact's, else the rule's */
	bool		pending;		/* rows are needed that are not read yet */
} Moment;

/* When one row counts: start <= t < end, and the period's bounds if there is one. */
typedef struct Span
{
	TimestampTz start;
	TimestampTz end;
	TimestampTz at;
	Datum		value;
	bool		isnull;
	int32		key;			/* as of its row */
} Span;

typedef struct Spans
{
	Span	   *spans;
	int			n;
	const MaWindow *window;
	pg_tz	   *zone;
} Spans;

/* Rows of a window of which those that count at an instant are neighbours. */
typedef struct Range
{
	RowList    *list;
	const MaWindow *window;
	int			n;				/* the first ones: the others never count */
	TimestampTz *starts;		/* NULL: by the row's own time */
	TimestampTz *ends;
} Range;

/* ---- set.c ---- */

/* Sets the places in its rules' trees, where another set has set others. */
extern void ma_rule_set_place(MaRuleSet *set);

/* ---- fetch.c ---- */

extern void ma_fetch_prepare(MaRuleSet *set);
/* What rules need; `wanted` is of n * nrules, NULL: all. */
extern void ma_fetch_contacts(Batch *batch, const bool *wanted);
extern void ma_fetch_rows(Batch *batch, const bool *wanted);
extern void ma_fetch_forget(MaRuleSet *set);

/* ---- images.c: what rows are read with ---- */

/* A jsonb object of the attributes (as text, by their SQL) of one contact of the batch. */
extern Datum ma_contact_image(const Batch *batch, int contact, List *attributes);
/* The row of the contact's entry, or an empty object. */
extern Datum ma_entry_image(const Batch *batch, int contact);

/* ---- blame.c ---- */

/* Within PG_CATCH(): throws the error again, with the rules it may come from. */
extern void ma_fetch_failed(const MaRuleSet *set, const EventFetch *rows,
							const ContactFetch *values,
							MemoryContext context) pg_attribute_noreturn();

/* ---- spans.c ---- */

extern Spans ma_spans(Moment *moment, const MaStream *stream, const MaWindow *window);
extern bool ma_span_holds(const Spans *spans, int i, TimestampTz t);
/* The least instant after t at which a row may begin or cease to count. */
extern TimestampTz ma_spans_next(const Spans *spans, TimestampTz t);
/* Leaves those followed (or not followed) by a row of the other stream within the time. */
extern void ma_spans_follow(Spans *spans, Moment *moment, const MaNode *node);
extern RowList *ma_rows_of(Moment *moment, const MaStream *stream);
/* The attribute as an instant; false if it is null. */
extern bool ma_instant_of(Moment *moment, const MaAttribute *attribute, TimestampTz *at);

/* ---- ranges.c ---- */

extern bool ma_range(Moment *moment, const MaStream *stream, const MaWindow *window, Range *range);
/* The rows that count at t: the first of them, and the one behind the last. */
extern void ma_range_at(const Range *range, TimestampTz t, int *from, int *to);
/* The least instant after t at which a row begins or ceases to count. */
extern TimestampTz ma_range_next(const Range *range, TimestampTz t);
/* When row i ceases to count. */
extern TimestampTz ma_range_end(const Range *range, int i);
/* Counts and sums of the first rows, once for each list. */
extern void ma_rows_add_up(RowList *list, MaValueType type);

/* ---- recheck.c ---- */

extern MaTruth ma_recheck(Moment *moment, const MaNode *node);

/* ---- atoms.c ---- */

extern MaTruth ma_atom(Moment *moment, const MaNode *node);

/* ---- evidence.c: the rows an answer rests on ---- */

/* Has the set read what the explanation shows besides: keys of rows, values of columns. */
extern void ma_evidence_begin(MaRuleSet *set);
/* Says in the line what the atom was decided by, and adds a line for each of its rows. */
extern void ma_evidence_of_node(List **lines, MaRuleLine *line, Moment *moment,
								const MaNode *node);
/* Likewise an aggregate; `change`: when the answer it is part of changes. */
extern void ma_evidence_of_number(List **lines, MaRuleLine *line, Moment *moment,
								  const MaNumber *number, TimestampTz change);

/* ---- compare.c ---- */

extern MaTruth ma_compare(Moment *moment, const MaNode *node);
/* Value of a number at an instant; false if unknown. */
extern bool ma_number_at(Moment *moment, const MaNumber *number, TimestampTz t, Numeric *value);
/* left operator right; false if unknown, as a division by zero is. */
extern bool ma_number_arithmetic(char operator, Numeric left, Numeric right, Numeric *value);
/* True if the comparison holds of two that numeric_cmp() orders so. */
extern bool ma_number_order_holds(const char *operator, int order);

/* ---- fading.c ---- */

/* When a comparison of scores and constants is first another than at `from`. */
extern TimestampTz ma_fading_holds(const Moment *moment, const MaNode *node, bool truth,
								   TimestampTz from, TimestampTz end, int *budget);

/* ---- scores.c ---- */

/* Reads a score of the contacts at these places. */
extern void ma_fetch_scores(Batch *batch, const MaNumber *score, const int *places, int n);
extern Numeric ma_score_at_moment(const Moment *moment, const MaNumber *number, TimestampTz t);
extern bool ma_has_score(const MaNumber *number);
/* Until when the scores in a number are known; DT_NOEND: it has none. */
extern TimestampTz ma_score_known_until(const Moment *moment, const MaNumber *number);
/* From when on none of them changes, as far as they are known. */
extern TimestampTz ma_score_settled(const Moment *moment, const MaNumber *number,
									TimestampTz from);
/* By how many steps the scores in a number change from one instant to another. */
extern float8 ma_score_steps(const Moment *moment, const MaNumber *number, TimestampTz from,
							 TimestampTz to);
/* The first instant after t at which one of them is another, as far as they are known. */
extern TimestampTz ma_score_next(const Moment *moment, const MaNumber *number, TimestampTz t);
/* True of one score alone against what only rows change: then this compares the two. */
extern bool ma_compares_one_score(const MaNode *node);
extern MaTruth ma_compare_score(Moment *moment, const MaNode *node);

/* ---- evaluate.c ---- */

/* Reads all that the set needs of the contacts, rows included. */
extern void ma_batch_read(Batch *batch);

extern MaTruth ma_node_truth(Moment *moment, const MaNode *node);

#endif							/* MA_RULES_EVALUATOR_H */
