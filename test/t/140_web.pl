# 140_web.pl
#
# marketing-web: the links of real messages through HTTP; clients that are slow, endless, malformed or
# many harm nobody; the database away and back; the end by a signal.
use strict;
use warnings;
use IO::Select;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWeb;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('web');
$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('offers', 'Offers', consent => 'opt_out');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', text => '{{ unsubscribe_url }} ');
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 20) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.send_message(id, 'offer') FROM customers;
	CREATE ROLE web LOGIN;
	GRANT USAGE ON SCHEMA marketing TO web;
	GRANT EXECUTE ON FUNCTION marketing.web_request(text, text, jsonb, bytea, inet) TO web;
});
ok($node->poll_query_until($db, 'SELECT count(*) = 20 FROM marketing_internal.message_log'), 'the messages are sent');
my @links = split /\n/, $node->safe_psql($db, q{
	SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'http://localhost(/u/[-_A-Za-z0-9]+)'))[1]
	FROM marketing.messages ORDER BY contact::int});
is(scalar @links, 20, 'and have links');

sub withdrawn
{
	return $node->safe_psql($db, q{SELECT count(*) FROM marketing.consent_state WHERE state = 'opted_out'});
}

$ENV{PGUSER} = 'web';
my $web = web_start($node, $db, '--timeout', 3, '--clients', 300, '--log-requests');
delete $ENV{PGUSER};

# ---- people and mail programs ----

my ($status, $headers, $page) = web_ask($web, 'GET', $links[0]);
is($status, 200, 'a link is answered');
like($page, qr/<form method="post">/, 'with a form');
like($headers, qr/^Cache-Control: no-store/m, 'that nobody keeps');
like($headers, qr/^Content-Security-Policy: default-src 'none'/m, 'and that runs no script');
is((web_ask($web, 'HEAD', $links[0]))[0], 200, 'HEAD is answered');
is((web_ask($web, 'OPTIONS', $_))[0], 405, 'OPTIONS is not') for $links[0];
web_ask($web, 'GET', $_, undef, "Range: bytes=0-10\r\nPurpose: prefetch\r\n") for @links;
is(withdrawn(), 0, 'who fetches links withdraws nobody');
($status, $headers, $page) = web_ask($web, 'POST', $links[0], 'List-Unsubscribe=One-Click',
	"Content-Type: application/x-www-form-urlencoded\r\n");
is($status, 200, 'the one-click of RFC 8058');
is(withdrawn(), 1, 'is in force when it is answered');
is((web_ask($web, 'POST', '/u/forged', 'x'))[0], 404, 'a forged token is none');

# Several requests of one connection, sent at once, are answered in turn.
my $socket = web_open($web);
print $socket join('', map { "GET $_ HTTP/1.1\r\nHost: localhost\r\n\r\n" } '/health', '/health', '/u/x');
is((web_read($socket))[0], 200, 'pipelined: the first');
is((web_read($socket))[0], 200, 'the second');
is((web_read($socket))[0], 404, 'the third');
close $socket;

# ---- bad clients ----

is((web_ask($web, 'GET', '/' . 'a' x 600))[0], 404, 'a long path');
is((web_ask($web, 'GET', '/u/../etc/passwd'))[0], 404, 'a path upwards');
is((web_ask($web, 'GET', "/u/%27;drop"))[0], 404, 'a path of other letters');
is((web_ask($web, 'POST', $links[1], undef, "Content-Length: 99999999999\r\n"))[0], 413, 'more than it may have');
is((web_ask($web, 'GET', '/health', undef, 'X-Long: ' . 'a' x 30000 . "\r\n"))[0], 431, 'a long header');
is((web_ask($web, 'GET', '/health', undef, "X-Bytes: \xff\xfe\x01\"\\\r\n"))[0], 200, 'bytes that are no text');

