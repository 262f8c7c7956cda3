/*
 * events.c
 *		Rows of email_sent, sms_skipped and the like, as conditions of rules read them:
 *		messages that have come to their end.
 *
 * settle.c raises the event in the transaction that logs the message.  What providers
 * and recipients say afterwards (delivered, opened, clicked ...) is not logged yet.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"

#define MESSAGES_SQL(channel, states) \
	"SELECT m.contact_id, m.settled_at AS occurred_at, pg_catalog.jsonb_build_object(" \
	"'template', m.template, 'journey', m.journey, 'step', m.step, 'topic', " \
	"CASE WHEN m.topic_id OPERATOR(pg_catalog.=) 0 THEN 'transactional' ELSE " \
	"(SELECT t.name FROM marketing_internal.topic AS t " \
	"WHERE t.topic_id OPERATOR(pg_catalog.=) m.topic_id) END) AS properties " \
	"FROM marketing_internal.message_log AS m " \
	"WHERE m.channel OPERATOR(pg_catalog.=) '" channel "' " \
	"AND m.state OPERATOR(pg_catalog.=) ANY ('" states "')"

#define CHANNEL_ROWS(channel) \
	{channel "_sent", "message_log", MESSAGES_SQL(channel, "{sent}")}, \
	{channel "_failed", "message_log", MESSAGES_SQL(channel, "{failed}")}, \
	{channel "_skipped", "message_log", MESSAGES_SQL(channel, "{skipped,expired}")}

static const MaBuiltinRows rows[] = {
	CHANNEL_ROWS("email"), CHANNEL_ROWS("sms"), CHANNEL_ROWS("push"), CHANNEL_ROWS("webhook")
};

void
ma_delivery_events_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}
