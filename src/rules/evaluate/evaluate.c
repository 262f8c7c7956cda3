/*
 * evaluate.c
 *		Truth of rules for a batch of contacts, and until when it holds.
 *
 * The algebra: a false child keeps AND false up to its `until`, and the child that
 * lasts longest decides; where all are true the first to end decides.  OR is the
 * same with true and false exchanged.  A child that decides for ever ends the search,
 * and what needs no rows is looked at first: who is not in Istanbul never costs a
 * look into his orders.
 */
#include "base/base.h"

#include "rules/evaluator.h"
#include "utils/memutils.h"

static MaTruth junction(Moment *moment, const MaNode *node, bool all);
static void evaluate_batch(Batch *batch, const bool *wanted, MaTruth *out);
static MaTruth one_rule(Batch *batch, int contact, const MaRule *rule, bool *pending);
static bool is_wanted(const Batch *batch, const bool *wanted, int contact, int rule);
static const bool *wants_worker(const Batch *batch, const bool *wanted);

void
ma_rule_set_evaluate(MaRuleSet *set, MaContactChange *contacts, int n, const TimestampTz *as_of,
					 MaRun how, const bool *wanted, MaTruth *out)
{
	ma_rule_set_evaluate_entered(set, contacts, n, as_of, NULL, how, wanted, out);
}

void
ma_rule_set_evaluate_entered(MaRuleSet *set, MaContactChange *contacts, int n,
							 const TimestampTz *as_of, const Datum *entries, MaRun how,
							 const bool *wanted, MaTruth *out)
{
	MemoryContext context;
	MemoryContext previous;
	Batch		batch = {set, contacts, n, as_of, how, entries};

	if (n == 0 || set->nrules == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation rules",
									ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(context);
	batch.worker = wants_worker(&batch, wanted);
	ma_fetch_prepare(set);
	ma_fetch_contacts(&batch, wanted);
	evaluate_batch(&batch, wanted, out);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
}

static bool
is_wanted(const Batch *batch, const bool *wanted, int contact, int rule)
{
	return wanted == NULL || wanted[contact * batch->set->nrules + rule];
}

/* Who wants a rule for the worker: what such rules read is not read for the others. */
static const bool *
wants_worker(const Batch *batch, const bool *wanted)
{
	bool	   *worker;

	if (!batch->set->worker || wanted == NULL)
		return NULL;
	worker = palloc0_array(bool, batch->n);
	for (int i = 0; i < batch->n; i++)
		for (int j = 0; j < batch->set->nrules; j++)
			worker[i] |= !batch->set->rules[j]->sync && is_wanted(batch, wanted, i, j);
	return worker;
}

/* First without rows; who is not decided by that has his rows read. */
static void
evaluate_batch(Batch *batch, const bool *wanted, MaTruth *out)
{
	int			nrules = batch->set->nrules;
	bool	   *pending = palloc0_array(bool, mul_size(batch->n, nrules));
	bool		any = false;

	for (int i = 0; i < batch->n; i++)
		for (int j = 0; j < nrules; j++)
		{
			int			k = i * nrules + j;

			if (!is_wanted(batch, wanted, i, j))
				continue;
			out[k] = one_rule(batch, i, batch->set->rules[j], &pending[k]);
			any |= pending[k];
		}
	if (!any)
		return;
	ma_fetch_rows(batch, pending);
	batch->have_rows = true;
	for (int i = 0; i < batch->n; i++)
		for (int j = 0; j < nrules; j++)
			if (pending[i * nrules + j])
				out[i * nrules + j] = one_rule(batch, i, batch->set->rules[j],
											   &pending[i * nrules + j]);
}

void
ma_batch_read(Batch *batch)
{
	ma_fetch_prepare(batch->set);
	ma_fetch_contacts(batch, NULL);
	ma_fetch_rows(batch, NULL);
	batch->have_rows = true;
}

/* A contact without keys that count fits no rule. */
static MaTruth
one_rule(Batch *batch, int contact, const MaRule *rule, bool *pending)
{
	Moment		moment = {batch, contact, batch->as_of[contact], NULL, false};
	MaTruth		truth = {false, DT_NOEND};

	moment.zone = batch->zones[contact] ? batch->zones[contact] : rule->zone;
	if (batch->contacts[contact].nkeys > 0)
		truth = ma_node_truth(&moment, rule->top);
	*pending = moment.pending;
	return truth;
}

MaTruth
ma_node_truth(Moment *moment, const MaNode *node)
{
	MaTruth		truth;
	pg_tz	   *zone = moment->zone;

	switch (node->kind)
	{
		case MA_NODE_AND:
			return junction(moment, node, true);
		case MA_NODE_OR:
			return junction(moment, node, false);
		case MA_NODE_NOT:
			truth = ma_node_truth(moment, linitial(node->children));
			truth.truth = !truth.truth;
			return truth;
		case MA_NODE_SEGMENT:
			if (moment->batch->zones[moment->contact] == NULL)
				moment->zone = node->rule->zone;
			truth = ma_node_truth(moment, node->rule->top);
			moment->zone = zone;
			return truth;
		case MA_NODE_COMPARE:
			return ma_compare(moment, node);
		default:
			return ma_atom(moment, node);
	}
}

/* AND (all) or OR: `all` is the truth the children must share for it. */
static MaTruth
junction(Moment *moment, const MaNode *node, bool all)
{
	bool		pending = moment->pending;
	bool		decided = false;
	bool		open = false;
	MaTruth		shared = {all, DT_NOEND};
	MaTruth		deciding = {!all, DT_NOBEGIN};
	ListCell   *cell;

	foreach(cell, node->children)
	{
		MaTruth		truth;

		moment->pending = false;
		truth = ma_node_truth(moment, lfirst(cell));
		if (moment->pending)
			open = true;
		else if (truth.truth == all)
			shared.until = Min(shared.until, truth.until);
		else
		{
			decided = true;
			deciding.until = Max(deciding.until, truth.until);
			if (truth.until == DT_NOEND)
			{
				moment->pending = pending;
				return deciding;
			}
		}
	}
	moment->pending = pending || open;
	return decided ? deciding : shared;
}

void
ma_rule_evaluate(MaRule *rule, MaContactChange *contacts, int n, TimestampTz as_of, MaRun how,
				 MaTruth *out)
{
	MaRuleSet  *set = ma_rule_set_make(&rule, 1);
	TimestampTz *instants = palloc_array(TimestampTz, Max(n, 1));

	for (int i = 0; i < n; i++)
		instants[i] = as_of;
	ma_rule_set_evaluate(set, contacts, n, instants, how, NULL, out);
	ma_fetch_forget(set);
}
