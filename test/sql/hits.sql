-- Tracked links and openings: what a mail holds, what a token can do, verdicts, events.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email,sms}', consent => 'opt_out');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text);
INSERT INTO customers VALUES (1, 'ada@example.com', '+908505550101'), (2, 'bob@example.com', NULL);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
SELECT marketing.define_template('news', topic => 'offers', subject => 'News', html => $$<html><BODY class="x">
<a href="https://shop.example/one?a=1&amp;b=2#top">one</a> <A title="a > b" HREF = 'https://shop.example/two?q=&quot;x&quot;'>two</A>
<a href=https://shop.example/three data-no-track>three</a> <a href=https://shop.example/four>four</a>
<a href="mailto:x@shop.example">mail</a> <a href="{{ unsubscribe_url }}">stop</a> <a name="anchor">anchor</a>
<!--[if mso]><v:roundrect href="https://shop.example/one?a=1&amp;b=2#top"><![endif]-->
<a href="https://shop.example/broken>no end</a></BODY></html>$$);
SELECT marketing.define_template('news_sms', topic => 'offers', channel => 'sms', text => 'See {{ url | track }} or {{ none | track }}');
SELECT marketing.define_template('tagged', topic => 'offers', subject => 'x', utm => '{"source": "shop & co", "content": "x", "medium": null}',
	html => '<a href="https://shop.example/?utm_campaign=own&amp;a=b">a</a> <a href="https://shop.example/#f">b</a>', text => '{{ "https://shop.example/t?" | track }}');
SELECT text FROM marketing.preview_message(1, 'tagged');
SELECT html FROM marketing.preview_message(1, 'tagged');
SELECT marketing.define_template('wrong', topic => 'offers', subject => 'x', text => 'x', utm => '{"sorce": "x"}');
SELECT marketing.define_template('wrong', topic => 'offers', subject => 'x', text => 'x', utm => '{"source": 1}');
SELECT marketing.define_template('wrong', topic => 'offers', subject => 'x', text => 'x', utm => '[]');

CREATE FUNCTION mail(message bigint) RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), E'\r', ''), '=2D', '-'), '=3D', '=')
	FROM marketing.messages WHERE messages.message = $1 $$;
CREATE FUNCTION tokens(message bigint, kind text) RETURNS TABLE (n bigint, token text) LANGUAGE sql AS $$
	SELECT n, m[1] FROM regexp_matches(mail(message), '/' || kind || '/([A-Za-z0-9_-]+)', 'g') WITH ORDINALITY AS r (m, n) $$;
SELECT marketing.send_message(1, 'news') AS news, marketing.send_message(1, 'news_sms', '{"url": "https://shop.example/sms"}') AS sms, marketing.send_message(2, 'news') AS bob \gset
CALL marketing.work();
-- without the tokens
SELECT regexp_replace(substring(mail(:news) FROM '<html>.*</html>'), '/([ocu])/[A-Za-z0-9_-]+', '/\1/TOKEN', 'g');
SELECT regexp_replace(mail(:sms)::jsonb ->> 'text', '/c/[A-Za-z0-9_-]+', '/c/TOKEN');
SELECT url FROM marketing_internal.link ORDER BY url;

-- rules and a journey of what happens
SELECT marketing.define_segment('openers', 'any email_opened in 30 days'), marketing.define_segment('clickers', $$any email_clicked where (url like '%/two%') in 30 days$$),
	marketing.define_segment('scanned', 'any email_clicked where (machine) in 30 days'), marketing.define_segment('texted', 'count(sms_clicked) in 7 days >= 1'),
	marketing.define_segment('answered', 'any email_sent where (clicked_at is not null) in 30 days');
SELECT marketing.define_template('thanks', topic => 'offers', subject => 'Thanks', text => 'Thanks');
SELECT marketing.define_journey('follow', $${"entry": {"event": "email_clicked", "where": "template = 'news'"}, "steps": [{"send": "thanks"}]}$$);
SELECT marketing.activate_journey('follow');
CREATE VIEW who AS SELECT s.name, marketing.in_segment(1, s.name) AS ada, marketing.in_segment(2, s.name) AS bob
	FROM unnest('{openers,clickers,scanned,texted,answered}'::text[]) AS s (name);
CREATE VIEW hits AS SELECT contact, channel, kind, to_char(occurred_at AT TIME ZONE 'UTC', 'HH24:MI:SS') AS at, url, template, machine, verdict FROM marketing.message_hits ORDER BY occurred_at, url;

