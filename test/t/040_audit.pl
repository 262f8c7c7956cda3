# 040_audit.pl
#
# The acceptance test of the flush at commit: a hostile mix of transactions, and an auditor that
# recomputes everything from the users' rows in snapshots taken while it runs (MaAudit.pm).
#
# AUDIT_SEED repeats the choices of a run, AUDIT_SECONDS (15) and AUDIT_CLIENTS (8) make a longer one.
# No time is asserted; it runs in rounds until enough was checked, which is.
use strict;
use warnings;
use MaAudit;
use MaWorkers;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{AUDIT_SECONDS} || 15;
my $clients = $ENV{AUDIT_CLIENTS} || 8;
my $seed = $ENV{AUDIT_SEED} || time;
my $node = new_server('audit', conf => <<'CONF');
max_connections = 60
max_prepared_transactions = 40
log_line_prefix = '%m [%p] %q%a <%e> '
log_min_messages = debug1
log_lock_waits = off
log_statement = none
CONF

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGDATABASE} = 'shop';
$node->safe_psql('postgres', 'CREATE DATABASE shop');

# A busy machine needs more rounds for it, so that chance decides nothing.
my %enough = (audits => 10, states => 5000, reads => 1000, occurrences => 500);
my $figure = MaAudit::run(seconds => $seconds, clients => $clients, seed => $seed, log => $node->logfile, enough => \%enough);
diag("seed $seed, $clients clients, $seconds s");
note($_) for split /\n/, MaAudit::report($figure);

is($figure->{bad}, 0, 'every snapshot: contacts not behind have the state their rows tell, exact reads are exact');
is($figure->{bad_final}, 0, 'all is right once the logs are empty');
is($figure->{left_over}, '', 'the logs run empty');
is($figure->{deadlocks}, 0, 'no deadlock');
is_deeply($figure->{failed}, [], 'every session of the mix came to its end');
is_deeply($figure->{strange}, [], 'the log has only errors that the mix brings about');
is(join("\n", MaAudit::wrong($figure)), '', 'nothing else is wrong');

cmp_ok($figure->{$_}, '>=', $enough{$_}, "$_ enough were checked") for qw(audits states reads occurrences);
diag(MaAudit::report($figure)) unless Test::More->builder->is_passing;
$node->stop;
done_testing();
