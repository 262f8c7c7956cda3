-- Points for what our own messages and links bring, and for properties of tracked events.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email}', consent => 'opt_out');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'ada@example.com'), (2, 'bob@example.com'), (3, 'cem@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.declare_event('plan_changed', '{"plan": "text", "seats": "integer"}');
SELECT marketing.declare_event('page_viewed');
SELECT marketing.define_template('news', topic => 'offers', subject => 'News', html => '<a href="https://shop.example/one">one</a>');
SELECT marketing.define_score_model('lead', thresholds => '{"hot": 20}');
SELECT marketing.define_score_rule('lead', 'click', 'email_clicked', points => 5);
SELECT marketing.define_score_rule('lead', 'news', 'email_clicked', points => 1, condition => $$template = 'news' and url like '%/one'$$);
SELECT marketing.define_score_rule('lead', 'scanned', 'email_clicked', points => 1000, condition => 'machine');
SELECT marketing.define_score_rule('lead', 'sent', 'email_sent', points => 0.5);
SELECT marketing.define_score_rule('lead', 'left', 'unsubscribed', points => -10, condition => $$topic = 'offers'$$);
SELECT marketing.define_score_rule('lead', 'seats', 'plan_changed', points => 'seats * 2', condition => $$plan <> 'trial'$$);
SELECT marketing.define_score_rule('lead', 'by hand', 'page_viewed', points => $$(properties->>'seconds')::int / 10$$);
SELECT marketing.define_score_rule('lead', 'typeless', 'page_viewed', points => 1, condition => $$page = 'pricing'$$);
SELECT name, points, condition FROM marketing_internal.score_rule ORDER BY name;

-- what is refused, with its place
SELECT marketing.define_score_rule('lead', 'x', 'email_clicked', points => 1, condition => 'templte is null');
SELECT marketing.define_score_rule('lead', 'x', 'email_clicked', points => 'url', condition => 'machine');
SELECT marketing.define_score_rule('lead', 'x', 'plan_changed', points => 'plan');
SELECT marketing.define_score_rule('lead', 'x', 'score_threshold_reached', points => 1);
SELECT marketing.define_score_rule('lead', 'x', 'score_threshold_reached', points => 'model');

CREATE FUNCTION mail(message bigint) RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), E'\r', ''), '=2D', '-'), '=3D', '=')
	FROM marketing.messages WHERE messages.message = $1 $$;
CREATE VIEW scores AS SELECT c AS contact, marketing.score(c, 'lead') AS read,
	coalesce((SELECT s.value FROM marketing_internal.score AS s JOIN marketing_internal.contact_key AS k USING (contact_id) WHERE k.external_id = c::text), 0) AS stored
	FROM generate_series(1, 3) AS c;
SELECT marketing.send_message(1, 'news') AS ada, marketing.send_message(2, 'news') AS bob \gset
CALL marketing.work();
SELECT * FROM scores;
SELECT substring(mail(:ada) FROM '/c/([A-Za-z0-9_-]+)') AS ada, substring(mail(:bob) FROM '/c/([A-Za-z0-9_-]+)') AS bob \gset

-- a person clicks, and a machine
SELECT marketing.set_clock('2026-03-01 11:00+00');
SELECT marketing.record_click(:'ada', 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0');
SELECT marketing.record_click(:'bob', 'LinkBot/1.0');
CALL marketing.work();
SELECT * FROM scores;
SELECT contact, score, reasons FROM marketing.sales_ready;
SELECT rule, event, row_key, points, state FROM marketing.explain_score(1, 'lead') ORDER BY rule;

-- withdrawn, tracked, merged
SELECT marketing.unsubscribe(2, 'offers', 'email');
SELECT marketing.track(3, 'plan_changed', '{"plan": "pro", "seats": 4}'), marketing.track(3, 'plan_changed', '{"plan": "trial", "seats": 90}'), marketing.track(3, 'page_viewed', '{"seconds": "40", "page": "pricing"}');
CALL marketing.work();
SELECT * FROM scores;
SELECT marketing.merge_contacts(3, 1);
CALL marketing.work();
SELECT marketing.score(3, 'lead'), (SELECT sum(points_now) FROM marketing.explain_score(3, 'lead'));
SELECT marketing.split_contact('1');
CALL marketing.work();
SELECT * FROM scores;

-- the very rows, summed up in plain SQL
SELECT k.external_id, 0.5 * (SELECT count(*) FROM marketing.messages AS m WHERE m.contact = k.external_id AND m.state = 'sent')
	+ (SELECT coalesce(sum(5 + CASE WHEN h.template = 'news' THEN 1 ELSE 0 END) FILTER (WHERE NOT machine), 0) + 1000 * count(*) FILTER (WHERE machine)
		FROM marketing.message_hits AS h WHERE h.contact = k.external_id AND h.kind = 'click')
	- 10 * (SELECT count(*) FROM marketing.consent_change AS c WHERE c.contact = k.external_id AND c.state = 'opted_out')
	+ (SELECT coalesce(sum(CASE WHEN e.properties->>'plan' <> 'trial' THEN 2 * (e.properties->>'seats')::int END), 0) + coalesce(sum((e.properties->>'seconds')::int / 10), 0)
		+ count(*) FILTER (WHERE e.properties->>'page' = 'pricing') FROM marketing_internal.event AS e WHERE e.contact_id = k.contact_id) AS by_hand
	FROM marketing_internal.contact_key AS k ORDER BY 1;
-- Who was merged away keeps nothing himself, neither of what happened nor of points without a row.
SELECT marketing.add_points(3, 'lead', 3), marketing.merge_contacts(3, 1);
CALL marketing.work();
SELECT contact_id IN (SELECT merged_id FROM marketing_internal.contact_merge WHERE split_at IS NULL) AS is_merged, count(*) FROM marketing_internal.score GROUP BY 1;
DROP EXTENSION marketing_automation CASCADE;
DROP FUNCTION mail;
DROP VIEW IF EXISTS scores;
DROP TABLE customers;
