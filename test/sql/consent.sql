-- Topics, the ledger of consent, consent columns, subscribe and unsubscribe, suppression.
CREATE EXTENSION marketing_automation;
\set VERBOSITY default
SELECT marketing.set_clock('2026-03-01 10:00+00');

-- topics
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}');
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}');
SELECT marketing.define_topic('offers', 'All offers', channels => '{email,sms}');
SELECT marketing.define_topic('letter', channels => '{email}', consent => 'double_opt_in');
SELECT marketing.define_topic('tips', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_topic('transactional');
SELECT marketing.define_topic('a/b');
SELECT marketing.define_topic('x', channels => '{e-mail}');
SELECT marketing.define_topic('x', channels => '{}');
SELECT marketing.define_topic('x', channels => '{NULL}');
SELECT marketing.define_topic('x', consent => 'optin');
SELECT marketing.define_topic('x', confirm => 'please');
SELECT marketing.define_topic(NULL);

-- consent columns: the present values are the first entries
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, news boolean, sms_at timestamptz, note text);
INSERT INTO customers VALUES (1, 'a@example.com', NULL, true, NULL), (2, 'b@example.com', NULL, false, NULL),
	(3, 'c@example.com', '+908505550103', NULL, '2026-01-05 10:00+00'), (4, 'd@example.com', NULL, NULL, NULL);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"offerz/email": "news"}');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"letter/sms": "news"}');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"transactional/email": "news"}');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone',
	consent => '{"offers/email": "news", "offers/sms": "sms_at"}');
CREATE VIEW ledger AS SELECT contact, topic || '/' || channel AS what, state, source, proof,
	to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS at
	FROM marketing.consent_change ORDER BY contact, topic, channel, change;
SELECT * FROM ledger;
SELECT contact, topic, channel, state, source FROM marketing.consent_state ORDER BY 1, 2, 3;

-- each later change of the column appends one; a change of another column, or no change, none
SELECT marketing.set_clock('2026-03-02 10:00+00');
UPDATE customers SET news = false WHERE id = 1;
UPDATE customers SET note = 'x', email = 'd2@example.com' WHERE id = 4;
UPDATE customers SET news = true WHERE id IN (2, 4);
UPDATE customers SET news = NULL WHERE id = 4;
UPDATE customers SET sms_at = '2026-03-02 09:00+00' WHERE id = 3;
INSERT INTO customers VALUES (5, 'e@example.com', NULL, true);
-- a rolled-back one none
BEGIN; UPDATE customers SET news = true WHERE id = 1; ROLLBACK;
-- what is left to the worker comes with it
SET marketing_automation.sync_max_contacts = 0;
UPDATE customers SET news = false WHERE id = 5;
SELECT count(*) FROM ledger WHERE contact = '5';
RESET marketing_automation.sync_max_contacts;
CALL marketing.work();
SELECT * FROM ledger WHERE at > '2026-03-02';
-- a row that gets another id keeps what it said
UPDATE customers SET id = 50 WHERE id = 5;
SELECT * FROM ledger WHERE contact = '50';

-- the latest change wins, whoever made it
SELECT marketing.set_clock('2026-03-03 10:00+00');
SELECT marketing.unsubscribe(2, 'offers', 'email', proof => '{"by": "phone"}');
UPDATE customers SET note = 'y' WHERE id = 2;
SELECT state FROM marketing.consent_state WHERE contact = '2' AND channel = 'email';
-- a column that says nothing takes back only what a column has said
UPDATE customers SET news = NULL WHERE id = 2;
SELECT state FROM marketing.consent_state WHERE contact = '2' AND channel = 'email';
UPDATE customers SET news = true WHERE id = 2;
SELECT * FROM ledger WHERE contact = '2';

-- subscribe
SELECT marketing.subscribe(4, 'letter', proof => '{"form": "footer"}');
SELECT marketing.subscribe('4', 'letter', 'email');
SELECT marketing.subscribe(4, 'tips');
SELECT marketing.subscribe(4, 'offers');
SELECT marketing.subscribe(4, 'offers', 'sms');
SELECT marketing.subscribe(4, 'leter');
SELECT marketing.subscribe(4, 'letter', 'sms');
SELECT marketing.subscribe(4, 'transactional');
SELECT marketing.subscribe(99, 'letter');
SELECT * FROM ledger WHERE contact = '4' AND at > '2026-03-03';

-- unsubscribe: from a topic, from everything
SELECT marketing.unsubscribe(4, 'offers');
SELECT marketing.unsubscribe(4);
SELECT marketing.unsubscribe(4);
SELECT marketing.unsubscribe(4, 'transactional');
SELECT topic, channel, state FROM marketing.consent_state WHERE contact = '4' ORDER BY 1, 2;

