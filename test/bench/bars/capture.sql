-- capture.sql: what an attached table costs its writers, in one run beside the same table
-- without us. Single rows are written in a loop inside the server, each in its own transaction
-- (a client's round trips would hide the cost), synchronous_commit off, in many short turns of
-- one table and the other, in changing order; lower quartiles (what else the machine does only adds)
-- of the processor's time the server process took (the clock's where there is no /proc).
-- Bars are those of the design: nothing depends <= 1.05 x the same table with an empty trigger in C
-- (doc/architecture.md says why not beside none; that ratio is printed); eight dependents evaluated
-- over eighty rows without a change <= +60 us; a million rows in one COPY with eight dependents
-- <= 1.25 x.
\set QUIET on
SET client_min_messages = warning;
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
INSERT INTO customers SELECT g, 'c' || g || '@example.com' FROM generate_series(1, 5000) AS g;
CREATE TABLE plain (id bigserial PRIMARY KEY, customer_id bigint, created_at timestamptz,
	status text, total numeric);
-- The index attach_events() asks for, on all tables alike.
CREATE INDEX ON plain (customer_id, created_at) INCLUDE (status);
INSERT INTO plain (customer_id, created_at, status, total)
	SELECT g % 5000 + 1, now() - g * interval '30 seconds', 'new', 5 FROM generate_series(1, 400000) AS g;
CREATE TABLE empty (LIKE plain INCLUDING ALL);
CREATE TABLE idle (LIKE plain INCLUDING ALL);
CREATE TABLE counted (LIKE plain INCLUDING ALL);
CREATE TABLE recorded (LIKE plain INCLUDING ALL);
INSERT INTO empty SELECT * FROM plain;
INSERT INTO idle SELECT * FROM plain;
INSERT INTO counted SELECT * FROM plain;
INSERT INTO recorded SELECT * FROM plain;
\getenv empty_trigger EMPTY_TRIGGER
CREATE FUNCTION empty_trigger() RETURNS trigger LANGUAGE c AS :'empty_trigger';
CREATE TRIGGER empty AFTER INSERT OR UPDATE OR DELETE ON empty FOR EACH ROW EXECUTE FUNCTION empty_trigger();
VACUUM ANALYZE;

SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events(t::regclass, event => t || '_event', contact => 'customer_id',
		contact_source => 'customers', occurred_at => 'created_at',
		condition => $$ status <> 'cancelled' $$)
	FROM unnest('{idle,counted,recorded}'::text[]) AS t;
SELECT marketing_internal.define_counter('c' || g, 'counted_event', g * interval '50 days')
	FROM generate_series(1, 8) AS g;
SELECT marketing_internal.record_event('recorded_event');
CALL marketing.work();
VACUUM ANALYZE;

CREATE TABLE result (what text, round int, us float8);

-- Microseconds of the processor that this server process has taken.
CREATE FUNCTION spent() RETURNS float8 LANGUAGE sql AS $$
	SELECT coalesce(split_part(pg_read_file('/proc/self/schedstat', 0, 1000, true), ' ', 1)::float8 / 1000,
		extract(epoch FROM clock_timestamp()) * 1e6)
$$;

CREATE PROCEDURE insert_rows(t regclass, n int, round int) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	FOR i IN 1 .. n LOOP
		EXECUTE format('INSERT INTO %s (customer_id, created_at, status, total) VALUES ($1, now(), ''new'', 3)', t)
			USING i % 5000 + 1;
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES ('insert ' || t, round, (spent() - began) / n);
	COMMIT;
END $$;

-- Changes a column the condition reads to a value that counts as well; other rows in each round, so
-- that rows are not read which only the rounds before have left dead.
CREATE PROCEDURE update_rows(t regclass, n int, round int) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	FOR i IN 1 .. n LOOP
		EXECUTE format('UPDATE %s SET status = $2 WHERE id = $1', t) USING i * 32 + round, 'paid';
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES ('update ' || t, round, (spent() - began) / n);
	COMMIT;
END $$;

