/*
 * points.c
 *		The arithmetic of a score: what is left of points, levels, periods, expiry.
 *
 * All rows of a model fade with one half-life, so a sum of them fades as one: that
 * is what lets a score be kept as a number at an instant.  A score is rounded to
 * four decimals before it is shown or compared, so that what is compared is what is
 * shown, and noise in the last digits of a sum decides nothing.
 *
 * The instant at which a fading score leaves a threshold is searched with the very
 * function that computes the score, microsecond by microsecond: what is stored as the
 * next wake and what a read finds cannot differ.
 */
#include "base/base.h"

#include <math.h>

#include "scoring/scoring_internal.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define STEPS_PER_POINT 10000.0	/* 1 / MA_SCORE_STEP */
#define LARGE 1e18
/* About the year 287,000: what an age of any row then is still holds. */
#define FAR_AWAY (END_TIMESTAMP + MIN_TIMESTAMP)

float8
ma_score_left(const MaScoreModel *model, int64 age)
{
	return model->half_life == 0 ? 1.0 : exp2(-(float8) age / (float8) model->half_life);
}

float8
ma_score_finish(const MaScoreModel *model, float8 raw)
{
	float8		value = raw;

	value = Max(value, model->floor);
	value = Min(value, model->ceiling);
	/* Large ones have no decimals, and the largest ones would be infinite. */
	if (fabs(value) < LARGE)
		value = round(value * STEPS_PER_POINT) / STEPS_PER_POINT;
	return value == 0 ? 0 : value;	/* no minus zero */
}

float8
ma_score_at(const MaScoreModel *model, const MaScore *score, TimestampTz at)
{
	return ma_score_finish(model, score->raw * ma_score_left(model, at - score->instant));
}

int
ma_score_level(const MaScoreModel *model, float8 value)
{
	int			level = 0;

	while (level < model->nthresholds && value >= model->thresholds[level].value)
		level++;
	return level;
}

int
ma_score_level_from(const MaScoreModel *model, float8 value, int before)
{
	int			level = ma_score_level(model, value);

	/* Only the next one may be kept, as it is lost no lower than where this one is reached. */
	return level + (before > level && value >= model->thresholds[level].lost);
}

TimestampTz
ma_score_settled_at(const MaScoreModel *model, const MaScore *score, TimestampTz at)
{
	float8		halvings;
	float8		end;

	if (model->half_life == 0 || score->raw == 0)
		return at;
	halvings = fabs(score->raw) < MA_SCORE_STEP ? 2 : log2(fabs(score->raw) / MA_SCORE_STEP) + 2;
	end = (float8) Max(at, score->instant) + halvings * (float8) model->half_life;
	return end >= (float8) FAR_AWAY ? Max(at, FAR_AWAY) : (TimestampTz) end;
}

TimestampTz
ma_score_holds(const MaScoreModel *model, const MaScore *score, TimestampTz at, float8 bound)
{
	bool		holds = ma_score_at(model, score, at) >= bound;
	TimestampTz low = at;
	TimestampTz high = Min(score->until, ma_score_settled_at(model, score, at));

	if (high <= low || (ma_score_at(model, score, high) >= bound) == holds)
		return score->until;
	/* It goes one way only, towards zero: search the first microsecond. */
	while (high - low > 1)
	{
		TimestampTz middle = low + (high - low) / 2;

		if ((ma_score_at(model, score, middle) >= bound) == holds)
			low = middle;
		else
			high = middle;
	}
	return high;
}

TimestampTz
ma_score_level_holds(const MaScoreModel *model, const MaScore *score, TimestampTz at,
					 int level)
{
	/* Thresholds lie above the score of nobody, so a score leaves only the one below it. */
	return level == 0 ? score->until :
		ma_score_holds(model, score, at, model->thresholds[level - 1].lost);
}

int64
ma_score_period(MaScorePer per, TimestampTz at, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fraction;
	int			offset;
	int64		day;

	if (per == MA_PER_EVER)
		return 0;
	if (timestamp2tm(at, &offset, &tm, &fraction, NULL, zone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	if (per == MA_PER_MONTH)
		return (int64) tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon;
	day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
	/* Julian day 0 is a Monday. */
	return per == MA_PER_DAY ? day : day / 7;
}

/*
 * Minutes to weeks are exact (a day is 24 hours), months and years are calendar in the
 * zone: so the rule language says.  Beyond the end of the calendar it is never.
 */
TimestampTz
ma_score_expiry(const Interval *expires, TimestampTz at, pg_tz *zone)
{
	int64		exact = expires->time + expires->day * USECS_PER_DAY;

	if (expires->month != 0)
	{
		struct pg_tm tm;
		fsec_t		fraction;
		int			offset;

		if (timestamp2tm(at, &offset, &tm, &fraction, NULL, zone) != 0)
			return DT_NOEND;
		tm.tm_mon += expires->month;
		tm.tm_year += (tm.tm_mon - 1) / MONTHS_PER_YEAR;
		tm.tm_mon = (tm.tm_mon - 1) % MONTHS_PER_YEAR + 1;
		tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
		offset = DetermineTimeZoneOffset(&tm, zone);
		if (tm2timestamp(&tm, fraction, &offset, &at) != 0)
			return DT_NOEND;
	}
	return at >= END_TIMESTAMP - exact ? DT_NOEND : at + exact;
}

Datum
ma_score_numeric(float8 value)
{
	Datum		number = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("%.4f", value)),
											 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	return DirectFunctionCall1(numeric_trim_scale, number);
}
