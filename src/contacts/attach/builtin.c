/*
 * builtin.c
 *		Events of our own: their names and columns, and how a room raises one.
 *
 * A built-in event is one like those of users: journeys begin, end and wait on it
 * by its name, and rules may read its rows where its room has registered them.  Those
 * stand in the tables of that room, so nothing is stored here; raising it marks the
 * contact and tells the consumers of rows, and only when something watches the name.
 * It gets its number when the first definition names it, since a number made by the
 * install script would meet that of a dump.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/capture/changes.h"
#include "contacts/flush/evaluate.h"
#include "contacts/events.h"

#define TEXT(name) {name, TEXTOID}
#define NAME(name, kind) {name, TEXTOID, kind}

static const MaBuiltinColumn message_columns[] = {
	NAME("template", "template"), NAME("journey", "journey"), TEXT("broadcast"), TEXT("step"),
	NAME("topic", "topic"),
	TEXT("url"), {"machine", BOOLOID}, {0}
};
/* When it was opened and clicked is known of what was sent, later on. */
static const MaBuiltinColumn sent_columns[] = {
	NAME("template", "template"), NAME("journey", "journey"), TEXT("broadcast"), TEXT("step"),
	NAME("topic", "topic"), TEXT("url"), {"machine", BOOLOID}, {"opened_at", TIMESTAMPTZOID},
	{"clicked_at", TIMESTAMPTZOID}, {0}
};
static const MaBuiltinColumn consent_columns[] = {
	NAME("topic", "topic"), TEXT("channel"), TEXT("source"), {0}
};
static const MaBuiltinColumn segment_columns[] = {NAME("segment", "segment"), {0}};
static const MaBuiltinColumn score_columns[] = {
	NAME("model", "score model"), TEXT("threshold"), {0}
};
static const MaBuiltinColumn stage_columns[] = {
	NAME("from", "stage"), NAME("to", "stage"), {0}
};
static const MaBuiltinColumn journey_columns[] = {
	NAME("journey", "journey"), TEXT("reason"), {0}
};
static const MaBuiltinColumn lead_columns[] = {
	NAME("model", "score model"), NAME("by", "owner"), TEXT("reason"), {0}
};
static const MaBuiltinColumn task_columns[] = {
	TEXT("task"), NAME("by", "owner"), TEXT("result"), {0}
};

/* Built-in events that are not <channel>_<verb>. */
static const MaBuiltinEvent events[] = {
	{"subscription_requested", consent_columns},
	{"subscription_confirmed", consent_columns},
	{"unsubscribed", consent_columns},
	{"segment_entered", segment_columns},
	{"segment_left", segment_columns},
	{"score_threshold_reached", score_columns},
	{"score_threshold_lost", score_columns},
	{"stage_changed", stage_columns},
	{"journey_entered", journey_columns},
	{"journey_exited", journey_columns},
	{"goal_reached", journey_columns},
	{"lead_accepted", lead_columns},
	{"lead_rejected", lead_columns},
	{"task_done", task_columns}
};

/* Those of messages: each channel with each verb; "sent" stands first. */
static const char *const channels[] = {"email", "sms", "push", "webhook"};
static const MaBuiltinEvent message_events[] = {
	{"sent", sent_columns},
	{"delivered", message_columns},
	{"opened", message_columns},
	{"clicked", message_columns},
	{"bounced", message_columns},
	{"complained", message_columns},
	{"skipped", message_columns},
	{"failed", message_columns},
	{"replied", message_columns}
};

#define MAX_ROWS 64

static const MaBuiltinRows *stored[MAX_ROWS];
static int	nstored = 0;

static const MaBuiltinColumn *message_event(const char *name);
static MaEvent *watched(const char *name);

const MaBuiltinColumn *
ma_builtin_columns(const char *name)
{
	for (int i = 0; i < lengthof(events); i++)
		if (strcmp(name, events[i].name) == 0)
			return events[i].columns;
	return message_event(name);
}

/* The columns of <channel>_<verb>, else NULL. */
static const MaBuiltinColumn *
message_event(const char *name)
{
	for (int i = 0; i < lengthof(channels); i++)
	{
		size_t		length = strlen(channels[i]);

		if (strncmp(name, channels[i], length) != 0 || name[length] != '_')
			continue;
		for (int j = 0; j < lengthof(message_events); j++)
			if (strcmp(name + length + 1, message_events[j].name) == 0)
				return message_events[j].columns;
	}
	return NULL;
}

List *
ma_builtin_names(void)
{
	List	   *names = NIL;

	for (int i = 0; i < lengthof(events); i++)
		names = lappend(names, unconstify(char *, events[i].name));
	for (int i = 0; i < lengthof(channels); i++)
		for (int j = 0; j < lengthof(message_events); j++)
			names = lappend(names, psprintf("%s_%s", channels[i], message_events[j].name));
	return names;
}

/* ---- rows that conditions may read ---- */

void
ma_register_builtin_rows(const MaBuiltinRows *rows, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (nstored == MAX_ROWS)
			elog(ERROR, "cannot happen: more than %d built-in events with rows", MAX_ROWS);
		stored[nstored++] = &rows[i];
	}
}

const MaBuiltinRows *
ma_builtin_rows(const char *event)
{
	for (int i = 0; i < nstored; i++)
		if (strcmp(stored[i]->event, event) == 0)
			return stored[i];
	return NULL;
}

MaEvent *
ma_builtin_event(MaDefinitions *definitions, const char *name)
{
	MaEvent    *event = ma_event_by_name(definitions, name);

	if (event != NULL)
		return event;
	event = palloc0_object(MaEvent);
	event->name = pstrdup(name);
	event->builtin = true;
	for (int i = 0; i < nstored; i++)
		if (strcmp(stored[i]->event, name) == 0)
			event->id = -1 - i;
	return event;
}

bool
ma_builtin_is_read(const char *name)
{
	MaEvent    *event = ma_event_by_name(ma_definitions(), name);

	return event != NULL && event->set_grade;
}

/* ---- raising ---- */

/* The event if anything depends on it, else NULL. */
static MaEvent *
watched(const char *name)
{
	MaEvent    *event = ma_event_by_name(ma_definitions(), name);

	Assert(ma_builtin_columns(name) != NULL);
	return event != NULL && (event->row_grade || event->set_grade) ? event : NULL;
}

void
ma_raise_event(const char *name, int64 contact_id, int64 row_id, TimestampTz occurred_at,
			   Datum properties)
{
	MaEvent    *event = watched(name);

	if (event != NULL)
		ma_mark_tracked(contact_id, event, row_id, occurred_at, properties);
}

void
ma_tell_events(const char *name, MaRowChange *rows, int n, TimestampTz now)
{
	MaEvent    *event = watched(name);

	/* Who is being evaluated has his rows read after this. */
	if (event == NULL || !event->row_grade || n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		rows[i].event_id = event->id;
		rows[i].kind = MA_ROW_HAPPENED;
	}
	ma_consumers_rows(rows, n, now);
}
