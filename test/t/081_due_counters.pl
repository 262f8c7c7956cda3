# 081_due_counters.pl
#
# Counters that fall due by time and cannot be computed, and state that a dropped counter left: the
# duty neither writes the same change again and again nor runs without a pause.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('due');
my $db = shop($node, 'shop');
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE parts (id int PRIMARY KEY, customer_id int, at timestamptz, x int NOT NULL);
SELECT marketing.attach_events('parts', event => 'part', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', condition => $$ 1/x > 0 $$);
SELECT marketing_internal.define_counter('parts', 'part', '1 hour');
SELECT marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO parts SELECT i, i, '2026-03-01 11:30+00', 1 FROM generate_series(1, 9) AS i;
CALL marketing.work();
-- no trigger sees it
SET session_replication_role = replica;
UPDATE parts SET x = 0 WHERE id = 1;
RESET session_replication_role;
SELECT marketing.set_clock('2026-03-01 13:00+00');
END
my $values = q{SELECT string_agg(format('%s=%s', k.external_id, s.value), ' ' ORDER BY k.external_id)
	FROM marketing_internal.contact_counter AS s JOIN marketing_internal.contact_key AS k USING (contact_id)};
my $written = 'SELECT last_value FROM marketing_internal.dirty_dirty_id_seq';
is($node->safe_psql($db, $values), join(' ', map { "$_=1" } 1 .. 9), 'all have one, and it is over');
run_ok($node, $db, 'CALL marketing.work()', 'the worker');
is($node->safe_psql($db, $values), '1=1', 'all others were counted anew');
is($node->safe_psql($db, q{SELECT string_agg(format('%s %s %s', object, attempts, sqlstate), ', ') FROM marketing.errors}), '1 1 22012', 'one rests with its error');
my $before = $node->safe_psql($db, $written);
run_ok($node, $db, q{UPDATE marketing_internal.dirty SET retry_at = 'infinity'; CALL marketing.work('3 s')}, 'it goes on resting');
is($node->safe_psql($db, $written), $before, 'and is not written again');
run_ok($node, $db, q{UPDATE marketing_internal.dirty SET attempts = 1500; SELECT proof.wake(); CALL marketing.work()}, 'after very many attempts');
is($node->safe_psql($db, q{SELECT attempts || ' ' || (retry_at BETWEEN now() + '50 min' AND now() + '61 min') FROM marketing_internal.dirty}), '1501 true', 'it rests for an hour');
run_ok($node, $db, 'UPDATE parts SET x = 1 WHERE id = 1; SELECT proof.wake(); CALL marketing.work()', 'the row is repaired');
is($node->safe_psql($db, $values), '', 'and counted');
exact($node, $db, 'exact');


# What a commit wrote whose evaluation had begun before the counter was dropped.
$node->safe_psql($db, q{SELECT marketing_internal.drop_counter('parts');
	INSERT INTO marketing_internal.contact_counter SELECT contact_id, 999, 1, '2026-03-01 12:30+00' FROM marketing_internal.contact});
run_ok($node, $db, q{CALL marketing.work('2 s')}, 'state of a counter that is not there is nobody\'s work');
run_ok($node, $db, q{SELECT marketing_internal.drop_counter('orders')}, 'another counter goes');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.contact_counter'), '0', 'and all that belongs to none');

# drop_counter() waits for writers of the event's table, and they for it.
$node->safe_psql($db, q{SELECT marketing_internal.define_counter('orders', 'order_placed'); CALL marketing.work()});
my $writer = session($node, $db, name => 'writer');
my $dropper = session($node, $db, name => 'dropper');
$writer->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (1, 1)');
$dropper->send(q{SELECT marketing_internal.drop_counter('orders')});
ok(waits($node, $db, 'dropper', "wait_event_type = 'Lock'"), 'drop_counter() waits for a writer');
$writer->query('COMMIT');
is($dropper->answer, 'orders: dropped', 'and goes on after him');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.contact_counter'), '0', 'nothing is left');

no_crash($node);
$node->stop;
done_testing();
