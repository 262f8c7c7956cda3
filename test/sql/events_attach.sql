-- attach_events(): names, several events per table, event_column, time zones,
-- index advice, unchanged, replaced, contact_source by foreign key.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'UTC';
CREATE EXTENSION marketing_automation;
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE leads (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, created_at timestamptz,
	shipped_at timestamp, paid_on date, status text, total numeric, currency char(3));
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 3) AS i;
INSERT INTO orders SELECT i, i % 3 + 1, timestamptz '2026-01-31 22:30+00' + i * interval '1 day',
	timestamp '2026-02-10 00:30' + i * interval '1 day', date '2026-03-01' + i,
	CASE WHEN i % 10 = 0 THEN 'cancelled' ELSE 'new' END, 10 * i, 'EUR' FROM generate_series(1, 1200) AS i;
UPDATE orders SET customer_id = NULL WHERE id = 7;
\set VERBOSITY default
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;
RESET client_min_messages;

-- no index yet: the answer says so, and which one to make
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$ status <> 'cancelled' $$, value => 'total', currency => 'currency');
CREATE INDEX orders_by_customer ON orders (customer_id, created_at) INCLUDE (total, status);
-- the same again
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$status<>'cancelled'$$, value => 'total', currency => 'currency');
-- rows of nobody are counted: a wrong column, and ids of contacts that are gone
CREATE TABLE page_views (id int PRIMARY KEY, page int, who int, at timestamptz);
CREATE INDEX ON page_views (page, at);
CREATE INDEX ON page_views (who, at);
INSERT INTO page_views SELECT i, 100 + i, i % 4 + 1, timestamptz '2026-02-01' FROM generate_series(1, 40) AS i;
SELECT marketing.attach_events('page_views', event => 'viewed', contact => 'page', occurred_at => 'at');
SELECT marketing.attach_events('page_views', event => 'viewed', contact => 'who', occurred_at => 'at');
SELECT marketing.detach('page_views');

-- the same from a session with another time zone and another search path
SET timezone = 'Asia/Tokyo';
SET search_path = pg_catalog;
SELECT marketing.attach_events('public.orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$ status <> 'cancelled' $$, value => 'total', currency => 'currency');
RESET search_path;
SET timezone = 'UTC';
-- another definition replaces it
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$ status <> 'cancelled' AND total > 100 $$, value => 'total', repeat => true);

-- several events of one table; a timestamp and a date are read in time_zone
SET client_min_messages = warning;
SELECT marketing.attach_events('orders', event => 'order_shipped', contact => 'customer_id', occurred_at => 'shipped_at',
	time_zone => 'europe/istanbul');
SELECT marketing.attach_events('orders', event => 'order_paid', contact => 'customer_id', occurred_at => 'paid_on',
	condition => 'total > 11990');
SELECT marketing.attach_events('orders', event => 'order_never', contact => 'customer_id', occurred_at => 'paid_on',
	condition => 'false', mode => 'async');
-- a large table is not read in the call
SET marketing_automation.build_in_call_rows = 100;
ANALYZE orders;
SELECT marketing.attach_events('orders', event => 'order_big', contact => 'customer_id', occurred_at => 'created_at');
RESET marketing_automation.build_in_call_rows;
SELECT e.name, s.event_column, s.contact_column, s.occurred_column, s.time_zone, s.condition, s.condition_source,
	s.condition_columns, s.repeat, s.value_column, s.currency_column, s.async
FROM marketing_internal.event_source AS s JOIN marketing_internal.event_type AS e USING (event_id)
ORDER BY s.event_source_id;
-- one pair of triggers for all of them
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal ORDER BY tgname;

-- the first day in the source's own zone: 22:30 in UTC is the next day in Istanbul
RESET client_min_messages;
SELECT marketing.attach_events('orders', event => 'order_local', contact => 'customer_id', occurred_at => 'created_at',
	time_zone => 'Europe/Istanbul', condition => 'id = 1');

-- a trigger that went missing is made again
SET client_min_messages = warning;
DROP TRIGGER marketing_capture ON orders;
SELECT marketing.attach_events('orders', event => 'order_big', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('orders', event => 'order_big', contact => 'customer_id', occurred_at => 'created_at');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'marketing_capture';
SELECT marketing.attach_events('orders', event => 'order_big', contact => 'customer_id', occurred_at => 'created_at', on_replica => true);
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal ORDER BY tgname;

-- a column gives the names; index with contact and name in either order
CREATE TABLE site_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(40), customer_id smallint, at timestamptz);
INSERT INTO site_events (name, customer_id, at) VALUES ('page_viewed', 1, '2026-05-01'), (NULL, 1, '2026-05-02'), ('form_submitted', 2, NULL);
RESET client_min_messages;
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at');
CREATE INDEX ON site_events (name, customer_id, at, id);
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at', repeat => true);
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at', repeat => true);
-- beside it a fixed event of the same table
SELECT marketing.attach_events('site_events', event => 'anything', contact => 'customer_id', occurred_at => 'at');

-- two sources: the foreign key says which, else contact_source
SET client_min_messages = warning;
SELECT marketing.attach_contacts('leads', id => 'id') IS NOT NULL AS attached;
SELECT marketing.attach_events('orders', event => 'order_fk', contact => 'customer_id', occurred_at => 'created_at');
CREATE TABLE calls (id int PRIMARY KEY, lead_id int, at timestamptz);
SELECT marketing.attach_events('calls', event => 'called', contact => 'lead_id', occurred_at => 'at', contact_source => 'leads');
SELECT e.name, c.name AS contact_source FROM marketing_internal.event_source AS s
JOIN marketing_internal.event_type AS e USING (event_id)
JOIN marketing_internal.contact_source AS c ON c.source_id = s.contact_source_id
WHERE e.name IN ('order_fk', 'called') ORDER BY 1;

-- a table without a unique key is told
RESET client_min_messages;
CREATE TABLE visits (lead_id bigint, at timestamptz);
CREATE INDEX ON visits (lead_id, at);
SELECT marketing.attach_events('visits', event => 'visited', contact => 'lead_id', occurred_at => 'at', contact_source => 'leads');

-- what depends on an event is evaluated anew when its definition changes
INSERT INTO marketing_internal.event_watch (consumer, object, event_id, row_grade)
SELECT 'test', 'x', event_id, false FROM marketing_internal.event_type WHERE name = 'visited';
BEGIN;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'lead_id', occurred_at => 'at', contact_source => 'leads',
	repeat => true);
SELECT t.table_name FROM marketing_internal.dirty AS d JOIN marketing_internal.attached_table AS t USING (table_id);
ROLLBACK;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'lead_id', occurred_at => 'at', contact_source => 'leads');

-- DROP EXTENSION leaves no trigger
DROP EXTENSION marketing_automation;
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal;
