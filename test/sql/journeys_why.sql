-- why_not_sent() of a journey and of a broadcast: one contact for each gate, each answer.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, ok boolean, plan text, born date, tz text DEFAULT 'UTC');
CREATE TABLE carts (id bigint PRIMARY KEY, person bigint REFERENCES people, at timestamptz, items int);
CREATE INDEX ON carts (person, at);
SELECT marketing.set_clock('2026-06-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email,sms}', consent => 'opt_in');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz', consent => '{"offers/email": "ok", "offers/sms": "ok"}') IS NOT NULL;
SELECT marketing.attach_events('carts', event => 'cart', contact => 'person', occurred_at => 'at', repeat => true) IS NOT NULL;
SELECT marketing.define_template('mail', topic => 'offers', subject => 'Your basket', html => '<p>Come back</p>') IS NOT NULL;
SELECT marketing.define_template('text', topic => 'offers', channel => 'sms', text => 'Come back') IS NOT NULL;
SELECT marketing.define_segment('gold', $$ plan = 'gold' $$);
SELECT marketing.define_list('staff');
INSERT INTO people SELECT i, 'p' || i || '@example.com', NULL, i <> 13, NULL, NULL FROM generate_series(1, 40) AS i;
UPDATE people SET email = NULL WHERE id = 2;
INSERT INTO carts VALUES (1, 4, '2026-05-01 10:00+00', 1);
CALL marketing.work();
CREATE FUNCTION why(contact text, what text) RETURNS TABLE (n int, gate text, verdict text, since timestamptz, detail text, next text) LANGUAGE sql AS
	$$ SELECT n, gate, verdict, since, regexp_replace(detail, '/\S*[.]eml', 'FILE'), next FROM marketing.why_not_sent(contact, what) AS w WHERE n IN (0, 4) OR n > 3 AND verdict <> 'ok' OR n IN (9, 10, 11) ORDER BY n $$;
SELECT marketing.add_to_list(7, 'staff');
SELECT marketing.define_journey('basket', '{"entry": {"event": "cart", "where": "items > 0", "key": "id", "on_repeat": "restart"}, "reentry": "per_key", "max_live": 1, "filter": "not in list staff",
	"exit_on": [{"if": "in segment gold"}], "steps": [{"wait": "1 hour"},
	{"branch": [{"if": "plan = ''quiet''", "then": [{"exit": "quiet"}]}, {"if": "plan = ''mute''", "then": [{"wait": "1 minute"}]}, {"else": [{"send": "mail", "otherwise": [{"send": "text"}]}]}]}]}');
SELECT * FROM why('1', 'basket');
SELECT marketing.activate_journey('basket');

-- 1 to 5: nobody, no address, nothing happened, before the activation, a row that does not fit.
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent('99', 'basket') ORDER BY n;
SELECT * FROM why('3', 'basket');
SELECT * FROM why('4', 'basket');
INSERT INTO carts VALUES (5, 5, marketing.now(), 0);
-- 7, 8: filter, max_live, the same key once more.
INSERT INTO carts VALUES (7, 7, marketing.now(), 1), (8, 8, marketing.now(), 1), (9, 9, marketing.now(), 1);
-- 10 to 18: exited, parked, a path without a message, no consent, suppressed; to wait for.
INSERT INTO carts SELECT i, i, marketing.now(), 1 FROM generate_series(10, 18) AS i;
INSERT INTO carts VALUES (2, 2, marketing.now(), 1);
-- Before the scheduler has come.
SELECT * FROM why('8', 'basket');
CALL marketing.work();
SELECT * FROM why('5', 'basket');
SELECT * FROM why('7', 'basket');
INSERT INTO carts VALUES (108, 8, marketing.now(), 1);
CALL marketing.work();
SELECT * FROM why('8', 'basket');
SELECT * FROM why('9', 'basket');
UPDATE people SET plan = 'gold' WHERE id = 10;
UPDATE people SET plan = 'quiet' WHERE id = 11;
UPDATE people SET plan = 'mute' WHERE id = 12;
SELECT marketing.suppress('p14@example.com', 'email', 'asked on the phone') IS NOT NULL;
SELECT marketing.define_cap('one', at_most => 1, per => '7 days', channel => 'email');
SELECT marketing.send_message(15, 'mail') IS NOT NULL;
CALL marketing.work();
SELECT marketing.set_clock('2026-06-01 11:00+00');
CALL marketing.work();
SELECT marketing.set_clock('2026-06-01 11:01+00');
CALL marketing.work();
SELECT * FROM why('10', 'basket');
SELECT * FROM why('11', 'basket');
SELECT * FROM why('12', 'basket');
SELECT * FROM why('13', 'basket');
SELECT * FROM why('14', 'basket');
SELECT * FROM why('15', 'basket');
SELECT * FROM why('2', 'basket');
SELECT * FROM why('16', 'basket');
-- Its basket again: each key once.
UPDATE carts SET at = marketing.now() WHERE id = 16;
CALL marketing.work();
SELECT * FROM why('16', 'basket');
-- A mail that comes within quiet hours; a pause; an archived journey.
SELECT marketing.drop_cap('one');
SELECT marketing.set_quiet_hours('email', '12:00', '14:00') IS NOT NULL;
SELECT marketing.set_clock('2026-06-01 11:30+00');
INSERT INTO carts SELECT i, i, marketing.now(), 1 FROM generate_series(21, 24) AS i;
CALL marketing.work();
SELECT marketing.set_clock('2026-06-01 12:30+00');
CALL marketing.work();
SELECT * FROM why('21', 'basket');
INSERT INTO carts VALUES (25, 25, marketing.now(), 1);
CALL marketing.work();
SELECT marketing.pause_journey('basket');
SELECT * FROM why('25', 'basket');
SELECT marketing.set_clock('2026-06-01 14:00+00');
CALL marketing.work();
SELECT * FROM why('21', 'basket');
SELECT marketing.archive_journey('basket');
CALL marketing.work();
SELECT * FROM why('21', 'basket');
SELECT * FROM why('3', 'basket');

