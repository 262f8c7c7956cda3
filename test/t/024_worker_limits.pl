# 024_worker_limits.pl
#
# Where workers cannot run: no free worker process, a role that cannot connect, no preload, a binary
# upgrade. Each is said once, shown in status, and over when its cause is.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('limits', conf => "max_worker_processes = 2\nmax_logical_replication_workers = 0");

# Counts the lines of the log that match.
sub lines
{
	my ($pattern) = @_;
	my @found = slurp_file($node->logfile) =~ /$pattern/g;
	return scalar(@found);
}

# The launcher takes one, a scheduler the other: a probe gets none.
$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');
wait_scheduler($node, $db, 'the first database gets the last worker process');
$node->safe_psql($db, 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION marketing_automation');
ok($node->poll_query_until('second',
		"SELECT value = 'no free worker' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
	'the second gets none, and status says so');
is(lines(qr/WARNING:.*no free background worker/), 1, 'so does the log, once');
$node->safe_psql($db, 'DROP EXTENSION marketing_automation');
wait_scheduler($node, 'second', 'it gets one when there is one again');
is(lines(qr/WARNING:.*no free background worker/), 1, 'one line for all the vain tries');
$node->safe_psql('second', 'DROP EXTENSION marketing_automation');
wait_no_scheduler($node, 'second', 'over');

# Roles. The owner of an extension that may not log in; then the configured role.
$node->safe_psql($db, 'DROP SCHEMA IF EXISTS marketing');
$node->safe_psql($db, 'CREATE ROLE quiet SUPERUSER NOLOGIN; CREATE ROLE helper LOGIN');
$node->safe_psql($db, 'SET ROLE quiet; CREATE EXTENSION marketing_automation');
SKIP:
{
	skip 'such a role may run workers here', 2 if $node->safe_psql($db, 'SHOW server_version_num') >= 170000;
	ok($node->poll_query_until($db,
			"SELECT value = 'not accessible' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
		'an owner that may not log in is reported');
	like(status_of($node, $db, 'scheduler', 'detail'), qr/"quiet" may not log in/, 'by name');
}
$node->append_conf('postgresql.conf', "marketing_automation.worker_role = 'helper'");
$node->reload;
ok($node->poll_query_until($db,
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'marketing_automation scheduler' AND usename = 'helper'"),
	'with worker_role the scheduler connects as that role');
work_goes_on($node, $db, 'and works');
$node->safe_psql($db, 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
my $pid = scheduler_of($node, $db);
$node->append_conf('postgresql.conf', "marketing_automation.worker_role = 'nobody_of_this_name'");
$node->reload;
ok($node->poll_query_until($db,
		"SELECT detail LIKE '%nobody_of_this_name%does not exist%' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
	'a role that does not exist is reported');
wait_no_scheduler($node, $db, 'and the scheduler ends');
$node->append_conf('postgresql.conf', "marketing_automation.worker_role = 'helper'");
$node->reload;
ok($node->poll_query_until($db,
		"SELECT detail LIKE '%no CONNECT privilege%' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
	'so is one without CONNECT');
$node->safe_psql($db, 'GRANT CONNECT ON DATABASE postgres TO helper');
$node->reload;
wait_scheduler($node, $db, 'granted, it runs');
is(lines(qr/FATAL/), 0, 'no attempt to connect failed');

# Library and extension of different versions: the scheduler rests until they fit.
$node->safe_psql($db, "UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'marketing_automation'");
ok($node->poll_query_until($db,
		"SELECT value = 'wrong version' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
	'a version that does not fit is reported');
my ($out, $err);
is($node->psql($db, "\\set VERBOSITY verbose\nCALL marketing.work()", stdout => \$out, stderr => \$err), 3,
	'and work() refused');
like($err, qr/MA007: .*is version 0\.0\.1.*HINT:.*ALTER EXTENSION/s, 'with the reason');
my $version = $node->safe_psql($db, "SELECT default_version FROM pg_available_extensions WHERE name = 'marketing_automation'");
$node->safe_psql($db, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'marketing_automation'");
ok($node->poll_query_until($db,
		"SELECT value = 'running' FROM marketing_internal.worker_status() WHERE item = 'scheduler'"),
	'they fit again, and it works');
is(lines(qr/WARNING:.*background work rests/), 1, 'said once');

# A wrong list of databases stops workers and harms nothing.
$node->append_conf('postgresql.conf', "marketing_automation.databases = 'a b,'");
$node->reload;
wait_no_scheduler($node, $db, 'an invalid list is taken as empty');
is(lines(qr/WARNING:.*invalid list of names/), 1, 'and said once');
$node->stop;

# Without preload: no worker, but the work can be called.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is(status_of($node, $db, 'preload', 'state'), 'warning', 'status says that the library is not preloaded');
is($node->psql($db, 'CALL marketing.work()'), 0, 'CALL marketing.work() works without preload');

# CREATE EXTENSION says so, but not to pg_restore, nor of what was taken back.
my $create = 'CREATE EXTENSION marketing_automation;';
my $drop = 'DROP EXTENSION marketing_automation;';
my $unpreloaded = qr/NOTICE:  extension "marketing_automation" runs no workers.*HINT: .*shared_preload_libraries = 'marketing_automation'/s;
$node->safe_psql('postgres', 'CREATE DATABASE bare');
like(notices("$create $drop"), $unpreloaded, 'CREATE EXTENSION without preload: NOTICE');
is(() = notices("BEGIN; $create COMMIT; BEGIN; SELECT 1; COMMIT; $drop") =~ /NOTICE/g, 1, 'said once, at commit');
is(notices("BEGIN; SAVEPOINT a; $create ROLLBACK TO a; COMMIT"), '', 'silent when a savepoint takes it back');
is(notices("BEGIN; $create ROLLBACK; SELECT 1"), '', 'silent when it is rolled back');
is(notices("SET client_min_messages = warning; $create $drop"), '', 'silent when notices are not wanted, as by pg_restore');
$node->stop;

# A server started for a binary upgrade has no workers.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'marketing_automation'\nmarketing_automation.databases = '*'");
$node->start;
wait_scheduler($node, $db, 'preloaded again');
is(notices("$create $drop"), '', 'CREATE EXTENSION with preload says nothing');
$node->stop;
system_or_bail('pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '-w', '-o', '-b', 'start');
is($node->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'marketing_automation%'"),
	'0', 'no worker in binary upgrade mode');
system_or_bail('pg_ctl', '-D', $node->data_dir, '-w', 'stop');
done_testing();

# What psql says on its standard error when the statements run in database "bare", each by itself.
sub notices
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql('bare', $sql =~ s/; */;\n/gr, stdout => \$out, stderr => \$err, on_error_die => 1);
	return $err;
}
