/*
 * deadline.c
 *		Cancels what this process is doing when a time has passed.
 *
 * Unlike statement_timeout, which belongs to the whole tick (or to the user whose
 * session works), it is set for one batch, and who set it can tell it from a
 * cancel: so a batch that takes too long ends as an error of the batch.  What is
 * done within a batch may have a deadline of its own, but never a later one.
 */
#include "base/base.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

static TimeoutId timeout = MAX_TIMEOUTS;
static volatile sig_atomic_t passed = false;
static TimestampTz ends = 0;	/* of the deadline that is set; 0: none */

static void on_timeout(void);

/* In a signal handler. */
static void
on_timeout(void)
{
	passed = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

TimestampTz
ma_deadline_set(int ms)
{
	TimestampTz outer = ends;

	if (timeout == MAX_TIMEOUTS)
		timeout = RegisterTimeout(USER_TIMEOUT, on_timeout);
	ends = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	if (outer != 0)
	{
		disable_timeout(timeout, false);
		ends = Min(ends, outer);
	}
	passed = false;
	enable_timeout_at(timeout, ends);
	return outer;
}

bool
ma_deadline_end(bool interrupted, TimestampTz outer)
{
	bool		over;

	disable_timeout(timeout, false);
	over = passed;
	/* The outer one's: its cancel goes on to who set it. */
	if (over && outer == ends)
		return false;
	if (over && !interrupted)
		QueryCancelPending = false;
	ends = outer;
	passed = false;
	if (outer != 0)
		enable_timeout_at(timeout, outer);
	return over;
}
