/*
 * call.c
 *		The frame of every function users call: pinned settings, our owner's
 *		rights, SPI connected.
 *
 * What belongs to the caller (ownership of a table, the right to make a trigger)
 * is checked or done outside the frame, as the caller.
 */
#include "base/base.h"

void
ma_call_begin(MaCall *call)
{
	(void) ma_extension_required();
	call->nest_level = ma_pin_settings();
	ma_spi_begin();
	ma_become_owner(&call->caller);
}

void
ma_call_end(MaCall *call)
{
	ma_become_back(&call->caller);
	ma_spi_end();
	ma_unpin_settings(call->nest_level);
}
