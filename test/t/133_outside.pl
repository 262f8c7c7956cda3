# 133_outside.pl
#
# Programs that send messages themselves: claims under a lease, told by NOTIFY, settled or in doubt; no
# message is claimed twice, and a redirected database writes to nobody else.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;
use MaProof;

my $db = 'postgres';
my $node = new_server('outside', conf => "max_worker_processes = 16\nmax_locks_per_transaction = 4000");

mail_shop($node, 40);
$node->safe_psql($db, q{
	CREATE SERVER app FOREIGN DATA WRAPPER marketing_outside;
	SELECT marketing.define_sender('shop', channel => 'email', server => 'app', from_address => 'hello@shop.example');
	SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 40) AS i;
});
my ($code, $out, $err) = $node->psql($db, "SELECT marketing.claim_messages('nobody')");
like($err, qr/there is no server "nobody" of marketing_outside/, 'another server is refused');
my $listener = session($node, $db);
$listener->query('LISTEN marketing_messages');
# psql shows what has come with the answer to its next statement.
$out = '';
wait_until(sub { ($out = $listener->query('SELECT 1')) =~ /Asynchronous/ });
like($out, qr/Asynchronous notification "marketing_messages" with payload "app"/, 'a worker tells that messages are due');
$listener->close;

is($node->safe_psql($db, "SELECT marketing.settle_message(message, 'sent') IS NOT NULL FROM marketing.claim_messages('app', 1)"), 't', 'one is claimed and settled');

# Two programs at once get different ones.
my @sessions = map { $node->background_psql($db) } 1, 2;
my %seen;
foreach my $session (@sessions)
{
	$session->query_safe('BEGIN');
	$seen{$_}++ foreach split /\n/, $session->query_safe("SELECT message FROM marketing.claim_messages('app', 10)");
}
$_->query_safe('COMMIT') foreach @sessions;
$_->quit foreach @sessions;
is(join(' ', scalar(keys %seen), grep { $_ > 1 } values %seen), '20', 'two programs claim different messages');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'sending'"), '20', 'they are under way');
like($node->safe_psql($db, "SELECT content FROM marketing.claim_messages('app', 1)"), qr/^From: hello\@shop\.example\r?\n(.*\r?\n)*List-Unsubscribe:/, 'each is a whole mail');

# What becomes of them.
my @messages = sort { $a <=> $b } keys %seen;
is($node->safe_psql($db, "SELECT marketing.settle_message($messages[0], 'sent', 'number 1')"), "$messages[0]: sent", 'sent');
is($node->safe_psql($db, "SELECT state || ' ' || detail FROM marketing.messages WHERE message = $messages[0]"), 'sent number 1', '... with the number of it');
is($node->safe_psql($db, "SELECT marketing.settle_message($messages[1], 'failed', 'no such box')"), "$messages[1]: failed", 'failed');
is($node->safe_psql($db, "SELECT marketing.settle_message($messages[2], 'retry', 'busy')"), "$messages[2]: deferred", 'retry');
($code, $out, $err) = $node->psql($db, "SELECT marketing.settle_message($messages[0], 'sent')");
like($err, qr/neither a suspect nor claimed by a program/, 'a second time is an error');

# A lease that ends.
my $lost = $node->safe_psql($db, "SELECT message FROM marketing.claim_messages('app', 1, '1 millisecond')");
ok($node->poll_query_until($db, "SELECT state = 'suspect' FROM marketing.messages WHERE message = $lost"), 'a lease that has ended leaves it in doubt');
is($node->safe_psql($db, "SELECT marketing.settle_message($lost, 'resend')"), "$lost: queued", 'and somebody decides');

# The delivery worker's restart leaves leases alone.
$node->restart;
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'marketing_automation scheduler'"), 'after a restart');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'sending'"), '18', 'leases hold');

# -- many that somebody else has: who wants one looks for a while and is told that there is none
$node->safe_psql($db, q{
	CREATE SERVER other FOREIGN DATA WRAPPER marketing_outside;
	SELECT marketing.define_sender('other', channel => 'email', server => 'other', from_address => 'other@shop.example');
	SELECT marketing.define_template('circular', topic => 'offers', sender => 'other', subject => 'x', text => 'x');
	INSERT INTO customers SELECT i, 'c' || i || '@example.com', NULL, true FROM generate_series(1001, 9000) AS i;
});
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM marketing_internal.dirty'), 'all are known');
$node->safe_psql($db, q{SELECT marketing.send_message(id, 'circular') FROM customers WHERE id > 1000});
my $owner = $node->background_psql($db);
$owner->query_safe('BEGIN');
my $owned = 0;
for (1 .. 8)
{
	$owned += $owner->query_safe("SELECT count(*) FROM marketing.claim_messages('other', 1000)");
}
is($owned, 8000, 'one program has claimed all, and has not committed');
is($node->safe_psql($db, "SET statement_timeout = '60s'; SELECT count(*) FROM marketing.claim_messages('other', 1)"), '0', 'the other one is not kept waiting');
$owner->query_safe('ROLLBACK');
$owner->quit;
is($node->safe_psql($db, "SELECT count(*) FROM marketing.claim_messages('other', 1)"), '1', 'and gets one when they are given back');

# -- staging
my $peer = start_peer('mail_server.py', tls => 'none', keep => 1);
$node->safe_psql($db, qq{
	SELECT marketing.configure('redirect_to', 'qa\@example.com');
	CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$peer->{port}', tls 'none');
	SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', from_address => 'hello\@shop.example');
	SELECT marketing.send_message(7, 'receipt');
});
ok($node->poll_query_until($db, "SELECT state = 'sent' FROM marketing.messages WHERE template = 'receipt'"), 'a redirected message is sent');
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE state = 'queued' AND template <> 'circular'"), 'the others of the sender follow him to his new server');
is(join(' ', grep { $_->{rcpt} ne 'qa@example.com' } ledger_of($peer)), '', 'to the one address there is');
my ($record) = grep { slurp_file("$peer->{folder}/$_->{key}.eml") =~ /Redirected-From: c7\@example\.com/ } ledger_of($peer);
ok($record, 'which is told whose it was');
$node->stop;
done_testing();
