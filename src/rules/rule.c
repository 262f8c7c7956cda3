/*
 * rule.c
 *		What a rule reads: events with the way their rows move it, columns, relations,
 *		names.  The engines decide by it whom to evaluate, and capture what to notice.
 */
#include "base/base.h"

#include "rules/columns.h"
#include "rules/leaf.h"
#include "rules/rules_internal.h"
#include "utils/lsyscache.h"

#define MAX_LISTENERS 4

static MaNamedListener listeners[MAX_LISTENERS];
static int	nlisteners = 0;

#define EITHER (MA_MOVES_UP | MA_MOVES_DOWN)

static void add_event(List **events, const MaStream *stream, uint8 moves);
static void add_column(MaRuleEvent *event, char *column);
static void add_score_events(List **events, const char *model);
static void collect_node(List **events, const MaNode *node, bool negated);
static void collect_number(List **events, const MaNumber *number, uint8 moves);
static uint8 comparison_moves(const MaNode *node, bool negated);
static uint8 turned(uint8 moves, bool negated);
static void collect_relations(List **relids, const MaRule *rule);
static void watch_sources(const char *consumer, const char *object, const MaRule *rule);

bool
ma_rule_is_sync(const MaRule *rule)
{
	return rule->sync;
}

bool
ma_rule_is_plain(const MaRule *rule)
{
	bool		plain = rule->plain;
	ListCell   *cell;

	foreach(cell, rule->segments)
		plain &= ma_rule_is_plain(((MaNode *) lfirst(cell))->rule);
	return plain;
}

const char *
ma_rule_time_zone(const MaRule *rule)
{
	return rule->time_zone;
}

/* ---- events ---- */

static void
add_event(List **events, const MaStream *stream, uint8 moves)
{
	MaRuleEvent *event = NULL;
	ListCell   *cell;
	ListCell   *column;

	foreach(cell, *events)
		if (((MaRuleEvent *) lfirst(cell))->event_id == stream->event->id)
			event = lfirst(cell);
	if (event == NULL)
	{
		event = palloc0_object(MaRuleEvent);
		event->event_id = stream->event->id;
		event->name = stream->event->name;
		*events = lappend(*events, event);
	}
	event->moves |= moves;
	foreach(cell, stream->parts)
		foreach(column, ((MaStreamPart *) lfirst(cell))->columns)
			add_column(event, lfirst(column));
}

static void
add_column(MaRuleEvent *event, char *column)
{
	ListCell   *cell;

	foreach(cell, event->columns)
		if (strcmp(lfirst(cell), column) == 0)
			return;
	event->columns = lappend(event->columns, column);
}

/* Points may be negative, and rows may crowd out others: either way. */
static void
add_score_events(List **events, const char *model)
{
	ListCell   *cell;
	ListCell   *known;
	ListCell   *column;

	foreach(cell, ma_score_events(model))
	{
		MaRuleEvent *read = lfirst(cell);
		MaRuleEvent *event = NULL;

		foreach(known, *events)
			if (((MaRuleEvent *) lfirst(known))->event_id == read->event_id)
				event = lfirst(known);
		if (event == NULL)
			*events = lappend(*events, event = read);
		else
			foreach(column, read->columns)
				add_column(event, lfirst(column));
		event->moves = EITHER;
	}
}

static uint8
turned(uint8 moves, bool negated)
{
	if (!negated || moves == EITHER)
		return moves;
	return moves == MA_MOVES_UP ? MA_MOVES_DOWN : MA_MOVES_UP;
}

/* More rows can only raise a count or a maximum, and only lower a minimum. */
static uint8
comparison_moves(const MaNode *node, bool negated)
{
	const MaNumber *left = node->left;
	const MaNumber *right = node->right;
	bool		greater = node->operator[0] == '>';
	uint8		moves = EITHER;

	if (node->operator[0] == '=' || strcmp(node->operator, "<>") == 0)
		return EITHER;
	if (left->kind != MA_NUMBER_AGGREGATE)
	{
		left = node->right;
		right = node->left;
		greater = !greater;
	}
	if (left->kind != MA_NUMBER_AGGREGATE ||
		(right->kind != MA_NUMBER_CONSTANT && right->kind != MA_NUMBER_COLUMN))
		return EITHER;
	if (left->function == MA_FN_COUNT)
		moves = greater ? MA_MOVES_UP : MA_MOVES_DOWN;
	else if ((left->function == MA_FN_MAX && greater) || (left->function == MA_FN_MIN && !greater))
		moves = MA_MOVES_UP;
	return turned(moves, negated);
}

static void
collect_number(List **events, const MaNumber *number, uint8 moves)
{
	if (number == NULL)
		return;
	if (number->kind == MA_NUMBER_AGGREGATE)
		add_event(events, number->stream, moves);
	if (number->kind == MA_NUMBER_SCORE)
		add_score_events(events, number->text);
	collect_number(events, number->left, moves);
	collect_number(events, number->right, moves);
}

