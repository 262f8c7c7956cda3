/*
 * init.c
 *		What the delivery room registers when the library is loaded.
 */
#include "base/base.h"

#include "content/content.h"
#include "delivery/delivery_internal.h"

static void check_topic(const char *topic);

void
ma_delivery_init(void)
{
	ma_gate_init();
	ma_outbox_init();
	ma_net_api_init();
	ma_why_gates_init();
	ma_register_topic_check(check_topic);
	ma_register_sender_check(ma_sender_check);

	/* Duties, in the order of a turn. */
	ma_deliver_init();
	ma_delivery_partitions_init();
}

/* Templates name a topic; content/ does not know consent/. */
static void
check_topic(const char *topic)
{
	(void) ma_topic_required(topic);
}
