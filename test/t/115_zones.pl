# 115_zones.pl
#
# Rules about local dates in every time zone of the server, against dates as PostgreSQL reads them: on days
# on which clocks jump, at the midnights of all zones and a microsecond before. make soak takes more of both.
use strict;
use warnings;
use Test::More;
use MaProof;
use PostgreSQL::Test::Utils;

my $node = proof_server('zones');
my $db = 'zones';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, "SET timezone = 'UTC'; SET client_min_messages = warning; CREATE EXTENSION marketing_automation;"
	. slurp_file("$ENV{MA_TEST_DIR}/rules/zones.sql"));
cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM people'), '>', 400, 'zones');

# Central Europe's hour twice, a minute after midnight in St. John's, a day that Samoa had not, birthdays that Kanton had not.
for my $day ('2025-10-26', '2009-11-01', '2011-12-30', '2024-12-31')
{
	my ($code, $out, $err) = $node->psql($db, "SET timezone = 'UTC'; SET client_min_messages = warning; SELECT compared > 20000 AND came_true > 5000 FROM compare_zones('$day', 2)");
	is("$code $out", '0 t', $day) or diag($err);
}

# Where clocks are set back over midnight the date changes three times: all midnights of these zones.
$node->safe_psql($db, "DELETE FROM people WHERE tz NOT IN ('America/Goose_Bay', 'America/St_Johns', 'America/Havana', 'Asia/Gaza', 'Africa/Cairo', 'Atlantic/Azores', 'Asia/Amman', 'America/Scoresbysund'); CALL marketing.work()");
for my $day ('2009-11-01', '2009-10-31', '2010-11-07', '2014-09-26', '2021-10-29', '2025-11-02', '2025-10-26')
{
	my ($code, $out, $err) = $node->psql($db, "SET timezone = 'UTC'; SET client_min_messages = warning; SELECT compared > 500 FROM compare_zones('$day')");
	is("$code $out", '0 t', "midnights of $day") or diag($err);
}
$node->stop;
done_testing();
