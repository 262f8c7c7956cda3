-- /hook/SERVER/TOKEN: what providers tell, in their own forms, and what is none.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\pset null -
SELECT marketing.set_clock('2026-03-01 12:00+00');
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT marketing.define_topic('offers', consent => 'opt_out');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', text => 'x');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 40) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT count(marketing.send_message(id, 'offer')) FROM customers;
CALL marketing.work();
CREATE FUNCTION key(customer int) RETURNS text LANGUAGE sql AS $$
	SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'X-MA-Key: (\S+)'))[1] FROM marketing.messages WHERE contact = customer::text $$;
SELECT marketing.configure('public_url', 'https://m.shop.example');
SELECT marketing.hook_url('mail') ~ '^https://m\.shop\.example/hook/mail/[-_A-Za-z0-9]{24}$' AS hook;
SELECT marketing.hook_url('mail') = marketing.hook_url('mail') AS stays, marketing.hook_url('mail') <> marketing.hook_url('mail2') AS own;
SELECT marketing.hook_url('a/b');
SELECT marketing.hook_url(NULL);
CREATE FUNCTION tell(content text, server text DEFAULT 'mail') RETURNS text LANGUAGE sql AS $$
	SELECT status || ' ' || rtrim(convert_from(page, 'UTF8'), E'\n')
	FROM marketing.web_request('POST', replace(marketing.hook_url(server), 'https://m.shop.example', ''), content => convert_to(content, 'UTF8')) $$;
CREATE VIEW told AS SELECT contact, kind, class, status, detail, server, occurred_at FROM marketing.delivery_events ORDER BY event;

-- SendGrid
SELECT tell(format('[{"email":"c1@example.com","timestamp":1772366400,"event":"processed","sg_event_id":"e0","ma_key":"%1$s"},
	{"email":"c1@example.com","timestamp":1772366401,"event":"delivered","sg_event_id":"e1","ma_key":"%1$s","response":"250 OK"},
	{"email":"c2@example.com","timestamp":1772366402,"event":"bounce","sg_event_id":"e2","ma_key":"%2$s","status":"5.1.1","reason":"550 5.1.1 no such user","type":"bounce"},
	{"email":"c3@example.com","timestamp":1772366403,"event":"bounce","sg_event_id":"e3","ma_key":"%3$s","type":"blocked","reason":"listed"},
	{"email":"c4@example.com","timestamp":1772366404,"event":"spamreport","sg_event_id":"e4","ma_key":"%4$s"},
	{"email":"c5@example.com","timestamp":1772366405,"event":"group_unsubscribe","sg_event_id":"e5","ma_key":"%5$s"},
	{"email":"c6@example.com","timestamp":1772366406,"event":"dropped","sg_event_id":"e6","ma_key":"%6$s","reason":"Bounced Address"},
	{"email":"c7@example.com","timestamp":1772366407,"event":"open","sg_event_id":"e7","ma_key":"%7$s"}]',
	key(1), key(2), key(3), key(4), key(5), key(6), key(7)), 'sendgrid');
SELECT * FROM told;
-- The same once more: each counts once.
SELECT tell(format('[{"email":"c2@example.com","timestamp":1772366402,"event":"bounce","sg_event_id":"e2","ma_key":"%s","status":"5.1.1"}]', key(2)), 'sendgrid');
SELECT count(*) FROM told;

-- Mailgun
SELECT tell(format('{"signature":{"timestamp":"1772366400","token":"t","signature":"s"},"event-data":{"event":"failed","id":"m1","severity":"permanent","timestamp":1772366400.25,
	"recipient":"c11@example.com","user-variables":{"ma_key":"%s"},"delivery-status":{"code":550,"enhanced-code":"5.1.1","message":"unknown"}}}', key(11)), 'mailgun');
SELECT tell(format('{"event-data":{"event":"failed","id":"m2","severity":"temporary","timestamp":1772366401,"recipient":"c12@example.com","user-variables":{"ma_key":"%s"},
	"delivery-status":{"code":452,"description":"full"}}}', key(12)), 'mailgun');
SELECT tell(format('{"event-data":{"event":"complained","id":"m3","timestamp":1772366402,"recipient":"c13@example.com","user-variables":{"ma_key":"%s"}}}', key(13)), 'mailgun');
SELECT tell('{"event-data":{"event":"opened","id":"m4","timestamp":1772366402,"recipient":"c14@example.com"}}', 'mailgun');
SELECT * FROM told WHERE server = 'mailgun';

