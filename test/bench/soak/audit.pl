#!/usr/bin/perl
# audit.pl: the audit of the flush (MaAudit.pm) for minutes, with 8 and with 16 clients, each in a
# database of its own. AUDIT_MINUTES (2) is the time of each run, AUDIT_SEED repeats one.
use strict;
use warnings;
use MaAudit;

my $minutes = $ENV{AUDIT_MINUTES} || 2;
my $seed = $ENV{AUDIT_SEED} || time;
my $home = $ENV{PGDATABASE};
my $missed = 0;

# The measurements' cluster has no workers and another prefix of its log.
sub set
{
	my ($setting, $value) = @_;
	MaAudit::psql("ALTER SYSTEM " . (defined $value ? "SET $setting = '$value'" : "RESET $setting"));
	MaAudit::psql('SELECT pg_reload_conf()');
}

set('marketing_automation.databases', 'audit_8,audit_16');
set('log_line_prefix', '%m [%p] %q%a <%e> ');
set('log_min_messages', 'debug1');
for my $clients (8, 16)
{
	$ENV{PGDATABASE} = $home;
	MaAudit::psql("CREATE DATABASE audit_$clients");
	$ENV{PGDATABASE} = "audit_$clients";
	my $figure = MaAudit::run(seconds => 60 * $minutes, clients => $clients, seed => $seed,
		log => "$ENV{PGHOST}/server.log");
	print "seed $seed, $clients clients, $minutes min\n", MaAudit::report($figure);
	$missed++ if MaAudit::wrong($figure);
	$ENV{PGDATABASE} = $home;
	MaAudit::psql("DROP DATABASE audit_$clients WITH (FORCE)");
}
set($_) for ('marketing_automation.databases', 'log_line_prefix', 'log_min_messages');
exit($missed ? 1 : 0);
