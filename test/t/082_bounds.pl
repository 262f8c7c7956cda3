# 082_bounds.pl
#
# Bounds: of memory with a savepoint for each row, of the time of a batch, and of what a TRUNCATE marks.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('bounds');
my $db = shop($node, 'shop');
my $kept = q{SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts WHERE 'marketing_automation changes' IN (name, parent)};
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
SELECT marketing_internal.record_event('order_placed');
INSERT INTO customers SELECT i, NULL FROM generate_series(10, 15000) AS i;
CALL marketing.work();
END

# A savepoint for each row: images and marks of outer levels stay, no more join them.
my $session = session($node, $db);
is($session->query(q{BEGIN; DO $$ BEGIN
	FOR i IN 1..15000 LOOP
		BEGIN
			INSERT INTO orders (id, customer_id, note) VALUES (i, i, repeat('x', 300));
			IF i % 10 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
	UPDATE orders SET status = 'new' WHERE id <= 3;
END $$}), '', 'rows with a savepoint each');
cmp_ok($session->query($kept), '<', 8 * 1024, 'memory is bounded');
is($session->query('COMMIT'), '', 'COMMIT');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.capture_row AS c WHERE NOT EXISTS (SELECT FROM orders AS o WHERE o.id::text = c.row_key)'), '0', 'what was rolled back is not in the log');
is($node->safe_psql($db, q{SELECT string_agg(new_row ->> 'status', ' ' ORDER BY capture_row_id) FROM marketing_internal.capture_row WHERE row_key = '1'}), 'paid new', 'images of a row are in their order');
exact($node, $db, 'savepoints: exact', left => 'some');
is($node->safe_psql($db, q{SELECT string_agg(format('%s %s', kind, n), ', ' ORDER BY kind DESC) FROM (SELECT kind, count(*) AS n FROM marketing_internal.occurrence GROUP BY 1) AS o}), 'happened 13500, changed 3', 'each row happened once');
is($session->query(q{BEGIN; DO $$ BEGIN
	FOR i IN 1..5000 LOOP
		BEGIN
			INSERT INTO orders (id, customer_id, note) VALUES (100000 + i, 1, repeat('x', 300));
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$}), '', 'all rolled back');
cmp_ok($session->query($kept), '<', 8 * 1024, 'they are forgotten');
is($session->query('INSERT INTO orders (id, customer_id) VALUES (200000, 1); COMMIT'), '', 'one row remains');
exact($node, $db, 'evaluated at commit');
is($session->query(q{BEGIN; DO $$ BEGIN
	FOR i IN 1..60000 LOOP
		BEGIN
			INSERT INTO orders (id, customer_id) VALUES (1000000 + i, 1000000 + i);
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$}), '', 'very many, each of another contact');
cmp_ok($session->query($kept), '<', 8 * 1024, 'memory is bounded by more than their number');
is($session->query('ROLLBACK'), '', 'and nothing of them is left');

# marketing.flush() that failed has evaluated nobody.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE ROLE keeper;
GRANT CREATE ON SCHEMA public TO keeper;
CREATE TABLE parts (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01', x int NOT NULL);
ALTER TABLE parts OWNER TO keeper;
-- What hangs is the user's own condition, until it is cut off: nothing waits for the sleep's end.
CREATE FUNCTION slow(x int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF x < 0 THEN PERFORM pg_sleep(1000); END IF;
	RETURN 1 / x > 0;
END $$;
SELECT marketing.attach_events('parts', event => 'part', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', condition => $$ public.slow(x) $$, mode => 'async');
SELECT marketing.attach_events('orders', event => 'order_1', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'created_at', condition => $$ 1 / x > 0 $$);
SELECT marketing_internal.define_counter('parts', 'part');
SELECT marketing_internal.define_counter('order_1', 'order_1');
CALL marketing.work();
END
is($session->query('BEGIN; INSERT INTO orders (id, customer_id, x) VALUES (200001, 1, 0); SELECT marketing.flush()'), '0', 'flush() after an error: nobody was evaluated');
is($session->query('ROLLBACK'), '', 'rolled back');

# An asynchronous condition that does not come to an end costs its own contact, not the batch.
run_ok($node, $db, 'INSERT INTO parts VALUES (1, 1, DEFAULT, 1), (2, 2, DEFAULT, -1), (3, 3, DEFAULT, 1)', 'a row whose condition takes for ever');
run_ok($node, $db, 'CALL marketing.work()', 'the worker comes to an end');
is($node->safe_psql($db, 'SELECT object, attempts, sqlstate, message FROM marketing.errors'), 'customers:2|1|57014|evaluation took longer than 15 s', 'that one rests');
is(dirty($node, $db), '1', 'the others are done');
$session->send('CALL marketing.work()') if $session->query('SELECT proof.wake()') eq '';
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'it is tried again');
$node->safe_psql($db, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
like($session->answer, qr/57014.*user request/, 'a cancel by the user is his');
$node->safe_psql($db, 'DELETE FROM parts WHERE x < 0');
exact($node, $db, 'the condition ends: exact', left => 2);

# TRUNCATE of a table on which nothing depends marks nobody; of another only whom it may concern.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE idle (id int PRIMARY KEY, customer_id int, at timestamptz);
SELECT marketing.attach_events('idle', event => 'idle', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
CREATE TABLE subscribers (id int PRIMARY KEY, email text);
INSERT INTO subscribers VALUES (1, 's@example.com');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email');
CALL marketing.work();
INSERT INTO idle VALUES (1, 1, now());
END
run_ok($node, $db, 'TRUNCATE idle', 'TRUNCATE of an idle table');
is(dirty($node, $db), '0', 'marks nobody');
my $before = $node->safe_psql($db, 'SELECT last_value FROM marketing_internal.dirty_dirty_id_seq');
run_ok($node, $db, 'TRUNCATE subscribers', 'TRUNCATE of a small source');
run_ok($node, $db, 'CALL marketing.work()', 'the worker');
cmp_ok($node->safe_psql($db, 'SELECT last_value FROM marketing_internal.dirty_dirty_id_seq') - $before, '<', 10, 'looks at its contacts only');
exact($node, $db, 'exact');
$session->close;

no_crash($node);
$node->stop;
done_testing();
