-- Messages from asking for them to the spool: the gate, decisions, why_not_sent.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email,sms}'), marketing.define_topic('tips', consent => 'opt_out'),
	marketing.define_topic('letter', consent => 'double_opt_in', confirm => 'please_confirm');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, first_name text, news boolean);
INSERT INTO customers VALUES (1, 'ada@example.com', '+908505550101', 'Ada', true), (2, 'bob@example.com', NULL, 'Bob', false),
	(3, 'cem@example.com', '+908505550103', 'Cem', NULL), (4, 'not an address', NULL, 'Dan', true),
	(5, 'eve@example.com', NULL, 'Eve', true);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', consent => '{"offers/email": "news"}');
SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Receipt {{ number }}', html => '<p>Dear {{ contact.first_name }}</p>');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'For you', html => '<p>Hi</p>');
SELECT marketing.define_template('offer_sms', topic => 'offers', channel => 'sms', text => 'Hi {{ contact.first_name }}');
SELECT marketing.define_template('tip', topic => 'tips', subject => 'Tip', text => 'Tip');
SELECT marketing.define_template('please_confirm', topic => 'transactional', subject => 'Confirm', html => '<a href="{{ confirm_url }}">Yes</a>');
SELECT marketing.define_template('picky', topic => 'transactional', subject => 'x', text => '{% abort "nothing to say" %}');
SELECT marketing.define_template('nowhere', topic => 'ofers', subject => 'x', text => 'x');
CREATE VIEW log AS SELECT message, contact, state, reason, template, attempts,
	regexp_replace(detail, '^.*/\d+-[0-9a-f]{8}\.', 'FILE.') AS file FROM marketing.messages ORDER BY message;
CREATE VIEW decisions AS SELECT message_id, decision, gate, reason FROM marketing_internal.message_decision ORDER BY message_id, decision_id;

-- asking for messages
SELECT marketing.send_message(1, 'receipt', '{"number": 7}');
SELECT marketing.send_message('1', 'offer'), marketing.send_message(2, 'offer'), marketing.send_message(3, 'offer'),
	marketing.send_message(4, 'receipt'), marketing.send_message(3, 'tip'), marketing.send_message(1, 'offer_sms'),
	marketing.send_message(1, 'picky');
SELECT marketing.send_message(1, 'receipt', dedup_key => 'order 1') IS NULL, marketing.send_message(1, 'receipt', dedup_key => 'order 1') IS NULL,
	marketing.send_message(2, 'receipt', dedup_key => 'order 1') IS NULL;
BEGIN; SELECT marketing.send_message(5, 'receipt') IS NULL; ROLLBACK;
SELECT marketing.subscribe(1, 'offers', 'sms');
SELECT marketing.send_message(1, 'recipt');
SELECT marketing.send_message(77, 'receipt');
SELECT marketing.send_message(1, 'receipt', '[]');
SELECT marketing.send_message(1, 'receipt', not_before => '2026-03-02', not_after => '2026-03-01');
SELECT marketing.send_message(1, 'receipt', priority => 100000);
SELECT marketing.suppress('bob@example.com', reason => 'by phone');

