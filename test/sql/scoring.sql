-- Scores: the field's example, definitions and their errors, thresholds by time, what reads say.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, name text, tz text);
CREATE TABLE site_events (id int PRIMARY KEY, name text, customer_id int, at timestamptz, path text);
CREATE TABLE mail_clicks (id int PRIMARY KEY, customer_id int, at timestamptz, machine boolean NOT NULL DEFAULT false);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric);
INSERT INTO customers SELECT i, 'c' || i, 'Europe/Istanbul' FROM generate_series(1, 5) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz');
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('mail_clicks', event => 'mail_clicked', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('visits', event => 'store_visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.declare_event(n) FROM unnest('{form_submitted,page_viewed}'::text[]) AS n;
SELECT marketing.set_clock('2026-03-01 12:00+00');

-- The field's example: form +15, page +1 (at most 10 a day), e-mail click +5, store visit by INSERT +20.
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 50, "warm": 20}');
SELECT marketing.define_score_rule('lead', 'form', event => 'form_submitted', points => 15);
SELECT marketing.define_score_rule('lead', 'page', event => 'page_viewed', points => 1, at_most => 10, per => 'day');
SELECT marketing.define_score_rule('lead', 'click', event => 'mail_clicked', points => 5, condition => 'NOT machine');
SELECT marketing.define_score_rule('lead', 'fair', event => 'store_visited', points => 20);
SELECT marketing_internal.record_event('score_threshold_reached'), marketing_internal.record_event('score_threshold_lost');
CREATE VIEW told AS SELECT t.name, marketing_internal.contact_text(o.contact_id) AS contact, o.properties, date_trunc('second', o.occurred_at) AS at, o.enroll
	FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) ORDER BY o.occurrence_id;
CALL marketing.work();
INSERT INTO site_events SELECT g, 'page_viewed', 1, '2026-03-01 12:00+00', '/' FROM generate_series(1, 14) AS g;
SELECT marketing.score(1, 'lead');
INSERT INTO site_events VALUES (20, 'form_submitted', 1, '2026-03-01 12:00+00', '/demo');
INSERT INTO mail_clicks VALUES (1, 1, '2026-03-01 12:00+00', false), (2, 1, '2026-03-01 12:00+00', true);
SELECT marketing.score('1', 'lead'), (SELECT count(*) FROM marketing.sales_ready WHERE threshold = 'hot');
INSERT INTO visits VALUES (1, 1, '2026-03-01 12:00+00', 30);
SELECT marketing.score('customers:1', 'lead'), (SELECT count(*) FROM marketing.sales_ready WHERE threshold = 'hot');
SELECT * FROM marketing.sales_ready;
SELECT rule, event, count(*), sum(points), sum(points_now), state FROM marketing.explain_score(1, 'lead') GROUP BY 1, 2, 6 ORDER BY 1, 6;
SELECT * FROM told;

-- By time alone: lost at the microsecond it falls below, told at that instant also when nobody looked.
SELECT contact_id, date_trunc('second', wake) AS wake FROM marketing_internal.score;
SELECT marketing.set_clock(wake - interval '1 us') IS NOT NULL AS before FROM marketing_internal.score;
SELECT marketing.score(1, 'lead'), threshold, since FROM marketing.sales_ready;
SELECT marketing.set_clock(wake) IS NOT NULL AS then FROM marketing_internal.score;
SELECT marketing.score(1, 'lead'), threshold, since FROM marketing.sales_ready;
SELECT marketing.set_clock('2026-05-01 12:00+00');
SELECT marketing.score(1, 'lead'), (SELECT count(*) FROM marketing.sales_ready);
CALL marketing.work();
SELECT * FROM told OFFSET 2;
SELECT round(value::numeric, 4) AS value, wake, reached FROM marketing_internal.score;

