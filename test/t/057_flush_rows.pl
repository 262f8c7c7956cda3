# 057_flush_rows.pl
#
# Row grade: what happened to each row is recorded once, in order, whether it is evaluated at commit
# or left to the worker, and what was rolled back is not.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('rows');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
SELECT marketing_internal.record_event('order_placed');
CREATE TABLE trips (code text, leg int, customer_id int, at timestamp, ok boolean, note text, PRIMARY KEY (code, leg));
SELECT marketing.attach_events('trips', event => 'trip', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', condition => 'ok', repeat => true);
SELECT marketing_internal.record_event('trip');
CALL marketing.work();
END

# Runs the script, checks the invariant, and compares what was recorded since.
sub step
{
	my ($sql, $expected, $message, %option) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	run_ok($node, $db, $sql, $message);
	is(occurrences($node, $db), $option{at_commit}, "$message: at commit") if defined $option{at_commit};
	exact($node, $db, "$message: exact", left => $option{left} // '0');
	is(occurrences($node, $db), $expected, "$message: recorded");
	$node->safe_psql($db, 'DELETE FROM marketing_internal.occurrence');
}

# The transitions, and what one transaction does to a row taken together.
step('INSERT INTO orders (id, customer_id) VALUES (1, 1), (2, 2)', '1 happened of 1, 2 happened of 2', 'INSERT');
step(q{UPDATE orders SET status = 'void' WHERE id = 1}, '1 taken_back of 1', 'true to false');
step(q{UPDATE orders SET status = 'sent' WHERE id = 1}, '1 happened of 1', 'false to true');
step(q{UPDATE orders SET created_at = NULL WHERE id = 1}, '1 taken_back of 1', 'the time goes');
step(q{UPDATE orders SET created_at = '2020-01-02' WHERE id = 1}, '1 happened of 1', 'the time comes');
step(q{UPDATE orders SET created_at = '2020-01-03' WHERE id = 1}, '1 changed of 1', 'another time');
step('DELETE FROM orders WHERE id = 1', '1 taken_back of 1', 'DELETE');
step(q{INSERT INTO orders (id, customer_id, status) VALUES (3, 1, 'void'); INSERT INTO orders (id, customer_id, created_at) VALUES (4, 1, NULL); INSERT INTO orders (id, customer_id) VALUES (5, NULL), (6, 777)},
	'', 'rows that are not the event, or nobody\'s');
step('BEGIN; INSERT INTO orders (id, customer_id) VALUES (10, 1); UPDATE orders SET status = $$a$$ WHERE id = 10; UPDATE orders SET status = $$b$$ WHERE id = 10; COMMIT',
	'10 happened of 1', 'INSERT and UPDATEs are one');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.occurrence}), '0', 'taken away');
step('BEGIN; INSERT INTO orders (id, customer_id) VALUES (11, 1); DELETE FROM orders WHERE id = 11; COMMIT', '', 'INSERT and DELETE are nothing');
step('BEGIN; UPDATE orders SET status = $$void$$ WHERE id = 10; UPDATE orders SET status = $$c$$ WHERE id = 10; COMMIT', '10 changed of 1', 'there and back is a change');
step('BEGIN; DELETE FROM orders WHERE id = 10; INSERT INTO orders (id, customer_id) VALUES (10, 1); COMMIT', '10 changed of 1', 'DELETE and INSERT of the same key is a change');
step('UPDATE orders SET customer_id = 2 WHERE id = 10', '10 taken_back of 1, 10 happened of 2', 'the event moves to another contact');
step('BEGIN; UPDATE orders SET customer_id = 3 WHERE id = 10; UPDATE orders SET customer_id = 2 WHERE id = 10; COMMIT', '10 changed of 2', 'and back in one transaction');
step('UPDATE orders SET customer_id = 777 WHERE id = 10', '10 taken_back of 2', 'to nobody');
step('UPDATE orders SET customer_id = 2 WHERE id = 10', '10 happened of 2', 'from nobody');
step('UPDATE orders SET id = 12 WHERE id = 10', '10 taken_back of 2, 12 happened of 2', 'another key is another event');
step('BEGIN; INSERT INTO customers VALUES (50, NULL); INSERT INTO orders (id, customer_id) VALUES (13, 50); COMMIT', '13 happened of 50', 'contact and event together');
step('INSERT INTO orders (id, customer_id) VALUES (14, 51); INSERT INTO customers VALUES (51, NULL)', '', 'the contact comes later: too late for the row');

