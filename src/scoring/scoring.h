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

/* From when on, not before `at`, nothing of the points is left, or they do not fade. */
extern TimestampTz ma_score_settled_at(const MaScoreModel *model, const MaScore *score,
									   TimestampTz at);

/*
 * The first instant after `at` at which "score >= bound" is no longer what it is at
 * `at`, or score->until.  Scores are multiples of MA_SCORE_STEP, so "score > bound"
 * is "score >= bound + MA_SCORE_STEP" for a bound that is one.
 */
extern TimestampTz ma_score_holds(const MaScoreModel *model, const MaScore *score,
								  TimestampTz at, float8 bound);

#define MA_SCORE_STEP 0.0001

/* ---- sales/entries.c: points without a row ---- */

/* Gives contacts (locked) points of the model now, which are marked for it. */
extern void ma_points_add(const char *model, const int64 *contact_ids, int n, float8 points,
						  const char *reason);

/* ---- stages/: the life cycle ---- */

extern void ma_stage_required(const char *name);
/* His stage; NULL: none. */
extern const char *ma_stage_of(int64 contact_id);
/* True if a step to this stage moves who is in the other one (NULL: in none). */
extern bool ma_stage_is_ahead(const char *name, const char *from);
/* Moves contacts (locked) to the stage who are not as far; returns how many. */
extern int	ma_stage_move(const char *name, const int64 *contact_ids, int n, const char *origin);

/* ---- sales/: owners and tasks ---- */

#define MA_ROUND_ROBIN "round_robin:"

/* Errors out unless it is "owner", the name of an owner, or round_robin:TEAM of a team there is. */
extern void ma_assignment_check(const char *assign);
/*
 * Gives contacts (locked) an owner: "owner" leaves all as they are, round_robin:TEAM those
 * whose owner is of the team.  owners[i]: his number, 0: none.
 */
extern void ma_owners_assign(const char *assign, const int64 *contact_ids, int n, int32 *owners);
/* Address of the contact's owner; NULL: there is none. */
extern char *ma_owner_email(int64 contact_id);

typedef struct MaTaskRequest
{
	int64		contact_id;
	const char *title;
	int32		owner_id;		/* 0: nobody's */
	TimestampTz due_at;			/* DT_NOEND: never */
	const char *journey;
	const char *step;
} MaTaskRequest;

/* Inserts tasks; task_ids[i] is the number. */
extern void ma_tasks_add(const MaTaskRequest *requests, int n, int64 *task_ids);

extern void ma_stages_init(void);
extern void ma_scoring_init(void);

#endif							/* MA_SCORING_H */
