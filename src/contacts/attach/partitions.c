/*
 * partitions.c
 *		The partitions of tracked events: with the first track(), and a month ahead by
 *		the worker.
 */
#include "base/base.h"

#include "contacts/events.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)

static bool duty_tick(void);

static const MaPartitioned events = {
	.name = "event",
	.column = "occurred_at",
	.key = "contact_id, event_id, occurred_at, event_row_id"
};

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
	ma_partitions_extend(&events);
	return false;
}

void
ma_event_partitions_ensure(void)
{
	ma_partitions_ensure(&events);
}
