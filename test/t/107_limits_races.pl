# 107_limits_races.pl
#
# Caps under random load: messages of two channels and several priorities are asked for by several
# clients, three sessions and the delivery worker send at once, one is erased, some are merged. No window
# of any cap holds more than it may. Then a dump, in which nothing of an erased person is found.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $asks = $ENV{MA_RACES} || 200;
my $node = new_server('limits', conf => 'max_worker_processes = 16');

$node->safe_psql($db, qq{
	CREATE EXTENSION marketing_automation;
	SELECT marketing.define_topic('offers', channels => '{email,sms}', consent => 'opt_out'), marketing.define_topic('tips', consent => 'opt_out');
	SELECT marketing.define_cap('all', 3, per => '1 day'), marketing.define_cap('mail', 2, per => 'day', channel => 'email', when_over => 'displace'),
		marketing.define_cap('tips', 1, per => '10 days', topic => 'tips', when_over => 'defer');
	CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, tz text);
	INSERT INTO customers SELECT i, 'marker' || i || '\@example.com', '+9085055501' || lpad(i::text, 2, '0'),
		(ARRAY['Europe/Istanbul', 'America/New_York', NULL])[i % 3 + 1] FROM generate_series(1, 20) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x'), marketing.define_template('tip', topic => 'tips', subject => 'x', text => 'x'),
		marketing.define_template('offer_sms', topic => 'offers', channel => 'sms', text => 'x'), marketing.define_template('receipt', topic => 'transactional', subject => 'x', text => 'x');
});
wait_scheduler($node, $db, 'a scheduler runs');

my $ask = $node->basedir . '/ask.sql';
my $work = $node->basedir . '/work.sql';
append_to_file($ask, "\\set contact random(1, 20)\n\\set kind random(1, 4)\n\\set priority random(0, 2)\n"
	  . "SELECT marketing.send_message(:contact, (ARRAY['offer', 'tip', 'offer_sms', 'receipt'])[:kind], priority => :priority);\n");
append_to_file($work, "CALL marketing.work();\n");
my @bench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port, '-M', 'simple');
my $asking = IPC::Run::start([ @bench, '-t', $asks, '-c', '2', '-f', $ask, $db ], '>', \my $o1, '2>', \my $e1);
my $working = IPC::Run::start([ @bench, '-t', '20', '-c', '3', '-f', $work, $db ], '>', \my $o2, '2>', \my $e2);
$node->safe_psql($db, "SELECT marketing.merge_contacts(1, '2'), marketing.merge_contacts(3, '4')");
ok($asking->finish, 'messages are asked for') or diag($e1);
ok($working->finish, 'several send') or diag($e2);
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM marketing_internal.message WHERE state <> 'deferred'"), 'all come to an end, or wait for a place');

# All was sent within minutes, so each window is about all of it; the calendar's day may change once.
my $days = $node->safe_psql($db, q{SELECT max(n) FROM (SELECT count(DISTINCT (l.settled_at AT TIME ZONE coalesce(z.zone, current_setting('TimeZone')))::date) AS n
	FROM marketing_internal.message_log AS l, (VALUES ('Europe/Istanbul'), ('America/New_York'), (NULL)) AS z (zone) GROUP BY z.zone) AS d});
my $over = sub {
	my ($most, $condition) = @_;
	return $node->safe_psql($db, qq{
		SELECT count(*) FROM (SELECT coalesce(g.contact_id, l.contact_id) AS who FROM marketing_internal.message_log AS l
			LEFT JOIN marketing_internal.contact_merge AS g ON g.merged_id = l.contact_id AND g.contact_id <> g.merged_id AND g.merged_at < l.settled_at
			WHERE l.state = 'sent' AND l.topic_id <> 0 AND $condition GROUP BY 1 HAVING count(*) > $most) AS o});
};
is($over->(3, 'true'), '0', 'nobody got more than three');
is($over->(2 * $days, "l.channel = 'email'"), '0', 'nor more than two mails a day');
is($over->(1, "l.template = 'tip'"), '0', 'nor more than one tip');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE template = 'receipt' AND state <> 'sent'"), '0', 'receipts are free of caps');
is($node->safe_psql($db, "SELECT count(*) > 0 FROM marketing_internal.message_decision WHERE gate = 'cap' AND decision = 'skipped'"), 't', 'some were skipped');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.messages WHERE state IN ('skipped', 'deferred', 'expired') AND reason IS NULL"), '0', 'each decision has a reason');
is($node->safe_psql($db, "SELECT count(*) FROM marketing.status WHERE state = 'error'"), '0', 'without errors');

# -- a dump knows nothing of who was erased
$node->safe_psql($db, q{
	SELECT marketing.subscribe(17, 'tips', proof => '{"said by": "marker17"}'), marketing.identify(17, '{"nick": "marker17"}'),
		marketing.record_delivery_event('esp', 'event-1', 'bounced', recipient => 'marker17@example.com', status => '5.1.1', detail => 'marker17');
});
my ($before, undef) = run_command([ 'pg_dump', '-h', $node->host, '-p', $node->port, $db ]);
ok(() = $before =~ /marker17/g, 'he is in a dump');
$node->safe_psql($db, 'BEGIN; SELECT marketing.erase_contact(17); DELETE FROM customers WHERE id = 17; COMMIT;');
my ($after, $error) = run_command([ 'pg_dump', '-h', $node->host, '-p', $node->port, $db ]);
is($error, '', 'a dump is made');
unlike($after, qr/marker17|\+908505550117/, 'nothing of him is in it');
like($after, qr/marker18/, 'others are');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing.verify_consent()'), '0', 'the ledger is whole');

$node->stop;
done_testing();
