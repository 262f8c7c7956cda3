# 112_segments.pl
#
# Rules and segments against plain SQL: random rules over random rows at random instants, and a shop's
# segments under a history of changes and clock steps, with the worker and without. Then what writers at
# the same time leave, and that a dump restored keeps members, views, and DROP EXTENSION plain.
#
# MA_SEGMENT_ROUNDS and MA_SEGMENT_SEED make it long (make soak) and another history.
use strict;
use warnings;
use Test::More;
use MaProof;
use PostgreSQL::Test::Utils;

my $rounds = $ENV{MA_SEGMENT_ROUNDS} || 2;
my $seed = $ENV{MA_SEGMENT_SEED} || 1;
my $node = proof_server('segments');

sub file
{
	my ($name) = @_;
	return slurp_file("$ENV{MA_TEST_DIR}/rules/$name");
}

my $db = 'history';
$node->safe_psql('postgres', "CREATE DATABASE $db");
my $zone = "SET timezone = 'UTC'; SET client_min_messages = warning;";
$node->safe_psql($db, "$zone CREATE EXTENSION marketing_automation; SELECT marketing.set_clock('2025-10-20 00:00+00');"
	. file('property.sql') . file('segments.sql'));
$node->safe_psql($db, "$zone SELECT setseed(0.$seed); SELECT count(some_change()) FROM generate_series(1, 200)");

# 1. The evaluator against the oracle.
for my $round (1 .. $rounds)
{
	my ($code, $out, $err) = $node->psql($db, "$zone SELECT compare_rules(0.$seed$round, 40)");
	is($code, 0, "random rules, round $round: $out answers") or diag($err);
}

my ($atoms_code, $atoms, $atoms_err) = $node->psql($db, "$zone SELECT cover_atoms(0.$seed, @{[ $rounds > 20 ? 20 : 2 ]})");
is($atoms_code, 0, "each kind of atom became true and false by a row and by time: $atoms answers") or diag($atoms_err);
note($node->safe_psql($db, 'SELECT * FROM atom_coverage ORDER BY kind'));

# 2. A history: after each step what is read is what plain SQL says; when the worker has run, what is stored.
$node->safe_psql($db, "$zone CALL marketing.work(); SELECT define_all()");
for my $round (1 .. $rounds)
{
	my ($code, $out, $err) = $node->psql($db, "$zone CALL history(0.$seed$round, 25)");
	is($code, 0, "history, round $round") or diag($err);
	run_ok($node, $db, "$zone CALL marketing.work(run_for => '0')", 'the worker');
	($code, $out, $err) = $node->psql($db, "$zone CALL marketing.work(run_for => '0'); SELECT check_stored(); SELECT check_reads('stored')");
	is($code, 0, "what is stored, round $round") or diag($err);
}
note($node->safe_psql($db, 'SELECT checks || \' memberships compared\' FROM tally'));
my $idle = $node->safe_psql($db, "SELECT count(*) FROM coverage WHERE in_by_row + out_by_row + in_by_time + out_by_time > 0");
cmp_ok($idle, '>=', 12, "segments that moved: $idle of 23");
if ($rounds > 20)
{
	is($node->safe_psql($db, "SELECT string_agg(name, ' ' ORDER BY name) FROM coverage WHERE least(in_by_row + in_by_time, out_by_row + out_by_time) < 5"), '', 'each segment was entered and left');
}

