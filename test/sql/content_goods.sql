-- What goes with messages: files, coupons; how long an SMS is; strict templates.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 10:00+00');
SELECT marketing.define_topic('offers', channels => '{email,sms}', consent => 'opt_out');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, first_name text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', NULL, 'Name' || i FROM generate_series(1, 5) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
CREATE VIEW log AS SELECT message, contact, state, reason FROM marketing.messages ORDER BY message;
CREATE FUNCTION mail(message bigint) RETURNS text LANGUAGE sql AS $$
	SELECT replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'\r', '') FROM marketing.messages WHERE messages.message = $1 $$;

-- files
SELECT marketing.define_asset('logo.png', '\x89504e470d0a1a0a'), marketing.define_asset('logo.png', '\x89504e470d0a1a0a');
SELECT marketing.define_asset('logo.png', '\x89504e470d0a1a0b'), marketing.define_asset('terms', 'Terms', 'text/plain'), marketing.define_asset('empty.bin', '');
SELECT name, type, content FROM marketing_internal.asset ORDER BY name;
SELECT marketing.define_asset('x', 'x', 'text');
SELECT marketing.define_asset('x', 'x', E'text/plain\r\nX-Y: z');
SELECT marketing.define_asset('x', 'x', 'multipart/mixed');
SELECT marketing.define_asset('x', NULL);
CREATE TABLE invoices (customer int, filename text, content bytea, type text);
INSERT INTO invoices VALUES (1, 'Rechnung März 2026.pdf', '\x255044460a00ff', NULL), (1, 'note.txt', 'Thanks', 'text/plain'), (3, NULL, 'x', NULL), (4, 'a/b', 'x', NULL), (5, 'x.txt', 'x', 'nothing');
SELECT marketing.define_query('invoice', 'SELECT filename, content, type FROM invoices WHERE customer = $1 ORDER BY filename', params => '{contact.id}');
SELECT marketing.define_template('order', topic => 'offers', subject => 'Order', html => '<img src="cid:logo.png" alt="cid:nothing"><p>Hi</p>', attachments => '{terms,invoice}');
SELECT marketing.define_template('order', topic => 'offers', subject => 'Order', html => '<img src="cid:logo.png" alt="cid:nothing"><p>Hi</p>', attachments => '{terms,invoice}');
SELECT marketing.define_template('wrong', topic => 'offers', subject => 'x', text => 'x', attachments => '{invoces}');
SELECT marketing.define_template('wrong', topic => 'offers', subject => 'x', text => 'x', attachments => '{NULL}');
SELECT marketing.define_template('wrong', topic => 'offers', channel => 'sms', text => 'x', attachments => '{terms}');
SELECT marketing.define_template('noimage', topic => 'offers', subject => 'x', html => '<img src="cid:nowhere.png">');
SELECT marketing.drop_asset('terms');
SELECT marketing.drop_asset('term');
SELECT count(marketing.send_message(i, 'order')) FROM generate_series(1, 5) AS i;
SELECT marketing.send_message(1, 'noimage');
SELECT marketing.configure('track_opens', 'off');
CALL marketing.work();
SELECT * FROM log;
SELECT regexp_replace(regexp_replace(mail(1), '=_[0-9a-f]{32}', 'BOUNDARY', 'g'), '[0-9a-f]{32}|/u/[A-Za-z0-9_-]+', 'KEY', 'g');

-- coupons
SELECT marketing.define_coupon_pool('summer'), marketing.define_coupon_pool('summer'), marketing.define_coupon_pool('winter');
SELECT marketing.add_coupons('summer', '{S1,S2,S2,S3}'), marketing.add_coupons('summer', '{S3,S4}');
SELECT marketing.add_coupons('sumer', '{X}');
SELECT marketing.add_coupons('summer', '{X,NULL}');
SELECT marketing.add_coupons('summer', ARRAY['']);
SELECT marketing.define_template('coupon', topic => 'offers', subject => '{{ "summer" | coupon }}', html => '<b>{{ "summer" | coupon }}</b>{% if stop %}{% abort "no" %}{% endif %}{{ wrong | date: 5 | divided_by: zero }}');
SELECT html FROM marketing.preview_message(1, 'coupon', '{"zero": 1}');
SELECT marketing.define_template('other', topic => 'offers', subject => 'x', text => '{{ "summr" | coupon }}');
SELECT marketing.send_message(1, 'coupon', '{"zero": 1}') AS a, marketing.send_message(2, 'coupon', '{"zero": 1, "stop": true}') AS b,
	marketing.send_message(3, 'coupon', '{"zero": 0}') AS c, marketing.send_message(4, 'coupon', '{"zero": 1}') AS d, marketing.send_message(5, 'other') AS e \gset