# Each of these gets an error or is cut off, and is given no page.
foreach my $bad ("garbage\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n", "GET\r\n\r\n", "\r\n" x 50,
	"GET http://x/health HTTP/9.9\r\n\r\n", "POST $links[1] HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n\r\n")
{
	my $client = web_open($web);
	print $client $bad;
	shutdown $client, 1;
	my ($got) = eval { web_read($client) };
	ok(!defined $got || $got >= 400, 'malformed: ' . ($got // 'closed'));
}

# A request whose end the server before us may see elsewhere is refused, and nothing behind it is read as another.
foreach my $framing ("Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 0\r\nContent-Length: 5",
	"Transfer-Encoding: gzip, chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: identity")
{
	my $client = web_open($web);
	print $client "POST /u/x HTTP/1.1\r\nHost: x\r\n$framing\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n";
	is((web_read($client))[0], 400, "refused: $framing" =~ s/\r\n/, /gr);
	ok(!defined((eval { web_read($client) })[0]), 'and closed');
}
is((web_ask($web, 'POST', '/u/x', undef, "Transfer-Encoding: Chunked\r\n\r\n0\r\n"))[0], 404, 'content in pieces is read');

# What a client says makes no line of its own in the log.
is((web_ask($web, 'GET', '/health%0Aforged%20line/x'))[0], 404, 'a line end in the path');
is((web_ask($web, 'GET', '%0Aforged'))[0], 404, 'a path that begins with one');
is((web_ask($web, 'GET', '?x'))[0], 404, 'a path of no letter');
is((web_ask($web, "FOR\eGED", '/health'))[0], 405, 'a method of other letters');

# A body in pieces without an end is cut off.
my $endless = web_open($web);
print $endless "POST $links[1] HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
$SIG{PIPE} = 'IGNORE';
my $sent = 0;
while ($sent < 100)
{
	last unless defined syswrite $endless, "10000\r\n" . 'a' x 65536 . "\r\n";
	$sent++;
}
ok($sent < 100, "an endless body is cut off");
is(withdrawn(), 1, 'and none of them has withdrawn anything');

# Clients that hold as many places as there are and send a byte now and then; a person comes in all the same.
my @slow = map { my $s = web_open($web); print $s "GET /health HTTP/1.1\r\nX-Slow: "; $s } 1 .. 250;
is((web_ask($web, 'GET', '/health'))[0], 200, 'a person beside slow clients');
my $left = IO::Select->new(@slow);
my $closed = 0;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	print $_ 'a' foreach $left->handles;
	$_->flush foreach $left->handles;
	foreach my $ready ($left->can_read(0.1))
	{
		next if sysread $ready, my $ignored, 4096;
		$left->remove($ready);
		$closed++;
	}
	last unless $left->count;
}
is($closed, 250, 'slow clients are closed, although they are never silent');

# More clients than places: the others wait or are refused, and then it goes on.
my @many = map { web_open($web) } 1 .. 350;
close $_ foreach @many;
is((web_ask($web, 'GET', '/health'))[0], 200, 'after more clients than places');

# ---- a request that the database holds up harms no other ----

# A client whose request is on its way and not read yet.
sub post
{
	my ($where, $path) = @_;
	my $client = web_open($where);
	print $client "POST $path HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
	return $client;
}

$node->safe_psql($db, q{
	SELECT marketing.define_template('pictured', topic => 'offers', subject => 'Offer', html => '<a href="https://shop.example/new">New</a>');
	SELECT marketing.send_message(7, 'pictured')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE template = 'pictured' AND state = 'sent'}), 'a message with a link');
my $mail = $node->safe_psql($db, q{SELECT replace(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-'), '=3D', '=')
	FROM marketing.messages WHERE template = 'pictured'});
my ($open) = $mail =~ m{http://localhost(/o/[-_A-Za-z0-9]+)};
my ($click) = $mail =~ m{http://localhost(/c/[-_A-Za-z0-9]+)};
my $holder = $node->background_psql($db);
my $other = web_start($node, $db, '--timeout', 300, '--clients', 40);
$holder->query_safe("BEGIN; SELECT marketing.unsubscribe('5')");
my @waiting = map { post($other, $links[4]) } 1 .. 2;
is((web_ask($other, 'POST', $links[5], ''))[0], 200, 'another one is served');

# Also where more of them wait than there are connections; of what acts no more than half of the clients wait.
push @waiting, map { post($other, $links[4]) } 3 .. 20;
is((web_ask($other, 'GET', '/health'))[0], 200, 'with as many waiting as there are connections the endpoint says that it is well');
is((web_ask($other, 'GET', $open))[0], 200, 'a picture is shown');
is((web_ask($other, 'GET', $click))[0], 302, 'a link leads on');
is((web_ask($other, 'GET', $links[4]))[0], 200, 'a page is shown');
is((web_ask($other, 'POST', $links[5], ''))[0], 503, 'one more that acts is refused at once');

# Nor do they wait for ever.
my @hasty = map { post($web, $links[4]) } 1 .. 4;
is((web_read($_))[0], 503, 'who waits too long for a lock is told to try again') foreach @hasty;

# Nor does anybody who reads wait while the reader is erased, though there be one connection for all.
my $single = web_start($node, $db, '--timeout', 6, '--connections', 1);
my $eraser = $node->background_psql($db);
$eraser->query_safe('BEGIN');
like($eraser->query_safe("SELECT marketing.erase_contact('7')"), qr/erased/, 'somebody is being erased');
is((web_ask($single, 'GET', $open))[0], 200, 'his picture is shown');
is((web_ask($single, 'GET', $click))[0], 302, 'his link leads on');
is((web_ask($single, 'GET', '/health'))[0], 200, 'and the endpoint is well');
$eraser->query_safe('ROLLBACK');
$eraser->quit;
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.message_hit AS h JOIN marketing.messages AS m ON m.message = h.message_id WHERE m.contact = '7'}), '2',
	'such a hit is not kept; those before are');
web_stop($single);

