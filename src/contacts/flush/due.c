/*
 * due.c
 *		Who falls due, read from an index in the order of time.
 *
 * What was due and is done leaves dead entries at the left end of such an index, and as
 * long as anybody holds an old snapshot each poll would walk over all of them.  So a duty
 * remembers up to where it has found everything, less a slack for commits that become
 * visible late, and begins there.  What could still lie before it (a transaction that was
 * very late, a restore) is found by a look at the whole, once a minute; it is the triggers
 * that wait for that, never an exact read.
 */
#include "base/base.h"

#include "access/transam.h"
#include "access/xact.h"
#include "contacts/flush/drain.h"
#include "portability/instr_time.h"

#define SLACK (5 * USECS_PER_SEC)	/* from an evaluation to where its commit is visible */
#define WHOLE_MS 60000			/* from one look at the whole to the next ... */
#define WHOLE_SHARE 20			/* ... which takes no more than this part of the time */

static int64 now_ms(void);
static void begin_look(MaDue *due, TimestampTz now);
static MaRows run(MaStatement *read, Datum *arguments);

static int64
now_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

static MaRows
run(MaStatement *read, Datum *arguments)
{
	int			nest_level = ma_pin_index_scans();
	MaRows		rows = ma_run(read, arguments, NULL, MA_RUN_READ_LATEST);

	ma_unpin_settings(nest_level);
	return rows;
}

/*
 * Takes over what the last turn found out, if that was committed.  All is looked at where
 * that is not known, the clock was set back, or it was long ago.
 */
static void
begin_look(MaDue *due, TimestampTz now)
{
	bool		known = due->looked && now_ms() < due->whole_at;

	if (known && TransactionIdIsValid(due->xid))
		known = TransactionIdDidCommit(due->xid);
	due->from = known && due->next <= now ? due->next : DT_NOBEGIN;
	due->looked = false;
}

MaRows
ma_due_read_from(MaStatement *read, MaDue *due)
{
	Datum		arguments[3];
	TimestampTz now = ma_clock();
	int64		began = now_ms();
	MaRows		rows;

	begin_look(due, now);
	arguments[0] = TimestampTzGetDatum(now);
	arguments[1] = Int32GetDatum(ma_drain_batch_size());
	arguments[2] = TimestampTzGetDatum(due->from);
	rows = run(read, arguments);
	if (due->from == DT_NOBEGIN)
		due->whole_at = now_ms() + Max(WHOLE_MS, (now_ms() - began) * WHOLE_SHARE);
	due->next = Max(due->from, now - SLACK);
	if (rows.n > 0)
		due->next = Min(due->next, ma_int64(&rows, rows.n - 1, 2));
	due->xid = InvalidTransactionId;
	due->looked = true;
	return rows;
}

bool
ma_due_wake(const MaRows *rows, MaDue *due)
{
	int64	   *contacts = palloc_array(int64, Max(rows->n, 1));
	bool	   *busy = palloc0_array(bool, Max(rows->n, 1));
	bool		more;

	for (uint64 i = 0; i < rows->n; i++)
		contacts[i] = ma_int64(rows, i, 1);
	more = ma_contacts_wake_each(contacts, NULL, (int) rows->n, false, busy);
	/* The first one who is busy is where the next turn begins. */
	for (uint64 i = rows->n; i > 0; i--)
		if (busy[i - 1])
			due->next = Min(due->next, ma_int64(rows, i - 1, 2));
	due->xid = GetCurrentTransactionIdIfAny();
	return more;
}

TimestampTz
ma_due_next_from(MaStatement *read, const MaDue *due)
{
	TimestampTz at = DT_NOEND;
	MaCall		call;
	MaRows		rows;
	Datum		from = TimestampTzGetDatum(due->looked ? due->from : DT_NOBEGIN);

	ma_call_begin(&call);
	rows = run(read, &from);
	if (rows.n > 0)
		at = ma_int64(&rows, 0, 1);
	ma_call_end(&call);
	return at;
}

MaRows
ma_due_read(MaStatement *read)
{
	Datum		arguments[2];

	arguments[0] = TimestampTzGetDatum(ma_clock());
	arguments[1] = Int32GetDatum(ma_drain_batch_size());
	return run(read, arguments);
}

TimestampTz
ma_due_next(MaStatement *read)
{
	TimestampTz at = DT_NOEND;
	MaCall		call;
	MaRows		rows;

	ma_call_begin(&call);
	rows = run(read, NULL);
	if (rows.n > 0)
		at = ma_int64(&rows, 0, 1);
	ma_call_end(&call);
	return at;
}
