# 060_error_caches.pl
#
# What a session keeps over its transactions is built from several lookups. One that fails half way
# (a lock that is not to be had) must leave nothing that passes for complete: each part fails once
# and demands that the same session is right afterwards.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('caches');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE visits (id int, customer_id int, at timestamptz DEFAULT '2020-01-01', kind text DEFAULT 'visit') PARTITION BY RANGE (id);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (1000);
CREATE TABLE clicks (id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01', kind text DEFAULT 'visit');
SELECT marketing.attach_events('visits', event_column => 'kind', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('clicks', event_column => 'kind', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.declare_event('visit');
SELECT marketing_internal.define_counter('visits', 'visit');
INSERT INTO proof.recount VALUES ('visits', $$ SELECT proof.contact('customers', customer_id), count(*)
	FROM (SELECT customer_id::text FROM visits UNION ALL SELECT customer_id::text FROM clicks) AS v GROUP BY 1 $$);
CALL marketing.work();
END

my $holder = session($node, $db, name => 'holder');

# The extension itself: a session that could not look must not take it as absent.
my $writer = session($node, $db, name => 'writer');
$holder->query('BEGIN; LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE');
like($writer->query(q{SET lock_timeout = '50ms'; INSERT INTO orders (id, customer_id) VALUES (1, 1)}), qr/55P03/, 'pg_extension is locked');
$holder->query('ROLLBACK');
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (2, 1)'), '', 'later the session writes');
exact($node, $db, 'pg_extension: captured and evaluated');

# The plan of a relation: a partition whose root could not be looked up is not "not attached".
is($writer->query('INSERT INTO visits_1 (id, customer_id) VALUES (1, 1)'), '', 'a partition is known to the session');
$node->safe_psql($db, q{SELECT marketing_internal.define_counter('other', 'order_placed'); CALL marketing.work()});
$holder->query('BEGIN; LOCK TABLE pg_catalog.pg_inherits IN ACCESS EXCLUSIVE MODE');
like($writer->query('INSERT INTO visits_1 (id, customer_id) VALUES (2, 1)'), qr/55P03/, 'pg_inherits is locked');
$holder->query('ROLLBACK');
is($writer->query('INSERT INTO visits_1 (id, customer_id) VALUES (3, 1)'), '', 'later the session writes');
exact($node, $db, 'pg_inherits: captured and evaluated');
$writer->close;

# The counters: an empty list must not count as current.
$writer = session($node, $db, name => 'writer');
$writer->query(q{SET marketing_automation.sync_wait = '50ms'});
$holder->query('BEGIN; LOCK TABLE marketing_internal.counter IN ACCESS EXCLUSIVE MODE');
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (10, 2)'), '', 'the counters are locked: left to the worker');
$holder->query('COMMIT');
$writer->query(q{SET marketing_automation.sync_wait = '10s'});
is($writer->query('INSERT INTO orders (id, customer_id) VALUES (11, 3)'), '', 'later the session evaluates');
is($node->safe_psql($db, q{SELECT value FROM marketing_internal.contact_counter WHERE contact_id = proof.contact('customers', '3') AND counter_id = 1}), '1', 'at commit');
exact($node, $db, 'counters: evaluated', left => 1);

# ... nor one with the first of two sources alone.
run_ok($node, $db, 'ALTER TABLE clicks RENAME COLUMN customer_id TO whose', 'a column of the second source goes');
is($writer->query('INSERT INTO visits (id, customer_id) VALUES (20, 4)'), '', 'its rows cannot be read');
is($writer->query('INSERT INTO visits (id, customer_id) VALUES (21, 5)'), '', 'nor in the next transaction');
is(dirty($node, $db), '2', 'both are left to the worker');
run_ok($node, $db, 'ALTER TABLE clicks RENAME COLUMN whose TO customer_id', 'it comes back');
exact($node, $db, 'second source: exact', left => 2);
$writer->close;

# The clock: one that could not be read is not "not set".
my $reader = session($node, $db, name => 'reader');
$node->safe_psql($db, q{SELECT marketing.set_clock('2030-01-01')});
$holder->query('BEGIN; LOCK TABLE marketing_internal.setting IN ACCESS EXCLUSIVE MODE');
like($reader->query(q{SET lock_timeout = '50ms'; SELECT marketing.now()}), qr/55P03/, 'the setting is locked');
$holder->query('COMMIT');
is($reader->query('SELECT marketing.now()'), '2030-01-01 00:00:00+00', 'the clock is read later');
$node->safe_psql($db, 'SELECT marketing.set_clock(NULL)');
$reader->close;

# A table changes while its definition is being read: the next call knows.
$reader = session($node, $db, name => 'reader');
$holder->query('BEGIN; LOCK TABLE marketing_internal.event_watch IN ACCESS EXCLUSIVE MODE');
$reader->send(q{SELECT * FROM marketing_internal.counter_values('visits')});
ok(waits($node, $db, 'reader', "wait_event_type = 'Lock'"), 'a session reads the definitions');
$holder->query('ALTER TABLE clicks ALTER COLUMN customer_id TYPE text');
$holder->query('COMMIT');
$reader->answer;
is($reader->query(q{SELECT value FROM marketing_internal.counter_values('visits') AS v WHERE v.contact_id = proof.contact('customers', '4')}), '1', 'it has the new type');
$reader->close;
exact($node, $db, 'exact', left => undef);

$holder->close;
no_crash($node);
$node->stop;
done_testing();
