# 108_delivery_crash.pl
#
# A message that crashes the server each time it is composed, or each time its sending begins, is tried a
# few times, later and later, and then fails, or is held if it may have been sent; what waits beside it
# is sent. How often the server crashes while a message only waits for its turn counts for nothing.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $kills = $ENV{KILLS} || 25;
my $most = 5;                           # crashes in the midst of one message, src/delivery/send/settle.c
my $node = new_server('crash', conf => "restart_after_crash = on\nmax_worker_processes = 16\nfsync = off");

mail_shop($node, 40);
my $peer = start_peer('mail_server.py', tls => 'none', life => 7200);
$node->safe_psql($db, qq{
	CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$peer->{port}', tls 'none', max_connections '1');
	SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', from_address => 'hello\@shop.example');
});

# What a statement gives when the server can be asked.
sub ask
{
	my ($sql) = @_;
	my ($code, $out) = $node->psql($db, $sql);
	return $code == 0 ? $out : undef;
}

sub worker
{
	return ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'") || 0;
}

# Kills the delivery worker, which restarts the server.
sub kill_worker
{
	my ($pid) = @_;
	return 0 unless $pid && kill('KILL', $pid);
	return $node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
}

# ---- while its sending has begun: the mail server is told its recipient, and then the worker is killed

$node->safe_psql($db, q{
	UPDATE customers SET email = 'rcpt-held-poison@example.com' WHERE id = 1;
	SELECT marketing.send_message(id, 'offer') FROM customers WHERE id <= 10 ORDER BY id;
});
sub begun
{
	return scalar grep { /^RCPT TO:<rcpt-held-poison/ } commands_of($peer);
}
my $crashes = 0;
for (1 .. 60 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if (ask(q{SELECT state FROM marketing.messages WHERE contact = '1'}) // '') eq 'failed';
	my $now = begun();

	$crashes = $now if $now > $crashes && kill_worker(worker());
	Time::HiRes::usleep(50_000);
}
is($crashes, $most, "it crashes the server $most times");
is($node->safe_psql($db, q{SELECT state, reason FROM marketing.messages WHERE contact = '1'}),
	"failed|the server crashed $most times while it was on its way; it was never handed over", 'and fails');
ok($node->poll_query_until($db, q{SELECT count(*) = 9 FROM marketing.messages WHERE state = 'sent'}), 'the others are sent');
is($node->safe_psql($db, q{SELECT max(attempts) FROM marketing.messages WHERE state = 'sent'}), '1', '... each at its first attempt');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.message_decision WHERE gate = 'poison' AND decision = 'deferred'}), $most - 1, 'each time it waits');
is(scalar(ledger_of($peer)), 9, 'nobody gets anything twice');

# ---- while it is composed: what its template asks for ends the process

$node->safe_psql($db, q{
	CREATE FUNCTION fragile(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN IF n = 2 THEN COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'; PERFORM pg_sleep(600); END IF; RETURN n; END $$;
	SELECT marketing.define_query('numbers', 'SELECT public.fragile($1::int) AS x', params => '{data.n}');
	SELECT marketing.define_template('t', topic => 'transactional', subject => 'x', text => '{% for r in numbers %}{{ r.x }}{% endfor %}');
	BEGIN;
	SELECT marketing.send_message(2, 't', data => '{"n": 2}');
	SELECT marketing.send_message(i, 'receipt') FROM generate_series(11, 15) AS i;
	COMMIT;
});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE state = 'failed' AND template = 't'}), 'one that crashes the server when it is composed fails');
is($node->safe_psql($db, q{SELECT reason, attempts FROM marketing.messages WHERE template = 't'}),
	"the server crashed $most times while it was on its way; it was never handed over|0", '... after as many times, without an attempt to send it');
ok($node->poll_query_until($db, q{SELECT count(*) = 5 FROM marketing.messages WHERE state = 'sent' AND template = 'receipt'}), 'the others are sent');

# ---- while a query runs for several: the one whose data end the process is found among those that only ask for it, too

