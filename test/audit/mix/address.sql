\set n random(1, 40)
\set m random(1, 60)
UPDATE customers SET email = CASE WHEN :m % 7 = 0 THEN NULL ELSE 'C:m@example.com ' END, tz = CASE WHEN :m % 3 = 0 THEN 'UTC' ELSE 'Asia/Tokyo' END
WHERE id = (SELECT id FROM customers WHERE id = :n FOR UPDATE SKIP LOCKED);
