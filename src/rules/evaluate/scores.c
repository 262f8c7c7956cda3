/*
 * scores.c
 *		`score(model)` in rules: a number that fades by itself, from the room above that
 *		keeps scores.
 *
 * A score is no number that stands still between rows.  Mostly one is compared with a
 * number that time does not change: of that the room says itself when the answer does.
 * Of scores within arithmetic fading.c finds it.  What the model reads, the rule reads.
 */
#include "base/base.h"

#include <math.h>

#include "rules/evaluator.h"
#include "utils/builtins.h"


/* A contact, and where it stands. */
typedef struct Taken
{
	int64		contact_id;
	int			i;
} Taken;

static const MaRuleScores *scores = NULL;

static int	compare_taken(const void *left, const void *right);
static int	copies_before(const Batch *batch, const int *places, int n, int *before);
static bool changes_by_time(const MaNumber *number);
static TimestampTz next_of(const char *model, const MaRuleScore *score, TimestampTz t,
						   float8 least, float8 above);
static void bounds_of(Numeric number, float8 *least, float8 *above);
static char *path_of(const MaRule *rule, const char *word, const char *name, const char *path);
static char *path_of_score(const char *model, const char *word, const char *name,
						   const char *path);

void
ma_register_rule_scores(const MaRuleScores *registered)
{
	scores = registered;
}

/* ---- parsing ---- */

/* score '(' MODEL ')' */
MaNumber *
ma_parse_score(MaParser *parser)
{
	MaNumber   *number = palloc0_object(MaNumber);
	List	   *candidates = NIL;
	char	   *nearest;
	int			place;

	parser->at += 2;
	place = parser->at;
	number->kind = MA_NUMBER_SCORE;
	number->text = ma_parse_name(parser, "a score model");
	ma_expect_symbol(parser, ")", "after the score model");
	if (scores == NULL || !scores->find(number->text, &candidates))
	{
		nearest = ma_nearest(number->text, candidates);
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SCORE),
				 errmsg("%s: there is no score model \"%s\"", parser->what, number->text),
				 nearest ? errhint("Did you mean %s?", nearest) :
				 errhint("Make it with marketing.define_score_model()."),
				 ma_rule_place(parser->text, parser->tokens[place].start)));
	}
	parser->rule->scores = lappend(parser->rule->scores, number);
	return number;
}

/* ---- what rules with scores depend on ---- */

List *
ma_score_events(const char *model)
{
	return scores->events(model);
}

List *
ma_score_relations(const char *model)
{
	return scores->relations(model);
}

TimestampTz
ma_score_reads_from(const char *model, int32 event_id, TimestampTz at)
{
	return scores->reads_from(model, event_id, at);
}

char *
ma_rule_path(const MaRule *rule, const char *word, const char *name)
{
	return path_of(rule, word, name, "");
}

/* The path with how the rule leads to the name; NULL: it does not. */
static char *
path_of(const MaRule *rule, const char *word, const char *name, const char *path)
{
	char	   *found = NULL;
	ListCell   *cell;

	foreach(cell, rule->segments)
	{
		const MaNode *node = lfirst(cell);
		char	   *further = psprintf("%s -> segment %s", path, node->name);

		if (strcmp(word, "segment") == 0 && strcmp(node->name, name) == 0)
			return further;
		found = path_of(node->rule, word, name, further);
		if (found != NULL)
			return found;
	}
	foreach(cell, rule->scores)
	{
		const char *model = ((MaNumber *) lfirst(cell))->text;

		found = path_of_score(model, word, name, psprintf("%s -> score %s", path, model));
		if (found != NULL)
			break;
	}
	return found;
}

/* Likewise of a score: by the segments it gives points for. */
static char *
path_of_score(const char *model, const char *word, const char *name, const char *path)
{
	ListCell   *cell;

	if (strcmp(word, "score") == 0 && strcmp(model, name) == 0)
		return pstrdup(path);
	foreach(cell, scores->segments(model))
	{
		MaRuleScope scope = {"segment"};
		MaRule	   *rule = ma_rule_parse(psprintf("in segment %s", quote_identifier(lfirst(cell))),
										 &scope, InvalidOid);
		char	   *found = path_of(rule, word, name, path);

		if (found != NULL)
			return found;
	}
	return NULL;
}

