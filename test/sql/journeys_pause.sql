-- Pause (hold, skip), resume, drain, archive: what moves, what is sent, what is refused, and why.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE TABLE carts (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('carts', event => 'cart', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 9) AS i;
SELECT marketing.define_template(t, topic => 'transactional', subject => t, text => 'x') IS NOT NULL FROM unnest('{one,two,three}'::text[]) t;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT c.contact, j.name AS journey, e.state, e.step, e.due_at, e.reason
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 1, 2, e.enrollment_id;
SELECT marketing.define_journey('series', '{"entry": {"event": "cart"}, "exit_on": [{"event": "ordered"}], "max_lateness": "1 day",
	"steps": [{"wait": "1 hour"}, {"send": "one"}, {"wait": "1 day"}, {"send": "two"}, {"wait": "1 day"}, {"send": "three"}]}');
-- What cannot be: a draft, a name, a mode, resuming what is not paused.
SELECT marketing.pause_journey('series');
SELECT marketing.drain_journey('series');
SELECT marketing.pause_journey('serie');
SELECT marketing.activate_journey('series');
SELECT marketing.pause_journey('series', mode => 'stop');
SELECT marketing.pause_journey(NULL);
SELECT marketing.resume_journey('series');

-- hold: nothing moves and nothing is sent, also what is in the outbox; who enters stands at the first step, and exits go on.
INSERT INTO carts (person, at) SELECT i, marketing.now() FROM generate_series(1, 3) AS i;
SELECT marketing.enroll(4, 'series');
CALL marketing.work();
SELECT at('2026-03-01 11:00+00');
SELECT marketing.pause_journey('series');
SELECT marketing.pause_journey('series', mode => 'hold');
SELECT journey, state, inside FROM marketing.journeys;
CALL marketing.work();
INSERT INTO carts (person, at) VALUES (5, marketing.now());
SELECT at('2026-03-01 20:00+00');
INSERT INTO orders (person, at) VALUES (2, marketing.now());
CALL marketing.work();
SELECT contact, state, step, due_at, reason FROM runs;
SELECT count(*) FROM marketing.messages;
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(1, 'series') WHERE verdict <> 'ok' AND n > 0;
-- No hints of what is held are left: nothing is looked at again and again.
SELECT count(*) FROM marketing_internal.enrollment_due AS d WHERE d.due_at <= marketing.now();
-- Resumed: one message each, whatever was missed; the next waits count from now.
SELECT marketing.resume_journey('series');
CALL marketing.work();
SELECT contact, template, state FROM marketing.messages ORDER BY message;
SELECT contact, state, step, due_at FROM runs;

-- A message that is in the outbox already is deferred; the journey's own gate says so.
SELECT at('2026-03-02 20:00+00');
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, array[]::int[], 'infinity' FROM marketing.contacts;
CALL marketing.work();
SELECT template, state, count(*) FROM marketing.messages GROUP BY 1, 2 ORDER BY 1, 2;
SELECT marketing.pause_journey('series');
DELETE FROM marketing_internal.dirty;
SELECT at('2026-03-02 20:02+00');
CALL marketing.work();
SELECT template, state, reason, count(*) FROM marketing.messages GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(1, 'two') WHERE verdict <> 'ok' AND n > 0;
-- Resumed at the same instant: it goes at once, and not with the next try.
SELECT count(*) FILTER (WHERE next_at > marketing.now()) AS later FROM marketing_internal.message;
SELECT marketing.resume_journey('series');
CALL marketing.work();
SELECT template, state, count(*) FROM marketing.messages GROUP BY 1, 2 ORDER BY 1, 2;
SELECT at('2026-03-02 21:00+00');
CALL marketing.work();
SELECT template, state, count(*) FROM marketing.messages GROUP BY 1, 2 ORDER BY 1, 2;
-- Longer than max_lateness: what fell due is not sent, and the run goes on.
SELECT at('2026-03-03 20:01+00');
CALL marketing.work();
SELECT marketing.pause_journey('series');
SELECT at('2026-03-06 10:00+00');
CALL marketing.work();
SELECT marketing.resume_journey('series');
CALL marketing.work();
SELECT template, state, reason, count(*) FROM marketing.messages GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT contact, state, reason FROM runs;

-- skip: steps go on, messages are skipped; after it they are sent again.
INSERT INTO carts (person, at) VALUES (6, marketing.now());
CALL marketing.work();
SELECT marketing.pause_journey('series', mode => 'skip');
SELECT state FROM marketing.journeys;
SELECT at('2026-03-06 11:00+00');
CALL marketing.work();
SELECT contact, state, step, due_at FROM runs WHERE contact = '6';
SELECT template, state, reason FROM marketing.messages WHERE contact = '6';
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(6, 'one') WHERE verdict <> 'ok' AND n > 0;
SELECT marketing.resume_journey('series');
SELECT at('2026-03-07 11:00+00');
CALL marketing.work();
SELECT template, state, reason FROM marketing.messages WHERE contact = '6' ORDER BY message;
-- From hold to skip: those that were held go on.
SELECT marketing.pause_journey('series');
SELECT at('2026-03-08 11:00+00');
CALL marketing.work();
SELECT marketing.pause_journey('series', mode => 'skip');
CALL marketing.work();
SELECT template, state, reason FROM marketing.messages WHERE contact = '6' ORDER BY message;
SELECT marketing.resume_journey('series');

-- drain: nobody enters, who is inside goes on; it can be paused, too.
INSERT INTO carts (person, at) VALUES (7, marketing.now());
CALL marketing.work();
SELECT marketing.drain_journey('series');
SELECT marketing.drain_journey('series');
INSERT INTO carts (person, at) VALUES (8, marketing.now());
SELECT marketing.enroll(8, 'series');
CALL marketing.work();
SELECT at('2026-03-08 12:00+00');
CALL marketing.work();
SELECT contact, state, step FROM runs WHERE contact IN ('7', '8');
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(8, 'series') WHERE verdict <> 'ok' AND n > 0;
SELECT state FROM marketing.journeys;
SELECT marketing.pause_journey('series');
SELECT state FROM marketing.journeys;
SELECT marketing.resume_journey('series');
SELECT marketing.resume_journey('series');
-- Open again, by the same version.
SELECT marketing.activate_journey('series');
INSERT INTO carts (person, at) VALUES (8, marketing.now());
CALL marketing.work();
SELECT contact, state, step FROM runs WHERE contact IN ('7', '8');

-- archive: all exit, what happened is kept.
SELECT marketing.archive_journey('series');
SELECT marketing.archive_journey('series');
INSERT INTO carts (person, at) VALUES (9, marketing.now());
CALL marketing.work();
SELECT contact, state, reason FROM runs WHERE contact IN ('7', '8', '9');
SELECT state, inside, exited FROM marketing.journeys;
SELECT marketing.pause_journey('series');
SELECT marketing.drain_journey('series');
SELECT marketing.resume_journey('series');
SELECT marketing.activate_journey('series');
SELECT state FROM marketing.journeys;
DROP VIEW runs;
DROP EXTENSION marketing_automation;
