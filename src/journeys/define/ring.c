/*
 * ring.c
 *		Journeys that lead back into themselves: a ring of them without a wait would
 *		send to a contact without end.
 *
 * What a journey does may be an entry: its step enroll, its messages (email_sent), its
 * lists (segments that name them), its own beginning and end (journey_entered), and
 * what segments read of all that.  A segment that one more row changes for good (any
 * email_sent), or that only rows of one kind change, goes no second time and makes no
 * ring.  Each ring needs one thing that holds it up: a wait, or an entry that says how
 * often.  An
 * entry with a condition ("where", "filter") cannot be judged from the text; for those,
 * and for what is redefined later, admit.c bounds the entries of an hour.
 */
#include "base/base.h"

#include "content/content.h"
#include "journeys/catalog.h"
#include "journeys/program.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "segments/segments.h"

#define MAX_JOURNEYS_IN_RING 16
#define MAX_LOOKS 10000			/* there are no more rings to be found than that */

/* A journey, and what it does before its first wait. */
typedef struct RingNode
{
	const char *name;
	const MaProgram *program;
	List	   *steps;			/* MaStep * reached from the entry without a wait */
	bool		ends;			/* so is its end */
	bool		on_path;
} RingNode;

typedef struct Search
{
	List	   *nodes;			/* RingNode *; the first is the one that is checked */
	RingNode	   *path[MAX_JOURNEYS_IN_RING];
	const MaStep *by[MAX_JOURNEYS_IN_RING];	/* how each leads to the next; NULL: by itself */
	int			n;
	int			looks;
} Search;

static RingNode *node_make(const char *name, const MaProgram *program);
static void reach(RingNode *node, MaStep *step);
static void reach_wait(RingNode *node, const MaStep *step);
static bool is_own_event(const char *event);
static bool has_suffix(const char *text, const char *suffix);
static bool is_unbounded(const RingNode *node);
static bool comes_by(const MaCondition *entry, const char *event);
static bool is_entry_by_channel(const MaCondition *entry, const char *channel);
static bool leads_to(const MaStep *step, const RingNode *to);
static bool begins_by(const RingNode *from, const RingNode *to);
static bool find_ring(Search *search);
static bool closes(const Search *search);
static bool list_changes_back(const Search *search, const MaStep *by);
static bool other_message_comes(const Search *search, const MaStep *by);
static void report(const Search *search, List **problems);

void
ma_ring_check(const char *name, const MaProgram *program, bool with_others, List **problems)
{
	Search		search = {0};
	ListCell   *cell;

	search.nodes = list_make1(node_make(name, program));
	foreach(cell, with_others ? ma_journeys()->versions : NIL)
	{
		MaVersion  *version = lfirst(cell);

		if (version->current && strcmp(version->journey, name) != 0)
			search.nodes = lappend(search.nodes, node_make(version->journey, version->program));
	}
	search.path[search.n++] = linitial(search.nodes);
	if (find_ring(&search))
		report(&search, problems);
}

/* ---- what a journey does before its first wait ---- */

static RingNode *
node_make(const char *name, const MaProgram *program)
{
	RingNode	   *node = palloc0_object(RingNode);

	node->name = name;
	node->program = program;
	reach(node, program->steps ? linitial(program->steps) : NULL);
	return node;
}

/* The step is reached, and all that follows it up to a wait. */
static void
reach(RingNode *node, MaStep *step)
{
	ListCell   *cell;

	check_stack_depth();
	if (step == NULL || step->kind == MA_STEP_EXIT)
		node->ends = true;
	if (step == NULL || step->kind == MA_STEP_EXIT || step->kind == MA_STEP_WAIT ||
		list_member_ptr(node->steps, step))
		return;
	node->steps = lappend(node->steps, step);
	if (step->kind == MA_STEP_WAIT_UNTIL)
	{
		reach_wait(node, step);
		return;
	}
	reach(node, step->next);
	if (ma_step_sends(step) || step->kind == MA_STEP_BRANCH || step->kind == MA_STEP_SPLIT)
		reach(node, step->other);
	if (step->kind == MA_STEP_BRANCH || step->kind == MA_STEP_SPLIT)
		foreach(cell, step->conditions)
			reach(node, ((MaCondition *) lfirst(cell))->then);
	if (step->kind == MA_STEP_GOTO && step->target != NULL)
		reach(node, step->target);
}

/* A wait_until is none if what it waits for comes by itself. */
static void
reach_wait(RingNode *node, const MaStep *step)
{
	ListCell   *cell;

	foreach(cell, step->conditions)
	{
		MaCondition *condition = lfirst(cell);

		if (condition->rule != NULL ||
			(condition->event != NULL && is_own_event(condition->event)))
			reach(node, condition->then);
	}
}

/* Events that what a journey does raises, without anybody else. */
static bool
is_own_event(const char *event)
{
	static const char *const names[] = {
		"segment_entered", "segment_left", "journey_entered", "journey_exited", NULL
	};

	for (int i = 0; names[i] != NULL; i++)
		if (strcmp(event, names[i]) == 0)
			return true;
	return ma_builtin_columns(event) != NULL &&
		(has_suffix(event, "_sent") || has_suffix(event, "_skipped") ||
		 has_suffix(event, "_failed"));
}

static bool
has_suffix(const char *text, const char *suffix)
{
	size_t		length = strlen(text);

	return length >= strlen(suffix) && strcmp(text + length - strlen(suffix), suffix) == 0;
}

/* ---- what leads where ---- */

