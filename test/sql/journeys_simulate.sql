-- Simulated journeys: what a journey would have done is what it did, over random facts, and nothing is changed by asking.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, tz text, plan text, born date, renewal date);
CREATE TABLE orders (id bigint PRIMARY KEY, person bigint REFERENCES people, total int, at timestamptz);
CREATE TABLE carts (id bigint PRIMARY KEY, cart int, person bigint REFERENCES people, items int, at timestamptz);
CREATE INDEX ON orders (person, at);
CREATE INDEX ON carts (person, at);
CREATE FUNCTION random_of(seed text, n int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT abs(hashtext(md5(seed)) % n) $$;
SELECT marketing.set_clock('2026-03-20 00:00+00');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('carts', event => 'cart_left', contact => 'person', occurred_at => 'at', condition => 'items > 0') IS NOT NULL;
SELECT marketing.declare_event('called', '{"topic": "text"}');
SELECT marketing.define_topic('news', 'News', channels => '{email,sms}', consent => 'opt_out');
SELECT marketing.define_topic('deals', 'Deals', channels => '{email,sms}', consent => 'opt_out');
SELECT marketing.define_template(t, topic => 'news', subject => 'Hi', text => 'Hello') IS NOT NULL FROM unnest('{letter,offer,last_call}'::text[]) AS t;
SELECT marketing.define_template('deal', topic => 'deals', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_template('bill', topic => 'transactional', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_template('sms', topic => 'news', channel => 'sms', text => 'Hello') IS NOT NULL;
SELECT marketing.define_list('done');
INSERT INTO people SELECT i, CASE WHEN i % 7 > 0 THEN 'p' || i || '@example.com' END, CASE WHEN i % 3 > 0 THEN '+90850555' || 1000 + i END,
	(ARRAY['Europe/Istanbul', 'America/New_York', NULL])[1 + i % 3], (ARRAY['free', 'pro'])[1 + i % 2],
	CASE WHEN i % 4 > 0 THEN make_date(1980 + i, 3, 26 + i % 6) END, CASE WHEN i % 5 > 0 THEN date '2026-03-22' + i / 3 END FROM generate_series(1, 30) AS i;
SELECT marketing.define_segment('quiet_buyers', $$ last ordered more than 2 days ago $$);
SELECT marketing.define_segment('eager', $$ count(cart_left) in 2 days >= 2 and no ordered in 1 day $$, time_zone => 'Asia/Tokyo');
SELECT marketing.define_cap('deals', 2, '3 days', topic => 'deals', when_over => 'defer');
SELECT marketing.define_cap('letters', 3, 'day', topic => 'news', channel => 'email', when_over => 'skip');
SELECT marketing.set_quiet_hours('sms', '21:00', '08:00');
-- Nobody is held to the caps of two journeys at one instant: each topic is of one journey alone.
CREATE TABLE definitions (name text, definition jsonb);
INSERT INTO definitions VALUES
('cart', '{"entry": {"event": "cart_left", "where": "items > 1", "key": "cart", "on_repeat": "restart"}, "reentry": "per_key", "max_live": 2, "goal": {"event": "ordered", "where": "total > 5", "within": "3 days"}, "filter": "plan = ''pro'' or any ordered in 10 days",
	"exit_on": [{"event": "ordered", "where": "total > entry.items"}, {"if": "count(ordered) in 1 day >= 2"}],
	"steps": [{"wait": "2 hours"}, {"branch": [{"if": "any ordered in 5 days", "then": [{"wait": "3 hours"}]}, {"if": "plan = ''pro''", "then": [{"wait": "1 day"}]}, {"else": [{"wait": "5 hours"}]}]},
		{"wait_until": [{"event": "ordered", "then": [{"exit": "bought"}]}, {"event": "called", "where": "topic = ''help''", "since": "entry", "then": [{"add_to_list": "done"}]}, {"if": "sum(ordered.total) in 20 days > 30"}],
			"timeout": "7 hours", "else": [{"wait": "1 hour"}]}, {"exit": "end"}]}'),
('lapsed', '{"entry": {"segment_entered": "quiet_buyers"}, "reentry": "after_exit", "exit_on": [{"event": "ordered"}], "holdout": 0.2, "milestones": [{"name": "call", "event": "called"}, {"name": "cart", "event": "cart_left", "within": "1 day"}],
	"steps": [{"send": "deal", "id": "first"}, {"wait": "7 hours"}, {"split": [{"share": 0.4, "name": "a", "then": [{"send": "deal", "id": "second"}]}, {"share": 0.3, "then": [{"wait": "1 day"}]}, {"else": [{"exit": "control"}]}]},
		{"wait_for_time": {"at": "09:00"}}, {"send": "deal", "id": "third", "otherwise": [{"exit": "not sent"}]}, {"goto": "first", "at_most": 1}]}'),
('eager', '{"entry": {"segment_entered": "eager"}, "reentry": {"every": "30 hours"}, "send_window": {"between": ["10:00", "17:00"], "days": ["mon", "tue", "wed", "thu", "fri", "sat"]}, "quiet_hours": {"from": "12:00", "to": "14:00"},
	"steps": [{"send": "letter", "otherwise": [{"send": "sms", "otherwise": [{"exit": "neither"}]}]}, {"wait_until": {"event": "email_opened", "step": "letter"}, "timeout": "4 hours", "else": [{"send": "offer"}]},
		{"update": {"seen": "yes"}}, {"send": "last_call", "nowait": true}, {"wait": "1 day"}, {"exit": "out"}]}'),
('left', '{"entry": {"segment_left": "eager"}, "reentry": "always", "max_live": 3, "exit_on": [{"if": "any cart_left where (items > entry.nothing) or last ordered more than 4 days ago"}], "steps": [{"wait": "1 day"}, {"wait_until": {"if": "in segment eager"}, "timeout": "2 days"}, {"notify": "left"}]}'),
('birthday', '{"entry": {"anniversary": "born", "offset": "-1 day", "at": "10:30"}, "filter": "plan = ''pro'' or any cart_left in 20 days", "steps": [{"wait": "2 hours"}, {"wait_for_time": {"date": "renewal", "offset": "1 day", "at": "09:00"}}, {"send": "bill"}, {"wait": "1 day"}, {"exit": "done"}]}'),
('renewal', '{"entry": {"date": "renewal", "at": "08:00"}, "reentry": "per_key", "steps": [{"wait_until": {"event": "ordered"}, "timeout": "1 day", "else": [{"send": "bill", "id": "again"}]}]}'),
('once', '{"entry": {"event": "ordered"}, "reentry": "once", "goal": {"event": "called", "target": 0.5}, "exit_on": [{"event": "goal_reached"}], "max_lateness": "3 hours", "steps": [{"wait": "9 hours"}, {"send": "sms", "id": "ping", "otherwise": [{"wait": "1 hour"}]}, {"wait_until": {"event": "sms_sent", "step": "ping", "since": "entry"}, "timeout": "5 hours", "else": [{"exit": "no sms"}]}, {"exit": "sms"}]}');
UPDATE definitions SET definition = '{"entry": {"segment_left": "eager"}, "reentry": "always", "max_live": 3, "exit_on": [{"if": "last ordered more than 4 days ago"}], "steps": [{"wait": "1 day"}, {"wait_until": {"if": "in segment eager"}, "timeout": "2 days"}, {"notify": "left"}]}' WHERE name = 'left';
-- A few facts from before.
INSERT INTO orders SELECT 10000 + i, 1 + random_of('o' || i, 30), random_of('t' || i, 9), '2026-03-10 00:00+00'::timestamptz + random_of('a' || i, 200) * interval '1 hour' FROM generate_series(1, 40) AS i;
CALL marketing.work();
SELECT marketing.set_clock('2026-03-25 00:00+00');
CALL marketing.work();
SELECT marketing.define_journey(name, definition) FROM definitions ORDER BY name;
SELECT marketing.activate_journey(name, existing => CASE WHEN definition -> 'entry' ? 'segment_entered' THEN 'skip' END) FROM definitions ORDER BY name;

-- What happens, each fact at its instant, with the scheduler's turn after it, and one a moment later, when what must not be late expires. The
-- clocks of March change in Istanbul's neighbours, not here; those of New York did before.
\set ECHO none
\o /dev/null
SELECT format('SELECT marketing.set_clock(%L);', t), CASE random_of(t || 'what', 7)
	WHEN 0 THEN format('INSERT INTO orders VALUES (%s, %s, %s, %L);', n, 1 + random_of(t || 'who', 30), random_of(t || 'total', 20), t)
	WHEN 1 THEN format('INSERT INTO carts VALUES (%s, %s, %s, %s, %L);', n, random_of(t || 'cart', 50), 1 + random_of(t || 'who', 12), random_of(t || 'items', 5), t)
	WHEN 2 THEN format('INSERT INTO carts VALUES (%s, %s, %s, %s, %L);', n, random_of(t || 'cart', 50), 1 + random_of(t || 'who', 30), random_of(t || 'items', 5), t)
	WHEN 3 THEN format('INSERT INTO carts VALUES (%s, %s, %s, %s, %L);', n, random_of(t || 'cart', 5), 1 + random_of(t || 'who', 9), random_of(t || 'items', 5), t)
	WHEN 4 THEN format('SELECT marketing.track(%s, ''called'', ''{"topic": "%s"}'');', 1 + random_of(t || 'who', 30), (ARRAY['help', 'thanks'])[1 + random_of(t || 'topic', 2)])
	WHEN 5 THEN CASE random_of(t || 'rare', 12) WHEN 0 THEN format('SELECT marketing.unsubscribe(%s, %L, %L);', 1 + random_of(t || 'who', 30), (ARRAY['news', 'deals'])[1 + random_of(t || 'topic', 2)], 'email')
		WHEN 1 THEN format('SELECT marketing.suppress(%L, ''email'', ''complaint'');', 'p' || 1 + random_of(t || 'who', 30) || '@example.com') END
	END AS f, 'CALL marketing.work();', format('SELECT marketing.set_clock(%L);', t + interval '1 microsecond'), 'CALL marketing.work();'
FROM generate_series('2026-03-25 01:00+00'::timestamptz, '2026-04-02 00:00+00', interval '30 minutes') WITH ORDINALITY AS g (t, n) ORDER BY t \gexec
\o
\set ECHO all
CREATE TABLE counts AS SELECT what, count(*) AS n FROM marketing_internal.enrollment_log GROUP BY what;
SELECT what, n > 5 AS often FROM counts WHERE what IN ('entered', 'refused', 'message', 'sent', 'not sent', 'branch', 'split', 'woken', 'timed out', 'exited', 'goto') ORDER BY what;

-- What was, and what would have been.
CREATE FUNCTION story(journey text) RETURNS TABLE (contact text, at timestamptz, step text, what text, detail text) LANGUAGE sql AS $$
	SELECT c.contact, l.at, l.step, l.what, regexp_replace(l.detail, ' #\d+$', '') FROM marketing_internal.enrollment_log AS l
	JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing.contacts AS c ON c._contact_id = l.contact_id WHERE j.name = journey $$;
CREATE FUNCTION before() RETURNS TABLE (name text, digest text) LANGUAGE plpgsql AS $$
	DECLARE r record; BEGIN
		FOR r IN SELECT c.oid::regclass::text AS t, relkind FROM pg_class AS c WHERE relnamespace IN ('marketing_internal'::regnamespace, 'public'::regnamespace) AND relkind IN ('r', 'S')
			AND relname NOT IN ('kept', 'definitions', 'counts', 'told') LOOP
			name := r.t;
			EXECUTE CASE r.relkind WHEN 'S' THEN format('SELECT last_value || is_called::text FROM %s', r.t) ELSE format('SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM %s AS t', r.t) END INTO digest;
			RETURN NEXT; END LOOP; END $$;
CREATE TABLE kept AS SELECT * FROM before();
CREATE TABLE told AS SELECT d.name AS journey, s.* FROM definitions AS d CROSS JOIN LATERAL marketing.simulate_journey(d.name, '2026-03-25 00:00+00') AS s;
SELECT d.name, count(*) FILTER (WHERE s.what = 'entered') > 5 AS entered,
	(SELECT count(*) FROM (SELECT * FROM story(d.name) EXCEPT ALL SELECT t.contact, t.at, t.step, t.what, t.detail FROM told AS t WHERE journey = d.name) AS x) AS missing,
	(SELECT count(*) FROM (SELECT t.contact, t.at, t.step, t.what, t.detail FROM told AS t WHERE journey = d.name AND what NOT IN ('inside', 'deferred')
		AND (what, detail) IS DISTINCT FROM ('not sent', 'exited') AND NOT (step = 'last_call' AND what IN ('sent', 'not sent')) EXCEPT ALL SELECT * FROM story(d.name)) AS x) AS too_many
FROM definitions AS d JOIN told AS s ON s.journey = d.name GROUP BY d.name ORDER BY d.name;
-- Who is inside at the end is who is inside.
SELECT count(*) > 5 AS inside FROM told WHERE what = 'inside';
SELECT count(*) AS differ FROM (SELECT t.contact, t.journey, t.step FROM told AS t WHERE what = 'inside') AS s
FULL JOIN (SELECT c.contact, j.name AS journey, e.step FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing.contacts AS c ON c._contact_id = e.contact_id
	WHERE e.state IN ('due', 'waiting', 'parked')) AS e USING (contact, journey, step) WHERE s.contact IS NULL OR e.contact IS NULL;
-- Messages: those that went, when and to whom.
SELECT count(*) > 20 AS messages FROM told WHERE what = 'sent';
SELECT count(*) AS differ FROM (SELECT contact, step, at FROM told WHERE what = 'sent') AS s
FULL JOIN (SELECT c.contact, m.step, m.settled_at AS at FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.state = 'sent') AS m USING (contact, step, at)
WHERE s.contact IS NULL OR m.contact IS NULL;
-- It has changed nothing.
SELECT k.name FROM kept AS k FULL JOIN before() AS b USING (name) WHERE k.digest IS DISTINCT FROM b.digest ORDER BY 1;
-- Nothing later is seen: up to an earlier instant it is the beginning of the whole story.
SELECT count(*) AS differ FROM (SELECT * FROM marketing.simulate_journey('cart', '2026-03-25 00:00+00', '2026-03-30 12:00+00') AS s WHERE what <> 'inside'
	EXCEPT ALL SELECT contact, run, at, step, what, detail FROM told WHERE journey = 'cart' AND at <= '2026-03-30 12:00+00') AS x;
SELECT count(*) AS differ FROM (SELECT contact, run, at, step, what, detail FROM told WHERE journey = 'cart' AND at <= '2026-03-30 12:00+00' AND what <> 'inside'
	EXCEPT ALL SELECT * FROM marketing.simulate_journey('cart', '2026-03-25 00:00+00', '2026-03-30 12:00+00') AS s) AS x;

-- Counted, and two definitions compared; who is concerned.
SELECT count(*) > 10 AS lines, sum(runs) FILTER (WHERE what = 'entered') = (SELECT count(*) FROM told WHERE journey = 'lapsed' AND what = 'entered') AS entered,
	count(*) FILTER (WHERE reason LIKE 'cap "deals"%' AND what = 'deferred') AS caps, count(*) FILTER (WHERE reason = 'holdout') > 0 AS held_out
FROM marketing.simulate_journey_counts('lapsed', '2026-03-25 00:00+00');
SELECT count(*) FILTER (WHERE difference <> 0) AS other, count(*) > 5 AS lines FROM marketing.simulate_journey_difference('lapsed', (SELECT definition FROM definitions WHERE name = 'lapsed'), '2026-03-25 00:00+00');
SELECT step, what, runs_before > 0 AS before, runs_after AS after, difference = runs_after - runs_before AS difference
FROM marketing.simulate_journey_difference('lapsed', (SELECT jsonb_set(definition, '{steps,3}', '{"exit": "done"}') #- '{steps,5}' #- '{steps,4}' FROM definitions WHERE name = 'lapsed'), '2026-03-25 00:00+00')
WHERE step IN ('third', 'steps[3]') AND what IN ('sent', 'exited') AND runs_after = 0;

-- A definition that nobody has defined, as jsonb or as text; who enters it by hand.
SELECT contact, run, at, step, what, detail FROM marketing.simulate_journey('{"steps": [{"wait": "1 day"}, {"branch": [{"if": "any ordered in 10 days", "then": [{"sql": "public.never"}]}]}, {"send": "sms", "otherwise": [{"exit": "no"}]}]}',
	'2026-03-25 00:00+00', '2026-03-27 00:00+00', contacts => '{3,4}') ORDER BY contact, run, at, step, what;
CREATE TABLE calls (contact text);
CREATE FUNCTION note(contact text, entry jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.calls VALUES (contact) $$;
SELECT contact, run, at, step, what, detail FROM marketing.simulate_journey('{"steps": [{"wait": "1 day"}, {"sql": "public.note"}, {"enroll": "cart"}, {"send": "sms", "otherwise": [{"exit": "no"}]}, {"wait": "1 month"}]}'::jsonb,
	'2026-03-25 00:00+00', '2026-03-27 00:00+00', contacts => '{3,4}') ORDER BY contact, run, at, step, what;
SELECT count(*) FROM calls;

-- What cannot be simulated; the transaction goes on.
BEGIN;
SAVEPOINT s;
SELECT * FROM marketing.simulate_journey('cartt');
ROLLBACK TO s;
SELECT * FROM marketing.simulate_journey('cart', '2026-03-25', '2026-03-25');
ROLLBACK TO s;
SELECT count(*) AS ahead FROM marketing.simulate_journey('cart', '2027-03-25', '2027-03-26');
SELECT count(*) = (SELECT count(*) FROM told WHERE journey = 'cart') AS up_to_now FROM marketing.simulate_journey('cart', '2026-03-25 00:00+00', '2027-03-25');
SELECT * FROM marketing.simulate_journey('{"steps": [{"send": "lettter"}, {"wait": "soon"}]}');
ROLLBACK TO s;
SELECT * FROM marketing.simulate_journey('{"steps": [{"send": "letter"}]}');
ROLLBACK TO s;
SELECT * FROM marketing.simulate_journey('{"steps": [{"send": "letter"}]}', contacts => '{999}');
ROLLBACK;
-- It reads, and holds no lock that a reader does not hold.
BEGIN READ ONLY;
SELECT count(*) > 50 AS rows FROM marketing.simulate_journey('cart', '2026-03-25 00:00+00');
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND (locktype = 'advisory' OR locktype = 'transactionid' OR (locktype = 'relation' AND mode <> 'AccessShareLock'));
COMMIT;
-- A built-in event that nothing has named is no less an event here.
SELECT count(*) AS known FROM marketing_internal.event_type WHERE name = 'sms_clicked';
SELECT what, count(*) > 0 AS any FROM marketing.simulate_journey('{"entry": {"event": "ordered"}, "exit_on": [{"event": "sms_clicked"}], "steps": [{"wait": "1 hour"}, {"exit": "end"}]}', '2026-03-25') GROUP BY 1 ORDER BY 1;
SELECT count(*) AS known FROM marketing_internal.event_type WHERE name = 'sms_clicked';

-- A rule's function that simulates itself is refused; one that lives with that goes on, and so does the simulation it is called by.
CREATE FUNCTION nested(id bigint) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN
	RETURN EXISTS (SELECT FROM marketing.simulate_journey('{"steps": [{"wait": "1 hour"}]}', '2026-03-25 00:00+00', '2026-03-26 00:00+00', contacts => ARRAY[id::text]));
END $$;
CREATE FUNCTION nested_caught(id bigint) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN public.nested(id); EXCEPTION WHEN object_not_in_prerequisite_state THEN RETURN true; END $$;
BEGIN;
CREATE ROLE regress_nested;
GRANT USAGE ON SCHEMA marketing TO regress_nested;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marketing TO regress_nested;
ALTER TABLE people OWNER TO regress_nested;
SELECT contact, step, what, detail FROM marketing.simulate_journey('{"steps": [{"branch": [{"if": "public.nested_caught(id)", "then": [{"add_to_list": "done"}]}]}, {"wait": "1 hour"}, {"branch": [{"if": "in list done", "then": [{"exit": "listed"}]}]}]}'::jsonb,
	'2026-03-25 00:00+00', '2026-03-26 00:00+00', contacts => '{1,2}') ORDER BY contact, at, step, what;
SELECT what, detail FROM marketing.simulate_journey('{"steps": [{"branch": [{"if": "public.nested(id)", "then": [{"wait": "1 hour"}]}]}]}'::jsonb, '2026-03-25 00:00+00', '2026-03-26 00:00+00', contacts => '{1}') ORDER BY at, what;
ROLLBACK;
SELECT count(*) > 0 AS afterwards FROM marketing.simulate_journey('{"steps": [{"wait": "1 hour"}]}'::jsonb, '2026-03-25 00:00+00', '2026-03-26 00:00+00', contacts => '{1}');
