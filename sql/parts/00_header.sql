-- 00_header: guard, search path of the script, the schemas.
\echo Use "CREATE EXTENSION marketing_automation" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- Both schemas are made here, so that they belong to the extension and go with it.  One that was
-- here before is not used: its owner could replace what we put into it.
DO $$
DECLARE
	schema text;
BEGIN
	SELECT n.nspname INTO schema FROM pg_catalog.pg_namespace AS n
	WHERE n.nspname OPERATOR(pg_catalog.=) ANY ('{marketing,marketing_internal}')
	ORDER BY n.nspname LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'schema "%" exists already', schema
			USING ERRCODE = 'duplicate_schema',
			DETAIL = 'The extension makes its schemas itself.',
			HINT = 'Rename that schema, or drop it.';
	END IF;
END
$$;

CREATE SCHEMA marketing;

COMMENT ON SCHEMA marketing IS
	'Functions and views of marketing_automation.';

CREATE SCHEMA marketing_internal;

COMMENT ON SCHEMA marketing_internal IS
	'Tables of marketing_automation; use the functions and views of schema marketing.';
