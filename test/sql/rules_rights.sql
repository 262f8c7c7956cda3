-- Functions of users in rules run as the owner of the table that is read, whoever asks, and never as our owner.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-03-01 12:00+00') IS NOT NULL AS set;
CREATE ROLE regress_rights_shop;
CREATE ROLE regress_rights_analyst;
GRANT CREATE ON SCHEMA public TO regress_rights_shop, regress_rights_analyst;
GRANT USAGE ON SCHEMA marketing TO regress_rights_shop, regress_rights_analyst;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_rights_shop, regress_rights_analyst;
SET ROLE regress_rights_shop;
CREATE TABLE customers (id bigint PRIMARY KEY, city text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, status text, created_at timestamptz);
CREATE INDEX ON orders (customer_id, created_at) INCLUDE (status);
INSERT INTO customers VALUES (1, 'Rome'), (2, 'Oslo');
INSERT INTO orders (customer_id, status, created_at) VALUES (1, 'paid', '2026-02-01 00:00+00');
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL AS attached;
GRANT SELECT ON customers TO regress_rights_analyst;
RESET ROLE;

SET ROLE regress_rights_analyst;
CREATE FUNCTION ran_as(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
	'BEGIN IF current_user <> ''regress_rights_shop'' THEN RAISE EXCEPTION ''it ran as %'', current_user; END IF; RETURN true; END';
CREATE DOMAIN checked AS text CHECK (ran_as(VALUE));
-- A literal would be read while the rule is parsed: in a rule, again for its view, in every process that compiles it.
SELECT marketing.define_segment('literal', $$ city = any ('{x}'::checked[]) $$);
SELECT marketing.rule_text('{"condition": "city in (''x'', ''y'') or ''{x}''::checked[] is not null"}');
SELECT marketing.define_segment('nothing', $$ city = any (null::checked[]) $$);
-- A text is cast when a row is read.
SELECT marketing.define_segment('cast', $$ city = any (('{Rome}'::text)::checked[]) $$);
SELECT marketing.define_segment('checked', $$ city::checked = 'Rome' $$);
RESET ROLE;
SELECT * FROM marketing.verify_segment('checked');
SELECT * FROM marketing.explain_segment(1, 'checked');
-- What is stored of it is wrong: verifying says so.
UPDATE marketing_internal.segment_member SET contact_id = 2;
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v ORDER BY 1, 2;
UPDATE marketing_internal.segment_member SET contact_id = 1;

-- Nor does what an event was attached with, whoever defines a rule over it.
SET ROLE regress_rights_shop;
SELECT marketing.attach_events('orders', event => 'paid', contact => 'customer_id', occurred_at => 'created_at', mode => 'async',
	condition => 'status::checked = ''paid''') IS NOT NULL AS attached;
RESET ROLE;
SELECT marketing.define_segment('payers', 'any paid');
SELECT * FROM marketing.preview_segment('any paid');
SELECT * FROM marketing.verify_segment('payers');
SELECT name, maintenance FROM marketing.segments ORDER BY 1;
-- A worker's event with built-in functions only is asked as before.
SET ROLE regress_rights_shop;
SELECT marketing.attach_events('orders', event => 'paid', contact => 'customer_id', occurred_at => 'created_at', mode => 'async',
	condition => 'status = ''paid''') IS NOT NULL AS attached;
RESET ROLE;
SELECT what, value FROM marketing.preview_segment('any paid') WHERE what <> 'cost';

DROP EXTENSION marketing_automation CASCADE;
DROP TABLE orders, customers;
DROP DOMAIN checked;
DROP FUNCTION ran_as(text);
REVOKE CREATE ON SCHEMA public FROM regress_rights_shop, regress_rights_analyst;
DROP ROLE regress_rights_shop;
DROP ROLE regress_rights_analyst;
