/*
 * events.c
 *		Rows of the built-in events of consent, as conditions of rules read them: entries
 *		of the ledger that were a change when they were made.
 *
 * Whoever appends to the ledger marks the contact (ledger.c), so what rules say of them
 * is as exact as of rows of users.  Entries made at an attachment or a merge are
 * no events.
 */
#include "base/base.h"

#include "consent/consent_internal.h"

#define ENTRIES_SQL \
	"SELECT e.contact_id, e.recorded_at AS occurred_at, pg_catalog.jsonb_build_object(" \
	"'topic', (SELECT t.name FROM marketing_internal.topic AS t " \
	"WHERE t.topic_id OPERATOR(pg_catalog.=) e.topic_id), " \
	"'channel', e.channel, 'source', e.origin) AS properties " \
	"FROM marketing_internal.consent_entry AS e WHERE NOT e.quiet AND e.state OPERATOR(pg_catalog.=) "

static const MaBuiltinRows rows[] = {
	{"subscription_requested", "consent_entry",
		ENTRIES_SQL "ANY ('{pending,opted_in}') AND e.origin OPERATOR(pg_catalog.=) 'subscribe'"},
	{"subscription_confirmed", "consent_entry", ENTRIES_SQL "'opted_in'"},
	{"unsubscribed", "consent_entry", ENTRIES_SQL "'opted_out'"}
};

void
ma_consent_events_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}
