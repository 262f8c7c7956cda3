-- Rows that were added are added to the stored score; whatever else happened has it computed from all rows. Which of both
-- it was shows a stored score that is 1,000 too high: what is computed is right again, what is added to stays as wrong.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id text PRIMARY KEY, gone boolean NOT NULL DEFAULT false);
INSERT INTO customers VALUES ('1'), ('2'), ('9');
CREATE TABLE orders (id serial PRIMARY KEY, customer_id text, at timestamptz, total numeric, status text NOT NULL DEFAULT 'paid', note text);
CREATE TABLE visits (id serial, shop text, customer_id text, on_day date, at timestamptz) PARTITION BY LIST (shop);
CREATE TABLE visits_a PARTITION OF visits FOR VALUES IN ('a');
-- Its columns stand at other places.
CREATE TABLE visits_b (gone int, at timestamptz, on_day date, customer_id text, shop text, id int NOT NULL DEFAULT 0);
ALTER TABLE visits_b DROP COLUMN gone;
ALTER TABLE visits ATTACH PARTITION visits_b FOR VALUES IN ('b');
CREATE TABLE site_events (name text, customer_id text, at timestamp, props jsonb);
CREATE INDEX ON orders (customer_id); CREATE INDEX ON visits (customer_id); CREATE INDEX ON site_events (customer_id);
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'gone');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', condition => $$ status <> 'void' $$);
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', time_zone => 'Asia/Tokyo');
SELECT marketing.declare_event(n) FROM unnest('{seen,read,asked}'::text[]) AS n;
SELECT marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('plain', thresholds => '{"top": 5000}');
SELECT marketing.define_score_rule('plain', 'each', 'ordered', 1);
SELECT marketing.define_score_rule('plain', 'big', 'ordered', 'total / 10', condition => 'total >= 100');
SELECT marketing.define_score_rule('plain', 'visit', 'visited', 2, condition => $$ shop = 'b' OR on_day > '2026-01-01' $$);
SELECT marketing.define_score_rule('plain', 'seen', 'seen', 3, condition => $$ (props ->> 'pages')::numeric > 1 $$);
CALL marketing.work();

CREATE FUNCTION poison() RETURNS void LANGUAGE sql AS $$ UPDATE marketing_internal.score SET value = value + 1000 $$;
-- What became of the poisoned scores; then they are as they must be.
CREATE FUNCTION became() RETURNS TABLE (contact text, model text, how text, value numeric, is_right boolean) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT marketing_internal.contact_text(s.contact_id), m.name, CASE WHEN s.value > 500 THEN 'added' ELSE 'computed' END,
		round((s.value - CASE WHEN s.value > 500 THEN 1000 ELSE 0 END)::numeric, 4),
		round((s.value - CASE WHEN s.value > 500 THEN 1000 ELSE 0 END)::numeric, 4) =
			(SELECT round(COALESCE(sum(e.points_now), 0), 4) FROM marketing.explain_score(marketing_internal.contact_text(s.contact_id), m.name) AS e)
		FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE marketing_internal.contact_text(s.contact_id) IS NOT NULL ORDER BY 1, 2;
	UPDATE marketing_internal.score AS s SET value = s.value - 1000 WHERE s.value > 500;
END $$;
CREATE PROCEDURE try(statements text[]) LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	PERFORM poison();
	COMMIT;
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
	END LOOP;
	COMMIT;
END $$;

-- The first row of a contact has nothing to be added to.
INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 50);
SELECT * FROM became();

-- Added: rows of any table and partition, several at once, in released savepoints; those that give nothing, rolled back or void ones too.
CALL try('{"INSERT INTO orders (customer_id, at, total) VALUES (''1'', marketing.now(), 150)"}');
SELECT * FROM became();
CALL try('{"INSERT INTO visits (id, shop, customer_id, on_day, at) VALUES (1, ''a'', ''1'', ''2026-02-01'', marketing.now()), (2, ''a'', ''1'', ''2025-02-01'', marketing.now()), (3, ''b'', ''1'', NULL, marketing.now())"}');
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO site_events VALUES ('seen', '1', '2026-03-01 20:00', '{"pages": 2}'), ('seen', '1', '2026-03-01 20:00', '{"pages": 1}'), ('read', '1', '2026-03-01 20:00', NULL), ('seen', '1', NULL, '{"pages": 2}')$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total, status) VALUES ('1', marketing.now(), 500, 'void'), ('1', 'infinity', 500, 'paid'), ('1', NULL, 500, 'paid')$$]);
SELECT * FROM became();
CALL try(ARRAY[$$DO $do$ BEGIN
	INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 110);
	BEGIN INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 120); EXCEPTION WHEN division_by_zero THEN NULL; END;
	BEGIN INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 130); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
	INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 140);
