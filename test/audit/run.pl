#!/usr/bin/perl
# run.pl SECONDS CLIENTS SEED LOG: one run of the mix and the audits against the server of the
# environment; prints the figures, and ends with 1 if anything is wrong.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use lib dirname(dirname(abs_path(__FILE__))) . '/lib';
use MaAudit;

my ($seconds, $clients, $seed, $log) = @ARGV;
my $figure = MaAudit::run(seconds => $seconds, clients => $clients, seed => $seed, log => $log);
print "seed $seed, $clients clients, $seconds s\n", MaAudit::report($figure);
exit(MaAudit::wrong($figure) ? 1 : 0);
