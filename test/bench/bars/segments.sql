-- segments.sql: what segments cost, in one run beside the alternatives: the same table without us, the
-- plain query, REFRESH MATERIALIZED VIEW, and a rebuild by difference into a table of members.
-- SIZE (20000) contacts with ROWS (10 * SIZE) rows in table one; the design's run is SIZE=1000000 ROWS=10000000.
-- 2,500 contacts have eighty rows in each of the other tables. COPY_ROWS (15 * SIZE, at most 1000000) rows are copied in.
-- Single rows are written in a loop inside the server, each in its own transaction, synchronous_commit off, in
-- turns of changing order; lower quartiles (what else the machine does only adds) of the processor's time the
-- server process took (the clock's where there is no /proc). Bars are those of the design; ratios within the run
-- mean something, times do not.
\set QUIET on
SET client_min_messages = error;
\set contacts 20000
\getenv contacts SIZE
\set rows 0
\getenv rows ROWS
\set copied 0
\getenv copied COPY_ROWS
SELECT coalesce(nullif(:rows, 0), 10 * :contacts) AS rows, coalesce(nullif(:copied, 0), least(15 * :contacts, 1000000)) AS copied,
	least(250000, :contacts) AS dead \gset
SELECT marketing.set_clock('2026-03-01 12:00+00') \g /dev/null
CREATE TABLE customers (id bigint PRIMARY KEY, city text);
INSERT INTO customers SELECT g, CASE g % 3 WHEN 0 THEN 'Rome' ELSE 'Oslo' END FROM generate_series(1, :contacts) AS g;
CREATE TABLE plain (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, total int);
INSERT INTO plain (customer_id, at, total)
	SELECT 1 + g % 2500, timestamptz '2026-03-01 12:00+00' - g % 80 * interval '9 hours' - g % 1000 * interval '1 second', g % 97
	FROM generate_series(1, 80 * 2500) AS g;
CREATE INDEX ON plain (customer_id, at) INCLUDE (total);
SELECT format('CREATE TABLE %1$s (LIKE plain INCLUDING ALL); INSERT INTO %1$s SELECT * FROM plain', t)
	FROM unnest('{idle,skip,single,eight,fifty}'::text[]) AS t \gexec
CREATE TABLE one (LIKE plain INCLUDING DEFAULTS);
INSERT INTO one (customer_id, at, total)
	SELECT 1 + g % :contacts, timestamptz '2026-03-01 12:00+00' - (g / :contacts) * interval '3 days' - g % 1000 * interval '1 minute', g % 97
	FROM generate_series(1, :rows) AS g;
ALTER TABLE one ADD PRIMARY KEY (id);
CREATE INDEX ON one (customer_id, at) INCLUDE (total);
\o /dev/null
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events(t, event => t || '_row', contact => 'customer_id', occurred_at => 'at') FROM unnest('{idle,skip,one,single,eight,fifty}'::text[]) AS t;
CALL marketing.work();
VACUUM ANALYZE;
-- Nobody fits, and each row is to be looked at; the last ones are skipped by their sign.
SET marketing_automation.build_in_call_rows = 0;
SELECT marketing.define_segment(t || i, format('sum(%s_row.total) in %s days > 1000000', t, 30 + i))
	FROM (VALUES ('single', 1), ('eight', 8), ('fifty', 50)) AS s(t, n) CROSS JOIN LATERAL generate_series(1, n) AS i;
SELECT marketing.define_segment('skip' || i, format('count(skip_row) in %s days >= 2', 300 + i)) FROM generate_series(1, 8) AS i;
RESET marketing_automation.build_in_call_rows;
CALL marketing.work();
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
-- Each commit has one of the contacts enter or leave.
CREATE PROCEDURE toggle(n int, contacts int, round int, what text) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	FOR i IN 1 .. n LOOP
		IF i % 2 = 1 THEN
			INSERT INTO idle (customer_id, at, total) VALUES (2501 + i / 2 % (contacts - 2500), marketing.now(), -1);
		ELSE
			DELETE FROM idle WHERE customer_id = 2501 + (i / 2 - 1) % (contacts - 2500);
		END IF;
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES (what, round, (spent() - began) / n);
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
SELECT format('CALL insert_rows(%L, 500, 0)', t) FROM unnest('{plain,idle,skip,single,eight,fifty}'::text[]) AS t \gexec
SELECT format('CALL insert_rows(%L, 1000, %s)', t, g)
	FROM generate_series(1, 15) AS g, unnest('{plain,idle,skip,single,eight,fifty}'::text[]) AS t ORDER BY g, hashtext(t || g) \gexec

-- COPY of fifteen rows a contact.
SELECT current_setting('data_directory') || '/segments.copy' AS file \gset
COPY (SELECT 1 + g * 7919::bigint % (:copied / 15), '2026-02-28', g % 97 FROM generate_series(1, :copied) AS g) TO :'file';
SELECT format('CALL timed(%L, %s, %L)', 'copy ' || t, g, format('COPY %s (customer_id, at, total) FROM %L', t, :'file'))
	FROM generate_series(1, 3) AS g, unnest('{plain,eight}'::text[]) AS t ORDER BY g, t \gexec
SELECT count(*) AS left FROM marketing_internal.dirty \gset
SELECT spent() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'worker after copy', 1, (spent() - :began) / :left;
VACUUM ANALYZE;

-- A build, in the call that defines and by the worker, of many members and of few, beside the plain query.
\set plain_sql 'SELECT customer_id FROM one WHERE at <= marketing.now() AND at + interval ''20 days'' > marketing.now() GROUP BY 1 HAVING sum(total) > 300'
CREATE MATERIALIZED VIEW as_view AS :plain_sql;
CREATE UNIQUE INDEX ON as_view (customer_id);
-- What a build writes, written by hand.
CREATE TABLE by_hand (customer_id bigint PRIMARY KEY);
CREATE TABLE hand_member (LIKE marketing_internal.segment_member INCLUDING ALL);
CREATE TABLE hand_state (LIKE marketing_internal.segment_state INCLUDING ALL);
CREATE TABLE hand_transition (LIKE marketing_internal.segment_transition, PRIMARY KEY (contact_id, transition_id));
CREATE INDEX ON hand_transition (segment_id, effective_at);
CREATE PROCEDURE write_by_hand(round int) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	INSERT INTO hand_member SELECT 1, customer_id, marketing.now() FROM as_view;
	INSERT INTO hand_transition SELECT customer_id, customer_id, 1, true, marketing.now(), marketing.now(), 'definition' FROM as_view;
	INSERT INTO hand_state SELECT customer_id, marketing.now() + customer_id % 1000 * interval '1 minute', '\x01', '\x00000000000000000000' FROM as_view;
	INSERT INTO result VALUES ('writes by hand', round, spent() - began);
	TRUNCATE hand_member, hand_transition, hand_state;
	COMMIT;
END $$;
SELECT sql FROM generate_series(1, 3) AS g CROSS JOIN LATERAL (VALUES
	(1, format('CALL timed(%L, %s, %L)', 'plain query', g, 'SELECT count(*) FROM (' || :'plain_sql' || ') AS q')),
	(2, format('CALL timed(%L, %s, %L)', 'build', g, 'SELECT marketing.define_segment(''spenders'', ''sum(one_row.total) in 20 days > 300'')')),
	(3, format('INSERT INTO result SELECT %L, %s, 100.0 * marketing.segment_size(%L) / %s', 'members of build', g, 'spenders', :contacts)),
	(4, 'SELECT marketing.drop_segment(''spenders'') INTO TEMP TABLE gone; DROP TABLE gone'),
	(5, 'CALL marketing.work()'),
	(6, 'VACUUM marketing_internal.segment_state, marketing_internal.segment_member'),
	(7, format('CALL timed(%L, %s, %L)', 'build of few', g, 'SELECT marketing.define_segment(''spenders'', ''sum(one_row.total) in 20 days > 380'')')),
	(8, format('INSERT INTO result SELECT %L, %s, 100.0 * marketing.segment_size(%L) / %s', 'members of build of few', g, 'spenders', :contacts)),
	(9, 'SELECT marketing.drop_segment(''spenders'') INTO TEMP TABLE gone; DROP TABLE gone'),
	(10, 'CALL marketing.work()'),
	(11, 'VACUUM marketing_internal.segment_state, marketing_internal.segment_member'),
	(12, 'SET marketing_automation.build_in_call_rows = 0'),
	(13, 'SELECT marketing.define_segment(''spenders'', ''sum(one_row.total) in 20 days > 300'') INTO TEMP TABLE gone; DROP TABLE gone'),
	(14, 'CREATE TEMP TABLE began AS SELECT spent() AS us'),
	(15, 'CALL marketing.work()'),
	(16, format('INSERT INTO result SELECT %L, %s, spent() - us FROM began', 'build by the worker', g)),
	(17, 'DROP TABLE began'),
	(18, 'RESET marketing_automation.build_in_call_rows'),
	(19, 'SELECT marketing.drop_segment(''spenders'') INTO TEMP TABLE gone; DROP TABLE gone'),
	(20, 'CALL marketing.work()'),
	(21, 'VACUUM marketing_internal.segment_state, marketing_internal.segment_member'),
	(22, format('CALL write_by_hand(%s)', g)),
	(23, format('CALL timed(%L, %s, %L)', 'refresh of the view', g, 'REFRESH MATERIALIZED VIEW as_view'))) AS s(n, sql)
	WHERE g <= CASE WHEN :contacts > 100000 THEN 1 ELSE 3 END ORDER BY g, n \gexec

-- 1,000 changed contacts, beside what one would do by hand.
INSERT INTO by_hand SELECT customer_id FROM as_view;
\set difference_sql 'WITH new AS MATERIALIZED (:plain_sql), gone AS (DELETE FROM by_hand AS h WHERE NOT EXISTS (SELECT FROM new WHERE new.customer_id = h.customer_id)) INSERT INTO by_hand SELECT customer_id FROM new ON CONFLICT DO NOTHING'
SELECT replace(:'difference_sql', ':plain_sql', :'plain_sql') AS difference_sql \gset
SELECT marketing.define_segment('spenders', 'sum(one_row.total) in 20 days > 300') \g /dev/null
CREATE VIEW changes AS SELECT 1 + g * 19 % 19997 AS customer_id FROM generate_series(1, 1000) AS g;
SELECT sql FROM generate_series(1, 4) AS g CROSS JOIN LATERAL (VALUES
	(1, format('CALL timed(%L, %s, %L)', 'rows of 1 k contacts', g, 'INSERT INTO plain (customer_id, at, total) SELECT customer_id, ''2026-03-01'', 400 FROM changes')),
	(2, 'CALL marketing.work()'),
	(3, format('CALL timed(%L, %s, %L)', '1 k contacts in a commit', g, 'INSERT INTO one (customer_id, at, total) SELECT customer_id, ''2026-03-01'', 400 FROM changes')),
	(4, format('CALL timed(%L, %s, %L)', 'read of 1 k changed', g, 'SELECT marketing.segment_size(''spenders'')')),
	(5, 'CREATE TEMP TABLE began AS SELECT spent() AS us'),
	(6, 'CALL marketing.work()'),
	-- The first one plans.
	(7, format('INSERT INTO result SELECT %L, %s, spent() - us FROM began', '1 k contacts by the worker', g - 1)),
	(8, 'DROP TABLE began; CREATE TEMP TABLE began AS SELECT spent() AS us'),
	(9, 'CALL marketing.work()'),
	(10, format('INSERT INTO result SELECT %L, %s, spent() - us FROM began', 'worker without work', g - 1)),
	(11, 'DROP TABLE began'),
	(12, CASE WHEN g = 1 THEN format('CALL timed(%L, %s, %L)', 'refresh of the view concurrently', g, 'REFRESH MATERIALIZED VIEW CONCURRENTLY as_view') END),
	(13, CASE WHEN g = 1 THEN format('CALL timed(%L, %s, %L)', 'rebuild by difference', g, :'difference_sql') END)) AS s(n, sql)
	WHERE sql IS NOT NULL ORDER BY g, n \gexec

-- A transaction that sees all that was before it: what is changed from here on stays, dead, in tables and indexes.
\! psql -X -q -c "SET application_name = 'old transaction'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM result; SELECT pg_sleep(86400)" > /dev/null 2>&1 &
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'old transaction' AND query LIKE '%pg_sleep%' AND backend_xmin IS NOT NULL) LOOP
		PERFORM pg_stat_clear_snapshot(), pg_sleep(0.1);
	END LOOP;
