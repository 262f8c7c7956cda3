/*
 * events.c
 *		Rows of email_sent, sms_skipped and the like, as conditions of rules read them:
 *		messages that have come to their end, were opened, or had a link followed.
 *
 * settle.c raises the event in the transaction that logs the message, hits.c when one is
 * opened or a link of it followed.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"

#define MESSAGES_SQL(channel, states, more) \
	"SELECT m.contact_id, m.settled_at AS occurred_at, pg_catalog.jsonb_build_object(" \
	"'template', m.template, 'journey', m.journey, 'step', m.step, 'topic', " \
	"CASE WHEN m.topic_id OPERATOR(pg_catalog.=) 0 THEN 'transactional' ELSE " \
	"(SELECT t.name FROM marketing_internal.topic AS t " \
	"WHERE t.topic_id OPERATOR(pg_catalog.=) m.topic_id) END" more ") AS properties " \
	"FROM marketing_internal.message_log AS m " \
	"WHERE m.channel OPERATOR(pg_catalog.=) '" channel "' " \
	"AND m.state OPERATOR(pg_catalog.=) ANY ('" states "')"

/* The first opening, or click, of a message that a person made. */
#define FIRST_HIT(name, link) \
	", '" name "', (SELECT pg_catalog.min(h.occurred_at) " \
	"FROM marketing_internal.message_hit AS h " \
	"WHERE h.contact_id OPERATOR(pg_catalog.=) m.contact_id " \
	"AND h.message_id OPERATOR(pg_catalog.=) m.message_id AND NOT h.machine AND h.link_id " link ")"

#define CHANNEL_ROWS(channel) \
	{channel "_sent", "message_log", MESSAGES_SQL(channel, "{sent}", \
												  FIRST_HIT("opened_at", "IS NULL") \
												  FIRST_HIT("clicked_at", "IS NOT NULL"))}, \
	{channel "_failed", "message_log", MESSAGES_SQL(channel, "{failed}", "")}, \
	{channel "_skipped", "message_log", MESSAGES_SQL(channel, "{skipped,expired}", "")}

#define HITS_SQL(channel, link) \
	"SELECT h.contact_id, h.occurred_at, pg_catalog.jsonb_build_object(" \
	"'template', h.template, 'journey', h.journey, 'step', h.step, 'topic', " \
	"CASE WHEN h.topic_id OPERATOR(pg_catalog.=) 0 THEN 'transactional' ELSE " \
	"(SELECT t.name FROM marketing_internal.topic AS t " \
	"WHERE t.topic_id OPERATOR(pg_catalog.=) h.topic_id) END, " \
	"'url', (SELECT l.url FROM marketing_internal.link AS l " \
	"WHERE l.link_id OPERATOR(pg_catalog.=) h.link_id), 'machine', h.machine) AS properties " \
	"FROM marketing_internal.message_hit AS h " \
	"WHERE h.channel OPERATOR(pg_catalog.=) '" channel "' AND h.link_id " link

#define CLICK_ROWS(channel) \
	{channel "_clicked", "message_hit", HITS_SQL(channel, "IS NOT NULL")}

static const MaBuiltinRows rows[] = {
	CHANNEL_ROWS("email"), CHANNEL_ROWS("sms"), CHANNEL_ROWS("push"), CHANNEL_ROWS("webhook"),
	{"email_opened", "message_hit", HITS_SQL("email", "IS NULL")},
	CLICK_ROWS("email"), CLICK_ROWS("sms"), CLICK_ROWS("push"), CLICK_ROWS("webhook")
};

void
ma_delivery_events_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}
