# 051_flush_prepared.pl
#
# Prepared transactions: they leave their changes to the worker, hold no lock of ours while they
# wait, and an orphaned one stops nobody. SERIALIZABLE and asynchronous sources leave theirs too;
# logical decoding sees our rows after the user's.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('prepared', conf => "wal_level = logical\n");
my $db = shop($node, 'shop');

# Heavyweight locks of ours: SQL's own advisory functions use classes 1 and 2.
my $locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid > 2";

# 5. PREPARE, and the end of it from another session.
run_ok($node, $db, <<'END', 'PREPARE TRANSACTION');
BEGIN;
INSERT INTO orders (id, customer_id) VALUES (1, 1);
SAVEPOINT a;
INSERT INTO orders (id, customer_id) VALUES (2, 2);
ROLLBACK TO a;
INSERT INTO customers VALUES (30, 'c30@example.com');
UPDATE customers SET id = 31 WHERE id = 9;
INSERT INTO orders (id, customer_id) VALUES (3, 30), (4, 31);
SELECT marketing.flush() >= 0;
PREPARE TRANSACTION 'one';
END
is($node->safe_psql($db, $locks), '0', 'no lock of ours after PREPARE');
exact($node, $db, 'nothing of it is visible');
run_ok($node, $db, "COMMIT PREPARED 'one'", 'COMMIT PREPARED');
exact($node, $db, 'exact after COMMIT PREPARED', left => 'some');

run_ok($node, $db, "BEGIN; INSERT INTO orders (id, customer_id) VALUES (5, 3); DELETE FROM customers WHERE id = 3; PREPARE TRANSACTION 'two'", 'PREPARE again');
run_ok($node, $db, "ROLLBACK PREPARED 'two'", 'ROLLBACK PREPARED');
exact($node, $db, 'nothing of it remains');
refused($node, $db, "BEGIN; NOTIFY x; INSERT INTO orders (id, customer_id) VALUES (5, 3); PREPARE TRANSACTION 'three'", qr/0A000/, 'a PREPARE that fails');
exact($node, $db, 'nothing of that either');

# A prepared transaction that recovery finds.
run_ok($node, $db, "BEGIN; INSERT INTO orders (id, customer_id) VALUES (6, 4); PREPARE TRANSACTION 'four'", 'PREPARE before a crash');
$node->stop('immediate');
$node->start;
is($node->safe_psql($db, $locks), '0', 'no lock of ours after recovery');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) VALUES (7, 4)', 'another commit on the contact');
exact($node, $db, 'it is evaluated at commit');
run_ok($node, $db, "COMMIT PREPARED 'four'", 'COMMIT PREPARED after recovery');
exact($node, $db, 'exact after recovery', left => 1);

# 11. An orphaned one stops nobody, whatever it has written.
run_ok($node, $db, <<'END', 'an orphan');
SET client_min_messages = warning;
BEGIN;
INSERT INTO orders (id, customer_id) SELECT 100 + i, i FROM generate_series(1, 8) AS i;
INSERT INTO customers VALUES (40, 'c40@example.com');
UPDATE customers SET email = 'other@example.com' WHERE id = 1;
SELECT marketing.track('2', 'called');
SELECT marketing.identify('3', '{"a": 1}');
PREPARE TRANSACTION 'orphan';
END
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) SELECT 200 + i, i FROM generate_series(1, 8) AS i', 'commits of its contacts go on');
exact($node, $db, 'they are exact, and the worker goes on');
run_ok($node, $db, 'UPDATE orders SET status = $$void$$ WHERE id = 201; INSERT INTO customers VALUES (41, $$c40@example.com$$)', 'and on');
exact($node, $db, 'exact');
run_ok($node, $db, "COMMIT PREPARED 'orphan'", 'the orphan is found at last');
exact($node, $db, 'exact at last', left => 'some');

# Functions that lock contacts while they run do not leave the lock to a prepared transaction.
run_ok($node, $db, "BEGIN; SELECT marketing.track('5', 'called', dedup_key => 'k'); SELECT marketing.merge_contacts('6', '7'); PREPARE TRANSACTION 'held'", 'functions that lock, prepared');
is($node->safe_psql($db, $locks), '0', 'no lock of ours');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) VALUES (290, 5), (291, 6)', 'other commits of these contacts');
exact($node, $db, 'are evaluated at once');
run_ok($node, $db, "ROLLBACK PREPARED 'held'", 'rolled back');
exact($node, $db, 'exact');

