\set a random(1, 40)
\set b random(1, 40)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM orders WHERE customer_id = :a;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:b, 'new', clock_timestamp(), 3);
COMMIT;
