# 100_delivery.pl
#
# The delivery worker and the spool: a mail that Python's e-mail package reads without a defect, a
# shutdown and SIGKILLs in the midst of sending (nothing lost, nothing claimed twice that must not be),
# DROP EXTENSION while it sends.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('delivery', conf => "restart_after_crash = on\nmax_worker_processes = 16");
my $python = $ENV{PYTHON} || 'python3';

sub delivery_pid
{
	return $node->safe_psql($db,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'");
}

sub make_shop
{
	my ($n) = @_;
	$node->safe_psql($db, qq{
		CREATE EXTENSION marketing_automation;
		SELECT marketing.define_topic('offers');
		CREATE TABLE customers (id int PRIMARY KEY, email text, first_name text, news boolean);
		INSERT INTO customers SELECT i, 'c' || i || '\@example.com', 'Ayşe ' || i, true FROM generate_series(1, $n) AS i;
		SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"offers/email": "news"}');
		SELECT marketing.define_sender('shop', channel => 'email', from_address => 'hello\@shop.example', from_name => 'Şık Dükkân');
		SELECT marketing.define_template('offer', topic => 'offers', subject => 'Merhaba {{ contact.first_name }}, yeni fırsatlar',
			html => '<p>Sayın {{ contact.first_name }} &mdash; <a href="https://shop.example/?a=1&amp;b=2">buyurun</a></p>');
		SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Fiş', text => 'Teşekkürler.');
	});
}

# What there is to see when nothing is sent: status, the workers, the messages, the server's last words.
sub say_where_it_stands
{
	my @log = split /^/, slurp_file($node->logfile);

	foreach my $sql ('SELECT * FROM marketing.status', 'SELECT * FROM marketing.messages', 'SELECT * FROM marketing.errors',
		"SELECT pid, backend_type, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE backend_type LIKE 'marketing%'")
	{
		my ($code, $out, $err) = $node->psql($db, $sql, extra_params => ['-x']);
		diag("$sql\n$out\n$err");
	}
	diag("the end of the server's log:\n", @log > 60 ? @log[-60 .. -1] : @log);
}

# Everything asked for has come to an end, or is in doubt.
sub wait_settled
{
	my ($what) = @_;
	ok( $node->poll_query_until($db,
			"SELECT count(*) = 0 FROM marketing_internal.message WHERE state <> 'suspect'"), $what);
}

# Files of the spool by the number of the message they are of.
sub spooled
{
	my $folder = $node->data_dir . '/marketing_automation_spool/'
	  . $node->safe_psql($db, "SELECT oid FROM pg_database WHERE datname = '$db'");
	my %files;

	foreach my $file (glob("$folder/*"))
	{
		$file =~ m{/(\d+)-[0-9a-f]{8}\.eml$} or die "strange file $file";
		push @{ $files{$1} }, $file;
	}
	is(scalar(glob("$folder/.*.eml") ? () = glob("$folder/.*.eml") : 0), 0, 'no half-written file is left');
	return %files;
}

# -- one mail, read by somebody else
make_shop(400);
wait_scheduler($node, $db, 'a scheduler runs');
$node->safe_psql($db, "SELECT marketing.send_message(7, 'offer')");
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM marketing.messages WHERE state = 'sent'"),
	'a message is sent without anybody doing anything') or say_where_it_stands();
