\set a random(1, 40)
\set b random(1, 40)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM orders WHERE customer_id = :a;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 3);
UPDATE orders SET total = total + 1, status = CASE WHEN id % 3 = 0 THEN 'cancelled' ELSE 'paid' END
WHERE id IN (SELECT id FROM orders WHERE customer_id = :b ORDER BY id DESC LIMIT 2 FOR UPDATE SKIP LOCKED);
INSERT INTO page_views (customer_id, site, viewed_at) VALUES (:b, 2, timezone('Europe/Istanbul', clock_timestamp()));
COMMIT;
