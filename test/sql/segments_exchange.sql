-- Names that go from one column to another: the rules that read them go on meaning what they meant, at once, or are closed.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
\pset tuples_only on
\pset format unaligned
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = error;
SET marketing_automation.sync_wait = '10s';
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, a int, b int, c int, city text, "Land" text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id bigint, net int, gross int, at timestamptz DEFAULT '2026-02-20');
INSERT INTO customers SELECT i, 10 * i, i, 100 + i, 'a', 'b' FROM generate_series(1, 6) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at');
INSERT INTO orders SELECT i, i, i, 100 * i FROM generate_series(1, 6) AS i;
SELECT marketing.define_segment(name, rule) FROM (VALUES
	('one', 'a > 30'), ('both', 'a > 20 and b < 5'), ('words', $$ city = 'a' and "Land" <> 'city' and a > 10 $$),
	('rows', 'sum(ordered.net) in 60 days > 2 and no ordered where (gross > 500)'), ('over', 'in segment both and c > 0'),
	('three', 'a < b + c and c > b')) AS s (name, rule);
CREATE VIEW shown AS SELECT s.name, s.rule, s.state, CASE WHEN s.error IS NULL THEN marketing.segment_size(s.name) END AS size,
	CASE WHEN s.error IS NULL THEN (SELECT count(*) FROM marketing.verify_segment(s.name)) END AS wrong FROM marketing.segments AS s ORDER BY 1;
SELECT * FROM shown;
SELECT count(*) FROM marketing_internal.segment_failure;

-- Two columns exchange their names.
BEGIN;
ALTER TABLE customers RENAME a TO x;
ALTER TABLE customers RENAME b TO a;
ALTER TABLE customers RENAME x TO b;
SELECT * FROM shown;
COMMIT;
SELECT * FROM shown;
-- A commit evaluates what was meant; the worker stores the words.
UPDATE customers SET b = 1 WHERE id IN (4, 5);
SELECT marketing.in_segment(4, 'one'), marketing.in_segment(5, 'both'), marketing.in_segment(6, 'one');
SELECT * FROM shown;
SELECT name, rule FROM marketing_internal.segment ORDER BY 1;
CALL marketing.work();
SELECT name, rule FROM marketing_internal.segment ORDER BY 1;
SELECT * FROM shown;
UPDATE customers SET b = 1000 WHERE id = 1;
SELECT marketing.in_segment(1, 'one'), (SELECT count(*) FROM marketing_internal.segment_member AS m JOIN marketing_internal.segment AS s USING (segment_id)
	JOIN marketing_internal.contact_key AS k USING (contact_id) WHERE s.name = 'one' AND k.external_id = '1') AS stored;
-- Of an event's rows, with names that stand in strings as well.
BEGIN;
ALTER TABLE orders RENAME net TO x;
ALTER TABLE orders RENAME gross TO net;
ALTER TABLE orders RENAME x TO gross;
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME "Land" TO city;
ALTER TABLE customers RENAME x TO "Land";
COMMIT;
INSERT INTO orders VALUES (7, 6, 501, 3), (8, 1, 10, 10);
SELECT * FROM shown;
CALL marketing.work();
SELECT * FROM shown;
-- A name that another column has now.
ALTER TABLE orders RENAME gross TO sum_of_all;
ALTER TABLE orders RENAME net TO gross;
SELECT * FROM shown WHERE name = 'rows';
CALL marketing.work();
SELECT * FROM shown WHERE name = 'rows';
-- In the transaction that defines.
BEGIN;
SELECT marketing.define_segment('now', 'a < 4 and b > 25');
ALTER TABLE customers RENAME a TO x;
ALTER TABLE customers RENAME b TO a;
ALTER TABLE customers RENAME x TO b;
COMMIT;
SELECT * FROM shown WHERE name = 'now';
CALL marketing.work();
-- Three names in a ring: that is not followed, and read by nobody.
BEGIN;
ALTER TABLE customers RENAME a TO x;
ALTER TABLE customers RENAME b TO a;
ALTER TABLE customers RENAME c TO b;
ALTER TABLE customers RENAME x TO c;
COMMIT;
SELECT * FROM shown;
SELECT marketing.in_segment(1, 'three');
INSERT INTO orders VALUES (9, 2, 10, 10);
UPDATE customers SET c = c + 1;
CALL marketing.work();
SELECT * FROM shown;
SELECT marketing.define_segment('three', 'c < a + b and b > a');
SELECT * FROM shown WHERE name = 'three';
-- A column that is altered and keeps its name.
ALTER TABLE customers ALTER a SET NOT NULL;
SELECT * FROM shown WHERE name = 'three';
CALL marketing.work();
SELECT * FROM shown WHERE name = 'three';
SELECT item, state, value FROM marketing.status WHERE item LIKE 'segment %' ORDER BY 1;

DROP VIEW shown;
DROP EXTENSION marketing_automation;
DROP TABLE customers, orders;
