# 101_delivery_races.pl
#
# No send after a committed withdrawal, with every change left to the dirty log: messages are asked
# for, and consents withdrawn by the column, side by side, while the workers evaluate and send.
# Commit order decides: a claim that committed after the withdrawal was there for all to see is wrong.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;
use MaWorkers;

my $db = 'postgres';
my $contacts = $ENV{MA_RACES} || 400;
my $node = new_server('races', conf => "max_worker_processes = 16\ntrack_commit_timestamp = on");

$node->safe_psql($db, qq{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('offers');
	CREATE TABLE customers (id int PRIMARY KEY, email text, news boolean);
	INSERT INTO customers SELECT i, 'c' || i || '\@example.com', true FROM generate_series(1, 2 * $contacts) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', consent => '{"offers/email": "news"}');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x');
	CREATE TABLE withdrawn (id int, at timestamptz);
	CREATE SEQUENCE asking; CREATE SEQUENCE withdrawing;
});
wait_scheduler($node, $db, 'a scheduler runs');

# Two clients, each at the same contacts in the same order; who is first differs.
sub race
{
	my ($how, $withdraw, $settings) = @_;
	my $ask = $node->basedir . '/ask.sql';
	my $take = $node->basedir . '/take.sql';

	$node->safe_psql($db, "ALTER SYSTEM SET marketing_automation.sync_max_contacts = $settings");
	$node->safe_psql($db, 'SELECT pg_reload_conf()');
	unlink $ask, $take;
	append_to_file($ask, "SELECT marketing.send_message(nextval('asking'), 'offer');\n");
	append_to_file($take, "SELECT nextval('withdrawing') AS id \\gset\n$withdraw\nINSERT INTO withdrawn VALUES (:id, clock_timestamp());\n");
	my @bench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port, '-M', 'simple', '-t', $contacts, '-c', '1');
	my $first = IPC::Run::start([ @bench, '-f', $ask, $db ], '>', \my $o1, '2>', \my $e1);
	my $second = IPC::Run::start([ @bench, '-f', $take, $db ], '>', \my $o2, '2>', \my $e2);
	ok($first->finish, "$how: messages are asked for") or diag($e1);
	ok($second->finish, "$how: consents are withdrawn") or diag($e2);
	ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM marketing_internal.message'), "$how: all messages end");
	is($node->safe_psql($db, qq{
		SELECT count(*) FROM marketing.messages AS m JOIN withdrawn AS w ON w.id::text = m.contact
		WHERE m.state = 'sent' AND w.at < (SELECT max(pg_xact_commit_timestamp(d.xmin))
			FROM marketing_internal.message_decision AS d WHERE d.message_id = m.message AND d.decision = 'claimed')}),
		'0', "$how: none was claimed after the withdrawal had been committed");
	note("$how: " . $node->safe_psql($db,
			"SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s"));
}

race('column, left to the worker', 'UPDATE customers SET news = false WHERE id = :id;', 0);
race('unsubscribe', "SELECT marketing.unsubscribe(:id, 'offers');", 64);
is($node->safe_psql($db, 'SELECT count(*) FROM marketing.verify_consent()'), '0', 'the ledger is whole');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.status WHERE state = 'error'"), '0', 'without errors');

# What is settled in the transaction that claims is evaluated behind the claim: a receipt that has been sent
# ends a run whose offer that transaction has just claimed. No claim is made until both wait.
$node->safe_psql($db, q{
	SELECT marketing.define_topic('news', consent => 'opt_out');
	SELECT marketing.define_template('tip', topic => 'news', subject => 'x', text => 'x'),
		marketing.define_template('receipt', topic => 'transactional', subject => 'x', text => 'x');
	SELECT marketing.declare_event('ordered');
	SELECT marketing.define_journey('tips', $${"entry": {"event": "ordered"}, "exit_on": [{"event": "email_sent"}], "steps": [{"send": "tip"}]}$$);
	SELECT marketing.activate_journey('tips')});
my $holder = session($node, $db);
for my $contact (1 .. 5)
{
	$holder->query('BEGIN; LOCK TABLE marketing_internal.suppression IN ACCESS EXCLUSIVE MODE');
	$node->safe_psql($db, "SELECT marketing.track($contact, 'ordered'), marketing.send_message($contact, 'receipt', priority => 2)");
	ok($node->poll_query_until($db, 'SELECT count(*) = 2 FROM marketing_internal.message'), 'a receipt and a tip wait');
	$holder->query('COMMIT');
	ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM marketing_internal.message'), 'both end');
}
$holder->close;
is($node->safe_psql($db, q{SELECT string_agg(template || ' ' || state || ' ' || n, ', ' ORDER BY template) FROM (
		SELECT template, state, count(*) AS n FROM marketing.messages WHERE template IN ('receipt', 'tip') GROUP BY 1, 2) AS s}),
	'receipt sent 5, tip skipped 5', 'the receipt that went has ended the run before its tip left');

$node->stop;
done_testing();
