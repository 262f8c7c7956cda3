/*
 * score_api.c
 *		Reading scores: score(), and the contacts over a threshold.
 *
 * Reads are exact at marketing.now() whatever the workers do.  One contact's score is
 * computed from the rows.  For many, what is stored is used where it holds, faded to
 * now; who is overdue, in the dirty log, changed by this transaction, or of an older
 * version of the model is computed.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "scoring/define.h"
#include "utils/builtins.h"


/* What a read hands on. */
typedef struct Reading
{
	ReturnSetInfo *result;
	MaScoreModel *model;
	TimestampTz now;
	bool		hot;			/* only who has reached a threshold */
} Reading;

static void emit_model(Reading *reading, MaStale *stale);
static int64 built_upto(const MaScoreModel *model);
static void emit_stored(Reading *reading, int64 upto, MaStale *stale);
static void emit_computed(const int64 *ids, int n, void *arg);
static void emit(Reading *reading, const MaScoreRow *row);
static MaStale *copy_stale(const MaStale *stale);

MA_FUNCTION(ma_score_of);
MA_FUNCTION(ma_score_values);

/* marketing.score(contact, model) */
Datum
ma_score_of(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaScoreModel *model;
	MaContactChange *contacts;
	MaScore		score;
	TimestampTz now = ma_now();
	int64		contact_id;
	char	   *name;
	MaCall		call;
	Datum		answer;

	(void) ma_extension_required();
	name = ma_score_name(fcinfo, 1, "model");
	ma_call_begin(&call);
	model = ma_score_model_required(name);
	contact_id = ma_contact_argument(fcinfo, false);
	contacts = ma_read_contacts(&contact_id, 1);
	ma_scores_compute(model, contacts, 1, &now, MA_RUN_READ, &score);
	MemoryContextSwitchTo(context);
	answer = ma_score_numeric(ma_score_at(model, &score, now));
	ma_call_end(&call);
	PG_RETURN_DATUM(answer);
}

/*
 * marketing_internal.score_values(model, hot): contacts with a score other than that
 * of nobody, or (hot) those over a threshold; model null: all models.
 */