-- too soon for a person; then one; an opening by Apple's proxy, by a bot, by HEAD, ahead
SELECT token AS open FROM tokens(:news, 'o') \gset
SELECT token AS one FROM tokens(:news, 'c') WHERE n = 1 \gset
SELECT token AS two FROM tokens(:news, 'c') WHERE n = 2 \gset
SELECT token AS four FROM tokens(:news, 'c') WHERE n = 3 \gset
SELECT marketing.record_open(:'open');
SELECT * FROM who;
SELECT marketing.set_clock('2026-03-01 10:01+00');
SELECT marketing.record_open(:'open', 'Mozilla/5.0'), marketing.record_open(:'open', 'LinkBot/1.0'), marketing.record_open(:'open', method => 'HEAD'),
	marketing.record_open(:'open', purpose => 'prefetch'), marketing.record_open(:'open', '');
SELECT * FROM who;
SELECT marketing.record_open(:'open', 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET');
SELECT * FROM who;
SELECT marketing.set_clock('2026-03-01 10:02+00');
SELECT marketing.record_click(:'two');
SELECT * FROM who;
SELECT token AS smsclick FROM regexp_matches(mail(:sms), '/c/([A-Za-z0-9_-]+)') AS m, unnest(m) AS token \gset
SELECT marketing.record_click(:'smsclick');
-- a burst: three links within ten seconds are no person's, the first two neither
SELECT token AS b1 FROM tokens(:bob, 'c') WHERE n = 1 \gset
SELECT token AS b2 FROM tokens(:bob, 'c') WHERE n = 2 \gset
SELECT token AS b3 FROM tokens(:bob, 'c') WHERE n = 3 \gset
SELECT marketing.record_click(:'b1'), marketing.record_click(:'b2');
SELECT * FROM who;
SELECT marketing.record_click(:'b3');
SELECT * FROM who;
SELECT * FROM hits;
CALL marketing.work();
SELECT contact, template, state FROM marketing.messages WHERE journey = 'follow' ORDER BY contact;

-- what is not ours
SELECT marketing.record_click(:'open');
SELECT marketing.record_open(:'one');
SELECT marketing.record_click('');
SELECT marketing.record_click(NULL);
SELECT marketing.record_click(repeat('A', 1000));
SELECT marketing.record_click(:'one' || 'A');
SELECT marketing.record_click(:'one' || '=');
-- no change of one letter gives another token
CREATE FUNCTION forged(token text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM marketing.record_click(token); RETURN true; EXCEPTION WHEN invalid_parameter_value THEN RETURN false; END $$;
SELECT count(*) > 2000 AS tried, count(*) FILTER (WHERE forged(f)) AS accepted FROM (SELECT overlay(:'one' PLACING c FROM i FOR 1) AS f
	FROM generate_series(1, length(:'one') - 1) AS i, regexp_split_to_table('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', '') AS c) AS x WHERE f <> :'one';
-- a link that is not stored any more leads nowhere
BEGIN; DELETE FROM marketing_internal.link; SELECT marketing.record_click(:'one'); ROLLBACK;
-- not more than so many
SELECT count(marketing.record_open(:'open')) FROM generate_series(1, 300);
SELECT count(*) FROM marketing.message_hits WHERE message = :news;
SELECT marketing.record_click(:'one');
-- a consent is never changed
SELECT count(*) FROM marketing_internal.consent_entry;
-- switched off
SELECT marketing.configure('track_links', 'off'), marketing.configure('track_opens', 'no');
SELECT marketing.send_message(2, 'news') AS plain \gset
CALL marketing.work();
SELECT count(*) FILTER (WHERE kind = 'o') + count(*) FILTER (WHERE kind = 'c') AS tracked FROM (VALUES ('o'), ('c')) AS k (kind), tokens(:plain, kind);
SELECT mail(:plain) LIKE '%href="https://shop.example/one?a=1&amp;b=2#top"%' AS as_it_was;
SELECT marketing.configure('utm_source', 'shop');
SELECT marketing.define_template('thanks', topic => 'offers', subject => 'Thanks', html => '<a href="https://shop.example/">x</a>');
SELECT html FROM marketing.preview_message(1, 'thanks');
-- a token has one form: bits of its last character that say nothing are no other one
SELECT count(*) FROM regexp_split_to_table('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', '') AS c
	WHERE (marketing.web_request('GET', '/o/' || left(:'open', -1) || c, '{}', NULL, NULL)).status = 200;
