\set n random(1001, 1060)
\set with random(0, 1)
DO $$
DECLARE o int;
BEGIN
	SELECT id INTO o FROM customers WHERE id > 1000 ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
	UPDATE customers SET id = :n WHERE id = o;
	IF :with = 1 THEN
		UPDATE orders SET customer_id = :n WHERE id IN (SELECT id FROM orders WHERE customer_id = o FOR UPDATE SKIP LOCKED);
	END IF;
EXCEPTION WHEN unique_violation THEN NULL;
END $$;
