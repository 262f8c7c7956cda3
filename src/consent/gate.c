/*
 * gate.c
 *		What delivery asks before it sends: consent and suppression, as SQL that is
 *		part of its claim.
 *
 * Text, not functions: the claim is one statement under one snapshot, and looks up
 * one row by its key for each of these.
 */
#include "base/base.h"

#include "consent/consent_internal.h"

/* Why not, by the state that relation c has; m is asked about. */
#define CONSENT_REASON(c) \
	"CASE WHEN m.topic_id OPERATOR(pg_catalog.<>) 0 THEN (" \
	"SELECT CASE WHEN t.topic_id IS NULL THEN 'its topic does not exist any more' " \
	"WHEN c.state OPERATOR(pg_catalog.=) 'opted_in' THEN NULL " \
	"WHEN COALESCE(c.state, 'none') OPERATOR(pg_catalog.=) 'none' " \
	"AND t.consent OPERATOR(pg_catalog.=) 'opt_out' THEN NULL " \
	"ELSE 'consent for ' OPERATOR(pg_catalog.||) t.name OPERATOR(pg_catalog.||) '/' " \
	"OPERATOR(pg_catalog.||) m.channel OPERATOR(pg_catalog.||) ' is ' OPERATOR(pg_catalog.||) " \
	"CASE COALESCE(c.state, 'none') WHEN 'none' THEN 'unknown' WHEN 'opted_out' THEN 'withdrawn' " \
	"ELSE 'not confirmed yet' END END " \
	"FROM (SELECT) AS one " \
	"LEFT JOIN marketing_internal.topic AS t ON t.topic_id OPERATOR(pg_catalog.=) m.topic_id " \
	"LEFT JOIN " c ") END"

#define SUPPRESSION_REASON(more) \
	"(SELECT 'the address is suppressed: ' OPERATOR(pg_catalog.||) s.reason " \
	"FROM marketing_internal.suppression AS s " \
	"WHERE s.address_hash OPERATOR(pg_catalog.=) r.address_hash " \
	"AND s.channel OPERATOR(pg_catalog.=) m.channel" more ")"

const char *const ma_consent_reason_sql = CONSENT_REASON(
	"marketing_internal.consent AS c "
	"ON c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
	"AND c.topic_id OPERATOR(pg_catalog.=) m.topic_id "
	"AND c.channel OPERATOR(pg_catalog.=) m.channel");

const char *const ma_suppression_reason_sql = SUPPRESSION_REASON("");

/* What the ledger began with, when the table was attached, was known before. */
const char *const ma_consent_reason_then_sql = CONSENT_REASON(
	"LATERAL (SELECT e.state FROM marketing_internal.consent_entry AS e "
	"WHERE e.contact_id OPERATOR(pg_catalog.=) m.contact_id "
	"AND e.topic_id OPERATOR(pg_catalog.=) m.topic_id "
	"AND e.channel OPERATOR(pg_catalog.=) m.channel "
	"AND (e.recorded_at OPERATOR(pg_catalog.<=) $1 OR (e.quiet AND e.entry_no OPERATOR(pg_catalog.=) 1)) "
	"ORDER BY e.entry_no DESC LIMIT 1) AS c ON true");

const char *const ma_suppression_reason_then_sql =
	SUPPRESSION_REASON(" AND s.suppressed_at OPERATOR(pg_catalog.<=) $1");
