/*
 * listen.c
 *		The consumer: what commits tell the scheduler.
 *
 * Called in the flush of a user's commit (or in the worker's evaluation), under the
 * lock of the contact.  It decides nothing about runs and writes none: it inserts
 * signals, so a commit can neither wait for the scheduler nor meet it in a deadlock.
 * Numbers of signals of one contact are drawn under its lock, so their order is that
 * of the commits.
 *
 * A signal of an event, or of rules that may have changed, is inserted only for who
 * is inside a journey or has asked to enter one.  The scheduler takes an entry's
 * signal away in the transaction that writes the run, so one snapshot sees at least
 * one of the two.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "segments/segments.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static bool wants_new_contacts(void);
static bool rules_read(MaJourneys *journeys, const MaContactChange *contact);
static TimestampTz reads_from(int32 event_id, TimestampTz now);
static void find_reads_from(void *arg);
static void take_rows(MaRowChange *rows, int n, TimestampTz now);
static bool is_about_segment(const MaCondition *condition, const MaRowChange *row);
static void test_entry(void *arg);
static void set_columns(const MaSignal *signals, const bool *always, int n, Datum *values);

/* The where of a version's entry over one row. */
typedef struct Entry
{
	MaVersion  *version;
	MaRowChange *row;
	bool		fits;
} Entry;

/* How far back the rules of exits and waits read rows of an event. */
typedef struct Reach
{
	int32		event_id;
	TimestampTz at;				/* the earliest instant they may be evaluated as of */
	TimestampTz from;
} Reach;

static const MaConsumer consumer = {
	MA_JOURNEYS, evaluate, take_rows, wants_new_contacts, NULL, reads_from
};

void
ma_listen_init(void)
{
	ma_register_consumer(&consumer);
}

/* Kinds of signals as they are stored. */
static const char *const kind_names[] = {"enter", "event", "check", "settled", "exit", "retry",
	"resume", "move", "dates"};

const char *
ma_signal_kind_name(MaSignalKind kind)
{
	return kind_names[kind];
}

/*
 * Contacts that changed: who is inside a journey may have to leave it by a rule, and dates
 * of his may be others.
 */
static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	MaJourneys *journeys = ma_journeys();
	MaSignal   *signals;
	bool	   *always;
	int			count = 0;

	if (journeys->versions == NIL)
		return;
	signals = palloc0_array(MaSignal, 2 * n);
	always = palloc0_array(bool, 2 * n);
	for (int i = 0; i < n; i++)
	{
		if (contacts[i].identity && (journeys->has_dates || journeys->has_date_waits))
		{
			signals[count].contact_id = contacts[i].contact_id;
			signals[count].kind = MA_SIGNAL_DATES;
			signals[count].at = now;
			always[count++] = journeys->has_dates;
		}
		if (!contacts[i].identity && !rules_read(journeys, &contacts[i]))
			continue;
		signals[count].contact_id = contacts[i].contact_id;
		signals[count].kind = MA_SIGNAL_CHECK;
		signals[count].at = now;
		count++;
	}
	ma_signals_insert(signals, always, count);
}

/* Who is new has dates, too. */
static bool
wants_new_contacts(void)
{
	return ma_journeys()->has_dates;
}

/* True if a rule that ends a run or a wait reads one of the contact's changed events. */
static bool
rules_read(MaJourneys *journeys, const MaContactChange *contact)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, journeys->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (!version->has_rules)
			continue;
		foreach(inner, ma_version_rule_events(version))
			for (int i = 0; i < contact->nevents; i++)
				if (contact->events[i].event_id == lfirst_int(inner))
					return true;
	}
	return false;
}

/* Rules of entries and branches are evaluated once, as of then; nothing is kept of them. */
static void
find_reads_from(void *arg)
{
	Reach	   *reach = arg;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, ma_journeys()->versions)
	{
		MaVersion  *version = lfirst(cell);

		if (!version->has_rules ||
			!list_member_int(ma_version_rule_events(version), reach->event_id))
			continue;
		foreach(inner, version->program->conditions)
		{
			MaCondition *condition = lfirst(inner);

			if (condition->rule == NULL)
				continue;
			(void) ma_version_rule(version, condition);
			reach->from = Min(reach->from,
							  ma_rule_set_reads_from(version->conditions[condition->number].set,
													 reach->event_id, reach->at));
		}
	}
}

