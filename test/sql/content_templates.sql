-- Templates: definitions and their versions, what a contact is in them, layouts, locales, queries, previews.
CREATE EXTENSION marketing_automation;
SELECT marketing.define_sender('shop', 'email', from_address => 'hello@shop.example');
\set SHOW_CONTEXT never
\pset format unaligned
SET client_min_messages = notice;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text, first_name text, city text, lang text, tz text);
CREATE TABLE subscribers (id int PRIMARY KEY, email text, city text, since timestamptz, score numeric(10,2));
CREATE TABLE cart_items (cart_id int, title text, qty int, price numeric(10,2));
INSERT INTO customers VALUES (42, 'ada@example.com', 'Ada <b>', 'Izmir', 'de-CH', 'Europe/Berlin'), (43, 'bob@example.com', NULL, NULL, NULL, NULL);
INSERT INTO subscribers VALUES (7, 'ada@example.com', 'Ankara', '2026-01-01 00:00+00', 3.50), (8, 'eve@example.com', 'Oslo', '2026-02-01 00:00+00', 4);
INSERT INTO cart_items VALUES (17, 'Shoe & sock', 1, 12.50), (17, 'Hat', 2, 3), (18, 'Bag', 1, 99);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', locale => 'lang', time_zone => 'tz');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email');
CALL marketing.work();
SELECT marketing.identify(42, '{"plan": "gold", "city": "hidden"}');

-- A definition answers what it did.
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hello {{ contact.first_name }}', html => '<p>Hi</p>');
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hello {{ contact.first_name }}', html => '<p>Hi</p>');
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hi {{ contact.first_name }}', html => '<p>Hi {{ contact.first_name }}</p>', preheader => 'p');
SELECT marketing.define_sender('shop', 'email', from_address => 'hi@shop.example');
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hi {{ contact.first_name }}', html => '<p>Hi {{ contact.first_name }}</p>', preheader => 'p', sender => 'shop');
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hallo {{ contact.first_name }}', html => '<p>Hallo</p>', sender => 'shop', locale => 'de_DE.UTF-8');
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Grüezi {{ contact.first_name }}', html => '<p>Grüezi</p>', sender => 'shop', locale => 'de');
SELECT template_id, version, locale, subject, layout FROM marketing_internal.template_version ORDER BY 1, 2;
SELECT * FROM marketing_internal.template_locale ORDER BY 1, 2;
SELECT name, topic, channel, sender, last_version FROM marketing_internal.template;

-- de-CH falls back to de, no locale to the one for everybody.
SELECT * FROM marketing.preview_message(42, 'hello');
SELECT * FROM marketing.preview_message('43', 'hello');
SELECT marketing.drop_template('hello', 'de');
SELECT subject FROM marketing.preview_message(42, 'hello');

-- Errors name the part, the line and the column.
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's', html => E'<p>\n  {% if a %}x');
SELECT marketing.define_template('bad', topic => 'transactional', subject => '{{ a | nofilter }}', html => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's', html => 'x', text => '{% endfor %}');
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's', html => 'x', preheader => '{{');
SELECT marketing.define_template('bad', topic => 'transactional', html => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's');
SELECT marketing.define_template('bad', topic => 'transactional', channel => 'sms', html => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', channel => 'E-Mail', subject => 's', html => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's', html => 'x', locale => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', subject => 's', html => 'x', layout => 'brandd');
SELECT marketing.define_template(NULL, topic => 'transactional', subject => 's', html => 'x');
SELECT marketing.define_template('bad', topic => NULL, subject => 's', html => 'x');
SELECT count(*) FROM marketing_internal.template WHERE name = 'bad';

-- Layouts stand around both parts.
SELECT marketing.define_layout('brand', html => '<html><body><h1>Shop &amp; Co</h1>{{ content }}</body></html>', text => E'SHOP\n{{ content }}');
SELECT marketing.define_layout('brand', html => '<html><body><h1>Shop &amp; Co</h1>{{ content }}</body></html>', text => E'SHOP\n{{ content }}');
SELECT marketing.define_layout('brand', html => '<html><body><h1>Shop</h1>{{ content }}</body></html>', text => E'SHOP\n{{ content }}');
SELECT marketing.define_layout('none', html => '<p>nothing</p>');
SELECT marketing.define_layout('none');
SELECT marketing.define_template('framed', topic => 'transactional', layout => 'brnad', subject => 's', html => 'x');
SELECT marketing.define_template('framed', topic => 'transactional', layout => 'brand', subject => 's', html => '<p>{{ data.x }}</p>', text => '{{ data.x }}');
SELECT * FROM marketing.preview_message(42, 'framed', '{"x": "<1>"}');
SELECT marketing.drop_layout('brand');

