# 165_journey_zones.pl
#
# Waits, windows, quiet hours and dates of journeys in every time zone of the server, where its clock is changed,
# against Python's zoneinfo (journeys/zone_oracle.py), which reads the same files and shares nothing else with us.
# ZONE_YEARS ("1990-2037" takes minutes) says in which years clocks are looked at.
use strict;
use warnings;
use IPC::Run ();
use MaProof;
use PostgreSQL::Test::Utils;
use Test::More;

my $tests = "$ENV{MA_TEST_DIR}/journeys";
my $years = $ENV{ZONE_YEARS} || '2011,2025,2026';
my $files = PostgreSQL::Test::Utils::tempdir();
my $node = proof_server('journeyzones');
my $db = 'zones';

# The server's own files: the system's, unless it was built with others.
my ($configured) = qx("$ENV{PG_CONFIG}" --configure) =~ /--with-system-tzdata=([^' ]+)/;
chomp(my $shared = qx("$ENV{PG_CONFIG}" --sharedir));
my $zones = $configured || "$shared/timezone";

$node->safe_psql('postgres', "CREATE DATABASE $db");
my $names = $node->safe_psql($db, "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/' AND name NOT IN ('Factory', 'localtime', 'posixrules') ORDER BY 1");
my ($told, $err) = ('', '');
ok(IPC::Run::run([ 'python3', "$tests/zone_oracle.py", $files, $zones, $years ], '<', \$names, '>', \$told, '2>', \$err), 'the oracle knows every zone') or diag($err);
chmod(0755, $files);
chmod(0644, glob("$files/*"));

$node->safe_psql($db, <<"END" . slurp_file("$tests/zones.sql"));
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
CREATE TABLE people (id int, tz text, day date, later date, born date, email text GENERATED ALWAYS AS ('p' || id || '\@example.com') STORED);
CREATE TABLE entries (id int, person int, at timestamptz);
CREATE TABLE live (id int, person int, at timestamptz);
CREATE TABLE expected (kind text, person int, probe int, at timestamptz);
COPY people FROM '$files/people';
COPY entries FROM '$files/probes';
COPY live FROM '$files/live';
COPY expected FROM '$files/expected';
END
cmp_ok($node->safe_psql($db, 'SELECT count(DISTINCT tz) FROM people'), '>', 400, 'zones');
cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM done'), '>', 30000, 'instants in truth');
cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM told'), '>', 100000, 'simulated instants');
is($node->safe_psql($db, "SELECT string_agg(format('%s %s: %s in %s, entered %s: %s', how, kind, person, tz, (SELECT e.at FROM entries AS e WHERE e.id = probe), at), E'\\n') FROM (SELECT * FROM wrong ORDER BY kind, person, probe, at LIMIT 20) AS w JOIN people ON id = person"),
	'', 'each is that of the oracle');
$node->stop;
done_testing();
