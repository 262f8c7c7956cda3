# 052_flush_errors.pl
#
# What goes wrong in the flush: errors of a condition, locks that are not free, a full lock table,
# the budget, cancels and timeouts, ALTER TABLE, row security. The user's commit stands (but for his
# own cancel and in strict mode), and the worker repairs.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('errors');
my $db = shop($node, 'shop');

# Rises of the figures since the last call.
my %before;
sub risen
{
	my %now = map { split /\|/ } split /\n/, $node->safe_psql($db, 'SELECT item, value FROM marketing_internal.capture_status()');
	my @text;
	for my $reason ('lock not free', 'out of time', 'too many', 'error')
	{
		my $item = "contacts left to the worker: $reason";
		my $rise = $now{$item} - ($before{$item} // 0);
		push @text, "$reason $rise" if $rise;
		$before{$item} = $now{$item};
	}
	return join(', ', @text);
}

# 8. A condition that fails for one row.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE parts (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01', x int NOT NULL);
SELECT marketing.attach_events('parts', event => 'part', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'at', condition => $$ 1/x > 0 $$);
SELECT marketing_internal.define_counter('parts', 'part');
INSERT INTO proof.recount VALUES ('parts', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM parts WHERE 1/x > 0 GROUP BY 1 $$);
CALL marketing.work();
END
risen();
run_ok($node, $db, 'INSERT INTO parts VALUES (1, 1, DEFAULT, 1), (2, 2, DEFAULT, 1), (3, 3, DEFAULT, 2)', 'rows that do no harm');
exact($node, $db, 'evaluated at commit');
run_ok($node, $db, 'BEGIN; INSERT INTO parts VALUES (4, 1, DEFAULT, 0); INSERT INTO orders (id, customer_id) VALUES (1, 2); COMMIT', 'a row whose condition divides by zero');
is(risen(), 'error 2', 'the error is counted');
is($node->safe_psql($db, q{SELECT value || ' ' || detail FROM marketing.status WHERE item = 'last error'}) =~ s/ .*\+00:/:/r, '22012: division by zero', 'and shown');
$node->safe_psql($db, 'CALL marketing.work()');
is($node->safe_psql($db, 'SELECT what, sqlstate, message, object FROM marketing.errors'), 'id|22012|division by zero|customers:1', 'the worker leaves only that contact');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.dirty'), '1', 'one row of the log rests');
run_ok($node, $db, 'INSERT INTO parts VALUES (5, 3, DEFAULT, 1); INSERT INTO orders (id, customer_id) VALUES (2, 1), (3, 2)', 'others go on meanwhile');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.counter_values('orders') AS v WHERE v.contact_id = proof.contact('customers', '1')}), '1', 'other counters of that contact are read');
refused($node, $db, q{SELECT * FROM marketing_internal.counter_values('parts')}, qr/22012.*division by zero/s, 'a read that would be wrong fails');
run_ok($node, $db, 'UPDATE parts SET x = 1 WHERE id = 4', 'the row is repaired');
exact($node, $db, 'exact when it is repaired', left => 'some');
refused($node, $db, 'SET marketing_automation.strict = on; INSERT INTO parts VALUES (6, 1, DEFAULT, 0)', qr/22012.*division by zero/s, 'strict: the commit fails');
is($node->safe_psql($db, 'SELECT count(*) FROM parts WHERE id = 6'), '0', 'and the row is not there');
exact($node, $db, 'strict: exact');
risen();

