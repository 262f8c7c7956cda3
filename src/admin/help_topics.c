/*
 * help_topics.c
 *		The topics of marketing.help(), in the order in which one needs them; a test
 *		demands that each function and view of schema marketing is in one of them.
 */
#include "base/base.h"

#include "admin/admin.h"

#define LINES(...) (const char *const[]) {__VA_ARGS__, NULL}

static const MaHelpTopic topics[] = {
	{
		"contacts", "who is who: your tables of customers, subscribers, leads",
		LINES("attach_contacts", "contacts", "identify", "merge_contacts", "split_contact", "detach", "detach_all"),
		LINES("SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');",
			  "SELECT marketing.identify('web:anon-9f', '{\"email\": \"zeynep@example.com\"}');",
			  "SELECT * FROM marketing.contacts LIMIT 5;")
	},
	{
		"events", "what happens: the rows of your tables, and facts without a table",
		LINES("attach_events", "declare_event", "track"),
		LINES("SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id',",
			  "    occurred_at => 'created_at', condition => $$ status <> 'cancelled' $$, value => 'total');",
			  "SELECT marketing.declare_event('plan_changed', '{\"plan\": \"text\"}');",
			  "SELECT marketing.track(42, 'plan_changed', '{\"plan\": \"pro\"}');")
	},
	{
		"segments", "who fits a rule, at any instant; and lists put together by hand",
		LINES("define_segment", "preview_segment", "segment_members", "segment_size", "in_segment",
			  "segments_of", "explain_segment", "verify_segment", "segment_rule", "segment_sql",
			  "drop_segment", "segments", "define_list", "add_to_list", "remove_from_list",
			  "drop_list"),
		LINES("SELECT * FROM marketing.preview_segment($$ no order_placed in 30 days $$);",
			  "SELECT marketing.define_segment('vip', $$ sum(order_placed.total) in 365 days > 1000 $$);",
			  "SELECT * FROM marketing.segment_members('vip');",
			  "SELECT * FROM marketing.explain_segment(42, 'vip');")
	},
	{
		"work", "the workers, the clock, and the same by hand",
		LINES("work", "flush", "now", "set_clock", "arm", "disarm", "capture"),
		LINES("CALL marketing.work();",
			  "SELECT marketing.set_clock('2026-12-24 10:00+00');   -- for tests; null is the real time",
			  "SELECT marketing.arm();")
	},
	{
		"trouble", "what is going on, and why something did not",
		LINES("status", "errors", "help"),
		LINES("SELECT * FROM marketing.status WHERE state IN ('warning', 'error');",
			  "SELECT * FROM marketing.errors;")
	}
};

const MaHelpTopic *const ma_help_topics = topics;
const int	ma_help_ntopics = lengthof(topics);
