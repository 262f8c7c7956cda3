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
#include "commands/sequence.h"
#include "delivery/delivery.h"
#include "journeys/engine.h"
#include "journeys/run/scan.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* As CREATE TABLE has them. */
#define RUN_COLUMNS 20
#define LOG_COLUMNS 9
#define DUE_COLUMNS 3
#define SIGNAL_COLUMNS 12

static void write_runs(MaTurnBatch *batch);
static void set_columns(const MaJourneyRun *run, Datum *values, bool *nulls);
static void set_text(const char *text, Datum *value, bool *isnull);
static void write_hints(MaTurnBatch *batch);
static void write_parked(MaTurnBatch *batch);
static void write_changed_parking(MaTurnBatch *batch, MaStatement *statement, bool parked);
static void write_log(MaTurnBatch *batch);
static void take_signals(MaTurnBatch *batch);
static void leave_events(MaTurnBatch *batch, const MaJourneyRun *run);
static void skip_messages(MaTurnBatch *batch);
static void raise_events(MaTurnBatch *batch);

/* Numbers for new enrollments, drawn for all entries of the batch at once. */
int64
ma_turn_new_id(MaTurnBatch *batch)
{
	static MaStatement draw = {"SELECT pg_catalog.nextval('marketing_internal.enrollment_enrollment_id_seq'::pg_catalog.regclass) "
							   "FROM pg_catalog.generate_series(1, $1)",
							   1,
							   {INT4OID}};

	if (batch->simulation != NULL)
		return ma_simulate_run_id(batch);
	if (batch->nnew_ids == 0)
	{
		int entries = 0;
		Datum value;
		MaRows rows;
		ListCell *cell;

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
	write_runs(batch);
	write_parked(batch);
	write_hints(batch);
	ma_intake_write(batch);
	write_log(batch);
	skip_messages(batch);
	take_signals(batch);
	ma_goals_write(batch);
	raise_events(batch);
}

static void
take_signals(MaTurnBatch *batch)
{
	MaRowWrite *write;
	ListCell *cell;

	foreach(cell, batch->runs)
		leave_events(batch, lfirst(cell));
	if (batch->signals == NIL)
		return;
	write = ma_write_begin("enrollment_signal", SIGNAL_COLUMNS);
	foreach(cell, batch->signals)
		(void) ma_write_delete(write, &((MaSignal *) lfirst(cell))->tid);
	ma_write_end(write);
}

/*
 * Events that the run is told once more, since somebody had locked what its condition reads:
 * they stay at their places, for this run alone.  Of those that were put off nobody was told.
 */
static void
leave_events(MaTurnBatch *batch, const MaJourneyRun *run)
{
	static MaStatement leave = {
		"UPDATE marketing_internal.enrollment_signal SET enrollment_id = $2 "
		"WHERE ctid OPERATOR(pg_catalog.=) $1",
		2, {TIDOID, INT8OID}
	};
	ListCell   *cell;

	foreach(cell, run->kept)
	{
		MaSignal   *signal = lfirst(cell);
		MaSignal	copy = *signal;
		bool		always = true;

		if (signal->left)
		{
			copy.enrollment_id = run->enrollment_id;
			ma_signals_insert(&copy, &always, 1);
		}
		else if (list_member_ptr(batch->signals, signal))
		{
			Datum		values[2] = {PointerGetDatum(&signal->tid),
			Int64GetDatum(run->enrollment_id)};

			ma_run(&leave, values, NULL, MA_RUN_WRITE_LATEST);
			batch->signals = list_delete_ptr(batch->signals, signal);
			signal->left = true;
		}
	}
	if (run->kept != NIL)
		(void) ma_scan_signals_read(0, true, false);
}

/* Inserts the new runs, and updates the changed others. */
static void
write_runs(MaTurnBatch *batch)
{
	MaRowWrite *write = NULL;
	ListCell *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);
		Datum values[RUN_COLUMNS];
		bool nulls[RUN_COLUMNS];

		if (!run->changed && run->check_at == run->stored_check)
			continue;
		if (write == NULL)
			write = ma_write_begin("enrollment", RUN_COLUMNS);
		set_columns(run, values, nulls);
		if (run->is_new)
			ma_write_insert(write, values, nulls);
		else if (!ma_write_update(write, &run->tid, values, nulls))
			ereport(ERROR,
					(errcode(ERRCODE_MA_STATE_CHANGED), errmsg("enrollments were changed by somebody else"),
					 errdetail("That of contact %lld, number %lld, was.",
							   (long long) run->person->contact_id,
							   (long long) run->enrollment_id)));
	}
	if (write != NULL)
		ma_write_end(write);
}

