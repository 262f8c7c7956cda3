# 131_smtp_kill.pl
#
# SIGKILL of the delivery worker, which restarts the server, while it sends through a mail server that
# writes each message down before it answers. With `hold` nobody gets a message twice and none is lost:
# each is in the server's ledger once, or in doubt. With `resend` nothing is in doubt, a message comes
# twice at most once for each kill that found it under way, and always under the same Message-ID.
# MESSAGES, KILLS and CONNECTIONS of the environment make it longer.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $messages = $ENV{MESSAGES} || 600;
my $kills = $ENV{KILLS} || 6;
my $customers = 200;
my $connections = $ENV{CONNECTIONS} || 4;
my $seed = $ENV{SEED} || $$;
my $node = new_server('kill', conf => "restart_after_crash = on\nmax_worker_processes = 16\nfsync = off");

srand($seed);
note("seed $seed");
mail_shop($node, $customers);

sub worker
{
	return try_psql($node, $db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'") // '';
}

sub live
{
	return try_psql($node, $db, "SELECT count(*) FROM marketing_internal.message WHERE state <> 'suspect'");
}

# Sends a round of messages through the server and kills the worker in the midst of it.
sub run_round
{
	my ($rule) = @_;
	my $peer = start_peer('mail_server.py', tls => 'none', delay => 0.02, life => 7200);
	my $killed = 0;
	my $idle = 0;

	$node->safe_psql($db, qq{
		CREATE SERVER mail_$rule FOREIGN DATA WRAPPER marketing_smtp
			OPTIONS (host '127.0.0.1', port '$peer->{port}', tls 'none', in_doubt '$rule', max_connections '$connections');
		SELECT marketing.define_sender('shop', channel => 'email', server => 'mail_$rule', from_address => 'hello\@shop.example');
		SELECT marketing.send_message(i % $customers + 1, 'offer') FROM generate_series(1, $messages) AS i;
	});
	while ($killed < $kills && $idle < 100)
	{
		# Long enough for it to be in the midst of something, and never the same.
		Time::HiRes::usleep(50_000 + rand(150_000));
		my $pid = worker();
		my $left = live();

		last if defined $left && $left == 0;
		$idle++;
		next unless $pid;
		$killed++ if kill('KILL', $pid);
		$idle = 0;
		ok(wait_psql($node, $db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), "$rule: killed") or last;
	}
	ok(wait_psql($node, $db, "SELECT count(*) = 0 FROM marketing_internal.message WHERE state <> 'suspect'"),
		"$rule: all come to an end or are in doubt") or diag($node->safe_psql($db, 'TABLE marketing_internal.message'));
	return ($peer, $killed);
}

# Keys and how often the mail server has taken each.
sub taken
{
	my %count;
	$count{ $_->{key} }++ foreach ledger_of($_[0]);
	return %count;
}

# -- hold
my ($peer, $killed) = run_round('hold');
my %taken = taken($peer);
my $sent = $node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'sent'");
my $suspects = $node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'suspect'");
cmp_ok($killed, '>', 0, 'hold: it was killed');
is(join(' ', grep { $taken{$_} > 1 } keys %taken), '', 'hold: nobody gets a message twice');
is($sent + $suspects, $messages, 'hold: each message is sent or in doubt, none is lost');
my %sent_keys = map { $_ => 1 } split /\n/,
  $node->safe_psql($db, "SELECT substring(detail FROM 'queued as ([0-9a-f]+)') FROM marketing.messages WHERE state = 'sent'");
is(join(' ', grep { !$taken{$_} } keys %sent_keys), '', 'hold: what is sent is in the ledger');
my $in_doubt_taken = grep { !$sent_keys{$_} } keys %taken;
cmp_ok($in_doubt_taken, '<=', $suspects, 'hold: what the ledger has besides is in doubt');
is(scalar(grep { $_->{bare} } ledger_of($peer)), 0, 'hold: each arrived with CR LF alone');
diag("hold: $messages messages, $killed kills, $sent sent, $suspects in doubt ($in_doubt_taken of them had arrived), 0 lost, "
	  . scalar(grep { $taken{$_} > 1 } keys %taken) . " twice");
$node->safe_psql($db, "SELECT marketing.settle_message(message, 'failed') FROM marketing.messages WHERE state = 'suspect'");
stop_peer($peer);

# -- resend
$node->safe_psql($db, 'DELETE FROM marketing_internal.message_log');
($peer, $killed) = run_round('resend');
%taken = taken($peer);
is($node->safe_psql($db, "SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s"),
	"sent $messages", 'resend: each message is sent');
is(scalar(keys %taken), $messages, 'resend: each has arrived');
my %ids;
$ids{ $_->{key} }{ $_->{id} } = 1 foreach ledger_of($peer);
is(scalar(grep { keys %{ $ids{$_} } > 1 } keys %ids), 0, 'resend: a message that comes twice has the same Message-ID');
my $twice = grep { $taken{$_} > 1 } keys %taken;
diag("resend: $messages messages, $killed kills, $twice twice, 0 lost");
no_trouble($node, 'nothing else went wrong', qr/PANIC|TRAP:|WARNING:.*duty/);
$node->stop;
done_testing();
