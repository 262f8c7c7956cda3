-- 95_config_dump: every table and sequence goes through pg_dump (a lint compares), but for
-- authority: a restored database is disarmed, also one restored in place (06_authority); and
-- recipes, which CREATE EXTENSION writes (64_recipes).
--
-- None of them has a foreign key: pg_restore with several jobs loads the tables of an extension in any
-- order, with their constraints in place.

DO $$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace OPERATOR(pg_catalog.=) 'marketing_internal'::pg_catalog.regnamespace
		AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,S}'::pg_catalog."char"[])
		AND c.relname OPERATOR(pg_catalog.<>) ALL ('{authority,recipe,recipe_parameter,recipe_parameter_place_seq}')
		ORDER BY c.oid
	LOOP
		PERFORM pg_catalog.pg_extension_config_dump(relation, '');
	END LOOP;
END
$$;
