-- Definitions a shop would make (vip, inactive, at risk, birthday ...), each against SQL written by hand from
-- what its words say, at the ends of every window and one microsecond beside them; their JSON; and how long
-- what the evaluator answers holds.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id bigint PRIMARY KEY, tz text, city text, birth_date date, trial_ends_at timestamptz, created_at timestamptz);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, status text, created_at timestamptz);
CREATE TABLE events (id bigint PRIMARY KEY, customer_id bigint, name text, at timestamptz, props jsonb);
CREATE INDEX ON orders (customer_id, created_at);
CREATE INDEX ON events (customer_id, name, at);
-- Times stand on hours; half of the birthdays are 29 February, and some orders are still to come.
INSERT INTO customers SELECT i, (ARRAY['Europe/Istanbul', 'America/New_York', 'Pacific/Kiritimati', NULL])[1 + i % 4],
	(ARRAY['Istanbul', 'Rome', NULL])[1 + i % 3], CASE WHEN i % 2 = 0 THEN date '1992-02-29' ELSE date '1990-02-20' + i::int * 3 END,
	timestamptz '2026-03-01 12:00+00' + i * interval '31 hours', timestamptz '2026-02-20 00:00+00' + i * interval '29 hours'
FROM generate_series(1, 12) AS i;
INSERT INTO orders SELECT i, 1 + i % 12, (20 + (i * 7919) % 110) * (CASE WHEN i % 12 >= 9 THEN 3 ELSE 1 END), (ARRAY['paid', 'open'])[1 + i % 2 * (i / 12 % 2)],
	timestamptz '2026-03-10 00:00+00' - ((i * 104729) % (CASE WHEN i % 12 < 3 THEN 1900 WHEN i % 12 < 6 THEN 9000 ELSE 1500 END)) * interval '1 hour'
		- (CASE WHEN i % 12 < 3 THEN 2200 ELSE 0 END) * interval '1 hour' + (i % 7) * interval '40 hours'
FROM generate_series(1, 160) AS i;
INSERT INTO events SELECT i, 1 + i % 12, (ARRAY['page_viewed', 'page_viewed', 'added_to_cart', 'page_viewed', 'subscribed'])[1 + i * 31 % (CASE WHEN i % 12 < 4 THEN 5 ELSE 4 END)],
	timestamptz '2026-03-14 00:00+00' - ((i * 7919) % 1100) * interval '1 hour', jsonb_build_object('product', i * 13 % 5)
