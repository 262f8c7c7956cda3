/*
 * failures.c
 *		Points that cannot be computed (a division by zero, a table that is gone) fail
 *		alone: the contact's other scores, his segments and his journeys go on.
 *
 * The scores of a change are computed together.  After an error of an expression each
 * contact and model is tried by itself, and what fails is marked: its row keeps what
 * was reached and bears the version negated and the error.  So it is no state of the
 * present version: reads compute it, which shows the error, and the next change of the
 * contact or of the model computes it again.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/scoring_internal.h"
#include "utils/builtins.h"

/* What is computed under guard. */
typedef struct Attempt
{
	MaContactChange *contacts;
	int			n;
	MaScoreModel *only;
	TimestampTz now;
	MaScoreState *states;
	int			nstates;
} Attempt;

static void compute(void *arg);
static void each_alone(Attempt *all);
static void mark(int64 contact_id, const MaScoreModel *model, TimestampTz now,
				 const ErrorData *error);

MaScoreState *
ma_score_states_guarded(MaContactChange *contacts, int n, TimestampTz now, int *nstates)
{
	Attempt		all = {contacts, n, NULL, now};

	if (ma_flush_tries_again())
		compute(&all);
	else if (ma_expression_guard(compute, &all) != NULL)
		each_alone(&all);
	*nstates = all.nstates;
	return all.states;
}

static void
compute(void *arg)
{
	Attempt    *attempt = arg;

	attempt->states = ma_score_states(attempt->contacts, attempt->n, attempt->only, attempt->now,
									  MA_RUN_READ_LATEST, &attempt->nstates);
}

/* The states of those that do not fail. */
static void
each_alone(Attempt *all)
{
	MaScoreModels *models = ma_score_models();
	int			space = Max((int) mul_size(all->n, models->nmodels), 1);

	all->states = palloc_array(MaScoreState, space);
	all->nstates = 0;
	for (int i = 0; i < all->n; i++)
	{
		ListCell   *cell;

		foreach(cell, models->models)
		{
			Attempt		alone = {&all->contacts[i], 1, lfirst(cell), all->now};
			ErrorData  *error;

			if (!ma_score_depends(alone.only, alone.contacts))
				continue;
			error = ma_expression_guard(compute, &alone);
			if (error != NULL)
				mark(alone.contacts->contact_id, alone.only, all->now, error);
			for (int j = 0; error == NULL && j < alone.nstates; j++)
				all->states[all->nstates++] = alone.states[j];
		}
	}
}

static void
mark(int64 contact_id, const MaScoreModel *model, TimestampTz now, const ErrorData *error)
{
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.score AS s "
		"(contact_id, model_id, value, instant, wake, version, error_state, error) "
		"VALUES ($1, $2, 0, $3, 'infinity', OPERATOR(pg_catalog.-) $4, $5, $6) "
		"ON CONFLICT (contact_id, model_id) DO UPDATE SET wake = EXCLUDED.wake, "
		"version = EXCLUDED.version, error_state = EXCLUDED.error_state, error = EXCLUDED.error "
		"WHERE s.version OPERATOR(pg_catalog.<=) $4",
		6, {INT8OID, INT4OID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[6];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(model->id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = Int32GetDatum(model->version);
	values[4] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[5] = CStringGetTextDatum(error->message);
	ma_run(&upsert, values, NULL, MA_RUN_WRITE_LATEST);
	ma_count_error(error->sqlerrcode, error->message);
}
