-- send_test(): a message as a contact would get it, to somebody else; nothing of it happened to the contact.
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
RESET client_min_messages;
SELECT marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email,sms}');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, first_name text, news boolean);
INSERT INTO customers VALUES (1, 'ada@example.com', '+908505550101', 'Ada', false), (2, 'bob@example.com', NULL, 'Bob', true);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', consent => '{"offers/email": "news"}');
SELECT marketing.define_cap('few', 1, per => '7 days'), marketing.set_quiet_hours('email', '09:00', '12:00'),
	marketing.define_coupon_pool('ten'), marketing.add_coupons('ten', '{A1,A2}'),
	marketing.define_segment('sent_to', 'any email_sent in 30 days');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'For {{ contact.first_name }}: {{ what }}',
		html => '<p>Order {{ entry.id }}, {{ "ten" | coupon }}</p><a href="https://shop.example/x">see</a> <a href="{{ unsubscribe_url }}">no more</a>'),
	marketing.define_template('offer_sms', topic => 'offers', channel => 'sms', text => 'Hi {{ contact.first_name }}');
SELECT marketing.send_test(1, 'offer', 'qa@example.com', '{"what": "shoes", "entry": {"id": 17}}') AS test \gset
SELECT marketing.send_test('1', 'offer_sms', '+90 850 555 01 99') > 0 AS sms;
SELECT contact, state, address, test_for FROM marketing.messages ORDER BY message;
CALL marketing.work();
SELECT contact, state, reason, address, test_for FROM marketing.messages ORDER BY message;
SELECT regexp_replace(convert_from(pg_read_binary_file(detail), 'UTF8'), '\r', '', 'g') AS mail FROM marketing.messages WHERE message = :test \gset
SELECT :'mail' ~ '\nTo: qa@example.com\n' AS recipient, :'mail' ~ '\nSubject: For Ada: shoes\n' AS subject, :'mail' ~ '\nX-MA-Test: yes\n' AS marked,
	:'mail' ~ 'Order 17' AS entry, :'mail' ~ 'https://shop.example/x' AS link, :'mail' ~ '/o/' AS picture;
SELECT convert_from(pg_read_binary_file(detail), 'UTF8')::jsonb - 'key' - 'message' FROM marketing.messages WHERE template = 'offer_sms';
-- nothing of it counts for the contact, who has given no consent
SELECT state FROM marketing.consent_state WHERE contact = '1' AND channel = 'email';
SELECT count(*) FROM marketing.segment_members('sent_to');
SELECT n, verdict, detail FROM marketing.why_not_sent(1, 'offer') WHERE n = 0;
SELECT * FROM marketing.coupon_pools;
-- its links change nobody's consent
SELECT (regexp_match(replace(replace(replace(:'mail', E'=\n', ''), '=46', 'F'), '=2D', '-'), '/u/([-_A-Za-z0-9]+)'))[1] AS token \gset
SELECT marketing.unsubscribe_by_token(:'token'), (SELECT count(*) FROM marketing.preferences_by_token(:'token') WHERE state IS NOT NULL);
SELECT count(*) FROM marketing_internal.consent_entry WHERE contact_id = 0;
-- a provider tells of it
SELECT marketing.record_delivery_event('esp', '1', 'complained', :test::text);
SELECT contact, kind FROM marketing.delivery_events;
-- a suppressed recipient gets none; a contact that is gone
SELECT marketing.send_test(1, 'offer', 'qa@example.com') > 0 AS again, marketing.send_test(2, 'offer', 'other@example.com') > 0 AS other;
DELETE FROM customers WHERE id = 2;
CALL marketing.work();
SELECT state, reason, address FROM marketing.messages WHERE template = 'offer' AND message <> :test ORDER BY message;
-- what it cannot be
SELECT marketing.send_test(1, 'offer', 'nobody');
SELECT marketing.send_test(1, 'offer_sms', 'qa@example.com');
SELECT marketing.send_test(1, 'ofer', 'qa@example.com');
SELECT marketing.send_test(7, 'offer', 'qa@example.com');
SELECT marketing.send_test(1, 'offer', 'qa@example.com', '[1]');
SELECT marketing.send_test(1, 'offer', NULL);
DROP EXTENSION marketing_automation;