char *
ma_score_sql(const char *model, const char *now)
{
	return scores->sql(model, now);
}

/* ---- evaluation ---- */

static int
compare_taken(const void *left, const void *right)
{
	const Taken *a = left;
	const Taken *b = right;

	if (a->contact_id != b->contact_id)
		return a->contact_id < b->contact_id ? -1 : 1;
	return a->i - b->i;
}

/* How often the contact of each place stands before it; returns the largest number. */
static int
copies_before(const Batch *batch, const int *places, int n, int *before)
{
	Taken	   *all = palloc_array(Taken, Max(n, 1));
	int			most = 0;

	for (int i = 0; i < n; i++)
		all[i] = (Taken) {batch->contacts[places[i]].contact_id, i};
	qsort(all, n, sizeof(Taken), compare_taken);
	for (int i = 0; i < n; i++)
	{
		bool		again = i > 0 && all[i].contact_id == all[i - 1].contact_id;

		before[all[i].i] = again ? before[all[i - 1].i] + 1 : 0;
		most = Max(most, before[all[i].i]);
	}
	return most;
}

/*
 * The scores of the contacts at these places of the batch.  The room takes a contact
 * once; journeys have one here once for each of his runs or entries, anywhere in the batch.
 */
void
ma_fetch_scores(Batch *batch, const MaNumber *score, const int *places, int n)
{
	int			nscores = batch->set->nscores;
	MaContactChange *contacts = palloc_array(MaContactChange, Max(n, 1));
	TimestampTz *as_of = palloc_array(TimestampTz, Max(n, 1));
	MaRuleScore *out = palloc_array(MaRuleScore, Max(n, 1));
	int		   *taken = palloc_array(int, Max(n, 1));
	int		   *before = palloc_array(int, Max(n, 1));
	int			rounds = copies_before(batch, places, n, before);

	for (int round = 0; round <= rounds; round++)
	{
		int			count = 0;

		for (int i = 0; i < n; i++)
		{
			if (before[i] != round)
				continue;
			contacts[count] = batch->contacts[places[i]];
			as_of[count] = batch->as_of[places[i]];
			taken[count++] = places[i];
		}
		scores->compute(score->text, contacts, count, as_of, batch->how, out);
		for (int i = 0; i < count; i++)
			batch->scores[taken[i] * nscores + score->place] = out[i];
	}
}

static MaRuleScore *
score_of(const Moment *moment, const MaNumber *number)
{
	return &moment->batch->scores[moment->contact * moment->batch->set->nscores + number->place];
}

Numeric
ma_score_at_moment(const Moment *moment, const MaNumber *number, TimestampTz t)
{
	float8		value = scores->value(number->text, score_of(moment, number), t);
	Datum		text = CStringGetDatum(psprintf("%.4f", value));

	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   DirectFunctionCall3(numeric_in, text,
																   ObjectIdGetDatum(InvalidOid),
																   Int32GetDatum(-1))));
}

bool
ma_has_score(const MaNumber *number)
{
	if (number == NULL)
		return false;
	return number->kind == MA_NUMBER_SCORE || ma_has_score(number->left) ||
		ma_has_score(number->right);
}

TimestampTz
ma_score_known_until(const Moment *moment, const MaNumber *number)
{
	if (number == NULL)
		return DT_NOEND;
	if (number->kind == MA_NUMBER_SCORE)
		return score_of(moment, number)->until;
	return Min(ma_score_known_until(moment, number->left),
			   ma_score_known_until(moment, number->right));
}

TimestampTz
ma_score_settled(const Moment *moment, const MaNumber *number, TimestampTz from)
{
	if (number == NULL)
		return from;
	if (number->kind == MA_NUMBER_SCORE)
		return scores->settled(number->text, score_of(moment, number), from);
	return Max(ma_score_settled(moment, number->left, from),
			   ma_score_settled(moment, number->right, from));
}