CALL marketing.work();
SELECT state, reason FROM log WHERE message >= :a;
SELECT array_agg(message_id - :a ORDER BY message_id) AS messages, count(DISTINCT code) AS codes FROM marketing_internal.coupon WHERE message_id IS NOT NULL;
SELECT substring(mail(:d) FROM 'Subject: ([^\n]*)') = code AS same FROM marketing_internal.coupon WHERE message_id = :d;
-- those given back come first; without one the message waits
SELECT count(marketing.send_message(i, 'coupon', '{"zero": 1}')) FROM generate_series(1, 3) AS i;
CALL marketing.work();
SELECT state, reason, count(*) FROM log WHERE message > :e GROUP BY 1, 2 ORDER BY 1;
SELECT * FROM marketing.coupon_pools ORDER BY pool;
SELECT marketing.add_coupons('summer', '{S5}');
SELECT marketing.set_clock('2026-03-01 10:20+00');
CALL marketing.work();
SELECT state, reason FROM log WHERE message > :e;
SELECT count(DISTINCT code) = count(*) AS each_once FROM marketing_internal.coupon WHERE message_id IS NOT NULL;
SELECT marketing.drop_coupon_pool('winter'), marketing.drop_coupon_pool('summer');
SELECT count(*) FROM marketing_internal.coupon;

-- SMS: the alphabet, its extension, what is beyond, parts that break no character
SELECT encoding, units, segments, other_characters FROM (VALUES (''), ('Hello'), ('Grüße à Ñ §'), ('10 € {x}'), ('Şubat'), ('`'), (E'a\nb'), (U&'\+01F600'), ('ç Ç')) AS t (t), marketing.sms_size(t);
SELECT t.n, segments, (SELECT string_agg(length(p)::text, '+') FROM unnest(parts) AS p) AS lengths, array_to_string(parts, '') = t.t AS whole FROM (VALUES (160, repeat('a', 160)), (161, repeat('a', 161)),
	(306, repeat('a', 306)), (307, repeat('a', 307)), (159, repeat('a', 159) || '€'), (152, repeat('a', 152) || '€' || repeat('b', 10)), (70, repeat('ş', 70)), (71, repeat('ş', 71)),
	(66, repeat('ş', 66) || U&'\+01F600' || 'xxxxxx'), (80, repeat('€', 80)), (81, repeat('€', 81))) AS t (n, t), marketing.sms_size(t.t);
SELECT marketing.sms_size(NULL);

-- strict templates
SELECT marketing.define_template('strict', topic => 'offers', subject => 'Hi', text => E'Dear {{ contact.first_name }},\n{{ contact.frist_name }}', strict => true);
SELECT marketing.define_template('strict', topic => 'offers', subject => 'Hi', text => E'Dear {{ contact.first_name }},\n{{ contact.frist_name }}');
SELECT text FROM marketing.preview_message(1, 'strict');
SELECT marketing.define_template('strict', topic => 'offers', subject => 'Hi', text => E'Dear {{ contact.first_name }},\n{{ contact.frist_name }}', strict => true);
SELECT text FROM marketing.preview_message(1, 'strict');
SELECT marketing.define_template('strict', topic => 'offers', subject => 'Hi', text => E'{{ contact.phone | default: "no phone" }} {% if contact.phone %}{{ contact.phone }}{% endif %} {{ data.a.b }}', strict => true);
SELECT text FROM marketing.preview_message(1, 'strict');
SELECT text FROM marketing.preview_message(1, 'strict', '{"a": {"b": 1}}');

