# 110_journeys_kill.pl
#
# Each step of a journey takes effect once and none is missing, while the scheduler is killed and
# terminated again and again, the postmaster killed and the server stopped in the midst of its work. What took
# effect is seen by an audit table that functions of the journey and a trigger write, and by the messages there are.
# ENROLLMENTS and KILLS of the environment make it longer (test/bench/soak/journeys.sh), MINUTES bounds it, SEED repeats it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use MaWorkers;

my $enrollments = $ENV{ENROLLMENTS} || 4800;
my $kills = $ENV{KILLS} || 12;
# Fifty orders each at length: rules read them all.
my $people = $enrollments > 20000 ? int($enrollments / 50) : 400;
my $until = time + 60 * ($ENV{MINUTES} || 60);
my $step = int($enrollments / $kills);
my $seed = $ENV{SEED} || $$;
# Stopped from outside, it stops its server and leaves nothing behind.
$SIG{TERM} = $SIG{INT} = sub { die "stopped\n" };
my $node = new_server('journeys', conf => "marketing_automation.databases = '*'\nmax_worker_processes = 12\nrestart_after_crash = on\n"
	  . "max_wal_size = '4GB'");

srand($seed);
note("seed $seed");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', <<"END");
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, person int, at timestamptz);
CREATE TABLE payments (order_id int PRIMARY KEY, person int, at timestamptz);
CREATE INDEX ON orders (person);
CREATE INDEX ON payments (person);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at');
SELECT marketing.attach_events('payments', event => 'paid', contact => 'person', contact_source => 'people', occurred_at => 'at');
INSERT INTO people SELECT i, 'p' || i || '\@example.com' FROM generate_series(1, $people) AS i;
SELECT marketing.define_template('t', topic => 'transactional', subject => 'Hello', text => 'Hello');
CREATE TABLE audit (order_id int, what text, run bigint);
CREATE INDEX ON audit (what, order_id);
-- Whose run it is stands in no row yet where a late turn has let in and sent at once.
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO public.audit VALUES (NULL, NEW.step, NEW.enrollment_id);
	RETURN NULL;
END \$\$;
CREATE TRIGGER note AFTER INSERT ON marketing_internal.message FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION first(contact text, entry jsonb) RETURNS int LANGUAGE sql
	AS \$\$ INSERT INTO public.audit VALUES ((entry ->> 'id')::int, 'first') RETURNING 1 \$\$;
CREATE FUNCTION paid(contact text, entry jsonb) RETURNS int LANGUAGE sql
	AS \$\$ INSERT INTO public.audit VALUES ((entry ->> 'id')::int, 'paid') RETURNING 1 \$\$;
CREATE FUNCTION late(contact text, entry jsonb) RETURNS int LANGUAGE sql
	AS \$\$ INSERT INTO public.audit VALUES ((entry ->> 'id')::int, 'late') RETURNING 1 \$\$;
CREATE FUNCTION last(contact text, entry jsonb) RETURNS int LANGUAGE sql
	AS \$\$ INSERT INTO public.audit VALUES ((entry ->> 'id')::int, 'last') RETURNING 1 \$\$;
SELECT marketing.define_journey('five', '{"entry": {"event": "ordered"}, "reentry": "always", "steps": [
	{"sql": "public.first"}, {"wait": "1 second"},
	{"wait_until": [{"event": "paid", "where": "order_id = entry.id", "since": "entry", "then": [{"sql": "public.paid"}]}],
	 "timeout": "2 seconds", "else": [{"sql": "public.late"}]},
	{"branch": [{"if": "any ordered in 1 day", "then": [{"split": [{"share": 0.1, "then": [{"send": "t"}]}]}]}]},
	{"sql": "public.last"}]}');
SELECT marketing.activate_journey('five');
END
wait_scheduler($node, 'shop', 'a scheduler works');

# Orders come in commits of some size while processes are killed; every second one is paid for, some time later.
sub orders
{
	my ($from, $to) = @_;
	my $n = int(($to - $from) / 20) + 1;
	my $sql = '';
	for (my $i = $from; $i <= $to; $i += $n)
	{
		my $end = $i + $n - 1 < $to ? $i + $n - 1 : $to;
		$sql .= "INSERT INTO orders SELECT i, 1 + i % $people, clock_timestamp() FROM generate_series($i, $end) AS i;\n"
		  . "INSERT INTO payments SELECT i, 1 + i % $people, clock_timestamp() FROM generate_series($i, $end, 2) AS i;\n";
	}
	$node->safe_psql('shop', $sql);
}

# Its children end by themselves; the data directory is theirs until they have.
sub kill_postmaster
{
	my $pid = $node->{_pid};
	$node->kill9;
	for (1 .. 600)
	{
		Time::HiRes::usleep(50_000);
		next if kill(0, $pid);
		last if $node->start(fail_ok => 1);
	}
}