static void
set_text(const char *text, Datum *value, bool *isnull)
{
	*isnull = text == NULL;
	*value = *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

/* `none` is null. */
static void
set_time(TimestampTz at, TimestampTz none, Datum *value, bool *isnull)
{
	*isnull = at == none;
	*value = TimestampTzGetDatum(at);
}

static void
set_datum(Datum datum, Datum *value, bool *isnull)
{
	*isnull = datum == (Datum) 0;
	*value = datum;
}

static void
set_columns(const MaJourneyRun *run, Datum *values, bool *nulls)
{
	memset(nulls, false, sizeof(bool) * RUN_COLUMNS);
	values[0] = Int64GetDatum(run->person->contact_id);
	values[1] = Int64GetDatum(run->enrollment_id);
	values[2] = Int32GetDatum(run->version->journey_id);
	values[3] = Int32GetDatum(run->version->version);
	set_text(ma_run_state_name(run->state), &values[4], &nulls[4]);
	set_text(run->step ? run->step->id : NULL, &values[5], &nulls[5]);
	values[6] = TimestampTzGetDatum(run->since);
	set_time(run->due_at, DT_NOEND, &values[7], &nulls[7]);
	set_time(run->check_at, DT_NOEND, &values[8], &nulls[8]);
	values[9] = Int64GetDatum(run->message_id);
	nulls[9] = run->message_id == 0;
	set_text(run->key, &values[10], &nulls[10]);
	/* As it stands in the row, where it may be out of line. */
	set_datum(run->entry == run->read_entry ? run->stored_entry : run->entry, &values[11],
			  &nulls[11]);
	set_datum(run->marks_changed ? ma_marks_datum(run->marks) : run->stored_marks, &values[12],
			  &nulls[12]);
	values[13] = TimestampTzGetDatum(run->entered_at);
	values[14] = Int64GetDatum(run->is_new ? run->person->contact_id : run->enrolled_as);
	set_time(run->ended_at, 0, &values[15], &nulls[15]);
	set_text(run->reason, &values[16], &nulls[16]);
	set_text(run->error_state, &values[17], &nulls[17]);
	set_text(run->error, &values[18], &nulls[18]);
	set_time(ma_goals_until(run), DT_NOBEGIN, &values[19], &nulls[19]);
}

/*
 * A hint for each instant that has none: a new one, or one whose hint was read.  It is
 * never before this turn's instant, see scan.c.  Nor is there one for what a pause
 * holds: resume_journey() tells of it.  Those that were read go.
 */
static void
write_hints(MaTurnBatch *batch)
{
	MaRowWrite *write = ma_write_begin("enrollment_due", DUE_COLUMNS);
	ListCell *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);
		TimestampTz instants[2] = {run->due_at, run->check_at};
		TimestampTz stored[2] = {run->stored_due, run->stored_check};

		for (int i = 0; i < 2; i++)
		{
			Datum values[DUE_COLUMNS];

			if (!ma_run_is_live(run) || TIMESTAMP_NOT_FINITE(instants[i]) ||
				(instants[i] == stored[i] && !run->hint_used) ||
				(i == 0 && run->version->held && instants[i] <= batch->now))
				continue;
			values[0] = TimestampTzGetDatum(Max(instants[i], batch->now));
			values[1] = Int64GetDatum(run->person->contact_id);
			values[2] = Int64GetDatum(run->enrollment_id);
			ma_write_insert(write, values, NULL);
		}
	}
	foreach(cell, batch->dues)
		(void) ma_write_delete(write, lfirst(cell));
	ma_write_end(write);
}

