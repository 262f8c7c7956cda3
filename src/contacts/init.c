/*
 * init.c
 *		What the contacts room registers when the library is loaded, in order.
 */
#include "base/base.h"

#include "contacts/capture/capture_plan.h"
#include "contacts/contacts_internal.h"
#include "contacts/counter/counter.h"
#include "contacts/flush/drain.h"
#include "contacts/events.h"
#include "contacts/flush/flush.h"
#include "contacts/capture/truncate.h"

void
ma_contacts_init(void)
{
	ma_flush_init();
	ma_capture_plan_init();
	ma_truncate_init();
	ma_counter_init();
	ma_occurrence_init();

	/* Duties, in the order of a turn. */
	ma_build_init();
	ma_drain_init();
	ma_drain_rows_init();
	ma_counter_api_init();
	ma_events_init();
	ma_heal_init();
}