# repeat, a key of two columns, a time without a zone.
step(q{INSERT INTO trips VALUES ('a', 1, 1, '2020-01-01', true), ('a', 2, 1, '2020-01-01', NULL)}, '["a", "1"] happened of 1', 'a key of two columns');
step(q{UPDATE trips SET at = '2020-01-05' WHERE leg = 1}, '["a", "1"] happened of 1', 'repeat: happens once more');
step(q{BEGIN; UPDATE trips SET at = '2020-01-06' WHERE leg = 1; UPDATE trips SET at = '2020-01-07' WHERE leg = 1; COMMIT}, '["a", "1"] happened of 1', 'twice in one transaction is once');
step(q{BEGIN; UPDATE trips SET at = '2020-01-08' WHERE leg = 1; UPDATE trips SET at = '2020-01-07' WHERE leg = 1; COMMIT}, '["a", "1"] changed of 1', 'there and back is a change');

# enroll = off is recorded as such, at commit and through the log.
run_ok($node, $db, q{SET marketing_automation.enroll = off; INSERT INTO orders (id, customer_id) VALUES (20, 1); SET marketing_automation.sync_max_contacts = 0; INSERT INTO orders (id, customer_id) VALUES (21, 1);
	RESET marketing_automation.enroll; INSERT INTO orders (id, customer_id) VALUES (22, 1)}, 'enroll = off');
exact($node, $db, 'enroll: exact', left => 4);
is($node->safe_psql($db, q{SELECT string_agg(row_key || ' ' || enroll, ', ' ORDER BY occurrence_id) FROM marketing_internal.occurrence}), '20 false, 21 false, 22 true', 'recorded as such');
$node->safe_psql($db, 'DELETE FROM marketing_internal.occurrence');

# The row as it was: text that JSON must quote, times in any setting of the session.
run_ok($node, $db, q{SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -15; INSERT INTO trips VALUES (E'x"\\\\\n\u00e9', 3, 2, '11.12.2020 10:00', true, repeat('long ', 100000))}, 'a row with everything');
is($node->safe_psql($db, q{SELECT properties->>'at', properties->>'code' = E'x"\\\\\n\u00e9', length(properties->>'note'), occurred_at, kind FROM marketing_internal.occurrence}),
	'2020-12-11T10:00:00|t|500000|2020-12-11 10:00:00+00|happened', 'is recorded as it was');
$node->safe_psql($db, 'DELETE FROM marketing_internal.occurrence');
exact($node, $db, 'a row with everything: exact');

# Savepoints: what was rolled back did not happen; what was released did.
step(<<'END', '30 happened of 1, 33 happened of 2', 'savepoints');
BEGIN;
INSERT INTO orders (id, customer_id) VALUES (30, 1);
SAVEPOINT a;
UPDATE orders SET status = 'void' WHERE id = 30;
INSERT INTO orders (id, customer_id) VALUES (31, 2);
SAVEPOINT b;
INSERT INTO orders (id, customer_id) VALUES (32, 2);
RELEASE b;
ROLLBACK TO a;
SAVEPOINT c;
INSERT INTO orders (id, customer_id) VALUES (33, 2);
RELEASE c;
COMMIT;
END
step('BEGIN; SAVEPOINT a; INSERT INTO orders (id, customer_id) VALUES (34, 1); ROLLBACK TO a; INSERT INTO orders (id, customer_id) VALUES (35, 1); COMMIT', '35 happened of 1', 'first image rolled back');
step('BEGIN; INSERT INTO orders (id, customer_id) VALUES (36, 1); SELECT marketing.flush(); UPDATE orders SET customer_id = 2 WHERE id = 36; SELECT marketing.flush(); COMMIT', '36 happened of 2', 'an early flush records nothing twice');

# More images than a transaction keeps: they go through the log, whole and in order.
my $small = 'SET marketing_automation.sync_max_rows = 3;';
step("$small INSERT INTO orders (id, customer_id) SELECT i, 1 FROM generate_series(100, 109) AS i",
	join(', ', map { "$_ happened of 1" } 100 .. 109), 'more rows than sync_max_rows', left => 'some');
step("$small BEGIN; INSERT INTO orders (id, customer_id) VALUES (110, 1); UPDATE orders SET status = 'a' WHERE id = 110; UPDATE orders SET status = 'b' WHERE id = 110; UPDATE orders SET status = 'c' WHERE id = 110; UPDATE orders SET customer_id = 2 WHERE id = 110; COMMIT",
	'110 happened of 2', 'images of one row partly in the log', left => 'some');
