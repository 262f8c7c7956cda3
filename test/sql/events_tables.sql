-- Kinds of tables: via, lookup, partitioned tables, quoted names, other schemas, renamed ones.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'UTC';
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;
CREATE TABLE products (id int PRIMARY KEY, title text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, created_at timestamptz);
CREATE TABLE items (id int PRIMARY KEY, order_id int, product_id int REFERENCES products, added_at timestamptz, price numeric);
INSERT INTO orders VALUES (1, 1, '2026-01-01'), (2, 2, '2026-01-02');
INSERT INTO items VALUES (1, 1, NULL, '2026-01-01', 5), (2, 2, NULL, '2026-01-02', 6), (3, NULL, NULL, '2026-01-03', 7);
RESET client_min_messages;

-- via: the contact stands in the parent's row, which gets the trigger too
SELECT marketing.attach_events('items', event => 'item_added', contact => 'customer_id', occurred_at => 'added_at', value => 'price',
	via => '{"table": "orders", "on": "order_id = id"}', lookup => '{"product": {"on": "product_id = id", "table": "products"}}');
CREATE INDEX ON items (order_id);
CREATE INDEX ON orders (customer_id, created_at);
SELECT marketing.attach_events('items', event => 'item_added', contact => 'customer_id', occurred_at => 'added_at', value => 'price',
	via => '{"table": "public.orders", "on": "ORDER_ID=ID"}', lookup => '{"product": {"table": "products", "on": "product_id = id"}}');
SELECT marketing.attach_events('items', event => 'item_added', contact => 'customer_id', occurred_at => 'added_at',
	via => '{"table": "orders", "on": "order_id = id"}');
SELECT contact_column, via, via_link_column, via_key_column, lookup FROM marketing_internal.event_source;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'marketing_%' ORDER BY tgrelid::regclass::text COLLATE "C", tgname;
-- the parent is not let go while it is needed
SELECT marketing.detach('orders');
-- without via the parent is free again
SELECT marketing.attach_events('items', event => 'item_added', contact => 'product_id', occurred_at => 'added_at');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'marketing_%' ORDER BY tgrelid::regclass::text COLLATE "C", tgname;

-- quoted names, another schema
CREATE SCHEMA "Shop one";
CREATE TABLE "Shop one"."Web Events" ("Event id" int PRIMARY KEY, "Event ""Name""" text, "Customer" int, "When" timestamp);
INSERT INTO "Shop one"."Web Events" VALUES (1, 'Seen It', 1, '2026-01-01 12:00');
SELECT marketing.attach_events('"Shop one"."Web Events"', event_column => 'Event "Name"', contact => 'Customer', occurred_at => 'When');
CREATE INDEX ON "Shop one"."Web Events" ("Customer", "Event ""Name""", "When");
SELECT marketing.attach_events('"Shop one"."Web Events"', event => 'Seen It!', contact => 'Customer', occurred_at => 'When',
	condition => $$"Event ""Name""" = 'Seen It'$$);
CREATE TABLE "Shop one"."Line" ("No" int PRIMARY KEY, "Web event" int, "At" date);
INSERT INTO "Shop one"."Line" VALUES (1, 1, '2026-02-03');
SELECT marketing.attach_events('"Shop one"."Line"', event => 'Line', contact => 'Customer', occurred_at => 'At',
	via => '{"table": "\"Shop one\".\"Web Events\"", "on": "\"Web event\" = \"Event id\""}');
SELECT via, via_link_column, via_key_column FROM marketing_internal.event_source WHERE via IS NOT NULL;
SELECT marketing.detach('"Shop one"."Web Events"', 'Event "Name"');

-- a partitioned table: every leaf, also later ones, made by a role without rights on our schemas
CREATE ROLE regress_events_app;
CREATE TABLE visits (id bigint, customer_id bigint, at timestamptz, kind text, PRIMARY KEY (id, at, kind)) PARTITION BY RANGE (at);
CREATE TABLE visits_2026_01 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE visits_2026_02 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (kind);
CREATE TABLE visits_2026_02_a PARTITION OF visits_2026_02 FOR VALUES IN ('a');
INSERT INTO visits VALUES (1, 1, '2026-01-10', 'x'), (2, 2, '2026-02-10', 'a');
ALTER TABLE visits OWNER TO regress_events_app;
SELECT marketing.attach_events('visits_2026_01', event => 'visited', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
CREATE INDEX ON visits (customer_id, at);
SELECT marketing.attach_events('visits', event => 'visited_a', contact => 'customer_id', occurred_at => 'at', condition => $$kind = 'a'$$);
GRANT CREATE, USAGE ON SCHEMA public TO regress_events_app;
SET ROLE regress_events_app;
CREATE TABLE visits_2026_03 PARTITION OF visits FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
INSERT INTO visits VALUES (3, 1, '2026-03-10', 'x');
RESET ROLE;
SELECT tgrelid::regclass, tgname FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
WHERE tgname LIKE 'marketing%' AND relname LIKE 'visits%' ORDER BY relname, tgname;

-- renamed tables are still known, and free their old name
ALTER TABLE items RENAME TO lines;
CREATE TABLE items (id int PRIMARY KEY, product_id int, added_at timestamptz);
SET client_min_messages = warning;
SELECT marketing.attach_events('lines', event => 'item_added', contact => 'product_id', occurred_at => 'added_at');
SELECT marketing.attach_events('items', event => 'new_item', contact => 'product_id', occurred_at => 'added_at');
SELECT marketing.attach_events('items', event => 'item_added', contact => 'product_id', occurred_at => 'added_at');
SELECT e.name, t.table_name FROM marketing_internal.event_source AS s JOIN marketing_internal.event_type AS e USING (event_id)
JOIN marketing_internal.attached_table AS t USING (table_id) WHERE t.table_name IN ('lines', 'items') ORDER BY 1;
-- an event whose table is gone can be attached to another one
DROP TABLE lines;
SELECT marketing.attach_events('items', event => 'item_added', contact => 'product_id', occurred_at => 'added_at');

-- detaching: by the renamed table, and from every partition
ALTER TABLE visits RENAME TO calls;
SELECT marketing.detach('visits_2026_01');
SELECT marketing.detach('calls', 'visited');
SELECT marketing.detach('calls');
SELECT tgrelid::regclass, tgname FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
WHERE tgname LIKE 'marketing%' AND (relname LIKE 'visits%' OR relname = 'calls') ORDER BY relname, tgname;
-- another name and another owner at once: not known any more, but no trigger stays
SET client_min_messages = warning;
CREATE TABLE moved (id int PRIMARY KEY, customer_id int, at timestamptz);
SELECT marketing.attach_events('moved', event => 'moved', contact => 'customer_id', occurred_at => 'at');
ALTER TABLE moved OWNER TO regress_events_app;
ALTER TABLE moved RENAME TO moved_away;
SELECT marketing.detach_all();
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'marketing_%';
SELECT count(*) FROM marketing_internal.attached_table;
DROP EXTENSION marketing_automation;
DROP OWNED BY regress_events_app CASCADE;
DROP ROLE regress_events_app;
