# 025_authority.pl
#
# marketing.arm() holds for one copy of a database: none of the ways to copy one leaves the copy
# armed, and a set clock and an armed database exclude each other.
use strict;
use warnings;
use File::Copy ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('shop', init => { allows_streaming => 1 });
my $db = 'shop';

sub is_armed
{
	my ($where, $database, $expected, $message) = @_;
	is(status_of($where, $database, 'delivery', 'value'), $expected, $message);
}

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');
is_armed($node, $db, 'disarmed', 'a new database is disarmed');
like($node->safe_psql($db, 'SELECT marketing.arm()'), qr/^armed: database "shop" on host ".+", data directory/, 'arm()');
is_armed($node, $db, 'armed', 'it is armed');
like($node->safe_psql($db, 'SELECT marketing.arm()'), qr/^armed/, 'arming twice is no error');
is($node->safe_psql($db, 'SELECT count(*), min(armed_by) = current_user FROM marketing_internal.authority'), '1|t', 'one row says who');
$node->safe_psql($db, 'BEGIN; SELECT marketing.disarm(); ROLLBACK');
is_armed($node, $db, 'armed', 'a rolled back disarm() does nothing');
$node->restart;
is_armed($node, $db, 'armed', 'it survives a restart');
$node->stop('immediate');
$node->start;
is_armed($node, $db, 'armed', 'and a crash');

# Who may: only the owner.
$node->safe_psql($db, 'CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA marketing TO clerk;
	GRANT EXECUTE ON FUNCTION marketing.arm(), marketing.disarm() TO clerk');
for my $function ('arm', 'disarm')
{
	my $err;
	isnt($node->psql($db, "SELECT marketing.$function()", stderr => \$err, extra_params => [ '-U', 'clerk' ]),
		0, "$function() is refused to others, even with EXECUTE");
	like($err, qr/permission denied for marketing\.$function\(\)/, 'with the reason');
}

# The clock.
my $err;
isnt($node->psql($db, "SELECT marketing.set_clock('2030-01-01')", stderr => \$err), 0, 'no clock while armed');
$node->safe_psql($db, 'SELECT marketing.disarm()');
is_armed($node, $db, 'disarmed', 'disarm()');
$node->safe_psql($db, "SELECT marketing.set_clock('2030-01-01')");
isnt($node->psql($db, 'SELECT marketing.arm()', stderr => \$err), 0, 'no arming while a clock is set');
like($err, qr/cannot be armed while a test clock is set.*HINT:.*set_clock\(NULL\)/s, 'with a hint');
is(status_of($node, $db, 'clock', 'state'), 'note', 'status shows the clock');
$node->safe_psql($db, 'SELECT marketing.set_clock(NULL)');
$node->safe_psql($db, 'SELECT marketing.arm()');
is_armed($node, $db, 'armed', 'armed again');

# Copies.
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is_armed($node, 'copy', 'disarmed', 'CREATE DATABASE ... TEMPLATE');
$node->safe_psql('postgres', 'CREATE DATABASE file_copy TEMPLATE shop STRATEGY file_copy');
is_armed($node, 'file_copy', 'disarmed', 'also by copying files');
is_armed($node, $db, 'armed', 'the template stays armed');
$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO shop_2; ');
is_armed($node, 'shop_2', 'armed', 'renaming changes nothing');
$node->safe_psql('postgres', 'ALTER DATABASE shop_2 RENAME TO shop');

my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore into another database');
is_armed($node, 'restored', 'disarmed', 'a restored dump');
$node->command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr($db), $dump ], 'pg_restore --clean in place');
is_armed($node, $db, 'disarmed', 'also in place: its queue is an old one');
$node->safe_psql($db, 'SELECT marketing.arm()');

$node->backup('base');
my $base = PostgreSQL::Test::Cluster->new('base');
$base->init_from_backup($node, 'base');
$base->start;
is_armed($base, $db, 'disarmed', 'a base backup started elsewhere');
$base->stop;

# A copy of the data directory, elsewhere and then under the original's own path.
$node->stop;
my $files = PostgreSQL::Test::Cluster->new('files');
$node->backup_fs_cold('cold');
$files->init_from_backup($node, 'cold');
$files->start;
is_armed($files, $db, 'disarmed', 'a copy of the files elsewhere');
$files->stop;

my $data = $node->data_dir;
rename($data, "$data.original") or die "could not rename: $!";
PostgreSQL::Test::RecursiveCopy::copypath("$data.original", $data);
chmod(0700, $data);
$node->start;
is_armed($node, $db, 'disarmed', 'a copy of the files under the same path');
$node->stop;
PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $data);
rename("$data.original", $data) or die "could not rename: $!";
$node->start;
is_armed($node, $db, 'armed', 'the original in its place is armed as before');
$node->stop;
done_testing();
