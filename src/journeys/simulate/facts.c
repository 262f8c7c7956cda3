/*
 * facts.c
 *		What happened to contacts in the time of a simulation: the rows of the events
 *		that its journey names, and when they came into a segment or left it.
 *
 * Rows are read as they are now, by the users' own indexes and with the rights of the
 * tables' owners; one that was deleted, or that was no event yet, is no fact.  Whether
 * somebody was in a segment is computed by its rule as of each instant at which that
 * may have changed, so it need not have been defined then.
 *
 * Of the journey's own messages only what people did with them is a fact (an opening,
 * a click); that they were sent or not is what is simulated.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/simulate/simulate.h"
#include "miscadmin.h"
#include "segments/segments.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#define MAX_FLIPS 10000			/* instants of one contact's segment */

/* A collection in the making. */
typedef struct Reading
{
	const MaSimulation *simulation;
	MaContactChange *contacts;
	int			n;
	List	   *facts;			/* MaFactSeen * */
} Reading;

static void read_event(Reading *reading, MaEvent *event, bool enters, bool followed);
static void read_source(Reading *reading, MaEvent *event, const MaEventSource *source,
						bool enters, bool followed);
static MaFactSeen *add_fact(Reading *reading, int64 contact_id, TimestampTz at, int32 event_id,
							Datum row, bool enters, bool followed);
static bool is_simulated(const Reading *reading, const MaEvent *event, Datum row);
static void read_segment(Reading *reading, const MaCondition *entry);
static void keep_who_enters(Reading *reading);
static void read_by_hand(Reading *reading);
static void read_dates(Reading *reading, const MaDateRule *rule);
static void read_schedule(Reading *reading);
static void take_scheduled(Reading *reading, MaRuleSet *set, TimestampTz at, Datum row);
static void tell_by_time(Reading *reading, MaRule *rule);

/* By contact and time; of one instant, in the order in which they were read. */
static int
compare(const ListCell *a, const ListCell *b)
{
	const MaFactSeen *left = lfirst(a);
	const MaFactSeen *right = lfirst(b);

	if (left->contact_id != right->contact_id)
		return left->contact_id < right->contact_id ? -1 : 1;
	if (left->at != right->at)
		return left->at < right->at ? -1 : 1;
	return left->place - right->place;
}

List *
ma_facts_read(const MaSimulation *simulation, MaContactChange *contacts, int n)
{
	const MaVersion *version = simulation->version;
	const MaCondition *entry = version->program->entry;
	int32		entry_id = entry ? version->conditions[entry->number].event_id : 0;
	Reading		reading = {simulation, contacts, n, NIL};
	ListCell   *cell;

	if (simulation->by_hand)
		read_by_hand(&reading);
	else if (version->program->date != NULL)
		read_dates(&reading, version->program->date);
	else if (version->program->schedule != NULL)
		read_schedule(&reading);
	else if (entry != NULL && entry->segment != NULL)
		read_segment(&reading, entry);
	else if (entry_id != 0)
		read_event(&reading, ma_event_by_id(ma_definitions(), entry_id), true,
				   ma_version_follows(version, entry_id));
	keep_who_enters(&reading);
	if (reading.n == 0)
		return NIL;
	foreach(cell, ma_program_events(version->program))
	{
		MaEvent    *event = ma_event_by_name(ma_definitions(), lfirst(cell));

		if (event == NULL || !ma_version_follows(version, event->id) ||
			(event->id == entry_id && !simulation->by_hand && entry->segment == NULL))
			continue;
		read_event(&reading, event, false, true);
	}
	list_sort(reading.facts, compare);
	return reading.facts;
}

/* Only who enters has a story. */
static void
keep_who_enters(Reading *reading)
{
	MaContactChange *kept = palloc_array(MaContactChange, Max(reading->n, 1));
	int			nkept = 0;
	int			i = 0;
	ListCell   *cell;

	list_sort(reading->facts, compare);
	foreach(cell, reading->facts)
	{
		const MaFactSeen *fact = lfirst(cell);

		while (i < reading->n && reading->contacts[i].contact_id < fact->contact_id)
			i++;
		if (i < reading->n && reading->contacts[i].contact_id == fact->contact_id)
			kept[nkept++] = reading->contacts[i++];
	}
	reading->contacts = kept;
	reading->n = nkept;
}

static void
read_by_hand(Reading *reading)
{
	for (int i = 0; i < reading->n; i++)
		(void) add_fact(reading, reading->contacts[i].contact_id, reading->simulation->since, 0, 0,
						true, false);
}

