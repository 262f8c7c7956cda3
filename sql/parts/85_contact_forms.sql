-- 85_contact_forms.sql: whoever takes a contact takes it by bigint and by uuid as well.
--
-- The argument contact is written as text in the parts before: a key of a source, or
-- source:key. People pass the ids of their tables, which are mostly bigint or uuid; without a
-- form for each they had to write a cast every time. All three are one C function, and are
-- told by one comment, so the two others are made from the first here. Not where the contact
-- can be left out (a call without it would fit all three), nor where a part has its own forms.
DO $$
DECLARE
	f record;
	form text;
	arguments text;
BEGIN
	FOR f IN
		SELECT p.oid, p.proname, p.proargtypes, pg_catalog.pg_get_functiondef(p.oid) AS definition,
			pg_catalog.obj_description(p.oid, 'pg_proc') AS description
		FROM pg_catalog.pg_proc AS p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'marketing'::pg_catalog.regnamespace
			AND p.proargnames[1] OPERATOR(pg_catalog.=) 'contact'
			AND p.proargtypes[0] OPERATOR(pg_catalog.=) 'pg_catalog.text'::pg_catalog.regtype
			AND p.pronargdefaults OPERATOR(pg_catalog.<) p.pronargs
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS other
				WHERE other.pronamespace OPERATOR(pg_catalog.=) p.pronamespace
					AND other.proname OPERATOR(pg_catalog.=) p.proname
					AND other.oid OPERATOR(pg_catalog.<>) p.oid)
	LOOP
		FOREACH form IN ARRAY '{bigint,uuid}'::pg_catalog.text[] LOOP
			EXECUTE pg_catalog.replace(f.definition, '(contact text', '(contact ' OPERATOR(pg_catalog.||) form);
			SELECT pg_catalog.string_agg(CASE n WHEN 1 THEN form ELSE pg_catalog.format_type(t, NULL) END, ', ' ORDER BY n)
				INTO arguments
				FROM pg_catalog.unnest(f.proargtypes) WITH ORDINALITY AS a (t, n);
			EXECUTE pg_catalog.format('COMMENT ON FUNCTION marketing.%I(%s) IS %L', f.proname, arguments, f.description);
		END LOOP;
	END LOOP;
END $$;
