# 151_jobs_live.pl
#
# Job 0b, going live: run as written; then its servers are told to be ours, and messages of the shop leave by
# SMTP with STARTTLS and by the request of Twilio, with links to the public address.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaJobs;
use MaMail;
use MaWorkers;

my $credentials = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('live', conf => "marketing_automation.credentials_directory = '$credentials'");
my ($certificate, $key) = certificate($credentials, 'localhost');
append_to_file("$credentials/twilio", "token\n");
chmod(0400, "$credentials/twilio");

my $db = job_shop($node, 'shop');
my $live = job($node, $db, '0b_live', qr/^0 .*WARNING:  server cannot be used before it has option "account": preset "twilio" needs it/s);
like($live, qr{^shop: created\nshop_sms: created\npublic_url: https://m\.shop\.example\narmed: database "shop" on host}m, 'its answers');

# The names of the job lead nowhere; ours stand in for them.
my $mail = start_peer('mail_server.py', keep => 1, tls => 'starttls', cert => $certificate, key => $key);
my $http = start_peer('http_server.py');
$node->safe_psql($db, qq{
	ALTER SERVER mail OPTIONS (SET host 'localhost', SET port '$mail->{port}', ADD ca_file 'localhost.crt');
	ALTER SERVER sms OPTIONS (ADD account 'AC1', ADD password_file 'twilio', ADD allow_http 'true', ADD allow_private 'true',
		ADD url 'http://127.0.0.1:$http->{port}/status/201/%7B%22sid%22%3A%20%22SM1%22%7D');
	SELECT marketing.define_template('text', topic => 'offers', channel => 'sms', text => 'Ten percent: {{ "https://shop.example/x" | track }}');
	SELECT marketing.send_message(c, t) FROM unnest('{42,43}'::text[]) AS c, unnest('{offer,text}'::text[]) AS t;
});
ok($node->poll_query_until($db, 'SELECT count(*) = 4 FROM marketing_internal.message_log'), 'all messages are settled')
  or diag($node->safe_psql($db, 'SELECT * FROM marketing.messages'));
is($node->safe_psql($db, 'SELECT contact, template, state FROM marketing.messages ORDER BY 1, 2'),
	"42|offer|sent\n42|text|sent\n43|offer|skipped\n43|text|skipped", 'to her who wants them');
my @mails = ledger_of($mail);
is(scalar @mails, 1, 'one mail has arrived');
ok($mails[0]{tls}, 'over TLS');
my $content = slurp_file("$mail->{folder}/$mails[0]{key}.eml");
like($content, qr{^List-Unsubscribe: <https://m\.shop\.example/u/[-_A-Za-z0-9]+>\r?\n(?:.*\n)*?List-Unsubscribe-Post: List-Unsubscribe=One-Click}m, 'with a link to unsubscribe in one click');
like($content, qr/^From: hello\@shop\.example\r?$/m, 'from the sender of the job');
my @requests = ledger_of($http);
is(scalar @requests, 1, 'one request was made');
like($requests[0]{body}, qr{^To=%2B905550100042&From=%2B908505550100&Body=Ten.*https%3A%2F%2Fm\.shop\.example%2Fc%2F}, 'the text, with a link over the public address');
is($node->safe_psql($db, q{SELECT detail FROM marketing.messages WHERE template = 'text' AND contact = '42'}), 'SM1', 'Twilio\'s number is kept');

# Disarmed again nothing leaves; the copy of a live database is.
$node->safe_psql($db, 'SELECT marketing.disarm()');
$node->safe_psql($db, q{SELECT marketing.send_message(42, 'offer')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE state = 'deferred' AND reason LIKE '%disarmed%'}), 'disarmed: it waits');

$node->stop;
no_trouble($node, 'nothing went wrong');
done_testing();
