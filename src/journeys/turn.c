/*
 * turn.c
 *		The duty "journeys": one batch of contacts each turn, read, moved on and
 *		written in one transaction.
 *
 * It is the single writer of enrollments: whoever does the duty, a scheduler or
 * CALL marketing.work(), holds its lock.  Merging contacts and dropping a journey are
 * the exceptions; they hold the contacts' locks, or keep the duty out.
 */
#include "base/base.h"

#include "content/content.h"
#include "journeys/engine.h"
#include "journeys/scan.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "worker/worker.h"

static bool tick(void);
static bool turn(void);

static const MaDuty duty = {MA_JOURNEYS, 0, tick, ma_next_due};

void
ma_journeys_init(void)
{
	ma_define_init();
	ma_listen_init();
	ma_journey_gate_init();
	ma_journey_quiet_init();
	ma_journey_why_init();
	ma_journey_events_init();
	ma_worker_register_duty(&duty);
}

static bool
tick(void)
{
	return ma_drain_turn(turn);
}

static bool
turn(void)
{
	/* Told apart from those who drop a journey, see ma_engine_lock(). */
	static MaStatement lock = {"LOCK TABLE marketing_internal.enrollment IN ROW EXCLUSIVE MODE"};
	MaTurnBatch batch = {0};

	batch.now = ma_now();
	batch.journeys = ma_journeys();
	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
	if (!ma_turn_read(&batch))
	{
		ma_scan_end();
		return false;
	}
	ma_signals_apply(&batch);
	do
		ma_rules_check(&batch);
	while (ma_steps_do(&batch));
	ma_turn_write(&batch);
	ma_scan_end();
	/* Messages that waited for these signals to be read can go in the same call of work(). */
	if (batch.signals != NIL && MyBgworkerEntry == NULL)
		ma_worker_wake_at_commit();
	return batch.full;
}

void
ma_engine_lock(void)
{
	static MaStatement lock = {"LOCK TABLE marketing_internal.enrollment IN SHARE ROW EXCLUSIVE "
			"MODE"};

	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
}
