# 022_worker_ends.pl
#
# Every way for a worker to die, and the work goes on after each: SIGTERM, pg_terminate_backend,
# SIGKILL (which restarts the whole server), shutdowns; a cancelled query does not end a scheduler.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('ends', conf => 'restart_after_crash = on');
my $db = 'postgres';

# Waits for the server to have forgotten a process and to answer again.
sub wait_server
{
	my ($old) = @_;
	return $node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $old");
}

$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');
my $pid = wait_scheduler($node, $db, 'a scheduler runs');

$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
wait_new_scheduler($node, $db, $pid, 'it comes back after pg_terminate_backend');
work_goes_on($node, $db, 'and works');

$pid = scheduler_of($node, $db);
kill('TERM', $pid);
wait_new_scheduler($node, $db, $pid, 'and after SIGTERM');

$pid = scheduler_of($node, $db);
$node->safe_psql($db, "SELECT pg_cancel_backend($pid)") for 1 .. 20;
work_goes_on($node, $db, 'cancel requests do not stop it');
is(scheduler_of($node, $db), $pid, 'it is the same process');

# The launcher: schedulers outlive it, and the next one takes them over.
my $launcher = launcher_pid($node);
$node->safe_psql($db, "SELECT pg_terminate_backend($launcher)");
ok($node->poll_query_until($db,
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'marketing_automation launcher' AND pid <> $launcher"),
	'the launcher comes back after pg_terminate_backend');
is(scheduler_of($node, $db), $pid, 'the scheduler was not touched');
$node->safe_psql($db, 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION marketing_automation');
wait_scheduler($node, 'other', 'the new launcher starts schedulers');
is($node->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'marketing_automation scheduler' AND datname = '$db'"),
	'1', 'there is still one scheduler here');
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
wait_new_scheduler($node, $db, $pid, 'the new launcher restarts one that it has taken over');

# SIGKILL of a scheduler: the server restarts, and so do all workers.
$pid = scheduler_of($node, $db);
kill('KILL', $pid);
wait_server($pid);
wait_new_scheduler($node, $db, $pid, 'a scheduler after SIGKILL of the last one');
wait_scheduler($node, 'other', 'and in the other database');
work_goes_on($node, $db, 'work goes on');

# Of the launcher.
$launcher = launcher_pid($node);
$pid = scheduler_of($node, $db);
kill('KILL', $launcher);
wait_server($launcher);
wait_new_scheduler($node, $db, $pid, 'a scheduler after SIGKILL of the launcher');
work_goes_on($node, $db, 'work goes on');

# Shutdowns, and what comes after them.
for my $mode ('fast', 'immediate', 'smart')
{
	$node->stop($mode);
	$node->start;
	wait_scheduler($node, $db, "a scheduler after a shutdown of mode $mode");
	work_goes_on($node, $db, 'and it works');
}
$node->stop;
no_trouble($node, 'no worker crashed on its own account', qr/PANIC|TRAP:|terminated by signal (?!9)/);
done_testing();
