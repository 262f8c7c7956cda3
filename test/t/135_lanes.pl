# 135_lanes.pl
#
# What one server, one message, one open transaction or one jump of the clock may not do: keep the delivery
# worker busy for nothing, or keep back what has nothing to do with it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $node = new_server('lanes', conf => "max_worker_processes = 16");
my $smtp = start_peer('mail_server.py', tls => 'none');
my $http = start_peer('http_server.py');

mail_shop($node, 20);

sub create_mail
{
	my ($name, $options) = @_;
	$options = $options ? ", $options" : '';
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$smtp->{port}', tls 'none'$options);
		SELECT marketing.define_sender('mailer', channel => 'email', server => '$name', from_address => 'hello\@shop.example');
	});
}

sub sent
{
	my ($n, $template, $message) = @_;
	ok($node->poll_query_until($db, "SELECT count(*) >= $n FROM marketing.messages WHERE template = '$template' AND state = 'sent'"), $message)
	  or diag($node->safe_psql($db, "SELECT message, state, reason, next_try FROM marketing.messages WHERE template = '$template' AND state <> 'sent' LIMIT 5"));
}

# ---- a queue that waits for its rate costs nothing ----

# Transactions of the database for each turn of its scheduler, which has one every half second or so.
sub commits_a_turn
{
	my $commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = '$db'";
	my ($turns, $from) = (turns($node, $db), $node->safe_psql($db, $commits));
	ok(wait_turns($node, $db, $turns + 8), 'the scheduler works');
	return ($node->safe_psql($db, $commits) - $from) / (turns($node, $db) - $turns);
}

create_mail('slow', "rate '3/hour'");
$node->safe_psql($db, q{SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 10) AS i});
sent(1, 'offer', 'a rate lets one go');
cmp_ok(commits_a_turn(), '<', 150, 'and the worker rests');
create_mail('fast');
sent(10, 'offer', 'another server sends them');

# ---- the clock was wrong once ----

create_mail('early');
$node->safe_psql($db, q{
	INSERT INTO marketing_internal.server_state (server, failures, open_until, reason, day, sent_today, changed_at)
	VALUES ('early', 3, now() + interval '10 years', 'no connection', 0, 0, now());
	SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 2) AS i});
sent(12, 'offer', 'a server is not left alone for years');

# ---- a worker that has just begun knows which servers rest ----

create_mail('tired');
$node->safe_psql($db, q{
	INSERT INTO marketing_internal.server_state (server, failures, open_until, reason, day, sent_today, changed_at)
	VALUES ('tired', 3, now() + interval '10 minutes', 'no connection', 0, 0, now());
});
create_mail('awake');
$node->safe_psql($db, q{
	SELECT marketing.define_sender('second', channel => 'email', server => 'tired', from_address => 'hello@shop.example'),
		marketing.define_template('resting', topic => 'transactional', sender => 'second', subject => 'x', text => 'x'),
		marketing.define_template('awake', topic => 'transactional', sender => 'mailer', subject => 'x', text => 'x');
	SELECT marketing.send_message(3, 'resting'), marketing.send_message(3, 'awake')});
sent(1, 'awake', 'one server works');
is($node->safe_psql($db, q{SELECT state FROM marketing.messages WHERE template = 'resting'}), 'queued', 'the other one rests');
$node->safe_psql($db, q{ALTER SERVER tired OPTIONS (ADD timeout '30')});
sent(1, 'resting', 'changed, it is tried at once');

# ---- a message that its server always refuses ----

$node->safe_psql($db, qq{
	SELECT marketing.define_topic('texts', consent => 'opt_out', channels => '{sms}');
	SELECT marketing.define_template('text', topic => 'texts', channel => 'sms', text => '{{ data.word }}');
	CREATE SERVER texts FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$http->{port}/x', allow_http 'true', allow_private 'true');
	SELECT marketing.define_sender('texter', channel => 'sms', server => 'texts', from_address => '+15550001');
	SELECT marketing.send_message(1, 'text', data => '{"word": "x"}');
});
sent(1, 'text', 'a text is sent');
my $bad = $node->safe_psql($db, q{SELECT marketing.send_message(1, 'text', data => '{"word": "do-status/403"}')});
ok($node->poll_query_until($db, "SELECT state = 'deferred' FROM marketing.messages WHERE message = $bad"), 'one is refused by a server that works for others');
is($node->safe_psql($db, "SELECT attempts FROM marketing.messages WHERE message = $bad"), '1', 'that was an attempt of its own');
cmp_ok($node->safe_psql($db, "SELECT extract(epoch FROM next_try - since) FROM marketing.messages WHERE message = $bad"), '>', 50, 'and it waits longer than the server');
$node->safe_psql($db, q{SELECT marketing.send_message(2, 'text', data => '{"word": "x"}')});
sent(2, 'text', 'others go on');

# ---- a server that answers so that nobody knows ----

