/*
 * batch_write.c
 *		Writes what became of a batch: each run once, however many steps it took,
 *		new hints, the log; takes away the signals and hints that were read.
 *
 * Every update must meet its one row: anything else means that somebody wrote runs
 * without the contact's lock, and undoes the batch.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#define RUN_COLUMNS 18

/* The columns of a run, as parameters of arrays in this order. */
#define RUNS_FROM \
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), " \
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), " \
	"pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), " \
	"pg_catalog.unnest($11), " \
	"pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14), " \
	"pg_catalog.unnest($15), " \
	"pg_catalog.unnest($16), pg_catalog.unnest($17), pg_catalog.unnest($18)) AS u (" RUN_NAMES ") "
#define RUN_NAMES \
	"contact_id, enrollment_id, journey_id, version, state, step, since, due_at, check_at, " \
	"message_id, key, entry, marks, entered_at, ended_at, reason, error_state, error"
#define RUN_TYPES \
	{INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, \
	TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID, \
	JSONBARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, \
	TEXTARRAYOID, TEXTARRAYOID}

static void write_runs(MaTurnBatch *batch, bool new);
static void set_columns(MaJourneyRun **runs, int n, Datum *values);
static void write_hints(MaTurnBatch *batch);
static void write_log(MaTurnBatch *batch);
static void take_away(MaStatement *statement, Datum *tids, int n);
static void skip_messages(MaTurnBatch *batch);
static void raise_events(MaTurnBatch *batch);

/* Numbers for new enrollments, drawn for all entries of the batch at once. */
int64
ma_turn_new_id(MaTurnBatch *batch)
{
	static MaStatement draw = {
		"SELECT pg_catalog.nextval('marketing_internal.enrollment_enrollment_id_seq'::pg_catalog.regclass) "
		"FROM pg_catalog.generate_series(1, $1)",
		1, {INT4OID}
	};

	if (batch->nnew_ids == 0)
	{
		int			entries = 0;
		Datum		value;
		MaRows		rows;
		ListCell   *cell;

		foreach(cell, batch->signals)
			entries += ((MaSignal *) lfirst(cell))->kind == MA_SIGNAL_ENTER;
		value = Int32GetDatum(Max(entries, 1));
		rows = ma_run(&draw, &value, NULL, MA_RUN_WRITE_LATEST);
		batch->new_ids = palloc_array(int64, rows.n);
		for (uint64 i = 0; i < rows.n; i++)
			batch->new_ids[batch->nnew_ids++] = ma_int64(&rows, rows.n - 1 - i, 1);
	}
	return batch->new_ids[--batch->nnew_ids];
}

void
ma_turn_write(MaTurnBatch *batch)
{
	static MaStatement signals = {
		"DELETE FROM marketing_internal.enrollment_signal WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};
	static MaStatement hints = {
		"DELETE FROM marketing_internal.enrollment_due WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)",
		1, {TIDARRAYOID}
	};
	Datum	   *tids = palloc_array(Datum,
			Max(list_length(batch->signals) + list_length(batch->dues), 1));
	int			n = 0;
	ListCell   *cell;

	write_runs(batch, true);
	write_runs(batch, false);
	write_hints(batch);
	write_log(batch);
	skip_messages(batch);
	foreach(cell, batch->signals)
		tids[n++] = PointerGetDatum(&((MaSignal *) lfirst(cell))->tid);
	take_away(&signals, tids, n);
	n = 0;
	foreach(cell, batch->dues)
		tids[n++] = PointerGetDatum(lfirst(cell));
	take_away(&hints, tids, n);
	raise_events(batch);
}

static void
take_away(MaStatement *statement, Datum *tids, int n)
{
	Datum		value;

	if (n == 0)
		return;
	value = ma_datum_array(tids, n, TIDOID);
	ma_run(statement, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* Inserts the new runs, or updates the changed others. */
static void
write_runs(MaTurnBatch *batch, bool new)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment (" RUN_NAMES ", enrolled_as) "
		"SELECT " RUN_NAMES ", contact_id " RUNS_FROM "RETURNING 1",
		RUN_COLUMNS, RUN_TYPES
	};
	static MaStatement update = {
		"UPDATE marketing_internal.enrollment AS e SET state = u.state, step = u.step, since = u.since, "
		"due_at = u.due_at, check_at = u.check_at, message_id = u.message_id, entry = u.entry, "
		"marks = u.marks, ended_at = u.ended_at, reason = u.reason, error_state = u.error_state, "
		"error = u.error " RUNS_FROM
		"WHERE e.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND e.enrollment_id OPERATOR(pg_catalog.=) u.enrollment_id "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') RETURNING 1",
		RUN_COLUMNS, RUN_TYPES
	};
	MaJourneyRun **runs = palloc_array(MaJourneyRun *, Max(list_length(batch->runs), 1));
	Datum		values[RUN_COLUMNS];
	int			n = 0;
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (run->is_new == new && (run->changed || run->check_at != run->stored_check))
			runs[n++] = run;
	}
	if (n == 0)
		return;
	set_columns(runs, n, values);
	rows = ma_run(new ? &insert : &update, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("enrollments were changed by somebody else"),
				 errdetail("The write met %d rows instead of %d.", (int) rows.n, n)));
}

