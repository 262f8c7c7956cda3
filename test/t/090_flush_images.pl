# 090_flush_images.pl
#
# Row images whose contact is not known at the commit: made by an earlier transaction that was left
# to the worker, included again by one, not there at all, or of a table that is still being read.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('images');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
CREATE TABLE items (id int PRIMARY KEY, order_id bigint, at timestamptz NOT NULL DEFAULT '2020-01-01');
CREATE INDEX ON items (order_id);
SELECT marketing.attach_events('items', event => 'item', contact => 'customer_id', occurred_at => 'at',
	via => '{"table": "orders", "on": "order_id = id"}');
SELECT marketing_internal.define_counter('items', 'item');
INSERT INTO proof.recount VALUES ('items', $$ SELECT proof.contact('customers', customer_id::text), count(*)
	FROM items AS i JOIN orders AS o ON o.id = i.order_id GROUP BY 1 $$);
SELECT marketing_internal.record_event('order_placed'), marketing_internal.record_event('item');
CALL marketing.work();
END

sub recorded { return $node->safe_psql($db, 'SELECT proof.occurrences()'); }

# A hundred customers are left to the worker; one of them orders in the next transaction.
run_ok($node, $db, q{INSERT INTO customers SELECT i, 'd' || i || '@example.com' FROM generate_series(101, 200) AS i;
	INSERT INTO orders (id, customer_id) VALUES (1, 150), (2, 1);
	INSERT INTO items VALUES (10, 1), (11, 1), (12, 2)}, 'an order and items of a contact that is not made yet');
is(recorded(), '2 happened of 1, 12 happened of 1', 'those of a known contact happen at once');
exact($node, $db, 'the others wait', left => 'some');
is(recorded(), '2 happened of 1, 12 happened of 1, 1 happened of 150, 10 happened of 150, 11 happened of 150',
	'and happen once the contact is there');

# The order comes to the worker before the contact does: it makes the contact by itself, once.
$node->safe_psql($db, 'TRUNCATE marketing_internal.occurrence');
run_ok($node, $db, q{INSERT INTO customers SELECT i, 'd' || i || '@example.com' FROM generate_series(201, 300) AS i;
	INSERT INTO orders (id, customer_id) VALUES (3, 250), (4, 251), (5, 251);
	INSERT INTO items VALUES (13, 3), (14, 4), (15, 5)}, 'again');
$node->safe_psql($db, q{UPDATE marketing_internal.dirty SET retry_at = 'infinity'});
run_ok($node, $db, 'CALL marketing.work()', 'the worker');
is(recorded(), '3 happened of 250, 4 happened of 251, 5 happened of 251, 13 happened of 250, 14 happened of 251, 15 happened of 251',
	'images make their contacts');
exact($node, $db, 'exact', left => 'some');

# A later change of a row waits behind the image that waits.
$node->safe_psql($db, 'TRUNCATE marketing_internal.occurrence');
run_ok($node, $db, q{INSERT INTO customers SELECT i, NULL FROM generate_series(301, 400) AS i;
	INSERT INTO orders (id, customer_id) VALUES (6, 350);
	UPDATE orders SET customer_id = 1 WHERE id = 6;
	UPDATE orders SET customer_id = 351 WHERE id = 6}, 'an order that moves');
is(recorded(), '', 'nothing yet');
exact($node, $db, 'in order', left => 'some');
is(recorded(), '6 happened of 351', 'the images of the row that waited are one change');

# Nobody: ignored and counted once; removed rows are not counted.
$node->safe_psql($db, 'TRUNCATE marketing_internal.occurrence');
my $ignored = figure($node, $db, 'event rows without a contact');
run_ok($node, $db, q{INSERT INTO orders (id, customer_id) VALUES (7, 9999)}, 'an order of nobody');
exact($node, $db, 'nobody');
is(recorded(), '', 'is no event of anybody');
is(figure($node, $db, 'event rows without a contact') - $ignored, 1, 'and counted');
run_ok($node, $db, q{DELETE FROM orders WHERE id = 7}, 'it goes');
exact($node, $db, 'nobody');
is(figure($node, $db, 'event rows without a contact') - $ignored, 1, 'what goes is not counted');
run_ok($node, $db, q{INSERT INTO orders (id, customer_id) VALUES (7, 9999)}, 'and comes');
exact($node, $db, 'nobody');
run_ok($node, $db, q{INSERT INTO customers VALUES (9999)}, 'later somebody comes');
exact($node, $db, 'exact');
is(recorded(), '', 'who has not ordered since');

# A contact that is included again, which was left to the worker.
run_ok($node, $db, q{UPDATE customers SET gone = true WHERE id = 2}, 'a contact that does not count');
run_ok($node, $db, q{BEGIN; UPDATE customers SET gone = false WHERE id = 2; PREPARE TRANSACTION 'back'; COMMIT PREPARED 'back';
	INSERT INTO orders (id, customer_id) VALUES (8, 2)}, 'counts again and orders');
exact($node, $db, 'included', left => 'some');
is(recorded(), '8 happened of 2', 'and the order counts');
run_ok($node, $db, q{UPDATE customers SET gone = true WHERE id = 2; INSERT INTO orders (id, customer_id) VALUES (9, 2)}, 'excluded for good');
exact($node, $db, 'excluded');
is(recorded(), '8 happened of 2', 'the order does not count');

# While a table is still being read its events wait.
$db = 'building';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
CREATE TABLE people (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, person int, at timestamptz NOT NULL DEFAULT '2020-01-01');
INSERT INTO people SELECT i FROM generate_series(1, 100) AS i;
SET marketing_automation.build_in_call_rows = 0;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order', contact => 'person', occurred_at => 'at');
SELECT marketing_internal.record_event('order');
END
run_ok($node, $db, 'INSERT INTO orders VALUES (1, 50), (2, 7777)', 'orders while contacts are built');
is($node->safe_psql($db, 'SELECT building, (SELECT count(*) FROM marketing_internal.capture_row) FROM marketing_internal.contact_source'),
	't|2', 'wait');
$node->safe_psql($db, 'CALL marketing.work()');
$node->safe_psql($db, 'UPDATE marketing_internal.capture_row SET retry_at = NULL; CALL marketing.work()');
is($node->safe_psql($db, q{SELECT row_key, kind, marketing_internal.contact_text(contact_id) FROM marketing_internal.occurrence}),
	'1|happened|50', 'and happen when they are');
is($node->safe_psql($db, 'SELECT building, (SELECT count(*) FROM marketing_internal.capture_row) FROM marketing_internal.contact_source'),
	'f|0', 'nothing waits for ever');

no_crash($node);
done_testing();
