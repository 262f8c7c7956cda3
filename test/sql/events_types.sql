-- Rows of every kind of type as row images: what is read back from an image is the row.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'UTC';
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL AS attached;

CREATE SCHEMA "Types here";
CREATE TYPE "Types here".mood AS ENUM ('sad', 'so, "so"', 'glad');
CREATE DOMAIN "Types here".settings AS jsonb NOT NULL CHECK (jsonb_typeof(VALUE) = 'object');
CREATE DOMAIN "Types here".raw AS json;
CREATE DOMAIN "Types here".level AS "Types here".raw;
CREATE DOMAIN "Types here".size AS numeric(6,2) CHECK (VALUE > 0);
CREATE TYPE "Types here"."Pair" AS (a int, "B b" text, data jsonb, mood "Types here".mood);
CREATE DOMAIN "Types here".good_pair AS "Types here"."Pair" CHECK ((VALUE).a > 0);
CREATE DOMAIN "Types here".sizes AS "Types here".size[];
CREATE COLLATION "Types here".any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE things (
	id bigint PRIMARY KEY,
	customer_id int,
	at timestamptz,
	gone int,
	object jsonb, string jsonb, scalar jsonb, list jsonb, nothing jsonb, sqlnull jsonb,
	plain json, plain_string json, plain_nothing json,
	"Set tings" "Types here".settings, raw "Types here".raw, level "Types here".level,
	ints int[], texts text[], matrix int[], empty int[], docs jsonb[], plains json[], moods "Types here".mood[], pairs "Types here"."Pair"[],
	pair "Types here"."Pair", good "Types here".good_pair, mood "Types here".mood, size "Types here".size, sizes "Types here".sizes,
	range int4range, open_range tstzrange, multi nummultirange, bytes bytea,
	nan numeric, precise numeric(20,10), fnan float8, finf float4, third float8, inf timestamptz, past timestamp, never date, late time, zoned timetz, span interval, day_span interval day to second(2),
	c4 char(4), c0 char(3), vc varchar(5), one "char", nam name, folded text COLLATE "Types here".any_case, "c" text COLLATE "C",
	b5 bit(5), vb bit varying(9), flag boolean, u uuid, net inet, block cidr, mac macaddr, p point, poly polygon, x xml, vec tsvector, q tsquery, path jsonpath, reg regclass, lsn pg_lsn,
	quotes text, doubled numeric GENERATED ALWAYS AS (precise * 2) STORED);
ALTER TABLE things DROP COLUMN gone;
SELECT marketing.attach_events('things', event => 'thing', contact => 'customer_id', occurred_at => 'at') IS NOT NULL AS attached;
SELECT marketing.attach_events('things', event => 'paid', contact => 'customer_id', occurred_at => 'at',
	condition => $$ object->>'status' = 'paid' AND (plain->'n')::text = '1' AND "Set tings" ? 'a' AND raw->>'r' = 'x' AND level->>0 = 'l'
		AND docs[1]->>'k' = 'v' AND (pair).data->>'d' = '1' AND (pairs[1]).mood = 'glad' AND nothing IS NOT NULL AND plain_nothing IS NOT NULL AND sqlnull IS NULL
		AND string #>> '{}' = 'a "string"' AND folded = 'STRASSE' AND c4 = 'ab' AND doubled = 3 AND nan = 'NaN' AND inf = 'infinity' AND b5 = B'10110' $$) IS NOT NULL AS attached;
SELECT marketing_internal.record_event('thing'), marketing_internal.record_event('paid');
SELECT marketing_internal.define_counter('paid', 'paid');
CALL marketing.work();

CREATE FUNCTION different() RETURNS TABLE (id text, key text, image jsonb, "row" jsonb) LANGUAGE sql AS $$
	SELECT o.row_key, key, o.properties->key, to_jsonb(t)->key
	FROM marketing_internal.occurrence AS o JOIN things AS t ON t.id = o.row_key::bigint,
		LATERAL (SELECT jsonb_object_keys(o.properties) UNION SELECT jsonb_object_keys(to_jsonb(t))) AS k (key)
	WHERE o.properties->key IS DISTINCT FROM to_jsonb(t)->key
$$;

CREATE FUNCTION thing(id bigint) RETURNS void LANGUAGE sql AS $$
INSERT INTO things VALUES (id, 1, '2026-01-01',
	'{"status": "paid", "n": [1, {"x": null}]}', '"a \"string\""', '42.50', '[1, "two", null]', 'null', NULL,
	'{"n": 1, "b" : 2, "n": 1}', '"s"', 'null',
	'{"a": {}}', '{"r": "x"}', '["l"]',
	'{1,NULL,3}', ARRAY['a,b', '"', NULL, 'NULL', ''], '[0:1][2:3]={{1,2},{3,4}}', '{}', ARRAY['{"k": "v"}'::jsonb, '"s"', NULL], ARRAY['{"k":"v"}'::json, '1'],
	ARRAY['glad', 'so, "so"']::"Types here".mood[], ARRAY[ROW(1, 'x,"y"', '{"d": [1]}', 'glad')::"Types here"."Pair", NULL],
	ROW(1, NULL, '{"d": "1"}', 'sad'), ROW(5, '', '"s"', NULL), 'so, "so"', 12.5, '{1.25,2}',
	'[1,5)', '["2026-01-01 10:00+02",)', '{[1,2),(3.5,)}', '\x00ff5c27',
	'NaN', 1.5, 'NaN', '-Infinity', 1/3::float8, 'infinity', '-infinity', 'infinity', '23:59:59.123456', '12:00+03', '1 year -2 days 03:00', '1 day 02:03:04.56',
	'ab', '', 'vchar', 'x', 'a name', 'Strasse', 'C',
	B'10110', B'001', false, '00000000-0000-0000-0000-000000000001', '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.5,-2)', '((0,0),(1,1),(2,0))',
	'<a b="1">&amp;</a>', 'a:1 b:2A', 'a & !b', '$.a[*] ? (@ > 1)', 'pg_class', '16/B374D848',
	E'back\\slash "quote" ''single'' \n\t{"a": 1} ü');
$$;

-- at commit
SELECT thing(1);
SELECT * FROM different();
SELECT row_key, e.name, kind FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS e USING (event_id) ORDER BY occurrence_id;
-- under settings that print otherwise
BEGIN;
SET LOCAL datestyle = 'SQL, DMY';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL bytea_output = 'escape';
SET LOCAL extra_float_digits = -5;
SET LOCAL timezone = 'Asia/Kolkata';
SELECT thing(2);
COMMIT;
SELECT * FROM different();
-- by the worker, from the capture log
SET marketing_automation.sync_max_contacts = 0;
SELECT thing(3);
UPDATE things SET object = jsonb_set(object, '{status}', '"void"') WHERE id = 2;
RESET marketing_automation.sync_max_contacts;
SELECT count(*) FROM marketing_internal.capture_row;
CALL marketing.work();
SELECT * FROM different() WHERE id = '3';
SELECT row_key, e.name, kind FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS e USING (event_id) ORDER BY row_key, occurrence_id;
SELECT * FROM marketing_internal.counter_values('paid');
-- all null
INSERT INTO things (id, customer_id, at, "Set tings") VALUES (4, 1, '2026-01-02', '{}');
SELECT count(*) FROM different() WHERE id = '4';
SELECT count(*) FROM marketing_internal.capture_row;
