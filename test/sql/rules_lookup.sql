-- Columns of lookup tables in conditions on an event, and what a change of a lookup's row does.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-01-01 00:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, email text, credit numeric);
CREATE TABLE products (id int PRIMARY KEY, category text, price numeric, stock int, tags text[]);
CREATE TABLE lines (id bigint PRIMARY KEY, customer_id bigint, product_id bigint, gift_id int, qty int, at timestamptz);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', i * 10 FROM generate_series(1, 5) AS i;
INSERT INTO products VALUES (1, 'shoes', 50), (2, 'hats', 20), (3, 'shoes', 70);
INSERT INTO lines VALUES (1, 1, 1, NULL, 2, '2025-12-20'), (2, 2, 2, 3, 1, '2025-12-20'), (3, 3, 3, 2, 1, '2025-12-20'), (4, 4, 9, NULL, 1, '2025-12-20');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
\set attach 'SELECT marketing.attach_events(\'lines\', event => \'bought\', contact => \'customer_id\', occurred_at => \'at\', lookup => \'{"product": {"table": "products", "on": "product_id = id"}, "gift": {"table": "products", "on": "gift_id = id"}}\');'
:attach
:attach
CREATE INDEX ON lines (customer_id, at) INCLUDE (gift_id, product_id);
CREATE INDEX ON lines (product_id);
CREATE INDEX ON lines (gift_id);
SET client_min_messages = warning;
SELECT name, link_column, key_column FROM marketing_internal.event_lookup;

CREATE FUNCTION canonical(rule text) RETURNS TABLE (canonical text, again boolean) LANGUAGE sql AS $$
	SELECT t, marketing_internal.rule_text(t, 'UTC') = t AND marketing.rule_text(marketing.rule_json(rule)) = t
		AND marketing_internal.rule_text(marketing.rule_json(rule)::text) = t FROM marketing_internal.rule_text(rule, 'UTC') AS t $$;
