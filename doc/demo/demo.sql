-- demo.sql: marketing automation inside the database of a shop, from its first declaration to the
-- message. `make demo` runs it; you can read it from the top and run it again (in this directory):
--
--     psql ... -d shop -f demo.sql
--
-- The orders of the past are real: the sample of the CDNOW data that is public for research, 2,357
-- customers of a music shop and all their 6,919 orders, moved in time so that they end now. Names and
-- addresses are made up. About thirty live people with carts, phones and consent stand beside them.
\set ON_ERROR_STOP on
\pset footer off
\pset pager off
\pset null '-'
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS marketing_automation;
DROP TABLE IF EXISTS page_views, cart_items, carts, orders, customers;

\echo
\echo '== 1. A shop like any other: customers, orders, carts'

CREATE TABLE customers (
	id bigint PRIMARY KEY,
	first_name text NOT NULL,
	last_name text NOT NULL,
	email text,
	phone text,
	tz text,
	newsletter_ok boolean,
	sms_ok boolean
);
CREATE TABLE carts (
	id bigserial PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	item_count int NOT NULL,
	url text NOT NULL,
	updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE cart_items (
	cart_id bigint NOT NULL REFERENCES carts,
	title text NOT NULL,
	qty int NOT NULL,
	price numeric(10, 2) NOT NULL
);
CREATE TABLE orders (
	id bigserial PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	cart_id bigint REFERENCES carts,
	created_at timestamptz NOT NULL DEFAULT now(),
	status text NOT NULL DEFAULT 'paid',
	items int NOT NULL,
	total numeric(10, 2) NOT NULL
);
CREATE TABLE page_views (
	id bigserial PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	page text NOT NULL,
	at timestamptz NOT NULL DEFAULT now()
);
-- What queries by customer and time want anyway.
CREATE INDEX ON orders (customer_id, created_at) INCLUDE (status, total);
CREATE INDEX ON carts (customer_id, updated_at) INCLUDE (item_count);
CREATE INDEX ON page_views (customer_id, at) INCLUDE (page);

-- The real history. A line: id, id in the sample, day, number of CDs, dollars.
CREATE TEMPORARY TABLE line (text text);
\copy line FROM 'cdnow_sample.txt'
CREATE TEMPORARY TABLE past AS
	SELECT f[2]::bigint AS customer_id, to_date(f[3], 'YYYYMMDD') AS day, f[4]::int AS items, f[5]::numeric AS total
	FROM line CROSS JOIN LATERAL regexp_split_to_array(trim(text), ' +') AS f;
INSERT INTO customers (id, first_name, last_name, email, phone, tz, newsletter_ok)
	SELECT id,
		(array['Alice','Bruno','Clara','David','Elena','Felix','Grace','Hugo','Irene','Jonas','Karla','Liam','Marta',
			'Nils','Olga','Pablo','Rosa','Simon','Tara','Viktor'])[1 + id % 20],
		(array['Adams','Berg','Costa','Dahl','Evans','Fischer','Garcia','Hansen','Ivanov','Jensen','Keller','Lopez',
			'Moreau','Novak','Olsen','Parker','Rossi','Schmidt','Turner','Vogel','Weber'])[1 + id % 21],
		'c' || id || '@example.com',
		NULL,
		(array['America/New_York','Europe/Berlin','America/Los_Angeles','Europe/Istanbul'])[1 + id % 4],
		CASE id % 4 WHEN 0 THEN true WHEN 1 THEN false END
	FROM generate_series(1, (SELECT max(customer_id) FROM past)) AS id;
INSERT INTO orders (customer_id, created_at, items, total)
	SELECT customer_id,
		date_trunc('day', now()) - ((SELECT max(day) FROM past) - day) * interval '1 day' - customer_id % 600 * interval '1 minute',
		items, total
	FROM past;

-- Live people, known to the shop by name.
INSERT INTO customers (id, first_name, last_name, email, phone, tz, newsletter_ok, sms_ok)
	SELECT 9000 + n, first_name, last_name,
		CASE WHEN n % 10 <> 0 THEN lower(translate(first_name || '.' || last_name, 'şçğıöüŞÇĞİÖÜ', 'scgiouSCGIOU')) || '@example.com' END,
		CASE WHEN n % 3 <> 0 THEN '+9055501' || 1000 + n END,
		'Europe/Istanbul', CASE WHEN n % 7 <> 0 THEN n % 5 <> 0 END, n % 2 = 0
	FROM unnest(
		array['Ayşe','Mehmet','Zeynep','Mustafa','Elif','Ahmet','Defne','Ali','Ece','Can','Leyla','Emre','Selin','Burak','Derya',
			'Kerem','Nazlı','Ozan','Pınar','Tolga','Umut','Yasemin','Barış','Ceren','Deniz','Eren','Gizem','Hakan','İpek','Mert'],
		array['Yılmaz','Kaya','Demir','Çelik','Şahin','Yıldız','Öztürk','Aydın','Arslan','Doğan','Kılıç','Aslan','Çetin','Kara','Koç',
			'Kurt','Özkan','Şimşek','Polat','Korkmaz','Çakır','Erdem','Güneş','Acar','Aksoy','Taş','Bulut','Ateş','Tekin','Avcı'])
		WITH ORDINALITY AS p (first_name, last_name, n);
-- Two of them were good customers whose 90 days without an order end while you watch.
INSERT INTO orders (customer_id, created_at, items, total)
	VALUES (9001, now() - interval '90 days' + interval '12 seconds', 3, 61.50), (9003, now() - interval '90 days' + interval '14 seconds', 1, 18.00),
		(9001, now() - interval '200 days', 2, 35.00), (9002, now() - interval '20 days', 4, 88.00);
VACUUM ANALYZE;

SELECT (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM orders) AS orders,
	(SELECT sum(total) FROM orders) AS dollars, (SELECT min(created_at)::date FROM orders) AS since;

\echo
\echo '== 2. A few declarations'

CREATE EXTENSION marketing_automation;
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_in') AS answer;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', time_zone => 'tz',
	consent => '{"offers/email": "newsletter_ok", "offers/sms": "sms_ok"}') AS answer;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at',
	condition => $$ status <> 'cancelled' $$, value => 'total') AS answer;
