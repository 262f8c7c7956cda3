/*
 * consumer.c
 *		The consumer of set grade: scores evaluated with the contacts' changes.
 *
 * State is written first and then the crossings of thresholds are told, so that who
 * is told of one reads the score it speaks of.  Crossings that a change of the
 * definitions brought about, or the first computation of a model, start no journey:
 * nobody did anything.
 */
#include "base/base.h"

#include "scoring/scoring_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static void flipped(MaRowChange *rows, int n, TimestampTz now);
static bool counts_segment(const MaScoreModels *models, const MaRowChange *row);
static List *uses_of_segment(const char *segment);
static bool wants_new_contacts(void);
static TimestampTz reads_from(int32 event_id, TimestampTz now);
static void tell(MaScoreState *states, int n, TimestampTz now);
static void hand_over(const MaScoreState *states, int n);
static void tell_batch(const char *name, MaRowChange *rows, int n, TimestampTz now);
static MaRowChange row_of_flip(const MaScoreState *state, const MaScoreFlip *flip);
static void push_text(JsonbParseState **parse, char *key, char *value);
static bool is_told(const MaScoreModel *model, const MaScoreState *state);
static bool is_spent(MaScoreModel *model, int64 contact_id, const MaScoreFlip *flip);

static const MaConsumer consumer = {
	MA_SCORE_CONSUMER, evaluate, flipped, wants_new_contacts, NULL, reads_from, ma_score_settle
};

void
ma_score_consumer_init(void)
{
	ma_register_consumer(&consumer);
	ma_register_uses("segment", uses_of_segment);
}

/*
 * Entries and exits that give points.  They are told while segments are evaluated, which
 * may read the very score: so its contacts are looked at once more, by the worker, and
 * by reads until then.
 */
static void
flipped(MaRowChange *rows, int n, TimestampTz now)
{
	MaScoreModels *models = ma_score_models();
	int64	   *ids = palloc_array(int64, Max(n, 1));
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (counts_segment(models, &rows[i]))
			ids[count++] = rows[i].contact_id;
	if (count == 0)
		return;
	ma_contacts_leave(ids, count);
	ma_worker_wake_at_commit();
}

static bool
counts_segment(const MaScoreModels *models, const MaRowChange *row)
{
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, models->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
		{
			const MaScoreRule *rule = lfirst(cell);
			JsonbValue	name;

			if (rule->segment == NULL || rule->event_id != row->event_id ||
				getKeyJsonValueFromContainer(&DatumGetJsonbP(row->properties)->root, "segment",
											 strlen("segment"), &name) == NULL)
				continue;
			if (name.val.string.len == (int) strlen(rule->segment) &&
				memcmp(name.val.string.val, rule->segment, name.val.string.len) == 0)
				return true;
		}
	return false;
}

static List *
uses_of_segment(const char *segment)
{
	List	   *uses = NIL;
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, ma_score_models()->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
		{
			const MaScoreRule *rule = lfirst(cell);

			if (rule->segment != NULL && strcmp(rule->segment, segment) == 0)
				uses = lappend(uses, psprintf("score rule \"%s/%s\"", rule->model->name,
											  rule->name));
		}
	return uses;
}

static bool
wants_new_contacts(void)
{
	return ma_score_models()->nmodels > 0;
}

/*
 * Points that expire are gone for good, all others count for ever, however little is left
 * of them; and a row that is over at_most holds back those after it even when it expired.
 */
static TimestampTz
reads_from(int32 event_id, TimestampTz now)
{
	static MaStatement first = {
		"SELECT s.wake FROM marketing_internal.score AS s "
		"WHERE s.wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"ORDER BY s.wake LIMIT 1"
	};
	MaRows		rows = ma_run(&first, NULL, NULL, MA_RUN_READ_LATEST);
	TimestampTz from = DT_NOEND;
	ListCell   *cell;

	if (rows.n > 0)
		now = Min(now, ma_int64(&rows, 0, 1));
	foreach(cell, ma_score_models()->models)
		from = Min(from, ma_score_model_reads_from(lfirst(cell), event_id, now));
	return from;
}

TimestampTz
ma_score_model_reads_from(const MaScoreModel *model, int32 event_id, TimestampTz at)
{
	TimestampTz from = DT_NOEND;
	ListCell   *cell;

	foreach(cell, model->rules)
	{
		const MaScoreRule *rule = lfirst(cell);
		const Interval *expires = rule->expires;

		if (rule->event_id != event_id)
			continue;
		if (expires == NULL || rule->at_most > 0)
			return DT_NOBEGIN;
		/* A month is 31 days at most, and a zone's clock may be set in it. */
		from = Min(from, at - expires->time -
				   (expires->day + expires->month * 31L + 2) * USECS_PER_DAY);
	}
	return from;
}

