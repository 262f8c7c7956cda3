# 020_worker_lifecycle.pl
#
# A scheduler exists exactly where and while the extension is installed: it comes after CREATE
# EXTENSION has committed, never before or after a rollback, and goes with DROP EXTENSION, which it
# neither blocks nor deadlocks with. Schemas of our names without the extension do no harm.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('lifecycle');
my $db = 'postgres';

ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'marketing_automation launcher'"),
	'the launcher runs');
is($node->safe_psql($db, "SELECT datname IS NULL FROM pg_stat_activity WHERE backend_type = 'marketing_automation launcher'"),
	't', 'it is connected to no database');

# Another database gets a scheduler; by then the launcher has seen this one's rollback as well.
$node->safe_psql($db, 'CREATE DATABASE other');
$node->safe_psql($db, 'BEGIN; CREATE EXTENSION marketing_automation; ROLLBACK;');
$node->safe_psql('other', 'CREATE EXTENSION marketing_automation');
wait_scheduler($node, 'other', 'a scheduler starts after CREATE EXTENSION');
is(scheduler_of($node, $db), '', 'none after a rollback');

my $session = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($db) ],
	'<', \my $in, '>', \my $out, '2>', \my $err, IPC::Run::timeout(60));
$in = "BEGIN;\nCREATE EXTENSION marketing_automation;\n\\echo created\n";
$session->pump until $out =~ /created/;
$node->safe_psql($db, 'CREATE DATABASE third');
$node->safe_psql('third', 'CREATE EXTENSION marketing_automation');
wait_scheduler($node, 'third', 'the launcher goes on while CREATE EXTENSION is uncommitted');
is(scheduler_of($node, $db), '', 'no scheduler before the commit');
$in .= "COMMIT;\n\\echo committed\n";
$session->pump until $out =~ /committed/;
wait_scheduler($node, $db, 'a scheduler after the commit');
work_goes_on($node, $db, 'it takes turns');
is(status_of($node, $db, 'scheduler', 'state'), 'ok', 'status says so');
is(status_of($node, $db, 'launcher', 'state'), 'ok', 'and of the launcher');

# Dropped by a transaction that rolls back: the scheduler makes way and comes back.
$in .= "BEGIN;\nDROP EXTENSION marketing_automation;\n\\echo dropped\n";
$session->pump until $out =~ /dropped/;
is(scheduler_of($node, $db), '', 'the scheduler makes way for DROP EXTENSION');
$in .= "ROLLBACK;\n\\echo rolled back\n";
$session->pump until $out =~ /rolled back/;
wait_scheduler($node, $db, 'it comes back after the rollback');
work_goes_on($node, $db, 'and works');

$node->safe_psql($db, 'DROP EXTENSION marketing_automation');
wait_no_scheduler($node, $db, 'DROP EXTENSION ends the scheduler');
$in .= "\\q\n";
$session->finish;

# Under load: four sessions write to an attached table, and neither they nor the scheduler nor DROP
# EXTENSION fail or wait for long.
$node->safe_psql($db, 'CREATE TABLE customers (id int PRIMARY KEY, email text);
	CREATE TABLE orders (id serial PRIMARY KEY, customer_id int REFERENCES customers, created_at timestamptz DEFAULT now());
	CREATE INDEX ON orders (customer_id, created_at);
	INSERT INTO customers SELECT i, i || \'@example.com\' FROM generate_series(1, 100) i');
my $script = $node->basedir . '/load.sql';
append_to_file($script, "\\set c random(1, 100)\nINSERT INTO orders (customer_id) VALUES (:c);\n");
my ($load_out, $load_err);
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '4', '-T', '8', '-f', $script, '-h', $node->host, '-p', $node->port, $db ],
	'<', \undef, '>', \$load_out, '2>', \$load_err);
for my $cycle (1 .. 5)
{
	$node->safe_psql($db, "SET client_min_messages = warning; CREATE EXTENSION marketing_automation;
		SET lock_timeout = '10s';
		SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
		SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at')");
	wait_scheduler($node, $db, "cycle $cycle: a scheduler under load");
	$node->safe_psql($db, "SET lock_timeout = '10s'; DROP EXTENSION marketing_automation");
	wait_no_scheduler($node, $db, "cycle $cycle: gone");
}
$load->finish;
unlike($load_out . $load_err, qr/ERROR|aborted/, 'no writer met an error');
like($load_out, qr/number of failed transactions: 0/, 'no transaction failed');
$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');
for my $cycle (1 .. 20)
{
	$node->safe_psql($db, $cycle % 2
		? "SET lock_timeout = '5s'; DROP EXTENSION marketing_automation"
		: 'CREATE EXTENSION marketing_automation');
}
wait_scheduler($node, $db, 'after ten fast cycles of DROP and CREATE there is one scheduler');
work_goes_on($node, $db, 'and it works');

# DROP OWNED takes the extension as well.
$node->safe_psql($db, 'DROP EXTENSION marketing_automation; CREATE ROLE installer SUPERUSER LOGIN');
$node->safe_psql($db, 'SET ROLE installer; CREATE EXTENSION marketing_automation');
wait_scheduler($node, $db, 'a scheduler for another owner');
$node->safe_psql($db, 'DROP OWNED BY installer CASCADE');
wait_no_scheduler($node, $db, 'DROP OWNED ends it');

# Schemas of our names that belong to somebody else.
$node->safe_psql($db, 'CREATE SCHEMA marketing; CREATE SCHEMA marketing_internal;
	CREATE TABLE marketing_internal.setting (x int); CREATE TABLE marketing_internal.attached_table (x int)');
$node->reload;
$node->safe_psql($db, 'CREATE DATABASE last');
$node->safe_psql('last', 'CREATE EXTENSION marketing_automation');
wait_scheduler($node, 'last', 'the launcher has looked at all databases again');
is(scheduler_of($node, $db), '', 'foreign schemas of our names start nothing');

# Limits: SIGHUP takes databases in and out.
$node->append_conf('postgresql.conf', "marketing_automation.databases = 'third, last'");
$node->reload;
wait_no_scheduler($node, 'other', 'a database taken from the list loses its scheduler');
is(scheduler_of($node, 'third') ne '', 1, 'one on the list keeps it');
$node->append_conf('postgresql.conf', "marketing_automation.databases = ''");
$node->reload;
wait_no_scheduler($node, 'third', 'none with an empty list');
$node->append_conf('postgresql.conf', "marketing_automation.databases = '*'");
$node->reload;
wait_scheduler($node, 'other', 'all again with *');

no_trouble($node, 'nothing crashed or failed');
no_trouble($node, 'no worker ended with an error',
	qr/ERROR:|FATAL:.*(?:marketing|background worker)|marketing_automation.*exited with exit code/);
$node->stop;
done_testing();
