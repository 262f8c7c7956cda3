# 141_mail_server.pl
#
# Mail through Postfix with STARTTLS and AUTH into the mailboxes of Dovecot, read back by IMAP: each
# message is there once, as it was written, and what its receiver sees is what the RFCs ask for.
use strict;
use warnings;
use File::Copy;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

plan skip_all => 'Postfix needs root to begin with' unless $ENV{MA_MAIL_DIR};

my $db = 'postgres';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $python = $ENV{PYTHON} || 'python3';
append_to_file("$credentials/mail", "secret\n");
chmod 0600, "$credentials/mail";
copy("$ENV{MA_MAIL_DIR}/ca.pem", "$credentials/ca.pem") or die "ca.pem: $!";

my $node = new_server('mail', conf => "marketing_automation.credentials_directory = '$credentials'");
my $text = join(' ', map { "Zeile $_: Grüße, ελληνικά, İstanbul." } 1 .. 60);
$node->safe_psql($db, qq{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.configure('public_url', 'https://m.shop.example');
	CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'localhost', port '$ENV{MA_MAIL_SMTP}', tls 'require',
		user 'shop\@shop.example', password_file 'mail', ca_file 'ca.pem', return_path 'bounce\@shop.example', verp 'true');
	SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', from_address => 'hello\@shop.example',
		from_name => 'Şık Dükkân');
	SELECT marketing.define_topic('offers', 'Offers', consent => 'opt_out');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'Merhaba {{ contact.first_name }}, yeni fırsatlar — çok uzun bir konu satırı, katlanmalı',
		html => '<p>Sayın {{ contact.first_name }}</p><p>$text</p><p>.</p><p>..</p><a href="https://shop.example/ürün?a=1&amp;b=2">x</a>');
	SELECT marketing.define_template('dots', topic => 'offers', subject => 'Dots', text => E'.\\n..\\n.x\\nFrom me\\n' || repeat('a', 5000) || E'\\n.');
	CREATE TABLE customers (id int PRIMARY KEY, email text, first_name text);
	INSERT INTO customers VALUES (1, 'ayse\@post.example', 'Ayşe'), (2, 'bob\@xn--mnchen-3ya.example', 'Bob "B" <x>');
	INSERT INTO customers SELECT i, 'c' || i || '\@many.example', 'Nr ' || i FROM generate_series(11, 60) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.arm();
	SELECT marketing.send_message(id, 'offer') FROM customers;
	SELECT marketing.send_message(1, 'dots');
});
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM marketing_internal.message'), 'all messages are settled')
  or diag($node->safe_psql($db, 'SELECT * FROM marketing.messages WHERE state <> $$sent$$ LIMIT 5'));
is($node->safe_psql($db, 'SELECT state, count(*) FROM marketing.messages GROUP BY 1'), 'sent|53', 'and sent');

# The mails of a user, as Python's parser understands them.
sub mailbox
{
	my ($user, $count) = @_;
	my ($out, $err) = run_command([ $python, "$ENV{MA_TEST_DIR}/lib/read_imap.py", $ENV{MA_MAIL_IMAP}, $user, $count ]);
	diag($err) if $err ne '';
	return @{ JSON::PP->new->decode($out) };
}

my @mails = mailbox('ayse@post.example', 2);
is(scalar @mails, 2, 'both mails have come, once');
my ($offer) = grep { $_->{headers}{subject} =~ /Merhaba/ } @mails;
my ($dots) = grep { $_->{headers}{subject} eq 'Dots' } @mails;
foreach my $mail (@mails)
{
	is_deeply($mail->{defects}, [], 'the parser finds no fault');
	is($mail->{bare_newlines}, 0, 'lines end with CR LF');
	cmp_ok($mail->{longest_line}, '<=', 998, 'no line is too long');
	like($mail->{headers}{'list-unsubscribe'}, qr{^<https://m\.shop\.example/u/[-_A-Za-z0-9]+>}, 'List-Unsubscribe');
	is($mail->{headers}{'list-unsubscribe-post'}, 'List-Unsubscribe=One-Click', 'List-Unsubscribe-Post');
	like($mail->{headers}{'return-path'}, qr/^<bounce[+=].*\@shop\.example>$/, 'each has a return path of its own');
	like($mail->{headers}{'message-id'}, qr/^<[^<>@\s]+\@[^<>@\s]+>$/, 'Message-ID');
	like($mail->{headers}{received}, qr/ESMTPSA/, 'encrypted and with a password');
}
isnt($mails[0]{headers}{'return-path'}, $mails[1]{headers}{'return-path'}, 'which differs');
is($offer->{headers}{subject}, "Merhaba Ay\x{15f}e, yeni f\x{131}rsatlar \x{2014} \x{e7}ok uzun bir konu sat\x{131}r\x{131}, katlanmal\x{131}", 'the subject');
is($offer->{headers}{from}, "\x{15e}\x{131}k D\x{fc}kk\x{e2}n <hello\@shop.example>", 'the sender');
like($offer->{parts}{'text/html'}, qr/<p>\.<\/p><p>\.\.<\/p>/, 'dots of the html');
like($offer->{parts}{'text/html'}, qr/Zeile 60: Gr\x{fc}\x{df}e, \x{3b5}/, 'the end of the html');
like($offer->{parts}{'text/plain'}, qr/Say\x{131}n Ay\x{15f}e/, 'the text made of it');
my $plain = $dots->{parts}{'text/plain'};
$plain =~ s/\r\n/\n/g;
is($plain =~ s/\n*\z//r, ".\n..\n.x\nFrom me\n" . 'a' x 5000 . "\n.", 'dots and long lines are as they were');

my ($bob) = mailbox('bob@xn--mnchen-3ya.example', 1);
like($bob->{parts}{'text/html'}, qr/Bob (&quot;|")B(&quot;|") &lt;x&gt;/, 'a name is no markup');
my $wrong = 0;
foreach my $n (11 .. 60)
{
	my @his = mailbox("c$n\@many.example", 1);
	$wrong++ unless @his == 1 && $his[0]{headers}{subject} =~ /Nr $n,/;
}
is($wrong, 0, 'fifty more have got theirs, once');

# A password that is not right: nothing is lost, and it does not stand in the log.
append_to_file("$credentials/wrong", "not-the-secret\n");
chmod 0600, "$credentials/wrong";
$node->safe_psql($db, q{ALTER SERVER mail OPTIONS (SET password_file 'wrong'); SELECT marketing.send_message(1, 'dots')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE state = 'deferred' AND reason ~ '535'}), 'a wrong password defers')
  or diag($node->safe_psql($db, 'SELECT * FROM marketing.messages WHERE state <> $$sent$$'));
unlike(slurp_file($node->logfile), qr/not-the-secret/, 'and is no secret of the log');

$node->stop;
done_testing();
