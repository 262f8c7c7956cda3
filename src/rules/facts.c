/*
 * facts.c
 *		What upper layers register for `in segment x`, `in list x`, `subscribed x` and
 *		`stage x`.
 */
#include "base/base.h"

#include "rules/rules_internal.h"

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