# Locks that are not free: contacts of another session, which flushed early and holds them.
my $holder = session($node, $db, name => 'holder');
my $writer = session($node, $db, name => 'writer');
my $other = session($node, $db, name => 'other');
is($holder->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (10, 1); SELECT marketing.flush()'), '1', 'one session holds a contact');
$writer->query(q{SET marketing_automation.sync_wait = '20ms'});
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (11, 1), (12, 2)'), '', 'the commit of another one stands');
is(risen(), 'lock not free 1', 'the contact is left, the other evaluated');
is($node->safe_psql($db, 'SELECT external_id FROM marketing_internal.dirty'), '1', 'alone');
$holder->query('COMMIT');
exact($node, $db, 'a busy contact: exact', left => 1);

# Two sessions that hold what the other one wants: no deadlock.
$holder->query(q{SET marketing_automation.sync_wait = '20ms'});
$holder->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (20, 1); SELECT marketing.flush(); INSERT INTO orders (id, customer_id) VALUES (21, 2)');
$writer->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (22, 2); SELECT marketing.flush(); INSERT INTO orders (id, customer_id) VALUES (23, 1)');
is($holder->query('COMMIT'), '', 'crossed: the first commits');
is($writer->query('COMMIT'), '', 'crossed: the second commits');
exact($node, $db, 'crossed: exact', left => 'some');
risen();

# A lock on a table of ours: bounded by the budget, all is left.
$holder->query('BEGIN; LOCK TABLE marketing_internal.contact_counter IN ACCESS EXCLUSIVE MODE');
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (30, 1), (31, 2)'), '', 'our table is locked: the commit stands');
is(risen(), 'error 2', 'counted');
is($writer->query('SHOW lock_timeout'), '0', 'lock_timeout is the session\'s own again');
$holder->query('COMMIT');
exact($node, $db, 'a locked table of ours: exact', left => 2);

# A contact's row or the row of a counter is locked by a tool.
$holder->query('BEGIN; SELECT * FROM marketing_internal.contact_counter FOR UPDATE');
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (32, 1)'), '', 'our row is locked: the commit stands');
$holder->query('COMMIT');
exact($node, $db, 'a locked row of ours: exact', left => 1);
risen();

# The dirty log itself is not to be had: that error is the user's, nothing is lost.
$holder->query('BEGIN; LOCK TABLE marketing_internal.dirty IN ACCESS EXCLUSIVE MODE');
$writer->query(q{SET lock_timeout = '20ms'; SET marketing_automation.sync_max_contacts = 0});
like($writer->query('INSERT INTO orders (id, customer_id) VALUES (33, 1)'), qr/55P03/, 'no way to the dirty log: the commit fails');
$writer->query('RESET lock_timeout; RESET marketing_automation.sync_max_contacts');
$holder->query('COMMIT');
exact($node, $db, 'exact');
risen();

# The budget is used up: one contact is evaluated, the others are left.
run_ok($node, $db, 'SET marketing_automation.sync_wait = 0; INSERT INTO orders (id, customer_id) SELECT 40 + i, i FROM generate_series(1, 5) AS i', 'no time at all');
is(risen(), 'out of time 4', 'one in time');
exact($node, $db, 'out of time: exact', left => 4);
run_ok($node, $db, 'SET marketing_automation.sync_max_rate = 2; INSERT INTO orders (id, customer_id) VALUES (50, 1); INSERT INTO orders (id, customer_id) VALUES (51, 1); INSERT INTO orders (id, customer_id) VALUES (52, 1), (53, 2)', 'a contact with too many changes');
exact($node, $db, 'a busy contact: exact', left => 'some');
risen();

# A full lock table. What is left of it is enough for the user's own locks.
$holder->query('SELECT pg_advisory_lock(i) FROM generate_series(1, 1000000) AS i');
$holder->query('SELECT pg_advisory_unlock(i) FROM generate_series(1, 5) AS i');
is($writer->query('INSERT INTO orders (id, customer_id) SELECT 60 + i, i FROM generate_series(1, 9) AS i'), '', 'a full lock table: the commit stands');
$holder->query('SELECT pg_advisory_unlock_all()');
is(risen(), 'error 9', 'counted');
is($node->safe_psql($db, q{SELECT value FROM marketing.status WHERE item = 'last error'}), '53200', 'out of shared memory');
exact($node, $db, 'a full lock table: exact', left => 9);

# The user's cancel while the flush waits ends his transaction and nothing else.
$holder->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (70, 1); SELECT marketing.flush()');
$writer->query(q{SET marketing_automation.sync_wait = '10s'});
my $in_flush = "wait_event_type = 'Extension'";
for my $end ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $victim = session($node, $db, name => 'victim');
	$victim->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (71, 1), (72, 2)');
	$victim->send('COMMIT') if $end eq 'pg_cancel_backend';
	if ($end eq 'pg_cancel_backend')
	{
		ok(waits($node, $db, 'victim', $in_flush), 'the flush waits');
		$node->safe_psql($db, "SELECT $end(pid) FROM pg_stat_activity WHERE application_name = 'victim'");
		like($victim->answer, qr/57014/, 'cancelled: the user is told');
		is($victim->query('SELECT count(*) FROM orders WHERE id IN (71, 72)'), '0', 'his transaction is gone');
		is($victim->query('INSERT INTO orders (id, customer_id) VALUES (73, 3)'), '', 'his session goes on');
		$victim->close;
	}
	else
	{
		$victim->{in} .= "COMMIT;\n";
		$victim->{run}->pump_nb;
		ok(waits($node, $db, 'victim', $in_flush), 'the flush waits');
		$node->safe_psql($db, "SELECT $end(pid) FROM pg_stat_activity WHERE application_name = 'victim'");
		eval { $victim->{run}->finish; };
		like($victim->{err}, qr/57P01/, 'terminated');
		is($node->safe_psql($db, 'SELECT count(*) FROM orders WHERE id IN (71, 72)'), '0', 'his transaction is gone');
	}
}
# statement_timeout does not guard a plain COMMIT, but one inside a procedure.
$other->query(q{SET marketing_automation.sync_wait = '50ms'});
is($other->query(q{BEGIN; INSERT INTO orders (id, customer_id) VALUES (74, 1); SET LOCAL statement_timeout = '1ms'}), '', 'a tiny statement_timeout');
is($other->query('COMMIT'), '', 'a plain COMMIT is not its business');
$other->query(q{SET marketing_automation.sync_wait = '10s'; SET statement_timeout = '100ms'});
like($other->query('DO $$ BEGIN INSERT INTO orders (id, customer_id) VALUES (75, 1); COMMIT; END $$'), qr/57014.*statement timeout/, 'one in a procedure is');
$other->query('RESET statement_timeout');
$holder->query('COMMIT');
is($node->safe_psql($db, 'SELECT count(*) FROM orders WHERE id IN (74, 75)'), '1', 'what was committed');
exact($node, $db, 'cancels and timeouts: exact', left => 'some');
risen();

