# 080_rekey.pl
#
# Rows that get another key, left to the worker: thousands in one statement, behind a busy contact, in
# chains and rings, and one after the other across transactions. A row keeps its contact.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('rekey');
my $db = shop($node, 'shop');
my $spill = q{SET marketing_automation.sync_max_contacts = 0};

# Who everybody is: the row's e-mail address tells whose contact it must be.
my $whose = q{
	SELECT coalesce(string_agg(format('%s is %s', c.id, k.contact_id), ', '), '') FROM customers AS c
	JOIN marketing_internal.contact_source AS s ON s.name = 'customers'
	LEFT JOIN marketing_internal.contact_key AS k ON k.source_id = s.source_id AND k.external_id = c.id::text
	LEFT JOIN who AS w ON w.email = c.email
	WHERE k.contact_id IS DISTINCT FROM w.contact_id };
sub remember
{
	my ($name) = @_;
	$node->safe_psql($name, q{
		DROP TABLE IF EXISTS who;
		CREATE TABLE who AS SELECT c.email, k.contact_id FROM customers AS c
		JOIN marketing_internal.contact_source AS s ON s.name = 'customers'
		JOIN marketing_internal.contact_key AS k ON k.source_id = s.source_id AND k.external_id = c.id::text});
	return;
}
sub same
{
	my ($name, $message, %option) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	exact($node, $name, "$message: exact", left => exists $option{left} ? $option{left} : "some");
	is($node->safe_psql($name, $whose), '', "$message: everybody is who he was");
	is($node->safe_psql($name, q{SELECT count(*) FROM marketing_internal.contact_key WHERE external_id ~ E'\x01'}), '0', "$message: nobody is left aside");
	return;
}

# Many in one statement: more than our share of the lock table.
my $large = shop($node, 'large');
$node->safe_psql($large, q{INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(10, 1001) AS i;
	INSERT INTO orders (id, customer_id) SELECT i, i FROM generate_series(1, 1001) AS i; CALL marketing.work()});
remember($large);
run_ok($node, $large, 'BEGIN; UPDATE customers SET id = id + 100000; UPDATE orders SET customer_id = customer_id + 100000; COMMIT', 'all keys move far away');
same($large, 'thousands');
run_ok($node, $large, 'BEGIN; UPDATE customers SET id = -id; UPDATE customers SET id = 1 - id; UPDATE orders SET customer_id = customer_id + 1; COMMIT', 'each takes the key of the next');
same($large, 'a chain of thousands');
run_ok($node, $large, 'BEGIN; UPDATE customers SET id = -id; UPDATE customers SET id = CASE WHEN id = -101002 THEN 100002 ELSE 1 - id END;
	UPDATE orders SET customer_id = CASE WHEN customer_id = 101002 THEN 100002 ELSE customer_id + 1 END; COMMIT', 'and in a ring');
same($large, 'a ring of thousands');

# A busy contact holds up its own row and nobody else.
$node->safe_psql($db, q{INSERT INTO orders (id, customer_id) SELECT i, i FROM generate_series(1, 9) AS i});
remember($db);
my $holder = session($node, $db, name => 'holder');
is($holder->query(q{BEGIN; SELECT marketing.identify('1', '{"x": 1}')}), '1', 'a transaction holds contact 1 and idles');
run_ok($node, $db, q{SET marketing_automation.sync_wait = '20ms'; UPDATE customers SET id = 21 WHERE id = 1; UPDATE orders SET customer_id = 21 WHERE customer_id = 1}, 'contact 1 gets another key');
run_ok($node, $db, "$spill; UPDATE customers SET id = 22 WHERE id = 2; UPDATE orders SET customer_id = 22 WHERE customer_id = 2; UPDATE customers SET city = 'Izmir' WHERE id = 3; INSERT INTO customers VALUES (10, 'c10\@example.com')", 'others are left to the worker');
run_ok($node, $db, 'CALL marketing.work()', 'the worker goes around the busy one');
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT coalesce(previous_id, external_id), ',') FROM marketing_internal.dirty}), '1,21', 'only that waits');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.contact_key WHERE external_id IN ('22', '10')}), '2', 'others were renamed and made');
run_ok($node, $db, q{UPDATE customers SET city = 'Bursa' WHERE id = 21; UPDATE customers SET city = 'Bursa' WHERE id = 4}, 'the row is changed meanwhile');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.contact_key WHERE external_id = '21'}), '0', 'nobody else is made of it');
$holder->query('COMMIT');
$node->safe_psql($db, q{INSERT INTO who SELECT email, proof.contact('customers', '10') FROM customers WHERE id = 10});
same($db, 'a busy contact');

# One after the other: the first waits in the log, the second would be done at commit.
remember($db);
run_ok($node, $db, "$spill; UPDATE customers SET id = 30 WHERE id = 5", 'a re-keying is left to the worker');
run_ok($node, $db, 'UPDATE customers SET id = 31 WHERE id = 30', 'the next one of that row');
run_ok($node, $db, 'UPDATE customers SET id = 5 WHERE id = 6', 'another row takes the free key');
run_ok($node, $db, q{UPDATE customers SET email = 'c5@example.com' WHERE id = 31}, 'a change under the last key');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.contact}), '10', 'no contact was made of them');
same($db, 'one after the other');

# The order of their transactions is that of the commits, not that of their numbers.
my $first = session($node, $db, name => 'first');
remember($db);
$first->query("$spill; BEGIN; SELECT pg_current_xact_id()");
run_ok($node, $db, "$spill; UPDATE customers SET id = 40 WHERE id = 31", 'the younger transaction comes first');
$first->query('UPDATE customers SET id = 41 WHERE id = 40; COMMIT');
run_ok($node, $db, 'UPDATE customers SET id = 42 WHERE id = 7; UPDATE customers SET id = 43 WHERE id = 42; UPDATE customers SET id = 42 WHERE id = 8', 'those of others are done at commit');
is($node->safe_psql($db, q{SELECT string_agg(external_id, ',' ORDER BY external_id) FROM marketing_internal.contact_key WHERE external_id IN ('42', '43')}), '42,43', 'at once');
same($db, 'order of commits');

# An event row recorded for a key that is being renamed belongs to the row that moves there.
remember($db);
is($first->query('RESET marketing_automation.sync_max_contacts; BEGIN; INSERT INTO orders (id, customer_id) VALUES (50, 50); SELECT marketing.flush()'), '0', 'an order of a customer to come');
run_ok($node, $db, q{SET marketing_automation.sync_wait = '20ms'; UPDATE customers SET id = 50 WHERE id = 9}, 'a customer gets that key');
$first->query('COMMIT');
same($db, 'an order of a customer to come', left => undef);

no_crash($node);
$node->stop;
done_testing();
