# 026_work_procedure.pl
#
# CALL marketing.work(): refused where it cannot commit, commits as it goes, holds no snapshot while
# it waits, can be cancelled, and shares the work with a scheduler.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';

# Runs the statement and expects it to fail with the SQLSTATE and text.
sub refused
{
	my ($node, $statement, $pattern, $message) = @_;
	my $err;
	isnt($node->psql($db, "\\set VERBOSITY verbose\n$statement", stderr => \$err), 0, $message);
	like($err, $pattern, "$message: the error");
}

for my $preloaded (0, 1)
{
	my $with = $preloaded ? 'preloaded' : 'not preloaded';
	my $node = new_server("work_$preloaded", bare => !$preloaded);

	$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');
	wait_scheduler($node, $db, 'a scheduler') if $preloaded;
	my ($out, $err);
	is($node->psql($db, 'CALL marketing.work()', stderr => \$err), 0, "$with: works");
	($preloaded ? \&like : \&unlike)->($err, qr/NOTICE:.*a scheduler works in this database too/, "$with: NOTICE");
	is($node->psql($db, "CALL marketing.work(run_for => '1 ms'); SELECT 1"), 0, "$with: by name");

	refused($node, 'BEGIN; CALL marketing.work();', qr/25001: .*cannot run inside a transaction block.*HINT/s, "$with: in a block");
	refused($node, "CALL marketing.work('-1 s')", qr/22023: .*must not be negative/, "$with: negative");
	refused($node, 'CALL marketing.work(NULL)', qr/22004: .*must not be null/, "$with: null");
	refused($node, 'CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL marketing.work(); END $$; SELECT f();',
		qr/25001/, "$with: in a function");
	refused($node, "SET statement_timeout = '200ms'; CALL marketing.work('1 hour')", qr/57014/, "$with: a timeout ends it");

	# A long call: transactions come and go, and while it waits nothing is held.
	my $session = IPC::Run::start(
		[ 'psql', '-X', '-q', '-d', $node->connstr($db), '-c', "CALL marketing.work('1 hour')" ],
		'<', \undef, '>', \$out, '2>', \$err);
	my $call = "FROM pg_stat_activity WHERE query LIKE 'CALL marketing.work(%hour%'";
	ok($node->poll_query_until($db, "SELECT xact_start > query_start $call"), "$with: it commits and goes on");
	ok($node->poll_query_until($db, "SELECT wait_event_type = 'Extension' AND backend_xmin IS NULL AND backend_xid IS NULL $call"),
		"$with: no snapshot while it waits");
	is($node->psql($db, 'CALL marketing.work()'), 0, "$with: a second one at the same time");
	$node->safe_psql($db, "SELECT pg_cancel_backend(pid) $call");
	$session->finish;
	like($err, qr/canceling statement due to user request/, "$with: can be cancelled");
	is($node->psql($db, 'CALL marketing.work()'), 0, "$with: works after it");

	# A session sends nothing over the network; where no worker will, it says so.
	$node->safe_psql($db, q{
		CREATE TABLE people (id int PRIMARY KEY, email text);
		INSERT INTO people VALUES (1, 'one@example.com');
		SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
		CREATE SERVER relay FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '1', tls 'none');
		SELECT marketing.define_sender('shop', channel => 'email', server => 'relay', from_address => 'hello@shop.example');
		SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'x', text => 'x');
		SELECT marketing.arm();
		SELECT marketing.send_message(1, 'receipt')});
	is($node->psql($db, 'CALL marketing.work()', stderr => \$err), 0, "$with: works beside messages for a server");
	($preloaded ? \&unlike : \&like)->($err, qr/NOTICE:  messages for real servers are left/, "$with: says whether they stay");
	$node->safe_psql($db, 'SELECT marketing.detach_all(); DROP SERVER relay; DROP TABLE people');

	# The extension goes while a call waits: the call ends with a clear error.
	$session = IPC::Run::start(
		[ 'psql', '-X', '-q', '-d', $node->connstr($db), '-c', "CALL marketing.work('1 hour')" ],
		'<', \undef, '>', \$out, '2>', \$err);
	ok($node->poll_query_until($db, "SELECT wait_event_type = 'Extension' $call"), "$with: a call waits");
	$node->safe_psql($db, 'DROP EXTENSION marketing_automation');
	$session->finish;
	like($err, qr/extension "marketing_automation" is not installed|is being dropped/, "$with: DROP EXTENSION ends the call");
	no_trouble($node, "$with: nothing crashed");
	$node->stop;
}
done_testing();
