\set n random(1001, 1040)
\set m random(1, 60)
BEGIN;
DELETE FROM customers WHERE id = (SELECT id FROM customers WHERE id > 1000 ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:n, 'new', clock_timestamp(), 1);
COMMIT;
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:n, 'new', clock_timestamp(), 1);
INSERT INTO customers VALUES (:n, 'c:m@example.com', NULL, :m % 5 = 0) ON CONFLICT DO NOTHING;
COMMIT;
