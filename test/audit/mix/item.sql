\set a random(1, 30)
\set k random(0, 3)
BEGIN;
INSERT INTO order_items (order_id, added_at, pieces) SELECT id, clock_timestamp() - :k * interval '1 s', :k
FROM (SELECT id FROM orders WHERE customer_id = :a ORDER BY random() LIMIT 1 FOR KEY SHARE SKIP LOCKED) AS o;
UPDATE order_items SET pieces = 2 - pieces WHERE pieces <= 2 AND id IN (SELECT i.id FROM order_items AS i JOIN orders AS o ON o.id = i.order_id
	WHERE o.customer_id = :a ORDER BY random() LIMIT 1 FOR UPDATE OF i SKIP LOCKED);
END;