$node->safe_psql($db, q{SELECT marketing.send_message(i, 't', data => jsonb_build_object('n', CASE WHEN i = 31 THEN 2 ELSE i END)) FROM generate_series(27, 35) AS i});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE state = 'failed' AND template = 't' AND contact = '31'}), 'of several that ask for the same, the one that crashes the server fails');
ok($node->poll_query_until($db, q{SELECT count(*) = 8 FROM marketing.messages WHERE state = 'sent' AND template = 't'}), 'the others are sent');
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT m.contact, ' ') FROM marketing_internal.message_decision AS d JOIN marketing.messages AS m ON m.message = d.message_id
	WHERE d.gate = 'poison' AND m.template = 't' AND m.contact <> '2'}), '31', 'and no crash is said to be theirs');

# ---- when it has been handed over: nobody knows whether it was taken, and this one is sent again

$node->safe_psql($db, q{
	UPDATE customers SET email = 'dot-held-doubt@example.com' WHERE id = 21;
	SELECT marketing.send_message(id, 'receipt') FROM customers WHERE id BETWEEN 21 AND 26 ORDER BY id;
});
sub handed_over
{
	return scalar grep { $_->{rcpt} =~ /doubt/ } ledger_of($peer);
}
# Kills the worker whenever it has been handed over again, until it has been so $times times.
sub crash_until
{
	my ($times) = @_;
	for (1 .. 60 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $now = handed_over();

		$crashes = $now if $now > $crashes && kill_worker(worker());
		return if $crashes >= $times;
		Time::HiRes::usleep(50_000);
	}
}
$crashes = 0;
crash_until(1);
# It is held at the mail server, and there is one connection.
ok($node->poll_query_until($db, q{SELECT count(*) = 5 FROM marketing.messages WHERE contact::int BETWEEN 22 AND 26 AND template = 'receipt' AND state = 'sent'}),
	'others go before it is sent again');
crash_until($most);
ok($node->poll_query_until($db, q{SELECT state = 'suspect' AND attempts = 5 FROM marketing.messages WHERE contact = '21'}), "after $most crashes it is held");
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.message_decision AS d JOIN marketing.messages AS m ON m.message = d.message_id
	WHERE m.contact = '21' AND d.decision = 'deferred' AND d.gate = 'crash'}), $most - 1, 'each time it waits');
$node->safe_psql($db, q{SELECT marketing.settle_message(message, 'sent') FROM marketing.messages WHERE contact = '21' AND state = 'suspect'});

# ---- while it waits: each crash meets another message, and those behind it each time

tell_peer($peer, rcpt => 'held');
my $asked = scalar grep { /^RCPT TO/ } commands_of($peer);
my $messages = $kills + 15;
$node->safe_psql($db, "SELECT marketing.send_message(11 + i % 30, 'offer', data => jsonb_build_object('n', i)) FROM generate_series(1, $messages) AS i");
my $killed = 0;
for (1 .. 60 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if $killed == $kills;
	my $now = grep { /^RCPT TO/ } commands_of($peer);

	if ($now > $asked && kill_worker(worker()))
	{
		$asked = $now;
		$killed++;
	}
	Time::HiRes::usleep(20_000);
}
is($killed, $kills, "$kills kills");
my $blamed = $node->safe_psql($db, 'SELECT max(crashes) FROM marketing_internal.message');
my $claimed = $node->safe_psql($db, q{SELECT max(n) FROM (SELECT count(*) AS n FROM marketing_internal.message_decision AS d
	JOIN marketing_internal.message AS m USING (message_id) WHERE d.decision = 'claimed' GROUP BY m.message_id) AS x});
diag("one was claimed $claimed times; no one was under way in more than $blamed crashes");
cmp_ok($claimed, '>', $kills / 2, 'some were claimed again and again');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing.messages WHERE state = 'suspect'}), '0', 'none is in doubt');
tell_peer($peer);
append_to_file("$peer->{folder}/go", 'on');
ok($node->poll_query_until($db, "SELECT count(*) = $messages FROM marketing.messages WHERE template = 'offer' AND state = 'sent' AND contact::int > 10"), 'all of them are sent');
no_trouble($node, 'nothing else went wrong', qr/PANIC|TRAP:|WARNING:.*duty/);
$node->stop;
done_testing();
