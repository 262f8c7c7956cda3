# 061_parallel.pl
#
# Functions of ours that run in the leader of a parallel query, each in a new session, whose caches
# are empty: there a fresh snapshot cannot be had by the usual way.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('parallel');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
CREATE TABLE big AS SELECT 1 AS i FROM generate_series(1, 20000);
ALTER TABLE big SET (parallel_workers = 2);
ANALYZE big;
INSERT INTO orders (id, customer_id) VALUES (1, 1), (2, 1), (3, 2);
SET marketing_automation.sync_max_contacts = 0;
INSERT INTO orders (id, customer_id) VALUES (4, 3);
END

my $forced = <<'END';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
END

# The query in new sessions, under both kinds of snapshots, and under a plan that is parallel.
sub parallel
{
	my ($expression, $expected, $message) = @_;
	my $query = "SELECT count(*), $expression FROM big";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($node->safe_psql($db, "$forced EXPLAIN (COSTS OFF) $query"), qr/Gather/, "$message: parallel");
	for my $level ('READ COMMITTED', 'REPEATABLE READ')
	{
		my ($out, $err) = ('', '');
		$node->psql($db, "$forced BEGIN ISOLATION LEVEL $level; $query; COMMIT", stdout => \$out, stderr => \$err);
		is($out . $err, "20000|$expected", "$message: $level");
	}
}

parallel('marketing.now() >= statement_timestamp()', 't', 'the clock');
$node->safe_psql($db, q{SELECT marketing.set_clock('2030-01-01')});
parallel('marketing.now()', '2030-01-01 00:00:00+00', 'a set clock');
$node->safe_psql($db, 'SELECT marketing.set_clock(NULL)');
parallel(q{marketing_internal.contact_text(min(i))}, '1', 'a contact');
parallel('(SELECT count(*) FROM marketing_internal.dirty_contacts() AS d WHERE d <> min(i))', '1', 'the dirty log');
parallel(q{(SELECT sum(value) FROM marketing_internal.counter_values('orders') WHERE value >= min(i))}, '4', 'counters');
parallel(q{(SELECT count(*) > 5 FROM marketing.status WHERE length(item) >= min(i))}, 't', 'status');

# What the leader has read into the session's caches is of that instant, not of the query's snapshot.
my $reader = session($node, $db, name => 'reader');
$reader->query("$forced BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
$node->safe_psql($db, q{SELECT marketing.set_clock('2031-01-01')});
is($reader->query('SELECT count(*), marketing.now() FROM big'), '20000|2031-01-01 00:00:00+00', 'the clock was set after the snapshot');
is($reader->query('COMMIT; SELECT marketing.now()'), '2031-01-01 00:00:00+00', 'and stays so');
$reader->close;

no_crash($node);
$node->stop;
done_testing();
