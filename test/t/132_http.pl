# 132_http.pl
#
# Messages through HTTP interfaces: what a request looks like for each preset, what becomes of a message
# by every status and every fault of the connection, that libcurl repeats nothing, that no private address
# is reached, and that secrets are told to nobody else.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $secret = 'correct-horse-battery-staple';
my $node = new_server('http', conf => "max_worker_processes = 16\nlog_min_messages = debug1\nlog_statement = none\n"
	  . "marketing_automation.credentials_directory = '$credentials'");

append_to_file("$credentials/key", "$secret\n");
chmod(0400, "$credentials/key");
mail_shop($node, 5);
$node->safe_psql($db, q{
	SELECT marketing.define_topic('texts', consent => 'opt_out', channels => '{sms}');
	SELECT marketing.define_template('text', topic => 'texts', channel => 'sms', text => 'Çok "iyi" {{ data.word }}');
	SELECT marketing.define_sender('mailer', channel => 'email', from_address => 'hello@shop.example');
});

my $server = 0;
my $peer = start_peer('http_server.py');

# A server with the options at a path of the peer, and the sender of the channel that uses it.
sub use_path
{
	my ($path, $options, $channel) = @_;
	my $name = 'http' . ++$server;
	$channel //= 'sms';
	my $sender = $channel eq 'sms' ? 'texter' : 'mailer';
	my $from = $channel eq 'sms' ? '+15550001' : 'hello@shop.example';
	my $url = defined $path ? "url 'http://127.0.0.1:$peer->{port}/$path', allow_http 'true', allow_private 'true'" : '';
	$options = $options ? ($url ? ", $options" : $options) : '';
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_http OPTIONS ($url$options);
		SELECT marketing.define_sender('$sender', channel => '$channel', server => '$name', from_address => '$from', from_name => 'The "Shop"');
	});
	return $name;
}

# Sends one message; what has become of it: state, attempts, detail or reason.
sub send_one
{
	my ($template, $word) = @_;
	$word //= 'x';
	# What was deferred before would be tried again in between, through the same sender.
	$node->safe_psql($db, "DELETE FROM marketing_internal.message WHERE state = 'deferred'");
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE state = 'sending'"), 'nothing is under way');
	my $id = $node->safe_psql($db, qq{SELECT marketing.send_message(1, '$template', data => '{"word": "$word"}')});
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE message = $id AND state IN ('queued', 'sending')"), 'it was tried');
	return split /\|/, $node->safe_psql($db, "SELECT state, attempts, coalesce(detail, reason) FROM marketing.messages WHERE message = $id");
}

# -- the status decides
my %expected = (
	(map { $_ => 'sent 1' } 200, 201, 202, 204), (map { $_ => 'failed 1' } 400, 406, 409, 410, 413, 422, 451),
	(map { $_ => 'deferred 0' } 301, 302, 401, 403, 404, 405, 429, 503), (map { $_ => 'deferred 1' } 408, 425, 500, 501),
	(map { $_ => 'suspect 1' } 502, 504));
foreach my $code (sort keys %expected)
{
	use_path("status/$code");
	my ($state, $attempts) = send_one('text');
	is("$state $attempts", $expected{$code}, "status $code");
}

# -- faults of the connection: in doubt once the request is out
foreach my $fault (qw(hole close reset))
{
	use_path($fault, "timeout '1'");
	my ($state, $attempts) = send_one('text');
	is("$state $attempts", 'suspect 1', $fault);
}
foreach my $case ([ 'big', 'sent 1' ], [ 'endless', 'sent 1' ], [ 'slow', 'suspect 1' ], [ 'redirect', 'deferred 0' ])
{
	my ($path, $wanted) = @$case;
	use_path($path, "timeout '2'");
	my ($state, $attempts) = send_one('text');
	is("$state $attempts", $wanted, $path);
}
my @requests = ledger_of($peer);
is(scalar(grep { $_->{path} eq '/status/200' } @requests), 1, 'no redirect was followed');
$node->safe_psql($db, "SELECT marketing.settle_message(message, 'failed') FROM marketing.messages WHERE state = 'suspect'");

# -- nothing listens: certainly not sent
my $nobody = start_peer('http_server.py');
stop_peer($nobody);
$node->safe_psql($db, qq{
	CREATE SERVER nobody FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$nobody->{port}/', allow_http 'true', allow_private 'true');
	SELECT marketing.define_sender('texter', channel => 'sms', server => 'nobody', from_address => '1');
});
my ($state, $attempts, $reason) = send_one('text');
is("$state $attempts", 'deferred 0', 'nothing listens');

