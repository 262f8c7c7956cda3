-- The step test: who gets which variant, the horizon, the winner for all who come later, versions, the rest.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE TABLE visits (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE INDEX ON orders (person, at);
CREATE INDEX ON visits (person, at);
SELECT marketing.set_clock('2026-06-01 12:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'person', occurred_at => 'at', repeat => true) IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template(t, topic => 'news', subject => t, html => '<p>Hi</p>') IS NOT NULL FROM unnest('{short,long,longer,after}'::text[]) AS t;
INSERT INTO people SELECT i, 'p' || i || '@example.com', 'UTC' FROM generate_series(1, 400) AS i;
CALL marketing.work();
CREATE VIEW got AS SELECT c.contact::int AS id, m.journey, m.step, m.template, m.settled_at FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.state = 'sent';
CREATE VIEW tests AS SELECT step, state, contacts, oldest, next_due FROM marketing.journey_status('hello') WHERE kind = 'test' AND oldest IS NOT NULL;

-- What is wrong is said at once.
SELECT marketing.define_journey('wrong', '{"steps": [{"test": {"variants": {"a": "short", "b": "lon", "c": "short"}, "share": 2, "measure": {"event": "orderd"}, "after": "soon", "no_winner": "d", "rest": "sleep", "best": 1}, "id": "t"},
	{"test": {"variants": {"a": "short"}}, "nowait": true}, {"test": "a"}, {"wait_until": {"event": "email_opened", "step": "u"}, "timeout": "1 day"}]}');

-- Everybody who comes before the horizon is in it, in about equal parts; a wait of the message takes the step's id.
SELECT marketing.define_journey('hello', '{"entry": {"event": "visited"}, "reentry": "always", "goal": {"event": "ordered"}, "steps": [
	{"test": {"variants": {"a": "short", "b": "long"}, "measure": {"event": "ordered"}, "after": "3 days", "no_winner": "a"}, "id": "greet", "otherwise": [{"exit": "not sent"}]},
	{"wait_until": {"event": "email_opened", "step": "greet"}, "timeout": "7 days", "id": "opened"}]}');
SELECT marketing.activate_journey('hello');
SELECT * FROM tests;
INSERT INTO visits (person, at) SELECT i, '2026-06-01 12:00+00' FROM generate_series(1, 100) AS i;
CALL marketing.work();
SELECT * FROM tests;
SELECT marketing.set_clock('2026-06-02 12:00+00');
INSERT INTO visits (person, at) SELECT i, '2026-06-02 12:00+00' FROM generate_series(101, 200) AS i;
CALL marketing.work();
SELECT template, count(*) BETWEEN 75 AND 125 AS half, bool_and(step = 'greet') FROM got GROUP BY 1 ORDER BY 1;
-- The same contact gets the same one again.
INSERT INTO visits (person, at) SELECT i, '2026-06-02 12:00+00' FROM generate_series(1, 20) AS i;
CALL marketing.work();
SELECT count(*) FROM (SELECT id FROM got GROUP BY id HAVING count(DISTINCT template) > 1) AS g;
-- Half of those of b order in time, a few of a; what comes after the horizon counts no more, nor does an order before the message.
INSERT INTO orders (person, at) SELECT DISTINCT id, '2026-06-03 12:00+00'::timestamptz FROM got WHERE template = 'long' AND id % 2 = 0 OR template = 'short' AND id % 10 = 0;
INSERT INTO orders (person, at) SELECT DISTINCT id, '2026-05-30 12:00+00'::timestamptz FROM got WHERE template = 'short';
INSERT INTO orders (person, at) SELECT DISTINCT id, '2026-06-04 12:00:01+00'::timestamptz FROM got WHERE template = 'short';
SELECT marketing.set_clock('2026-06-04 11:59+00');
CALL marketing.work();
SELECT state, next_due FROM tests;
-- Before the horizon the definition is changed around the step: the test is the same one. In another form it is another.
SELECT marketing.define_journey('hello', '{"entry": {"event": "visited"}, "reentry": "always", "goal": {"event": "ordered"}, "steps": [{"wait": "1 minute"},
	{"test": {"after": "3 days", "variants": {"b": "long", "a": "short"}, "measure": {"event": "ordered"}, "no_winner": "a"}, "id": "greet", "otherwise": [{"exit": "not sent"}]},
	{"wait_until": {"event": "email_opened", "step": "greet"}, "timeout": "7 days", "id": "opened"}]}');
