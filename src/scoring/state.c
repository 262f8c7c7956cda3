/*
 * state.c
 *		What is stored of scores, and their course up to now.
 *
 * A stored score is a number at an instant that only fades until its wake.  When the
 * wake has passed, the score is first computed as of the wake, then as of the next one,
 * and so on: each crossing of a threshold is found at its own instant, also when nobody
 * looked for a week.  A change of rows takes effect now.
 *
 * Scores are computed from the rows; so what is stored may be thrown away at any time.
 * Only where rows were added and nothing else happened are these added to what is stored
 * (additions.c).  No row is kept of a score without any points.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "scoring/scoring_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#define MAX_STEPS 50			/* wakes that are followed one by one */
#define SAME 1e-12				/* relative difference that is noise of a sum */

static MaScoreState *make_states(MaContactChange *contacts, int n, MaScoreModels *models,
								 MaScoreModel *only, int *nstates);
static void read_stored(MaScoreState *states, int n, MaRun how);
static bool step(MaScoreState *state, TimestampTz now, bool last);
static void set_reached(MaScoreState *state, TimestampTz at);
static const MaScoreReached *find_reached(const MaScoreRow *row, const char *name);
static void add_flip(MaScoreState *state, char *threshold, bool reached, TimestampTz at);
static bool is_nothing(const MaScoreRow *row);
static bool is_same(const MaScoreState *state);
static void write_states(MaStatement *statement, MaScoreState **states, int n);
static void update_one(const MaScoreState *state);
static void reached_texts(const MaScoreRow *row, char **names, char **times);

MaScoreState *
ma_score_states(MaContactChange *contacts, int n, MaScoreModel *only, TimestampTz now,
				MaRun how, int *nstates)
{
	MaScoreModels *models = ma_score_models();
	MaScoreState *states = make_states(contacts, n, models, only, nstates);
	MaScorePair *pairs = palloc_array(MaScorePair, Max(*nstates, 1));
	bool		more = false;

	if (*nstates == 0)
		return states;
	read_stored(states, *nstates, how);
	for (int i = 0; i < *nstates; i++)
	{
		MaScoreState *state = &states[i];
		bool		overdue = state->stored && state->was.version == state->pair.model->version &&
			state->was.wake <= now && state->was.score.instant <= now;

		state->now = state->was;
		if (state->stored && ma_score_add(models, state->pair.model,
										  &contacts[state->pair.contact], now, &state->now))
			continue;
		more = true;
		state->now.version = state->pair.model->version;
		state->pair.active = true;
		state->pair.as_of = overdue ? state->was.wake : now;
	}
	for (int round = 1; more; round++)
	{
		more = false;
		for (int i = 0; i < *nstates; i++)
			pairs[i] = states[i].pair;
		ma_score_rows(models, contacts, n, pairs, *nstates, how);
		for (int i = 0; i < *nstates; i++)
		{
			states[i].pair = pairs[i];
			if (pairs[i].active)
				more |= step(&states[i], now, round >= MAX_STEPS);
		}
	}
	return states;
}

/* One for each contact and model that are concerned, in order of both. */
static MaScoreState *
make_states(MaContactChange *contacts, int n, MaScoreModels *models, MaScoreModel *only,
			int *nstates)
{
	MaScoreState *states = palloc0_array(MaScoreState, Max(n * models->nmodels, 1));

	*nstates = 0;
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, models->models)
		{
			MaScoreModel *model = lfirst(cell);

			if (only != NULL ? model != only : !ma_score_depends(model, &contacts[i]))
				continue;
			states[*nstates].pair.contact = i;
			states[*nstates].pair.model = model;
			states[(*nstates)++].pair.score.contact_id = contacts[i].contact_id;
		}
	}
	return states;
}

bool
ma_score_depends(const MaScoreModel *model, const MaContactChange *contact)
{
	ListCell   *cell;

	if (contact->identity)
		return true;
	foreach(cell, model->rules)
		for (int i = 0; i < contact->nevents; i++)
			if (contact->events[i].event_id == ((MaScoreRule *) lfirst(cell))->event_id)
				return true;
	for (int i = 0; i < contact->nevents && model->rules == NIL; i++)
		if (contact->events[i].event_id == ma_score_model_event(model))
			return true;
	return false;
}

