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
# what is named by a computed name is given like what is named
use_path('x', q{body '{% assign name = "message" %}{"text": {{ ["message"].text | json }}, "from": {{ [name].from | json }}}'});
send_one('text', 'z');
is((ledger_of($peer))[-1]->{body}, qq({"text": "\x{c7}ok \\"iyi\\" z", "from": "+15550001"}), 'a computed name');
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

# What is to be tried again must not come between, however long it takes here.
sub forget_deferred
{
	$node->safe_psql($db, q{DELETE FROM marketing_internal.message WHERE state = 'deferred'});
}
forget_deferred();

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

# -- files: every preset for mail carries attachments and images, also large ones; a body that shows none does not lose them
my $large = 3_000_000;
$node->safe_psql($db, qq{
	SELECT marketing.define_asset('logo.png', '\\x89504e470d0a1a0a'), marketing.define_asset('terms.txt', 'Terms & "more"');
	SELECT marketing.define_query('scan', 'SELECT ''scan.bin'' AS filename, convert_to(repeat(''y'', $large), ''UTF8'') AS content');
	SELECT marketing.define_template('bill', topic => 'offers', subject => 'Bill', preheader => 'before all', html => '<img src="cid:logo.png"><p>Hi</p>',
		attachments => '{terms.txt}');
	SELECT marketing.define_template('scanned', topic => 'offers', subject => 'Scan', text => 'Scan', attachments => '{scan}');
});
sub mail_by
{
	my ($preset, $template) = @_;
	my ($status, $json) = @{ $answers{$preset} };
	(my $quoted = $json) =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord $1)/ge;
	use_path("status/$status/$quoted", "preset '$preset', user 'u1', account 'a1', region 'eu-west-1', password_file 'key'", 'email');
	my ($state, undef, $detail) = send_one($template);
	is($state, 'sent', "$preset: $template") or diag($detail);
	my $last = (ledger_of($peer))[-1];
	return ($last->{body}, scalar(eval { JSON::PP->new->decode($last->{body}) }), $last->{headers}{'content-type'});
}
my ($terms, $logo) = (encode_base64('Terms & "more"', ''), encode_base64("\x89PNG\r\n\x1a\n", ''));
my $long = encode_base64('y' x $large, '');
my (undef, $json) = mail_by('sendgrid', 'bill');
is_deeply([ sort { $a->{filename} cmp $b->{filename} } @{ $json->{attachments} } ],
	[ { filename => 'logo.png', type => 'image/png', content => $logo, disposition => 'inline', content_id => 'logo.png' },
		{ filename => 'terms.txt', type => 'text/plain', content => $terms, disposition => 'attachment' } ], 'sendgrid: files');
like($json->{content}[1]{value}, qr/before all.*cid:logo\.png/s, 'sendgrid: preheader and image in the html');
(undef, $json) = mail_by('sendgrid', 'offer');
ok(!exists $json->{attachments}, 'sendgrid: none where there are none');
(undef, $json) = mail_by('postmark', 'bill');
is_deeply([ sort { $a->{Name} cmp $b->{Name} } @{ $json->{Attachments} } ],
	[ { Name => 'logo.png', ContentType => 'image/png', Content => $logo, ContentID => 'cid:logo.png' }, { Name => 'terms.txt', ContentType => 'text/plain', Content => $terms } ],
	'postmark: files');
(undef, $json) = mail_by('mailjet', 'bill');
is_deeply([ @{ $json->{Messages}[0] }{qw(Attachments InlinedAttachments)} ],
	[ [ { Filename => 'terms.txt', ContentType => 'text/plain', Base64Content => $terms } ],
		[ { Filename => 'logo.png', ContentType => 'image/png', Base64Content => $logo, ContentID => 'logo.png' } ] ], 'mailjet: files');
(undef, $json) = mail_by('ses', 'bill');
like(decode_base64($json->{Content}{Raw}{Data}), qr/multipart\/mixed.*\Q$logo\E.*\Q$terms\E/s, 'ses: files');
my ($form, undef, $type) = mail_by('mailgun', 'bill');
my ($boundary) = $type =~ m{^multipart/form-data; boundary=(form-[0-9a-f]{32})$};
ok($boundary, 'mailgun: a form of parts') or diag($type);
my @parts = split /\r\n--\Q$boundary\E/, $form;
is($parts[1], "\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nc1\@example.com", 'mailgun: to');
is("form-" . ($parts[2] =~ /name="v:ma_key"\r\n\r\n(.*)$/)[0], $boundary, 'mailgun: the key');
like($parts[3], qr{^\r\nContent-Disposition: form-data; name="message"; filename="message\.eml"\r\nContent-Type: message/rfc822\r\n\r\nFrom: .*List-Unsubscribe: .*\Q$logo\E.*\Q$terms\E}s,
	'mailgun: the whole mail');
is("$#parts $parts[4]", "4 --\r\n", 'mailgun: the end of the form');
# A large file; looked for in what the peer wrote, since Perl needs a minute to read so much JSON.
foreach my $preset (qw(sendgrid ses mailgun))
{
	my $before = $peer;
	my ($status, $json) = @{ $answers{$preset} };
	(my $quoted = $json) =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord $1)/ge;
	$peer = start_peer('http_server.py');
	use_path("status/$status/$quoted", "preset '$preset', user 'u1', account 'a1', region 'eu-west-1', password_file 'key'", 'email');
	is((send_one('scanned'))[0], 'sent', "$preset: a large file");
	my $written = slurp_file("$peer->{folder}/ledger");
	$written = decode_base64(($written =~ m{"Data\\": \\"([A-Za-z0-9+/=]+)})[0]) if $preset eq 'ses';
	$written =~ s/\\r\\n|\r\n//g;
	ok(index($written, $long) > 0, "$preset: is whole");
	stop_peer($peer);
	$peer = $before;
}
use_path('x', q{body '{"html": {{ message.html | json }}}'}, 'email');
($state, $attempts, $reason) = send_one('bill');
is("$state $attempts", 'deferred 0', 'a body without the files');
like($reason, qr/does not carry files, of which the mail has 2: its body shows neither message\.attachments nor message\.mime/, '... says so');
is((send_one('offer'))[0], 'sent', '... and sends what has none');
forget_deferred();
foreach my $shows ('{{ message | json }}', '{% assign m = message %}{"files": {{ m.attachments | json }}}', '{{ message["mime"] | json }}')
{
	use_path('x', "body '$shows'", 'email');
	is((send_one('bill'))[0], 'sent', "body $shows");
	like((ledger_of($peer))[-1]->{body}, qr/\Q$terms\E/, '... carries them');
}
$node->safe_psql($db, q{SELECT marketing.configure('redirect_to', 'qa@example.com')});
(undef, $json) = mail_by('sendgrid', 'offer');
is("$json->{personalizations}[0]{to}[0]{email} $json->{headers}{'X-MA-Redirected-From'}", 'qa@example.com c1@example.com', 'redirect_to: who it was for');
(undef, $json) = mail_by('postmark', 'offer');
is((grep { $_->{Name} eq 'X-MA-Redirected-From' } @{ $json->{Headers} })[0]{Value}, 'c1@example.com', 'postmark: likewise');
$node->safe_psql($db, q{SELECT marketing.configure('redirect_to', NULL)});

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
