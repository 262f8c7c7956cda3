-- Versions: who is inside stays or moves, with counts before the commit; back to an earlier version; what differs.
CREATE EXTENSION marketing_automation;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 20) AS i;
SELECT marketing.define_template(t, topic => 'transactional', subject => t, text => 'x') IS NOT NULL FROM unnest('{one,two,three}'::text[]) t;
SET client_min_messages = notice;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT e.version, e.state, e.step, e.due_at, e.reason, count(*), min(c.contact::int), max(c.contact::int)
	FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id GROUP BY 1, 2, 3, 4, 5 ORDER BY 7, 1;
SELECT marketing.define_journey('j', '{"entry": {"event": "ordered"}, "steps": [
	{"wait": "7 days", "id": "first"}, {"send": "one"}, {"wait_until": {"event": "ordered", "since": "entry"}, "timeout": "5 days", "id": "again"}, {"send": "two"}, {"wait": "1 day", "id": "last"}]}');
SELECT marketing.activate_journey('j');
INSERT INTO orders (person, at) SELECT i, marketing.now() FROM generate_series(1, 5) AS i;
CALL marketing.work();
SELECT at('2026-03-08 10:00+00');
CALL marketing.work();
INSERT INTO orders (person, at) SELECT i, marketing.now() FROM generate_series(11, 18) AS i;
CALL marketing.work();
SELECT at('2026-03-12 10:00+00');
CALL marketing.work();
SELECT * FROM runs;
-- A new version with shorter waits: those inside stay, if nothing else is said.
SELECT marketing.define_journey('j', '{"entry": {"event": "ordered"}, "campaign": "spring", "steps": [
	{"wait": "1 hour", "id": "first"}, {"send": "one"}, {"wait_until": {"event": "ordered", "since": "entry"}, "timeout": "1 hour", "id": "again"}, {"branch": [{"if": "email is not null", "then": [{"send": "three"}]}]}, {"wait": "1 day", "id": "end"}]}');
SELECT * FROM marketing.journey_diff('j');
SELECT marketing.activate_journey('j');
CALL marketing.work();
SELECT * FROM runs;
SELECT version, state, inside FROM marketing.journey_versions('j');
-- They move. The map must say where they go on, if their step is none there; typos are told.
INSERT INTO orders (person, at) VALUES (20, marketing.now());
SELECT marketing.activate_journey('j', step_map => '{}');
SELECT marketing.activate_journey('j', inside => 'go');
SELECT marketing.activate_journey('j', inside => 'move', step_map => '{"frst": "end"}');
SELECT marketing.activate_journey('j', inside => 'move', step_map => '{"first": "ende"}');
SELECT marketing.activate_journey('j', inside => 'move', step_map => '["first"]');
SELECT marketing.define_journey('j', '{"entry": {"event": "ordered"}, "steps": [{"wait": "1 minute", "id": "start"}, {"send": "three"}, {"wait": "1 day", "id": "end"}]}');
SELECT marketing.activate_journey('j', inside => 'move');
SELECT count(*) AS asked FROM marketing_internal.enrollment_signal WHERE kind = 'move';
-- Nothing is sent at once, whatever is shorter now: who waits goes on waiting for his instant.
SELECT count(*) AS before FROM marketing.messages \gset
SELECT marketing.activate_journey('j', inside => 'move', step_map => '{"first": "three", "again": "end"}');
CALL marketing.work();
SELECT * FROM runs;
SELECT count(*) - :before AS sent_at_once FROM marketing.messages;
SELECT at('2026-03-15 09:59+00');
CALL marketing.work();
SELECT count(*) - :before AS sent_before_the_instant FROM marketing.messages;
SELECT at('2026-03-15 10:00+00');
CALL marketing.work();
SELECT count(*) - :before AS sent FROM marketing.messages;
SELECT * FROM runs;
SELECT at, step, what, detail FROM marketing.explain_enrollment(11, 'j');
-- Back to the first version; the runs of the third stay, or end by null.
SELECT marketing.activate_journey('j', version => 9);
SELECT marketing.activate_journey('j', version => 1);
SELECT journey, version, draft_version FROM marketing.journeys;
SELECT version, state, inside FROM marketing.journey_versions('j');
SELECT marketing.activate_journey('j', version => 1, inside => 'move', step_map => '{"end": null}');
INSERT INTO orders (person, at) VALUES (1, marketing.now());
CALL marketing.work();
SELECT * FROM runs;
SELECT place, change FROM marketing.journey_diff('j', 2, 1);
SELECT * FROM marketing.journey_diff('j', 1, 1);
SELECT * FROM marketing.journey_diff('j', 1, 7);
-- What a run remembers of events moves along: the order since the entry counts in the new version.
SELECT marketing.define_journey('k', '{"steps": [{"wait": "1 day", "id": "w"}, {"wait_until": {"event": "ordered", "since": "entry"}, "timeout": "5 days", "id": "u", "else": [{"exit": "none"}]}, {"exit": "ordered"}]}');
SELECT marketing.activate_journey('k');
SELECT marketing.enroll(19, 'k');
CALL marketing.work();
INSERT INTO orders (person, at) VALUES (19, marketing.now());
CALL marketing.work();
SELECT marketing.define_journey('k', '{"exit_on": [{"event": "email_bounced"}], "steps": [{"wait": "1 day", "id": "w"}, {"wait_until": {"event": "ordered", "since": "entry"}, "timeout": "9 days", "id": "u", "else": [{"exit": "none"}]}, {"exit": "ordered by now"}]}');
SELECT marketing.activate_journey('k', inside => 'move');
SELECT at('2026-03-16 10:00+00');
CALL marketing.work();
SELECT state, reason, version FROM marketing_internal.enrollment WHERE journey_id = 2;
DROP VIEW runs;
DROP EXTENSION marketing_automation;
