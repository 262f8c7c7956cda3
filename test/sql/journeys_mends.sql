-- What a hostile reading of journeys has found: each of these once went wrong.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text, birth_date date, trial_ends timestamptz);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint, at timestamptz, total numeric, currency text);
CREATE TABLE visits (id bigserial PRIMARY KEY, person bigint, at timestamptz, page text);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at', value => 'total', currency => 'currency') IS NOT NULL;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
INSERT INTO people SELECT i, 'p' || i || '@x.example', 'UTC' FROM generate_series(1, 9) AS i;
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT c.contact, j.name AS journey, e.version, e.entered_at, e.state, e.step, e.due_at, e.check_at, e.reason, e.key
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 2, 1, e.enrollment_id;

-- A date without a name.
SELECT * FROM marketing.check_journey('{"steps": [{"wait_for_time": {"date": ""}}]}');

-- A version without rules forgets when those of the other one were to be looked at.
SELECT marketing.define_journey('rules', '{"entry": {"event": "visited"}, "exit_on": [{"if": "no visited in 2 days"}], "steps": [{"wait": "30 days"}]}');
SELECT marketing.activate_journey('rules');
INSERT INTO visits (person, at) VALUES (1, marketing.now());
CALL marketing.work();
SELECT version, due_at, check_at FROM runs;
SELECT marketing.define_journey('rules', '{"entry": {"event": "visited"}, "steps": [{"wait": "30 days"}]}');
SELECT marketing.activate_journey('rules', inside => 'move');
CALL marketing.work();
SELECT version, due_at, check_at FROM runs;
SELECT at('2026-03-04 10:00+00');
CALL marketing.work();
SELECT due_at FROM marketing_internal.enrollment_due ORDER BY 1;
SELECT marketing.drop_journey('rules');

-- A goal whose value is no number stops nobody.
SELECT marketing.define_journey('goal', '{"entry": {"event": "visited"}, "goal": {"event": "order_placed"}, "steps": [{"wait": "2 days"}]}');
SELECT marketing.activate_journey('goal');
INSERT INTO visits (person, at) VALUES (1, marketing.now()), (2, marketing.now());
CALL marketing.work();
ALTER TABLE orders ALTER total TYPE text;
INSERT INTO orders (person, at, total, currency) VALUES (1, marketing.now(), 'free', 'EUR'), (2, marketing.now(), '12.50', 'EUR');
CALL marketing.work();
SELECT c.contact, g.goal, g.value, g.currency FROM marketing_internal.enrollment_goal AS g JOIN marketing.contacts AS c ON c._contact_id = g.contact_id ORDER BY 1;
SELECT marketing.drop_journey('goal');

-- The scheduler was away: what was due before a second entry is done, not what was due after an exit that follows.
SELECT marketing.define_journey('cart', '{"entry": {"event": "visited", "key": "page"}, "reentry": "per_key", "exit_on": [{"event": "order_placed"}], "steps": [{"wait": "10 minutes"}, {"wait": "30 minutes", "id": "more"}, {"update": {"carts": "bought"}}, {"wait": "5 days"}]}');
SELECT marketing.activate_journey('cart');
INSERT INTO visits (person, at, page) VALUES (3, marketing.now(), 'a');
CALL marketing.work();
SELECT at('2026-03-04 10:14+00');
INSERT INTO visits (person, at, page) VALUES (3, marketing.now(), 'b');
SELECT at('2026-03-04 10:15+00');
INSERT INTO orders (person, at) VALUES (3, marketing.now());
SELECT at('2026-03-04 12:00+00');
CALL marketing.work();
SELECT key, entered_at, state, step, reason FROM runs;
SELECT at, step, what, detail FROM marketing.explain_enrollment(3, 'cart') ORDER BY 1, 2;
SELECT marketing.drop_journey('cart');

-- A message that was held when its journey was archived does not go, though its run was over.
SELECT marketing.define_template('t', 'transactional', 'email', 's', text => 'b');
SELECT marketing.define_journey('nowait', '{"entry": {"event": "visited"}, "steps": [{"send": "t", "nowait": true}]}');
SELECT marketing.activate_journey('nowait');
INSERT INTO visits (person, at) VALUES (4, marketing.now());
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at) SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts WHERE contact = '4';
CALL marketing.work();
SELECT marketing.pause_journey('nowait');
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
SELECT at('2026-03-04 12:05+00');
CALL marketing.work();
SELECT template, state, reason FROM marketing.messages;
SELECT marketing.archive_journey('nowait');
SELECT at('2026-03-04 12:15+00');
CALL marketing.work();
SELECT template, state, reason FROM marketing.messages;

