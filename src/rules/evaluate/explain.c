/*
 * explain.c
 *		Why a rule is true or false for one contact: its tree with values, what they
 *		need to be, and until when that holds; and what a rule says of somebody of whom
 *		nothing is known.
 *
 * The same evaluator answers, so the explanation cannot disagree with it; here no
 * child is left out.
 */
#include "base/base.h"

#include "miscadmin.h"
#include "rules/evaluator.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_DEPTH 20
#define MAX_STEPS 1000			/* instants looked at for one condition */

/* An answer and when it changes, if no row does. */
typedef struct Answer
{
	MaTruth		truth;
	bool		open;			/* it may hold longer than its `until` */
} Answer;

static Answer answer_of(Moment *moment, const MaNode *node);
static TimestampTz known_until(Moment *moment, const MaNode *node);
static void explain_node(List **lines, Moment *moment, const MaNode *node, int depth);
static MaRuleLine *add_line(List **lines, int depth, char *text, MaTruth truth);
static void explain_comparison(List **lines, Moment *moment, const MaNode *node, Answer answer,
							   int depth);
static void explain_atom(List **lines, MaRuleLine *line, Moment *moment, const MaNode *node,
						 Answer answer);
static void explain_number(List **lines, Moment *moment, const MaNumber *number,
						   TimestampTz change, int depth);
static char *time_text(TimestampTz at);
static char *until_text(Answer answer);
static void begin(Batch *batch, MaRule *rule, MaContactChange *contacts, int n, TimestampTz as_of,
				  MaRun how);
static int	without_events(Moment *moment, const MaNode *node, bool *by_absence);

/* Reads everything about the contacts for one rule. */
static void
begin(Batch *batch, MaRule *rule, MaContactChange *contacts, int n, TimestampTz as_of, MaRun how)
{
	TimestampTz *instants = palloc_array(TimestampTz, Max(n, 1));

	memset(batch, 0, sizeof(*batch));
	for (int i = 0; i < n; i++)
		instants[i] = as_of;
	batch->set = ma_rule_set_make(&rule, 1);
	ma_evidence_begin(batch->set);
	batch->contacts = contacts;
	batch->n = n;
	batch->as_of = instants;
	batch->how = how;
	ma_batch_read(batch);
}

List *
ma_rule_explain(MaRule *rule, MaContactChange *contact, TimestampTz as_of, MaRun how)
{
	Batch		batch;
	Moment		moment;
	List	   *lines = NIL;

	begin(&batch, rule, contact, 1, as_of, how);
	moment = (Moment) {&batch, 0, as_of, batch.zones[0] ? batch.zones[0] : rule->zone, false};
	if (contact->nkeys == 0)
	{
		MaRuleLine *line = add_line(&lines, 0, ma_rule_text(rule), (MaTruth) {false, DT_NOEND});

		line->because = "the contact has no id that counts";
	}
	else
		explain_node(&lines, &moment, rule->top, 0);
	ma_fetch_forget(batch.set);
	return lines;
}

static MaRuleLine *
add_line(List **lines, int depth, char *text, MaTruth truth)
{
	MaRuleLine *line = palloc0_object(MaRuleLine);

	line->depth = depth;
	line->node = text;
	line->truth = truth;
	*lines = lappend(*lines, line);
	return line;
}

static char *
time_text(TimestampTz at)
{
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(at)));
}

static char *
until_text(Answer answer)
{
	if (answer.truth.until == DT_NOEND)
		return psprintf("%s until a row changes", answer.truth.truth ? "true" : "false");
	if (answer.open)
		return "at least until then";
	return psprintf("becomes %s then", answer.truth.truth ? "false" : "true");
}

/* Facts and what is asked of other tables are known as they are now, and so long. */
static TimestampTz
known_until(Moment *moment, const MaNode *node)
{
	TimestampTz until = DT_NOEND;
	ListCell   *cell;

	if (node->kind == MA_NODE_FACT || node->kind == MA_NODE_RECHECK)
		return ma_node_truth(moment, node).until;
	if (node->kind == MA_NODE_COMPARE)
		return Min(ma_score_known_until(moment, node->left),
				   ma_score_known_until(moment, node->right));
	if (node->kind == MA_NODE_SEGMENT)
		return known_until(moment, node->rule->top);
	foreach(cell, node->children)
		until = Min(until, known_until(moment, lfirst(cell)));
	return until;
}

/*
 * `until` is a lower bound: what the other parts of a condition do may keep the answer
 * the same.  So it is asked again at each of these instants until it differs.
 */
