-- Types of ids: which are accepted, as whom they are read, and that equal ids are one contact.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE PROCEDURE evaluate() LANGUAGE plpgsql AS $$
BEGIN
	CALL marketing.work();
	IF EXISTS (SELECT FROM marketing.errors) THEN
		RAISE EXCEPTION 'left behind: %', (SELECT pg_catalog.string_agg(e::text, ', ') FROM marketing.errors AS e);
	END IF;
END
$$;

-- a domain's CHECK must not run with our rights: it is its owner's code
CREATE ROLE regress_mallory;
GRANT USAGE ON SCHEMA marketing TO regress_mallory;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_mallory;
CREATE SCHEMA m AUTHORIZATION regress_mallory;
SET ROLE regress_mallory;
CREATE FUNCTION m.chk(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'regress_mallory' THEN
		RAISE EXCEPTION 'runs as %', current_user;
	END IF;
	RETURN true;
END
$$;
CREATE DOMAIN m.d AS int CHECK (m.chk(VALUE));
CREATE TYPE m.k AS (a m.d);
CREATE DOMAIN m.dk AS m.k;
CREATE TYPE m.r AS RANGE (subtype = int);
CREATE TABLE m.c (id m.k PRIMARY KEY);
CREATE TABLE m.dc (id m.dk PRIMARY KEY);
CREATE TABLE m.ac (id m.d[] PRIMARY KEY);
CREATE TABLE m.rc (id m.r PRIMARY KEY);
CREATE TABLE m.mc (id int4multirange PRIMARY KEY);
SELECT marketing.attach_contacts('m.c', id => 'id');
SELECT marketing.attach_contacts('m.dc', id => 'id');
SELECT marketing.attach_contacts('m.ac', id => 'id');
SELECT marketing.attach_contacts('m.rc', id => 'id');
SELECT marketing.attach_contacts('m.mc', id => 'id');
CREATE TABLE m.o (id int PRIMARY KEY, link m.k, contact m.k, at timestamptz);
CREATE TABLE m.v (id m.k PRIMARY KEY, contact int);

-- of a domain over a base type the domain is not evaluated
CREATE TABLE m.ok (id m.d PRIMARY KEY, email text);
INSERT INTO m.ok VALUES (1, 'a@example.com');
SELECT marketing.attach_contacts('m.ok', id => 'id', email => 'email');
SELECT marketing.attach_events('m.o', event => 'e', contact => 'contact', occurred_at => 'at');
SELECT marketing.attach_events('m.o', event => 'e', contact => 'contact', occurred_at => 'at',
	via => '{"table": "m.v", "on": "link = id"}');
SELECT marketing.identify('ok:1', '{"a": 1}');
SELECT marketing.identify('ok:01', '{"a": 2}');
INSERT INTO m.ok VALUES (2, 'b@example.com');
UPDATE m.ok SET email = 'c@example.com' WHERE id = 1;
RESET ROLE;
SELECT contact, email, attributes FROM marketing.contacts ORDER BY 1;

-- a column that becomes such a type later is not read
SET ROLE regress_mallory;
ALTER TABLE m.ok ALTER id TYPE m.k USING ROW(id)::m.k;
SELECT marketing.identify('(1)', '{}');
UPDATE m.ok SET email = 'd@example.com';
SET client_min_messages = error;
RESET ROLE;
CALL marketing.work();
SELECT DISTINCT what, sqlstate, message FROM marketing.errors;
SELECT marketing.detach_all();
TRUNCATE marketing_internal.dirty;
SET client_min_messages = warning;
DROP OWNED BY regress_mallory CASCADE;
DROP ROLE regress_mallory;

-- enums; a label that is gone is nobody
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE colours (id colour PRIMARY KEY, email text);
CREATE TABLE uses (id int PRIMARY KEY, colour colour, at timestamptz);
INSERT INTO colours VALUES ('red', 'red@example.com');
SELECT marketing.attach_contacts('colours', id => 'id', email => 'email');
SELECT marketing.attach_events('uses', event => 'used', contact => 'colour', occurred_at => 'at');
SELECT marketing_internal.define_counter('uses', 'used');
INSERT INTO uses VALUES (1, 'red', '2020-01-01'), (2, 'green', '2020-01-01');
CALL evaluate();
SELECT v.value, c.contact FROM marketing_internal.counter_values('uses') AS v JOIN marketing.contacts AS c ON c._contact_id = v.contact_id;
ALTER TYPE colour RENAME VALUE 'red' TO 'crimson';
INSERT INTO marketing_internal.dirty (xid, source_id, external_id) SELECT pg_current_xact_id(), source_id, 'red' FROM marketing_internal.contact_source WHERE name = 'colours';
CALL evaluate();
SELECT contact FROM marketing.contacts;
SELECT marketing_internal.drop_counter('uses');
SELECT marketing.detach_all();

-- an id that the key's type cannot hold is nobody's
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at timestamptz);
INSERT INTO customers VALUES (1, 'one@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at');
SELECT marketing_internal.define_counter('orders', 'ordered');
SELECT marketing_internal.record_event('ordered');
CALL evaluate();
INSERT INTO orders VALUES (1, 1, '2020-01-01'), (2, 99999999999, '2020-01-01');
SET marketing_automation.sync_max_rows = 0;
INSERT INTO orders VALUES (3, 1, '2020-01-02'), (4, 99999999999, '2020-01-02');
RESET marketing_automation.sync_max_rows;
CALL evaluate();
SELECT count(*) FROM marketing_internal.capture_row;
SELECT row_key, kind FROM marketing_internal.occurrence ORDER BY 1;
SELECT v.value, c.contact FROM marketing_internal.counter_values('orders') AS v JOIN marketing.contacts AS c ON c._contact_id = v.contact_id;
SELECT marketing.identify('99999999999');
SELECT marketing_internal.drop_counter('orders');
SELECT marketing_internal.record_event('ordered', false);
TRUNCATE marketing_internal.occurrence;
SELECT marketing.detach_all();

