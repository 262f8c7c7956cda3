\set a random(1, 30)
\set b random(1, 30)
UPDATE orders SET customer_id = :b WHERE id IN (SELECT id FROM orders WHERE customer_id = :a ORDER BY random() LIMIT 2 FOR UPDATE SKIP LOCKED);
