\set a random(1, 40)
\set b random(1, 20)
BEGIN;
INSERT INTO clicks (subscriber_id, clicked_at) VALUES (:b, clock_timestamp());
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:a, 'new', clock_timestamp(), 5);
UPDATE clicks SET clicked_at = CASE WHEN clicked_at IS NULL THEN clock_timestamp() END
WHERE id IN (SELECT id FROM clicks WHERE subscriber_id = :b ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);
COMMIT;