/* Instants; those given as `none` are null. */
static Datum
times(MaJourneyRun **runs, int n, Size offset, TimestampTz none)
{
	Datum	   *datums = palloc_array(Datum, n);
	bool	   *nulls = palloc_array(bool, n);

	for (int i = 0; i < n; i++)
	{
		TimestampTz at = *(TimestampTz *) ((char *) runs[i] + offset);

		datums[i] = TimestampTzGetDatum(at);
		nulls[i] = at == none;
	}
	return ma_datum_array_nulls(datums, nulls, n, TIMESTAMPTZOID);
}

static Datum
texts(MaJourneyRun **runs, int n, Size offset)
{
	char	  **list = palloc_array(char *, n);

	for (int i = 0; i < n; i++)
		list[i] = *(char **) ((char *) runs[i] + offset);
	return ma_text_array(list, n);
}

static void
set_columns(MaJourneyRun **runs, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);
	int32	   *journeys = palloc_array(int32, n);
	int32	   *versions = palloc_array(int32, n);
	char	  **states = palloc_array(char *, n);
	char	  **steps = palloc_array(char *, n);
	Datum	   *messages = palloc_array(Datum, n);
	Datum	   *entries = palloc_array(Datum, n);
	Datum	   *marks = palloc_array(Datum, n);
	bool	   *no_message = palloc_array(bool, n);
	bool	   *no_entry = palloc_array(bool, n);
	bool	   *no_marks = palloc_array(bool, n);

	for (int i = 0; i < n; i++)
	{
		contacts[i] = runs[i]->person->contact_id;
		ids[i] = runs[i]->enrollment_id;
		journeys[i] = runs[i]->version->journey_id;
		versions[i] = runs[i]->version->version;
		states[i] = unconstify(char *, ma_run_state_name(runs[i]->state));
		steps[i] = runs[i]->step ? unconstify(char *, runs[i]->step->id) : NULL;
		messages[i] = Int64GetDatum(runs[i]->message_id);
		no_message[i] = runs[i]->message_id == 0;
		entries[i] = runs[i]->entry;
		no_entry[i] = entries[i] == 0;
		marks[i] = ma_marks_datum(runs[i]->marks);
		no_marks[i] = marks[i] == 0;
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int8_array(ids, n);
	values[2] = ma_int4_array(journeys, n);
	values[3] = ma_int4_array(versions, n);
	values[4] = ma_text_array(states, n);
	values[5] = ma_text_array(steps, n);
	values[6] = times(runs, n, offsetof(MaJourneyRun, since), DT_NOEND);
	values[7] = times(runs, n, offsetof(MaJourneyRun, due_at), DT_NOEND);
	values[8] = times(runs, n, offsetof(MaJourneyRun, check_at), DT_NOEND);
	values[9] = ma_datum_array_nulls(messages, no_message, n, INT8OID);
	values[10] = texts(runs, n, offsetof(MaJourneyRun, key));
	values[11] = ma_datum_array_nulls(entries, no_entry, n, JSONBOID);
	values[12] = ma_datum_array_nulls(marks, no_marks, n, JSONBOID);
	values[13] = times(runs, n, offsetof(MaJourneyRun, entered_at), DT_NOEND);
	values[14] = times(runs, n, offsetof(MaJourneyRun, ended_at), 0);
	values[15] = texts(runs, n, offsetof(MaJourneyRun, reason));
	values[16] = texts(runs, n, offsetof(MaJourneyRun, error_state));
	values[17] = texts(runs, n, offsetof(MaJourneyRun, error));
}

/*
 * A hint for each instant that has none: a new one, or one whose hint was read.  It is
 * never before this turn's instant, see scan.c.
 */