SELECT c.* FROM unnest(ARRAY[
	'any bought where (product.category = ''shoes'' and gift.price is null)',
	'sum(bought.product.price where (qty > 1)) in 30 days > 60',
	'sum(bought.(product.price * qty)) in 30 days > contact.credit',
	'count(distinct bought.product.category) > 1 and last bought matching (Product.Category = ''hats'')',
	'all of last 2 bought matching (product.price > contact.credit)',
	'any bought where (product.category = ''a'') followed by bought where (gift.category = product.category) within 1 day'
]) AS r CROSS JOIN LATERAL canonical(r) AS c;
\set r 'SELECT marketing_internal.rule_text($r$'
:r any bought where (product.categry = 'shoes') $r$);
:r any bought where (prodct.category = 'shoes') $r$);
:r any bought where (product = 'shoes') $r$);
:r any bought where (product.category = (select 'shoes')) $r$);
:r sum(bought.product.category) > 3 $r$);
:r product.category = 'shoes' $r$);
CREATE FUNCTION twice(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
SELECT marketing.define_segment('x', 'any bought where (twice(product.price) > 3)');

-- Exact from the change on, in the transaction itself and with no worker; stored when the worker has been there.
CREATE FUNCTION stored(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.contact_id::text, ' ' ORDER BY m.contact_id) FROM marketing_internal.segment_member AS m
	JOIN marketing_internal.segment AS s USING (segment_id) WHERE s.name = $1 $$;
CREATE FUNCTION read(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(contact, ' ') FROM marketing.segment_members(name) $$;
SELECT marketing.define_segment('shoes', 'any bought where (product.category = ''shoes'') in 30 days');
SELECT marketing.define_segment('spent', 'sum(bought.(product.price * qty)) >= 70');
SELECT marketing.define_segment('gifts', 'sum(bought.gift.price) > 50');
SELECT marketing.define_segment('all', 'any bought');
SELECT name, members, maintenance FROM marketing.segments ORDER BY name;
BEGIN;
UPDATE products SET category = 'shoes' WHERE id = 2;
SELECT read('shoes') AS own_change, marketing.in_segment(2, 'shoes');
ROLLBACK;
SELECT read('shoes') AS rolled_back, count(*) AS waiting FROM marketing_internal.dirty;
UPDATE products SET category = 'shoes' WHERE id = 2;
SELECT read('shoes') AS at_once, stored('shoes'), (SELECT count(*) FROM marketing.verify_segment('shoes')) AS differ;
CALL marketing.work();
SELECT stored('shoes'), count(*) AS waiting FROM marketing_internal.dirty;
-- columns that no rule reads are nothing to it
UPDATE products SET stock = 5, tags = '{a}';
SELECT count(*) AS waiting FROM marketing_internal.dirty;
-- a row that comes, one that goes, another key; only who points to it is looked at
INSERT INTO products VALUES (9, 'shoes', 100), (10, 'shoes', 1);
SELECT read('shoes'), read('spent');
CALL marketing.work();
SELECT stored('shoes'), stored('spent');
DELETE FROM products WHERE id = 1;
UPDATE products SET id = 4 WHERE id = 3;
SELECT read('shoes'), read('spent'), read('gifts'), read('all');
CALL marketing.work();
SELECT stored('shoes'), stored('spent'), stored('gifts'), stored('all');
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
-- very many keys: everybody is looked at
UPDATE lines SET product_id = 4 WHERE id = 1;
INSERT INTO products SELECT i, 'shoes', 5 FROM generate_series(100, 1200) AS i;
SELECT external_id, count(*) FROM marketing_internal.dirty WHERE event_source_id IS NOT NULL GROUP BY 1;
CALL marketing.work();
SELECT stored('shoes'), count(*) AS waiting FROM marketing_internal.dirty;
TRUNCATE products;
SELECT read('shoes') AS nobody, stored('shoes');
CALL marketing.work();
SELECT stored('shoes') AS nobody;
INSERT INTO products VALUES (1, 'shoes', 50), (2, 'hats', 20), (3, 'shoes', 70), (4, 'shoes', 10);
CALL marketing.work();
SELECT s.name, stored(s.name), v.* FROM marketing.segments AS s LEFT JOIN LATERAL marketing.verify_segment(s.name) AS v ON true ORDER BY s.name;
SELECT node, value, truth, because FROM marketing.explain_segment(1, 'spent');

-- Renames are followed; what is read cannot be dropped.
ALTER TABLE products RENAME category TO kind;
ALTER TABLE products RENAME TO goods;
CALL marketing.work();
UPDATE goods SET kind = 'hats' WHERE id = 4;
SELECT read('shoes');
CALL marketing.work();
SELECT name, rule, state FROM marketing.segments WHERE name = 'shoes';
SELECT stored('shoes'), (SELECT count(*) FROM marketing.verify_segment('shoes')) AS differ;
DROP TABLE goods;
SELECT marketing.detach('goods');
SELECT marketing.detach('lines');

-- Rights: who defines, and the owner of the event's table, whose rights rows are read with.
CREATE ROLE regress_lookup_owner;
CREATE ROLE regress_lookup_definer;
ALTER TABLE lines OWNER TO regress_lookup_owner;
GRANT USAGE ON SCHEMA marketing TO regress_lookup_definer;
GRANT EXECUTE ON FUNCTION marketing.define_segment TO regress_lookup_definer;
GRANT SELECT ON lines, customers TO regress_lookup_definer;
SET ROLE regress_lookup_definer;
SELECT marketing.define_segment('hats', 'any bought where (product.kind = ''hats'')');
RESET ROLE;
GRANT SELECT (kind, id) ON goods TO regress_lookup_definer;
SET ROLE regress_lookup_definer;
SELECT marketing.define_segment('hats', 'any bought where (product.kind = ''hats'')');
RESET ROLE;
GRANT SELECT (kind, id) ON goods TO regress_lookup_owner;
SELECT marketing.drop_segment(n) FROM unnest('{shoes,spent,gifts}'::text[]) AS n;
SET ROLE regress_lookup_definer;
SELECT marketing.define_segment('hats', 'any bought where (product.kind = ''hats'')');
RESET ROLE;
SELECT marketing.drop_segment(name) FROM marketing.segments;

-- Who attaches must own the lookup's table, which then carries the trigger as long as it is needed.
SELECT marketing.detach('lines');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'marketing_capture' ORDER BY 1;
SELECT count(*) FROM marketing_internal.event_lookup;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_lookup_owner;
GRANT USAGE ON SCHEMA marketing TO regress_lookup_owner;
GRANT SELECT ON goods, customers TO regress_lookup_owner;
SET ROLE regress_lookup_owner;
SELECT marketing.attach_events('lines', event => 'bought', contact => 'customer_id', occurred_at => 'at', lookup => '{"product": {"table": "goods", "on": "product_id = id"}}');
RESET ROLE;
SELECT marketing.attach_events('lines', event => 'bought', contact => 'customer_id', occurred_at => 'at', lookup => '{"product": {"table": "goods", "on": "product_id = id"}}');
SELECT marketing.attach_events('lines', event => 'bought', contact => 'customer_id', occurred_at => 'at');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'marketing_capture' ORDER BY 1;
DROP EXTENSION marketing_automation;
DROP TABLE lines, goods, customers;
DROP FUNCTION twice;
DROP ROLE regress_lookup_owner, regress_lookup_definer;