-- Postmark
SELECT tell(format('{"RecordType":"Delivery","MessageID":"p-1","Recipient":"c21@example.com","DeliveredAt":"2026-03-01T12:00:01Z","Details":"ok","Metadata":{"ma_key":"%s"}}', key(21)), 'postmark');
SELECT tell(format('{"RecordType":"Bounce","ID":4323372036854775807,"Type":"HardBounce","MessageID":"p-2","Email":"c22@example.com","BouncedAt":"2026-03-01T12:00:02Z","Description":"gone","Metadata":{"ma_key":"%s"}}', key(22)), 'postmark');
SELECT tell(format('{"RecordType":"Bounce","ID":2,"Type":"Transient","MessageID":"p-3","Email":"c23@example.com","BouncedAt":"2026-03-01T12:00:03Z","Metadata":{"ma_key":"%s"}}', key(23)), 'postmark');
SELECT tell(format('{"RecordType":"SpamComplaint","ID":3,"MessageID":"p-4","Email":"c24@example.com","BouncedAt":"2026-03-01T12:00:04Z","Metadata":{"ma_key":"%s"}}', key(24)), 'postmark');
SELECT tell(format('{"RecordType":"SubscriptionChange","MessageID":"p-5","Recipient":"c25@example.com","Origin":"Recipient","SuppressSending":true,"ChangedAt":"2026-03-01T12:00:05Z","Metadata":{"ma_key":"%s"}}', key(25)), 'postmark');
SELECT tell('{"RecordType":"SubscriptionChange","MessageID":"p-6","Recipient":"c26@example.com","Origin":"Admin","SuppressSending":true,"ChangedAt":"2026-03-01T12:00:05Z"}', 'postmark');
SELECT * FROM told WHERE server = 'postmark';

-- Amazon SES by SNS
CREATE FUNCTION sns(id text, message jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('Type', 'Notification', 'MessageId', id, 'TopicArn', 'arn:aws:sns:x', 'Message', message::text)::text $$;
SELECT tell(sns('s1', jsonb_build_object('notificationType', 'Bounce', 'bounce', '{"bounceType": "Permanent", "timestamp": "2026-03-01T12:00:01.000Z",
	"bouncedRecipients": [{"emailAddress": "c31@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1"}]}'::jsonb,
	'mail', jsonb_build_object('headers', jsonb_build_array(jsonb_build_object('name', 'X-MA-Key', 'value', key(31)))))), 'ses');
SELECT tell(sns('s2', jsonb_build_object('eventType', 'Complaint', 'complaint', '{"complaintFeedbackType": "abuse", "timestamp": "2026-03-01T12:00:02.000Z",
	"complainedRecipients": [{"emailAddress": "c32@example.com"}]}'::jsonb,
	'mail', jsonb_build_object('headers', jsonb_build_array(jsonb_build_object('name', 'X-MA-Key', 'value', key(32)))))), 'ses');
SELECT tell(sns('s3', jsonb_build_object('notificationType', 'Delivery', 'delivery', '{"timestamp": "2026-03-01T12:00:03.000Z", "smtpResponse": "250 ok", "recipients": ["c33@example.com"]}'::jsonb,
	'mail', jsonb_build_object('headers', jsonb_build_array(jsonb_build_object('name', 'x-ma-key', 'value', key(33)))))), 'ses');
SELECT tell(sns('s4', '{"notificationType": "Bounce", "bounce": {"bounceType": "Transient", "timestamp": "2026-03-01T12:00:04Z", "bouncedRecipients": [{"emailAddress": "c34@example.com"}]}, "mail": {}}'), 'ses');
SELECT tell('{"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:x", "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"}', 'ses');
SELECT * FROM told WHERE server = 'ses';

-- In our own words
SELECT tell(format('{"events": [{"id": "o1", "kind": "delivered", "message": "%s"}, {"id": "o2", "kind": "bounced", "recipient": "c36@example.com", "status": "550", "occurred_at": "2026-03-01T11:59:00Z"}]}', key(35)), 'own');
SELECT * FROM told WHERE server = 'own';
SELECT contact, topic, state FROM marketing.consent_state ORDER BY contact::int;

-- What is none: all of it or nothing is taken, and who has not the address is not told what is there.
SELECT tell('{"events": [{"id": "x1", "kind": "delivered", "recipient": "c37@example.com"}, {"id": "x2", "kind": "eaten", "recipient": "c38@example.com"}]}', 'own');
SELECT tell(c) FROM unnest(ARRAY['', 'x', '{', '{}', '[]', '[1, "a", null]', '"text"', 'null', '{"events": {}}', '{"event-data": 1}', '{"RecordType": null}', '{"TopicArn": "x"}',
	'{"Type": "Notification", "TopicArn": "x", "Message": "no json"}', '[{"sg_event_id": "y1", "event": "delivered", "email": "c1@example.com", "timestamp": "soon"}]', repeat('[', 20000)]) AS c;
SELECT count(*) FROM told WHERE server = 'mail';
SELECT status FROM marketing.web_request('POST', replace(marketing.hook_url('mail'), 'https://m.shop.example', ''), content => '\x7b22610022'::bytea);
SELECT status FROM marketing.web_request('POST', replace(marketing.hook_url('mail'), 'https://m.shop.example', ''), content => '\xff'::bytea);
SELECT status FROM unnest(ARRAY['/hook/', '/hook/mail', '/hook/mail/', '/hook/mail/x', '/hook/mail/' || repeat('A', 24), '/hook/' || repeat('a', 100) || '/' || repeat('A', 24),
	replace(replace(marketing.hook_url('mail'), 'https://m.shop.example', ''), '/mail/', '/other/')]) AS p, LATERAL marketing.web_request('POST', p, content => '[]');
SELECT status FROM marketing.web_request('GET', replace(marketing.hook_url('mail'), 'https://m.shop.example', ''));

DROP VIEW told;
DROP EXTENSION marketing_automation;
DROP FUNCTION tell, sns, key;
DROP TABLE customers;