-- A day of the contact's zone; a late row; rows that change and go.
SELECT marketing.set_clock('2026-06-01 12:00+00');
SELECT marketing.define_score_model('steady', ceiling => 30, floor => -2);
SELECT marketing.define_score_rule('steady', 'page', 'page_viewed', 1, at_most => 2, per => 'day');
SELECT marketing.define_score_rule('steady', 'spent', 'store_visited', 'spent / 10', condition => 'spent > 0', expires => '1 month');
SELECT marketing.define_score_rule('steady', 'first', 'form_submitted', 3, once => true);
INSERT INTO site_events SELECT 100 + g, 'page_viewed', 2, '2026-05-30 20:30+00'::timestamptz + g * interval '10 min', '/' FROM generate_series(0, 5) AS g;
SELECT marketing.score(2, 'steady') AS two_days;
UPDATE customers SET tz = 'UTC' WHERE id = 2;
SELECT marketing.score(2, 'steady') AS one_day;
INSERT INTO visits VALUES (2, 2, '2026-05-31 12:00+00', 500), (3, 2, '2026-07-01 12:00+00', 10);
SELECT marketing.score(2, 'steady') AS ceiling;
SELECT value, wake FROM marketing_internal.score WHERE contact_id = 2 AND model_id = 2;
UPDATE visits SET spent = 55.5 WHERE id = 2;
SELECT marketing.score(2, 'steady') AS updated;
SELECT marketing.set_clock('2026-07-01 12:00+00');
SELECT marketing.score(2, 'steady') AS expired_and_come;
SELECT rule, row_key, points, points_now, fades_at, state FROM marketing.explain_score(2, 'steady') WHERE rule = 'spent';
DELETE FROM visits WHERE customer_id = 2;
DELETE FROM site_events WHERE customer_id = 2;
SELECT marketing.score(2, 'steady') AS nothing, (SELECT count(*) FROM marketing_internal.score WHERE contact_id = 2) AS kept;

-- Changes of rules: reads follow at once, journeys do not start by them.
SELECT marketing.define_score_model('steady', ceiling => 300, floor => -2, thresholds => '{"vip": 100}');
INSERT INTO visits VALUES (4, 3, '2026-07-01 12:00+00', 60);
CALL marketing.work();
SELECT marketing.score(3, 'steady'), (SELECT count(*) FROM told WHERE properties->>'model' = 'steady');
SELECT marketing.define_score_rule('steady', 'spent', 'store_visited', 'spent * 2', condition => 'spent > 0', expires => '1 month');
SELECT marketing.score(3, 'steady'), contact, score, threshold, reasons FROM marketing.sales_ready WHERE model = 'steady';
CALL marketing.work();
SELECT * FROM told WHERE properties->>'model' = 'steady';
BEGIN;
INSERT INTO visits VALUES (5, 4, '2026-07-01 12:00+00', 70);
SELECT contact, score FROM marketing.sales_ready WHERE model = 'steady';
SELECT marketing.drop_score_rule('steady', 'spent');
SELECT marketing.score(4, 'steady'), (SELECT count(*) FROM marketing.sales_ready WHERE model = 'steady');
ROLLBACK;
SELECT marketing.define_score_rule('steady', 'spent', 'store_visited', 'spent*2', condition => ' (spent > 0) ', expires => '1 month');
SELECT marketing.define_score_rule('steady', 'spent', 'store_visited', '60', expires => '30 days');
SELECT marketing.define_score_model('steady');
SELECT marketing.drop_score_rule('steady', r) FROM unnest('{spent,page,first}'::text[]) AS r;
SELECT marketing.score(3, 'steady'), (SELECT count(*) FROM marketing_internal.score WHERE model_id = 2);
SELECT marketing.drop_score_model('steady');
SELECT marketing.score(3, 'steady');

-- A week begins on Monday, a month on its first day, in the contact's zone: Saturday to Monday, and two hours around a first of the month.
SELECT marketing.define_score_model('weekly'), marketing.define_score_rule('weekly', 'week', 'page_viewed', 1, at_most => 1, per => 'week'),
	marketing.define_score_rule('weekly', 'month', 'form_submitted', 1, at_most => 1, per => 'month');
INSERT INTO site_events VALUES (301, 'page_viewed', 5, '2026-06-06 12:00+03'), (302, 'page_viewed', 5, '2026-06-07 23:59+03'), (303, 'page_viewed', 5, '2026-06-08 00:00+03'),
	(304, 'form_submitted', 5, '2026-05-31 23:00+03'), (305, 'form_submitted', 5, '2026-06-01 01:00+03');
SELECT rule, row_key, state FROM marketing.explain_score(5, 'weekly') ORDER BY row_key;
SELECT marketing.drop_score_model('weekly');
DELETE FROM site_events WHERE customer_id = 5;

