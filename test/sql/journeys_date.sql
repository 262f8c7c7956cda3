-- Entries by dates and anniversaries, waits for a date: exact under updates, zones, deletes, leap days.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text, birth_date date, trial_ends timestamptz, day timestamp, name text);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE VIEW runs AS
	SELECT c.contact, j.name AS journey, e.entered_at, e.key, e.entry, e.state, e.due_at
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 2, 3, 1;
CREATE VIEW next AS
	SELECT c.contact, j.name AS journey, d.at, d.day
	FROM marketing_internal.journey_date AS d JOIN marketing_internal.journey AS j USING (journey_id)
	JOIN marketing.contacts AS c ON c._contact_id = d.contact_id ORDER BY 2, 1;
-- What is wrong.
SELECT marketing.define_journey('bad', '{"entry": {"anniversary": "birth_dat", "at": "9 o''clock", "leap": "feb29", "offset": "3 dys"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"date": "name", "leap": "mar1"}, "steps": [{"wait_for_time": {"date": "people.nothing"}}, {"wait_for_time": {"date": "2026-12-24", "offset": "1 day"}}]}');
SELECT marketing.define_journey('bad', '{"entry": {"date": "trial_ends", "anniversary": "birth_date"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"date": "trial_ends", "where": "true"}, "steps": [{"wait": "1 day"}]}');

