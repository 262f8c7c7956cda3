# 022_worker_ends.pl
#
# Every way for a worker to die, and the work goes on after each: SIGTERM, pg_terminate_backend,
# SIGKILL (which restarts the whole server), shutdowns; a cancelled query does not end a scheduler.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
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

# Killed without warning, the postmaster leaves nobody at work: who went on would keep it from being started again.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE people (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, person int, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at');
-- Not by pg_sleep(), which ends with the postmaster itself.
CREATE FUNCTION slow(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ SELECT count(*)::int FROM generate_series(1, 200000) $$;
SELECT marketing.define_journey('slow', '{"entry": {"event": "ordered"}, "reentry": "always", "steps": [{"sql": "public.slow"}]}');
SELECT marketing.activate_journey('slow');
INSERT INTO people SELECT generate_series(1, 1000);
INSERT INTO orders SELECT i, i, clock_timestamp() FROM generate_series(1, 1000) AS i;
END
my ($out, $err) = ('', '');
my $caller = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr($db) . ' application_name=caller', '-c', 'CALL marketing.work()' ],
	'<', \undef, '>', \$out, '2>', \$err);
my $working = "FROM pg_stat_activity WHERE application_name = 'caller' OR backend_type = 'marketing_automation scheduler' AND datname = '$db'";
ok($node->poll_query_until($db, "SELECT (SELECT count(*) = 2 $working) AND EXISTS (SELECT FROM marketing_internal.enrollment WHERE state = 'completed')"),
	'a scheduler and a session are at work');
my @pids = split(/\n/, $node->safe_psql($db, "SELECT pid $working"));
$node->kill9;
my $alive = @pids;
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if !($alive = grep { kill(0, $_) } @pids);
	Time::HiRes::usleep(100_000);
}
is($alive, 0, 'both end with the postmaster');
$caller->finish;
$node->append_conf('postgresql.conf', "marketing_automation.databases = ''");
$node->start;
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM marketing_internal.enrollment WHERE state = 'completed'"), '<', 1000,
	'before they had done all there was');
$node->stop;
no_trouble($node, 'no worker crashed on its own account', qr/PANIC|TRAP:|terminated by signal (?!9)/);
done_testing();
