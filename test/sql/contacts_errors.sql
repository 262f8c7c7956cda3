-- attach_contacts(): every refusal, with its SQLSTATE, and users without rights.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, email text, tz text, n int, optin boolean, at timestamptz, doc json, opt int);

-- the table
SELECT marketing.attach_contacts(NULL, id => 'id');
SELECT marketing.attach_contacts('customers', id => NULL);
SELECT marketing.attach_contacts(1::regclass, id => 'id');
CREATE VIEW v AS SELECT * FROM customers;
SELECT marketing.attach_contacts('v', id => 'id');
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
SELECT marketing.attach_contacts('temporary', id => 'id');
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
SELECT marketing.attach_contacts('unlogged', id => 'id');
SELECT marketing.attach_contacts('pg_class', id => 'oid');
SELECT marketing.attach_contacts('marketing_internal.contact', id => 'contact_id');
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
SELECT marketing.attach_contacts('part_1', id => 'id');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (parent);
SELECT marketing.attach_contacts('parent', id => 'id');
CREATE TABLE forced (id int PRIMARY KEY);
ALTER TABLE forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT marketing.attach_contacts('forced', id => 'id');

-- the id
SELECT marketing.attach_contacts('customers', id => 'idd');
SELECT marketing.attach_contacts('customers', id => 'ID');
SELECT marketing.attach_contacts('customers', id => 'email');
SELECT marketing.attach_contacts('customers', id => 'doc');
SELECT marketing.attach_contacts('customers', id => 'ctid');
CREATE TABLE keys (a int NOT NULL, b int NOT NULL, c int UNIQUE, d int NOT NULL, e int NOT NULL UNIQUE DEFERRABLE, f int NOT NULL, g int NOT NULL, PRIMARY KEY (a, b));
CREATE UNIQUE INDEX ON keys (d) WHERE d > 0;
CREATE UNIQUE INDEX ON keys ((f + 0));
CREATE INDEX ON keys (g);
SELECT marketing.attach_contacts('keys', id => 'a');
SELECT marketing.attach_contacts('keys', id => 'b');
SELECT marketing.attach_contacts('keys', id => 'c');
SELECT marketing.attach_contacts('keys', id => 'd');
SELECT marketing.attach_contacts('keys', id => 'e');
SELECT marketing.attach_contacts('keys', id => 'f');
SELECT marketing.attach_contacts('keys', id => 'g');

-- the other columns
SELECT marketing.attach_contacts('customers', id => 'id', email => 'emial');
SELECT marketing.attach_contacts('customers', id => 'id', phone => 'n');
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'at');
SELECT marketing.attach_contacts('customers', id => 'id', locale => 'nothing_like_it');
SELECT marketing.attach_contacts('customers', id => 'id', consent => '[]');
SELECT marketing.attach_contacts('customers', id => 'id', consent => '{"offers": "optin"}');
SELECT marketing.attach_contacts('customers', id => 'id', consent => '{"offers/email": true}');
SELECT marketing.attach_contacts('customers', id => 'id', consent => '{"offers/email": "otpin"}');
SELECT marketing.attach_contacts('customers', id => 'id', consent => '{"offers/email": "n"}');
SELECT marketing.attach_contacts('customers', id => 'id', match => 'email');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', match => 'phone');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', match => 'name');
SELECT marketing.attach_contacts('customers', id => 'id', source => 'a:b');
SELECT marketing.attach_contacts('customers', id => 'id', source => '');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'optin and');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'n');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'true) OR (true');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'at < now()');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'random() < 0.5');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'EXISTS (SELECT FROM pg_class)');
CREATE FUNCTION own(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'own(n)');

-- names and the id once attached
SELECT marketing.attach_contacts('customers', id => 'id');
CREATE SCHEMA other;
CREATE TABLE other.customers (id int PRIMARY KEY, id2 int NOT NULL UNIQUE);
SELECT marketing.attach_contacts('other.customers', id => 'id');
SELECT marketing.identify('web:1');
SELECT marketing.attach_contacts('other.customers', id => 'id', source => 'web');
SELECT marketing.attach_contacts('other.customers', id => 'id', source => 'other');
SELECT marketing.attach_contacts('other.customers', id => 'id2', source => 'other');
CREATE TABLE taken (id int PRIMARY KEY);
CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER marketing_capture AFTER INSERT ON taken EXECUTE FUNCTION taken();
SELECT marketing.attach_contacts('taken', id => 'id');

