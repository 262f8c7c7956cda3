-- segments.sql: what segments cost, in one run beside the alternatives: the same table without us, the
-- plain query, REFRESH MATERIALIZED VIEW, and a rebuild by difference into a table of members.
-- SEGMENT_CONTACTS (20000) contacts; the design's run is 1000000. In table one each has ten rows, in the
-- others an eighth of them have eighty each. Single rows are written in a loop inside the server, each in
-- its own transaction, synchronous_commit off, in turns of changing order; lower quartiles (what else the
-- machine does only adds) of the processor's time the server process took (the clock's where there is no
-- /proc). Bars are those of the design; ratios within the run mean something, times do not.
\set QUIET on
SET client_min_messages = warning;
\set contacts 20000
\getenv contacts SEGMENT_CONTACTS
SELECT marketing.set_clock('2026-03-01 12:00+00') \g /dev/null
CREATE TABLE customers (id bigint PRIMARY KEY, city text);
INSERT INTO customers SELECT g, CASE g % 3 WHEN 0 THEN 'Rome' ELSE 'Oslo' END FROM generate_series(1, :contacts) AS g;
CREATE TABLE plain (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, total int);
INSERT INTO plain (customer_id, at, total)
	SELECT 1 + g % (:contacts / 8), timestamptz '2026-03-01 12:00+00' - g % 80 * interval '9 hours' - g % 1000 * interval '1 second', g % 97
	FROM generate_series(1, 10 * :contacts) AS g;
CREATE INDEX ON plain (customer_id, at) INCLUDE (total);
SELECT format('CREATE TABLE %1$s (LIKE plain INCLUDING ALL); INSERT INTO %1$s SELECT * FROM plain', t)
	FROM unnest('{skip,eight,fifty}'::text[]) AS t \gexec
CREATE TABLE one (LIKE plain INCLUDING ALL);
INSERT INTO one (customer_id, at, total)
	SELECT 1 + g % :contacts, timestamptz '2026-03-01 12:00+00' - (g / :contacts) * interval '3 days' - g % 1000 * interval '1 minute', g % 97
	FROM generate_series(1, 10 * :contacts) AS g;
\o /dev/null
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events(t, event => t || '_row', contact => 'customer_id', occurred_at => 'at') FROM unnest('{skip,one,eight,fifty}'::text[]) AS t;
VACUUM ANALYZE;
-- Nobody fits, and each row is to be looked at; the last ones are skipped by their sign.
SELECT marketing.define_segment(t || i, format('sum(%s_row.total) in %s days > 1000000', t, 30 + i))
	FROM (VALUES ('one', 1), ('eight', 8), ('fifty', 50)) AS s(t, n) CROSS JOIN LATERAL generate_series(1, n) AS i;
SELECT marketing.define_segment('skip' || i, format('no skip_row in %s days', 300 + i)) FROM generate_series(1, 8) AS i;
\o
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
		EXECUTE format('INSERT INTO %s (customer_id, at, total) VALUES ($1, ''2026-03-01'', $2)', t) USING 1 + (i * 7919::bigint) % 2500, i % 97;
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES ('insert ' || t, round, (spent() - began) / n);
	COMMIT;
END $$;
CREATE PROCEDURE bulk_rows(t regclass, n int, round int) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	EXECUTE format('INSERT INTO %s (customer_id, at, total) SELECT 1 + g * 7919::bigint %% 19997, ''2026-02-28'', g %% 97 FROM generate_series(1, $1) AS g', t) USING n;
	COMMIT;
	INSERT INTO result VALUES ('bulk ' || t, round, (spent() - began) / n);
	COMMIT;
END $$;
-- Runs and times a statement.
CREATE PROCEDURE timed(what text, round int, statement text) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	EXECUTE statement;
	INSERT INTO result VALUES (what, round, spent() - began);
	COMMIT;
END $$;

SET synchronous_commit = off;
-- What is done in parallel would not be counted.
SET max_parallel_workers_per_gather = 0;
SELECT format('CALL insert_rows(%L, 500, 0)', t) FROM unnest('{plain,skip,eight,fifty}'::text[]) AS t \gexec
SELECT format('CALL insert_rows(%L, 1000, %s)', t, g)
	FROM generate_series(1, 15) AS g, unnest('{plain,skip,eight,fifty}'::text[]) AS t ORDER BY g, hashtext(t || g) \gexec
-- Fifteen rows a contact in one statement.
SELECT format('CALL bulk_rows(%L, %s, %s)', t, 15 * :contacts, g) FROM generate_series(1, 3) AS g, unnest('{plain,eight}'::text[]) AS t ORDER BY g, t \gexec
SELECT count(*) AS left FROM marketing_internal.dirty \gset
SELECT clock_timestamp() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'worker after bulk', 1, extract(epoch FROM clock_timestamp() - :'began') * 1e6 / :left;
VACUUM ANALYZE;

