/*
 * batch_read.c
 *		Reads a batch: whose turn it is, their locks, and all that is known of them.
 *
 * Hints and signals only name contacts.  Their runs and signals are read under the
 * contacts' locks with a snapshot taken after them, so a merge cannot move what is
 * being worked on, and every signal whose commit preceded the batch is taken into
 * account before any step.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "journeys/run/scan.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

#define FEW_SIGNALS 200			/* to read those of everybody */
#define FEW_MS 1.0				/* ... and so long it may take */
#define REST 100				/* turns until it is tried again */

/* A hint that was read. */
typedef struct Hint
{
	ItemPointerData tid;
	int64		contact_id;
	int64		enrollment_id;
	TimestampTz due_at;
} Hint;

static List *read_hints(TimestampTz now, int limit);
static List *read_signal_contacts(int limit);
static bool take_persons(MaTurnBatch *batch, List *hints, List *signallers);
static MaPerson *find_person(MaTurnBatch *batch, int64 contact_id);
static void use_hints(MaTurnBatch *batch, List *hints);
static int64 *locked_ids(MaTurnBatch *batch, int *n);
static void read_contacts(MaTurnBatch *batch);
static bool read_all_signals(MaRows *rows);
static void read_signals(MaTurnBatch *batch);
static void read_runs(MaTurnBatch *batch);
static void read_over(MaTurnBatch *batch);
static MaJourneyRun *read_run(MaTurnBatch *batch, const MaRows *rows, uint64 row);
static void read_history(MaTurnBatch *batch);
static TimestampTz time_or(const MaRows *rows, uint64 row, int column, TimestampTz otherwise);
static Datum copy_jsonb(const MaRows *rows, uint64 row, int column);

bool
ma_turn_read(MaTurnBatch *batch)
{
	List	   *hints;
	List	   *signallers;

	ma_scan_begin(batch->now, ma_journey_dates_rest_over());
	hints = read_hints(batch->now, batch->limit);
	signallers = read_signal_contacts(batch->limit);
	batch->full = list_length(hints) >= batch->limit || list_length(signallers) >= batch->limit;
	if (!take_persons(batch, hints, signallers))
		return false;
	read_contacts(batch);
	read_signals(batch);
	read_runs(batch);
	read_over(batch);
	read_history(batch);
	use_hints(batch, hints);
	return true;
}

static List *
read_hints(TimestampTz now, int limit)
{
	static MaStatement read = {
		"SELECT ctid, contact_id, enrollment_id, due_at FROM marketing_internal.enrollment_due "
		"WHERE due_at OPERATOR(pg_catalog.>=) $1 AND due_at OPERATOR(pg_catalog.<=) $2 "
		"ORDER BY due_at LIMIT $3",
		3, {TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}
	};
	List	   *hints = NIL;
	Datum		values[3];
	MaRows		rows;
	int			nest_level = ma_pin_index_scans();

	values[0] = TimestampTzGetDatum(ma_scan_hints_from());
	values[1] = TimestampTzGetDatum(now);
	values[2] = Int32GetDatum(limit);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	ma_unpin_settings(nest_level);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Hint	   *hint = palloc0_object(Hint);
		bool		isnull;

		hint->tid = *(ItemPointer) DatumGetPointer(ma_value(&rows, i, 1, &isnull));
		hint->contact_id = ma_int64(&rows, i, 2);
		hint->enrollment_id = ma_int64(&rows, i, 3);
		hint->due_at = time_or(&rows, i, 4, DT_NOEND);
		hints = lappend(hints, hint);
	}
	return hints;
}

/*
 * Signals after the last ones read, but those of dates that rest; only whose they are, and their
 * numbers.
 */
static List *
read_signal_contacts(int limit)
{
	static MaStatement read = {
		"SELECT contact_id, signal_id FROM marketing_internal.enrollment_signal "
		"WHERE signal_id OPERATOR(pg_catalog.>) $1 AND (kind OPERATOR(pg_catalog.<>) 'dates' "
		"OR journey_id IS NULL OR journey_id OPERATOR(pg_catalog.<>) ALL ($3)) "
		"ORDER BY signal_id LIMIT $2",
		3, {INT8OID, INT4OID, INT4ARRAYOID}
	};
	List	   *signallers = NIL;

	do
	{
		Datum		values[3];
		MaRows		rows;
		int			nest_level = ma_pin_index_scans();

		values[0] = Int64GetDatum(ma_scan_signals_after());
		values[1] = Int32GetDatum(limit);
		values[2] = ma_journey_dates_resting();
		rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
		ma_unpin_settings(nest_level);
		for (uint64 i = 0; i < rows.n; i++)
		{
			int64	   *pair = palloc_array(int64, 2);

			pair[0] = ma_int64(&rows, i, 1);
			pair[1] = ma_int64(&rows, i, 2);
			signallers = lappend(signallers, pair);
		}
	} while (signallers == NIL && ma_scan_signals_read(0, false, true));
	return signallers;
}

