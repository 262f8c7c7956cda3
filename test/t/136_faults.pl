# 136_faults.pl
#
# The fault matrix: every reply and every fault at every stage of a dialogue with TLS and a login, a connection that
# is reset after each octet in either direction, and bad TLS. What must hold whatever happens: what has
# arrived is sent or in doubt, what has not is never sent, and in doubt is only what was handed
# over to its last octet.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('faults', conf => "max_worker_processes = 16\nmarketing_automation.credentials_directory = '$credentials'");

my $customers = 3000;
mail_shop($node, $customers);
my ($certificate, $key) = certificate($credentials, 'localhost');
append_to_file("$credentials/password", "secret\n");
chmod(0400, "$credentials/password");
# One message after the other through a server, each to the customer of its number, and what becomes of them. A server
# that was at fault is left alone for a while, but not when it has been changed.
$node->safe_psql($db, q{
	SELECT marketing.define_template('text', topic => 'transactional', channel => 'sms', text => 'Thanks.');
	CREATE TABLE tried (n int PRIMARY KEY, state text, attempts int, reason text);
	CREATE PROCEDURE try(server text, template text, "from" int, "to" int) LANGUAGE plpgsql AS $$
	DECLARE
		id bigint;
		found record;
	BEGIN
		FOR i IN "from" .. "to" LOOP
			/* Never the same again: the worker may have looked at the server before this, and at the message behind it. */
			EXECUTE format('ALTER SERVER %I OPTIONS (SET rate %L)', server, 100000 + i || '/second');
			id := marketing.send_message(i, template);
			COMMIT;
			LOOP
				SELECT m.state, m.attempts, coalesce(m.detail, m.reason) AS reason INTO found FROM marketing.messages AS m WHERE m.message = id;
				COMMIT;
				EXIT WHEN found.state NOT IN ('queued', 'sending');
				PERFORM pg_sleep(0.002);
			END LOOP;
			INSERT INTO tried VALUES (i, found.state, found.attempts, found.reason);
			/* It is not tried a second time. */
			DELETE FROM marketing_internal.message WHERE message_id = id;
			COMMIT;
		END LOOP;
	END $$;
});

my $servers = 0;
my $next = 1;

sub use_server
{
	my ($port, $options) = @_;
	my $name = 'mail' . ++$servers;
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_smtp OPTIONS (port '$port', rate '100000/second', timeout '2', connect_timeout '2', max_connections '1', in_doubt 'hold', $options);
		SELECT marketing.define_sender('shop', channel => 'email', server => '$name', from_address => 'hello\@shop.example');
	});
	return $name;
}

