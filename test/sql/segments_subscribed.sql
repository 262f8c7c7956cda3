-- subscribed TOPIC [by CHANNEL] in rules: by a call, by a column, by a topic that changes its kind; what is
-- read is plain SQL's at once.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, offers_ok boolean);
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_in');
SELECT marketing.define_topic('news', 'News', consent => 'double_opt_in');
SELECT marketing.define_topic('tips', 'Tips', consent => 'opt_out');
INSERT INTO people SELECT i, 'p' || i || '@example.com', '+9053255501' || lpad(i::text, 2, '0'), i = 1 FROM generate_series(1, 4) AS i;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', phone => 'phone', consent => '{"offers/email": "offers_ok"}') IS NOT NULL;
SELECT name, marketing.define_segment(name, rule), marketing.segment_rule(name) FROM (VALUES
	('any_way', 'subscribed offers'), ('mail', 'subscribed offers by email'), ('sms', 'not subscribed offers by ''sms'''),
	('readers', 'subscribed "news" and email is not null'), ('tips', 'subscribed tips')) AS s (name, rule);
SELECT marketing.rule_json('subscribed offers by email'), marketing.rule_text(marketing.rule_json('subscribed offers by email'));
CREATE FUNCTION members() RETURNS TABLE (segment text, members text, differ bigint) LANGUAGE sql AS $$
	SELECT s, (SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members(s)),
		(SELECT count(*) FROM marketing.verify_segment(s)) FROM (SELECT name FROM marketing.segments ORDER BY 1) AS n (s) $$;
SELECT * FROM members();
SELECT marketing.subscribe(2, 'offers', 'sms'), marketing.subscribe(3, 'news'), marketing.unsubscribe(4, 'tips');
SELECT * FROM members();
UPDATE people SET offers_ok = true WHERE id = 3;
UPDATE people SET offers_ok = false WHERE id = 1;
SELECT * FROM members();
-- Within a transaction as well, and gone with it.
BEGIN;
SELECT marketing.unsubscribe(3, 'offers', 'email');
SELECT * FROM members();
ROLLBACK;
SELECT * FROM members();
-- A topic of another kind, of other channels.
SELECT marketing.define_topic('tips', 'Tips', consent => 'opt_in');
SELECT marketing.define_topic('offers', 'Offers', channels => '{email}', consent => 'opt_in');
SELECT name, state FROM marketing.segments ORDER BY 1;
SELECT marketing.drop_segment('sms');
SELECT * FROM members();
CALL marketing.work();
SELECT * FROM members();
INSERT INTO people VALUES (5, 'p5@example.com', NULL, true);
SELECT * FROM members();
SELECT marketing.define_segment('x', 'subscribed offrs');
SELECT marketing.define_segment('x', 'subscribed offers by sms');
SELECT marketing.define_segment('x', 'subscribed offers by pigeon');
SELECT marketing.define_segment('x', 'subscribed transactional');
SELECT node, truth FROM marketing.explain_segment(5, 'mail');
DROP EXTENSION marketing_automation;