-- tokens of strangers
SELECT marketing.confirm('Y29uZmlybQ');
SELECT marketing.confirm('');
SELECT marketing.confirm(repeat('A', 39));
SELECT marketing.unsubscribe_by_token(repeat('A', 1000));
-- a token has one form: what decodes to the same octets is none
SELECT marketing.define_template('token', topic => 'offers', subject => 'x', text => '{{ unsubscribe_url }}');
SELECT substring(text FROM '/u/(\S+)') AS u FROM marketing.preview_message(4, 'token') \gset
SELECT marketing.unsubscribe_by_token(:'u' || '    ');
SELECT marketing.unsubscribe_by_token(:'u' || '=');
SELECT marketing.unsubscribe_by_token(:'u');
SELECT marketing.drop_template('token');

-- suppression: one list for all spellings of an address
SELECT marketing.suppress('A@Example.COM', reason => 'asked for it');
SELECT marketing.suppress(' a@example.com ');
SELECT marketing.suppress('+90 850 555 01 03', 'sms');
SELECT marketing.suppress(E'a@example.com\r\nBcc: b@example.com');
SELECT marketing.suppress('nobody');
-- a key that is not ours, as after a wrong restore: what it protects would not be found
BEGIN;
UPDATE marketing_internal.shop_key SET key = substr(key, 2);
SELECT marketing.define_topic('seldom');
SELECT marketing.suppress('b@example.com');
ROLLBACK;
SELECT marketing.suppress('a@example.com', 'mail');
SELECT channel, reason, length(address_hash) FROM marketing_internal.suppression ORDER BY 1;
SELECT count(*) FROM marketing_internal.suppression WHERE strpos(suppression::text, 'example') > 0;
SELECT marketing.unsuppress('a@example.com'), marketing.unsuppress('a@example.com');

-- a key that was rolled back protects nothing
\c
BEGIN;
DELETE FROM marketing_internal.shop_key;
SELECT marketing.suppress('r1@example.com'), marketing.suppress('r2@example.com');
ROLLBACK;
SELECT marketing.suppress('r1@example.com');
\c
SELECT marketing.suppress('r1@example.com');

-- two contacts become one: who has withdrawn under one of his numbers has withdrawn
SELECT marketing.subscribe(3, 'tips'), marketing.subscribe(1, 'tips');
SELECT marketing.set_clock('2026-03-04 10:00+00');
SELECT marketing.unsubscribe(1, 'tips');
SELECT marketing.merge_contacts(3, '1');
SELECT topic, channel, state, source FROM marketing.consent_state WHERE contact = '1' ORDER BY 1, 2, 3;
SELECT marketing.split_contact(1);
SELECT contact, topic, channel, state, source FROM marketing.consent_state WHERE contact IN ('1', '3') ORDER BY 1, 2, 3;
-- a column's word that came by a merge is taken back by that column
INSERT INTO customers (id, email, news) VALUES (11, 'k@example.com', NULL), (12, 'l@example.com', true);
SELECT marketing.merge_contacts(11, '12');
SELECT contact, state, source FROM marketing.consent_state WHERE contact IN ('11', '12');
UPDATE customers SET news = NULL WHERE id = 12;
SELECT contact, state, source FROM marketing.consent_state WHERE contact IN ('11', '12');
-- who withdrew while he was one with another has withdrawn when they are split; the column of one is not the other's
INSERT INTO customers (id, email, news) VALUES (13, 'm@example.com', NULL), (14, 'n@example.com', true),
	(15, 'o@example.com', true), (16, 'p@example.com', true);
SELECT marketing.subscribe(14, 'letter'), marketing.subscribe(15, 'tips'), marketing.subscribe(16, 'tips');
SELECT marketing.set_clock('2026-03-05 10:00+00');
SELECT marketing.merge_contacts(13, '14'), marketing.merge_contacts(15, '16');
UPDATE customers SET news = false WHERE id IN (14, 15);
SELECT marketing.unsubscribe(13, 'letter'), marketing.unsubscribe(15, 'tips');
SELECT marketing.split_contact(14), marketing.split_contact(16);
SELECT contact, topic, channel, state, source FROM marketing.consent_state
	WHERE contact IN ('13', '14', '15', '16') ORDER BY 1, 2, 3;

-- the ledger proves itself
SELECT * FROM marketing.verify_consent();
BEGIN;
UPDATE marketing_internal.consent_entry SET state = 'opted_in' WHERE entry_no = 1 AND state = 'opted_out';
SELECT topic, channel, entry_no, problem FROM marketing.verify_consent();
ROLLBACK;
BEGIN;
DELETE FROM marketing_internal.consent_entry WHERE entry_no = 1 AND origin = 'subscribe';
SELECT topic, channel, entry_no, problem FROM marketing.verify_consent();
ROLLBACK;
BEGIN;
UPDATE marketing_internal.consent SET state = 'opted_in' WHERE state = 'pending' OR channel = 'sms' AND state = 'opted_out';
SELECT topic, channel, entry_no, problem FROM marketing.verify_consent();
ROLLBACK;
