-- 00_header: guard, search path of the script, the schema of the tables.
\echo Use "CREATE EXTENSION marketing_automation" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- A schema that was here before is used only if the installing role owns it:
-- its owner could otherwise replace what we put into it.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
			   JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
			   WHERE n.nspname OPERATOR(pg_catalog.=) 'marketing'
			   AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER) THEN
		RAISE EXCEPTION 'schema "marketing" belongs to another role'
			USING ERRCODE = 'duplicate_schema',
			HINT = 'Rename that schema, or give it to the role that creates the extension.';
	END IF;
END
$$;

CREATE SCHEMA marketing_internal;

COMMENT ON SCHEMA marketing_internal IS
	'Tables of marketing_automation; use the functions and views of schema marketing.';