-- ids are compared as their types print them: char, inet and boolean do otherwise under a cast
CREATE TABLE people (id char(6) PRIMARY KEY, address inet UNIQUE NOT NULL, flag boolean UNIQUE NOT NULL);
CREATE TABLE visits (id int PRIMARY KEY, person char(6), address inet, flag boolean, link int, at timestamptz);
CREATE TABLE carts (id int PRIMARY KEY, person char(6));
INSERT INTO people VALUES ('ann', '10.0.0.1', true);
CREATE PROCEDURE visit(id text, via boolean DEFAULT false) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM marketing.attach_contacts('people', id => CASE id WHEN 'person' THEN 'id' ELSE id END);
	PERFORM marketing.attach_events('visits', event => 'visited', contact => id, occurred_at => 'at',
		via => CASE WHEN via THEN '{"table": "carts", "on": "link = id"}'::jsonb END);
	PERFORM marketing_internal.define_counter('visits', 'visited');
	PERFORM marketing_internal.record_event('visited');
	INSERT INTO visits VALUES (1, 'ann', '10.0.0.1', true, 1, '2020-01-01');
	PERFORM marketing.flush();
END
$$;
CREATE PROCEDURE leave() LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE visits, marketing_internal.occurrence;
	PERFORM marketing_internal.drop_counter('visits');
	PERFORM marketing_internal.record_event('visited', false);
	PERFORM marketing.detach_all();
END
$$;
INSERT INTO carts VALUES (1, 'ann');
CALL visit('person');
CALL evaluate();
SELECT row_key, kind FROM marketing_internal.occurrence;
SELECT v.value, c.contact FROM marketing_internal.counter_values('visits') AS v JOIN marketing.contacts AS c ON c._contact_id = v.contact_id;
CALL leave();
CALL visit('person', true);
CALL evaluate();
SELECT row_key, kind FROM marketing_internal.occurrence;
SELECT v.value, c.contact FROM marketing_internal.counter_values('visits') AS v JOIN marketing.contacts AS c ON c._contact_id = v.contact_id;
CALL leave();
CALL visit('address');
CALL evaluate();
SELECT row_key, kind FROM marketing_internal.occurrence;
CALL leave();
CALL visit('flag');
CALL evaluate();
SELECT row_key, kind FROM marketing_internal.occurrence;
CALL leave();

-- equal ids that may be written differently are refused for events
CREATE TABLE accounts (id numeric(10,2) PRIMARY KEY, free numeric UNIQUE NOT NULL, real float8 UNIQUE NOT NULL, padded char(4) UNIQUE NOT NULL, span interval UNIQUE NOT NULL, doc jsonb UNIQUE NOT NULL);
CREATE TABLE bills (id int PRIMARY KEY, same numeric(10,2), other numeric(10,0), free numeric, real float8, padded char(4), wider char(5), span interval, doc jsonb, at timestamptz);
CREATE COLLATION relaxed (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE accounts ADD name text COLLATE relaxed UNIQUE NOT NULL;
ALTER TABLE bills ADD name text COLLATE relaxed, ADD plain text;
SELECT marketing.attach_contacts('accounts', id => 'id');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'other', occurred_at => 'at');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'free', occurred_at => 'at');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'same', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'free');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'free', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'real');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'real', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'padded');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'wider', occurred_at => 'at');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'padded', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'span');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'span', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'doc');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'doc', occurred_at => 'at');
SELECT marketing.detach_all();
SELECT marketing.attach_contacts('accounts', id => 'name');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'name', occurred_at => 'at');
SELECT marketing.attach_events('bills', event => 'billed', contact => 'plain', occurred_at => 'at');
SELECT marketing.detach_all();

-- a link of via is written and read in one type
CREATE TABLE boxes (id int PRIMARY KEY, box numeric(6,2), at timestamptz);
CREATE TABLE box (id int PRIMARY KEY, customer_id int);
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('boxes', event => 'boxed', contact => 'customer_id', occurred_at => 'at',
	via => '{"table": "box", "on": "box = id"}');

-- all rows of a table re-keyed by one command, and evaluated early: their keys are not gone through for each mark
CREATE TABLE numbered (id int PRIMARY KEY);
INSERT INTO numbered SELECT generate_series(1, 30000);
SELECT marketing.attach_contacts('numbered', id => 'id') IS NOT NULL AS attached;
BEGIN;
UPDATE numbered SET id = id + 100000;
SET LOCAL statement_timeout = '10s';
SELECT marketing.flush();
ROLLBACK;
