-- Journeys and the wall of the contact's zone: wait_for_time, send windows, holidays, quiet hours, late schedulers.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text, plan text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Hi', text => 'Hello') IS NOT NULL;
INSERT INTO people VALUES (1, 'a@example.com', 'Europe/Istanbul', NULL), (2, 'b@example.com', 'America/New_York', NULL), (3, 'c@example.com', NULL, NULL);
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW story AS
	SELECT c.contact, j.name AS journey, l.at, l.step, l.what, l.detail
	FROM marketing_internal.enrollment_log AS l JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = l.contact_id ORDER BY c.contact, l.log_id;
CREATE VIEW due AS
	SELECT c.contact, j.name AS journey, e.step, e.state, e.due_at
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY j.name, c.contact;
CREATE FUNCTION start(journey text, definition jsonb) RETURNS void LANGUAGE sql AS $$
	SELECT marketing.define_journey(journey, definition); SELECT marketing.activate_journey(journey); $$;

-- What is wrong is said with its place.
SELECT marketing.define_journey('wrong', '{"quiet_hours": {"from": "21:00"}, "send_window": {"days": ["monday"], "between": ["10:00"]}, "steps": [
	{"wait_for_time": {}}, {"wait_for_time": {"at": "9:00", "zone": "Mars/Base"}}, {"wait_for_time": {"date": "2026-02-30", "days": ["mon"]}},
	{"wait_for_time": {"between": ["10:00", "10:00"], "holidays": "yes"}}, {"wait_for_time": {"att": "10:00"}}]}');

-- Within the window at once, else when it opens next: weekdays, holidays, the contact's zone.
SELECT marketing.define_holiday('2026-03-03', 'a holiday');
SELECT marketing.define_holiday('2026-03-03', 'a holiday');
SELECT marketing.define_holiday('2026-03-03', 'the holiday');
SELECT * FROM marketing.holidays;
SELECT at('2026-02-28 12:00+00');
SELECT start('office', '{"steps": [{"wait_for_time": {"between": ["10:00", "18:00"], "days": ["tue", "wed", "sun"], "holidays": "skip"}, "id": "w"}, {"exit": "open"}]}');
SELECT start('morning', '{"steps": [{"wait_for_time": {"at": "09:00"}, "id": "w"}, {"exit": "nine"}]}');
SELECT start('night', '{"steps": [{"wait_for_time": {"between": ["22:00", "06:00"], "days": ["sat"], "zone": "database"}, "id": "w"}, {"exit": "late"}]}');
SELECT start('eve', '{"steps": [{"wait_for_time": {"date": "2026-12-24", "at": "18:00"}, "id": "w"}, {"exit": "eve"}]}');
SELECT start('past', '{"steps": [{"wait_for_time": {"date": "2025-12-24"}}, {"exit": "gone"}]}');
SELECT count(marketing.enroll(i, j)) FROM generate_series(1, 3) AS i, unnest('{office,morning,night,eve,past}'::text[]) AS j;
CALL marketing.work();
SELECT * FROM due WHERE state = 'due';
SELECT at('2026-03-02 12:00+00');
CALL marketing.work();
SELECT marketing.enroll(i, 'office') FROM generate_series(1, 3) AS i;
CALL marketing.work();
SELECT * FROM due WHERE state = 'due' AND journey = 'office';
SELECT contact, at, what, detail FROM story WHERE journey = 'office' AND what = 'exited';
SELECT marketing.drop_holiday('2026-03-03');
SELECT marketing.drop_holiday('2026-03-03');

-- The zone: the contact's, else that of the segment the journey is entered by, else the database's.
SELECT marketing.define_segment('gold', $$ plan = 'gold' $$, time_zone => 'Asia/Tokyo');
SELECT marketing.define_journey('golden', '{"entry": {"segment_entered": "gold"}, "steps": [{"wait_for_time": {"at": "09:00"}, "id": "w"}, {"wait": "1 day"}]}');
SELECT marketing.activate_journey('golden', existing => 'skip');
UPDATE people SET plan = 'gold';
CALL marketing.work();
SELECT contact, due_at FROM due WHERE journey = 'golden';

