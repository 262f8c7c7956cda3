-- Reads of segments: exact with no worker, at earlier instants by the log, forecasts, the next change.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY, city text, trial_ends timestamptz);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, total numeric, created_at timestamptz);
CREATE INDEX orders_contact ON orders (customer_id, created_at) INCLUDE (total);
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO customers SELECT i, 'Rome', timestamptz '2026-03-20 00:00+00' FROM generate_series(1, 4) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');
-- 1: five days ago and today; 2: today, and one that is dated ahead; 3: long ago; 4: none.
INSERT INTO orders (customer_id, total, created_at) VALUES (1, 10, '2026-02-24 12:00+00'), (1, 10, '2026-03-01 06:00+00'),
	(2, 5, '2026-03-01 08:00+00'), (2, 5, '2026-03-04 08:00+00'), (3, 9, '2026-01-05 00:00+00');
SELECT marketing.define_segment('quiet', 'no order_placed in 7 days');
SELECT marketing.define_segment('twice', 'count(order_placed) in 6 days >= 2');
SELECT marketing.define_segment('ending', 'trial_ends within next 3 days and any order_placed');
SELECT marketing.define_segment('fix', $$ city = 'Rome' $$);
CREATE VIEW sizes AS SELECT string_agg(s.name || ' ' || marketing.segment_size(s.name), ', ' ORDER BY s.name) FROM marketing.segments AS s;
CREATE VIEW differences AS SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v WHERE s.error IS NULL;

-- What is to come; then it comes, and no worker runs.
SELECT * FROM marketing.forecast_segment('quiet', '30 days');
SELECT * FROM marketing.forecast_segment('quiet', '7 days');
SELECT * FROM marketing.forecast_segment('twice', '30 days');
SELECT * FROM marketing.forecast_segment('ending', '1 month');
SELECT * FROM marketing.forecast_segment('fix', '100 years');
SELECT * FROM sizes;
SELECT marketing.set_clock('2026-03-02 11:59:59.999999+00');
SELECT * FROM sizes;
SELECT marketing.set_clock('2026-03-02 12:00+00');
SELECT * FROM sizes;
SELECT marketing.set_clock('2026-03-04 08:00+00');
SELECT * FROM sizes;
SELECT marketing.set_clock('2026-03-11 08:00+00');
SELECT * FROM sizes;
SELECT contact, since FROM marketing.segment_members('quiet') ORDER BY 1;
SELECT marketing.in_segment(2, 'quiet'), marketing.in_segment(1, 'twice');
SELECT * FROM differences;
SELECT count(*) AS stored FROM marketing_internal.segment_transition WHERE cause = 'time';
-- Overdue wakes are no news of the future.
SELECT * FROM marketing.forecast_segment('quiet', '1 day');
-- In a transaction of one's own.
BEGIN;
INSERT INTO orders (customer_id, total, created_at) VALUES (4, 1, marketing.now());
SELECT * FROM marketing.forecast_segment('quiet', '7 days');
SELECT * FROM differences;
ROLLBACK;

-- The worker writes down when it was, and the log answers for any instant; what it has not written yet is computed.
CREATE VIEW history AS SELECT i.at, (SELECT string_agg(m.contact, ' ' ORDER BY m.contact) FROM marketing.segment_members('quiet', i.at) AS m) AS quiet,
	(SELECT string_agg(m.contact, ' ' ORDER BY m.contact) FROM marketing.segment_members('twice', at => i.at) AS m) AS twice
FROM (VALUES (timestamptz '2026-03-01 12:00+00'), ('2026-03-02 11:59:59.999999+00'), ('2026-03-02 12:00+00'),
	('2026-03-04 08:00+00'), ('2026-03-07 07:59:59.999999+00'), ('2026-03-08 06:00+00'), ('2026-03-11 08:00+00')) AS i(at);
CREATE TABLE before_work AS SELECT * FROM history;
CALL marketing.work();
SELECT contact, since FROM marketing.segment_members('quiet') ORDER BY 1;
SELECT k.external_id AS contact, s.name, t.entered, t.effective_at FROM marketing_internal.segment_transition AS t
	JOIN marketing_internal.segment AS s USING (segment_id) JOIN marketing_internal.contact_key AS k USING (contact_id)
	WHERE t.cause = 'time' ORDER BY t.effective_at, 1, 2;
SELECT * FROM history;
SELECT * FROM history EXCEPT SELECT * FROM before_work;
SELECT m.* FROM marketing.segment_members('twice', at => '2026-03-05 00:00+00') AS m;
-- The older part of the log is not needed for later instants.
BEGIN;
DELETE FROM marketing_internal.segment_transition WHERE effective_at < '2026-03-04 08:00+00';
SELECT h.* FROM history AS h JOIN before_work AS b USING (at) WHERE h.at >= '2026-03-04 08:00+00' AND (h.quiet, h.twice) IS DISTINCT FROM (b.quiet, b.twice);
ROLLBACK;
SELECT * FROM differences;