FROM generate_series(1, 240) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers', occurred_at => 'created_at') IS NOT NULL;
SELECT marketing.attach_events('events', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL;
SELECT count(marketing.declare_event(n)) FROM unnest('{page_viewed,added_to_cart,subscribed}'::text[]) AS n;

CREATE TABLE definition (n int PRIMARY KEY, name text, rule text, expected text);
INSERT INTO definition VALUES
(1, 'vip', 'sum(order_placed.total) in 365 days > 1000 and count(order_placed) in 365 days >= 5',
	$$ (SELECT coalesce(sum(o.total), 0) FROM o WHERE o.created_at <= n AND o.created_at + interval '8760 hours' > n) > 1000
	AND (SELECT count(*) FROM o WHERE o.created_at <= n AND o.created_at + interval '8760 hours' > n) >= 5 $$),
(2, 'inactive', 'no page_viewed in 30 days',
	$$ NOT EXISTS (SELECT FROM e WHERE e.name = 'page_viewed' AND e.at <= n AND e.at + interval '720 hours' > n) $$),
(3, 'at_risk', 'count(order_placed) between 90 days and 180 days ago >= 3 and no order_placed in 90 days',
	$$ (SELECT count(*) FROM o WHERE o.created_at + interval '2160 hours' <= n AND o.created_at + interval '4320 hours' > n) >= 3
	AND NOT EXISTS (SELECT FROM o WHERE o.created_at <= n AND o.created_at + interval '2160 hours' > n) $$),
(4, 'returning', 'count(page_viewed) in 7 days >= 4',
	$$ (SELECT count(*) FROM e WHERE e.name = 'page_viewed' AND e.at <= n AND e.at + interval '168 hours' > n) >= 4 $$),
(5, 'birthday', 'anniversary(birth_date) is today',
	$$ to_char(n AT TIME ZONE c.tz, 'MMDD') = CASE WHEN to_char(c.birth_date, 'MMDD') = '0229'
		AND to_char(date_trunc('year', n AT TIME ZONE c.tz) + interval '2 months -1 day', 'DD') = '28' THEN '0228' ELSE to_char(c.birth_date, 'MMDD') END $$),
(6, 'cart_left', 'any added_to_cart in 7 days not followed by order_placed within 2 hours',
	$$ EXISTS (SELECT FROM e WHERE e.name = 'added_to_cart' AND e.at + interval '2 hours' <= n AND e.at + interval '168 hours' > n
		AND NOT EXISTS (SELECT FROM o WHERE o.created_at > e.at AND o.created_at <= e.at + interval '2 hours')) $$),
(8, 'istanbul', 'city = ''Istanbul''', $$ coalesce(c.city = 'Istanbul', false) $$),
(9, 'vip_safe', 'in segment vip and not in segment at_risk', '@1 AND NOT @3'),
(11, 'trial_ending', 'trial_ends_at within next 3 days and no subscribed',
	$$ c.trial_ends_at > n AND c.trial_ends_at - interval '72 hours' <= n AND NOT EXISTS (SELECT FROM e WHERE e.name = 'subscribed' AND e.at <= n) $$),
(12, 'month_500', 'sum(order_placed.total where (status = ''paid'')) this month >= 500',
	$$ (SELECT coalesce(sum(o.total), 0) FROM o WHERE o.status = 'paid' AND o.created_at <= n AND o.created_at >= date_trunc('month', n, c.tz)) >= 500 $$),
(13, 'never_came', 'created_at more than 24 hours ago and no page_viewed since created_at',
	$$ c.created_at + interval '24 hours' <= n AND NOT EXISTS (SELECT FROM e WHERE e.name = 'page_viewed' AND e.at <= n AND e.at >= c.created_at) $$),
(14, 'explorer', 'count(distinct page_viewed.(props->>''product'')) in 30 days >= 3',
	$$ (SELECT count(DISTINCT e.props->>'product') FROM e WHERE e.name = 'page_viewed' AND e.at <= n AND e.at + interval '720 hours' > n) >= 3 $$),
(15, 'good_basket', 'avg(order_placed.total) in 6 months >= 75',
	$$ coalesce((SELECT avg(o.total) FROM o WHERE o.created_at <= n
		AND (o.created_at AT TIME ZONE c.tz + interval '6 months') AT TIME ZONE c.tz > n) >= 75, false) $$);
UPDATE definition AS d SET expected = replace(replace(d.expected, '@1', '(' || a.expected || ')'), '@3', '(' || b.expected || ')')
FROM definition AS a, definition AS b WHERE d.n = 9 AND a.n = 1 AND b.n = 3;

-- Each defines a segment, from its text or, every second one, from its JSON; both say the same.
SELECT name, marketing.define_segment(name, CASE WHEN n % 2 = 0 THEN marketing.rule_json(rule)::text ELSE rule END, 'Europe/Istanbul') IS NOT NULL AS defined,
	marketing.segment_rule(name), marketing.rule_text(marketing.rule_json(rule)) = marketing.segment_rule(name) AS json
FROM definition ORDER BY n;

-- All instants at which a window may begin or end, and beside them.
CREATE TABLE instant AS
	SELECT DISTINCT x.at + d * interval '1 microsecond' AS at FROM (
		SELECT i.at FROM (
			SELECT created_at + w AS at FROM orders CROSS JOIN unnest('{0,2160 hours,4320 hours,8760 hours}'::interval[]) AS w
			UNION ALL SELECT at + w FROM events CROSS JOIN unnest('{0,2 hours,168 hours,720 hours}'::interval[]) AS w
			UNION ALL SELECT trial_ends_at - w FROM customers CROSS JOIN unnest('{0,72 hours}'::interval[]) AS w
			UNION ALL SELECT created_at + interval '24 hours' FROM customers) AS i
		WHERE i.at BETWEEN '2026-02-10' AND '2026-03-25' ORDER BY hashtext(i.at::text) LIMIT 70) AS x
		CROSS JOIN generate_series(-1, 1) AS d
	UNION SELECT (date '2026-02-26' + i)::timestamp AT TIME ZONE z + d * interval '1 microsecond'
	FROM generate_series(0, 8) AS i CROSS JOIN generate_series(-1, 0) AS d
		CROSS JOIN unnest('{Europe/Istanbul,America/New_York,Pacific/Kiritimati}'::text[]) AS z;

CREATE FUNCTION compare(what definition) RETURNS TABLE (differ bigint, holds_true boolean, holds_false boolean, constant boolean) LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[] := (SELECT array_agg(_contact_id ORDER BY contact::int) FROM marketing.contacts);
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH answer AS (
			SELECT i.at AS n, c.id, t.truth, t.until, marketing_internal.rule_truth(%1$L, 'Europe/Istanbul',
				CASE WHEN isfinite(t.until) THEN t.until - interval '1 microsecond' ELSE i.at + interval '400 days' END, ARRAY[t.contact_id]) AS later
			FROM instant AS i CROSS JOIN LATERAL marketing_internal.rule_truth(%1$L, 'Europe/Istanbul', i.at, $1) AS t
				JOIN marketing.contacts AS m ON m._contact_id = t.contact_id JOIN customers AS c ON c.id = m.contact::bigint),
		told AS (
			SELECT a.truth, (a.later).truth AS later, x.expected FROM answer AS a
			CROSS JOIN LATERAL (SELECT k.id, k.city, k.birth_date, k.trial_ends_at, k.created_at, coalesce(k.tz, 'Europe/Istanbul') AS tz
				FROM customers AS k WHERE k.id = a.id) AS c
			CROSS JOIN LATERAL (WITH o AS (SELECT * FROM orders WHERE customer_id = c.id), e AS (SELECT * FROM events WHERE customer_id = c.id)
				SELECT %2$s AS expected) AS x)
		SELECT count(*) FILTER (WHERE truth <> expected), bool_or(truth), NOT bool_and(truth), bool_and(truth = later) FROM told $q$,
		what.rule, what.expected) USING ids;
END $$;
SELECT d.name, c.* FROM definition AS d CROSS JOIN LATERAL compare(d) AS c ORDER BY d.n;
SELECT count(*) > 200 AS enough, (SELECT count(*) FROM customers) AS contacts FROM instant;
-- What is read of the segments is plain SQL's as well.
SELECT marketing.set_clock('2026-03-05 10:00+00') IS NOT NULL;
SELECT count(*) FROM definition AS d CROSS JOIN LATERAL marketing.verify_segment(d.name);
DROP TABLE instant, events, orders, customers CASCADE;
DROP EXTENSION marketing_automation;