-- the codes
\set VERBOSITY sqlstate
SELECT marketing.attach_contacts('v', id => 'id');
SELECT marketing.attach_contacts('keys', id => 'a');
SELECT marketing.attach_contacts('customers', id => 'idd');
SELECT marketing.attach_contacts('customers', id => 'id', phone => 'n');
SELECT marketing.attach_contacts('customers', id => 'id', match => 'email');
SELECT marketing.attach_contacts('customers', id => 'id', exclude => 'random() < 0.5');
SELECT marketing.attach_contacts('taken', id => 'id', source => 'customers');
SELECT marketing.attach_contacts('other.customers', id => 'id2', source => 'other');
\set VERBOSITY default

-- rights: nobody may call anything at first; then only owners attach, and only their own tables
CREATE ROLE regress_contacts_shop;
CREATE ROLE regress_contacts_app;
CREATE SCHEMA shop AUTHORIZATION regress_contacts_shop;
SET ROLE regress_contacts_shop;
CREATE TABLE shop.clients (id int PRIMARY KEY, email text, n int);
INSERT INTO shop.clients VALUES (1, 'a@example.com', 1), (2, 'b@example.com', -1);
GRANT USAGE ON SCHEMA shop TO regress_contacts_app;
GRANT ALL ON shop.clients TO regress_contacts_app;
SELECT marketing.attach_contacts('shop.clients', id => 'id');
RESET ROLE;
GRANT USAGE ON SCHEMA marketing TO regress_contacts_shop, regress_contacts_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_contacts_shop, regress_contacts_app;
SET ROLE regress_contacts_app;
SELECT marketing.attach_contacts('shop.clients', id => 'id');
SET ROLE regress_contacts_shop;
SELECT marketing.attach_contacts('customers', id => 'id');
-- the owner's expression runs as the owner, with nothing of ours
SELECT marketing.attach_contacts('shop.clients', id => 'id', email => 'email', exclude => 'public.own(n)');
SELECT * FROM marketing_internal.contact;
SELECT * FROM marketing.contacts;
-- an application writes, and has no right on anything of ours
SET ROLE regress_contacts_app;
INSERT INTO shop.clients VALUES (3, 'c@example.com', -1);
UPDATE shop.clients SET email = 'd@example.com' WHERE id = 2;
RESET ROLE;
GRANT SELECT ON marketing.contacts TO regress_contacts_shop;
SET ROLE regress_contacts_shop;
SELECT contact, email FROM marketing.contacts WHERE contact ~ 'clients' ORDER BY 1;
SELECT marketing.identify('clients:3', '{"x": 1}');
-- an expression cannot step outside
CREATE FUNCTION shop.steal(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'CREATE TABLE shop.stolen ()';
	RETURN false;
END $$;
SELECT marketing.attach_contacts('shop.clients', id => 'id', email => 'email', exclude => 'shop.steal(n)');
CREATE OR REPLACE FUNCTION shop.steal(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'RESET ROLE';
	RETURN false;
END $$;
SELECT marketing.attach_contacts('shop.clients', id => 'id', email => 'email', exclude => 'shop.steal(n)');
-- row level security that is not forced does not hide rows from the reading
ALTER TABLE shop.clients ENABLE ROW LEVEL SECURITY;
SELECT marketing.attach_contacts('shop.clients', id => 'id', email => 'email');
-- a partition of another owner
CREATE TABLE shop.split (id int PRIMARY KEY) PARTITION BY LIST (id);
RESET ROLE;
CREATE TABLE shop.split_1 PARTITION OF shop.split FOR VALUES IN (1);
SET ROLE regress_contacts_shop;
SELECT marketing.attach_contacts('shop.split', id => 'id');
RESET ROLE;

-- read-only
BEGIN TRANSACTION READ ONLY;
SELECT marketing.attach_contacts('other.customers', id => 'id', source => 'more');
ROLLBACK;
DROP EXTENSION marketing_automation;
DROP OWNED BY regress_contacts_shop, regress_contacts_app;
DROP ROLE regress_contacts_shop, regress_contacts_app;
