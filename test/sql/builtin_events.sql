-- Built-in events are known by name, and no row of a user is one.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY);
INSERT INTO people VALUES (1);
CREATE TABLE happenings (id bigserial PRIMARY KEY, name text, person bigint, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id');
SELECT marketing.attach_events('happenings', event_column => 'name', contact => 'person', occurred_at => 'at');
RESET client_min_messages;
-- It gets its number when something names it.
SELECT marketing_internal.record_event('segment_entered');
SELECT name, declared, tracked FROM marketing_internal.event_type ORDER BY name;
SELECT marketing_internal.record_event('segment_enterd');
SELECT marketing_internal.record_event('email_open');
-- A row of that name counts nowhere; one beside it does.
INSERT INTO happenings (name, person, at) VALUES ('segment_entered', 1, '2026-01-01 10:00+00');
SELECT count(*) FROM marketing_internal.occurrence;
INSERT INTO happenings (name, person, at) VALUES ('visited', 1, '2026-01-01 10:00+00');
SELECT marketing.declare_event('visited');
SELECT marketing_internal.record_event('visited');
INSERT INTO happenings (name, person, at) VALUES ('visited', 1, '2026-01-01 11:00+00');
SELECT t.name, o.kind FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id);
-- Names are reserved.
SELECT marketing.declare_event('sms_replied');
SELECT marketing.track(1, 'unsubscribed');
DROP EXTENSION marketing_automation;
