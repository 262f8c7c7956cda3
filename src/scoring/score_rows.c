/*
 * score_rows.c
 *		Computes scores from the users' rows.
 *
 * Reading rows costs all, the number of rules next to nothing: so the rows of an
 * event are read once for all rules of all models, each rule a column of the
 * statement (none where all rows give the same points).  Rows are added up as they
 * come; only those of a rule with at_most are kept, since which of them count is
 * known when all have been seen.
 *
 * A row gives points from its instant on.  One that is yet to come, or that will
 * expire, ends the time for which the sum only fades.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "rules/rules.h"
#include "scoring/scoring_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* A row of a rule with at_most. */
typedef struct Candidate
{
	TimestampTz at;
	float8		points;
} Candidate;

typedef struct Candidates
{
	int			n;
	int			space;
	Candidate  *rows;
} Candidates;

/* One computation. */
typedef struct Work
{
	MaScoreModels *models;
	MaContactChange *contacts;
	int			n;
	MaScorePair **pairs;		/* by contact and model; NULL: not wanted */
	Candidates *candidates;		/* by contact and rule; NULL: no rule has at_most */
	pg_tz	  **zones;			/* by contact; NULL: no rule needs them */
	MaRun		how;
} Work;

/* Where the rows of a fetch go; a row tells its contact by the place of its key. */
typedef struct Reading
{
	Work	   *work;
	const MaScoreFetch *fetch;
	const int64 *ids;			/* contact of each key */
	int			place;			/* of the last row's contact */
} Reading;

static List *fetches_of_event(MaScoreModels *models, const MaEvent *event);
static MaScoreFetch *make_fetch(MaScoreModels *models, const MaEvent *event,
								MaEventSource *source);
static void set_statements(MaScoreFetch *fetch);
static char *rule_column(const MaScoreRule *rule, const MaScoreFetch *fetch);
static void begin(Work *work, MaScorePair *pairs, int npairs);
static bool is_wanted(const Work *work, const MaScoreFetch *fetch, int contact);
static Datum wanted_models(const Work *work);
static void read_source(Work *work, MaScoreFetch *fetch);
static void read_entries(Work *work);
static void take_entry(Work *work, int contact, const MaRows *rows, uint64 row);
static int	contact_of_row(Reading *reading, TupleTableSlot *slot);
static bool take_row(TupleTableSlot *slot, void *arg);
static void add_sum(MaScorePair *pair, float8 points, TimestampTz at);
static bool rule_points(const MaScoreFetch *fetch, int number, TupleTableSlot *slot,
						float8 *points);
static void add_points(Work *work, MaScorePair *pair, const MaScoreRule *rule, TimestampTz at,
					   float8 points);
static void add_candidate(Candidates *candidates, TimestampTz at, float8 points);
static void add_limited(Work *work);
static int	compare_candidates(const void *left, const void *right);

void
ma_score_rows(MaScoreModels *models, MaContactChange *contacts, int n,
			  MaScorePair *pairs, int npairs, MaRun how)
{
	Work		work = {models, contacts, n};
	ListCell   *cell;

	work.how = how;
	begin(&work, pairs, npairs);
	foreach(cell, ma_score_fetches(models))
		read_source(&work, lfirst(cell));
	read_entries(&work);
	if (work.candidates != NULL)
		add_limited(&work);
	for (int i = 0; i < npairs; i++)
		if (pairs[i].active && !isfinite(pairs[i].score.raw))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("score \"%s\" of a contact is out of range", pairs[i].model->name)));
}