SELECT marketing.attach_events('carts', event => 'cart_updated', contact => 'customer_id', occurred_at => 'updated_at',
	condition => $$ item_count > 0 $$, repeat => true) AS answer;
SELECT marketing.attach_events('page_views', event => 'page_viewed', contact => 'customer_id', occurred_at => 'at') AS answer;

SELECT marketing.define_segment('vip', $$ sum(order_placed.total) in 365 days > 300 and count(order_placed) in 365 days >= 5 $$) AS answer
UNION ALL
SELECT marketing.define_segment('lapsed', $$ last order_placed more than 90 days ago $$)
UNION ALL
SELECT marketing.define_segment('browsing', $$ count(page_viewed) in 10 minutes >= 3 and no order_placed in 1 day $$);

SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 50}') AS answer;
SELECT marketing.define_score_rule('lead', 'page', event => 'page_viewed', points => 5) AS answer;
SELECT marketing.define_score_rule('lead', 'cart', event => 'cart_updated', points => 15) AS answer;
SELECT marketing.define_score_rule('lead', 'order', event => 'order_placed', points => 20, condition => $$ total >= 20 $$) AS answer;

SELECT marketing.define_template('thanks', topic => 'offers', subject => 'Thank you, {{ contact.first_name }}',
	html => $$<p>Hello {{ contact.first_name }},</p>
<p>your order of {{ entry.items }} CD{% if entry.items != 1 %}s{% endif %} over {{ entry.total }} dollars is on its way.</p>$$) AS answer;
SELECT marketing.define_template('miss_you', topic => 'offers', subject => 'We miss you, {{ contact.first_name }}',
	html => $$<p>It has been a while, {{ contact.first_name }} {{ contact.last_name }}. Here is what is new.</p>$$) AS answer;
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Ten percent off', html => $$<p>For you, until Sunday.</p>$$) AS answer;
SELECT marketing.define_template('cart_mail', topic => 'offers', subject => 'Your basket waits',
	html => $$<p>{{ entry.item_count }} things wait in <a href="{{ entry.url }}">your basket</a>.</p>$$) AS answer;
SELECT marketing.define_template('cart_sms', topic => 'offers', channel => 'sms',
	text => $${{ contact.first_name }}, your basket waits: {{ entry.url }}$$) AS answer;
SELECT marketing.define_list('sunset') AS answer;

-- Every order is thanked for at once.
SELECT marketing.define_journey('post_purchase', $$ {
	"entry": {"event": "order_placed"}, "reentry": "always",
	"steps": [{"send": "thanks"}]} $$) AS answer;
-- Who has not bought for 90 days is asked back; with an order it ends. 9001's 90 days end in seconds.
SELECT marketing.define_journey('win_back', $$ {
	"entry": {"segment_entered": "lapsed"}, "reentry": "after_exit",
	"exit_on": [{"event": "order_placed"}],
	"steps": [{"send": "miss_you"}, {"wait": "7 days"}, {"send": "offer"}, {"wait": "14 days"}, {"add_to_list": "sunset"}]} $$) AS answer;
-- An abandoned cart; an hour would be usual, ten seconds are for the impatient.
SELECT marketing.define_journey('abandoned_cart', $$ {
	"entry": {"event": "cart_updated", "key": "id", "on_repeat": "restart"}, "reentry": "per_key",
	"exit_on": [{"event": "order_placed", "where": "cart_id = entry.id"}],
	"steps": [{"wait": "10 seconds"},
		{"send": "cart_mail", "otherwise": [{"send": "cart_sms"}]}]} $$) AS answer;
SELECT marketing.activate_journey('post_purchase') AS answer
UNION ALL SELECT marketing.activate_journey('win_back', existing => 'skip')
UNION ALL SELECT marketing.activate_journey('abandoned_cart');

