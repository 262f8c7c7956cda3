-- Score rules follow renamed columns and lookups: at once in reads and commits, in capture with the
-- worker's next turn; dropping one is refused, and after CASCADE the rule gives nothing.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE goods (gid int PRIMARY KEY, category text);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric, kind text, gid int);
INSERT INTO customers SELECT generate_series(1, 3);
INSERT INTO goods VALUES (1, 'shoe'), (2, 'hat');
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at',
		lookup => '{"good": {"table": "goods", "on": "gid = gid"}}') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('lead', thresholds => '{"warm": 20}'), marketing.define_score_model('a/b');
SELECT marketing.define_score_rule('lead', 'spent', 'visited', 'spent / 10', condition => $$ kind = 'spent' AND good.category = 'shoe' $$),
	marketing.define_score_rule('lead', 'all', 'visited', 1), marketing.define_score_rule('a/b', 'c', 'visited', 1, condition => 'spent > 0');
CALL marketing.work();
-- from 16 on a view of one table says its columns without the table
SELECT object, regexp_replace(pg_get_viewdef(('marketing_rule.' || quote_ident(view_name))::regclass), '\mt\.', '', 'g') AS view FROM marketing_internal.rule_view ORDER BY 1;
INSERT INTO visits VALUES (1, 1, '2026-03-01', 300, 'spent', 1), (2, 1, '2026-03-01', 300, 'other', 1), (3, 2, '2026-03-01', 100, 'spent', 2);
SELECT marketing.score(1, 'lead') AS one, marketing.score(2, 'lead') AS two, marketing.score(1, 'a/b') AS other;

-- Names change, and one goes to another column.
ALTER TABLE visits RENAME COLUMN spent TO "Amount ""paid""";
ALTER TABLE visits RENAME COLUMN kind TO spent;
ALTER TABLE goods RENAME COLUMN category TO sort;
SELECT marketing.score(1, 'lead') AS one, marketing.score(2, 'lead') AS two, marketing.score(1, 'a/b') AS other;
SELECT rule, row_key, points, state FROM marketing.explain_score(1, 'lead') ORDER BY 1, 2;
-- Capture does not know the new names yet: what is read is right all the same.
UPDATE visits SET "Amount ""paid""" = 400 WHERE id = 1;
SELECT marketing.score(1, 'lead'), v.score AS of_many FROM marketing_internal.score_values('lead') AS v WHERE contact_id = 1;
UPDATE goods SET sort = 'shoe' WHERE gid = 2;
CALL marketing.work();
SELECT c.contact, s.value FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id),
	LATERAL (SELECT marketing_internal.contact_text(s.contact_id)) AS c (contact) WHERE m.name = 'lead' ORDER BY 1;
UPDATE visits SET "Amount ""paid""" = 500 WHERE id = 1;
SELECT value AS with_the_commit FROM marketing_internal.score JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'lead' ORDER BY 1 DESC LIMIT 1;
SELECT marketing.define_score_rule('lead', 'spent', 'visited', '"Amount ""paid""" / 10', condition => $$ spent = 'spent' AND good.sort = 'shoe' $$);
SELECT marketing.score(1, 'lead') AS one, marketing.score(2, 'lead') AS two;

-- A name with a dot is the row's own column, not a lookup's.
ALTER TABLE visits ADD note text DEFAULT 'a';
SELECT marketing.define_score_model('dots'), marketing.define_score_rule('dots', 'd', 'visited', 1, condition => 'note <> ''x''');
SELECT marketing.score(1, 'dots');
ALTER TABLE visits RENAME note TO "a.b";
SELECT marketing.score(1, 'dots');
UPDATE visits SET "a.b" = 'x' WHERE id = 1;
SELECT marketing.score(1, 'dots');
ALTER TABLE visits RENAME "a.b" TO "good.note";
SELECT marketing.score(1, 'dots');
CALL marketing.work();
UPDATE visits SET "good.note" = 'x' WHERE id = 2;
SELECT marketing.score(1, 'dots'), (SELECT s.value FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'dots' AND marketing_internal.contact_text(s.contact_id) = '1') AS stored;
SELECT marketing.drop_score_model('dots');

-- What a rule reads is not dropped; after CASCADE it gives nothing until it is defined anew.
ALTER TABLE visits DROP COLUMN "Amount ""paid""";
DROP TABLE goods CASCADE;
SELECT marketing.score(1, 'lead') AS one, marketing.score(1, 'a/b') AS other;
SELECT marketing.define_score_rule('lead', 'spent', 'visited', '"Amount ""paid""" / 10', condition => $$ spent = 'spent' $$);
SELECT marketing.score(1, 'lead') AS one;

-- A table that comes and goes takes its view along.
CREATE TABLE calls (id int PRIMARY KEY, customer_id int, at timestamptz, name text, minutes int);
CREATE TABLE chats (id int PRIMARY KEY, customer_id int, at timestamptz, name text, minutes int);
SELECT marketing.attach_events('calls', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.declare_event('talked') IS NOT NULL, marketing.define_score_model('talk'), marketing.define_score_rule('talk', 'long', 'talked', 'minutes', condition => 'minutes > 1');
INSERT INTO calls VALUES (1, 1, '2026-03-01', 'talked', 5);
INSERT INTO chats VALUES (1, 1, '2026-03-01', 'talked', 7);
SELECT marketing.attach_events('chats', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL;
SELECT marketing.score(1, 'talk');
ALTER TABLE chats RENAME COLUMN minutes TO duration;
SELECT marketing.score(1, 'talk');
DROP TABLE calls CASCADE;
SELECT marketing.score(1, 'talk');
SELECT marketing.define_score_rule('talk', 'long', 'talked', 'duration', condition => 'duration > 1');
SELECT marketing.score(1, 'talk');
SELECT marketing.drop_score_rule('talk', 'long'), marketing.drop_score_model('a/b'), marketing.drop_score_model('talk');
SELECT object FROM marketing_internal.rule_view;
DROP EXTENSION marketing_automation;
