# 110_journeys_kill.pl
#
# Each step of a journey takes effect once and none is missing, while the scheduler is killed again
# and again, the whole server too.  Effects are seen by an audit table that triggers write.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $people = 400;
my $kills = 12;
my $node = new_server('journeys', conf => "marketing_automation.databases = '*'\nmax_worker_processes = 12\nrestart_after_crash = on\n");

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', <<"END");
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, person int, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at');
INSERT INTO people SELECT i, 'p' || i || '\@example.com' FROM generate_series(1, $people) AS i;
SELECT marketing.define_template('t', topic => 'transactional', subject => 'Hello', text => 'Hello');
CREATE TABLE audit (enrollment_id bigint, step text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO public.audit VALUES (NEW.enrollment_id, NEW.step);
	RETURN NULL;
END \$\$;
CREATE TRIGGER audit AFTER INSERT ON marketing_internal.message FOR EACH ROW EXECUTE FUNCTION audit();
SELECT marketing.define_journey('five', '{"entry": {"event": "ordered"}, "reentry": "always", "steps": [
	{"send": "t", "id": "a", "nowait": true}, {"wait": "1 second"}, {"send": "t", "id": "b"},
	{"branch": [{"if": "any ordered in 1 day", "then": [{"wait": "2 seconds"}]}]}, {"send": "t", "id": "c", "nowait": true}]}');
SELECT marketing.activate_journey('five');
END
wait_scheduler($node, 'shop', 'a scheduler works');

# Orders come in small commits while processes are killed.
my $next = 1;
for my $kill (1 .. $kills)
{
	for (1 .. 20)
	{
		$node->safe_psql('shop', "INSERT INTO orders SELECT i, 1 + i % $people, clock_timestamp() FROM generate_series($next, $next + 19) AS i");
		$next += 20;
	}
	my $pid = scheduler_of($node, 'shop');
	if ($kill % 4 == 0)
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($pid)
	{
		kill 'KILL', $pid;
	}
	ok($node->poll_query_until('postgres', 'SELECT true'), "kill $kill: the server is up");
	$node->poll_query_until('shop', 'SELECT NOT pg_is_in_recovery()');
}
wait_scheduler($node, 'shop', 'a scheduler works again, without anybody\'s help');
my $orders = $next - 1;
ok($node->poll_query_until('shop', "SELECT count(*) = $orders FROM marketing_internal.enrollment WHERE state = 'completed'"),
	'every run is completed');
is($node->safe_psql('shop', 'SELECT count(*) FROM audit'), 3 * $orders, 'every step took effect');
is($node->safe_psql('shop', 'SELECT count(*) FROM (SELECT FROM audit GROUP BY enrollment_id, step HAVING count(*) <> 1) AS x'), '0', 'and each once');
ok($node->poll_query_until('shop', 'SELECT count(*) = 0 FROM marketing_internal.enrollment_signal'), 'no signal is left');
is($node->safe_psql('shop', 'SELECT count(*) FROM marketing_internal.enrollment_due'), '0', 'and no hint');
$node->stop;
done_testing();