-- The contact: fields, then columns of the first table that has them, then attributes.
SELECT marketing.define_template('who', topic => 'transactional', channel => 'sms', text =>
	'{{ contact.email }}|{{ contact.city }}|{{ contact.plan }}|{{ contact.since | date: "%F %H:%M" }}|{{ contact.score }}|{{ contact.id }}|{{ contact.locale }}|{{ contact.time_zone }}|{{ contact.nothing }}|{{ x }}|{{ data.x }}|{{ entry.y }}');
SELECT text FROM marketing.preview_message(42, 'who', '{"x": 1, "entry": {"y": 2}}');
SELECT text FROM marketing.preview_message(43, 'who');
SELECT text FROM marketing.preview_message('subscribers:8', 'who');
UPDATE customers SET city = 'Bursa' WHERE id = 42;
SELECT text FROM marketing.preview_message(42, 'who');
SELECT text FROM marketing.preview_message(44, 'who');
SELECT text FROM marketing.preview_message(42, 'whoo');
SELECT text FROM marketing.preview_message(42, 'who', '[1]');

-- Queries: under the definer's search_path, his rights, and for a batch at once.
CREATE SCHEMA other;
CREATE TABLE other.wishes (id int, wish text);
INSERT INTO other.wishes VALUES (42, 'a boat');
SELECT marketing.define_query('cart_lines', 'SELECT title, qty, price FROM cart_items WHERE cart_id = $1 ORDER BY title', params => '{entry.id}');
SELECT marketing.define_query('cart_lines', 'select title, qty, price from public.cart_items where cart_id = $1 order by title', params => '{entry.id}');
SET search_path = other, public;
SELECT marketing.define_query('wishes', $$ SELECT wish || ' $1' AS wish, "$1x" FROM (SELECT id, wish, $2::text AS "$1x" FROM wishes) AS w WHERE id = $1 -- $9 $$, params => '{contact.id, data.x}');
RESET search_path;
SELECT name, sql, params, types FROM marketing_internal.content_query ORDER BY name;
SELECT marketing.define_template('cart', topic => 'transactional', channel => 'sms', text => '{% for l in cart_lines %}{{ l.title }} {{ l.qty }} {{ l.price }};{% endfor %}{{ wishes | json }}{{ cart_lines.size }}');
SELECT text FROM marketing.preview_message(42, 'cart', '{"entry": {"id": 17}, "x": "o''x"}');
SELECT text FROM marketing.preview_message(43, 'cart', '{"entry": {"id": 19}}');
SELECT text FROM marketing.preview_message(43, 'cart');
SELECT text FROM marketing.preview_message(43, 'cart', '{"entry": {"id": "17; DROP TABLE cart_items"}}');
SELECT marketing.define_query('q', 'SELECT 1; SELECT 2');
SELECT marketing.define_query('q', 'DELETE FROM cart_items RETURNING *');
SELECT marketing.define_query('q', 'WITH d AS (DELETE FROM cart_items RETURNING *) SELECT * FROM d');
SELECT marketing.define_query('q', 'SELECT * INTO x FROM cart_items');
SELECT marketing.define_query('q', 'SELECT * FROM cart_items FOR UPDATE');
SELECT marketing.define_query('q', 'SELECT * FROM cart_items WHERE cart_id = $1');
SELECT marketing.define_query('q', 'SELECT * FROM cart_items WHERE cart_id = $1', params => '{entry.}');
SELECT marketing.define_query('q', 'SELECT * FROM cart_itmes');
SELECT marketing.define_query('q', 'SELECT $1', params => '{a}');
SELECT marketing.define_query('cast', 'SELECT $1::int % 10 AS x', params => '{data.n}');
SELECT marketing.define_template('cast', topic => 'transactional', channel => 'sms', text => '{{ cast | json }}');
SELECT text FROM marketing.preview_message(42, 'cast', '{"n": 123}');
SELECT marketing.define_query('contact', 'SELECT 1 AS x');
SELECT marketing.define_query('q', 'SELECT 1) AS x; DROP TABLE cart_items; --');
SELECT marketing.define_query('broken', 'SELECT 1 / qty AS x FROM cart_items');
UPDATE cart_items SET qty = 0;
SELECT marketing.define_template('broken', topic => 'transactional', channel => 'sms', text => '{{ broken.size }}');
SELECT text FROM marketing.preview_message(43, 'broken');
-- What it does as its role: no more than that role may, and nothing written.
CREATE ROLE content_author;
GRANT USAGE ON SCHEMA marketing TO content_author;
GRANT EXECUTE ON FUNCTION marketing.define_query(text, text, text[]) TO content_author;
SET ROLE content_author;
SELECT marketing.define_query('stolen', 'SELECT * FROM public.cart_items');
RESET ROLE;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO public.cart_items VALUES (1) RETURNING 1';
SELECT marketing.define_query('writes', 'SELECT writes() AS x');
SELECT marketing.define_template('writes', topic => 'transactional', channel => 'sms', text => '{{ writes | json }}');
SELECT text FROM marketing.preview_message(43, 'writes');
-- A batch: one message's fault is its own, and a query runs once for all.
CREATE FUNCTION seen() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'the query runs'; RETURN 1; END $$;
SELECT marketing.define_query('noisy', 'SELECT seen() AS s WHERE $1 > 0', params => '{entry.id}');
SELECT marketing.define_template('batch', topic => 'transactional', channel => 'sms', text =>
	'{{ contact.email }} {{ entry.id }} {{ 6 | divided_by: data.d }} {% for c in cart_lines %}{{ c.title }} {% endfor %}{% if data.stop %}{% abort "stopped" %}{% endif %}{% if data.loud %}{{ noisy.size }}{% endif %}');