/* Hints for marketing.status: runs that are parked since this turn, or are no more. */
static void
write_parked(MaTurnBatch *batch)
{
	static MaStatement parked = {"INSERT INTO marketing_internal.enrollment_parked (contact_id, enrollment_id) "
								 "SELECT u.contact_id, u.enrollment_id "
								 "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
								 "AS u (contact_id, enrollment_id)",
								 2,
								 {INT8ARRAYOID, INT8ARRAYOID}};
	static MaStatement no_more = {"DELETE FROM marketing_internal.enrollment_parked AS p "
								  "USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
								  "AS u (contact_id, enrollment_id) "
								  "WHERE p.contact_id OPERATOR(pg_catalog.=) u.contact_id "
								  "AND p.enrollment_id OPERATOR(pg_catalog.=) u.enrollment_id",
								  2,
								  {INT8ARRAYOID, INT8ARRAYOID}};

	write_changed_parking(batch, &no_more, false);
	write_changed_parking(batch, &parked, true);
}

static void
write_changed_parking(MaTurnBatch *batch, MaStatement *statement, bool parked)
{
	int64 *contacts = palloc_array(int64, Max(list_length(batch->runs), 1));
	int64 *ids = palloc_array(int64, Max(list_length(batch->runs), 1));
	Datum values[2];
	int n = 0;
	ListCell *cell;

	foreach(cell, batch->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if ((run->state == MA_STATE_PARKED) != parked || run->was_parked == parked)
			continue;
		contacts[n] = run->person->contact_id;
		ids[n++] = run->enrollment_id;
	}
	if (n == 0)
		return;
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int8_array(ids, n);
	ma_run(statement, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
write_log(MaTurnBatch *batch)
{
	MaRowWrite *write;
	Oid sequence;
	ListCell *cell;

	if (batch->log == NIL)
		return;
	write = ma_write_begin("enrollment_log", LOG_COLUMNS);
	sequence = ma_own_table("enrollment_log_log_id_seq");
	foreach(cell, batch->log)
	{
		MaLogEntry *entry = lfirst(cell);
		Datum values[LOG_COLUMNS];
		bool nulls[LOG_COLUMNS] = {false};

		values[0] = Int64GetDatum(entry->contact_id);
		values[1] = Int64GetDatum(nextval_internal(sequence, false));
		values[2] = Int32GetDatum(entry->journey_id);
		values[3] = Int32GetDatum(entry->version);
		values[4] = Int64GetDatum(entry->enrollment_id);
		nulls[4] = entry->enrollment_id == 0;
		values[5] = TimestampTzGetDatum(entry->at);
		set_text(entry->step, &values[6], &nulls[6]);
		set_text(entry->what, &values[7], &nulls[7]);
		set_text(entry->detail, &values[8], &nulls[8]);
		ma_write_insert(write, values, nulls);
	}
	ma_write_end(write);
}

/* Messages that exited runs wait for; others of theirs the gate skips. */
static void
skip_messages(MaTurnBatch *batch)
{
	int64 *contacts = palloc_array(int64, Max(list_length(batch->runs), 1));
	int64 *messages = palloc_array(int64, Max(list_length(batch->runs), 1));
	int n = 0;
	ListCell *cell;

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
	ListCell *cell;

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
						   DirectFunctionCall1(jsonb_in,
											   CStringGetDatum(psprintf("%s}", row.data))));
		if (ma_run_is_live(run))
			continue;
		appendStringInfoString(&row, ", \"reason\": ");
		escape_json(&row, run->reason ? run->reason : ma_run_state_name(run->state));
		appendStringInfoChar(&row, '}');
		ma_raise_event("journey_exited", run->person->contact_id, run->enrollment_id, run->ended_at,
					   DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data)));
	}
}
