/*
 * partitions.c
 *		Monthly partitions of the tracked events: the first with the first track(), the
 *		following ones by a duty (base/months.c).
 */
#include "base/base.h"

#include "contacts/events.h"
#include "utils/guc.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)
#define DUTY_LOCK_TIMEOUT "2s"

static bool duty_tick(void);

static const MaMonths months = {"event", "occurred_at",
"contact_id, event_id, occurred_at, event_row_id"};

void
ma_events_init(void)
{
	static const MaDuty duty = {
		.name = "event partitions", .every_ms = DUTY_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
}

/* The worker's turn: nothing until the first event was tracked. */
static bool
duty_tick(void)
{
	MaCall		call;

	if (ma_extension() == NULL || !ma_months_exist(&months))
		return false;
	ma_call_begin(&call);
	(void) set_config_option("lock_timeout", DUTY_LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	ma_months_extend(&months);
	ma_call_end(&call);
	return false;
}

void
ma_event_partitions_ensure(void)
{
	ma_months_ensure(&months);
}
