/*
 * facts.c
 *		What upper layers register for `in segment x`, `in list x`, `subscribed x` and
 *		`stage x`.
 */
#include "base/base.h"

#include "rules/rules_internal.h"
#include "utils/builtins.h"

#define MAX_FACTS 8

static const MaRuleFact *facts[MAX_FACTS];
static int	nfacts = 0;

void
ma_register_rule_fact(const MaRuleFact *fact)
{
	if (nfacts == MAX_FACTS)
		elog(ERROR, "cannot happen: more than %d kinds of facts", MAX_FACTS);
	facts[nfacts++] = fact;
}

const MaRuleFact *
ma_rule_fact(const char *word)
{
	for (int i = 0; i < nfacts; i++)
		if (strcmp(facts[i]->word, word) == 0)
			return facts[i];
	return NULL;
}

void
ma_rule_fact_in_rows(MaStatement *read, const char *name, const int64 *contact_ids, int n,
					 MaRun how, MaTruth *out)
{
	Datum		values[2];
	MaRows		rows;

	for (int i = 0; i < n; i++)
		out[i] = (MaTruth) {false, DT_NOEND};
	values[0] = ma_int8_array(contact_ids, n);
	values[1] = CStringGetTextDatum(name);
	rows = ma_run(read, values, NULL, how);
	for (uint64 i = 0; i < rows.n; i++)
		out[ma_int32(&rows, i, 1) - 1].truth = true;
}
