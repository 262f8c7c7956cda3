-- Each query gives one line for each violation; no line means all is well. The table "allowed"
-- holds the allow lists of this folder.

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid, d.objsubid
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'marketing_automation' AND d.deptype = 'e';

CREATE TEMP VIEW our_schema AS
SELECT oid, nspname FROM pg_namespace
WHERE nspname IN ('marketing', 'marketing_internal', 'marketing_rule');

CREATE TEMP VIEW our_function AS
SELECT p.*, n.nspname, p.oid::regprocedure::text AS signature
FROM member m
JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
JOIN pg_namespace n ON n.oid = p.pronamespace;

CREATE TEMP VIEW our_relation AS
SELECT c.*, n.nspname, n.nspname || '.' || c.relname AS name
FROM member m
JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
JOIN pg_namespace n ON n.oid = c.relnamespace;

CREATE TEMP VIEW per_contact_table AS
SELECT c.oid, c.oid::regclass::text AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'marketing_internal'
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'contact_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p');

-- Per-contact tables are large and may be distributed: no foreign key from them, none to them.
SELECT format('%s: foreign key %s from a per-contact table', t.name, f.conname)
FROM pg_constraint f JOIN per_contact_table t ON t.oid = f.conrelid
WHERE f.contype = 'f';

SELECT format('%s: foreign key %s to the per-contact table %s', f.conrelid::regclass, f.conname, t.name)
FROM pg_constraint f JOIN per_contact_table t ON t.oid = f.confrelid
WHERE f.contype = 'f';

-- Nothing is deferred to the commit, which is where the flush runs.
SELECT format('%s: constraint %s is deferrable', f.conrelid::regclass, f.conname)
FROM pg_constraint f JOIN our_schema s ON s.oid = f.connamespace
WHERE f.condeferrable;

SELECT format('%s: trigger %s is deferrable', t.tgrelid::regclass, t.tgname)
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN our_schema s ON s.oid = c.relnamespace
WHERE t.tgdeferrable AND t.tgconstraint = 0;

-- Every object has a comment, but for the sequences that belong to a column and for indexes.
SELECT format('%s has no COMMENT', pg_describe_object(m.classid, m.objid, m.objsubid))
FROM member m
WHERE obj_description(m.objid, m.classid::regclass::name) IS NULL
	AND NOT (m.classid = 'pg_class'::regclass AND EXISTS (
		SELECT FROM pg_class c WHERE c.oid = m.objid AND (
			c.relkind IN ('i', 'I', 'c')
			OR (c.relkind = 'S' AND EXISTS (
				SELECT FROM pg_depend o
				WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid
					AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0
					AND o.deptype IN ('a', 'i'))))))
ORDER BY 1;

SELECT format('schema %s has no COMMENT', s.nspname)
FROM our_schema s
WHERE obj_description(s.oid, 'pg_namespace') IS NULL
	AND s.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_namespace'::regclass);

-- Rows of every table and the state of every sequence go through pg_dump.
SELECT format('%s %s is not dumped: call pg_extension_config_dump()',
	CASE r.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, r.name)
FROM our_relation r
WHERE r.relkind IN ('r', 'p', 'S')
	AND NOT EXISTS (
		SELECT FROM pg_extension e
		WHERE e.extname = 'marketing_automation' AND r.oid = ANY (e.extconfig))
	AND r.name NOT IN (SELECT name FROM allowed WHERE list = 'not_dumped')
ORDER BY 1;

-- A partition made by the install script would lose its rows in a dump.
SELECT format('table %s: the install script makes no partitions', r.name)
FROM our_relation r WHERE r.relispartition;

-- Functions.
SELECT format('function %s is PARALLEL SAFE but not in allow_parallel_safe.txt', f.signature)
FROM our_function f
WHERE f.nspname = 'marketing' AND f.proparallel = 's'
	AND f.nspname || '.' || f.proname NOT IN (SELECT name FROM allowed WHERE list = 'parallel_safe')
ORDER BY 1;

SELECT format('function %s is SECURITY DEFINER', f.signature)
FROM our_function f WHERE f.prosecdef ORDER BY 1;

SELECT format('function %s: PUBLIC may execute it, but it is not in allow_public_execute.txt', f.signature)
FROM our_function f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
	AND f.nspname || '.' || f.proname NOT IN (SELECT name FROM allowed WHERE list = 'public_execute')
ORDER BY 1;

SELECT format('function %s (%s) has neither SET search_path nor a standard SQL body', f.signature, l.lanname)
FROM our_function f JOIN pg_language l ON l.oid = f.prolang
WHERE l.lanname NOT IN ('c', 'internal')
	AND f.prokind <> 'a'
	AND f.prosqlbody IS NULL
	AND NOT EXISTS (SELECT FROM unnest(f.proconfig) c WHERE c LIKE 'search_path=%')
ORDER BY 1;

-- Argument names work unquoted in name => value. Key words of all classes but the unreserved are
-- left out: param_name in PostgreSQL's grammar takes no column-name key word either.
SELECT format('function %s: argument name %I needs quoting in calls by name', f.signature, a.name)
FROM our_function f
CROSS JOIN LATERAL unnest(f.proargnames, f.proargmodes) AS a(name, mode)
WHERE coalesce(a.mode, 'i') IN ('i', 'b', 'v') AND a.name <> ''
	AND (quote_ident(a.name) <> a.name
		OR a.name IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T', 'C')))
ORDER BY 1;
