-- Caps and quiet hours: how many messages, and when.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-02 10:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, tz text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', '+90850555010' || i, CASE i WHEN 2 THEN 'Europe/Istanbul'
	WHEN 3 THEN 'America/New_York' WHEN 4 THEN 'nowhere' END FROM generate_series(1, 8) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz');
SELECT marketing.define_topic('offers', channels => '{email,sms}', consent => 'opt_out'), marketing.define_topic('tips', consent => 'opt_out');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', text => 'x'),
	marketing.define_template('tip', topic => 'tips', subject => 'x', text => 'x'),
	marketing.define_template('offer_sms', topic => 'offers', channel => 'sms', text => 'x'),
	marketing.define_template('receipt', topic => 'transactional', subject => 'x', text => 'x');
CREATE VIEW log AS SELECT message AS m, contact AS c, state, reason, template, to_char(next_try AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS') AS next_try
	FROM marketing.messages ORDER BY message;
CREATE FUNCTION at(t timestamptz) RETURNS void LANGUAGE sql AS 'SELECT marketing.set_clock(t)';

-- definitions
SELECT marketing.define_cap('weekly', 2);
SELECT marketing.define_cap('weekly', 2, per => '168 hours');
SELECT marketing.define_cap('weekly', 2, per => '1 week');
SELECT marketing.define_cap('weekly', 3, channel => 'email', when_over => 'defer');
SELECT marketing.define_cap('weekly', 2, per => 'week');
SELECT * FROM marketing.caps;
SELECT marketing.define_cap('x', 0);
SELECT marketing.define_cap('x', NULL);
SELECT marketing.define_cap('', 1);
SELECT marketing.define_cap('x', 1, per => 'weekly');
SELECT marketing.define_cap('x', 1, per => '1 month');
SELECT marketing.define_cap('x', 1, per => '0 days');
SELECT marketing.define_cap('x', 1, per => '-1 days');
SELECT marketing.define_cap('x', 1, per => '999999999 weeks');
SELECT marketing.define_cap('x', 1, per => '99999999999999999999 seconds');
SELECT marketing.define_cap('x', 1, per => '');
SELECT marketing.define_cap('x', 1, per => '1 day 12 hours 90 seconds', topic => 'tips');
SELECT name, per, topic FROM marketing.caps;
SELECT marketing.drop_topic('tips');
SELECT marketing.define_cap('x', 1, channel => 'mail');
SELECT marketing.define_cap('x', 1, topic => 'offerz');
SELECT marketing.define_cap('x', 1, topic => 'transactional');
SELECT marketing.define_cap('x', 1, when_over => 'drop');
SELECT marketing.drop_cap('y');
SELECT marketing.drop_cap('weekli');
SELECT marketing.drop_cap('x'), marketing.drop_cap('weekly');
SELECT marketing.set_quiet_hours('email', '21:00', '09:00');
SELECT marketing.set_quiet_hours('email', '21:00', '09:00');
SELECT marketing.set_quiet_hours('email', '21:00', '08:30');
SELECT * FROM marketing.quiet_hours;
SELECT marketing.set_quiet_hours('email', '21:00', NULL);
SELECT marketing.set_quiet_hours('email', '21:00', '21:00');
SELECT marketing.set_quiet_hours('fax', '21:00', '09:00');
SELECT marketing.set_quiet_hours('email', NULL, NULL);
SELECT marketing.set_quiet_hours('email', NULL, NULL);

-- a rolling cap that skips: per contact, in one batch too; transactional ones neither count nor are held
SELECT marketing.define_cap('weekly', 2);
SELECT marketing.send_message(1, 'offer'), marketing.send_message(1, 'tip'), marketing.send_message(1, 'offer_sms'),
	marketing.send_message(1, 'receipt'), marketing.send_message(1, 'receipt'), marketing.send_message(1, 'receipt'), marketing.send_message(2, 'offer');
CALL marketing.work();
SELECT * FROM log;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(1, 'offer_sms') WHERE n > 0;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(1, 'tip') WHERE n > 12 AND n < 20;
-- the place is free when the first has been seven days ago, to the microsecond
SELECT at('2026-03-09 09:59:59.999999+00');
SELECT marketing.send_message(1, 'offer') AS early \gset
CALL marketing.work();
SELECT at('2026-03-09 10:00+00');
SELECT marketing.send_message(1, 'offer') AS free \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE m IN (:early, :free);
-- a message that does not get through another gate takes no place
SELECT marketing.unsubscribe(3, 'offers', 'email');
SELECT marketing.send_message(3, 'offer') AS a, marketing.send_message(3, 'tip') AS b, marketing.send_message(3, 'tip') AS c, marketing.send_message(3, 'tip') AS d \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE m IN (:a, :b, :c, :d);
-- a failed one counts no more, one in doubt does
SELECT marketing.send_message(4, 'tip'), marketing.send_message(4, 'tip');
UPDATE marketing_internal.message SET state = 'sending' WHERE template = 'tip';
CALL marketing.work();
SELECT marketing.send_message(4, 'tip') AS a \gset
CALL marketing.work();
SELECT marketing.settle_message(m, 'failed') FROM log WHERE state = 'suspect' ORDER BY m LIMIT 1;
SELECT marketing.send_message(4, 'tip') AS b \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE m IN (:a, :b);
-- merged contacts are one person
SELECT marketing.send_message(5, 'tip'), marketing.send_message(6, 'tip');
CALL marketing.work();
SELECT marketing.merge_contacts(5, '6');
SELECT marketing.send_message(6, 'tip') AS a \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE m = :a;
SELECT marketing.drop_cap('weekly');

-- deferred to the instant at which a place is free; of two caps to that of both
SELECT at('2026-04-01 10:00+00');
SELECT marketing.define_cap('short', 1, per => '2 hours', when_over => 'defer'), marketing.define_cap('long', 2, per => '1 day', channel => 'email', when_over => 'defer');
SELECT marketing.send_message(7, 'tip') AS a \gset
CALL marketing.work();
SELECT at('2026-04-01 11:30+00');
SELECT marketing.send_message(7, 'tip') AS b \gset
CALL marketing.work();
SELECT state, reason, next_try FROM log WHERE m = :b;
SELECT n, gate, verdict, detail, next IS NOT NULL AS next FROM marketing.why_not_sent(7, 'tip') WHERE n IN (0, 15);
SELECT decision, gate, reason FROM marketing_internal.message_decision WHERE message_id = :b;
SELECT at('2026-04-01 12:00+00');
SELECT marketing.send_message(7, 'tip') AS c, marketing.send_message(7, 'tip', not_after => '2026-04-01 18:00+00') AS d \gset
CALL marketing.work();
SELECT state, reason, next_try FROM log WHERE m IN (:b, :c, :d) ORDER BY m;
-- it expires when it can wait no longer
SELECT at('2026-04-01 18:00:00.000001+00');
CALL marketing.work();
SELECT state, reason FROM log WHERE m = :d;
SELECT at('2026-04-02 10:00+00');
CALL marketing.work();
SELECT state, reason, next_try FROM log WHERE m = :c;
SELECT marketing.drop_cap('short'), marketing.drop_cap('long');

-- displaced by what is more important
SELECT at('2026-05-01 10:00+00');
SELECT marketing.define_cap('daily', 1, per => '1 day', when_over => 'displace');
SELECT marketing.send_message(8, 'tip') AS first \gset
CALL marketing.work();
SELECT marketing.send_message(8, 'tip') AS low \gset
CALL marketing.work();
SELECT state, reason, next_try FROM log WHERE m = :low;
SELECT marketing.send_message(8, 'tip') AS same \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE m = :same;
SELECT marketing.send_message(8, 'tip', priority => 5) AS high, marketing.send_message(8, 'tip', priority => -5) AS lower \gset
CALL marketing.work();
SELECT state, regexp_replace(reason, '\d+$', CASE WHEN reason ~ (:high || '$') THEN 'HIGH' ELSE '?' END) FROM log WHERE m IN (:low, :high, :lower);
SELECT decision, gate FROM marketing_internal.message_decision WHERE message_id = :low ORDER BY decision_id;
-- all of one batch
SELECT marketing.send_message(1, 'tip'), marketing.send_message(1, 'tip'), marketing.send_message(1, 'tip');
CALL marketing.work();
SELECT state, reason FROM log WHERE c = '1' ORDER BY m DESC LIMIT 3;
SELECT at('2026-05-02 10:00+00');
CALL marketing.work();
SELECT state FROM log WHERE m = :high;
SELECT marketing.drop_cap('daily');

-- of the calendar of the contact's zone: 1 in the database's (Los Angeles, -7), 2 in Istanbul (+3), 3 in New York (-4)
SELECT marketing.define_cap('a day', 1, per => 'day', when_over => 'defer');
SELECT at('2026-06-10 22:30+00');
SELECT marketing.send_message(i, 'tip') FROM unnest('{1,2,3}'::int[]) AS i;
CALL marketing.work();
SELECT marketing.send_message(i, 'tip') FROM unnest('{1,2,3}'::int[]) AS i;
CALL marketing.work();
SELECT c, next_try FROM log WHERE state = 'deferred' ORDER BY c;
DELETE FROM marketing_internal.message;
SELECT marketing.define_cap('a day', 1, per => 'week', when_over => 'defer');
SELECT marketing.send_message(2, 'tip');
CALL marketing.work();
SELECT c, reason, next_try FROM log WHERE state = 'deferred';
DELETE FROM marketing_internal.message;
SELECT marketing.define_cap('a day', 1, per => 'month', when_over => 'defer');
SELECT marketing.send_message(2, 'tip');
CALL marketing.work();
SELECT c, reason, next_try FROM log WHERE state = 'deferred';
DELETE FROM marketing_internal.message;
SELECT marketing.drop_cap('a day');

-- quiet hours on the wall of the contact
SELECT marketing.set_quiet_hours('email', '21:00', '09:00');
SELECT at('2026-07-01 04:00+00');
SELECT marketing.send_message(i, 'tip') FROM unnest('{2,3}'::int[]) AS i;
SELECT marketing.send_message(2, 'offer_sms'), marketing.send_message(2, 'receipt');
CALL marketing.work();
SELECT c, state, reason, template, next_try FROM log ORDER BY m DESC LIMIT 4;
SELECT n, gate, verdict, detail FROM marketing.why_not_sent(2, 'tip') WHERE n IN (0, 16);
SELECT at('2026-07-01 06:00+00');
CALL marketing.work();
SELECT c, state, template, next_try FROM log ORDER BY m DESC LIMIT 4;
-- within the day, and up to midnight
SELECT marketing.set_quiet_hours('email', '12:00', '14:00'), marketing.set_quiet_hours('sms', '22:00', '24:00');
SELECT at('2026-07-01 09:00+00'), marketing.send_message(2, 'tip') AS a, marketing.send_message(2, 'offer_sms', not_before => '2026-07-01 20:00+00') AS b \gset
CALL marketing.work();
SELECT at('2026-07-01 20:30+00');
CALL marketing.work();
SELECT state, reason, next_try FROM log WHERE m = :b;
SELECT at('2026-07-01 21:00+00');
CALL marketing.work();
SELECT state FROM log WHERE m IN (:a, :b);
-- a night in which the clock is put forward over their end (New York, 2026-03-08 02:00 -> 03:00), and one in
-- which it is put back over it (2026-11-01 02:00 -> 01:00): the first instant, and not twice
SELECT marketing.set_quiet_hours('email', '22:00', '02:30'), marketing.set_quiet_hours('sms', '22:00', '01:30');
SELECT at('2026-03-08 05:00+00'), marketing.send_message(3, 'tip') AS a \gset
CALL marketing.work();
SELECT next_try FROM log WHERE m = :a;
SELECT at('2026-11-01 04:00+00'), marketing.send_message(3, 'offer_sms') AS b \gset
CALL marketing.work();
SELECT next_try FROM log WHERE m = :b;
SELECT at('2026-11-01 05:30+00'), marketing.send_message(3, 'offer_sms') AS c \gset
CALL marketing.work();
SELECT at('2026-11-01 06:15+00'), marketing.send_message(3, 'offer_sms') AS d \gset
CALL marketing.work();
SELECT state FROM log WHERE m IN (:b, :c, :d);