static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	MaScoreState *states;
	int			nstates;

	if (ma_score_models()->nmodels == 0)
		return;
	states = ma_score_states_guarded(contacts, n, now, &nstates);
	if (nstates == 0)
		return;
	ma_score_states_store(states, nstates);
	tell(states, nstates, now);
}

/* Crossings by contact in their order, each kind of event in one go where it can be. */
static void
tell(MaScoreState *states, int n, TimestampTz now)
{
	List	   *flips = NIL;
	MaRowChange *rows;
	int			nrows = 0;
	bool		reached = false;

	for (int i = 0; i < n; i++)
		flips = list_concat(flips, states[i].flips);
	if (flips == NIL)
		return;
	hand_over(states, n);
	rows = palloc0_array(MaRowChange, list_length(flips));
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, states[i].flips)
		{
			const MaScoreFlip *flip = lfirst(cell);

			if (flip->reached != reached)
			{
				tell_batch(reached ? "score_threshold_reached" : "score_threshold_lost",
						   rows, nrows, now);
				nrows = 0;
			}
			reached = flip->reached;
			rows[nrows++] = row_of_flip(&states[i], flip);
		}
	}
	tell_batch(reached ? "score_threshold_reached" : "score_threshold_lost", rows, nrows, now);
}

/*
 * Those who have reached a threshold of a model whose leads are given to owners.  What is kept
 * of models may have been read anew since the states were computed: they go by number.
 */
static void
hand_over(const MaScoreState *states, int n)
{
	int64	   *ids = palloc_array(int64, n);
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, ma_score_models()->models)
	{
		const MaScoreModel *model = lfirst(outer);
		int			count = 0;

		for (int i = 0; i < n && model->assigned; i++)
		{
			bool		reached = false;

			foreach(cell, states[i].pair.model->id == model->id ? states[i].flips : NIL)
				reached |= ((MaScoreFlip *) lfirst(cell))->reached;
			if (reached)
				ids[count++] = states[i].now.score.contact_id;
		}
		if (count > 0)
			ma_hand_off_reached(model->id, ids, count);
	}
}

static void
tell_batch(const char *name, MaRowChange *rows, int n, TimestampTz now)
{
	if (n > 0)
		ma_tell_events(name, rows, n, now);
}

/* The row of the event; its key tells this crossing from all others. */
static MaRowChange
row_of_flip(const MaScoreState *state, const MaScoreFlip *flip)
{
	MaScoreModel *model = state->pair.model;
	int64		contact_id = state->now.score.contact_id;
	JsonbParseState *parse = NULL;
	JsonbValue *object;
	MaRowChange row = {0};

	pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
	push_text(&parse, "model", model->name);
	push_text(&parse, "threshold", flip->threshold);
	row.contact_id = contact_id;
	row.row_key = psprintf(INT64_FORMAT "/%s/%s/" INT64_FORMAT, contact_id, model->name,
						   flip->threshold, flip->at);
	row.occurred_at = flip->at;
	object = pushJsonbValue(&parse, WJB_END_OBJECT, NULL);
	row.properties = JsonbPGetDatum(JsonbValueToJsonb(object));
	row.enroll = ma_guc_enroll && is_told(model, state) && !is_spent(model, contact_id, flip);
	return row;
}

static void
push_text(JsonbParseState **parse, char *key, char *value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = key;
	item.val.string.len = (int) strlen(key);
	pushJsonbValue(parse, WJB_KEY, &item);
	item.val.string.val = value;
	item.val.string.len = (int) strlen(value);
	pushJsonbValue(parse, WJB_VALUE, &item);
}

/*
 * True unless the state before was of other definitions, or there was none yet.  One that
 * could not be computed keeps what was reached before.
 */
static bool
is_told(const MaScoreModel *model, const MaScoreState *state)
{
	if (state->stored)
		return abs(state->was.version) == model->version;
	return model->built || state->now.score.contact_id <= model->built_upto;
}

/* Sales has rejected the lead for what brought the score there: it starts no journey again. */
static bool
is_spent(MaScoreModel *model, int64 contact_id, const MaScoreFlip *flip)
{
	for (int i = 0; i < model->nthresholds && flip->reached; i++)
		if (strcmp(model->thresholds[i].name, flip->threshold) == 0)
			return ma_lead_is_spent(model, &model->thresholds[i], contact_id, flip->at);
	return false;
}

void
ma_scoring_init(void)
{
	ma_score_consumer_init();
	ma_score_wake_init();
	ma_score_views_init();
	ma_score_atom_init();
	ma_grades_init();
	ma_sales_init();
	ma_stages_init();
}