# -- a connection that is closed when it is used again: libcurl must not repeat the request by itself
use_path('drop', "max_connections '1'");
my $before = ledger_of($peer);
$node->safe_psql($db, "SELECT marketing.send_message(i, 'text') FROM generate_series(1, 5) AS i");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE state IN ('queued', 'sending')"), 'all were tried');
my @all = ledger_of($peer);
my %count;
$count{ JSON::PP->new->decode($_->{body})->{key} }++ foreach @all[ $before .. $#all ];
is(scalar(grep { $_ > 1 } values %count), 0, 'nobody got one twice');
is($node->safe_psql($db, "SELECT count(*) > 0 FROM marketing.messages WHERE state = 'suspect'"), 't', 'those are in doubt');
$node->safe_psql($db, "SELECT marketing.settle_message(message, 'failed') FROM marketing.messages WHERE state = 'suspect'");

# -- what a request and its answer are made of
use_path('room/{{ account }}', q{account 'sales', auth 'bearer', password_file 'key', headers 'X-Key: {{ message.key }}
X-To: {{ message.to }}', body '{"text": {{ message.text | json }}, "from": {{ message.from | json }}}', content_type 'application/vnd.test+json',
	method 'PUT', response '{% if body.id %}sent number {{ body.id }} {{ headers["x-message-id"] }}{% endif %}'});
($state, $attempts, my $detail) = send_one('text', 'Ş');
my $last = (ledger_of($peer))[-1];
is($last->{path}, '/room/sales', 'url');
is($last->{method}, 'PUT', 'method');
is($last->{body}, qq({"text": "\x{c7}ok \\"iyi\\" \x{15e}", "from": "+15550001"}), 'body');
is($last->{headers}{'authorization'}, "Bearer $secret", 'bearer');
like($last->{headers}{'x-key'}, qr/^[0-9a-f]{32}$/, 'a header of a template');
is($last->{headers}{'content-type'}, 'application/vnd.test+json', 'content type');
like("$state $detail", qr/^sent number n(\d+) id-\1$/, 'response');
foreach my $case ([ 'failed blocked', 'failed 1', 'blocked' ], [ 'retry later', 'deferred 1', 'later' ], [ 'server over quota', 'deferred 0', 'over quota' ],
	[ '{{ nothing }}', 'sent 1', '200' ], [ '{% abort "x" %}', 'sent 1', '200' ])
{
	my ($response, $wanted, $words) = @$case;
	use_path('x', "response '$response'");
	($state, $attempts, $detail) = send_one('text');
	is("$state $attempts", $wanted, "response $response");
	like($detail, qr/$words/, "... with its words");
}
# a header that the message could break out of is refused
use_path('x', q{headers 'X-Word: {{ message.text }}'});
($state, $attempts, $detail) = send_one('text', 'a\r\nX-Evil: b');
isnt((ledger_of($peer))[-1]->{headers}{'x-evil'} // '', 'b', 'no header is added by a text');

# -- signed webhooks
use_path('hook', "preset 'webhook', password_file 'key'");
($state) = send_one('text');
$last = (ledger_of($peer))[-1];
my $body = $last->{body};
utf8::encode($body);
my $signature = hmac_sha256_base64("$last->{headers}{'webhook-id'}.$last->{headers}{'webhook-timestamp'}.$body", $secret);
$signature .= '=' while length($signature) % 4;
is($last->{headers}{'webhook-signature'}, "v1,$signature", 'the signature can be computed anew');
is(JSON::PP->new->decode($last->{body})->{key}, $last->{headers}{'webhook-id'}, 'the identifier is the message\'s');

# -- presets: the request of each is what its maker's documents say, sent to us instead
my %answers = (
	sendgrid => [ 202, '{}', 'email' ], ses => [ 200, '{"MessageId": "m1"}', 'email' ], mailgun => [ 200, '{"id": "<m1>"}', 'email' ],
	postmark => [ 200, '{"ErrorCode": 0, "MessageID": "m1"}', 'email' ],
	mailjet => [ 200, '{"Messages": [{"Status": "success", "To": [{"MessageUUID": "m1"}]}]}', 'email' ],
	twilio => [ 201, '{"sid": "m1"}', 'sms' ], vonage => [ 202, '{"message_uuid": "m1"}', 'sms' ], netgsm => [ 200, '{"code": "00", "jobid": "m1"}', 'sms' ],
	fcm => [ 200, '{"name": "m1"}', 'sms' ], onesignal => [ 200, '{"id": "m1"}', 'sms' ], slack => [ 200, '{"ok": true, "ts": "m1"}', 'sms' ]);
my %request;
foreach my $preset (sort keys %answers)
{
	my ($status, $json, $channel) = @{ $answers{$preset} };
	(my $quoted = $json) =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord $1)/ge;
	use_path("status/$status/$quoted", "preset '$preset', user 'u1', account 'a1', region 'eu-west-1', password_file 'key'", $channel);
	($state, $attempts, $detail) = send_one($channel eq 'sms' ? 'text' : 'offer');
	is($state, 'sent', "$preset: sent") or diag($detail);
	like($detail, $preset eq 'sendgrid' ? qr/^id-\d+$/ : qr/m1/, "$preset: the provider's number is kept");
	$request{$preset} = (ledger_of($peer))[-1];
}
foreach my $preset (grep { $request{$_}{headers}{'content-type'} =~ /json/ } sort keys %request)
{
	$request{$preset}{json} = eval { JSON::PP->new->decode($request{$preset}{body}) };
	ok($request{$preset}{json}, "$preset: JSON") or diag($request{$preset}{body});
}
is($request{sendgrid}{json}{personalizations}[0]{to}[0]{email}, 'c1@example.com', 'sendgrid: to');
like($request{sendgrid}{json}{headers}{'List-Unsubscribe'}, qr/^<http.*>$/, 'sendgrid: one-click unsubscribing');
like(decode_base64($request{ses}{json}{Content}{Raw}{Data}), qr/^From: .*\r\n(.*\r\n)*List-Unsubscribe:/, 'ses: the whole mail');
like($request{ses}{headers}{authorization}, qr{^AWS4-HMAC-SHA256 Credential=u1/\d{8}/eu-west-1/ses/aws4_request, SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, Signature=[0-9a-f]{64}$},
	'ses: signed');
is($request{postmark}{headers}{'x-postmark-server-token'}, $secret, 'postmark: token');
is($request{mailgun}{headers}{authorization}, 'Basic ' . encode_base64("u1:$secret", ''), 'mailgun: login');
like($request{twilio}{body}, qr/^To=%2B90532\d+&From=%2B15550001&Body=%C3%87ok\+%22iyi%22\+x$|^To=%2B90532\d+&From=%2B15550001&Body=%C3%87ok%20%22iyi%22%20x$/, 'twilio: form');
is($request{netgsm}{json}{messages}[0]{no}, '905321000001', 'netgsm: number');
like($request{onesignal}{json}{idempotency_key}, qr/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/, 'onesignal: a key of its own kind');

# -- no private address, whatever its spelling
foreach my $host ('127.0.0.1', 'localhost', '2130706433', '0x7f.1', '017700000001', '[::1]', '[::ffff:127.0.0.1]', '169.254.169.254', '10.0.0.1', '0.0.0.0', '[fd00::1]', '[64:ff9b::7f00:1]')
{
	my $requests = ledger_of($peer);
	my $name = 'private' . ++$server;
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://$host:$peer->{port}/x', allow_http 'true', connect_timeout '2');
		SELECT marketing.define_sender('texter', channel => 'sms', server => '$name', from_address => '1');
	});
	($state, $attempts, $reason) = send_one('text');
	is("$state $attempts " . (ledger_of($peer) - $requests), 'deferred 0 0', "$host: refused");
	like($reason, qr/private|resolve|URL|Could not|bad/i, "$host: why");
}
# nor another protocol, which a template of the url could make
$node->safe_psql($db, q{
	CREATE SERVER gopher FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'https://{{ account }}', account 'x');
	ALTER SERVER gopher OPTIONS (SET url 'https://127.0.0.1/');
	SELECT marketing.define_sender('texter', channel => 'sms', server => 'gopher', from_address => '1');
});
($state, $attempts) = send_one('text');
is("$state $attempts", 'deferred 0', 'https to ourselves is refused, too');

# -- TLS
my ($certificate, $key) = certificate($credentials, 'localhost');
my $tls = start_peer('http_server.py', cert => $certificate, key => $key);
foreach my $case ([ ", ca_file 'localhost.crt'", 'sent 1' ], [ '', 'deferred 0' ])
{
	my $name = 'tls' . ++$server;
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'https://localhost:$tls->{port}/x', allow_private 'true'$case->[0]);
		SELECT marketing.define_sender('texter', channel => 'sms', server => '$name', from_address => '1');
	});
	($state, $attempts, $reason) = send_one('text');
	is("$state $attempts", $case->[1], "https$case->[0]") or diag($reason);
}

$node->stop;
unlike(slurp_file($node->logfile), qr/\Q$secret\E/, 'no secret is in the log');
no_trouble($node, 'nothing else went wrong');
done_testing();