-- What is refused.
SELECT marketing.score(99, 'lead');
SELECT marketing.score(1, 'leed');
SELECT marketing.score(1, NULL);
SELECT marketing.define_score_model(NULL);
SELECT marketing.define_score_model('');
SELECT marketing.define_score_model('m', half_life => '1 month');
SELECT marketing.define_score_model('m', half_life => '0');
SELECT marketing.define_score_model('m', half_life => '400 years');
SELECT marketing.define_score_model('m', floor => 5, ceiling => 5);
SELECT marketing.define_score_model('m', floor => 'NaN');
SELECT marketing.define_score_model('m', thresholds => '[50]');
SELECT marketing.define_score_model('m', thresholds => '{"hot": "fifty"}');
SELECT marketing.define_score_model('m', thresholds => '{"hot": {"at": 50, "until": 40}}');
SELECT marketing.define_score_model('m', thresholds => '{"hot": {"at": 50, "lost_below": 60}}');
SELECT marketing.define_score_model('m', thresholds => '{"hot": {"at": 50, "lost_below": 0}}');
SELECT marketing.define_score_model('m', thresholds => '{"hot": {"at": 50, "lost_below": 10}, "warm": 20}');
SELECT marketing.define_score_model('m', thresholds => '{"hot": 0}');
SELECT marketing.define_score_model('m', floor => 10, thresholds => '{"hot": 10}');
SELECT marketing.define_score_model('m', ceiling => 40, thresholds => '{"hot": 50}');
SELECT marketing.define_score_rule('leed', 'r', 'page_viewed', 1);
SELECT marketing.define_score_rule('lead', 'r', 'page_veiwed', 1);
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', NULL::numeric);
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 'NaN'::numeric);
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'spend > 1');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'spent > 1) OR (true');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'spent');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'spent > random()');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'at > now()');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', '(SELECT 1)');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', $$'many'$$);
SELECT marketing.define_score_rule('lead', 'r', 'email_clicked', 1, condition => 'machine');
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 1, at_most => 0);
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 1, per => 'day');
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 1, at_most => 1, per => 'year');
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 1, at_most => 1, once => true);
SELECT marketing.define_score_rule('lead', 'r', 'page_viewed', 1, expires => '-1 day');
SELECT marketing.drop_score_rule('lead', 'pages');
SELECT marketing.drop_score_model('leed');
SELECT marketing.detach('visits', 'store_visited');
CREATE FUNCTION own(numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 1';
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'own(spent)');
CREATE ROLE regress_scorer;
GRANT USAGE ON SCHEMA marketing TO regress_scorer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_scorer;
GRANT SELECT (id, customer_id) ON visits TO regress_scorer;
SET ROLE regress_scorer;
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'spent > 1');
SELECT marketing.define_score_rule('lead', 'r', 'store_visited', 1, condition => 'customer_id > 1');
SELECT marketing.score(1, 'lead');
SELECT * FROM marketing.sales_ready;
SELECT * FROM marketing_internal.score_values();
RESET ROLE;
GRANT SELECT ON marketing.sales_ready TO regress_scorer;
SET ROLE regress_scorer;
SELECT count(*) FROM marketing.sales_ready;
RESET ROLE;
DROP OWNED BY regress_scorer;
DROP ROLE regress_scorer;

-- The table of an event is gone: no SQL over its rows can be checked.
CREATE TABLE gone (id int PRIMARY KEY, customer_id bigint, at timestamptz);
SELECT marketing.attach_events('gone', event => 'went', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL;
DROP TABLE gone;
SELECT marketing.define_score_rule('lead', 'r', 'went', 1, condition => 'id > 1');

-- A table that is dropped gives no points any more, and stops no other.
CREATE TABLE lost (id bigint PRIMARY KEY, customer_id bigint, at timestamptz);
CREATE TABLE kept (id bigint PRIMARY KEY, customer_id bigint, at timestamptz);
CREATE TABLE owners (id bigint PRIMARY KEY);
INSERT INTO owners SELECT generate_series(1, 3);
SELECT marketing.attach_contacts('owners', id => 'id') IS NOT NULL;
SELECT marketing.attach_events('lost', event => 'was', contact => 'customer_id', contact_source => 'owners', occurred_at => 'at') IS NOT NULL,
	marketing.attach_events('kept', event => 'is_there', contact => 'customer_id', contact_source => 'owners', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_score_model('left'), marketing.define_score_rule('left', 'was', 'was', 5), marketing.define_score_rule('left', 'is', 'is_there', 1);
INSERT INTO lost VALUES (1, 1, '2025-01-01');
INSERT INTO kept VALUES (1, 1, '2025-01-01');
SELECT marketing.score('owners:1', 'left');
DROP TABLE lost;
SELECT marketing.score('owners:1', 'left'), (SELECT count(*) FROM marketing.explain_score('owners:1', 'left')) AS lines;
INSERT INTO kept VALUES (2, 1, '2025-01-01');
CALL marketing.work();
SELECT marketing.score('owners:1', 'left'), (SELECT count(*) FROM marketing_internal.dirty) AS waiting, (SELECT count(*) FROM marketing.errors) AS errors;
SELECT marketing.drop_score_rule('left', 'was');
SELECT marketing.detach('lost');

-- The extension goes without CASCADE.
DROP VIEW told;
DROP EXTENSION marketing_automation;
