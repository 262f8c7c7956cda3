# 130_smtp.pl
#
# Mail through a real server: what becomes of a message by every reply at every stage, faults of the
# connection at every stage, TLS and passwords, and that one bad server holds up no other. The mail
# server does as each recipient's name says (mail_server.py).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $secret = 'correct-horse-battery-staple';
my $node = new_server('smtp', conf => "max_worker_processes = 16\nlog_min_messages = debug1\nlog_statement = none\n"
	  . "marketing_automation.credentials_directory = '$credentials'");

mail_shop($node, 5);

my $server = 0;

# A server of its own and the sender that uses it.
sub use_peer
{
	my ($peer, $options) = @_;
	my $name = 'mail' . ++$server;
	$options = $options ? ", $options" : '';
	my $host = $options =~ /host '/ ? '' : "host '127.0.0.1', ";
	$options =~ s/^, // if $host eq '' ;
	$options = ", $options" if $host eq '';
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_smtp OPTIONS (${host}port '$peer->{port}'$options);
		SELECT marketing.define_sender('shop', channel => 'email', server => '$name', from_address => 'hello\@shop.example');
	});
	return $name;
}

# Asks for messages to addresses, in one transaction; their numbers by address.
sub send_to
{
	my (@addresses) = @_;
	my $n = 100;
	my $list = join(', ', map { $n++; "($n, '$_')" } @addresses);
	my %number = map { split /\|/ } split /\n/, $node->safe_psql($db, qq{
		DELETE FROM customers WHERE id > 100;
		INSERT INTO customers SELECT id, email FROM (VALUES $list) AS v (id, email);
		SELECT c.email, marketing.send_message(c.id, 'offer') FROM customers AS c WHERE id > 100;});
	return %number;
}

# What has become of each: "state attempts".
sub states_of
{
	my (%number) = @_;
	my $ids = join(', ', values %number);
	my %address = reverse %number;
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE message IN ($ids) AND state IN ('queued', 'sending')"),
		'all have been tried') or diag($node->safe_psql($db, "SELECT * FROM marketing.messages WHERE message IN ($ids)"));
	return map { my ($id, $state, $attempts) = split /\|/; ($address{$id} => "$state $attempts") }
	  split /\n/, $node->safe_psql($db, "SELECT message, state, attempts FROM marketing.messages WHERE message IN ($ids)");
}

# -- every reply at the stages that know a recipient
my $peer = start_peer('mail_server.py', tls => 'none');
use_peer($peer, "tls 'none', timeout '2'");
my %expected;
foreach my $stage (qw(rcpt data dot))
{
	foreach my $code (421, 450, 451, 452, 454, 499) { $expected{"$stage-$code-x\@example.com"} = 'deferred 1'; }
	foreach my $code (500 .. 504, 521, 530, 535, 538, 541, 550 .. 555, 571)
	{
		my $of_server = $stage ne 'dot' && ($code == 500 || $code == 502 || $code == 503 || $code == 504 || $code == 530 || $code == 535 || $code == 538);
		$expected{"$stage-$code-x\@example.com"} = $of_server ? 'deferred 0' : 'failed 1';
	}
}
# A server that is at fault is left alone for a while, so those go one by one.
my @of_server = grep { $expected{$_} eq 'deferred 0' } sort keys %expected;
my @others = grep { $expected{$_} ne 'deferred 0' } sort keys %expected;
my %number = send_to(@others);
my %state = states_of(%number);
is(join("\n", map { "$_ $state{$_}" } @others), join("\n", map { "$_ $expected{$_}" } @others), 'each reply means what it should');
is(scalar(ledger_of($peer)), 0, 'nobody got anything');
like($node->safe_psql($db, "SELECT reason FROM marketing.messages WHERE address = 'rcpt-550-x\@example.com'"), qr/^550 5\.3\.0 as told \(RCPT\)$/,
	'the server\'s own words are kept');
like($node->safe_psql($db, "SELECT EXTRACT(epoch FROM next_try - since) FROM marketing.messages WHERE address = 'dot-451-x\@example.com'"),
	qr/^(6\d|7\d|8\d|9\d|1[01]\d)\./, 'what is deferred is tried again a minute or two later');
foreach my $address (@of_server[0 .. 2])
{
	use_peer($peer, "tls 'none', timeout '2'");
	%number = send_to($address);
	%state = states_of(%number);
	is($state{$address}, 'deferred 0', "$address: the server's fault, not an attempt");
}