CALL marketing.work();
SELECT * FROM log;
SELECT * FROM decisions;
-- what was written, under the name of the message
SELECT regexp_replace(convert_from(pg_read_binary_file(detail), 'UTF8'), '\r', '', 'g') ~ '\nSubject: Receipt 7\n' AS subject,
	convert_from(pg_read_binary_file(detail), 'UTF8') ~ 'Dear Ada' AS body,
	detail ~ ('^' || current_setting('data_directory') || '/marketing_automation_spool/' ||
		(SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || message || '-[0-9a-f]{8}\.eml$') AS name
	FROM marketing.messages WHERE message = 1;
SELECT convert_from(pg_read_binary_file(detail), 'UTF8')::jsonb - 'key' FROM marketing.messages WHERE template = 'offer_sms';

-- why
SELECT n, gate, verdict, since = marketing.now() AS since_now, detail, next FROM marketing.why_not_sent(3, 'offer');
SELECT n, verdict, detail, next FROM marketing.why_not_sent(2, 'receipt');
SELECT n, verdict, detail, next FROM marketing.why_not_sent(4, 'receipt');
SELECT n, verdict, detail, next FROM marketing.why_not_sent(77, 'receipt');
SELECT n, verdict, detail, next FROM marketing.why_not_sent(5, 'receipt');
SELECT n, verdict, detail, next FROM marketing.why_not_sent(1, 'picky');
SELECT n, verdict, regexp_replace(detail, '/.*/', '.../') ~ '^(sent: )?\.\.\./9-' FROM marketing.why_not_sent(1, 'receipt') WHERE n IN (0, 20);
SELECT * FROM marketing.why_not_sent(1, 'recept');

-- times: not before, not after; the higher priority first
SELECT marketing.set_clock('2026-03-01 11:00+00');
SELECT marketing.send_message(5, 'offer', not_before => '2026-03-01 12:00+00', not_after => '2026-03-01 13:00+00') AS later \gset
SELECT marketing.send_message(5, 'offer', not_after => '2026-03-01 11:30+00', not_before => '2026-03-01 11:20+00') AS late \gset
CALL marketing.work();
SELECT state, to_char(next_try AT TIME ZONE 'UTC', 'HH24:MI') FROM marketing.messages WHERE message IN (:later, :late) ORDER BY message;
SELECT n, verdict, detail FROM marketing.why_not_sent(5, 'offer') WHERE n IN (0, 20);
SELECT marketing.set_clock('2026-03-01 12:00+00');
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message IN (:later, :late) ORDER BY message;
SELECT marketing.send_message(5, 'offer') AS low, marketing.send_message(5, 'offer', priority => 5) AS high, marketing.send_message(5, 'receipt') AS must \gset
CALL marketing.work();
SELECT CASE message_id WHEN :low THEN 'low' WHEN :high THEN 'high' ELSE 'must' END FROM marketing_internal.message_decision
	WHERE decision = 'claimed' AND message_id IN (:low, :high, :must) ORDER BY decision_id;

-- however many priorities have messages for later, the lowest is not passed over
BEGIN;
SELECT count(marketing.send_message(1, 'receipt', priority => i, not_before => '2027-01-01 00:00+00')) FROM generate_series(101, 180) AS i;
COMMIT;
SELECT marketing.send_message(5, 'receipt', priority => -1) AS m \gset
CALL marketing.work();
SELECT state FROM marketing.messages WHERE message = :m;
DELETE FROM marketing_internal.message WHERE priority > 100;

-- consent is read when it is claimed, not when it was asked for
SELECT marketing.send_message(1, 'offer') AS m \gset
SELECT marketing.unsubscribe(1, 'offers', 'email');
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :m;

-- double opt-in: the confirmation goes, the letter only after it
SELECT marketing.subscribe(3, 'letter');
SELECT marketing.define_template('letter', topic => 'letter', subject => 'Letter', text => 'x');
SELECT marketing.send_message(3, 'letter') AS m \gset
CALL marketing.work();
SELECT template, state, reason FROM marketing.messages WHERE contact = '3' AND template IN ('letter', 'please_confirm') ORDER BY message;
SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'http://localhost/confirm/([-_A-Za-z0-9]+)'))[1] AS token
	FROM marketing.messages WHERE template = 'please_confirm' \gset
SELECT marketing.confirm(:'token'), marketing.confirm(:'token');
SELECT state FROM marketing.consent_state WHERE contact = '3' AND topic = 'letter';
SELECT marketing.send_message(3, 'letter') AS m \gset
CALL marketing.work();
SELECT state FROM marketing.messages WHERE message = :m;
SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'http://localhost/u/([-_A-Za-z0-9]+)'))[1] AS token
	FROM marketing.messages WHERE message = :m \gset
SELECT marketing.confirm(:'token');
SELECT marketing.unsubscribe_by_token(:'token'), marketing.unsubscribe_by_token(:'token');
SELECT state, source FROM marketing.consent_state WHERE contact = '3' AND topic = 'letter';

-- the template goes over to another channel: what was asked for before is not its message any more
SELECT marketing.define_template('switch', topic => 'transactional', subject => 'x', text => 'x');
SELECT marketing.send_message(1, 'switch') AS before \gset
SELECT marketing.define_template('switch', topic => 'transactional', channel => 'sms', text => 'x');
SELECT n, verdict, detail FROM marketing.why_not_sent(1, 'switch') WHERE n IN (0, 20);
SELECT marketing.send_message(1, 'switch') AS after \gset
CALL marketing.work();
SELECT message = :after AS after, channel, state, reason FROM marketing.messages WHERE message IN (:before, :after) ORDER BY message;

-- who waits in the dirty log is left alone until it is read; a transactional message does not wait
SET marketing_automation.sync_max_contacts = 0;
UPDATE customers SET news = false WHERE id = 5;
RESET marketing_automation.sync_max_contacts;
SELECT marketing.send_message(5, 'offer') AS m \gset
SELECT n, verdict, detail FROM marketing.why_not_sent(5, 'offer') WHERE n IN (0, 20);
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :m;

