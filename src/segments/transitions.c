/*
 * transitions.c
 *		Monthly partitions of the log of entries and exits.
 */
#include "base/base.h"

#include "segments/segments_internal.h"
#include "utils/guc.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)
#define DUTY_LOCK_TIMEOUT "2s"

static bool duty_tick(void);

static const MaMonths months = {"segment_transition", "recorded_at", "contact_id, transition_id",
"segment_id, effective_at"};

void
ma_transitions_init(void)
{
	static const MaDuty duty = {
		.name = "segment partitions", .every_ms = DUTY_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
}

/* The worker's turn: nothing until the first segment was defined. */
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
ma_transitions_ensure(void)
{
	ma_months_ensure(&months);
}
