-- Rules of stages own views: they follow renames, keep what they read, and say so when it is gone.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, city text, town text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, total numeric, "net.sum" numeric);
INSERT INTO customers SELECT i, 'Rome', 'Bari' FROM generate_series(1, 6) AS i;
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_stage('big', 10, 'any ordered where (total > 500)'), marketing.define_stage('local', 20, 'city = ''Oslo''');
SELECT view_name, kind, object FROM marketing_internal.rule_view ORDER BY 1;
CALL marketing.work();

-- Renamed: who comes after it moves at his commit, and the text follows.
ALTER TABLE orders RENAME total TO amount;
INSERT INTO orders VALUES (1, 2, '2026-03-01', 600);
SELECT stage, origin FROM marketing.stage_history(2);
SELECT item, state, value FROM marketing.status WHERE item LIKE 'stage%';
CALL marketing.work();
SELECT stage, rule, contacts FROM marketing.stages;
INSERT INTO orders VALUES (2, 3, '2026-03-01', 400);
UPDATE orders SET amount = 700 WHERE id = 2;
SELECT stage FROM marketing.stage_history(3);
SELECT marketing.define_stage('big', 10, 'any ordered where (amount > 500)');
SELECT marketing.define_stage('big', 10, 'any ordered where (total > 500)');

-- Two columns exchange their names: the rule goes on meaning the same one.
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME town TO city;
ALTER TABLE customers RENAME x TO town;
UPDATE customers SET city = 'Oslo' WHERE id = 4;
UPDATE customers SET town = 'Oslo' WHERE id = 5;
CALL marketing.work();
SELECT stage, rule, contacts FROM marketing.stages;
SELECT stage FROM marketing.stage_history(4);
SELECT stage FROM marketing.stage_history(5);

-- A segment or score that a rule names becomes another one, and columns exchange their names before the worker comes, after that or before.
SELECT marketing.define_segment('all', 'id > 0'), marketing.define_score_model('m', thresholds => '{"x": 5}'), marketing.define_stage('oslo', 25, 'town = ''Oslo'' and in segment all and score(m) >= 0'),
	marketing.define_segment('osloers', 'town = ''Oslo'' and in segment all');
CALL marketing.work();
SELECT marketing.define_segment('all', 'id >= 0'), marketing.define_score_rule('m', 'r', 'ordered', 1);
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME town TO city;
ALTER TABLE customers RENAME x TO town;
SELECT item, state, value FROM marketing.status WHERE item LIKE 'stage%oslo' AND state = 'error';
CALL marketing.work();
SELECT stage, rule FROM marketing.stages WHERE stage = 'oslo';
SELECT marketing.define_segment('all', 'id > -1');
CALL marketing.work();
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME town TO city;
ALTER TABLE customers RENAME x TO town;
SELECT marketing.define_segment('all', 'id > -2');
SELECT item, state, value FROM marketing.status WHERE item LIKE 'stage%oslo' AND state = 'error';
CALL marketing.work();
SELECT stage, rule FROM marketing.stages WHERE stage = 'oslo';
SELECT name, rule, (SELECT count(*) FROM marketing.verify_segment(name)) AS wrong FROM marketing.segments WHERE name = 'osloers';
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME town TO city;
ALTER TABLE customers RENAME x TO town;
SELECT marketing.drop_score_rule('m', 'r');
CALL marketing.work();
SELECT stage, rule FROM marketing.stages WHERE stage = 'oslo';
UPDATE customers SET city = 'Oslo' WHERE id = 2;
SELECT stage FROM marketing.stage_history(2);
ALTER TABLE customers RENAME city TO x;
ALTER TABLE customers RENAME town TO city;
ALTER TABLE customers RENAME x TO town;
CALL marketing.work();

-- What a rule reads is not dropped; where it is, all the same, the stage says so and moves nobody.
ALTER TABLE orders DROP COLUMN amount;
ALTER TABLE orders DROP COLUMN amount CASCADE;
INSERT INTO orders VALUES (3, 1, '2026-03-01', 900);
SELECT item, state, value, detail FROM marketing.status WHERE item LIKE 'stage%';
SELECT count(*) FROM marketing.stage_history(1);
UPDATE customers SET town = 'Oslo' WHERE id = 6;
CALL marketing.work();
SELECT stage, rule, contacts FROM marketing.stages;
SELECT marketing.define_stage('big', 10, 'any ordered where ("net.sum" > 500)');
CALL marketing.work();
SELECT stage FROM marketing.stage_history(1);
SELECT item FROM marketing.status WHERE item LIKE 'stage%';

-- The event gets another table, and loses one: the rule holds on to what it reads only.
CREATE TABLE calls (id int PRIMARY KEY, customer_id int, at timestamptz, name text, minutes int);
CREATE TABLE chats (id int PRIMARY KEY, customer_id int, at timestamptz, name text, minutes int);
SELECT marketing.attach_events('calls', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.declare_event('talked') IS NOT NULL, marketing.define_stage('talker', 40, 'any talked where (minutes > 5)');
SELECT marketing.attach_events('chats', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL;
DROP TABLE chats;
DROP TABLE calls;
SELECT marketing.detach('calls') IS NOT NULL;
DROP TABLE calls;
INSERT INTO chats VALUES (1, 1, '2026-03-01', 'talked', 9);
CALL marketing.work();
SELECT stage FROM marketing.stage_history(1);

-- A rule is taken away, and a stage: so are the views.
SELECT marketing.define_stage('local', 20), marketing.define_stage('empty', 30, 'city = ''Paris''');
SELECT marketing.drop_stage('empty');
SELECT view_name FROM marketing_internal.rule_view ORDER BY 1;
DROP EXTENSION marketing_automation;
DROP TABLE customers, orders, chats;