# -- every fault of the connection at those stages
use_peer($peer, "tls 'none', timeout '2', max_connections '8'");
%expected = ();
foreach my $fault (qw(hole close reset endless huge noise))
{
	$expected{"rcpt-$fault-x\@example.com"} = 'deferred 1';
	$expected{"data-$fault-x\@example.com"} = 'deferred 1';
	$expected{"dot-$fault-x\@example.com"} = 'suspect 1';
}
%number = send_to(sort keys %expected);
%state = states_of(%number);
is(join("\n", map { "$_ $state{$_}" } sort keys %expected), join("\n", map { "$_ $expected{$_}" } sort keys %expected),
	'only what has been handed over to its last octet is in doubt');
is(join(' ', sort map { $_->{rcpt} } ledger_of($peer)), join(' ', sort grep { /^dot/ } keys %expected), 'and just those had arrived');
$node->safe_psql($db, "SELECT marketing.settle_message(message, 'sent') FROM marketing.messages WHERE state = 'suspect'");

# -- a reset after so many octets of the message
foreach my $octets (1, 100, 400)
{
	restart_peer($peer, body => $octets);
	use_peer($peer, "tls 'none', timeout '2'");
	%number = send_to("body$octets\@example.com");
	%state = states_of(%number);
	like($state{"body$octets\@example.com"}, qr/^(deferred|suspect) 1$/, "reset after $octets octets: tried again, or in doubt, never sent");
}
restart_peer($peer, body => 0);

# -- what goes wrong before a recipient is named is the server's fault: no attempt of the message
foreach my $stage (qw(banner ehlo mail))
{
	foreach my $told ('421 4.3.2 later', '554 5.3.2 never', 'close', 'reset', 'hole', 'noise', ($stage eq 'mail' ? () : 'endless', 'huge'))
	{
		tell_peer($peer, $stage => $told);
		use_peer($peer, "tls 'none', timeout '2', connect_timeout '2'");
		%number = send_to("early\@example.com");
		%state = states_of(%number);
		my $wanted = $stage eq 'mail' && $told =~ /^554/ ? 'failed 1' : 'deferred 0';
		is($state{"early\@example.com"}, $wanted, "$stage: $told");
	}
}
tell_peer($peer, mail => '450 4.7.1 greylisted');
use_peer($peer, "tls 'none'");
%number = send_to("grey\@example.com");
%state = states_of(%number);
is($state{"grey\@example.com"}, 'deferred 1', 'mail: 450 is tried again');
tell_peer($peer);

# -- and when it works again, it is sent: nobody has to do anything
my $name = use_peer($peer, "tls 'none', connect_timeout '2'");
tell_peer($peer, banner => '421 4.3.2 later');
%number = send_to("again\@example.com");
states_of(%number);
like($node->safe_psql($db, "SELECT reason FROM marketing_internal.server_state WHERE server = '$name'"), qr/421 4\.3\.2 later/, 'its fault is known');
tell_peer($peer);
ok($node->poll_query_until($db, "SELECT state = 'sent' FROM marketing.messages WHERE message = " . $number{"again\@example.com"}),
	'after a pause it is tried again');
is($node->safe_psql($db, "SELECT failures FROM marketing_internal.server_state WHERE server = '$name'"), '0', 'and is as good as new');

# -- connections: used again, also without PIPELINING, after a refusal, and when the server closes them
foreach my $pipelining (qw(yes no))
{
	my $before = ledger_of($peer);
	restart_peer($peer, pipelining => $pipelining, stubborn => '354 go on all the same');
	use_peer($peer, "tls 'none', max_connections '1'");
	%number = send_to('a@example.com', 'rcpt-550-b@example.com', 'c@example.com', 'dot-451-d@example.com', 'e@example.com');
	%state = states_of(%number);
	is(join(', ', map { "$_ $state{$_}" } sort keys %state),
		'a@example.com sent 1, c@example.com sent 1, dot-451-d@example.com deferred 1, e@example.com sent 1, rcpt-550-b@example.com failed 1',
		"pipelining $pipelining: a refusal harms nobody else");
	my @new = ledger_of($peer);
	splice(@new, 0, $before);
	my %connections = map { $_->{connection} => 1 } @new;
	is(scalar(@new) . ' in ' . keys %connections, '3 in 1', "pipelining $pipelining: all over one connection");
}
restart_peer($peer, messages => 2, stubborn => '');
delete $peer->{options}{stubborn};
restart_peer($peer);
use_peer($peer, "tls 'none', max_connections '1'");
%number = send_to(map { "m$_\@example.com" } 1 .. 7);
%state = states_of(%number);
is(join(' ', sort values %state), join(' ', ('sent 1') x 7), 'a server that closes after each second message gets them all');
restart_peer($peer, messages => 0);

