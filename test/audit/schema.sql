-- schema.sql: the shop whose tables the audit works on, and what of it is counted.
--
-- Customers 1 to 30 stay, 31 to 40 change between counting and not, those from 1001 on come, go and
-- get other ids. There is no foreign key to customers, and the mix locks the rows it changes with
-- SKIP LOCKED, so that no deadlock of its own making can be mistaken for one of ours.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS marketing_automation;

CREATE TABLE customers (
	id int PRIMARY KEY,
	email text,
	tz text,
	blocked boolean NOT NULL DEFAULT false
);
CREATE TABLE subscribers (
	id bigint PRIMARY KEY,
	email text
);
CREATE TABLE orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id int,
	status text NOT NULL,
	created_at timestamptz,
	shipped_at timestamptz,
	total numeric,
	gift_for int
);
CREATE INDEX ON orders (customer_id, created_at);
CREATE INDEX ON orders (customer_id, shipped_at);
CREATE TABLE order_items (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
	added_at timestamptz NOT NULL,
	pieces int NOT NULL CHECK (pieces >= 0)
);
CREATE INDEX ON order_items (order_id, added_at);
-- A timestamp without zone, read in a zone of its own.
CREATE TABLE page_views (
	customer_id int,
	site int NOT NULL,
	viewed_at timestamp,
	path text
) PARTITION BY LIST (site);
CREATE TABLE page_views_1 PARTITION OF page_views FOR VALUES IN (1);
CREATE TABLE page_views_2 (path text, viewed_at timestamp, site int NOT NULL, customer_id int);
ALTER TABLE page_views ATTACH PARTITION page_views_2 FOR VALUES IN (2);
CREATE INDEX ON page_views (customer_id, viewed_at);
CREATE TABLE clicks (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	subscriber_id bigint,
	clicked_at timestamptz
);
CREATE INDEX ON clicks (subscriber_id, clicked_at);

INSERT INTO customers SELECT i, 'c' || i || '@example.com', 'Europe/Istanbul', i > 35
FROM generate_series(1, 40) AS i;
INSERT INTO customers SELECT i, 'c' || i || '@example.com', NULL, false
FROM generate_series(1001, 1020) AS i;
-- Every other subscriber is a customer as well.
INSERT INTO subscribers SELECT i, CASE WHEN i % 2 = 0 THEN ' C' || i || '@Example.COM ' ELSE 's' || i || '@example.com' END
FROM generate_series(1, 20) AS i;
INSERT INTO orders (customer_id, status, created_at, total)
SELECT i % 40 + 1, 'new', pg_catalog.now() - i * interval '1 s', i FROM generate_series(1, 400) AS i;

SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz', exclude => 'blocked');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'created_at', condition => $$ status <> 'cancelled' $$, value => 'total');
SELECT marketing.attach_events('orders', event => 'order_shipped', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'shipped_at', condition => $$ status <> 'cancelled' AND total > 2 $$);
SELECT marketing.attach_events('order_items', event => 'item_bought', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'added_at', condition => 'pieces > 0', via => '{"table": "orders", "on": "order_id = id"}');
SELECT marketing.attach_events('page_views', event => 'page_viewed', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'viewed_at', time_zone => 'Europe/Istanbul');
SELECT marketing.attach_events('clicks', event => 'link_clicked', contact => 'subscriber_id', contact_source => 'subscribers',
	occurred_at => 'clicked_at', mode => 'async');
SELECT marketing.declare_event('logged_in', '{"n": "integer"}');
-- A partition made after the table was attached.
CREATE TABLE page_views_3 PARTITION OF page_views FOR VALUES IN (3);

-- What the audit expects to be counted, written once more by hand; see oracle.sql.
CREATE SCHEMA audit;
CREATE TABLE audit.counter (name text PRIMARY KEY, event text NOT NULL, within interval);
INSERT INTO audit.counter VALUES
	('placed', 'order_placed', NULL), ('placed_2s', 'order_placed', '2 s'), ('placed_1h', 'order_placed', '1 h'),
	('shipped', 'order_shipped', NULL), ('shipped_3s', 'order_shipped', '3 s'),
	('bought', 'item_bought', NULL), ('bought_5s', 'item_bought', '5 s'),
	('viewed', 'page_viewed', NULL), ('viewed_2s', 'page_viewed', '2 s'),
	('clicked', 'link_clicked', NULL),
	('logins', 'logged_in', NULL), ('logins_4s', 'logged_in', '4 s');
SELECT marketing_internal.define_counter(c.name, c.event, c.within) FROM audit.counter AS c;
SELECT marketing_internal.record_event(e) FROM unnest('{order_placed,item_bought,link_clicked,logged_in}'::text[]) AS e;

-- What was there before recording began has happened for the audit without being recorded.
CREATE TABLE audit.unrecorded AS SELECT 'order_placed' AS event, id::text AS row_key FROM orders;
-- For the audit's own reading only.
CREATE INDEX audit_occurrence_idx ON marketing_internal.occurrence (event_id, row_key, occurrence_id);

-- A user's own deferred trigger: a gift is a page view of somebody else, whatever goes wrong on the way.
CREATE FUNCTION gift() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO page_views VALUES (NEW.gift_for, 1, pg_catalog.timezone('Europe/Istanbul', clock_timestamp()), 'lost');
		PERFORM 1 / (NEW.gift_for % 2);
	EXCEPTION WHEN division_by_zero THEN
		INSERT INTO page_views VALUES (NEW.gift_for, 2, pg_catalog.timezone('Europe/Istanbul', clock_timestamp()), 'gift');
	END;
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER gift AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW WHEN (NEW.gift_for IS NOT NULL) EXECUTE FUNCTION gift();
