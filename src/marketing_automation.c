/*
 * marketing_automation.c
 *		Entry point of the shared object every backend loads: the ordered list of
 *		the rooms' initialisers, and nothing else.
 *
 * The library must load without preload too (a capture trigger or a restore on a
 * bare server loads it): then everything works but shared figures and workers.
 */
#include "base/base.h"

#include "broadcasts/broadcasts.h"
#include "consent/consent.h"
#include "contacts/contacts.h"
#include "content/content.h"
#include "delivery/delivery.h"
#include "journeys/journeys.h"
#include "miscadmin.h"
#include "rules/rules.h"
#include "scoring/scoring.h"
#include "segments/segments.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	ma_guc_init();
	ma_extension_init();
	ma_contacts_init();
	ma_consent_init();
	ma_content_init();
	ma_rules_init();
	ma_segments_init();
	ma_scoring_init();
	ma_delivery_init();
	ma_journeys_init();
	ma_broadcasts_init();

	/* pg_upgrade runs on half a catalog: no shared memory, no worker. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	ma_shared_init();
	ma_worker_init();
}
