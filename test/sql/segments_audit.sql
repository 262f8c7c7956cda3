-- The trickle audit: drift that is planted is found and shown, and put right by rebuild_segment().
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY, city text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, created_at timestamptz);
CREATE INDEX ON orders (customer_id, created_at);
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO customers SELECT i, 'Rome' FROM generate_series(1, 8) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');
INSERT INTO orders (customer_id, created_at) SELECT i, marketing.now() - i * interval '1 day' FROM generate_series(1, 4) AS i;
SELECT marketing.define_segment('buyers', 'any order_placed in 30 days');
SELECT marketing.define_segment('rome', $$ city = 'Rome' $$);
CREATE VIEW shown AS SELECT item, value, detail FROM marketing.status WHERE item LIKE 'segment %' ORDER BY 1;

-- All is well; who is overdue is no drift.
CALL marketing.work();
SELECT marketing.set_clock('2026-03-29 12:00+00');
\c
SET timezone = 'UTC';
SET datestyle = 'ISO';
CALL marketing.work();
SELECT * FROM shown;

-- A hand in our tables: a bit, then a member, then a change that nobody captured.
UPDATE marketing_internal.segment_state SET bits = '\x00' WHERE contact_id = (SELECT contact_id FROM marketing_internal.contact_key WHERE external_id = '7');
\c
SET timezone = 'UTC';
SET datestyle = 'ISO';
CALL marketing.work();
SELECT * FROM shown;
DELETE FROM marketing_internal.segment_member WHERE segment_id = 2 AND contact_id = (SELECT contact_id FROM marketing_internal.contact_key WHERE external_id = '6');
ALTER TABLE orders DISABLE TRIGGER USER;
INSERT INTO orders (customer_id, created_at) VALUES (8, marketing.now());
ALTER TABLE orders ENABLE TRIGGER USER;
\c
SET timezone = 'UTC';
SET datestyle = 'ISO';
CALL marketing.work();
SELECT * FROM shown;
SELECT * FROM marketing.verify_segment('buyers');
SELECT marketing.rebuild_segment('buyers');
SELECT * FROM shown;
SELECT * FROM marketing.verify_segment('buyers');
SELECT marketing.rebuild_segment('rome');
SELECT * FROM shown;
SELECT * FROM marketing.verify_segment('rome');
\c
CALL marketing.work();
SELECT count(*) FROM shown;
DROP VIEW shown;
DROP EXTENSION marketing_automation;
