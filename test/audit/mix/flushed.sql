\set a random(1, 40)
\set b random(1, 40)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 1);
SAVEPOINT one;
UPDATE orders SET total = total + 1 WHERE id = (SELECT id FROM orders WHERE customer_id = :b ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
SELECT marketing.flush();
RELEASE one;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:b, 'new', clock_timestamp(), 2);
COMMIT;