# 3. A verification finds what is wrong.
my $victim = $node->safe_psql($db, "SELECT segment_id FROM marketing_internal.segment_member LIMIT 1");
isnt($node->safe_psql($db, "BEGIN; DELETE FROM marketing_internal.segment_member WHERE segment_id = $victim;
	SELECT count(*) FROM marketing_internal.segment AS s CROSS JOIN LATERAL marketing.verify_segment(s.name); ROLLBACK"), '0', 'a lost member is found');

# 4. Writers at the same time, of few contacts, with the worker beside them.
my @sessions = map { session($node, $db, name => "writer$_") } 1 .. 4;
for my $i (0 .. $#sessions)
{
	$sessions[$i]->query("$zone SELECT setseed(0.$seed$i)");
}
for my $turn (1 .. 12)
{
	my $n = 0;
	for my $session (@sessions)
	{
		$n++;
		my $base = 100000 + $turn * 1000 + $n * 100;
		$session->send("DO \$\$ BEGIN FOR i IN 1 .. 5 LOOP
			INSERT INTO orders SELECT $base + i, 1 + (random() * 3)::int, 40, 'paid', 'web', marketing.now() - random() * interval '12 days';
			IF i % 2 = 0 THEN INSERT INTO site_events SELECT $base + i, 1 + (random() * 3)::int, 'page_viewed', marketing.now(), '/a'; END IF;
			DELETE FROM orders WHERE id = $base + i - 3;
			COMMIT; END LOOP; END \$\$");
	}
	$node->psql($db, 'CALL marketing.work()') if $turn % 3 == 0;
	$node->safe_psql($db, "$zone SELECT check_reads('while writers write')");
	$_->answer for @sessions;
}
$_->close for @sessions;
run_ok($node, $db, "CALL marketing.work('2 s')", 'the worker after the writers');
my ($code, $out, $err) = $node->psql($db, "$zone SELECT check_stored(); SELECT check_reads('after the writers')");
is($code, 0, 'what the writers left') or diag($err);

# 5. A definition while a writer is open: it waits for him, and misses nothing of his.
my $writer = session($node, $db, name => 'open_writer');
my $definer = session($node, $db, name => 'definer');
$writer->query("BEGIN; INSERT INTO orders SELECT 900000 + i, 7, 1, 'paid', 'web', marketing.now() FROM generate_series(1, 9) AS i");
$definer->query("SET client_min_messages = warning; SET lock_timeout = '1min'");
$definer->send("SELECT marketing.define_segment('often', 'count(order_placed) in 1 day >= 9')");
ok(waits($node, $db, 'definer', "wait_event_type = 'Lock'"), 'define_segment() waits for a writer');
$writer->query('COMMIT');
like($definer->answer, qr/^often: created/, 'and goes on after him');
is($node->safe_psql($db, "SELECT count(*) FROM marketing_internal.segment_member JOIN marketing_internal.segment USING (segment_id) WHERE name = 'often'"), '1', 'with his rows');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.verify_segment('often')"), '0', 'and is right');
$_->close for ($writer, $definer);

# 6. A read of many members holds no more memory than one of few: about 10 kB for each would be 200 MB.
$node->safe_psql('postgres', 'CREATE DATABASE large');
$node->safe_psql('large', "SET client_min_messages = warning; CREATE EXTENSION marketing_automation;
	CREATE TABLE people (id int PRIMARY KEY, city text NOT NULL);
	INSERT INTO people SELECT i, 'Rome' FROM generate_series(1, 20000) AS i;
	SELECT marketing.attach_contacts('people', id => 'id');
	SELECT marketing.define_segment('romans', \$\$ city = 'Rome' \$\$)");
run_ok($node, 'large', 'CALL marketing.work()', 'the worker builds');
my $reader = session($node, 'large', name => 'reader');
is($reader->query("SELECT marketing.segment_size('romans')"), '20000', 'all are in the segment');
SKIP:
{
	my $pid = $reader->query('SELECT pg_backend_pid()');
	my $peak = sub { return (slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m)[0]; };
	skip 'no /proc', 2 unless -r "/proc/$pid/status";
	my $first = $peak->();
	is($reader->query("SELECT count(DISTINCT contact) FROM marketing.segment_members('romans')"), '20000', 'and are read');
	cmp_ok($peak->() - $first, '<', 60 * 1024, 'with the memory of a portion');
}
$reader->close;

# 7. Dump and restore.
my $members = "SELECT string_agg(format('%s %s', name, size), ', ' ORDER BY name) FROM (SELECT name, marketing.segment_size(name) AS size FROM marketing.segments) AS s";
my $before = $node->safe_psql($db, $members);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/segments.dump";
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dump');
command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('restored'), $dump ], 'restore');
is($node->safe_psql('restored', $members), $before, 'the members are the same');
# A view of this test reads our tables.
run_ok($node, 'restored', "DROP VIEW coverage; DROP EXTENSION marketing_automation", 'plain DROP EXTENSION after a restore');
is($node->safe_psql('restored', "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'marketing%'"), '0', 'nothing is left');
done_testing();
