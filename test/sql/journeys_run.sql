-- Journeys: entries, waits, exits, re-entry. The clock is set by hand; work() is the scheduler.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text, plan text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, total numeric, cart bigint);
CREATE TABLE carts (id bigint PRIMARY KEY, person bigint REFERENCES people, at timestamptz, items int, url text);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('carts', event => 'cart_updated', contact => 'person', occurred_at => 'at', condition => 'items > 0', repeat => true) IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@example.com', CASE i WHEN 2 THEN 'Europe/Berlin' WHEN 3 THEN 'no/where' END, 'free' FROM generate_series(1, 9) AS i;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT c.contact, j.name AS journey, row_number() OVER (PARTITION BY c.contact, j.name ORDER BY e.enrollment_id) AS run,
		e.state, e.step, e.due_at, e.key, e.reason
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 1, 2, 3;

-- Entry with a condition over the row; a wait in the contact's zone keeps the hour over the change of 29 March.
SELECT marketing.define_journey('zones', '{"entry": {"event": "order_placed", "where": "total >= 10"}, "reentry": "always",
	"steps": [{"wait": "2 days"}, {"wait": "48 hours", "id": "exact"}, {"exit": "done"}]}');
SELECT marketing.activate_journey('zones');
SELECT at('2026-03-28 10:00+00');
INSERT INTO orders (person, at, total) VALUES (1, marketing.now(), 10), (2, marketing.now(), 10), (3, marketing.now(), 10), (4, marketing.now(), 9);
CALL marketing.work();
SELECT contact, state, step, due_at FROM runs;
SELECT at('2026-03-30 10:00+00');
CALL marketing.work();
SELECT contact, state, step, due_at FROM runs;
-- The scheduler was away for long: the next wait counts from when the one before was over.
SELECT at('2026-04-02 07:59+00');
CALL marketing.work();
SELECT contact, state, step, due_at, reason FROM runs;
SELECT marketing.drop_journey('zones');

-- Key, on_repeat, per_key, max_live; the exit compares the row with the entry.
SELECT at('2026-04-10 10:00+00');
SELECT marketing.define_journey('cart', '{"entry": {"event": "cart_updated", "key": "id", "on_repeat": "restart"}, "reentry": "per_key", "max_live": 1,
	"exit_on": [{"event": "order_placed", "where": "cart = entry.id"}], "steps": [{"wait": "1 hour"}, {"wait": "1 day", "id": "second"}]}');
SELECT marketing.activate_journey('cart');
INSERT INTO carts VALUES (1, 1, marketing.now(), 0), (2, 1, marketing.now(), 3), (3, 1, marketing.now(), 1), (4, 2, marketing.now(), 1);
CALL marketing.work();
SELECT contact, run, state, step, due_at, key, reason FROM runs;
SELECT at('2026-04-10 10:30+00');
UPDATE carts SET at = marketing.now() WHERE id = 2;
-- Neither a changed row that is the same event, nor one that is taken back, is an entry.
UPDATE carts SET url = 'x' WHERE id = 4;
UPDATE carts SET items = 0 WHERE id = 3;
INSERT INTO orders (person, at, cart) VALUES (1, marketing.now(), 3);
CALL marketing.work();
SELECT contact, run, state, step, due_at, key, reason FROM runs;
INSERT INTO orders (person, at, cart) VALUES (1, marketing.now(), 2);
CALL marketing.work();
-- Once per key, ever.
UPDATE carts SET at = marketing.now() + interval '1 minute' WHERE id = 2;
CALL marketing.work();
SELECT at, step, what, detail FROM marketing.explain_enrollment(1, 'cart');
SELECT marketing.drop_journey('cart');

-- once, after_exit, every; by hand.
SELECT marketing.define_journey(r, format('{"entry": {"event": "order_placed"}, "reentry": %s, "steps": [{"wait": "1 day"}]}', e)::jsonb)
	FROM (VALUES ('once', '"once"'), ('after_exit', '"after_exit"'), ('always', '"always"'), ('every', '{"every": "7 days"}')) AS v (r, e);
