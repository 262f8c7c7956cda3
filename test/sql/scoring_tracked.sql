-- The first event of a name that is tracked does not change what a segment or stage says that names a score:
-- columns that are renamed before the worker's next turn are followed.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE site_events (id int PRIMARY KEY, name text, customer_id int, at timestamptz, path text);
INSERT INTO customers SELECT generate_series(1, 3);
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00'), marketing.declare_event(n) IS NOT NULL FROM unnest('{page,called}'::text[]) AS n;
SELECT marketing.define_score_model('lead'), marketing.define_score_rule('lead', 'page', 'page', 2, condition => $$ path <> '/jobs' $$),
	marketing.define_score_rule('lead', 'called', 'called', 10);
SELECT marketing.define_segment('far', 'score(lead) > 9'), marketing.define_stage('hot', 10, 'score(lead) > 11');
CALL marketing.work();
INSERT INTO site_events VALUES (1, 'page', 1, '2026-03-01', '/'), (2, 'page', 2, '2026-03-01', '/jobs');

SELECT marketing.track(1, 'called'), marketing.track(2, 'called');
ALTER TABLE site_events RENAME path TO page;
SELECT name, state, error FROM marketing.segments;
SELECT contact FROM marketing.segment_members('far') ORDER BY 1;
SELECT marketing.score(1, 'lead') AS one, marketing.score(2, 'lead') AS two;
INSERT INTO site_events SELECT 10 + g, 'page', 3, '2026-03-01', CASE WHEN g < 7 THEN '/' ELSE '/jobs' END FROM generate_series(1, 9) AS g;
SELECT contact FROM marketing.segment_members('far') ORDER BY 1;
CALL marketing.work();
SELECT name, state, error FROM marketing.segments;
SELECT stage, contacts FROM marketing.stages;
SELECT contact FROM marketing.segment_members('far') ORDER BY 1;
SELECT * FROM marketing.verify_segment('far');
-- Nor by one after the first points without a row.
SELECT marketing.add_points(3, 'lead', 1);
ALTER TABLE site_events RENAME page TO path;
SELECT name, state, error FROM marketing.segments;
CALL marketing.work();
SELECT name, state, error FROM marketing.segments;
SELECT contact FROM marketing.segment_members('far') ORDER BY 1;
SELECT stage, contacts FROM marketing.stages;