-- Pruned: months of the log go, by the clock of the test all rows stand in the default partition.
BEGIN;
CREATE TABLE marketing_internal.segment_transition_2026_01 PARTITION OF marketing_internal.segment_transition FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
SELECT marketing.prune_segment_history('2026-03-10');
SELECT to_regclass('marketing_internal.segment_transition_2026_01');
SELECT h.* FROM history AS h JOIN before_work AS b USING (at) WHERE (h.quiet, h.twice) IS DISTINCT FROM (b.quiet, b.twice);
UPDATE marketing_internal.segment_transition SET recorded_at = '2026-02-28', effective_at = least(effective_at, '2026-02-28') WHERE effective_at <= '2026-03-01 12:00+00';
UPDATE marketing_internal.segment SET known_from = '2026-02-10';
SELECT marketing.prune_segment_history('2026-03-10');
SELECT h.* FROM history AS h JOIN before_work AS b USING (at) WHERE (h.quiet, h.twice) IS DISTINCT FROM (b.quiet, b.twice);
SELECT * FROM differences;
SAVEPOINT s;
SELECT * FROM marketing.segment_members('quiet', at => '2026-02-28 23:59:59+00');
ROLLBACK TO s;
SELECT contact FROM marketing.segment_members('quiet', at => '2026-03-01 00:00+00') ORDER BY 1;
SELECT marketing.prune_segment_history('2027-01-01');
ROLLBACK;
SELECT marketing.prune_segment_history(NULL);
-- Why, and when that ends.
SELECT * FROM marketing.explain_segment(2, 'quiet');
SELECT * FROM marketing.explain_segment(2, 'ending');
INSERT INTO orders (customer_id, total, created_at) VALUES (2, 1, marketing.now()), (2, 1, marketing.now() - interval '1 day');
SELECT * FROM marketing.explain_segment(2, 'quiet');
SELECT * FROM marketing.explain_segment(2, 'twice');
SELECT * FROM marketing.explain_segment(2, 'fix');

-- Errors.
SELECT * FROM marketing.forecast_segment('quite', '1 day');
SELECT * FROM marketing.forecast_segment('quiet', NULL);
SELECT * FROM marketing.forecast_segment('quiet', '-1 day');
SELECT * FROM marketing.segment_members('quiet', at => '2026-03-01 11:59:59.999999+00');
SELECT * FROM marketing.segment_members('quiet', at => marketing.now() + interval '1 microsecond');
SELECT * FROM marketing.segment_members('quite', at => marketing.now());

-- A rule that calls a function of the user's is the worker's: no commit and no read runs it.
CREATE ROLE regress_segments_shop;
ALTER TABLE customers OWNER TO regress_segments_shop;
CREATE TABLE calls (i bigint);
GRANT SELECT ON customers TO PUBLIC;
CREATE FUNCTION odd(i bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE DEBUG 'odd'; RETURN i % 2 = 1; END $$;
SELECT marketing.define_segment('odd', 'odd(customers.id) and any order_placed in 7 days');
SELECT name, maintenance, members, evaluated_at FROM marketing.segments WHERE name = 'odd';
INSERT INTO orders (customer_id, total, created_at) VALUES (3, 1, marketing.now());
SELECT marketing.in_segment(3, 'odd'), count(*) FROM marketing_internal.dirty;
SELECT contact FROM marketing.segment_members('odd');
-- What is read is as old as the first change that waits.
SELECT marketing.set_clock(marketing.now() + interval '1 hour');
SELECT name, members, evaluated_at, marketing.now() FROM marketing.segments WHERE name = 'odd';
CALL marketing.work();
SELECT name, members, evaluated_at FROM marketing.segments WHERE name = 'odd';
CREATE TABLE odd_calls (id bigint PRIMARY KEY, customer_id bigint, at timestamptz, seconds int);
SELECT marketing.attach_events('odd_calls', event => 'called', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.define_segment('callers', 'odd(customers.id) and any called');
INSERT INTO odd_calls VALUES (1, 3, marketing.now(), 5);
SELECT marketing.set_clock(marketing.now() + interval '1 hour');
SELECT name, members, evaluated_at FROM marketing.segments WHERE name IN ('odd', 'callers') ORDER BY 1;
-- A truncated table waits as well.
CALL marketing.work();
TRUNCATE odd_calls;
SELECT marketing.set_clock(marketing.now() + interval '1 hour');
SELECT name, members, evaluated_at FROM marketing.segments WHERE name IN ('odd', 'callers') ORDER BY 1;
CALL marketing.work();
SELECT name, members, evaluated_at FROM marketing.segments WHERE name IN ('odd', 'callers') ORDER BY 1;
SELECT marketing.drop_segment('callers'), marketing.detach('odd_calls');
-- And as the first instant that is over.
SELECT marketing.set_clock('2026-03-19 00:00+00');
SELECT name, members, evaluated_at FROM marketing.segments WHERE name = 'odd';
SELECT marketing.in_segment(3, 'odd');
CALL marketing.work();
SELECT name, members, evaluated_at FROM marketing.segments WHERE name = 'odd';
INSERT INTO orders (customer_id, total, created_at) VALUES (3, 1, marketing.now());
CALL marketing.work();
SELECT marketing.in_segment(3, 'odd'), count(*) FROM marketing_internal.dirty;
SELECT contact FROM marketing.segment_members('odd');
SELECT * FROM marketing.verify_segment('odd');
SELECT * FROM marketing.forecast_segment('odd', '1 day');
SELECT what, value FROM marketing.preview_segment('odd(customers.id)');
CREATE OR REPLACE FUNCTION odd(i bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
INSERT INTO orders (customer_id, total, created_at) VALUES (1, 1, marketing.now());
CALL marketing.work();
SELECT name, state, members, error FROM marketing.segments ORDER BY 1;
SELECT count(*) FROM marketing_internal.dirty;
SELECT * FROM differences WHERE name <> 'odd';

DROP VIEW sizes, differences, history;
DROP EXTENSION marketing_automation;
DROP TABLE customers;
DROP ROLE regress_segments_shop;
