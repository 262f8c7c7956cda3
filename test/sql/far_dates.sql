-- One row with a mistyped year is an error for nobody: far away is never.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
SELECT marketing.set_clock('2026-03-01 12:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text, tz text, born date, seen timestamp);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, day date, total int);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamp);
INSERT INTO customers SELECT g, g || '@example.com', 'Asia/Tokyo', '2000-03-02', '2026-02-20' FROM generate_series(1, 4) AS g;
INSERT INTO orders VALUES (1, 1, '500000-01-01', 5), (2, 2, '2026-02-20', 5);
INSERT INTO visits VALUES (1, 1, '294276-12-31 23:59:59'), (2, 2, '2026-02-20');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_events('orders', event => 'bought', contact => 'customer_id', contact_source => 'customers', occurred_at => 'day', time_zone => 'America/New_York');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', time_zone => 'America/New_York');
SELECT marketing.define_segment(name, rule) FROM (VALUES
	('buyers', 'any bought'),
	('recent', 'count(bought) in 2 months > 0'),
	('visitors', 'last visited less than 30 days ago'),
	('adults', 'born more than 20 years ago'),
	('birthday', 'anniversary(born) is within 3 days'),
	('active', 'seen less than 1 month ago')) AS s (name, rule);
SELECT marketing.define_score_model('lead', half_life => '30 days');
SELECT marketing.define_score_rule('lead', 'order', 'bought', points => 10);
INSERT INTO orders VALUES (3, 3, '500000-01-01', 5), (4, 4, '-infinity', 5), (5, 4, '4713-12-01 BC', 5), (6, 3, 'infinity', 5);
INSERT INTO visits VALUES (3, 3, '294276-12-31 23:59:59'), (4, 4, '4713-11-24 00:00:00 BC'), (5, 4, '-infinity'), (6, 3, 'infinity');
UPDATE customers SET born = '500000-01-01', seen = '294276-12-31 23:59:59' WHERE id = 3;
UPDATE customers SET born = '4713-11-24 BC', seen = '4713-11-24 00:00:00 BC' WHERE id = 4;
CALL marketing.work();
SELECT s, array(SELECT contact FROM marketing.segment_members(s) ORDER BY 1) AS members, (SELECT count(*) FROM marketing.verify_segment(s)) AS differences
	FROM unnest('{buyers,recent,visitors,adults,birthday,active}'::text[]) AS s;
SELECT c, marketing.score(c, 'lead') FROM generate_series(1, 4) AS c;
SELECT * FROM marketing.errors;
SELECT count(*) FROM marketing_internal.dirty;
DROP EXTENSION marketing_automation CASCADE;
DROP TABLE customers, orders, visits;
