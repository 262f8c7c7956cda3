-- Conditions that run at commit or on a superuser's table use built-in functions only: a user's
-- function must not come in by a type either.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE FUNCTION spy(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''spied''; RETURN true; END';
CREATE DOMAIN spied AS text CHECK (spy(VALUE));
CREATE DOMAIN spied_int AS int CHECK (spy(VALUE::text));
CREATE TYPE holder AS (a spied);
CREATE TYPE outer_holder AS (h holder);
CREATE DOMAIN holder_domain AS holder;
CREATE TYPE spied_range AS RANGE (subtype = spied_int);
CREATE TYPE state AS ENUM ('paid', 'void');
CREATE DOMAIN plain AS text;
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE rows (
	id int PRIMARY KEY, customer_id int, at timestamptz DEFAULT '2020-01-01',
	t text, n int, j jsonb, s state, ss state[], p plain, h holder, r int4range);
SELECT marketing.attach_contacts('customers', id => 'id');

CREATE FUNCTION try(condition text, mode text DEFAULT 'sync') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM marketing.attach_events('rows', event => 'e', contact => 'customer_id', contact_source => 'customers',
		occurred_at => 'at', condition => condition, mode => mode);
	PERFORM marketing.detach('rows');
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;

-- refused
SELECT condition, try(condition) FROM (VALUES
	('spy(t)'),
	('t::spied IS NOT NULL'),
	('t::holder IS NOT NULL'),
	('t::outer_holder IS NOT NULL'),
	('t::holder_domain IS NOT NULL'),
	('t::holder[] IS NOT NULL'),
	('t::spied[] IS NOT NULL'),
	('t::spied_range IS NOT NULL'),
	('t::spied_multirange IS NOT NULL'),
	('ARRAY[t]::spied[] IS NOT NULL'),
	('ROW(t)::holder IS NOT NULL'),
	('ROW(ROW(t))::outer_holder IS NOT NULL'),
	('''(x)''::holder IS NOT NULL'),
	('NULL::holder IS NULL'),
	('''{"(x)"}''::holder[] IS NOT NULL'),
	('''[1,2)''::spied_range IS NOT NULL'),
	('jsonb_populate_record(NULL::holder, j) IS NOT NULL'),
	('jsonb_populate_record(h, j) IS NOT NULL'),
	('to_jsonb(s) IS NOT NULL'),
	('jsonb_build_object(''a'', s) IS NOT NULL'),
	('to_jsonb(ROW(s)) IS NOT NULL'),
	('record_in(''(x)'', ''holder''::regtype, -1) IS NOT NULL'),
	('array_in(''{x}'', ''spied''::regtype, -1) IS NOT NULL'),
	('t = ANY (''{x}''::spied[])'),
	('t = (SELECT ''(x)''::holder)::text'),
	('$1 = ''x'''),
	('*'),
	('rows.*')) AS v (condition);

-- accepted: a value of a user's type is only read, enums have labels alone, and types of the system
SELECT condition, try(condition) FROM (VALUES
	('t = ''x'''),
	('s = ''paid'' AND s IN (''paid'', ''void'') AND t::state = s AND s::text = t'),
	('''paid'' = ANY (ss) AND ''{paid}''::state[] = ss'),
	('p = ''x'' AND p <> t AND length(p) > 1'),
	('(h).a = ''x'' AND h IS NOT NULL'),
	('n <@ r AND r && ''[1,2)'' AND n::text = t AND t::int = n'),
	('j ->> ''a'' = t AND j @> ''{"a": 1}'' AND to_jsonb(n) = j AND jsonb_typeof(j) = t'),
	('CASE WHEN n > 0 THEN coalesce(t, ''x'') ELSE greatest(t, ''y'') END LIKE ''z%'''),
	('(n, t) < (1, ''x'') AND ROW(n, t) IS NOT NULL AND nullif(n, 0) IS DISTINCT FROM 1'),
	('(ARRAY[n, 1])[1] = 1 AND t COLLATE "C" > ''a'' AND (n > 0) IS TRUE'),
	('make_interval(hours => n) > ''1 hour'' AND at < ''2030-01-01''')) AS v (condition);

-- in the worker, as an ordinary owner: everything
CREATE ROLE expression_owner;
ALTER TABLE rows OWNER TO expression_owner;
SELECT try('t::holder IS NOT NULL', 'async'), try('t::holder IS NOT NULL');
-- but for a literal, which the parser reads whoever it works for
SELECT try('t = ANY (''{x}''::spied[])', 'async'), try('t = ANY (ARRAY[t]::spied[])', 'async'), try('h = NULL::holder', 'async');
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE rows;
DROP ROLE expression_owner;
