-- marketing.web_request(): GET shows, POST acts; forged links; the shop's own pages; its one right.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\pset null -
SELECT marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_topic('offers', 'Offers & <news>', consent => 'opt_out'),
	marketing.define_topic('letter', consent => 'double_opt_in', confirm => 'please_confirm');
SELECT marketing.define_template('please_confirm', topic => 'transactional', subject => 'Confirm', text => '{{ confirm_url }}');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', text => '{{ unsubscribe_url }} ');
SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Receipt', text => '{{ unsubscribe_url }} ');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.subscribe(1, 'letter');
SELECT marketing.send_message(1, 'offer') > 0, marketing.send_message(1, 'receipt') > 0;
CALL marketing.work();
CREATE FUNCTION path_of(name text) RETURNS text LANGUAGE sql AS $$
	SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'http://localhost(/[-_A-Za-z0-9/]+)'))[1]
	FROM marketing.messages WHERE template = name AND contact = '1' $$;
SELECT path_of('please_confirm') AS confirm, path_of('offer') AS offer, path_of('receipt') AS receipt \gset
CREATE FUNCTION ask(method text, path text, content text DEFAULT NULL) RETURNS TABLE (status int, content_type text, location text, said text)
	LANGUAGE sql AS $$
	SELECT status, content_type, location, regexp_replace(regexp_replace(convert_from(page, 'UTF8'), '<style>.*</style>', ''), '\n', '', 'g')
	FROM marketing.web_request(method, path, '{"user-agent": "test"}', convert_to(content, 'UTF8')) $$;
CREATE VIEW consent AS SELECT contact, topic, channel, state FROM marketing.consent_state ORDER BY 1, 2, 3;

-- Whoever fetches the links changes nothing.
SELECT * FROM consent;
SELECT * FROM ask('GET', :'offer');
SELECT status, left(said, 15) AS said FROM ask('HEAD', :'offer') UNION ALL SELECT status, left(said, 15) FROM ask('GET', :'confirm');
SELECT * FROM consent;
-- The button, and the one-click of mail programs, which is the same.
SELECT status, said FROM ask('POST', :'offer', 'List-Unsubscribe=One-Click');
SELECT status, said FROM ask('POST', :'offer');
SELECT status, said FROM ask('POST', :'confirm');
SELECT status FROM ask('POST', :'confirm');
SELECT * FROM consent;

-- Openings and clicks: the link leads where the message said, and nowhere else.
SELECT marketing.define_template('news', topic => 'transactional', subject => 'News', html => '<a href="https://shop.example/ürün?a=1&amp;b=2">x</a>');
SELECT marketing.send_message(2, 'news') > 0;
CALL marketing.work();
SELECT replace(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-'), '=3D', '=') AS mail
	FROM marketing.messages WHERE template = 'news' \gset
SELECT marketing.set_clock('2026-03-01 13:00+00');
SELECT substring(:'mail' FROM '/c/[-_A-Za-z0-9]+') AS click, substring(:'mail' FROM '/o/[-_A-Za-z0-9]+') AS open \gset
SELECT status, content_type, location, encode(page, 'hex') AS page FROM marketing.web_request('GET', :'open', '{"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0"}');
SELECT status, content_type, location, encode(page, 'hex') AS page FROM marketing.web_request('GET', :'click', '{"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0"}');
SELECT status, location FROM ask('HEAD', :'click');
SELECT status, location FROM marketing.web_request('GET', :'click', '{"user-agent": "Mozilla/5.0", "sec-purpose": "prefetch"}');
SELECT kind, url, machine, verdict FROM marketing.message_hits ORDER BY occurred_at, kind, verdict;
SELECT status, location FROM unnest(ARRAY[:'click' || 'A', replace(:'click', '/c/', '/o/'), replace(:'open', '/o/', '/c/'), '/c/', '/c/x', '/o/x']) AS p, LATERAL ask('GET', p);
SELECT status, location FROM ask('POST', :'click') UNION ALL SELECT status, location FROM ask('POST', :'open');

-- What is not ours: forged, cut, of the other kind, of a topic without consent, of one that is gone.
SELECT status, said LIKE '%This link is not valid%' AS gone FROM unnest(ARRAY['/u/', '/u/x', :'offer' || 'A', left(:'offer', -1),
	replace(:'offer', '/u/', '/confirm/'), replace(:'confirm', '/confirm/', '/u/'), '/u' || repeat('/', 100), '/u/' || repeat('A', 10000),
	:'receipt', '', '/', 'u', '/unknown/x', '/health/x', :'offer' || '?x=1']) WITH ORDINALITY AS p (path, n),
	LATERAL ask('POST', path) ORDER BY n;
SELECT status, said FROM ask('GET', '/health');
SELECT status FROM unnest(ARRAY['PUT', 'DELETE', 'get', '']) AS m, LATERAL ask(m, :'offer');
SELECT status FROM ask('POST', '/health');
SELECT marketing.drop_template('offer'), marketing.drop_topic('offers');
SELECT status FROM ask('POST', :'offer');

-- The shop's own page, and one that fails: what was done stays done.
SELECT marketing.define_topic('offers', 'Fırsatlar', consent => 'opt_out');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', text => '{{ unsubscribe_url }} ');
DELETE FROM customers WHERE id = 1;
INSERT INTO customers VALUES (3, 'c@example.com');
SELECT marketing.send_message(3, 'offer') > 0;
CALL marketing.work();
SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'http://localhost(/[-_A-Za-z0-9/]+)'))[1] AS offer
	FROM marketing.messages WHERE contact = '3' \gset
SELECT marketing.define_snippet('web_page', '<h1>{{ page }}: {{ topic.description }} {{ topic.name }} {{ channel }}</h1>');
SELECT * FROM ask('GET', :'offer');
SELECT marketing.define_snippet('web_page', '{{ topic.name | divided_by: 0 }}');
SELECT status, said LIKE '%<h1>Unsubscribed</h1>%' AS plain FROM ask('POST', :'offer');
SELECT * FROM consent WHERE contact = '3';
SELECT marketing.define_snippet('web_page', '{% abort "no" %}');
SELECT status, said LIKE '%<h1>Unsubscribe</h1>%' AS plain FROM ask('GET', :'offer');

-- All the role of the endpoint needs.
CREATE ROLE regress_web;
GRANT USAGE ON SCHEMA marketing TO regress_web;
SET ROLE regress_web;
SELECT status FROM marketing.web_request('GET', '/health');
RESET ROLE;
GRANT EXECUTE ON FUNCTION marketing.web_request(text, text, jsonb, bytea, inet) TO regress_web;
SET ROLE regress_web;
SELECT status FROM marketing.web_request('POST', :'offer');
SELECT count(*) FROM marketing.consent_state;
SELECT marketing.unsubscribe_by_token('x');
RESET ROLE;
SELECT marketing.web_request(NULL, '/');
SELECT marketing.web_request('GET', NULL);
SELECT marketing.web_request('GET', '/', '[]');

DROP VIEW consent;
DROP EXTENSION marketing_automation;
REVOKE ALL ON SCHEMA public FROM regress_web;
DROP ROLE regress_web;
DROP FUNCTION ask, path_of;
DROP TABLE customers;
