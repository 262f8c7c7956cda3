# 093_flush_faults.pl
#
# Evaluations that fail at random, at commit and in the worker, at different steps: when a row image
# is read (a domain of a column refuses it), when contacts, counters or occurrences are written (a
# trigger of the test on our tables). Whatever fails, each change takes effect once and in its order:
# a row that is written once happens once, of others happened and taken_back take turns, and once
# nothing fails any more all is right.
#
# FAULT_SEED repeats the choices of a run (not how its sessions meet).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('faults');
my $db = 'faults';
my $seed = ($ENV{FAULT_SEED} || time) % 1000000;

$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, slurp_file("$ENV{MA_TEST_DIR}/lib/proof_shop.sql"));
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE fault (rate float8 NOT NULL, raised bigint NOT NULL DEFAULT 0);
INSERT INTO fault VALUES (0);
CREATE FUNCTION raise_fault() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF random() < (SELECT rate FROM public.fault) THEN
		RAISE EXCEPTION USING MESSAGE = 'a fault', ERRCODE = (ARRAY['22012', '23505', '40001', '53200', 'XX000', 'P0001'])[1 + floor(random() * 6)];
	END IF;
END $$;
-- Fails where settings are ours, never in a user's statement.
CREATE FUNCTION flaky(any_text text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('search_path') LIKE 'pg_catalog%' THEN
		PERFORM public.raise_fault();
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN flaky_text AS text CHECK (public.flaky(VALUE));
ALTER TABLE orders ADD COLUMN flaky flaky_text NOT NULL DEFAULT 'x';
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id',
	occurred_at => 'created_at', condition => $$ status <> 'void' AND x / x = 1 $$);
CREATE FUNCTION fault_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.raise_fault();
	RETURN NEW;
END $$;
CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON marketing_internal.contact_counter FOR EACH ROW EXECUTE FUNCTION fault_trigger();
CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON marketing_internal.contact FOR EACH ROW EXECUTE FUNCTION fault_trigger();
CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON marketing_internal.contact_key FOR EACH ROW EXECUTE FUNCTION fault_trigger();
CREATE TRIGGER fault BEFORE INSERT ON marketing_internal.occurrence FOR EACH ROW EXECUTE FUNCTION fault_trigger();
CREATE TABLE items (id int PRIMARY KEY, order_id bigint, at timestamptz NOT NULL DEFAULT '2020-01-01');
CREATE INDEX ON items (order_id);
SELECT marketing.attach_events('items', event => 'item', contact => 'customer_id', occurred_at => 'at',
	via => '{"table": "orders", "on": "order_id = id"}');
SELECT marketing_internal.define_counter('items', 'item');
INSERT INTO proof.recount VALUES ('items', $$ SELECT proof.contact('customers', customer_id::text), count(*)
	FROM items AS i JOIN orders AS o ON o.id = i.order_id GROUP BY 1 $$);
SELECT marketing_internal.record_event('order_placed'), marketing_internal.record_event('item');
CREATE SEQUENCE ids;
CREATE SEQUENCE people START 100;
-- how often a row was written
CREATE TABLE written (kind text, id bigint, n int NOT NULL DEFAULT 1, PRIMARY KEY (kind, id));
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.written VALUES (TG_ARGV[0], coalesce(NEW.id, OLD.id)) ON CONFLICT (kind, id) DO UPDATE SET n = written.n + 1;
	RETURN NULL;
END $$;
CREATE TRIGGER a_note AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note('order_placed');
CREATE TRIGGER a_note AFTER INSERT OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION note('item');
CALL marketing.work();

CREATE PROCEDURE change() LANGUAGE plpgsql AS $$
DECLARE
	which bigint := (SELECT id FROM orders OFFSET floor(random() * (SELECT count(*) FROM orders)) LIMIT 1);
	somebody int := 1 + floor(random() * 9);
BEGIN
	CASE floor(random() * 11)
	WHEN 0, 1, 2 THEN INSERT INTO orders (id, customer_id) SELECT nextval('ids'), somebody FROM generate_series(1, 1 + floor(random() * 3)::int);
	WHEN 3 THEN UPDATE orders SET status = CASE status WHEN 'void' THEN 'paid' ELSE 'void' END WHERE id = which;
	WHEN 4 THEN UPDATE orders SET customer_id = somebody WHERE id = which;
	WHEN 5 THEN UPDATE orders SET note = 'n' || random() WHERE id = which;
	WHEN 6 THEN
		-- Nobody may add an item meanwhile: an item without its order would stay what it was.
		PERFORM FROM orders WHERE id = which AND random() < 0.3 FOR UPDATE;
		IF FOUND AND NOT EXISTS (SELECT FROM items WHERE order_id = which) THEN DELETE FROM orders WHERE id = which; END IF;
	WHEN 7 THEN
		INSERT INTO items SELECT nextval('ids'), id FROM (SELECT id FROM orders WHERE id = which FOR KEY SHARE) AS o;
	WHEN 8 THEN UPDATE customers SET id = id + 1000 WHERE id BETWEEN 100 AND 200 AND random() < 0.2;
	WHEN 9 THEN INSERT INTO customers SELECT nextval('people');
	ELSE UPDATE customers SET email = 'c' || floor(random() * 1000) || '@example.com' WHERE id = somebody;
	END CASE;