/*
 * The persons of hints and signals, in ascending order, each locked unless somebody
 * has it; those are left for the next turn.  False if there is nobody.
 */
static bool
take_persons(MaTurnBatch *batch, List *hints, List *signallers)
{
	int			total = list_length(hints) + list_length(signallers);
	int64	   *ids = palloc_array(int64, Max(total, 1));
	TimestampTz hints_to = batch->now;
	int64		last = 0;
	bool		signals_taken = true;
	int			n = 0;
	ListCell   *cell;

	foreach(cell, hints)
		ids[n++] = ((Hint *) lfirst(cell))->contact_id;
	foreach(cell, signallers)
		ids[n++] = ((int64 *) lfirst(cell))[0];
	qsort(ids, n, sizeof(int64), ma_compare_int64);
	batch->persons = palloc0_array(MaPerson, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		MaPerson   *person;

		if (i > 0 && ids[i] == ids[i - 1])
			continue;
		person = &batch->persons[batch->n++];
		person->contact_id = ids[i];
		person->locked = ma_contact_lock_if_free(ids[i]);
		/* Often it is he whose commit has woken us, and who is about to let go. */
		if (!person->locked)
			ma_worker_again_soon();
	}
	foreach(cell, hints)
	{
		Hint	   *hint = lfirst(cell);

		/* Where the next turn begins: at what was left, else at the last one read. */
		if (!find_person(batch, hint->contact_id)->locked)
			hints_to = Min(hints_to, hint->due_at);
		if (batch->full)
			hints_to = Min(hints_to, ((Hint *) llast(hints))->due_at);
	}
	foreach(cell, signallers)
	{
		int64	   *pair = lfirst(cell);

		last = Max(last, pair[1]);
		signals_taken &= find_person(batch, pair[0])->locked;
	}
	ma_scan_hints_read(hints_to);
	if (signallers != NIL)
		(void) ma_scan_signals_read(last, true, signals_taken);
	return n > 0;
}

static MaPerson *
find_person(MaTurnBatch *batch, int64 contact_id)
{
	int			from = 0;
	int			to = batch->n - 1;

	while (from <= to)
	{
		int			middle = (from + to) / 2;

		if (batch->persons[middle].contact_id == contact_id)
			return &batch->persons[middle];
		if (batch->persons[middle].contact_id < contact_id)
			from = middle + 1;
		else
			to = middle - 1;
	}
	elog(ERROR, "cannot happen: contact " INT64_FORMAT " is not in the batch", contact_id);
}

/* Hints of locked persons are used up; their runs get new ones when the batch is written. */
static void
use_hints(MaTurnBatch *batch, List *hints)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, hints)
	{
		Hint	   *hint = lfirst(cell);
		MaPerson   *person = find_person(batch, hint->contact_id);

		if (!person->locked)
			continue;
		batch->dues = lappend(batch->dues, &hint->tid);
		foreach(inner, person->runs)
		{
			MaJourneyRun *run = lfirst(inner);

			if (run->enrollment_id != hint->enrollment_id)
				continue;
			run->hint_used = true;
			if (run->check_at <= batch->now)
				ma_run_check(run, run->check_at);
		}
	}
}

static int64 *
locked_ids(MaTurnBatch *batch, int *n)
{
	int64	   *ids = palloc_array(int64, Max(batch->n, 1));

	*n = 0;
	for (int i = 0; i < batch->n; i++)
		if (batch->persons[i].locked)
			ids[(*n)++] = batch->persons[i].contact_id;
	return ids;
}

/* Keys, and zones. */
static void
read_contacts(MaTurnBatch *batch)
{
	static MaStatement zones = {
		"SELECT contact_id, time_zone FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) AND time_zone IS NOT NULL",
		1, {INT8ARRAYOID}
	};
	int			n;
	int64	   *ids = locked_ids(batch, &n);
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ_LATEST);
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows;

	for (int i = 0; i < n; i++)
		find_person(batch, ids[i])->contact = &contacts[i];
	rows = ma_run(&zones, &value, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		find_person(batch, ma_int64(&rows, i, 1))->zone = ma_text(&rows, i, 2);
}

