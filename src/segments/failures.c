/*
 * failures.c
 *		A rule that fails (a division by zero, a text that is no number) fails alone.
 *
 * Rules are evaluated together, so the error of one undoes the evaluation of all.  It
 * is caught here, each rule is then tried by itself, and the segments of those that
 * fail are marked for everybody: from the commit on they are not maintained, and reads
 * of them are errors.  The mark is a row that is added, since a user's commit must not
 * wait for another's, as an update of the definition would.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

/* What the guarded work is about. */
typedef struct Together
{
	MaRuleSet  *set;
	MaContactChange *contacts;
	int			n;
	const TimestampTz *as_of;
	const bool *wanted;
	MaTruth    *out;
} Together;

static void evaluate_set(void *arg);
static void evaluate_one(MaSegments *all, MaSegment *segment, const Together *together,
						 bool *wanted, MaTruth *out);

ErrorData *
ma_segment_guard(void (*work) (void *arg), void *arg)
{
	return ma_expression_guard(work, arg);
}

static void
evaluate_set(void *arg)
{
	Together   *together = arg;

	ma_rule_set_evaluate(together->set, together->contacts, together->n, together->as_of,
						 MA_RUN_READ_LATEST, together->wanted, together->out);
}

void
ma_segments_evaluate(MaSegments *all, MaContactChange *contacts, int n, const TimestampTz *as_of,
					 bool *wanted, MaTruth *out)
{
	Together	together = {all->set, contacts, n, as_of, wanted, out};

	if (ma_flush_tries_again())
	{
		evaluate_set(&together);
		return;
	}
	if (ma_segment_guard(evaluate_set, &together) == NULL)
		return;
	for (int i = 0; i < all->n; i++)
		if (all->segments[i]->place >= 0)
			evaluate_one(all, all->segments[i], &together, wanted, out);
}

/*
 * One rule by itself.  It is compiled anew, as the error may be that what was compiled
 * is out of date: a column was renamed or dropped a moment ago.
 */
static void
evaluate_one(MaSegments *all, MaSegment *segment, const Together *together, bool *wanted,
			 MaTruth *out)
{
	MaSegment	fresh = *segment;
	int			n = together->n;
	bool	   *own = palloc_array(bool, n);
	MaTruth    *truths = palloc_array(MaTruth, n);
	Together	alone = {NULL, together->contacts, n, together->as_of, own, truths};
	ErrorData  *error = NULL;
	bool		any = false;

	for (int i = 0; i < n; i++)
		any |= own[i] = wanted[i * all->nrules + segment->place];
	if (!any)
		return;
	ma_segment_compile(&fresh);
	if (fresh.rule != NULL)
	{
		alone.set = ma_rule_set_make(&fresh.rule, 1);
		error = ma_segment_guard(evaluate_set, &alone);
		if (error != NULL)
			ma_segment_mark_failed(segment, error->sqlerrcode, error->message);
	}
	else
		ma_definitions_expire();	/* broken: seen when they are read anew */
	for (int i = 0; i < n; i++)
	{
		int			cell = i * all->nrules + segment->place;

		wanted[cell] = own[i] && fresh.rule != NULL && error == NULL;
		if (wanted[cell])
			out[cell] = truths[i];
	}
}

void
ma_segment_mark_failed(const MaSegment *segment, int sqlerrcode, const char *message)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_failure (segment_id, failed_at, error_state, error) "
		"VALUES ($1, $2, $3, $4)",
		4, {INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = Int32GetDatum(segment->id);
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = CStringGetTextDatum(unpack_sql_state(sqlerrcode));
	values[3] = CStringGetTextDatum(message);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	ma_count_error(sqlerrcode, message);
	ma_definitions_changed();
}

/*
 * A segment that cannot be compiled is passed over.  If the column it misses comes back,
 * by a rename, nobody would know who was not evaluated: so it stays closed.
 */
void
ma_segments_mark_broken(const MaSegments *all)
{
	for (int i = 0; all->unmarked && i < all->n; i++)
	{
		const MaSegment *segment = all->segments[i];

		if (segment->misses_column && !segment->marked)
			ma_segment_mark_failed(segment, ERRCODE_UNDEFINED_COLUMN, segment->error);
	}
}

void
ma_segment_forget_failures(int32 segment_id)
{
	static MaStatement remove = {
		"WITH drift AS (DELETE FROM marketing_internal.segment_drift AS d "
		"WHERE d.segment_id OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM marketing_internal.segment_failure AS f "
		"WHERE f.segment_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(segment_id);

	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}