/* Rules that cannot be read any more may have read anything. */
static TimestampTz
reads_from(int32 event_id, TimestampTz now)
{
	static MaStatement first = {
		"SELECT d.due_at FROM marketing_internal.enrollment_due AS d ORDER BY d.due_at LIMIT 1"
	};
	Reach		reach = {event_id, now, DT_NOEND};
	MaRows		rows = ma_run(&first, NULL, NULL, MA_RUN_READ_LATEST);

	if (rows.n > 0)
		reach.at = Min(now, ma_int64(&rows, 0, 1));
	return ma_segment_guard(find_reads_from, &reach) == NULL ? reach.from : DT_NOBEGIN;
}

/* Rows of events: entries, and what those inside may exit or wake by. */
static void
take_rows(MaRowChange *rows, int n, TimestampTz now)
{
	MaJourneys *journeys = ma_journeys();
	List	   *signals = NIL;
	int64	   *entering = palloc_array(int64, Max(n, 1));
	int			nentering = 0;
	MaSignal   *array;
	bool	   *always;
	int			count = 0;
	ListCell   *cell;

	for (int i = 0; i < n && journeys->versions != NIL; i++)
	{
		bool		followed = false;
		bool		enters_any = false;
		MaSignal	signal = {0};

		if (rows[i].kind != MA_ROW_HAPPENED)
			continue;
		signal.contact_id = rows[i].contact_id;
		signal.at = now;
		signal.event_id = rows[i].event_id;
		signal.row = rows[i].properties;
		signal.by_time = rows[i].by_time;
		foreach(cell, journeys->versions)
			followed |= ma_version_follows(lfirst(cell), rows[i].event_id);
		/* Before the entry: nobody exits by the row he enters by. */
		if (followed)
		{
			signal.kind = MA_SIGNAL_EVENT;
			signals = lappend(signals, memcpy(palloc(sizeof(signal)), &signal, sizeof(signal)));
		}
		foreach(cell, journeys->versions)
		{
			MaVersion  *version = lfirst(cell);

			if (!version->current || version->closed || !rows[i].enroll ||
				!ma_entry_fits(version, &rows[i], &signal.reason))
				continue;
			signal.kind = MA_SIGNAL_ENTER;
			signal.journey_id = version->journey_id;
			signal.key = version->program->entry->key ?
				ma_row_text(signal.row, version->program->entry->key) : NULL;
			signals = lappend(signals, memcpy(palloc(sizeof(signal)), &signal, sizeof(signal)));
			enters_any = true;
		}
		if (enters_any)
			entering[nentering++] = rows[i].contact_id;
	}
	array = palloc0_array(MaSignal, Max(list_length(signals), 1));
	always = palloc0_array(bool, Max(list_length(signals), 1));
	qsort(entering, nentering, sizeof(int64), ma_compare_int64);
	foreach(cell, signals)
	{
		array[count] = *(MaSignal *) lfirst(cell);
		always[count] = bsearch(&array[count].contact_id, entering, nentering, sizeof(int64),
								ma_compare_int64) != NULL;
		count++;
	}
	ma_signals_insert(array, always, count);
}

/* Value of a column of a row, as text; NULL if it is null or not there. */
char *
ma_row_text(Datum row, const char *column)
{
	Jsonb	   *jsonb = DatumGetJsonbP(row);
	Jsonb	   *scalar;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(jsonb) ||
		getKeyJsonValueFromContainer(&jsonb->root, column, strlen(column), &value) == NULL)
		return NULL;
	if (value.type == jbvNull)
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	scalar = JsonbValueToJsonb(&value);
	return JsonbToCString(NULL, &scalar->root, VARSIZE(scalar));
}

/* Events of segments name the segment in the row. */
static bool
is_about_segment(const MaCondition *condition, const MaRowChange *row)
{
	char	   *segment = condition->segment ? ma_row_text(row->properties, "segment") : NULL;

	return condition->segment == NULL ||
		(segment != NULL && strcmp(segment, condition->segment) == 0);
}

static void
test_entry(void *arg)
{
	Entry	   *entry = arg;
	MaRowRule  *where = ma_version_where(entry->version, entry->version->program->entry);
	MaContactChange *contact = ma_read_contacts_as(&entry->row->contact_id, 1, MA_RUN_READ_LATEST);

	ma_row_rule_test(where, &entry->row->properties, NULL, contact, 1, MA_RUN_READ_LATEST,
					 &entry->fits);
}

