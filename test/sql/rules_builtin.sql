-- Built-in events in rules: those of consent and of journeys, read from where they stand.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-01-01 00:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, email text, newsletter_ok boolean, city text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at timestamptz);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', i > 4, 'Rome' FROM generate_series(1, 6) AS i;
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_in');
SELECT marketing.define_topic('letter', 'Letter', consent => 'double_opt_in');
SELECT marketing.define_topic('old', 'Old', consent => 'opt_in');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"offers/email": "newsletter_ok"}');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');

-- Texts and errors.
SELECT t, marketing.rule_text(marketing.rule_json(t)) = t AS again FROM unnest(ARRAY[
	'any subscription_confirmed where (topic = ''offers'' and channel = ''email'') in 7 days',
	'no unsubscribed', 'count(distinct unsubscribed.topic) >= 2', 'last journey_exited matching (reason = ''bought'')',
	'any subscription_requested not followed by subscription_confirmed within 2 days']) AS r CROSS JOIN LATERAL marketing_internal.rule_text(r) AS t;
\set r 'SELECT marketing_internal.rule_text($r$'
:r any unsubscribed where (topik = 'offers') $r$);
:r any unsubscribed where (properties->>'topic' = 'offers') $r$);
:r sum(unsubscribed.topic) > 3 $r$);
:r any push_delivered in 3 days $r$);
:r any segment_entered where (segment = 'x') $r$);
SELECT count(*) AS named FROM marketing_internal.event_type WHERE name ~ 'subscri';

-- Consent: what stood there when the table was attached is no event; each change after it is.
CREATE FUNCTION stored(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.contact_id::text, ' ' ORDER BY m.contact_id) FROM marketing_internal.segment_member AS m
	JOIN marketing_internal.segment AS s USING (segment_id) WHERE s.name = $1 $$;
CREATE FUNCTION read(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(contact, ' ') FROM marketing.segment_members(name) $$;
CREATE FUNCTION differ() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) $$;
SELECT marketing.subscribe(1, 'offers', 'email');
SELECT marketing.define_segment('new_readers', 'any subscription_confirmed where (topic = ''offers'') in 7 days');
SELECT marketing.define_segment('left', 'any unsubscribed');
SELECT marketing.define_segment('undecided', 'any subscription_requested where (topic = ''letter'') not followed by subscription_confirmed where (topic = ''letter'') within 2 days');
SELECT marketing.define_segment('old', 'count(subscription_confirmed where (topic like ''ol_'')) = 1');
SELECT name, stored(name), maintenance, rule FROM marketing.segments ORDER BY name;
BEGIN;
SELECT marketing.subscribe(2, 'offers', 'sms');
SELECT marketing.in_segment(2, 'new_readers') AS own, read('new_readers');
ROLLBACK;
SELECT marketing.subscribe(3, 'offers', 'sms'), marketing.unsubscribe(5, 'offers'), marketing.subscribe(4, 'letter', 'email'), marketing.subscribe(6, 'old', 'email');
UPDATE customers SET newsletter_ok = true WHERE id = 2;
UPDATE customers SET newsletter_ok = false WHERE id = 6;
SELECT name, stored(name), read(name) FROM marketing.segments ORDER BY name;
SELECT differ();
SELECT marketing.set_clock('2026-01-04 00:00+00');
SELECT read('undecided') AS by_time, stored('undecided');
CALL marketing.work();
SELECT stored('undecided'), differ();
SELECT node, value, truth, because FROM marketing.explain_segment(5, 'left');
SELECT marketing.set_clock('2026-01-09 00:00+00');
CALL marketing.work();
SELECT read('new_readers') AS gone, stored('new_readers'), differ();
SELECT contact_id, entered, effective_at, cause FROM marketing_internal.segment_transition JOIN marketing_internal.segment USING (segment_id)
	WHERE name = 'new_readers' ORDER BY transition_id;
-- two contacts become one, who has said what both have
SELECT marketing.merge_contacts(1, 5);
SELECT read('left'), differ();
SELECT marketing.drop_topic('old');
SELECT read('old') AS nobody, differ();
CALL marketing.work();
SELECT stored('old') AS nobody, differ();

-- Journeys.
SELECT marketing.define_journey('thanks', '{"entry": {"event": "order_placed"}, "steps": [{"wait": "2 days"}]}');
SELECT marketing.activate_journey('thanks');
SELECT marketing.define_segment('rested', 'no journey_entered in 30 days');
SELECT marketing.define_segment('inside', 'any journey_entered where (journey = ''thanks'') not followed by journey_exited where (journey = ''thanks'') within 1 day');
SELECT marketing.define_segment('done', 'last journey_exited matching (reason = ''completed'')');
INSERT INTO orders VALUES (1, 2, marketing.now()), (2, 3, marketing.now());
CALL marketing.work();
SELECT name, stored(name), read(name) FROM marketing.segments WHERE name IN ('rested', 'inside', 'done') ORDER BY name;
SELECT marketing.set_clock('2026-01-10 12:00+00');
SELECT read('inside'), differ();
CALL marketing.work();
SELECT name, stored(name) FROM marketing.segments WHERE name IN ('rested', 'inside', 'done') ORDER BY name;
SELECT marketing.set_clock('2026-01-12 00:00+00');
CALL marketing.work();
SELECT name, stored(name), read(name) FROM marketing.segments WHERE name IN ('rested', 'inside', 'done') ORDER BY name;
SELECT differ();
SELECT marketing.set_clock('2026-02-12 00:00+00');
CALL marketing.work();
SELECT stored('rested'), read('rested'), differ();
SELECT marketing.drop_journey('thanks');
SELECT read('done') AS nobody, read('inside') AS nobody, differ();
CALL marketing.work();
SELECT stored('done') AS nobody, stored('inside') AS nobody, differ();

-- Messages.
SELECT marketing.define_template('hello', topic => 'offers', subject => 'Hello', text => 'x');
SELECT marketing.define_template('bill', topic => 'transactional', subject => 'Bill', text => 'x');
SELECT marketing.define_segment('written', 'any email_sent where (template = ''hello'' and topic = ''offers'') in 7 days');
SELECT marketing.define_segment('skipped', 'count(email_skipped where (topic = ''offers'')) = 1 and no sms_sent');
SELECT marketing.define_segment('billed', 'last email_sent matching (topic = ''transactional'')');
SELECT marketing.send_message(2, 'hello'), marketing.send_message(3, 'hello'), marketing.send_message(4, 'bill');
CALL marketing.work();
SELECT name, stored(name), read(name) FROM marketing.segments WHERE name IN ('written', 'skipped', 'billed') ORDER BY name;
SELECT differ();
SELECT marketing.set_clock('2026-02-20 00:00+00');
SELECT read('written') AS by_time;
SELECT marketing.send_message(2, 'bill');
CALL marketing.work();
SELECT name, stored(name) FROM marketing.segments WHERE name IN ('written', 'skipped', 'billed') ORDER BY name;
SELECT differ();
DROP EXTENSION marketing_automation;
DROP TABLE orders, customers;
