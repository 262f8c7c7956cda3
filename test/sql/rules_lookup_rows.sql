-- Columns of lookups beyond segments: score rules, and conditions of journeys on the row of an event.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT marketing.set_clock('2026-01-01 00:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, email text, credit numeric, code char(5));
CREATE TABLE products (id int PRIMARY KEY, category text, price numeric, stock int, tags text[], code char(5));
CREATE TABLE lines (id bigint PRIMARY KEY, customer_id bigint, product_id bigint, gift_id int, qty int, at timestamptz, code char(5));
INSERT INTO customers SELECT i, 'c' || i || '@example.com', i * 10, 'abcde' FROM generate_series(1, 9) AS i;
INSERT INTO products VALUES (1, 'shoes', 50, 1, '{new,red}', 'ABCDE'), (2, 'hats', 20, 1, NULL, NULL), (3, 'shoes', 70, 1, NULL, NULL);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.attach_events('lines', event => 'bought', contact => 'customer_id', occurred_at => 'at', lookup => '{"product": {"table": "products", "on": "product_id = id"}, "gift": {"table": "products", "on": "gift_id = id"}}');
INSERT INTO lines VALUES (1, 1, 1, NULL, 2, '2025-12-20'), (2, 2, 2, 3, 1, '2025-12-20'), (3, 3, 3, 2, 1, '2025-12-20'), (4, 4, 9, NULL, 1, '2025-12-20');

SELECT marketing.define_score_model('buyers');
SELECT marketing.define_score_rule('buyers', 'shoes', 'bought', 10, condition => 'product.category = ''shoes''');
SELECT marketing.define_score_rule('buyers', 'spent', 'bought', 'product.price * qty', condition => 'product.price > 20 and (gift.price is null or gift.price > 20)');
SELECT marketing.define_score_rule('buyers', 'gift', 'bought', 'gift.price');
SELECT marketing.define_score_rule('buyers', 'gift', 'bought', 'gift.price');
SELECT marketing.define_score_rule('buyers', 'x', 'bought', 'gift.category');
SELECT marketing.define_score_rule('buyers', 'x', 'bought', 'gift.pric');
SELECT marketing.define_score_rule('buyers', 'x', 'bought', 'gif.price');
SELECT marketing.define_score_rule('buyers', 'x', 'bought', 1, condition => 'exists (select from products)');
SELECT marketing.define_score_rule('buyers', 'x', 'bought', 1, condition => 'contact.credit > 3');
SELECT rule_name, condition, points, columns FROM (SELECT name AS rule_name, * FROM marketing_internal.score_rule) AS r ORDER BY 1;
SELECT i, marketing.score(i, 'buyers') FROM generate_series(1, 4) AS i;
SELECT * FROM marketing.explain_score(2, 'buyers');
BEGIN;
UPDATE products SET category = 'shoes', price = 30 WHERE id = 2;
SELECT i, marketing.score(i, 'buyers') FROM generate_series(1, 4) AS i;
SELECT count(*) FROM marketing_internal.dirty;
COMMIT;
SELECT count(*) FROM marketing_internal.dirty;
SELECT i, marketing.score(i, 'buyers') FROM generate_series(1, 4) AS i;
CALL marketing.work();
SELECT count(*) FROM marketing_internal.dirty;
SELECT contact_id, value FROM marketing_internal.score ORDER BY 1;
ALTER TABLE products RENAME TO goods;
CALL marketing.work();
INSERT INTO lines VALUES (10, 4, 1, 1, 1, '2025-12-20');
SELECT contact_id, value FROM marketing_internal.score ORDER BY 1;
SELECT count(*) FROM marketing_internal.dirty;
ALTER TABLE goods RENAME TO products;

-- journeys
SELECT marketing.define_journey('shoes', '{"entry": {"event": "bought", "where": "product.category = ''shoes'' and gift.price is null and ''red'' = any (product.tags) and product.code = ''ABCDE'' and code = ''fghij'' and contact.code = ''abcde''"}, "reentry": "always",
  "exit_on": [{"event": "bought", "where": "product.category = entry.code and gift.code = product.code"}], "steps": [{"wait": "1 day"}]}');
SELECT marketing.activate_journey('shoes');
INSERT INTO lines VALUES (20, 5, 1, NULL, 1, '2026-01-01', 'fghij'), (21, 6, 2, NULL, 1, '2026-01-01', 'fghij'), (22, 7, 99, NULL, 1, '2026-01-01', 'fghij'), (23, 8, NULL, NULL, 1, '2026-01-01', 'fghij');
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment;
UPDATE products SET category = 'fghij' WHERE id = 1;
INSERT INTO lines VALUES (30, 5, 1, 1, 1, '2026-01-01', 'fghij');
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment;
SELECT * FROM marketing.errors;
SELECT marketing.define_journey('bad', '{"entry": {"event": "bought", "where": "product.categry = ''shoes''"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"event": "bought", "where": "prodct.category = ''shoes''"}, "steps": [{"wait": "1 day"}]}');

-- A rule of a journey has them as a segment does.
SELECT marketing.define_journey('hats', '{"entry": {"event": "bought"}, "reentry": "always", "filter": "any bought where (product.category = entry.code)", "steps": [{"wait": "1 day"}]}');
SELECT marketing.activate_journey('hats');
INSERT INTO lines VALUES (40, 9, 1, 1, 1, '2026-01-01', 'fghij'), (41, 1, 2, 2, 1, '2026-01-01', 'fghij');
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment ORDER BY 1;

-- Who defines it must be allowed to read what it is about, the lookup's table too.
CREATE ROLE regress_lookup_author;
GRANT USAGE ON SCHEMA marketing TO regress_lookup_author;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_lookup_author;
SET ROLE regress_lookup_author;
\set journey 'SELECT marketing.define_journey(\'theirs\', \'{"entry": {"event": "bought", "where": "qty > 1 and product.price > 3"}, "steps": [{"wait": "1 day"}]}\');'
:journey
RESET ROLE;
GRANT SELECT ON lines TO regress_lookup_author;
SET ROLE regress_lookup_author;
:journey
SELECT marketing.define_score_rule('buyers', 'theirs', 'bought', 'product.price');
RESET ROLE;
GRANT SELECT (id, price) ON products TO regress_lookup_author;
SET ROLE regress_lookup_author;
:journey
SELECT marketing.define_score_rule('buyers', 'theirs', 'bought', 'product.price');
RESET ROLE;

-- Of an event that stands in several tables a row does not say which it is of.
CREATE TABLE sales (id bigint PRIMARY KEY, customer_id bigint, product_id int, kind text, at timestamptz);
CREATE TABLE returns (LIKE sales INCLUDING ALL);
SELECT marketing.attach_events(t, event_column => 'kind', contact => 'customer_id', occurred_at => 'at', lookup => l::jsonb)
	FROM (VALUES ('sales'::regclass, '{"product": {"table": "products", "on": "product_id = id"}}'), ('returns', '{}')) AS v (t, l);
SELECT marketing.declare_event('moved');
INSERT INTO sales VALUES (1, 1, 3, 'moved', '2026-01-01');
SELECT marketing.define_journey('bad', '{"entry": {"event": "moved", "where": "product.category = ''shoes''"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_score_rule('buyers', 'moved', 'moved', 'product.price');
SELECT marketing.score(1, 'buyers') - 110 AS more;

-- What scores read is watched: a column that no rule reads is nothing to them.
CALL marketing.work();
UPDATE products SET stock = 99;
SELECT count(*) AS waiting FROM marketing_internal.dirty;
-- A lookup that is no longer there gives no points.
SELECT marketing.drop_score_rule('buyers', 'moved');
SELECT marketing.detach('sales');
SELECT marketing.detach('returns');
DROP EXTENSION marketing_automation;
DROP TABLE lines, products, customers, sales, returns;
DROP ROLE regress_lookup_author;
