# 058_flush_attacks.pl
#
# An attacker with objects of his own: functions and operators named like those we use, first in the
# search path of the writer or the reader, and forged triggers. Nothing of his is called, and nothing
# he writes is taken for a change.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('attacks');
my $db = shop($node, 'shop');

# 22. Traps: everything our SQL could find by name in a search path, in the attacker's schema.
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE ROLE attacker LOGIN;
CREATE ROLE victim LOGIN;
CREATE SCHEMA evil AUTHORIZATION attacker;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON orders, customers TO victim;
CREATE TABLE trips (id int PRIMARY KEY, customer_id int, at timestamptz, day date, kind text, tag text);
GRANT ALL ON trips TO victim;
SELECT marketing.attach_events('trips', event_column => 'kind', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at',
	condition => $$ lower(tag) = 'x' AND at < '2021-01-01' $$);
CREATE TABLE legs (id int PRIMARY KEY, trip int, at date);
GRANT ALL ON legs TO victim;
SELECT marketing.attach_events('legs', event => 'leg', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at',
	via => '{"table": "trips", "on": "trip = id"}');
SELECT marketing.declare_event('flown');
SELECT marketing_internal.define_counter('flown', 'flown', '100 years');
SELECT marketing_internal.define_counter('legs', 'leg');
SELECT marketing_internal.record_event('order_placed');
INSERT INTO proof.recount VALUES
	('flown', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM public.trips WHERE kind = 'flown' AND tag IN ('x', 'X') GROUP BY 1 $$),
	('legs', $$ SELECT proof.contact('customers', t.customer_id::text), count(*) FROM public.legs JOIN public.trips AS t ON t.id = trip GROUP BY 1 $$);
CALL marketing.work();

SET ROLE attacker;
CREATE FUNCTION evil.trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'the trap: called as %', current_user; END $$;
DO $$
DECLARE
	f record;
	o record;