SELECT r FROM (SELECT marketing_internal.render_messages(jsonb_agg(jsonb_build_object('contact_id', c._contact_id, 'template_id', t.template_id, 'entry', x.entry, 'data', x.data) ORDER BY x.n)) AS list
	FROM (VALUES (1, '{"id": 17}'::jsonb, '{"d": 1, "loud": true}'::jsonb), (2, '{"id": 17}', '{"d": 0}'), (3, '{"id": "x"}', '{"d": 2}'), (4, '{"id": 18}', '{"d": 3}'), (5, '{"id": 18}', '{"d": 3, "stop": 1}'), (6, '{"id": 18}', '{"d": 4, "loud": true}')) AS x (n, entry, data),
		marketing.contacts AS c, marketing_internal.template AS t WHERE c.contact = '42' AND t.name = 'batch') AS b, jsonb_array_elements(list) AS r;
SELECT r FROM (SELECT marketing_internal.render_messages(jsonb_agg(jsonb_build_object('contact_id', c._contact_id, 'template_id', t.template_id, 'entry', x.entry, 'data', x.data) ORDER BY x.n)) AS list
	FROM (VALUES (1, '{"id": 17}'::jsonb, '{"d": 1, "loud": true}'::jsonb), (2, '{"id": 18}', '{"d": 4, "loud": true}')) AS x (n, entry, data),
		marketing.contacts AS c, marketing_internal.template AS t WHERE c.contact = '42' AND t.name = 'batch') AS b, jsonb_array_elements(list) AS r;
SELECT marketing_internal.render_messages('[{"contact_id": 999999, "template_id": 1, "data": {}}, {"template_id": 999}]'), marketing_internal.render_messages('[]');
SELECT marketing.drop_query('cart_line');
SELECT marketing.drop_query('cart_lines');
SELECT text FROM marketing.preview_message(43, 'cart', '{"entry": {"id": 17}}');

-- A message that gives up, and one whose text comes from its html.
SELECT marketing.define_template('gives_up', topic => 'transactional', subject => 's', html => '{% unless data.ok %}{% abort "nothing to say" %}{% endunless %}x');
SELECT * FROM marketing.preview_message(42, 'gives_up');
SELECT * FROM marketing.preview_message(42, 'gives_up', '{"ok": true}');
SELECT marketing_internal.html_to_text('<html><head><title>t</title><style>p { }</style></head><body><h1>Hello &amp; welcome</h1><p>One<br>two <a href="https://a.example/?x=1&amp;y=2">a link</a> <a href="https://b.example/">https://b.example/</a></p><ul><li>first</li><li>second &euro; &#8364; &#0; &x</li></ul><table><tr><td>a</td><td>b</td></tr></table><img src="x" alt="A picture"><!-- no --><script>no()</script> 1 < 2</body></html>');
-- A subject is one line.
SELECT marketing.define_template('lines', topic => 'transactional', subject => E'a\n{{ data.x }}', text => 't');
SELECT subject FROM marketing.preview_message(42, 'lines', '{"x": "b\r\nBcc: eve@example.com"}');

-- A date that no calendar knows.
SELECT marketing_internal.mime('{"from_address": "a@b.example", "to_address": "c@d.example", "message_id": "x@b.example", "text": "t", "date": 9223372036854775807}');

SELECT marketing.drop_template('nobody');
SELECT marketing.drop_template('framed');
SELECT marketing.drop_layout('brand');
DROP OWNED BY content_author;
DROP ROLE content_author;
DROP EXTENSION marketing_automation;