# Tries so many: a list of hashes of state ("sent 1"), reason, and how often it has arrived at the peer.
sub try_some
{
	my ($server, $template, $count, $peer) = @_;
	my %arrived;
	my $to = $next + $count - 1;

	die 'too few customers' if $to > $customers;
	$node->safe_psql($db, "TRUNCATE tried; CALL try('$server', '$template', $next, $to)");
	$next = $to + 1;
	foreach my $line (ledger_of($peer))
	{
		my ($n) = ($line->{rcpt} // decode_json($line->{body})->{to}) =~ /^(?:c|\+90532)(\d+)(?:@|$)/;
		$arrived{ $line->{rcpt} ? $n : $n - 1_000_000 }++;
	}
	return map {
		my ($n, $state, $reason) = split /\|/, $_, 3;
		{ n => $n, state => $state, reason => $reason, arrived => $arrived{$n} // 0 }
	} split /\n/, $node->safe_psql($db, q{SELECT n, state || ' ' || attempts, replace(reason, E'\n', ' ') FROM tried ORDER BY n});
}

# ---- every reply and fault at every stage ----

my @replies = (421, 450, 451, 452, 454, 500, 501, 502, 503, 504, 530, 535, 538, 550, 552, 554, 354, 250);
my @faults = qw(close reset endless huge noise);
my %at_server = map { $_ => 1 } 500, 502, 503, 504, 530, 535, 538;

sub expected
{
	my ($stage, $told) = @_;
	my $early = $stage =~ /^(banner|ehlo|starttls|auth)$/;

	return 'deferred 0' if $early;
	if ($told =~ /^\d/)
	{
		return 'deferred 0' if $told == 421 && $stage eq 'mail';
		return 'deferred 0' if $at_server{$told} && $stage ne 'dot';
		return 'failed 1' if $told >= 500;
		return 'deferred 1' if $told >= 400;
		return 'suspect 1' if $stage eq 'dot';
		return 'deferred 1';
	}
	return $stage eq 'mail' ? 'deferred 0' : $stage eq 'dot' ? 'suspect 1' : 'deferred 1';
}

my $tls = start_peer('mail_server.py', tls => 'starttls', cert => $certificate, key => $key, login => 'shop:secret');
my $name = use_server($tls->{port}, "host 'localhost', user 'shop', password_file 'password', ca_file 'localhost.crt'");

# A server that worked for the message before may refuse this one only: then that is an attempt of the message's.
my $works = 0;
foreach my $stage (qw(banner ehlo starttls auth mail rcpt data dot))
{
	my (@found, @expected);
	my %usual = (banner => 220, ehlo => 250, starttls => 220, auth => 235, mail => 250, rcpt => 250, data => 354, dot => 250);

	foreach my $told (@replies, @faults, $stage =~ /^(starttls|auth|dot)$/ ? qw(hole slow) : ())
	{
		# A greeting with another 2yz is one, too.
		next if $told eq $usual{$stage} || ($stage eq 'banner' && $told eq '250');
		tell_peer($tls, $stage => $told =~ /^\d/ ? "$told " . substr($told, 0, 1) . '.3.0 as told' : $told);
		my ($one) = try_some($name, 'receipt', 1, $tls);
		my $wanted = expected($stage, $told);
		my $at_server = $wanted eq 'deferred 0';
		$wanted = 'deferred 1' if $at_server && $works;
		$works = $wanted =~ /^failed/ if $at_server || $wanted =~ /^failed/;
		push @found, "$told: $one->{state}, arrived $one->{arrived}";
		push @expected, "$told: $wanted, arrived " . ($stage eq 'dot' && $told !~ /^[45]/ ? 1 : 0);
	}
	is(join("\n", @found), join("\n", @expected), "$stage: each reply and fault means what it should");
}
tell_peer($tls);
is((try_some($name, 'receipt', 1, $tls))[0]{state}, 'sent 1', 'and after all that it works');

# ---- a reset after each octet ----

# FAULT_STEP=1 is every octet, for minutes.
my $coarse = $ENV{FAULT_STEP} || 7;

# What must hold of each try.
sub check_cuts
{
	my ($what, @tries) = @_;
	my @wrong = grep {
		     ($_->{arrived} > 1)
		  || ($_->{arrived} && $_->{state} !~ /^(sent|suspect) 1$/)
		  || (!$_->{arrived} && $_->{state} !~ /^(deferred [01]|suspect 1)$/)
	} @tries;
	my %count;

	$count{ $_->{state} }++ foreach @tries;
	is(join("\n", map { "$_->{n}: $_->{state}, arrived $_->{arrived}, $_->{reason}" } @wrong), '', "$what: what has arrived is sent or in doubt, and nothing else is sent");
	note("$what: " . join(', ', map { "$count{$_} $_" } sort keys %count));
	return %count;
}

# Cut after 0, step, 2 * step ... octets, until the connection outlives the message.
sub cut_everywhere
{
	my ($what, $peer, $direction, $step, $make_server, $template) = @_;
	$step *= $coarse;
	my $proxy = start_peer('fault_proxy.py', target => $peer->{port}, cut => $direction, step => $step);
	my $server = $make_server->($proxy->{port});
	my @tries;

	do { push @tries, try_some($server, $template, 50, $peer) } until grep { $_->{state} eq 'sent 1' } @tries[ -50 .. -1 ];
	my $cuts = grep { / cut$/ } split /\n/, slurp_file("$proxy->{folder}/cuts");
	cmp_ok($cuts, '>=', @tries - 60, "$what: it was cut (" . @tries . ' tries)');
	my %count = check_cuts($what, @tries);
	stop_peer($proxy);
	return %count;
}

my $plain = start_peer('mail_server.py', tls => 'none');
my $no_pipelining = start_peer('mail_server.py', tls => 'none', pipelining => 'no');
my $web = start_peer('http_server.py');
my $by_smtp = sub { use_server($_[0], "host '127.0.0.1', tls 'none'") };
my $by_tls = sub { use_server($_[0], "host 'localhost', user 'shop', password_file 'password', ca_file 'localhost.crt'") };
my $by_http = sub {
	my $server = 'http' . ++$servers;
	$node->safe_psql($db, qq{
		CREATE SERVER $server FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$_[0]/x', allow_http 'true', allow_private 'true',
			rate '100000/second', timeout '2', connect_timeout '2', max_connections '1', in_doubt 'hold');
		SELECT marketing.define_sender('texter', channel => 'sms', server => '$server', from_address => '1');
	});
	return $server;
};
# Before the message itself is sent nothing is in doubt: what is lost then goes on as if it had not begun.
my %count = cut_everywhere('SMTP, what is sent', $plain, 'in', 1, $by_smtp, 'receipt');
cmp_ok(($count{'deferred 0'} // 0) + ($count{'deferred 1'} // 0), '>=', int(length("EHLO x\r\nMAIL FROM:<hello\@shop.example>\r\nRCPT TO:<c1\@example.com>\r\nDATA\r\n") / $coarse),
	'before the message itself nothing is in doubt');
%count = cut_everywhere('SMTP, what is answered', $plain, 'out', 1, $by_smtp, 'receipt');
cmp_ok($count{'suspect 1'} // 0, '<=', length("250 2.0.0 queued as 0123456789abcdef0123456789abcdef\r\n") / $coarse + 5, 'the reply to the dot alone leaves doubt');
cut_everywhere('SMTP without PIPELINING, what is answered', $no_pipelining, 'out', 3, $by_smtp, 'receipt');
cut_everywhere('SMTP over TLS, what is sent', $tls, 'in', 11, $by_tls, 'receipt');
cut_everywhere('SMTP over TLS, what is answered', $tls, 'out', 11, $by_tls, 'receipt');
cut_everywhere('HTTP, what is sent', $web, 'in', 1, $by_http, 'text');
cut_everywhere('HTTP, what is answered', $web, 'out', 1, $by_http, 'text');

# ---- bad TLS ----

my ($other, $other_key) = certificate($credentials, 'other.example');
my ($expired, $expired_key) = expired_certificate();
my @cases = (
	[ 'a certificate that has expired', { cert => $expired, key => $expired_key }, "ca_file 'expired.crt'", 'expired' ],
	[ 'a certificate of another host', { cert => $other, key => $other_key }, "ca_file 'other.example.crt'", 'match|subject' ],
	[ 'a certificate that nobody vouches for', {}, '', 'certificate' ],
	[ 'a certificate that somebody else vouches for', {}, "ca_file 'other.example.crt'", 'certificate' ],
	[ 'a file of certificates that is not there', {}, "ca_file 'none.crt'", 'certificate|SSL|TLS' ],
	[ 'TLS 1.1', { tls_max => '1.1' }, "ca_file 'localhost.crt'", 'TLS|SSL' ],
	[ 'STARTTLS taken out of the offers', { strip => 1 }, "ca_file 'localhost.crt'", 'STARTTLS|TLS|SSL' ],
	[ 'STARTTLS refused for now', { starttls => '454 4.7.0 not now' }, "ca_file 'localhost.crt'", 'STARTTLS|454' ],
	[ 'STARTTLS refused', { starttls => '502 5.5.1 what' }, "ca_file 'localhost.crt'", 'STARTTLS|502' ],
	[ 'replies put in before TLS', { starttls => '220 2.0.0 go on|250-injected|250 AUTH PLAIN' }, "ca_file 'localhost.crt'", '.' ],
	[ 'a server that speaks no TLS', { tls => 'none' }, "tls 'implicit', ca_file 'localhost.crt'", 'SSL|TLS' ],
	[ 'a server that speaks TLS from the start', { tls => 'tls' }, "ca_file 'localhost.crt'", '.' ],
	[ 'a login that is not offered', { no_auth => 1 }, "ca_file 'localhost.crt'", '.' ]);
foreach my $case (@cases)
{
	my ($what, $options, $server_options, $reason) = @$case;
	my $bad = start_peer('mail_server.py', tls => 'starttls', cert => $certificate, key => $key, login => 'shop:secret', %$options);
	my $server = use_server($bad->{port}, "host 'localhost', user 'shop', password_file 'password'" . ($server_options ? ", $server_options" : ''));
	my ($one) = try_some($server, 'receipt', 1, $bad);

	is("$one->{state}, arrived $one->{arrived}", 'deferred 0, arrived 0', "$what: nothing is sent");
	like($one->{reason}, qr/$reason/i, "$what: the reason");
	# Without an offer of a login it is the server that refuses.
	is(join(' ', grep { $options->{no_auth} ? /^AUTH/ : /^(AUTH|MAIL)/ } commands_of($bad)), '', "$what: no password is told");
	stop_peer($bad);
}

# One that was valid for a day in 2020.
sub expired_certificate
{
	my $folder = PostgreSQL::Test::Utils::tempdir();

	append_to_file("$folder/index", '');
	append_to_file("$folder/ca.conf", "[ca]\ndefault_ca = own\n[own]\ndatabase = $folder/index\nnew_certs_dir = $folder\nserial = $folder/serial\n"
		  . "policy = any\ndefault_md = sha256\nx509_extensions = names\n[any]\ncommonName = supplied\n[names]\nsubjectAltName = DNS:localhost\n"
		  . "[req]\ndistinguished_name = empty\n[empty]\n");
	append_to_file("$folder/serial", "01\n");
	system_or_bail('openssl', 'req', '-config', "$folder/ca.conf", '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-keyout', "$folder/key",
		'-out', "$folder/request");
	system_or_bail('openssl', 'ca', '-batch', '-config', "$folder/ca.conf", '-selfsign', '-keyfile', "$folder/key", '-in', "$folder/request", '-notext',
		'-startdate', '20200101000000Z', '-enddate', '20200102000000Z', '-out', "$credentials/expired.crt");
	return ("$credentials/expired.crt", "$folder/key");
}

$node->stop;
no_trouble($node, 'nothing else went wrong');
done_testing();
