#!/usr/bin/perl
# rules.pl: the evaluator of rules against plain SQL: random rules over random rows, every kind of atom until
# it has changed often by rows and by time, and local dates in all time zones at all their midnights.
# RULE_ROUNDS (100) is how many times 40 random rules, RULE_SEED repeats a run.
use strict;
use warnings;
use FindBin;

my $rounds = $ENV{RULE_ROUNDS} || 100;
my $seed = $ENV{RULE_SEED} || 1;
my $files = "$FindBin::Bin/../../rules";
my $total = 0;

# The first column of the last row; dies with what psql says.
sub ask
{
	my ($db, $sql) = @_;
	open(my $psql, '-|', 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $db, '-c', "SET timezone = 'UTC'; SET client_min_messages = warning",
		map { ('-c', $_) } @{ ref $sql ? $sql : [$sql] }) or die "psql: $!";
	my @lines = <$psql>;
	close($psql) or die "psql failed\n";
	chomp(@lines);
	return $lines[-1];
}

sub prepare
{
	my ($db, $file) = @_;
	ask('postgres', "CREATE DATABASE $db");
	ask($db, 'CREATE EXTENSION marketing_automation');
	system('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $db, '-f', "$files/$file") == 0 or die "$file failed\n";
}

prepare('soak_rules', 'property.sql');
ask('soak_rules', "SELECT count(some_change()) FROM (SELECT setseed(0.$seed)) AS s, generate_series(1, 200)");
$total += ask('soak_rules', "SELECT compare_rules(0.$seed$_, 40)") for 1 .. $rounds;
print "random rules: $total answers, no difference\n";
my $atoms = ask('soak_rules', "SELECT cover_atoms(0.$seed, 20)");
print "kinds of atoms, each changed 20 times in each way: $atoms answers, no difference\n";
ask('postgres', 'DROP DATABASE soak_rules WITH (FORCE)');

prepare('soak_zones', 'zones.sql');
my $zones = 0;
for my $day (qw(1994-12-31 2009-11-01 2011-12-30 2016-02-29 2022-03-27 2023-04-28 2024-12-31 2025-03-09 2025-03-30 2025-09-28 2025-10-26 2026-04-05))
{
	$zones += ask('soak_zones', "SELECT compared FROM compare_zones('$day')");
}
print "local dates in all zones: $zones answers, no difference\n";
ask('postgres', 'DROP DATABASE soak_zones WITH (FORCE)');
