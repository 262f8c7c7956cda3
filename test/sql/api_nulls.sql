-- Every function of both schemas takes null for any of its arguments: an error or an answer, never
-- a crash and never an internal error.  The calls are made from pg_proc, so new functions are in it.
CREATE EXTENSION marketing_automation;
SET client_min_messages = error;
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, status text);
INSERT INTO customers VALUES (1, 'one@example.com'), (2, 'two@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at');
SELECT marketing_internal.define_counter('orders', 'ordered');

-- A value for an argument: of this function, of this name, of this type.
CREATE TABLE sample (function text, name text, type regtype, value text);
INSERT INTO sample VALUES
	('attach_contacts', 'relation', NULL, 'customers'), ('attach_contacts', 'id', NULL, 'id'),
	('attach_contacts', 'match', NULL, 'email'), ('attach_contacts', NULL, 'text', 'email'),
	('attach_contacts', 'exclude', NULL, 'false'), ('attach_contacts', 'source', NULL, 'customers'),
	('attach_events', 'event', NULL, 'ordered'), ('attach_events', 'contact', NULL, 'customer_id'),
	('attach_events', 'contact_source', NULL, 'customers'), ('attach_events', 'occurred_at', NULL, 'at'),
	('attach_events', 'condition', NULL, 'true'), ('attach_events', 'mode', NULL, 'async'),
	('attach_events', 'value', NULL, 'id'), ('attach_events', NULL, 'text', NULL),
	('attach_events', 'time_zone', NULL, 'UTC'), ('attach_events', 'via', NULL, NULL),
	('define_counter', 'name', NULL, 'new'), ('track', 'event', NULL, 'seen'),
	(NULL, 'contact', NULL, '1'), (NULL, 'other', NULL, '2'), (NULL, 'event', NULL, 'ordered'),
	(NULL, 'name', NULL, 'orders'), (NULL, NULL, 'text', 'x'), (NULL, NULL, 'jsonb', '{}'),
	(NULL, NULL, 'regclass', 'orders'), (NULL, NULL, 'boolean', 'false'), (NULL, NULL, 'interval', '1 day'),
	(NULL, NULL, 'timestamptz', '2020-01-01'), (NULL, NULL, 'bigint', '1'), (NULL, NULL, 'integer', '1');
CREATE FUNCTION sample(function text, argument text, kind regtype) RETURNS text LANGUAGE sql AS $$
	SELECT quote_nullable((SELECT CASE WHEN kind = 'uuid'::regtype THEN '00000000-0000-0000-0000-000000000001' ELSE s.value END
		FROM sample AS s
		WHERE coalesce(s.function = $1, true) AND coalesce(s.name = argument, true) AND coalesce(s.type = kind, true)
		ORDER BY s.function, s.name, s.type LIMIT 1)) || '::' || kind
$$;

-- All calls of one function: each argument null alone, then all but one, then all.
CREATE VIEW null_call AS
SELECT p.oid::regprocedure::text AS signature, n.how, n.place, (
	SELECT format('%s %s(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT * FROM' END,
		p.oid::regproc, string_agg(CASE WHEN (n.how = 'one' AND a.place = n.place)
				OR (n.how = 'others' AND a.place <> n.place) OR n.how = 'all'
			THEN 'NULL::' || a.type::regtype
			ELSE sample(p.proname, p.proargnames[a.place], a.type::regtype) END, ', ' ORDER BY a.place))
	FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)) AS call
FROM pg_proc AS p
CROSS JOIN LATERAL (
	SELECT how, place FROM generate_series(1, p.pronargs) AS place, unnest('{one,others}'::text[]) AS how
	UNION ALL SELECT 'all', 0) AS n (how, place)
WHERE p.pronamespace IN ('marketing'::regnamespace, 'marketing_internal'::regnamespace)
	AND p.pronargs > 0;

CREATE TABLE outcome (signature text, how text, place int, state text);
DO $$
DECLARE
	c record;
	outcome text;
BEGIN
	FOR c IN SELECT * FROM null_call ORDER BY signature, how, place LOOP
		BEGIN
			EXECUTE c.call;
			RAISE EXCEPTION USING ERRCODE = 'ZZ000';
		EXCEPTION WHEN OTHERS THEN
			outcome := SQLSTATE;
		END;
		INSERT INTO outcome VALUES (c.signature, c.how, c.place, outcome);
	END LOOP;
END
$$;
SELECT count(*) > 100 AS many, count(DISTINCT signature) > 15 AS of_many, count(*) FILTER (WHERE state = 'ZZ000') > 20 AS answers FROM outcome;
SELECT * FROM outcome WHERE state = 'XX000' ORDER BY 1, 2, 3;
-- what the procedures do cannot be rolled back, so they are called here as well
CALL marketing.work(NULL);
SELECT marketing_internal.counter_values(NULL);
SELECT marketing_internal.drop_counter(NULL);
SELECT marketing_internal.record_event(NULL);
SELECT marketing_internal.record_event('ordered', NULL);
SELECT marketing_internal.contact_text(NULL) IS NULL AS null;
SELECT marketing.identify(NULL::text);
SELECT marketing.track('1', NULL);