END $do$ $$]);
SELECT * FROM became();
-- A row of time to come ends what is known of the score; late rows are rows as others.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now() + interval '1 hour', 100), ('1', '2020-01-01', 200)$$]);
SELECT wake FROM marketing_internal.score;
SELECT * FROM became();
SELECT marketing.set_clock(marketing.now() + interval '1 hour');
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 5)$$]);
SELECT * FROM became();
-- Two contacts in one commit.
INSERT INTO orders (customer_id, at, total) VALUES ('2', marketing.now(), 50);
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 100), ('2', marketing.now(), 100), ('7', marketing.now(), 100)$$]);
SELECT * FROM became();
DELETE FROM orders WHERE customer_id = '2';

-- Computed: rows that change, go, or are changed in the transaction that added them.
CALL try('{"UPDATE orders SET total = 130 WHERE id = 2"}');
SELECT * FROM became();
CALL try('{"DELETE FROM orders WHERE id = 2"}');
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (id, customer_id, at, total) VALUES (100, '1', marketing.now(), 160)$$, $$UPDATE orders SET total = 170 WHERE id = 100$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (id, customer_id, at, total) VALUES (101, '1', marketing.now(), 160)$$, $$DELETE FROM orders WHERE id = 101$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (id, customer_id, at, total) VALUES (100, '1', marketing.now(), 160) ON CONFLICT (id) DO UPDATE SET total = 180$$]);
SELECT * FROM became();
-- What was evaluated before the commit has the rows already, also when that was rolled back.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 190)$$, $$SELECT marketing.flush()$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 190)$$,
	$$DO $do$ BEGIN PERFORM marketing.flush(); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $do$ $$]);
SELECT * FROM became();
-- The table got another shape meanwhile.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 200)$$, $$ALTER TABLE orders ALTER COLUMN note TYPE varchar(100)$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 210)$$, $$ALTER TABLE orders ADD COLUMN more int DEFAULT 3$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 220)$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 220)$$, $$TRUNCATE visits$$]);
SELECT * FROM became();
CALL marketing.work();
-- Too many, or too large to stand in the row.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) SELECT '1', marketing.now(), 10 FROM generate_series(1, 16)$$]);
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) SELECT '1', marketing.now(), 10 FROM generate_series(1, 17)$$]);
SELECT * FROM became();
ALTER TABLE site_events ALTER COLUMN props SET STORAGE EXTERNAL;
CALL try(ARRAY[$$INSERT INTO site_events VALUES ('seen', '1', '2026-03-01 20:00', jsonb_build_object('pages', 3, 'text', repeat('x', 20000)))$$]);
SELECT * FROM became();
-- The owner does not see all rows of his table.
ALTER TABLE visits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CALL try(ARRAY[$$INSERT INTO visits VALUES (4, 'b', '1', NULL, marketing.now())$$]);
SELECT * FROM became();
ALTER TABLE visits NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
-- Somebody else depends on the event: the score is added to all the same.
SELECT marketing.define_segment('buyers', 'any ordered');
CALL marketing.work();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 230)$$]);
SELECT * FROM became();
SELECT marketing.drop_segment('buyers');
-- A threshold is crossed by what the rows say only, not by what is stored.
UPDATE marketing_internal.score SET value = value + 4000;
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 10)$$]);
SELECT * FROM became();
SELECT reached FROM marketing_internal.score;
-- Points without a row; merges; an excluded contact.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('1', marketing.now(), 230)$$, $$SELECT marketing.add_points('1', 'plain', 7)$$]);
SELECT contact, model, how FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('9', marketing.now(), 90)$$, $$SELECT marketing.merge_contacts('9', '1')$$]);
CALL marketing.work();
SELECT * FROM became();
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('9', marketing.now(), 10), ('1', marketing.now(), 10)$$]);
SELECT * FROM became();

-- What merges and adds points is known to nobody before: the next rows are added again.
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('9', marketing.now(), 10), ('1', marketing.now(), 10)$$]);
SELECT * FROM became();
UPDATE customers SET gone = true WHERE id = '9';
CALL try(ARRAY[$$INSERT INTO orders (customer_id, at, total) VALUES ('9', marketing.now(), 10), ('1', marketing.now(), 10)$$]);
SELECT * FROM became();

