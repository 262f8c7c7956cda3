/*
 * pause.c
 *		The short pause between two tries for a lock.
 *
 * On the latch, so that a cancel, a shutdown or a barrier for DROP DATABASE is
 * answered at once; never a raw sleep.
 */
#include "base/base.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "worker/worker.h"

void
ma_worker_pause(long ms)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = ma_wait_event_new("MarketingContactLock");
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
