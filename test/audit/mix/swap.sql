DO $$
DECLARE o int[];
BEGIN
	o := ARRAY(SELECT id FROM customers WHERE id > 1000 ORDER BY random() LIMIT 2 FOR UPDATE SKIP LOCKED);
	IF cardinality(o) = 2 THEN
		UPDATE customers SET id = -o[1] WHERE id = o[1];
		UPDATE customers SET id = o[1] WHERE id = o[2];
		UPDATE customers SET id = o[2] WHERE id = -o[1];
		INSERT INTO orders (customer_id, status, created_at, total) VALUES (o[1], 'new', clock_timestamp(), 5);
	END IF;
END $$;
