-- The field's worked example: form +15, page +1 (at most 10 a day), click in a mail +5, visit of the
-- store by an INSERT +20, unsubscribed -10, half of all gone after 30 days. What happens is noted beside
-- it in a table of facts, and the score is compared with plain SQL over that, in closed form.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, email text, tz text);
CREATE TABLE store_visits (id int PRIMARY KEY, customer_id int, at timestamptz NOT NULL, spent numeric);
INSERT INTO customers VALUES (1, 'ada@example.com', 'Europe/Istanbul'), (2, 'bob@example.com', NULL);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL,
	marketing.attach_events('store_visits', event => 'store_visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.declare_event('form_submitted'), marketing.declare_event('page_viewed'), marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email}', consent => 'opt_out'),
	marketing.define_template('news', topic => 'offers', subject => 'News', html => '<a href="https://shop.example/one">one</a> <a href="https://shop.example/two">two</a>');
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"warm": 20, "hot": 50}');
SELECT marketing.define_score_rule('lead', 'form', event => 'form_submitted', points => 15),
	marketing.define_score_rule('lead', 'page', event => 'page_viewed', points => 1, at_most => 10, per => 'day'),
	marketing.define_score_rule('lead', 'click', event => 'email_clicked', points => 5),
	marketing.define_score_rule('lead', 'store', event => 'store_visited', points => 20),
	marketing.define_score_rule('lead', 'left', event => 'unsubscribed', points => -10);
SELECT marketing_internal.record_event(e) IS NOT NULL AS recorded FROM unnest('{score_threshold_reached,score_threshold_lost}'::text[]) AS e;

CREATE TABLE fact (contact int, at timestamptz, what text);
-- The score by hand: of the page views of a day of his the earliest ten, all faded since.
CREATE VIEW by_hand AS
	SELECT c.id AS contact, coalesce(round(sum(f.points * 2 ^ (- extract(epoch FROM marketing.now() - f.at) / (30 * 86400.0))) FILTER (WHERE f.at <= marketing.now() AND f.place <= f.at_most), 4), 0) AS score
	FROM customers AS c LEFT JOIN (
		SELECT f.contact, f.at, p.points, p.at_most, row_number() OVER (PARTITION BY f.contact, f.what,
			CASE WHEN f.what = 'page' THEN (f.at AT TIME ZONE coalesce(z.tz, 'UTC'))::date ELSE f.at::date END ORDER BY f.at) AS place
		FROM fact AS f JOIN customers AS z ON z.id = f.contact
		JOIN (VALUES ('form', 15, 1000000), ('page', 1, 10), ('click', 5, 1000000), ('store', 20, 1000000), ('left', -10, 1000000)) AS p (what, points, at_most) USING (what)) AS f
		ON f.contact = c.id GROUP BY c.id;
CREATE VIEW compared AS
	SELECT h.contact, marketing.score(h.contact, 'lead') AS score, marketing.score(h.contact, 'lead') = h.score AS as_by_hand,
		coalesce((SELECT v.score FROM marketing_internal.score_values('lead') AS v WHERE marketing_internal.contact_text(v.contact_id) = h.contact::text), 0) = h.score AS in_list,
		abs((SELECT coalesce(sum(e.points_now), 0) FROM marketing.explain_score(h.contact, 'lead') AS e) - h.score) < 0.001 AS explained
	FROM by_hand AS h ORDER BY 1;
