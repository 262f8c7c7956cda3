-- Broadcasts: definition, preview, launch, contacts' clocks, tests of variants, cancel, resend.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text, plan text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE INDEX ON orders (person, at);
SELECT marketing.set_clock('2026-11-26 12:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template(t, topic => 'news', subject => t, html => '<p>Hi</p>') IS NOT NULL FROM unnest('{letter,bf_a,bf_b}'::text[]) AS t;
INSERT INTO people SELECT i, CASE WHEN i % 10 > 0 THEN 'p' || i || '@example.com' END, (ARRAY['Asia/Tokyo', 'Europe/Istanbul', 'America/New_York', 'Europe/London'])[1 + i % 4], CASE WHEN i <= 400 THEN 'pro' END FROM generate_series(1, 500) AS i;
INSERT INTO orders (person, at) SELECT i, '2026-11-25 12:00+00' FROM generate_series(1, 20) AS i;
CALL marketing.work();
SELECT count(marketing.unsubscribe(i, 'news', 'email')) FROM generate_series(21, 25) AS i;
CREATE VIEW got AS SELECT c.contact::int AS id, m.journey, m.step, m.template, m.state, m.settled_at FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id;

-- What is wrong is said at once.
SELECT marketing.define_broadcast('wrong', '{"audiense": "plan = ''pro''", "exclude": "any orderd", "send": "leter", "test": {"variants": {"a": "letter"}, "share": 2, "measure": {"evnt": "ordered"}, "after": "soon", "no_winner": "c"},
	"at": "2026-13-01", "clock": "mine"}');
SELECT marketing.define_broadcast('wrong', '{"resend_of": "none", "clock": "contact", "send": "letter"}');
SELECT marketing.define_broadcast('letter', '{"audience": "plan = ''pro''", "exclude": "any ordered in 7 days", "send": "letter", "campaign": "c1"}');
SELECT marketing.define_broadcast('letter', '{"audience": "plan = ''pro''", "exclude": "any ordered in 7 days", "send": "letter", "campaign": "c1"}');
SELECT marketing.define_broadcast('letter', '{"audience": "plan = ''pro'' and id <= 100", "exclude": "any ordered in 7 days", "send": "letter"}');
SELECT marketing.launch_broadcast('lettr');
SELECT marketing.cancel_broadcast('letter');

-- Who would get it, and why the others would not; then they do.
SELECT * FROM marketing.preview_broadcast('letter');
SELECT marketing.launch_broadcast('letter');
SELECT marketing.launch_broadcast('letter');
SELECT marketing.define_broadcast('letter', '{"audience": "plan = ''pro''", "send": "letter"}');
-- Who comes into the audience later gets nothing: it is frozen.
UPDATE people SET plan = 'pro' WHERE id = 450;
CALL marketing.work();
SELECT state, count(*), min(id), max(id) FROM got GROUP BY 1 ORDER BY 1;
SELECT state, contacts FROM marketing.journey_status('letter') WHERE step IS NULL ORDER BY 1;
SELECT broadcast, state, launched_at FROM marketing.broadcasts;

-- At the hour of each contact's own wall.
SELECT marketing.define_broadcast('early', '{"audience": "id between 101 and 108", "send": "letter", "at": "2026-11-25 10:00"}');
SELECT marketing.launch_broadcast('early');
SELECT marketing.define_broadcast('morning', '{"audience": "id between 101 and 108", "send": "letter", "at": "2026-11-27 10:00", "clock": "contact"}');
SELECT marketing.launch_broadcast('morning');
\set ECHO none
\o /dev/null
SELECT format('SELECT marketing.set_clock(%L);', t), 'CALL marketing.work();' FROM generate_series('2026-11-26 13:00+00'::timestamptz, '2026-11-27 19:00+00', '1 hour') AS t \gexec
\o
\set ECHO all
SELECT p.tz, g.settled_at, count(*) FROM got AS g JOIN people AS p USING (id) WHERE journey = 'morning' GROUP BY 1, 2 ORDER BY 2;

-- A test: the share of the audience, the horizon, the winner for the rest at the next ten o'clock.
SELECT marketing.define_broadcast('black_friday', '{"audience": "plan = ''pro''", "campaign": "bf26", "at": "2026-11-28 10:00", "clock": "contact",
	"test": {"variants": {"a": "bf_a", "b": "bf_b"}, "share": 0.5, "measure": {"event": "ordered"}, "after": "4 hours", "no_winner": "a"}}');
SELECT verdict, reason, contacts FROM marketing.preview_broadcast('black_friday');
SELECT marketing.launch_broadcast('black_friday') ~ '^black_friday: launched to 401 contacts; \d+ of them are in the test$';
SELECT state, decide_at FROM marketing.broadcasts WHERE broadcast = 'black_friday';
SELECT marketing.set_clock('2026-11-28 15:00+00');
CALL marketing.work();
CALL marketing.work();
SELECT state, decide_at, winner FROM marketing.broadcasts WHERE broadcast = 'black_friday';
-- Half of those of b order in time, some of a do; what comes after the horizon counts no more.
INSERT INTO orders (person, at) SELECT id, '2026-11-28 16:00+00' FROM got WHERE journey = 'black_friday' AND state = 'sent' AND (step = 'test b' AND id % 2 = 0 OR step = 'test a' AND id % 12 = 0);
SELECT marketing.set_clock('2026-11-28 18:59+00');
INSERT INTO orders (person, at) SELECT id, '2026-11-28 18:59+00' FROM got WHERE journey = 'black_friday' AND step = 'test b' AND state = 'sent' AND id % 2 = 0;
CALL marketing.work();
SELECT state, winner FROM marketing.broadcasts WHERE broadcast = 'black_friday';
SELECT marketing.set_clock('2026-11-28 20:00+00');
INSERT INTO orders (person, at) SELECT id, '2026-11-28 19:30+00' FROM got WHERE journey = 'black_friday' AND step = 'test a' AND state = 'sent';
CALL marketing.work();
SELECT state, decide_at, winner, decided ~ '^a: \d+ of \d+; b: \d+ of \d+; b wins \(z \d+\.\d+\)$' AS decided FROM marketing.broadcasts WHERE broadcast = 'black_friday';
SELECT (regexp_match(decided, 'b: (\d+)'))[1]::int = (SELECT count(*) FROM got WHERE journey = 'black_friday' AND step = 'test b' AND state = 'sent' AND id % 2 = 0) AS b,
	(regexp_match(decided, 'a: (\d+)'))[1]::int = (SELECT count(*) FROM got WHERE journey = 'black_friday' AND step = 'test a' AND state = 'sent' AND id % 12 = 0) AS a
FROM marketing.broadcasts WHERE broadcast = 'black_friday';
\set ECHO none
\o /dev/null
SELECT format('SELECT marketing.set_clock(%L);', t), 'CALL marketing.work();' FROM generate_series('2026-11-28 21:00+00'::timestamptz, '2026-11-30 00:00+00', '1 hour') AS t \gexec
\o
\set ECHO all
SELECT p.tz, g.settled_at, count(*) > 20 AS many FROM got AS g JOIN people AS p USING (id) WHERE journey = 'black_friday' AND step = 'winner b' AND state = 'sent' GROUP BY 1, 2 ORDER BY 2;
-- Everybody once.
SELECT count(*) = count(DISTINCT id) AS once, count(*) AS messages, count(*) FILTER (WHERE step ~ 'test') BETWEEN 150 AND 250 AS half,
	bool_and(template = CASE step WHEN 'test a' THEN 'bf_a' ELSE 'bf_b' END) AS templates FROM got WHERE journey = 'black_friday';
SELECT part, runs > 0 AS runs, sent > 0 AS sent FROM marketing.journey_report('black_friday', by => 'version');
SELECT count(*) FROM marketing_internal.broadcast_audience AS a JOIN marketing_internal.broadcast USING (broadcast_id) WHERE name = 'black_friday' AND NOT tested;

-- No difference: the variant that was named; cancelled while the test goes on: nobody else gets it.
SELECT marketing.define_broadcast(b, '{"audience": "plan = ''pro''", "test": {"variants": {"x y": "bf_a", "b": "bf_b", "c": "letter"}, "share": 0.3, "measure": {"event": "email_opened"}, "after": "1 hour", "no_winner": "c"}}') FROM unnest('{even,stopped}'::text[]) AS b;
SELECT count(marketing.launch_broadcast(b)) FROM unnest('{even,stopped}'::text[]) AS b;
CALL marketing.work();
CALL marketing.work();
SELECT regexp_replace(marketing.cancel_broadcast('stopped'), '\d\d\d', 'NNN');
SELECT marketing.cancel_broadcast('stopped');
SELECT marketing.set_clock('2026-11-30 02:00+00');
CALL marketing.work();
CALL marketing.work();
SELECT broadcast, state, winner, regexp_replace(decided, '\d+', 'N', 'g') AS decided FROM marketing.broadcasts WHERE broadcast IN ('even', 'stopped') ORDER BY 1;
SELECT journey, step, count(*) > 0 AS sent FROM got WHERE journey IN ('even', 'stopped') AND state = 'sent' GROUP BY 1, 2 ORDER BY 1, 2;

-- Cancelled before its time: no message at all.
SELECT marketing.define_broadcast('never', '{"audience": "plan = ''pro''", "send": "letter", "at": "2026-12-01 10:00"}');
SELECT marketing.launch_broadcast('never');
CALL marketing.work();
SELECT marketing.cancel_broadcast('never');
SELECT marketing.set_clock('2026-12-02 00:00+00');
CALL marketing.work();
SELECT count(*) FROM got WHERE journey = 'never';

-- As the role that launches it, also the version of the winner; its audience enters by batches.
CREATE ROLE regress_caster;
GRANT USAGE ON SCHEMA marketing TO regress_caster;
GRANT EXECUTE ON FUNCTION marketing.launch_broadcast(text), marketing.define_broadcast(text, jsonb) TO regress_caster;
GRANT SELECT ON people TO regress_caster;
SET ROLE regress_caster;
SELECT marketing.define_broadcast('theirs', '{"audience": "id <= 100 and email is not null", "test": {"variants": {"a": "bf_a", "b": "bf_b"}, "share": 0.5, "measure": {"event": "ordered"}, "after": "1 hour", "no_winner": "b"}}');
SELECT marketing.launch_broadcast('theirs') IS NOT NULL;
RESET ROLE;
CALL marketing.work();
CALL marketing.work();
SELECT marketing.set_clock('2026-12-02 02:00+00');
CALL marketing.work();
SELECT v.version, v.activated_by, b.launched_by, b.winner FROM marketing_internal.journey_version AS v JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing_internal.broadcast AS b USING (name) WHERE name = 'theirs' ORDER BY 1;
SELECT marketing.drop_broadcast('theirs');
DROP OWNED BY regress_caster;
DROP ROLE regress_caster;
INSERT INTO people SELECT i, 'p' || i || '@example.com', 'UTC', 'bulk' FROM generate_series(1001, 12000) AS i;
CALL marketing.work();
SELECT marketing.define_broadcast(b, '{"audience": "plan = ''bulk''", "send": "letter", "at": "2026-12-05 10:00"}') FROM unnest('{bulk,bulk2}'::text[]) AS b;
SELECT marketing.launch_broadcast('bulk');
SELECT count(*), bool_or(entered) AS entered FROM marketing_internal.broadcast_audience JOIN marketing_internal.broadcast USING (broadcast_id) WHERE name = 'bulk';
SELECT entered_to FROM marketing_internal.broadcast WHERE name = 'bulk';
CALL marketing.work();
SELECT step, state, contacts FROM marketing.journey_status('bulk') WHERE contacts > 0;
SELECT count(*), count(DISTINCT contact_id) FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'bulk';
SELECT count(*) FROM marketing_internal.broadcast_audience JOIN marketing_internal.broadcast USING (broadcast_id) WHERE name = 'bulk';
SELECT entered_to FROM marketing_internal.broadcast WHERE name = 'bulk';
-- Cancelled before they have entered, nobody does.
SELECT marketing.launch_broadcast('bulk2');
SELECT marketing.cancel_broadcast('bulk2');
CALL marketing.work();
SELECT count(*) FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'bulk2';
-- In the midst: a row that merging moved to a number that was passed enters, too.
UPDATE marketing_internal.broadcast SET state = 'sending', entered_to = 11000 WHERE name = 'bulk2';
INSERT INTO marketing_internal.broadcast_audience SELECT broadcast_id, _contact_id, false FROM marketing_internal.broadcast, marketing.contacts WHERE name = 'bulk2' AND contact IN ('1001', '12000');
SELECT marketing.activate_journey('bulk2');
CALL marketing.work();
SELECT count(*) FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'bulk2';
SELECT marketing.drop_broadcast(b) FROM unnest('{bulk,bulk2}'::text[]) AS b;

-- Once more to those who got it and did not open it; what a machine opened is not opened.
CREATE TABLE marketing_internal.message_hit_rest PARTITION OF marketing_internal.message_hit DEFAULT;
INSERT INTO marketing_internal.message_hit (contact_id, message_id, occurred_at, channel, template, journey, step, topic_id, machine)
	SELECT m.contact_id, m.message_id, marketing.now(), 'email', m.template, m.journey, m.step, m.topic_id, c.contact::int % 3 = 0
	FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.journey = 'letter' AND m.state = 'sent' AND c.contact::int % 2 = 0;
SELECT marketing.define_broadcast('again', '{"resend_of": "letter", "exclude": "id = 27", "send": "letter"}');
SELECT marketing.launch_broadcast('again');
CALL marketing.work();
SELECT count(*), bool_and(id % 2 = 1 OR id % 3 = 0) AS unopened, bool_or(id = 27) AS excluded FROM got WHERE journey = 'again' AND state = 'sent';
SELECT marketing.define_journey('taken', '{"steps": [{"send": "letter"}]}');
SELECT marketing.define_broadcast('taken', '{"audience": "id = 1", "send": "letter"}');
SELECT marketing.launch_broadcast('taken');
SELECT marketing.drop_broadcast('taken');
SELECT marketing.drop_broadcast('again');
SELECT count(*) FROM marketing.journeys WHERE journey = 'again';
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(22, 'letter') WHERE verdict = 'no';
-- Its rules are asked with the rights of who launched it, or not at all.
SELECT marketing.define_broadcast('few', '{"audience": "id = 1", "send": "letter"}'), marketing.launch_broadcast('few');
CALL marketing.work();
SELECT gate, verdict, detail FROM marketing.why_not_sent(22, 'few') WHERE gate = 'audience';
UPDATE marketing_internal.broadcast SET launched_by = 'nobody of this name' WHERE name = 'few';
SELECT gate, verdict, detail FROM marketing.why_not_sent(22, 'few') WHERE gate = 'audience';
