# 104_mime.pl
#
# Mails as they go out, read back by Python's email package and by the byte (test/lib/mime_check.py).
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

my $node = PostgreSQL::Test::Cluster->new('mime');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION marketing_automation');
my $out = '';
my $err = '';
my $done = IPC::Run::run(
	[ 'python3', "$ENV{MA_TEST_DIR}/lib/mime_check.py", '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \$out, '2>', \$err);
diag("$out$err") unless $done;
ok($done, 'every mail is legal and reads back as it was given');
like($out, qr/^\d+ messages \d+ refused 0 bad$/m, 'and all were looked at');

# The same parts give the same bytes: a message that is sent again is the same one.
my $mail = q{SELECT md5(marketing_internal.mime('{"from_address": "a@b.example", "to_address": "c@d.example", "message_id": "x@b.example", "date": 1790000000, "subject": "Grüße", "text": "t", "html": "<p>h</p>"}'))};
is($node->safe_psql('postgres', $mail), $node->safe_psql('postgres', $mail), 'the same bytes each time');
$node->stop;
done_testing();
