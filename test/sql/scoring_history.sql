-- The course of a score, and how well it would have told what came.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, total numeric);
INSERT INTO customers SELECT generate_series(1, 40);
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('lead', half_life => '10 days', thresholds => '{"warm": 15, "hot": 30}', floor => 0), marketing.define_score_model('steady'),
	marketing.define_score_rule('lead', 'spent', 'visited', 'spent', expires => '20 days'), marketing.define_score_rule('lead', 'first', 'visited', 10, once => true),
	marketing.define_score_rule('steady', 'visit', 'visited', 1);
INSERT INTO visits VALUES (1, 1, '2026-01-20', 8), (2, 1, '2026-02-01', 20), (3, 1, '2026-02-11', 10), (4, 1, '2026-02-20', -100), (5, 1, '2026-03-10', 10);
SELECT * FROM marketing.score_history(1, 'lead');
SELECT * FROM marketing.score_history(1, 'lead', '2026-02-01', '2026-02-15');
SELECT * FROM marketing.score_history(1, 'lead', until => '2026-04-01');
SELECT * FROM marketing.score_history(2, 'lead');
SELECT * FROM marketing.score_history(1, 'steady', since => '2026-02-15', until => 'infinity');
-- Each line is the score of that instant.
CREATE FUNCTION score_at(moment timestamptz) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN PERFORM marketing.set_clock(moment); RETURN marketing.score(1, 'lead'); END $$;
CREATE TEMP TABLE course AS SELECT row_number() OVER () AS n, * FROM marketing.score_history(1, 'lead');
SELECT n, at, score, score_at(at) FROM (SELECT c.*, lead(at) OVER (ORDER BY n) AS next FROM course AS c) AS c WHERE at <> next OR next IS NULL ORDER BY n;
SELECT marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.score_history(1, 'leed');

-- A threshold that is kept down to a lower score, and grades of several models.
SELECT marketing.set_clock('2026-02-20 12:00+00');
DELETE FROM visits;
SELECT marketing.define_score_model('band', half_life => '10 days', thresholds => '{"A": {"at": 40, "lost_below": 20}, "B": 10}'), marketing.define_score_rule('band', 'spent', 'visited', 'spent'),
	marketing.define_score_model('steady', thresholds => '{"1": 2, "2": 1}');
CALL marketing.work();
SELECT marketing_internal.record_event(e) FROM unnest('{score_threshold_reached,score_threshold_lost}'::text[]) AS e;
INSERT INTO visits VALUES (1, 1, '2026-02-20 12:00+00', 41), (2, 2, '2026-02-20 12:00+00', 39);
SELECT marketing.define_grade('both', '{band,steady}'), marketing.define_grade('both', '{band,steady}'), marketing.define_grade('other', '{steady,band}');
SELECT marketing.grade(1, 'both'), marketing.grade(2, 'band') AS b, marketing.grade(3::bigint, 'other') AS none;
SELECT * FROM marketing.explain_grade(1, 'both');
SELECT * FROM marketing.explain_grade(3, 'other');
SELECT * FROM marketing.grades ORDER BY 1, 2;
SELECT contact, model, threshold, grade FROM marketing.sales_ready ORDER BY 1, 2;
SELECT marketing.grade(1, 'bend');
SELECT marketing.grade(1, NULL);
SELECT marketing.explain_grade(1, 'bath');
SELECT marketing.define_grade('both', '{band}');
SELECT marketing.define_grade('both', '{band,band}');
SELECT marketing.define_grade('band', '{band,steady}');
SELECT marketing.define_grade('x', '{band,bend}');
SELECT marketing.define_grade('x', NULL);
SELECT marketing.drop_score_model('band');
SELECT marketing.define_grade('both', '{steady,band}'), marketing.grade(1, 'both'), marketing.drop_grade('other');
SELECT marketing.drop_grade('other');
SELECT marketing.set_clock('2026-02-27 12:00+00');
SELECT contact, round(score, 2) AS score, threshold, since FROM marketing.sales_ready WHERE model = 'band' ORDER BY 1;
UPDATE visits SET spent = 42 WHERE id = 1;
INSERT INTO visits VALUES (3, 2, '2026-02-27 12:00+00', 1);
SELECT contact, round(score, 2) AS score, threshold, since FROM marketing.sales_ready WHERE model = 'band' ORDER BY 1;
SELECT marketing.set_clock('2026-03-10 12:00+00');
SELECT contact, round(score, 2) AS score, threshold, date_trunc('second', since) AS since FROM marketing.sales_ready WHERE model = 'band' ORDER BY 1;
CALL marketing.work();
SELECT contact, round(score, 2) AS score, threshold, date_trunc('second', since) AS since FROM marketing.sales_ready WHERE model = 'band' ORDER BY 1;
SELECT t.name, marketing_internal.contact_text(o.contact_id) AS contact, o.properties->>'threshold' AS threshold, date_trunc('second', o.occurred_at) AS at
	FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) WHERE o.properties->>'model' = 'band' ORDER BY o.occurrence_id;
