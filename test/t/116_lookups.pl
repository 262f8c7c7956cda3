# 116_lookups.pl
#
# A row of a lookup table changes while somebody who read it as it was has not committed: the worker
# waits for him, reads are right meanwhile, and what is stored is right afterwards. Then random changes
# of both sides at once, and a dump with a key that waits.
use strict;
use warnings;
use Test::More;
use MaProof;
use PostgreSQL::Test::Utils;

# A commit waits for a lock half as long as deadlock_timeout at most: not too short for a busy machine.
my $node = proof_server('lookups', conf => "deadlock_timeout = '60s'\n");
my $db = 'lookups';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE products (id int PRIMARY KEY, category text);
CREATE TABLE lines (id bigserial PRIMARY KEY, customer_id bigint, product_id int, at timestamptz);
CREATE INDEX ON lines (customer_id, at) INCLUDE (product_id);
CREATE INDEX ON lines (product_id);
INSERT INTO customers SELECT generate_series(1, 20);
INSERT INTO products SELECT i, 'shoes' FROM generate_series(1, 5) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('lines', event => 'bought', contact => 'customer_id', occurred_at => 'at',
	lookup => '{"product": {"table": "products", "on": "product_id = id"}}');
SELECT marketing.define_segment('shoes', $$ any bought where (product.category = 'shoes') in 30 days $$);
SELECT marketing.define_segment('both', $$ count(distinct bought.product.category) >= 2 $$);
END
my $stored = "SELECT string_agg(contact_id::text, ' ' ORDER BY contact_id) FROM marketing_internal.segment_member JOIN marketing_internal.segment USING (segment_id) WHERE name = 'shoes'";
my $read = "SELECT string_agg(contact, ' ') FROM marketing.segment_members('shoes')";
my $wrong = "SELECT count(*) FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name)";
my $waiting = 'SELECT count(*) FROM marketing_internal.dirty';

# 1. The writer stops between his evaluation and his commit, where he writes what he found.
my $gate = session($node, $db, name => 'gate');
$gate->query('BEGIN; LOCK TABLE marketing_internal.segment_state IN SHARE MODE');
my $writer = session($node, $db, name => 'writer');
$writer->send("INSERT INTO lines (customer_id, product_id, at) VALUES (7, 2, marketing.now())");
ok(waits($node, $db, 'writer', "wait_event_type = 'Lock'"), 'the writer has evaluated and not committed');
$node->safe_psql($db, "UPDATE products SET category = 'hats' WHERE id = 2");
is($node->safe_psql($db, $waiting), '1', 'the key of the changed row is left to the worker');
run_ok($node, $db, 'CALL marketing.work()', 'the worker comes');
is($node->safe_psql($db, $waiting), '1', 'and waits for him');
$gate->query('COMMIT');
$writer->answer;
is($node->safe_psql($db, $stored), '7', 'the writer has stored what was true when he looked');
is($node->safe_psql($db, $read), '', 'reads are right meanwhile');
is($node->safe_psql($db, $wrong), '0', 'as plain SQL has it');
run_ok($node, $db, 'CALL marketing.work()', 'the worker comes again');
is($node->safe_psql($db, $stored), '', 'and what is stored is right');
is($node->safe_psql($db, $waiting), '0', 'nothing waits');

# Likewise one who began after the change was made, and before its commit: he is younger than it.
$gate->query('BEGIN; LOCK TABLE marketing_internal.segment_state IN SHARE MODE');
my $changer = session($node, $db, name => 'changer');
$changer->query("BEGIN; UPDATE products SET category = 'hats' WHERE id = 3");
$writer->send("INSERT INTO lines (customer_id, product_id, at) VALUES (8, 3, marketing.now())");
ok(waits($node, $db, 'writer', "wait_event_type = 'Lock'"), 'a younger writer has evaluated and not committed');
$changer->query('COMMIT');
run_ok($node, $db, 'CALL marketing.work()', 'the worker comes');
is($node->safe_psql($db, $waiting), '1', 'and waits for him');
$gate->query('COMMIT');
$writer->answer;
is($node->safe_psql($db, $wrong), '0', 'reads are right');
run_ok($node, $db, 'CALL marketing.work()', 'the worker comes again');
is($node->safe_psql($db, $stored), '', 'and what is stored is right');
$changer->close;

# 2. Both sides change at once.
my @sessions = map { session($node, $db, name => "side$_") } 1 .. 4;
for my $turn (1 .. 8)
{
	my $i = 0;
	for my $session (@sessions)
	{
		$session->send($i++ % 2 == 0 ? "DO \$\$ BEGIN FOR i IN 1 .. 10 LOOP
			INSERT INTO lines (customer_id, product_id, at) VALUES (1 + (random() * 19)::int, 1 + (random() * 5)::int, marketing.now() - random() * interval '40 days');
			DELETE FROM lines WHERE id = (SELECT id FROM lines WHERE random() < 0.2 LIMIT 1);
			COMMIT; END LOOP; END \$\$"
			: "DO \$\$ BEGIN FOR i IN 1 .. 10 LOOP
			UPDATE products SET category = CASE WHEN random() < 0.5 THEN 'shoes' ELSE 'hats' END WHERE id = 1 + (random() * 4)::int;
			IF random() < 0.2 THEN DELETE FROM products WHERE id = 6; ELSE INSERT INTO products VALUES (6, 'shoes') ON CONFLICT DO NOTHING; END IF;
			COMMIT; END LOOP; END \$\$");
	}
	$node->psql($db, 'CALL marketing.work()') if $turn % 2 == 0;
	is($node->safe_psql($db, $wrong), '0', "reads while both change, turn $turn");
	$_->answer for @sessions;
}
$_->close for @sessions;
run_ok($node, $db, "CALL marketing.work('2 s')", 'the worker after them');
is($node->safe_psql($db, $waiting), '0', 'nothing waits');
is($node->safe_psql($db, $wrong), '0', 'reads are right');
is($node->safe_psql($db, $stored), $node->safe_psql($db, "SELECT string_agg(contact, ' ' ORDER BY contact::bigint) FROM marketing.segment_members('shoes')"), 'what is stored is what is read');

# 3. A dump holds a key that waits, with a number of the other server's; it is done there at once.
$writer->query('BEGIN; INSERT INTO customers VALUES (100)');
$node->safe_psql($db, "UPDATE products SET category = category || 's'");
run_ok($node, $db, 'CALL marketing.work()', 'the worker begins to wait');
is($node->safe_psql($db, "$waiting WHERE retry_at IS NOT NULL AND event_source_id IS NOT NULL"), $node->safe_psql($db, 'SELECT count(*) FROM products'), 'for the open transaction');
$node->safe_psql($db, "UPDATE marketing_internal.dirty SET xid = '4611686018427387904'");
my $dump = "$PostgreSQL::Test::Utils::tmp_check/lookups.dump";
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ], 'restore');
run_ok($node, 'restored', "CALL marketing.work('2 s')", 'the worker there');
is($node->safe_psql('restored', $waiting), '0', 'nothing waits');
is($node->safe_psql('restored', $wrong), '0', 'reads are right');
$node->safe_psql('restored', "UPDATE products SET category = 'shoes'");
isnt($node->safe_psql('restored', $waiting), '0', 'and changes are captured');
$writer->query('COMMIT');
$_->close for ($writer, $gate);
no_crash($node);
done_testing();
