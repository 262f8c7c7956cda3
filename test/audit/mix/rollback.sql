\set a random(1, 40)
\set b random(1, 40)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 5);
SELECT marketing.flush();
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:b, 'new', clock_timestamp(), 5);
ROLLBACK;