-- One birthday lets in once, by whatever version or zone.
SELECT marketing.define_journey('birthday', '{"entry": {"anniversary": "birth_date", "at": "09:00"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('birthday');
UPDATE people SET birth_date = '1990-03-05' WHERE id IN (5, 6);
CALL marketing.work();
SELECT at('2026-03-05 09:01+00');
CALL marketing.work();
SELECT marketing.define_journey('birthday', '{"entry": {"anniversary": "birth_date", "at": "10:00"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('birthday');
UPDATE people SET tz = 'America/New_York' WHERE id = 6;
CALL marketing.work();
SELECT at('2026-03-05 20:00+00');
CALL marketing.work();
SELECT contact, version, entered_at, key FROM runs WHERE journey = 'birthday';

-- Who was due when a version was activated enters; so does the survivor of a merge.
SELECT at('2027-03-05 20:00+00');
SELECT marketing.define_journey('birthday', '{"entry": {"anniversary": "birth_date", "at": "11:00"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('birthday');
CALL marketing.work();
SELECT contact, version, entered_at, key FROM runs WHERE journey = 'birthday' AND entered_at > '2027-01-01';
SELECT at('2028-03-05 13:00+00');
SELECT marketing.merge_contacts(6, 5);
CALL marketing.work();
SELECT at('2028-03-05 20:00+00');
CALL marketing.work();
SELECT version, entered_at, key FROM runs WHERE journey = 'birthday' AND entered_at > '2028-01-01';
-- Many who cannot be let in yet keep nobody else.
INSERT INTO people SELECT i, 'p' || i || '@x.example', 'UTC', '1990-03-05' FROM generate_series(1001, 2100) AS i;
INSERT INTO people VALUES (11, 'p11@x.example', 'America/New_York', '1990-03-05');
CALL marketing.work();
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at) SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts WHERE contact::int > 1000;
SELECT at('2029-03-06 20:00+00');
CALL marketing.work();
SELECT contact, entered_at FROM runs WHERE journey = 'birthday' AND (contact = '11' OR contact::int > 1000);
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
DELETE FROM people WHERE id > 10;
SELECT marketing.drop_journey('birthday');

-- A parked run that moves off its send does not wait for the message.
SELECT marketing.define_journey('parked', '{"entry": {"event": "visited"}, "exit_on": [{"event": "order_placed", "where": "1 / char_length(total) > 1"}], "steps": [{"send": "t"}, {"wait": "1 day", "id": "w2"}]}');
SELECT marketing.activate_journey('parked');
INSERT INTO visits (person, at) VALUES (7, marketing.now());
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at) SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts WHERE contact = '7';
CALL marketing.work();
INSERT INTO orders (person, at, total) VALUES (7, marketing.now(), '');
CALL marketing.work();
SELECT state, step FROM runs WHERE journey = 'parked';
SELECT marketing.define_journey('parked', '{"entry": {"event": "visited"}, "steps": [{"wait": "1 day", "id": "w2"}]}');
SELECT marketing.activate_journey('parked', inside => 'move', step_map => '{"t": "w2"}');
CALL marketing.work();
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
SELECT marketing.retry_enrollment('7', 'parked');
CALL marketing.work();
SELECT state, step, due_at FROM runs WHERE journey = 'parked';
SELECT marketing.drop_journey('parked');

-- A wait for the goal is not woken by that of another run of the contact.
SELECT marketing.define_journey('two', '{"entry": {"event": "visited", "key": "page"}, "reentry": "always", "goal": {"event": "order_placed", "where": "currency = entry.page"}, "steps": [{"wait_until": {"event": "goal_reached"}, "timeout": "5 days", "else": [{"exit": "late"}]}, {"exit": "won"}]}');
SELECT marketing.activate_journey('two');
INSERT INTO visits (person, at, page) VALUES (8, marketing.now(), 'a'), (8, marketing.now(), 'b');
CALL marketing.work();
INSERT INTO orders (person, at, currency) VALUES (8, marketing.now(), 'a');
CALL marketing.work();
SELECT key, state, reason FROM runs WHERE journey = 'two';
SELECT marketing.drop_journey('two');

-- A move goes by its map, though other versions are activated before it is done.
SELECT marketing.define_journey('map', '{"entry": {"event": "visited"}, "steps": [{"wait": "1 day", "id": "a"}]}');
SELECT marketing.activate_journey('map');
INSERT INTO visits (person, at) VALUES (9, marketing.now());
CALL marketing.work();
SELECT marketing.define_journey('map', '{"entry": {"event": "visited"}, "steps": [{"wait": "2 days", "id": "b"}]}');
SELECT marketing.activate_journey('map', inside => 'move', step_map => '{"a": "b"}');
SELECT marketing.activate_journey('map', version => 1);
SELECT marketing.activate_journey('map', version => 2);
CALL marketing.work();
SELECT version, state, step FROM runs WHERE journey = 'map';

-- Many messages and ways back are a legal definition; what other journeys enroll in has their rows.
SELECT marketing.define_topic('news');
SELECT marketing.define_template('n', 'news', 'email', 's', text => 'b {{ entry.page }}');
SELECT marketing.define_cap('c', 100000, '7 days');
SELECT marketing.define_journey('deep', jsonb_build_object('entry', '{"event": "visited"}'::jsonb, 'steps',
	(SELECT jsonb_agg(jsonb_build_object('send', 'n', 'id', 's' || i)) FROM generate_series(1, 60) AS i) ||
	(SELECT jsonb_agg(jsonb_build_object('goto', 's1', 'at_most', 20, 'id', 'g' || i)) FROM generate_series(1, 12) AS i)));
SELECT * FROM marketing.check_journey('{"steps": [{"send": "n"}]}');
SELECT marketing.define_template('n', 'news', 'email', 's', text => 'b {{ entry.date }} {{ entry.page }}');
SELECT * FROM marketing.check_journey('{"entry": {"anniversary": "birth_date"}, "steps": [{"send": "n"}]}');
DROP VIEW runs;
DROP EXTENSION marketing_automation;