my %done;
for my $kill (1 .. $kills)
{
	orders(($kill - 1) * $step + 1, $kill == $kills ? $enrollments : $kill * $step);
	# The work is not left for the time after the last kill: it has come to what was ordered ten kills before.
	wait_psql($node, 'shop', "SELECT COALESCE(max(order_id), 0) >= " . ($kill - 10) * $step . " FROM audit WHERE what = 'first'")
	  or fail("kill $kill: orders enter") or last;
	my $pid = scheduler_of($node, 'shop');	# '' while it restarts
	my $how = (qw(kill terminate postmaster immediate))[ $kill < 5 ? $kill - 1 : rand(4) ];
	$done{$how}++;
	if ($how eq 'immediate') { $node->stop('immediate'); $node->start; }
	elsif ($how eq 'postmaster') { kill_postmaster(); }
	elsif ($pid && $how eq 'terminate') { $node->safe_psql('shop', "SELECT pg_terminate_backend($pid)"); }
	elsif ($pid) { kill 'KILL', $pid; }
	# Its entry is gone when the server has begun anew.
	wait_psql($node, 'shop', 'SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ' . ($pid || 0) . ')') or fail("kill $kill: the server is up") or last;
	next if $kill % 25;
	diag("$kill kills, " . ($kill * $step) . " orders, " . (time - $^T) . ' s: '
		. $node->safe_psql('shop', "SELECT format('%s audited', count(*)) FROM audit"));
	die "only $kill kills within MINUTES\n" if time > $until;
}
wait_scheduler($node, 'shop', 'a scheduler works again, without anybody\'s help');

# Until nothing is left to do; looked for where it stands, since to count a million rows takes the scheduler's time.
my $left = join(' AND ', map { "NOT EXISTS (SELECT FROM marketing_internal.$_)" } qw(dirty capture_row enrollment_signal enrollment_due message));
my $done = '';
until ($done eq 't' || time > $until)
{
	$done = $node->safe_psql('shop', "SELECT $left");
	Time::HiRes::usleep($enrollments > 20000 ? 2_000_000 : 100_000) if $done ne 't';
}
is($node->safe_psql('shop', "SELECT count(*) FROM marketing_internal.enrollment WHERE state = 'completed'"), $enrollments, 'every run is completed');
$node->safe_psql('shop', "UPDATE audit AS a SET order_id = (e.entry ->> 'id')::int FROM marketing_internal.enrollment AS e WHERE e.enrollment_id = a.run");
is($node->safe_psql('shop', <<"END"), '0', 'every step took effect once, and none else');
SELECT count(*) FROM orders AS o FULL JOIN
	(SELECT order_id, count(*) FILTER (WHERE what = 'first') AS first, count(*) FILTER (WHERE what IN ('paid', 'late')) AS waited,
		count(*) FILTER (WHERE what = 't') AS sent, count(*) FILTER (WHERE what = 'last') AS last, count(*) AS n
	FROM audit GROUP BY order_id) AS a ON a.order_id = o.id
WHERE (a.first, a.waited, a.last, a.n) IS DISTINCT FROM (1, 1, 1, 3 + a.sent) OR a.sent > 1
END
is($node->safe_psql('shop', "SELECT count(*), count(*) FILTER (WHERE state = 'sent'), count(DISTINCT enrollment_id), (SELECT count(*) FROM marketing_internal.message) FROM marketing_internal.message_log"),
	$node->safe_psql('shop', "SELECT count(*), count(*), count(*), 0 FROM audit WHERE what = 't'"), 'each message of the audit is one that was sent, and none else');
# The split is by contact: all his orders take the one way or the other.
is($node->safe_psql('shop', "SELECT count(*) FROM (SELECT o.person FROM orders AS o LEFT JOIN audit AS a ON a.order_id = o.id AND a.what = 't' GROUP BY 1 HAVING count(a.what) NOT IN (0, count(*))) AS x"),
	'0', 'who gets messages gets one for each order');
my $paths = $node->safe_psql('shop', "SELECT string_agg(what || ' ' || n, ', ' ORDER BY what) FROM (SELECT what, count(*) AS n FROM audit GROUP BY 1) AS x");
like($paths, qr/^first \d+, last \d+, late \d+, paid \d+, t \d+$/, 'all paths were taken');
diag("$enrollments enrollments; " . join(', ', map { "$_ $done{$_}" } sort keys %done) . "; $paths");
ok($node->poll_query_until('shop', 'SELECT count(*) = 0 FROM marketing_internal.enrollment_signal'), 'no signal is left');
is($node->safe_psql('shop', 'SELECT count(*) FROM marketing_internal.enrollment_due'), '0', 'and no hint');
$node->stop;
done_testing();
