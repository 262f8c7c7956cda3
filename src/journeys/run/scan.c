/*
 * scan.c
 *		Where to go on reading signals and due hints.
 *
 * Both are tables whose rows are deleted once they are read.  Deleted rows stay where
 * they are while somebody holds an old snapshot, and a scan from the start would pass
 * all of them each time.  So this process remembers how far everything is read.
 *
 * Hints: the scheduler is their only writer and never writes one before the instant
 * of its turn, so all before the last turn's instant is read.  With a set clock time
 * may go back, and each scan begins at the start.
 *
 * Signals: a number may become visible after a higher one, but not later than the end
 * of a transaction that ran when the higher one was read.  A scan that finds nothing
 * goes back to the number below which all is settled.
 *
 * Once a minute, and whenever a session does the work, all is read from the start.
 */
#include "base/base.h"

#include "access/transam.h"
#include "journeys/run/scan.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/snapmgr.h"

#define RESTART_US (60 * USECS_PER_SEC)

static TimestampTz hints_from = DT_NOBEGIN;
static int64 low = 0;			/* signals are read after this number */
static int64 highest = 0;
static int64 settled = 0;		/* all up to this one is read */
static int64 mark = 0;			/* settled once all transactions before mark_xid have ended */
static TransactionId mark_xid = InvalidTransactionId;
static TimestampTz restart_at = DT_NOBEGIN;
static bool in_turn = false;	/* still set: the last turn failed and was undone */

void
ma_scan_begin(TimestampTz now, bool anew)
{
	TimestampTz real = GetCurrentTimestamp();

	bool		undone = in_turn;

	in_turn = true;
	if (MyBgworkerEntry != NULL && !undone && !anew && real < restart_at && !ma_clock_is_set() &&
		now >= hints_from)
		return;
	hints_from = DT_NOBEGIN;
	low = settled = 0;
	mark_xid = InvalidTransactionId;
	restart_at = real + RESTART_US;
}

void
ma_scan_end(void)
{
	in_turn = false;
}

TimestampTz
ma_scan_hints_from(void)
{
	return hints_from;
}

int64
ma_scan_signals_after(void)
{
	return low;
}

int64
ma_scan_signals_settled(void)
{
	return settled;
}

void
ma_scan_hints_read(TimestampTz to)
{
	hints_from = to;
}

/* How a scan of signals ended; true if another one may find more. */
bool
ma_scan_signals_read(int64 last, bool found, bool all_taken)
{
	bool		whole = low <= settled;

	/* What is left, because somebody has the contact, must be found again. */
	if (!all_taken)
	{
		low = settled;
		return false;
	}
	if (found)
	{
		low = Max(low, last);
		highest = Max(highest, low);
		return false;
	}
	if (whole)
	{
		if (TransactionIdIsValid(mark_xid) &&
			TransactionIdFollowsOrEquals(GetLatestSnapshot()->xmin, mark_xid))
		{
			settled = mark;
			mark_xid = InvalidTransactionId;
		}
		if (!TransactionIdIsValid(mark_xid))
		{
			mark = highest;
			mark_xid = ReadNextTransactionId();
		}
		low = settled;
		return false;
	}
	low = settled;
	return true;
}
