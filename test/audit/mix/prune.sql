\set a random(1, 40)
DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE customer_id = :a ORDER BY id DESC OFFSET 30 LIMIT 40 FOR UPDATE SKIP LOCKED);
DELETE FROM page_views WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM page_views WHERE customer_id = :a ORDER BY viewed_at DESC OFFSET 30 LIMIT 40 FOR UPDATE SKIP LOCKED);
DELETE FROM clicks WHERE id IN (SELECT id FROM clicks WHERE subscriber_id = :a ORDER BY id DESC OFFSET 20 LIMIT 40 FOR UPDATE SKIP LOCKED);
