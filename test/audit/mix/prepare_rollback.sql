\set a random(1, 40)
\set g random(1, 1000000000)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 3);
DELETE FROM orders WHERE id = (SELECT id FROM orders WHERE customer_id = :a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
PREPARE TRANSACTION 'audit_:client_id:g';
-- How long the coordinator takes; nothing is asserted of it.
\sleep 5 ms
ROLLBACK PREPARED 'audit_:client_id:g';