ok($node->poll_query_until($db,
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'"),
	'by a worker of its own');
my $file = $node->safe_psql($db, "SELECT detail FROM marketing.messages");
my $script = $node->basedir . '/read.py';
append_to_file($script, <<'PYTHON');
import email, email.policy, sys
raw = open(sys.argv[1], 'rb').read()
assert b'\n' not in raw.replace(b'\r\n', b''), 'a bare line feed'
assert max(len(line) for line in raw.split(b'\r\n')) <= 998, 'a long line'
assert all(byte < 128 for byte in raw), 'not 7 bit'
message = email.message_from_bytes(raw, policy=email.policy.default)
defects = [d for part in message.walk() for d in part.defects]
defects += [d for part in message.walk() for header in part.values() for d in getattr(header, 'defects', ())]
assert not defects, defects
print(message['From'].addresses[0].addr_spec, message['From'].addresses[0].display_name, message['To'], message['Subject'], sep='|')
print('Sayın Ayşe 7 &mdash;' in message.get_body(('html',)).get_content(), 'Ayşe 7' in message.get_body(('plain',)).get_content())
print(message['Message-ID'].startswith('<' + message['X-MA-Key'] + '@'), message['List-Unsubscribe'].startswith('<http'), 'Date' in message)
PYTHON
$ENV{PYTHONIOENCODING} = 'utf-8';
my ($out, $err) = run_command([ $python, $script, $file ]);
is($err, '', 'Python reads the file');
is($out, "hello\@shop.example|Şık Dükkân|c7\@example.com|Merhaba Ayşe 7, yeni fırsatlar\nTrue True\nTrue True True",
	'and finds what was meant');
my $mode = (stat $file)[2] & 07777;
is(sprintf('%o', $mode), '600', 'nobody else can read it');

# -- a shutdown in the midst of it: what is claimed is brought to its end
$node->safe_psql($db, "SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 400) AS i");
$node->stop('fast');
$node->start;
wait_settled('after a shutdown all go');
is($node->safe_psql($db, "SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s"),
	'sent 401', 'none is in doubt');
my %files = spooled();
is(scalar(keys %files), 401, 'each is in the spool');

# -- SIGKILL of the worker, which restarts the server
my $kills = 0;
for my $round (1 .. 4)
{
	my $before = $node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.message_log');
	$node->safe_psql($db, "SELECT marketing.send_message(i, 'offer'), marketing.send_message(i, 'receipt') FROM generate_series(1, 200) AS i");
	ok($node->poll_query_until($db, "SELECT count(*) > $before FROM marketing_internal.message_log"), "round $round: it sends");
	my $pid = delivery_pid();
	next unless $pid;
	kill('KILL', $pid);
	$kills++;
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), "round $round: killed, and the server is back");
	wait_settled("round $round: the rest goes");
}
ok($kills > 0, "it was killed ($kills times)");
my $asked = 1 + 400 + 4 * 400;
is($node->safe_psql($db, 'SELECT count(*) FROM marketing.messages'), $asked, 'no message is lost');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state NOT IN ('sent', 'suspect')"), '0', 'each is sent or in doubt');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'suspect' AND template = 'receipt'"), '0',
	'transactional ones are sent again rather than held');
is($node->safe_psql($db, "SELECT count(*) FROM (SELECT d.message_id FROM marketing_internal.message_decision AS d
		JOIN marketing.messages AS m ON m.message = d.message_id WHERE m.template = 'offer'
		GROUP BY 1 HAVING count(*) FILTER (WHERE decision = 'claimed') > 1 + count(*) FILTER (WHERE decision IN ('returned', 'deferred'))) AS twice"),
	'0', 'no other is sent a second time');
my %sent = map { $_ => 1 } split /\n/, $node->safe_psql($db, "SELECT message FROM marketing.messages WHERE state = 'sent'");
%files = spooled();
is(join(' ', grep { !$files{$_} } keys %sent), '', 'whatever is sent is in the spool');
is(join(' ', grep { !$sent{$_} } keys %files), '', 'and nothing else: a file is evidence');
is(join(' ', grep { @{ $files{$_} } > 1 } keys %files), '', 'once');
note('in doubt: ' . $node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state = 'suspect'"));

# -- DROP EXTENSION while it sends
$node->safe_psql($db, "SELECT marketing.send_message(i, 'offer') FROM generate_series(1, 400) AS i");
$node->safe_psql($db, 'DROP EXTENSION marketing_automation');
is(delivery_pid(), '', 'DROP EXTENSION ends the worker');
$node->safe_psql($db, 'DROP TABLE customers');
make_shop(3);
$node->safe_psql($db, "SELECT marketing.send_message(1, 'receipt')");
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM marketing.messages WHERE state = 'sent'"), 'a new one begins afresh');
ok(-f $node->safe_psql($db, 'SELECT detail FROM marketing.messages'), 'with files of its own');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.status WHERE state = 'error'"), '0', 'without errors');

$node->stop;
done_testing();
