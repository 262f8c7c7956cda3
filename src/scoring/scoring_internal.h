/*
 * scoring_internal.h
 *		What the files of scoring/ share among themselves and nobody else sees.
 */
#ifndef MA_SCORING_INTERNAL_H
#define MA_SCORING_INTERNAL_H

#include "pgtime.h"
#include "scoring/scoring.h"
#include "utils/jsonb.h"

#define MA_SCORE_CONSUMER "scores"

/* ---- model.c: definitions, compiled once per backend ---- */

/* Within this period at most so many rows of a rule count, the earliest. */
typedef enum MaScorePer
{
	MA_PER_EVER,
	MA_PER_DAY,
	MA_PER_WEEK,
	MA_PER_MONTH
} MaScorePer;

/* A table of a rule's event, and how the columns that the rule reads are called there now. */
typedef struct MaScoreReads
{
	Oid			relid;
	List	   *columns;		/* char *, in the order of the rule's; "": it is gone */
} MaScoreReads;

typedef struct MaScoreRule
{
	MaScoreModel *model;
	char	   *name;
	int32		event_id;
	char	   *condition;		/* canonical SQL over alias t, or NULL */
	char	   *points;			/* likewise, of type float8 */
	bool		is_constant;
	float8		constant;		/* points, if they are the same for every row */
	int			at_most;		/* 0: no limit */
	MaScorePer	per;
	Interval   *expires;		/* NULL: never */
	List	   *columns;		/* columns (char *) condition and points read */
	List	   *reads;			/* MaScoreReads: the tables of its view */
	char	   *segment;		/* of segment_entered and segment_left; NULL otherwise */
	int			place;			/* among all rules of all models */
} MaScoreRule;

typedef struct MaScoreThreshold
{
	char	   *name;
	float8		value;
	float8		lost;			/* once reached it is kept down to this */
} MaScoreThreshold;

struct MaScoreModel
{
	int32		id;
	char	   *name;
	int64		half_life;		/* in microseconds; 0: points do not fade */
	float8		floor;			/* minus infinity: none */
	float8		ceiling;
	int			nthresholds;
	MaScoreThreshold *thresholds;	/* ascending */
	char	   *time_zone;		/* of contacts that have none */
	int32		version;		/* counts its changes */
	bool		built;			/* state of all contacts is of this version ... */
	int64		built_upto;		/* ... or of those up to this one */
	bool		renamed;		/* capture does not know the columns' names of now */
	bool		entries;		/* some contact has points without a row */
	bool		assigned;		/* its leads are given to owners */
	List	   *rules;			/* MaScoreRule * */
	int			place;			/* among all models */
};

typedef struct MaScoreModels
{
	List	   *models;			/* MaScoreModel *, in order of their ids */
	int			nmodels;
	int			nrules;			/* of all models */
	bool		any_limit;		/* a rule has at_most, or expires by the calendar */
	List	   *fetches;		/* MaScoreFetch *, see score_rows.c */
	bool		fetches_ready;
	List	   *row_points;		/* MaRowPoints *, see row_points.c */
} MaScoreModels;

/* All models; valid to the end of the transaction. */
extern MaScoreModels *ma_score_models(void);
/* The same without a statement; NULL if they are to be read anew. */
extern MaScoreModels *ma_score_models_current(void);
extern MaScoreModel *ma_score_model_by_id(int32 id);
/* An event whose change has the model evaluated; where all points are by hand, one of its own. */
extern int32 ma_score_model_event(const MaScoreModel *model);
/* 50, or {"at": 50, "lost_below": 40}; the value is NaN where it is neither. */
extern void ma_score_threshold_read(const JsonbValue *value, MaScoreThreshold *threshold);

/* ---- points.c: the arithmetic of one score ---- */

/* What is left of one point after this long. */
extern float8 ma_score_left(const MaScoreModel *model, int64 age);
/* Within floor and ceiling, rounded to a multiple of MA_SCORE_STEP. */
extern float8 ma_score_finish(const MaScoreModel *model, float8 raw);
/* How many thresholds are reached with this score: the first so many are. */
extern int	ma_score_level(const MaScoreModel *model, float8 value);
/* The same for one that had reached so many before: the highest is kept down to `lost`. */
extern int	ma_score_level_from(const MaScoreModel *model, float8 value, int before);
/* The first instant after `at` at which it is not this level any more, or score->until. */
extern TimestampTz ma_score_level_holds(const MaScoreModel *model, const MaScore *score,
										TimestampTz at, int level);
