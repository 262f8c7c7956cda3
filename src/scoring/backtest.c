/*
 * backtest.c
 *		score_backtest(): how well the score of an earlier instant told who would do what
 *		happened after it.
 *
 * Scores are as of the instant: rows from after it give no points and do not crowd out
 * others.  What is foretold is read from after the instant only.  Rows go by when they
 * happened, and are read as they are today.
 *
 * Contacts of one score have no order: where a tenth or the top ends among them, each
 * counts with the share of those who are in it, as a drawing of lots would on the average.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "rules/rules.h"
#include "scoring/define.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define DECILES 10

/* A contact: the score then, and what came of it. */
typedef struct Case
{
	int64		contact_id;
	float8		score;
	bool		outcome;
} Case;

typedef struct Backtest
{
	MaScoreModel *model;
	TimestampTz at;
	TimestampTz end;
	MaRule	   *outcome;		/* it came within the time after */
	MaRule	   *before;			/* it had come before; NULL: that does not matter */
	MemoryContext context;		/* of the cases */
	Case	   *cases;
	int			n;
	int			space;
} Backtest;

static MaRule *rule_of(const char *event, const char *window, Oid definer);
static void add_cases(const int64 *ids, int n, void *arg);
static int	compare_cases(const void *left, const void *right);
static float8 outcomes_in(const Backtest *test, int from, int to);
static int	ties_end(const Backtest *test, int from, int64 *outcomes);
static float8 area(const Backtest *test, int64 outcomes);
static void put(ReturnSetInfo *result, const char *what, int64 n, float8 outcomes, float8 value,
				float8 base);

MA_FUNCTION(ma_score_backtest);

/* marketing.score_backtest(model, outcome_event, at, within, again) */
Datum
ma_score_backtest(PG_FUNCTION_ARGS)
{
	static const int tops[] = {10, 100, 1000, 10000};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_score_name(fcinfo, 0, "model");
	char	   *event = ma_score_text(fcinfo, 1);
	bool		again = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	Backtest	test = {0};
	int64		outcomes;
	MaCall		call;

	(void) ma_extension_required();
	if (event == NULL || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", event == NULL ? "outcome_event" :
						PG_ARGISNULL(2) ? "at" : "within")));
	InitMaterializedSRF(fcinfo, 0);
	test.at = PG_GETARG_TIMESTAMPTZ(2);
	test.end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(test.at),
													   PG_GETARG_DATUM(3)));
	/* The rule says it in seconds: so it ends, and begins, with a whole one. */
	if (!TIMESTAMP_NOT_FINITE(test.at))
		test.end -= (test.end - test.at) % USECS_PER_SEC;
	if (test.end <= test.at || test.end > ma_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the time after \"at\" must be over, and a second at least"),
				 errdetail("It would end at %s.", timestamptz_to_str(test.end)),
				 errhint("Take an earlier instant, or a shorter time: within => '30 days'.")));
	ma_call_begin(&call);
	test.model = ma_score_model_required(name);
	test.outcome = rule_of(event, psprintf(" in " INT64_FORMAT " seconds",
										   (test.end - test.at) / USECS_PER_SEC),
						   call.caller.userid);
	test.before = again ? NULL : rule_of(event, "", call.caller.userid);
	test.context = CurrentMemoryContext;
	ma_contacts_each(0, MA_RUN_READ, add_cases, &test);
	qsort(test.cases, test.n, sizeof(Case), compare_cases);
	outcomes = (int64) rint(outcomes_in(&test, 0, test.n));
	if (outcomes > 0 && outcomes < test.n)
	{
		float8		base = (float8) outcomes / test.n;

		put(result, "all", test.n, outcomes, base, 0);
		put(result, "auc", test.n, outcomes, area(&test, outcomes), 0);
		for (int i = 0; i < DECILES; i++)
		{
			int			from = (int) ((int64) test.n * i / DECILES);
			int			to = (int) ((int64) test.n * (i + 1) / DECILES);

			if (to > from)
				put(result, psprintf("decile %d", i + 1), to - from, outcomes_in(&test, from, to),
					-1, base);
		}
		for (int i = 0; i < lengthof(tops) && tops[i] < test.n; i++)
			put(result, psprintf("top %d", tops[i]), tops[i], outcomes_in(&test, 0, tops[i]), -1,
				base);
	}
	else
		put(result, "all", test.n, outcomes, test.n > 0 ? (float8) outcomes / test.n : 0, 0);
	ma_call_end(&call);
	return (Datum) 0;
}

