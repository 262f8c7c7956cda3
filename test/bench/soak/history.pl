#!/usr/bin/perl
# history.pl: a shop's segments under a hostile history of changes and clock steps (test/rules), every
# membership compared with plain SQL after each step, until there were enough comparisons and each segment
# was entered and left often enough, by rows and by time.
# HISTORY_CHECKS (10000000) memberships, HISTORY_PEOPLE (400) contacts, HISTORY_SEED repeats a run.
use strict;
use warnings;
use FindBin;

my $wanted = $ENV{HISTORY_CHECKS} || 10_000_000;
my $people = $ENV{HISTORY_PEOPLE} || 400;
my $seed = $ENV{HISTORY_SEED} || 1;
my $files = "$FindBin::Bin/../../rules";
my $db = 'soak_history';
my $often = 20;

# What psql prints of the last statement; dies with what it says.
sub ask
{
	open(my $psql, '-|', 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $db, '-c', "SET timezone = 'UTC'; SET client_min_messages = warning",
		map { ('-c', $_) } @_) or die "psql: $!";
	my @lines = <$psql>;
	close($psql) or die "psql failed: @_\n";
	chomp(@lines);
	return join("\n", @lines);
}

$db = 'postgres';
ask('CREATE DATABASE soak_history');
ask("ALTER DATABASE soak_history SET test.people = $people");
$db = 'soak_history';
ask('CREATE EXTENSION marketing_automation', "DO \$\$ BEGIN PERFORM marketing.set_clock('2025-10-20 00:00+00'); END \$\$");
for my $file (qw(property.sql segments.sql))
{
	system('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $db, '-f', "$files/$file") == 0 or die "$file failed\n";
}
ask("SELECT setseed(0.$seed)", "DO \$\$ BEGIN PERFORM some_change() FROM generate_series(1, 25 * people()); END \$\$",
	'CALL marketing.work()', "DO \$\$ BEGIN PERFORM define_all(); END \$\$");
for (my $round = 1, my $checks = 0; $checks < $wanted; $round++)
{
	ask("CALL history(0.$seed$round, 25)", 'CALL marketing.work()', 'CALL marketing.work()', 'DO $$ BEGIN PERFORM check_stored(), check_reads(\'stored\'); END $$');
	$checks = ask('SELECT checks FROM tally');
}
print ask("SELECT format('%s memberships compared, no difference; %s transactions read their own changes; stored state checked %s times', checks, own, stored) FROM tally"), "\n";
print ask("SELECT format('entered and left at least %s times by a row; by time at least %s times, but for those that only rows change: istanbul', min(least(in_by_row, out_by_row)), min(least(in_by_time, out_by_time)) FILTER (WHERE name NOT IN ('istanbul'))) FROM coverage"), "\n";
my $rare = ask("SELECT coalesce(string_agg(c::text, ' '), '') FROM coverage AS c WHERE least(in_by_row, out_by_row) < $often OR (least(in_by_time, out_by_time) < $often AND name NOT IN ('istanbul'))");
die "too rarely entered or left (by row in, out, by time in, out): $rare\n" if $rare ne '' && $wanted >= 10_000_000;
$db = 'postgres';
ask("DROP DATABASE soak_history WITH (FORCE)") unless $ENV{HISTORY_KEEP};
