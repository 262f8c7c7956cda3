-- Journeys: split, update, sql, notify, webhook; and who is held out.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE ROLE journey_clerk;
GRANT USAGE ON SCHEMA marketing TO journey_clerk;
GRANT CREATE, USAGE ON SCHEMA public TO journey_clerk;
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, total numeric);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email,webhook}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Hi', text => 'Paid') IS NOT NULL;
SELECT marketing.define_template('hook', topic => 'transactional', channel => 'webhook', text => '{"to": "crm"}') IS NOT NULL;
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 1000) AS i;
CREATE FUNCTION start(journey text, definition jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT marketing.define_journey(journey, definition); SELECT marketing.activate_journey(journey); $$;
CREATE VIEW story AS
	SELECT c.contact, j.name AS journey, l.step, l.what, regexp_replace(l.detail, '#\d+', '#n') AS detail, l.log_id
	FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = l.contact_id;
SELECT marketing.set_clock('2026-03-01 10:00+00');

-- The functions of steps; as the role that activated.
CREATE TABLE calls (contact text, entry jsonb, by text);
CREATE FUNCTION note(contact text, entry jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.calls VALUES (contact, entry, current_user) $$;
CREATE FUNCTION trouble(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 / (contact::int - 2) $$;
CREATE FUNCTION many(contact text, entry jsonb) RETURNS SETOF int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION secret(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
REVOKE EXECUTE ON FUNCTION secret(text, jsonb) FROM PUBLIC;

-- What is wrong is said with its place.
SELECT marketing.define_journey('wrong', '{"holdout": 2, "steps": [
	{"split": [{"share": 0.7, "then": []}, {"share": 0.5}]}, {"split": [{"then": []}, {"else": []}, {"share": 1}]},
	{"update": {}}, {"update": {"email": "nobody"}}, {"update": [1]}, {"sql": "note"}, {"sql": "public.nothing"}, {"sql": "public.many"},
	{"notify": ""}, {"webhook": "letter"}, {"webhook": "hook", "to": "contact"}]}');
GRANT journey_clerk TO CURRENT_USER;
GRANT EXECUTE ON FUNCTION marketing.define_journey(text, jsonb) TO journey_clerk;
SET ROLE journey_clerk;
SELECT marketing.define_journey('clerk', '{"steps": [{"sql": "public.secret"}]}');
RESET ROLE;
-- What somebody else may change is not called with our rights, nor when it has become his.
CREATE FUNCTION theirs(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
ALTER FUNCTION theirs(text, jsonb) OWNER TO journey_clerk;
SELECT marketing.define_journey('theirs', '{"steps": [{"sql": "public.theirs"}]}');
ALTER FUNCTION theirs(text, jsonb) OWNER TO CURRENT_USER;
SELECT start('theirs', '{"steps": [{"sql": "public.theirs"}]}');
ALTER FUNCTION theirs(text, jsonb) OWNER TO journey_clerk;
SELECT count(marketing.enroll(1, 'theirs'));
CALL marketing.work();
SELECT step, what, detail FROM story WHERE journey = 'theirs' ORDER BY log_id;
DROP FUNCTION theirs(text, jsonb);

-- A split is stable and about as large as it says; independent of other splits.
SELECT start('halves', '{"reentry": "always", "steps": [
	{"split": [{"share": 0.5, "name": "a", "then": [{"wait": "1 minute"}]}, {"share": 0.3, "name": "b"}, {"else": [{"exit": "rest"}]}], "id": "one"},
	{"split": [{"share": 0.5, "name": "x"}], "id": "two"}]}');
SELECT count(marketing.enroll(i, 'halves')) FROM generate_series(1, 1000) AS i;
CALL marketing.work();
SELECT count(marketing.enroll(i, 'halves')) FROM generate_series(1, 1000) AS i;
CALL marketing.work();
SELECT detail, count(DISTINCT contact) BETWEEN 170 AND 230 AS fifth, count(DISTINCT contact) BETWEEN 270 AND 330 AS three_tenths,
	count(DISTINCT contact) BETWEEN 460 AND 540 AS half FROM story WHERE journey = 'halves' AND step = 'one' AND what = 'split' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS took_two_ways FROM (SELECT FROM story WHERE journey = 'halves' AND what = 'split' GROUP BY contact, step HAVING count(DISTINCT detail) > 1) AS x;
SELECT marketing.set_clock('2026-03-01 10:10+00');
CALL marketing.work();
SELECT detail, count(DISTINCT contact) BETWEEN 180 AND 320 AS half FROM story
	WHERE journey = 'halves' AND step = 'two' AND contact IN (SELECT contact FROM story WHERE journey = 'halves' AND step = 'one' AND detail = 'a') AND what = 'split' GROUP BY 1 ORDER BY 1;

-- Attributes, functions, notifications: once for each run; who fails is parked alone, the others go on.
SELECT start('effects', '{"entry": {"event": "ordered"}, "steps": [{"update": {"plan": "gold", "seen": null, "n": 3}}, {"sql": "public.note"}, {"sql": "public.trouble"}, {"notify": "orders"}, {"exit": "done"}]}');
SELECT marketing.identify('people:1', '{"seen": true, "other": 1}');
INSERT INTO orders (person, at, total) SELECT i, marketing.now(), 10 * i FROM generate_series(1, 3) AS i;
CALL marketing.work();
SELECT c.contact, k.attributes FROM marketing.contacts AS c JOIN marketing_internal.contact AS k ON k.contact_id = c._contact_id WHERE k.attributes <> '{}' ORDER BY 1;
SELECT contact, entry->>'total' AS total, by = session_user AS as_who_activated FROM calls ORDER BY contact;
SELECT contact, step, what, detail FROM story WHERE journey = 'effects' ORDER BY contact, log_id;
SELECT item, state, value, detail FROM marketing.status WHERE item LIKE 'journey %';
SELECT marketing.retry_enrollment(2, 'effects');
CREATE OR REPLACE FUNCTION trouble(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CALL marketing.work();
SELECT step, what, detail FROM story WHERE journey = 'effects' AND contact = '2' ORDER BY log_id;
SELECT contact, count(*) FROM calls GROUP BY 1 ORDER BY 1;
-- What should have gone on long ago is told, too; what a pause holds is not.
SELECT count(*) FROM marketing.status WHERE item LIKE 'journey %';
SELECT start('late', '{"steps": [{"wait": "1 hour"}, {"exit": "x"}]}');
SELECT marketing.enroll(1, 'late');
CALL marketing.work();
SELECT marketing.set_clock(marketing.now() + '1 hour 6 minutes') IS NOT NULL;
SELECT item, state, value, detail FROM marketing.status WHERE item LIKE 'journey %';
SELECT marketing.pause_journey('late');
SELECT count(*) FROM marketing.status WHERE item LIKE 'journey %';
SELECT marketing.resume_journey('late');
CALL marketing.work();
SELECT count(*) FROM marketing.status WHERE item LIKE 'journey %';
-- The function that is gone parks, too.
DROP FUNCTION note(text, jsonb);
INSERT INTO orders (person, at) VALUES (4, marketing.now());
CALL marketing.work();
SELECT step, what, detail FROM story WHERE journey = 'effects' AND contact = '4' ORDER BY log_id;

-- The control group gets no marketing message, but what is transactional; the rest of the way is the same.
SELECT start('held', '{"holdout": 0.2, "steps": [{"send": "receipt", "nowait": true}, {"send": "letter"},
	{"wait_until": {"event": "email_opened", "step": "letter"}, "timeout": "1 day", "else": [{"exit": "not opened"}]}]}');
SELECT count(marketing.enroll(i, 'held')) FROM generate_series(1, 200) AS i;
CALL marketing.work();
SELECT template, count(*) BETWEEN 140 AND 180 AS most, count(*) = 200 AS all FROM marketing.messages WHERE journey = 'held' GROUP BY 1 ORDER BY 1;
SELECT DISTINCT detail FROM story WHERE journey = 'held' AND what = 'not sent';
SELECT step, what, detail FROM story WHERE journey = 'held'
	AND contact = (SELECT min(contact) FROM story WHERE journey = 'held' AND detail = 'holdout') AND what <> 'sent' ORDER BY log_id;
SELECT start('all_held', '{"holdout": 1, "steps": [{"send": "letter"}]}');
SELECT marketing.enroll(1, 'all_held');
CALL marketing.work();
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(1, 'all_held') WHERE n IN (0, 9);

-- A webhook is a message of its channel.
SELECT start('hooked', '{"steps": [{"webhook": "hook"}, {"exit": "told"}]}');
SELECT marketing.enroll(1, 'hooked');
CALL marketing.work();
SELECT channel, state, template, step FROM marketing.messages WHERE journey = 'hooked';
SELECT step, what, detail FROM story WHERE journey = 'hooked' ORDER BY log_id;
DROP VIEW story;
DROP OWNED BY journey_clerk;
DROP EXTENSION marketing_automation;
DROP ROLE journey_clerk;
