/*
 * kept.c
 *		Segments that the worker keeps (users' functions, sql (...) recheck every DUR): what
 *		reads say of them is what was evaluated last.
 *
 * How old that is follows from the state: nobody's instant to be looked at again is
 * over but those the worker has not come to, so an answer of a rule that is asked
 * every DUR is at most so old, and older only by what the worker is behind.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"

#define MAX_OVERDUE 1000		/* contacts looked at for the first instant that is over */

/* Contacts evaluated anew, to compare with what is stored. */
typedef struct Anew
{
	MaSegment  *segment;
	int64	   *ids;			/* who fits the rule */
	int			n;
	int			space;
} Anew;

static TimestampTz first_overdue(const MaSegment *segment);
static void evaluate(const int64 *ids, int n, void *arg);

const char *
ma_segment_maintenance(const MaRule *rule)
{
	if (rule == NULL || ma_rule_is_sync(rule))
		return "live";
	return ma_rule_recheck(rule) > 0 ? "recheck" : "worker";
}

/*
 * What is read says of nobody less than what was so then: every change that the dirty
 * log holds of it is later, and every instant the worker has not come to.
 */
bool
ma_segment_evaluated_at(const MaSegment *segment, TimestampTz *at)
{
	static MaStatement read = {
		"SELECT s.defined_at, (SELECT pg_catalog.min(d.left_at) FROM marketing_internal.dirty AS d "
		"WHERE d.events IS NULL OR d.events OPERATOR(pg_catalog.&&) $2) "
		"FROM marketing_internal.segment AS s WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INT4ARRAYOID}
	};
	int32	   *events = palloc_array(int32, list_length(segment->events) + 1);
	Datum		values[2];
	MaRows		rows;
	bool		isnull;
	Datum		left;
	ListCell   *cell;

	if (segment->error != NULL || segment->sync || segment->building)
		return false;
	foreach(cell, segment->events)
		events[foreach_current_index(cell)] = ((MaRuleEvent *) lfirst(cell))->event_id;
	values[0] = Int32GetDatum(segment->id);
	values[1] = ma_int4_array(events, list_length(segment->events));
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	if (rows.n == 0)
		return false;
	left = ma_value(&rows, 0, 2, &isnull);
	*at = Min(ma_now(), first_overdue(segment));
	if (!isnull)
		*at = Min(*at, DatumGetTimestampTz(left));
	*at = Max(*at - ma_rule_recheck(segment->rule), ma_int64(&rows, 0, 1));
	return true;
}

/*
 * The first instant of this segment that is over and not looked at; of very many that
 * are over, one before it.
 */
static TimestampTz
first_overdue(const MaSegment *segment)
{
	static MaStatement read = {
		"SELECT s.contact_id, s.next_wake FROM marketing_internal.segment_state AS s "
		"WHERE s.next_wake OPERATOR(pg_catalog.<=) $1 "
		"AND s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"ORDER BY s.next_wake LIMIT $2",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	MaSegments *all = ma_segments();
	TimestampTz first = DT_NOEND;
	MaSegmentStates *states;
	Datum		values[2];
	MaRows		rows;
	int64	   *ids;

	values[0] = TimestampTzGetDatum(ma_now());
	values[1] = Int32GetDatum(MAX_OVERDUE);
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	ids = palloc_array(int64, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	states = ma_states_read(all, ids, (int) rows.n, MA_RUN_READ);
	for (int i = 0; i < states->n; i++)
		first = Min(first, states->wakes[i * all->n + all->places[segment->slot]]);
	return rows.n == MAX_OVERDUE ? Min(first, ma_int64(&rows, rows.n - 1, 2)) : first;
}

/* ---- compared with the rule as it is now ---- */

static void
evaluate(const int64 *ids, int n, void *arg)
{
	Anew	   *anew = arg;
	MaTruth    *truths = palloc_array(MaTruth, n);

	ma_rule_evaluate(anew->segment->rule, ma_read_contacts(ids, n), n, ma_now(), MA_RUN_READ,
					 truths);
	for (int i = 0; i < n; i++)
	{
		if (!truths[i].truth)
			continue;
		if (anew->n == anew->space)
		{
			anew->space *= 2;
			anew->ids = repalloc_huge(anew->ids, mul_size(sizeof(int64), anew->space));
		}
		anew->ids[anew->n++] = ids[i];
	}
}

int64 *
ma_segment_expected(MaSegment *segment, int *n)
{
	Anew		anew = {segment, NULL, 0, 64};

	if (ma_rule_is_plain(segment->rule))
		return ma_oracle_read(segment->rule, ma_now(), n);
	anew.ids = palloc_array(int64, anew.space);
	ma_contacts_each(0, MA_RUN_READ, evaluate, &anew);
	*n = anew.n;
	return anew.ids;
}
