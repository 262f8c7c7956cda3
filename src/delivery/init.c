/*
 * init.c
 *		What the delivery room registers when the library is loaded.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

static void check_topic(const char *topic);
static List *uses_of_template(const char *name);

void
ma_delivery_init(void)
{
	ma_gate_init();
	ma_outbox_init();
	ma_shop_settings_init();
	ma_net_api_init();
	ma_compose_init();
	ma_track_init();
	ma_why_gates_init();
	ma_register_channel_check(ma_channel_check);
	ma_register_topic_check(check_topic);
	ma_register_uses("template", uses_of_template);
	ma_register_sender_check(ma_sender_check);

	/* Duties, in the order of a turn. */
	ma_deliver_init();
	ma_delivery_partitions_init();
	ma_delivery_events_init();
	ma_feedback_init();
}

/* Templates name a topic; content/ does not know consent/. */
static void
check_topic(const char *topic)
{
	(void) ma_topic_required(topic);
}

/* Topics whose confirmation it is. */
static List *
uses_of_template(const char *name)
{
	static MaStatement find = {
		"SELECT name FROM marketing_internal.topic WHERE confirm OPERATOR(pg_catalog.=) $1 "
		"ORDER BY 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		uses = lappend(uses, psprintf("topic \"%s\" (confirm)", ma_text(&rows, i, 1)));
	return uses;
}
