# 119_dates_unread.pl
#
# Due dates of a journey whose table cannot be read do not make the scheduler spin, though each try asks for a wake before
# it is rolled back. Measured in turns beside the scheduler of another database of the same server, which only polls.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('unread', conf => 'max_worker_processes = 16');

$node->safe_psql($db, 'CREATE DATABASE idle');
$node->safe_psql('idle', 'CREATE EXTENSION marketing_automation');
$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	CREATE ROLE keeper;
	CREATE SCHEMA trials AUTHORIZATION keeper;
	CREATE TABLE trials.trials (id int PRIMARY KEY, email text, ends date);
	INSERT INTO trials.trials SELECT i, i || '@example.com', '2026-03-01' FROM generate_series(1, 7) AS i;
	SELECT marketing.set_clock('2026-02-01 12:00+00');
	SELECT marketing.attach_contacts('trials.trials', id => 'id', email => 'email');
	SELECT marketing.define_journey('trial', '{"entry": {"date": "trials.ends", "at": "12:00"}, "steps": [{"exit": "x"}]}');
	SELECT marketing.activate_journey('trial');
	SELECT marketing.define_journey('other', '{"steps": [{"exit": "x"}]}');
	SELECT marketing.activate_journey('other');
});
wait_scheduler($node, $db, 'a scheduler');
wait_scheduler($node, 'idle', 'one of an idle database');
ok( $node->poll_query_until($db, 'SELECT count(*) = 7 AND NOT EXISTS (SELECT FROM marketing_internal.journey_date_plan) FROM marketing_internal.journey_date'),
	'all dates are known');

$node->safe_psql($db, q{ALTER TABLE trials.trials OWNER TO keeper; REVOKE USAGE ON SCHEMA trials FROM keeper});
$node->safe_psql($db, q{SELECT marketing.set_clock('2026-03-02 12:00+00')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.status WHERE item = 'last error' AND detail LIKE '%permission denied for schema trials'}),
	'the error is told');
my ($busy, $idle) = (turns($node, $db), turns($node, 'idle'));
ok(wait_turns($node, 'idle', $idle + 5), 'while the other one polls some times');
$busy = turns($node, $db) - $busy;
$idle = turns($node, 'idle') - $idle;
note("$busy turns beside $idle");
cmp_ok($busy, '<', 4 * $idle, 'the scheduler does not spin');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.enrollment'), 0, 'nobody entered yet');

$node->safe_psql($db, q{SELECT marketing.enroll(1, 'other')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing_internal.enrollment WHERE state <> 'due'}), 'other work is done');
$node->safe_psql($db, q{GRANT USAGE ON SCHEMA trials TO keeper});
ok($node->poll_query_until($db, q{SELECT count(*) = 8 FROM marketing_internal.enrollment}), 'they enter with the right given back');
$node->stop;
done_testing();
