\set a random(1, 40)
\set b random(1, 40)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SET LOCAL marketing_automation.sync_serializable = on;
SELECT count(*) FROM clicks WHERE subscriber_id = :a / 2;
INSERT INTO orders (customer_id, status, created_at, total) VALUES (:b, 'new', clock_timestamp(), 3);
COMMIT;