-- Rules that are no plain sum over tuples: limits, months, settings of the session, text of a number, other tables; each of its own model and event.
CREATE TABLE products (sku text PRIMARY KEY, worth int);
CREATE TABLE asks (name text, sku text, customer_id text, at timestamptz, n float8);
CREATE INDEX ON asks (customer_id);
INSERT INTO products VALUES ('a', 1), ('b', 2);
SELECT marketing.attach_events('asks', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at',
	lookup => '{"product": {"table": "products", "on": "sku = sku"}}');
CREATE TABLE models AS SELECT name FROM unnest('{most,months,days,session,printed,looked,shared}'::text[]) AS u (name);
SELECT marketing.declare_event(name), marketing.define_score_model(name) FROM models;
SELECT marketing.define_score_rule('most', 'r', 'most', 1, at_most => 3);
SELECT marketing.define_score_rule('months', 'r', 'months', 1, expires => '1 month');
SELECT marketing.define_score_rule('days', 'r', 'days', 1, expires => '10 days');
SELECT marketing.define_score_rule('session', 'r', 'session', 1, condition => $$ (at::date)::text > '2000' $$);
SELECT marketing.define_score_rule('printed', 'r', 'printed', 1, condition => $$ n::text <> '0.1' $$);
SELECT marketing.define_score_rule('looked', 'r', 'looked', 1, condition => $$ product.worth > 1 $$);
-- One model's rule that cannot be added leaves another's be, on one event.
SELECT marketing.define_score_rule('shared', 'r', 'looked', 5, condition => $$ sku <> 'c' $$);
CALL marketing.work();
INSERT INTO asks SELECT name, 'b', '2', marketing.now(), 0.5 FROM models;
CALL try(ARRAY[$$INSERT INTO asks SELECT name, 'b', '2', marketing.now(), 0.1 FROM models$$]);
SELECT model, how, value, is_right FROM became() WHERE contact = '2';
SELECT m.name, s.wake FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE s.wake < 'infinity' ORDER BY 1;
-- A row that expired before it came; one that is the first to expire.
CALL try(ARRAY[$$INSERT INTO asks VALUES ('days', 'a', '2', marketing.now() - interval '11 days', 1), ('days', 'a', '2', marketing.now() - interval '4 days', 1)$$]);
SELECT model, how, value, is_right FROM became() WHERE contact = '2' AND model = 'days';
SELECT m.name, s.wake FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'days';
-- Two models of one event.
SELECT marketing.drop_score_model('looked');
CALL marketing.work();
SELECT marketing.define_score_model('second', half_life => '10 days', thresholds => '{"warm": 5, "hot": 5000}');
SELECT marketing.define_score_rule('second', 'r', 'looked', 4);
CALL marketing.work();
INSERT INTO asks VALUES ('looked', 'a', '2', marketing.now(), 1);
CALL try(ARRAY[$$INSERT INTO asks VALUES ('looked', 'a', '2', marketing.now(), 1)$$]);
SELECT model, how, value, is_right FROM became() WHERE model IN ('second', 'shared');
-- Points fade: what is added to is what is left of it; an old row brings what is left of its points.
SELECT marketing.set_clock(marketing.now() + interval '2 days');
CALL try(ARRAY[$$INSERT INTO asks VALUES ('looked', 'a', '2', marketing.now(), 1), ('looked', 'a', '2', marketing.now() - interval '5 days', 1)$$]);
SELECT model, how, CASE WHEN model = 'second' THEN round(value + 1000 - 1000 * 2 ^ -0.2, 4) ELSE value END AS value FROM became() WHERE model IN ('second', 'shared');
SELECT round(sum(points_now), 4) FROM marketing.explain_score('2', 'second');
-- An error of an expression is the contact's alone, as ever.
SELECT marketing.define_score_rule('second', 'broken', 'looked', $$ 1 / n $$);
CALL marketing.work();
CALL try(ARRAY[$$INSERT INTO asks VALUES ('looked', 'a', '2', marketing.now(), 2)$$, $$INSERT INTO asks VALUES ('looked', 'a', '1', marketing.now(), 2)$$]);
CALL try(ARRAY[$$INSERT INTO asks VALUES ('looked', 'a', '2', marketing.now(), 2), ('looked', 'a', '1', marketing.now(), 0)$$]);
SELECT marketing_internal.contact_text(s.contact_id) AS contact, s.version < 0 AS failed, s.error
	FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'second' ORDER BY 1;