-- a whole audience
UPDATE customers SET first_name = NULL WHERE id = 3;
UPDATE customers SET phone = '+908505550101' WHERE id = 1;
SELECT marketing.define_template('greet', topic => 'offers', subject => '{{ subject }}', html => $$<p>Dear {{ contact.first_name }} {{ contact.phone | default: "-" }}</p>
	{% if contact.id == 4 %}{% abort "not him" %}{% endif %}{% if contact.id == 5 %}{{ 1 | divided_by: 0 }}{% endif %}
	<a href="{{ unsubscribe_url }}">stop</a> <a href="{{ contact.nothing }}">x</a> <a href="shop.example/x">y</a>$$);
SELECT * FROM marketing.check_template('greet', data => '{"subject": "Hi"}') ORDER BY contact, part, problem;
SELECT * FROM marketing.check_template('greet', 'contact.first_name is null') ORDER BY contact, part, problem;
SELECT * FROM marketing.check_template('greet', 'contact.first_nam is null');
SELECT * FROM marketing.check_template('gret');
SELECT marketing.define_template('long_sms', topic => 'offers', channel => 'sms', text => 'Hi {{ contact.first_name | default: "you" }}, {{ contact.phone | default: "şşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşş" }}');
SELECT * FROM marketing.check_template('long_sms') ORDER BY contact;
SELECT html LIKE '%href="http://localhost/u/%' AS shown FROM marketing.preview_message(1, 'greet');

-- numbers, amounts and dates by language
SELECT l, marketing.render_liquid('{{ n | number }} {{ n | money: "EUR", l }} {{ m | money: "TRY", l }} {{ n | number: 1, l }} {{ d | date: "%-d %B %Y, %A", l }} {{ d | date: "%b %a", l }}',
	jsonb_build_object('n', 1234567.5, 'm', -3, 'd', '2026-05-01 12:00', 'l', l)) FROM unnest('{en,tr-TR,tr_TR.UTF-8,az,de,de-CH,fr-CA,es,it,pt-BR,pt,nl,sv,da,nb,pl,ru,hu,xx,""}'::text[]) AS l;
SELECT marketing.render_liquid('{{ 5 | money: "JPY" }} {{ 5 | money: "KWD" }} {{ 5 | money: "ABC" }} {{ 5 | money }} {{ "x" | money: "EUR" }} {{ 0.005 | money: "EUR" }}');
SELECT marketing.define_template('priced', topic => 'offers', subject => 'Price', text => '{{ 1234.5 | money: "EUR" }} {{ "2026-05-01" | date: "%B" }}');
SELECT marketing.define_template('priced', topic => 'offers', subject => 'Fiyat', text => '{{ 1234.5 | money: "EUR" }} {{ "2026-05-01" | date: "%B" }}', locale => 'tr');
SELECT marketing.define_template('priced', topic => 'offers', subject => 'Fiyat KKTC', text => '{{ 1234.5 | money: "EUR" }} {{ "2026-05-01" | date: "%B" }}', locale => 'tr-CY');
UPDATE marketing_internal.contact SET locale = CASE contact_id WHEN 1 THEN 'tr_TR.UTF-8' WHEN 2 THEN 'tr-CY' WHEN 3 THEN 'de' END;
SELECT i, subject, rtrim(text, E'\n') FROM generate_series(1, 4) AS i, marketing.preview_message(i::text, 'priced');

-- large attachments: what is too much for one batch goes with the next one, and none twice
SELECT marketing.define_asset('big.bin', decode(repeat('00ff', 4500000), 'hex'));
SELECT marketing.define_template('big', topic => 'offers', subject => 'x', text => 'x', attachments => '{big.bin}');
SELECT count(marketing.send_message(1, 'big', dedup_key => 'big ' || i)) FROM generate_series(1, 6) AS i;
CALL marketing.work();
SELECT state, attempts, count(*) FROM marketing.messages WHERE template = 'big' GROUP BY 1, 2;
SELECT gate, reason, count(*) FROM marketing_internal.message_decision WHERE gate = 'size' GROUP BY 1, 2;
