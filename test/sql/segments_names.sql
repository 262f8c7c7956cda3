-- Tables and columns of the user may bear the names that our own statements use.
CREATE EXTENSION marketing_automation;
SET timezone = 'UTC';
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE SCHEMA old;
CREATE TABLE c (id int PRIMARY KEY, email text, k text, n int, contact_id int, key text, at timestamptz);
CREATE TABLE k1 (id int PRIMARY KEY, email text, n int, value int);
CREATE TABLE old.c (id int PRIMARY KEY, email text, city text);
CREATE TABLE q (a1 int PRIMARY KEY, k int, e timestamptz, r int, contact int, value int);
INSERT INTO c SELECT g, g || '@example.com', CASE WHEN g % 2 = 0 THEN 'even' ELSE 'odd' END, g, 10 - g, 'key' || g, '2026-02-10' FROM generate_series(1, 6) AS g;
INSERT INTO k1 SELECT 10 + g, g || '@example.com', g, 10 * g FROM generate_series(1, 6) AS g;
INSERT INTO old.c SELECT 20 + g, g || '@example.com', 'Rome' FROM generate_series(1, 3) AS g;
INSERT INTO q SELECT g, 1 + g % 4, timestamptz '2026-02-01' + g * interval '1 day', g, g, g FROM generate_series(1, 9) AS g;
SELECT marketing.attach_contacts('c', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_contacts('k1', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_contacts('old.c', source => 'x9', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_events('q', event => 'r', contact => 'k', contact_source => 'c', occurred_at => 'e');
SELECT marketing.define_segment(name, rule) FROM (VALUES
	('c', $$ c.k = 'even' $$),
	('k', $$ k1.value > 20 AND n IS NOT NULL $$),
	('a1', $$ c.n + c.contact_id = 10 AND c.key LIKE 'key%' $$),
	('q', $$ sum(r.value where (contact > 1 AND e < '2026-02-09')) in 60 days > 3 OR any r where (a1 = contact.contact_id) $$),
	('at', $$ c.at more than 10 days ago AND count(r) >= 2 AND in segment k $$),
	('x', $$ x9.city = 'Rome' AND any r $$),
	('r', $$ first r more than 20 days ago OR max(r.a1) - min(r.a1) > 3 $$)) AS s (name, rule);
SELECT name, marketing.segment_size(name), (SELECT string_agg(contact, ',' ORDER BY contact) FROM marketing.segment_members(name)) AS members,
	(SELECT count(*) FROM marketing.verify_segment(name)) AS differences FROM marketing.segments ORDER BY name;
UPDATE c SET k = 'even', n = 0 WHERE id < 3;
UPDATE k1 SET value = 100;
INSERT INTO q SELECT g, 6, '2026-02-03', 1, 5, 5 FROM generate_series(10, 13) AS g;
SELECT name, marketing.segment_size(name), (SELECT string_agg(contact, ',' ORDER BY contact) FROM marketing.segment_members(name)) AS members,
	(SELECT count(*) FROM marketing.verify_segment(name)) AS differences FROM marketing.segments ORDER BY name;
-- Functions that only the definer's search path finds: kept with their schemas, however many.
CREATE ROLE segments_names_owner;
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO segments_names_owner;
ALTER TABLE c OWNER TO segments_names_owner;
CREATE FUNCTION app.good(n int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT n > 3';
CREATE FUNCTION app.nice(t text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT t <> 'key4' $$;
SET search_path = app, public;
SELECT marketing.define_segment('s', $$ good(c.n) AND nice(c.key) AND (good(c.n + 1) OR nice(c.key || 'x')) AND NOT good(c.n - 5) AND c.n BETWEEN 0 AND 100 $$);
RESET search_path;
SELECT rule FROM marketing.segments WHERE name = 's';
CALL marketing.work();
SELECT contact FROM marketing.segment_members('s') ORDER BY 1;
SELECT * FROM marketing.verify_segment('s');
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE c, k1, q;
DROP SCHEMA old, app CASCADE;
DROP ROLE segments_names_owner;

-- A table whose name is a word of ours is shown by it, and no other table is taken for it.
CREATE EXTENSION marketing_automation;
CREATE TABLE c (id bigint PRIMARY KEY, n int, only_c int);
CREATE TABLE c_table (id bigint PRIMARY KEY, n int);
INSERT INTO c SELECT i, i FROM generate_series(9001, 9003) AS i;
INSERT INTO c_table SELECT i, -i FROM generate_series(9001, 9003) AS i;
SELECT marketing.attach_contacts('c', id => 'id') IS NOT NULL;
SELECT marketing.define_segment('short', 'only_c is null and c.n > 9001') IS NOT NULL, marketing.segment_rule('short');
SELECT marketing.attach_contacts('c_table', id => 'id') IS NOT NULL;
SELECT marketing.define_segment('long', 'c_table.n < -9001 and not c.n > 0') IS NOT NULL, marketing.segment_rule('long');
SELECT contact FROM marketing.segment_members('short') ORDER BY 1;
SELECT contact FROM marketing.segment_members('long') ORDER BY 1;
SELECT count(*) FROM marketing.verify_segment('short') UNION ALL SELECT count(*) FROM marketing.verify_segment('long');
-- Names that stand for names that stand for names: few definitions would be millions of conditions.
SELECT count(marketing.define_segment('n' || i, CASE i WHEN 0 THEN 'c.n > 9001' ELSE format('in segment n%s and in segment n%s', i - 1, i - 1) END)) FROM generate_series(0, 7) AS i;
SELECT marketing.define_segment('n8', 'in segment n7 and in segment n7') IS NOT NULL;
SELECT marketing.define_segment('n9', 'in segment n8 and in segment n8');
SELECT marketing.segment_size('n8');
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE c, c_table;
