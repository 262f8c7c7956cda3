\set n random(31, 40)
UPDATE customers SET blocked = NOT blocked WHERE id = (SELECT id FROM customers WHERE id = :n FOR UPDATE SKIP LOCKED);
