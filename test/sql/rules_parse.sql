-- The rule language: canonical text, and errors at their place.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id bigint PRIMARY KEY, email text, tz text, city text, birth date, created_at timestamptz, credit numeric, vip boolean, tags text[]);
CREATE TABLE leads (id bigint PRIMARY KEY, email text, city text, heat int);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, status text, channel text, created_at timestamptz);
CREATE TABLE carts (id bigint PRIMARY KEY, customer_id bigint, product_id bigint, updated_at timestamptz);
CREATE TABLE products (id bigint PRIMARY KEY, category text);
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_contacts('leads', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', contact_source => 'customers',
	occurred_at => 'created_at', condition => $$ status <> 'cancelled' $$);
SELECT marketing.attach_events('carts', event => 'Cart Updated', contact => 'customer_id', contact_source => 'customers', occurred_at => 'updated_at',
	lookup => '{"product": {"table": "products", "on": "product_id = id"}}');
SELECT marketing.declare_event('page_viewed', '{"seconds": "integer"}');
INSERT INTO customers VALUES (1);
SELECT marketing.identify(1, '{"plan": "gold"}');
CREATE FUNCTION twice(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE ROLE regress_rules_owner;
GRANT CREATE ON SCHEMA public TO regress_rules_owner;

CREATE FUNCTION canonical(rule text) RETURNS TABLE (canonical text, again boolean) LANGUAGE sql AS $$
	SELECT t, marketing_internal.rule_text(t, 'UTC') = t AND marketing.rule_text(marketing.rule_json(rule)) = t
		AND marketing_internal.rule_text(marketing.rule_json(rule)::text) = t FROM marketing_internal.rule_text(rule, 'UTC') AS t $$;
SELECT r AS rule, c.* FROM unnest(ARRAY[
	'sum(order_placed.total) over 365 days > 1000 and count(order_placed) in the last 365 days >= 5',
	'NO Page_Viewed IN 30 DAYS',
	'city = ''Istanbul'' or not (vip and credit between 3 and 5)',
	'contact.city is null and leads.city is not null and plan = ''gold''',
	'last order_placed more than 90 days ago',
	'any order_placed where (total > 100 and channel in (''web'',''app'')) this month',
	'created_at more than 24 hours ago and no page_viewed since created_at',
	'any "Cart Updated" in 7 days not followed by order_placed within 2 hours',
	'any ''Cart Updated'' yesterday followed by order_placed within 1 day',
	'anniversary(birth) is within 3 days or anniversary(birth) is today',
	'overdue order_placed by 2.5',
	'none of last 5 order_placed matching (channel = ''email'')',
	'any of last 2 order_placed matching (total > 5) and all of last 3 order_placed matching (total > 5)',
	'first order_placed between 1 week and 2 months ago',
	'count(distinct order_placed.channel where (total > 3)) last quarter >= 3',
	'avg(order_placed.(total * 2)) between 1 month and 6 months ago > -(credit + 3) * 2 - 1',
	'sum(order_placed.total) / (count(order_placed) + 1) >= 2 - (3 - 4)',
	'sum(page_viewed.seconds) today > 10 and any page_viewed where (url = ''/a'')',
	'any order_placed since ''2026-01-01'' /* a /* nested */ comment */ -- and one to the end',
	'(credit + 1) > 3', '((vip))', 'vip and (city = ''a'' or city = ''b'') and not vip',
	'case when vip and credit > 1 then true else false end',
	'''x'' = any (tags) and tags[1] = ''y'' and email like $$a%$$',
	'birth within next 3 days or created_at is this week or created_at less than 2 hours ago',
	'any order_placed where (total > contact.credit and leads.heat > 3 and Contact.plan = ''gold'')',
	'sum(order_placed.(total - customers.credit)) in 3 days > 1',
	'any page_viewed where (properties.seconds > 3 and properties->>''a'' = url)',
	'any order_placed where (order_placed.status = contact.locale) and first order_placed matching (total > contact.credit)',
	'- 5 < min(order_placed.total where (status = ''it''''s (one'')) yesterday'
]) AS r CROSS JOIN LATERAL canonical(r) AS c;

-- Errors show where.
\set r 'SELECT marketing_internal.rule_text($r$'
:r any order_placd in 3 days $r$);
:r city = 'x' and any order_placed where (totl > 1) and vip $r$);
:r city = 'x' and any order_placed where (total > 1 $r$);
:r city = 'İzmir' and and vip $r$);
:r count(order_placed) in 30 dayz > 3 $r$);
:r count(order_placed) in 0 days > 3 $r$);
:r city = 'İzmir' or
	citty = 'x' $r$);
