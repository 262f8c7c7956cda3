-- Journeys on the wall of every zone, beside what zone_oracle.py expects: its files have been copied into people, probes,
-- live and expected. What is simulated is each change of each clock; what is done in truth, one of each zone at the
-- instants of `live`, and dates.
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE INDEX ON entries (person, at);
ALTER TABLE people ADD PRIMARY KEY (id);
ALTER TABLE entries ADD PRIMARY KEY (id);
SELECT marketing.set_clock('2000-01-01 00:00+00');
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Hi', text => 'Hello');
SELECT marketing.define_holiday(day::date, 'a holiday') FROM unnest('{2024-11-03,2025-03-30,2026-03-29,2026-03-30}'::text[]) AS day;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_events('entries', event => 'came', contact => 'person', contact_source => 'people', occurred_at => 'at');
CREATE TABLE kinds (kind text PRIMARY KEY, definition jsonb, told text, yearly boolean DEFAULT false);
INSERT INTO kinds SELECT kind, '{"entry": {"event": "came", "key": "id"}, "reentry": "always"}'::jsonb || rest, told FROM (VALUES
	('days', '{"steps": [{"wait": "2 days"}, {"exit": "x"}]}'::jsonb, 'exited'),
	('hours', '{"steps": [{"wait": "48 hours"}, {"exit": "x"}]}', 'exited'),
	('day_hours', '{"steps": [{"wait": "1 day 12 hours"}, {"exit": "x"}]}', 'exited'),
	('month', '{"steps": [{"wait": "1 month"}, {"exit": "x"}]}', 'exited'),
	('at', '{"steps": [{"wait_for_time": {"at": "02:30"}}, {"exit": "x"}]}', 'exited'),
	('between', '{"steps": [{"wait_for_time": {"between": ["01:30", "03:15"], "days": ["fri", "sun", "mon"], "holidays": "skip"}}, {"exit": "x"}]}', 'exited'),
	('night', '{"steps": [{"wait_for_time": {"between": ["22:00", "02:15"], "days": ["sat", "sun"]}}, {"exit": "x"}]}', 'exited'),
	('quiet', '{"quiet_hours": {"from": "23:00", "to": "02:30"}, "steps": [{"send": "letter"}]}', 'sent'),
	('send_window', '{"send_window": {"between": ["02:15", "04:00"], "days": ["sun", "mon", "wed", "sat"], "holidays": "skip"}, "steps": [{"send": "letter"}]}', 'message')) AS k (kind, rest, told);
INSERT INTO kinds SELECT kind, definition, 'entered', kind ~ 'birthday' FROM (VALUES
	('date', '{"entry": {"date": "day", "at": "02:30"}, "steps": [{"exit": "x"}]}'::jsonb),
	('date_before', '{"entry": {"date": "later", "offset": "-3 days", "at": "00:30"}, "steps": [{"exit": "x"}]}'),
	('date_hours', '{"entry": {"date": "day", "offset": "-36 hours", "at": "01:45"}, "steps": [{"exit": "x"}]}'),
	('birthday', '{"entry": {"anniversary": "born", "at": "01:30"}, "reentry": "always", "steps": [{"exit": "x"}]}'),
	('birthday_mar1', '{"entry": {"anniversary": "born", "offset": "-1 day", "at": "02:30", "leap": "mar1"}, "reentry": "always", "steps": [{"exit": "x"}]}')) AS k (kind, definition);

CREATE FUNCTION begin_with(which text) RETURNS void LANGUAGE sql AS $$
	SELECT marketing.define_journey(kind, definition) FROM kinds WHERE kind ~ which ORDER BY kind;
	SELECT marketing.activate_journey(kind) FROM kinds WHERE kind ~ which ORDER BY kind $$;

-- Dates in truth: when everybody is next due.
CREATE TABLE done (kind text, person int, probe int, at timestamptz);
CREATE PROCEDURE note_dates(which text) LANGUAGE sql AS $$
	INSERT INTO done SELECT j.name, k.external_id::int, 0, d.at FROM marketing_internal.journey_date AS d
	JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing_internal.contact_key AS k USING (contact_id) WHERE j.name ~ which $$;
SELECT begin_with('^date');
CALL marketing.work();
CALL note_dates('^date');
SELECT marketing.drop_journey(kind) FROM kinds WHERE kind ~ '^date';
CREATE TABLE started AS SELECT min(at) + interval '6 months' AS at FROM expected WHERE kind = 'birthday';
SELECT marketing.set_clock(at) FROM started;
SELECT begin_with('^birthday');
CALL marketing.work();
CALL note_dates('^birthday');
SELECT marketing.drop_journey(kind) FROM kinds WHERE kind ~ '^birthday';

-- Waits, windows and quiet hours in truth, at each instant for one of each zone: what is due when.
SELECT begin_with('^(?!date|birthday)');
CREATE PROCEDURE note_live(t timestamptz) LANGUAGE sql AS $$
	-- Who is within a window has gone through at once.
	INSERT INTO done SELECT j.name, l.person, l.id, coalesce(e.ended_at, e.due_at, m.next_at)
	FROM live AS l JOIN marketing_internal.enrollment AS e ON e.key = l.id::text JOIN marketing_internal.journey AS j USING (journey_id)
	LEFT JOIN marketing_internal.message AS m ON m.contact_id = e.contact_id AND m.enrollment_id = e.enrollment_id WHERE l.at = t $$;
SELECT format('SELECT marketing.set_clock(%L)', at), format('INSERT INTO entries SELECT * FROM live WHERE at = %L', at), 'CALL marketing.work()', format('CALL note_live(%L)', at)
FROM (SELECT DISTINCT at FROM live) AS l ORDER BY at \gexec

-- Simulated over all the years.
CREATE TABLE told (kind text, person int, probe int, at timestamptz);
SELECT marketing.set_clock((SELECT max(at) + interval '1 day' FROM expected));
DO $$
DECLARE k kinds;
BEGIN
	FOR k IN SELECT * FROM kinds LOOP
		INSERT INTO told WITH s AS MATERIALIZED (SELECT * FROM marketing.simulate_journey(k.definition, (SELECT at FROM started), marketing.now()))
		SELECT k.kind, s.contact::int, coalesce(substring(e.detail FROM 'key (\d+)$')::int, 0), s.at
		FROM s JOIN s AS e ON e.contact = s.contact AND e.run = s.run AND e.what = 'entered' WHERE s.what = k.told;
	END LOOP;
END $$;

-- What differs: of dates in truth the next one counts, of what is simulated each from the start on.
CREATE VIEW wrong AS
	WITH e AS MATERIALIZED (SELECT x.*, k.yearly FROM expected AS x JOIN kinds AS k USING (kind) WHERE NOT k.yearly OR x.at > (SELECT at FROM started)),
		truth AS (SELECT kind, person, probe, min(at) AS at FROM e WHERE probe = 0 OR probe IN (SELECT id FROM live) GROUP BY 1, 2, 3),
		simulated AS (SELECT kind, person, probe, at FROM e WHERE kind !~ '^date' OR at > (SELECT at FROM started))
	(SELECT 'not done' AS how, * FROM (SELECT * FROM truth EXCEPT ALL SELECT * FROM done) AS a)
	UNION ALL (SELECT 'done', * FROM (SELECT * FROM done EXCEPT ALL SELECT * FROM truth) AS a)
	UNION ALL (SELECT 'not simulated', * FROM (SELECT * FROM simulated EXCEPT ALL SELECT * FROM told) AS a)
	UNION ALL (SELECT 'simulated', * FROM (SELECT * FROM told EXCEPT ALL SELECT * FROM simulated) AS a);