static MaFactSeen *
add_fact(Reading *reading, int64 contact_id, TimestampTz at, int32 event_id, Datum row,
		 bool enters, bool followed)
{
	MaFactSeen *fact = palloc0_object(MaFactSeen);

	fact->contact_id = contact_id;
	fact->at = at;
	fact->event_id = event_id;
	fact->row = row;
	fact->enters = enters;
	fact->followed = followed;
	fact->place = list_length(reading->facts);
	reading->facts = lappend(reading->facts, fact);
	return fact;
}

/* By the dates there are now, as the duty of dates.c would let them in. */
static void
read_dates(Reading *reading, const MaDateRule *rule)
{
	const MaSimulation *simulation = reading->simulation;
	int64	   *ids = palloc_array(int64, Max(reading->n, 1));
	char	  **dates;
	char	  **zones;

	for (int i = 0; i < reading->n; i++)
		ids[i] = reading->contacts[i].contact_id;
	dates = ma_dates_read(rule, ids, reading->n);
	zones = ma_journey_zones(ids, reading->n);
	for (int i = 0; i < reading->n; i++)
	{
		TimestampTz at = simulation->since;
		char	   *day;

		CHECK_FOR_INTERRUPTS();
		while (ma_date_next(rule, dates[i], at, zones[i], &at, &day) && at <= simulation->until)
			add_fact(reading, ids[i], at, 0, ma_journey_date_row(day), true, false)->key = day;
	}
}

/*
 * At each instant of the schedule the members of its segment, or whom the filter would let in,
 * as of that instant.
 */
static void
read_schedule(Reading *reading)
{
	const MaSimulation *simulation = reading->simulation;
	MaProgram  *program = simulation->version->program;
	MaRuleScope scope = {"schedule", NULL};
	MaRule	   *rule = program->scheduled == NULL ? ma_version_filter(simulation->version) :
		ma_rule_parse(psprintf("in segment %s", quote_identifier(program->scheduled)), &scope,
					  InvalidOid);
	MaRuleSet  *set = rule ? ma_rule_set_make(&rule, 1) : NULL;
	TimestampTz at = simulation->since;
	StringInfoData row;
	Datum		entry;

	initStringInfo(&row);
	appendStringInfoString(&row, "{\"schedule\": ");
	escape_json(&row, program->schedule);
	appendStringInfoChar(&row, '}');
	entry = DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data));
	while (ma_cron_next(program->schedule, at, &at) && at <= simulation->until)
	{
		CHECK_FOR_INTERRUPTS();
		take_scheduled(reading, set, at, entry);
	}
}

static void
take_scheduled(Reading *reading, MaRuleSet *set, TimestampTz at, Datum row)
{
	MaTruth    *truth = palloc0_array(MaTruth, Max(reading->n, 1));
	TimestampTz *as_of = palloc_array(TimestampTz, Max(reading->n, 1));

	for (int i = 0; i < reading->n; i++)
		as_of[i] = at;
	if (set != NULL)
		ma_rule_set_evaluate(set, reading->contacts, reading->n, as_of, MA_RUN_READ, NULL, truth);
	for (int i = 0; i < reading->n; i++)
		if (set == NULL || truth[i].truth)
			(void) add_fact(reading, reading->contacts[i].contact_id, at, 0, row, true, false);
	pfree(truth);
	pfree(as_of);
}

/* ---- rows of events ---- */

static void
read_event(Reading *reading, MaEvent *event, bool enters, bool followed)
{
	ListCell   *cell;

	if (event->builtin)
	{
		if (ma_builtin_rows(event->name) != NULL)
			read_source(reading, event, NULL, enters, followed);
		return;
	}
	foreach(cell, ma_event_sources(ma_definitions(), event))
		read_source(reading, event, lfirst(cell), enters, followed);
}

/* Rows of one event in one place, of all contacts at once. */
static void
read_source(Reading *reading, MaEvent *event, const MaEventSource *source, bool enters,
			bool followed)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {
		TimestampTzGetDatum(reading->simulation->since),
		TimestampTzGetDatum(reading->simulation->until)
	};
	MaEventQuery query = {
		.columns = source ? "r.at AS at, pg_catalog.to_jsonb(t) AS image" :
			"r.at AS at, t.properties AS image",
		.conditions = "AND r.at OPERATOR(pg_catalog.>=) $2 AND r.at OPERATOR(pg_catalog.<=) $3",
		.select = "e.at, e.image",
		.end = "ORDER BY 1, 2",
		.nvalues = lengthof(types),
		.types = types,
		.values = values,
		.how = MA_RUN_READ
	};
	int64	   *ids;
	MaRows		found = ma_event_read(event, source, reading->contacts, reading->n, &query, &ids);

	for (uint64 i = 0; i < found.n; i++)
	{
		bool		isnull;
		Datum		image = ma_value(&found, i, 3, &isnull);
		Datum		row = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(image));

		if (event->builtin && row != 0 && is_simulated(reading, event, row))
			continue;
		(void) add_fact(reading, ids[ma_int64(&found, i, 1) - 1], ma_int64(&found, i, 2), event->id,
						row, enters, followed);
	}
}

