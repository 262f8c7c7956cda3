-- explain_segment: the rows an answer rests on, and the instants at which answers change.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'UTC';
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null ''
\pset footer off
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
CREATE TABLE customers (id bigint PRIMARY KEY, city text, credit int, trial_ends timestamptz);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, total numeric, status text, created_at timestamptz);
CREATE INDEX orders_contact ON orders (customer_id, created_at) INCLUDE (total, status);
-- A key of two columns, one of them with an odd name, in partitions; and a table without any key.
CREATE TABLE visits ("Shop" text, no int, customer_id bigint, seconds int, at timestamptz, PRIMARY KEY ("Shop", no)) PARTITION BY LIST ("Shop");
CREATE TABLE visits_eu PARTITION OF visits FOR VALUES IN ('eu');
CREATE TABLE visits_us PARTITION OF visits FOR VALUES IN ('us');
CREATE TABLE carts (customer_id bigint, at timestamptz);
SELECT marketing.set_clock('2026-03-10 12:00+00');
INSERT INTO customers VALUES (1, 'Rome', 5, '2026-03-20 00:00+00'), (2, NULL, NULL, NULL);
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('carts', event => 'carted', contact => 'customer_id', occurred_at => 'at');
INSERT INTO orders (customer_id, total, status, created_at)
	SELECT 1, i, CASE WHEN i % 3 = 0 THEN 'cancelled' ELSE 'paid' END, timestamptz '2026-03-10 10:00+00' - i * interval '1 day' FROM generate_series(1, 8) AS i;
INSERT INTO orders (customer_id, total, status, created_at) VALUES (1, 100, 'paid', '2026-03-12 00:00+00'), (1, NULL, 'paid', '2026-03-10 11:00+00');
INSERT INTO visits VALUES ('eu', 1, 1, 30, '2026-03-09 10:00+00'), ('us', 1, 1, 90, '2026-03-10 08:00+00'), ('us', 2, 1, 10, '2026-01-01 00:00+00');
INSERT INTO carts VALUES (1, '2026-03-08 09:00+00'), (1, '2026-03-10 11:30+00'), (1, '2026-03-09 13:00+00'), (1, '2026-02-01 00:00+00');
SELECT marketing.declare_event('quoted', properties => '{"amount": "numeric"}');
SELECT marketing.track(1, 'quoted', '{"amount": 7}', occurred_at => '2026-03-10 09:00+00');
SELECT marketing.track(1, 'quoted', '{"amount": 12}', occurred_at => '2026-03-01 09:00+00');
CREATE FUNCTION why(rule text, contact bigint DEFAULT 1) RETURNS TABLE (node text, value text, needs text, truth boolean, occurred_at timestamptz, holds_until timestamptz, because text)
LANGUAGE plpgsql AS $$ BEGIN
	PERFORM marketing.define_segment('asked', rule);
	RETURN QUERY SELECT * FROM marketing.explain_segment(contact, 'asked');
END $$;

-- Windows: who counts, who decides when, the next to come, the last one that did.
SELECT * FROM why('any order_placed in 30 days');
SELECT * FROM why('no order_placed where (status = ''lost'')');
SELECT * FROM why('no visited between 2 days and 20 days ago');
SELECT * FROM why('count(order_placed) in 5 days >= 4');
SELECT * FROM why('sum(order_placed.total) in 10 days > 1000');
SELECT * FROM why('max(visited.seconds) in 10 days > 60');
SELECT * FROM why('min(order_placed.total) in 100 days < 2');
SELECT * FROM why('count(distinct order_placed.status) in 3 days = 2');
SELECT * FROM why('avg(quoted.amount) > 5');
SELECT * FROM why('any visited today');
SELECT * FROM why('any visited last month');
SELECT * FROM why('any carted since ''2026-03-09 00:00+00''');
SELECT * FROM why('sum(order_placed.total) in 3 days / count(visited) in 3 days > credit');
-- Pairs, places, intervals.
SELECT * FROM why('any carted in 3 days followed by order_placed within 2 hours');
SELECT * FROM why('any carted in 3 days not followed by order_placed within 2 hours');
-- Of more than five rows the one that decides is there as well.
BEGIN;
INSERT INTO carts SELECT 1, timestamptz '2026-03-10 11:31+00' + i * interval '1 minute' FROM generate_series(1, 8) AS i;
SELECT node, occurred_at, because FROM why('any carted in 3 days followed by order_placed within 2 hours');
SELECT node, occurred_at, because FROM why('count(order_placed) in 9 days < 9');
SELECT node, occurred_at, because FROM why('all of last 9 order_placed matching (total <> 6)');
ROLLBACK;
SELECT * FROM why('any of last 3 order_placed matching (status = ''cancelled'')');
SELECT * FROM why('all of last 20 order_placed matching (status = ''paid'')');
SELECT * FROM why('none of last 7 order_placed matching (total > 7)');
SELECT * FROM why('last visited matching (seconds > 60)');
SELECT * FROM why('first order_placed more than 30 days ago');
SELECT * FROM why('first quoted matching (amount = 12)');
SELECT * FROM why('overdue order_placed by 2');
SELECT * FROM why('overdue quoted by 2');
-- Columns.
SELECT * FROM why('city = ''Rome'' and (credit > 3 or city || credit = ''Rome5'')');
SELECT * FROM why('city = ''Rome'' and coalesce(city, ''x'') || coalesce(credit, 0) = ''x''', 2);
-- A date comes, and by then the order no longer counts: nothing ever changes, and every line says so.
SELECT * FROM why('trial_ends within next 3 days and any visited in 1 day');
-- It changes, and then again.
SELECT * FROM why('trial_ends within next 3 days and any order_placed in 8 days');
SELECT * FROM why('not (trial_ends within next 3 days) or no order_placed');
-- Of somebody without rows, and in a transaction that adds one.
SELECT * FROM why('count(order_placed) in 5 days >= 1 or anniversary(trial_ends) is today', 2);
BEGIN;
INSERT INTO orders (id, customer_id, total, created_at) VALUES (77, 2, 3.50, marketing.now());
SELECT * FROM marketing.explain_segment(2, 'asked');
ROLLBACK;
-- The rows shown are those that were evaluated: as many as count, and none of somebody else.
SELECT r.rule, count(*) FILTER (WHERE e.occurred_at IS NOT NULL AND e.because LIKE 'counts%' AND e.because NOT LIKE 'counts from%' AND e.because <> 'counts no more') AS shown, max(e.value) FILTER (WHERE e.needs IS NOT NULL) AS value
FROM (VALUES ('count(order_placed) in 4 days >= 0'), ('count(visited) this year >= 0'), ('count(visited) >= 0'), ('count(quoted) in 5 days >= 0')) AS r(rule)
CROSS JOIN LATERAL why(r.rule) AS e GROUP BY 1 ORDER BY 1;

DROP FUNCTION why;
DROP EXTENSION marketing_automation;
DROP TABLE customers, orders, visits, carts;
