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

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static bool wants_new_contacts(void);
static TimestampTz reads_from(int32 event_id, TimestampTz now);
static void tell(MaScoreState *states, int n, TimestampTz now);
static void tell_batch(const char *name, MaRowChange *rows, int n, TimestampTz now);
static MaRowChange row_of_flip(const MaScoreState *state, const MaScoreFlip *flip);
static void push_text(JsonbParseState **parse, char *key, char *value);
static bool is_told(const MaScoreModel *model, const MaScoreState *state);

static const MaConsumer consumer = {
	MA_SCORE_CONSUMER, evaluate, NULL, wants_new_contacts, NULL, reads_from
};

void
ma_score_consumer_init(void)
{
	ma_register_consumer(&consumer);
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
	ListCell   *outer;
	ListCell   *cell;

	if (rows.n > 0)
		now = Min(now, ma_int64(&rows, 0, 1));
	foreach(outer, ma_score_models()->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
		{
			const MaScoreRule *rule = lfirst(cell);
			const Interval *expires = rule->expires;

			if (rule->event_id != event_id)
				continue;
			if (expires == NULL || rule->at_most > 0)
				return DT_NOBEGIN;
			/* A month is 31 days at most, and a zone's clock may be set in it. */
			from = Min(from, now - expires->time -
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
	row.enroll = ma_guc_enroll && is_told(model, state);
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

void
ma_scoring_init(void)
{
	ma_score_consumer_init();
	ma_score_wake_init();
}
