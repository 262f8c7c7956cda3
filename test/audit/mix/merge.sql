\set a random(1, 30)
\set b random(1, 40)
\set kind random(0, 2)
DO $$ BEGIN
	PERFORM marketing.merge_contacts(:a, CASE :kind WHEN 0 THEN ':b' WHEN 1 THEN 'subscribers:' || :b ELSE 'web:v' || :b END);
EXCEPTION WHEN invalid_parameter_value OR SQLSTATE 'MA001' OR SQLSTATE 'MA002' THEN NULL;
END $$;
