-- attach_contacts(): key types, names, partitions, definitions run again, builds by the worker.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE VIEW people AS SELECT contact, email, phone, time_zone, locale, attributes
	FROM marketing.contacts ORDER BY _contact_id;

-- three key types; the ids of the first are bare, equal ids of the second are other people
CREATE TABLE customers (id int PRIMARY KEY, email text, phone varchar(40), tz text, lang text);
INSERT INTO customers VALUES
	(1, ' Ada@Example.COM ', '+90 (850) 555-01.00', 'europe/istanbul', 'tr'),
	(2, 'not an address', '0850 555 01 00', 'Mars/Olympus', ''),
	(3, '', '0090 850 555 01 01', NULL, ' en-GB '),
	(10, NULL, NULL, 'UTC', NULL);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz', locale => 'lang');
CREATE TABLE leads (id bigint NOT NULL, mail varchar(100));
CREATE UNIQUE INDEX ON leads (id) INCLUDE (mail);
INSERT INTO leads VALUES (1, 'grace@example.com'), (2, NULL);
SELECT marketing.attach_contacts('leads', id => 'id', email => 'mail');
CREATE TABLE members (code text PRIMARY KEY, email text);
INSERT INTO members VALUES ('a:1', 'colon@example.com'), ('Zoë', 'zoe@example.com');
SELECT marketing.attach_contacts('members', id => 'code', email => 'email', source => 'club');
CREATE TABLE devices (id uuid PRIMARY KEY);
INSERT INTO devices VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT marketing.attach_contacts('devices', id => 'id');
TABLE people;

-- one contact has one spelling
SELECT marketing.identify(1), marketing.identify('1'), marketing.identify('001'), marketing.identify('customers: 1 ');
SELECT marketing.identify('leads:1'), marketing.identify('club:a:1'), marketing.identify('club:Zoë');
SELECT marketing.identify('devices:A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
SELECT marketing_internal.contact_text(_contact_id) = contact AS same, count(*) FROM marketing.contacts GROUP BY 1;

-- the same definition again, another one, and what it changes
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz', locale => 'lang');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz', exclude => 'id = 10');
TABLE people;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz', exclude => 'id=10');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz', source => 'clients');
SELECT contact FROM people;
SELECT marketing.identify('clients:1'), marketing.identify(1);
SELECT marketing.attach_contacts('leads', id => 'id', email => 'mail', consent => '{"offers/email": "optin"}');
SELECT marketing.define_topic('offers'), marketing.define_topic('news', channels => '{sms}');
SELECT marketing.attach_contacts('leads', id => 'id', email => 'mail', consent => '{"offers/email": "optin"}');
ALTER TABLE leads ADD optin boolean, ADD asked timestamptz;
SELECT marketing.attach_contacts('leads', id => 'id', email => 'mail', consent => '{"offers/email": "optin", "news/sms": "asked"}');
SELECT marketing.attach_contacts('leads', id => 'id', email => 'mail', consent => '{"news/sms": "asked", "offers/email": "optin"}');

-- the triggers are the table's, in the mode of attaching, and go with the extension
SELECT c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid) ~ 'marketing.capture' AS ours,
	EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'x') AS depends
	FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE t.tgname ~ '^marketing' ORDER BY 1, 2;

-- a renamed table is still that table; triggers that were dropped come back and rows are read anew
ALTER TABLE customers RENAME TO buyers;
INSERT INTO buyers VALUES (4, 'four@example.com');
SELECT marketing.attach_contacts('buyers', id => 'id', email => 'email', time_zone => 'tz', source => 'clients');
DROP TRIGGER marketing_capture ON buyers;
DELETE FROM buyers WHERE id = 2;
UPDATE buyers SET email = 'three@example.com' WHERE id = 3;
INSERT INTO buyers VALUES (5, 'five@example.com');
SELECT marketing.attach_contacts('buyers', id => 'id', email => 'email', time_zone => 'tz', source => 'clients');
ALTER TABLE buyers DISABLE TRIGGER marketing_capture;
INSERT INTO buyers VALUES (6, 'six@example.com');
SELECT marketing.attach_contacts('buyers', id => 'id', email => 'email', time_zone => 'tz', source => 'clients');
SELECT contact, email FROM people WHERE contact !~ ':';