SET synchronous_commit = off;
-- A first round warms caches and plans; it is not counted.
CALL insert_rows('plain', 1000, 0); CALL insert_rows('empty', 1000, 0); CALL insert_rows('idle', 1000, 0);
CALL insert_rows('counted', 1000, 0); CALL insert_rows('recorded', 1000, 0);
CALL update_rows('plain', 1000, 0); CALL update_rows('counted', 1000, 0);
SELECT format('CALL insert_rows(%L, 1000, %s)', t, g)
	FROM generate_series(1, 60) AS g, unnest('{plain,empty,idle}'::text[]) AS t ORDER BY g, hashtext(t || g) \gexec
SELECT format('CALL %s_rows(%L, 1000, %s)', c, t, g)
	FROM generate_series(1, 20) AS g, unnest('{insert,update}'::text[]) AS c,
		unnest('{plain,counted,recorded}'::text[]) AS t ORDER BY g, c, hashtext(t || g) \gexec

-- A million rows in one COPY.
CREATE TABLE bulk_plain (LIKE plain INCLUDING ALL);
CREATE TABLE bulk_counted (LIKE plain INCLUDING ALL);
SELECT marketing.attach_events('bulk_counted', event => 'bulk_event', contact => 'customer_id',
	contact_source => 'customers', occurred_at => 'created_at', condition => $$ status <> 'cancelled' $$);
SELECT marketing_internal.define_counter('b' || g, 'bulk_event', g * interval '50 days')
	FROM generate_series(1, 8) AS g;
CALL marketing.work();
COPY (SELECT g % 5000 + 1, now() - g * interval '1 second', 'new', 5 FROM generate_series(1, 1000000) AS g)
	TO '/tmp/marketing_automation_bench.copy';
CREATE PROCEDURE copy_rows(t regclass, round int) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz;
BEGIN
	EXECUTE format('DELETE FROM %s', t);
	COMMIT;
	began := clock_timestamp();
	EXECUTE format('COPY %s (customer_id, created_at, status, total) FROM ''/tmp/marketing_automation_bench.copy''', t);
	COMMIT;
	INSERT INTO result VALUES ('copy ' || t, round, extract(epoch FROM clock_timestamp() - began) * 1e6 / 1000000);
	COMMIT;
END $$;
SELECT format('CALL copy_rows(%L, %s)', t, g)
	FROM generate_series(1, 3) AS g, unnest('{bulk_plain,bulk_counted}'::text[]) AS t ORDER BY g, t \gexec
COPY (SELECT 1 WHERE false) TO '/tmp/marketing_automation_bench.copy';

CREATE VIEW quartile AS
	SELECT what, percentile_cont(0.25) WITHIN GROUP (ORDER BY us) AS us FROM result WHERE round > 0 GROUP BY what;
CREATE VIEW figure AS
	SELECT o.what, round(o.us::numeric, 1) AS us, b.what AS beside, round(b.us::numeric, 1) AS its_us,
		round((o.us / b.us)::numeric, 3) AS ratio, round((o.us - b.us)::numeric, 1) AS more_us, bar.bar,
		CASE WHEN bar.ratio IS NOT NULL THEN o.us / b.us <= bar.ratio
			WHEN bar.more IS NOT NULL THEN o.us - b.us <= bar.more END AS held
	FROM (VALUES ('insert idle', 'insert empty', 1.05, NULL, 'nothing depends <= 1.05 x an empty trigger'),
			('insert idle', 'insert plain', NULL, NULL, 'nothing depends, beside no trigger at all'),
			('insert counted', 'insert plain', NULL, NULL, '8 counters, each changed and written'),
			('insert recorded', 'insert plain', NULL, NULL, 'row grade: each occurrence recorded'),
			('update counted', 'update plain', NULL, 60, '8 counters over 80 rows, none changed <= +60 us'),
			('copy bulk_counted', 'copy bulk_plain', 1.25, NULL, '1 M rows, 8 counters <= 1.25 x')
		) AS bar (ours, theirs, ratio, more, bar)
	JOIN quartile AS o ON o.what = bar.ours JOIN quartile AS b ON b.what = bar.theirs;
\pset footer off
\set QUIET off
SELECT * FROM figure;
DO $$
BEGIN
	IF EXISTS (SELECT FROM figure WHERE NOT held) THEN
		RAISE EXCEPTION 'missed: %', (SELECT string_agg(bar, '; ') FROM figure WHERE NOT held);
	END IF;
END $$;
