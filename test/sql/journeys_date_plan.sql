-- Activating a journey that is entered by a date leaves a plan, whoever has how many contacts; the answer does not depend on how far it has come.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, day date, tz text DEFAULT 'UTC');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.set_clock('2026-03-01 10:00+00');
CREATE FUNCTION at(ts text) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(ts::timestamptz); $$;
CREATE FUNCTION version(hour text) RETURNS text LANGUAGE sql AS $$
	SELECT marketing.define_journey('j', format('{"entry": {"date": "day", "at": "%s"}, "reentry": "always", "steps": [{"exit": "x"}]}', hour)::jsonb); SELECT marketing.activate_journey('j') $$;
CREATE VIEW runs AS SELECT c.contact, e.version, e.entered_at FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY c.contact::int, e.entered_at;
CREATE VIEW plan AS SELECT since, keep, done FROM marketing_internal.journey_date_plan ORDER BY 1;
INSERT INTO people SELECT i, 'p' || i || '@x.example', '2026-03-01' FROM generate_series(1, 1500) AS i;
CALL marketing.work();
-- One row, whoever there is.
SELECT version('12:00');
SELECT since, keep, done FROM plan;
SELECT count(*) FROM marketing_internal.enrollment_signal;
SELECT n, verdict, detail, next FROM marketing.why_not_sent(2, 'j') WHERE verdict <> 'ok' AND n > 0;
-- Who changes before it has come to him, and what falls due meanwhile: each enters once, at his instant by the date he has.
UPDATE people SET day = '2026-03-02' WHERE id = 2;
UPDATE people SET day = NULL WHERE id = 3;
SELECT at('2026-03-01 13:00+00');
CALL marketing.work();
SELECT count(*), min(entered_at), max(entered_at), count(DISTINCT contact) FROM runs;
SELECT contact FROM generate_series(1, 4) AS i JOIN runs ON contact = i::text ORDER BY 1;
SELECT count(*) FROM plan;
SELECT count(*), min(at), max(at) FROM marketing_internal.journey_date;
DELETE FROM people WHERE id > 6;
CALL marketing.work();
-- Two versions one after the other before it has come to anybody.
UPDATE people SET day = '2026-03-03';
CALL marketing.work();
SELECT at('2026-03-03 14:00+00');
SELECT version('15:00');
SELECT at('2026-03-03 16:00+00');
SELECT version('16:30');
SELECT * FROM plan;
SELECT at('2026-03-03 17:00+00');
CALL marketing.work();
SELECT contact, version, entered_at FROM runs WHERE entered_at >= '2026-03-03';
SELECT count(*) FROM plan;
-- Who cannot be looked at has a signal, and is looked at as of the same instant.
UPDATE people SET day = '2026-03-04';
CALL marketing.work();
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at) SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts WHERE contact = '5';
SELECT version('11:00');
SELECT at('2026-03-04 12:00+00');
CALL marketing.work();
SELECT contact, entered_at FROM runs WHERE entered_at >= '2026-03-04';
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
SELECT at('2026-03-04 12:01+00');
CALL marketing.work();
SELECT contact, entered_at FROM runs WHERE entered_at >= '2026-03-04' AND contact = '5';
SELECT count(*) FROM marketing_internal.enrollment_signal;
-- The clock is set back, and nobody enters twice by what stood there.
UPDATE people SET day = '2026-03-05';
CALL marketing.work();
SELECT at('2026-03-03 12:00+00');
SELECT count(*) FROM plan;
CALL marketing.work();
SELECT count(*), min(at), max(at) FROM marketing_internal.journey_date;
-- A version without a date has none; what is dropped leaves nothing.
SELECT marketing.define_journey('j', '{"steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey('j');
CALL marketing.work();
SELECT count(*) FROM marketing_internal.journey_date;
SELECT version('18:00');
SELECT marketing.drop_journey('j');
SELECT count(*) FROM plan;
DROP VIEW runs, plan;
DROP EXTENSION marketing_automation;