# -- dots, and where bounces go
restart_peer($peer, keep => 1);
use_peer($peer, "tls 'none', return_path 'bounces\@shop.example', verp 'true'");
%number = send_to('dots@example.com');
states_of(%number);
my ($record) = grep { $_->{rcpt} eq 'dots@example.com' } ledger_of($peer);
is($record->{from}, "bounces+$record->{key}\@shop.example", 'the return path names the message');
like(slurp_file("$peer->{folder}/$record->{key}.eml"), qr/\n=2Ewith a dot/, 'a line that begins with a dot arrives');

# -- TLS and passwords
my ($certificate, $key) = certificate($credentials, 'localhost');
my $tls = start_peer('mail_server.py', tls => 'starttls', cert => $certificate, key => $key, login => "shop:$secret");
append_to_file("$credentials/shop_password", "$secret\n");
chmod(0400, "$credentials/shop_password");
my $with = "host 'localhost', user 'shop', password_file 'shop_password', connect_timeout '3'";

use_peer($tls, "$with, ca_file 'localhost.crt'");
%number = send_to('tls@example.com');
%state = states_of(%number);
is($state{'tls@example.com'}, 'sent 1', 'STARTTLS and AUTH')
  or diag($node->safe_psql($db, "SELECT reason FROM marketing.messages WHERE address = 'tls\@example.com'"));
my ($tls_record) = ledger_of($tls);
is("$tls_record->{tls} $tls_record->{user}", '1 shop', 'the server says so, too');

foreach my $case (
	[ 'a certificate that nobody vouches for', $tls, "$with", 'certificate' ],
	[ 'a certificate of another name', $tls, ($with =~ s/localhost/127.0.0.1/r) . ", ca_file 'localhost.crt'", 'does not match|alternative|subject' ],
	[ 'a server without STARTTLS', $peer, "host '127.0.0.1', connect_timeout '3'", 'TLS|SSL' ],
	[ 'a wrong password', $tls, ($with =~ s/shop_password/wrong/r) . ", ca_file 'localhost.crt'", '535 5.7.8' ],
	[ 'a password file that others can read', $tls, ($with =~ s/shop_password/open/r), 'can be read by others' ],
	[ 'a password file that is a link', $tls, ($with =~ s/shop_password/link/r), 'cannot be read' ],
	[ 'a password file that is a pipe', $tls, ($with =~ s/shop_password/pipe/r), 'not a plain file' ],
	[ 'a password file that is not there', $tls, ($with =~ s/shop_password/none/r), 'cannot be read' ])
{
	my ($what, $whose, $options, $reason) = @$case;
	unless (-e "$credentials/wrong")
	{
		append_to_file("$credentials/wrong", "not-$secret");
		chmod(0400, "$credentials/wrong");
		append_to_file("$credentials/open", $secret);
		chmod(0444, "$credentials/open");
		symlink("$credentials/shop_password", "$credentials/link");
		system_or_bail('mkfifo', '-m', '0600', "$credentials/pipe");
	}
	use_peer($whose, $options);
	%number = send_to('never@example.com');
	%state = states_of(%number);
	is($state{'never@example.com'}, 'deferred 0', "$what: nothing is sent");
	like($node->safe_psql($db, 'SELECT reason FROM marketing.messages WHERE message = ' . $number{'never@example.com'}), qr/$reason/, "$what: the reason");
}
is(scalar(ledger_of($tls)), 1, 'none of them got through');
ok(!(grep { /STARTTLS/ } commands_of($peer)), 'no STARTTLS where it was not offered');

# inline, in the user mapping
use_peer($tls, "host 'localhost', user 'shop', ca_file 'localhost.crt'");
$node->safe_psql($db, "SET log_min_error_statement = 'panic'; CREATE USER MAPPING FOR PUBLIC SERVER mail$server OPTIONS (password '$secret', allow_inline_secret 'true')");
%number = send_to('inline@example.com');
%state = states_of(%number);
is($state{'inline@example.com'}, 'sent 1', 'a password in the user mapping');
$node->safe_psql($db, "DROP USER MAPPING FOR PUBLIC SERVER mail$server");

# from the start
my $smtps = start_peer('mail_server.py', tls => 'tls', cert => $certificate, key => $key, login => "shop:$secret");
use_peer($smtps, "$with, ca_file 'localhost.crt', tls 'implicit'");
%number = send_to('smtps@example.com');
%state = states_of(%number);
is($state{'smtps@example.com'}, 'sent 1', 'TLS from the start');

