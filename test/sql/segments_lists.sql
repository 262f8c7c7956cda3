-- Lists by COPY with rejects; the standard segments.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
CREATE TABLE leads (id text PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, total numeric, discount numeric DEFAULT 0, created_at timestamptz);
CREATE TABLE visits (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz);
CREATE INDEX ON orders (customer_id, created_at) INCLUDE (total, discount);
CREATE INDEX ON visits (customer_id, at);
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO customers SELECT i, 'a' || i || '@example.com' FROM generate_series(1, 6) AS i;
INSERT INTO leads VALUES ('x', 'lead@example.com'), ('y', 'A1@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_contacts('leads', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
SELECT marketing.attach_events('visits', event => 'page_viewed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');

SELECT marketing.define_list('staff'), marketing.define_list('vips');
SELECT marketing.define_segment('staff_in', 'in list staff');
COPY marketing.list_members (list, contact) FROM stdin (FORMAT csv);
staff,1
staff,leads:x
staff,a2@example.com
staff," A3@Example.com"
staff,99
vips,1
staff,1
stuff,2
staff,a1@example.com
staff,
staff,nobody@example.com
staff,lads:x
staff,a@@b
staff,5
\.
SELECT list, contact FROM marketing.list_members ORDER BY 1, 2;
SELECT list, contact, sqlstate, message FROM marketing.list_rejects;
SELECT contact FROM marketing.segment_members('staff_in') ORDER BY 1;
SELECT count(*) FROM marketing_internal.segment_member;
SELECT * FROM marketing.verify_segment('staff_in');
INSERT INTO marketing.list_members (list, contact) VALUES ('vips', '2'), ('vips', 'none');
-- What is undone takes its rejects with it.
BEGIN;
INSERT INTO marketing.list_members (list, contact) VALUES ('vips', '3'), ('vips', 'none too');
ROLLBACK;
SELECT marketing.forget_list_rejects('staff'), marketing.forget_list_rejects('stuff');
SELECT list, contact, message FROM marketing.list_rejects;
SELECT marketing.forget_list_rejects();
SELECT list, contact FROM marketing.list_members WHERE list = 'vips' ORDER BY 1, 2;

-- The standard segments.
SELECT marketing.define_standard_segments();
SELECT marketing.define_standard_segments(orders => 'order_place');
SELECT marketing.define_standard_segments(orders => 'order_placed', premium => NULL);
SELECT marketing.define_standard_segments(orders => 'order_placed', premium => 'NaN');
SELECT marketing.define_standard_segments(orders => 'order_placed', vip => 'infinity');
SELECT marketing.define_standard_segments(orders => 'order_placed', premium => 500, vip => 499.99);
SET client_min_messages = warning;
SELECT marketing.define_standard_segments(visits => 'page_viewed');
SELECT marketing.define_standard_segments(orders => 'order_placed', visits => 'page_viewed', value => 'total', discounted => 'discount > 0');
SELECT marketing.define_standard_segments(orders => 'order_placed', visits => 'page_viewed', value => 'total', discounted => 'discount > 0', vip => 2000);
RESET client_min_messages;
SELECT name, rule FROM marketing.segments WHERE name NOT LIKE 'rfm%' OR name LIKE '%21_' ORDER BY name;
-- 1: new, much; 2: every ten days, silent for thirty; 3: long gone; 4: discounts only; 5: visits; 6: visited long ago.
INSERT INTO orders (customer_id, total, discount, created_at) SELECT 1, 600, 0, marketing.now() - i * interval '1 day' FROM generate_series(1, 6) AS i;
INSERT INTO orders (customer_id, total, created_at) SELECT 2, 20, marketing.now() - i * interval '10 days' FROM generate_series(3, 6) AS i;
INSERT INTO orders (customer_id, total, created_at) SELECT 3, 20, marketing.now() - i * interval '400 days' FROM generate_series(1, 2) AS i;
INSERT INTO orders (customer_id, total, discount, created_at) SELECT 4, 100, i, marketing.now() - i * interval '70 days' FROM generate_series(0, 2) AS i;
INSERT INTO visits (customer_id, at) SELECT 5, marketing.now() - i * interval '3 days' FROM generate_series(1, 5) AS i;
INSERT INTO visits (customer_id, at) SELECT 6, marketing.now() - interval '40 days';
CREATE VIEW who AS SELECT s.name, (SELECT string_agg(m.contact, ' ' ORDER BY m.contact) FROM marketing.segment_members(s.name) AS m) AS contacts
	FROM marketing.segments AS s WHERE marketing.segment_size(s.name) > 0 ORDER BY 1;
SELECT * FROM who;
-- Nothing is polled: at_risk begins at its instant.
SELECT * FROM marketing.forecast_segment('at_risk', '10 days');
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
DROP VIEW who;
DROP EXTENSION marketing_automation;
