# 117_worker_left_over.pl
#
# What a turn could not do, since a contact was locked, is looked at again soon and not only at the next
# poll.  Measured in turns beside the scheduler of another database of the same server, which only polls.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('left_over', conf => 'max_worker_processes = 16');

$node->safe_psql($db, 'CREATE DATABASE idle');
$node->safe_psql('idle', 'CREATE EXTENSION marketing_automation');
$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('offers');
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers SELECT i, i || '@example.com' FROM generate_series(1, 7) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.set_clock('2026-03-01 12:00+00');
	SELECT marketing.define_journey('short', '{"steps": [{"wait": "1 hour"}]}');
	SELECT marketing.activate_journey('short');
	SELECT marketing.enroll(1, 'short');
});
wait_scheduler($node, $db, 'a scheduler');
wait_scheduler($node, 'idle', 'one of an idle database');
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing_internal.enrollment WHERE due_at = '2026-03-01 13:00+00'}), 'somebody waits');

# His contact is locked when his time comes.
my $holder = $node->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT marketing.subscribe(1, 'offers')});
$node->safe_psql($db, q{SELECT marketing.set_clock('2026-03-01 14:00+00')});
wait_turns($node, $db, turns($node, $db) + 7);
my $idle = turns($node, 'idle');
my $busy = 0;
for my $round (2 .. 7)
{
	# Work for somebody else ends the pause, and what is left is tried anew, more and more rarely.
	my $before = turns($node, $db);
	$node->safe_psql($db, "SELECT marketing.enroll($round, 'short')");
	ok(wait_turns($node, $db, $before + 6), 'turn after turn tries it');
	$busy += turns($node, $db) - $before;
}
$idle = turns($node, 'idle') - $idle;
note("$busy turns beside $idle");
cmp_ok(2 * $idle, '<', $busy, 'while who only polls had few');
is($node->safe_psql($db, q{SELECT state FROM marketing_internal.enrollment WHERE due_at = '2026-03-01 13:00+00'}), 'due', 'it could not be done yet');
$holder->query_safe('COMMIT');
$holder->quit;
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing_internal.enrollment WHERE state = 'completed'}), 'he goes on');
$node->stop;
done_testing();