static void
write_hints(MaTurnBatch *batch)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment_due (due_at, contact_id, enrollment_id) "
		"SELECT u.due_at, u.contact_id, u.enrollment_id "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
		"AS u (due_at, contact_id, enrollment_id)",
		3, {TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID}
	};
	int			space = Max(2 * list_length(batch->runs), 1);
	Datum	   *due = palloc_array(Datum, space);
	int64	   *contacts = palloc_array(int64, space);
	int64	   *ids = palloc_array(int64, space);
	Datum		values[3];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);
		TimestampTz instants[2] = {run->due_at, run->check_at};
		TimestampTz stored[2] = {run->stored_due, run->stored_check};

		for (int i = 0; i < 2; i++)
		{
			if (!ma_run_is_live(run) || TIMESTAMP_NOT_FINITE(instants[i]) ||
				(instants[i] == stored[i] && !run->hint_used))
				continue;
			due[n] = TimestampTzGetDatum(Max(instants[i], batch->now));
			contacts[n] = run->person->contact_id;
			ids[n++] = run->enrollment_id;
		}
	}
	if (n == 0)
		return;
	values[0] = ma_datum_array(due, n, TIMESTAMPTZOID);
	values[1] = ma_int8_array(contacts, n);
	values[2] = ma_int8_array(ids, n);
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
write_log(MaTurnBatch *batch)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment_log "
		"(contact_id, journey_id, version, enrollment_id, at, step, what, detail) "
		"SELECT u.contact_id, u.journey_id, u.version, NULLIF(u.enrollment_id, 0), u.at, u.step, "
		"u.what, u.detail "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), "
		"pg_catalog.unnest($8)) WITH ORDINALITY "
		"AS u (contact_id, journey_id, version, enrollment_id, at, step, what, detail, n) ORDER BY u.n",
		8, {INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
				TEXTARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID}
	};
	int			n = list_length(batch->log);
	int64	   *contacts = palloc_array(int64, Max(n, 1));
	int32	   *journeys = palloc_array(int32, Max(n, 1));
	int32	   *versions = palloc_array(int32, Max(n, 1));
	int64	   *ids = palloc_array(int64, Max(n, 1));
	Datum	   *at = palloc_array(Datum, Max(n, 1));
	char	  **steps = palloc_array(char *, Max(n, 1));
	char	  **whats = palloc_array(char *, Max(n, 1));
	char	  **details = palloc_array(char *, Max(n, 1));
	Datum		values[8];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		MaLogEntry *entry = list_nth(batch->log, i);

		contacts[i] = entry->contact_id;
		journeys[i] = entry->journey_id;
		versions[i] = entry->version;
		ids[i] = entry->enrollment_id;
		at[i] = TimestampTzGetDatum(entry->at);
		steps[i] = unconstify(char *, entry->step);
		whats[i] = unconstify(char *, entry->what);
		details[i] = unconstify(char *, entry->detail);
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int4_array(journeys, n);
	values[2] = ma_int4_array(versions, n);
	values[3] = ma_int8_array(ids, n);
	values[4] = ma_datum_array(at, n, TIMESTAMPTZOID);
	values[5] = ma_text_array(steps, n);
	values[6] = ma_text_array(whats, n);
	values[7] = ma_text_array(details, n);
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}

/* Messages that exited runs wait for; others of theirs the gate skips. */
static void
skip_messages(MaTurnBatch *batch)
{
	int64	   *contacts = palloc_array(int64, Max(list_length(batch->runs), 1));
	int64	   *messages = palloc_array(int64, Max(list_length(batch->runs), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (run->state != MA_STATE_EXITED || run->message_id == 0)
			continue;
		contacts[n] = run->person->contact_id;
		messages[n++] = run->message_id;
	}
	if (n > 0)
		(void) ma_messages_skip(contacts, messages, n, "exited");
}

/* journey_entered and journey_exited, for journeys and segments that follow them. */
static void
raise_events(MaTurnBatch *batch)
{
	ListCell   *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);
		StringInfoData row;

		if (!run->is_new && ma_run_is_live(run))
			continue;
		initStringInfo(&row);
		appendStringInfoString(&row, "{\"journey\": ");
		escape_json(&row, run->version->journey);
		if (run->is_new)
			ma_raise_event("journey_entered", run->person->contact_id, run->enrollment_id,
						   run->entered_at,
						   DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("%s}",
								row.data))));
		if (ma_run_is_live(run))
			continue;
		appendStringInfoString(&row, ", \"reason\": ");
		escape_json(&row, run->reason ? run->reason : ma_run_state_name(run->state));
		appendStringInfoChar(&row, '}');
		ma_raise_event("journey_exited", run->person->contact_id, run->enrollment_id, run->ended_at,
					   DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data)));
	}
}
