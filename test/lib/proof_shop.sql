-- proof_shop.sql: the shop of the proof tests, and the invariant they end with.
--
-- proof.recount and proof.source say, independently of the extension, what is right: the number of
-- rows of each contact that counts, and the keys there are. proof.wrong() tells every difference.
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;

CREATE TABLE customers (id int PRIMARY KEY, email text, city text, gone boolean NOT NULL DEFAULT false);
CREATE TABLE orders (
	id bigint PRIMARY KEY,
	customer_id int,
	created_at timestamptz DEFAULT '2020-01-01',
	x int NOT NULL DEFAULT 1,
	status text NOT NULL DEFAULT 'paid',
	note text);
CREATE INDEX ON orders (customer_id, created_at);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', 'Istanbul' FROM generate_series(1, 9) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', exclude => 'gone');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id',
	occurred_at => 'created_at', condition => $$ status <> 'void' $$);
SELECT marketing_internal.define_counter('orders', 'order_placed');

CREATE SCHEMA proof;
-- contact_id, count; of contacts that count
CREATE TABLE proof.recount (counter text PRIMARY KEY, query text NOT NULL);
-- external_id, excluded
CREATE TABLE proof.source (source text PRIMARY KEY, query text NOT NULL);

-- The contact of a row of the source, if it counts.
CREATE FUNCTION proof.contact(source text, id text) RETURNS bigint STABLE LANGUAGE sql AS $$
	SELECT k.contact_id FROM marketing_internal.contact_key AS k
	JOIN marketing_internal.contact_source AS s USING (source_id)
	WHERE s.name = $1 AND k.external_id = $2 AND NOT k.excluded
$$;

INSERT INTO proof.recount VALUES ('orders',
	$$ SELECT proof.contact('customers', customer_id::text), sum(n)::bigint FROM (
		SELECT customer_id, count(*) AS n FROM orders
		WHERE status <> 'void' AND created_at IS NOT NULL GROUP BY 1) AS o GROUP BY 1 $$);
INSERT INTO proof.source VALUES ('customers', $$ SELECT id::text, gone FROM customers $$);

-- Occurrences as "row kind of contact", in their order.
CREATE FUNCTION proof.occurrences() RETURNS text STABLE LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s of %s', o.row_key, o.kind, marketing_internal.contact_text(o.contact_id)), ', '
		ORDER BY o.occurrence_id)
	FROM marketing_internal.occurrence AS o
$$;

-- Lets nothing in the logs rest before the next try.
CREATE FUNCTION proof.wake() RETURNS void LANGUAGE sql AS $$
	UPDATE marketing_internal.dirty SET retry_at = NULL WHERE retry_at IS NOT NULL;
	UPDATE marketing_internal.capture_row SET retry_at = NULL WHERE retry_at IS NOT NULL;
$$;

-- Every difference between what is stored or read and what is right. strict: the logs must be
-- empty; else contacts that stand in them may have a stored state that is behind.
CREATE FUNCTION proof.wrong(strict boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	lagging bigint[] := ARRAY(SELECT d FROM marketing_internal.dirty_contacts() AS d WHERE d IS NOT NULL);
	anybody boolean := EXISTS (SELECT FROM marketing_internal.dirty_contacts() AS d WHERE d IS NULL);
	waiting boolean := EXISTS (SELECT FROM marketing_internal.dirty);
BEGIN
	IF strict THEN
		RETURN QUERY SELECT format('dirty: %s', d) FROM marketing_internal.dirty AS d;
		RETURN QUERY SELECT format('capture_row: %s', c) FROM marketing_internal.capture_row AS c;
	END IF;
	FOR r IN SELECT * FROM proof.recount LOOP
		EXECUTE format('CREATE TEMP TABLE proof_right ON COMMIT DROP AS SELECT * FROM (%s) AS q (contact_id, n)
			WHERE contact_id IS NOT NULL AND n <> 0', r.query);
		IF strict OR NOT anybody THEN
			RETURN QUERY SELECT format('stored %s of %s is %s, right is %s', r.counter, contact_id, s.value, q.n)
			FROM (SELECT * FROM marketing_internal.contact_counter
				JOIN marketing_internal.counter AS c USING (counter_id) WHERE c.name = r.counter) AS s
			FULL JOIN proof_right AS q USING (contact_id)
			WHERE coalesce(s.value, 0) <> coalesce(q.n, 0) AND (strict OR contact_id <> ALL (lagging));
		END IF;
		-- contacts whose row is not known yet have no number to be read by
		RETURN QUERY SELECT format('read %s of %s is %s, right is %s', r.counter, contact_id, v.value, q.n)
		FROM marketing_internal.counter_values(r.counter) AS v
		FULL JOIN proof_right AS q USING (contact_id)
		WHERE v.value IS DISTINCT FROM q.n;
		DROP TABLE proof_right;
	END LOOP;
	FOR r IN SELECT * FROM proof.source LOOP
		IF strict OR NOT waiting THEN
			RETURN QUERY EXECUTE format('SELECT format(''key %s:%%s stored %%s, right %%s'', external_id, k.excluded, q.excluded)
				FROM (SELECT k.external_id, k.excluded FROM marketing_internal.contact_key AS k
					JOIN marketing_internal.contact_source AS s USING (source_id)
					JOIN marketing_internal.contact AS c USING (contact_id) WHERE s.name = %L) AS k
				FULL JOIN (%s) AS q (external_id, excluded) USING (external_id)
				WHERE k.excluded IS DISTINCT FROM q.excluded AND NOT (k.excluded IS NULL AND q.excluded)',
				r.source, r.source, r.query);
		END IF;
	END LOOP;
	RETURN QUERY SELECT format('key of nobody: %s', k) FROM marketing_internal.contact_key AS k
		WHERE NOT EXISTS (SELECT FROM marketing_internal.contact AS c WHERE c.contact_id = k.contact_id);
END
$$;
CALL marketing.work();