:r customers.cty = 'x' $r$);
:r custmers.city = 'x' $r$);
:r city = 'İİ' or vip = (random() > 0.5) $r$);
:r vip and any order_placed where (now() > created_at) $r$);
:r vip = (SELECT true) $r$);
:r city = $r$);
:r city $r$);
:r vip; DROP TABLE x $r$);
:r vip in segment x $r$);
:r in segment x $r$);
:r in list x $r$);
:r 'abc $r$);
:r "abc $r$);
:r vip /* abc $r$);
:r $r$);
:r sum(order_placed.status) > 3 $r$);
:r sum(order_placed) > 3 $r$);
:r city is today $r$);
:r customers.credit = leads.heat $r$);
:r count(order_placed where total > 3) > 2 $r$);
:r any order_placed where total > 3 $r$);
:r last order_placed $r$);
:r (vip and city = 'x' $r$);
:r vip) $r$);
:r vip any order_placed $r$);
:r any of last 0 order_placed matching (total > 3) $r$);
:r sql (vip) recheck every 3 days $r$);
:r score(lead) > 5 $r$);
:r any order_placed where (contact.vp) $r$);
:r any order_placed where (contcat.vip) $r$);
:r any order_placed where (leads.vip) $r$);
:r any "Cart Updated" where (product.category = 'x') $r$);
:r any order_placed where (entry.total > 3) $r$);
:r entry.total > 3 $r$);
:r any order_placed where (total > 'x') $r$);
:r birth > 'no date' $r$);
:r any email_opened in 3 days $r$);
:r twice(credit) > 5 $r$);
:r customers.id > 5 and customers.* is not null $r$);
:r ctid = '(0,1)' $r$);
:r any order_placed where () $r$);
:r last order_placed matching () $r$);
:r count(order_placed.()) > 1 $r$);
:r count(order_placed where ()) > 1 $r$);
:r $1 = 'x' $r$);

-- JSON: what it looks like, and errors with their path.
SELECT jsonb_pretty(marketing.rule_json('not (any order_placed where (total > 3) in 3 days or city = ''x'') and sum(order_placed.total) > 2 * credit'));
\set j 'SELECT marketing.rule_text($j$'
:j {"and": [{"any": "order_placd"}]} $j$);
:j {"and": []} $j$);
:j {"or": [{"condition": "vip"}, {"no": {"event": "order_placed", "where": "total > 1) or (vip"}}]} $j$);
:j {"any": "order_placed", "window": {"in": "3 days or vip"}} $j$);
:j {"any": "order_placed", "windw": {"in": "3 days"}} $j$);
:j {"compare": {"count": "order_placed"}, "is": "> 3 or 1 =", "to": 3} $j$);
:j {"compare": {"count": "order_placed"}, "is": ">=", "to": {"+": [1]}} $j$);
:j {"last": "order_placed"} $j$);
:j {"wat": 1} $j$);
:j [1] $j$);
:j {"date": "birth or vip", "is": "today"} $j$);
SELECT marketing.rule_text(NULL), marketing.rule_json(NULL);
SELECT marketing_internal.rule_text('{"condition": "vip" ');
SELECT marketing_internal.rule_text(repeat('(', 100) || 'vip' || repeat(')', 100));
SELECT marketing_internal.rule_text(repeat('not ', 100) || 'vip');
SELECT marketing_internal.rule_text('vip', 'Nowhere/Land');
-- what people write at first
SELECT marketing_internal.rule_text('distinct count(order_placed.id) in 90 days > 4');
SELECT marketing_internal.rule_text('subscribed to offers');
SELECT marketing_internal.rule_text('count(order_placed) between 3 and 5');
SELECT marketing_internal.rule_text(repeat('x', 70000));

-- What is meant by the user's search path is kept whatever the path is later; such a rule is for the worker.
ALTER TABLE customers OWNER TO regress_rules_owner;
SELECT marketing_internal.rule_text('twice(credit) > 5 and vip');
SET search_path = pg_catalog;
SELECT marketing_internal.rule_text('public.twice(customers.credit) > (5)::numeric and vip');
RESET search_path;

-- The plain SQL of a rule runs.
SELECT marketing_internal.rule_sql('no order_placed in 30 days and city is null') IS NOT NULL AS sql;
SELECT * FROM marketing_internal.rule_truth('no order_placed in 30 days and city is null', 'UTC', NULL,
	ARRAY(SELECT contact_id FROM marketing_internal.contact));
DROP TABLE carts, orders, leads, customers;
DROP EXTENSION marketing_automation;
REVOKE CREATE ON SCHEMA public FROM regress_rules_owner;
DROP ROLE regress_rules_owner;