# 10. ALTER TABLE holds or awaits ACCESS EXCLUSIVE.
$writer->query(q{SET marketing_automation.sync_wait = '50ms'; RESET lock_timeout});
$holder->query('BEGIN; ALTER TABLE orders ADD COLUMN more int');
is($writer->query(q{UPDATE customers SET email = 'new1@example.com' WHERE id = 1}), '', 'ALTER TABLE holds the lock: the commit stands');
is(risen(), 'lock not free 1', 'left to the worker');
is($node->safe_psql($db, q{SELECT value FROM marketing.status WHERE item = 'table public.orders'}), 'locked', 'status does not wait either');
run_ok($node, $db, 'CALL marketing.work()', 'the worker does not wait for it');
is(dirty($node, $db), '1', 'and keeps the change');
$holder->query('COMMIT');
exact($node, $db, 'ALTER TABLE: exact', left => 1);

# The writer is ahead of a waiting ALTER TABLE: it takes no new lock and evaluates at once.
$writer->query('BEGIN; INSERT INTO orders (id, customer_id) VALUES (80, 1)');
$holder->send('ALTER TABLE orders DROP COLUMN more');
ok(waits($node, $db, 'holder', "wait_event_type = 'Lock'"), 'ALTER TABLE waits');
is($writer->query('COMMIT'), '', 'the commit is not held up');
is($holder->answer, '', 'ALTER TABLE goes on');
is(risen(), '', 'nothing is left to the worker');
exact($node, $db, 'a waiting ALTER TABLE: exact');

# Locks in the opposite order: the user of the ALTER is no victim, the writer neither.
$holder->query(q{SET deadlock_timeout = '10ms'});
$writer->query(q{SET deadlock_timeout = '10ms'; BEGIN; UPDATE customers SET email = 'new2@example.com' WHERE id = 2});
$holder->query('BEGIN; ALTER TABLE orders ADD COLUMN more int');
$holder->send('ALTER TABLE customers ADD COLUMN more int');
ok(waits($node, $db, 'holder', "wait_event_type = 'Lock'"), 'ALTER TABLE waits for the writer, who will want what it holds');
is($writer->query('COMMIT'), '', 'the commit stands');
is($holder->answer, '', 'ALTER TABLE goes on');
is($holder->query('COMMIT'), '', 'and commits');
like(risen(), qr/^lock not free 1$/, 'left to the worker');
exact($node, $db, 'opposite order: exact', left => 1);

