-- detach(), detach_all().
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE leads (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com');
INSERT INTO leads VALUES (1, 'c@example.com');
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz);
CREATE TABLE clicks (id int PRIMARY KEY, lead_id int, at timestamptz, name text);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;
SELECT marketing.attach_contacts('leads', id => 'id') IS NOT NULL AS attached;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('orders', event => 'order_again', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('clicks', event_column => 'name', contact => 'lead_id', contact_source => 'leads', occurred_at => 'at');
-- the contacts' own table can be an event as well
SELECT marketing.attach_events('leads', event => 'lead_made', contact => 'id', contact_source => 'leads', occurred_at => 'at');
ALTER TABLE leads ADD COLUMN at timestamptz;
SELECT marketing.attach_events('leads', event => 'lead_made', contact => 'id', contact_source => 'leads', occurred_at => 'at');
RESET client_min_messages;

-- in use
INSERT INTO marketing_internal.event_type (name) VALUES ('seen');
INSERT INTO marketing_internal.event_watch (consumer, object, event_id, row_grade)
SELECT 'segment', n, event_id, false FROM marketing_internal.event_type, unnest('{vip,lapsed}'::text[]) AS n WHERE name IN ('order_placed', 'seen');
\c -
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT marketing.detach('orders', 'order_placed');
SELECT marketing.detach('orders');
SELECT marketing.detach('clicks', 'name');
SELECT marketing.detach('customers');
SELECT marketing.detach_all();
-- what is not in use
SELECT marketing.detach('orders', 'order_again');
SELECT marketing.detach('orders', 'order_again');
SELECT marketing.detach('orders', 'order_plaed');
SELECT marketing.detach('pg_class');
CREATE TABLE other (id int);
SELECT marketing.detach('other');
SELECT marketing.detach(NULL);
CREATE ROLE regress_events_detacher;
GRANT USAGE ON SCHEMA marketing TO regress_events_detacher;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_events_detacher;
SET ROLE regress_events_detacher;
SELECT marketing.detach('orders');
SELECT marketing.detach_all();
RESET ROLE;
\set VERBOSITY sqlstate
SELECT marketing.detach('orders', 'order_placed');
SELECT marketing.detach('orders', 'order_plaed');
SELECT marketing.detach('other');
\set VERBOSITY default

-- the last definition takes the triggers along
DELETE FROM marketing_internal.event_watch;
\c -
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT marketing.detach('orders');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal;
-- contacts go only when no event names them; their keys go, the contacts are left to the worker
SELECT marketing.detach('leads');
SELECT marketing.detach('clicks');
BEGIN;
SELECT marketing.detach('leads');
SELECT count(*) FROM marketing_internal.dirty WHERE contact_id IS NOT NULL;
SELECT s.name, count(*) FROM marketing_internal.contact_key AS k LEFT JOIN marketing_internal.contact_source AS s USING (source_id) GROUP BY 1 ORDER BY 1;
SELECT tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'marketing_%' ORDER BY tgname;
ROLLBACK;

-- a table that is gone, by its name: what was its owner's is still his
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SET client_min_messages = warning;
CREATE SCHEMA old;
GRANT USAGE ON SCHEMA old TO regress_events_detacher;
CREATE TABLE old.orders (LIKE orders INCLUDING ALL);
ALTER TABLE old.orders OWNER TO regress_events_detacher;
SELECT marketing.attach_events('old.orders', event => 'order_old', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
RESET client_min_messages;
DROP TABLE orders, old.orders;
SELECT marketing.detach('orders');
SELECT marketing.detach('old.order');
SELECT marketing.detach('a.b.c.d');
SET ROLE regress_events_detacher;
SELECT marketing.detach('public.orders');
SELECT marketing.detach('old.orders', 'order_olf');
SELECT marketing.detach('old.orders', 'order_old');
RESET ROLE;
SELECT marketing.detach('orders', 'order_placed');
SELECT marketing.detach('orders');
SELECT count(*) FROM marketing_internal.attached_table WHERE table_name = 'orders';
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz);
CREATE INDEX ON orders (customer_id, at);

-- all at once, also tables that are gone
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
DROP TABLE orders;
BEGIN;
SELECT marketing.detach_all();
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'marketing_%';
SELECT (SELECT count(*) FROM marketing_internal.event_source) AS events, (SELECT count(*) FROM marketing_internal.contact_source) AS sources,
	(SELECT count(*) FROM marketing_internal.attached_table) AS tables, (SELECT count(*) FROM marketing_internal.contact_key) AS keys;
SELECT marketing.detach_all();
COMMIT;
DROP EXTENSION marketing_automation;
DROP OWNED BY regress_events_detacher;
DROP ROLE regress_events_detacher;
