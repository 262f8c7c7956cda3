#!/usr/bin/perl
# delivery_memory.pl: the delivery worker's own memory while it sends 20,000 messages, with no others waiting and with a
# million. What is shared (buffers) is told beside it. The bar: a million more cost at most 8 MB.
use strict;
use warnings;
use MaBench;

my $scale = $ENV{SCALE} || 1;
my $million = int(1_000_000 * $scale);
my $port = free_port();

mail_shop(20_000);
work_here();
start('smtp-sink', '-h', 'sink', "127.0.0.1:$port", 1000);
wait_port($port);
psql(<<"END");
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$port', tls 'none', max_connections '10');
SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', from_address => 'hello\@shop.example');
END

# kB of the worker's memory: the most it had of its own, the most in all, and how fast it went.
sub measure
{
	my ($waiting) = @_;
	my $most = 0;
	my ($pid, $peak);

	psql('TRUNCATE marketing_internal.message, marketing_internal.message_log, marketing_internal.message_decision');
	my $old = delivery_pid();
	if ($old ne '')
	{
		psql("SELECT pg_terminate_backend($old)");
		wait_for(sub { delivery_pid() ne $old }, 'the end of the worker');
	}
	psql('SELECT marketing.disarm()');
	queue(1, 'offer');
	psql(<<"END");
INSERT INTO marketing_internal.message (contact_id, since, channel, topic_id, template_id, template, priority, lane, next_at, created_at, data)
SELECT i % 20000 + 1, m.since, m.channel, m.topic_id, m.template_id, m.template, m.priority, m.lane, m.created_at + i * interval '1 microsecond', m.created_at, m.data
FROM marketing_internal.message AS m, generate_series(1, 20000 + $waiting) AS i;
DELETE FROM marketing_internal.message WHERE state = 'deferred';
ANALYZE marketing_internal.message;
END
	psql('SELECT marketing.arm()');
	psql("SELECT marketing.send_message(1, 'offer')");
	my $began = Time::HiRes::time();
	wait_for(sub {
		$pid = delivery_pid();
		if ($pid ne '' && open(my $file, '<', "/proc/$pid/status"))
		{
			my %kb = map { /^(\w+):\s+(\d+) kB/ ? ($1 => $2) : () } <$file>;
			$most = $kb{RssAnon} if ($kb{RssAnon} // 0) > $most;
			$peak = $kb{VmHWM} if $kb{VmHWM};
		}
		return psql("SELECT count(*) FROM marketing_internal.message_log WHERE state = 'sent'") >= 20_000;
	}, '20,000 sent', 600);
	printf "%9d waiting: %6.1f MB of its own, %6.1f MB at most with what is shared, %.0f messages a second\n", $waiting, $most / 1024, $peak / 1024,
	  20_000 / (Time::HiRes::time() - $began);
	return $most;
}

my $few = measure(0);
my $many = measure($million);
printf "%s: %.1f MB more, the bar is 8\n", $many - $few <= 8192 ? 'held' : 'MISSED', ($many - $few) / 1024;
exit($many - $few <= 8192 ? 0 : 1);
