-- What is recorded of rows: moved, re-keyed, excluded, asynchronous, waiting and failed ones.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, blocked boolean NOT NULL DEFAULT false);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers ON UPDATE CASCADE, status text, at timestamptz DEFAULT now());
CREATE TABLE calls (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT now());
INSERT INTO customers SELECT i FROM generate_series(1, 5) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'blocked') IS NOT NULL,
	marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at', condition => $$ status <> 'cancelled' $$) IS NOT NULL,
	marketing.attach_events('calls', event => 'called', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', mode => 'async') IS NOT NULL;
SELECT marketing_internal.record_event('ordered'), marketing_internal.record_event('called');
CREATE VIEW recorded AS SELECT t.name, o.row_key, o.kind, o.contact_id
	FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) ORDER BY o.occurrence_id;

-- a row's key is one in sessions of all zones
CREATE TABLE visits (id int, customer_id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visits_all PARTITION OF visits DEFAULT;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing_internal.record_event('visited');
SET timezone = 'Europe/Istanbul';
INSERT INTO visits VALUES (1, 1, '2020-01-01 12:00+00');
SET timezone = 'America/New_York';
UPDATE visits SET customer_id = 2 WHERE id = 1;
SET timezone = 'Asia/Kolkata';
DELETE FROM visits WHERE id = 1;
RESET timezone;
TABLE recorded;
DELETE FROM marketing_internal.occurrence;
-- a key that may be null is none: who inserts rows without one must not fail by it
CREATE TABLE coupons (code text UNIQUE, customer_id int, at timestamptz DEFAULT '2020-01-01');
SELECT marketing.attach_events('coupons', event => 'redeemed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL;
SELECT marketing_internal.record_event('redeemed');
INSERT INTO coupons VALUES (NULL, 1), ('a', 1);
UPDATE coupons SET code = 'b' WHERE code IS NULL;
ALTER TABLE coupons ALTER code SET NOT NULL;
SELECT marketing_internal.record_event('redeemed');
INSERT INTO coupons VALUES ('c', 1);
UPDATE coupons SET code = 'd' WHERE code = 'c';
TABLE recorded;
DELETE FROM marketing_internal.occurrence;
DROP TABLE coupons;
-- what excludes is one in all zones, too
CREATE TABLE people (id int PRIMARY KEY, born timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', exclude => $$ born::date < '2000-01-01' $$) IS NOT NULL;
SET timezone = 'Pacific/Kiritimati';
INSERT INTO people VALUES (1, '1999-12-31 20:00+00');
SET timezone = 'Pacific/Pago_Pago';
INSERT INTO people VALUES (2, '2000-01-01 05:00+00');
RESET timezone;
SELECT contact FROM marketing.contacts WHERE contact LIKE 'people:%';
CREATE TABLE moments (at timestamptz PRIMARY KEY);
SELECT marketing.attach_contacts('moments', id => 'at');

-- moved to another contact: taken back first
INSERT INTO orders VALUES (1, 1, 'new');
UPDATE orders SET customer_id = 2 WHERE id = 1;
TABLE recorded;
DELETE FROM marketing_internal.occurrence;

-- a customer gets another id and his orders move along: nothing happens anew, also in two steps and when left to the worker
UPDATE customers SET id = 12 WHERE id = 2;
BEGIN;
UPDATE orders SET status = 'paid' WHERE id = 1;
UPDATE customers SET id = 22 WHERE id = 12;
UPDATE customers SET id = 32 WHERE id = 22;
COMMIT;
BEGIN;
UPDATE customers SET id = 42 WHERE id = 32;
PREPARE TRANSACTION 'rekeyed';
COMMIT PREPARED 'rekeyed';
CALL marketing.work();
SELECT name, row_key, kind, contact_id, k.external_id FROM recorded JOIN marketing_internal.contact_key AS k USING (contact_id);
DELETE FROM marketing_internal.occurrence;

-- of an excluded contact nothing happens
UPDATE customers SET blocked = true WHERE id = 3;
INSERT INTO orders VALUES (2, 3, 'new');
BEGIN;
UPDATE customers SET blocked = false WHERE id = 3;
INSERT INTO orders VALUES (3, 3, 'new');
COMMIT;
TABLE recorded;
DELETE FROM marketing_internal.occurrence;

-- an asynchronous event beside a synchronous one waits, and is not lost
BEGIN;
INSERT INTO calls VALUES (1, 4);
INSERT INTO orders VALUES (4, 1, 'new');
COMMIT;
TABLE recorded;
CALL marketing.work();
TABLE recorded;
DELETE FROM marketing_internal.occurrence;

-- more marks than are kept in memory: they go to the log, and the row waits as well
INSERT INTO calls SELECT i, i FROM generate_series(100000, 110001) AS i;
BEGIN;
INSERT INTO orders VALUES (5, 1, 'new');
INSERT INTO calls SELECT i, i FROM generate_series(200000, 210001) AS i;
COMMIT;
SET marketing_automation.sync_max_rows = 100000;
BEGIN;
INSERT INTO orders VALUES (6, 1, 'new');
INSERT INTO calls SELECT i, i FROM generate_series(300000, 310001) AS i;
COMMIT;
RESET marketing_automation.sync_max_rows;
CALL marketing.work();
TABLE recorded;
DELETE FROM marketing_internal.occurrence;

-- an error of the flush leaves all of its rows, those behind waiting ones too
BEGIN;
INSERT INTO orders VALUES (7, 1, 'new');
PREPARE TRANSACTION 'waits';
COMMIT PREPARED 'waits';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON marketing_internal.occurrence FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN;
UPDATE orders SET status = 'cancelled' WHERE id = 7;
INSERT INTO orders VALUES (8, 1, 'new');
COMMIT;
SELECT row_key, old_row ->> 'status' AS was, new_row ->> 'status' AS is FROM marketing_internal.capture_row ORDER BY capture_row_id;
DROP TRIGGER refuse ON marketing_internal.occurrence;
CALL marketing.work();
TABLE recorded;
SELECT count(*) FROM marketing_internal.capture_row;
SELECT count(*) FROM marketing_internal.dirty;
