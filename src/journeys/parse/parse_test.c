/*
 * parse_test.c
 *		What a test says: variants, who is in it, what is measured, and when it is over.
 *
 * A broadcast and a step of a journey say it in the same words.
 */
#include "base/base.h"

#include "journeys/parse/parse.h"

static void parse_variants(MaTest *test, const MaJson *json, List **problems);
static void parse_measure(MaTest *test, const MaJson *json, List **problems);
static void parse_rest(MaTest *test, const MaJson *json, bool of_step, List **problems);

MaTest *
ma_test_parse(const MaJson *json, bool of_step, List **problems)
{
	static const char *const keys[] = {
		"variants", "share", "measure", "after", "no_winner", "rest", NULL
	};
	MaTest	   *test = palloc0_object(MaTest);
	MaJson	   *member;

	test->share = 1;
	if (!ma_json_is_object(json, problems))
		return test;
	ma_json_known_keys(json, keys, problems);
	for (int i = 0; keys[i] != NULL; i++)
		if (ma_json_member(json, keys[i]) == NULL && strcmp(keys[i], "rest") != 0 &&
			!(of_step && strcmp(keys[i], "share") == 0))
			ma_problem(problems, json->path, NULL, "needs \"%s\"", keys[i]);
	if ((member = ma_json_member(json, "variants")) != NULL)
		parse_variants(test, member, problems);
	if ((member = ma_json_member(json, "share")) != NULL)
		test->share = ma_json_share(member, problems);
	if ((member = ma_json_member(json, "measure")) != NULL)
		parse_measure(test, member, problems);
	if ((member = ma_json_member(json, "after")) != NULL)
		test->after = ma_read_duration(member, problems);
	if ((member = ma_json_member(json, "rest")) != NULL)
		parse_rest(test, member, of_step, problems);
	test->no_winner = ma_read_text(json, "no_winner", problems);
	if (test->no_winner != NULL && test->variants != NIL &&
		ma_test_variant(test, test->no_winner) == NULL)
		ma_problem(problems, ma_json_member(json, "no_winner")->path, NULL,
				   "there is no variant \"%s\"", test->no_winner);
	return test;
}

/* {"a": "offer_a", "b": "offer_b"} */
static void
parse_variants(MaTest *test, const MaJson *json, List **problems)
{
	ListCell   *cell;
	ListCell   *inner;

	if (!ma_json_is_object(json, problems))
		return;
	foreach(cell, json->items)
	{
		MaJson	   *item = lfirst(cell);
		MaVariant  *variant = palloc0_object(MaVariant);

		variant->name = item->key;
		variant->template = ma_json_text(item, problems);
		if (variant->name[0] == '\0')
			ma_problem(problems, item->path, NULL, "a variant needs a name");
		foreach(inner, test->variants)
			if (variant->template != NULL && ((MaVariant *) lfirst(inner))->template != NULL &&
				strcmp(((MaVariant *) lfirst(inner))->template, variant->template) == 0)
				ma_problem(problems, item->path, NULL, "is the same template as variant \"%s\"",
						   ((MaVariant *) lfirst(inner))->name);
		test->variants = lappend(test->variants, variant);
	}
	if (list_length(json->items) < 2 || list_length(json->items) > 20)
		ma_problem(problems, json->path, "For example {\"a\": \"offer_a\", \"b\": \"offer_b\"}.",
				   "needs 2 to 20 variants");
}

static void
parse_measure(MaTest *test, const MaJson *json, List **problems)
{
	static const char *const measure_keys[] = {"event", NULL};

	if (!ma_json_is_object(json, problems))
		return;
	ma_json_known_keys(json, measure_keys, problems);
	test->measure = ma_read_text(json, "event", problems);
	if (ma_json_member(json, "event") == NULL)
		ma_problem(problems, json->path, NULL, "needs \"event\"");
}

/* What becomes of those who come to a step and are not in its test. */
static void
parse_rest(MaTest *test, const MaJson *json, bool of_step, List **problems)
{
	if (!of_step)
	{
		ma_problem(problems, json->path, "The rest of a broadcast gets the winner.",
				   "belongs to the step \"test\" of a journey");
		return;
	}
	if (ma_json_text(json, problems) == NULL)
		return;
	test->rest_waits = strcmp(json->text, "wait") == 0;
	if (!test->rest_waits && strcmp(json->text, "no_winner") != 0)
		ma_problem(problems, json->path,
				   "no_winner: they get that variant at once; wait: they get the winner when it is known.",
				   "must be \"no_winner\" or \"wait\"");
}

MaVariant *
ma_test_variant(const MaTest *test, const char *name)
{
	ListCell   *cell;

	foreach(cell, test->variants)
		if (strcmp(((MaVariant *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}
