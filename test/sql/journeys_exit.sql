-- No message is claimed after the commit of an exit: by hand, by an event, by a rule.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_template('t', topic => 'transactional', subject => 't', text => 't') IS NOT NULL;
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 4) AS i;
SELECT marketing.define_journey('mail', '{"exit_on": [{"event": "ordered"}, {"if": "email = ''gone@example.com''"}], "steps": [{"send": "t"}, {"wait": "1 day"}]}');
SELECT marketing.activate_journey('mail');
-- Who waits in the dirty log gets nothing: so the messages stay in the outbox for a while.
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts;
SELECT marketing.enroll(i, 'mail') FROM generate_series(1, 4) AS i;
CALL marketing.work();
SELECT contact, state FROM marketing.messages ORDER BY contact;
SELECT marketing.exit_journey(1, 'mail', 'asked');
INSERT INTO orders (person, at) VALUES (2, marketing.now());
UPDATE people SET email = 'gone@example.com' WHERE id = 3;
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
-- Whoever has his turn first (iso_journeys_exit keeps the scheduler out).
CALL marketing.work();
SELECT contact, state, reason FROM marketing.messages ORDER BY contact;
SELECT c.contact, e.state, e.reason FROM marketing_internal.enrollment AS e
	JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 1;
DROP EXTENSION marketing_automation;
