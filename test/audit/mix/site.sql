\set a random(1, 40)
\set s random(1, 2)
\set b random(1, 40)
UPDATE page_views SET site = :s, customer_id = :b WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM page_views WHERE customer_id = :a AND site < 3 LIMIT 1 FOR UPDATE SKIP LOCKED);