END $$;
-- Time: everybody leaves.
CREATE TEMP TABLE before AS SELECT count(*) AS n FROM marketing_internal.segment_transition;
SELECT marketing.set_clock('2026-03-25 12:00+00') \g /dev/null
SELECT spent() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'flip by time', 1, (spent() - :began) / greatest(count(*) - (SELECT n FROM before), 1) FROM marketing_internal.segment_transition;
INSERT INTO result SELECT 'flips', 1, count(*) - (SELECT n FROM before) FROM marketing_internal.segment_transition;
SELECT marketing.define_segment('again', 'any one_row in 26 days') \g /dev/null
SELECT marketing.set_clock('2026-04-25 12:00+00') \g /dev/null
CALL marketing.work();
INSERT INTO result SELECT 'dead entries', 1, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'segment_state';
-- The worker's polls, the first of which looks at all; then its two statements alone, as the duty runs them.
CALL marketing.work();
SELECT spent() AS began \gset
CALL marketing.work();
INSERT INTO result SELECT 'worker without work, dead entries', 1, spent() - :began;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
CREATE PROCEDURE poll(n int) LANGUAGE plpgsql AS $$
DECLARE
	began float8 := spent();
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM s.contact_id FROM marketing_internal.segment_state AS s WHERE s.next_wake <= marketing.now()
			AND s.next_wake >= marketing.now() - interval '5 seconds' AND s.next_wake < 'infinity' ORDER BY s.next_wake LIMIT 100;
		PERFORM s.next_wake FROM marketing_internal.segment_state AS s WHERE s.next_wake >= marketing.now() - interval '5 seconds'
			AND s.next_wake < 'infinity' ORDER BY s.next_wake LIMIT 1;
		COMMIT;
	END LOOP;
	INSERT INTO result VALUES ('due poll', 1, (spent() - began) / n);
