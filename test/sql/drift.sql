-- Columns and tables that a definition reads are renamed or dropped: status and all reads of
-- what does not depend on them go on, and the others say what is missing.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, total numeric);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz);
INSERT INTO customers SELECT g, g || '@example.com' FROM generate_series(1, 3) AS g;
INSERT INTO orders VALUES (1, 1, '2026-02-20', 100), (2, 2, '2026-02-20', 0);
INSERT INTO visits VALUES (1, 1, '2026-02-20'), (2, 3, '2026-02-20');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', condition => 'total > 0');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.define_segment('buyers', 'any order_placed');
SELECT marketing.define_segment('visitors', 'any visited');
SELECT marketing.define_segment('known', $$ customers.email LIKE '%@example.com' $$);
SELECT marketing.define_score_model('lead');
SELECT marketing.define_score_rule('lead', 'visit', 'visited', points => 5);
SELECT marketing.define_topic('offers', 'Offers', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('hello', topic => 'offers', subject => 'Hello', html => '<p>Hello</p>');
SELECT marketing.define_journey('greet', $$ {"entry": {"event": "visited"}, "steps": [{"send": "hello"}]} $$);
SELECT marketing.activate_journey('greet');
CREATE VIEW drift AS SELECT item, state, value, detail FROM marketing.status
	WHERE (item LIKE 'table %' OR item LIKE 'segment %') AND state <> 'ok' ORDER BY item;
CREATE VIEW sizes AS SELECT marketing.segment_size('visitors') AS visitors, marketing.segment_size('known') AS known;
-- The column of an event's condition.
ALTER TABLE orders RENAME total TO amount;
TABLE drift;
TABLE sizes;
SELECT marketing.segment_size('buyers');
-- Who was not evaluated is not known any more, so that it stays closed until it is rebuilt.
INSERT INTO orders VALUES (3, 3, '2026-02-25', 10);
ALTER TABLE orders RENAME amount TO total;
CALL marketing.work();
TABLE drift;
TABLE sizes;
SELECT marketing.rebuild_segment('buyers');
TABLE drift;
SELECT contact FROM marketing.segment_members('buyers') ORDER BY 1;
-- Nothing was changed meanwhile.
ALTER TABLE orders RENAME total TO amount;
SELECT marketing.segment_size('buyers');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', condition => 'amount > 0');
TABLE drift;
SELECT contact FROM marketing.segment_members('buyers') ORDER BY 1;
-- The column of ids.
ALTER TABLE customers RENAME id TO number;
TABLE drift;
SELECT marketing.segment_size('known');
SELECT marketing.segment_size('buyers');
ALTER TABLE customers RENAME number TO id;
TABLE drift;
TABLE sizes;
-- The whole table.
DROP TABLE visits CASCADE;
TABLE drift;
SELECT marketing.segment_size('known');
SELECT marketing.score(1, 'lead');
SELECT * FROM marketing.explain_score(1, 'lead');
SELECT * FROM marketing.why_not_sent(2, 'greet');
SELECT kind, what FROM marketing.contact_timeline(1);
DROP VIEW drift, sizes;
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE customers, orders;
