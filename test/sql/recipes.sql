-- Recipes: each is installed on a small shop and tried: who gets what and when, what ends it, who enters again.
-- The way of testing is that of README's "Testing a journey": set the clock, insert facts, let time pass, look.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, tz text, birth_date date);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, shipped_at timestamptz, category text, cart_id bigint, product_id bigint, total numeric);
CREATE TABLE carts (id bigint PRIMARY KEY, person bigint REFERENCES people, at timestamptz, items int);
CREATE TABLE views (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, product_id bigint, category text);
CREATE TABLE answers (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, score int);
CREATE TABLE wishes (id bigserial PRIMARY KEY, person bigint REFERENCES people, product_id bigint, stock int, stock_at timestamptz, price numeric, price_before numeric, price_at timestamptz);
SELECT marketing.set_clock('2026-01-01 10:00+00');
SELECT marketing.define_topic('newsletter', 'Letter', channels => '{email}', consent => 'double_opt_in');
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_out');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz') IS NOT NULL;
INSERT INTO people SELECT i, 'p' || i || '@example.com', CASE WHEN i < 8 THEN '+90850555010' || i END, CASE i WHEN 2 THEN 'America/New_York' ELSE 'UTC' END FROM generate_series(1, 9) AS i;
UPDATE people SET email = NULL WHERE id = 7;

-- The list, an unknown recipe, parameters that are wrong, all of them at once.
SELECT name, about FROM marketing.recipes;
SELECT parameters, meaning FROM marketing.recipes WHERE name = 'cross_sell';
SELECT r.name FROM marketing.recipes AS r WHERE NOT EXISTS (SELECT FROM jsonb_each(r.parameters)) OR r.meaning IS NULL;
SELECT marketing.install_recipe('winback');
SELECT marketing.install_recipe('x');
SELECT marketing.install_recipe(NULL);
SELECT marketing.install_recipe('win_back', NULL);
SELECT marketing.install_recipe('win_back', '["mail"]');
SELECT marketing.install_recipe('cross_sell', '{"mial": "x", "mail_after": "soon", "every": 3, "at": null, "mail": null, "category": " ", "view_event": ["a"]}');
SELECT marketing.install_recipe('birthday', '{"at": "9:00"}');
SELECT marketing.install_recipe('birthday', '{"at": "24:30", "reminder_after": "7 days; drop"}');
SELECT marketing.install_recipe('at_risk', '{"factor": -1}');
-- What is not there, with its places: errors of define_segment() and define_journey().
SELECT marketing.install_recipe('win_back');
SELECT marketing.install_recipe('abandoned_cart', '{"sms": "cart_sms", "coupon": "cart_coupon"}');
-- What is given is a value: it breaks out of no string and no quotes.
SELECT jsonb_pretty(definition) FROM marketing.preview_recipe('cross_sell', $${"bought": "a' or true or \\'", "offered": "x\"y{mail}", "order_event": "Order \"1\"", "category": "a b) or (true", "mail": "{bought}"}$$);
SELECT definition -> 'filter' AS filter FROM marketing.preview_recipe('cross_sell', $${"bought": "a", "offered": "it's", "view_event": "Page View", "view_category": "select", "viewed_within": "2 weeks"}$$);
SELECT segment, rule FROM marketing.preview_recipe('win_back', '{"order_event": "Order Placed", "lapsed_after": "3 months"}', 'come_back');
SELECT segment, rule, definition -> 'entry' AS entry FROM marketing.preview_recipe('win_back', '{"segment": "mine"}');

SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_shipped', contact => 'person', occurred_at => 'shipped_at') IS NOT NULL;
SELECT marketing.attach_events('carts', event => 'cart_updated', contact => 'person', occurred_at => 'at', condition => 'items > 0', repeat => true) IS NOT NULL;
SELECT marketing.attach_events('views', event => 'product_viewed', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('answers', event => 'survey_answered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('wishes', event => 'back_in_stock', contact => 'person', occurred_at => 'stock_at', condition => 'stock > 0', repeat => true) IS NOT NULL;
SELECT marketing.attach_events('wishes', event => 'price_dropped', contact => 'person', occurred_at => 'price_at', condition => 'price < price_before', repeat => true) IS NOT NULL;
SELECT marketing.define_list(l) FROM unnest('{sunset,unhappy}'::text[]) AS l;
SELECT marketing.define_template('confirm', topic => 'transactional', subject => 'Confirm', html => '<a href="{{ confirm_url }}">Yes</a>') IS NOT NULL;
SELECT marketing.define_template(t, topic => 'newsletter', subject => t, text => 'Hello') IS NOT NULL FROM unnest('{welcome,best_content,feedback}'::text[]) AS t;
SELECT marketing.define_template(t, topic => 'offers', subject => t, html => '<html><body><a href="https://shop.example/">Hello</a></body></html>') IS NOT NULL
	FROM unnest('{cart_mail,cart_coupon,browse_reminder,survey,review,cross_sell,birthday,birthday_reminder,miss_you,offer,last_notice,value,value2,news,news2,replenish,back_in_stock,price_drop,still_interested}'::text[]) AS t;
SELECT marketing.define_owner('ada', 'ada@shop.example', 'support'), marketing.define_owner('bob', 'bob@shop.example', 'calls'), marketing.define_owner('eve', 'eve@shop.example', 'calls');
SELECT marketing.define_template('cart_sms', topic => 'offers', channel => 'sms', text => 'Your basket') IS NOT NULL;

CREATE PROCEDURE pass(until timestamptz, step interval DEFAULT '1 hour') LANGUAGE plpgsql AS $$
BEGIN
	CALL marketing.work();
	WHILE marketing.now() < until LOOP
		PERFORM marketing.set_clock(LEAST(marketing.now() + step, until));
		COMMIT;
		CALL marketing.work();
	END LOOP;
END $$;
CREATE VIEW mails AS SELECT l.journey, c.contact, to_char(l.settled_at, 'MM-DD HH24:MI') AS at, l.step, l.template, l.state, l.reason
	FROM marketing_internal.message_log AS l JOIN marketing.contacts AS c ON c._contact_id = l.contact_id WHERE l.state = 'sent' OR l.reason <> 'no_address' ORDER BY l.settled_at, c.contact, l.message_id;
CREATE VIEW runs AS SELECT j.name AS journey, c.contact, to_char(e.entered_at, 'MM-DD HH24:MI') AS entered, e.key, e.state, e.reason
	FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id) JOIN marketing.contacts AS c ON c._contact_id = e.contact_id ORDER BY e.entered_at, c.contact, e.key;
CREATE FUNCTION token(journey text, contact text, step text, kind text) RETURNS text LANGUAGE sql AS $$
	SELECT (regexp_match(replace(replace(replace(replace(convert_from(pg_read_binary_file(m.detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-'), '=3D', '='), '/' || kind || '/([A-Za-z0-9_-]+)'))[1]
	FROM marketing.messages AS m WHERE (m.journey, m.contact, m.step) = (token.journey, token.contact, token.step) AND m.state = 'sent' ORDER BY m.message DESC LIMIT 1 $$;

-- welcome: 1 confirms at once, 2 after the reminder, 3 never; 4 unsubscribes. Once.
SELECT marketing.install_recipe('welcome');
SELECT marketing.install_recipe('welcome');
SELECT journey, state FROM marketing.journeys;
SELECT marketing.activate_journey('welcome');
SELECT marketing.subscribe(i, 'newsletter', 'email') FROM generate_series(1, 4) AS i;
CALL pass('2026-01-01 12:00+00');
SELECT marketing.confirm(token('welcome', c, 'confirm', 'confirm')) FROM unnest('{1,4}'::text[]) AS c;
CALL pass('2026-01-03 12:00+00');
SELECT marketing.unsubscribe(4, 'newsletter', 'email');
SELECT marketing.confirm(token('welcome', '2', 'reminder', 'confirm'));
CALL pass('2026-01-20 12:00+00', '3 hours');
SELECT contact, at, step FROM mails WHERE journey = 'welcome';
SELECT marketing.subscribe(3, 'newsletter', 'email');
CALL marketing.work();
SELECT contact, entered, state, reason FROM runs WHERE journey = 'welcome';

-- abandoned_cart: 1 orders, 2 empties, 3 does not open, 4 opens, 5 has a mail and gets the coupon, 7 has no mail.
SELECT marketing.define_segment('discount_sensitive', 'count(order_placed) >= 5');
SELECT marketing.install_recipe('abandoned_cart', '{"sms": "cart_sms", "coupon": "cart_coupon", "quiet_from": null}');
SELECT marketing.activate_journey('abandoned_cart');
SELECT marketing.set_clock('2026-02-01 10:00+00');
INSERT INTO orders (person, at) SELECT 5, '2025-01-01 00:00+00' FROM generate_series(1, 5);
CALL marketing.work();
INSERT INTO carts SELECT i, i, marketing.now(), 2 FROM unnest('{1,2,3,4,5,7}'::int[]) AS i;
CALL pass('2026-02-01 10:30+00', '30 minutes');
INSERT INTO orders (person, at, cart_id) VALUES (1, marketing.now(), 1), (3, marketing.now(), 99);
UPDATE carts SET items = 0 WHERE id = 2;
UPDATE carts SET at = marketing.now() WHERE id = 4;
CALL pass('2026-02-01 12:00+00', '30 minutes');
SELECT marketing.record_open(token('abandoned_cart', '4', 'cart_mail', 'o'), 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET');
CALL pass('2026-02-05 12:00+00');
SELECT contact, at, step FROM mails WHERE journey = 'abandoned_cart';
SELECT contact, key, state, reason FROM runs WHERE journey = 'abandoned_cart';
UPDATE carts SET at = marketing.now() WHERE id IN (3, 4);
CALL pass('2026-02-05 16:00+00');
SELECT count(*) FROM runs WHERE journey = 'abandoned_cart';
SELECT marketing.archive_journey('abandoned_cart');

-- browse_abandonment: 1 is reminded, 2 orders that, 3 another; one in seven days.
SELECT marketing.install_recipe('browse_abandonment');
SELECT marketing.activate_journey('browse_abandonment');
INSERT INTO views (person, at, product_id) SELECT i, marketing.now(), 10 FROM generate_series(1, 3) AS i;
CALL pass('2026-02-05 17:00+00');
INSERT INTO orders (person, at, product_id) VALUES (2, marketing.now(), 10), (3, marketing.now(), 11);
CALL pass('2026-02-07 16:00+00');
INSERT INTO views (person, at, product_id) VALUES (1, marketing.now(), 12);
CALL pass('2026-02-13 16:00+00', '4 hours');
INSERT INTO views (person, at, product_id) VALUES (1, marketing.now(), 13);
CALL pass('2026-02-13 20:00+00');
SELECT contact, at, step FROM mails WHERE journey = 'browse_abandonment';
SELECT contact, entered, key, state, reason FROM runs WHERE journey = 'browse_abandonment';
SELECT marketing.archive_journey('browse_abandonment');

-- first_purchase_feedback: 6 is happy, 7 orders again, 8 is not happy, 9 does not answer; 1 is no new customer.
SELECT marketing.install_recipe('first_purchase_feedback', '{"unhappy_list": "unhappy", "cross_sell": "cross_sell", "support_team": "support"}');
SELECT marketing.activate_journey('first_purchase_feedback');
UPDATE people SET email = 'p7@example.com' WHERE id = 7;
INSERT INTO orders (person, at) SELECT i, marketing.now() FROM unnest('{1,6,7,8,9}'::int[]) AS i;
CALL pass('2026-02-14 20:00+00', '4 hours');
UPDATE orders SET shipped_at = marketing.now() WHERE at = '2026-02-13 20:00+00';
CALL pass('2026-02-16 20:00+00', '4 hours');
INSERT INTO orders (person, at) VALUES (7, marketing.now());
CALL pass('2026-02-18 20:00+00', '4 hours');
INSERT INTO answers (person, at, score) VALUES (6, marketing.now(), 9), (8, marketing.now(), 6);
CALL pass('2026-03-20 20:00+00', '4 hours');
SELECT contact, at, step FROM mails WHERE journey = 'first_purchase_feedback';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'first_purchase_feedback';
SELECT contact FROM marketing.list_members AS l WHERE l.list = 'unhappy';
SELECT contact, title, owner, to_char(due_at, 'MM-DD HH24:MI') AS due FROM marketing.tasks;
SELECT marketing.archive_journey('first_purchase_feedback');

-- birthday: at nine of each; 2 uses the present. Next year again.
SELECT marketing.install_recipe('birthday', '{"used_where": "category = ''gift''"}');
SELECT marketing.activate_journey('birthday');
UPDATE people SET birth_date = '1990-03-25' WHERE id <= 2;
CALL pass('2026-03-26 20:00+00', '1 hour');
INSERT INTO orders (person, at, category) VALUES (1, marketing.now(), 'other'), (2, marketing.now(), 'gift');
CALL pass('2026-04-05 20:00+00', '1 hour');
SELECT contact, at, step FROM mails WHERE journey = 'birthday';
CALL pass('2027-03-26 20:00+00', '1 day');
SELECT contact, entered, state FROM runs WHERE journey = 'birthday';
SELECT marketing.archive_journey('birthday');

-- cross_sell: 1 and 2 looked at lenses, 3 did not; 2 buys one. At most once in 30 days.
SELECT marketing.install_recipe('cross_sell', '{"bought": "camera", "offered": "lens", "view_event": "product_viewed"}', 'lenses');
SELECT marketing.activate_journey('lenses');
INSERT INTO views (person, at, category) SELECT i, marketing.now(), CASE WHEN i < 3 THEN 'lens' ELSE 'bag' END FROM generate_series(1, 3) AS i;
INSERT INTO orders (person, at, category) SELECT i, marketing.now(), 'camera' FROM generate_series(1, 3) AS i;
CALL pass('2027-03-28 20:00+00', '4 hours');
INSERT INTO orders (person, at, category) VALUES (2, marketing.now(), 'lens'), (1, marketing.now(), 'camera');
CALL pass('2027-04-06 20:00+00', '4 hours');
INSERT INTO orders (person, at, category) VALUES (1, marketing.now(), 'camera');
CALL pass('2027-04-07 20:00+00', '4 hours');
SELECT contact, at, step FROM mails WHERE journey = 'lenses';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'lenses';
SELECT marketing.archive_journey('lenses');

-- win_back: 1 to the end and on the list, 2 orders after the first; he lapses again.
SELECT marketing.set_clock('2028-01-01 10:00+00');
CALL marketing.work();
DELETE FROM orders;
INSERT INTO orders (person, at) VALUES (1, marketing.now()), (2, marketing.now());
CALL marketing.work();
SELECT marketing.install_recipe('win_back');
SELECT marketing.install_recipe('win_back');
SELECT marketing.install_recipe('win_back', '{"lapsed_after": "60 days"}');
SELECT marketing.install_recipe('win_back');
SELECT name, rule, description FROM marketing.segments WHERE name LIKE 'recipe%';
SELECT marketing.activate_journey('win_back');
SELECT marketing.activate_journey('win_back', existing => 'skip');
CALL pass('2028-04-01 10:00+00', '12 hours');
INSERT INTO orders (person, at) VALUES (2, marketing.now());
CALL pass('2028-07-02 10:00+00', '12 hours');
SELECT contact, at, step FROM mails WHERE journey = 'win_back';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'win_back';
SELECT contact FROM marketing.list_members WHERE list = 'sunset';
SELECT marketing.archive_journey('win_back');

-- at_risk: 3 ordered each ten days; he orders, and is late again. It is tried on history first.
SELECT marketing.install_recipe('at_risk', '{"second": "value2", "call_if": "sum(order_placed.total) >= 100", "team": "support"}');
SELECT marketing.activate_journey('at_risk', existing => 'skip');
INSERT INTO orders (person, at) SELECT 3, marketing.now() - i * interval '10 days' FROM generate_series(0, 3) AS i;
INSERT INTO orders (person, at, total) SELECT 4, marketing.now() - i * interval '30 days', 25 FROM generate_series(0, 3) AS i;
CALL pass('2028-07-23 10:00+00', '12 hours');
INSERT INTO orders (person, at) VALUES (3, marketing.now());
CALL pass('2028-09-20 10:00+00', '12 hours');
SELECT contact, at, step FROM mails WHERE journey = 'at_risk';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'at_risk';
SELECT contact, title, owner, to_char(due_at, 'MM-DD HH24:MI') AS due FROM marketing.tasks WHERE journey = 'at_risk';
SELECT marketing.archive_journey('at_risk');
SELECT contact, to_char(at, 'MM-DD HH24:MI') AS at, step, what FROM marketing.simulate_journey('at_risk', '2028-07-02 10:00+00', '2028-08-01 10:00+00') WHERE what IN ('entered', 'sent', 'exited') ORDER BY 2, 1, 4;

-- non_openers: 1 opens, 2 clicks, 3 does neither: a machine opened his.
SELECT marketing.install_recipe('non_openers', '{"mail": "news", "again": "news2"}');
SELECT marketing.activate_journey('non_openers');
SELECT marketing.define_journey('blast', '{"reentry": "always", "steps": [{"send": "news"}]}');
SELECT marketing.activate_journey('blast');
SELECT marketing.set_clock('2028-09-20 23:00+00');
SELECT count(marketing.enroll(i, 'blast')) FROM generate_series(1, 3) AS i;
CALL pass('2028-09-21 03:00+00');
SELECT marketing.record_open(token('blast', '1', 'news', 'o'), 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET'), marketing.record_click(token('blast', '2', 'news', 'c'), 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET'),
	marketing.record_open(token('blast', '3', 'news', 'o'), 'LinkBot/1.0', 'GET');
CALL pass('2028-09-25 03:00+00');
SELECT count(marketing.enroll(i, 'blast')) FROM generate_series(1, 3) AS i;
CALL pass('2028-09-30 03:00+00');
SELECT contact, at, step FROM mails WHERE journey = 'non_openers';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'non_openers';
SELECT marketing.archive_journey('non_openers');

-- replenishment: 1 is reminded twice, 2 orders before; each order begins anew.
SELECT marketing.install_recipe('replenishment', '{"category": "category", "bought": "coffee", "second": "offer"}');
SELECT marketing.activate_journey('replenishment');
INSERT INTO orders (person, at, category) SELECT i, marketing.now(), CASE WHEN i < 3 THEN 'coffee' ELSE 'tea' END FROM generate_series(1, 3) AS i;
CALL pass('2028-10-20 03:00+00', '6 hours');
INSERT INTO orders (person, at, category) VALUES (2, marketing.now(), 'coffee'), (1, marketing.now(), 'tea');
CALL pass('2028-11-17 03:00+00', '6 hours');
SELECT contact, at, step FROM mails WHERE journey = 'replenishment';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'replenishment';
SELECT marketing.archive_journey('replenishment');

-- back_in_stock: in the night it is there, in the morning a mail, but not to 2, for whom it is gone again, nor to 3, who has ordered. Once more another time.
SELECT marketing.install_recipe('back_in_stock');
SELECT marketing.activate_journey('back_in_stock');
INSERT INTO wishes (person, product_id, stock, price, price_before) SELECT i, 10, 0, 100, 100 FROM generate_series(1, 3) AS i;
INSERT INTO wishes (person, product_id, stock, price, price_before) VALUES (1, 20, 0, 100, 100);
CALL marketing.work();
UPDATE wishes SET stock = 5, stock_at = marketing.now();
CALL pass('2028-11-17 05:00+00');
UPDATE wishes SET stock = 0 WHERE person = 2;
INSERT INTO orders (person, at, product_id) VALUES (3, marketing.now(), 10), (1, marketing.now(), 30);
CALL pass('2028-11-18 05:00+00');
UPDATE wishes SET stock = 0;
CALL pass('2028-11-20 05:00+00', '6 hours');
UPDATE wishes SET stock = 5, stock_at = marketing.now() WHERE person = 1 AND product_id = 10;
CALL pass('2028-11-20 12:00+00');
SELECT contact, at, step FROM mails WHERE journey = 'back_in_stock';
SELECT contact, entered, key, state, reason FROM runs WHERE journey = 'back_in_stock';
SELECT marketing.archive_journey('back_in_stock');

-- price_drop: likewise; dearer is no event.
SELECT marketing.install_recipe('price_drop');
SELECT marketing.activate_journey('price_drop');
UPDATE wishes SET price_before = price, price = CASE WHEN person = 3 THEN 120 ELSE 80 END, price_at = marketing.now() WHERE product_id = 10;
CALL pass('2028-11-20 20:00+00');
UPDATE wishes SET price_before = price, price = 70, price_at = marketing.now() WHERE product_id = 10 AND person = 1;
UPDATE wishes SET price_before = price, price = 90, price_at = marketing.now() WHERE product_id = 10 AND person = 2;
CALL pass('2028-11-21 12:00+00');
SELECT contact, at, step FROM mails WHERE journey = 'price_drop';
SELECT contact, entered, key, state, reason FROM runs WHERE journey = 'price_drop';
SELECT marketing.archive_journey('price_drop');

-- sunset: 1 clicks, 2 does not and is let go, 3 opens now and then; not again within the year.
CREATE FUNCTION let_go(contact text, entry jsonb) RETURNS void LANGUAGE sql AS $$ SELECT marketing.unsubscribe(contact, 'offers', 'email') $$;
SELECT marketing.install_recipe('sunset', '{"topic": "offers", "silent_for": "20 days", "mails": 2, "opt_out": "public.let_go"}');
SELECT marketing.activate_journey('sunset', existing => 'skip');
SELECT marketing.remove_from_list('1', 'sunset');
SELECT marketing.set_clock('2030-01-01 10:00+00');
SELECT count(marketing.enroll(i, 'blast')) FROM generate_series(1, 3) AS i;
CALL pass('2030-01-10 10:00+00', '1 day');
SELECT marketing.record_open(token('blast', '3', 'news', 'o'), 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET');
SELECT count(marketing.enroll(i, 'blast')) FROM generate_series(1, 3) AS i;
CALL pass('2030-01-12 10:00+00', '1 day');
SELECT marketing.record_click(token('sunset', '1', 'still_interested', 'c'), 'Mozilla/5.0 (Windows NT 10.0) Thunderbird/115.0', 'GET') IS NOT NULL;
CALL pass('2030-02-01 10:00+00', '1 day');
SELECT count(marketing.enroll(1, 'blast')) FROM generate_series(1, 3) AS i;
CALL pass('2030-02-10 10:00+00', '1 day');
SELECT contact, at, step FROM mails WHERE journey = 'sunset';
SELECT contact, entered, state, reason FROM runs WHERE journey = 'sunset';
SELECT contact, state FROM marketing.consent_state WHERE topic = 'offers' ORDER BY 1;

-- lead_nurture: 4 gets the points after the second mail, 5 asks after the first, 6 orders, 8 never is ready, 9 has the points already; nobody takes 5.
SELECT marketing.define_score_model('lead'), marketing.define_stage('visitor', 10), marketing.define_stage('mql', 20);
SELECT marketing.declare_event(e) FROM unnest('{form_submitted,demo_asked}'::text[]) AS e;
SELECT marketing.define_template(t, topic => 'offers', subject => t, text => 'Hello') IS NOT NULL FROM unnest('{nurture_1,nurture_2,nurture_3,thanks,invite}'::text[]) AS t;
SELECT marketing.define_template('not_taken', topic => 'transactional', subject => 'Nobody has called', text => 'Call.') IS NOT NULL;
SELECT marketing.install_recipe('lead_nurture', '{"team": "calls", "stage": "mql", "asked_event": "demo_asked", "notify": "leads", "not_taken": "not_taken"}');
SELECT marketing.activate_journey('lead_nurture');
SELECT marketing.set_clock('2030-03-01 10:00+00');
SELECT marketing.add_points(9, 'lead', 60) IS NOT NULL;
SELECT count(marketing.track(i, 'form_submitted')) FROM unnest('{4,5,6,8,9}'::int[]) AS i;
CALL pass('2030-03-03 10:00+00', '6 hours');
SELECT marketing.track(5, 'demo_asked') IS NOT NULL;
INSERT INTO orders (person, at) VALUES (6, marketing.now());
CALL pass('2030-03-06 10:00+00', '6 hours');
SELECT marketing.add_points(4, 'lead', 60) IS NOT NULL;
CALL marketing.work();
SELECT marketing.accept_lead(4) IS NOT NULL;
CALL pass('2030-05-20 10:00+00', '1 day');
SELECT contact, at, step FROM mails WHERE journey = 'lead_nurture';
SELECT contact, title, owner, to_char(due_at, 'MM-DD HH24:MI') AS due, journey FROM marketing.tasks WHERE journey = 'lead_nurture' ORDER BY contact;
SELECT to_char(at, 'MM-DD HH24:MI') AS at, step, what, regexp_replace(detail, '#\d+', '#n') AS detail FROM marketing.explain_enrollment(5, 'lead_nurture');
SELECT stage, count(*) FROM generate_series(1, 9) AS i, marketing.stage_history(i) AS h GROUP BY 1 ORDER BY 1;
SELECT contact, entered, state, reason FROM runs WHERE journey = 'lead_nurture';
SELECT marketing.track(8, 'form_submitted') IS NOT NULL;
CALL marketing.work();
SELECT contact, entered, state FROM runs WHERE journey = 'lead_nurture' AND state NOT IN ('exited', 'completed');
SELECT marketing.archive_journey('lead_nurture');

-- best_customer: 1 to the end, 2 brings somebody; not again within three months.
SELECT marketing.declare_event('referred');
SELECT marketing.install_recipe('best_customer', '{"orders": 2, "spent": 100, "invite": "invite", "referral_event": "referred", "task": "Thank {{ contact.email }}", "team": "calls"}');
SELECT marketing.activate_journey('best_customer', existing => 'skip');
INSERT INTO orders (person, at, total) SELECT 1 + i % 3, marketing.now(), CASE WHEN i % 3 = 2 THEN 10 ELSE 60 END FROM generate_series(0, 5) AS i;
CALL pass('2030-05-22 10:00+00', '1 day');
SELECT marketing.track(2, 'referred') IS NOT NULL;
CALL pass('2030-08-01 10:00+00', '1 day');
INSERT INTO orders (person, at, total) VALUES (1, marketing.now(), 10);
CALL pass('2030-10-10 10:00+00', '1 day');
INSERT INTO orders (person, at, total) VALUES (1, marketing.now(), 10);
CALL pass('2030-10-12 10:00+00', '1 day');
SELECT contact, at, step FROM mails WHERE journey = 'best_customer';
SELECT contact, title, owner, to_char(due_at, 'MM-DD HH24:MI') AS due FROM marketing.tasks WHERE journey = 'best_customer' ORDER BY due_at;
SELECT contact, entered, state, reason FROM runs WHERE journey = 'best_customer';
SELECT marketing.archive_journey('best_customer');

-- Installed, it is a journey like any other: changed by define_journey(), and put back by the recipe.
SELECT marketing.define_journey('birthday', jsonb_set((SELECT definition FROM marketing.preview_recipe('birthday')), '{max_live}', '1'));
SELECT marketing.install_recipe('birthday', '{"used_where": "category = ''gift''"}');
SELECT journey, state FROM marketing.journeys ORDER BY 1;
