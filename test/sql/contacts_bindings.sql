-- Which table a definition means: renames, new owners, forged triggers, tables that are gone.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE bindings_shop;
CREATE ROLE bindings_thief;
CREATE SCHEMA shop;
GRANT ALL ON SCHEMA shop TO bindings_shop, bindings_thief;
GRANT USAGE ON SCHEMA marketing TO bindings_thief;
SET search_path = shop;
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01');
ALTER TABLE customers OWNER TO bindings_shop;
ALTER TABLE orders OWNER TO bindings_shop;
INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
SELECT marketing_internal.define_counter('orders', 'order_placed');
INSERT INTO orders VALUES (1, 1);
CREATE VIEW counted AS SELECT * FROM marketing_internal.counter_values('orders') ORDER BY 1;
CREATE VIEW tables AS SELECT table_id, schema_name, table_name, owner_name FROM marketing_internal.attached_table ORDER BY 1;
SELECT * FROM counted;

-- heals: what is attached already changes nothing but the stored names
CREATE FUNCTION heal() RETURNS text LANGUAGE sql AS $$
	SELECT marketing.attach_contacts('shop.customers', id => 'id', email => 'email')
$$;

-- another role makes a table of the old name with our trigger and number
SELECT table_id FROM tables WHERE table_name = 'orders' \gset
ALTER TABLE orders RENAME TO orders_2025;
SET ROLE bindings_thief;
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01');
CREATE TRIGGER marketing_capture AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION marketing.capture(:'table_id');
INSERT INTO orders VALUES (1, 2), (2, 2);
RESET ROLE;
INSERT INTO orders_2025 VALUES (2, 1);
SELECT * FROM counted;
SELECT heal();
SELECT * FROM tables;

-- a new owner is no other table, and stays so when the number is forged later
ALTER TABLE orders_2025 OWNER TO bindings_thief;
INSERT INTO orders_2025 VALUES (3, 1);
SELECT * FROM counted;
SELECT heal();
SELECT * FROM tables;
ALTER TABLE orders_2025 OWNER TO bindings_shop;
SELECT heal();

-- name and owner are others: either may be forged, none is read
ALTER TABLE orders_2025 OWNER TO postgres;
ALTER TABLE orders_2025 RENAME TO orders_2026;
ALTER TABLE orders RENAME TO orders_2025;
SELECT * FROM counted;
INSERT INTO orders_2026 VALUES (4, 1);
ALTER TABLE orders_2026 OWNER TO bindings_shop;
INSERT INTO orders_2026 VALUES (5, 1);
SELECT * FROM counted;
SELECT count(*) FROM marketing_internal.dirty;
SELECT value FROM marketing_internal.contact_counter;
SELECT heal();
SELECT * FROM tables;
DROP TABLE orders_2025;

-- a root and a partition swap their names: the root is the table
CREATE TABLE logs (id int, customer_id int, at timestamptz DEFAULT '2020-01-01') PARTITION BY RANGE (id);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (0) TO (100);
CREATE TABLE logs_2 PARTITION OF logs FOR VALUES FROM (100) TO (200);
SELECT marketing.attach_events('logs', event => 'logged', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing_internal.define_counter('logs', 'logged');
ALTER TABLE logs RENAME TO logs_all;
ALTER TABLE logs_1 RENAME TO logs;
INSERT INTO logs_all VALUES (1, 1), (101, 1), (102, 2);
SELECT * FROM marketing_internal.counter_values('logs') ORDER BY 1;

-- a copy that is attached as well takes the place of a table that is dropped
CREATE TABLE orders_new (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01');
SELECT marketing.attach_events('orders_new', event => 'order_sent', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
DROP TABLE orders_2026;
ALTER TABLE orders_new RENAME TO orders_2026;
SELECT heal();
SELECT * FROM tables;
SELECT marketing.attach_events('orders_2026', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
INSERT INTO orders_2026 VALUES (1, 2);
SELECT * FROM counted;
SELECT * FROM tables;
-- and does so again, with a name that is placed aside already
CREATE TABLE a (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01');
CREATE TABLE b (LIKE a INCLUDING ALL);
CREATE TABLE c (LIKE a INCLUDING ALL);
SELECT marketing.attach_events(t, event => t::text, contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') FROM unnest('{a,b,c}'::regclass[]) AS t;
DROP TABLE a;
ALTER TABLE b RENAME TO a;
SELECT heal();
DROP TABLE a;
ALTER TABLE c RENAME TO a;
SELECT heal();
SELECT * FROM tables;

-- contacts whose table is gone: said so, not read
DROP TABLE customers;
SELECT marketing.attach_events('orders_2026', event => 'other', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('orders_2026', event => 'other', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('orders_2026', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
INSERT INTO orders_2026 VALUES (2, 2);

-- the table made anew is the source again; keys without a row go
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (2, 'new@example.com'), (3, 'c@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT source_id, external_id, contact_id FROM marketing_internal.contact_key ORDER BY 1, 2;
CALL marketing.work();
SELECT * FROM counted;
SELECT marketing.attach_events('orders_2026', event => 'other', contact => 'customer_id', occurred_at => 'at');
INSERT INTO customers VALUES (4, 'd@example.com');
SELECT source_id, external_id, contact_id FROM marketing_internal.contact_key ORDER BY 1, 2;

-- keys of another type are other contacts: as for another id column, it is detached first
DROP TABLE customers;
CREATE TABLE customers (id uuid PRIMARY KEY, email text);
INSERT INTO customers VALUES ('00000000-0000-0000-0000-000000000001', 'u@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing_internal.drop_counter('orders'), marketing_internal.drop_counter('logs');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT external_id, contact_id FROM marketing_internal.contact_key ORDER BY 1, 2;
SELECT * FROM tables;

DROP EXTENSION marketing_automation CASCADE;
DROP SCHEMA shop CASCADE;
DROP OWNED BY bindings_shop, bindings_thief;
DROP ROLE bindings_shop;
DROP ROLE bindings_thief;
