#!/usr/bin/perl
# segments.pl: the mix of MaSegmentMix.pm for minutes, with 8 and with 16 clients, each in a database of
# its own: no deadlock, no mismatch. SEGMENT_MINUTES (2) is the time of each run, SEGMENT_SEED repeats one.
use strict;
use warnings;
use MaSegmentMix;

my $minutes = $ENV{SEGMENT_MINUTES} || 2;
my $seed = $ENV{SEGMENT_SEED} || time;
my $home = $ENV{PGDATABASE};
my $missed = 0;

MaSegmentMix::psql("ALTER SYSTEM SET marketing_automation.databases = 'segments_8,segments_16'");
MaSegmentMix::psql('SELECT pg_reload_conf()');
for my $clients (8, 16)
{
	$ENV{PGDATABASE} = $home;
	MaSegmentMix::psql("CREATE DATABASE segments_$clients");
	$ENV{PGDATABASE} = "segments_$clients";
	MaSegmentMix::psql('SET client_min_messages = warning; CREATE EXTENSION marketing_automation');
	MaSegmentMix::prepare();
	my $figure = MaSegmentMix::run(seconds => int(60 * $minutes), clients => $clients, seed => $seed);
	my @wrong = MaSegmentMix::wrong($figure);
	print "seed $seed, $clients clients, $minutes min\n", MaSegmentMix::report($figure), map { "WRONG $_\n" } @wrong;
	$missed++ if @wrong;
	$ENV{PGDATABASE} = $home;
	MaSegmentMix::psql("DROP DATABASE segments_$clients WITH (FORCE)");
}
MaSegmentMix::psql('ALTER SYSTEM RESET marketing_automation.databases');
MaSegmentMix::psql('SELECT pg_reload_conf()');
exit($missed ? 1 : 0);