/* True if nothing says how often one contact may enter. */
static bool
is_unbounded(const RingNode *node)
{
	const MaProgram *program = node->program;

	return (program->reentry == MA_REENTRY_AFTER_EXIT || program->reentry == MA_REENTRY_ALWAYS) &&
		program->filter == NULL && (program->entry == NULL || program->entry->where == NULL);
}

/* True if the event is the entry, or makes somebody enter or leave the segment that is. */
static bool
comes_by(const MaCondition *entry, const char *event)
{
	if (entry == NULL || entry->event == NULL)
		return false;
	return entry->segment != NULL ? ma_segment_swings_by(entry->segment, event) :
		strcmp(entry->event, event) == 0;
}

/* True if messages of the channel are an entry, by what becomes of them without anybody else. */
static bool
is_entry_by_channel(const MaCondition *entry, const char *channel)
{
	static const char *const ends[] = {"sent", "skipped", "failed"};

	for (int i = 0; i < lengthof(ends); i++)
		if (comes_by(entry, psprintf("%s_%s", channel, ends[i])))
			return true;
	return false;
}

/* True if doing the step makes the contact enter the other journey. */
static bool
leads_to(const MaStep *step, const RingNode *to)
{
	const MaCondition *entry = to->program->entry;
	ListCell   *cell;

	foreach(cell, ma_step_templates(step))
		if (is_entry_by_channel(entry, ma_template_required(lfirst(cell))->channel))
			return true;
	if (step->text == NULL)
		return false;
	switch (step->kind)
	{
		case MA_STEP_ENROLL:
			return strcmp(step->text, to->name) == 0;
		case MA_STEP_ADD_TO_LIST:
		case MA_STEP_REMOVE_FROM_LIST:
			return entry != NULL && entry->segment != NULL &&
				ma_segment_reads_list(entry->segment, step->text);
		default:
			return false;
	}
}

/* True if entering or leaving the one is by itself an entry of the other. */
static bool
begins_by(const RingNode *from, const RingNode *to)
{
	const MaCondition *entry = to->program->entry;

	return comes_by(entry, "journey_entered") ||
		(from->ends && comes_by(entry, "journey_exited"));
}

/* ---- the search ---- */

/* Goes on from the last journey of the path; true with the ring in the path. */
static bool
find_ring(Search *search)
{
	RingNode	   *from = search->path[search->n - 1];
	ListCell   *cell;

	if (!is_unbounded(from) || search->looks++ > MAX_LOOKS)
		return false;
	from->on_path = true;
	foreach(cell, search->nodes)
	{
		RingNode	   *to = lfirst(cell);
		bool		back = to == search->path[0];

		if ((to->on_path && !back) || (!back && search->n == MAX_JOURNEYS_IN_RING))
			continue;
		for (int i = -1; i < list_length(from->steps); i++)
		{
			const MaStep *by = i < 0 ? NULL : list_nth(from->steps, i);

			if (by == NULL ? !begins_by(from, to) : !leads_to(by, to))
				continue;
			search->by[search->n - 1] = by;
			if (back && closes(search))
				return true;
			if (back)
				continue;
			search->path[search->n++] = to;
			if (find_ring(search))
				return true;
			search->n--;
		}
	}
	from->on_path = false;
	return false;
}

/* What is done one way only changes no segment a second time. */
static bool
closes(const Search *search)
{
	for (int i = 0; i < search->n; i++)
	{
		const MaStep *by = search->by[i];
		const MaCondition *entry = search->path[(i + 1) % search->n]->program->entry;
		bool		segment = entry != NULL && entry->segment != NULL;

		if (by == NULL ? segment && search->n == 1 :
			ma_step_sends(by) ? segment && !other_message_comes(search, by) :
			by->kind != MA_STEP_ENROLL && !list_changes_back(search, by))
			return false;
	}
	return true;
}

/* True if a journey of the ring sends something else by the same channel. */
static bool
other_message_comes(const Search *search, const MaStep *by)
{
	const char *first = linitial(ma_step_templates(by));
	const char *channel = ma_template_required(first)->channel;

	for (int i = 0; i < search->n; i++)
	{
		ListCell   *cell;
		ListCell   *inner;

		foreach(cell, search->path[i]->steps)
			foreach(inner, ma_step_templates(lfirst(cell)))
				if (strcmp(lfirst(inner), first) != 0 &&
					strcmp(ma_template_required(lfirst(inner))->channel, channel) == 0)
					return true;
	}
	return false;
}

/* True if a journey of the ring does the opposite with the list. */
static bool
list_changes_back(const Search *search, const MaStep *by)
{
	MaStepKind	opposite = by->kind == MA_STEP_ADD_TO_LIST ? MA_STEP_REMOVE_FROM_LIST :
		MA_STEP_ADD_TO_LIST;

	for (int i = 0; i < search->n; i++)
	{
		ListCell   *cell;

		foreach(cell, search->path[i]->steps)
		{
			MaStep	   *step = lfirst(cell);

			if (step->kind == opposite && strcmp(step->text, by->text) == 0)
				return true;
		}
	}
	return false;
}

static void
report(const Search *search, List **problems)
{
	const MaStep *by = search->by[0];
	StringInfoData way;

	initStringInfo(&way);
	for (int i = 0; i < search->n; i++)
		appendStringInfo(&way, "%s, then ", search->path[i]->name);
	appendStringInfoString(&way, search->path[0]->name);
	ma_problem(problems, by == NULL ? "entry.event" :
			   psprintf("%s.%s", by->path, by->word),
			   "Put a wait into the ring, or say how often a contact may enter: \"reentry\": \"once\" or {\"every\": \"7 days\"}.",
			   "leads back into this journey without a wait and without end: %s", way.data);
}