SELECT marketing.define_journey('birthday', '{"entry": {"anniversary": "birth_date", "at": "09:00"}, "steps": [{"wait": "7 days"}]}');
SELECT marketing.define_journey('march', '{"entry": {"anniversary": "contact.birth_date", "leap": "mar1"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('trial', '{"entry": {"date": "people.trial_ends", "offset": "-3 days", "at": "09:00"}, "reentry": "per_key", "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('exact', '{"entry": {"date": "day", "offset": "-2 hours"}, "steps": [{"exit": "x"}]}');
INSERT INTO people (id, email, tz, birth_date) VALUES (1, 'a@x.example', 'Europe/Istanbul', '1990-03-02'), (2, 'b@x.example', 'America/New_York', '1990-03-02'),
	(3, 'c@x.example', 'UTC', '2000-02-29'), (4, 'd@x.example', NULL, NULL), (5, 'e@x.example', 'UTC', '1990-03-01');
SELECT marketing.activate_journey(j) FROM unnest('{birthday,march,trial,exact}'::text[]) AS j;
CALL marketing.work();
SELECT * FROM next;
-- Each at nine o'clock of his own; 5 was at nine today.
SELECT at('2026-03-02 05:59:59+00');
CALL marketing.work();
SELECT count(*) FROM runs WHERE journey = 'birthday';
SELECT at('2026-03-02 06:00+00');
CALL marketing.work();
SELECT * FROM runs WHERE journey = 'birthday';
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(2, 'birthday') WHERE verdict <> 'ok' AND n > 0;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(4, 'birthday') WHERE verdict <> 'ok' AND n > 0;
-- 2 moves to Berlin: it is past nine there.  Somebody is new, somebody goes, somebody gets a date.
UPDATE people SET tz = 'Europe/Berlin' WHERE id = 2;
INSERT INTO people (id, email, tz, birth_date) VALUES (6, 'f@x.example', 'UTC', '1980-03-02'), (7, 'g@x.example', NULL, '1980-03-02');
DELETE FROM people WHERE id = 7;
UPDATE people SET birth_date = '1977-03-02', trial_ends = '2026-03-05 12:00+00' WHERE id = 4;
UPDATE people SET name = 'x' WHERE id = 1;
CALL marketing.work();
SELECT * FROM next;
SELECT at('2026-03-02 08:00+00');
UPDATE people SET tz = 'Asia/Tokyo' WHERE id = 6;
SELECT at('2026-03-02 09:00+00');
CALL marketing.work();
SELECT * FROM runs;
-- The scheduler was away: a change after the instant does not undo it, one before does.
SELECT at('2026-03-10 07:00+00');
UPDATE people SET birth_date = '1990-03-10' WHERE id IN (2, 5);
CALL marketing.work();
SELECT * FROM next WHERE journey = 'birthday' AND contact IN ('2', '5');
SELECT at('2026-03-10 07:30+00');
UPDATE people SET birth_date = '1990-03-11' WHERE id = 5;
SELECT at('2026-03-10 12:00+00');
UPDATE people SET birth_date = '1990-06-01' WHERE id = 2;
CALL marketing.work();
SELECT contact, entered_at, key FROM runs WHERE journey = 'birthday' AND entered_at > '2026-03-03';
SELECT * FROM next WHERE journey = 'birthday';
-- A date put off lets in once more, the same date does not; a timestamp has its own time.
UPDATE people SET trial_ends = '2026-04-01 12:00+00', day = '2026-03-20 18:30' WHERE id = 1;
CALL marketing.work();
SELECT at('2026-04-02 00:00+00');
CALL marketing.work();
SELECT contact, journey, entered_at, key FROM runs WHERE contact = '1' AND journey <> 'birthday' ORDER BY 3;
UPDATE people SET trial_ends = '2026-04-20 12:00+00', day = NULL WHERE id = 1;
SELECT at('2026-04-17 09:00+00');
CALL marketing.work();
SELECT contact, journey, entered_at, key FROM runs WHERE contact = '1' AND journey = 'trial' ORDER BY 3;
-- 29 February in common years, and in a leap year.
SELECT at('2027-03-05 00:00+00');
CALL marketing.work();
SELECT at('2028-03-05 00:00+00');
CALL marketing.work();
SELECT contact, journey, entered_at, key FROM runs WHERE contact = '3' ORDER BY 3, 2;
-- Attributes, dates that are none, and merged contacts.
SELECT marketing.identify('web:x', '{"renewal": "2028-04-01"}'), marketing.identify('web:y', '{"renewal": "soon"}'), marketing.identify('web:z', '{"renewal": "2028-02-30"}');
SELECT marketing.define_journey('renewal', '{"entry": {"date": "renewal"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('renewal');
CALL marketing.work();
SELECT * FROM next WHERE journey = 'renewal';
SELECT marketing.identify('web:x', '{"renewal": "2028-05-01"}');
SELECT marketing.merge_contacts('1', 'web:x');
CALL marketing.work();
SELECT * FROM next WHERE journey = 'renewal';
SELECT at('2028-05-01 00:00+00');
CALL marketing.work();
SELECT contact, entered_at, key, entry FROM runs WHERE journey = 'renewal';

-- A wait for a date: it is waited for as it is now, whatever it was when the wait began.
SELECT marketing.define_journey('waits', '{"steps": [{"wait_for_time": {"date": "trial_ends", "offset": "-1 day", "at": "09:00"}}, {"exit": "done"}]}');
SELECT marketing.activate_journey('waits');
UPDATE people SET trial_ends = '2028-05-10 12:00+00' WHERE id IN (2, 3, 4);
UPDATE people SET trial_ends = NULL WHERE id = 5;
SELECT count(marketing.enroll(i, 'waits')) FROM generate_series(2, 5) AS i;
CALL marketing.work();
SELECT contact, state, due_at FROM runs WHERE journey = 'waits';
UPDATE people SET trial_ends = '2028-05-20 12:00+00' WHERE id = 3;
UPDATE people SET trial_ends = '2028-05-02 12:00+00' WHERE id = 4;
CALL marketing.work();
SELECT contact, state, due_at FROM runs WHERE journey = 'waits';
SELECT at('2028-05-09 09:00+00');
CALL marketing.work();
SELECT contact, state, due_at FROM runs WHERE journey = 'waits';
SELECT marketing.drop_journey(name) FROM marketing_internal.journey ORDER BY 1;
SELECT count(*) FROM marketing_internal.journey_date;
DROP VIEW runs, next;
DROP EXTENSION marketing_automation;
