# 053_flush_locks.pl
#
# A small lock table: many sessions that each write many contacts at once never run out of shared
# memory, since ours is at most a quarter of it; what does not fit is left to the worker.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('locks', conf => "max_locks_per_transaction = 10\nmax_connections = 40\nmarketing_automation.sync_wait = 50\n");
my $db = shop($node, 'shop');

$node->safe_psql($db, q{INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(10, 400) AS i;
	CREATE SEQUENCE numbers; CALL marketing.work()});

# Each transaction writes so many contacts; all commit.
for my $case ([ 200, 64 ], [ 200, 1000 ], [ 30, 1000 ])
{
	my ($contacts, $limit) = @$case;
	$node->pgbench("-n -c 16 -j 2 -t 2 -M simple $db", 0, [ qr!32/32! ], [ qr/^$/ ],
		"16 sessions, $contacts contacts each, limit $limit",
		{ "write_${contacts}_$limit" => qq{
\\set first random(1, 400 - $contacts)
BEGIN;
SET LOCAL marketing_automation.sync_max_contacts = $limit;
INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(:first, :first + $contacts - 1) AS i;
END;
} });
	like(figure($node, $db, 'errors swallowed at commit'), qr/^0$/, 'without a swallowed error');
	exact($node, $db, "$contacts contacts each, limit $limit: exact", left => undef);
}
cmp_ok(figure($node, $db, 'contacts left to the worker: too many'), '>', 0, 'what did not fit was left to the worker');

# Locks reserved are given back, whatever the end of a transaction.
run_ok($node, $db, <<'END', 'ends of all kinds') for 1 .. 8;
SET marketing_automation.sync_max_contacts = 1000;
BEGIN; INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(1, 60) AS i; SELECT marketing.flush() > 0; ROLLBACK;
BEGIN; INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(1, 60) AS i; SAVEPOINT a; SELECT marketing.flush() > 0; ROLLBACK TO a; COMMIT;
BEGIN; INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(1, 60) AS i; SELECT marketing.flush() > 0; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p';
END
my $left = figure($node, $db, 'contacts left to the worker: too many');
run_ok($node, $db, "INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(1, 60) AS i", 'sixty contacts after it');
is(figure($node, $db, 'contacts left to the worker: too many'), $left, 'all locks were free again');
exact($node, $db, 'exact', left => undef);

# A contact that somebody keeps busy is left by the worker too, and its change waits in the log; those
# beside it are done.
my $busy = session($node, $db, name => 'busy');
$busy->query(q{BEGIN; SELECT marketing.identify(7, '{"seen": "1"}')});
run_ok($node, $db, "SET marketing_automation.sync_wait = '1ms'; INSERT INTO orders (id, customer_id) SELECT nextval('numbers'), i FROM generate_series(6, 8) AS i", 'a busy contact among others');
run_ok($node, $db, q{CALL marketing.work()}, 'the worker');
is(dirty($node, $db), '1', 'the change of the busy one waits on');
is($node->safe_psql($db, 'SELECT * FROM proof.wrong(false)'), '', 'all others are right');
$busy->query('COMMIT');
exact($node, $db, 'when he is free, it is done', left => undef);

unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/out of shared memory/, 'nobody ran out of shared memory');
no_crash($node);
$node->stop;
done_testing();
