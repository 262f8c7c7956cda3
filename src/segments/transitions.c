/*
 * transitions.c
 *		The partitions of the log of entries and exits: with the first segment, and a
 *		month ahead by the worker.
 */
#include "base/base.h"

#include "segments/segments_internal.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)

static bool duty_tick(void);

static const MaPartitioned transitions = {
	.name = "segment_transition",
	.column = "recorded_at",
	.key = "contact_id, transition_id",
	.index = "segment_id, effective_at"
};

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
	ma_partitions_extend(&transitions);
	return false;
}

void
ma_transitions_ensure(void)
{
	ma_partitions_ensure(&transitions);
}