-- A build, and 1,000 changed contacts, beside what one would do by hand.
\set plain_sql 'SELECT customer_id FROM one WHERE at <= marketing.now() AND at + interval ''20 days'' > marketing.now() GROUP BY 1 HAVING sum(total) > 300'
CREATE TABLE by_hand (customer_id bigint PRIMARY KEY);
CREATE MATERIALIZED VIEW as_view AS :plain_sql;
CREATE UNIQUE INDEX ON as_view (customer_id);
INSERT INTO by_hand SELECT customer_id FROM as_view;
\set difference_sql 'WITH new AS MATERIALIZED (:plain_sql), gone AS (DELETE FROM by_hand AS h WHERE NOT EXISTS (SELECT FROM new WHERE new.customer_id = h.customer_id)) INSERT INTO by_hand SELECT customer_id FROM new ON CONFLICT DO NOTHING'
SELECT replace(:'difference_sql', ':plain_sql', :'plain_sql') AS difference_sql \gset
SELECT format('CALL timed(%L, %s, %L)', what, g, sql) FROM generate_series(1, 3) AS g, (VALUES
	(1, 'build', 'SELECT marketing.define_segment(''spenders'', ''sum(one_row.total) in 20 days > 300'')'),
	(2, 'drop', 'SELECT marketing.drop_segment(''spenders'')'),
	(3, 'plain query', 'SELECT count(*) FROM (' || :'plain_sql' || ') AS q')) AS s(n, what, sql) ORDER BY g, n \gexec
SELECT marketing.define_segment('spenders', 'sum(one_row.total) in 20 days > 300') \g /dev/null
CREATE VIEW changes AS SELECT 1 + g * 19 % 19997 AS customer_id FROM generate_series(1, 1000) AS g;
SELECT format('CALL timed(%L, %s, %L)', what, g, sql) FROM generate_series(1, 3) AS g, (VALUES
	(1, 'rows of 1 k contacts', 'INSERT INTO plain (customer_id, at, total) SELECT customer_id, ''2026-03-01'', 400 FROM changes'),
	(2, '1 k contacts in a commit', 'INSERT INTO one (customer_id, at, total) SELECT customer_id, ''2026-03-01'', 400 FROM changes'),
	(3, 'read of 1 k changed', 'SELECT marketing.segment_size(''spenders'')'),
	(4, 'refresh of the view', 'REFRESH MATERIALIZED VIEW CONCURRENTLY as_view'),
	(5, 'rebuild by difference', :'difference_sql')) AS s(n, what, sql) ORDER BY g, n \gexec
-- Once to plan, then measured.
CALL marketing.work();
INSERT INTO one (customer_id, at, total) SELECT customer_id, '2026-03-01', 400 FROM changes;
SELECT spent() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT '1 k contacts by the worker', 1, spent() - :began;
SELECT count(*) AS before FROM marketing_internal.segment_transition \gset
-- Time: everybody leaves.
SELECT marketing.set_clock('2026-03-25 12:00+00') \g /dev/null
SELECT clock_timestamp() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'flip by time', 1, extract(epoch FROM clock_timestamp() - :'began') * 1e6 / greatest(count(*) - :before, 1) FROM marketing_internal.segment_transition;

CREATE VIEW quartile AS
	SELECT what, percentile_cont(0.25) WITHIN GROUP (ORDER BY us) AS us FROM result WHERE round > 0 GROUP BY what;
CREATE VIEW figure AS
	SELECT o.what, round(o.us::numeric, 1) AS us, b.what AS beside, round(b.us::numeric, 1) AS its_us, round((o.us / b.us)::numeric, 3) AS ratio,
		round((o.us - b.us)::numeric, 1) AS more_us, bar.bar,
		CASE WHEN bar.ratio IS NOT NULL THEN o.us / b.us <= bar.ratio WHEN bar.more IS NOT NULL THEN o.us - b.us <= bar.more END AS held
	FROM (VALUES (2, 'insert skip', 'insert plain', NULL, 10, '8 segments skipped by sign <= +10 us'),
			(4, 'insert eight', 'insert plain', NULL, 60, '8 segments over 80 rows, no flip <= +60 us'),
			(5, 'insert fifty', 'insert plain', NULL, NULL, NULL),
			(6, 'bulk eight', 'bulk plain', 1.25, NULL, 'bulk with 8 segments <= 1.25 x'),
			(7, 'worker after bulk', 'bulk plain', NULL, NULL, 'the worker, for each contact left to it'),
			(8, 'build', 'plain query', 1.5, NULL, 'a build <= 1.5 x the plain query'),
			(9, '1 k contacts in a commit', 'rows of 1 k contacts', NULL, NULL, 'left to the worker'),
			(10, '1 k contacts by the worker', 'refresh of the view', 1, NULL, 'less than a refresh'),
			(11, '1 k contacts by the worker', 'rebuild by difference', NULL, NULL, NULL),
			(12, 'read of 1 k changed', 'plain query', NULL, NULL, 'exact before the worker came'),
			(13, 'flip by time', 'insert plain', NULL, NULL, NULL)
		) AS bar (n, ours, theirs, ratio, more, bar)
	JOIN quartile AS o ON o.what = bar.ours JOIN quartile AS b ON b.what = bar.theirs ORDER BY n;
\pset footer off
\set QUIET off
SELECT * FROM figure;
SELECT pg_size_pretty(pg_total_relation_size('marketing_internal.segment_state')) AS state,
	pg_total_relation_size('marketing_internal.segment_state') / count(*) AS bytes_per_contact, count(*) AS contacts_with_state,
	(SELECT count(*) FROM marketing.segments) AS segments FROM marketing_internal.segment_state;
SELECT count(*) AS differences FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
DO $$
BEGIN
	IF EXISTS (SELECT FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name)) THEN
		RAISE EXCEPTION 'members differ from plain SQL';
	END IF;
	IF EXISTS (SELECT FROM figure WHERE NOT held) THEN
		RAISE EXCEPTION 'missed: %', (SELECT string_agg(bar, '; ') FROM figure WHERE NOT held);
	END IF;
END $$;