\echo
\echo '== 3. From here on an INSERT is all it takes'

-- Ayşe's cart is left alone; Mehmet buys his; Can (no e-mail) gets an SMS; Elif wants no offers; others look around.
INSERT INTO carts (customer_id, item_count, url) VALUES (9001, 2, 'https://shop.example/cart/1'),
	(9002, 1, 'https://shop.example/cart/2'), (9010, 3, 'https://shop.example/cart/3'),
	(9005, 2, 'https://shop.example/cart/4');
INSERT INTO page_views (customer_id, page)
	SELECT 9000 + n, 'album ' || k FROM generate_series(4, 12) AS n, generate_series(1, n) AS k;
INSERT INTO orders (customer_id, cart_id, items, total) VALUES (9002, 2, 1, 14.95);

-- The workers do the rest, so from here on we only look: until what is true, or half a minute is over.
CREATE PROCEDURE pg_temp.wait_until(condition text, what text)
LANGUAGE plpgsql AS $$
DECLARE
	patience text := coalesce(current_setting('demo.patience', true), '30 seconds');
	late timestamptz := clock_timestamp() + patience::interval;
	holds boolean;
BEGIN
	LOOP
		EXECUTE format('SELECT %s', condition) INTO holds;
		COMMIT;
		EXIT WHEN holds;
		IF clock_timestamp() > late THEN
			RAISE EXCEPTION '% did not come within %', what, patience
				USING HINT = 'Look at marketing.status, and whether the server preloads marketing_automation.';
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- The time from COMMIT to the message, of twenty orders one after the other: each when the one before is thanked for.
CREATE TEMPORARY TABLE placed (customer_id bigint, committed_at timestamptz);
DO $$
DECLARE
	thanked constant text := $q$ (SELECT count(*) FROM marketing.messages WHERE template = 'thanks' AND state = 'sent') > %s $q$;
	buyer bigint;
BEGIN
	FOR n IN 1 .. 20 LOOP
		CALL pg_temp.wait_until(format(thanked, n - 1), format('the thanks for order %s', n));
		buyer := 9000 + (array[2, 4, 6, 8, 9, 11])[1 + n % 6];
		INSERT INTO orders (customer_id, items, total) VALUES (buyer, 1 + n % 3, 9.95 + n);
		COMMIT;
		INSERT INTO placed VALUES (buyer, clock_timestamp());
		COMMIT;
	END LOOP;
	CALL pg_temp.wait_until(format(thanked, 20), 'the thanks for the last order');
END $$;

-- The cart's ten seconds, and the 90 days of two people, pass; then the workers are done.
CALL pg_temp.wait_until($$ (SELECT count(*) FROM marketing.messages
	WHERE state = 'sent' AND template IN ('miss_you', 'cart_mail', 'cart_sms')) >= 4 $$, 'mail for those who left');

\echo
\echo '== 4. What happened'
\echo
\echo 'Segments, exact at this instant:'
SELECT name, marketing.segment_size(name) AS contacts, rule FROM marketing.segments ORDER BY name;
\echo 'The best leads:'
SELECT s.contact, c.first_name, round(s.score::numeric, 1) AS score, s.threshold, s.reasons
	FROM marketing.sales_ready AS s JOIN customers AS c ON c.id = s.contact::bigint ORDER BY s.score DESC LIMIT 5;
\echo 'Journeys:'
SELECT * FROM marketing.journeys;
SELECT * FROM marketing.journey_status('abandoned_cart');
\echo 'Messages:'
SELECT template, channel, state, reason, count(*) FROM marketing.messages GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
\echo 'Ayşe (9001): what happened to her,'
SELECT * FROM marketing.contact_timeline(9001) LIMIT 12;
\echo 'why she is in the segment lapsed,'
SELECT * FROM marketing.explain_segment(9001, 'lapsed');
\echo 'and why Elif (9005) got nothing about her cart:'
SELECT * FROM marketing.why_not_sent(9005, 'abandoned_cart');
\echo 'One of the files of the spool:'
SELECT detail AS file FROM marketing.messages WHERE template = 'miss_you' AND contact = '9001' LIMIT 1 \gset
SELECT replace(pg_read_file(:'file'), E'\r', '') AS "a mail";
\echo 'From COMMIT of the order to the mail in the spool, in milliseconds:'
SELECT count(*) AS orders, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1) AS median,
		round(max(ms)::numeric, 1) AS longest
	FROM (SELECT extract(epoch FROM min(m.since) - p.committed_at) * 1000 AS ms
		FROM placed AS p JOIN marketing.messages AS m ON m.contact = p.customer_id::text AND m.template = 'thanks'
			AND m.state = 'sent' AND m.since > p.committed_at
		GROUP BY p.customer_id, p.committed_at) AS t;
\echo 'Everything in order?'
SELECT item, state, value, detail FROM marketing.status WHERE state IN ('warning', 'error');