static void
read_stored(MaScoreState *states, int n, MaRun how)
{
#define READ_SQL "SELECT s.contact_id, s.model_id, s.value, s.instant, s.wake, s.version, " \
		"s.reached, s.reached_at FROM marketing_internal.score AS s " \
		"WHERE s.contact_id OPERATOR(pg_catalog.=) "
	static MaStatement read = {READ_SQL "ANY ($1)", 1, {INT8ARRAYOID}};
	static MaStatement read_one = {READ_SQL "$1", 1, {INT8OID}};
	int64	   *ids = palloc_array(int64, n);
	int			nids = 0;
	Datum		argument;
	MaRows		rows;
	int			place = 0;

	for (int i = 0; i < n; i++)
		if (nids == 0 || ids[nids - 1] != states[i].pair.score.contact_id)
			ids[nids++] = states[i].pair.score.contact_id;
	argument = nids == 1 ? Int64GetDatum(ids[0]) : ma_int8_array(ids, nids);
	rows = ma_run(nids == 1 ? &read_one : &read, &argument, NULL, how);
	for (uint64 i = 0; i < rows.n; i++)
		for (int j = 0; j < n; j++, place = (place + 1) % n)
		{
			MaScoreState *state = &states[place];
			bool		isnull;

			if (state->pair.score.contact_id != ma_int64(&rows, i, 1) ||
				state->pair.model->id != ma_int32(&rows, i, 2))
				continue;
			state->stored = true;
			state->was.score.contact_id = ma_int64(&rows, i, 1);
			state->was.score.raw = DatumGetFloat8(ma_value(&rows, i, 3, &isnull));
			state->was.score.instant = ma_int64(&rows, i, 4);
			state->was.score.until = state->was.wake = ma_int64(&rows, i, 5);
			state->was.version = ma_int32(&rows, i, 6);
			state->was.reached = ma_score_reached_read(&rows, i, 7, &state->was.nreached);
			break;
		}
}

MaScoreReached *
ma_score_reached_read(const MaRows *rows, uint64 row, int column, int *n)
{
	MaScoreReached *reached;
	bool		isnull;
	ArrayType  *names = DatumGetArrayTypeP(ma_value(rows, row, column, &isnull));
	Datum	   *items;
	Datum	   *times;
	int			ntimes;

	*n = 0;
	if (ARR_NDIM(names) == 0)
		return NULL;
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, n);
	deconstruct_array(DatumGetArrayTypeP(ma_value(rows, row, column + 1, &isnull)),
					  TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &times, NULL, &ntimes);
	reached = palloc_array(MaScoreReached, *n);
	for (int i = 0; i < *n; i++)
	{
		reached[i].name = TextDatumGetCString(items[i]);
		reached[i].since = i < ntimes ? DatumGetTimestampTz(times[i]) : DT_NOBEGIN;
	}
	return reached;
}

/* Takes the score just computed; true if it is to be followed on from its wake. */
static bool
step(MaScoreState *state, TimestampTz now, bool last)
{
	MaScorePair *pair = &state->pair;

	state->now.score = pair->score;
	set_reached(state, pair->as_of);
	state->now.wake = ma_score_level_holds(pair->model, &pair->score, pair->as_of,
										   state->now.nreached);
	pair->active = state->now.wake <= now;
	if (pair->active)
		pair->as_of = last ? now : state->now.wake;
	return pair->active;
}

/* Compares the level with what was reached before. */
static void
set_reached(MaScoreState *state, TimestampTz at)
{
	MaScoreModel *model = state->pair.model;
	MaScoreRow	before = state->now;
	MaScoreReached *reached;
	int			level = 0;

	while (level < model->nthresholds && find_reached(&before, model->thresholds[level].name))
		level++;
	level = ma_score_level_from(model, ma_score_at(model, &state->now.score, at), level);
	reached = palloc_array(MaScoreReached, Max(level, 1));

	for (int i = 0; i < level; i++)
	{
		const MaScoreReached *known = find_reached(&before, model->thresholds[i].name);

		reached[i].name = model->thresholds[i].name;
		reached[i].since = known ? known->since : at;
		if (known == NULL)
			add_flip(state, reached[i].name, true, at);
	}
	state->now.nreached = level;
	state->now.reached = reached;
	for (int i = before.nreached - 1; i >= 0; i--)
		if (find_reached(&state->now, before.reached[i].name) == NULL)
			add_flip(state, before.reached[i].name, false, at);
}

