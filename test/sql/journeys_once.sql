-- A run is moved on by its message and no other: parked meanwhile, or its contact merged away.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint, amount int, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_template('t', topic => 'transactional', subject => 't', text => 't') IS NOT NULL;
SELECT marketing.define_template('u', topic => 'transactional', subject => 'u', text => 'u') IS NOT NULL;
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 4) AS i;
SELECT marketing.define_journey('mail', '{"exit_on": [{"event": "ordered", "where": "1 / amount > 5"}], "steps": [{"send": "t"}, {"send": "u"}, {"wait": "1 day"}]}');
SELECT marketing.activate_journey('mail');
CREATE VIEW runs AS SELECT c.contact AS who, e.state, e.step, e.error
	FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id;
-- Who waits in the dirty log gets nothing: so the messages stay in the outbox for a while.
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts;
SELECT marketing.enroll(i, 'mail') FROM generate_series(1, 3) AS i;
CALL marketing.work();
-- An error parks runs while their messages are under way.
INSERT INTO orders (person, amount, at) SELECT i, 0, marketing.now() FROM generate_series(1, 2) AS i;
CALL marketing.work();
SELECT * FROM runs ORDER BY 1;
-- Tried again before the message is settled, and after.
SELECT marketing.retry_enrollment(1, 'mail');
CALL marketing.work();
SELECT * FROM runs ORDER BY 1;
SELECT contact, template, state FROM marketing.messages ORDER BY 1, 2;
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
CALL marketing.work();
SELECT * FROM runs ORDER BY 1;
SELECT marketing.retry_enrollment(2, 'mail');
CALL marketing.work();
SELECT * FROM runs ORDER BY 1;
SELECT contact, template, count(*) FROM marketing.messages GROUP BY 1, 2 ORDER BY 1, 2;
-- Its contact is merged away while nobody knows what became of the message.
SELECT marketing.identify('web:a') = 'web:a', marketing.identify('web:b', '{"email": "b@example.com"}') = 'web:b';
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts;
SELECT marketing.enroll('web:b', 'mail');
CALL marketing.work();
UPDATE marketing_internal.message SET state = 'suspect';
SELECT marketing.merge_contacts('web:a', 'web:b');
SELECT marketing.settle_message(message_id, 'sent') IS NOT NULL FROM marketing_internal.message;
CALL marketing.work();
SELECT * FROM runs WHERE who = 'web:a';
SELECT contact, template, state FROM marketing.messages WHERE state <> 'sent';
DROP VIEW runs;
DROP EXTENSION marketing_automation;
