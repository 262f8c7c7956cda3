/*
 * partitions.c
 *		The partitions of message_log, message_decision and message_hit: with the first
 *		decision or hit, and a month ahead by the worker.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)

static bool tick(void);

const MaPartitioned ma_message_logs[MA_MESSAGE_LOGS] = {
	{.name = "message_log", .column = "settled_at", .key = "contact_id, message_id, settled_at",
	.index = "message_id"},
	{.name = "message_decision", .column = "decided_at",
	.key = "contact_id, message_id, decided_at, decision_id"},
	{.name = "message_hit", .column = "occurred_at",
	.key = "contact_id, message_id, occurred_at, hit_id"}
};

#define HITS 2					/* its place: openings need it alone */

void
ma_delivery_partitions_init(void)
{
	static const MaDuty duty = {
		.name = "message partitions", .every_ms = DUTY_EVERY_MS, .tick = tick
	};

	ma_worker_register_duty(&duty);
}

static bool
tick(void)
{
	for (int i = 0; i < MA_MESSAGE_LOGS; i++)
		ma_partitions_extend(&ma_message_logs[i]);
	return false;
}

void
ma_hits_partitions_ensure(void)
{
	ma_partitions_ensure(&ma_message_logs[HITS]);
}

void
ma_delivery_partitions_ensure(void)
{
	for (int i = 0; i < HITS; i++)
		ma_partitions_ensure(&ma_message_logs[i]);
}
