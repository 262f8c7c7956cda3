# 142_encodings.pl
#
# A database that is not UTF-8: pages, forms, links and mails are, all the same.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('latin1');
my $db = 'latin';
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});

# Both sides of psql in UTF-8.
$ENV{PGCLIENTENCODING} = 'UTF8';
$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('Größen', 'Neue Größen', consent => 'opt_out');
	SELECT marketing.configure('utm_source', 'Müller');
	SELECT marketing.define_template('offer', topic => 'Größen', subject => 'Grüße', html => '<p>&copy; &euro; &amp; über</p><a href="https://shop.example/größe?a=1">x</a><a href="{{ preferences_url }}">p</a>');
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers VALUES (1, 'c@example.com');
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.send_message(1, 'offer');
	CALL marketing.work();
});
ok($node->poll_query_until($db, 'SELECT count(*) = 1 FROM marketing_internal.message_log'), 'a mail is made');
my $file = $node->safe_psql($db, 'SELECT detail FROM marketing.messages');
my $mail = slurp_file($file =~ m{^/} ? $file : $node->data_dir . "/$file");
$mail =~ s/\r//g;
my ($text) = $mail =~ /text\/plain.*?\n\n(.*?)\n--/s;
my ($html) = $mail =~ /text\/html.*?\n\n(.*?)\n--/s;
foreach ($text, $html)
{
	s/=\n//g;
	s/=([0-9A-F]{2})/chr hex $1/ge;
}
like($mail, qr/^Subject: =\?UTF-8\?B\?R3LDvMOfZQ==\?=$/m, 'its subject');
like($text, qr/&copy; &euro; & \xC3\xBCber/, 'the text of its html: a character is never another one');
my ($click) = $html =~ m{localhost(/c/[-_A-Za-z0-9]+)};
my ($page) = $html =~ m{localhost(/p/[-_A-Za-z0-9]+)};

sub ask
{
	my ($method, $path, $content) = @_;
	return $node->safe_psql($db, "SELECT status, location, encode(page, 'hex') FROM marketing.web_request('$method', '$path', content => "
	  . (defined $content ? "'\\x" . unpack('H*', $content) . "'" : 'NULL') . ')');
}

my (undef, $location) = split /\|/, ask('GET', $click);
is($location, 'https://shop.example/gr%C3%B6%C3%9Fe?a=1&utm_source=M%C3%BCller&utm_medium=email&utm_campaign=offer', 'where a link leads');
my ($status, undef, $hex) = split /\|/, ask('GET', $page);
like(pack('H*', $hex), qr/value="Gr\xC3\xB6\xC3\x9Fen\/email" checked> Neue Gr\xC3\xB6\xC3\x9Fen/, 'a page');
($status, undef, $hex) = split /\|/, ask('POST', $page, 'shown=Gr%C3%B6%C3%9Fen%2Femail');
is($status, 200, 'its form');
is($node->safe_psql($db, 'SELECT topic, state FROM marketing.consent_state'), 'Größen|opted_out', 'is understood');

$node->stop;
done_testing();
