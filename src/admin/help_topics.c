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
		"segments", "groups of contacts by a rule, right at every instant, and lists",
		LINES("define_segment", "preview_segment", "segments", "segment_members", "segment_size", "in_segment",
			  "segments_of", "explain_segment", "forecast_segment", "verify_segment", "rebuild_segment", "segment_rule",
			  "segment_sql", "rule_json", "rule_text", "drop_segment", "prune_segment_history", "define_standard_segments",
			  "define_list", "add_to_list", "remove_from_list", "drop_list", "list_members",
			  "list_rejects", "forget_list_rejects"),
		LINES("SELECT * FROM marketing.preview_segment($$ count(order_placed) in 365 days >= 5 $$);",
			  "SELECT marketing.define_segment('lapsed', $$ last order_placed more than 90 days ago $$);",
			  "SELECT * FROM marketing.segment_members('lapsed') LIMIT 5;",
			  "SELECT * FROM marketing.explain_segment(42, 'lapsed');")
	},
	{
		"scores", "points by what people do, fading with time",
		LINES("define_score_model", "define_score_rule", "score", "explain_score", "score_history", "score_backtest",
			  "define_grade", "grade", "explain_grade", "grades", "drop_grade", "add_points",
			  "drop_score_rule", "drop_score_model"),
		LINES("SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{\"hot\": 50}');",
			  "SELECT marketing.define_score_rule('lead', 'order', event => 'order_placed', points => 'total / 10');",
			  "SELECT marketing.score(42, 'lead');",
			  "SELECT * FROM marketing.explain_score(42, 'lead');")
	},
	{
		"stages", "the life cycle: who has come how far",
		LINES("define_stage", "set_stage", "stages", "stage_history", "drop_stage"),
		LINES("SELECT marketing.define_stage('lead', 20, 'score(lead) >= 25');",
			  "SELECT marketing.define_stage('customer', 40, 'any order_placed');",
			  "SELECT * FROM marketing.stages;",
			  "SELECT * FROM marketing.stage_history(42);")
	},
	{
		"sales", "who is ready for sales, whose they are, tasks, and what sales says of leads",
		LINES("sales_ready", "define_owner", "owners", "assign_owner", "drop_owner", "define_hand_off",
			  "drop_hand_off", "accept_lead", "reject_lead", "lead_outcome", "leads", "tasks", "complete_task"),
		LINES("SELECT marketing.define_owner('leyla', email => 'leyla@shop.example', team => 'call_centre');",
			  "SELECT marketing.define_hand_off('lead', 'hot', assign => 'round_robin:call_centre', within => '4 hours');",
			  "SELECT * FROM marketing.sales_ready;",
			  "SELECT marketing.accept_lead(42, by => 'leyla');")
	},
	{
		"consent", "who may be written to about what, and addresses that must not be",
		LINES("define_topic", "drop_topic", "subscribe", "unsubscribe", "confirm", "unsubscribe_by_token", "suppress",
			  "unsuppress", "import_suppressions", "web_request", "hook_url", "rotate_key", "retire_key", "signing_keys", "preferences",
			  "preferences_by_token",
			  "set_preferences_by_token", "consent_state", "consent_change", "verify_consent",
			  "export_contact", "erase_contact"),
		LINES("SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}');",
			  "SELECT marketing.subscribe(42, 'offers', 'email', proof => '{\"form\": \"footer\"}');",
			  "SELECT * FROM marketing.consent_state LIMIT 5;")
	},
	{
		"templates", "what messages say: Liquid over your rows, layouts, snippets, queries, files, coupons",
		LINES("define_template", "preview_message", "define_layout", "define_snippet", "define_query",
			  "define_asset", "define_coupon_pool", "add_coupons", "coupon_pools", "check_template", "sms_size",
			  "render_liquid", "drop_template", "drop_layout", "drop_snippet", "drop_query", "drop_asset",
			  "drop_coupon_pool"),
		LINES("SELECT marketing.define_template('thanks', topic => 'transactional',",
			  "    subject => 'Thank you, {{ contact.first_name | default: \"dear customer\" }}',",
			  "    html => $$<p>Order {{ entry.id }}: {{ entry.total | money: \"EUR\" }}</p>$$);",
			  "SELECT * FROM marketing.preview_message(42, 'thanks', '{\"entry\": {\"id\": 1, \"total\": 9.9}}');")
	},
	{
		"sending", "messages: asking for them, what became of them, and why not",
		LINES("send_message", "send_test", "messages", "why_not_sent", "define_sender", "drop_sender", "claim_messages",
			  "settle_message",
			  "define_cap", "drop_cap", "caps", "set_quiet_hours", "quiet_hours", "message_hits", "record_open",
			  "record_click", "record_delivery_event", "delivery_events",
			  "prune_message_history"),
		LINES("SELECT marketing.send_message(42, 'thanks', dedup_key => 'order 17');",
			  "SELECT * FROM marketing.messages LIMIT 5;",
			  "SELECT * FROM marketing.why_not_sent(42, 'thanks');")
	},
	{
		"journeys", "who enters, what is sent and done step by step, what ends it",
		LINES("define_journey", "activate_journey", "journeys", "journey_status", "explain_enrollment",
			  "contact_timeline", "enroll", "exit_journey", "retry_enrollment", "drop_journey",
			  "pause_journey", "resume_journey", "drain_journey", "archive_journey", "journey_versions",
			  "journey_diff", "release", "enter_scheduled",
			  "define_holiday", "drop_holiday", "holidays",
			  "journey_report", "journey_diagram", "stuck_enrollments",
			  "check_journey", "simulate_journey", "simulate_journey_counts", "simulate_journey_difference"),
		LINES("SELECT marketing.define_journey('win_back', $$ {\"entry\": {\"segment_entered\": \"lapsed\"},",
			  "    \"exit_on\": [{\"event\": \"order_placed\"}], \"steps\": [{\"send\": \"miss_you\"}]} $$);",
			  "SELECT marketing.activate_journey('win_back', existing => 'skip');",
			  "SELECT * FROM marketing.simulate_journey_counts('win_back');",
			  "SELECT * FROM marketing.journey_status('win_back');")
	},
	{
		"broadcasts", "one message to many, once, and which variant of it is better",
		LINES("define_broadcast", "preview_broadcast", "launch_broadcast", "cancel_broadcast", "drop_broadcast", "broadcasts"),
		LINES("SELECT marketing.define_broadcast('sale', $$ {\"audience\": \"in segment engaged\", \"send\": \"offer\"} $$);",
			  "SELECT * FROM marketing.preview_broadcast('sale');",
			  "SELECT marketing.launch_broadcast('sale');")
	},
	{
		"builders", "definitions of journeys, written as calls",
		LINES("journey", "step_wait", "step_wait_for_time", "step_send", "step_webhook", "step_add_to_list",
			  "step_remove_from_list", "step_enroll", "step_goto", "step_exit", "step_update", "step_sql",
			  "step_notify", "step_score", "step_stage", "step_task", "step_branch", "step_split", "step_test", "step_wait_until",
			  "until_event", "until_if", "path_if",
			  "path_share", "path_else", "entry_event", "entry_segment_entered", "entry_segment_left", "exit_event",
			  "entry_date", "entry_anniversary",
			  "exit_if"),
		LINES("SELECT marketing.define_journey('hello', marketing.journey(marketing.entry_event('order_placed'),",
			  "    ARRAY[marketing.step_wait('2 days'), marketing.step_send('thanks')]));")
	},
	{
		"recipes", "journeys that many shops run, ready to be installed",
		LINES("recipes", "install_recipe", "preview_recipe"),
		LINES("SELECT name, about FROM marketing.recipes;",
			  "SELECT meaning FROM marketing.recipes WHERE name = 'win_back';",
			  "SELECT marketing.install_recipe('win_back', '{\"mail\": \"miss_you\", \"offer\": null}');",
			  "SELECT marketing.activate_journey('win_back', existing => 'skip');")
	},
	{
		"work", "the workers, the clock, and the same by hand",
		LINES("work", "flush", "now", "configure", "settings", "set_clock", "arm", "disarm", "capture"),
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