$node->safe_psql($db, qq{
	CREATE SERVER gateway FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$http->{port}/status/502', allow_http 'true', allow_private 'true');
	SELECT marketing.define_sender('texter', channel => 'sms', server => 'gateway', from_address => '+15550001'),
		marketing.define_template('code', topic => 'transactional', channel => 'sms', text => 'x');
	SELECT marketing.send_message(i % 10 + 1, 'text', data => '{"word": "y"}') FROM generate_series(1, 200) AS i});
ok($node->poll_query_until($db, q{SELECT failures > 0 FROM marketing_internal.server_state WHERE server = 'gateway'}), 'it is left alone');
my $doubts = $node->safe_psql($db, q{SELECT count(*) FROM marketing.messages WHERE template = 'text' AND state = 'suspect'});
cmp_ok($doubts, '<', 70, "before all of its queue is in doubt ($doubts of 200)");
$node->safe_psql($db, q{DELETE FROM marketing_internal.message WHERE template = 'text' AND state <> 'sending'});
my $code = $node->safe_psql($db, q{SELECT marketing.send_message(1, 'code')});
ok($node->poll_query_until($db, "SELECT attempts > 0 AND state <> 'sending' FROM marketing.messages WHERE message = $code"), 'one that is sent again in doubt');
like($node->safe_psql($db, "SELECT state || ' ' || attempts || ' ' || (next_try > since + interval '50 seconds') FROM marketing.messages WHERE message = $code"),
	qr/^deferred 1 true$/, 'is not sent at once');

# ---- somebody erases a contact and does not commit, while a message is under way to him ----

$node->safe_psql($db, q{UPDATE customers SET email = 'dot-held-a@example.com' WHERE id = 11});
$node->safe_psql($db, q{SELECT marketing.send_message(11, 'receipt')});
ok($node->poll_query_until($db, q{SELECT state = 'sending' FROM marketing.messages WHERE template = 'receipt'}), 'a message is under way');
ok(wait_until(sub { grep { $_->{rcpt} =~ /held/ } ledger_of($smtp) }), 'its server has all of it');
my $session = $node->background_psql($db);
$session->query_safe('BEGIN');
like($session->query_safe('SELECT marketing.erase_contact(11)'), qr/erased/, 'its contact is being erased');
append_to_file("$smtp->{folder}/go", 'go');
$node->safe_psql($db, q{SELECT marketing.send_message(i, 'offer') FROM generate_series(12, 14) AS i});
sent(15, 'offer', 'others are sent and settled meanwhile');
$session->query_safe('COMMIT');
$session->quit;
is($node->safe_psql($db, q{SELECT count(*) FROM marketing.messages WHERE template = 'receipt'}), '0', 'nothing is left of him');
$node->safe_psql($db, q{SELECT marketing.send_message(15, 'offer')});
sent(16, 'offer', 'and all goes on');
ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM marketing_internal.message WHERE state = 'sending'}), 'with nothing under way');

# ---- what was open for a server goes with it, not with the worker ----

sub worker
{
	return $node->safe_psql($db, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'});
}

my ($other_http, $other_smtp) = (start_peer('http_server.py'), start_peer('mail_server.py', tls => 'none'));
$node->safe_psql($db, qq{
	DELETE FROM marketing_internal.message;
	CREATE SERVER leaving FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$other_http->{port}/x', allow_http 'true', allow_private 'true');
	CREATE SERVER mail_leaving FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$other_smtp->{port}', tls 'none');
	SELECT marketing.define_topic('calls', consent => 'opt_out', channels => '{sms,email}'),
		marketing.define_sender('caller', channel => 'sms', server => 'leaving', from_address => '+15550001'),
		marketing.define_sender('writer', channel => 'email', server => 'mail_leaving', from_address => 'hello\@shop.example'),
		marketing.define_template('call', topic => 'calls', channel => 'sms', sender => 'caller', text => 'x'),
		marketing.define_template('letter', topic => 'calls', sender => 'writer', subject => 'x', text => 'x');
	SELECT marketing.send_message(1, 'call'), marketing.send_message(1, 'letter')});
sent(1, 'call', 'a text is sent');
sent(1, 'letter', 'and a mail');
$node->safe_psql($db, q{ALTER SERVER leaving OPTIONS (ADD timeout '20'); SELECT marketing.send_message(2, 'call')});
sent(2, 'call', 'by another connection, now that its server was altered');
is(join(' ', map { $_->{number} } ledger_of($other_http)), '1 1', '... each the first of its connection');
ok(wait_until(sub { open_at($other_http) <= 1 }), '... and the old one is closed');
my $worker = worker();
$node->safe_psql($db, q{
	SELECT marketing.define_sender('caller', channel => 'sms', server => 'texts', from_address => '+15550001'),
		marketing.define_sender('writer', channel => 'email', server => 'fast', from_address => 'hello@shop.example');
	DROP SERVER leaving; DROP SERVER mail_leaving});
ok(wait_until(sub { open_at($other_http) == 0 && open_at($other_smtp) == 0 }), 'none is left to servers that were dropped');
is(worker(), $worker, '... long before the worker ends');

$node->stop;
done_testing();