# ---- the end: who asks nothing is closed, and what is on its way is answered

my $idle = web_open($other);
print $idle "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
is((web_read($idle))[0], 200, 'a client that stays');
my $silent = web_open($other);
my $uploads = web_open($other);
print $uploads "POST $links[6] HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab";
is((web_ask($other, 'GET', '/health'))[0], 200, 'all of them have come in');
kill 'TERM', $other->{pid};
ok(!defined((web_read($_))[0]), 'who asks nothing is closed') foreach $idle, $silent;
ok(!eval { web_open($other) }, 'who comes now is refused');
ok(web_alive($other), 'it waits for those that were asked');
$holder->query_safe('COMMIT');
foreach my $client (@waiting, $uploads)
{
	# Not beside the others, who are as many as may wait.
	print $uploads 'cd' if $client == $uploads;
	my ($code, $said) = web_read($client);
	is($code, 200, 'and answers them');
	like($said, qr/^Connection: close/m, '... for the last time');
}
my $ended = 0;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if $ended = !web_alive($other);
	select undef, undef, undef, 0.1;
}
ok($ended, 'and ends');
is($?, 0, '... as it should');
is(withdrawn(), 4, 'what was asked is done');

$other = web_start($node, $db, '--timeout', 300);
$idle = web_open($other);
print $idle "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
web_read($idle);
kill 'TERM', $other->{pid};
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if $ended = !web_alive($other);
	select undef, undef, undef, 0.1;
}
ok($ended, 'with clients that only stay it ends at once');

# ---- what all clients together may hold ----

# A hook takes more than a form, but not as often as there are clients.
$other = web_start($node, $db, '--timeout', 10, '--clients', 200, '--connections', 1);
my @large = map {
	my $s = web_open($other);
	print $s "POST /hook/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n", 'a' x 1000000;
	$s
} 1 .. 80;
my $full = IO::Select->new(@large);
my @cut = $full->can_read($PostgreSQL::Test::Utils::timeout_default);
ok(@cut > 0, 'more than so much at once is cut off');
is((web_ask($other, 'POST', '/u/x', 'x'))[0], 404, 'a form is not concerned');
close $_ foreach @large;
my $fits = 0;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if $fits = ((web_ask($other, 'POST', '/hook/x', 'a' x 1000000))[0] // 0) == 404;
}
ok($fits, 'and there is room again when they are gone');
web_stop($other);

# ---- the end while the database holds up what was asked ----

$other = web_start($node, $db, '--timeout', 2, '--connections', 2);
my $patient = web_open($other);
print $patient "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
is((web_read($patient))[0], 200, 'a client that stays');
$holder = $node->background_psql($db);
$holder->query_safe("BEGIN; SELECT marketing.unsubscribe('8')");
my $used = (times)[2];
print $patient "POST $links[7] HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
is((web_ask($other, 'GET', '/health'))[0], 200, 'it has come in');
kill 'TERM', $other->{pid};
waitpid $other->{pid}, 0;
is($?, 0, 'it ends as it should');
cmp_ok((times)[2] - $used, '<', 1, 'and has not been busy with it');
$holder->query_safe('ROLLBACK');
$holder->quit;

# ---- the database goes and comes ----

$node->stop('fast');
is((web_ask($web, 'GET', '/health'))[0], 503, 'without the database');
$node->start;
my $back = 0;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$back = (web_ask($web, 'GET', '/health'))[0] == 200;
	last if $back;
}
ok($back, 'it finds it again');
is((web_ask($web, 'POST', $links[6], ''))[0], 200, 'and goes on');
$node->safe_psql($db, 'DROP EXTENSION marketing_automation CASCADE');
is((web_ask($web, 'GET', '/health'))[0], 503, 'without the extension');
$node->safe_psql($db, q{CREATE EXTENSION marketing_automation; GRANT USAGE ON SCHEMA marketing TO web;
	GRANT EXECUTE ON FUNCTION marketing.web_request(text, text, jsonb, bytea, inet) TO web});
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if ($back = (web_ask($web, 'GET', '/health'))[0] == 200);
}
ok($back, 'and with a new one');

# ---- the end ----

ok(web_alive($web), 'it has run all the time');
is(web_stop($web), 0, 'SIGTERM ends it');
my $log = web_log($web);
like($log, qr{POST /u 200 \d+ ms}, 'it logs requests');
unlike($log, qr/forged|\eGED/, 'nothing that a client could use to write its own');
unlike($log, qr/\Q$_\E/, 'but no token') foreach substr($links[0], 3);

command_fails_like(['bash', '-c', "exec \$($ENV{PG_CONFIG} --bindir)/marketing-web --listen nonsense"], qr/HOST:PORT/, 'a wrong address');
command_fails_like(['bash', '-c', "exec \$($ENV{PG_CONFIG} --bindir)/marketing-web --clients many"], qr/must be a number/, 'a wrong number');

$node->stop;
done_testing();
