-- score_backtest() beside plain SQL, on random data: AUC over all pairs with ties, deciles and the top.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, tz text DEFAULT 'UTC');
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz NOT NULL, spent numeric);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz NOT NULL, total numeric);
INSERT INTO customers SELECT generate_series(1, 457);
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-06-01 00:00+00');
-- A number in [0, 1) for a key, the same on every machine.
CREATE FUNCTION chance(key text) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT ('x' || substr(md5(key), 1, 7))::bit(28)::int / 268435456.0 $$;
INSERT INTO visits SELECT row_number() OVER (), c, timestamptz '2026-01-01 00:00+00' + chance('at' || c || '/' || i) * interval '150 days', floor(chance('sp' || c || '/' || i) * 4) * 10
	FROM generate_series(1, 457) AS c, generate_series(1, 9) AS i WHERE chance('v' || c || '/' || i) < 0.2 + chance('keen' || c) * 0.4;
INSERT INTO orders SELECT row_number() OVER (), c, timestamptz '2026-01-01 00:00+00' + chance('oa' || c || '/' || i) * interval '150 days', floor(chance('t' || c || '/' || i) * 3) * 100
	FROM generate_series(1, 457) AS c, generate_series(1, 3) AS i WHERE chance('o' || c || '/' || i) < chance('keen' || c) * 0.5;
-- At the very instant, and at the very end.
INSERT INTO orders VALUES (9001, 3, '2026-03-15 00:00+00', 500), (9002, 4, '2026-04-14 00:00+00', 500), (9003, 5, '2026-04-14 00:00:00.000001+00', 500);
INSERT INTO visits VALUES (9001, 6, '2026-03-15 00:00+00', 30), (9002, 7, '2026-03-15 00:00:00.000001+00', 30);
SELECT marketing.define_score_model('lead', half_life => '20 days', ceiling => 30);
SELECT marketing.define_score_rule('lead', 'spent', 'visited', 'spent / 5', condition => 'spent > 0'), marketing.define_score_rule('lead', 'visit', 'visited', 2, at_most => 2, per => 'month'),
	marketing.define_score_rule('lead', 'fresh', 'visited', 4, expires => '10 days'), marketing.define_score_rule('lead', 'nothing', 'visited', -3, condition => 'spent = 0');

-- The same by hand: score, outcome, and who is left out.
CREATE FUNCTION cases(at timestamptz, until timestamptz, minimum numeric, again bool) RETURNS TABLE (id int, score numeric, outcome bool) LANGUAGE sql AS $$
	WITH points AS (
		SELECT v.customer_id AS c, v.at, v.spent / 5 AS points FROM visits AS v WHERE v.spent > 0 AND v.at <= $1
		UNION ALL SELECT c, w.at, 2 FROM (SELECT v.customer_id AS c, v.at, row_number() OVER (PARTITION BY v.customer_id, date_trunc('month', v.at) ORDER BY v.at) AS n FROM visits AS v WHERE v.at <= $1) AS w WHERE n <= 2
		UNION ALL SELECT v.customer_id, v.at, 4 FROM visits AS v WHERE v.at <= $1 AND v.at + interval '10 days' > $1
		UNION ALL SELECT v.customer_id, v.at, -3 FROM visits AS v WHERE v.spent = 0 AND v.at <= $1)
	SELECT k.id, round(least(coalesce((SELECT sum(p.points * 2 ^ (- extract(epoch FROM $1 - p.at) / (20 * 86400.0))) FROM points AS p WHERE p.c = k.id), 0), 30), 4),
		EXISTS (SELECT FROM orders AS o WHERE o.customer_id = k.id AND o.at > $1 AND o.at <= $2 AND o.total >= $3)
	FROM customers AS k WHERE $4 OR NOT EXISTS (SELECT FROM orders AS o WHERE o.customer_id = k.id AND o.at <= $1 AND o.total >= $3) $$;
