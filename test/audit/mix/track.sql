\set a random(1, 40)
\set b random(1, 40)
\set k random(0, 50)
DO $$ BEGIN
	PERFORM marketing.track(:a, 'logged_in', '{"n": :k}', clock_timestamp() + (:k - 25) * interval '50 ms', 'k:k');
	PERFORM marketing.track('web:v' || :b, 'logged_in');
EXCEPTION WHEN SQLSTATE 'MA001' THEN NULL;
END $$;
