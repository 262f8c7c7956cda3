-- Simulated journeys see what their own steps have done: lists, attributes, points, stages, messages, entries; and what all share: how many enter.
-- What the journeys did in truth is told first, then all trace of it is taken away, and the same is simulated over the same facts.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text);
CREATE TABLE orders (id bigint PRIMARY KEY, person bigint REFERENCES people, total int, at timestamptz);
CREATE INDEX ON orders (person, at);
CREATE FUNCTION random_of(seed text, n int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT abs(hashtext(md5(seed)) % n) $$;
SELECT marketing.set_clock('2026-05-01 00:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template(t, topic => 'news', subject => 'Hi', text => 'Hello') IS NOT NULL FROM unnest('{letter,offer}'::text[]) AS t;
SELECT marketing.define_template('bill', topic => 'transactional', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_cap('letters', 2, '5 days', topic => 'news', when_over => 'skip');
SELECT marketing.define_list(l) FROM unnest('{done,twice}'::text[]) AS l;
SELECT marketing.define_score_model('lead', half_life => '2 days');
SELECT marketing.define_score_rule('lead', 'order', event => 'ordered', points => 3);
SELECT marketing.define_stage(s, p) FROM (VALUES ('visitor', 1), ('buyer', 2), ('fan', 3)) AS s (s, p);
INSERT INTO people SELECT i, 'p' || i || '@example.com', (ARRAY['Europe/Istanbul', 'America/New_York', 'UTC'])[1 + i % 3] FROM generate_series(1, 24) AS i;
SELECT marketing.identify(i, '{"seen": "0", "colour": "blue"}') FROM generate_series(1, 24) AS i;
SELECT marketing.define_segment('quiet', $$ last ordered more than 2 days ago $$);
CREATE TABLE definitions (name text, definition jsonb);
INSERT INTO definitions VALUES
-- A list that a step fills is read by a branch, a filter, an exit and a wait; another step empties it.
('lists', '{"entry": {"event": "ordered"}, "reentry": "always", "filter": "not in list twice", "exit_on": [{"if": "in list twice and any ordered in 3 hours"}],
	"steps": [{"branch": [{"if": "in list done", "then": [{"add_to_list": "twice"}, {"remove_from_list": "done"}]}, {"else": [{"add_to_list": "done"}]}]}, {"wait": "5 hours"},
		{"wait_until": {"if": "not in list done"}, "timeout": "1 day", "else": [{"exit": "on it"}]}, {"exit": "off it"}]}'),
-- Attributes, points and stages.
('marks', '{"entry": {"event": "ordered"}, "reentry": "always", "max_live": 3, "steps": [{"branch": [{"if": "seen = ''0''", "then": [{"update": {"seen": "1", "colour": "red"}}]}, {"if": "seen = ''1'' and colour = ''red''", "then": [{"update": {"seen": "2", "colour": null}}]}, {"else": [{"exit": "seen"}]}]},
		{"score": "lead", "points": 5}, {"stage": "buyer"}, {"wait": "3 hours"},
		{"branch": [{"if": "score(lead) > 12", "then": [{"stage": "fan"}]}, {"if": "stage buyer", "then": [{"score": "lead", "points": 1}]}]}, {"wait_until": {"if": "score(lead) < 8"}, "timeout": "4 days"}, {"branch": [{"if": "stage fan", "then": [{"exit": "fan"}]}]}, {"exit": "end"}]}'),
-- Its own messages: sent, and skipped by the cap that they fill.
('mails', '{"entry": {"event": "ordered"}, "reentry": "always", "max_live": 2, "exit_on": [{"if": "count(email_sent where (template = ''letter'')) in 3 days >= 3"}],
	"steps": [{"send": "letter", "otherwise": [{"branch": [{"if": "count(email_skipped) in 10 days >= 2", "then": [{"exit": "skipped again"}]}]}]}, {"wait": "6 hours"}, {"branch": [{"if": "count(email_sent) in 2 days >= 2", "then": [{"send": "bill"}]}, {"else": [{"send": "offer"}]}]},
		{"wait_until": {"if": "no email_sent where (template = ''offer'') in 1 day"}, "timeout": "40 hours"}, {"exit": "end"}]}'),
-- Its own entries and ends.
('again', '{"entry": {"event": "ordered"}, "reentry": "always", "steps": [{"branch": [{"if": "count(journey_entered where (journey = ''again'')) in 2 days >= 3", "then": [{"exit": "often"}]}]}, {"wait": "7 hours"}, {"branch": [{"if": "any journey_exited where (journey = ''again'' and reason = ''often'') in 1 day", "then": [{"exit": "has been often"}]}]}]}'),
-- How many enter: ever, in a day, by time.
('few', '{"entry": {"event": "ordered", "where": "total > 3"}, "reentry": "always", "max_entries": 11, "steps": [{"wait": "1 hour"}]}'),
('daily', '{"entry": {"event": "ordered"}, "reentry": {"every": "20 hours"}, "max_entries": {"at_most": 4, "per": "day"}, "steps": [{"wait": "1 hour"}]}'),
('surge', '{"entry": {"segment_entered": "quiet"}, "surge_limit": 0.04, "exit_on": [{"event": "ordered"}], "steps": [{"wait": "3 days"}]}');
INSERT INTO orders SELECT 10000 + i, 1 + random_of('o' || i, 24), random_of('t' || i, 9), '2026-04-20 00:00+00'::timestamptz + random_of('a' || i, 200) * interval '1 hour' FROM generate_series(1, 20) AS i;
CALL marketing.work();
SELECT marketing.set_clock('2026-05-02 00:00+00');
CALL marketing.work();
SELECT marketing.define_journey(name, definition) FROM definitions ORDER BY name;
SELECT marketing.activate_journey(name, existing => CASE WHEN definition -> 'entry' ? 'segment_entered' THEN 'skip' END) FROM definitions ORDER BY name;
\set ECHO none
\o /dev/null
SELECT format('SELECT marketing.set_clock(%L);', t), CASE WHEN random_of(t || 'what', 3) > 0
	THEN format('INSERT INTO orders VALUES (%s, %s, %s, %L);', n, 1 + random_of(t || 'who', 6) * random_of(t || 'much', 5), random_of(t || 'total', 9), t) END, 'CALL marketing.work();'
FROM generate_series('2026-05-02 00:30+00'::timestamptz, '2026-05-12 00:00+00', interval '30 minutes') WITH ORDINALITY AS g (t, n) ORDER BY t \gexec
\o
\set ECHO all
CREATE TABLE story AS SELECT j.name AS journey, c.contact, l.at, l.step, l.what, regexp_replace(l.detail, ' #\d+$', '') AS detail
	FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing.contacts AS c ON c._contact_id = l.contact_id;
-- Each path was taken.
SELECT journey, what, detail, count(*) > 2 AS often FROM story WHERE what IN ('branch', 'exited', 'not sent', 'held') OR what = 'refused' AND detail ~ 'max_entries' OR what = 'woken' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT sum(n) > 0 AS counted FROM (SELECT count(*) AS n FROM marketing_internal.score_entry UNION ALL SELECT count(*) FROM marketing_internal.list_member) AS x;
DELETE FROM marketing_internal.score_entry;
DELETE FROM marketing_internal.list_member;
DELETE FROM marketing_internal.contact_stage;
DELETE FROM marketing_internal.message_log;
DELETE FROM marketing_internal.enrollment;
UPDATE marketing_internal.contact SET attributes = '{"seen": "0", "colour": "blue"}';
CREATE TABLE told AS SELECT d.name AS journey, s.* FROM definitions AS d CROSS JOIN LATERAL marketing.simulate_journey(d.name, '2026-05-02 00:00+00') AS s;
CREATE VIEW difference AS
	SELECT 'missing' AS how, * FROM (SELECT * FROM story EXCEPT ALL SELECT journey, contact, at, step, what, detail FROM told) AS x
	UNION ALL SELECT 'too many', * FROM (SELECT journey, contact, at, step, what, detail FROM told WHERE what NOT IN ('inside', 'deferred') AND (what, detail) IS DISTINCT FROM ('not sent', 'exited') EXCEPT ALL SELECT * FROM story) AS x;
SELECT s.journey, count(*) > 15 AS lines, (SELECT count(*) FROM difference AS d WHERE d.journey = s.journey) AS differ FROM story AS s GROUP BY 1 ORDER BY 1;
SELECT * FROM difference ORDER BY at, contact, what LIMIT 10;

-- Entries by a schedule: who is a member then, at the minutes that five fields tell.
SELECT count(*) > 30 AS entries, count(DISTINCT at) AS instants FROM marketing.simulate_journey('{"entry": {"schedule": "0 9 * * mon-fri", "segment": "quiet"}, "reentry": "always", "steps": [{"exit": "x"}]}', '2026-05-02 00:00+00') WHERE what = 'entered';
SELECT count(*) AS differ FROM (SELECT contact, at FROM marketing.simulate_journey('{"entry": {"schedule": "0 9 * * mon-fri", "segment": "quiet"}, "reentry": "always", "steps": [{"exit": "x"}]}', '2026-05-02 00:00+00') WHERE what = 'entered') AS s
FULL JOIN (SELECT m.contact, t.at FROM generate_series('2026-05-02 09:00+00'::timestamptz, '2026-05-12', '1 day') AS t (at) CROSS JOIN LATERAL marketing.segment_members('quiet', t.at) AS m WHERE extract(isodow FROM t.at) < 6) AS m USING (contact, at)
WHERE s.contact IS NULL OR m.contact IS NULL;
SELECT e.schedule, (SELECT count(*) FROM marketing.simulate_journey(jsonb_build_object('entry', jsonb_build_object('schedule', e.schedule), 'filter', 'email is not null', 'reentry', 'always', 'steps', '[{"exit": "x"}]'::jsonb), '2026-01-01 00:00+00', contacts => '{1}') AS s
	FULL JOIN (SELECT t AS at FROM generate_series('2026-01-01 00:01+00'::timestamptz, '2026-05-12', '1 minute') AS t WHERE CASE e.schedule
		WHEN '*/15 8-10 * * 1-5' THEN extract(minute FROM t) IN (0, 15, 30, 45) AND extract(hour FROM t) IN (8, 9, 10) AND extract(isodow FROM t) < 6
		WHEN '0 0 1,15 * *' THEN to_char(t, 'HH24:MI') = '00:00' AND extract(day FROM t) IN (1, 15)
		WHEN '30 6 13 * 5' THEN to_char(t, 'HH24:MI') = '06:30' AND (extract(day FROM t) = 13 OR extract(dow FROM t) = 5)
		WHEN '5 4 * feb,may sun' THEN to_char(t, 'HH24:MI') = '04:05' AND extract(month FROM t) IN (2, 5) AND extract(dow FROM t) = 0
		WHEN '10/20 22 */10 * *' THEN extract(minute FROM t) IN (10, 30, 50) AND extract(hour FROM t) = 22 AND extract(day FROM t) IN (1, 11, 21, 31)
		WHEN '0 12 * * 7' THEN to_char(t, 'HH24:MI') = '12:00' AND extract(dow FROM t) = 0 END) AS x USING (at)
	WHERE (s.what = 'entered' AND x.at IS NULL) OR s.what IS NULL) AS differ
FROM unnest('{*/15 8-10 * * 1-5,"0 0 1,15 * *",30 6 13 * 5,"5 4 * feb,may sun",10/20 22 */10 * *,0 12 * * 7}'::text[]) AS e (schedule);
-- Numbers beyond all fields: as a minute never, as a step only the first.
SELECT e.schedule, string_agg(DISTINCT to_char(s.at AT TIME ZONE 'UTC', 'MI'), ' ') AS minutes FROM unnest('{4294967296 * * * *,1/2147483647 * * * *,1/99999999999999999999 * * * *}'::text[]) AS e (schedule)
	LEFT JOIN LATERAL marketing.simulate_journey(jsonb_build_object('entry', jsonb_build_object('schedule', e.schedule), 'filter', 'email is not null', 'reentry', 'always', 'steps', '[{"exit": "x"}]'::jsonb), '2026-05-10 00:00+00', '2026-05-10 06:00+00') AS s ON true GROUP BY 1 ORDER BY 1;

-- An error of a filter or a where is the simulation's alone; it works where nothing may be written, also with an event that nothing has named.
CREATE TABLE errors AS SELECT count FROM marketing_internal.capture_status() AS s (item, count) WHERE item = 'errors swallowed at commit';
BEGIN READ ONLY;
SELECT detail, count(*) FROM marketing.simulate_journey('{"entry": {"event": "ordered", "where": "1 / (total - 3) >= 0"}, "filter": "1 / (people.id - 4) < 2", "exit_on": [{"event": "push_clicked"}], "steps": [{"update": {"seen": "x"}}, {"add_to_list": "done"}, {"send": "letter"}]}', '2026-05-02 00:00+00')
WHERE what = 'refused' GROUP BY 1 ORDER BY 1;
COMMIT;
SELECT count(*) FROM (SELECT count FROM marketing_internal.capture_status() AS s (item, count) WHERE item = 'errors swallowed at commit' EXCEPT ALL SELECT count FROM errors) AS x;
SELECT count(*) FROM marketing_internal.event_type WHERE name = 'push_clicked';
-- Nothing of it is left in the session.
SELECT value AS on_list FROM marketing.preview_segment('in list done') WHERE what = 'contacts';
SELECT marketing_internal.supposed_attributes(1, '{"own": 1}'), (SELECT count(*) FROM marketing_internal.supposed_rows('email_sent'));
DROP EXTENSION marketing_automation CASCADE;
