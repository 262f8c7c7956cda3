# 054_flush_bulk.pl
#
# Statements that change many rows or none of a row's triggers: TRUNCATE, MERGE, ON CONFLICT, rows
# that move between partitions, partitions made by an application role, and a COPY of a million rows
# with bounded memory.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('bulk');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE ROLE app LOGIN;
CREATE ROLE keeper;
GRANT keeper TO app;
GRANT CREATE ON SCHEMA public TO keeper;
SET ROLE keeper;
-- partitions of two levels; one has its columns in another order
CREATE TABLE visits (id bigint, customer_id int, at timestamptz NOT NULL, kind text, region text NOT NULL DEFAULT 'eu',
	PRIMARY KEY (id, at, region)) PARTITION BY RANGE (at);
CREATE TABLE visits_2019 PARTITION OF visits FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
CREATE TABLE visits_2020 PARTITION OF visits FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (region);
CREATE TABLE visits_2020_eu PARTITION OF visits_2020 FOR VALUES IN ('eu');
CREATE TABLE visits_other (region text NOT NULL, gone int, kind text, at timestamptz NOT NULL, customer_id int, id bigint NOT NULL);
ALTER TABLE visits_other DROP COLUMN gone;
ALTER TABLE visits ATTACH PARTITION visits_other DEFAULT;
INSERT INTO visits SELECT i, i % 9 + 1, timestamptz '2019-06-01' + i * interval '1 day', 'seen' FROM generate_series(1, 300) AS i;
RESET ROLE;
SELECT marketing.attach_events('visits', event => 'visit', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing_internal.define_counter('visits', 'visit');
INSERT INTO proof.recount VALUES ('visits', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM visits GROUP BY 1 $$);
CALL marketing.work();
END
exact($node, $db, 'partitions: the rows there were');

# 14. An application role makes a partition, and rows go to it directly and through the root.
run_ok($node, $db, <<'END', 'an application role makes partitions', extra_params => [ '-U', 'app' ]);
CREATE TABLE visits_2021 PARTITION OF visits FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (region);
CREATE TABLE visits_2021_eu PARTITION OF visits_2021 FOR VALUES IN ('eu');
CREATE TABLE visits_2020_us PARTITION OF visits_2020 FOR VALUES IN ('us');
INSERT INTO visits_2021_eu VALUES (1000, 1, '2021-01-01', 'seen'), (1001, 2, '2021-01-01', 'seen');
INSERT INTO visits VALUES (1002, 1, '2021-02-01', 'seen', 'eu'), (1003, 3, '2020-02-01', 'seen', 'us');
INSERT INTO visits_other VALUES ('eu', 'seen', '2024-01-01', 1, 1004);
DELETE FROM visits_2021 WHERE id = 1001;
UPDATE visits_other SET customer_id = 2 WHERE id = 1004;
BEGIN;
CREATE TABLE visits_2022 PARTITION OF visits FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
INSERT INTO visits VALUES (1005, 4, '2022-01-01', 'seen');
COMMIT;
BEGIN;
CREATE TABLE visits_2023 PARTITION OF visits FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
INSERT INTO visits VALUES (1006, 4, '2023-01-01', 'seen');
ROLLBACK;
END
exact($node, $db, 'new partitions: exact at commit');

# 13. Rows that move between partitions, MERGE, ON CONFLICT.
run_ok($node, $db, <<'END', 'rows move between partitions');
UPDATE visits SET at = at + interval '1 year' WHERE id = 10;
UPDATE visits SET at = '2024-06-01', customer_id = 5 WHERE id = 11;
UPDATE visits SET region = 'us' WHERE id = 1003 OR id BETWEEN 250 AND 255;
UPDATE visits SET region = 'asia', at = '2021-05-05' WHERE false;
END
exact($node, $db, 'moved rows: exact at commit');
run_ok($node, $db, <<'END', 'MERGE and ON CONFLICT');
MERGE INTO visits AS v USING (SELECT i AS id, timestamptz '2019-06-01' + i * interval '1 day' AS at FROM generate_series(295, 305) AS i) AS s
	ON v.id = s.id AND v.at = s.at
	WHEN MATCHED AND v.id = 295 THEN DELETE
	WHEN MATCHED AND v.id = 296 THEN DO NOTHING
	WHEN MATCHED THEN UPDATE SET customer_id = 7
	WHEN NOT MATCHED THEN INSERT VALUES (s.id, 8, s.at, 'merged');
INSERT INTO orders (id, customer_id) VALUES (1, 1), (2, 2);
INSERT INTO orders (id, customer_id) VALUES (1, 3), (3, 3) ON CONFLICT DO NOTHING;
INSERT INTO orders (id, customer_id) VALUES (2, 4), (4, 4) ON CONFLICT (id) DO UPDATE SET customer_id = EXCLUDED.customer_id;
INSERT INTO orders (id, customer_id) VALUES (1, 9) ON CONFLICT (id) DO UPDATE SET customer_id = 9 WHERE orders.id = 0;
INSERT INTO visits VALUES (305, 9, timestamptz '2019-06-01' + 305 * interval '1 day', 'x') ON CONFLICT (id, at, region) DO UPDATE SET customer_id = EXCLUDED.customer_id;
WITH gone AS (DELETE FROM visits WHERE id BETWEEN 20 AND 22 RETURNING *) INSERT INTO orders (id, customer_id) SELECT id, customer_id FROM gone;
MERGE INTO orders AS o USING generate_series(1, 6) AS i ON o.id = i
	WHEN MATCHED AND i = 1 THEN UPDATE SET status = 'void'
	WHEN MATCHED AND i = 2 THEN DELETE
	WHEN NOT MATCHED THEN INSERT (id, customer_id) VALUES (i, i);
END
exact($node, $db, 'MERGE and ON CONFLICT: exact at commit');

# TRUNCATE of a leaf made before attaching, of one made after, of a subtree, of the table; undone by a rollback.
run_ok($node, $db, 'BEGIN; TRUNCATE visits_2019; ROLLBACK; BEGIN; SAVEPOINT a; TRUNCATE visits; ROLLBACK TO a; INSERT INTO orders (id, customer_id) VALUES (30, 1); COMMIT', 'TRUNCATE rolled back');
exact($node, $db, 'TRUNCATE rolled back: exact', left => undef);
run_ok($node, $db, 'TRUNCATE visits_2019', 'TRUNCATE of an old leaf');
exact($node, $db, 'an old leaf: exact', left => 1);
run_ok($node, $db, 'TRUNCATE visits_2021_eu', 'TRUNCATE of a new leaf', extra_params => [ '-U', 'app' ]);
exact($node, $db, 'a new leaf: exact', left => 1);
run_ok($node, $db, 'BEGIN; INSERT INTO visits VALUES (2000, 1, $$2020-03-01$$, $$x$$); TRUNCATE visits_2020; INSERT INTO visits VALUES (2001, 2, $$2020-03-01$$, $$x$$); COMMIT', 'TRUNCATE of a subtree between rows');
exact($node, $db, 'a subtree: exact', left => 'some');
run_ok($node, $db, 'TRUNCATE visits, orders', 'TRUNCATE of both tables');
exact($node, $db, 'both tables: exact', left => 2);
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.contact_counter'), '0', 'nothing is left of them');
run_ok($node, $db, 'INSERT INTO orders (id, customer_id) SELECT i, i FROM generate_series(1, 9) AS i; TRUNCATE customers', 'TRUNCATE of the contacts');
exact($node, $db, 'contacts: exact', left => 'some');
run_ok($node, $db, q{INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 9) AS i}, 'and they come back');
exact($node, $db, 'contacts are back: exact', left => undef);