BEGIN
	-- every function of pg_catalog that SQL like ours calls, with the same arguments
	FOR f IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prorettype::regtype AS result
		FROM pg_proc AS p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset
		AND proname IN ('now', 'lower', 'int4eq', 'int8eq', 'int48eq', 'texteq', 'int4', 'int8', 'text', 'timestamptz', 'timestamp', 'date', 'to_jsonb',
			'pg_current_xact_id', 'clock_timestamp', 'make_interval', 'power', 'timezone', 'strpos', 'array_length', 'format', 'md5', 'nextval', 'boolin',
			'timestamptz_lt', 'timestamptz_pl_interval', 'interval_pl', 'int4in', 'bool', 'jsonb', 'coalesce', 'btrim', 'upper')
		AND pg_get_function_identity_arguments(p.oid) !~ 'internal|any|VARIADIC|cstring' LOOP
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$', f.proname, f.arguments, f.result);
	END LOOP;
	EXECUTE 'CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$';
	EXECUTE 'CREATE FUNCTION evil.generate_series(int, int) RETURNS SETOF int LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$';
	EXECUTE 'CREATE FUNCTION evil.contact_text(bigint) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$';
	EXECUTE 'CREATE AGGREGATE evil.count(*) (sfunc = int8inc, stype = bigint, initcond = 666)';
	EXECUTE 'CREATE AGGREGATE evil.min(timestamptz) (sfunc = timestamptz_larger, stype = timestamptz)';
	EXECUTE 'CREATE AGGREGATE evil.max(bigint) (sfunc = int8smaller, stype = bigint)';
	-- operators on the types of keys, times and texts
	FOR o IN SELECT n.op, t.type FROM unnest(ARRAY['=', '<>', '<', '>', '<=', '>=']) AS n (op), unnest(ARRAY['int', 'bigint', 'smallint', 'text', 'timestamptz', 'date', 'oid', 'tid', 'boolean']) AS t (type) LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION evil.op(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$', o.type);
		EXECUTE format('CREATE OPERATOR evil.%s (leftarg = %s, rightarg = %s, function = evil.op)', o.op, o.type, o.type);
	END LOOP;
	EXECUTE 'CREATE FUNCTION evil.plus(timestamptz, interval) RETURNS timestamptz LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.trap(); END $f$';
	EXECUTE 'CREATE OPERATOR evil.+ (leftarg = timestamptz, rightarg = interval, function = evil.plus)';
END $$;
CREATE TABLE evil.customers (id int, email text, gone boolean);
CREATE TABLE evil.orders (id int);
CREATE TABLE evil.trips (id int);
CREATE TABLE evil.dirty (id int);
RESET ROLE;
END
refused($node, $db, 'SET search_path = evil, pg_catalog, public; SELECT 1 = 1', qr/the trap: called as postgres/, 'the trap works');
refused($node, $db, 'SET search_path = evil, pg_catalog, public; SELECT now()', qr/the trap/, 'for functions too');

my $path = 'SET search_path = evil, pg_catalog, public;';
run_ok($node, $db, <<"END", 'a victim writes with the traps first in his path', extra_params => [ '-U', 'victim' ]);
$path
INSERT INTO public.orders (id, customer_id) VALUES (1, 1), (2, 2);
INSERT INTO public.customers VALUES (20, 'c20\@example.com');
INSERT INTO public.trips VALUES (1, 1, '2020-01-01', '2020-01-01', 'flown', 'X'), (2, 20, '2020-01-01', NULL, 'flown', 'y');
INSERT INTO public.legs VALUES (1, 1, '2020-01-01'), (2, 1, '2020-01-02');
BEGIN; UPDATE public.customers SET city = 'x', email = 'x\@example.com'; ROLLBACK;
UPDATE public.trips SET customer_id = 3;
DELETE FROM public.orders;
TRUNCATE public.legs;
INSERT INTO public.legs VALUES (3, 2, '2020-01-01');
END
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.dirty WHERE table_id IS NULL}), '0', 'evaluated at commit');
exact($node, $db, 'the victim\'s rows: exact', left => 1);
run_ok($node, $db, <<"END", 'a superuser writes and reads with the traps in his path');
$path
INSERT INTO public.orders (id, customer_id) VALUES (10, 1), (11, 2);
INSERT INTO public.customers VALUES (30, 'c30\@example.com');
SELECT * FROM marketing_internal.counter_values('orders');
SELECT marketing.track('1', 'flown', occurred_at => '2020-01-01');
SELECT marketing.identify('2', '{"a": 1}');
SELECT marketing.merge_contacts('3', '4');
SELECT marketing.split_contact('4');
SELECT marketing.flush();
SELECT marketing.attach_contacts('public.customers', id => 'id', email => 'email', exclude => 'gone');
SELECT contact, email FROM marketing.contacts;
SELECT item FROM marketing.status;
SELECT what FROM marketing.errors;
SET marketing_automation.sync_max_contacts = 0;
INSERT INTO public.orders (id, customer_id) VALUES (12, 1);
INSERT INTO public.trips VALUES (3, 1, '2020-01-01', '2020-01-01', 'flown', 'X');
UPDATE public.customers SET id = 31 WHERE id OPERATOR(pg_catalog.=) 30;
SELECT * FROM marketing_internal.counter_values('flown');
CALL marketing.work();
BEGIN;
SELECT marketing_internal.define_counter('later', 'order_placed');
SELECT marketing_internal.drop_counter('later');
ROLLBACK;
END
$node->safe_psql($db, q{UPDATE proof.recount SET query = $$ SELECT contact_id, count(*) FROM (SELECT proof.contact('customers', customer_id::text) AS contact_id
	FROM public.trips WHERE kind = 'flown' AND tag IN ('x', 'X') UNION ALL SELECT contact_id FROM marketing_internal.event) AS e GROUP BY 1 $$ WHERE counter = 'flown'});
exact($node, $db, 'the superuser\'s rows: exact');
# The same with a temporary schema full of it: pg_temp is searched first unless it is named.
run_ok($node, $db, <<'END', 'traps in the temporary schema');
CREATE TEMP TABLE customers (id int, email text, gone boolean);
CREATE TEMP TABLE orders (id int);
CREATE TEMP TABLE dirty (id int);
CREATE TEMP TABLE contact_counter (id int);
CREATE DOMAIN pg_temp.int4 AS text;
CREATE DOMAIN pg_temp.timestamptz AS text CHECK (false);
INSERT INTO public.orders (id, customer_id) VALUES (20, 1);
INSERT INTO public.customers VALUES (40, NULL);
SET marketing_automation.sync_max_contacts = 0;
INSERT INTO public.orders (id, customer_id) VALUES (21, 1);
END
exact($node, $db, 'temporary objects: exact', left => 'some');

