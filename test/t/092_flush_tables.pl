# 092_flush_tables.pl
#
# Changes of whole tables: partitions dropped with their rows, TRUNCATE of tables on which nothing
# depends, and drops of everything at once, in which nothing of ours may fail.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('tables');
my $db = shop($node, 'shop');

$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE visits (id int, customer_id int, at timestamptz NOT NULL, region text NOT NULL DEFAULT 'eu') PARTITION BY RANGE (at);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (region);
CREATE TABLE visits_2_eu PARTITION OF visits_2 FOR VALUES IN ('eu');
CREATE TABLE visits_2_us PARTITION OF visits_2 FOR VALUES IN ('us');
CREATE TABLE visits_3 PARTITION OF visits FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE visits_4 PARTITION OF visits FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
INSERT INTO visits SELECT i, i % 9 + 1, y FROM generate_series(1, 20) AS i, unnest('{2019-02-02,2020-02-02,2021-02-02}'::timestamptz[]) AS y;
INSERT INTO visits SELECT i, i % 9 + 1, '2020-03-03', 'us' FROM generate_series(1, 20) AS i;
SELECT marketing.attach_events('visits', event => 'visit', contact => 'customer_id', occurred_at => 'at');
SELECT marketing_internal.define_counter('visits', 'visit');
INSERT INTO proof.recount VALUES ('visits', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM visits GROUP BY 1 $$);
CREATE TABLE staging (id int PRIMARY KEY, customer_id int, at timestamptz) ;
CREATE TABLE parts (id int, customer_id int, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
SELECT marketing.attach_events('staging', event => 'staged', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('parts', event => 'part', contact => 'customer_id', occurred_at => 'at');
CALL marketing.work();
END
exact($node, $db, 'before');

# Partitions that are dropped.
run_ok($node, $db, 'DROP TABLE visits_1', 'a partition goes with its rows');
exact($node, $db, 'a partition: exact', left => 1);
run_ok($node, $db, 'BEGIN; DROP TABLE visits_2_eu; ROLLBACK', 'rolled back');
exact($node, $db, 'rolled back: exact');
run_ok($node, $db, 'BEGIN; SAVEPOINT a; DROP TABLE visits_2_eu; ROLLBACK TO a; COMMIT', 'rolled back to a savepoint');
exact($node, $db, 'a savepoint: exact', left => undef);
run_ok($node, $db, 'DROP TABLE visits_2_eu', 'a partition of a partition');
exact($node, $db, 'a partition of a partition: exact', left => 1);
run_ok($node, $db, 'DROP TABLE visits_2', 'a subtree');
exact($node, $db, 'a subtree: exact', left => 1);
run_ok($node, $db, 'BEGIN; INSERT INTO visits VALUES (100, 1, $$2022-05-05$$); DROP TABLE visits_3; INSERT INTO visits VALUES (101, 1, $$2022-05-05$$); COMMIT', 'between rows');
exact($node, $db, 'between rows: exact', left => 1);
run_ok($node, $db, q{CREATE TABLE visits_5 PARTITION OF visits FOR VALUES FROM ('2023-01-01') TO ('2024-01-01'); DROP TABLE visits_5}, 'an empty one');
exact($node, $db, 'an empty one leaves nothing');
run_ok($node, $db, q{BEGIN; DROP TABLE visits_4; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'}, 'prepared');
exact($node, $db, 'prepared: exact', left => 1);

# Tables on which nothing depends.
$node->safe_psql($db, q{INSERT INTO staging SELECT i, 1, now() FROM generate_series(1, 10) AS i; INSERT INTO parts SELECT i, 1, now() FROM generate_series(1, 10) AS i});
run_ok($node, $db, 'TRUNCATE staging; TRUNCATE parts; INSERT INTO parts VALUES (1, 1, now()); TRUNCATE parts_1; INSERT INTO parts VALUES (1, 1, now()); DROP TABLE parts_1', 'nothing depends on them');
exact($node, $db, 'and nothing is left to the worker');
run_ok($node, $db, 'TRUNCATE customers, orders', 'contacts and a watched event do');
exact($node, $db, 'contacts: exact', left => 2);

# Everything at once: nothing of ours is in the way.
$node->safe_psql($db, q{CREATE TABLE visits_6 PARTITION OF visits DEFAULT; INSERT INTO visits SELECT i, i, now() FROM generate_series(1, 9) AS i});
run_ok($node, $db, 'BEGIN; DROP TABLE visits; ROLLBACK; BEGIN; DROP EXTENSION marketing_automation CASCADE; DROP TABLE visits; ROLLBACK', 'a table and the extension, rolled back', extra_params => []);
run_ok($node, $db, q{BEGIN; DROP TABLE visits; COMMIT}, 'the whole table');
for my $round (1 .. 2)
{
	my $copy = shop($node, "copy$round");
	$node->safe_psql($copy, <<'END');
SET client_min_messages = warning;
CREATE ROLE everything SUPERUSER;
CREATE TABLE visits (id int, customer_id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE visits_1 PARTITION OF visits DEFAULT;
INSERT INTO visits SELECT i, i, now() FROM generate_series(1, 9) AS i;
SELECT marketing.attach_events('visits', event => 'visit', contact => 'customer_id', occurred_at => 'at');
SELECT marketing_internal.define_counter('visits', 'visit');
SELECT marketing.track('1', 'seen');
CALL marketing.work();
ALTER TABLE visits OWNER TO everything;
ALTER TABLE visits_1 OWNER TO everything;
END
	run_ok($node, $copy, $round == 1
		? 'SET client_min_messages = warning; DROP EXTENSION marketing_automation CASCADE'
		: 'SET client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public', "drop of everything $round");
	$node->safe_psql($copy, 'DROP OWNED BY everything CASCADE; DROP ROLE everything');
}
no_crash($node);
done_testing();
