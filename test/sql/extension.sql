-- CREATE and DROP EXTENSION: what belongs to it, what stays behind, schemas of our names that are there.
CREATE ROLE regress_extension_owner SUPERUSER;
CREATE ROLE regress_extension_reader;
\set SHOW_CONTEXT never

-- a schema that was there before is not used, whoever owns it
CREATE SCHEMA marketing AUTHORIZATION regress_extension_reader;
CREATE EXTENSION marketing_automation;
ALTER SCHEMA marketing OWNER TO CURRENT_USER;
CREATE EXTENSION marketing_automation;
ALTER SCHEMA marketing RENAME TO marketing_internal;
CREATE EXTENSION marketing_automation;
DROP SCHEMA marketing_internal;
CREATE EXTENSION marketing_automation SCHEMA public;

-- both schemas are members, have a comment, and go with the extension
CREATE EXTENSION marketing_automation;
SELECT n.nspname, obj_description(n.oid, 'pg_namespace') AS comment, d.deptype
FROM pg_namespace AS n
LEFT JOIN pg_depend AS d ON d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.refclassid = 'pg_extension'::regclass
WHERE n.nspname LIKE 'marketing%' ORDER BY 1;
DROP SCHEMA marketing CASCADE;
DROP EXTENSION marketing_automation;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'marketing%';

-- so that another role can install it anew
SET ROLE regress_extension_owner;
CREATE EXTENSION marketing_automation;
RESET ROLE;

-- views need the right on the view and nothing else
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'one@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
INSERT INTO marketing_internal.dirty (xid, contact_id, retry_at, error_state, error)
	SELECT pg_current_xact_id(), contact_id, 'infinity', 'XX000', 'made up' FROM marketing_internal.contact;
GRANT USAGE ON SCHEMA marketing TO regress_extension_reader;
GRANT SELECT ON marketing.status, marketing.errors, marketing.contacts TO regress_extension_reader;
SET ROLE regress_extension_reader;
SELECT item, state, value FROM marketing.status WHERE item IN ('delivery', 'dirty log', 'table public.customers') ORDER BY item;
SELECT what, sqlstate, message, object FROM marketing.errors;
SELECT contact, email FROM marketing.contacts;
-- by name they are out of reach
SELECT * FROM marketing_internal.worker_status();
SELECT * FROM marketing_internal.capture_status();
SELECT marketing_internal.contact_text(1);
SELECT marketing.flush();
RESET ROLE;
SELECT p.oid::regprocedure AS function FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
WHERE p.pronamespace IN ('marketing'::regnamespace, 'marketing_internal'::regnamespace) AND a.grantee = 0 ORDER BY p.oid::regprocedure::text COLLATE "C";
DROP EXTENSION marketing_automation;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'marketing%';
DROP OWNED BY regress_extension_owner, regress_extension_reader;
DROP ROLE regress_extension_owner, regress_extension_reader;
