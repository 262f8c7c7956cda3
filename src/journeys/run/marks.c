/*
 * marks.c
 *		What a run remembers besides its place: events a later wait may count, sends
 *		that did not go out, how often a goto was taken.
 *
 * A small jsonb object of instants (microseconds) and counts by name; most runs have
 * none.
 */
#include "base/base.h"

#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

typedef struct MaRunMark
{
	char	   *name;
	int64		value;
} MaRunMark;

List *
ma_marks_read(Datum marks)
{
	List	   *list = NIL;
	ListCell   *cell;

	if (marks == 0)
		return NIL;
	foreach(cell, ma_json_tree(marks)->items)
	{
		MaJson	   *member = lfirst(cell);
		MaRunMark  *mark = palloc_object(MaRunMark);

		mark->name = member->key;
		mark->value = strtoll(member->text, NULL, 10);
		list = lappend(list, mark);
	}
	return list;
}

/* A jsonb object; 0 when there is nothing to remember. */
Datum
ma_marks_datum(const List *marks)
{
	StringInfoData text;
	ListCell   *cell;

	if (marks == NIL)
		return (Datum) 0;
	initStringInfo(&text);
	foreach(cell, marks)
	{
		MaRunMark  *mark = lfirst(cell);

		appendStringInfoString(&text, text.len > 0 ? ", " : "{");
		escape_json(&text, mark->name);
		appendStringInfo(&text, ": " INT64_FORMAT, mark->value);
	}
	appendStringInfoChar(&text, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

static MaRunMark *
find(const MaJourneyRun *run, const char *name)
{
	ListCell   *cell;

	foreach(cell, run->marks)
		if (strcmp(((MaRunMark *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/* The list is copied, so that a step that fails can go back to the one before. */
static void
set(MaJourneyRun *run, const char *name, int64 value)
{
	MaRunMark  *mark = palloc_object(MaRunMark);

	ma_mark_remove(run, name);
	mark->name = pstrdup(name);
	mark->value = value;
	run->marks = lappend(list_copy(run->marks), mark);
	run->changed = run->marks_changed = true;
}

TimestampTz
ma_mark_at(const MaJourneyRun *run, const char *name)
{
	MaRunMark  *mark = find(run, name);

	return mark ? mark->value : DT_NOBEGIN;
}

void
ma_mark_set(MaJourneyRun *run, const char *name, TimestampTz at)
{
	set(run, name, at);
}

void
ma_mark_remove(MaJourneyRun *run, const char *name)
{
	MaRunMark  *mark = find(run, name);

	if (mark == NULL)
		return;
	run->marks = list_delete_ptr(list_copy(run->marks), mark);
	run->changed = run->marks_changed = true;
}

int
ma_mark_count(const MaJourneyRun *run, const char *name)
{
	MaRunMark  *mark = find(run, name);

	return mark ? (int) mark->value : 0;
}

void
ma_mark_count_up(MaJourneyRun *run, const char *name)
{
	set(run, name, ma_mark_count(run, name) + 1);
}
