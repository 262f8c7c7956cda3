/*
 * forecast.c
 *		Who will enter and leave a segment, and when, if no row changes.
 *
 * An evaluation says until when it holds, so the course of a contact is walked from
 * one such instant to the next with the rows as they are.  Only who has such an
 * instant before the horizon can change; that stands in the state, so a forecast
 * reads nobody else.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

#define READ_BATCH 1000
#define MAX_STEPS 10000			/* instants of one contact */

typedef struct Course
{
	int64		contact_id;
	bool		enters;
	TimestampTz at;
} Course;

/* Contacts whose courses are walked together. */
typedef struct Walk
{
	MaRuleSet  *set;
	MaContactChange *contacts;
	int			n;
	bool	   *truth;			/* by contact: at the last instant looked at */
	TimestampTz *next;			/* to be looked at next */
	TimestampTz horizon;
} Walk;

static void begin(Walk *walk, MaSegment *segment, const int64 *ids, int n, TimestampTz now,
				  TimestampTz horizon);
static void evaluate(Walk *walk, const int *places, int n, const TimestampTz *as_of, MaTruth *out);
static bool step(Walk *walk, Course *flips, int *nflips);
static int64 *candidates(MaSegments *all, MaSegment *segment, TimestampTz now, TimestampTz horizon,
						 int *n);
static int64 *everybody(int *n);
static void put(ReturnSetInfo *result, const Course *course);
static int	compare(const void *left, const void *right);
static void require_sync(const MaSegment *segment);

MA_FUNCTION(ma_forecast_segment);

static void
begin(Walk *walk, MaSegment *segment, const int64 *ids, int n, TimestampTz now,
	  TimestampTz horizon)
{
	TimestampTz *as_of = palloc_array(TimestampTz, Max(n, 1));
	int		   *places = palloc_array(int, Max(n, 1));
	MaTruth    *truths = palloc_array(MaTruth, Max(n, 1));

	walk->set = ma_rule_set_make(&segment->rule, 1);
	walk->contacts = ma_read_contacts(ids, n);
	walk->n = n;
	walk->horizon = horizon;
	walk->truth = palloc_array(bool, Max(n, 1));
	walk->next = palloc_array(TimestampTz, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		places[i] = i;
		as_of[i] = now;
	}
	evaluate(walk, places, n, as_of, truths);
	for (int i = 0; i < n; i++)
	{
		walk->truth[i] = truths[i].truth;
		walk->next[i] = truths[i].until;
	}
}

static void
evaluate(Walk *walk, const int *places, int n, const TimestampTz *as_of, MaTruth *out)
{
	MaContactChange *chosen = palloc_array(MaContactChange, Max(n, 1));

	for (int i = 0; i < n; i++)
		chosen[i] = walk->contacts[places[i]];
	ma_rule_set_evaluate(walk->set, chosen, n, as_of, MA_RUN_READ, NULL, out);
	pfree(chosen);
}

/* Each contact at his next instant before the horizon; false when there is none left. */
static bool
step(Walk *walk, Course *flips, int *nflips)
{
	int		   *places = palloc_array(int, Max(walk->n, 1));
	TimestampTz *as_of = palloc_array(TimestampTz, Max(walk->n, 1));
	MaTruth    *truths = palloc_array(MaTruth, Max(walk->n, 1));
	int			n = 0;

	*nflips = 0;
	for (int i = 0; i < walk->n; i++)
		if (walk->next[i] <= walk->horizon)
		{
			places[n] = i;
			as_of[n++] = walk->next[i];
		}
	evaluate(walk, places, n, as_of, truths);
	for (int i = 0; i < n; i++)
	{
		int			place = places[i];

		walk->next[place] = truths[i].until;
		if (truths[i].truth == walk->truth[place])
			continue;
		walk->truth[place] = truths[i].truth;
		flips[(*nflips)++] = (Course) {walk->contacts[place].contact_id, truths[i].truth, as_of[i]};
	}
	pfree(places);
	pfree(as_of);
	pfree(truths);
	return n > 0;
}

TimestampTz
ma_forecast_next(MaSegment *segment, int64 contact_id, bool *enters)
{
	Course		flip;
	Walk		walk;
	int			n = 0;

	begin(&walk, segment, &contact_id, 1, ma_now(), DT_NOEND - 1);
	for (int i = 0; i < MAX_STEPS && n == 0; i++)
		if (!step(&walk, &flip, &n))
			return DT_NOEND;
	*enters = n > 0 && flip.enters;
	return n > 0 ? flip.at : DT_NOEND;
}

