# 056_flush_rekey.pl
#
# Contacts whose rows get another key, go, come back, are excluded, or are linked by an address: the
# contact stays itself, with all that hangs on it.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('rekey');
my $db = shop($node, 'shop');

# Orders that name contacts by key, and a second source linked by address.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE subscribers (id text PRIMARY KEY, email text, off boolean NOT NULL DEFAULT false);
INSERT INTO subscribers VALUES ('a', 'C1@Example.com '), ('b', 'b@example.com'), ('c', NULL);
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email', exclude => 'off');
CREATE TABLE opens (id int PRIMARY KEY, subscriber text, at timestamptz NOT NULL DEFAULT '2020-01-01');
SELECT marketing.attach_events('opens', event => 'opened', contact => 'subscriber', contact_source => 'subscribers', occurred_at => 'at');
SELECT marketing_internal.define_counter('opens', 'opened');
INSERT INTO proof.recount VALUES ('opens', $$ SELECT proof.contact('subscribers', subscriber), count(*) FROM opens GROUP BY 1 $$);
INSERT INTO proof.source VALUES ('subscribers', $$ SELECT id, off FROM subscribers $$);
INSERT INTO orders (id, customer_id) SELECT i, (i % 9) + 1 FROM generate_series(1, 30) AS i;
INSERT INTO opens (id, subscriber) VALUES (1, 'a'), (2, 'a'), (3, 'b'), (4, 'c');
CALL marketing.work();
-- who was who: contact numbers by address, or by key where there is none
CREATE TABLE proof.who AS SELECT 'customers:' || id AS name, proof.contact('customers', id::text) AS contact_id FROM customers;
END
exact($node, $db, 'the beginning');
is($node->safe_psql($db, q{SELECT proof.contact('subscribers', 'a') = proof.contact('customers', '1')}), 't', 'linked by address');

# The contacts that the customers' rows belong to now, as the names of the first day.
sub who
{
	return $node->safe_psql($db, q{SELECT string_agg(c.id || ' is ' || replace(coalesce(w.name, 'new'), 'customers:', ''), ', ' ORDER BY c.id)
		FROM customers AS c LEFT JOIN proof.who AS w ON w.contact_id = proof.contact('customers', c.id::text) WHERE NOT c.gone});
}
my $same = join(', ', map { "$_ is $_" } 1 .. 9);

# Each case is run twice: evaluated at commit, and left to the worker; then undone.
sub rekeyed
{
	my ($sql, $expected, $message, $undo) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $way ('at commit', 'by the worker')
	{
		my $set = $way eq 'at commit' ? '' : 'SET marketing_automation.sync_max_contacts = 0;';
		for my $part ([ $sql, $expected, $message ], [ $undo, $same, "$message, undone" ])
		{
			next unless defined $part->[0];
			run_ok($node, $db, "$set $part->[0]", "$part->[2], $way");
			is(who(), $part->[1], "$part->[2], $way: who is who") if $way eq 'at commit';
			exact($node, $db, "$part->[2], $way: exact", left => $way eq 'at commit' ? '0' : undef);
			is(who(), $part->[1], "$part->[2], $way: who is who in the end");
		}
	}
}

rekeyed('UPDATE customers SET id = 100 WHERE id = 1; UPDATE orders SET customer_id = 100 WHERE customer_id = 1',
	join(', ', (map { "$_ is $_" } 2 .. 9), '100 is 1'), 'a new key',
	'BEGIN; UPDATE orders SET customer_id = 1 WHERE customer_id = 100; UPDATE customers SET id = 1 WHERE id = 100; COMMIT');