# A deadlock in the making: the flush wants a row of ours that a tool holds, who wants the writer's row.
$writer->query(q{SET marketing_automation.sync_wait = '10s'; INSERT INTO orders (id, customer_id) VALUES (81, 3)});
$writer->query('BEGIN; UPDATE orders SET customer_id = 4 WHERE id = 81');
$holder->query('BEGIN; SELECT count(*) FROM (SELECT FROM marketing_internal.contact_counter FOR UPDATE) AS c');
$holder->send('UPDATE orders SET note = $$mine$$ WHERE id = 81');
ok(waits($node, $db, 'holder', "wait_event_type = 'Lock'"), 'a tool waits for the writer');
is($writer->query('COMMIT'), '', 'whose commit stands');
is($holder->answer, '', 'the tool goes on');
is($holder->query('COMMIT'), '', 'and commits');
like(risen(), qr/^error \d$/, 'left to the worker');
is($node->safe_psql($db, q{SELECT value FROM marketing.status WHERE item = 'last error'}), '55P03', 'the flush gives up before the deadlock check');
exact($node, $db, 'a deadlock in the making: exact', left => 'some');
$writer->query(q{SET marketing_automation.sync_wait = '50ms'});

# The same against the worker, which meets the lock while it drains.
run_ok($node, $db, 'SET marketing_automation.sync_max_contacts = 0; INSERT INTO orders (id, customer_id) VALUES (85, 5)', 'something to drain');
$holder->query('BEGIN; ALTER TABLE orders DROP COLUMN more; ALTER TABLE customers DROP COLUMN more');
run_ok($node, $db, 'CALL marketing.work()', 'the worker goes around a locked table');
is($holder->query('COMMIT'), '', 'ALTER TABLE commits');
exact($node, $db, 'the worker and ALTER TABLE: exact', left => 1);

# A column that the definitions name goes, and comes back.
run_ok($node, $db, 'ALTER TABLE parts RENAME COLUMN x TO y; INSERT INTO parts VALUES (90, 4, DEFAULT, 1)', 'a column of a condition is renamed');
is($node->safe_psql($db, q{SELECT state FROM marketing.status WHERE item = 'table public.parts'}), 'error', 'status tells');
run_ok($node, $db, 'ALTER TABLE parts RENAME COLUMN y TO x', 'and named back');
exact($node, $db, 'renamed column: exact', left => 'some');
$holder->close;
$writer->close;
$other->close;

# 21. Row security: policies do not hide rows from us; forced for the owner it cannot be.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE ROLE keeper LOGIN;
CREATE ROLE clerk LOGIN;
CREATE TABLE secrets (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01', whose text DEFAULT current_user);
ALTER TABLE secrets OWNER TO keeper;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (whose = current_user);
GRANT ALL ON secrets TO clerk;
SELECT marketing.attach_events('secrets', event => 'secret', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing_internal.define_counter('secrets', 'secret');
INSERT INTO proof.recount VALUES ('secrets', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM secrets GROUP BY 1 $$);
CALL marketing.work();
END
run_ok($node, $db, 'INSERT INTO secrets (id, customer_id) VALUES (1, 1), (2, 1)', 'a clerk writes', extra_params => [ '-U', 'clerk' ]);
run_ok($node, $db, 'INSERT INTO secrets (id, customer_id) VALUES (3, 1), (4, 2)', 'the owner writes', extra_params => [ '-U', 'keeper' ]);
run_ok($node, $db, 'SET row_security = off; INSERT INTO secrets (id, customer_id) VALUES (5, 1)', 'row_security = off', extra_params => [ '-U', 'keeper' ]);
exact($node, $db, 'row security: all rows count');
risen();
run_ok($node, $db, 'ALTER TABLE secrets FORCE ROW LEVEL SECURITY', 'FORCE comes later');
run_ok($node, $db, 'INSERT INTO secrets (id, customer_id) VALUES (6, 1)', 'the commit stands', extra_params => [ '-U', 'clerk' ]);
is(risen(), '', 'and is evaluated: our reads are not subject to it');
exact($node, $db, 'FORCE: all rows count');
run_ok($node, $db, 'CREATE TABLE forced (id int PRIMARY KEY, customer_id int, at timestamptz); ALTER TABLE forced ENABLE ROW LEVEL SECURITY; ALTER TABLE forced FORCE ROW LEVEL SECURITY', 'a table with FORCE');
refused($node, $db, q{SELECT marketing.attach_events('forced', event => 'e', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at')},
	qr/cannot be attached.*Row level security is forced/s, 'is refused at attach');
run_ok($node, $db, 'ALTER TABLE secrets NO FORCE ROW LEVEL SECURITY', 'FORCE goes');
exact($node, $db, 'row security: exact');

no_crash($node);
$node->stop;
done_testing();
