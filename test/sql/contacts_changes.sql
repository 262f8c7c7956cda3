-- Rows that come, change and go: contacts follow at each commit.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, tz text, blocked boolean);
CREATE TABLE subscribers (id int PRIMARY KEY, email text, tz text);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', exclude => 'blocked');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', time_zone => 'tz', match => 'email');
CREATE VIEW people AS SELECT contact, email, phone, time_zone, attributes FROM marketing.contacts ORDER BY contact COLLATE "C";
CREATE VIEW keys AS SELECT s.name, k.external_id, marketing_internal.contact_text(k.contact_id) AS contact, k.excluded
	FROM marketing_internal.contact_key k JOIN marketing_internal.contact_source s USING (source_id) ORDER BY source_id, external_id;

-- insert, with addresses that are and are not valid
INSERT INTO customers VALUES (1, 'ONE@example.com', '+908505550101'), (2, 'two@', '123');
TABLE people;
UPDATE customers SET email = 'two@example.com', phone = NULL WHERE id = 2;
UPDATE customers SET email = NULL WHERE id = 1;
TABLE people;
-- a change of other columns and a change that is no change touch nothing
UPDATE customers SET email = email;
SELECT count(*) FROM marketing_internal.dirty;

-- excluded: never a contact; later: the key stays but does not count; and back
INSERT INTO customers VALUES (3, 'three@example.com', NULL, NULL, true);
SELECT marketing.identify(3);
UPDATE customers SET blocked = true WHERE id = 2;
TABLE people;
TABLE keys;
UPDATE customers SET blocked = false, email = 'zwei@example.com' WHERE id IN (2, 3);
TABLE people;

-- rolled back, and rolled back in part
BEGIN;
INSERT INTO customers VALUES (4, 'four@example.com');
ROLLBACK;
BEGIN;
INSERT INTO customers VALUES (5, 'five@example.com');
SAVEPOINT a;
INSERT INTO customers VALUES (6, 'six@example.com');
UPDATE customers SET email = 'fuenf@example.com' WHERE id = 5;
ROLLBACK TO a;
COMMIT;
-- there and gone in one transaction
BEGIN;
INSERT INTO customers VALUES (7, 'seven@example.com');
DELETE FROM customers WHERE id = 7;
COMMIT;
SELECT contact, email FROM people;

-- a contact is known in the transaction that makes it
BEGIN;
INSERT INTO customers VALUES (8, 'eight@example.com');
SELECT marketing.identify(8, '{"vip": true}');
UPDATE customers SET email = 'acht@example.com' WHERE id = 8;
COMMIT;
SELECT contact, email, attributes FROM people WHERE contact = '8';

-- a new key for the same row: the same contact
SELECT _contact_id AS before FROM marketing.contacts WHERE contact = '8' \gset
UPDATE customers SET id = 80 WHERE id = 8;
SELECT contact, email, attributes, _contact_id = :before AS same FROM marketing.contacts WHERE contact IN ('8', '80');
-- keys that change places and shift in one statement
SELECT _contact_id AS n5 FROM marketing.contacts WHERE contact = '5' \gset
BEGIN;
UPDATE customers SET id = id + 1000 WHERE id IN (5, 80);
UPDATE customers SET id = CASE id WHEN 1005 THEN 80 ELSE 5 END WHERE id > 1000;
COMMIT;
SELECT contact, email, _contact_id = :before AS was_80, _contact_id = :n5 AS was_5 FROM marketing.contacts WHERE contact IN ('5', '80') ORDER BY 1;
-- a row deleted and inserted again under its key: the contact is as the row is
BEGIN;
DELETE FROM customers WHERE id = 1;
INSERT INTO customers VALUES (1, 'uno@example.com');
COMMIT;
SELECT contact, email FROM people WHERE contact = '1';