static void
collect_node(List **events, const MaNode *node, bool negated)
{
	ListCell   *cell;

	switch (node->kind)
	{
		case MA_NODE_AND:
		case MA_NODE_OR:
			foreach(cell, node->children)
				collect_node(events, lfirst(cell), negated);
			break;
		case MA_NODE_NOT:
			collect_node(events, linitial(node->children), !negated);
			break;
		case MA_NODE_SEGMENT:
			collect_node(events, node->rule->top, negated);
			break;
		case MA_NODE_COMPARE:
			collect_number(events, node->left, comparison_moves(node, negated));
			collect_number(events, node->right, comparison_moves(node, negated));
			break;
		case MA_NODE_EXISTS:
			negated ^= node->test == MA_TEST_NO;
			add_event(events, node->stream, turned(MA_MOVES_UP, negated));
			if (node->follower != NULL)
				add_event(events, node->follower,
						  turned(MA_MOVES_UP, negated ^ node->not_followed));
			break;
		case MA_NODE_LAST_ROWS:
		case MA_NODE_ENDS:
		case MA_NODE_OVERDUE:
			add_event(events, node->stream, EITHER);
			break;
		default:
			break;
	}
}

List *
ma_rule_events(const MaRule *rule)
{
	List	   *events = NIL;

	collect_node(&events, rule->top, false);
	return events;
}

/* ---- relations and names ---- */

static void
collect_relations(List **relids, const MaRule *rule)
{
	ListCell   *cell;
	ListCell   *inner;
	ListCell   *lookup;

	foreach(cell, rule->attributes)
		if (((MaAttribute *) lfirst(cell))->source != NULL)
			*relids = list_append_unique_oid(*relids,
											 ((MaAttribute *) lfirst(cell))->source->table->relid);
	foreach(cell, rule->streams)
		foreach(inner, ((MaStream *) lfirst(cell))->parts)
		{
			MaEvent    *event = ((MaStream *) lfirst(cell))->event;
			MaEventSource *source = ((MaStreamPart *) lfirst(inner))->source;

			if (source == NULL && event->builtin)
				*relids = list_append_unique_oid(*relids,
												 ma_own_table(ma_builtin_rows(event->name)->table));
			if (source == NULL)
				continue;
			*relids = list_append_unique_oid(*relids, source->table->relid);
			if (source->via_table != NULL)
				*relids = list_append_unique_oid(*relids, source->via_table->relid);
			foreach(lookup, ((MaStreamPart *) lfirst(inner))->lookups)
				*relids = list_append_unique_oid(*relids,
												 ((MaLookup *) lfirst(lookup))->table->relid);
		}
	foreach(cell, rule->scores)
		*relids = list_concat_unique_oid(*relids,
										 ma_score_relations(((MaNumber *) lfirst(cell))->text));
	foreach(cell, rule->segments)
		collect_relations(relids, ((MaNode *) lfirst(cell))->rule);
}

List *
ma_rule_relations(const MaRule *rule)
{
	List	   *relids = NIL;

	collect_relations(&relids, rule);
	list_sort(relids, list_oid_cmp);
	return relids;
}

List *
ma_rule_names(const MaRule *rule, const char *word)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, rule->segments)
		if (strcmp(((MaNode *) lfirst(cell))->fact->word, word) == 0)
			names = lappend(names, ((MaNode *) lfirst(cell))->name);
	foreach(cell, rule->facts)
		if (strcmp(((MaNode *) lfirst(cell))->fact->word, word) == 0)
			names = lappend(names, ((MaNode *) lfirst(cell))->name);
	foreach(cell, strcmp(word, "score") == 0 ? rule->scores : NIL)
		names = lappend(names, ((MaNumber *) lfirst(cell))->text);
	return names;
}

List *
ma_rule_uses(const MaRule *rule, const char *kind)
{
	const char *word = strcmp(kind, "score model") == 0 ? "score" :
		strcmp(kind, "topic") == 0 ? "subscribed" : kind;

	return list_concat(ma_rule_names(rule, word), ma_row_names_of(rule->named, kind));
}

/* Columns of attached tables, of the rule and of segments it names. */
static void
watch_sources(const char *consumer, const char *object, const MaRule *rule)
{
	ListCell   *cell;

	foreach(cell, rule->attributes)
	{
		MaAttribute *attribute = lfirst(cell);

		if (attribute->source != NULL)
			ma_watch_source(consumer, object, attribute->source->id, attribute->columns);
	}
	foreach(cell, rule->segments)
		watch_sources(consumer, object, ((MaNode *) lfirst(cell))->rule);
}

void
ma_rule_watch(const char *consumer, const char *object, const MaRule *rule)
{
	ListCell   *cell;

	foreach(cell, ma_rule_events(rule))
	{
		MaRuleEvent *event = lfirst(cell);

		if (event->event_id < 0)
			event->event_id = ma_event_ensure(event->name);
		ma_watch_event(consumer, object, event->event_id, false, event->columns);
	}
	watch_sources(consumer, object, rule);
}

/* ---- who is told when something that rules name changes ---- */

void
ma_register_named_listener(MaNamedListener listener)
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "cannot happen: more than %d listeners", MAX_LISTENERS);
	listeners[nlisteners++] = listener;
}

void
ma_tell_named(const char *word, const char *name, bool changed)
{
	for (int i = 0; i < nlisteners; i++)
		listeners[i] (word, name, changed);
}

void
ma_rules_init(void)
{
}
