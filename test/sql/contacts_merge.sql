-- match, merge_contacts() and split_contact().
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE subscribers (id uuid PRIMARY KEY, email text, phone text);
CREATE TABLE leads (id int PRIMARY KEY, phone text);
INSERT INTO customers SELECT i, format('c%s@example.com', i) FROM generate_series(1, 4) i;
INSERT INTO subscribers SELECT ('00000000-0000-0000-0000-00000000000' || i)::uuid, format('C%s@Example.com', i), '+90850555010' || i FROM generate_series(1, 2) i;
INSERT INTO subscribers VALUES ('00000000-0000-0000-0000-00000000000a', 'new@example.com', NULL), ('00000000-0000-0000-0000-00000000000b', 'NEW@example.com', '+908505550199'), ('00000000-0000-0000-0000-00000000000c', 'bad', NULL);
INSERT INTO leads VALUES (1, '0090 850 555 01 01'), (2, '+90 850 555 7777');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', phone => 'phone', match => 'email');
SELECT marketing.attach_contacts('leads', id => 'id', phone => 'phone', match => 'phone');
CREATE VIEW people AS SELECT c.contact, c.email, c.phone, c.attributes, k.keys, c._contact_id AS n
	FROM marketing.contacts c, LATERAL (SELECT string_agg(s.name || ':' || replace(k.external_id, '00000000-0000-0000-0000-00000000000', '~'), ' ' ORDER BY k.source_id, k.external_id) AS keys
		FROM marketing_internal.contact_key k JOIN marketing_internal.contact_source s USING (source_id) WHERE k.contact_id = c._contact_id) k
	ORDER BY _contact_id;
SELECT contact, email, phone, keys, n FROM people;
SELECT contact_id, merged_id, reason, keys, split_at IS NOT NULL AS split FROM marketing_internal.contact_merge ORDER BY merge_id;
CALL marketing.work(run_for => '0');

-- a matched row becomes a contact of its own
SELECT marketing.split_contact('subscribers:00000000-0000-0000-0000-000000000001');
SELECT contact, email, phone, keys FROM people;
SELECT marketing.split_contact('subscribers:00000000-0000-0000-0000-000000000001');
SELECT marketing.split_contact(2);
SELECT marketing.split_contact('2');
-- and stays so when the row changes
UPDATE subscribers SET phone = '+908505550001' WHERE id = '00000000-0000-0000-0000-000000000001';
SELECT contact, email, phone, keys FROM people WHERE email = 'c1@example.com';

-- merge: ids, events, attributes; the winner's attributes win
SELECT marketing.declare_event('visited');
SELECT marketing.identify(3, '{"a": "three", "b": 3, "phone": "+905550003"}');
SELECT marketing.identify('web:x', '{"b": "web", "c": {"d": [1, null]}, "email": "web@example.com"}');
SELECT marketing.track('web:x', 'visited', '{"page": 1}', '2026-01-01 10:00Z', 'once') IS NOT NULL AS tracked;
SELECT marketing.track(3, 'visited', '{"page": 2}', '2026-01-02 10:00Z') IS NOT NULL AS tracked;
SELECT marketing.merge_contacts(3, 'web:x');
SELECT contact, email, phone, attributes, keys FROM people WHERE contact = '3';
SELECT contact_id = (SELECT n FROM people WHERE contact = '3') AS threes, properties FROM marketing_internal.event ORDER BY occurred_at;
SELECT marketing.track('web:x', 'visited', '{"page": 3}', '2026-01-03 10:00Z') IS NOT NULL AS tracked;
SELECT marketing.identify('web:x', '{"a": null, "e": 5}');
SELECT marketing.merge_contacts('web:x', '3');
-- merge of merged
SELECT marketing.merge_contacts('customers:4', 'web:x');
SELECT contact, email, phone, attributes, keys FROM people WHERE contact IN ('3', '4');
-- undone in reverse
SELECT marketing.split_contact('web:x');
SELECT contact, email, phone, attributes, keys FROM people WHERE contact IN ('3', '4', 'web:x');
SELECT marketing.split_contact('web:x');
SELECT contact, email, phone, attributes, keys FROM people WHERE contact IN ('3', '4', 'web:x');
SELECT p.contact, e.properties FROM marketing_internal.event e JOIN people p ON p.n = e.contact_id ORDER BY e.occurred_at;
SELECT reason, keys, moved = '{}' AS none_moved, merged ->> 'attributes' AS attributes, merged_by = session_user AS by_me, split_at IS NOT NULL AS split FROM marketing_internal.contact_merge WHERE reason = 'merge' ORDER BY merge_id;

-- a merged contact's key that was re-keyed and one whose row is gone
SELECT marketing.merge_contacts('leads:2', '1');
UPDATE customers SET id = 100 WHERE id = 1;
SELECT contact, email, phone, keys FROM people WHERE contact = '100';
SELECT marketing.split_contact(100);
SELECT contact, email, phone, keys FROM people WHERE contact IN ('100', 'leads:2');
SELECT marketing.merge_contacts(100, 'leads:2');
DELETE FROM leads WHERE id = 2;
SELECT marketing.split_contact('leads:2');
SELECT marketing.split_contact(100);

-- what cannot be
\set VERBOSITY sqlstate
SELECT marketing.merge_contacts(3, '3');
SELECT marketing.merge_contacts(3, '33');
SELECT marketing.merge_contacts(3, NULL);
SELECT marketing.merge_contacts(NULL::text, '3');
SELECT marketing.merge_contacts('nobody:1', '3');
SELECT marketing.split_contact('web:y');
SELECT marketing.split_contact(3);
\set VERBOSITY default

-- in one transaction with the rows, and rolled back
BEGIN;
INSERT INTO customers VALUES (50, 'fifty@example.com'), (51, 'fiftyone@example.com');
SELECT marketing.merge_contacts(50, '51');
UPDATE customers SET email = NULL WHERE id = 50;
COMMIT;
SELECT contact, email, keys FROM people WHERE contact IN ('50', '51');
BEGIN;
SELECT marketing.split_contact(51);
ROLLBACK;
SELECT contact, email, keys FROM people WHERE contact IN ('50', '51');
SELECT count(*) FROM marketing_internal.dirty;
DROP VIEW people;