/* Everybody whose truth may change by the horizon. */
static int64 *
candidates(MaSegments *all, MaSegment *segment, TimestampTz now, TimestampTz horizon, int *n)
{
	static MaStatement read = {
		"SELECT s.contact_id FROM marketing_internal.segment_state AS s "
		"WHERE s.next_wake OPERATOR(pg_catalog.<=) $1 "
		"AND s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz",
		1, {TIMESTAMPTZOID}
	};
	MaStale    *stale = ma_stale_contacts();
	Datum		value = TimestampTzGetDatum(horizon);
	MaRows		rows;

	if (segment->building || stale->any)
		return everybody(n);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	for (uint64 first = 0; first < rows.n; first += READ_BATCH)
	{
		int			size = (int) Min(READ_BATCH, rows.n - first);
		int64	   *ids = palloc_array(int64, size);
		MaSegmentStates *states;

		for (int i = 0; i < size; i++)
			ids[i] = ma_int64(&rows, first + i, 1);
		/* The wake is another segment's, mostly. */
		states = ma_states_read(all, ids, size, MA_RUN_READ);
		for (int i = 0; i < size; i++)
			if (states->wakes[i * all->n + all->places[segment->slot]] <= horizon)
				ma_stale_add(stale, ids[i]);
	}
	ma_stale_sort(stale);
	*n = stale->n;
	return stale->ids;
}

static int64 *
everybody(int *n)
{
	static MaStatement read = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);
	int64	   *ids = palloc_extended(mul_size(sizeof(int64), Max(rows.n, 1)), MCXT_ALLOC_HUGE);

	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	*n = (int) rows.n;
	return ids;
}

static void
require_sync(const MaSegment *segment)
{
	if (!segment->sync)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("segment \"%s\" is kept by the worker and cannot be forecast",
						segment->name),
				 errdetail("Its rule calls functions that are not built in or has sql (...): when that changes is not known.")));
}

static int
compare(const void *left, const void *right)
{
	const Course *a = left;
	const Course *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->contact_id < b->contact_id ? -1 : a->contact_id > b->contact_id;
}

static void
put(ReturnSetInfo *result, const Course *course)
{
	char	   *contact = ma_contact_text(course->contact_id);
	Datum		values[3];
	bool		nulls[3] = {contact == NULL, false, false};

	values[0] = contact ? CStringGetTextDatum(contact) : (Datum) 0;
	values[1] = BoolGetDatum(course->enters);
	values[2] = TimestampTzGetDatum(course->at);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* forecast_segment(name, within) */
Datum
ma_forecast_segment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	TimestampTz now = ma_now();
	TimestampTz horizon;
	MaSegments *all;
	MaSegment  *segment;
	MaCall		call;
	Course	   *courses = NULL;
	int			ncourses = 0;
	int64	   *ids;
	int			n;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("within must not be null")));
	horizon = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													  TimestampTzGetDatum(now),
													  PG_GETARG_DATUM(1)));
	if (horizon < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("within must not be negative"),
				 errhint("marketing.segment_members(name, at => ...) tells who was in a segment before.")));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	segment = ma_segment_get_whole(all, name);
	require_sync(segment);
	ids = candidates(all, segment, now, horizon, &n);
	for (int first = 0; first < n; first += READ_BATCH)
	{
		int			size = Min(READ_BATCH, n - first);
		Course	   *flips = palloc_array(Course, size);
		int			nflips;
		Walk		walk;

		begin(&walk, segment, ids + first, size, now, horizon);
		for (int i = 0; i < MAX_STEPS && step(&walk, flips, &nflips); i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (nflips == 0)
				continue;
			courses = courses == NULL ? palloc_array(Course, nflips) :
				repalloc_huge(courses, mul_size(sizeof(Course), ncourses + nflips));
			memcpy(courses + ncourses, flips, sizeof(Course) * nflips);
			ncourses += nflips;
		}
	}
	if (ncourses > 1)
		qsort(courses, ncourses, sizeof(Course), compare);
	for (int i = 0; i < ncourses; i++)
		put(result, &courses[i]);
	ma_call_end(&call);
	return (Datum) 0;
}
