/*
 * drain_rekeys.c
 *		Renames the keys of re-keyed rows that commits left in the dirty log.
 *
 * The log tells the steps in their order (dirty_id, step): that of the commits as
 * far as they share a key, since the row of a key is locked by who changes it.  A
 * step is done when no earlier one that names its old or new key waits; all others
 * need not wait for each other.  So portions may be small, one busy contact holds
 * up the steps of its own row and nobody else, and marks wait only while their
 * key is named (rename.c).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/flush/drain.h"
#include "miscadmin.h"

#define FIRST 50				/* steps looked at from the beginning of the log */
#define NEXT 500				/* and, if none of those can be done, from where we are */
#define MAX_DONE 50				/* steps of one turn */

typedef struct Step
{
	MaRekey		rekey;
	int			place;			/* row it was read from */
	int64		earlier;		/* steps in the log before it that name one of its keys */
	bool		busy;
} Step;

/* Steps read, and what became of them. */
typedef struct Portion
{
	MaRows		rows;
	Step	   *steps;
	int			first;			/* those to try now: from here */
	int			end;			/* ... to before here */
	int			seen;			/* how far it was tried */
	int			done;
} Portion;

/* Where the next look begins when nothing can be done at the beginning. */
static int64 at_number = 0;
static int32 at_step = 0;

static bool turn_from(int64 number, int32 step, int limit, Portion *portion);
static void read_steps(int64 number, int32 step, int limit, Portion *portion);
static void try_steps(void *arg);
static bool is_free(const Portion *portion, const Step *step);
static bool shares_key(const MaRekey *a, const MaRekey *b);
static void try_alone(Portion *portion);
static void finish(Portion *portion);
static void wake(const Portion *portion);

bool
ma_drain_rekeys(void)
{
	Portion		portion;

	if (!turn_from(0, 0, FIRST, &portion))
		return false;
	if (portion.done > 0)
		return true;
	if (portion.rows.n < FIRST)
		return false;
	if (!turn_from(at_number, at_step, NEXT, &portion) ||
		(portion.rows.n < NEXT && portion.seen == (int) portion.rows.n))
		at_number = at_step = 0;
	else
	{
		at_number = ma_int64(&portion.rows, portion.seen - 1, 5);
		at_step = ma_int32(&portion.rows, portion.seen - 1, 6);
	}
	return portion.done > 0;
}

/* Tries the steps after this one; false if there is none. */
static bool
turn_from(int64 number, int32 step, int limit, Portion *portion)
{
	ErrorData  *error;

	read_steps(number, step, limit, portion);
	if (portion->rows.n == 0)
		return false;
	error = ma_drain_protect(try_steps, portion, MA_DRAIN_BATCH_MS);
	if (error != NULL)
		try_alone(portion);
	finish(portion);
	return true;
}

static void
read_steps(int64 number, int32 step, int limit, Portion *portion)
{
	static MaStatement read = {
		"SELECT d.ctid, d.source_id, d.previous_id, d.external_id, d.dirty_id, d.step, "
		"(SELECT pg_catalog.count(*) FROM ("
		"SELECT e.ctid FROM marketing_internal.dirty AS e WHERE e.previous_id IS NOT NULL "
		"AND e.source_id OPERATOR(pg_catalog.=) d.source_id "
		"AND e.external_id OPERATOR(pg_catalog.=) ANY (ARRAY[d.external_id, d.previous_id]) "
		"AND ROW(e.dirty_id, e.step) OPERATOR(pg_catalog.<) ROW(d.dirty_id, d.step) "
		"UNION SELECT e.ctid FROM marketing_internal.dirty AS e WHERE e.previous_id IS NOT NULL "
		"AND e.source_id OPERATOR(pg_catalog.=) d.source_id "
		"AND e.previous_id OPERATOR(pg_catalog.=) ANY (ARRAY[d.external_id, d.previous_id]) "
		"AND ROW(e.dirty_id, e.step) OPERATOR(pg_catalog.<) ROW(d.dirty_id, d.step)) AS w) "
		"FROM marketing_internal.dirty AS d WHERE d.previous_id IS NOT NULL "
		"AND (d.retry_at IS NULL OR d.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()) "
		"AND ROW(d.dirty_id, d.step) OPERATOR(pg_catalog.>) ROW($1, $2) "
		"ORDER BY d.dirty_id, d.step LIMIT $3 FOR UPDATE SKIP LOCKED",
		3, {INT8OID, INT4OID, INT4OID}
	};
	Datum		values[3];
	int			nest_level = ma_pin_index_scans();

	memset(portion, 0, sizeof(*portion));
	values[0] = Int64GetDatum(number);
	values[1] = Int32GetDatum(step);
	values[2] = Int32GetDatum(limit);
	portion->rows = ma_run(&read, values, NULL, MA_RUN_WRITE_LATEST);
	ma_unpin_settings(nest_level);
	portion->steps = palloc0_array(Step, Max(portion->rows.n, 1));
	portion->end = (int) portion->rows.n;
	for (int i = 0; i < portion->end; i++)
	{
		Step	   *one = &portion->steps[i];

		one->place = i;
		one->rekey.source_id = ma_int32(&portion->rows, i, 2);
		one->rekey.old_key = ma_text(&portion->rows, i, 3);
		one->rekey.new_key = ma_text(&portion->rows, i, 4);
		one->earlier = ma_int64(&portion->rows, i, 7);
	}
}

