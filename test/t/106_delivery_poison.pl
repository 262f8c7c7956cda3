# 106_delivery_poison.pl
#
# A message whose composing fails each time, by an error that is not its template's (a statement that is
# cancelled, or here one that runs out of memory), stays behind alone: those claimed together with it are
# sent by the same helper, however long the duty rests after each failure.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'postgres';
my $node = new_server('poison');

$node->safe_psql($db, q{
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 5) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
	CREATE FUNCTION fragile(n int) RETURNS int STABLE LANGUAGE plpgsql AS $$
		BEGIN IF n = 2 THEN RAISE EXCEPTION 'no memory' USING ERRCODE = '53200'; END IF; RETURN n; END $$;
	SELECT marketing.define_query('numbers', 'SELECT public.fragile($1::int) AS x', params => '{data.n}');
	SELECT marketing.define_template('t', topic => 'transactional', subject => 'x',
		text => '{% for r in numbers %}{{ r.x }}{% endfor %}');
});
$node->safe_psql($db, q{SELECT marketing.send_message(i, 't', data => jsonb_build_object('n', i)) FROM generate_series(1, 4) AS i});
ok($node->poll_query_until($db, q{SELECT count(*) = 3 FROM marketing.messages WHERE state = 'sent'}),
	'the others are sent');
is($node->safe_psql($db, q{SELECT contact || ' ' || state FROM marketing.messages WHERE state <> 'sent'}), '2 queued', 'it waits alone');

# A session that meets the error is in no transaction left open by it.
$node->safe_psql($db, q{SELECT marketing.send_message(2, 't', data => '{"n": 2}')});
my ($code, $out, $err) = $node->psql($db, "CALL marketing.work();\nSELECT 'goes on';");
is($out, 'goes on', 'the session goes on');
unlike($err, qr/transaction/, 'and nothing is said of transactions');
$node->safe_psql($db, q{CREATE OR REPLACE FUNCTION fragile(n int) RETURNS int STABLE LANGUAGE sql AS 'SELECT n'});
ok($node->poll_query_until($db, q{SELECT count(*) = 5 FROM marketing.messages WHERE state = 'sent'}), 'mended, it is sent');
$node->stop;
done_testing();