CREATE FUNCTION tokens(message bigint, kind text) RETURNS TABLE (n bigint, token text) LANGUAGE sql AS $$
	SELECT n, m[1] FROM marketing.messages AS g, regexp_matches(replace(replace(replace(replace(replace(convert_from(pg_read_binary_file(g.detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), E'\r', ''), '=2D', '-'), '=3D', '='),
		'/' || kind || '/([A-Za-z0-9_-]+)', 'g') WITH ORDINALITY AS r (m, n) WHERE g.message = $1 $$;
CALL marketing.work();
SELECT * FROM compared;

-- A form; 25 pages over the midnight of his zone (21:00 UTC): the first 10 of each day count.
SELECT marketing.track(1, 'form_submitted', occurred_at => '2026-02-20 08:00+00');
INSERT INTO fact VALUES (1, '2026-02-20 08:00+00', 'form');
SELECT count(marketing.track(c, 'page_viewed', occurred_at => timestamptz '2026-02-21 20:48+00' + i * interval '1 minute')) FROM generate_series(1, 25) AS i, generate_series(1, 2) AS c;
INSERT INTO fact SELECT c, timestamptz '2026-02-21 20:48+00' + i * interval '1 minute', 'page' FROM generate_series(1, 25) AS i, generate_series(1, 2) AS c;
SELECT * FROM compared;

-- A mail with two links, each opened once by him; what a machine opens gives nothing.
SELECT marketing.send_message(1, 'news') AS news, marketing.send_message(2, 'news') AS bob \gset
CALL marketing.work();
SELECT marketing.set_clock('2026-03-01 10:30+00');
SELECT count(marketing.record_click(token, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36')) FROM tokens(:news, 'c') WHERE n = 1;
INSERT INTO fact VALUES (1, '2026-03-01 10:30+00', 'click');
SELECT marketing.set_clock('2026-03-01 10:45+00');
SELECT count(marketing.record_click(token, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36')) FROM tokens(:news, 'c') WHERE n = 2;
INSERT INTO fact VALUES (1, '2026-03-01 10:45+00', 'click');
SELECT count(marketing.record_click(token, 'LinkBot/1.0')) FROM tokens(:bob, 'c') WHERE n = 1;
SELECT contact, url, machine FROM marketing.message_hits ORDER BY occurred_at;
SELECT * FROM compared;

-- The store, by an INSERT; one that is known late, one that is corrected, one that is taken back.
INSERT INTO store_visits VALUES (1, 1, '2026-03-01 10:50+00', 10), (2, 2, '2026-03-01 10:50+00', 10);
INSERT INTO fact VALUES (1, '2026-03-01 10:50+00', 'store'), (2, '2026-03-01 10:50+00', 'store');
SELECT marketing.set_clock('2026-03-02 09:00+00');
INSERT INTO store_visits VALUES (3, 1, '2026-01-15 12:00+00', 10);
INSERT INTO fact VALUES (1, '2026-01-15 12:00+00', 'store');
SELECT * FROM compared;
UPDATE store_visits SET at = '2026-02-15 12:00+00' WHERE id = 3;
UPDATE fact SET at = '2026-02-15 12:00+00' WHERE at = '2026-01-15 12:00+00';
DELETE FROM store_visits WHERE id = 2;
DELETE FROM fact WHERE contact = 2 AND what = 'store';
SELECT * FROM compared;
SELECT contact, score, threshold, reasons FROM marketing.sales_ready;

-- He unsubscribes: one topic, one channel.
SELECT marketing.set_clock('2026-03-03 09:00+00');
SELECT marketing.unsubscribe(1);
INSERT INTO fact VALUES (1, '2026-03-03 09:00+00', 'left');
SELECT * FROM compared;
SELECT rule, count(*), sum(points) FILTER (WHERE state = 'counts') AS points, min(state), max(state) FROM marketing.explain_score(1, 'lead') GROUP BY 1 ORDER BY 1;

-- Half of it after 30 days, a quarter after 60, with nothing done in between.
SELECT score AS today FROM compared WHERE contact = 1 \gset
SELECT marketing.set_clock('2026-04-02 09:00+00');
SELECT *, abs(score - :today / 2) < 0.0001 AS half FROM compared WHERE contact = 1;
SELECT marketing.set_clock('2026-05-02 09:00+00');
CALL marketing.work();
SELECT *, abs(score - :today / 4) < 0.0001 AS quarter FROM compared WHERE contact = 1;

-- Each threshold was lost by decay once, at the instant that the closed form says, to the microsecond.
CREATE FUNCTION sum_at(contact int, at timestamptz) RETURNS numeric LANGUAGE sql AS $$
	SELECT sum(p.points * 2 ^ (- extract(epoch FROM $2 - f.at) / (30 * 86400.0))) FROM (SELECT *, row_number() OVER (PARTITION BY f.what, (f.at AT TIME ZONE 'Europe/Istanbul')::date ORDER BY f.at) AS place FROM fact AS f WHERE f.contact = $1) AS f
	JOIN (VALUES ('form', 15), ('page', 1), ('click', 5), ('store', 20), ('left', -10)) AS p (what, points) USING (what) WHERE f.at <= $2 AND (f.what <> 'page' OR f.place <= 10) $$;
SELECT t.name AS event, o.properties->>'threshold' AS threshold, count(*) AS times, bool_and(CASE t.name WHEN 'score_threshold_lost'
		THEN round(sum_at(1, o.occurred_at), 4) < b.bound AND round(sum_at(1, o.occurred_at - interval '1 microsecond'), 4) >= b.bound
		ELSE round(sum_at(1, o.occurred_at), 4) >= b.bound END) AS exact
	FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id)
	JOIN (VALUES ('warm', 20), ('hot', 50)) AS b (name, bound) ON b.name = o.properties->>'threshold'
	WHERE marketing_internal.contact_text(o.contact_id) = '1' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM compared;
DROP EXTENSION marketing_automation CASCADE;
