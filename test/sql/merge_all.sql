-- What a merge moves beside ids and events, and a split gives back: lists, runs, messages, what was sent.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE leads (id uuid PRIMARY KEY, email text);
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 6) AS i;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hello', text => 'Hello') IS NOT NULL;
SELECT marketing.define_list('vip'), marketing.define_list('both');
SELECT marketing.define_segment('is_vip', 'in list vip') IS NOT NULL;
SELECT marketing.define_journey('mail', '{"steps": [{"send": "hello"}, {"wait": "1 day"}]}');
SELECT marketing.activate_journey('mail');

-- Forms: ids of two contacts, or texts.
SELECT marketing.merge_contacts(5, 6);
SELECT marketing.split_contact(6);
SELECT marketing.merge_contacts(5, '6');
SELECT marketing.split_contact('6');
SELECT marketing.merge_contacts(5, NULL::bigint);
SELECT marketing.merge_contacts('00000000-0000-0000-0000-000000000001'::uuid, '00000000-0000-0000-0000-000000000002'::uuid);

-- Lists.
SELECT marketing.add_to_list(2, 'vip'), marketing.add_to_list(1, 'both'), marketing.add_to_list(2, 'both');
SELECT contact FROM marketing.segment_members('is_vip');
SELECT marketing.merge_contacts(1, 2);
SELECT contact FROM marketing.segment_members('is_vip');
SELECT marketing.merge_contacts(3, 1);
SELECT contact FROM marketing.segment_members('is_vip');
SELECT marketing.split_contact(1);
SELECT contact FROM marketing.segment_members('is_vip');
SELECT marketing.split_contact(2);
SELECT contact FROM marketing.segment_members('is_vip');
SELECT l.name, c.contact, m.added_as FROM marketing_internal.list_member AS m JOIN marketing_internal.list AS l USING (list_id)
	JOIN marketing.contacts AS c ON c._contact_id = m.contact_id ORDER BY 1, 2;

-- What was sent to the one is told of the other.
SELECT marketing.send_message(2, 'hello') IS NOT NULL;
CALL marketing.work();
SELECT marketing.merge_contacts(1, 2);
SELECT contact, state, template FROM marketing.messages;
SELECT kind, what, detail FROM marketing.contact_timeline(1) WHERE kind = 'message';
SELECT n, gate, verdict FROM marketing.why_not_sent(1, 'hello') WHERE n IN (0, 20);
SELECT marketing.split_contact(2);
SELECT contact, state, template FROM marketing.messages;
SELECT count(*) FROM marketing.contact_timeline(1);

-- A message on its way (held up by a log that rests) goes back with its run.
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts;
SELECT marketing.enroll(4, 'mail');
CALL marketing.work();
SELECT marketing.merge_contacts(3, 4);
CALL marketing.work();
SELECT marketing.split_contact(4);
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
CALL marketing.work();
SELECT contact, state, template, journey, address FROM marketing.messages WHERE journey = 'mail';
SELECT c.contact, e.state, e.step FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id;
-- While it is being sent nobody is split from the contact it goes to; what is in doubt goes along.
SELECT marketing.merge_contacts(5, 6);
SELECT marketing.enroll(6, 'mail');
INSERT INTO marketing_internal.dirty (xid, contact_id, events, retry_at)
	SELECT pg_current_xact_id(), _contact_id, '{}', 'infinity' FROM marketing.contacts;
CALL marketing.work();
UPDATE marketing_internal.enrollment SET enrolled_as = (SELECT merged_id FROM marketing_internal.contact_merge WHERE split_at IS NULL ORDER BY merge_id DESC LIMIT 1)
	WHERE state = 'waiting';
UPDATE marketing_internal.message SET state = 'sending', topic_id = 0 WHERE state = 'queued';
SELECT marketing.split_contact(6);
UPDATE marketing_internal.message SET state = 'suspect';
SELECT marketing.split_contact(6);
DELETE FROM marketing_internal.dirty WHERE retry_at = 'infinity';
SELECT marketing.settle_message(message, 'sent') IS NOT NULL FROM marketing.messages WHERE state = 'suspect';
CALL marketing.work();
SELECT c.contact, e.state, e.step FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY 1;

-- Rules count what the one was sent and said as the other's, from the merge to the split, through chains too.
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 4) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', source => 'c') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out') IS NOT NULL;
SELECT marketing.subscribe('c:2', 'news', 'email', proof => '{}') IS NOT NULL, marketing.unsubscribe('c:2', 'news', 'email') IS NOT NULL;
SELECT marketing.send_message('c:' || i, 'hello') IS NOT NULL FROM generate_series(1, 3) AS i;
CALL marketing.work();
SELECT marketing.define_segment('twice', 'count(email_sent) >= 2') IS NOT NULL, marketing.define_segment('gone', 'any unsubscribed where (topic = ''news'' and contact.email like ''c%'')') IS NOT NULL,
	marketing.define_segment('thrice', 'count(email_sent where (template = ''hello'')) >= 3') IS NOT NULL;
CREATE FUNCTION holds() RETURNS TABLE (segment text, stored text, read text, differ bigint) LANGUAGE sql AS $$
	SELECT s.name, (SELECT string_agg(c.contact, ' ' ORDER BY c.contact) FROM marketing_internal.segment_member AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.segment_id = s.segment_id),
		(SELECT string_agg(m.contact, ' ') FROM marketing.segment_members(s.name) AS m), (SELECT count(*) FROM marketing.verify_segment(s.name))
	FROM marketing_internal.segment AS s WHERE s.name <> 'is_vip' ORDER BY 1 $$;
SELECT * FROM holds();
BEGIN;
SELECT marketing.merge_contacts('c:1', 'c:2');
SELECT marketing.in_segment('c:1', 'twice'), marketing.in_segment('c:1', 'gone');
ROLLBACK;
SELECT marketing.merge_contacts('c:1', 'c:2');
SELECT * FROM holds();
SELECT node, value, truth FROM marketing.explain_segment('c:1', 'twice');
SELECT marketing.merge_contacts('c:3', 'c:1');
SELECT * FROM holds();
-- What comes for the one who has ceased is the other's as well.
SELECT marketing.send_message('c:4', 'hello') IS NOT NULL;
UPDATE marketing_internal.message SET state = 'suspect' WHERE state = 'queued';
SELECT marketing.define_segment('four', 'count(email_sent) = 4') IS NOT NULL;
SELECT marketing.merge_contacts('c:3', 'c:4');
SELECT count(marketing.settle_message(message, 'sent')) FROM marketing.messages WHERE state = 'suspect';
SELECT * FROM holds();
CALL marketing.work();
SELECT * FROM holds();
SELECT marketing.split_contact('c:4');
SELECT marketing.split_contact('c:1');
SELECT * FROM holds();
SELECT marketing.split_contact('c:2');
SELECT * FROM holds();
CALL marketing.work();
SELECT * FROM holds();