-- quoted and mixed-case names, in a schema of such a name
CREATE SCHEMA "My Shop";
CREATE TABLE "My Shop"."Kunden ""A""" ("Kunden-Nr" int PRIMARY KEY, "E-Mail" text, "select" boolean);
INSERT INTO "My Shop"."Kunden ""A""" VALUES (1, 'eins@example.com', false), (2, 'zwei@example.com', true);
SELECT marketing.attach_contacts('"My Shop"."Kunden ""A"""', id => 'Kunden-Nr', email => 'E-Mail', exclude => '"select"');
INSERT INTO "My Shop"."Kunden ""A""" VALUES (3, 'drei@example.com', false);
SELECT marketing.identify('Kunden "A":3', '{"a": 1}');
SELECT contact, email FROM people WHERE contact ~ 'Kunden';

-- partitions, also later ones and those of partitions
CREATE TABLE users (id int NOT NULL, email text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (1) TO (100);
CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (100) TO (300) PARTITION BY RANGE (id);
CREATE TABLE users_2a PARTITION OF users_2 FOR VALUES FROM (100) TO (200);
INSERT INTO users VALUES (1, 'p1@example.com'), (150, 'p150@example.com');
SELECT marketing.attach_contacts('users', id => 'id', email => 'email');
CREATE TABLE users_2b PARTITION OF users_2 FOR VALUES FROM (200) TO (300);
INSERT INTO users VALUES (2, 'p2@example.com'), (250, 'p250@example.com');
UPDATE users SET id = 251 WHERE id = 2;
DELETE FROM users_2a;
SELECT contact, email FROM people WHERE contact ~ 'users';
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid::regclass::text ~ 'users' ORDER BY tgrelid::regclass::text, 2;
SELECT marketing.attach_contacts('users', id => 'id', email => 'email');

-- keys whose type prints one value in more than one way
CREATE TABLE prices (id numeric(6,2) PRIMARY KEY);
INSERT INTO prices VALUES (7);
SELECT marketing.attach_contacts('prices', id => 'id');
SELECT marketing.identify('prices:7'), marketing.identify('prices:7.0');
CREATE TYPE colour AS ENUM ('red', 'blue');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TABLE by_colour (c colour PRIMARY KEY);
CREATE TABLE by_domain (c small PRIMARY KEY);
CREATE TABLE by_char (c char(5) PRIMARY KEY);
CREATE TABLE by_date (c date PRIMARY KEY);
INSERT INTO by_colour VALUES ('blue'), ('red');
INSERT INTO by_domain VALUES (42);
INSERT INTO by_char VALUES ('ab');
INSERT INTO by_date VALUES ('2026-02-01');
SET DateStyle = 'German';
SELECT marketing.attach_contacts(t, id => 'c') FROM unnest('{by_colour,by_domain,by_char,by_date}'::regclass[]) t;
SELECT marketing.identify('by_colour:red'), marketing.identify('by_domain:42'), marketing.identify('by_char:ab'), marketing.identify('by_date:2026-02-01');
INSERT INTO by_date VALUES ('2026-12-31');
SELECT contact FROM people WHERE contact ~ 'by_';
RESET DateStyle;

-- tables beyond the limit are read by the worker; who is asked for meanwhile is found
CREATE TABLE many (id int PRIMARY KEY, email text);
INSERT INTO many SELECT i, format('m%s@example.com', i) FROM generate_series(1, 12000) i;
SET marketing_automation.build_in_call_rows = 11999;
SELECT marketing.attach_contacts('many', id => 'id', email => 'email');
RESET marketing_automation.build_in_call_rows;
SELECT marketing.identify('many:11000', '{"early": true}');
SELECT marketing.identify('many:12001');
UPDATE many SET email = 'changed@example.com' WHERE id = 10999;
DELETE FROM many WHERE id IN (1, 10998);
INSERT INTO many VALUES (0, 'm0@example.com'), (12001, 'm12001@example.com');
CALL marketing.work(run_for => '0');
SELECT building, built_to FROM marketing_internal.contact_source WHERE name = 'many';
SELECT count(*), count(email), count(DISTINCT contact_id) FROM marketing_internal.contact_key JOIN marketing_internal.contact USING (contact_id)
	WHERE source_id = (SELECT source_id FROM marketing_internal.contact_source WHERE name = 'many');
SELECT contact, email, attributes FROM people WHERE contact ~ '^many:(0|1|10998|10999|11000|12001)$' ORDER BY contact;

-- nothing is left
DROP VIEW people;
DROP EXTENSION marketing_automation;
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^marketing';
INSERT INTO buyers VALUES (7, 'seven@example.com');