static const MaScoreReached *
find_reached(const MaScoreRow *row, const char *name)
{
	for (int i = 0; i < row->nreached; i++)
		if (strcmp(row->reached[i].name, name) == 0)
			return &row->reached[i];
	return NULL;
}

static void
add_flip(MaScoreState *state, char *threshold, bool reached, TimestampTz at)
{
	MaScoreFlip *flip = palloc_object(MaScoreFlip);

	flip->threshold = threshold;
	flip->reached = reached;
	flip->at = at;
	state->flips = lappend(state->flips, flip);
}

static bool
is_nothing(const MaScoreRow *row)
{
	return row->score.raw == 0 && row->wake == DT_NOEND && row->nreached == 0;
}

/* True if what is stored says the same. */
static bool
is_same(const MaScoreState *state)
{
	const MaScoreRow *was = &state->was;
	const MaScoreRow *now = &state->now;
	float8		faded;

	if (was->version != now->version || was->wake != now->wake || state->flips != NIL ||
		was->score.instant > now->score.instant)
		return false;
	faded = was->score.raw *
		ma_score_left(state->pair.model, now->score.instant - was->score.instant);
	return fabs(faded - now->score.raw) <= SAME * fabs(now->score.raw);
}

/* Writes what differs from what is stored. */
void
ma_score_states_store(MaScoreState *states, int n)
{
#define VALUES_SQL "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), " \
		"pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), " \
		"pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) " \
		"AS u (contact_id, model_id, value, instant, wake, version, reached, reached_at) "
#define SAME_SQL "s.contact_id OPERATOR(pg_catalog.=) u.contact_id " \
		"AND s.model_id OPERATOR(pg_catalog.=) u.model_id " \
		"AND s.version OPERATOR(pg_catalog.<=) u.version "
#define VALUES_TYPES 8, {INT8ARRAYOID, INT4ARRAYOID, FLOAT8ARRAYOID, TIMESTAMPTZARRAYOID, \
		TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	static MaStatement insert = {
		"INSERT INTO marketing_internal.score "
		"(contact_id, model_id, value, instant, wake, version, reached, reached_at) "
		"SELECT u.contact_id, u.model_id, u.value, u.instant, u.wake, u.version, "
		"u.reached::pg_catalog.text[], u.reached_at::pg_catalog.timestamptz[] "
		"FROM " VALUES_SQL "RETURNING 1",
		VALUES_TYPES
	};
	static MaStatement update = {
		"UPDATE marketing_internal.score AS s SET value = u.value, instant = u.instant, "
		"wake = u.wake, version = u.version, reached = u.reached::pg_catalog.text[], "
		"reached_at = u.reached_at::pg_catalog.timestamptz[], error_state = NULL, error = NULL "
		"FROM " VALUES_SQL "WHERE " SAME_SQL "RETURNING 1",
		VALUES_TYPES
	};
	static MaStatement remove = {
		"DELETE FROM marketing_internal.score AS s USING " VALUES_SQL "WHERE " SAME_SQL
		"RETURNING 1",
		VALUES_TYPES
	};
	MaScoreState **lists[3];
	int			counts[3] = {0, 0, 0};

	for (int i = 0; i < 3; i++)
		lists[i] = palloc_array(MaScoreState *, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		int			list = !states[i].stored ? 0 : is_nothing(&states[i].now) ? 2 : 1;

		if (states[i].stored ? list == 1 && is_same(&states[i]) : is_nothing(&states[i].now))
			continue;
		lists[list][counts[list]++] = &states[i];
	}
	write_states(&insert, lists[0], counts[0]);
	if (counts[1] == 1)
		update_one(lists[1][0]);
	else
		write_states(&update, lists[1], counts[1]);
	write_states(&remove, lists[2], counts[2]);
}

/*
 * Every write must meet its one row, and none of a newer version: else somebody
 * evaluated without the contact's lock, or with definitions that are no more.
 */
