/*
 * why.c
 *		What journeys tell why_not_sent(): the gates of the entry.
 *
 * With a run, or a refused entry, the log says what happened.  Without, the contact's
 * own rows are looked at: was there an event at all, and does its row fit?
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/tell/why.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static bool recognise(const char *name, MaWhyQuestion *question);
static List *names(void);
static void read_run(const MaWhyQuestion *question, MaStory *story);
static void read_refusal(const MaWhyQuestion *question, MaStory *story);
static void read_newest_row(const MaWhyQuestion *question, MaStory *story);
static void entry_to_come(const MaWhyQuestion *question, MaStory *story, MaWhyAnswer *answer);
static void entry_fact(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void entry_where(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void segment(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void filter(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void reentry(const MaWhyQuestion *question, MaWhyAnswer *answer);

static const MaWhySubject subject = {"journey", recognise, names, ma_why_cause};

static const MaWhyGate gates[] = {
	{4, "entry", entry_fact}, {5, "entry where", entry_where}, {6, "segment", segment},
	{7, "filter", filter}, {8, "re-entry", reentry}
};

void
ma_journey_why_init(void)
{
	ma_register_why_subject(&subject);
	for (int i = 0; i < lengthof(gates); i++)
		ma_register_why_gate(&gates[i]);
	ma_journey_why_steps_init();
}

static bool
recognise(const char *name, MaWhyQuestion *question)
{
	MaJourney  *journey = ma_journey_find(name);

	if (journey == NULL)
		return false;
	question->journey = journey->name;
	return true;
}

static List *
names(void)
{
	return ma_journey_names();
}

/* False when the question is about no journey. */
bool
ma_story_read(const MaWhyQuestion *question, MaStory *story)
{
	static MaStatement signals = {
		"SELECT FROM marketing_internal.enrollment_signal WHERE contact_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(question->contact_id);

	memset(story, 0, sizeof(*story));
	if (question->journey == NULL || question->contact_id == 0)
		return false;
	story->contact_id = question->contact_id;
	story->journey = ma_journey_find(question->journey);
	if (story->journey == NULL)
		return false;
	story->version = ma_journey_current(ma_journeys(), story->journey->id);
	read_run(question, story);
	read_refusal(question, story);
	story->signalled = ma_run(&signals, &value, NULL, MA_RUN_READ_LATEST).n > 0;
	return true;
}

/* The run of the message, else the last one entered. */
static void
read_run(const MaWhyQuestion *question, MaStory *story)
{
	static MaStatement read = {
		"SELECT e.enrollment_id, e.state, e.step, COALESCE(e.reason, e.error_state OPERATOR(pg_catalog.||) ': ' "
		"OPERATOR(pg_catalog.||) e.error), e.entered_at, e.due_at, COALESCE(e.ended_at, e.since), "
		"e.version, e.key, (SELECT pg_catalog.max(l.at) FROM marketing_internal.enrollment_log AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) e.contact_id "
		"AND l.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id "
		"AND l.what OPERATOR(pg_catalog.=) 'message' AND l.step OPERATOR(pg_catalog.=) $5 "
		"AND l.at OPERATOR(pg_catalog.<=) $3) "
		"FROM marketing_internal.enrollment AS e WHERE e.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND e.journey_id OPERATOR(pg_catalog.=) $2 AND e.entered_at OPERATOR(pg_catalog.<=) $3 "
		"AND ($4 OPERATOR(pg_catalog.=) 0 OR e.enrollment_id OPERATOR(pg_catalog.=) $4) "
		"ORDER BY e.enrollment_id DESC LIMIT 1",
		5, {INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, TEXTOID}
	};
	Datum		values[5];
	MaRows		rows;
	bool		isnull;

	values[0] = Int64GetDatum(question->contact_id);
	values[1] = Int32GetDatum(story->journey->id);
	values[2] = TimestampTzGetDatum(question->at);
	values[3] = Int64GetDatum(question->enrollment_id);
	values[4] = CStringGetTextDatum(question->step ? question->step : "");
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return;
	story->enrollment_id = ma_int64(&rows, 0, 1);
	story->state = ma_text(&rows, 0, 2);
	story->step = ma_text(&rows, 0, 3);
	story->reason = ma_text(&rows, 0, 4);
	story->entered_at = ma_int64(&rows, 0, 5);
	story->due_at = DatumGetTimestampTz(ma_value(&rows, 0, 6, &isnull));
	if (isnull)
		story->due_at = DT_NOEND;
	story->since = ma_int64(&rows, 0, 7);
	story->run_version = ma_int32(&rows, 0, 8);
	story->key = ma_text(&rows, 0, 9);
	story->message_at = DatumGetTimestampTz(ma_value(&rows, 0, 10, &isnull));
	if (isnull)
		story->message_at = DT_NOBEGIN;
}

/* A refusal counts while no run was let in after it. */
static void
read_refusal(const MaWhyQuestion *question, MaStory *story)
{
	static MaStatement read = {
		"SELECT l.what, l.detail, l.at FROM marketing_internal.enrollment_log AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) $1 AND l.journey_id OPERATOR(pg_catalog.=) $2 "
		"AND l.at OPERATOR(pg_catalog.<=) $3 "
		"AND l.what OPERATOR(pg_catalog.=) ANY ('{refused,held,entered}') ORDER BY l.log_id DESC LIMIT 1",
		3, {INT8OID, INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = Int64GetDatum(question->contact_id);
	values[1] = Int32GetDatum(story->journey->id);
	values[2] = TimestampTzGetDatum(question->at);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0 || strcmp(ma_text(&rows, 0, 1), "entered") == 0)
		return;
	story->refused = ma_text(&rows, 0, 2);
	story->refused_at = ma_int64(&rows, 0, 3);
}

/* False for built-in events of which nothing is kept. */
static bool
has_rows(const char *name)
{
	return ma_builtin_columns(name) == NULL || ma_builtin_rows(name) != NULL;
}

/* The newest row of the entry event up to the instant asked about. */
static void
read_newest_row(const MaWhyQuestion *question, MaStory *story)
{
	MaCondition *entry = story->version->program->entry;
	MaEvent    *event = ma_event_by_name(ma_definitions(), entry->event);
	MaContactChange *contact = ma_read_contacts_as(&question->contact_id, 1, MA_RUN_READ_LATEST);
	ListCell   *cell;

	foreach(cell, event == NULL ? NIL : event->builtin ? list_make1(NULL) :
			ma_event_sources(ma_definitions(), event))
	{
		MaEventSource *source = lfirst(cell);
		int64	   *ids;
		Datum	   *keys;
		int			nkeys = ma_event_keys(source, contact, 1, &ids, &keys);
		Oid			types[2] = {InvalidOid, TIMESTAMPTZOID};
		char	   *sql = ma_event_select(event, source,
										  source ? "r.at, pg_catalog.to_jsonb(t)" : "r.at, t.properties",
										  "$1", &types[0]);

		for (int i = 0; i < nkeys; i++)
		{
			Datum		values[2] = {keys[i], TimestampTzGetDatum(question->at)};
			int			zone = source ? ma_pin_time_zone(source->time_zone) : -1;
			MaIdentity	caller;
			MaRows		rows;

			if (source != NULL)
				ma_become_table_owner(&caller, source->table->relid);
			else
				ma_become_restricted(&caller, ma_extension_required()->owner);
			rows = ma_run_once(psprintf("%s AND r.at OPERATOR(pg_catalog.<=) $2 ORDER BY r.at "
					"DESC LIMIT 1", sql),
							   2, types, values, NULL, MA_RUN_READ_LATEST);
			ma_become_back(&caller);
			ma_unpin_settings(zone);
			if (rows.n > 0 && (story->row == NULL || ma_int64(&rows, 0, 1) > story->row_at))
			{
				bool		isnull;

				story->row_at = ma_int64(&rows, 0, 1);
				story->row = ma_text(&rows, 0, 2);
				story->row_image = PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&rows, 0, 2,
						&isnull)));
			}
		}
	}
}