/* Builds the statements of all events that give points; all of them or, after an error, none. */
List *
ma_score_fetches(MaScoreModels *models)
{
	MaDefinitions *definitions = ma_definitions();
	MemoryContext previous;
	List	   *events = NIL;
	List	   *fetches = NIL;
	ListCell   *cell;

	if (models->fetches_ready)
		return models->fetches;
	/* Where the models are kept: they may have been replaced meanwhile. */
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(models));
	foreach(cell, models->models)
		events = list_concat_unique_int(events, ma_score_model_events(lfirst(cell)));
	foreach(cell, events)
	{
		MaEvent    *event = ma_event_by_id(definitions, lfirst_int(cell));

		if (event != NULL)
			fetches = list_concat(fetches, fetches_of_event(models, event));
	}
	MemoryContextSwitchTo(previous);
	models->fetches = fetches;
	models->fetches_ready = true;
	return fetches;
}

static List *
fetches_of_event(MaScoreModels *models, const MaEvent *event)
{
	List	   *fetches = NIL;
	ListCell   *cell;

	foreach(cell, ma_score_sources(event))
	{
		MaScoreFetch	   *fetch = make_fetch(models, event, lfirst(cell));

		if (fetch->nrules > 0)
			fetches = lappend(fetches, fetch);
	}
	return fetches;
}

List *
ma_score_sources(const MaEvent *event)
{
	if (event->builtin)
		return ma_builtin_rows(event->name) ? list_make1(NULL) : NIL;
	return ma_event_sources(ma_definitions(), event);
}

int
ma_score_keys(const MaEvent *event, const MaEventSource *source, MaContactChange *contacts, int n,
			  MaRun how, int64 **ids, Datum **keys)
{
	int			total = 0;
	int			space = n;

	if (!event->builtin)
		return ma_event_keys(source, contacts, n, ids, keys);
	*ids = palloc_array(int64, Max(space, 1));
	*keys = palloc_array(Datum, Max(space, 1));
	for (int i = 0; i < n; i++)
	{
		Datum	   *own;
		int			nown = ma_builtin_keys(&contacts[i], how, &own);

		if (total + nown > space)
		{
			space = (total + nown) * 2;
			*ids = repalloc(*ids, mul_size(sizeof(int64), space));
			*keys = repalloc(*keys, mul_size(sizeof(Datum), space));
		}
		for (int j = 0; j < nown; j++)
		{
			(*ids)[total] = contacts[i].contact_id;
			(*keys)[total++] = own[j];
		}
	}
	return total;
}

char *
ma_score_condition(const MaScoreRule *rule, const MaEvent *event, const MaEventSource *source)
{
	const char *people = source ? NULL : ma_row_sql_people(event, rule->condition);

	if (rule->segment != NULL)
		people = psprintf("(t.properties OPERATOR(pg_catalog.->>) 'segment') OPERATOR(pg_catalog.=) %s",
						  quote_literal_cstr(rule->segment));
	if (people == NULL)
		return rule->condition;
	return rule->condition ? psprintf("(%s) AND %s", rule->condition, people) : pstrdup(people);
}

