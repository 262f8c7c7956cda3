-- Old partitions that go: no contact is looked at for rows that nothing reads any more, and all are for others.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
\pset tuples_only on
\pset format unaligned
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = error;
SET marketing_automation.sync_wait = '10s';
SELECT marketing.set_clock('2026-06-15 12:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY);
INSERT INTO customers SELECT generate_series(1, 20);
SELECT marketing.attach_contacts('customers', id => 'id');
-- By the time of the event; by region, then by month of a local time; by something else.
CREATE TABLE orders (id int, customer_id bigint, total numeric, at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT format('CREATE TABLE orders_%s PARTITION OF orders FOR VALUES FROM (%L) TO (%L)', n, make_timestamptz(2026, n, 1, 0, 0, 0), make_timestamptz(2026, n + 1, 1, 0, 0, 0))
FROM generate_series(1, 6) AS n \gexec
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
CREATE TABLE visits (customer_id bigint, region text, at timestamp NOT NULL) PARTITION BY LIST (region);
CREATE TABLE visits_eu PARTITION OF visits FOR VALUES IN ('eu') PARTITION BY RANGE (at);
CREATE TABLE visits_eu_1 PARTITION OF visits_eu FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
CREATE TABLE visits_eu_2 PARTITION OF visits_eu FOR VALUES FROM ('2026-05-01') TO ('2026-07-01');
CREATE TABLE visits_us PARTITION OF visits FOR VALUES IN ('us');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at', value => 'total');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
INSERT INTO orders SELECT i, 1 + i % 20, i, timestamptz '2026-06-14 00:00+00' - i * interval '1 day' FROM generate_series(0, 160) AS i;
INSERT INTO visits SELECT 1 + i % 20, CASE WHEN i % 3 = 0 THEN 'us' ELSE 'eu' END, timestamp '2026-06-14 00:00' - i * interval '1 day' FROM generate_series(0, 160) AS i;
SELECT marketing.define_segment('regular', 'count(ordered) in 60 days >= 3'), marketing.define_segment('quiet', 'no visited in 1 month'),
	marketing.define_segment('back', 'any ordered between 40 days and 80 days ago and no visited this month');
INSERT INTO orders VALUES (800, 1, 1, '2025-12-01');
CALL marketing.work();
CREATE VIEW wrong AS SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
-- What the worker did since the last look: contacts evaluated, and what it left.
CREATE TABLE seen (n bigint);
INSERT INTO seen SELECT value::bigint FROM marketing.status WHERE item = 'contacts evaluated by the worker';
CREATE FUNCTION after_work() RETURNS text LANGUAGE sql AS $$
	WITH now AS (SELECT value::bigint AS n FROM marketing.status WHERE item = 'contacts evaluated by the worker'),
		old AS (SELECT n FROM seen),
		put AS (UPDATE seen SET n = now.n FROM now)
	SELECT format('evaluated %s, left %s, wrong %s', now.n - old.n, (SELECT count(*) FROM marketing_internal.dirty), (SELECT count(*) FROM wrong)) FROM now, old $$;

-- January and February are older than any window, by 80 days and a margin of three; the commit notes it, reads go by the rows meanwhile.
DROP TABLE orders_1;
SELECT pruned_column, pruned_before, (SELECT count(*) FROM wrong) FROM marketing_internal.dirty;
CALL marketing.work();
SELECT after_work();
ALTER TABLE orders DETACH PARTITION orders_2;
DROP TABLE orders_2;
CALL marketing.work();
SELECT after_work();
BEGIN;
DROP TABLE orders_3;
ROLLBACK;
SELECT after_work();
-- April is read.
DROP TABLE orders_4;
CALL marketing.work();
SELECT after_work();
-- A default partition tells nothing, nor does one by region; their subpartitions do; a local time may be of any zone.
DROP TABLE orders_rest;
CALL marketing.work();
SELECT after_work();
DROP TABLE visits_eu_1;
CALL marketing.work();
SELECT after_work();
DROP TABLE visits_us;
CALL marketing.work();
SELECT after_work();
-- A rule that reads all rows; one that does so since an instant.
SELECT marketing.define_segment('ever', 'sum(ordered.total) since ''2026-03-15'' > 100');
SELECT marketing.set_clock('2026-07-20 12:00+00');
CALL marketing.work();
SELECT after_work() LIKE '%left 0, wrong 0';
DROP TABLE orders_3;
CALL marketing.work();
SELECT after_work();
SELECT marketing.drop_segment('ever');
-- An instant that is over and not looked at: what was read then still is.
CREATE TABLE orders_a PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO orders VALUES (900, 1, 1, '2026-04-29 00:00+00'), (901, 2, 1, '2026-04-29 00:00+00');
SELECT marketing.set_clock('2026-08-30 12:00+00');
DROP TABLE orders_a;
CALL marketing.work();
SELECT after_work() LIKE 'evaluated %, left 0, wrong 0';
CREATE TABLE orders_a PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO orders VALUES (900, 1, 1, '2026-04-29 00:00+00');
CALL marketing.work();
SELECT after_work() LIKE 'evaluated %, left 0, wrong 0';
DROP TABLE orders_a;
CALL marketing.work();
SELECT after_work();
-- A new one with rows is looked at, a partition of contacts is, and so is one where a score counts all.
CREATE TABLE orders_b (LIKE orders);
INSERT INTO orders_b VALUES (902, 3, 1, '2026-01-29 00:00+00');
ALTER TABLE orders ATTACH PARTITION orders_b FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
CALL marketing.work();
SELECT after_work();
SELECT marketing.define_score_model('lead'), marketing.define_score_rule('lead', 'order', event => 'ordered', points => 1);
CALL marketing.work();
INSERT INTO seen SELECT 0 WHERE after_work() IS NULL;
SELECT marketing.score(3, 'lead');
DROP TABLE orders_b;
SELECT marketing.score(3, 'lead');
CALL marketing.work();
SELECT after_work(), marketing.score(3, 'lead');
-- Points that expire; with at_most the rows before count, too.
SELECT marketing.drop_score_rule('lead', 'order'), marketing.define_score_rule('lead', 'recent', event => 'ordered', points => 1, expires => '3 months');
CREATE TABLE orders_c PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO orders VALUES (903, 3, 1, '2026-04-29 00:00+00');
CALL marketing.work();
INSERT INTO seen SELECT 0 WHERE after_work() IS NULL;
DROP TABLE orders_c;
CALL marketing.work();
SELECT after_work(), marketing.score(3, 'lead');
DROP TABLE orders_6;
CALL marketing.work();
SELECT after_work() LIKE 'evaluated 20,%' AS counts_still, marketing.score(3, 'lead');
SELECT marketing.define_score_rule('lead', 'recent', event => 'ordered', points => 1, expires => '3 months', at_most => 2);
CREATE TABLE orders_d PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO orders VALUES (904, 3, 1, '2026-04-29 00:00+00');
CALL marketing.work();
INSERT INTO seen SELECT 0 WHERE after_work() IS NULL;
DROP TABLE orders_d;
CALL marketing.work();
SELECT after_work();
SELECT marketing.drop_score_model('lead') IS NOT NULL;
-- Journeys: what they follow row by row is not read again; rules of exits and waits read as far back as their windows.
CREATE TABLE sales (id int, customer_id bigint, total numeric, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE sales_new PARTITION OF sales FOR VALUES FROM ('2026-05-01') TO ('2027-01-01');
SELECT marketing.attach_events('sales', event => 'sold', contact => 'customer_id', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_journey('thanks', '{"entry": {"event": "sold", "where": "total > 3"}, "filter": "count(sold) > 2", "exit_on": [{"event": "sold"}, {"if": "count(sold) in 30 days > 5"}], "steps": [{"wait": "1 year"}]}') IS NOT NULL,
	marketing.activate_journey('thanks') IS NOT NULL;
CREATE TABLE sales_a PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO sales VALUES (1, 3, 10, '2026-04-29 00:00+00');
CALL marketing.work();
INSERT INTO seen SELECT 0 WHERE after_work() IS NULL;
DROP TABLE sales_a;
CALL marketing.work();
SELECT after_work();
SELECT marketing.define_journey('long', '{"entry": {"event": "sold"}, "exit_on": [{"if": "count(sold) = 1"}], "steps": [{"wait": "1 year"}]}') IS NOT NULL, marketing.activate_journey('long') IS NOT NULL;
CREATE TABLE sales_b PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-05-01');
INSERT INTO sales VALUES (2, 3, 10, '2026-04-29 00:00+00'), (3, 3, 1, '2026-08-30 12:00+00');
CALL marketing.work();
INSERT INTO seen SELECT 0 WHERE after_work() IS NULL;
SELECT state FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'long';
DROP TABLE sales_b;
CALL marketing.work();
SELECT after_work() LIKE 'evaluated 20,%' AS read_all, state FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'long';

DROP FUNCTION after_work;
DROP VIEW wrong;
DROP EXTENSION marketing_automation;
DROP TABLE customers, orders, visits, sales, seen;