/* Does what can be done, in order; a busy one holds up those that share a key. */
static void
try_steps(void *arg)
{
	Portion    *portion = arg;
	MaDrainBatch none = {NIL};
	MaEvaluation evaluation;
	int			most = Min(MAX_DONE, ma_drain_batch_size());

	ma_drain_start(&evaluation, &none);
	for (int i = portion->first; i < portion->end && portion->done < most; i++)
	{
		Step	   *step = &portion->steps[i];

		CHECK_FOR_INTERRUPTS();
		portion->seen = i + 1;
		if (!is_free(portion, step))
			continue;
		step->busy = !ma_lock_rekey(&evaluation, &step->rekey);
		if (step->busy)
			continue;
		ma_rekey_apply(&step->rekey);
		step->rekey.done = true;
		portion->done++;
	}
}

/* True when all earlier steps that name one of its keys are done, here and now. */
static bool
is_free(const Portion *portion, const Step *step)
{
	int64		done = 0;

	for (int i = 0; i < step->place && done < step->earlier; i++)
		if (portion->steps[i].rekey.done && shares_key(&portion->steps[i].rekey, &step->rekey))
			done++;
	return done == step->earlier;
}

static bool
shares_key(const MaRekey *a, const MaRekey *b)
{
	return a->source_id == b->source_id &&
		(strcmp(a->old_key, b->old_key) == 0 || strcmp(a->old_key, b->new_key) == 0 ||
		 strcmp(a->new_key, b->old_key) == 0 || strcmp(a->new_key, b->new_key) == 0);
}

/* After an error: each step by itself, while there is time; the culprit rests. */
static void
try_alone(Portion *portion)
{
	int			n = portion->end;

	for (int i = 0; i < n; i++)
		portion->steps[i].rekey.done = portion->steps[i].busy = false;
	portion->done = 0;
	for (int i = 0; i < n && portion->done < MAX_DONE && !ma_drain_late(); i++)
	{
		int			done = portion->done;
		ErrorData  *error;

		portion->first = i;
		portion->end = i + 1;
		error = ma_drain_protect(try_steps, portion, MA_DRAIN_ALONE_MS);
		if (error == NULL)
			continue;
		portion->done = done;
		portion->steps[i].rekey.done = portion->steps[i].busy = false;
		ma_drain_park(&portion->rows, list_make1_int(i), error);
	}
	portion->end = n;
}

static void
finish(Portion *portion)
{
	List	   *done = NIL;
	List	   *busy = NIL;

	for (int i = 0; i < portion->end; i++)
	{
		if (portion->steps[i].rekey.done)
			done = lappend_int(done, i);
		else if (portion->steps[i].busy)
			busy = lappend_int(busy, i);
	}
	ma_drain_delete(&portion->rows, done);
	ma_drain_rest(&portion->rows, busy, MA_REST_MS);
	if (done != NIL)
		wake(portion);
}

/* Marks of these keys, and row images, may have rested for nothing else. */
static void
wake(const Portion *portion)
{
	static MaStatement marks = {
		"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp() "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT m.ctid "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (source_id, key) "
		"CROSS JOIN LATERAL (SELECT d.ctid FROM marketing_internal.dirty AS d "
		"WHERE d.retry_at IS NOT NULL AND d.previous_id IS NULL AND d.table_id IS NULL "
		"AND d.error IS NULL AND d.source_id OPERATOR(pg_catalog.=) u.source_id "
		"AND d.external_id OPERATOR(pg_catalog.=) u.key OFFSET 0) AS m))",
		2, {INT4ARRAYOID, TEXTARRAYOID}
	};
	static MaStatement images = {
		"UPDATE marketing_internal.capture_row SET retry_at = NULL "
		"WHERE retry_at IS NOT NULL AND error IS NULL"
	};
	int32	   *sources = palloc_array(int32, 2 * portion->end);
	char	  **keys = palloc_array(char *, 2 * portion->end);
	int			n = 0;
	int			nest_level = ma_pin_index_scans();
	Datum		values[2];

	for (int i = 0; i < portion->end; i++)
	{
		MaRekey    *rekey = &portion->steps[i].rekey;

		if (!rekey->done)
			continue;
		sources[n] = sources[n + 1] = rekey->source_id;
		keys[n++] = rekey->old_key;
		keys[n++] = rekey->new_key;
	}
	values[0] = ma_int4_array(sources, n);
	values[1] = ma_text_array(keys, n);
	ma_run(&marks, values, NULL, MA_RUN_WRITE_LATEST);
	ma_run(&images, NULL, NULL, MA_RUN_WRITE_LATEST);
	ma_unpin_settings(nest_level);
}
