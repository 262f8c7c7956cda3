\set a random(1, 40)
\set b random(1, 40)
\set c random(1, 40)
\set d random(1, 40)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 1);
SAVEPOINT one;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:b, 'new', clock_timestamp(), 2);
UPDATE orders SET status = 'cancelled' WHERE id = (SELECT id FROM orders WHERE customer_id = :c ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED);
SELECT marketing.flush();
ROLLBACK TO one;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:c, 'new', clock_timestamp(), 3);
SAVEPOINT two;
INSERT INTO page_views (customer_id, site, viewed_at) VALUES (:d, 1, timezone('Europe/Istanbul', clock_timestamp()));
DELETE FROM orders WHERE id = (SELECT id FROM orders WHERE customer_id = :a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
ROLLBACK TO two;
SELECT marketing.flush();
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:d, 'new', clock_timestamp(), 4);
RELEASE one;
COMMIT;
