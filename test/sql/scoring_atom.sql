-- score(model) in rules: with its own end, beside plain SQL; points for entries of segments; cycles.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, tz text, bar numeric);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric);
INSERT INTO customers VALUES (1, 'Europe/Istanbul', 15), (2, 'UTC', NULL), (3, 'Asia/Tokyo', -5);
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('lead', half_life => '10 days', floor => -20), marketing.define_score_model('Steady One', ceiling => 40);
SELECT marketing.define_score_rule('lead', 'spent', 'visited', 'spent / 10', condition => 'spent <> 0'),
	marketing.define_score_rule('lead', 'visit', 'visited', 2, at_most => 2, per => 'day', expires => '1 month'),
	marketing.define_score_rule('Steady One', 'visit', 'visited', 1.5);

-- The language: text, JSON, what is refused.
SELECT marketing.rule_json('score( lead )>=50 AND NOT score("Steady One")<3') AS json;
SELECT marketing.rule_text(marketing.rule_json($$ score('Steady One') <> 3 or -2.5 < score(lead) $$));
SELECT marketing.define_segment('x', 'score(leed) > 1');
SELECT marketing.define_segment('x', 'score(lead) + score(leed) > 1');
SELECT marketing.define_segment('x', 'score(lead) + score("Steady One") score(lead) > 1');
SELECT marketing.define_segment('x', 'score(lead, 3) > 1');
SELECT marketing.define_segment('x', 'any segment_entered in 3 days');

SELECT marketing.define_segment('hot', 'score(lead) >= 20'), marketing.define_segment('warm', '10 < score(lead) AND NOT score(lead) >= 20'),
	marketing.define_segment('over', 'score(lead) > contact.bar'), marketing.define_segment('more', 'count(visited) > contact.bar'), marketing.define_segment('below', 'score(lead) < -3'),
	marketing.define_segment('exact', 'score("Steady One") = 3'), marketing.define_segment('other', 'score("Steady One") <> 3'),
	marketing.define_segment('idle', 'NOT in segment hot AND score(lead) <= 0.0001');
CREATE VIEW members AS SELECT s.name, string_agg(m.contact, ' ' ORDER BY m.contact) AS contacts,
	(SELECT count(*) FROM marketing.verify_segment(s.name)) AS wrong FROM marketing.segments AS s LEFT JOIN LATERAL marketing.segment_members(s.name) AS m ON true GROUP BY 1;
INSERT INTO visits VALUES (1, 1, '2026-03-01 12:00+00', 200), (2, 1, '2026-03-01 12:00+00', 0), (3, 2, '2026-03-01 12:00+00', -100), (4, 3, '2026-02-20 12:00+00', 300);
SELECT * FROM members ORDER BY 1;
SELECT node, value, needs, truth, holds_until, because FROM marketing.explain_segment(1, 'hot');
SELECT node, value, needs, truth FROM marketing.explain_segment(1, 'over');

-- It ends by itself, at its instant, and negative points rise.
SELECT marketing.set_clock('2026-03-20 12:00+00');
SELECT * FROM members ORDER BY 1;
CALL marketing.work();
SELECT * FROM members ORDER BY 1;
SELECT name, entered, effective_at FROM marketing_internal.segment_transition JOIN marketing_internal.segment USING (segment_id)
	WHERE cause = 'time' ORDER BY effective_at, name;
SELECT marketing.set_clock('2026-04-01 12:00+00');
SELECT * FROM members WHERE wrong > 0 OR name IN ('exact', 'idle');

-- A changed model changes who is in.
SELECT marketing.define_score_rule('lead', 'spent', 'visited', 'spent', condition => 'spent <> 0');
SELECT * FROM members ORDER BY 1;
SELECT marketing.drop_score_model('lead');
ALTER TABLE visits RENAME COLUMN spent TO paid;
SELECT * FROM members WHERE wrong > 0 OR name = 'hot';
CALL marketing.work();
INSERT INTO visits VALUES (5, 2, '2026-04-01 12:00+00', 900);
SELECT * FROM members WHERE wrong > 0 OR name = 'hot';

-- A column that no double holds is a number like any other, and closes the segment for nobody.
UPDATE customers SET bar = CASE id WHEN 1 THEN 'NaN' WHEN 2 THEN 1e310 ELSE -1e310 END::numeric;
SELECT * FROM members WHERE wrong > 0 OR name = 'over';
SELECT item, value FROM marketing.status WHERE item LIKE 'segment%';
UPDATE customers SET bar = 'Infinity' WHERE id = 1;
SELECT * FROM members WHERE wrong > 0 OR name = 'over';

-- Entries and exits of segments give points.
SELECT marketing.define_segment('often', 'count(visited) >= 3'), marketing.define_score_model('club', half_life => '1 day', thresholds => '{"member": 5}');
SELECT marketing.define_score_rule('club', 'joined', 'segment_entered', 10, segment => 'often'), marketing.define_score_rule('club', 'gone', 'segment_left', -4, segment => 'often');
SELECT marketing.define_segment('club', 'score(club) > 0');
INSERT INTO visits VALUES (6, 3, '2026-04-01 12:00+00', 1), (7, 3, '2026-04-01 12:00+00', 1);
SELECT marketing.score(3, 'club'), (SELECT string_agg(contact || ' ' || model, ', ') FROM marketing.sales_ready) AS ready, (SELECT contacts FROM members WHERE name = 'club');
CALL marketing.work();
SELECT contact, score, reasons FROM marketing.sales_ready WHERE model = 'club';
SELECT * FROM members WHERE wrong > 0 OR name IN ('often', 'club');
DELETE FROM visits WHERE id = 7;
CALL marketing.work();
SELECT marketing.score(3, 'club'), rule, points_now FROM marketing.explain_score(3, 'club');

-- Nothing depends on itself.
SELECT marketing.define_segment('often', 'count(visited) >= 3 OR score(club) > 3');
SELECT marketing.define_segment('often', 'count(visited) >= 3 OR in segment club');
SELECT marketing.define_score_rule('club', 'again', 'segment_entered', 1, segment => 'club');
SELECT marketing.define_score_rule('club', 'again', 'segment_entered', 1, segment => 'clubs');
SELECT marketing.define_score_rule('club', 'again', 'segment_entered', 1);
SELECT marketing.define_score_rule('club', 'again', 'visited', 1, segment => 'often');
SELECT marketing.drop_segment('often');
DROP VIEW members;
DROP EXTENSION marketing_automation;