#define READ_SIGNALS \
	"SELECT s.ctid, s.signal_id, s.contact_id, s.kind, s.at, s.journey_id, s.enrollment_id, " \
	"s.event_id, s.message_id, s.key, s.row, s.reason, s.by_time " \
	"FROM marketing_internal.enrollment_signal AS s "

/*
 * All signals there are, if they are so few that the index of their numbers tells that sooner
 * than looking for those of each person; false: they are more, or many were not long ago and
 * their dead rows are in the way.
 */
static bool
read_all_signals(MaRows *rows)
{
	static MaStatement read = {
		READ_SIGNALS "WHERE s.signal_id OPERATOR(pg_catalog.>) $1 ORDER BY s.signal_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	static int	rest = 0;		/* turns for which it is not tried */
	Datum		values[2];
	instr_time	start;
	instr_time	passed;
	int			nest_level;

	if (rest > 0)
	{
		rest--;
		return false;
	}
	INSTR_TIME_SET_CURRENT(start);
	values[0] = Int64GetDatum(ma_scan_signals_settled());
	values[1] = Int32GetDatum(FEW_SIGNALS);
	nest_level = ma_pin_index_scans();
	*rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	ma_unpin_settings(nest_level);
	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, start);
	if (rows->n == FEW_SIGNALS || INSTR_TIME_GET_MILLISEC(passed) > FEW_MS)
		rest = REST;
	return rows->n < FEW_SIGNALS;
}

/* All signals of these persons, in their order. */
static void
read_signals(MaTurnBatch *batch)
{
	static MaStatement read = {
		READ_SIGNALS
		"WHERE s.contact_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY s.signal_id",
		1, {INT8ARRAYOID}
	};
	int			n;
	int64	   *ids = locked_ids(batch, &n);
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows;

	if (!read_all_signals(&rows))
		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int64		contact_id = ma_int64(&rows, i, 3);
		MaSignal   *signal;
		MaPerson   *person;
		char	   *kind = ma_text(&rows, i, 4);
		bool		isnull;

		if (bsearch(&contact_id, ids, n, sizeof(int64), ma_compare_int64) == NULL)
			continue;
		signal = palloc0_object(MaSignal);
		signal->tid = *(ItemPointer) DatumGetPointer(ma_value(&rows, i, 1, &isnull));
		signal->signal_id = ma_int64(&rows, i, 2);
		signal->contact_id = contact_id;
		while (strcmp(ma_signal_kind_name(signal->kind), kind) != 0)
			signal->kind++;
		signal->at = time_or(&rows, i, 5, batch->now);
		signal->journey_id = ma_int32(&rows, i, 6);
		signal->enrollment_id = ma_int64(&rows, i, 7);
		signal->event_id = ma_int32(&rows, i, 8);
		signal->message_id = ma_int64(&rows, i, 9);
		signal->key = ma_text(&rows, i, 10);
		signal->row = copy_jsonb(&rows, i, 11);
		signal->reason = ma_text(&rows, i, 12);
		signal->by_time = ma_bool(&rows, i, 13);
		person = find_person(batch, signal->contact_id);
		person->signals = lappend(person->signals, signal);
		batch->signals = lappend(batch->signals, signal);
	}
}

#define READ_RUNS \
	"SELECT e.contact_id, e.enrollment_id, e.journey_id, e.version, e.state, e.step, e.since, " \
	"e.due_at, e.check_at, e.message_id, e.key, e.entry, e.marks, e.entered_at, " \
	"e.error_state, e.error, e.ctid, e.enrolled_as "

/* Runs that go on; the rest of a journey that is gone is left alone. */
static void
read_runs(MaTurnBatch *batch)
{
	static MaStatement read = {
		READ_RUNS "FROM marketing_internal.enrollment AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') ORDER BY 1, 2",
		1, {INT8ARRAYOID}
	};
	int			n;
	int64	   *ids = locked_ids(batch, &n);
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaJourneyRun *run = read_run(batch, &rows, i);

		if (run == NULL)
			continue;
		run->person->runs = lappend(run->person->runs, run);
		batch->runs = lappend(batch->runs, run);
	}
}

