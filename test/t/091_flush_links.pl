# 091_flush_links.pl
#
# Rows with a contact by a link (items of an order) while the order gets another contact. The two
# transactions may have no contact in common; the lock of the link puts them in an order. One side
# waits in its commit for a contact that another session holds, while the other side commits.
#
# Not an isolation spec: a commit that tries for a lock does not wait in the lock queue, and the
# isolation tester would take it for busy.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('links');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
CREATE TABLE items (id int PRIMARY KEY, order_no bigint, at timestamptz NOT NULL DEFAULT '2020-01-01');
CREATE INDEX ON items (order_no);
SELECT marketing.attach_events('items', event => 'item', contact => 'customer_id', occurred_at => 'at',
	via => '{"table": "orders", "on": "order_no = id"}');
SELECT marketing_internal.define_counter('items', 'item');
INSERT INTO proof.recount VALUES ('items', $$ SELECT proof.contact('customers', customer_id::text), count(*)
	FROM items AS i JOIN orders AS o ON o.id = i.order_no GROUP BY 1 $$);
CALL marketing.work();
END

# `waiting` is in its commit, with its link locked, waiting for the contact; meanwhile `other` commits.
sub race
{
	my ($held, $waiting, $other, $message) = @_;
	run_ok($node, $db, 'DELETE FROM items; DELETE FROM orders; INSERT INTO orders (id, customer_id) VALUES (3, 3); INSERT INTO items VALUES (1, 3)',
		"$message: ready");
	exact($node, $db, "$message: before", left => undef);
	my $holder = session($node, $db);
	my $session = session($node, $db, name => 'waiting');

	$holder->query("BEGIN; INSERT INTO orders (id, customer_id) VALUES (100, $held); SELECT marketing.flush()");
	$session->query("BEGIN; $waiting");
	$session->send('COMMIT');
	ok(waits($node, $db, 'waiting', q{state = 'active' AND wait_event_type = 'Extension'}),
		"$message: a commit waits");
	run_ok($node, $db, "SET marketing_automation.sync_wait = '50ms'; $other", "$message: the other does not");
	$holder->query('COMMIT');
	is($session->answer, '', "$message: the commit went on");
	$holder->close;
	$session->close;
	exact($node, $db, $message, left => undef);
}

race(3, 'INSERT INTO items VALUES (2, 3)', 'UPDATE orders SET customer_id = 4 WHERE id = 3', 'item comes, order moves');
race(3, 'DELETE FROM items', 'UPDATE orders SET customer_id = 4 WHERE id = 3', 'item goes, order moves');
race(3, 'UPDATE items SET id = 2, at = NULL WHERE false; INSERT INTO items VALUES (2, 3)', 'UPDATE orders SET id = 5 WHERE id = 3', 'item comes, order gets another id');
race(3, 'INSERT INTO items VALUES (2, 3)', 'DELETE FROM orders WHERE id = 3', 'item comes, order goes');
race(3, 'UPDATE orders SET customer_id = 4 WHERE id = 3', 'INSERT INTO items VALUES (2, 3)', 'order moves, item comes');
race(4, 'UPDATE orders SET customer_id = 4 WHERE id = 3', 'INSERT INTO items VALUES (2, 3)', 'order moves to who is busy, item comes');
race(4, 'INSERT INTO orders (id, customer_id) VALUES (5, 4)', 'INSERT INTO items VALUES (2, 5)', 'order comes, item comes');
race(4, 'INSERT INTO items VALUES (2, 3); UPDATE orders SET customer_id = 4 WHERE id = 3', 'UPDATE items SET order_no = NULL WHERE id = 1', 'both in one, item goes');

# Without a busy contact nothing is left.
run_ok($node, $db, 'DELETE FROM items; DELETE FROM orders; INSERT INTO orders (id, customer_id) VALUES (3, 3), (7, 7)', 'ready');
run_ok($node, $db, 'INSERT INTO items VALUES (1, 3), (2, 7), (3, 7), (4, 9223372036854775806)', 'items');
exact($node, $db, 'items are evaluated at commit');
run_ok($node, $db, 'UPDATE orders SET customer_id = 10 - customer_id', 'all orders move');
exact($node, $db, 'orders are evaluated at commit');
run_ok($node, $db, 'BEGIN; UPDATE orders SET id = id + 1; UPDATE items SET order_no = order_no + 1; COMMIT', 'all get another id');
exact($node, $db, 'ids are evaluated at commit');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) SELECT i, i % 9 + 1 FROM generate_series(1000, 1031) AS i; INSERT INTO items SELECT i, i FROM generate_series(1000, 1031) AS i', 'many links');
exact($node, $db, 'many links are evaluated at commit');

no_crash($node);
done_testing();