# Partitions taken off and put back with their rows.
run_ok($node, $db, q{INSERT INTO visits SELECT i, i % 9 + 1, timestamptz '2022-01-01' + i * interval '1 day', 'seen' FROM generate_series(1, 100) AS i}, 'rows of a partition');
exact($node, $db, 'rows of a partition', left => undef);
run_ok($node, $db, 'ALTER TABLE visits DETACH PARTITION visits_2022', 'a partition is taken off with its rows');
exact($node, $db, 'taken off: exact', left => 'some');
run_ok($node, $db, 'INSERT INTO visits_2022 VALUES (3000, 1, $$2022-05-05$$, $$x$$); DELETE FROM visits_2022 WHERE id < 10', 'what is written to it then');
exact($node, $db, 'is not our business');
run_ok($node, $db, q{ALTER TABLE visits ATTACH PARTITION visits_2022 FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')}, 'it is put back');
exact($node, $db, 'put back: exact', left => 'some');
run_ok($node, $db, <<'END', 'a partition filled and put in, in one transaction', extra_params => [ '-U', 'app' ]);
BEGIN;
CREATE TABLE visits_2018 (LIKE visits INCLUDING DEFAULTS);
INSERT INTO visits_2018 (id, customer_id, at, kind) SELECT i, i % 9 + 1, '2018-06-01', 'x' FROM generate_series(1, 20) AS i;
ALTER TABLE visits ATTACH PARTITION visits_2018 FOR VALUES FROM ('2018-01-01') TO ('2019-01-01');
INSERT INTO visits VALUES (30, 1, '2018-06-02');
COMMIT;
END
exact($node, $db, 'filled and put in: exact', left => 'some');
run_ok($node, $db, 'CREATE TABLE visits_2017 PARTITION OF visits FOR VALUES FROM ($$2017-01-01$$) TO ($$2018-01-01$$); DROP TABLE visits_2019', 'empty partitions come and go');
exact($node, $db, 'and change nothing');

# 13. A million rows, of more contacts than a transaction keeps in memory. What is ours stays small.
my $large = shop($node, 'large');
$node->safe_psql($large, q{INSERT INTO customers SELECT i, NULL FROM generate_series(10, 15000) AS i; CALL marketing.work();
	ALTER TABLE orders DROP CONSTRAINT orders_pkey; DROP INDEX orders_customer_id_created_at_idx;});
my $file = $node->basedir . '/million';
$node->safe_psql($large, "COPY (SELECT i, i / 70 + 1 FROM generate_series(0, 999999) AS i) TO '$file'");
my $session = session($node, $large);
my $ours = q{SELECT sum(total_bytes) < 20 * 1024 * 1024 FROM pg_backend_memory_contexts WHERE name LIKE 'marketing_automation%'};
my $all = q{SELECT sum(total_bytes) < 40 * 1024 * 1024 FROM pg_backend_memory_contexts};
is($session->query("BEGIN; COPY orders (id, customer_id) FROM '$file'"), '', 'COPY of a million rows');
is($session->query($ours), 't', 'our memory is bounded');
is($session->query($all), 't', 'so is all of the session\'s');
is($session->query('COMMIT'), '', 'COMMIT');
my $pid = $session->query('SELECT pg_backend_pid()');
my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m if -r "/proc/$pid/status";
my $shared = $session->query(q{SELECT setting::bigint * 8 FROM pg_settings WHERE name = 'shared_buffers'});
SKIP:
{
	skip 'no /proc', 1 unless $peak;
	cmp_ok($peak - $shared, '<', 120 * 1024, 'the process never grew much');
}
$session->close;
cmp_ok(dirty($node, $large), '<=', 20000, 'one row of the log for each contact, or little more');
$node->safe_psql($large, 'CREATE INDEX ON orders (customer_id, created_at); ANALYZE orders');
exact($node, $large, 'a million rows: exact', left => 'some');

no_crash($node);
$node->stop;
done_testing();