static Answer
answer_of(Moment *moment, const MaNode *node)
{
	TimestampTz limit = known_until(moment, node);
	Moment		later = *moment;
	Answer		answer = {ma_node_truth(moment, node), false};

	for (int step = 0; answer.truth.until != DT_NOEND; step++)
	{
		MaTruth		truth;

		CHECK_FOR_INTERRUPTS();
		answer.open = step == MAX_STEPS || answer.truth.until >= limit;
		if (answer.open)
			break;
		later.at = answer.truth.until;
		truth = ma_node_truth(&later, node);
		if (truth.truth != answer.truth.truth)
			break;
		answer.truth.until = truth.until;
	}
	return answer;
}

static void
explain_node(List **lines, Moment *moment, const MaNode *node, int depth)
{
	Answer		answer = answer_of(moment, node);
	MaRuleLine *line;
	ListCell   *cell;
	pg_tz	   *zone = moment->zone;

	switch (node->kind)
	{
		case MA_NODE_AND:
		case MA_NODE_OR:
		case MA_NODE_NOT:
			line = add_line(lines, depth, node->kind == MA_NODE_AND ? "all of" :
							node->kind == MA_NODE_OR ? "one of" : "not", answer.truth);
			line->because = until_text(answer);
			foreach(cell, node->children)
				explain_node(lines, moment, lfirst(cell), Min(depth + 1, MAX_DEPTH));
			break;
		case MA_NODE_SEGMENT:
			line = add_line(lines, depth, ma_print_node(node), answer.truth);
			line->because = until_text(answer);
			if (moment->batch->zones[moment->contact] == NULL)
				moment->zone = node->rule->zone;
			explain_node(lines, moment, node->rule->top, Min(depth + 1, MAX_DEPTH));
			moment->zone = zone;
			break;
		case MA_NODE_COMPARE:
			explain_comparison(lines, moment, node, answer, depth);
			break;
		default:
			line = add_line(lines, depth, ma_print_node(node), answer.truth);
			explain_atom(lines, line, moment, node, answer);
	}
}

/* An aggregate against a number is one line; of anything else each number gets its own. */
static void
explain_comparison(List **lines, Moment *moment, const MaNode *node, Answer answer, int depth)
{
	MaRuleLine *line;

	if ((node->left->kind == MA_NUMBER_AGGREGATE || node->left->kind == MA_NUMBER_SCORE) &&
		node->right->kind == MA_NUMBER_CONSTANT)
	{
		Numeric		value;

		line = add_line(lines, depth, ma_print_number(node->left), answer.truth);
		line->needs = psprintf("%s %s", node->operator, node->right->text);
		line->unknown = !ma_number_at(moment, node->left, moment->at, &value);
		if (!line->unknown)
			line->value = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
		if (node->left->kind == MA_NUMBER_SCORE)
			line->because = until_text(answer);
		else
			ma_evidence_of_number(lines, line, moment, node->left, answer.truth.until);
		return;
	}
	line = add_line(lines, depth, ma_print_node(node), answer.truth);
	line->because = until_text(answer);
	explain_number(lines, moment, node->left, answer.truth.until, Min(depth + 1, MAX_DEPTH));
	explain_number(lines, moment, node->right, answer.truth.until, Min(depth + 1, MAX_DEPTH));
}

static void
explain_atom(List **lines, MaRuleLine *line, Moment *moment, const MaNode *node, Answer answer)
{
	TimestampTz at;

	switch (node->kind)
	{
		case MA_NODE_LEAF:
		case MA_NODE_RECHECK:
			line->unknown = moment->batch->nulls[moment->contact * moment->batch->set->nattributes +
												 node->attribute->place];
			line->because = line->unknown ? "unknown -> false" : node->kind == MA_NODE_LEAF ? NULL :
				psprintf("as it is now; the worker asks again at %s", time_text(line->truth.until));
			break;
		case MA_NODE_DATE:
		case MA_NODE_ANNIVERSARY:
			line->unknown = !ma_instant_of(moment, node->attribute, &at);
			if (!line->unknown)
				line->value = time_text(at);
			line->because = line->unknown ? "unknown -> false" : until_text(answer);
			break;
		default:
			line->because = until_text(answer);
	}
	ma_evidence_of_node(lines, line, moment, node);
}

