/*
 * deadline.c
 *		Cancels what this process is doing when a time has passed.
 *
 * Unlike statement_timeout, which belongs to the whole tick (or to the user whose
 * session works), it is set for one batch, and who set it can tell it from a
 * cancel: so a batch that takes too long ends as an error of the batch.
 */
#include "base/base.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "worker/worker.h"

static TimeoutId timeout = MAX_TIMEOUTS;
static volatile sig_atomic_t passed = false;

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

void
ma_deadline_set(int ms)
{
	if (timeout == MAX_TIMEOUTS)
		timeout = RegisterTimeout(USER_TIMEOUT, on_timeout);
	passed = false;
	enable_timeout_after(timeout, ms);
}

bool
ma_deadline_end(bool interrupted)
{
	disable_timeout(timeout, false);
	if (passed && !interrupted)
		QueryCancelPending = false;
	return passed;
}
