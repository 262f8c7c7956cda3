-- What became of messages after they were sent: bounces, complaints, told twice and in any order.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 10:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 9) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.define_topic('tips', consent => 'opt_out');
SELECT marketing.define_template('tip', topic => 'tips', subject => 'x', text => 'x'),
	marketing.define_template('receipt', topic => 'transactional', subject => 'x', text => 'x');
SELECT marketing.define_list('bounced');
SELECT marketing.define_segment('bouncing', 'any email_bounced in 30 days'), marketing.define_segment('complaining', $$any email_complained where (template = 'tip')$$);
SELECT marketing.define_journey('on_delivery', $${"entry": {"event": "email_delivered"}, "reentry": "always", "steps": [{"add_to_list": "bounced"}]}$$);
SELECT marketing.activate_journey('on_delivery');
SELECT marketing.send_message(i, 'tip') FROM generate_series(1, 8) AS i;
CALL marketing.work();
-- the key of a message, from its file
CREATE TEMP TABLE sent AS SELECT message, contact, (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'X-MA-Key: ([0-9a-f]{32})'))[1] AS key,
	(regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'Message-ID: (<[^>]*>)', 'i'))[1] AS id FROM marketing.messages;
SELECT count(*), count(DISTINCT key), bool_and(id = '<' || key || '@localhost.localdomain>') FROM sent;
CREATE FUNCTION key(int) RETURNS text LANGUAGE sql AS 'SELECT key FROM sent WHERE contact = $1::text';

-- by what code is what: each address by itself
CREATE TEMP TABLE codes (n serial, status text);
INSERT INTO codes (status) VALUES ('5.1.1'), ('550 5.1.1 <x@example.com>: user unknown'), ('4.1.1'), ('5.1.2'), ('5.1.8'), ('5.1.10'), ('5.2.1'), ('5.2.2'), ('4.2.2'),
	('5.2.3'), ('5.3.4'), ('5.4.4'), ('5.4.1'), ('5.5.1'), ('5.6.0'), ('5.7.1'), ('550 5.7.1 blocked by policy'), ('5.7.13'), ('5.99.1'), ('2.0.0'),
	('550'), ('550 no such user'), ('551 x'), ('552 over quota'), ('553 x'), ('554 x'), ('421 later'), ('450'), ('hard'), ('Permanent'), ('transient'), ('blocked'), ('what?'),
	('10.5.1.1 is the host'), ('x5.1.1'), ('5.1.1.1'), ('smtp; 550-5.1.1 gone'), ('5.1.'), ('5..1'), ('5.1.1111'), ('1550'), ('5500'), (''), (repeat('5.', 10000)), (NULL);
SELECT left(status, 40), marketing.record_delivery_event('esp', n::text, 'bounced', recipient => 'code' || n || '@example.com', status => status) FROM codes ORDER BY n;
-- a status of any length: what is kept of it is a text, not half a letter
SELECT marketing.record_delivery_event('esp', 'long', 'bounced', recipient => 'long@example.com', status => '5.1.1 x' || repeat('ş', 300));
SELECT count(*) AS texts FROM marketing_internal.suppression WHERE convert_from(convert_to(reason, 'UTF8'), 'UTF8') LIKE 'bounced: 5.1.1 xş%';

-- a delivery: told once, however often; by key, Message-ID and number
SELECT marketing.record_delivery_event('esp', 'e1', 'delivered', key(1)), marketing.record_delivery_event('esp', 'e1', 'delivered', key(1)),
	marketing.record_delivery_event('other', 'e1', 'delivered', key(1));
SELECT marketing.record_delivery_event('esp', 'e2', 'delivered', id), marketing.record_delivery_event('esp', 'e3', 'delivered', message::text) FROM sent WHERE contact = '2';
CALL marketing.work();
SELECT contact FROM marketing.list_members ORDER BY 1;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(1, 'tip') WHERE n IN (0, 21);

-- a hard bounce, and a delivery told late: it stays one
SELECT marketing.record_delivery_event('esp', 'b3', 'bounced', key(3), status => '5.1.1', detail => 'no such user');
SELECT marketing.record_delivery_event('esp', 'd3', 'delivered', key(3), occurred_at => '2026-03-01 09:59+00');
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(3, 'tip') WHERE n IN (0, 21);
SELECT marketing.send_message(3, 'receipt') AS m \gset
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :m;
SELECT contact FROM marketing.segment_members('bouncing');

