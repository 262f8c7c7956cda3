-- scoring.sql: what ten score rules cost the writers of an event table, in one run beside the same
-- table without us, and beside what one would write by hand: a PL/pgSQL row trigger that goes through
-- the same ten rules and adds up a score. Single rows are written in a loop inside the server, each in
-- its own transaction, synchronous_commit off, alternating rounds, medians; the base of a real writer
-- is longer by his round trip, so its ratio is smaller. Contacts have 20 rows each. Bars are those of
-- the design: ten rules, single row <= 1.8 x (by hand 2.3 x), 100 k rows in one statement <= 2.0 x (by
-- hand 8.3 x). What the worker needs afterwards for the 100 k rows is shown beside.
\set QUIET on
SET client_min_messages = warning;
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
INSERT INTO customers SELECT g, 'c' || g || '@example.com' FROM generate_series(1, 5000) AS g;
CREATE TABLE plain (id bigserial PRIMARY KEY, customer_id bigint, created_at timestamptz, status text, total numeric);
CREATE INDEX ON plain (customer_id, created_at) INCLUDE (status, total);
INSERT INTO plain (customer_id, created_at, status, total)
	SELECT g % 5000 + 1, now() - g * interval '30 seconds', 'new', g % 300 FROM generate_series(1, 100000) AS g;
CREATE TABLE scored (LIKE plain INCLUDING ALL);
CREATE TABLE by_hand (LIKE plain INCLUDING ALL);
INSERT INTO scored SELECT * FROM plain;
INSERT INTO by_hand SELECT * FROM plain;

\ir ../hand_score.sql
INSERT INTO hand_score SELECT id, 0 FROM customers;

\o /dev/null
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('scored', event => 'scored_event', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'created_at', condition => $$ status <> 'void' $$);
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 1000}');
SELECT marketing.define_score_rule('lead', 'r' || g, 'scored_event', g, condition => format('total >= %s AND total < %s', g * 25, g * 25 + 100))
	FROM generate_series(0, 9) AS g;
\o
CALL marketing.work();
VACUUM ANALYZE;

CREATE TABLE result (what text, round int, us float8);
CREATE PROCEDURE insert_rows(t regclass, n int, round int) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz;
BEGIN
	began := clock_timestamp();
	FOR i IN 1 .. n LOOP
		EXECUTE format('INSERT INTO %s (customer_id, created_at, status, total) VALUES ($1, now(), ''new'', $2)', t)
			USING i % 5000 + 1, i % 300;
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES ('insert ' || t, round, extract(epoch FROM clock_timestamp() - began) * 1e6 / n);
	COMMIT;
END $$;
CREATE PROCEDURE bulk_rows(t regclass, n int, round int) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	EXECUTE format('INSERT INTO %s (customer_id, created_at, status, total)
		SELECT g %% 5000 + 1, now() - g * interval ''1 second'', ''new'', g %% 300 FROM generate_series(1, $1) AS g', t) USING n;
	COMMIT;
	INSERT INTO result VALUES ('bulk ' || t, round, extract(epoch FROM clock_timestamp() - began) * 1e6 / n);
	COMMIT;
END $$;

SET synchronous_commit = off;
-- A first round warms caches and plans; it is not counted.
CALL insert_rows('plain', 1000, 0); CALL insert_rows('scored', 1000, 0); CALL insert_rows('by_hand', 1000, 0);
SELECT format('CALL insert_rows(%L, 3000, %s)', t, g)
	FROM generate_series(1, 5) AS g, unnest('{plain,scored,by_hand}'::text[]) AS t ORDER BY g, t \gexec
SELECT format('CALL bulk_rows(%L, 100000, %s)', t, g)
	FROM generate_series(1, 3) AS g, unnest('{plain,scored,by_hand}'::text[]) AS t ORDER BY g, t \gexec
SELECT clock_timestamp() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'worker, after 300 k rows', 1, extract(epoch FROM clock_timestamp() - :'began') * 1e6 / 300000;

CREATE VIEW median AS
	SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY us) AS us FROM result WHERE round > 0 GROUP BY what;
CREATE VIEW figure AS
	SELECT o.what, round(o.us::numeric, 1) AS us, b.what AS beside, round(b.us::numeric, 1) AS its_us,
		round((o.us / b.us)::numeric, 3) AS ratio, bar.bar, o.us / b.us <= bar.ratio AS held
	FROM (VALUES (1, 'insert scored', 'insert plain', 1.8, '10 score rules, single row <= 1.8 x'),
			(2, 'insert by_hand', 'insert plain', NULL, 'the same by hand in PL/pgSQL'),
			(3, 'bulk scored', 'bulk plain', 2.0, '10 score rules, 100 k rows in one statement <= 2.0 x'),
			(4, 'bulk by_hand', 'bulk plain', NULL, 'the same by hand in PL/pgSQL'),
			(5, 'worker, after 300 k rows', 'bulk plain', NULL, 'the worker, for each of the rows above')
		) AS bar (n, ours, theirs, ratio, bar)
	JOIN median AS o ON o.what = bar.ours JOIN median AS b ON b.what = bar.theirs ORDER BY n;
\pset footer off
\set QUIET off
SELECT * FROM figure;
DO $$
BEGIN
	IF EXISTS (SELECT FROM figure WHERE NOT held) THEN
		RAISE EXCEPTION 'missed: %', (SELECT string_agg(bar, '; ') FROM figure WHERE NOT held);
	END IF;
END $$;
