-- Journeys: send and what follows it, waits for events, branches, goto, enroll, errors of single contacts.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, plan text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, total numeric);
CREATE TABLE replies (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, n int);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('replies', event => 'replied', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_template(t, topic => 'transactional', subject => t, text => 'Order {{ entry.id }}') IS NOT NULL
	FROM unnest('{thanks,sorry,news}'::text[]) AS t;
INSERT INTO people VALUES (1, 'a@example.com', 'free'), (2, NULL, 'free'), (3, 'c@example.com', 'paid'), (4, 'd@example.com', 'free');
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW story AS
	SELECT c.contact, j.name AS journey, l.at, l.step, l.what, regexp_replace(l.detail, '#\d+', '#n') AS detail
	FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = l.contact_id ORDER BY c.contact, l.log_id;
SELECT at('2026-03-01 10:00+00');

-- A send is over when its message is settled, and the next wait counts from there; who has no address goes otherwise.
SELECT marketing.define_journey('send', '{"entry": {"event": "ordered"}, "steps": [
	{"send": "thanks", "otherwise": [{"wait": "1 hour", "id": "no mail"}, {"exit": "no address"}]}, {"wait": "1 day"}, {"send": "news", "nowait": true}]}');
SELECT marketing.activate_journey('send');
INSERT INTO orders (person, at) VALUES (1, marketing.now()), (2, marketing.now());
CALL marketing.work();
SELECT * FROM story;
SELECT contact, state, template, journey, step FROM marketing.messages ORDER BY contact;
SELECT at('2026-03-02 10:00+00');
CALL marketing.work();
SELECT contact, step, what, detail FROM story WHERE at > '2026-03-01 10:30+00';
SELECT contact, state, template FROM marketing.messages ORDER BY contact, template;

-- An exit while the message is not claimed: it is skipped.
SELECT marketing.define_journey('late', '{"exit_on": [{"event": "ordered"}], "steps": [{"send": "sorry"}]}');
SELECT marketing.activate_journey('late');
SELECT marketing.enroll(4, 'late');
BEGIN;
INSERT INTO orders (person, at) VALUES (4, marketing.now());
COMMIT;
CALL marketing.work();
SELECT contact, journey, step, what, detail FROM story WHERE contact = '4';
SELECT contact, state, reason, template FROM marketing.messages WHERE contact = '4';

-- Waits for events: the first of a list, the time out, since the entry.
SELECT marketing.define_journey('waits', '{"entry": {"event": "ordered", "where": "total > 0"}, "steps": [
	{"wait_until": [{"event": "replied", "where": "n = 1", "then": [{"wait": "1 hour", "id": "one"}]}, {"event": "replied", "then": [{"exit": "other"}]},
		{"if": "plan = ''gold''", "then": [{"exit": "gold"}]}], "timeout": "1 day", "else": [{"exit": "silent"}]},
	{"wait_until": {"event": "replied", "where": "n = 9", "since": "entry"}, "timeout": "never"}, {"exit": "nine"}]}');
SELECT marketing.activate_journey('waits');
SELECT at('2026-04-01 10:00+00');
INSERT INTO orders (person, at, total) SELECT i, marketing.now(), 5 FROM generate_series(1, 4) AS i;
CALL marketing.work();
SELECT at('2026-04-01 12:00+00');
-- One commit: the condition that stands first, though its row came second. An event before it is remembered.
INSERT INTO replies (person, at, n) VALUES (1, marketing.now(), 7), (1, marketing.now(), 1), (3, marketing.now(), 2);
UPDATE people SET plan = 'gold' WHERE id = 4;
INSERT INTO replies (person, at, n) VALUES (1, marketing.now(), 9);
CALL marketing.work();
SELECT at('2026-04-03 12:00+00');
CALL marketing.work();
SELECT contact, at, step, what, detail FROM story WHERE journey = 'waits';

-- An event of a message counts from its send; where it was not sent the wait is over at once.
SELECT marketing.define_journey('opens', '{"steps": [{"send": "news"},
	{"wait_until": {"event": "email_opened", "step": "news"}, "timeout": "1 day", "else": [{"exit": "not opened"}]}, {"exit": "opened"}]}');
SELECT marketing.activate_journey('opens');
SELECT marketing.enroll(i, 'opens') FROM generate_series(1, 2) AS i;
CALL marketing.work();
SELECT contact, at, step, what, detail FROM story WHERE journey = 'opens';

-- Branches, goto, enroll.
SELECT marketing.define_journey('paths', '{"steps": [
	{"branch": [{"if": "plan = ''paid''", "then": [{"exit": "paid"}]}, {"if": "any ordered in 60 days", "then": [{"wait": "1 minute", "id": "again"}, {"goto": "again", "at_most": 2}]},
		{"else": [{"exit": "else"}]}]},
	{"enroll": "opens"}]}');
SELECT marketing.activate_journey('paths');
SELECT marketing.enroll(i, 'paths') FROM generate_series(1, 3) AS i;
CALL marketing.work();
SELECT at('2026-04-03 12:10+00');
CALL marketing.work();
SELECT contact, at, step, what, detail FROM story WHERE journey = 'paths';

-- A condition that fails for one contact parks that run alone; it can be tried again.
SELECT marketing.define_journey('parks', '{"entry": {"event": "ordered"}, "exit_on": [{"event": "replied", "where": "1 / n = 1"}], "steps": [{"wait": "10 days"}]}');
SELECT marketing.activate_journey('parks');
INSERT INTO orders (person, at) VALUES (1, marketing.now()), (3, marketing.now());
CALL marketing.work();
INSERT INTO replies (person, at, n) VALUES (1, marketing.now(), 0), (3, marketing.now(), 1);
CALL marketing.work();
SELECT contact, step, what, detail FROM story WHERE journey = 'parks';
SELECT step, kind, state, contacts FROM marketing.journey_status('parks');
SELECT marketing.retry_enrollment(1, 'parks');
CALL marketing.work();
SELECT what, detail FROM marketing.explain_enrollment(1, 'parks');

-- Why not.
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(2, 'send');
SELECT n, gate, verdict, regexp_replace(detail, 'run \d+', 'run N') AS detail FROM marketing.why_not_sent(3, 'waits');
SELECT n, gate, verdict, regexp_replace(detail, '\d{4}-.*', 'T') AS detail, next FROM marketing.why_not_sent(2, 'parks');
SELECT kind, what FROM marketing.contact_timeline(2) LIMIT 6;
SELECT kind, what FROM marketing.contact_timeline(1, channel => 'email') LIMIT 4;
DROP VIEW story;
DROP EXTENSION marketing_automation;