-- 2 days keep the hour over a change of the clock, 48 hours do not; a time in the gap is the first after it, one that comes twice the first.
SELECT at('2026-03-06 07:30+00');
SELECT start('two', '{"steps": [{"wait": "2 days", "id": "d"}, {"exit": "2 days"}]}');
SELECT start('hours', '{"steps": [{"wait": "48 hours", "id": "h"}, {"exit": "48 hours"}]}');
SELECT start('gap', '{"steps": [{"wait_for_time": {"date": "2026-03-08", "at": "02:30"}, "id": "w"}, {"exit": "gap"}]}');
SELECT start('overlap', '{"steps": [{"wait_for_time": {"date": "2026-11-01", "at": "01:30"}, "id": "w"}, {"exit": "overlap"}]}');
SELECT count(marketing.enroll(2, j)) FROM unnest('{two,hours,gap,overlap}'::text[]) AS j;
CALL marketing.work();
SELECT journey, due_at, due_at AT TIME ZONE 'America/New_York' AS wall FROM due WHERE journey IN ('two', 'hours', 'gap', 'overlap');

-- Windows in all zones against an oracle that looks at the wall each quarter of an hour: open while the latest time it has shown lies within.
CREATE TABLE zones (id bigint PRIMARY KEY, zone text);
INSERT INTO zones SELECT 1000 + row_number() OVER (ORDER BY name), name FROM pg_timezone_names WHERE name !~ '^(posix|right)/|localtime|posixrules|Factory' AND name ~ '/|UTC';
INSERT INTO people SELECT id, NULL, zone FROM zones;
SELECT start('all', '{"reentry": "always", "steps": [{"wait_for_time": {"between": ["00:30", "03:15"]}, "id": "w"}, {"wait": "1 minute"}]}');
CREATE TABLE starts (at timestamptz);
INSERT INTO starts VALUES ('2026-03-08 00:15+00'), ('2026-03-29 00:45+00'), ('2026-10-25 00:30+00'), ('2026-11-01 06:45+00'), ('2026-04-04 15:45+00'), ('2026-10-03 15:30+00');
DO $$ DECLARE s timestamptz; BEGIN
	FOR s IN SELECT at FROM starts ORDER BY at LOOP
		PERFORM marketing.set_clock(s);
		PERFORM marketing.enroll(id, 'all') FROM zones;
	END LOOP;
END $$;
SELECT at('2026-03-07 00:00+00');
CALL marketing.work();
CREATE TABLE oracle AS
	SELECT id, start, min(t) AS opens FROM (SELECT z.id, s.at AS start, t, max(t AT TIME ZONE z.zone) OVER (PARTITION BY z.id, s.at ORDER BY t) AS shown
		FROM zones AS z CROSS JOIN starts AS s CROSS JOIN LATERAL generate_series(s.at - interval '6 hours', s.at + interval '30 hours', interval '15 minutes') AS t) AS w
	WHERE t >= start AND shown::time >= '00:30' AND shown::time < '03:15' GROUP BY 1, 2;
CREATE TABLE ours AS SELECT e.contact_id, e.entered_at, e.due_at FROM marketing_internal.enrollment AS e
	JOIN marketing_internal.journey AS j USING (journey_id) WHERE j.name = 'all' AND e.step = 'w';
CREATE TABLE who AS SELECT contact::bigint AS id, _contact_id AS contact_id FROM marketing.contacts;
SELECT count(*) > 2000 AS runs, count(*) FILTER (WHERE o.opens IS DISTINCT FROM u.due_at) AS wrong
FROM oracle AS o JOIN who AS w USING (id) JOIN ours AS u ON u.contact_id = w.contact_id AND u.entered_at = o.start;

-- A send comes only while its window is open, also where the scheduler comes late.
SELECT at('2026-06-01 05:00+00');
SELECT start('windowed', '{"send_window": {"between": ["09:00", "12:00"]}, "steps": [{"send": "letter"}]}');
SELECT marketing.enroll(1, 'windowed');
CALL marketing.work();
SELECT step, state, due_at FROM due WHERE journey = 'windowed';
SELECT at('2026-06-01 15:00+00');
CALL marketing.work();
SELECT step, state, due_at FROM due WHERE journey = 'windowed';
SELECT at('2026-06-02 06:00+00');
CALL marketing.work();
SELECT contact, at, what FROM story WHERE journey = 'windowed' AND what IN ('message', 'sent');

-- What is transactional is held by no window and by no quiet hours, whether it comes to the send at once or after a wait.
SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT start('receipts', '{"send_window": {"between": ["09:00", "12:00"]}, "quiet_hours": {"from": "12:00", "to": "09:00"}, "steps": [{"send": "receipt"}, {"wait": "10 minutes"}, {"send": "receipt", "id": "again"}, {"send": "letter"}]}');
SELECT at('2026-06-02 15:00+00');
SELECT marketing.enroll(1, 'receipts');
CALL marketing.work();
SELECT at('2026-06-02 15:10+00');
CALL marketing.work();
SELECT contact, step, state, reason FROM marketing.messages WHERE journey = 'receipts' ORDER BY message;
SELECT step, state, due_at FROM due WHERE journey = 'receipts';

