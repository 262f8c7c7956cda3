/*
 * wake.c
 *		The scheduler's duties: scores whose wake has come, and scores of contacts
 *		that a new or changed model has not reached yet.
 *
 * Both have the contacts evaluated like any change, under their locks.  The build
 * goes through the contacts in order of their numbers and notes how far it came; until
 * then reads compute those it has not reached.  Whoever is busy goes to the dirty log,
 * so that it need not come back.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/scoring_internal.h"
#include "worker/worker.h"

static bool due(void);
static bool due_turn(void);
static TimestampTz next_due(void);
static bool build(void);
static bool build_turn(void);
static MaScoreModel *unbuilt_model(void);
static void note_progress(const MaScoreModel *model, int64 upto, bool built);

static const MaDuty due_duty = {"due scores", 0, due, next_due};
static const MaDuty build_duty = {"build scores", 0, build, NULL};

void
ma_score_wake_init(void)
{
	ma_worker_register_duty(&build_duty);
	ma_worker_register_duty(&due_duty);
}

static bool
due(void)
{
	return ma_drain_turn(due_turn);
}

/* Any event of the model has all of it evaluated. */
static bool
due_turn(void)
{
	static MaStatement read = {
		"SELECT s.contact_id, s.model_id FROM marketing_internal.score AS s "
		"JOIN marketing_internal.score_model AS m USING (model_id) " MA_JOIN_DIRTY
		"WHERE s.wake OPERATOR(pg_catalog.<=) $1 AND w.waits IS NULL "
		"ORDER BY s.wake LIMIT $2",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	MaRows		rows = ma_due_read(&read);
	int64	   *contacts = palloc_array(int64, Max(rows.n, 1));
	int32	   *events = palloc_array(int32, Max(rows.n, 1));
	int			n = 0;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaScoreModel *model = ma_score_model_by_id(ma_int32(&rows, i, 2));

		if (model == NULL)
			continue;
		contacts[n] = ma_int64(&rows, i, 1);
		events[n++] = ma_score_model_event(model);
	}
	return n > 0 && ma_contacts_wake(contacts, events, n, false);
}

/* The next wake, but of contacts who are in the dirty log. */
static TimestampTz
next_due(void)
{
	static MaStatement read = {
		"SELECT s.wake FROM marketing_internal.score AS s "
		"JOIN marketing_internal.score_model AS m USING (model_id) " MA_JOIN_DIRTY
		"WHERE s.wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"AND w.waits IS NULL ORDER BY s.wake LIMIT 1"
	};

	return ma_due_next(&read);
}

static bool
build(void)
{
	return ma_drain_turn(build_turn);
}

/* One batch of contacts for one model. */
static bool
build_turn(void)
{
	static MaStatement next = {
		"SELECT contact_id FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.>) $1 ORDER BY contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	MaScoreModel *model = unbuilt_model();
	int			size = ma_drain_batch_size();
	int64	   *contacts = palloc_array(int64, size);
	int32	   *events = palloc_array(int32, size);
	Datum		arguments[2];
	MaRows		rows;
	int			n = 0;

	if (model == NULL)
		return false;
	arguments[0] = Int64GetDatum(model->built_upto);
	arguments[1] = Int32GetDatum(size);
	rows = ma_run(&next, arguments, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n && (model->rules != NIL || model->entries); i++)
	{
		contacts[n] = ma_int64(&rows, i, 1);
		events[n++] = ma_score_model_event(model);
	}
	if (n > 0)
		(void) ma_contacts_wake(contacts, events, n, true);
	note_progress(model, n > 0 ? contacts[n - 1] : model->built_upto, n < size);
	return true;
}

/* The first model that is not built, its row locked: definitions wait, or we do without. */
static MaScoreModel *
unbuilt_model(void)
{
	static MaStatement lock = {
		"SELECT version, built_upto FROM marketing_internal.score_model "
		"WHERE model_id OPERATOR(pg_catalog.=) $1 AND NOT built FOR UPDATE SKIP LOCKED",
		1, {INT4OID}
	};
	ListCell   *cell;

	foreach(cell, ma_score_models()->models)
	{
		MaScoreModel *model = lfirst(cell);
		Datum		argument = Int32GetDatum(model->id);
		MaRows		rows;

		if (model->built)
			continue;
		rows = ma_run(&lock, &argument, NULL, MA_RUN_WRITE_LATEST);
		/* Another version is not what this backend knows: next time. */
		if (rows.n == 1 && ma_int32(&rows, 0, 1) == model->version)
		{
			model->built_upto = ma_int64(&rows, 0, 2);
			return model;
		}
	}
	return NULL;
}

/*
 * Only when it is complete do other backends learn of it: they need not know how far
 * it came, since a read looks at the table.
 */
static void
note_progress(const MaScoreModel *model, int64 upto, bool built)
{
	static MaStatement note = {
		"UPDATE marketing_internal.score_model SET built_upto = $2, built = $3 "
		"WHERE model_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, INT8OID, BOOLOID}
	};
	Datum		arguments[3];

	arguments[0] = Int32GetDatum(model->id);
	arguments[1] = Int64GetDatum(upto);
	arguments[2] = BoolGetDatum(built);
	ma_run(&note, arguments, NULL, MA_RUN_WRITE_LATEST);
	if (built)
		ma_definitions_changed();
}
