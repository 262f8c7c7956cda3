# 113_segment_build.pl
#
# A segment of more contacts than a call builds is built by the worker, slice by slice, while the
# application writes; the worker is killed in the midst. What is live then is what plain SQL says,
# and a new definition records only who differs.
use strict;
use warnings;
use Test::More;
use MaProof qw(session);
use MaWorkers;
use PostgreSQL::Test::Utils;

my $contacts = $ENV{MA_BUILD_CONTACTS} || 6000;
my $node = new_server('build', conf => <<'END');
timezone = 'UTC'
fsync = off
marketing_automation.sync_wait = '10s'
marketing_automation.databases = ''
restart_after_crash = on
END
my $db = 'shop';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, <<"END");
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, city text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, total int, at timestamptz);
CREATE INDEX ON orders (customer_id, at) INCLUDE (total);
INSERT INTO customers SELECT i, 'Rome' FROM generate_series(1, $contacts) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
INSERT INTO orders (customer_id, total, at)
	SELECT 1 + i * 7919::bigint % $contacts, i % 100, marketing.now() - i % 40 * interval '1 day' FROM generate_series(1, $contacts * 2) AS i;
END
$node->append_conf('postgresql.conf', "marketing_automation.build_in_call_rows = 1000");
$node->reload;
# Loading left everybody to the worker.
$node->safe_psql($db, "CALL marketing.work('0')") while $node->safe_psql($db, 'SELECT EXISTS (SELECT FROM marketing_internal.dirty)') eq 't';

my $stored = "SELECT count(*) FROM marketing_internal.segment_member AS m JOIN marketing_internal.segment AS s USING (segment_id) WHERE s.name = 'buyers'";
my $state = "SELECT state FROM marketing.segments WHERE name = 'buyers'";
like($node->safe_psql($db, "SELECT marketing.define_segment('buyers', 'sum(order_placed.total) in 20 days > 60 and city = ''Rome''')"),
	qr/being built$/, 'a definition over many contacts returns at once');
is($node->safe_psql($db, $state), 'building', 'and is shown as building');
is($node->safe_psql($db, "SELECT members IS NULL FROM marketing.segments"), 't', 'with no number of members');
my $expected = $node->safe_psql($db, "SELECT count(*) FROM (SELECT customer_id FROM orders WHERE at + interval '20 days' > marketing.now() GROUP BY 1 HAVING sum(total) > 60) AS o");
is($node->safe_psql($db, "SELECT marketing.segment_size('buyers')"), $expected, 'reads are exact before the first slice');
is($node->safe_psql($db, "SELECT value FROM marketing.status WHERE item = 'segment buyers'"), 'building', 'the status says so');

my (undef, undef, $refused) = $node->psql($db, "SELECT * FROM marketing.segment_members('buyers', at => marketing.now())");
like($refused, qr/is not known yet/, 'and has no history before its members are found');

# Writers: orders come and go, contacts come, change and go.
my $writer = sub
{
	my ($n, $turns) = @_;
	my $pid = fork();
	return $pid if $pid;
	my $sql = join("\n", map { <<"END" } 1 .. $turns);
SELECT setseed(0.$n$_);
BEGIN;
INSERT INTO orders (customer_id, total, at) SELECT 1 + (random() * $contacts)::int, 90, marketing.now() - random() * interval '30 days' FROM generate_series(1, 3);
DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE customer_id = 1 + (random() * $contacts)::int LIMIT 1);
UPDATE customers SET city = CASE WHEN random() < 0.5 THEN 'Rome' ELSE 'Oslo' END WHERE id = 1 + (random() * $contacts)::int;
COMMIT;
INSERT INTO customers SELECT $contacts + $n * 100000 + $_, 'Rome';
INSERT INTO orders (customer_id, total, at) SELECT $contacts + $n * 100000 + $_, 70, marketing.now();
DELETE FROM customers WHERE id = 1 + (random() * $contacts)::int;
END
	$node->psql($db, $sql, on_error_stop => 0);
	require POSIX;
	POSIX::_exit(0);
};

# The build stops half way, at a lock of ours, so the worker is in the midst of it for sure.
my $gate = session($node, $db, name => 'gate');
$gate->query("SELECT pg_advisory_lock(77)");
$node->safe_psql($db, <<"END");
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END \$\$;
CREATE TRIGGER gate BEFORE UPDATE ON marketing_internal.segment FOR EACH ROW WHEN (NEW.built_to > $contacts / 2) EXECUTE FUNCTION gate();
END
my @writers = map { $writer->($_, 40) } 1 .. 3;
$node->append_conf('postgresql.conf', "marketing_automation.databases = '*'");
$node->reload;
wait_scheduler($node, $db, 'a scheduler starts');
ok($node->poll_query_until($db, "SELECT built_to > 0 FROM marketing_internal.segment"), 'slices are done and noted');
is($node->safe_psql($db, $state), 'building', 'it is still building');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.verify_segment('buyers')"), '0', 'and reads are exact');
waitpid($_, 0) for @writers;
@writers = map { $writer->($_, 40) } 4 .. 6;
# Killed, which takes the server down and up.
kill 'KILL', scheduler_of($node, $db);
waitpid($_, 0) for @writers;
ok($node->poll_query_until($db, "SELECT true"), 'the server is up again');
ok($node->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()'), 'for writes');
@writers = map { $writer->($_, 40) } 7 .. 9;
ok($node->poll_query_until($db, "SELECT state = 'live' FROM marketing.segments"), 'the build comes to its end');
waitpid($_, 0) for @writers;
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM marketing_internal.dirty)"), 'nothing waits');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.verify_segment('buyers')"), '0', 'no differences');
is($node->safe_psql($db, $stored), $node->safe_psql($db, "SELECT marketing.segment_size('buyers')"), 'what is stored is what is read');
is($node->safe_psql($db, "SELECT count(*) FROM marketing_internal.segment_transition AS t JOIN marketing_internal.segment AS s USING (segment_id)
	WHERE t.entered IS NOT DISTINCT FROM (SELECT p.entered FROM marketing_internal.segment_transition AS p
		WHERE p.contact_id = t.contact_id AND p.segment_id = t.segment_id AND p.transition_id < t.transition_id ORDER BY p.transition_id DESC LIMIT 1)"),
	'0', 'entries and exits alternate');

# Another definition: only who differs enters or leaves.
$node->safe_psql($db, "CREATE TABLE before AS SELECT contact FROM marketing.segment_members('buyers')");
my $last = $node->safe_psql($db, "SELECT max(transition_id) FROM marketing_internal.segment_transition");
like($node->safe_psql($db, "SELECT marketing.define_segment('buyers', 'sum(order_placed.total) in 20 days > 80 and city = ''Rome''')"),
	qr/^buyers: replaced \(rule\), being built$/, 'another definition');
ok($node->poll_query_until($db, "SELECT state = 'live' FROM marketing.segments"), 'is built');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.verify_segment('buyers')"), '0', 'without differences');
my $differ = $node->safe_psql($db, "SELECT count(*) FROM (SELECT contact FROM before EXCEPT SELECT contact FROM marketing.segment_members('buyers')) AS d");
cmp_ok($differ, '>', 0, "$differ contacts are in it no more");
is($node->safe_psql($db, "SELECT string_agg(DISTINCT cause || entered, ' ') || ' ' || count(*) FROM marketing_internal.segment_transition WHERE transition_id > $last"),
	"definitionfalse $differ", 'and only they have left');
my $log = slurp_file($node->logfile);
unlike($log, qr/deadlock detected|PANIC|TRAP:/, 'no deadlock, no crash but the one that was meant');
$node->stop;
done_testing();