float8
ma_score_steps(const Moment *moment, const MaNumber *number, TimestampTz from, TimestampTz to)
{
	const MaRuleScore *score;

	if (number == NULL)
		return 0;
	if (number->kind != MA_NUMBER_SCORE)
		return ma_score_steps(moment, number->left, from, to) +
			ma_score_steps(moment, number->right, from, to);
	score = score_of(moment, number);
	return fabs(scores->value(number->text, score, from) - scores->value(number->text, score, to)) *
		MA_RULE_SCORE_STEPS;
}

TimestampTz
ma_score_next(const Moment *moment, const MaNumber *number, TimestampTz t)
{
	const MaRuleScore *score;
	float8		value;

	if (number == NULL)
		return DT_NOEND;
	if (number->kind != MA_NUMBER_SCORE)
		return Min(ma_score_next(moment, number->left, t), ma_score_next(moment, number->right, t));
	score = score_of(moment, number);
	value = scores->value(number->text, score, t);
	return next_of(number->text, score, t, value,
				   (rint(value * MA_RULE_SCORE_STEPS) + 1) / MA_RULE_SCORE_STEPS);
}

static bool
changes_by_time(const MaNumber *number)
{
	if (number == NULL)
		return false;
	return number->kind == MA_NUMBER_SCORE || number->kind == MA_NUMBER_AGGREGATE ||
		changes_by_time(number->left) || changes_by_time(number->right);
}

bool
ma_compares_one_score(const MaNode *node)
{
	bool		left = node->left->kind == MA_NUMBER_SCORE;

	return (left || node->right->kind == MA_NUMBER_SCORE) &&
		!changes_by_time(left ? node->right : node->left);
}

/* The least score that is not below the number, and the least above it. */
static void
bounds_of(Numeric number, float8 *least, float8 *above)
{
	Datum		steps = DirectFunctionCall2(numeric_mul, NumericGetDatum(number),
											NumericGetDatum(int64_to_numeric(MA_RULE_SCORE_STEPS)));
	Datum		floored = DirectFunctionCall1(numeric_floor, steps);
	Datum		raised = DirectFunctionCall1(numeric_ceil, steps);
	/* These give infinity, and no error, for what is beyond. */
	float8		low = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, floored));
	float8		high = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, raised));

	*least = high / MA_RULE_SCORE_STEPS;
	*above = (low + 1) / MA_RULE_SCORE_STEPS;
}

/* When a score first is on another side of one of two bounds, or its `until`. */
static TimestampTz
next_of(const char *model, const MaRuleScore *score, TimestampTz t, float8 least, float8 above)
{
	return Min(scores->holds(model, score, t, least), scores->holds(model, score, t, above));
}

/* A score against a number: all comes down to whether it has reached a bound. */
MaTruth
ma_compare_score(Moment *moment, const MaNode *node)
{
	bool		right = node->left->kind != MA_NUMBER_SCORE;
	const MaNumber *number = right ? node->right : node->left;
	const char *operator = node->operator;
	const MaRuleScore *score;
	Numeric		bound;
	float8		least;
	float8		above;
	bool		reached;
	bool		passed;
	MaTruth		truth = {false, DT_NOEND};

	if (!ma_number_at(moment, right ? node->left : node->right, moment->at, &bound))
		return truth;
	if (!moment->batch->have_rows)
	{
		moment->pending = true;
		return (MaTruth) {false, DT_NOBEGIN};
	}
	score = score_of(moment, number);
	bounds_of(bound, &least, &above);
	reached = scores->value(number->text, score, moment->at) >= least;
	passed = scores->value(number->text, score, moment->at) >= above;
	truth.until = next_of(number->text, score, moment->at, least, above);
	if (operator[0] == '=')
		truth.truth = reached && !passed && least < above;
	else if (strcmp(operator, "<>") == 0)
		truth.truth = !(reached && !passed && least < above);
	else if ((operator[0] == '>') != right)
		truth.truth = operator[1] == '=' ? reached : passed;
	else
		truth.truth = operator[1] == '=' ? !passed : !reached;
	return truth;
}
