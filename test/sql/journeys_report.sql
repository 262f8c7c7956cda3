-- What a journey has done, its picture, and whose run does not go on.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, plan text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, total numeric, currency text, at timestamptz);
SELECT marketing.set_clock('2026-03-02 10:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at', value => 'total', currency => 'currency') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email,sms}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Hi', html => '<a href="https://shop.example/x">Hello</a>') IS NOT NULL;
SELECT marketing.define_template('sms', topic => 'news', channel => 'sms', text => 'Hello') IS NOT NULL;
INSERT INTO people SELECT i, CASE WHEN i <> 4 THEN 'p' || i || '@example.com' END, CASE WHEN i % 2 = 0 THEN 'pro' END FROM generate_series(1, 6) AS i;
CREATE FUNCTION fails(contact text, entry jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF contact = '6' THEN RAISE EXCEPTION 'no way'; END IF; END $$;
SELECT marketing.define_journey('j', '{"goal": {"event": "ordered", "within": "30 days"}, "steps": [
	{"send": "letter", "otherwise": [{"send": "sms", "otherwise": [{"exit": "neither \"mail\" nor <sms>"}]}]},
	{"wait_until": {"event": "email_opened", "step": "letter"}, "timeout": "2 days", "else": [{"wait": "1 day"}]},
	{"branch": [{"if": "plan = ''pro''", "then": [{"sql": "public.fails"}, {"wait": "20 days"}]}, {"else": [{"split": [{"share": 0.5, "name": "half", "then": [{"exit": "half"}]}]}]}]},
	{"wait_for_time": {"at": "09:00"}}, {"goto": "letter", "at_most": 1}]}');
SELECT marketing.journey_diagram('j');
SELECT marketing.activate_journey('j');
SELECT marketing.enroll(i, 'j') IS NOT NULL FROM generate_series(1, 5) AS i;
CALL marketing.work();
INSERT INTO orders (person, total, currency, at) VALUES (1, 10, 'EUR', marketing.now()), (2, 5.5, 'EUR', marketing.now());
SELECT marketing.set_clock('2026-03-09 10:00+00');
CALL marketing.work();
SELECT marketing.enroll(6, 'j') IS NOT NULL;
CALL marketing.work();
SELECT marketing.set_clock('2026-03-12 11:00+00');
CALL marketing.work();
INSERT INTO orders (person, total, currency, at) VALUES (5, 7, 'EUR', marketing.now());
CALL marketing.work();

SELECT part, runs, sent, not_sent, opened, clicked, completed, exited, goals, value, currency FROM marketing.journey_report('j');
SELECT part, runs, sent, not_sent, completed, exited, goals, value, currency, first_at, last_at FROM marketing.journey_report('j', by => 'version');
SELECT part, runs, sent, not_sent, goals, value, first_at, last_at FROM marketing.journey_report('j', by => 'week');
SELECT part, runs, sent, not_sent FROM marketing.journey_report('j', by => 'channel');
-- It is the log counted again.
SELECT bool_and(r.sent = m.sent AND r.not_sent = m.not_sent) FROM marketing.journey_report('j') AS r JOIN (SELECT step, count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state <> 'sent') AS not_sent
	FROM marketing_internal.message_log GROUP BY 1) AS m ON m.step = r.part;
SELECT marketing.journey_diagram('j', format => 'dot');
SELECT marketing.journey_diagram('j', format => 'mermaid');
-- Another currency: no sum.
INSERT INTO orders (person, total, currency, at) VALUES (3, 7, 'TRY', marketing.now());
CALL marketing.work();
SELECT part, goals, value, currency FROM marketing.journey_report('j', by => 'version');

-- Who does not go on: parked; due and not done; a message that is gone.
SELECT * FROM marketing.stuck_enrollments('j');
SELECT marketing.set_clock('2026-06-01 10:00+00');
SELECT journey, contact, step, since, reason FROM marketing.stuck_enrollments();
CALL marketing.work();
SELECT marketing.define_cap('none', 1, '90 days', when_over => 'defer');
SELECT marketing.define_journey('k', '{"steps": [{"send": "letter"}, {"send": "letter", "id": "two"}, {"wait": "1 day"}]}');
SELECT marketing.activate_journey('k');
SELECT marketing.enroll(1, 'k');
CALL marketing.work();
SELECT count(*) FROM marketing.stuck_enrollments('k');
DELETE FROM marketing_internal.message WHERE state = 'deferred';
SELECT journey, contact, step, reason FROM marketing.stuck_enrollments('k');
SELECT marketing.pause_journey('k', mode => 'hold') IS NOT NULL;
SELECT count(*) FROM marketing.stuck_enrollments('k');

SELECT marketing.journey_report('j', by => 'month');
SELECT marketing.journey_report('jj');
SELECT marketing.journey_report(NULL);
SELECT marketing.journey_diagram('j', format => 'svg');
SELECT marketing.stuck_enrollments('jj');
