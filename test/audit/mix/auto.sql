\set c random(1, 40)
\set k random(0, 9)
INSERT INTO orders (customer_id, status, created_at, shipped_at, total) VALUES (:c, CASE WHEN :k < 2 THEN 'cancelled' ELSE 'new' END,
	clock_timestamp() + (:k - 5) * interval '300 ms', CASE WHEN :k % 3 = 0 THEN clock_timestamp() END, :k);
