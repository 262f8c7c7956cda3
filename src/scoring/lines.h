/*
 * lines.h
 *		The rows of one contact that give points, one by one, and their course, for what
 *		explains a score and goes by it; private to scoring/.
 */
#ifndef MA_SCORING_LINES_H
#define MA_SCORING_LINES_H

#include "scoring/scoring_internal.h"

/* A row that fits a rule, or points without a row. */
typedef struct MaScoreLine
{
	MaScoreRule *rule;
	char	   *row_key;
	TimestampTz at;
	float8		points;
	float8		points_now;
	TimestampTz fades_at;		/* DT_NOEND: never */
	TimestampTz expiry;			/* likewise */
	bool		over;			/* at_most keeps it from counting */
	const char *state;
} MaScoreLine;

/* The lines of one contact and model. */
typedef struct MaScoreLines
{
	MaContactChange *contact;
	MaRun		how;
	pg_tz	   *zone;
	TimestampTz now;
	int			n;
	int			space;
	MaScoreLine *lines;
} MaScoreLines;

/* All rows that fit a rule of the model, judged as of now; read as `how` says. */
extern MaScoreLines *ma_score_lines(MaScoreModel *model, int64 contact_id, TimestampTz now,
									MaRun how);

/* A line begins or ceases to count. */
typedef struct MaScoreChange
{
	TimestampTz at;
	float8		points;			/* of the row at its time */
	const MaScoreLine *line;
	bool		ends;
} MaScoreChange;

/* What lines from after one instant do up to another, in its order. */
extern MaScoreChange *ma_score_course(const MaScoreLines *lines, TimestampTz since,
									  TimestampTz until, int *n);

#endif							/* MA_SCORING_LINES_H */
