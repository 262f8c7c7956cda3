# 102_delivery_beside.pl
#
# CALL marketing.work() in sessions beside the preloaded workers: whoever has the duty does it, and
# who passes it over must not act as if he had run it. Every message is sent, none is left in doubt.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('beside', conf => 'max_worker_processes = 16');

$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 9) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	SELECT marketing.define_topic('offers', consent => 'opt_out');
	SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x');
});
wait_scheduler($node, $db, 'a scheduler runs');
$node->safe_psql($db, "SELECT marketing.send_message($_ % 9 + 1, 'offer')") for 1 .. 20;
my $script = join('', map { "SELECT marketing.send_message($_ % 9 + 1, 'offer');\nCALL marketing.work();\n" } 1 .. 40);
$node->safe_psql($db, $script);
ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM marketing.messages WHERE state IN ('queued', 'sending', 'deferred')}), 'no message is live any more');
is($node->safe_psql($db, q{SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM marketing.messages GROUP BY 1) AS s}), 'sent 60', 'all are sent, none is in doubt');
$node->stop;
done_testing();