-- Each of equal scores has the place of their mean rank: the share of [from, to) that its group covers.
CREATE FUNCTION by_hand(at timestamptz, until timestamptz, minimum numeric, again bool) RETURNS TABLE (what text, contacts bigint, outcomes numeric, value numeric, lift numeric) LANGUAGE sql AS $$
	WITH c AS MATERIALIZED (SELECT * FROM cases($1, $2, $3, $4)), n AS (SELECT count(*) AS n, count(*) FILTER (WHERE outcome) AS hits FROM c),
	ties AS (SELECT sum(count(*)) OVER (ORDER BY score DESC) - count(*) AS first, sum(count(*)) OVER (ORDER BY score DESC) AS last, count(*) FILTER (WHERE outcome) AS hits FROM c GROUP BY score),
	cut AS (SELECT 'decile ' || i + 1 AS what, n.n * i / 10 AS lo, n.n * (i + 1) / 10 AS hi FROM n, generate_series(0, 9) AS i
		UNION ALL SELECT 'top ' || k, 0, k FROM n, unnest(ARRAY[10, 100, 1000, 10000]) AS k WHERE k < n.n)
	SELECT 'all', n, hits, round(hits::numeric / n, 4), NULL::numeric FROM n
	UNION ALL SELECT 'auc', n.n, n.hits, round(avg(CASE WHEN p.score > q.score THEN 1 WHEN p.score = q.score THEN 0.5 ELSE 0 END), 4), NULL::numeric FROM n, c AS p, c AS q WHERE p.outcome AND NOT q.outcome GROUP BY n.n, n.hits
	UNION ALL SELECT cut.what, cut.hi - cut.lo, s.hits, round(s.hits / (cut.hi - cut.lo), 4), round(s.hits / (cut.hi - cut.lo) / (n.hits::numeric / n.n), 4)
	FROM n, cut, LATERAL (SELECT sum(t.hits * (least(t.last, cut.hi) - greatest(t.first, cut.lo)) / (t.last - t.first)) AS hits FROM ties AS t WHERE t.last > cut.lo AND t.first < cut.hi) AS s $$;
CREATE VIEW tests AS SELECT * FROM (VALUES ('2026-03-15 00:00+00'::timestamptz, interval '30 days', 0, false), ('2026-03-15 00:00+00', interval '30 days', 0, true),
	('2026-02-01 07:30+00', interval '90 days', 200, false), ('2026-04-20 12:00+00', interval '1 day', 0, true)) AS t (at, within, minimum, again);
WITH b AS (SELECT t.*, b.* FROM tests AS t, marketing.score_backtest('lead', format('ordered where (total >= %s)', t.minimum), t.at, t.within, t.again) AS b),
	h AS (SELECT t.*, h.* FROM tests AS t, by_hand(t.at, t.at + t.within, t.minimum, t.again) AS h)
	SELECT at, within, minimum, again, count(*) AS lines, count(*) FILTER (WHERE b.contacts = h.contacts AND abs(b.outcomes - h.outcomes) <= 0.5001 AND abs(b.value - h.value) <= 0.0001
		AND abs(coalesce(b.lift, 0) - coalesce(h.lift, 0)) <= 0.0001) AS equal FROM b FULL JOIN h USING (at, within, minimum, again, what) GROUP BY 1, 2, 3, 4 ORDER BY 1, 4;
SELECT t.at, t.again, count(*) AS cases, count(DISTINCT c.score) AS scores, count(*) FILTER (WHERE c.outcome) AS outcomes FROM tests AS t, cases(t.at, t.at + t.within, t.minimum, t.again) AS c GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM marketing.score_backtest('lead', 'ordered', '2026-03-15 00:00+00', '30 days') WHERE what IN ('all', 'auc', 'decile 1', 'decile 10', 'top 10');
-- What is recorded later counts by when it happened; what happens later does not.
SELECT value AS auc FROM marketing.score_backtest('lead', 'ordered', '2026-03-15 00:00+00', '30 days') WHERE what = 'auc' \gset
INSERT INTO visits SELECT 10000 + i, i, '2026-03-16 00:00+00', 30 FROM generate_series(1, 457) AS i WHERE i % 3 = 0;
SELECT value = :auc AS same FROM marketing.score_backtest('lead', 'ordered', '2026-03-15 00:00+00', '30 days') WHERE what = 'auc';
UPDATE visits SET at = '2026-03-14 00:00+00' WHERE id > 10000;
SELECT value = :auc AS same FROM marketing.score_backtest('lead', 'ordered', '2026-03-15 00:00+00', '30 days') WHERE what = 'auc';
-- The course of a score at each of its instants is the score of then.
SELECT count(*) AS lines, count(*) FILTER (WHERE h.score IS DISTINCT FROM (SELECT c.score FROM cases(h.at, h.at, 0, true) AS c WHERE c.id = h.id)) AS wrong
	FROM (SELECT k.id, h.at, h.score FROM customers AS k, marketing.score_history(k.id, 'lead', '2026-02-01', '2026-03-20') AS h WHERE k.id <= 10 AND h.rule IS NULL OFFSET 0) AS h;
DROP EXTENSION marketing_automation CASCADE;