# 20. SERIALIZABLE leaves everything to the worker, unless told otherwise.
my $by_mode = figure($node, $db, 'contacts left to the worker: by mode of transaction or source');
run_ok($node, $db, 'BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO orders (id, customer_id) VALUES (300, 1); COMMIT', 'SERIALIZABLE');
is(figure($node, $db, 'contacts left to the worker: by mode of transaction or source'), $by_mode + 1, 'left by mode');
exact($node, $db, 'SERIALIZABLE: exact', left => 1);
run_ok($node, $db, <<'END', 'SERIALIZABLE, sync_serializable = on');
SET marketing_automation.sync_serializable = on;
SET default_transaction_isolation = serializable;
INSERT INTO orders (id, customer_id) VALUES (301, 1);
BEGIN; UPDATE orders SET customer_id = 2 WHERE id = 301; INSERT INTO customers VALUES (45, NULL); COMMIT;
END
exact($node, $db, 'sync_serializable: exact at once');

# An asynchronous source; one table under a synchronous and an asynchronous event.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE views (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01', kind text);
SELECT marketing.attach_events('views', event => 'seen', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', mode => 'async');
SELECT marketing.attach_events('views', event => 'bought', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', condition => $$ kind = 'bought' $$);
SELECT marketing_internal.define_counter('seen', 'seen');
INSERT INTO proof.recount VALUES ('seen', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM views GROUP BY 1 $$);
CALL marketing.work();
END
run_ok($node, $db, 'INSERT INTO views VALUES (1, 1); INSERT INTO views VALUES (2, 2); BEGIN; INSERT INTO views VALUES (3, 2); INSERT INTO orders (id, customer_id) VALUES (310, 3); COMMIT', 'an asynchronous source');
exact($node, $db, 'asynchronous: exact', left => 3);
$node->safe_psql($db, <<'END');
SELECT marketing_internal.define_counter('bought', 'bought');
INSERT INTO proof.recount VALUES ('bought', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM views WHERE kind = 'bought' GROUP BY 1 $$);
CALL marketing.work();
END
run_ok($node, $db, q{INSERT INTO views VALUES (4, 1, '2020-01-01', 'bought'); UPDATE views SET kind = 'bought' WHERE id = 2; UPDATE views SET kind = 'x' WHERE id = 2}, 'both events of one row');
is($node->safe_psql($db, q{SELECT value FROM marketing_internal.contact_counter JOIN marketing_internal.counter USING (counter_id) WHERE name = 'bought' AND contact_id = proof.contact('customers', '1')}), '1', 'the synchronous one at commit');
exact($node, $db, 'both: exact, evaluated together');

# Logical decoding: our rows come after the user's, in his transaction; a rolled back evaluation is absent.
$node->safe_psql($db, q{SELECT pg_create_logical_replication_slot('s', 'test_decoding')});
sub decoded
{
	return $node->safe_psql($db, q{SELECT string_agg(substring(data FROM '^table ([^:]*: [A-Z]+)'), ', ' ORDER BY n)
		FROM pg_logical_slot_get_changes('s', NULL, NULL) WITH ORDINALITY AS c (lsn, xid, data, n) WHERE data LIKE 'table %'});
}
run_ok($node, $db, 'BEGIN; INSERT INTO orders (id, customer_id) VALUES (400, 8); INSERT INTO orders (id, customer_id) VALUES (401, 8); COMMIT', 'decoded commit');
is(decoded(), 'public.orders: INSERT, public.orders: INSERT, marketing_internal.contact_counter: UPDATE', 'our rows come last');
run_ok($node, $db, 'SET marketing_automation.sync_max_contacts = 0; INSERT INTO orders (id, customer_id) VALUES (402, 8)', 'decoded spill');
is(decoded(), 'public.orders: INSERT, marketing_internal.dirty: INSERT', 'the spill comes last');
run_ok($node, $db, "BEGIN; INSERT INTO orders (id, customer_id) VALUES (403, 8); PREPARE TRANSACTION 'd'; COMMIT PREPARED 'd'", 'decoded two-phase commit');
is(decoded(), 'public.orders: INSERT, marketing_internal.dirty: INSERT', 'prepared: the same');
run_ok($node, $db, "ALTER TABLE marketing_internal.contact_counter ADD CONSTRAINT trap CHECK (value < 5 OR contact_id <> proof.contact('customers', '8')) NOT VALID", 'an error in the evaluation');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) SELECT 410 + i, 8 FROM generate_series(1, 5) AS i', 'the commit stands');
like(decoded(), qr/^(public.orders: INSERT, ){5}marketing_internal.dirty: INSERT$/, 'what was rolled back is absent');
run_ok($node, $db, 'ALTER TABLE marketing_internal.contact_counter DROP CONSTRAINT trap', 'repaired');
exact($node, $db, 'exact after all', left => 'some');
$node->safe_psql($db, q{SELECT pg_drop_replication_slot('s')});

no_crash($node);
$node->stop;
done_testing();
