-- track(), declare_event(), partitions of tracked events.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-11-15 12:00+00') IS NOT NULL AS set;
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;
RESET client_min_messages;

-- no partition before the first use
SELECT count(*) FROM pg_inherits WHERE inhparent = 'marketing_internal.event'::regclass;
-- the first event makes its name known, with a notice
SELECT marketing.track(1, 'page_viewed');
SELECT marketing.track('customers:2', 'page_viewed', '{"url": "/"}', '2026-10-01 08:00+00');
SELECT marketing.track(1, 'page_veiwed');
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
WHERE inhparent = 'marketing_internal.event'::regclass ORDER BY 1;
-- a time far off has its place too
SELECT marketing.track(1, 'page_viewed', occurred_at => '1999-12-31 23:00+00'), marketing.track(1, 'page_viewed', occurred_at => '2031-01-01');
SELECT e.tableoid::regclass, k.external_id, t.name, e.occurred_at AT TIME ZONE 'UTC' AS at, e.recorded_at AT TIME ZONE 'UTC' AS recorded,
	e.properties, e.tracked_for = e.contact_id AS own
FROM marketing_internal.event AS e JOIN marketing_internal.event_type AS t USING (event_id)
JOIN marketing_internal.contact_key AS k USING (contact_id) ORDER BY e.occurred_at;

-- dedup_key: per contact, whatever the time
SELECT marketing.track(1, 'paid', '{"n": 1}', dedup_key => 'k1');
SELECT marketing.track(1, 'paid', '{"n": 2}', '2026-01-01', dedup_key => 'k1');
SELECT marketing.track(2, 'paid', '{"n": 3}', dedup_key => 'k1');
SELECT count(*) FROM marketing_internal.event AS e JOIN marketing_internal.event_type AS t USING (event_id) WHERE t.name = 'paid';
-- a rolled back one can come again
BEGIN;
SELECT marketing.track(1, 'paid', dedup_key => 'k2');
ROLLBACK;
SELECT marketing.track(1, 'paid', dedup_key => 'k2');

-- declared events and their types
SELECT marketing.declare_event('signed_up', '{"plan": "VARCHAR", "seats": "int", "at": "timestamp with time zone", "raw": "jsonb", "ok": "bool"}');
SELECT declared, tracked, properties FROM marketing_internal.event_type WHERE name = 'signed_up';
SELECT marketing.declare_event('signed_up', '{"plan": "text", "seats": "integer", "at": "timestamptz", "raw": "jsonb", "ok": "boolean"}');
SELECT marketing.declare_event('signed_up', '{"plan": "text", "seats": "bigint", "at": "timestamptz", "raw": "jsonb", "price": "numeric"}');
SELECT marketing.declare_event('plain');
SELECT marketing.declare_event('plain');
SELECT marketing.declare_event('page_viewed', '{"url": "text"}');
SELECT marketing.track(1, 'signed_up', '{"plan": "pro", "seats": 3, "at": "2026-11-01 10:00", "raw": [1], "price": 9.90, "more": {"a": 1}}');
SELECT marketing.track(1, 'signed_up', '{"seats": "4", "price": null}');
SELECT marketing.track(1, 'signed_up', '{"seats": "many"}');
SELECT marketing.track(1, 'signed_up', '{"seats": 4.5}');
SELECT marketing.track(1, 'signed_up', '{"at": "yesterday noon or so"}');
SELECT marketing.track(1, 'signed_up', '{"price": {"eur": 3}}');
SELECT marketing.declare_event('x', '{"a": "integr"}');
SELECT marketing.declare_event('x', '{"a": "public.mytype"}');
SELECT marketing.declare_event('x', '{"a": 1}');
SELECT marketing.declare_event('x', '[]');
SELECT marketing.declare_event(NULL);
SELECT marketing.declare_event('undecided', NULL);
-- a call that fails says nothing of a new event
SELECT marketing.track(99, 'never_seen');
SELECT marketing.declare_event('goal_reached');

-- refusals
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, name text);
SET client_min_messages = warning;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
RESET client_min_messages;
SELECT marketing.track(1, 'order_placed');
SELECT marketing.declare_event('order_placed');
SELECT marketing.attach_events('orders', event => 'paid', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.track(1, 'email_opened');
SELECT marketing.track(1, NULL);
SELECT marketing.track(1, 'y', '[1]');
SELECT marketing.track(1, 'y', '{}', 'infinity');
SELECT marketing.track(99, 'y');
\set VERBOSITY sqlstate
SELECT marketing.track(1, 'order_placed');
SELECT marketing.track(1, 'email_opened');
SELECT marketing.track(99, 'y');
SELECT marketing.track(1, 'signed_up', '{"seats": "many"}');
\set VERBOSITY default
-- what failed left no name behind
SELECT name, declared, tracked FROM marketing_internal.event_type ORDER BY name;

-- the worker makes the months ahead; not one whose rows are in the default partition already
SELECT marketing.track(1, 'page_viewed', occurred_at => '2027-02-10');
SELECT marketing.set_clock('2026-12-31 23:59+00') IS NOT NULL AS set;
CALL marketing.work();
SELECT marketing.set_clock('2027-01-15 12:00+00') IS NOT NULL AS set;
\c -
CALL marketing.work();
SELECT c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
WHERE inhparent = 'marketing_internal.event'::regclass ORDER BY 1;
-- DROP EXTENSION takes the partitions along
DROP EXTENSION marketing_automation;
SELECT count(*) FROM pg_class WHERE relname LIKE 'event\_%';