END $$;
CALL poll(200);
RESET enable_seqscan; RESET enable_bitmapscan; RESET enable_sort;
SELECT marketing.define_segment('came', 'any idle_row in 1 day') \g /dev/null
SELECT format('CALL toggle(%s, %s, %s, ''under the old transaction'')', CASE g WHEN 1 THEN greatest(6000, :contacts / 10) ELSE 3000 END, :contacts, g - 1) FROM generate_series(1, 5) AS g \gexec
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'old transaction' \g /dev/null
VACUUM;
SELECT format('CALL toggle(3000, %s, %s, ''without the old transaction'')', :contacts, g - 1) FROM generate_series(1, 5) AS g \gexec

-- A build is the query and the writing of what it finds.
INSERT INTO result SELECT 'plain query and rows by hand', q.round, q.us + w.us FROM result AS q JOIN result AS w USING (round)
	WHERE q.what = 'plain query' AND w.what = 'writes by hand';
CREATE VIEW quartile AS
	SELECT what, percentile_cont(0.25) WITHIN GROUP (ORDER BY us) AS us FROM result WHERE round > 0 GROUP BY what;
CREATE VIEW figure AS
	SELECT o.what, round(o.us::numeric, 1) AS us, b.what AS beside, round(b.us::numeric, 1) AS its_us, round((o.us / nullif(b.us, 0))::numeric, 3) AS ratio,
		round((o.us - b.us)::numeric, 1) AS more_us, bar.bar,
		CASE WHEN bar.ratio IS NOT NULL THEN o.us / b.us <= bar.ratio WHEN bar.more IS NOT NULL THEN o.us - b.us <= bar.more
			WHEN bar.most IS NOT NULL THEN o.us <= bar.most END AS held
	FROM (VALUES (1, 'insert idle', 'insert plain', NULL::numeric, NULL::numeric, NULL::numeric, 'nothing depends'),
			(2, 'insert skip', 'insert plain', NULL, 10, NULL, '8 segments skipped by sign <= +10 us'),
			(3, 'insert single', 'insert plain', NULL, NULL, NULL, '1 segment over 80 rows'),
			(4, 'insert eight', 'insert plain', NULL, 60, NULL, '8 segments over 80 rows, no flip <= +60 us'),
			(5, 'insert fifty', 'insert plain', NULL, NULL, NULL, '50 segments over 80 rows'),
			(6, 'copy eight', 'copy plain', 1.25, NULL, NULL, 'COPY with 8 segments <= 1.25 x'),
			(7, 'worker after copy', 'insert plain', NULL, NULL, NULL, 'the worker, for each contact left to it'),
			(8, 'build', 'plain query', NULL, NULL, NULL, 'a build of many members, which the query does not store'),
			(8, 'build', 'plain query and rows by hand', 1.5, NULL, NULL, 'a build of many members <= 1.5 x the query and its rows by hand'),
			(9, 'build of few', 'plain query', CASE WHEN :contacts >= 500000 THEN 1.5 END, NULL, NULL,
				'a build of few of a million <= 1.5 x the plain query'),
			(10, 'build by the worker', 'plain query', NULL, NULL, NULL, 'contact by contact, under locks'),
			(11, 'writes by hand', 'plain query', NULL, NULL, NULL, 'rows of a build of many, by INSERT ... SELECT'),
			(12, 'build', 'refresh of the view', NULL, NULL, NULL, NULL),
			(13, '1 k contacts in a commit', 'rows of 1 k contacts', NULL, NULL, NULL, 'left to the worker'),
			(14, '1 k contacts by the worker', 'worker without work', NULL, NULL, NULL, '1 k changed contacts'),
			(15, '1 k contacts by the worker', 'refresh of the view concurrently', 1, NULL, NULL, 'less than a refresh'),
			(16, '1 k contacts by the worker', 'rebuild by difference', CASE WHEN :contacts >= 500000 THEN 1 / 240.0 END, NULL, NULL,
				'1 k changed of a million contacts <= 1/240 of a rebuild (10 ms beside 2.4 s)'),
			(17, 'read of 1 k changed', 'plain query', NULL, NULL, NULL, 'exact before the worker came'),
			(18, 'flip by time', 'insert plain', NULL, NULL, 200, 'flips >= 5 k/s'),
			(19, 'due poll', 'insert plain', NULL, NULL, 1000, 'due poll with dead entries and a held xmin <= 1 ms'),
			(19, 'worker without work, dead entries', 'worker without work', NULL, 1000, NULL, 'all polls of the worker, <= +1 ms'),
			(20, 'under the old transaction', 'without the old transaction', 1.25, NULL, NULL, 'throughput lost to an old transaction <= 20 %')
		) AS bar (n, ours, theirs, ratio, more, most, bar)
	JOIN quartile AS o ON o.what = bar.ours JOIN quartile AS b ON b.what = bar.theirs ORDER BY n;
\pset footer off
\set QUIET off
SELECT * FROM figure;
SELECT :contacts AS contacts, :rows AS rows, :copied AS copied, max(us) FILTER (WHERE what = 'dead entries') AS dead_entries,
	max(us) FILTER (WHERE what = 'flips') AS flips, round((1e6 / max(us) FILTER (WHERE what = 'flip by time'))::numeric) AS flips_per_s,
	round((max(us) FILTER (WHERE what = 'members of build'))::numeric, 1) AS many_percent,
	round((max(us) FILTER (WHERE what = 'members of build of few'))::numeric, 1) AS few_percent FROM result;
\set QUIET on
CREATE TABLE difference AS SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v
	WHERE :contacts <= 100000 OR s.name IN ('spenders', 'again', 'came', 'eight1', 'skip1');
\set QUIET off
SELECT count(*) AS differences FROM difference;
DO $$
BEGIN
	IF EXISTS (SELECT FROM difference) THEN
		RAISE EXCEPTION 'members differ from plain SQL';
	END IF;
	IF EXISTS (SELECT FROM figure WHERE NOT held) THEN
		RAISE EXCEPTION 'missed: %', (SELECT string_agg(bar, '; ') FROM figure WHERE NOT held);
	END IF;
END $$;