/* True when the contact has entered, or asked to: then all gates before are open. */
static bool
has_come(const MaStory *story)
{
	return story->enrollment_id != 0 || story->refused != NULL;
}

static TimestampTz
activated_at(const MaStory *story)
{
	static MaStatement read = {
		"SELECT activated_at FROM marketing_internal.journey WHERE journey_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(story->journey->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1);
}

/* When his date lets him in, or that it does not. */
static void
entry_date(const MaWhyQuestion *question, const MaStory *story, MaWhyAnswer *answer)
{
	static MaStatement read = {
		"SELECT NULL::pg_catalog.timestamptz FROM marketing_internal.journey_date_plan AS p "
		"WHERE p.journey_id OPERATOR(pg_catalog.=) $2 AND p.done OPERATOR(pg_catalog.<) $1 "
		"UNION ALL SELECT at FROM marketing_internal.journey_date "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND journey_id OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT4OID}
	};
	const MaDateRule *date = story->version->program->date;
	char	   *value = ma_dates_read(date, &question->contact_id, 1)[0];
	bool		planned = false;
	Datum		values[2];
	MaRows		rows;

	values[0] = Int64GetDatum(question->contact_id);
	values[1] = Int32GetDatum(story->journey->id);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		(void) ma_value(&rows, 0, 1, &planned);
	if (value == NULL)
		answer->detail = psprintf("%s is null", date->column);
	else if (planned)
	{
		answer->verdict = MA_WHY_WAITING;
		answer->detail = psprintf("%s is %s", date->column, value);
		answer->next = "the scheduler comes to him: the version was activated just now";
	}
	else if (rows.n == 0)
		answer->detail = psprintf("%s is %s: no day of it is to come", date->column, value);
	else
	{
		answer->verdict = MA_WHY_WAITING;
		answer->detail = psprintf("%s is %s", date->column, value);
		answer->next = psprintf("enters at %s", timestamptz_to_str(ma_int64(&rows, 0, 1)));
	}
}