# Forged triggers: the attacker's own table with our trigger and somebody else's number. Nobody may
# name our functions unless he is let in, as this one is.
refused($node, $db, q{CREATE TABLE evil.own (id int); CREATE TRIGGER t AFTER INSERT ON evil.own FOR EACH ROW EXECUTE FUNCTION marketing.capture('1')}, qr/42501/, 'a stranger cannot name our functions', extra_params => [ '-U', 'attacker' ]);
$node->safe_psql($db, 'GRANT USAGE ON SCHEMA marketing, marketing_internal TO attacker');
my $count = $node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.contact_key');
for my $argument ("'1'", "'2'", "'x'", "'99999999999999999999'", "'-1'", '', "'1', '2'")
{
	my ($out, $err) = ('', '');
	$node->psql($db, <<"END", stderr => \$err, extra_params => [ '-U', 'attacker' ]);
DROP TABLE IF EXISTS evil.fake;
CREATE TABLE evil.fake (id int PRIMARY KEY, customer_id int, email text, created_at timestamptz DEFAULT '2020-01-01', at timestamptz, kind text, status text, gone boolean);
CREATE TRIGGER marketing_capture AFTER INSERT OR UPDATE OR DELETE ON evil.fake FOR EACH ROW EXECUTE FUNCTION marketing.capture($argument);
CREATE TRIGGER marketing_truncate AFTER TRUNCATE ON evil.fake FOR EACH STATEMENT EXECUTE FUNCTION marketing.capture($argument);
INSERT INTO evil.fake (id, customer_id) VALUES (1, 1), (777, 2);
UPDATE evil.fake SET id = 2 WHERE id = 1;
DELETE FROM evil.fake WHERE id = 2;
TRUNCATE evil.fake;
END
	unlike($err, qr/XX000|server closed|cache lookup/, "a forged trigger ($argument) does no harm") or diag $err;
	is($node->safe_psql($db, 'SELECT (SELECT count(*) FROM marketing_internal.contact_key), (SELECT count(*) FROM marketing_internal.dirty)'), "$count|0", "and nothing ($argument)");
}
refused($node, $db, 'SELECT marketing.capture()', qr/0A000|39P01/, 'called by hand it refuses', extra_params => [ '-U', 'attacker' ]);
refused($node, $db, q{CREATE TRIGGER t BEFORE INSERT ON evil.fake FOR EACH ROW EXECUTE FUNCTION marketing.capture('1'); INSERT INTO evil.fake (id) VALUES (5)}, qr/39P01/, 'as a BEFORE trigger it refuses', extra_params => [ '-U', 'attacker' ]);
run_ok($node, $db, q{DROP TRIGGER t ON evil.fake; CREATE TABLE evil.part (id int, at int) PARTITION BY RANGE (id); CREATE TRIGGER marketing_capture AFTER INSERT ON evil.part FOR EACH ROW EXECUTE FUNCTION marketing.capture('1');
	CREATE TABLE evil.part_1 PARTITION OF evil.part DEFAULT; INSERT INTO evil.part VALUES (1, 1)}, 'a partitioned table of his', extra_params => [ '-U', 'attacker' ]);
exact($node, $db, 'forged triggers: exact');

# He may neither attach what is not his, nor read what is ours, nor run what the owner runs.
for my $sql ("SELECT marketing.attach_events('public.orders', event => 'mine', contact => 'customer_id', occurred_at => 'created_at')", 'SELECT marketing.flush()',
	"SELECT * FROM marketing_internal.counter_values('orders')", 'CALL marketing.work()', 'SELECT * FROM marketing.status', 'SELECT * FROM marketing.contacts', 'SET marketing_automation.strict = on',
	'SET marketing_automation.sync_max_contacts = 1', 'INSERT INTO marketing_internal.dirty (xid) VALUES (pg_current_xact_id())')
{
	refused($node, $db, $sql, qr/42501/, "refused: $sql", extra_params => [ '-U', 'attacker' ]);
}
exact($node, $db, 'exact in the end');
is(figure($node, $db, 'errors swallowed at commit'), '0', 'no error was swallowed');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ s/^.*called as postgres.*\n//mr =~ s/^.*called as postgres.*\n//mr, qr/ERROR:  the trap/, 'no trap was called but by hand');
no_crash($node);
$node->stop;
done_testing();