-- a complaint: the consent is withdrawn, the address suppressed
SELECT marketing.record_delivery_event('esp', 'k4', 'complained', key(4), status => 'abuse');
SELECT topic, channel, state, source FROM marketing.consent_state;
SELECT marketing.record_delivery_event('esp', 'u5', 'unsubscribed', key(5));
SELECT contact, topic, state, source FROM marketing.consent_state ORDER BY 1;
SELECT contact FROM marketing.segment_members('complaining');
SELECT channel, reason, count(*) FROM marketing_internal.suppression GROUP BY 1, 2 HAVING reason IN ('complaint', 'soft bounces') ORDER BY 2;

-- soft bounces: three messages within 30 days, with no delivery between; one message counts once
SELECT marketing.record_delivery_event('esp', 's' || i, 'bounced', key(6), status => '4.2.2') FROM generate_series(1, 4) AS i;
CREATE FUNCTION soft(who text, n text, at timestamptz, kind text DEFAULT 'bounced') RETURNS text LANGUAGE sql AS
	$$SELECT marketing.record_delivery_event('esp', who || n, kind, recipient => who || '@example.com', status => CASE kind WHEN 'bounced' THEN '4.2.2' END, occurred_at => at)$$;
CREATE VIEW soft_suppressed AS SELECT count(*) FROM marketing_internal.suppression WHERE reason = 'soft bounces';
SELECT soft('a', '1', '2026-02-01 10:00+00'), soft('a', '2', '2026-02-10 10:00+00'), soft('a', '3', '2026-02-20 10:00+00');
TABLE soft_suppressed;
-- too long ago
SELECT soft('b', '1', '2026-01-01 10:00+00'), soft('b', '2', '2026-02-10 10:00+00'), soft('b', '3', '2026-02-20 10:00+00');
TABLE soft_suppressed;
-- a delivery in between, in each order of telling
SELECT soft('c', '1', '2026-02-01 10:00+00'), soft('c', '2', '2026-02-10 10:00+00'), soft('c', 'd', '2026-02-11 10:00+00', 'delivered'), soft('c', '3', '2026-02-20 10:00+00');
SELECT soft('d', '3', '2026-02-20 10:00+00'), soft('d', '1', '2026-02-01 10:00+00'), soft('d', '2', '2026-02-10 10:00+00');
TABLE soft_suppressed;
SELECT soft('d', 'd', '2026-02-11 10:00+00', 'delivered');
TABLE soft_suppressed;
SELECT soft('d', '4', '2026-02-12 10:00+00'), soft('d', '5', '2026-02-13 10:00+00');
TABLE soft_suppressed;
-- a suppression of somebody's own is not lifted
SELECT marketing.suppress('f@example.com');
SELECT soft('f', '1', '2026-02-12 10:00+00'), soft('f', 'd', '2026-02-13 10:00+00', 'delivered'), marketing.unsuppress('f@example.com');
SELECT marketing.configure('bounce_limit', '1 in 10 days'), marketing.configure('bounce_limit', '1 in 10 days');
SELECT soft('g', '1', '2026-02-12 10:00+00');
SELECT marketing.configure('bounce_limit', '0 in 10 days');
SELECT marketing.configure('bounce_limit', '3');
SELECT marketing.configure('bounce_limit', '3 in 1000 days');
SELECT marketing.configure('bounce_limit', NULL);

-- what is told of a message in doubt settles it
SELECT marketing.send_message(7, 'receipt') AS m \gset
UPDATE marketing_internal.message SET state = 'suspect', address = 'c7@example.com' WHERE message_id = :m;
SELECT marketing.record_delivery_event('esp', 'p7', 'bounced', :'m', status => '5.7.1');
SELECT state, detail FROM marketing.messages WHERE message = :m;

-- what is not ours, and wrong calls
SELECT marketing.record_delivery_event('esp', 'x1', 'delivered', repeat('0', 32)), marketing.record_delivery_event('esp', 'x1', 'delivered', '99999'),
	marketing.record_delivery_event('esp', 'x2', 'bounced', 'nothing', 'not an address', '5.1.1'), marketing.record_delivery_event('esp', 'x3', 'bounced', '', 'new@example.com', '5.1.1');
SELECT count(*) FROM sent, generate_series(1, 32) AS i, unnest('{0,1,f}'::text[]) AS c
	WHERE overlay(key PLACING c FROM i FOR 1) <> key AND marketing.record_delivery_event('esp', 'forged', 'bounced', overlay(key PLACING c FROM i FOR 1)) NOT LIKE 'ignored%';
SELECT marketing.record_delivery_event('esp', 'x', 'opened', '1');
SELECT marketing.record_delivery_event('esp', 'x', 'bounced');
SELECT marketing.record_delivery_event('esp', NULL, 'bounced', '1');
SELECT contact, kind, class, status, server FROM marketing.delivery_events WHERE message IS NOT NULL ORDER BY event;
SELECT * FROM marketing.verify_consent();