/* "cart_updated #991, carts.id = 17": the event, the number of the run, and the row by its key. */
static char *
entry_words(const MaWhyQuestion *question, const MaStory *story)
{
	MaVersion  *version = ma_journey_version(ma_journeys(), story->journey->id,
											 story->run_version);
	const MaCondition *entry = version ? version->program->entry : NULL;
	MaEvent    *event = entry ? ma_event_by_name(ma_definitions(), entry->event) : NULL;
	List	   *sources = event && entry->key ? ma_event_sources(ma_definitions(), event) : NIL;
	MaEventSource *source = sources ? linitial(sources) : NULL;

	if (entry == NULL)
		return psprintf("entered %s as run #" INT64_FORMAT, question->journey,
						story->enrollment_id);
	if (story->key == NULL || entry->key == NULL)
		return psprintf("%s #" INT64_FORMAT, entry->event, story->enrollment_id);
	return psprintf("%s #" INT64_FORMAT ", %s%s%s = %s", entry->event, story->enrollment_id,
					source ? source->table->name : "", source ? "." : "", entry->key,
					story->key);
}

/* What would let him in, and whether there is any of it. */
static void
entry_to_come(const MaWhyQuestion *question, MaStory *story, MaWhyAnswer *answer)
{
	const MaCondition *entry = story->version->program->entry;

	if (story->signalled)
	{
		answer->verdict = MA_WHY_WAITING;
		answer->detail = "what happened to the contact is being taken into account";
		answer->next = "the next turn of the scheduler, or CALL marketing.work()";
	}
	else if (story->version->program->date != NULL)
		entry_date(question, story, answer);
	else if (story->version->program->schedule != NULL)
	{
		answer->detail = psprintf("has not been let in by the schedule %s",
								  story->version->program->schedule);
		answer->next = psprintf("marketing.enter_scheduled('%s')", question->journey);
	}
	else if (entry == NULL)
	{
		answer->detail = "nobody enters this journey by himself";
		answer->next = "marketing.enroll()";
	}
	else if (entry->segment != NULL)
		answer->verdict = MA_WHY_OK;
	else if (!has_rows(entry->event))
		answer->detail = psprintf("has not had %s since the journey was activated %s",
								  entry->event, timestamptz_to_str(activated_at(story)));
	else
	{
		read_newest_row(question, story);
		if (story->row == NULL)
			answer->detail = psprintf("no %s of this contact", entry->event);
		else
		{
			answer->since = story->row_at;
			answer->detail = psprintf("%s %s", entry->event, story->row);
			answer->verdict = MA_WHY_OK;
		}
	}
}

