-- Stages of the life cycle: by rule, by hand, never back unless allowed; in rules, as rows, in a merge.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, city text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz, total numeric);
INSERT INTO customers SELECT i, 'Rome' FROM generate_series(1, 6) AS i;
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
INSERT INTO orders VALUES (1, 1, '2026-02-01', 10);
SELECT marketing.define_score_model('lead', half_life => '10 days'), marketing.declare_event('asked'), marketing.define_score_rule('lead', 'asked', 'asked', 30);

SELECT marketing.define_stage('subscriber', 10), marketing.define_stage('lead', 20, 'score(lead) >= 25'), marketing.define_stage('customer', 40, 'any ordered'),
	marketing.define_stage('fan', 50, 'count(ordered) >= 2 AND last ordered more than 10 days ago');
SELECT marketing.define_stage('lead', 20, 'score(lead)>=25'), marketing.define_stage('mql', 30), marketing.define_stage('mql', 31);
SELECT marketing.define_stage('x', 40);
SELECT marketing.define_stage('self', 99);
SELECT marketing.define_stage('self', 99, 'stage self'), marketing.drop_stage('self');
SELECT marketing.define_stage('x', 41, 'any order');
SELECT marketing.define_stage(NULL, 41);
SELECT stage, place, rule, contacts, reached FROM marketing.stages;
SELECT marketing.define_segment('buyers', 'stage customer OR stage fan'), marketing.define_segment('came', 'any stage_changed where ("to" = ''lead'') in 2 days');
SELECT marketing.define_segment('x', 'stage custmer');
SELECT marketing_internal.record_event('stage_changed');
CALL marketing.work();

-- By rows and by time, each at its instant.
SELECT marketing.track(2, 'asked'), marketing.track(3, 'asked');
INSERT INTO orders VALUES (2, 3, '2026-03-01', 10), (3, 3, '2026-03-01', 10);
CALL marketing.work();
SELECT * FROM marketing.stage_history(3);
SELECT stage, contacts, reached, percent_of_previous FROM marketing.stages;
SELECT marketing.set_clock('2026-03-20 12:00+00');
CALL marketing.work();
SELECT stage, since, until, time_in_stage, origin FROM marketing.stage_history(3);
SELECT stage FROM marketing.stage_history(2);
DELETE FROM orders;
CALL marketing.work();
SELECT stage, since FROM marketing.stage_history(3) LIMIT 1;
SELECT name, (SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members(name)) AS members, (SELECT count(*) FROM marketing.verify_segment(name)) AS wrong FROM marketing.segments ORDER BY 1;
SELECT properties, occurred_at, enroll FROM marketing_internal.occurrence ORDER BY occurrence_id;

-- By hand.
SELECT marketing.set_stage(4, 'mql'), marketing.set_stage('customers:4', 'mql');
SELECT marketing.set_stage(4, 'lead');
SELECT marketing.set_stage(4, 'lead', backwards => true);
SELECT marketing.set_stage(4, 'leed');
SELECT marketing.set_stage(99, 'lead');
SELECT stage, until IS NULL AS now, origin FROM marketing.stage_history(4);
SELECT string_agg(contact, ' ') FROM marketing.segment_members('came');

-- A segment that a rule names is defined anew.
SELECT marketing.define_segment('romans', 'city = ''Roma'''), marketing.define_stage('local', 60, 'in segment romans');
SELECT marketing.define_segment('romans', 'city = ''Rome'' AND stage lead');
CALL marketing.work();
SELECT stage, origin FROM marketing.stage_history(4) LIMIT 1;
SELECT stage, contacts FROM marketing.stages;

-- Merged, dropped.
SELECT marketing.merge_contacts(5, 4);
SELECT stage, origin FROM marketing.stage_history(5);
SELECT stage, reached FROM marketing.stages;
SELECT marketing.split_contact(4) IS NOT NULL;
SELECT count(*) FROM marketing.stage_history(5);
SELECT stage, origin FROM marketing.stage_history(4) LIMIT 1;
SELECT stage, contacts, reached FROM marketing.stages;
-- Split after he went on: he went there from where he was himself.
SELECT marketing.define_stage('top', 65), marketing.set_stage(5, 'subscriber');
SELECT marketing.merge_contacts(5, 4), marketing.set_stage(5, 'top');
SELECT from_stage, to_stage, origin FROM marketing_internal.stage_change WHERE contact_id = (SELECT contact_id FROM marketing_internal.contact_key WHERE external_id = '5') ORDER BY change_id;
SELECT marketing.split_contact(4);
SELECT from_stage, to_stage, origin FROM marketing_internal.stage_change WHERE contact_id = (SELECT contact_id FROM marketing_internal.contact_key WHERE external_id = '5') ORDER BY change_id;
SELECT stage, contacts FROM marketing.stages WHERE place IN (10, 60, 65);
-- Split after he was moved back to where he had been: he never went.
SELECT marketing.set_stage(5, 'subscriber', true), marketing.merge_contacts(5, 4), marketing.set_stage(5, 'subscriber', true);
SELECT marketing.split_contact(4);
SELECT from_stage, to_stage, origin FROM marketing_internal.stage_change WHERE contact_id = (SELECT contact_id FROM marketing_internal.contact_key WHERE external_id = '5') ORDER BY change_id;
SELECT marketing.set_stage(5, 'top');
SELECT marketing.set_stage(1, 'fan');
SELECT marketing.drop_stage('fan');
SELECT marketing.drop_stage('mql'), marketing.drop_stage('subscriber');
SELECT marketing.drop_stage('customer');
SELECT marketing.drop_score_model('lead');
SELECT marketing.drop_stage('mql');
SELECT marketing.drop_segment('romans');