step("$small BEGIN; INSERT INTO orders (id, customer_id) SELECT i, 2 FROM generate_series(120, 125) AS i; DELETE FROM orders WHERE id BETWEEN 120 AND 125; COMMIT", '', 'inserted and deleted through the log', left => 'some');
step(<<"END", join(', ', map { "$_ happened of 3" } 130 .. 131, 140, 144 .. 149), 'the log and savepoints', left => 'some');
$small
BEGIN;
INSERT INTO orders (id, customer_id) VALUES (130, 3), (131, 3);
SAVEPOINT a;
INSERT INTO orders (id, customer_id) SELECT i, 3 FROM generate_series(132, 139) AS i;
UPDATE orders SET status = 'void' WHERE id = 130;
ROLLBACK TO a;
INSERT INTO orders (id, customer_id) VALUES (140, 3);
SAVEPOINT b;
SAVEPOINT c;
INSERT INTO orders (id, customer_id) SELECT i, 3 FROM generate_series(144, 149) AS i;
RELEASE c;
SAVEPOINT d;
UPDATE orders SET customer_id = 4 WHERE id >= 130 AND customer_id = 3;
ROLLBACK TO d;
RELEASE b;
COMMIT;
END
step("$small BEGIN; INSERT INTO orders (id, customer_id) VALUES (150, 1); SAVEPOINT a; UPDATE orders SET customer_id = 9 WHERE id = 150; UPDATE orders SET customer_id = 2 WHERE id = 150; UPDATE orders SET customer_id = 3 WHERE id = 150; UPDATE orders SET customer_id = 4 WHERE id = 150; RELEASE a; UPDATE orders SET customer_id = 5 WHERE id = 150; COMMIT",
	'150 happened of 5', 'the outer image in memory, the inner ones in the log', left => 'some');

# A later change of a row waits behind its earlier image in the log.
run_ok($node, $db, q{SET marketing_automation.sync_max_contacts = 0; INSERT INTO orders (id, customer_id) VALUES (160, 1); RESET marketing_automation.sync_max_contacts; UPDATE orders SET customer_id = 2 WHERE id = 160; INSERT INTO orders (id, customer_id) VALUES (161, 3)}, 'a synchronous change behind one in the log');
is(occurrences($node, $db), '161 happened of 3', 'it waits; the other row does not');
exact($node, $db, 'the order of changes: exact', left => 'some');
like(occurrences($node, $db), qr/^161 happened of 3, (160 happened of 1, 160 taken_back of 1, )?160 happened of 2$/, 'in their order');
$node->safe_psql($db, 'DELETE FROM marketing_internal.occurrence');
step(q{BEGIN; INSERT INTO orders (id, customer_id) VALUES (170, 1); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'; DELETE FROM orders WHERE id = 170}, '', 'prepared, then deleted before the worker came', left => 'some');
step(q{BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO orders (id, customer_id) VALUES (171, 1); COMMIT}, '171 happened of 1', 'SERIALIZABLE: through the log', left => 2);

# A contact that is busy leaves the rows of that contact, and only those.
my $holder = session($node, $db);
$holder->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (180, 1); SELECT marketing.flush()');
run_ok($node, $db, q{SET marketing_automation.sync_wait = '20ms'; INSERT INTO orders (id, customer_id) VALUES (181, 1), (182, 2)}, 'a busy contact');
is(occurrences($node, $db), '182 happened of 2', 'the other row is recorded');
$holder->query('COMMIT');
is(occurrences($node, $db), '182 happened of 2, 180 happened of 1', 'the holder records his');
exact($node, $db, 'a busy contact: exact', left => 'some');
is(occurrences($node, $db), '182 happened of 2, 180 happened of 1, 181 happened of 1', 'the worker the last one');
$node->safe_psql($db, 'DELETE FROM marketing_internal.occurrence');
$holder->close;

# Tracked events, and a table that changes its shape while an image waits.
step(q{SET client_min_messages = warning; SELECT marketing.declare_event('called'); SELECT marketing_internal.record_event('called'); SELECT marketing.track('1', 'called', occurred_at => '2020-01-01'); BEGIN; SELECT marketing.track('2', 'called'); ROLLBACK; SET marketing_automation.sync_max_contacts = 0; SELECT marketing.track('3', 'called', occurred_at => '2020-01-01')},
	'1 happened of 1, 3 happened of 3', 'tracked events', left => 2);
step(q{SET marketing_automation.sync_max_contacts = 0; INSERT INTO orders (id, customer_id) VALUES (190, 1); ALTER TABLE orders ADD COLUMN later int DEFAULT 5; ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ALTER COLUMN customer_id TYPE bigint},
	'190 happened of 1', 'the table changes while an image waits', left => 2);

is(figure($node, $db, 'errors swallowed at commit'), '0', 'no error was swallowed');
no_crash($node);
$node->stop;
done_testing();