static void
write_states(MaStatement *statement, MaScoreState **states, int n)
{
	int64	   *contacts = palloc_array(int64, Max(n, 1));
	int32	   *models = palloc_array(int32, Max(n, 1));
	int32	   *versions = palloc_array(int32, Max(n, 1));
	Datum	   *values = palloc_array(Datum, Max(n, 1));
	Datum	   *instants = palloc_array(Datum, Max(n, 1));
	Datum	   *wakes = palloc_array(Datum, Max(n, 1));
	char	  **names = palloc_array(char *, Max(n, 1));
	char	  **times = palloc_array(char *, Max(n, 1));
	Datum		arguments[8];
	MaRows		rows;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		const MaScoreRow *row = &states[i]->now;

		contacts[i] = row->score.contact_id;
		models[i] = states[i]->pair.model->id;
		versions[i] = row->version;
		values[i] = Float8GetDatum(row->score.raw);
		instants[i] = TimestampTzGetDatum(row->score.instant);
		wakes[i] = TimestampTzGetDatum(row->wake);
		reached_texts(row, &names[i], &times[i]);
	}
	arguments[0] = ma_int8_array(contacts, n);
	arguments[1] = ma_int4_array(models, n);
	arguments[2] = ma_datum_array(values, n, FLOAT8OID);
	arguments[3] = ma_datum_array(instants, n, TIMESTAMPTZOID);
	arguments[4] = ma_datum_array(wakes, n, TIMESTAMPTZOID);
	arguments[5] = ma_int4_array(versions, n);
	arguments[6] = ma_text_array(names, n);
	arguments[7] = ma_text_array(times, n);
	rows = ma_run(statement, arguments, NULL, MA_RUN_WRITE_LATEST);
	ma_score_check_met(rows.n, n);
}

void
ma_score_check_met(uint64 met, int n)
{
	if (met != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("state of scores was changed by somebody else"),
				 errdetail("The write met %d rows instead of %d.", (int) met, n)));
}

/* At commit it is mostly one, and arrays cost more than the row. */
static void
update_one(const MaScoreState *state)
{
	static MaStatement update = {
		"UPDATE marketing_internal.score AS s SET value = $3, instant = $4, wake = $5, "
		"version = $6, reached = $7, reached_at = $8, error_state = NULL, error = NULL "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) $1 AND s.model_id OPERATOR(pg_catalog.=) $2 "
		"AND s.version OPERATOR(pg_catalog.<=) $6",
		8, {INT8OID, INT4OID, FLOAT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID}
	};
	const MaScoreRow *row = &state->now;
	char	  **names = palloc_array(char *, Max(row->nreached, 1));
	Datum	   *since = palloc_array(Datum, Max(row->nreached, 1));
	Datum		arguments[8];

	for (int i = 0; i < row->nreached; i++)
	{
		names[i] = row->reached[i].name;
		since[i] = TimestampTzGetDatum(row->reached[i].since);
	}
	arguments[0] = Int64GetDatum(row->score.contact_id);
	arguments[1] = Int32GetDatum(state->pair.model->id);
	arguments[2] = Float8GetDatum(row->score.raw);
	arguments[3] = TimestampTzGetDatum(row->score.instant);
	arguments[4] = TimestampTzGetDatum(row->wake);
	arguments[5] = Int32GetDatum(row->version);
	arguments[6] = ma_text_array(names, row->nreached);
	arguments[7] = ma_datum_array(since, row->nreached, TIMESTAMPTZOID);
	ma_score_check_met(ma_run(&update, arguments, NULL, MA_RUN_WRITE_LATEST).n, 1);
}

/* The reached thresholds as two array literals. */
static void
reached_texts(const MaScoreRow *row, char **names, char **times)
{
	char	  **texts = palloc_array(char *, Max(row->nreached, 1));
	Datum	   *since = palloc_array(Datum, Max(row->nreached, 1));

	*names = *times = "{}";
	if (row->nreached == 0)
		return;
	for (int i = 0; i < row->nreached; i++)
	{
		texts[i] = row->reached[i].name;
		since[i] = TimestampTzGetDatum(row->reached[i].since);
	}
	*names = OidOutputFunctionCall(F_ARRAY_OUT, ma_text_array(texts, row->nreached));
	*times = OidOutputFunctionCall(F_ARRAY_OUT,
								   ma_datum_array(since, row->nreached, TIMESTAMPTZOID));
}
