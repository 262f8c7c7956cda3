/*
 * step.c
 *		The step "test": who gets which variant.
 *
 * While the test goes on a share of those who come is in it, each with the variant that his
 * number draws, the same whenever he comes by.  The others get `no_winner` at once, which is
 * what would be sent without a test; nobody is kept waiting in a journey that is always
 * open.  Where all come at once, "rest": "wait" keeps the others for the winner.  Once it is
 * decided everybody gets the winner.
 *
 * The messages all bear the id of the step, so waits, conditions and reports that name it
 * need not know which one was sent; the templates tell them apart.
 */
#include "base/base.h"

#include "journeys/engine.h"

/* What somebody gets, and as whom. */
typedef enum Place
{
	PLACE_TESTED, PLACE_REST, PLACE_WON
} Place;

static const char *const place_words[] = {"", ", not in the test", ", the winner"};

typedef struct Choice
{
	const MaVariant *variant;	/* NULL: he waits */
	Place		place;
} Choice;

static Choice choose(const MaJourneyRun *run, const MaTestState *state);
static bool waits(const MaTurnBatch *batch, MaJourneyRun *run, const MaTestState *state);

static Choice
choose(const MaJourneyRun *run, const MaTestState *state)
{
	const MaTest *test = run->step->test;
	Choice		choice = {NULL, PLACE_WON};

	if (state != NULL && state->winner != NULL)
		choice.variant = ma_test_variant(test, state->winner);
	if (choice.variant != NULL)
		return choice;
	choice.variant = ma_test_draw(test, run->version->journey, run->step->id,
								  run->person->contact_id);
	choice.place = choice.variant != NULL ? PLACE_TESTED : PLACE_REST;
	if (choice.variant == NULL)
		choice.variant = ma_test_variant(test, test->no_winner);
	return choice;
}

/* Who is not in the test may wait up to its horizon; in a simulation nobody knows a winner. */
static bool
waits(const MaTurnBatch *batch, MaJourneyRun *run, const MaTestState *state)
{
	TimestampTz until = state != NULL ? state->next_at :
		ma_duration_add(run->since, run->step->test->after, NULL);

	if (!run->step->test->rest_waits || until <= batch->now)
		return false;
	run->due_at = until;
	run->changed = true;
	return true;
}

void
ma_step_test(MaTurnBatch *batch, MaJourneyRun **runs, int n)
{
	const MaStep *step = runs[0]->step;
	MaTestState *state = batch->simulation != NULL ? NULL :
		ma_test_state(runs[0]->version, step, batch->now);
	Choice	   *choices = palloc_array(Choice, n);
	MaJourneyRun **group = palloc_array(MaJourneyRun *, n);

	for (int i = 0; i < n; i++)
	{
		choices[i] = choose(runs[i], state);
		if (choices[i].place == PLACE_REST && waits(batch, runs[i], state))
			choices[i].variant = NULL;
	}
	for (int i = 0; i < n; i++)
	{
		Choice		choice = choices[i];
		int			size = 0;

		if (choice.variant == NULL)
			continue;
		for (int j = i; j < n; j++)
			if (choices[j].variant == choice.variant && choices[j].place == choice.place)
			{
				group[size++] = runs[j];
				choices[j].variant = NULL;
			}
		ma_step_send(batch, group, size, choice.variant->template,
					 psprintf("%s%s", choice.variant->name, place_words[choice.place]));
	}
}
