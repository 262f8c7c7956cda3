\set a random(1, 40)
DO $$ BEGIN FOR i IN 0..4 LOOP
	INSERT INTO orders (customer_id, status, created_at, total) VALUES ((:a + i * 7) % 40 + 1, 'new', clock_timestamp(), i);
	DELETE FROM orders WHERE id = (SELECT id FROM orders WHERE customer_id = :a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
	IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
END LOOP; END $$;