Datum
ma_score_values(PG_FUNCTION_ARGS)
{
	Reading		reading = {(ReturnSetInfo *) fcinfo->resultinfo};
	char	   *name = ma_score_text(fcinfo, 0);
	List	   *models;
	MaStale    *stale;
	MaCall		call;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	reading.now = ma_now();
	reading.hot = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	ma_call_begin(&call);
	models = name ? list_make1(ma_score_model_required(name)) : ma_score_models()->models;
	stale = ma_stale_contacts();
	foreach(cell, models)
	{
		reading.model = lfirst(cell);
		emit_model(&reading, copy_stale(stale));
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* Each model adds its own overdue contacts. */
static MaStale *
copy_stale(const MaStale *stale)
{
	MaStale    *copy = palloc_object(MaStale);

	*copy = *stale;
	copy->ids = palloc_array(int64, copy->space);
	memcpy(copy->ids, stale->ids, sizeof(int64) * stale->n);
	return copy;
}

static void
emit_model(Reading *reading, MaStale *stale)
{
	int64		upto = stale->any ? 0 : built_upto(reading->model);
	int			n = 0;

	if (upto < PG_INT64_MAX)
		ma_contacts_each(upto, MA_RUN_READ, emit_computed, reading);
	if (upto == 0)
		return;
	emit_stored(reading, upto, stale);
	while (n < stale->n && stale->ids[n] <= upto)
		n++;
	ma_contacts_each_of(stale->ids, n, emit_computed, reading);
}

/* Up to which contact what is stored is of this version, under the reading snapshot. */
static int64
built_upto(const MaScoreModel *model)
{
	static MaStatement read = {
		"SELECT built, built_upto FROM marketing_internal.score_model "
		"WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		arguments[2];
	MaRows		rows;

	arguments[0] = Int32GetDatum(model->id);
	arguments[1] = Int32GetDatum(model->version);
	rows = ma_run(&read, arguments, NULL, MA_RUN_READ);
	if (rows.n == 0)
		return 0;
	return ma_bool(&rows, 0, 1) ? PG_INT64_MAX : ma_int64(&rows, 0, 2);
}

/* Stored scores that hold now; overdue and outdated ones join the stale contacts. */
static void
emit_stored(Reading *reading, int64 upto, MaStale *stale)
{
	static MaStatement read = {
		"SELECT s.contact_id, s.value, s.instant, s.wake, s.reached, s.reached_at, "
		"s.version OPERATOR(pg_catalog.=) $2 AND s.wake OPERATOR(pg_catalog.>) $3 "
		"AND s.instant OPERATOR(pg_catalog.<=) $3 "
		"FROM marketing_internal.score AS s WHERE s.model_id OPERATOR(pg_catalog.=) $1 "
		"AND s.contact_id OPERATOR(pg_catalog.<=) $4",
		4, {INT4OID, INT4OID, TIMESTAMPTZOID, INT8OID}
	};
	/* Who has reached nothing may do so when his wake has passed, or under a new version. */
	static MaStatement read_hot = {
		"SELECT s.contact_id, s.value, s.instant, s.wake, s.reached, s.reached_at, "
		"s.version OPERATOR(pg_catalog.=) $2 AND s.wake OPERATOR(pg_catalog.>) $3 "
		"AND s.instant OPERATOR(pg_catalog.<=) $3 "
		"FROM marketing_internal.score AS s WHERE s.model_id OPERATOR(pg_catalog.=) $1 "
		"AND s.contact_id OPERATOR(pg_catalog.<=) $4 "
		"AND (s.reached OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] "
		"OR s.wake OPERATOR(pg_catalog.<=) $3 OR s.version OPERATOR(pg_catalog.<>) $2 "
		"OR s.instant OPERATOR(pg_catalog.>) $3)",
		4, {INT4OID, INT4OID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		arguments[4];
	MaRows		rows;

	arguments[0] = Int32GetDatum(reading->model->id);
	arguments[1] = Int32GetDatum(reading->model->version);
	arguments[2] = TimestampTzGetDatum(reading->now);
	arguments[3] = Int64GetDatum(upto);
	rows = ma_run(reading->hot ? &read_hot : &read, arguments, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaScoreRow	row = {{ma_int64(&rows, i, 1)}};
		bool		isnull;

		if (ma_stale_has(stale, row.score.contact_id))
			continue;
		if (!ma_bool(&rows, i, 7))
		{
			ma_stale_add(stale, row.score.contact_id);
			continue;
		}
		row.score.raw = DatumGetFloat8(ma_value(&rows, i, 2, &isnull));
		row.score.instant = ma_int64(&rows, i, 3);
		row.score.until = row.wake = ma_int64(&rows, i, 4);
		row.reached = ma_score_reached_read(&rows, i, 5, &row.nreached);
		emit(reading, &row);
	}
	ma_stale_sort(stale);
}

/* Computes the scores of these contacts from their rows. */
static void
emit_computed(const int64 *ids, int n, void *arg)
{
	Reading    *reading = arg;
	MaContactChange *contacts = ma_read_contacts(ids, n);
	int			nstates;
	MaScoreState *states = ma_score_states(contacts, n, reading->model, reading->now,
										   MA_RUN_READ, &nstates);

	for (int i = 0; i < nstates; i++)
		emit(reading, &states[i].now);
}

/* One contact's row of the result. */
static void
emit(Reading *reading, const MaScoreRow *row)
{
	const MaScoreModel *model = reading->model;
	float8		value = ma_score_at(model, &row->score, reading->now);
	Datum		values[5];
	bool		nulls[5] = {false};

	if (reading->hot ? row->nreached == 0 : row->score.raw == 0)
		return;
	values[0] = Int64GetDatum(row->score.contact_id);
	values[1] = CStringGetTextDatum(model->name);
	values[2] = ma_score_numeric(value);
	nulls[3] = nulls[4] = row->nreached == 0;
	if (!nulls[3])
	{
		values[3] = CStringGetTextDatum(row->reached[row->nreached - 1].name);
		values[4] = TimestampTzGetDatum(row->reached[row->nreached - 1].since);
	}
	tuplestore_putvalues(reading->result->setResult, reading->result->setDesc, values, nulls);
}
