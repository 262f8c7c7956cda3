-- A journey entered by a date whose table cannot be read (its owner's right was revoked) when dates of it are due: work
-- ends, the error is told, and the others go on.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET statement_timeout = '2min';
CREATE SCHEMA regress_unread;
CREATE ROLE regress_unread;
GRANT USAGE ON SCHEMA regress_unread TO regress_unread;
CREATE TABLE people (id bigint PRIMARY KEY, email text, day date);
CREATE TABLE regress_unread.trials (id bigint PRIMARY KEY, email text, ends date);
CREATE VIEW entered AS SELECT name, count(*), count(DISTINCT contact_id) AS contacts FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) GROUP BY 1 ORDER BY 1;
CREATE VIEW error AS SELECT value, substr(detail, strpos(detail, 'dates')) AS detail FROM marketing_internal.capture_status() WHERE item = 'last error';
SELECT marketing.set_clock('2026-03-01 08:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', match => 'email') IS NOT NULL, marketing.attach_contacts('regress_unread.trials', id => 'id', email => 'email', match => 'email') IS NOT NULL;
INSERT INTO people SELECT i, 'p' || i || '@x.example', '2026-03-01' FROM generate_series(1, 5) AS i;
INSERT INTO regress_unread.trials SELECT i, 'p' || i || '@x.example', '2026-03-01' FROM generate_series(1, 5) AS i;
SELECT count(*) FROM marketing.contacts;
CALL marketing.work();
SELECT marketing.define_journey('fails', '{"entry": {"date": "trials.ends", "at": "12:00"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('goes', '{"entry": {"date": "people.day", "at": "12:00"}, "reentry": "always", "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('yearly', '{"entry": {"anniversary": "people.day", "at": "12:00"}, "steps": [{"exit": "x"}]}');
SELECT marketing.activate_journey(name) FROM unnest('{fails,goes,yearly}'::text[]) AS name;
CALL marketing.work();
ALTER TABLE regress_unread.trials OWNER TO regress_unread;
REVOKE USAGE ON SCHEMA regress_unread FROM regress_unread;

-- Each try asked for a wake and was rolled back, so this never ended. The same contacts enter where nothing fails.
SELECT marketing.set_clock('2026-03-01 21:00+00');
CALL marketing.work();
SELECT * FROM entered;
SELECT * FROM error;

-- Contacts that change meanwhile, more than are read at once: the others see their new dates, and enter by them.
INSERT INTO people SELECT i, 'p' || i || '@x.example', '2026-03-03' FROM generate_series(6, 300) AS i;
CALL marketing.work();
UPDATE people SET day = '2026-03-02' WHERE id > 5;
CALL marketing.work();
SELECT marketing.set_clock('2026-03-02 21:00+00');
CALL marketing.work();
SELECT * FROM entered;
-- Theirs is left for the journey that rests, once for each.
SELECT count(*), count(DISTINCT contact_id), min(name) FROM marketing_internal.enrollment_signal JOIN marketing_internal.journey USING (journey_id) WHERE kind = 'dates';

-- With the right given back they enter, by the dates there were, once.
GRANT USAGE ON SCHEMA regress_unread TO regress_unread;
CALL marketing.work();
SELECT * FROM entered;
SELECT count(*) FROM marketing_internal.enrollment_signal;
UPDATE people SET day = '2027-05-05';
UPDATE regress_unread.trials SET ends = '2026-03-05' WHERE id = 1;
CALL marketing.work();
SELECT marketing.set_clock('2027-03-06 21:00+00');
CALL marketing.work();
SELECT * FROM entered;
DROP SCHEMA regress_unread CASCADE;
DROP ROLE regress_unread;