/* Aggregates and columns within arithmetic, each on its line. */
static void
explain_number(List **lines, Moment *moment, const MaNumber *number, TimestampTz change, int depth)
{
	if (number == NULL)
		return;
	if (number->kind == MA_NUMBER_AGGREGATE || number->kind == MA_NUMBER_COLUMN ||
		number->kind == MA_NUMBER_SCORE)
	{
		MaRuleLine *line = add_line(lines, depth, ma_print_number(number),
									(MaTruth) {false, DT_NOEND});
		Numeric		value;

		line->is_number = true;
		line->unknown = !ma_number_at(moment, number, moment->at, &value);
		if (!line->unknown)
			line->value = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
		if (number->kind == MA_NUMBER_AGGREGATE)
			ma_evidence_of_number(lines, line, moment, number, change);
	}
	explain_number(lines, moment, number->left, change, depth);
	explain_number(lines, moment, number->right, change, depth);
}

/* ---- unknowns ---- */

List *
ma_rule_unknowns(MaRule *rule, MaContactChange *contacts, int n, MaRun how, List *unknowns)
{
	Batch		batch = {ma_rule_set_make(&rule, 1), contacts, n};
	ListCell   *cell;

	batch.as_of = palloc0_array(TimestampTz, Max(n, 1));
	batch.how = how;
	ma_fetch_prepare(batch.set);
	ma_fetch_contacts(&batch, NULL);
	foreach(cell, rule->attributes)
	{
		MaAttribute *attribute = lfirst(cell);
		MaRuleUnknown *unknown = NULL;
		ListCell   *known;

		/* A column within the condition on an event is no condition of its own. */
		if (attribute->type == MA_VALUE_TEXT)
			continue;
		foreach(known, unknowns)
			if (strcmp(((MaRuleUnknown *) lfirst(known))->text, attribute->text) == 0)
				unknown = lfirst(known);
		if (unknown == NULL)
		{
			MemoryContext previous = MemoryContextSwitchTo(GetMemoryChunkContext(rule));

			unknown = palloc0_object(MaRuleUnknown);
			unknown->text = pstrdup(attribute->text);
			unknowns = lappend(unknowns, unknown);
			MemoryContextSwitchTo(previous);
		}
		for (int i = 0; i < n; i++)
			unknown->n += batch.nulls[i * batch.set->nattributes + attribute->place];
	}
	ma_fetch_forget(batch.set);
	return unknowns;
}

/* ---- of whom nothing is known ---- */

/*
 * 1 true, 0 false, -1 not known for a contact without any row; *by_absence is set when
 * a condition on events is true for want of rows.
 */
static int
without_events(Moment *moment, const MaNode *node, bool *by_absence)
{
	ListCell   *cell;
	int			result;
	bool		truth;

	switch (node->kind)
	{
		case MA_NODE_AND:
		case MA_NODE_OR:
			result = node->kind == MA_NODE_AND;
			foreach(cell, node->children)
			{
				int			child = without_events(moment, lfirst(cell), by_absence);

				if (child == (node->kind == MA_NODE_OR))
					return child;
				if (child < 0)
					result = -1;
			}
			return result;
		case MA_NODE_NOT:
			result = without_events(moment, linitial(node->children), by_absence);
			*by_absence |= result == 0;
			return result < 0 ? -1 : !result;
		case MA_NODE_SEGMENT:
			return without_events(moment, node->rule->top, by_absence);
		case MA_NODE_COMPARE:
			if (node->left->kind == MA_NUMBER_COLUMN || node->right->kind == MA_NUMBER_COLUMN)
				return -1;
			truth = ma_node_truth(moment, node).truth;
			*by_absence |= truth;
			return truth;
		case MA_NODE_EXISTS:
		case MA_NODE_LAST_ROWS:
		case MA_NODE_ENDS:
		case MA_NODE_OVERDUE:
			truth = ma_node_truth(moment, node).truth;
			*by_absence |= truth;
			return truth;
		default:
			return -1;
	}
}

bool
ma_rule_true_without_events(const MaRule *rule)
{
	MaRule	   *rules[1] = {unconstify(MaRule *, rule)};
	MaRuleSet  *set = ma_rule_set_make(rules, 1);
	MaContactChange nobody = {0};
	Batch		batch = {set, &nobody, 1};
	Moment		moment = {&batch, 0, ma_now(), rule->zone, false};
	pg_tz	   *zone = NULL;
	bool		by_absence = false;

	batch.as_of = &moment.at;
	batch.zones = &zone;
	batch.have_rows = true;
	batch.rows = palloc0_array(RowList, Max(set->nstreams, 1));
	batch.scores = palloc0_array(MaRuleScore, Max(set->nscores, 1));
	batch.values = palloc0_array(Datum, Max(set->nattributes, 1));
	batch.nulls = palloc_array(bool, Max(set->nattributes, 1));
	memset(batch.nulls, true, set->nattributes);
	return without_events(&moment, rule->top, &by_absence) != 0 && by_absence;
}
