-- attach_events(): every refusal, with its SQLSTATE.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE leads (id uuid PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, created_at timestamptz, day date, status text, total numeric,
	email varchar, kind "char", product_id int, ref text);
CREATE TABLE products (id int PRIMARY KEY, sku text, title text);
CREATE FUNCTION own(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
CREATE ROLE regress_events_shop;
CREATE ROLE regress_events_other;
GRANT CREATE ON SCHEMA public TO regress_events_shop, regress_events_other;
GRANT USAGE ON SCHEMA marketing TO regress_events_shop, regress_events_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_events_shop, regress_events_other;
\set VERBOSITY sqlstate
-- nothing attached yet: MA002
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
\set VERBOSITY default
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;

-- arguments
SELECT marketing.attach_events(NULL);
SELECT marketing.attach_events('orders');
SELECT marketing.attach_events('orders', event => 'a', event_column => 'status', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at', mode => 'later');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at', time_zone => 'Europe/Istambul');

-- columns and their types
SELECT marketing.attach_events('orders', event => 'a', contact => 'custmer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'createdat');
SELECT marketing.attach_events('orders', event => 'a', contact => 'email', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'id', occurred_at => 'nothing like it');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'status');
SELECT marketing.attach_events('orders', event_column => 'kind', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at', value => 'status');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at', currency => 'total');

-- names
SELECT marketing.attach_events('orders', event => '', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => repeat('x', 64), contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => E'a\tb', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'email_opened', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'unsubscribed', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');
CREATE TABLE orders2 (LIKE orders INCLUDING ALL);
SELECT marketing.attach_events('orders2', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.declare_event('declared');
SELECT marketing.attach_events('orders2', event => 'declared', contact => 'customer_id', occurred_at => 'created_at');

-- tables
CREATE VIEW orders_view AS SELECT * FROM orders;
CREATE TEMP TABLE orders_temp AS SELECT * FROM orders;
SELECT marketing.attach_events('orders_view', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders_temp', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('marketing_internal.event', event => 'a', contact => 'contact_id', occurred_at => 'occurred_at');
ALTER TABLE orders2 FORCE ROW LEVEL SECURITY;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
ALTER TABLE orders2 NO FORCE ROW LEVEL SECURITY;
SET ROLE regress_events_other;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
RESET ROLE;

-- sources
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', occurred_at => 'created_at', contact_source => 'custmers');
SELECT marketing.attach_contacts('leads', id => 'id') IS NOT NULL AS attached;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', occurred_at => 'created_at', contact_source => 'leads');

-- condition
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'total');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'totl > 1');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => '');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => '-- nothing');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'total > 1 and');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'total > 1, true');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'age(created_at) < interval ''1 day''');
-- one that fails on a row that is there: told as the condition's error
BEGIN;
INSERT INTO orders (id, customer_id, created_at, total) VALUES (1, 1, '2020-01-01', 0);
\set SHOW_CONTEXT always
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => '1 / total > 1');
\set SHOW_CONTEXT never
ROLLBACK;
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'true) OR (true');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'created_at < now()');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'EXISTS (SELECT 1)');
-- a function of somebody's own: never on a superuser's table, else only with async
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'own(id)', mode => 'async');
ALTER TABLE orders2 OWNER TO regress_events_shop;
SET ROLE regress_events_shop;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'own(id)');
SELECT marketing.attach_events('orders2', event => 'own_async', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'own(id)', mode => 'async');
RESET ROLE;
-- a condition that fails on a stored row fails in the call
INSERT INTO orders (id, customer_id, created_at, ref) VALUES (1, 1, '2026-01-01', 'abc');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'ref::int > 1');

-- lookup and via: errors name the place in the JSON
\set attach 'marketing.attach_events(''orders'', event => ''a'', contact => ''customer_id'', contact_source => ''customers'', occurred_at => ''created_at'''
SELECT :attach, lookup => '[]');
SELECT :attach, lookup => '{"product": 1}');
SELECT :attach, lookup => '{"product": {"table": "products"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": 5}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "product_id = id", "key": "x"}}');
SELECT :attach, lookup => '{"product": {"table": "product", "on": "product_id = id"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "product_id"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "product_id = id or true"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "produkt_id = id"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "product_id = idd"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "created_at = id"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "status = sku"}}');
SELECT :attach, via => '{"table": "products"}');
SELECT :attach, via => '"products"');
SELECT :attach, via => '{"table": "products", "on": "product_id = id"}');
SELECT :attach, via => '{"table": "orders_view", "on": "product_id = id"}');
-- another's table: may not be read, may not be attached, nor carry the trigger a lookup needs
SET ROLE regress_events_shop;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at',
	lookup => '{"product": {"table": "products", "on": "product_id = id"}}');
RESET ROLE;
GRANT SELECT ON products TO regress_events_shop;
SET ROLE regress_events_shop;
SELECT marketing.attach_events('orders2', event => 'a', contact => 'sku', contact_source => 'customers', occurred_at => 'created_at',
	via => '{"table": "products", "on": "product_id = id"}');
SELECT marketing.attach_events('orders2', event => 'with_lookup', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at',
	lookup => '{"product": {"table": "products", "on": "product_id = id"}}');
-- the owner of a table detaches it, too
SELECT marketing.detach('orders2');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders2'::regclass AND NOT tgisinternal;
RESET ROLE;

-- what was defined on a table that is gone stays its owner's: neither a name nor a place is taken over
SET ROLE regress_events_shop;
SELECT marketing.attach_events('orders2', event => 'shop_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
CREATE TABLE subscribers (id int PRIMARY KEY, email text);
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email');
DROP TABLE orders2, subscribers;
SET ROLE regress_events_other;
CREATE TABLE others_orders (id int PRIMARY KEY, customer_id int, created_at timestamptz);
SELECT marketing.attach_events('others_orders', event => 'shop_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
CREATE TABLE orders2 (id int PRIMARY KEY, customer_id int, created_at timestamptz);
SELECT marketing.attach_events('orders2', event => 'others_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
\set VERBOSITY sqlstate
SELECT marketing.attach_events('orders2', event => 'others_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
\set VERBOSITY default
SELECT marketing.detach('orders2');
CREATE TABLE subscribers (id int PRIMARY KEY, email text);
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', source => 'others');
DROP TABLE orders2, subscribers;
SET ROLE regress_events_shop;
CREATE TABLE orders3 (id int PRIMARY KEY, customer_id int, created_at timestamptz);
SELECT marketing.attach_events('orders3', event => 'shop_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');
CREATE TABLE subscribers (id int PRIMARY KEY, email text);
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email');
-- and the owner of the extension may give it to another
DROP TABLE orders3;
RESET ROLE;
SELECT marketing.attach_events('others_orders', event => 'shop_order', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at');

-- the SQLSTATEs
\set VERBOSITY sqlstate
SELECT marketing.attach_events(NULL);
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id');
SELECT marketing.attach_events('orders', event => 'a', contact => 'custmer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'email', contact_source => 'customers', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => '', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'sms_replied', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders_view', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'a', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at', condition => 'now() > created_at');
SELECT :attach, lookup => '{"product": {"table": "product", "on": "product_id = id"}}');
SELECT :attach, lookup => '{"product": {"table": "products", "on": "status = sku"}}');
SELECT :attach, lookup => '{"product": {"table": "products"}}');

\set VERBOSITY default
-- nothing was left behind by what was refused
SELECT e.name FROM marketing_internal.event_type AS e ORDER BY e.name;
DROP EXTENSION marketing_automation;
DROP OWNED BY regress_events_shop, regress_events_other;
DROP ROLE regress_events_shop, regress_events_other;