-- Who fails rests alone, and the others go on.
SELECT marketing.set_clock('2026-04-01 12:00+00');
INSERT INTO customers SELECT i, 'Oslo' FROM generate_series(11, 16) AS i;
SELECT marketing.define_stage('quick', 70, 'any ordered where (10 / total > 1)'), marketing.define_stage('old', 80, 'last ordered where (10 / total > 1) more than 10 days ago');
CALL marketing.work();
INSERT INTO orders SELECT i, i, '2026-04-01 12:00+00', CASE WHEN i = 12 THEN 0 ELSE 5 END FROM generate_series(11, 14) AS i;
CALL marketing.work();
SELECT stage, contacts FROM marketing.stages WHERE place >= 70;
UPDATE orders SET total = 1 WHERE id = 12;
CALL marketing.work();
UPDATE orders SET total = 0 WHERE id = 13;
SELECT marketing.set_clock('2026-04-20 12:00+00');
CALL marketing.work();
SELECT stage, contacts FROM marketing.stages WHERE place >= 70;
SELECT marketing_internal.contact_text(contact_id) AS contact, wake FROM marketing_internal.contact_stage WHERE wake < 'infinity';

-- A definition starts no journey, and who comes after it does.
SELECT marketing.define_segment('nordic', 'city = ''Malmo'''), marketing.define_stage('north', 90, 'in segment nordic');
CALL marketing.work();
SELECT max(occurrence_id) AS last FROM marketing_internal.occurrence \gset
SELECT marketing.define_segment('nordic', 'city = ''Oslo''');
CALL marketing.work();
INSERT INTO customers VALUES (17, 'Oslo');
CALL marketing.work();
SELECT marketing_internal.contact_text(contact_id) AS contact, properties, enroll FROM marketing_internal.occurrence WHERE occurrence_id > :last ORDER BY contact_id;
SELECT stage, contacts FROM marketing.stages WHERE place >= 70;
SELECT marketing.define_stage('follows', 100, 'stage north');
SELECT marketing.drop_stage('north');

-- No rule is left: what is due then is taken away.
SELECT marketing.define_stage(stage, place) FROM (SELECT stage, place FROM marketing.stages WHERE rule IS NOT NULL ORDER BY place) AS s;
UPDATE marketing_internal.contact_stage SET wake = '2026-04-19 12:00+00' WHERE contact_id < 4;
SET statement_timeout = '30s';
CALL marketing.work();
SELECT count(*) FROM marketing_internal.contact_stage WHERE wake <= marketing.now();

-- The database has another time zone: what is defined from now on goes by it.
SELECT current_database() AS db \gset
SELECT marketing.set_clock('2026-05-01 01:00+00');
SELECT marketing.define_stage('daily', 110, 'count(ordered) today >= 9');
ALTER DATABASE :"db" SET timezone = 'Asia/Tokyo';
SELECT marketing.define_stage('daily', 110, 'count(ordered) today >= 2');
SELECT name, time_zone FROM marketing_internal.stage WHERE rule IS NOT NULL;
-- 23:30 and 00:30 UTC are one day there.
INSERT INTO customers VALUES (21, 'Bari');
INSERT INTO orders VALUES (91, 21, '2026-04-30 23:30+00', 1), (92, 21, '2026-05-01 00:30+00', 1);
CALL marketing.work();
SELECT stage, contacts FROM marketing.stages WHERE place = 110;
-- An earlier stage that fits him takes him not back.
SELECT marketing.define_stage('early', 5, 'city = ''Bari''');
SELECT stage FROM marketing.stage_history(21);
ALTER DATABASE :"db" RESET timezone;
DROP EXTENSION marketing_automation;
