-- Segments: definitions, members, what they are read as in the transaction that changes them, lists,
-- explanation, what may be dropped, and what goes with the extension.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'UTC';
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY, email text, tz text, city text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, total numeric, status text DEFAULT 'paid', created_at timestamptz);
CREATE INDEX orders_contact ON orders (customer_id, created_at) INCLUDE (total, status);
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO customers SELECT i, 'a' || i || '@example.com', NULL, CASE i % 2 WHEN 0 THEN 'Rome' END FROM generate_series(1, 6) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$ status <> 'cancelled' $$);
INSERT INTO orders (customer_id, total, created_at)
	SELECT 1 + i % 3, 10 * i, timestamptz '2026-03-01 10:00+00' - i * interval '1 day' FROM generate_series(1, 9) AS i;

SELECT what, CASE what WHEN 'cost' THEN regexp_replace(value, '[0-9.]+', 'N', 'g') ELSE value END AS value FROM marketing.preview_segment('count(order_placed) in 5 days >= 2 and city = ''Rome''');
SELECT marketing.define_segment('active', 'count(order_placed) over 5 days >= 2', description => 'often');
SELECT marketing.define_segment('active', 'count(order_placed) in 5 days >= 2', description => 'often');
SELECT marketing.define_segment('quiet', 'no order_placed in 5 days');
SELECT marketing.define_list('staff');
SELECT marketing.define_list('staff', 'us');
SELECT marketing.define_segment('rome_active', 'in segment active and city = ''Rome'' and not in list staff');
SELECT * FROM marketing.segments;
SELECT s.name, m.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.segment_members(s.name) AS m ORDER BY 1, 2;

-- In the transaction of the order, and rolled back with it.
BEGIN;
INSERT INTO orders (customer_id, total, created_at) VALUES (6, 1, marketing.now()), (6, 1, marketing.now());
SELECT marketing.in_segment(6, 'active'), marketing.in_segment('6', 'rome_active'), marketing.segment_size('active');
SELECT count(*) FROM marketing_internal.segment_member AS m JOIN marketing_internal.segment USING (segment_id) WHERE name = 'active';
ROLLBACK;
SELECT marketing.in_segment(6, 'active'), marketing.segment_size('active');
INSERT INTO orders (customer_id, total, created_at) VALUES (6, 1, marketing.now()), (6, 1, marketing.now());
SELECT count(*) FROM marketing_internal.segment_member AS m JOIN marketing_internal.segment USING (segment_id) WHERE name = 'active';
SELECT * FROM marketing.segments_of(6);
SELECT marketing.add_to_list(6, 'staff'), marketing.add_to_list('6', 'staff');
SELECT * FROM marketing.segments_of(6);
SELECT marketing.remove_from_list(6, 'staff'), marketing.remove_from_list(6, 'staff');
SELECT marketing.add_to_list(6, 'stuff');

-- A taken back order, a column that a rule reads, a contact that goes.
UPDATE orders SET status = 'cancelled' WHERE customer_id = 6;
SELECT marketing.in_segment(6, 'active'), marketing.in_segment(6, 'quiet');
UPDATE customers SET city = 'Rome';
SELECT marketing.segment_size('rome_active');
DELETE FROM customers WHERE id = 5;
SELECT marketing.segment_size('quiet');

-- Time alone: exact without a worker, and the worker tells when.
SELECT marketing.set_clock('2026-03-05 10:00+00');
SELECT contact FROM marketing.segment_members('active') ORDER BY 1;
SELECT count(*) FROM marketing_internal.segment_state WHERE next_wake <= marketing.now();
CALL marketing.work();
SELECT count(*) FROM marketing_internal.segment_state WHERE next_wake <= marketing.now();
SELECT s.name, k.external_id, t.entered, t.effective_at, t.cause
FROM marketing_internal.segment_transition AS t JOIN marketing_internal.segment AS s USING (segment_id)
JOIN marketing_internal.contact_key AS k USING (contact_id)
WHERE t.cause = 'time' ORDER BY 1, 2, t.transition_id;
SELECT contact FROM marketing.segment_members('active', '2026-03-01 12:00+00') ORDER BY 1;
SELECT * FROM marketing.explain_segment(2, 'rome_active');
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;

-- The clock goes back: nothing kept from the future is believed.
SELECT marketing.set_clock('2026-03-02 12:00+00');
SELECT contact FROM marketing.segment_members('active') ORDER BY 1;
CALL marketing.work();
CALL marketing.work();
SELECT count(*) FROM marketing_internal.dirty;
SELECT contact FROM marketing.segment_members('active') ORDER BY 1;

-- What a verification is worth: it finds a member that should be none.
BEGIN;
DELETE FROM marketing_internal.segment_member WHERE contact_id = (SELECT min(contact_id) FROM marketing_internal.segment_member);
SELECT count(*) > 0 AS found FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
ROLLBACK;
SELECT marketing.define_segment('active', 'count(order_placed) in 4 days >= 2');

-- Errors.
SELECT marketing.define_segment('active', 'in segment rome_active');
SELECT marketing.define_segment('x', 'in segment actve');
SELECT marketing.define_segment('x', NULL);
SELECT marketing.define_segment('', 'true');
SELECT marketing.define_segment(E'a\nb', 'true');
SELECT marketing.in_segment(1, 'actve');
SELECT marketing.in_segment(99, 'active');
SELECT marketing.drop_segment('active');
SELECT marketing.drop_list('staff');
ALTER TABLE orders DROP COLUMN total;
ALTER TABLE customers DROP COLUMN city;
SELECT marketing.detach('orders');

-- A renamed table is followed.
ALTER TABLE orders RENAME TO sales;
INSERT INTO sales (customer_id, created_at) SELECT 4, marketing.now() FROM generate_series(1, 2);
SELECT marketing.in_segment(4, 'rome_active'), pg_get_viewdef('marketing_rule.segment_active') LIKE '%sales%' AS followed;
SELECT * FROM marketing.verify_segment('rome_active');

-- CASCADE takes the view: the rule is broken, cannot be read, and the others go on.
SET client_min_messages = warning;
ALTER TABLE customers DROP COLUMN city CASCADE;
RESET client_min_messages;
SELECT name, state FROM marketing.segments;
SELECT marketing.segment_size('rome_active');
SELECT marketing.segment_size('active');
SELECT * FROM marketing.verify_segment('rome_active');
INSERT INTO sales (customer_id, created_at) SELECT 3, marketing.now() FROM generate_series(1, 2);
SELECT marketing.in_segment(3, 'active'), (SELECT count(*) FROM marketing_internal.dirty);
SELECT marketing.in_segment(3, 'rome_active');
SELECT marketing.drop_segment('rome_active');
SELECT marketing.drop_segment('active');

DROP EXTENSION marketing_automation;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'marketing%';
