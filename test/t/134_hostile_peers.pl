# 134_hostile_peers.pl
#
# Peers and people that mean no good to the delivery worker: answers with NUL, lines without end, texts that
# would be headers, requests without a body, a cancel of the worker itself; none of them ends or stops it.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $node = new_server('hostile', conf => "max_worker_processes = 16");
my $http = start_peer('http_server.py');
my $smtp = start_peer('mail_server.py', tls => 'none');
my $server = 0;

mail_shop($node, 5);
$node->safe_psql($db, q{
	SELECT marketing.define_topic('texts', consent => 'opt_out', channels => '{sms}');
	SELECT marketing.define_template('text', topic => 'texts', channel => 'sms', text => '{{ data.word }}');
});

# The sender of texts goes by a path of the HTTP server from now on.
sub use_path
{
	my ($path, $options) = @_;
	my $name = 'http' . ++$server;
	$options = $options ? ", $options" : '';
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$http->{port}/$path', allow_http 'true', allow_private 'true'$options);
		SELECT marketing.define_sender('texter', channel => 'sms', server => '$name', from_address => '+15550001');
	});
	return $name;
}

# Likewise the sender of mails by a mail server.
sub use_mail
{
	my ($options) = @_;
	my $name = 'mail' . ++$server;
	$options = $options ? ", $options" : '';
	$node->safe_psql($db, qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '127.0.0.1', port '$smtp->{port}', tls 'none'$options);
		SELECT marketing.define_sender('mailer', channel => 'email', server => '$name', from_address => 'hello\@shop.example');
	});
	return $name;
}

# One message that has been tried: (state and attempts, detail or reason, number).
sub send_one
{
	my ($template, $word) = @_;
	$word //= 'x';
	my $id = $node->safe_psql($db, qq{SELECT marketing.send_message(1, '$template', data => '{"word": "$word"}')});
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE message = $id AND state IN ('queued', 'sending')"), 'it was tried');
	my ($state, $said) = split /\|/, $node->safe_psql($db, "SELECT state || ' ' || attempts, coalesce(detail, reason) FROM marketing.messages WHERE message = $id");
	return ($state, $said, $id);
}

sub decode_json_text
{
	my ($body) = @_;
	return JSON::PP->new->decode($body)->{text};
}

sub helper_pid
{
	return $node->safe_psql($db, "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'");
}

# ---- answers ----

my $state;

# What stands behind a NUL was written over memory that is somebody else's.
foreach my $try (1 .. 5)
{
	use_path('nul', q{response '{% if status == 200 %}sent {{ body | size }} octets{% endif %}'});
	my ($state, $said) = send_one('text');
	is("$state: $said", 'sent 1: 40000 octets', 'an answer with NUL is a text all the same');
}

# ---- headers and bodies of requests ----

use_path('x', q{headers 'X-Word: {{ message.text }}
X-Last: y'});
($state) = send_one('text', 'a\nX-Evil: b\r\nX-Worse: c');
my $headers = (ledger_of($http))[-1]->{headers};
is($state, 'sent 1', 'a text with line ends stops no server');
is($headers->{'x-word'}, 'a X-Evil: b  X-Worse: c', 'they are blanks in a header');
is(join(' ', grep { /evil|worse/ } keys %$headers), '', 'and make no headers');
is($headers->{'x-last'}, 'y', 'those of the server are there');

use_path('close', q{headers 'X-Key: {{ message.key }}', body ''});
($state) = send_one('text');
is($state, 'suspect 1', 'a request without a body that nobody answers is in doubt, too');
use_path('drop', q{headers 'X-Key: {{ message.key }}', body '', max_connections '1'});
my $before = ledger_of($http);
$node->safe_psql($db, "SELECT marketing.send_message(i, 'text') FROM generate_series(1, 5) AS i");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing.messages WHERE state IN ('queued', 'sending')"), 'all were tried');
my @all = ledger_of($http);
my %count;
$count{ $_->{headers}{'x-key'} }++ foreach @all[ $before .. $#all ];
is(join(' ', scalar keys %count, grep { $_ > 1 } values %count), '5', 'and is not repeated by libcurl');
$node->safe_psql($db, "SELECT marketing.settle_message(message, 'failed') FROM marketing.messages WHERE state = 'suspect'");

# ---- a line without end ----

foreach my $stage (qw(rcpt dot))
{
	use_mail("timeout '3'");
	$node->safe_psql($db, "UPDATE customers SET email = '$stage-flood-x\@example.com' WHERE id = 1");
	my ($state) = send_one('offer');
	is($state, $stage eq 'dot' ? 'suspect 1' : 'deferred 1', "$stage: a line without end ends the dialogue");
}
$node->safe_psql($db, "UPDATE customers SET email = 'one\@example.com' WHERE id = 1");

# ---- somebody cancels the worker ----

use_mail();
($state) = send_one('offer');
is($state, 'sent 1', 'a mail');
my $pid = helper_pid();
cmp_ok($pid, '>', 0, 'the worker waits for more');
is($node->safe_psql($db, "SELECT pg_cancel_backend($pid)"), 't', 'it is cancelled');
for (1 .. 3)
{
	($state) = send_one('offer');
	is($state, 'sent 1', 'and goes on');
}
is(helper_pid(), $pid, 'it is the same one');

# ---- texts that are none, in a database that takes any octets; and what is said to others is UTF-8 ----

$node->safe_psql($db, "CREATE DATABASE octets ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('octets', q{
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, name text);
	INSERT INTO customers SELECT i, 'c' || i || '@example.com', '+90532100000' || i, 'x' FROM generate_series(1, 4) AS i;
	UPDATE customers SET name = E'\xff' WHERE id = 2;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
	SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Receipt {{ contact.name }}', text => 'x');
	SELECT marketing.send_message(i, 'receipt') FROM generate_series(1, 4) AS i});
ok($node->poll_query_until('octets', "SELECT count(*) = 3 FROM marketing.messages WHERE state = 'sent'"), 'others are sent');
ok($node->poll_query_until('octets', "SELECT state = 'failed' FROM marketing.messages WHERE contact = '2'"), 'what is no text fails');
like($node->safe_psql('octets', "SELECT reason FROM marketing.messages WHERE contact = '2'"), qr/invalid byte sequence/, 'and says why');
$node->safe_psql($db, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', qq{
	SET client_encoding = 'UTF8';
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY, phone text);
	INSERT INTO customers VALUES (1, '+905321000001');
	SELECT marketing.attach_contacts('customers', id => 'id', phone => 'phone');
	SELECT marketing.define_template('text', topic => 'transactional', channel => 'sms', text => U&'\\00e9t\\00e9');
	CREATE SERVER http FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://127.0.0.1:$http->{port}/x', allow_http 'true', allow_private 'true',
		response '{% if body.id %}sent {{ body.id }}{% endif %}');
	SELECT marketing.define_sender('texter', channel => 'sms', server => 'http', from_address => '+15550001');
	SELECT marketing.arm();
	SELECT marketing.send_message(1, 'text')});
ok($node->poll_query_until('latin', "SELECT state = 'sent' FROM marketing.messages"), 'a text of a database in Latin 1 is sent');
is(decode_json_text((ledger_of($http))[-1]->{body}), "\x{e9}t\x{e9}", 'as UTF-8');

$node->stop;
no_trouble($node, 'nothing else went wrong');
done_testing();