$node->safe_psql($db, 'ALTER TABLE customers DROP CONSTRAINT customers_pkey; ALTER TABLE customers ADD PRIMARY KEY (id) DEFERRABLE');
rekeyed('UPDATE customers SET id = id + 1', join(', ', map { ($_ + 1) . " is $_" } 1 .. 9), 'id + 1', 'UPDATE customers SET id = id - 1');
rekeyed('UPDATE customers SET id = 10 - id', join(', ', map { "$_ is " . (10 - $_) } 1 .. 9), 'all the other way round', 'UPDATE customers SET id = 10 - id');
$node->safe_psql($db, <<'END');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN UPDATE customers SET city = city || '.' WHERE id = NEW.id; END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER a_touch AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
END
rekeyed('UPDATE customers SET id = id + 1', join(', ', map { ($_ + 1) . " is $_" } 1 .. 9), 'id + 1, rows updated again by a trigger', 'UPDATE customers SET id = id - 1');
$node->safe_psql($db, 'DROP TRIGGER a_touch ON customers; CREATE TRIGGER a_touch AFTER UPDATE ON customers FOR EACH ROW WHEN (NEW.id > 60) EXECUTE FUNCTION touch()');
rekeyed('BEGIN; DELETE FROM orders WHERE id = -1; INSERT INTO orders (id, customer_id) VALUES (-1, 2); UPDATE customers SET id = 51 WHERE id = 1; UPDATE customers SET id = 61 WHERE id = 51; COMMIT',
	join(', ', (map { "$_ is $_" } 2 .. 9), '61 is 1'), 'in two steps, the second updated again by a trigger', 'UPDATE customers SET id = 1 WHERE id = 61; DELETE FROM orders WHERE id = -1');
$node->safe_psql($db, 'DROP TRIGGER a_touch ON customers');
my $swap = 'BEGIN; UPDATE customers SET id = -1 WHERE id = 1; UPDATE customers SET id = 1 WHERE id = 2; UPDATE customers SET id = 2 WHERE id = -1; COMMIT';
rekeyed($swap, join(', ', '1 is 2', '2 is 1', map { "$_ is $_" } 3 .. 9), 'a swap', $swap);
rekeyed('BEGIN; UPDATE customers SET id = 50 WHERE id = 1; UPDATE customers SET id = 51 WHERE id = 50; UPDATE customers SET id = 1 WHERE id = 51; COMMIT', $same, 'in a circle');
rekeyed('BEGIN; SAVEPOINT a; UPDATE customers SET id = 60 WHERE id = 1; SAVEPOINT b; UPDATE customers SET id = 61 WHERE id = 60; ROLLBACK TO b; UPDATE customers SET id = 62 WHERE id = 60; RELEASE a; SAVEPOINT c; UPDATE customers SET id = 1 WHERE id = 62; ROLLBACK TO c; UPDATE customers SET id = 1 WHERE id = 62; COMMIT',
	$same, 'savepoints rolled back');
rekeyed('BEGIN; UPDATE customers SET id = 70 WHERE id = 1; SELECT marketing.flush(); UPDATE customers SET id = 71 WHERE id = 70; SAVEPOINT a; SELECT marketing.flush(); ROLLBACK TO a; INSERT INTO orders (id, customer_id) VALUES (70, 71); COMMIT',
	join(', ', (map { "$_ is $_" } 2 .. 9), '71 is 1'), 'with an early flush', 'UPDATE customers SET id = 1 WHERE id = 71; DELETE FROM orders WHERE id = 70');
rekeyed(q{UPDATE customers SET id = 80, email = 'eighty@example.com' WHERE id = 8}, join(', ', (map { "$_ is $_" } 1 .. 7, 9), '80 is 8'), 'key and address together',
	q{UPDATE customers SET id = 8, email = 'c8@example.com' WHERE id = 80});