SELECT at, score, threshold FROM marketing.score_history(1, 'band', '2026-02-27');
-- A score model may not hide behind a combined grade, nor be without thresholds in one.
SELECT marketing.define_score_model('both', thresholds => '{"A": 5}');
SELECT marketing.define_score_model('steady');
SELECT marketing.drop_grade('both');
SELECT marketing.drop_score_model('band'), marketing.set_clock('2026-03-01 12:00+00');

-- Who visited before 1 February ordered after it, but for few; what comes later does not count.
DELETE FROM visits;
INSERT INTO visits SELECT g, 1 + g % 20, timestamptz '2026-01-10' + g * interval '1 hour', 1 FROM generate_series(1, 60) AS g;
INSERT INTO visits SELECT 100 + g, 21 + g % 20, timestamptz '2026-02-03', 50 FROM generate_series(1, 60) AS g;
INSERT INTO orders SELECT g, g, timestamptz '2026-02-10', 10 * g FROM generate_series(1, 18) AS g;
INSERT INTO orders VALUES (50, 30, '2026-02-12', 10), (51, 31, '2026-02-28', 10), (52, 40, '2026-01-01', 10), (53, 1, '2026-02-01', 10), (54, 2, '2026-02-01 00:00:00.000001+00', 10);
SELECT * FROM marketing.score_backtest('steady', 'ordered', '2026-02-01', '20 days');
SELECT * FROM marketing.score_backtest('steady', 'ordered', '2026-02-01', '20 days', again => true) WHERE what IN ('all', 'auc');
SELECT * FROM marketing.score_backtest('steady', 'ordered where (total > 100)', '2026-02-01', '20 days') WHERE what IN ('all', 'auc');
-- The same by plain SQL.
WITH c AS (SELECT id, (SELECT count(*) FROM visits WHERE customer_id = c.id AND at <= '2026-02-01') AS score,
		EXISTS (SELECT FROM orders WHERE customer_id = c.id AND at > '2026-02-01' AND at <= '2026-02-21') AS outcome
	FROM customers AS c WHERE NOT EXISTS (SELECT FROM orders WHERE customer_id = c.id AND at <= '2026-02-01'))
SELECT count(*), round(avg(CASE WHEN p.score > n.score THEN 1 WHEN p.score = n.score THEN 0.5 ELSE 0 END), 4) AS auc FROM c AS p, c AS n WHERE p.outcome AND NOT n.outcome;
SELECT * FROM marketing.score_backtest('steady', 'ordered', '2025-02-01', '20 days');
SELECT * FROM marketing.score_backtest('steady', 'ordered', '2026-02-20', '20 days');
SELECT * FROM marketing.score_backtest('steady', 'orderd', '2026-02-01', '20 days');
SELECT * FROM marketing.score_backtest('steady', NULL, '2026-02-01');
-- The time after it is one of whole seconds, from the instant on.
INSERT INTO orders VALUES (900, 40, '2026-02-01 12:00:00.5+00', 10);
SELECT outcomes FROM marketing.score_backtest('steady', 'ordered', '2026-02-01 12:00+00', '1.9 seconds', again => true) WHERE what = 'all';
SELECT * FROM marketing.score_backtest('steady', 'ordered', '2026-02-01 12:00+00', '0.5 seconds');

-- The largest numbers stay numbers.
SELECT marketing.define_score_model('huge', thresholds => '{"far": 1e307}'), marketing.define_score_rule('huge', 'visit', 'visited', 1e305);
INSERT INTO visits VALUES (900, 40, '2026-02-01 12:00+00', 10);
SELECT marketing.score(40, 'huge') < 'infinity' AS finite, marketing.score(40, 'huge') >= 1e305 AS counts, marketing.grade(40, 'huge');
DROP EXTENSION marketing_automation;