static void
entry_fact(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story))
		return;
	/* Who gets into that of a broadcast, broadcasts/ says. */
	if (!has_come(&story) && question->broadcast != NULL)
		return;
	answer->verdict = has_come(&story) ? MA_WHY_OK : MA_WHY_NO;
	if (story.enrollment_id != 0)
	{
		answer->since = story.entered_at;
		answer->detail = entry_words(question, &story);
		return;
	}
	if (story.refused != NULL)
	{
		answer->since = story.refused_at;
		answer->detail = "asked to enter";
		return;
	}
	if (story.version == NULL || story.version->closed)
	{
		answer->detail = psprintf("journey \"%s\" is %s", question->journey,
								  story.version ? story.version->closed : "a draft");
		answer->next = psprintf("SELECT marketing.activate_journey('%s')", question->journey);
		return;
	}
	entry_to_come(question, &story, answer);
}

static void
entry_where(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;
	MaCondition *entry;
	bool		fits = true;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.version == NULL)
		return;
	entry = story.version->program->entry;
	if (entry == NULL || entry->segment != NULL || !has_rows(entry->event))
		return;
	if (has_come(&story))
	{
		answer->verdict = entry->where ? MA_WHY_OK : MA_WHY_SKIP;
		answer->detail = entry->where;
		return;
	}
	read_newest_row(question, &story);
	if (story.row == NULL)
		return;
	if (entry->where != NULL)
	{
		MaContactChange *contact = ma_read_contacts_as(&question->contact_id, 1,
				MA_RUN_READ_LATEST);

		ma_row_rule_test(ma_version_where(story.version, entry), &story.row_image, NULL, contact, 1,
						 MA_RUN_READ_LATEST, &fits);
	}
	answer->verdict = MA_WHY_NO;
	answer->since = story.row_at;
	if (!fits)
		answer->detail = psprintf("its row does not fit: %s", entry->where);
	else
	{
		answer->detail = psprintf("the journey was activated %s: rows that were there before let nobody enter",
								  timestamptz_to_str(activated_at(&story)));
		answer->next = "marketing.enroll()";
	}
}

static void
segment(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;
	MaCondition *entry;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.version == NULL)
		return;
	entry = story.version->program->entry;
	if (entry == NULL || entry->segment == NULL)
		return;
	answer->verdict = has_come(&story) ? MA_WHY_OK : MA_WHY_NO;
	answer->detail = psprintf("%s %s", entry->event, entry->segment);
	if (answer->verdict == MA_WHY_OK)
		return;
	answer->detail = psprintf("has not had %s %s since the journey was activated %s", entry->event,
							  entry->segment, timestamptz_to_str(activated_at(&story)));
	answer->next = psprintf("marketing.explain_segment('%s', '%s')", question->contact,
			entry->segment);
}

static void
filter(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.version == NULL ||
			story.version->program->filter == NULL)
		return;
	answer->verdict = MA_WHY_OK;
	answer->detail = story.version->program->filter;
	if (story.refused == NULL || strncmp(story.refused, "filter", 6) != 0)
		return;
	answer->verdict = MA_WHY_NO;
	answer->since = story.refused_at;
	answer->detail = psprintf("was not true at the entry: %s", story.version->program->filter);
}

static void
reentry(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaStory		story;

	answer->verdict = MA_WHY_SKIP;
	if (!ma_story_read(question, &story) || story.refused == NULL || strncmp(story.refused,
			"filter", 6) == 0)
		return;
	/* A message there was is of a run that was let in before. */
	if (question->message_id != 0)
		return;
	answer->verdict = MA_WHY_NO;
	answer->since = story.refused_at;
	answer->detail = story.refused;
	if (strncmp(story.refused, "surge_limit", 11) == 0)
		answer->next = psprintf("marketing.release('%s')", question->journey);
}
