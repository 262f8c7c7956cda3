-- shop.sql: the shop on which the jobs run. Its tables are ordinary ones; what the jobs name but do
-- not define themselves (lists, layouts, templates, segments) stands here too. The topic of the
-- templates is the one that job 0a defines again, in the same words.
CREATE EXTENSION marketing_automation;
CREATE TABLE customers (
	id bigint PRIMARY KEY,
	first_name text,
	email text,
	phone text,
	tz text,
	birth_date date,
	newsletter_ok boolean,
	sms_ok boolean
);
CREATE TABLE subscribers (id bigserial PRIMARY KEY, email text NOT NULL);
CREATE TABLE products (id bigint PRIMARY KEY, title text, category text, price numeric);
CREATE TABLE carts (
	id bigserial PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	updated_at timestamptz NOT NULL,
	item_count int NOT NULL,
	url text
);
CREATE TABLE cart_items (
	cart_id bigint NOT NULL REFERENCES carts,
	product_id bigint REFERENCES products,
	title text,
	qty int,
	price numeric
);
CREATE TABLE orders (
	id bigserial PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	cart_id bigint REFERENCES carts,
	created_at timestamptz NOT NULL,
	shipped_at timestamptz,
	status text NOT NULL DEFAULT 'paid',
	total numeric NOT NULL,
	currency text NOT NULL DEFAULT 'TRY'
);
CREATE TABLE site_events (
	id bigserial PRIMARY KEY,
	name text NOT NULL,
	customer_id bigint NOT NULL REFERENCES customers,
	at timestamptz NOT NULL
);
CREATE TABLE ad_costs (day date, utm text, channel text, cost numeric, cur text);
INSERT INTO customers VALUES
	(42, 'Ayşe', 'ayse@shop.example', '+905550100042', 'Europe/Istanbul', '1990-05-17', true, true),
	(43, 'Mehmet', 'mehmet@shop.example', NULL, 'Europe/Istanbul', '1985-02-28', NULL, NULL);
CREATE INDEX ON orders (customer_id, created_at) INCLUDE (status, total);
CREATE INDEX ON orders (customer_id, shipped_at);
CREATE INDEX ON carts (customer_id, updated_at) INCLUDE (item_count);
CREATE INDEX ON site_events (customer_id, name, at);

SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_in');
SELECT marketing.define_list('sunset');
SELECT marketing.define_template('sla_missed', topic => 'transactional', subject => 'Nobody has called yet', html => '<p>{{ contact.first_name }} waits for a call.</p>');
SELECT marketing.define_template('miss_you', topic => 'offers', subject => 'We miss you, {{ contact.first_name }}', html => '<p>Come back.</p>');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'An offer', html => '<p>Ten percent for {{ contact.first_name }}.</p>');
SELECT marketing.define_template('last_notice', topic => 'offers', subject => 'Last notice', html => '<p>Is this goodbye?</p>');

SELECT marketing.define_topic('newsletter', 'Weekly letter', channels => '{email}', consent => 'double_opt_in');
SELECT marketing.define_layout('brand', html => '<html><body><h1>Our shop</h1>{{ content }}<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>');
SELECT marketing.define_template('best_content', topic => 'newsletter', layout => 'brand', subject => 'Our best', html => '<a href="https://shop.example/best">Read</a>');
SELECT marketing.define_template('feedback', topic => 'newsletter', layout => 'brand', subject => 'Tell us', html => '<p>How was it?</p>');
SELECT marketing.define_template('cart_mail', topic => 'offers', subject => 'Your basket', html => $$<ul>{% for line in cart_lines %}<li>{{ line.qty }} x {{ line.title }}, {{ line.price | money: "TRY" }}</li>{% endfor %}</ul><a href="{{ entry.url }}">To the basket</a>$$);
SELECT marketing.define_template('cart_coupon', topic => 'offers', subject => 'Ten percent', html => '<p>For your basket.</p>');
SELECT marketing.define_template('birthday', topic => 'offers', subject => 'Happy birthday, {{ contact.first_name }}', html => '<p>A present.</p>');
SELECT marketing.define_template('birthday_reminder', topic => 'offers', subject => 'Your present', html => '<p>It is still there.</p>');
SELECT marketing.define_template('bf_a', topic => 'offers', subject => 'Black Friday', html => '<p>Half the price.</p>');
SELECT marketing.define_template('bf_b', topic => 'offers', subject => 'Only today, {{ contact.first_name }}', html => '<p>Half the price.</p>');
