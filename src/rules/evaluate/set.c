/*
 * set.c
 *		Rules evaluated together: what they read of a contact is found once for all.
 *
 * Equal attributes, streams and facts of several rules (and of segments they name)
 * get one place; attributes of one table and streams of one event are read by one
 * statement each.  So the number of rules costs next to nothing, as reading is all.
 */
#include "base/base.h"

#include "rules/columns.h"
#include "rules/evaluator.h"
#include "utils/memutils.h"

static uint64 last_id = 0;
static uint64 last_placed = 0; /* the set that set places last */

static void add_rule(MaRuleSet *set, MaRule *rule);
static void add_attribute(MaRuleSet *set, MaAttribute *attribute);
static void add_stream(MaRuleSet *set, MaStream *stream);
static void add_fact(MaRuleSet *set, MaNode *fact);
static void add_score(MaRuleSet *set, MaNumber *score);
static void add_contact_fetch(MaRuleSet *set, MaAttribute *attribute);
static void add_event_fetches(MaRuleSet *set, MaStream *stream);
static void add_needs(MaRuleSet *set, const MaRule *rule, RuleNeeds *needs);
static void add_attribute_needs(MaRuleSet *set, const MaAttribute *attribute, RuleNeeds *needs);
static bool same_text(const char *a, const char *b);
static bool needs_zone(const MaNode *node);
static void widen_node(MaRuleSet *set, const MaNode *node);
static void widen_number(MaRuleSet *set, const MaNumber *number);
static void widen(MaRuleSet *set, const MaStream *stream, const MaWindow *window);
static void forget(void *arg);

MaRuleSet *
ma_rule_set_make(MaRule **rules, int nrules)
{
	MaRuleSet  *set = palloc0_object(MaRuleSet);
	MemoryContextCallback *callback = palloc0_object(MemoryContextCallback);
	ListCell   *cell;

	set->id = ++last_id;
	set->rules = palloc_array(MaRule *, Max(nrules, 1));
	set->nrules = nrules;
	for (int i = 0; i < nrules; i++)
	{
		set->rules[i] = rules[i];
		add_rule(set, rules[i]);
	}
	set->nattributes = list_length(set->attributes);
	set->nstreams = list_length(set->streams);
	foreach(cell, set->attributes)
		add_contact_fetch(set, lfirst(cell));
	foreach(cell, set->streams)
		add_event_fetches(set, lfirst(cell));
	for (int i = 0; i < nrules; i++)
		if (rules[i]->top != NULL)	/* a row rule has attributes only */
			widen_node(set, rules[i]->top);
	set->needs = palloc0_array(RuleNeeds, Max(nrules, 1));
	for (int i = 0; i < nrules; i++)
		add_needs(set, rules[i], &set->needs[i]);
	foreach(cell, set->contact_fetches)
		set->needs_fields |= ((ContactFetch *) lfirst(cell))->mixed;
	callback->func = forget;
	callback->arg = set;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return set;
}

/* A rule may have been placed in another set since. */
void
ma_rule_set_place(MaRuleSet *set)
{
	bool		placed = true;

	if (last_placed == set->id)
		return;
	for (int i = 0; i < set->nrules; i++)
		placed &= set->rules[i]->placed_by == set->id;
	for (int i = 0; i < set->nrules && !placed; i++)
		add_rule(set, set->rules[i]);
	last_placed = set->id;
}

