# 023_worker_standby.pl
#
# A standby has no worker; promotion starts them. Its copy of an armed database is disarmed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use Test::More;
use MaWorkers;

my $primary = new_server('primary', init => { allows_streaming => 1 });
my $db = 'postgres';

$primary->safe_psql($db, 'CREATE EXTENSION marketing_automation');
wait_scheduler($primary, $db, 'a scheduler on the primary');
like($primary->safe_psql($db, 'SELECT marketing.arm()'), qr/^armed: database "postgres" on host/, 'armed');
is(status_of($primary, $db, 'delivery', 'value'), 'armed', 'the primary is armed');

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->safe_psql($db, 'CREATE DATABASE later');
$primary->safe_psql('later', 'CREATE EXTENSION marketing_automation');
$primary->wait_for_catchup($standby);
is($standby->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'marketing_automation%'"),
	'0', 'the standby has no worker');
is(status_of($standby, $db, 'scheduler', 'value'), 'standby', 'and status says why');
is(status_of($standby, $db, 'delivery', 'value'), 'disarmed', 'it is disarmed');
isnt($standby->psql($db, 'SELECT marketing.arm()'), 0, 'and cannot be armed');
isnt($standby->psql($db, 'CALL marketing.work()'), 0, 'nor made to work');

$standby->promote;
wait_scheduler($standby, $db, 'promotion starts a scheduler');
wait_scheduler($standby, 'later', 'also in the database made later');
work_goes_on($standby, $db, 'it works');
is(status_of($standby, $db, 'delivery', 'value'), 'disarmed', 'it is disarmed until somebody arms it');
is(status_of($primary, $db, 'delivery', 'value'), 'armed', 'the old primary still is');
$standby->safe_psql($db, 'SELECT marketing.arm()');
is(status_of($standby, $db, 'delivery', 'value'), 'armed', 'it can be armed');
no_trouble($standby, 'nothing crashed or failed');
$standby->stop;
$primary->stop;
done_testing();
