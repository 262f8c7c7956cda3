\set a random(1, 40)
\set kind random(0, 2)
DO $$ BEGIN
	PERFORM marketing.split_contact(CASE :kind WHEN 0 THEN ':a' WHEN 1 THEN 'subscribers:' || :a ELSE 'web:v' || :a END);
EXCEPTION WHEN invalid_parameter_value OR SQLSTATE 'MA001' OR SQLSTATE 'MA002' THEN NULL;
END $$;
