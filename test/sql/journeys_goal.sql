-- Goals and milestones: once for a run, within their time, also when the run is over; exits by the goal.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, total numeric, currency text);
CREATE TABLE visits (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, page text);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at', value => 'total', currency => 'currency') IS NOT NULL;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 9) AS i;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT c.contact, j.name AS journey, e.state, e.reason, e.goal_until, e.marks
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 1, 2, e.enrollment_id;
CREATE VIEW reached AS
	SELECT c.contact, j.name AS journey, g.goal, g.milestone, g.at, g.value, g.currency
	FROM marketing_internal.enrollment_goal AS g JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = g.contact_id ORDER BY 1, 2, 4, 3;

-- What is wrong with a goal, all at once.
SELECT marketing.define_journey('bad', '{"goal": {"event": "order_plced", "within": "soon", "target": 20}, "milestones": [{"event": "visited"}, {"name": "a", "event": "visited"}, {"name": "a", "event": "goal_reached"}, {"name": "goal"}], "steps": [{"wait": "1 day"}]}');

SELECT marketing.define_journey('offer', '{"entry": {"event": "visited", "where": "page = ''offer''"}, "reentry": "always",
	"goal": {"event": "order_placed", "where": "total >= 10", "within": "7 days", "target": 0.2},
	"milestones": [{"name": "basket", "event": "visited", "where": "page = ''basket''", "target": 0.5}, {"name": "late visit", "event": "visited", "within": "30 days"}],
	"steps": [{"wait": "2 days"}]}');
SELECT marketing.define_journey('until_goal', '{"entry": {"event": "visited", "where": "page = ''offer''"}, "goal": {"event": "order_placed", "where": "total >= 10"},
	"exit_on": [{"event": "goal_reached"}], "steps": [{"wait": "2 days"}, {"wait": "7 days", "id": "w2"}]}');
SELECT marketing.define_journey('thanks', '{"entry": {"event": "goal_reached", "where": "journey = ''offer''"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.activate_journey(j) FROM unnest('{offer,until_goal,thanks}'::text[]) AS j;
SELECT marketing.define_segment('won', $$ any goal_reached where (journey = 'offer') $$);
INSERT INTO visits (person, at, page) SELECT i, marketing.now(), 'offer' FROM generate_series(1, 5) AS i;
CALL marketing.work();
-- 1 reaches it inside, 2 too small; 3 looks into the basket.
SELECT at('2026-03-02 10:00+00');
INSERT INTO orders (person, at, total, currency) VALUES (1, marketing.now(), 20, 'TRY'), (2, marketing.now(), 5, 'TRY');
INSERT INTO visits (person, at, page) VALUES (3, marketing.now(), 'basket');
CALL marketing.work();
SELECT * FROM reached;
SELECT contact, journey, state, reason, goal_until FROM runs;
-- A second order changes nothing; 3 comes to the end and orders after that, 4 too late; a milestone without
-- a time ends with the run.
INSERT INTO orders (person, at, total, currency) VALUES (1, marketing.now(), 30, 'TRY');
SELECT at('2026-03-05 10:00+00');
CALL marketing.work();
INSERT INTO orders (person, at, total) VALUES (3, marketing.now(), 10);
INSERT INTO visits (person, at, page) VALUES (4, marketing.now(), 'basket');
CALL marketing.work();
SELECT at('2026-03-08 10:00:01+00');
INSERT INTO orders (person, at, total) VALUES (4, marketing.now(), 10);
SELECT count(*) AS unread FROM marketing_internal.enrollment_signal;
CALL marketing.work();
SELECT * FROM reached;
SELECT contact, journey, state, reason, goal_until FROM runs;
SELECT * FROM marketing.journey_status('offer');
SELECT at, what, detail FROM marketing.explain_enrollment(3, 'offer');
SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members('won');
-- The goal in the commit in which the run enters, before and after.
BEGIN;
INSERT INTO orders (person, at, total) VALUES (6, marketing.now(), 10);
INSERT INTO visits (person, at, page) VALUES (6, marketing.now(), 'offer');
COMMIT;
CALL marketing.work();
SELECT count(*) FROM reached WHERE contact = '6';
-- Merged contacts take along what they have reached; dropped journeys leave nothing.
SELECT marketing.merge_contacts(2, 3);
SELECT contact, journey, goal FROM reached WHERE contact IN ('2', '3');
SELECT marketing.split_contact(3);
SELECT contact, journey, goal FROM reached WHERE contact IN ('2', '3');
SELECT marketing.drop_journey('offer');
SELECT marketing.drop_journey('thanks');
SELECT marketing.drop_journey('offer');
SELECT count(*) FROM reached WHERE journey = 'offer';
CALL marketing.work();
SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members('won');
DROP VIEW runs, reached;
DROP EXTENSION marketing_automation;
