# 137_fcm_token.pl
#
# The access token of the preset fcm: doc/fcm_token.py asks for one with a signed assertion and replaces the
# file; the delivery worker, which runs all the time, sends with the one that is there, and after a refusal of the old
# one (401) with the next, and no message is lost.
use strict;
use warnings;
use File::Basename;
use JSON::PP;
use MIME::Base64 qw(decode_base64url);
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $script = "$ENV{MA_TEST_DIR}/lib/fcm_token.py";

my $google = start_peer('http_server.py');
system_or_bail('openssl', 'genrsa', '-out', "$credentials/private.pem", '2048');
system_or_bail('openssl', 'rsa', '-in', "$credentials/private.pem", '-pubout', '-out', "$credentials/public.pem");

# The key file of a service account whose tokens are given by a peer: this one.
sub account
{
	my ($answer) = @_;
	unlink "$credentials/account.json";
	append_to_file("$credentials/account.json", encode_json({ type => 'service_account', client_email => 'shop@project.example',
		private_key => slurp_file("$credentials/private.pem"), token_uri => "http://127.0.0.1:$google->{port}/$answer" }));
}
sub renew
{
	return system('python3', $script, "$credentials/account.json", "$credentials/fcm") >> 8;
}

account('status/200/%7B%22access_token%22%3A%22first%22%7D');
is(renew(), 0, 'a token is asked for');
is(slurp_file("$credentials/fcm"), "first\n", 'and written down');
is((stat "$credentials/fcm")[2] & 0777, 0600, 'for nobody else to read');
my $asked = (ledger_of($google))[-1];
my ($text, $signature) = $asked->{body} =~ /^grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=([-_A-Za-z0-9]+\.[-_A-Za-z0-9]+)\.([-_A-Za-z0-9]+)$/;
ok($text, 'as the documents of OAuth say') or diag($asked->{body});
append_to_file("$credentials/text", $text);
append_to_file("$credentials/signature", decode_base64url($signature));
command_ok([ 'openssl', 'dgst', '-sha256', '-verify', "$credentials/public.pem", '-signature', "$credentials/signature", "$credentials/text" ], 'signed');
my $claims = decode_json(decode_base64url((split /\./, $text)[1]));
is("$claims->{iss} $claims->{scope} " . ($claims->{exp} - $claims->{iat}), 'shop@project.example https://www.googleapis.com/auth/firebase.messaging 3600', 'for what it is needed');
account('status/503/%7B%7D');
is(renew(), 1, 'no answer is an error');
is(slurp_file("$credentials/fcm"), "first\n", 'and leaves the token');

# The worker's side.
my $node = new_server('fcm', conf => "marketing_automation.credentials_directory = '$credentials'");
my $fcm = start_peer('http_server.py');
mail_shop($node, 5);
$node->safe_psql($db, qq{
	SELECT marketing.define_topic('pushes', consent => 'opt_out', channels => '{push}');
	SELECT marketing.define_template('push', topic => 'pushes', channel => 'push', text => 'Hello {{ word }}');
	SELECT marketing.identify('app:1', '{"push_token": "device-1"}');
	CREATE SERVER fcm FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'fcm', account 'project', password_file 'fcm',
		url 'http://127.0.0.1:$fcm->{port}/status/200/%7B%22name%22%3A%22m1%22%7D', allow_http 'true', allow_private 'true');
	SELECT marketing.define_sender('app', channel => 'push', server => 'fcm', from_address => 'shop');
});
sub push_one
{
	my ($word) = @_;
	return $node->safe_psql($db, qq{SELECT marketing.send_message('app:1', 'push', data => '{"word": "$word"}')});
}
sub wait_for
{
	my ($message, $condition) = @_;
	return $node->poll_query_until($db, "SELECT count(*) = 1 FROM marketing.messages WHERE message = $message AND $condition");
}
ok(wait_for(push_one('one'), "state = 'sent'"), 'a message is sent');
my $sent = (ledger_of($fcm))[-1];
is("$sent->{headers}{authorization} " . decode_json($sent->{body})->{message}{token}, 'Bearer first device-1', 'with the token of the file');
my $worker = $node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%delivery%'");

# It has expired: the answer is the server's fault, the message waits. Then cron has run.
$node->safe_psql($db, "ALTER SERVER fcm OPTIONS (SET url 'http://127.0.0.1:$fcm->{port}/status/401/%7B%7D')");
my $waits = push_one('two');
ok(wait_for($waits, "state = 'deferred' AND reason LIKE 'server fcm: 401%'"), 'with a token that has expired it waits');
account('status/200/%7B%22access_token%22%3A%22second%22%7D');
is(renew(), 0, 'a new token');
$node->safe_psql($db, "ALTER SERVER fcm OPTIONS (SET url 'http://127.0.0.1:$fcm->{port}/status/200/%7B%22name%22%3A%22m2%22%7D')");
$node->safe_psql($db, "UPDATE marketing_internal.message SET next_at = now() WHERE state = 'deferred'");
ok(wait_for($waits, "state = 'sent'"), 'the message that waited is sent');
is((ledger_of($fcm))[-1]->{headers}{authorization}, 'Bearer second', 'with the new token');
is($node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%delivery%'"), $worker, 'by the same worker');

$node->stop;
done_testing();
