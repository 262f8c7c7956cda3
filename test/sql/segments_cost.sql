-- What is not done: no write where nothing changes (lazy timers), no read where a row's sign cannot
-- move a segment (monotone skip), no look into the table where the index has all (covering fetch). A
-- partition that goes is noticed.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE visits (id bigserial, customer_id bigint, at timestamptz, page text) PARTITION BY RANGE (at);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX ON visits (customer_id, at);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, total numeric, note text);
CREATE INDEX orders_covering ON orders (customer_id, at) INCLUDE (total);
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO customers SELECT generate_series(1, 200);
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
INSERT INTO visits (customer_id, at) SELECT 1 + i % 200, timestamptz '2025-12-20 12:00+00' - i * interval '1 hour' FROM generate_series(1, 1000) AS i;
INSERT INTO visits (customer_id, at) SELECT i, timestamptz '2026-02-28 12:00+00' FROM generate_series(1, 100) AS i;
INSERT INTO orders (customer_id, at, total) SELECT 1 + i % 200, timestamptz '2026-02-28 12:00+00' - i * interval '1 minute', i % 50 FROM generate_series(1, 4000) AS i;
SET client_min_messages = warning;
SELECT marketing.define_segment('absent', 'no visited in 30 days');
SELECT marketing.define_segment('often', 'count(visited) in 20 days >= 3');
SELECT marketing.define_segment('spender', 'sum(order_placed.total) in 30 days > 300');
RESET client_min_messages;
CALL marketing.work();
VACUUM ANALYZE orders, visits_new, visits_old;
-- How often tables were read and rows fetched from them beside the index; what counts is the difference in one transaction.
CREATE VIEW reads AS SELECT sum(idx_scan + seq_scan) AS scans, sum(idx_tup_fetch) AS fetches FROM pg_stat_xact_user_tables
	WHERE relname IN ('orders', 'visits_new', 'visits_old');
-- The plans are made before.
BEGIN;
INSERT INTO visits (customer_id, at) VALUES (2, marketing.now());
INSERT INTO orders (customer_id, at, total) VALUES (2, marketing.now(), 1);
SELECT marketing.flush();
ROLLBACK;

-- A visit of who is not absent and visits often already: his state's row is as it was, nothing was read.
INSERT INTO visits (customer_id, at) SELECT 1, marketing.now() - i * interval '1 hour' FROM generate_series(1, 3) AS i;
SELECT s.ctid AS before, s.xmin AS writer FROM marketing_internal.segment_state AS s JOIN marketing_internal.contact_key USING (contact_id) WHERE external_id = '1' \gset
BEGIN;
INSERT INTO visits (customer_id, at) VALUES (1, marketing.now());
SELECT scans FROM reads \gset
SELECT marketing.flush();
SELECT scans - :scans AS scans FROM reads;
COMMIT;
SELECT s.ctid = :'before' AND s.xmin = :'writer' AS unwritten FROM marketing_internal.segment_state AS s JOIN marketing_internal.contact_key USING (contact_id) WHERE external_id = '1';
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
-- A visit taken away goes the other way, and is looked at.
BEGIN;
DELETE FROM visits WHERE customer_id = 1 AND at = marketing.now();
SELECT scans FROM reads \gset
SELECT marketing.flush();
SELECT scans - :scans > 0 AS scanned FROM reads;
COMMIT;

-- An order is summed up from the index alone, but for the rows that came since the last VACUUM.
BEGIN;
INSERT INTO orders (customer_id, at, total) VALUES (7, marketing.now(), 1);
SELECT * FROM reads \gset
SELECT marketing.flush();
SELECT scans - :scans > 0 AS scanned, fetches - :fetches <= 1 AS from_the_index FROM reads;
COMMIT;
DROP INDEX orders_covering;
CREATE INDEX orders_bare ON orders (customer_id, at);
BEGIN;
INSERT INTO orders (customer_id, at, total) VALUES (7, marketing.now(), 1);
SELECT * FROM reads \gset
SELECT marketing.flush();
SELECT scans - :scans > 0 AS scanned, fetches - :fetches <= 1 AS from_the_index FROM reads;
COMMIT;

-- A partition goes: its contacts are looked at by the worker, and reads are exact before.
DROP TABLE visits_old;
SELECT count(*) FROM marketing_internal.dirty;
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
CALL marketing.work();
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
SELECT count(*) FROM marketing_internal.dirty;
DROP VIEW reads;
DROP EXTENSION marketing_automation;