/* Plans outlive the memory of what holds them. */
static void
forget(void *arg)
{
	ma_fetch_forget(arg);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void
add_rule(MaRuleSet *set, MaRule *rule)
{
	ListCell   *cell;

	rule->placed_by = set->id;
	last_placed = 0;
	set->worker |= !rule->sync;
	foreach(cell, rule->attributes)
		add_attribute(set, lfirst(cell));
	foreach(cell, rule->streams)
		add_stream(set, lfirst(cell));
	foreach(cell, rule->facts)
		add_fact(set, lfirst(cell));
	foreach(cell, rule->scores)
		add_score(set, lfirst(cell));
	foreach(cell, rule->segments)
		add_rule(set, ((MaNode *) lfirst(cell))->rule);
}

static void
add_score(MaRuleSet *set, MaNumber *score)
{
	ListCell   *cell;

	foreach(cell, set->scores)
		if (strcmp(((MaNumber *) lfirst(cell))->text, score->text) == 0)
		{
			score->place = foreach_current_index(cell);
			return;
		}
	score->place = set->nscores++;
	set->scores = lappend(set->scores, score);
}

static void
add_attribute(MaRuleSet *set, MaAttribute *attribute)
{
	ListCell   *cell;

	foreach(cell, set->attributes)
	{
		MaAttribute *other = lfirst(cell);

		if (other->source == attribute->source && other->type == attribute->type &&
			other->recheck == attribute->recheck && strcmp(other->sql, attribute->sql) == 0)
		{
			attribute->place = foreach_current_index(cell);
			return;
		}
	}
	attribute->place = list_length(set->attributes);
	set->attributes = lappend(set->attributes, attribute);
}

static void
add_stream(MaRuleSet *set, MaStream *stream)
{
	ListCell   *cell;

	foreach(cell, set->streams)
	{
		MaStream   *other = lfirst(cell);

		if (other->event->id == stream->event->id && other->type == stream->type &&
			same_text(other->where, stream->where) && same_text(other->measure, stream->measure))
		{
			stream->place = foreach_current_index(cell);
			return;
		}
	}
	stream->place = list_length(set->streams);
	set->streams = lappend(set->streams, stream);
}

static void
add_fact(MaRuleSet *set, MaNode *fact)
{
	ListCell   *cell;

	foreach(cell, set->facts)
	{
		MaNode	   *other = lfirst(cell);

		if (other->fact == fact->fact && strcmp(other->name, fact->name) == 0 &&
			same_text(other->by, fact->by))
		{
			fact->place = foreach_current_index(cell);
			return;
		}
	}
	fact->place = set->nfacts++;
	set->facts = lappend(set->facts, fact);
}

static void
add_contact_fetch(MaRuleSet *set, MaAttribute *attribute)
{
	ContactFetch *fetch = NULL;
	bool		worker = !attribute->builtin_only || attribute->recheck;
	ListCell   *cell;

	foreach(cell, set->contact_fetches)
		if (((ContactFetch *) lfirst(cell))->source == attribute->source &&
			((ContactFetch *) lfirst(cell))->worker == worker)
			fetch = lfirst(cell);
	if (fetch == NULL)
	{
		fetch = palloc0_object(ContactFetch);
		fetch->source = attribute->source;
		fetch->worker = worker;
		set->contact_fetches = lappend(set->contact_fetches, fetch);
	}
	fetch->attributes = lappend(fetch->attributes, attribute);
	fetch->entry |= attribute->entry;
	fetch->clock |= attribute->clock;
	fetch->mixed |= attribute->source != NULL && attribute->mixed;
}

static void
add_event_fetches(MaRuleSet *set, MaStream *stream)
{
	ListCell   *cell;
	ListCell   *known;

	foreach(cell, stream->parts)
	{
		MaEventSource *source = ((MaStreamPart *) lfirst(cell))->source;
		EventFetch *fetch = NULL;

		foreach(known, set->event_fetches)
			if (((EventFetch *) lfirst(known))->event->id == stream->event->id &&
				((EventFetch *) lfirst(known))->source == source &&
				((EventFetch *) lfirst(known))->worker == !stream->builtin_only)
				fetch = lfirst(known);
		if (fetch == NULL)
		{
			fetch = palloc0_object(EventFetch);
			fetch->event = stream->event;
			fetch->source = source;
			fetch->worker = !stream->builtin_only;
			fetch->since = DT_NOEND;
			set->event_fetches = lappend(set->event_fetches, fetch);
		}
		fetch->streams = lappend(fetch->streams, stream);
		fetch->outer = list_concat_unique_ptr(fetch->outer, stream->outer);
		fetch->images |= stream->outer != NIL || stream->entry;
	}
}

/* ---- what each rule needs ---- */

static void
add_needs(MaRuleSet *set, const MaRule *rule, RuleNeeds *needs)
{
	ListCell   *cell;
	ListCell   *inner;
	ListCell   *outer;

	foreach(cell, rule->attributes)
		add_attribute_needs(set, lfirst(cell), needs);
	foreach(cell, rule->streams)
		foreach(inner, set->event_fetches)
		{
			EventFetch *fetch = lfirst(inner);
			MaStream   *stream = lfirst(cell);

			if (fetch->event->id != stream->event->id || fetch->worker != !stream->builtin_only)
				continue;
			needs->events = bms_add_member(needs->events, foreach_current_index(inner));
			/* Rows are read with what any rule compares them with. */
			foreach(outer, fetch->outer)
				add_attribute_needs(set, lfirst(outer), needs);
		}
	foreach(cell, rule->facts)
		needs->facts = bms_add_member(needs->facts, ((MaNode *) lfirst(cell))->place);
	foreach(cell, rule->scores)
		needs->scores = bms_add_member(needs->scores, ((MaNumber *) lfirst(cell))->place);
	foreach(cell, rule->segments)
		add_needs(set, ((MaNode *) lfirst(cell))->rule, needs);
}

static void
add_attribute_needs(MaRuleSet *set, const MaAttribute *attribute, RuleNeeds *needs)
{
	bool		worker = !attribute->builtin_only || attribute->recheck;
	ListCell   *cell;

	foreach(cell, set->contact_fetches)
		if (((ContactFetch *) lfirst(cell))->source == attribute->source &&
			((ContactFetch *) lfirst(cell))->worker == worker)
			needs->contacts = bms_add_member(needs->contacts, foreach_current_index(cell));
}

/* ---- whose local time matters, and how far back rows do ---- */

/* Months, local times and days are those of the contact's zone; exact durations know none. */
static bool
needs_zone(const MaNode *node)
{
	return node->kind == MA_NODE_DATE || node->kind == MA_NODE_ANNIVERSARY ||
		node->from.months != 0 || node->to.months != 0;
}


TimestampTz
ma_rule_set_reads_from(const MaRuleSet *set, int32 event_id, TimestampTz at)
{
	TimestampTz from = DT_NOEND;
	ListCell   *cell;

	foreach(cell, set->event_fetches)
	{
		const EventFetch *fetch = lfirst(cell);

		if (fetch->event->id == event_id)
			from = Min(from, fetch->ever ? DT_NOBEGIN : Min(at - fetch->reach, fetch->since));
	}
	foreach(cell, set->scores)
		from = Min(from, ma_score_reads_from(((MaNumber *) lfirst(cell))->text, event_id, at));
	return from;
}

static void
widen_node(MaRuleSet *set, const MaNode *node)
{
	static const MaWindow ever = {MA_WINDOW_EVER};
	ListCell   *cell;

	set->needs_fields |= needs_zone(node);
	foreach(cell, node->children)
		widen_node(set, lfirst(cell));
	if (node->kind == MA_NODE_SEGMENT)
		widen_node(set, node->rule->top);
	if (node->kind == MA_NODE_COMPARE)
	{
		widen_number(set, node->left);
		widen_number(set, node->right);
	}
	if (node->stream != NULL)
		widen(set, node->stream, node->window ? node->window : &ever);
	if (node->follower != NULL)
		widen(set, node->follower, node->window);
}

static void
widen_number(MaRuleSet *set, const MaNumber *number)
{
	if (number == NULL)
		return;
	if (number->kind == MA_NUMBER_AGGREGATE)
		widen(set, number->stream, number->window);
	widen_number(set, number->left);
	widen_number(set, number->right);
}

/* Rows before the reach of every window are not read; months are taken as long as they get. */
static void
widen(MaRuleSet *set, const MaStream *stream, const MaWindow *window)
{
	static const int days[] = {1, 7, 31, 92, 366};
	ListCell   *cell;

	set->needs_fields |= window->kind == MA_WINDOW_CALENDAR || window->from.months != 0 ||
		window->to.months != 0 ||
		(window->column != NULL && window->column->type == MA_VALUE_LOCAL);
	foreach(cell, set->event_fetches)
	{
		EventFetch *fetch = lfirst(cell);
		int64		reach = 0;

		if (fetch->event->id != stream->event->id)
			continue;
		switch (window->kind)
		{
			case MA_WINDOW_EVER:
			case MA_WINDOW_SINCE_COLUMN:
				fetch->ever = true;
				break;
			case MA_WINDOW_SINCE:
				fetch->since = Min(fetch->since, window->since);
				break;
			case MA_WINDOW_CALENDAR:
				reach = (window->last ? 2 : 1) * days[window->period] * USECS_PER_DAY;
				break;
			default:
				reach = window->to.months * 31 * USECS_PER_DAY + window->to.usecs;
		}
		fetch->reach = Max(fetch->reach, reach + 3 * USECS_PER_DAY);
	}
}
