/*
 * init.c
 *		What the consent room registers when the library is loaded.
 */
#include "base/base.h"

#include "consent/consent_internal.h"

void
ma_consent_init(void)
{
	ma_consent_columns_init();
	ma_consent_ledger_init();
	ma_consent_events_init();
	ma_cap_init();
}