END $$;
CREATE PROCEDURE mix(n int, seed float8) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. n LOOP
		PERFORM set_config('marketing_automation.sync_max_contacts', CASE WHEN random() < 0.2 THEN '0' ELSE '64' END, true);
		PERFORM set_config('marketing_automation.sync_max_rows', CASE WHEN random() < 0.2 THEN '1' ELSE '1000' END, true);
		FOR j IN 1 .. 1 + floor(random() * 4) LOOP
			BEGIN
				CALL change();
				IF random() < 0.2 THEN
					CALL change();
					RAISE EXCEPTION 'undone' USING ERRCODE = 'UA001';
				END IF;
				IF random() < 0.1 THEN
					PERFORM marketing.flush();
				END IF;
			EXCEPTION WHEN SQLSTATE 'UA001' THEN
			END;
		END LOOP;
		COMMIT;
	END LOOP;
END $$;
CREATE FUNCTION wrong_rows() RETURNS SETOF text LANGUAGE sql AS $$
	WITH step AS (
		SELECT t.name AS event, o.row_key, o.kind, o.occurrence_id, lag(o.kind) OVER w AS before, lead(o.kind) OVER w AS after
		FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) WHERE o.kind <> 'changed'
		WINDOW w AS (PARTITION BY o.event_id, o.row_key ORDER BY o.occurrence_id)),
	history AS (
		SELECT event, row_key, string_agg(kind, ' ' ORDER BY occurrence_id) AS steps,
			bool_and(kind IS DISTINCT FROM before AND (before IS NOT NULL OR kind = 'happened')) AS turns,
			bool_or(kind = 'happened' AND after IS NULL) AS is_on
		FROM step GROUP BY 1, 2),
	present AS (
		SELECT 'order_placed' AS event, id::text AS row_key FROM orders WHERE status <> 'void'
		UNION ALL SELECT 'item', i.id::text FROM items AS i JOIN orders AS o ON o.id = i.order_id)
	SELECT format('%s %s: written %s times, is the event: %s, was: %s', event, row_key, w.n, p.row_key IS NOT NULL, steps)
	FROM history AS h FULL JOIN present AS p USING (event, row_key) LEFT JOIN written AS w ON w.kind = event AND w.id = row_key::bigint
	WHERE NOT coalesce(turns, true) OR coalesce(is_on, false) <> (p.row_key IS NOT NULL)
		OR w.n = 1 AND steps <> 'happened'
$$;
END
diag("seed $seed");

for my $rate (0.03, 0.3)
{
	$node->safe_psql($db, "UPDATE fault SET rate = $rate");
	my @sessions = map { session($node, $db) } 1 .. 3;
	my $worker = session($node, $db);
	$sessions[$_]->send("CALL mix(100, " . (($seed + $_) % 1000) / 1000 . ")") for 0 .. $#sessions;
	$worker->send("CALL marketing.work('1 hour')");
	is($_->answer, '', "$rate: no user has an error") for @sessions;
	ok($node->safe_psql($db, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND pid <> pg_backend_pid()"), "$rate: the worker ends");
	$worker->answer;
	$_->close for @sessions, $worker;

	cmp_ok(figure($node, $db, 'errors swallowed at commit'), '>', 0, "$rate: evaluations failed at commit");
	$node->safe_psql($db, 'UPDATE fault SET rate = 0');
	exact($node, $db, "$rate: counters are exact", left => undef);
	is($node->safe_psql($db, 'SELECT * FROM wrong_rows()'), '', "$rate: each row once and in order");
}
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM marketing_internal.occurrence"), '>', 300, 'much happened');

# A row for which the condition fails for good holds up only itself, till it is corrected.
run_ok($node, $db, 'INSERT INTO orders (id, customer_id, x) VALUES (-1, 1, 0), (-2, 2, 1)', 'a division by zero');
$node->safe_psql($db, 'SELECT proof.wake(); CALL marketing.work()');
is($node->safe_psql($db, 'SELECT row_key, attempts > 0 FROM marketing_internal.capture_row'), '-1|t', 'waits alone');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing_internal.occurrence WHERE row_key = '-2'}), '1', 'the other one happened');
no_crash($node);
done_testing();