SELECT marketing.activate_journey('hello', inside => 'move');
INSERT INTO visits (person, at) SELECT i, '2026-06-04 11:59+00' FROM generate_series(201, 300) AS i;
CALL marketing.work();
-- The minute after is the horizon: the winner is known before the step is done, so all of them get it.
SELECT marketing.set_clock('2026-06-04 12:00+00');
CALL marketing.work();
SELECT regexp_replace(state, '\d+', 'N', 'g'), contacts, oldest, next_due FROM tests;
SELECT (regexp_match(state, 'b: (\d+)'))[1]::int = (SELECT count(DISTINCT id) FROM got WHERE template = 'long' AND id <= 200 AND id % 2 = 0) AS b,
	(regexp_match(state, 'a: (\d+)'))[1]::int = (SELECT count(DISTINCT id) FROM got WHERE template = 'short' AND id % 10 = 0) AS a FROM tests;
SELECT template, count(*) FROM got WHERE id > 200 GROUP BY 1;
SELECT part, runs > 0 AS runs, sent > 0 AS sent, goals > 0 AS goals FROM marketing.journey_report('hello', by => 'variant');
SELECT sum(runs), sum(sent) FROM marketing.journey_report('hello', by => 'variant');
SELECT marketing.journey_diagram('hello') LIKE '%test<br/>a: short<br/>b: long%' AS drawn;
SELECT what, detail FROM marketing.explain_enrollment(201, 'hello') WHERE what IN ('test', 'woken', 'timed out');
-- Opened: the wait knows its message.
SELECT marketing.set_clock('2026-06-04 14:00+00');
SELECT count(marketing.record_open(substring(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-') FROM '/o/([-_A-Za-z0-9]+)'))) FROM marketing.messages WHERE contact = '201' AND state = 'sent';
CALL marketing.work();
SELECT what, detail FROM marketing.explain_enrollment(201, 'hello') WHERE what IN ('woken', 'timed out', 'completed');
-- A simulation draws the same variants, and knows no winner.
SELECT count(*) AS different FROM marketing.simulate_journey('hello', '2026-06-01 00:00+00', '2026-06-03 00:00+00') AS s
	WHERE s.what = 'test' AND (s.detail = 'a') <> EXISTS (SELECT FROM got WHERE id = s.contact::int AND template = 'short');
SELECT step, what, reason, runs > 0 AS runs FROM marketing.simulate_journey_counts('hello', '2026-06-01 00:00+00', '2026-06-03 00:00+00') WHERE what = 'test' ORDER BY 3;

-- Other words, another test; a fifth is in it, the others get no_winner at once.
SELECT marketing.define_journey('hello', '{"entry": {"event": "visited"}, "reentry": "always", "steps": [
	{"test": {"variants": {"a": "short", "b": "longer"}, "share": 0.2, "measure": {"event": "email_opened"}, "after": "1 day", "no_winner": "b"}, "id": "greet"}]}');
SELECT marketing.activate_journey('hello');
SELECT marketing.set_clock('2026-06-05 12:00+00');
INSERT INTO visits (person, at) SELECT i, '2026-06-05 12:00+00' FROM generate_series(301, 400) AS i;
CALL marketing.work();
SELECT part, runs BETWEEN 3 AND 30 AS few, runs BETWEEN 65 AND 94 AS most, sent = runs AS sent FROM marketing.journey_report('hello', by => 'variant') WHERE first_at >= '2026-06-05';
SELECT count(*) FILTER (WHERE state = 'goes on'), count(*) FROM tests;
SELECT marketing.set_clock('2026-06-06 12:00+00');
CALL marketing.work();
-- Nobody has opened: no winner.
SELECT regexp_replace(state, '\d+', 'N', 'g') FROM tests WHERE oldest >= '2026-06-05';

-- Where all come at once the others may wait for the winner.
SELECT marketing.define_journey('all', marketing.journey(NULL, ARRAY[marketing.step_test('{"a": "short", "b": "long"}', 'ordered', '4 hours', 'a', share => 0.3, rest => 'wait'), marketing.step_wait('1 hour'), marketing.step_send('after')]));
SELECT marketing.activate_journey('all');
SELECT count(marketing.enroll(i, 'all')) FROM generate_series(1, 200) AS i;
CALL marketing.work();
SELECT step, kind, state, contacts BETWEEN 110 AND 170 AS most, next_due FROM marketing.journey_status('all') WHERE state = 'due' ORDER BY 1;
INSERT INTO orders (person, at) SELECT id, '2026-06-06 13:00+00' FROM got WHERE journey = 'all' AND template = 'long';
SELECT marketing.set_clock('2026-06-06 16:00+00');
CALL marketing.work();
SELECT regexp_replace(state, '\d+', 'N', 'g') AS state FROM marketing.journey_status('all') WHERE kind = 'test' AND oldest IS NOT NULL;
SELECT settled_at, count(*) = count(DISTINCT id) AS once, count(DISTINCT template) AS templates FROM got WHERE journey = 'all' AND step = 'steps[0]' GROUP BY 1 ORDER BY 1;
-- What follows counts from the message.
SELECT min(next_due), max(next_due) FROM marketing.journey_status('all') WHERE state = 'due';
-- In a simulation they get no_winner then.
SELECT detail, at, count(*) > 0 AS some FROM marketing.simulate_journey('all', '2026-06-06 12:00+00', '2026-06-06 16:00+00', contacts => (SELECT array_agg(id::text) FROM people)) WHERE what = 'test' GROUP BY 1, 2 ORDER BY 1, 2;

-- What cannot be counted is tried again; after ten times it is no_winner.
CREATE TABLE odd (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, n int);
CREATE INDEX ON odd (person, at);
SELECT marketing.attach_events('odd', event => 'odd', contact => 'person', occurred_at => 'at', condition => '1 / n > 0') IS NOT NULL;
SELECT marketing.define_journey('gone', '{"steps": [{"test": {"variants": {"a": "short", "b": "long"}, "measure": {"event": "odd"}, "after": "1 hour", "no_winner": "b"}}]}');
SELECT marketing.activate_journey('gone');
SELECT count(marketing.enroll(i, 'gone')) FROM generate_series(1, 20) AS i;
CALL marketing.work();

INSERT INTO odd (person, at, n) SELECT i, '2026-06-06 16:30+00', 0 FROM generate_series(1, 20) AS i;
SELECT marketing.set_clock('2026-06-06 17:00+00');
CALL marketing.work();
SELECT state, next_due FROM marketing.journey_status('gone') WHERE kind = 'test' AND oldest IS NOT NULL;
\set ECHO none
\o /dev/null
SELECT format('SELECT marketing.set_clock(%L);', t), 'CALL marketing.work();' FROM generate_series('2026-06-06 17:01+00'::timestamptz, '2026-06-06 17:20+00', '1 minute') AS t \gexec
\o
\set ECHO all
SELECT regexp_replace(state, '\d+', 'N', 'g') AS state, next_due FROM marketing.journey_status('gone') WHERE kind = 'test' AND oldest IS NOT NULL;

SELECT marketing.drop_journey(j) FROM unnest('{hello,all,gone}'::text[]) AS j;
SELECT count(*) FROM marketing_internal.journey_test;