/* True if the row tells of what this journey did itself. */
static bool
is_simulated(const Reading *reading, const MaEvent *event, Datum row)
{
	static const char *const ends[] = {"_sent", "_skipped", "_failed"};
	const char *journey = ma_row_text(row, "journey");
	size_t		length = strlen(event->name);

	if (journey == NULL || strcmp(journey, reading->simulation->version->journey) != 0)
		return false;
	if (strncmp(event->name, "journey_", 8) == 0 || strcmp(event->name, "goal_reached") == 0)
		return true;
	for (int i = 0; i < lengthof(ends); i++)
		if (length > strlen(ends[i]) &&
			strcmp(event->name + length - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

/* ---- segments ---- */

static char *
segment_row(const char *segment)
{
	StringInfoData row;

	initStringInfo(&row);
	appendStringInfoString(&row, "{\"segment\": ");
	escape_json(&row, segment);
	appendStringInfoChar(&row, '}');
	return row.data;
}

/*
 * Each contact's membership from the beginning on, from one instant at which it may change
 * to the next; the rows that came later are among those that its truth holds until.
 */
static void
read_segment(Reading *reading, const MaCondition *entry)
{
	const MaSimulation *simulation = reading->simulation;
	MaRuleScope scope = {psprintf("segment \"%s\"", entry->segment), NULL};
	MaRule	   *rule = ma_rule_parse(psprintf("in segment %s", quote_identifier(entry->segment)),
									 &scope, InvalidOid);
	MaRuleSet  *set = ma_rule_set_make(&rule, 1);
	bool		entering = strcmp(entry->event, "segment_entered") == 0;
	int32		event_id = simulation->version->conditions[entry->number].event_id;
	Datum		row = DirectFunctionCall1(jsonb_in, CStringGetDatum(segment_row(entry->segment)));
	TimestampTz *as_of = palloc_array(TimestampTz, Max(reading->n, 1));
	MaContactChange *left = palloc_array(MaContactChange, Max(reading->n, 1));
	bool	   *inside = palloc_array(bool, Max(reading->n, 1));
	MaTruth    *truth = palloc_array(MaTruth, Max(reading->n, 1));
	int			n = reading->n;

	for (int i = 0; i < n; i++)
	{
		left[i] = reading->contacts[i];
		as_of[i] = simulation->since;
	}
	for (int round = 0; n > 0 && round < MAX_FLIPS; round++)
	{
		int			kept = 0;

		CHECK_FOR_INTERRUPTS();
		ma_rule_set_evaluate(set, left, n, as_of, MA_RUN_READ, NULL, truth);
		for (int i = 0; i < n; i++)
		{
			if (round > 0 && truth[i].truth != inside[i] && truth[i].truth == entering)
				(void) add_fact(reading, left[i].contact_id, as_of[i], event_id, row, true, false);
			if (truth[i].until > simulation->until)
				continue;
			left[kept] = left[i];
			inside[kept] = truth[i].truth;
			as_of[kept++] = truth[i].until;
		}
		n = kept;
	}
	if (ma_limits_by_time(simulation))
		tell_by_time(reading, rule);
}

/* A flip at the instant of a row that the rule reads is that row's, another one is time's. */
static void
tell_by_time(Reading *reading, MaRule *rule)
{
	Reading		rows = {reading->simulation, reading->contacts, reading->n, NIL};
	ListCell   *cell;
	int			place = 0;

	foreach(cell, ma_rule_events(rule))
	{
		MaEvent    *event = ma_event_by_name(ma_definitions(),
											 ((MaRuleEvent *) lfirst(cell))->name);

		if (event != NULL)
			read_event(&rows, event, false, false);
	}
	list_sort(reading->facts, compare);
	list_sort(rows.facts, compare);
	foreach(cell, reading->facts)
	{
		MaFactSeen *fact = lfirst(cell);
		const MaFactSeen *row = NULL;

		for (; place < list_length(rows.facts); place++)
		{
			row = list_nth(rows.facts, place);
			if (row->contact_id > fact->contact_id ||
				(row->contact_id == fact->contact_id && row->at >= fact->at))
				break;
		}
		fact->by_time = place == list_length(rows.facts) || row->contact_id != fact->contact_id ||
			row->at != fact->at;
	}
}