# A key that is taken over: the row that had it went in the same transaction.
run_ok($node, $db, 'BEGIN; DELETE FROM customers WHERE id = 2; UPDATE customers SET id = 2 WHERE id = 3; COMMIT', 'a key taken over');
is(who(), join(', ', '1 is 1', '2 is 3', map { "$_ is $_" } 4 .. 9), 'the contact comes with the row');
exact($node, $db, 'a key taken over: exact', left => undef);
run_ok($node, $db, q{SET marketing_automation.sync_max_contacts = 0; BEGIN; DELETE FROM customers WHERE id = 2; UPDATE customers SET id = 2 WHERE id = 4; COMMIT}, 'once more, by the worker');
exact($node, $db, 'taken over by the worker: exact', left => 'some');
is(who(), join(', ', '1 is 1', '2 is 4', map { "$_ is $_" } 5 .. 9), 'who is who');
run_ok($node, $db, q{BEGIN; SAVEPOINT a; DELETE FROM customers WHERE id = 2; UPDATE customers SET id = 2 WHERE id = 5; ROLLBACK TO a; UPDATE customers SET id = 3 WHERE id = 5; INSERT INTO customers VALUES (5, 'five@example.com'); COMMIT}, 'a new row under the old key');
is(who(), join(', ', '1 is 1', '2 is 4', '3 is 5', '5 is new', map { "$_ is $_" } 6 .. 9), 'is somebody new');
exact($node, $db, 'the old key: exact');
run_ok($node, $db, q{BEGIN; DELETE FROM customers WHERE id = 6; INSERT INTO customers VALUES (6, 'c6@example.com'); COMMIT}, 'deleted and inserted in one transaction');
is(who(), join(', ', '1 is 1', '2 is 4', '3 is 5', '5 is new', map { "$_ is $_" } 6 .. 9), 'is the same row to us');
exact($node, $db, 'deleted and inserted: exact');

# Deletion, exclusion and return of source rows.
run_ok($node, $db, 'DELETE FROM customers WHERE id = 7', 'a row goes, its orders stay');
exact($node, $db, 'a row goes: exact');
run_ok($node, $db, 'INSERT INTO customers VALUES (7, NULL)', 'it comes back, its orders are there');
exact($node, $db, 'it comes back: exact');
run_ok($node, $db, 'UPDATE customers SET gone = true WHERE id IN (8, 9)', 'rows are excluded');
exact($node, $db, 'excluded: exact');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) VALUES (80, 8); INSERT INTO customers VALUES (10, NULL, NULL, true); INSERT INTO orders (id, customer_id) VALUES (81, 10)', 'orders of excluded rows');
exact($node, $db, 'excluded with orders: exact');
run_ok($node, $db, 'UPDATE customers SET gone = false WHERE id IN (8, 10); DELETE FROM customers WHERE id = 9', 'they return, or go');
is($node->safe_psql($db, q{SELECT name FROM proof.who WHERE contact_id = proof.contact('customers', '8')}), 'customers:8', 'as who they were');
exact($node, $db, 'they return: exact');
run_ok($node, $db, 'UPDATE customers SET id = 108, gone = true WHERE id = 8; UPDATE customers SET id = 8, gone = false WHERE id = 108', 'excluded and re-keyed at once');
is($node->safe_psql($db, q{SELECT name FROM proof.who WHERE contact_id = proof.contact('customers', '8')}), 'customers:8', 'as who he was');
exact($node, $db, 'excluded and re-keyed: exact');