SELECT marketing.activate_journey(r) FROM unnest('{once,after_exit,always,every}'::text[]) AS r;
SELECT at('2026-05-01 10:00+00');
INSERT INTO orders (person, at) VALUES (5, marketing.now());
INSERT INTO orders (person, at) VALUES (5, marketing.now());
CALL marketing.work();
SELECT at('2026-05-03 10:00+00');
CALL marketing.work();
INSERT INTO orders (person, at) VALUES (5, marketing.now());
CALL marketing.work();
SELECT at('2026-05-09 10:00+00');
CALL marketing.work();
INSERT INTO orders (person, at) VALUES (5, marketing.now());
SELECT marketing.enroll(5, 'once'), marketing.enroll(6, 'once');
CALL marketing.work();
SELECT journey, count(*), min(contact), max(contact) FROM runs GROUP BY journey ORDER BY journey;
SELECT j.name, l.detail, count(*) FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j USING (journey_id)
	WHERE l.what = 'refused' GROUP BY 1, 2 ORDER BY 1, 2;
-- A session that loads history starts nothing.
SET marketing_automation.enroll = off;
INSERT INTO orders (person, at) VALUES (7, marketing.now());
RESET marketing_automation.enroll;
CALL marketing.work();
SELECT count(*) FROM runs WHERE contact = '7';
SELECT marketing.drop_journey(r) FROM unnest('{once,after_exit,always,every}'::text[]) AS r;

-- Filter; exit by rule, when a row changes and when time passes; people who are deleted.
SELECT at('2026-06-01 10:00+00');
SELECT marketing.define_journey('rules', '{"filter": "plan = ''free''", "exit_on": [{"if": "any order_placed in 10 days and no order_placed in 5 days"}, {"if": "plan = ''paid''"}],
	"steps": [{"wait": "100 days"}]}');
SELECT marketing.activate_journey('rules');
UPDATE people SET plan = 'paid' WHERE id = 1;
INSERT INTO orders (person, at) VALUES (2, marketing.now());
SELECT marketing.enroll(i, 'rules') FROM generate_series(1, 5) AS i;
CALL marketing.work();
SELECT contact, state, step, reason FROM runs;
UPDATE people SET plan = 'paid' WHERE id = 3;
DELETE FROM orders WHERE person = 4;
DELETE FROM people WHERE id = 9;
CALL marketing.work();
SELECT contact, state, reason FROM runs;
SELECT at('2026-06-05 10:00+00');
CALL marketing.work();
SELECT contact, state, reason FROM runs;
SELECT at('2026-06-06 10:00+00');
CALL marketing.work();
SELECT contact, state, reason FROM runs;
DELETE FROM orders WHERE person = 5;
DELETE FROM people WHERE id = 5;
CALL marketing.work();
SELECT state, reason, count(*) FROM marketing_internal.enrollment GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM marketing.explain_enrollment(1, 'rules');

-- Merged and split: runs go along, and back.
SELECT marketing.define_journey('m', '{"steps": [{"wait": "1 day"}, {"exit": "over"}]}');
SELECT marketing.activate_journey('m');
SELECT marketing.enroll(6, 'm'), marketing.enroll(7, 'm');
CALL marketing.work();
SELECT marketing.merge_contacts(6, '7');
SELECT contact, journey, state, step FROM runs WHERE journey = 'm';
SELECT marketing.split_contact(7);
SELECT contact, journey, state, step FROM runs WHERE journey = 'm';
SELECT marketing.merge_contacts(6, '7');
SELECT at('2026-06-07 10:00+00');
CALL marketing.work();
SELECT contact, journey, state, reason FROM runs WHERE journey = 'm';
-- Nothing is left to do.
SELECT count(*) FROM marketing_internal.enrollment_signal;
-- Many events of one instant that a wait looks at and none of which it waits for: each is looked at once.
SELECT marketing.define_journey('big', '{"steps": [{"wait_until": {"event": "order_placed", "where": "total > 1000"}, "timeout": "9 days"}]}'),
	marketing.activate_journey('big');
SELECT marketing.enroll(6, 'big');
CALL marketing.work();
INSERT INTO orders (person, at, total) SELECT 6, marketing.now(), 1 FROM generate_series(1, 4000);
SET statement_timeout = '60s';
CALL marketing.work();
RESET statement_timeout;
SELECT state FROM runs WHERE journey = 'big';
DROP VIEW runs;
DROP EXTENSION marketing_automation;