-- Quiet hours of a journey replace those of the channel for its messages.
SELECT marketing.set_quiet_hours('email', '05:00', '23:00');
SELECT start('quiet', '{"quiet_hours": {"from": "22:00", "to": "08:00"}, "steps": [{"send": "letter"}]}');
SELECT start('loud', '{"steps": [{"send": "letter"}]}');
SELECT at('2026-06-03 06:00+00');
SELECT marketing.enroll(i, j) FROM generate_series(1, 3) AS i, unnest('{quiet,loud}'::text[]) AS j ORDER BY 1;
CALL marketing.work();
SELECT contact, journey, state, reason FROM marketing.messages WHERE journey IN ('quiet', 'loud') ORDER BY 2, 1;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(3, 'quiet') WHERE n = 16;
SELECT at('2026-06-03 13:00+00');
CALL marketing.work();
SELECT contact, journey, state, reason FROM marketing.messages WHERE journey IN ('quiet', 'loud') ORDER BY 2, 1;

-- A rule that time makes true before the time out wakes a wait, also when the scheduler comes after both; an exit likewise.
SELECT at('2026-07-01 10:00+00');
INSERT INTO orders (person, at) VALUES (1, marketing.now());
SELECT start('late', '{"steps": [{"wait_until": [{"if": "last ordered more than 3 hours ago", "then": [{"exit": "old"}]}], "timeout": "5 hours", "else": [{"exit": "timed out"}]}]}');
SELECT start('early', '{"steps": [{"wait_until": [{"if": "last ordered more than 3 hours ago", "then": [{"exit": "old"}]}], "timeout": "3 hours", "else": [{"exit": "timed out"}]}]}');
SELECT marketing.define_list('done');
SELECT start('exits', '{"exit_on": [{"if": "last ordered more than 3 hours ago"}], "steps": [{"wait": "4 hours"}, {"add_to_list": "done"}]}');
SELECT count(marketing.enroll(1, j)) FROM unnest('{late,early,exits}'::text[]) AS j;
CALL marketing.work();
SELECT at('2026-07-02 10:00+00');
CALL marketing.work();
SELECT journey, at, step, what, detail FROM story WHERE journey IN ('late', 'early', 'exits') ORDER BY journey, at, what;

-- A message that is later than max_lateness behind its instant never comes: after a time without workers, and behind quiet hours.
SELECT marketing.define_journey('wrong', '{"max_lateness": "soon", "steps": [{"send": "letter"}]}');
SELECT marketing.set_quiet_hours('email', NULL, NULL);
SELECT start('timely', '{"max_lateness": "2 hours", "steps": [{"wait": "1 hour"}, {"send": "letter", "otherwise": [{"exit": "too late"}]}, {"wait": "1 hour"},
	{"send": "letter", "id": "second", "otherwise": [{"exit": "too late again"}]}, {"exit": "in time"}]}');
SELECT start('shut', '{"max_lateness": "2 hours", "send_window": {"between": ["09:00", "12:00"]}, "steps": [{"send": "letter", "otherwise": [{"exit": "too late"}]}]}');
SELECT start('still', '{"max_lateness": "2 hours", "quiet_hours": {"from": "10:00", "to": "20:00", "zone": "UTC"}, "steps": [{"send": "letter", "otherwise": [{"exit": "too late"}]}]}');
SELECT at('2026-08-01 06:29+00');
SELECT marketing.enroll(2, 'timely');
SELECT at('2026-08-01 06:30+00');
SELECT marketing.enroll(1, 'shut');
SELECT marketing.enroll(1, 'timely');
CALL marketing.work();
SELECT at('2026-08-01 09:30+00');
CALL marketing.work();
SELECT at('2026-08-01 11:00+00');
SELECT marketing.enroll(1, 'still');
SELECT marketing.enroll(1, 'shut');
CALL marketing.work();
SELECT at('2026-08-01 13:30+00');
CALL marketing.work();
SELECT contact, journey, at, step, what, detail FROM story WHERE journey IN ('timely', 'shut', 'still') AND what <> 'message' ORDER BY journey, contact, at, what;
SELECT contact, journey, step, state, reason FROM marketing.messages WHERE journey IN ('timely', 'shut', 'still') ORDER BY 1, 2, 3;
DROP VIEW story, due;
DROP EXTENSION marketing_automation;