# -- lanes: a black hole, and the others do not notice
my $hole = start_peer('mail_server.py', tls => 'none', banner => 'hole');
$node->safe_psql($db, qq{
	CREATE SERVER hole FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$hole->{port}', tls 'none', connect_timeout '60');
	CREATE SERVER well FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$peer->{port}', tls 'none');
	SELECT marketing.define_sender('slow', channel => 'email', server => 'hole', from_address => 'hello\@shop.example');
	SELECT marketing.define_sender('shop', channel => 'email', server => 'well', from_address => 'hello\@shop.example');
	SELECT marketing.define_template('slow', topic => 'offers', sender => 'slow', subject => 'x', text => 'x');
	SELECT marketing.send_message(i % 5 + 1, 'slow', priority => 5) FROM generate_series(1, 300) AS i;
	SELECT marketing.send_message(i % 5 + 1, 'offer') FROM generate_series(1, 50) AS i;
});
ok($node->poll_query_until($db, "SELECT count(*) = 50 FROM marketing.messages WHERE template = 'offer' AND state = 'sent' AND address LIKE 'c_@%'"),
	'a server that does not answer holds up nobody else');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE template = 'slow' AND state = 'sent'"), '0', 'while its own queue waits');

# -- several servers: by weight, and another one when one is down
my $second = start_peer('mail_server.py', tls => 'none');
$node->safe_psql($db, qq{
	CREATE SERVER two FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$second->{port}', tls 'none', connect_timeout '2');
	SELECT marketing.define_sender('shop', channel => 'email', servers => '{"well": 3, "two": 1}', from_address => 'hello\@shop.example');
	DELETE FROM marketing_internal.message_log;
	SELECT marketing.send_message(i % 5 + 1, 'offer') FROM generate_series(1, 40) AS i;
});
ok($node->poll_query_until($db, "SELECT count(*) = 40 FROM marketing.messages WHERE template = 'offer' AND state = 'sent'"), 'both take their part');
my $part = $node->safe_psql($db, "SELECT count(*) FROM marketing_internal.message_log WHERE server = 'two'");
cmp_ok($part, '>', 4, "the second one a quarter ($part of 40)");
cmp_ok($part, '<', 16, '... or so');
stop_peer($second);
$node->safe_psql($db, "SELECT marketing.send_message(i % 5 + 1, 'offer') FROM generate_series(1, 100) AS i");
ok($node->poll_query_until($db, "SELECT count(*) >= 140 - 20 FROM marketing.messages WHERE template = 'offer' AND state = 'sent'"),
	'when it is down the first one takes all');

# -- rates
$node->safe_psql($db, qq{
	CREATE SERVER few FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$peer->{port}', tls 'none', rate '3/hour', domain_rate '2/hour');
	SELECT marketing.define_sender('shop', channel => 'email', server => 'few', from_address => 'hello\@shop.example');
	DELETE FROM marketing_internal.message WHERE template = 'offer';
	DELETE FROM marketing_internal.message_log;
	SELECT marketing.send_message(i % 5 + 1, 'offer') FROM generate_series(1, 10) AS i;
});
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM marketing.messages WHERE template = 'offer' AND state = 'sent'"), 'a rate lets one go');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE template = 'offer' AND state = 'queued'"), '9', 'and keeps the others');
$node->safe_psql($db, "ALTER SERVER few OPTIONS (DROP rate)");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE template = 'offer' AND state IN ('queued', 'sending')"), 'one for each domain likewise');
like($node->safe_psql($db, "SELECT min(reason) FROM marketing.messages WHERE template = 'offer' AND state = 'deferred'"), qr/^example\.com gets at most 2 messages in 3600 seconds$/,
	'with its reason');
cmp_ok($node->safe_psql($db, "SELECT count(DISTINCT next_try) FROM marketing.messages WHERE template = 'offer' AND state = 'deferred'"), '>', 5, 'at times of their own');

# -- copies: a database restored from a dump sends nothing
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $db ], 'pg_dump');
unlike(slurp_file($dump), qr/\Q$secret\E/, 'no secret is in the dump');
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ], 'restored');
my $before = ledger_of($peer);
$node->safe_psql('copy', "SELECT marketing.define_sender('shop', channel => 'email', server => 'well', from_address => 'hello\@shop.example'); SELECT marketing.send_message(1, 'receipt')");
ok($node->poll_query_until('copy', "SELECT state || ' ' || reason = 'deferred disarmed' FROM marketing.messages WHERE template = 'receipt'"), 'the copy is disarmed');
is(scalar(ledger_of($peer)), $before, 'and sends nothing');

# -- no secret is told
$node->stop;
unlike(slurp_file($node->logfile), qr/\Q$secret\E|Y29ycmVjdC/, 'no secret is in the log');
done_testing();
