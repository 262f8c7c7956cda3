\set a random(1, 40)
\set k random(-8, 4)
BEGIN;
UPDATE orders SET created_at = CASE WHEN id % 5 = 0 THEN NULL ELSE clock_timestamp() + :k * interval '250 ms' END,
	shipped_at = CASE WHEN id % 2 = 0 THEN clock_timestamp() - :k * interval '250 ms' END
WHERE id IN (SELECT id FROM orders WHERE customer_id = :a ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED);
COMMIT;
