# 103_delivery_cancel.pl
#
# A cancel of CALL marketing.work() between the claim of messages and their sending: what is claimed is
# given back (or settled, if it was sent) before the call ends, and nothing is left in doubt. The call is held there by locks:
# a row keeps the claim from ending until somebody queues for a table that the second look reads.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('cancel', bare => 1);

# A session that is spoken to.
sub session
{
	my %session = (in => '', out => '', err => '');

	$session{run} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr($db) ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err});
	return \%session;
}

sub say_to
{
	my ($session, $sql) = @_;

	$session->{in} .= "$sql\n";
	$session->{run}->pump while length $session->{in};
}

sub waits_for
{
	my ($what, $query, $message) = @_;
	ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = '$what' AND query LIKE '$query'"), $message);
}

$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 60) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.define_topic('offers', consent => 'opt_out');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x');
});
# More than one batch: the rest stays for whoever works next.
$node->safe_psql($db, "SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 60) AS i");

my ($row, $table, $work) = (session(), session(), session());
say_to($row, 'BEGIN; SELECT FROM marketing_internal.message WHERE message_id = 1 FOR UPDATE;');
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"), 'a row is locked');
say_to($work, 'CALL marketing.work();');
waits_for('transactionid', 'CALL%', 'the claim waits for it');
say_to($table, 'BEGIN; LOCK TABLE marketing_internal.dirty IN ACCESS EXCLUSIVE MODE;');
waits_for('relation', '%dirty%', 'somebody queues for what the second look reads');
say_to($row, 'COMMIT;');
waits_for('relation', 'CALL%', 'claimed, and not looked at again');
is($node->safe_psql($db, "SELECT count(*) FROM marketing_internal.message WHERE state = 'sending'"), '50', 'a batch is claimed');
$node->safe_psql($db, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%' AND pid <> pg_backend_pid()");
say_to($table, 'COMMIT;');
$work->{in} .= "\\q\n";
$work->{run}->finish;
like($work->{err}, qr/canceling statement due to user request/, 'the call is cancelled');
is($node->safe_psql($db, "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s"),
	'queued 60', 'what it had claimed is given back, since nothing of it was sent');
$node->safe_psql($db, 'CALL marketing.work()');
is($node->safe_psql($db, "SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s"),
	'sent 60', 'the next call sends the rest');

# Without anything claimed a cancel ends the call at once.
$work = session();
say_to($work, "CALL marketing.work('1 hour');");
ok($node->poll_query_until($db, "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE query LIKE 'CALL%'"), 'a call waits');
$node->safe_psql($db, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%' AND pid <> pg_backend_pid()");
$work->{in} .= "\\q\n";
$work->{run}->finish;
like($work->{err}, qr/canceling statement due to user request/, 'it is cancelled');
$_->{in} .= "\\q\n", $_->{run}->finish for $row, $table;

$node->stop;
done_testing();