bool
ma_entry_fits(MaVersion *version, MaRowChange *row, char **reason)
{
	MaCondition *entry = version->program->entry;
	MaCompiled *compiled = entry ? &version->conditions[entry->number] : NULL;
	Entry		test = {version, row, false};
	ErrorData  *error;

	*reason = NULL;
	if (entry == NULL || compiled->event_id != row->event_id || !is_about_segment(entry, row))
		return false;
	if (!compiled->any_machine && ma_row_is_machine(row->properties))
		return false;
	if (entry->where == NULL)
		return true;
	error = ma_segment_guard(test_entry, &test);
	if (error == NULL)
		return test.fits;
	*reason = psprintf("where: %s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	ma_engine_error(error->sqlerrcode, error->message);
	return true;
}

/* Opens and clicks that a machine made count for nobody. */
bool
ma_row_is_machine(Datum row)
{
	char	   *machine = ma_row_text(row, "machine");

	return machine != NULL && strcmp(machine, "true") == 0;
}

void
ma_signals_insert(const MaSignal *signals, const bool *always, int n)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment_signal "
		"(contact_id, kind, at, journey_id, enrollment_id, event_id, message_id, key, row, reason, by_time) "
		"SELECT u.contact_id, u.kind, u.at, NULLIF(u.journey_id, 0), NULLIF(u.enrollment_id, 0), "
		"NULLIF(u.event_id, 0), NULLIF(u.message_id, 0), u.key, u.properties, u.reason, u.by_time "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), "
		"pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), "
		"pg_catalog.unnest($12)) "
		"WITH ORDINALITY AS u (contact_id, kind, at, journey_id, enrollment_id, event_id, message_id, "
		"key, properties, reason, always, by_time, n) "
		"WHERE u.always OR EXISTS (SELECT FROM marketing_internal.enrollment AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND (e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') "
		"OR (u.kind OPERATOR(pg_catalog.=) 'event' AND e.goal_until OPERATOR(pg_catalog.>=) u.at))) "
		"OR EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.kind OPERATOR(pg_catalog.=) 'enter') "
		"ORDER BY u.n RETURNING 1",
		12, {INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT8ARRAYOID,
		INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID, BOOLARRAYOID,
		BOOLARRAYOID}
	};
	Datum		values[12];

	if (n == 0)
		return;
	set_columns(signals, always, n, values);
	if (ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST).n > 0)
		ma_worker_wake_at_commit();
}

/* The signals as arrays: the parameters of the statement above. */
static void
set_columns(const MaSignal *signals, const bool *always, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	char	  **kinds = palloc_array(char *, n);
	Datum	   *at = palloc_array(Datum, n);
	int32	   *journeys = palloc_array(int32, n);
	int64	   *enrollments = palloc_array(int64, n);
	int32	   *events = palloc_array(int32, n);
	int64	   *messages = palloc_array(int64, n);
	char	  **keys = palloc_array(char *, n);
	Datum	   *rows = palloc_array(Datum, n);
	bool	   *no_row = palloc_array(bool, n);
	char	  **reasons = palloc_array(char *, n);
	Datum	   *needed = palloc_array(Datum, n);
	Datum	   *by_time = palloc_array(Datum, n);

	for (int i = 0; i < n; i++)
	{
		contacts[i] = signals[i].contact_id;
		kinds[i] = unconstify(char *, kind_names[signals[i].kind]);
		at[i] = TimestampTzGetDatum(signals[i].at);
		journeys[i] = signals[i].journey_id;
		enrollments[i] = signals[i].enrollment_id;
		events[i] = signals[i].event_id;
		messages[i] = signals[i].message_id;
		keys[i] = signals[i].key;
		rows[i] = signals[i].row;
		no_row[i] = signals[i].row == 0;
		reasons[i] = signals[i].reason;
		needed[i] = BoolGetDatum(always != NULL && always[i]);
		by_time[i] = BoolGetDatum(signals[i].by_time);
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_text_array(kinds, n);
	values[2] = ma_datum_array(at, n, TIMESTAMPTZOID);
	values[3] = ma_int4_array(journeys, n);
	values[4] = ma_int8_array(enrollments, n);
	values[5] = ma_int4_array(events, n);
	values[6] = ma_int8_array(messages, n);
	values[7] = ma_text_array(keys, n);
	values[8] = ma_datum_array_nulls(rows, no_row, n, JSONBOID);
	values[9] = ma_text_array(reasons, n);
	values[10] = ma_datum_array(needed, n, BOOLOID);
	values[11] = ma_datum_array(by_time, n, BOOLOID);
}
