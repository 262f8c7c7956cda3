-- Scores within arithmetic: with each other, with counts and columns; true and false at the very instants.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, bar numeric);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric);
CREATE TABLE forms (id int PRIMARY KEY, customer_id int, at timestamptz);
INSERT INTO customers VALUES (1, 15), (2, NULL), (3, -5), (4, 0.5);
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.attach_events('forms', event => 'asked', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('lead', half_life => '10 days', floor => -20), marketing.define_score_model('fit', half_life => '3 days', ceiling => 40),
	marketing.define_score_model('steady');
SELECT marketing.define_score_rule('lead', 'spent', 'visited', 'spent / 10', condition => 'spent <> 0'),
	marketing.define_score_rule('lead', 'visit', 'visited', 2, at_most => 2, per => 'day', expires => '1 month'),
	marketing.define_score_rule('fit', 'asked', 'asked', 15), marketing.define_score_rule('fit', 'visit', 'visited', 1),
	marketing.define_score_rule('steady', 'visit', 'visited', 3);

-- The language, both ways.
SELECT marketing.rule_text(marketing.rule_json('score(fit) * 0.4 + score(lead)*.6 >= 12 OR -score(lead) < count(visited) in 3 days - score(fit)'));

CREATE TABLE rules (name text, rule text);
INSERT INTO rules VALUES
	('blend', 'score(fit) * 0.4 + score(lead) * 0.6 >= 10.00003'),
	('beats', 'score(lead) > score(fit)'),
	('beats2', 'score(lead) >= 2 * score(fit)'),
	('apart', 'score(lead) - score(fit) > 1'),
	('ratio', 'score(lead) / score(fit) < 2.3'),
	('share', 'score(fit) / (score(fit) + score(lead)) >= 0.5'),
	('square', 'score(lead) * score(lead) - 9 * score(lead) + 18 <= 0'),
	('dip', 'score(lead) * score(lead) - 30 * score(lead) + 216 <= 0'),
	('plus', 'score(lead) + 10 > 21'),
	('minus', '3 < -score(lead)'),
	('equal', 'score(steady) * 2 = 12'),
	('other', 'score(steady) + score(steady) <> 6'),
	('per_visit', 'score(lead) / count(visited) in 4 days > 1.5'),
	('bar', 'score(fit) + score(lead) > contact.bar'),
	('counted', 'score(lead) > count(visited) + count(asked) in 6 days'),
	('within', 'score(steady) + score(fit) > 18 AND NOT score(fit) * score(fit) < 1');
SELECT bool_and(marketing.define_segment(name, rule) IS NOT NULL) FROM rules;
INSERT INTO visits VALUES (1, 1, '2026-03-01 12:00+00', 200), (2, 1, '2026-02-28 12:00+00', 30), (3, 2, '2026-03-01 12:00+00', -100), (4, 3, '2026-02-20 12:00+00', 300),
	(5, 3, '2026-02-27 08:00+00', 55), (6, 4, '2026-03-03 12:00+00', 120), (7, 4, '2026-02-11 06:30+00', 77);
INSERT INTO forms VALUES (1, 1, '2026-03-01 12:00+00'), (2, 2, '2026-02-26 12:00+00'), (3, 3, '2026-02-25 00:00+00'), (4, 3, '2026-03-01 11:00+00'), (5, 4, '2026-02-28 00:00+00');

-- As plain SQL over the scores has it, and stored so.
CREATE VIEW members AS SELECT r.name, string_agg(m.contact, ' ' ORDER BY m.contact) AS contacts,
	(SELECT count(*) FROM marketing.verify_segment(r.name)) AS wrong FROM rules AS r LEFT JOIN LATERAL marketing.segment_members(r.name) AS m ON true GROUP BY 1;
SELECT * FROM members ORDER BY 1;
SELECT c.id, s.* FROM customers AS c, LATERAL (SELECT marketing.score(c.id, 'lead') AS lead, marketing.score(c.id, 'fit') AS fit, marketing.score(c.id, 'steady') AS steady) AS s ORDER BY 1;

-- The answer is another at the instant it is said to change, and the same one microsecond before.
CREATE TABLE said (name text, contact int, truth boolean, until timestamptz, because text, just_before boolean, at_it boolean);
INSERT INTO said SELECT r.name, c.id, e.truth, e.holds_until, e.because FROM rules AS r, customers AS c, LATERAL (SELECT * FROM marketing.explain_segment(c.id, r.name) LIMIT 1) AS e;
SELECT name, contact, truth, until, because FROM said ORDER BY 1, 2;
\set ECHO none
\o /dev/null
SELECT unnest(ARRAY[format('SELECT marketing.set_clock(%L)', until - interval '1 microsecond'),
		format('UPDATE said SET just_before = e.truth FROM marketing.explain_segment(%s, %L) WITH ORDINALITY AS e WHERE e.ordinality = 1 AND (name, contact) = (%2$L, %1$s)', contact, name),
		format('SELECT marketing.set_clock(%L)', until),
		format('UPDATE said SET at_it = e.truth FROM marketing.explain_segment(%s, %L) WITH ORDINALITY AS e WHERE e.ordinality = 1 AND (name, contact) = (%2$L, %1$s)', contact, name)])
	FROM said WHERE isfinite(until) AND because NOT LIKE 'at least%' ORDER BY until \gexec
\o
\set ECHO all
SELECT count(*) > 10 AS looked, count(*) FILTER (WHERE at_it = truth) AS not_changed, count(*) FILTER (WHERE just_before <> truth) AS changed_before FROM said WHERE at_it IS NOT NULL;

-- And the worker takes everybody in and out as time goes on.
CREATE TABLE found (at timestamptz, name text, wrong bigint);
SELECT marketing.set_clock('2026-03-01 12:00+00');
\set ECHO none
\o /dev/null
SELECT unnest(ARRAY[format('SELECT marketing.set_clock(timestamptz %L + %s * interval ''7 hours 13 minutes'')', '2026-03-01 12:00+00', i),
	'CALL marketing.work()', 'INSERT INTO found SELECT marketing.now(), r.name, count(*) FROM rules AS r, marketing.verify_segment(r.name) GROUP BY 2'])
	FROM generate_series(1, 40) AS i \gexec
\o
\set ECHO all
SELECT * FROM found ORDER BY 1, 2;
SELECT * FROM members ORDER BY 1;
SELECT name, count(*) FILTER (WHERE entered) AS entered, count(*) FILTER (WHERE NOT entered) AS "left" FROM marketing_internal.segment_transition
	JOIN marketing_internal.segment USING (segment_id) WHERE cause = 'time' GROUP BY 1 ORDER BY 1;

-- What is too near to tell is known for a while only, and looked at again then: never at the same instant.
SELECT marketing.define_segment('itself', 'score(lead) < score(lead)');
SELECT min(next_wake) > marketing.now() AS later, min(next_wake) < marketing.now() + interval '1 day' AS soon FROM marketing_internal.segment_state;
SELECT marketing.set_clock(marketing.now() + interval '2 hours');
CALL marketing.work();
SELECT count(*) AS wrong FROM marketing.verify_segment('itself');

-- Explained by its numbers; what is unknown counts as false.
UPDATE customers SET bar = 'NaN' WHERE id = 1;
INSERT INTO visits VALUES (8, 1, marketing.now(), 100);
SELECT node, value, truth, because FROM marketing.explain_segment(1, 'share');
SELECT node, value, truth FROM marketing.explain_segment(4, 'per_visit');
SELECT * FROM members WHERE wrong > 0 OR name IN ('bar', 'share');
DROP VIEW members;
DROP EXTENSION marketing_automation;