static MaScoreFetch *
make_fetch(MaScoreModels *models, const MaEvent *event, MaEventSource *source)
{
	MaScoreFetch	   *fetch = palloc0_object(MaScoreFetch);
	int			ncolumns = 2;
	ListCell   *outer;
	ListCell   *cell;

	fetch->event = event;
	fetch->source = source;
	fetch->rules = palloc_array(MaScoreRule *, models->nrules);
	fetch->columns = palloc0_array(int, models->nrules);
	fetch->sqls = palloc0_array(char *, models->nrules);
	foreach(outer, models->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
		{
			MaScoreRule *rule = lfirst(cell);

			if (rule->event_id != event->id)
				continue;
			rule = ma_score_rule_for(rule, source);
			if (rule == NULL)
				continue;
			if (!rule->is_constant || ma_score_condition(rule, event, source) != NULL)
				fetch->columns[fetch->nrules] = ++ncolumns;
			fetch->rules[fetch->nrules++] = rule;
		}
	if (fetch->nrules > 0)
		set_statements(fetch);
	return fetch;
}

/*
 * The statements for many keys and that for one: at commit it is mostly one, and a
 * set of one costs more than the rows.  A rule is asked only where its model is wanted,
 * so that one that fails fails for its model alone.
 */
static void
set_statements(MaScoreFetch *fetch)
{
	StringInfoData columns;

	initStringInfo(&columns);
	appendStringInfoString(&columns, "r.at AS at");
	for (int i = 0; i < fetch->nrules; i++)
		if (fetch->columns[i] > 0)
		{
			fetch->sqls[i] = rule_column(fetch->rules[i], fetch);
			appendStringInfo(&columns, ", CASE WHEN $2[%d] THEN %s END AS p%d",
							 fetch->rules[i]->model->place + 1, fetch->sqls[i], i);
		}
	fetch->many.sql = psprintf("SELECT k.n, e.* FROM pg_catalog.unnest($1) WITH ORDINALITY AS k (key, n) "
							   "CROSS JOIN LATERAL (%s) AS e",
							   ma_event_select(fetch->event, fetch->source, columns.data, "k.key",
											   &fetch->key_type));
	fetch->one.sql = psprintf("SELECT 1::pg_catalog.int8, e.* FROM (%s) AS e",
							  ma_event_select(fetch->event, fetch->source, columns.data, "$1",
											  &fetch->key_type));
	fetch->many.nargs = fetch->one.nargs = 2;
	fetch->many.argtypes[0] = get_array_type(fetch->key_type);
	fetch->one.argtypes[0] = fetch->key_type;
	fetch->many.argtypes[1] = fetch->one.argtypes[1] = BOOLARRAYOID;
}

/* What the row gives under the rule: points, or true where the points are constant. */
static char *
rule_column(const MaScoreRule *rule, const MaScoreFetch *fetch)
{
	char	   *condition = ma_score_condition(rule, fetch->event, fetch->source);
	char	   *sql;

	/* The printed expression does not show an implicit cast. */
	if (rule->is_constant)
		sql = condition;
	else if (condition == NULL)
		sql = psprintf("(%s)::pg_catalog.float8", rule->points);
	else
		sql = psprintf("CASE WHEN (%s) THEN (%s)::pg_catalog.float8 END", condition,
					   rule->points);
	return ma_row_sql(fetch->source, sql, rule->columns);
}

void
ma_score_fetches_free(MaScoreModels *models)
{
	ListCell   *cell;

	foreach(cell, models->fetches)
	{
		MaScoreFetch	   *fetch = lfirst(cell);

		ma_statement_forget(&fetch->many);
		ma_statement_forget(&fetch->one);
	}
	models->fetches = NIL;
}

static void
begin(Work *work, MaScorePair *pairs, int npairs)
{
	bool		limited = false;
	ListCell   *outer;
	ListCell   *cell;

	work->pairs = palloc0_array(MaScorePair *, Max(work->n * work->models->nmodels, 1));
	for (int i = 0; i < npairs; i++)
	{
		if (!pairs[i].active)
			continue;
		work->pairs[pairs[i].contact * work->models->nmodels + pairs[i].model->place] = &pairs[i];
		pairs[i].score.contact_id = work->contacts[pairs[i].contact].contact_id;
		pairs[i].score.raw = 0;
		pairs[i].score.instant = pairs[i].as_of;
		pairs[i].score.until = DT_NOEND;
	}
	foreach(outer, work->models->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
			limited |= ((MaScoreRule *) lfirst(cell))->at_most > 0;
	if (limited)
		work->candidates = palloc0_array(Candidates, work->n * work->models->nrules);
	if (work->models->any_limit)
		work->zones = ma_score_zones(work->contacts, work->n, work->how);
}

/* True if a score of the contact that is wanted may have rows in the source. */
static bool
is_wanted(const Work *work, const MaScoreFetch *fetch, int contact)
{
	for (int i = 0; i < fetch->nrules; i++)
		if (work->pairs[contact * work->models->nmodels + fetch->rules[i]->model->place] != NULL)
			return true;
	return false;
}

/* Whether a score of each model is wanted, of anybody. */
static Datum
wanted_models(const Work *work)
{
	int			nmodels = work->models->nmodels;
	Datum	   *wanted = palloc0_array(Datum, nmodels);

	for (int i = 0; i < work->n * nmodels; i++)
		if (work->pairs[i] != NULL)
			wanted[i % nmodels] = BoolGetDatum(true);
	return ma_datum_array(wanted, nmodels, BOOLOID);
}

/* Adds the rows of one source to the scores. */
static void
read_source(Work *work, MaScoreFetch *fetch)
{
	MaContactChange *wanted = palloc_array(MaContactChange, Max(work->n, 1));
	int			nwanted = 0;
	int64	   *ids;
	Datum	   *keys;
	int			nkeys;
	Datum		arguments[2];
	Reading		reading = {work, fetch};
	MaIdentity	caller;
	int			zone = -1;

	for (int i = 0; i < work->n; i++)
		if (is_wanted(work, fetch, i))
			wanted[nwanted++] = work->contacts[i];
	nkeys = ma_score_keys(fetch->event, fetch->source, wanted, nwanted, work->how, &ids, &keys);
	if (nkeys == 0)
		return;
	reading.ids = ids;
	arguments[0] = nkeys == 1 ? keys[0] : ma_datum_array(keys, nkeys, fetch->key_type);
	arguments[1] = wanted_models(work);
	if (fetch->source != NULL)
	{
		zone = ma_pin_time_zone(fetch->source->time_zone);
		ma_become_table_owner(&caller, fetch->source->table->relid);
	}
	ma_run_each(nkeys == 1 ? &fetch->one : &fetch->many, arguments, work->how, take_row, &reading);
	if (fetch->source != NULL)
	{
		ma_become_back(&caller);
		ma_unpin_settings(zone);
	}
}

/* Points that no row stands for, where there are any; those of who was merged count. */
static void
read_entries(Work *work)
{
	static MaStatement read = {
		"SELECT k.n::pg_catalog.int4, e.model_id, e.at, e.points "
		"FROM pg_catalog.unnest($1) WITH ORDINALITY AS k (key, n) "
		"JOIN marketing_internal.score_entry AS e ON e.contact_id OPERATOR(pg_catalog.=) k.key",
		1, {INT8ARRAYOID}
	};
	List	   *keys = NIL;
	List	   *places = NIL;
	Datum	   *ids;
	Datum		argument;
	bool		any = false;
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, work->models->models)
		any |= ((MaScoreModel *) lfirst(cell))->entries;
	if (!any)
		return;
	for (int i = 0; i < work->n; i++)
	{
		Datum	   *own;
		int			n = ma_builtin_keys(&work->contacts[i], work->how, &own);

		for (int j = 0; j < n; j++)
		{
			keys = lappend(keys, &own[j]);
			places = lappend_int(places, i);
		}
	}
	ids = palloc_array(Datum, Max(list_length(keys), 1));
	foreach(cell, keys)
		ids[foreach_current_index(cell)] = *(Datum *) lfirst(cell);
	argument = ma_datum_array(ids, list_length(keys), INT8OID);
	rows = ma_run(&read, &argument, NULL, work->how);
	for (uint64 i = 0; i < rows.n; i++)
		take_entry(work, list_nth_int(places, ma_int32(&rows, i, 1) - 1), &rows, i);
}

static void
take_entry(Work *work, int contact, const MaRows *rows, uint64 row)
{
	MaScoreModel *model = ma_score_model_by_id(ma_int32(rows, row, 2));
	MaScorePair *pair = model == NULL ? NULL :
		work->pairs[contact * work->models->nmodels + model->place];
	TimestampTz at = ma_int64(rows, row, 3);
	bool		isnull;
	float8		points = DatumGetFloat8(ma_value(rows, row, 4, &isnull));

	if (pair == NULL)
		return;
	if (at > pair->as_of)
		pair->score.until = Min(pair->score.until, at);
	else
		pair->score.raw += points * ma_score_left(model, pair->as_of - at);
}

/* Place of the row's contact; rows of one are neighbours, and contacts mostly in order. */
static int
contact_of_row(Reading *reading, TupleTableSlot *slot)
{
	bool		isnull;
	int64		contact_id = reading->ids[DatumGetInt64(slot_getattr(slot, 1, &isnull)) - 1];
	const Work *work = reading->work;

	for (int i = 0; i < work->n; i++)
	{
		if (work->contacts[reading->place].contact_id == contact_id)
			return reading->place;
		reading->place = (reading->place + 1) % work->n;
	}
	/* ids[] holds only contacts that ma_event_keys() found in those it was given. */
	elog(ERROR, "cannot happen: a row of contact " INT64_FORMAT ", who was not asked for",
		 contact_id);
}

/* Points of one row under all rules of its event. */
static bool
take_row(TupleTableSlot *slot, void *arg)
{
	Reading    *reading = arg;
	Work	   *work = reading->work;
	const MaScoreFetch *fetch = reading->fetch;
	int			contact = contact_of_row(reading, slot);
	bool		isnull;
	TimestampTz at = DatumGetTimestampTz(slot_getattr(slot, 2, &isnull));
	MaScorePair **pairs = &work->pairs[contact * work->models->nmodels];
	MaScorePair *summed = NULL;	/* of the model whose plain rules are added up together */
	float8		sum = 0;

	/* Before or after all time there are no days and no age. */
	if (TIMESTAMP_NOT_FINITE(at))
		return true;
	for (int i = 0; i < fetch->nrules; i++)
	{
		const MaScoreRule *rule = fetch->rules[i];
		MaScorePair *pair = pairs[rule->model->place];
		float8		points;

		if (pair == NULL || !rule_points(fetch, i, slot, &points))
			continue;
		if (rule->at_most > 0)
			add_candidate(&work->candidates[contact * work->models->nrules + rule->place],
						  at, points);
		else if (rule->expires != NULL || at > pair->as_of)
			add_points(work, pair, rule, at, points);
		else
		{
			/* Fading costs more than adding: once per row and model. */
			if (pair != summed)
				add_sum(summed, sum, at);
			sum = pair != summed ? points : sum + points;
			summed = pair;
		}
	}
	add_sum(summed, sum, at);
	return true;
}

/* Adds points of one instant to a score, if there is one. */
static void
add_sum(MaScorePair *pair, float8 points, TimestampTz at)
{
	if (pair != NULL)
		pair->score.raw += points * ma_score_left(pair->model, pair->as_of - at);
}

/* False if the row gives nothing under the rule. */
static bool
rule_points(const MaScoreFetch *fetch, int number, TupleTableSlot *slot, float8 *points)
{
	bool		isnull;
	Datum		value;

	*points = fetch->rules[number]->constant;
	if (fetch->columns[number] == 0)
		return true;
	value = slot_getattr(slot, fetch->columns[number], &isnull);
	if (isnull)
		return false;
	if (fetch->rules[number]->is_constant)
		return DatumGetBool(value);
	*points = DatumGetFloat8(value);
	/* NaN and infinity would spoil the sum for ever. */
	return isfinite(*points);
}

/* A row that counts under the rule, by its time. */
static void
add_points(Work *work, MaScorePair *pair, const MaScoreRule *rule, TimestampTz at, float8 points)
{
	if (at > pair->as_of)
	{
		pair->score.until = Min(pair->score.until, at);
		return;
	}
	if (rule->expires != NULL)
	{
		pg_tz	   *zone = NULL;
		TimestampTz end;

		if (rule->expires->month != 0)
			zone = ma_score_zone(rule->model, work->zones[pair->contact]);
		end = ma_score_expiry(rule->expires, at, zone);
		if (end <= pair->as_of)
			return;
		pair->score.until = Min(pair->score.until, end);
	}
	pair->score.raw += points * ma_score_left(pair->model, pair->as_of - at);
}

static void
add_candidate(Candidates *candidates, TimestampTz at, float8 points)
{
	if (candidates->n == candidates->space)
	{
		candidates->space = Max(16, candidates->space * 2);
		candidates->rows = candidates->rows == NULL ? palloc_array(Candidate, candidates->space) :
			repalloc_huge(candidates->rows, mul_size(sizeof(Candidate), candidates->space));
	}
	candidates->rows[candidates->n].at = at;
	candidates->rows[candidates->n++].points = points;
}

/* The earliest rows of each period count; of those of one instant the ones with more points. */
static void
add_limited(Work *work)
{
	for (int i = 0; i < work->n * work->models->nmodels; i++)
	{
		MaScorePair *pair = work->pairs[i];
		ListCell   *cell;

		if (pair == NULL)
			continue;
		foreach(cell, pair->model->rules)
		{
			MaScoreRule *rule = lfirst(cell);
			Candidates *candidates = &work->candidates[pair->contact * work->models->nrules +
													   rule->place];
			pg_tz	   *zone = NULL;
			int64		period = 0;
			int			count = 0;

			if (candidates->n == 0)
				continue;
			if (rule->per != MA_PER_EVER)
				zone = ma_score_zone(rule->model, work->zones[pair->contact]);
			qsort(candidates->rows, candidates->n, sizeof(Candidate), compare_candidates);
			for (int j = 0; j < candidates->n; j++)
			{
				const Candidate *row = &candidates->rows[j];
				int64		its = ma_score_period(rule->per, row->at, zone);

				count = j > 0 && its == period ? count + 1 : 1;
				period = its;
				if (count <= rule->at_most)
					add_points(work, pair, rule, row->at, row->points);
			}
		}
	}
}

static int
compare_candidates(const void *left, const void *right)
{
	const Candidate *a = left;
	const Candidate *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->points > b->points ? -1 : a->points < b->points;
}

pg_tz **
ma_score_zones(MaContactChange *contacts, int n, MaRun how)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, c.time_zone FROM pg_catalog.unnest($1) WITH ORDINALITY "
		"AS u (contact_id, n) JOIN marketing_internal.contact AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id WHERE c.time_zone IS NOT NULL",
		1, {INT8ARRAYOID}
	};
	pg_tz	  **zones = palloc0_array(pg_tz *, Max(n, 1));
	int64	   *ids = palloc_array(int64, Max(n, 1));
	Datum		argument;
	MaRows		rows;

	for (int i = 0; i < n; i++)
		ids[i] = contacts[i].contact_id;
	argument = ma_int8_array(ids, n);
	rows = ma_run(&read, &argument, NULL, how);
	for (uint64 i = 0; i < rows.n; i++)
		zones[ma_int32(&rows, i, 1) - 1] = pg_tzset(ma_text(&rows, i, 2));
	return zones;
}

pg_tz *
ma_score_zone(const MaScoreModel *model, pg_tz *contacts)
{
	pg_tz	   *zone = contacts ? contacts : pg_tzset(model->time_zone);

	return zone ? zone : pg_tzset("GMT");
}

void
ma_scores_compute(MaScoreModel *model, MaContactChange *contacts, int n,
				  const TimestampTz *as_of, MaRun how, MaScore *scores)
{
	MaScorePair *pairs = palloc0_array(MaScorePair, Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		pairs[i].contact = i;
		pairs[i].model = model;
		pairs[i].as_of = as_of[i];
		pairs[i].active = true;
	}
	ma_score_rows(ma_score_models(), contacts, n, pairs, n, how);
	for (int i = 0; i < n; i++)
		scores[i] = pairs[i].score;
}