/* Number of the day, week or month of the instant in the zone. */
extern int64 ma_score_period(MaScorePer per, TimestampTz at, pg_tz *zone);
/* The instant at which a row of this instant expires. */
extern TimestampTz ma_score_expiry(const Interval *expires, TimestampTz at, pg_tz *zone);
/* The score as a number with as many decimals as it needs. */
extern Datum ma_score_numeric(float8 value);

/* ---- score_rows.c: points from the users' rows ---- */

/* One score that is to be computed. */
typedef struct MaScorePair
{
	int			contact;		/* place in the array of contacts */
	MaScoreModel *model;
	TimestampTz as_of;
	bool		active;			/* compute() sets the score of active ones */
	MaScore		score;
} MaScorePair;

extern void ma_score_rows(MaScoreModels *models, MaContactChange *contacts, int n,
						  MaScorePair *pairs, int npairs, MaRun how);

/* How the rows of one source of an event are read. */
typedef struct MaScoreFetch
{
	const MaEvent *event;
	MaEventSource *source;		/* NULL: tracked, or built-in */
	Oid			key_type;
	int			nrules;
	MaScoreRule **rules;		/* those that fit the source, with its names */
	int		   *columns;		/* of the result, by rule; 0: all rows give the constant */
	char	  **sqls;			/* of these columns; NULL: there is none */
	MaStatement many;			/* (keys) to (place of the key, time, columns) */
	MaStatement one;			/* the same for a single key */
} MaScoreFetch;

/* All of them (MaScoreFetch *); the first time they are built, which may run statements. */
extern List *ma_score_fetches(MaScoreModels *models);
/* Frees the plans of fetches; runs when the models are replaced. */
extern void ma_score_fetches_free(MaScoreModels *models);

/* Where rows of the event stand (MaEventSource; NULL: tracked, or the event is built in). */
extern List *ma_score_sources(const MaEvent *event);
/* As ma_event_keys(); of a built-in event the rows of merged contacts count as well. */
extern int	ma_score_keys(const MaEvent *event, const MaEventSource *source,
						  MaContactChange *contacts, int n, MaRun how, int64 **ids, Datum **keys);
/* The rule's condition, without what machines did; NULL: all rows fit. */
extern char *ma_score_condition(const MaScoreRule *rule, const MaEvent *event,
								const MaEventSource *source);

/* ---- row_points.c: what a row gives, from its tuple alone ---- */

/* A row's time and what it gives under each rule of a source. */
typedef struct MaRowPoints MaRowPoints;

/*
 * The rules of the source, compiled for tuples of the row's table; NULL if whether and
 * when a row is the event takes more than the tuple.
 */
extern MaRowPoints *ma_row_points(MaScoreModels *models, const MaScoreFetch *fetch,
								  const MaAddedRow *row);
/* Takes a tuple; false if it is not the event. */
extern bool ma_row_points_take(MaRowPoints *points, HeapTuple tuple, TimestampTz *at);
/* False if the rule of the source, by its place, takes more than the tuple. */
extern bool ma_row_points_knows(const MaRowPoints *points, int rule);
/* What the tuple taken gives under a rule of the source, by its place; false: nothing. */
extern bool ma_row_points_of(MaRowPoints *points, int rule, float8 *number);

/* Time zones of contacts, by their places; the model's where a contact has none. */
extern pg_tz **ma_score_zones(MaContactChange *contacts, int n, MaRun how);
extern pg_tz *ma_score_zone(const MaScoreModel *model, pg_tz *contacts);

/* ---- consumer.c ---- */

/* No evaluation as of `at` or later reads rows of the event from before this instant. */
extern TimestampTz ma_score_model_reads_from(const MaScoreModel *model, int32 event_id,
											 TimestampTz at);

/* ---- views.c: views of rules, and the names their columns have now ---- */

