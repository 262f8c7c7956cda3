-- The zone that is taken where none is given is the database's, whatever the session has set; consent
-- columns that are mapped later are counted in the answer.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET timezone = 'Europe/Istanbul';
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'Asia/Tokyo';
CREATE TABLE people (id int PRIMARY KEY, email text, news boolean, staff boolean DEFAULT false);
CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people, at timestamp);
INSERT INTO people SELECT i, 'p' || i || '@example.com', i % 2 = 0, i = 4 FROM generate_series(1, 5) AS i;
SELECT marketing.define_topic('news');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', exclude => 'staff');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', exclude => 'staff', consent => '{"news/email": "news"}');
SELECT contact, state FROM marketing.consent_state ORDER BY 1;
CALL marketing.work();
SELECT contact, state FROM marketing.consent_state ORDER BY 1;
SELECT count(*) FROM marketing_internal.consent;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at') LIKE '%orders%';
SELECT marketing.define_segment('s', 'any order_placed today');
SELECT marketing.define_score_model('lead');
SELECT time_zone FROM marketing_internal.event_source UNION ALL SELECT time_zone FROM marketing_internal.segment
	UNION ALL SELECT time_zone FROM marketing_internal.score_model;
