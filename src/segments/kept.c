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

/* Contacts evaluated anew, to compare with what is stored. */
typedef struct Anew
{
	MaSegment  *segment;
	int64	   *ids;			/* who fits the rule */
	int			n;
	int			space;
} Anew;

static void evaluate(const int64 *ids, int n, void *arg);

const char *
ma_segment_maintenance(const MaRule *rule)
{
	if (rule == NULL || ma_rule_is_sync(rule))
		return "live";
	return ma_rule_recheck(rule) > 0 ? "recheck" : "worker";
}

bool
ma_segment_evaluated_at(const MaSegment *segment, TimestampTz *at)
{
	static MaStatement read = {
		"SELECT s.defined_at, EXISTS (SELECT FROM marketing_internal.dirty), "
		"(SELECT t.next_wake FROM marketing_internal.segment_state AS t "
		"WHERE t.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"ORDER BY t.next_wake LIMIT 1) "
		"FROM marketing_internal.segment AS s WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(segment->id);
	int64		every;
	MaRows		rows;
	bool		isnull;
	Datum		wake;

	if (segment->rule == NULL || segment->sync || segment->building)
		return false;
	every = ma_rule_recheck(segment->rule);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	if (rows.n == 0 || (every == 0 && ma_bool(&rows, 0, 2)))
		return false;
	*at = ma_now();
	wake = ma_value(&rows, 0, 3, &isnull);
	if (!isnull)
		*at = Min(*at, DatumGetTimestampTz(wake));
	*at = Max(*at - every, ma_int64(&rows, 0, 1));
	return true;
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