# Links by address.
run_ok($node, $db, q{INSERT INTO subscribers VALUES ('d', 'C8@example.com'); INSERT INTO opens (id, subscriber) VALUES (10, 'd')}, 'a subscriber who is a customer');
is($node->safe_psql($db, q{SELECT proof.contact('subscribers', 'd') = proof.contact('customers', '8')}), 't', 'is linked');
exact($node, $db, 'linked: exact');
run_ok($node, $db, q{DELETE FROM customers WHERE id = 8; UPDATE subscribers SET id = 'dd' WHERE id = 'd'; UPDATE opens SET subscriber = 'dd' WHERE subscriber = 'd'}, 'the customer goes, the subscriber is re-keyed');
is($node->safe_psql($db, q{SELECT name FROM proof.who WHERE contact_id = proof.contact('subscribers', 'dd')}), 'customers:8', 'he stays who he was');
exact($node, $db, 'unlinked: exact');
run_ok($node, $db, q{BEGIN; INSERT INTO subscribers VALUES ('e', 'new@example.com'), ('f', 'New@Example.com'); INSERT INTO opens (id, subscriber) VALUES (20, 'e'), (21, 'f'); COMMIT}, 'two new rows of one address');
is($node->safe_psql($db, q{SELECT proof.contact('subscribers', 'e') = proof.contact('subscribers', 'f')}), 't', 'are one contact');
exact($node, $db, 'two rows of one address: exact');
run_ok($node, $db, q{SET marketing_automation.sync_max_contacts = 0; INSERT INTO subscribers VALUES ('g', 'g@example.com'), ('h', 'g@example.com'), ('i', 'b@example.com'); INSERT INTO opens (id, subscriber) VALUES (30, 'g'), (31, 'h'), (32, 'i')}, 'the same by the worker');
exact($node, $db, 'by the worker: exact', left => 'some');
is($node->safe_psql($db, q{SELECT proof.contact('subscribers', 'g') = proof.contact('subscribers', 'h'), proof.contact('subscribers', 'i') = proof.contact('subscribers', 'b')}), 't|t', 'linked too');
run_ok($node, $db, q{UPDATE subscribers SET off = true WHERE id IN ('g', 'e'); DELETE FROM subscribers WHERE id = 'h'; UPDATE subscribers SET email = 'x@example.com' WHERE id = 'f'}, 'exclusion, deletion, another address');
exact($node, $db, 'exact');

# Two sessions insert the same new address at once: one contact, or one each but never a lost event.
my @sessions = map { session($node, $db, name => "s$_") } 0, 1;
for my $wait ('20ms', '10s')
{
	my $n = $wait eq '10s' ? 2 : 1;
	for my $i (0, 1)
	{
		$sessions[$i]->query("SET marketing_automation.sync_wait = '$wait'; BEGIN; INSERT INTO subscribers VALUES ('s$i$n', 'twin$n\@example.com'); INSERT INTO opens (id, subscriber) VALUES (4$i$n, 's$i$n')");
	}
	is($sessions[0]->query('SELECT marketing.flush() > 0'), 't', "twins, $wait: the first has made the contact");
	$sessions[1]->send('COMMIT');
	# within 10 s the second one waits for the first; within 20 ms it gives up
	ok(waits($node, $db, 's1', $n == 2 ? "wait_event_type = 'Lock' OR wait_event_type = 'Extension'" : "state = 'idle'"), "twins, $wait: the second one's commit");
	is($sessions[0]->query('COMMIT'), '', 'the first commits');
	is($sessions[1]->answer, '', 'the second commits');
	exact($node, $db, "twins, $wait: exact", left => undef);
	is($node->safe_psql($db, "SELECT proof.contact('subscribers', 's0$n') = proof.contact('subscribers', 's1$n')"), 't', "twins, $wait: one contact");
}

# An event for a contact that another session is just making.
$sessions[0]->query(q{SET marketing_automation.sync_wait = '20ms'; BEGIN; INSERT INTO customers VALUES (300, NULL); SELECT marketing.flush()});
is($sessions[1]->query(q{SET marketing_automation.sync_wait = '20ms'; INSERT INTO orders (id, customer_id) VALUES (300, 300)}), '', 'an event before its contact is committed');
is($sessions[0]->query('COMMIT'), '', 'the contact');
exact($node, $db, 'contact and event at once: exact', left => 'some');
$sessions[0]->query(q{BEGIN; INSERT INTO orders (id, customer_id) VALUES (301, 301); SELECT marketing.flush()});
is($sessions[1]->query(q{INSERT INTO customers VALUES (301, NULL)}), '', 'a contact before its event is committed');
is($sessions[0]->query('COMMIT'), '', 'the event');
exact($node, $db, 'event and contact at once: exact', left => undef);
$_->close for @sessions;

# The twin that gave up after 20 ms met the lock of the address.
is(figure($node, $db, 'errors swallowed at commit') . ' ' . figure($node, $db, 'last error'), '1 55P03', 'no other error was swallowed');
no_crash($node);
$node->stop;
done_testing();
