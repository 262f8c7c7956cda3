\set a random(1, 40)
\set n random(1, 4)
DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE customer_id = :a ORDER BY random() LIMIT :n FOR UPDATE SKIP LOCKED);
