-- How many enter: max_entries, ever and in each day; a surge by time is held back until release(); schedules.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, vip boolean);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE INDEX ON orders (person, at);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@example.com', i < 4 FROM generate_series(1, 20) AS i;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW entered AS
	SELECT j.name AS journey, count(*), min(e.entered_at) AS first, max(e.entered_at) AS last
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id) GROUP BY 1 ORDER BY 1;
-- What is wrong.
SELECT marketing.define_journey('bad', '{"max_entries": 0, "surge_limit": 2, "entry": {"schedule": "every monday"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('bad', '{"max_entries": {"at_most": 3}, "entry": {"schedule": "0 8 * * 1", "segment": "nobody", "event": "ordered"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('bad', '{"max_entries": {"at_most": 3, "per": "year"}, "entry": {"schedule": "0 8 * * 1", "segment": "nobody"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.configure('surge_limit', 'many');

-- At most so many ever, and so many a day.
SELECT marketing.define_journey('first', '{"entry": {"event": "ordered"}, "max_entries": 3, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('daily', '{"entry": {"event": "ordered"}, "max_entries": {"at_most": 2, "per": "day"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey(j) FROM unnest('{first,daily}'::text[]) AS j;
INSERT INTO orders (person, at) SELECT i, marketing.now() FROM generate_series(1, 5) AS i;
CALL marketing.work();
INSERT INTO orders (person, at) VALUES (6, marketing.now());
CALL marketing.work();
SELECT * FROM entered;
SELECT at('2026-03-02 08:00+00');
INSERT INTO orders (person, at) SELECT i, marketing.now() FROM generate_series(7, 9) AS i;
CALL marketing.work();
SELECT * FROM entered;
SELECT state, contacts FROM marketing.journey_status('daily');
SELECT marketing.enroll(10, 'first');
CALL marketing.work();
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(10, 'first') WHERE verdict = 'no';
SELECT marketing.drop_journey(j) FROM unnest('{first,daily}'::text[]) AS j;

-- By time: of twenty contacts a quarter may enter within a day.
SELECT at('2026-03-05 10:00+00');
DELETE FROM orders;
INSERT INTO orders (person, at) SELECT i, '2026-03-01 10:00+00' FROM generate_series(1, 12) AS i;
INSERT INTO orders (person, at) SELECT i, '2026-03-03 10:00+00' FROM generate_series(13, 14) AS i;
SELECT marketing.define_segment('lapsed', $$ last ordered more than 7 days ago $$);
SELECT marketing.define_journey('win_back', '{"entry": {"segment_entered": "lapsed"}, "surge_limit": 0.25, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('win_back', existing => 'skip');
SELECT at('2026-03-08 10:00+00');
SET client_min_messages = notice;
CALL marketing.work();
SET client_min_messages = warning;
SELECT * FROM entered;
SELECT state, contacts FROM marketing.journey_status('win_back') WHERE state IS NOT NULL;
SELECT item, state, value, detail FROM marketing.status WHERE item LIKE 'journey %';
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent((SELECT min(contact) FROM marketing.contacts AS c JOIN marketing_internal.enrollment_held AS h ON h.contact_id = c._contact_id), 'win_back') WHERE verdict = 'no';
-- A row does not count: who comes by what he does comes in.
DELETE FROM orders WHERE person = 15;
INSERT INTO orders (person, at) VALUES (15, '2026-02-01 10:00+00');
CALL marketing.work();
SELECT count FROM entered;
SELECT marketing.release('win_back');
CALL marketing.work();
SELECT count FROM entered;
SELECT marketing.release('win_back');
SELECT marketing.release('nothing');
-- The next day is another one; the limit of the shop holds where the journey has none.
SELECT at('2026-03-10 10:00+00');
CALL marketing.work();
SELECT count FROM entered;
SELECT marketing.configure('surge_limit', '0.05');
SELECT marketing.define_journey('win_back', '{"entry": {"segment_entered": "lapsed"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('win_back', existing => 'skip');
INSERT INTO orders (person, at) SELECT i, '2026-03-12 10:00+00' FROM generate_series(1, 4) AS i;
CALL marketing.work();
SELECT at('2026-03-20 10:00+00');
CALL marketing.work();
SELECT count FROM entered;
SELECT count(*) FROM marketing_internal.enrollment_held;
SELECT marketing.drop_journey('win_back');
SELECT count(*) FROM marketing_internal.enrollment_held;

-- By a schedule, without pg_cron: a clear error; with it see t/152.
SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 8 * * 1"}, "filter": "vip", "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('weekly');
SELECT marketing.enter_scheduled('weekly');
SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 8 * * 1"}, "steps": [{"exit": "x"}]}');
DROP VIEW entered;
DROP EXTENSION marketing_automation;
