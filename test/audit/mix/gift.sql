\set a random(1, 40)
\set b random(1, 40)
\set c random(1, 40)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total, gift_for) VALUES (:a, 'new', clock_timestamp(), 5, :b);
INSERT INTO orders (customer_id, status, created_at, total, gift_for) VALUES (:c, 'new', clock_timestamp(), 5, :a);
COMMIT;