/* Ended runs for whose goals the events of this batch may count. */
static void
read_over(MaTurnBatch *batch)
{
	static MaStatement read = {
		READ_RUNS "FROM marketing_internal.enrollment AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND e.goal_until OPERATOR(pg_catalog.>=) $2 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{completed,exited}') ORDER BY 1, 2",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	int64	   *ids = palloc_array(int64, Max(list_length(batch->signals), 1));
	TimestampTz first = DT_NOEND;
	int			n = 0;
	Datum		values[2];
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, batch->signals)
	{
		MaSignal   *signal = lfirst(cell);

		if (signal->kind != MA_SIGNAL_EVENT)
			continue;
		ids[n++] = signal->contact_id;
		first = Min(first, signal->at);
	}
	if (n == 0)
		return;
	values[0] = ma_int8_array(ids, n);
	values[1] = TimestampTzGetDatum(first);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaJourneyRun *run = read_run(batch, &rows, i);

		if (run == NULL)
			continue;
		run->over = true;
		run->person->over = lappend(run->person->over, run);
	}
}

static MaJourneyRun *
read_run(MaTurnBatch *batch, const MaRows *rows, uint64 row)
{
	MaJourneyRun *run = palloc0_object(MaJourneyRun);
	char	   *state = ma_text(rows, row, 5);
	char	   *step = ma_text(rows, row, 6);
	bool		isnull;

	run->version = ma_journey_version(batch->journeys, ma_int32(rows, row, 3), ma_int32(rows,
			row, 4));
	if (run->version == NULL)
		return NULL;
	run->person = find_person(batch, ma_int64(rows, row, 1));
	run->enrollment_id = ma_int64(rows, row, 2);
	while (strcmp(ma_run_state_name(run->state), state) != 0)
		run->state++;
	run->step = step ? ma_program_step(run->version->program, step) : NULL;
	run->was_parked = run->state == MA_STATE_PARKED;
	run->since = time_or(rows, row, 7, batch->now);
	run->due_at = run->stored_due = time_or(rows, row, 8, DT_NOEND);
	run->check_at = run->stored_check = time_or(rows, row, 9, DT_NOEND);
	run->message_id = ma_int64(rows, row, 10);
	run->key = ma_text(rows, row, 11);
	run->stored_entry = ma_value(rows, row, 12, &isnull);
	run->entry = run->read_entry = copy_jsonb(rows, row, 12);
	run->stored_marks = ma_value(rows, row, 13, &isnull);
	run->marks = ma_marks_read(copy_jsonb(rows, row, 13));
	run->entered_at = time_or(rows, row, 14, batch->now);
	run->error_state = ma_text(rows, row, 15);
	run->error = ma_text(rows, row, 16);
	run->tid = *(ItemPointer) DatumGetPointer(ma_value(rows, row, 17, &isnull));
	run->enrolled_as = ma_int64(rows, row, 18);
	return run;
}

/* For who wants to enter: every entry he has had, by journey and key. */
static void
read_history(MaTurnBatch *batch)
{
	static MaStatement read = {
		"SELECT e.contact_id, e.journey_id, e.key, pg_catalog.max(e.entered_at), "
		"(pg_catalog.count(*) FILTER (WHERE e.entered_at OPERATOR(pg_catalog.>) $2))"
		"::pg_catalog.int4 FROM marketing_internal.enrollment AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1) GROUP BY 1, 2, 3",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	int64	   *ids = palloc_array(int64, Max(list_length(batch->signals), 1));
	int			n = 0;
	Datum		values[2];
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, batch->signals)
		if (((MaSignal *) lfirst(cell))->kind == MA_SIGNAL_ENTER)
			ids[n++] = ((MaSignal *) lfirst(cell))->contact_id;
	if (n == 0)
		return;
	values[0] = ma_int8_array(ids, n);
	values[1] = TimestampTzGetDatum(batch->now - USECS_PER_HOUR);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaHistory  *history = palloc0_object(MaHistory);
		MaPerson   *person = find_person(batch, ma_int64(&rows, i, 1));

		history->journey_id = ma_int32(&rows, i, 2);
		history->key = ma_text(&rows, i, 3);
		history->last_entry = time_or(&rows, i, 4, DT_NOBEGIN);
		history->recent = ma_int32(&rows, i, 5);
		person->history = lappend(person->history, history);
	}
}

static TimestampTz
time_or(const MaRows *rows, uint64 row, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/* 0 for null. */
static Datum
copy_jsonb(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);

	return isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

TimestampTz
ma_next_due(void)
{
	static MaStatement read = {
		"SELECT due_at FROM marketing_internal.enrollment_due "
		"WHERE due_at OPERATOR(pg_catalog.>=) $1 ORDER BY due_at LIMIT 1",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_scan_hints_from());
	TimestampTz due = DT_NOEND;
	int			nest_level = ma_pin_index_scans();
	MaRows		rows;

	rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		due = time_or(&rows, 0, 1, DT_NOEND);
	ma_unpin_settings(nest_level);
	return due;
}
