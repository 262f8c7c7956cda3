-- Points that cannot be computed keep nothing else of the contact waiting.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, at timestamptz, total numeric, quantity int);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int REFERENCES customers, at timestamptz);
CREATE INDEX ON orders (customer_id, at);
CREATE INDEX ON visits (customer_id, at);
INSERT INTO customers SELECT g, g || '@example.com' FROM generate_series(1, 3) AS g;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.define_segment('buyers', 'any order_placed');
SELECT marketing.define_score_model('price', thresholds => '{"high": 10}');
SELECT marketing.define_score_rule('price', 'mean', 'order_placed', points => 'total / quantity');
SELECT marketing.define_score_model('visits', thresholds => '{"often": 10}');
SELECT marketing.define_score_rule('visits', 'visit', 'visited', points => 5);
SELECT marketing.define_topic('offers', 'Offers', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('hello', topic => 'offers', subject => 'Hello', html => '<p>Hello</p>');
SELECT marketing.define_journey('thanks', $$ {"entry": {"event": "order_placed"}, "reentry": "always", "steps": [{"send": "hello"}]} $$);
SELECT marketing.define_journey('high', $$ {"entry": {"event": "score_threshold_reached", "where": "threshold = 'high'"}, "reentry": "always", "steps": [{"send": "hello"}]} $$);
SELECT marketing.activate_journey('thanks');
SELECT marketing.activate_journey('high');
CREATE VIEW scores AS SELECT contact_id, m.name, value, wake, s.version, reached, error_state, error
	FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) ORDER BY 1, 2;
CREATE VIEW entries AS SELECT contact_id, j.name FROM marketing_internal.enrollment AS e
	JOIN marketing_internal.journey AS j USING (journey_id) ORDER BY 1, 2, enrollment_id;
-- One commit for two of them, of whom one fails.
INSERT INTO orders VALUES (1, 1, '2026-02-20', 100, 5), (2, 2, '2026-02-20', 100, 0);
INSERT INTO visits VALUES (1, 2, '2026-02-20');
SELECT count(*) AS left_to_the_worker FROM marketing_internal.dirty;
CALL marketing.work();
TABLE scores;
SELECT contact_id, segment_id FROM marketing_internal.segment_member ORDER BY 1;
TABLE entries;
SELECT what, object, sqlstate, message FROM marketing.errors;
SELECT marketing.score(1, 'price'), marketing.score(2, 'visits');
SELECT marketing.score(2, 'price');
SELECT contact FROM marketing.sales_ready WHERE model = 'price';
-- The row is put right: the threshold is reached, and told.
UPDATE orders SET quantity = 4 WHERE id = 2;
CALL marketing.work();
TABLE scores;
TABLE entries;
TABLE marketing.errors;
SELECT contact, threshold FROM marketing.sales_ready WHERE model = 'price' ORDER BY 1;
-- It fails again, and keeps what was reached: to reach it is told once.
UPDATE orders SET quantity = 0 WHERE id = 2;
TABLE scores;
UPDATE orders SET quantity = 2 WHERE id = 2;
CALL marketing.work();
TABLE scores;
TABLE entries;
-- A new version of the model meets it in the worker.
UPDATE orders SET quantity = 0 WHERE id = 2;
SELECT marketing.define_score_rule('price', 'order', 'order_placed', points => 1);
CALL marketing.work();
TABLE scores;
SELECT marketing.define_score_rule('price', 'mean', 'order_placed', points => 'total / quantity', condition => 'quantity > 0');
CALL marketing.work();
TABLE scores;
-- Two models of one event: only that fails whose rule does, read and stored.
SELECT marketing.define_score_model('orders', thresholds => '{"often": 10}');
SELECT marketing.define_score_rule('orders', 'each', 'order_placed', points => 3, condition => 'total > 0');
CALL marketing.work();
INSERT INTO orders VALUES (8, 3, '2026-02-20', 100, 5);
SELECT marketing.define_score_rule('price', 'mean', 'order_placed', points => 'total / quantity');
CALL marketing.work();
INSERT INTO orders VALUES (9, 3, '2026-02-20', 100, 0);
SELECT marketing.score(3, 'orders');
SELECT marketing.score(3, 'price');
SELECT name, value, version < 0 AS failed, error FROM scores WHERE contact_id = 3;
DELETE FROM orders WHERE id IN (8, 9);
SELECT marketing.define_score_rule('price', 'mean', 'order_placed', points => 'total / quantity', condition => 'quantity > 0');
SELECT marketing.drop_score_model('orders');
CALL marketing.work();
-- The table of one model is gone: orders go on.
DROP TABLE visits;
INSERT INTO orders VALUES (3, 3, '2026-02-21', 100, 5);
CALL marketing.work();
TABLE entries;
SELECT contact FROM marketing.segment_members('buyers') ORDER BY 1;
SELECT what, object, sqlstate, message FROM marketing.errors;
DROP VIEW scores, entries;
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE orders, customers;
