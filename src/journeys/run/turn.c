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
#include "journeys/run/scan.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "worker/worker.h"

#define LEAST 100				/* hints of a turn, and to begin with */
#define MOST 2000
#define SHORT_MS 5				/* it is about this long, while users wait for its locks */
#define LONG_MS 10

static int	size = LEAST;

static bool tick(void);
static bool turn(void);
static void fit_size(const MaTurnBatch *batch, instr_time start);

static TimestampTz next_due(void);

static const MaDuty duty = {MA_JOURNEYS, 0, tick, next_due};

void
ma_journeys_init(void)
{
	ma_define_init();
	ma_listen_init();
	ma_journey_dates_init();
	ma_intake_init();
	ma_journey_gate_init();
	ma_journey_quiet_init();
	ma_journey_why_init();
	ma_journey_events_init();
	ma_journey_cron_init();
	ma_worker_register_duty(&duty);
}

static bool
tick(void)
{
	return ma_drain_turn(turn);
}

/* The earliest hint, or horizon of a test. */
static TimestampTz
next_due(void)
{
	TimestampTz due = DT_NOEND;
	MaCall		call;

	ma_call_begin(&call);
	due = ma_next_due();
	if (ma_journeys()->has_tests)
		due = Min(due, ma_tests_next());
	ma_call_end(&call);
	return due;
}

static bool
turn(void)
{
	/* Told apart from those who drop a journey, see ma_engine_lock(). */
	static MaStatement lock = {"LOCK TABLE marketing_internal.enrollment IN ROW EXCLUSIVE MODE"};
	MaTurnBatch batch = {0};
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	/* Definitions are read behind the lock: one who keeps turns out changes them first. */
	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
	batch.now = ma_now();
	batch.journeys = ma_journeys();
	/* In a transaction of its own: no step is done before the winner is known. */
	if (batch.journeys->has_tests && ma_tests_decide(&batch))
		return true;
	batch.limit = Min(size, ma_drain_most());
	if (!ma_turn_read(&batch))
	{
		ma_scan_end();
		return false;
	}
	ma_journey_dates_take(&batch);
	ma_signals_apply(&batch);
	do
		ma_rules_check(&batch);
	while (ma_steps_do(&batch));
	ma_turn_write(&batch);
	ma_scan_end();
	fit_size(&batch, start);
	/* Messages that waited for these signals to be read can go in the same call of work(). */
	if (batch.signals != NIL && MyBgworkerEntry == NULL)
		ma_worker_wake_at_commit();
	return batch.full;
}

/*
 * What a turn costs whatever it does is shared by many runs when many are due; those with
 * costly steps are done a few at a time.
 */
static void
fit_size(const MaTurnBatch *batch, instr_time start)
{
	instr_time	passed;
	double		ms;

	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, start);
	ms = INSTR_TIME_GET_MILLISEC(passed);
	if (ms > LONG_MS)
		size = Max(size / 2, LEAST);
	else if (ms < SHORT_MS && batch->full)
		size = Min(size * 2, MOST);
}

void
ma_engine_lock(void)
{
	static MaStatement lock = {"LOCK TABLE marketing_internal.enrollment IN SHARE ROW EXCLUSIVE "
			"MODE"};

	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
}