extern void ma_score_views_init(void);
/* Makes or replaces the rule's view, where it needs one. */
extern void ma_score_view_set(const MaScoreRule *rule);
extern void ma_score_view_drop(const MaScoreRule *rule);
/* True if the view has exactly the tables the rule has rows in. */
extern bool ma_score_view_fits(const MaScoreRule *rule);
/* Reads the views of all rules into them. */
extern void ma_score_views_load(MaScoreModels *models);
/* The rule with the names that columns of this source (NULL: not attached) have now. */
extern MaScoreRule *ma_score_rule_as_named(const MaScoreRule *rule, const MaEventSource *source);
/* Likewise; NULL if it has no rows there, since a column is missing or the view was dropped. */
extern MaScoreRule *ma_score_rule_for(const MaScoreRule *rule, const MaEventSource *source);

/* ---- state.c: what is stored, and the course of scores up to now ---- */

/* A threshold that is reached, since when. */
typedef struct MaScoreReached
{
	char	   *name;
	TimestampTz since;
} MaScoreReached;

/* A threshold was reached or lost. */
typedef struct MaScoreFlip
{
	char	   *threshold;
	bool		reached;
	TimestampTz at;
} MaScoreFlip;

/* One row of marketing_internal.score. */
typedef struct MaScoreRow
{
	MaScore		score;
	TimestampTz wake;			/* the score crosses a threshold or ceases to only fade */
	int32		version;		/* of the model; negated: it could not be computed */
	int			nreached;
	MaScoreReached *reached;	/* in the order of the thresholds */
} MaScoreRow;

/* One score of a contact: as stored, as it is now, and what happened in between. */
typedef struct MaScoreState
{
	MaScorePair pair;
	bool		stored;			/* `was` is what is stored */
	MaScoreRow	was;
	MaScoreRow	now;
	List	   *flips;			/* MaScoreFlip *, in their order */
} MaScoreState;

/*
 * Brings the scores of contacts up to `now`: of the models that depend on what changed,
 * or of `only` this one.  Reads what is stored and the rows; writes nothing.
 */
extern MaScoreState *ma_score_states(MaContactChange *contacts, int n, MaScoreModel *only,
									 TimestampTz now, MaRun how, int *nstates);

/* True if what has changed of the contact may change his score. */
extern bool ma_score_depends(const MaScoreModel *model, const MaContactChange *contact);

/* The thresholds that are reached, from two arrays of the row. */
extern MaScoreReached *ma_score_reached_read(const MaRows *rows, uint64 row, int column, int *n);

/* Errors out if a write met another number of stored rows than it should. */
extern void ma_score_check_met(uint64 met, int n);
/* Writes what differs from what is stored. */
extern void ma_score_states_store(MaScoreState *states, int n);

/* ---- additions.c: scores to which rows are added ---- */

/*
 * Brings a stored row up to `now` if all that has happened is that rows were added to the
 * contact and neither is a threshold crossed; false: it must be computed, *row is as it was.
 */
extern bool ma_score_add(MaScoreModels *models, const MaScoreModel *model,
						 const MaContactChange *contact, TimestampTz now, MaScoreRow *row);
/* The consumer's settle(). */
extern bool ma_score_settle(const MaContactChange *contact, TimestampTz now);

/* ---- failures.c ---- */

/* As ma_score_states() of all models; a score that cannot be computed is marked and left out. */
extern MaScoreState *ma_score_states_guarded(MaContactChange *contacts, int n, TimestampTz now,
											 int *nstates);

/* ---- explain.c ---- */

/* What rows from after this instant, and points without one, give now; not within bounds. */
extern float8 ma_score_since(MaScoreModel *model, int64 contact_id, TimestampTz since,
							 TimestampTz now);

/* ---- sales/hand_over.c ---- */

/* They came over a threshold of a model whose leads are given to owners: the worker is told. */
extern void ma_hand_off_reached(int32 model_id, const int64 *contact_ids, int n);

/* ---- sales/leads.c ---- */

/*
 * True if sales has rejected the lead, and what happened since does not reach the threshold
 * by itself.
 */
extern bool ma_lead_is_spent(MaScoreModel *model, const MaScoreThreshold *threshold,
							 int64 contact_id, TimestampTz now);

/* ---- the files' inits ---- */

extern void ma_grades_init(void);
extern void ma_sales_init(void);

extern void ma_score_consumer_init(void);
extern void ma_score_atom_init(void);
extern void ma_score_uses_init(void);
extern void ma_score_wake_init(void);

#endif							/* MA_SCORING_INTERNAL_H */