-- the contact goes
SELECT marketing.send_message(5, 'receipt') AS m \gset
DELETE FROM customers WHERE id = 5;
CALL marketing.work();
SELECT state, reason FROM marketing_internal.message_log WHERE message_id = :m;

-- merged: the message goes to who he is now
SELECT marketing.send_message(3, 'receipt') AS m \gset
SELECT marketing.merge_contacts(1, '3');
CALL marketing.work();
SELECT contact, state, address FROM marketing.messages WHERE message = :m;

-- a process died between claim and settling: marketing is held, transactional goes again, a file is evidence
SELECT marketing.subscribe(1, 'offers', 'email');
SELECT marketing.send_message(1, 'offer') AS held, marketing.send_message(1, 'receipt') AS again \gset
UPDATE marketing_internal.message SET state = 'sending', attempts = 1;
CALL marketing.work();
SELECT message IN (:held) AS held, state, reason, attempts, next_try - marketing.now() AS pause FROM marketing.messages WHERE message IN (:held, :again) ORDER BY message;
SELECT marketing.set_clock(marketing.now() + '2 seconds');
CALL marketing.work();
SELECT state, attempts FROM marketing.messages WHERE message = :again;
SELECT n, verdict, detail, replace(next, :'held', 'N') FROM marketing.why_not_sent(1, 'offer') WHERE n IN (0, 20);
SELECT marketing.settle_message(:held, 'lost');
SELECT marketing.settle_message(:again, 'sent');
SELECT marketing.settle_message(:held, 'resend') LIKE '%: queued';
CALL marketing.work();
SELECT state, attempts FROM marketing.messages WHERE message = :held;
SELECT decision, gate FROM marketing_internal.message_decision WHERE message_id = :held ORDER BY decision_id;
INSERT INTO marketing_internal.message (contact_id, message_id, state, since, channel, topic_id, template_id, template, priority, next_at, created_at)
	SELECT contact_id, message_id, 'sending', created_at, channel, topic_id, template_id, template, 0, created_at, created_at
	FROM marketing_internal.message_log WHERE message_id = :held;
DELETE FROM marketing_internal.message_log WHERE message_id = :held;
CALL marketing.work();
SELECT state, detail IS NOT NULL AS file FROM marketing.messages WHERE message = :held;
-- one that would come too late when its turn comes again has not expired: it may have been sent
SELECT marketing.send_message(1, 'receipt', not_after => marketing.now() + '1 second') AS late \gset
UPDATE marketing_internal.message SET state = 'sending', attempts = 1 WHERE message_id = :late;
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :late;
SELECT marketing.set_clock(marketing.now() + '2 seconds');
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :late;

-- senders
SELECT marketing.define_sender('shop', channel => 'email', from_address => 'hello@shop.example', from_name => 'Shop', reply_to => 'help@shop.example');
SELECT marketing.define_sender('shop', channel => 'email', from_address => 'hello@shop.example', from_name => 'Shop', reply_to => 'help@shop.example');
SELECT marketing.define_sender('shop', channel => 'email', from_address => 'hi@shop.example', from_name => 'Shop', reply_to => 'help@shop.example');
SELECT marketing.define_sender('bad', channel => 'email', from_address => E'a@example.com\r\nBcc: x@example.com');
SELECT marketing.define_sender('bad', channel => 'email', from_address => 'nobody');
SELECT marketing.define_sender('', channel => 'email', from_address => 'a@example.com');
SELECT marketing.define_sender('bad', channel => 'email', from_name => E'a\nb');
SELECT marketing.define_sender('bad', channel => 'fax');
SELECT marketing.define_sender('bad', channel => 'email', server => 'mail', from_address => 'a@example.com');
SELECT marketing.define_template('signed', topic => 'transactional', sender => 'shoq', subject => 'x', text => 'x');
SELECT marketing.define_template('signed', topic => 'transactional', sender => 'shop', subject => 'x', text => 'x');
SELECT marketing.send_message(1, 'signed') AS m \gset
CALL marketing.work();
SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'From: [^\r]*'))[1] FROM marketing.messages WHERE message = :m;

-- a real server gets nothing while the database is disarmed
UPDATE marketing_internal.sender SET server = 'mail';
SELECT marketing.send_message(1, 'signed') AS m \gset
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :m;
SELECT n, verdict, detail, next FROM marketing.why_not_sent(1, 'signed') WHERE n IN (0, 19);
SELECT decision, gate, reason FROM marketing_internal.message_decision WHERE message_id = :m;

SELECT * FROM marketing.verify_consent();
