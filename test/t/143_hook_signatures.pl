# 143_hook_signatures.pl
#
# Signatures of what providers tell, made by the openssl program: what is signed is taken, and nothing else,
# whatever of it was changed; whose signature it is cannot be chosen by who calls.
use strict;
use warnings;
use MIME::Base64;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $keys = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('hooks', conf => "marketing_automation.credentials_directory = '$keys'\nlog_statement = none");
my $db = 'postgres';
my $now = 1772366400;    # 2026-03-01 12:00 UTC

sub file
{
	my ($name, $content, $mode) = @_;
	open my $out, '>', "$keys/$name" or die "$name: $!";
	print $out $content;
	close $out;
	chmod $mode // 0644, "$keys/$name";
	return "$keys/$name";
}

sub openssl
{
	my $output = `cd $keys && openssl $_[0] 2>&1`;
	$? == 0 or die "openssl $_[0]: $output";
	return;
}

# The signature of a text with a private key.
sub signature
{
	my ($key, $digest, $text) = @_;
	file('text', $text);
	openssl("dgst -$digest -sign $key -out signature text");
	return encode_base64(slurp_file("$keys/signature"), '');
}

openssl("ecparam -name prime256v1 -genkey -noout -out ec.pem");
openssl("ec -in ec.pem -pubout -outform DER -out ec.der");
openssl("req -x509 -newkey rsa:2048 -nodes -keyout $_.pem -out $_.crt -days 3650 -subj /CN=$_") foreach 'old', 'new', 'foreign';
file('sendgrid_key', encode_base64(slurp_file("$keys/ec.der"), '') . "\n");
file('sns_certificates', slurp_file("$keys/old.crt") . "A comment\n" . slurp_file("$keys/new.crt"));
file('mailgun_key', "mailgun secret\n", 0400);
file('webhook_key', "webhook secret\n", 0400);
file('open_key', "open secret\n");

$node->safe_psql($db, qq{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.set_clock(to_timestamp($now));
	CREATE SERVER sendgrid FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'sendgrid', hook_key_file 'sendgrid_key');
	CREATE SERVER ses FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'sns', hook_key_file 'sns_certificates', hook_topic 'arn:aws:sns:eu-west-1:1:ours');
	CREATE SERVER mailgun FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'mailgun', hook_key_file 'mailgun_key');
	CREATE SERVER own FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'webhook', hook_key_file 'webhook_key');
	CREATE SERVER gone FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'mailgun', hook_key_file 'nothing');
	CREATE SERVER wide FOREIGN DATA WRAPPER marketing_outside OPTIONS (hook_signed_by 'mailgun', hook_key_file 'open_key');
	CREATE SERVER plain FOREIGN DATA WRAPPER marketing_outside;
});

# Status of the answer to a hook's call.
sub ask
{
	my ($server, $content, %headers) = @_;
	my $json = join ', ', map { qq("$_": "$headers{$_}") } keys %headers;
	return $node->safe_psql($db, "SELECT status FROM marketing.web_request('POST', replace(marketing.hook_url('$server'), 'http://localhost', ''), '{$json}', '\\x"
		  . unpack('H*', $content) . "')");
}

sub told
{
	return $node->safe_psql($db, 'SELECT count(*) FROM marketing.delivery_events');
}

# What is refused changes nothing.
sub refused
{
	my ($name, $status, @call) = @_;
	my $before = told();
	is(ask(@call), $status, "$name: refused");
	is(told(), $before, "$name: and nothing is told") if $before ne told();
	return;
}

# ---- options ----

my @wrong = (
	[ "hook_signed_by 'sendgrid'", 'belong together' ],
	[ "hook_key_file 'x'", 'belong together' ],
	[ "hook_signed_by 'sns', hook_key_file 'x'", 'hook_topic' ],
	[ "hook_signed_by 'mailgun', hook_key_file 'x', hook_topic 'y'", 'hook_topic' ],
	[ "hook_signed_by 'sengrid', hook_key_file 'x'", 'there is no "sengrid"' ],
	[ "hook_signed_by 'mailgun', hook_key_file '../x'", 'not the name of a file' ]);
foreach (@wrong)
{
	my (undef, undef, $error) = $node->psql($db, "CREATE SERVER wrong FOREIGN DATA WRAPPER marketing_outside OPTIONS ($_->[0])");
	like($error, qr/$_->[1]/, "OPTIONS ($_->[0])");
}

# ---- SendGrid ----

