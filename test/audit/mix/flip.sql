\set a random(1, 40)
UPDATE orders SET status = CASE status WHEN 'cancelled' THEN 'new' ELSE 'cancelled' END
WHERE id IN (SELECT id FROM orders WHERE customer_id = :a ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED);
