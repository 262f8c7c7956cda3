/*
 * init.c
 *		What the segments room registers when the library is loaded, in order.
 */
#include "base/base.h"

#include "segments/segments_internal.h"

void
ma_segments_init(void)
{
	ma_segment_facts_init();
	ma_segment_subscribed_init();
	ma_segment_consumer_init();
	ma_transitions_init();
	ma_segment_renew_init();
	ma_segment_audit_init();
	ma_segment_slots_init();
	ma_segment_merge_init();
}