my $event = '[{"email":"a@example.com","event":"bounce","sg_event_id":"%s","status":"5.1.1","timestamp":1772366400}]';
my $body = sprintf $event, 'g1';
my @sendgrid = ('x-twilio-email-event-webhook-timestamp', $now, 'x-twilio-email-event-webhook-signature');
my $signed = signature('ec.pem', 'sha256', "$now$body");
refused('unsigned', 403, 'sendgrid', $body);
refused('another content', 403, 'sendgrid', sprintf($event, 'g2'), @sendgrid, $signed);
refused('another time', 403, 'sendgrid', $body, 'x-twilio-email-event-webhook-timestamp', $now + 1, 'x-twilio-email-event-webhook-signature', $signed);
refused('another key', 403, 'sendgrid', $body, @sendgrid, signature('new.pem', 'sha256', "$now$body"));
refused('cut', 403, 'sendgrid', $body, @sendgrid, substr($signed, 0, -4));
refused('none at all', 403, 'sendgrid', $body, @sendgrid, '');
refused('no base64', 403, 'sendgrid', $body, @sendgrid, '(((( ))))');
refused('endless', 403, 'sendgrid', $body, @sendgrid, 'A' x 10000);
is(ask('sendgrid', $body, @sendgrid, $signed), 200, 'SendGrid\'s is taken');
is(told(), 1, 'and counts');
is(ask('sendgrid', $body, @sendgrid, $signed), 200, 'once more');
is(told(), 1, 'and counts once');
# The public key is public: it is no secret of another kind of signature.
my $public = slurp_file("$keys/sendgrid_key");
chomp $public;
refused('Mailgun\'s form with the public key', 403, 'sendgrid',
	qq({"signature":{"timestamp":"$now","token":"t","signature":") . hmac_sha256_hex("${now}t", $public) . '"},"event-data":{"event":"complained","id":"m0","recipient":"a@example.com"}}');
refused('our form', 403, 'sendgrid', '{"events":[{"id":"1","kind":"complained","recipient":"a@example.com"}]}');

# ---- Amazon SES by SNS ----

sub sns
{
	my (%message) = (
		Type => 'Notification', MessageId => 's1', TopicArn => 'arn:aws:sns:eu-west-1:1:ours', Timestamp => '2026-03-01T12:00:00.000Z',
		Message => '{\"bounce\":{\"bounceType\":\"Permanent\",\"bouncedRecipients\":[{\"emailAddress\":\"b@example.com\"}]},\"mail\":{}}',
		SigningCertURL => 'https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem', key => 'new', SignatureVersion => '2', @_);
	my @names = grep { defined $message{$_} } $message{Type} eq 'Notification' ? qw(Message MessageId Subject Timestamp TopicArn Type) :
	  qw(Message MessageId SubscribeURL Timestamp Token TopicArn Type);
	my $text = join '', map { my $value = $message{$_}; $value =~ s/\\"/"/g; $value =~ s/\\u00fc/\xc3\xbc/g; "$_\n$value\n" } @names;
	$message{Signature} //= signature(delete($message{key}) . '.pem', $message{SignatureVersion} eq '1' ? 'sha1' : 'sha256', $text);
	delete $message{key};
	$message{Message} = $message{forged} if $message{forged};
	return '{' . join(', ', map { qq("$_": "$message{$_}") } grep { defined $message{$_} && $_ ne 'forged' } sort keys %message) . '}';
}

is(ask('ses', sns()), 200, 'Amazon\'s is taken');
is(told(), 2, 'and counts');
is(ask('ses', sns(MessageId => 's2', SignatureVersion => '1', key => 'old', Subject => 'Gr\u00fc\u00fcn')), 200, 'with SHA-1, a subject and the other certificate');
is(told(), 3, 'and counts');
refused('another\'s key', 403, 'ses', sns(MessageId => 's3', key => 'foreign'));
refused('another\'s topic', 403, 'ses', sns(MessageId => 's4', TopicArn => 'arn:aws:sns:eu-west-1:2:his'));
refused('forged', 403, 'ses', sns(MessageId => 's5', forged => '{\"complaint\":{\"complainedRecipients\":[{\"emailAddress\":\"c@example.com\"}]}}'));
refused('another version', 403, 'ses', sns(MessageId => 's6', SignatureVersion => '3'));
refused('unsigned', 403, 'ses', sns(MessageId => 's7', Signature => ''));
refused('a text', 403, 'ses', '"event-data"');
refused('an object', 403, 'ses', '{}');
my @confirmation = (Type => 'SubscriptionConfirmation', Message => 'You have chosen', Token => 'abc', MessageId => 'c1');
is(ask('ses', sns(@confirmation, SubscribeURL => 'https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc')), 200, 'a confirmation that is signed');
refused('a confirmation that is not', 403, 'ses', sns(@confirmation, key => 'foreign', SubscribeURL => 'https://sns.eu-west-1.amazonaws.com/?x'));
refused('one that leads elsewhere', 400, 'ses', sns(@confirmation, SubscribeURL => 'https://sns.evil.example/?x'));
refused('elsewhere', 400, 'plain', sns(@confirmation, SubscribeURL => $_)) foreach 'https://sns.evil.example/?x', 'http://sns.eu-west-1.amazonaws.com/x',
	'https://sns.eu-west-1.amazonaws.com.evil.example/', 'https://sns.evil/.amazonaws.com/', 'https://sns.eu-west-1.amazonaws.com/\\nx';

# ---- Mailgun ----

sub mailgun
{
	my ($token, $id, $at, $key) = @_;
	$at //= $now;
	return qq({"signature":{"timestamp":"$at","token":"$token","signature":")
	  . hmac_sha256_hex("$at$token", $key // 'mailgun secret')
	  . qq("},"event-data":{"event":"failed","severity":"permanent","id":"$id","timestamp":$now.5,"recipient":"$id\@example.com"}});
}

is(ask('mailgun', mailgun('t1', 'm1')), 200, 'Mailgun\'s is taken');
is(told(), 4, 'and counts');
is(ask('mailgun', mailgun('t1', 'm2')), 200, 'a token that was used is good for nothing');
is(told(), 4, 'whatever comes with it');
refused('another key', 403, 'mailgun', mailgun('t2', 'm3', $now, 'other'));
refused('old', 403, 'mailgun', mailgun('t3', 'm4', $now - 13 * 3600));
refused('of the future', 403, 'mailgun', mailgun('t4', 'm5', $now + 13 * 3600));
refused('no time', 403, 'mailgun', mailgun('t5', 'm6', 'now'));
refused('endless', 403, 'mailgun', mailgun('t' x 3000, 'm7'));
(my $capital = mailgun('t6', 'm8')) =~ s/"signature":"([0-9a-f]+)"/'"signature":"' . substr($1, 0, 63) . '"'/e;
refused('cut', 403, 'mailgun', $capital);
refused('unsigned', 403, 'mailgun', '{"event-data":{"event":"failed","id":"m9","recipient":"m9@example.com"}}');
refused('no object', 403, 'mailgun', '{"signature":"x","event-data":{"event":"failed","id":"m9","recipient":"m9@example.com"}}');
refused('only a text', 403, 'mailgun', '"event-data"');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.delivery_event_key WHERE dedup_key LIKE 'signature %'}), 1, 'tokens are noted');
$node->safe_psql($db, "SELECT marketing.set_clock(to_timestamp($now + 86400))");
is(ask('mailgun', mailgun('t7', 'm10', $now + 86400)), 200, 'a day later');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.delivery_event_key WHERE dedup_key LIKE 'signature %'}), 1, 'those that are good no more are forgotten');
$node->safe_psql($db, "SELECT marketing.set_clock(to_timestamp($now))");

# ---- our own ----

my $own = '{"events":[{"id":"o1","kind":"delivered","recipient":"o@example.com"}]}';

sub webhook
{
	my ($content, $at, $key) = @_;
	return ('webhook-id', 'w1', 'webhook-timestamp', $at, 'webhook-signature', 'v1,' . encode_base64(hmac_sha256("w1.$at.$content", $key), ''));
}

refused('unsigned', 403, 'own', $own);
refused('old', 403, 'own', $own, webhook($own, $now - 400, 'webhook secret'));
refused('another key', 403, 'own', $own, webhook($own, $now, 'other'));
refused('another content', 403, 'own', "$own ", webhook($own, $now, 'webhook secret'));
my %two = webhook($own, $now, 'webhook secret');
$two{'webhook-signature'} = 'v1,AAAA v2,x ' . $two{'webhook-signature'} . ' v1,';
is(ask('own', $own, %two), 200, 'ours is taken');

# ---- keys that are not there ----

foreach ([ 'gone', 'cannot be read' ], [ 'wide', 'can be read by others' ])
{
	my (undef, undef, $error) = $node->psql($db, "SELECT marketing.web_request('POST', replace(marketing.hook_url('$_->[0]'), 'http://localhost', ''), '{}', '{}')");
	like($error, qr/the key of the hook of server "$_->[0]" cannot be had: .*$_->[1]/, "a key that $_->[1]");
}
is(ask('plain', '{"events":[]}'), 200, 'without a key the address is enough');

my $log = slurp_file($node->logfile);
like($log, qr/no certificate of ours fits its signature; it says that https:\/\/sns\.eu-west-1\.amazonaws\.com\/SimpleNotificationService-1\.pem does/, 'the log tells which certificate is wanted');
like($log, qr/open https:\/\/sns\.eu-west-1\.amazonaws\.com\/\?Action=ConfirmSubscription/, 'and where to confirm');
unlike($log, qr/evil|mailgun secret|webhook secret/, 'and neither a foreign address nor a key');

$node->stop;
done_testing();