-- match: a new row joins the contact that has its address; the first source's address stays the contact's
INSERT INTO subscribers VALUES (1, 'UNO@example.com', 'Europe/Paris'), (2, 'new@example.com', NULL), (3, 'New@Example.com', 'Asia/Tokyo');
SELECT contact, email, time_zone FROM people WHERE email IN ('uno@example.com', 'new@example.com');
TABLE keys;
UPDATE subscribers SET email = 'other@example.com' WHERE id = 1;
UPDATE customers SET email = NULL WHERE id = 1;
SELECT contact, email, time_zone FROM people WHERE contact = '1';
-- the customer goes, the subscriber stays; both go
DELETE FROM customers WHERE id = 1;
SELECT contact, email, time_zone FROM people WHERE contact = 'subscribers:1';
DELETE FROM subscribers WHERE id = 1;
SELECT count(*) FROM people WHERE email = 'other@example.com';
SELECT count(*) FROM marketing_internal.contact WHERE email = 'other@example.com';

-- two rows of one address made in one transaction by different sources
BEGIN;
INSERT INTO customers VALUES (20, 'both@example.com');
INSERT INTO subscribers VALUES (20, 'both@example.com', NULL);
COMMIT;
SELECT contact, email FROM people WHERE email = 'both@example.com';
-- the table without match makes contacts of its own
INSERT INTO customers VALUES (21, 'both@example.com');
SELECT contact, email FROM people WHERE email = 'both@example.com';

-- all at once, and all gone
TRUNCATE subscribers;
CALL marketing.work(run_for => '0');
SELECT contact FROM people;
DELETE FROM customers;
SELECT contact FROM people;
TABLE keys;
SELECT count(*) FROM marketing_internal.dirty;
DROP VIEW people, keys;

-- a key that waits to be renamed, in this transaction or in the log, is its contact's already
CREATE TABLE clients (id int PRIMARY KEY, email text);
INSERT INTO clients VALUES (1, 'k1@example.com'), (2, 'k2@example.com');
SELECT marketing.attach_contacts('clients', id => 'id', email => 'email');
SELECT marketing.identify('clients:' || id, jsonb_build_object('was', id)) FROM clients ORDER BY id;
BEGIN;
UPDATE clients SET id = 9 WHERE id = 1;
UPDATE clients SET id = 1 WHERE id = 2;
UPDATE clients SET id = 2 WHERE id = 9;
SELECT marketing.track('clients:1', 'called', '{"for": 2}'), marketing.track('clients:2', 'called', '{"for": 1}');
COMMIT;
BEGIN;
UPDATE clients SET id = 11 WHERE id = 1;
SELECT marketing.track('clients:11', 'called', '{"for": 2}');
COMMIT;
SET marketing_automation.sync_max_contacts = 0;
UPDATE clients SET id = id + 100;
UPDATE clients SET id = id + 1000;
UPDATE clients SET id = 9 WHERE id = 1102;
SELECT marketing.track('clients:1111', 'called', '{"for": 2}'), marketing.track('clients:9', 'called', '{"for": 1}');
SELECT marketing.identify('clients:1102');
RESET marketing_automation.sync_max_contacts;
CALL marketing.work();
SELECT c.contact, c.email, c.attributes ->> 'was' AS was, count(e.*), min(e.properties ->> 'for'), max(e.properties ->> 'for')
FROM marketing.contacts AS c LEFT JOIN marketing_internal.event AS e ON e.contact_id = c._contact_id
WHERE c.contact LIKE 'clients:%' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(*) FROM marketing_internal.dirty;

-- partitions: a row that changes within its partition, also its id, is the same contact; PostgreSQL
-- lets a unique id change its partition only with its value, and then it is another row
CREATE TABLE members (id int PRIMARY KEY, email text) PARTITION BY RANGE (id);
CREATE TABLE members_low PARTITION OF members FOR VALUES FROM (1) TO (1000);
CREATE TABLE members_high PARTITION OF members FOR VALUES FROM (1000) TO (2000);
INSERT INTO members VALUES (1, 'm1@example.com'), (2, 'm2@example.com');
SELECT marketing.attach_contacts('members', id => 'id', email => 'email');
SELECT marketing.identify('members:' || id, jsonb_build_object('was', id)) FROM members ORDER BY id;
UPDATE members SET id = 11 WHERE id = 1;
UPDATE members SET id = 1002, email = 'moved@example.com' WHERE id = 2;
BEGIN;
DELETE FROM members WHERE id = 11;
INSERT INTO members VALUES (11, 'again@example.com');
COMMIT;
SELECT contact, email, attributes FROM marketing.contacts WHERE contact LIKE 'members:%' ORDER BY contact;
SELECT count(*) FROM marketing_internal.dirty;
