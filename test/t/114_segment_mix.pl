# 114_segment_mix.pl
#
# Some seconds of the mix of MaSegmentMix.pm: no deadlock, no mismatch. make soak BENCH=segments is
# minutes of it.
use strict;
use warnings;
use Test::More;
use MaWorkers;
use MaSegmentMix;

my $seconds = $ENV{MA_SEGMENT_MIX_SECONDS} || 6;
my $node = new_server('mix', conf => <<'END');
timezone = 'UTC'
fsync = off
max_prepared_transactions = 20
marketing_automation.databases = 'postgres'
END
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
MaSegmentMix::psql('SET client_min_messages = warning; CREATE EXTENSION marketing_automation');
MaSegmentMix::prepare();
wait_scheduler($node, 'postgres', 'a scheduler works');
my $figure = MaSegmentMix::run(seconds => $seconds, clients => 6, seed => $ENV{MA_SEGMENT_SEED} || 7);
is(join("\n", MaSegmentMix::wrong($figure)), '', 'nothing is wrong');
cmp_ok($figure->{looks}, '>', 5, 'looks enough') or diag(MaSegmentMix::report($figure));
cmp_ok($figure->{flips}, '>', 100, 'flips enough');
cmp_ok($figure->{by_time}, '>', 10, 'by time, too');
note(MaSegmentMix::report($figure));
$node->stop;
done_testing();
