-- identify(), and which addresses count as such.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE VIEW people AS SELECT contact, email, phone, time_zone, locale, attributes FROM marketing.contacts ORDER BY _contact_id;

-- without any table
SELECT marketing.identify('web:anon-9f', '{"name": "Ada", "email": " Ada@Example.com ", "phone": "+90 850 555 0100", "time_zone": "europe/istanbul", "locale": "tr"}');
SELECT marketing.identify('web:anon-9f', '{"score": 1.50, "tags": ["a", {"b": null}], "phone": null, "name": null}');
SELECT marketing.identify('web:anon-9f');
SELECT marketing.identify('web:anon-9f', NULL);
SELECT marketing.identify('app_2:007', '{"push_token": "tok", "email": "app@example.com"}');
SELECT marketing.identify('web:with:colon');
TABLE people;
SELECT push_token FROM marketing_internal.contact ORDER BY contact_id;
SELECT source_id, name, table_id, key_column FROM marketing_internal.contact_source ORDER BY 1;

-- a row's address comes before what identify() said, source by source
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text);
CREATE TABLE subscribers (id int PRIMARY KEY, email text, lang text);
INSERT INTO customers VALUES (1, NULL, '+908505550001'), (2, 'two@example.com', NULL);
INSERT INTO subscribers VALUES (1, 'sub@example.com', 'fr');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', locale => 'lang');
SELECT marketing.identify(1, '{"email": "said@example.com", "phone": "+905550001", "locale": "de"}');
SELECT * FROM people WHERE contact = '1';
SELECT marketing.merge_contacts(1, 'subscribers:1');
SELECT * FROM people WHERE contact = '1';
UPDATE customers SET email = 'row@example.com', phone = NULL WHERE id = 1;
SELECT * FROM people WHERE contact = '1';
DELETE FROM subscribers;
UPDATE customers SET email = 'broken@' WHERE id = 1;
SELECT * FROM people WHERE contact = '1';
SELECT marketing.identify(1, '{"email": null, "locale": null}');
SELECT * FROM people WHERE contact = '1';

-- what is refused
\set VERBOSITY terse
SELECT marketing.identify(1, '{"email": "a@b"}');
SELECT marketing.identify(1, '{"email": 5}');
SELECT marketing.identify(1, '{"phone": "0850 555 0100"}');
SELECT marketing.identify(1, '{"time_zone": "Mars/Olympus"}');
SELECT marketing.identify(1, '{"locale": {}}');
SELECT marketing.identify(1, '[1]');
SELECT marketing.identify(1, '"x"');
\set VERBOSITY default
SELECT marketing.identify(NULL::bigint);
SELECT marketing.identify(99, '{}');
SET client_min_messages = notice;
SELECT marketing.identify('customer:1');
SELECT marketing.identify('customer:2');
SET client_min_messages = warning;
SELECT marketing.identify('Web:1');
SELECT marketing.identify(':1');
SELECT marketing.identify('web:');
SELECT marketing.identify('web:' || repeat('x', 1001));
SELECT marketing.identify('');
SELECT marketing.identify('one');
SELECT marketing.identify('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid);
SELECT marketing.split_contact('web:nobody');
SELECT marketing.split_contact('wbe:anon-9f');
\set VERBOSITY sqlstate
SELECT marketing.identify(1, '{"email": "a@b"}');
SELECT marketing.identify(99);
SELECT marketing.identify('Web:1');
SELECT marketing.split_contact('wbe:1');
SELECT marketing.identify(NULL::text);
\set VERBOSITY default

-- e-mail addresses: what comes out, null for what is none
CREATE TABLE mails (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, email text);
INSERT INTO mails (email) VALUES
	('a@b.co'), (E'\t Tab@B.Co \n'), ('first.last+tag@sub.example.com'), ('o''brien@example.com'), ('jörg@exämple.com'), ('ÀB@EXAMPLE.com'),
	('x@xn--bcher-kva.example'), (repeat('l', 64) || '@example.com'), ('a@' || repeat('d', 63) || '.com'), ('a!#$%&*/=?^_`{|}~-@example.com'), ('1@2.com');
SELECT marketing.attach_contacts('mails', id => 'id', email => 'email');
SELECT contact, email FROM people WHERE contact ~ 'mails';
TRUNCATE mails;
CALL marketing.work(run_for => '0');
INSERT INTO mails (email) VALUES
	('a@b'), ('a b@c.de'), ('a@b@c.de'), ('@c.de'), ('a@'), ('a'), ('.a@c.de'), ('a.@c.de'), ('a..b@c.de'), ('"a"@c.de'), ('<a@c.de>'), ('Ada <a@c.de>'),
	(E'a@c.de\r\nBcc: x@y.zz'), (E'a\n@c.de'), ('a@c.de,b@c.de'), ('a@c.de;'), ('a@-c.de'), ('a@c-.de'), ('a@c..de'), ('a@.c.de'), ('a@c.de.'), ('a@127.0.0.1'), ('a@[127.0.0.1]'),
	('a@c_d.de'), (repeat('l', 65) || '@example.com'), ('a@' || repeat('d', 64) || '.com'), ('a@' || repeat('d.', 130) || 'com'), (E'a\u200b@c.de'), (E'a@c.de\u00a0'), ('a@c.d e'), (E'a\x7f@c.de');
SELECT count(*), count(email) FROM people WHERE contact ~ 'mails';

-- phone numbers
CREATE TABLE phones (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, phone text);
INSERT INTO phones (phone) VALUES
	('+1 (212) 555-0100'), ('0044 20 7946 0958'), ('+49/30.1234567'), ('+1234567'), ('+123456789012345'),
	('+123456'), ('+1234567890123456'), ('2125550100'), ('+0123456789'), ('000123456789'), ('+1 212 555 0100 ext 5'), ('++12125550100'), ('tel:+12125550100'), ('+'), ('00'), (' ');
SELECT marketing.attach_contacts('phones', id => 'id', phone => 'phone');
SELECT contact, phone FROM people WHERE contact ~ 'phones';
DROP VIEW people;
