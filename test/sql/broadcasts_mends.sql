-- Broadcasts that cannot go on: each by itself, and nobody gets what was stopped.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
CREATE INDEX ON orders (person, at);
SELECT marketing.set_clock('2026-11-26 12:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template(t, topic => 'news', subject => t, html => '<p>Hi</p>') IS NOT NULL FROM unnest('{letter,bf_a,bf_b}'::text[]) AS t;
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 60) AS i;
CALL marketing.work();
CREATE FUNCTION test(name text, measure text) RETURNS text LANGUAGE sql AS $$
	SELECT marketing.define_broadcast(name, format('{"audience": "id <= 40", "test": {"variants": {"a": "bf_a", "b": "bf_b"}, "share": 0.5, "measure": {"event": "%s"}, "after": "1 hour", "no_winner": "b"}}', measure)::jsonb);
	SELECT marketing.launch_broadcast(name) $$;
CREATE FUNCTION later(minutes int) RETURNS void LANGUAGE sql AS $$ SELECT marketing.set_clock(marketing.now() + make_interval(mins => minutes)) $$;
CREATE VIEW sent AS SELECT journey, split_part(step, ' ', 1) AS part, count(*) > 0 AS any FROM marketing_internal.message_log WHERE state = 'sent' GROUP BY 1, 2;
CREATE VIEW casts AS SELECT broadcast, state, winner, decided FROM marketing.broadcasts;

-- The table of the measure is gone: another broadcast goes out all the same, and after ten tries it is the variant that was named.
SELECT test('aa', 'ordered') ~ 'in the test$';
CALL marketing.work();
CALL marketing.work();
DROP TABLE orders;
SELECT later(61);
SELECT marketing.define_broadcast('zz', '{"audience": "id > 40", "send": "letter"}');
SELECT marketing.launch_broadcast('zz');
CALL marketing.work();
SELECT * FROM casts ORDER BY broadcast;
SELECT * FROM sent ORDER BY 1, 2;
SELECT tries, next_at FROM marketing_internal.broadcast WHERE name = 'aa';
CALL marketing.work();
SELECT tries, next_at FROM marketing_internal.broadcast WHERE name = 'aa';
\set ECHO none
\o /dev/null
SELECT format('SELECT later(1);'), 'CALL marketing.work();' FROM generate_series(1, 9) \gexec
\o
\set ECHO all
SELECT * FROM casts ORDER BY broadcast;
SELECT * FROM sent ORDER BY 1, 2;
SELECT count(*) FROM marketing_internal.message_log WHERE journey = 'aa' AND state = 'sent';

-- Its journey is archived, or drained, while the test goes on: the winner is not sent, and it is cancelled.
SELECT count(test(b, 'email_opened')) FROM unnest('{stop1,stop2}'::text[]) AS b;
CALL marketing.work();
CALL marketing.work();
SELECT regexp_replace(marketing.archive_journey('stop1'), '\d+$', 'N');
SELECT regexp_replace(marketing.drain_journey('stop2'), '\d+$', 'N');
SELECT later(61);
CALL marketing.work();
SELECT later(360);
CALL marketing.work();
SELECT * FROM casts WHERE broadcast LIKE 'stop%';
SELECT * FROM sent WHERE journey LIKE 'stop%' ORDER BY 1, 2;
SELECT count(*) FROM marketing_internal.broadcast_audience WHERE NOT tested;
SELECT state, closed FROM marketing.journeys JOIN marketing_internal.journey ON name = journey WHERE journey LIKE 'stop%';

-- The journey of what was launched goes with its broadcast only; one that is gone is in nobody's way.
SELECT marketing.define_broadcast('kept', '{"audience": "true", "send": "letter"}');
SELECT marketing.launch_broadcast('kept');
SELECT marketing.drop_journey('kept');
SELECT marketing.define_broadcast(b, '{"audience": "true", "send": "letter"}') FROM unnest('{gone,gone2}'::text[]) AS b;
SELECT marketing.launch_broadcast(b) FROM unnest('{gone,gone2}'::text[]) AS b;
DELETE FROM marketing_internal.journey WHERE name IN ('gone', 'gone2');
SELECT marketing.cancel_broadcast('gone');
CALL marketing.work();
SELECT * FROM casts WHERE broadcast LIKE 'gone%';
SELECT marketing.drop_broadcast(b) FROM unnest('{gone,gone2,kept}'::text[]) AS b;
SELECT count(*) FROM marketing.journeys WHERE journey = 'kept';

-- Who has launched it is there no more: nobody else's rights are taken, and it waits for him.
CREATE ROLE regress_launcher;
GRANT USAGE ON SCHEMA marketing TO regress_launcher;
GRANT EXECUTE ON FUNCTION marketing.launch_broadcast(text), marketing.define_broadcast(text, jsonb) TO regress_launcher;
GRANT SELECT ON people TO regress_launcher;
SET ROLE regress_launcher;
SELECT test('theirs', 'email_opened') ~ 'in the test$';
RESET ROLE;
CALL marketing.work();
CALL marketing.work();
ALTER ROLE regress_launcher RENAME TO regress_renamed;
SELECT later(61);
CALL marketing.work();
SELECT * FROM casts WHERE broadcast = 'theirs';
SELECT v.version, v.activated_by FROM marketing_internal.journey_version AS v JOIN marketing_internal.journey AS j USING (journey_id) WHERE name = 'theirs' ORDER BY 1;
SELECT value, detail ~ 'broadcast "theirs": role "regress_launcher" does not exist' AS told FROM marketing.status WHERE item = 'last error';
ALTER ROLE regress_renamed RENAME TO regress_launcher;
SELECT later(1);
CALL marketing.work();
SELECT broadcast, state, winner FROM casts WHERE broadcast = 'theirs';
SELECT v.version, v.activated_by FROM marketing_internal.journey_version AS v JOIN marketing_internal.journey AS j USING (journey_id) WHERE name = 'theirs' ORDER BY 1;
SELECT marketing.drop_broadcast('theirs');
DROP OWNED BY regress_launcher;
DROP ROLE regress_launcher;
DROP VIEW casts, sent;
