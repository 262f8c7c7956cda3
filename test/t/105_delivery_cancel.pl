# 105_delivery_cancel.pl
#
# A cancel of CALL marketing.work() between a claim and the sending leaves nothing in doubt: the second
# look is held up by a lock, cancelled there, and the message goes back to the queue and is sent once.
# Who cancels a second time, or ends the session, does not wait for that: then the journal tells the next
# one that the message has not been handed over.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('cancel', bare => 1);
my $watch = 'FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.query LIKE';

# A claim's commit waits for the advisory lock 1, so that one who wants the table right after it can queue.
$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('offers');
	CREATE TABLE customers (id int PRIMARY KEY, email text, news boolean);
	INSERT INTO customers VALUES (1, 'a@example.com', true), (2, 'b@example.com', true), (3, 'c@example.com', true);
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"offers/email": "news"}');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x');
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON marketing_internal.message
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'sending') EXECUTE FUNCTION hold();
});

sub waits
{
	my ($who, $type, $message) = @_;
	ok($node->poll_query_until($db, "SELECT count(*) = 1 $watch '$who' AND l.locktype = '$type'"), $message);
}

# A call that was cancelled once between claim and sending, and the session whose lock it waits for.
sub cancelled
{
	my ($contact, $err) = @_;
	my $gate = $node->background_psql($db);
	my $locker = $node->background_psql($db);

	$node->safe_psql($db, "SELECT marketing.send_message($contact, 'offer')");
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $call = IPC::Run::start(
		[ 'psql', '-X', '-q', '-d', $node->connstr($db), '-c', 'CALL marketing.work()' ],
		'<', \undef, '>', \my $out, '2>', $err);
	waits('CALL%', 'advisory', 'the claim is about to commit');
	# Somebody has written something since: without that the second look has nothing to read.
	$node->safe_psql($db, 'SELECT pg_current_xact_id()');
	$locker->query_until(qr/asked/, "\\echo asked\nBEGIN;\nLOCK TABLE marketing_internal.message IN ACCESS EXCLUSIVE MODE;\n");
	waits('LOCK TABLE%', 'relation', 'somebody queues behind it');
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	waits('CALL%', 'relation', 'the second look waits');
	my $since = $node->safe_psql($db, "SELECT l.waitstart $watch 'CALL%'");
	cancel();
	ok($node->poll_query_until($db, "SELECT count(*) = 1 $watch 'CALL%' AND l.waitstart > '$since'"), 'it is cancelled and begins anew');
	$gate->quit;
	return ($call, $locker);
}

sub cancel
{
	$node->safe_psql($db, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'");
}

my $err = '';
my ($call, $locker) = cancelled(1, \$err);
$locker->query_safe('ROLLBACK');
$locker->quit;
$call->finish;
like($err, qr/ERROR:  canceling statement due to user request/, 'the call ends by the cancel');
is($node->safe_psql($db, 'SELECT state FROM marketing.messages'), 'queued', 'the message is in the queue again');
is($node->psql($db, 'CALL marketing.work()'), 0, 'the next call');
is($node->safe_psql($db, 'SELECT state, count(*) FROM marketing.messages GROUP BY 1'), 'sent|1', '... sends it');

$err = '';
($call, $locker) = cancelled(2, \$err);
cancel();
$call->finish;
$locker->query_safe('ROLLBACK');
$locker->quit;
like($err, qr/ERROR:  canceling statement due to user request/, 'a second cancel ends it at once');
is($node->psql($db, 'CALL marketing.work()'), 0, 'the next call');
is($node->safe_psql($db, q{SELECT state FROM marketing.messages WHERE contact = '2'}), 'sent', '... knows that the message was not sent, and sends it');

$err = '';
($call, $locker) = cancelled(3, \$err);
$node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'");
$call->finish;
$locker->query_safe('ROLLBACK');
$locker->quit;
like($err, qr/FATAL:  terminating connection/, 'the session is ended in the midst of it');
is($node->psql($db, 'CALL marketing.work()'), 0, 'the next call');
is($node->safe_psql($db, q{SELECT state, attempts FROM marketing.messages WHERE contact = '3'}), 'sent|1', '... knows that likewise');

no_trouble($node, 'nothing crashed');
$node->stop;
done_testing();