-- 6, 8, 9: segments, a surge, the control group; dates, schedules, by hand; a run that an error has parked, and one in a test.
SELECT marketing.define_journey('golden', '{"entry": {"segment_entered": "gold"}, "holdout": 1, "steps": [{"send": "mail"}]}');
SELECT marketing.activate_journey('golden', existing => 'skip');
SELECT * FROM why('26', 'golden');
UPDATE people SET plan = 'gold' WHERE id = 27;
CALL marketing.work();
SELECT * FROM why('27', 'golden');
SELECT marketing.define_journey('birthday', '{"entry": {"anniversary": "born", "at": "09:00"}, "steps": [{"send": "mail"}]}');
SELECT marketing.activate_journey('birthday');
UPDATE people SET born = '1990-07-01' WHERE id = 28;
CALL marketing.work();
SELECT * FROM why('28', 'birthday');
SELECT * FROM why('29', 'birthday');
SELECT marketing.define_journey('hand', '{"reentry": "once", "steps": [{"sql": "public.fail_for"}, {"send": "mail"}]}');
CREATE FUNCTION fail_for(contact text, entry jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF contact = '30' THEN RAISE EXCEPTION 'out of order'; END IF; END $$;
SELECT marketing.define_journey('hand', '{"reentry": "once", "steps": [{"sql": "public.fail_for"}, {"send": "mail"}]}');
SELECT marketing.activate_journey('hand');
SELECT * FROM why('31', 'hand');
SELECT count(marketing.enroll(i, 'hand')) FROM generate_series(30, 31) AS i;
CALL marketing.work();
SELECT marketing.enroll(31, 'hand');
CALL marketing.work();
SELECT * FROM why('30', 'hand');
SELECT * FROM why('31', 'hand');
SELECT marketing.define_template('mail2', topic => 'offers', subject => 'Basket', html => '<p>Here</p>') IS NOT NULL;
SELECT marketing.define_journey('tried', '{"steps": [{"test": {"variants": {"a": "mail", "b": "mail2"}, "share": 0.000001, "measure": {"event": "cart"}, "after": "1 day", "no_winner": "a", "rest": "wait"}, "id": "letter"}]}');
SELECT marketing.activate_journey('tried');
SELECT marketing.enroll(32, 'tried');
CALL marketing.work();
SELECT * FROM why('32', 'tried');
SELECT marketing.set_clock('2026-06-02 14:00+00');
CALL marketing.work();
SELECT * FROM why('32', 'tried');
SELECT n, gate, verdict, regexp_replace(detail, '/\S*[.]eml', 'FILE') AS detail FROM marketing.why_not_sent(32, 'tried') WHERE n > 3;

-- Broadcasts: a draft, the frozen audience, exclude, who entered, the test and those who wait for the winner, cancelled.
SELECT marketing.define_broadcast('sale', '{"audience": "id between 33 and 38", "exclude": "id = 38", "at": "2026-06-03 09:00", "clock": "contact", "test": {"variants": {"a": "mail", "b": "mail2"}, "share": 0.5, "measure": {"event": "cart"}, "after": "4 hours", "no_winner": "a"}}');
SELECT * FROM why('33', 'sale');
SELECT marketing.launch_broadcast('sale');
CREATE VIEW places AS SELECT c.contact, a.tested FROM marketing_internal.broadcast_audience AS a JOIN marketing.contacts AS c ON c._contact_id = a.contact_id;
SELECT min(contact) FILTER (WHERE tested) AS tested, min(contact) FILTER (WHERE NOT tested) AS rest FROM places \gset
SELECT * FROM why(:'tested', 'sale');
SELECT * FROM why(:'rest', 'sale');
SELECT * FROM why('38', 'sale');
SELECT * FROM why('1', 'sale');
CALL marketing.work();
SELECT * FROM why(:'tested', 'sale');
SELECT * FROM why(:'rest', 'sale');
SELECT marketing.set_clock('2026-06-03 09:00+00');
CALL marketing.work();
CALL marketing.work();
SELECT n, gate, verdict, regexp_replace(detail, '/\S*[.]eml', 'FILE') AS detail FROM marketing.why_not_sent(:'tested', 'sale') WHERE n > 3;
SELECT * FROM why(:'rest', 'sale');
SELECT marketing.cancel_broadcast('sale') IS NOT NULL;
SELECT * FROM why(:'rest', 'sale');
SELECT count(*) FROM marketing.why_not_sent('33', 'sal');
SELECT run IS NOT NULL AS run, what, detail FROM marketing.explain_enrollment(30, 'hand');