/* "any order_placed where (total > 100) in 7776000 seconds", with the rights of the caller. */
static MaRule *
rule_of(const char *event, const char *window, Oid definer)
{
	MaRuleScope scope = {"outcome_event"};

	return ma_rule_parse(psprintf("any %s%s", event, window), &scope, definer);
}

/* Portion by portion: what is read of the contacts is freed after each. */
static void
add_cases(const int64 *ids, int n, void *arg)
{
	Backtest   *test = arg;
	MaContactChange *contacts = ma_read_contacts(ids, n);
	TimestampTz *as_of = palloc_array(TimestampTz, Max(n, 1));
	MaScore    *scores = palloc_array(MaScore, Max(n, 1));
	MaTruth    *came = palloc_array(MaTruth, Max(n, 1));
	MaTruth    *before = palloc0_array(MaTruth, Max(n, 1));

	for (int i = 0; i < n; i++)
		as_of[i] = test->at;
	ma_scores_compute(test->model, contacts, n, as_of, MA_RUN_READ, scores);
	ma_rule_evaluate(test->outcome, contacts, n, test->end, MA_RUN_READ, came);
	if (test->before != NULL)
		ma_rule_evaluate(test->before, contacts, n, test->at, MA_RUN_READ, before);
	if (test->n + n > test->space)
	{
		test->space = Max(test->space * 2, test->n + n);
		test->cases = test->cases == NULL ?
			MemoryContextAllocHuge(test->context, mul_size(sizeof(Case), test->space)) :
			repalloc_huge(test->cases, mul_size(sizeof(Case), test->space));
	}
	for (int i = 0; i < n; i++)
	{
		Case	   *one = &test->cases[test->n];

		if (contacts[i].nkeys == 0 || before[i].truth)
			continue;
		one->contact_id = contacts[i].contact_id;
		one->score = ma_score_at(test->model, &scores[i], test->at);
		one->outcome = came[i].truth;
		test->n++;
	}
}

/* The highest score first. */
static int
compare_cases(const void *left, const void *right)
{
	const Case *a = left;
	const Case *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return a->contact_id < b->contact_id ? -1 : a->contact_id > b->contact_id;
}

/* Behind the last one with the score of this one; how many of them had the outcome. */
static int
ties_end(const Backtest *test, int from, int64 *outcomes)
{
	int			end = from;

	for (*outcomes = 0; end < test->n && test->cases[end].score == test->cases[from].score; end++)
		*outcomes += test->cases[end].outcome;
	return end;
}

/* How many of those from one place to another had the outcome. */
static float8
outcomes_in(const Backtest *test, int from, int to)
{
	float8		n = 0;
	int			end;

	for (int i = 0; i < to; i = end)
	{
		int64		with;
		int			within;

		end = ties_end(test, i, &with);
		within = Min(end, to) - Max(i, from);
		if (within > 0)
			n += (float8) with * within / (end - i);
	}
	return n;
}

/*
 * The share of pairs, one with the outcome and one without, in which the former has the
 * higher score; equal ones count half.
 */
static float8
area(const Backtest *test, int64 outcomes)
{
	float8		won = 0;
	int64		below = test->n - outcomes;	/* without the outcome, not above those looked at */

	for (int i = 0; i < test->n;)
	{
		int64		with;
		int			end = ties_end(test, i, &with);
		int64		without = end - i - with;

		below -= without;
		won += (float8) with * (below + without / 2.0);
		i = end;
	}
	return won / ((float8) outcomes * (test->n - outcomes));
}

/* One line; a value below zero: the share of outcomes. base 0: no lift. */
static void
put(ReturnSetInfo *result, const char *what, int64 n, float8 outcomes, float8 value, float8 base)
{
	float8		share = value < 0 ? outcomes / n : value;
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(what);
	values[1] = Int64GetDatum(n);
	values[2] = Int64GetDatum((int64) rint(outcomes));
	values[3] = ma_score_numeric(share);
	nulls[4] = base == 0;
	values[4] = base == 0 ? (Datum) 0 : ma_score_numeric(share / base);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
