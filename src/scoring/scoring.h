/*
 * scoring.h
 *		The one public header of scoring/ (layer 3): points of contacts, computed
 *		from their rows, fading by a half-life.
 *
 * No ledger is kept: a score is a sum over the users' rows in closed form.  Computed
 * at one instant it is good for all later ones up to `until`, since all parts fade
 * alike; only the start or the expiry of a row or a change of rows ends that.
 */
#ifndef MA_SCORING_H
#define MA_SCORING_H

#include "contacts/contacts.h"

typedef struct MaScoreModel MaScoreModel;

/* Points of a contact at one instant, and how long they only fade. */
typedef struct MaScore
{
	int64		contact_id;
	float8		raw;			/* at `instant`, without floor and ceiling */
	TimestampTz instant;
	TimestampTz until;			/* DT_NOEND: until a row changes */
} MaScore;

/* The model of this name, or an error; valid to the end of the transaction. */
extern MaScoreModel *ma_score_model_required(const char *name);
/* Likewise, NULL if there is none. */
extern MaScoreModel *ma_score_model_by_name(const char *name);

extern const char *ma_score_model_name(const MaScoreModel *model);

/* Ids of the events (int) whose rows give points: who depends on the score watches them. */
extern List *ma_score_model_events(const MaScoreModel *model);

/* Columns (char *) its rules read of rows of this event. */
extern List *ma_score_model_columns(const MaScoreModel *model, int32 event_id);

/*
 * Computes the model's scores of the contacts from their rows, each as of its own
 * instant.  `how`: MA_RUN_READ or MA_RUN_READ_LATEST, the snapshot rows are read under.
 */
extern void ma_scores_compute(MaScoreModel *model, MaContactChange *contacts, int n,
							  const TimestampTz *as_of, MaRun how, MaScore *scores);

/* The score at an instant of [instant, until): faded, within floor and ceiling, rounded. */
extern float8 ma_score_at(const MaScoreModel *model, const MaScore *score, TimestampTz at);

/*
 * The first instant after `at` at which "score >= bound" is no longer what it is at
 * `at`, or score->until.  Scores are multiples of MA_SCORE_STEP, so "score > bound"
 * is "score >= bound + MA_SCORE_STEP" for a bound that is one.
 */
extern TimestampTz ma_score_holds(const MaScoreModel *model, const MaScore *score,
								  TimestampTz at, float8 bound);

#define MA_SCORE_STEP 0.0001

extern void ma_scoring_init(void);

#endif							/* MA_SCORING_H */
