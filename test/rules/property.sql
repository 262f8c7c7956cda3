-- A shop, random rules over it, random rows, and the comparison of the evaluator with the oracle.
-- Times stand still on hours and days often, so that the ends of windows are met exactly; some rows
-- are late, some in the future; contacts live in zones whose clocks jump.

CREATE TABLE customers (
	id bigint PRIMARY KEY, email text, tz text, city text, birth date, joined timestamp,
	trial_ends timestamptz, credit numeric, vip boolean
);
CREATE TABLE orders (
	id bigint PRIMARY KEY, customer_id bigint, total numeric, status text, channel text, created_at timestamptz
);
CREATE TABLE carts (id bigint PRIMARY KEY, customer_id bigint, updated_at timestamptz);
CREATE TABLE site_events (id bigint PRIMARY KEY, customer_id bigint, name text, at timestamptz, url text);
CREATE TABLE ways (name text PRIMARY KEY, kind text, weight numeric);
INSERT INTO ways VALUES ('web', 'online', 2), ('shop', 'street', 1);
CREATE INDEX ON orders (customer_id, created_at);
CREATE INDEX ON carts (customer_id, updated_at);
CREATE INDEX ON site_events (customer_id, name, at);

-- How many contacts there are, and rows for them to share; the setting makes a larger shop.
CREATE FUNCTION people() RETURNS int LANGUAGE sql STABLE
	AS $$ SELECT coalesce(nullif(current_setting('test.people', true), ''), '8')::int $$;

CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE
	AS $$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;

-- An instant around the middle of the time the rows stand in, often a round one.
CREATE FUNCTION some_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
	SELECT CASE floor(random() * 4)::int
		WHEN 0 THEN date_trunc('day', x)
		WHEN 1 THEN date_trunc('hour', x)
		ELSE x END
	FROM (SELECT timestamptz '2025-10-05 00:00+00' + random() * interval '60 days' AS x) AS s $$;

CREATE FUNCTION some_window() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT pick('', ' in 1 hour', ' in 3 days', ' in 30 days', ' in 1 week', ' in 1 month', ' in 6 months',
		' between 1 day and 10 days ago', ' between 1 week and 1 month ago', ' today', ' yesterday',
		' this week', ' last week', ' this month', ' last month', ' this quarter', ' this year',
		' since ''2025-11-01''', ' since joined', ' since trial_ends') $$;

CREATE FUNCTION some_source() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT pick('order_placed', 'order_placed where (total > 50)', 'order_placed where (channel = ''web'')',
		'order_placed where (total > contact.credit)', 'order_placed where (channel = customers.city or contact.vip)',
		'order_placed where (total >= entry.total and id <> entry.id)', 'order_placed where (channel = entry.channel or entry.total > contact.credit)',
		'order_placed where (way.kind = ''online'')', 'order_placed where (way.weight * total > contact.credit or way.kind is null)',
		'cart_updated', 'cart_updated where (updated_at > contact.trial_ends)',
		'page_viewed', 'page_viewed where (url like ''/a%'')', 'page_viewed where (properties.url = ''/a/t'' or contact.email like ''a%'')',
		'signed_up') $$;

CREATE FUNCTION some_duration() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT pick('1 hour', '5 hours', '1 day', '3 days', '20 days', '1 month') $$;

-- Some kinds stand there twice or more, since they come most often.
CREATE FUNCTION some_atom(kind int DEFAULT floor(random() * 22)::int) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	CASE kind
	WHEN 0, 1, 2 THEN RETURN pick('any ', 'no ') || some_source() || some_window();
	WHEN 3, 4 THEN RETURN 'count(' || some_source() || ')' || some_window()
		|| pick(' >= ', ' > ', ' = ', ' < ', ' <= ', ' <> ') || pick('0', '1', '2', '3');
	WHEN 5, 6 THEN RETURN pick('sum', 'avg', 'min', 'max') || '(order_placed.'
		|| pick('total', '(total * 2)', 'total where (channel = ''web'')', '(total - contact.credit)', '(total - entry.total) where (contact.vip)',
			'way.weight', '(way.weight * total) where (way.kind <> channel)') || ')'
		|| some_window() || pick(' >= ', ' > ', ' < ', ' = ') || pick('0', '40', '100', 'credit', '- 5 + credit * 2');
	WHEN 7 THEN RETURN 'count(distinct ' || pick('page_viewed.url', 'order_placed.channel') || ')'
		|| some_window() || ' >= ' || pick('1', '2');
	WHEN 8 THEN RETURN 'sum(order_placed.total)' || some_window() || ' / count(order_placed)' || some_window()
		|| pick(' > ', ' <= ') || '30';
	WHEN 9 THEN RETURN pick('any ', 'no ') || some_source() || some_window() || pick(' ', ' not ')
		|| 'followed by ' || some_source() || ' within ' || some_duration();
	WHEN 10 THEN RETURN pick('first ', 'last ') || some_source() || ' '
		|| pick('more than ' || some_duration() || ' ago', 'less than ' || some_duration() || ' ago',
			'between 1 day and 20 days ago');
	WHEN 11 THEN RETURN pick('first', 'last') || ' order_placed matching (' || pick('total > 50', 'channel = ''web''') || ')';
	WHEN 12 THEN RETURN pick('any', 'none', 'all') || ' of last ' || pick('1', '2', '3')
		|| ' order_placed matching (' || pick('total > 50', 'channel = ''web''') || ')';
	WHEN 13 THEN RETURN 'overdue ' || some_source() || ' by ' || pick('0.5', '1', '2.5');
	WHEN 14 THEN RETURN pick('joined', 'trial_ends', 'birth') || ' '
		|| pick('within next ' || some_duration(), 'more than ' || some_duration() || ' ago',
			'less than ' || some_duration() || ' ago', 'is today', 'is this week', 'is this month');
	WHEN 15 THEN RETURN 'anniversary(' || pick('birth', 'joined', 'trial_ends') || ') is '
		|| pick('today', 'within 3 days', 'within 1 month');
	WHEN 16 THEN RETURN pick('entry.total > 50', 'entry.channel = contact.city or entry.total > credit', 'entry.channel is null');
	WHEN 17 THEN RETURN 'any cart_updated where (updated_at > customers.trial_ends)' || some_window();
	WHEN 19 THEN RETURN 'in segment ' || pick('regular', 'online');
	WHEN 20 THEN RETURN 'in list staff';
	WHEN 21 THEN RETURN 'subscribed ' || pick('offers', 'offers by email', 'news', 'news by sms');
	ELSE RETURN pick('city = ''Istanbul''', 'vip', 'credit between 10 and 30', 'city is null',
		'email like ''a%'' or city = ''Rome''', 'lower(city) = lower(contact.locale)',
		'sql (exists (select from carts where customer_id = customers.id and updated_at < trial_ends)) recheck every 1 day');
	END CASE;
END $$;

CREATE FUNCTION some_rule(depth int DEFAULT 2) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN depth = 0 OR random() < 0.3 THEN some_atom()
		ELSE CASE floor(random() * 4)::int
			WHEN 0 THEN 'not (' || some_rule(depth - 1) || ')'
			WHEN 1 THEN '(' || some_rule(depth - 1) || ') or (' || some_rule(depth - 1) || ')'
			ELSE '(' || some_rule(depth - 1) || ') and (' || some_rule(depth - 1) || ')' END
		END $$;

-- One random change of one row.
CREATE FUNCTION some_change() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	who bigint := 1 + floor(random() * people());
	row bigint := 1 + floor(random() * 60 * people() / 8);
BEGIN
	CASE floor(random() * 12)::int
	WHEN 0, 1, 2, 3 THEN
		INSERT INTO orders VALUES (row, who, (random() * 100)::int, pick('paid', 'paid', 'cancelled'),
			pick('web', 'shop', NULL), some_time())
		ON CONFLICT (id) DO UPDATE SET customer_id = EXCLUDED.customer_id, total = EXCLUDED.total,
			status = EXCLUDED.status, created_at = EXCLUDED.created_at;
	WHEN 4 THEN DELETE FROM orders WHERE id = row;
	WHEN 5 THEN
		INSERT INTO carts VALUES (row, who, some_time())
		ON CONFLICT (id) DO UPDATE SET updated_at = EXCLUDED.updated_at;
	WHEN 6, 7 THEN
		INSERT INTO site_events VALUES (row, who, pick('page_viewed', 'page_viewed', 'signed_up'), some_time(),
			pick('/a', '/a/b', '/c'))
		ON CONFLICT (id) DO UPDATE SET at = EXCLUDED.at, name = EXCLUDED.name;
	WHEN 8 THEN
		IF random() < 0.5 THEN
			DELETE FROM site_events WHERE id = row;
			DELETE FROM carts WHERE id = row;
		ELSE
			PERFORM marketing.track(who, 'page_viewed', '{"url": "/a/t"}', some_time());
		END IF;
	WHEN 9 THEN
		IF random() < 0.2 THEN
			DELETE FROM ways WHERE name = pick('web', 'shop');
		ELSE
			INSERT INTO ways VALUES (pick('web', 'shop'), pick('online', 'street'), (random() * 3)::int)
			ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, weight = EXCLUDED.weight;
		END IF;
	WHEN 10 THEN
		CASE floor(random() * 4)::int
		WHEN 0 THEN PERFORM marketing.add_to_list(who, 'staff');
		WHEN 1 THEN PERFORM marketing.remove_from_list(who, 'staff');
		WHEN 2 THEN PERFORM marketing.subscribe(who, pick('offers', 'news'), channel => pick('email', 'sms'));
		ELSE PERFORM marketing.unsubscribe(who, pick('offers', 'news'), channel => pick('email', 'sms', NULL));
		END CASE;
	ELSE
		UPDATE customers SET city = pick('Istanbul', 'Rome', NULL), credit = (random() * 40)::int,
			vip = random() < 0.5, trial_ends = some_time(),
			birth = (some_time() - interval '30 years')::date,
			tz = pick('Europe/Istanbul', 'America/St_Johns', 'America/New_York', 'Australia/Lord_Howe', NULL)
		WHERE id = who;
	END CASE;
END $$;

INSERT INTO customers
SELECT i, CASE WHEN i % 3 > 0 THEN 'a' || i || '@example.com' END,
	(ARRAY['Europe/Istanbul', 'America/St_Johns', 'America/New_York', 'Europe/London', NULL])[1 + i % 5],
	(ARRAY['Istanbul', 'Rome', NULL])[1 + i % 3], date '1992-02-29' + (i % 40)::int * 41,
	timestamp '2025-10-20 12:00' + i % 40 * interval '3 days 7 hours', timestamptz '2025-11-20 00:00+00' - i % 40 * interval '5 days',
	i % 40 * 5, i % 2 = 0
FROM generate_series(1, people()) AS i;

SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id',
	occurred_at => 'created_at', condition => $$ status <> 'cancelled' $$,
	lookup => '{"way": {"table": "ways", "on": "channel = name"}}');
SELECT marketing.attach_events('carts', event => 'cart_updated', contact => 'customer_id', occurred_at => 'updated_at');
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at');
SELECT count(marketing.declare_event(n, '{"url": "text"}')) FROM unnest('{page_viewed,signed_up}'::text[]) AS n;

SELECT marketing.define_list('staff');
SELECT marketing.define_topic('offers', channels => '{email,sms}');
SELECT marketing.define_topic('news', consent => 'opt_out', channels => '{email,sms}');
SELECT marketing.define_segment('regular', 'count(order_placed) in 9 days >= 2', 'UTC');
SELECT marketing.define_segment('online', 'any of last 2 order_placed matching (channel = ''web'') and not in segment regular', 'UTC');

-- The evaluator against the oracle at one instant, and at the last one its answers hold for; returns
-- how many answers were compared and raises at the first that differs.
CREATE FUNCTION compare_rule(rule text, zone text, instant timestamptz, entry jsonb DEFAULT NULL) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	ids bigint[] := (SELECT array_agg(contact_id ORDER BY contact_id) FROM marketing_internal.contact);
	oracle text := marketing_internal.rule_sql(rule, zone, 'order_placed', entry);
	expected bigint[];
	answer record;
	later record;
	n int := 0;
BEGIN
	EXECUTE 'SELECT coalesce(array_agg(contact_id), ''{}'') FROM ('
		|| replace(oracle, 'marketing.now()', quote_literal(instant) || '::timestamptz') || ') AS o' INTO expected;
	FOR answer IN SELECT * FROM marketing_internal.rule_truth(rule, zone, instant, ids, 'order_placed', entry) LOOP
		n := n + 1;
		IF answer.truth <> (answer.contact_id = ANY (expected)) THEN
			RAISE EXCEPTION 'contact % at %: evaluator %, oracle %, rule %', answer.contact_id, instant,
				answer.truth, NOT answer.truth, rule;
		END IF;
		IF answer.until <= instant THEN
			RAISE EXCEPTION 'contact % at %: holds until %, rule %', answer.contact_id, instant, answer.until, rule;
		END IF;
		-- Nothing changes up to the last microsecond, nor at some instant before.
		FOR later IN SELECT t.*, i.at FROM unnest(ARRAY[
				CASE WHEN isfinite(answer.until) THEN answer.until - interval '1 microsecond'
					ELSE instant + random() * interval '400 days' END,
				instant + random() * (CASE WHEN isfinite(answer.until) THEN answer.until
					ELSE instant + interval '40 days' END - instant)]) AS i(at)
			CROSS JOIN LATERAL marketing_internal.rule_truth(rule, zone, i.at, ARRAY[answer.contact_id], 'order_placed', entry) AS t
			WHERE i.at > instant AND i.at < answer.until
		LOOP
			n := n + 1;
			IF later.truth <> answer.truth THEN
				RAISE EXCEPTION 'contact %: % from % until %, but not at %, rule %', answer.contact_id,
					answer.truth, instant, answer.until, later.at, rule;
			END IF;
		END LOOP;
	END LOOP;
	RETURN n;
END $$;

-- The row a journey was entered by: one of the orders, as it is now.
CREATE FUNCTION some_entry() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT to_jsonb(o) FROM orders AS o ORDER BY random() LIMIT 1 $$;

-- One change that an atom of this kind may well heed at the instant: rows of the weeks before it, often as
-- old as a window is wide to the microsecond, and dates around it.
CREATE FUNCTION aimed_change(kind int, instant timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	who bigint := 1 + floor(random() * people());
	row bigint := 1 + floor(random() * 60 * people() / 8);
	since timestamptz := instant - CASE WHEN random() < 0.3
		THEN pick('1 hour', '5 hours', '1 day', '3 days', '7 days', '10 days', '20 days', '30 days')::interval + (floor(random() * 3) - 1) * interval '1 microsecond'
		ELSE random() ^ 2 * interval '40 days' END;
BEGIN
	CASE
	WHEN kind IN (14, 15) OR (kind IN (16, 17, 18) AND random() < 0.5) THEN
		UPDATE customers SET city = pick('Istanbul', 'Rome', NULL), credit = (random() * 40)::int, vip = random() < 0.5,
			joined = (instant + (random() - 0.5) * interval '50 days') AT TIME ZONE 'UTC', trial_ends = instant + (random() - 0.5) * interval '50 days',
			birth = (instant + (random() - 0.5) * interval '50 days' - (random() * 30)::int * interval '1 year')::date
		WHERE id = who;
	WHEN kind = 20 AND random() < 0.5 THEN PERFORM marketing.add_to_list(who, 'staff');
	WHEN kind = 20 THEN PERFORM marketing.remove_from_list(who, 'staff');
	WHEN kind = 21 AND random() < 0.5 THEN PERFORM marketing.subscribe(who, pick('offers', 'news'), channel => pick('email', 'sms'));
	WHEN kind = 21 THEN PERFORM marketing.unsubscribe(who, pick('offers', 'news'), channel => pick('email', 'sms', NULL));
	WHEN random() < 0.25 THEN
		DELETE FROM orders WHERE customer_id = who AND random() < 0.7;
		DELETE FROM carts WHERE customer_id = who AND random() < 0.7;
		DELETE FROM site_events WHERE customer_id = who AND random() < 0.7;
	WHEN random() < 0.5 THEN
		INSERT INTO orders VALUES (row, who, (random() * 100)::int, 'paid', pick('web', 'shop', NULL), since)
		ON CONFLICT (id) DO UPDATE SET customer_id = EXCLUDED.customer_id, total = EXCLUDED.total, channel = EXCLUDED.channel, created_at = EXCLUDED.created_at;
	WHEN random() < 0.5 THEN
		INSERT INTO carts VALUES (row, who, since) ON CONFLICT (id) DO UPDATE SET customer_id = EXCLUDED.customer_id, updated_at = EXCLUDED.updated_at;
	ELSE
		INSERT INTO site_events VALUES (row, who, pick('page_viewed', 'signed_up'), since, pick('/a', '/a/b', '/c'))
		ON CONFLICT (id) DO UPDATE SET customer_id = EXCLUDED.customer_id, at = EXCLUDED.at, name = EXCLUDED.name;
	END CASE;
END $$;

-- How often an atom of each kind became true and false because of a row, and because time passed.
CREATE TABLE atom_coverage (kind int PRIMARY KEY, row_true int NOT NULL DEFAULT 0, row_false int NOT NULL DEFAULT 0,
	time_true int NOT NULL DEFAULT 0, time_false int NOT NULL DEFAULT 0, compared bigint NOT NULL DEFAULT 0);

-- One kind of atom: its truth before and after changes of rows, and up to where it next changes in time.
CREATE FUNCTION cover_atom(the_kind int, rounds int) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	ids bigint[] := (SELECT array_agg(contact_id ORDER BY contact_id) FROM marketing_internal.contact);
	rule text;
	instant timestamptz;
	entry jsonb;
	before bool[];
	after bool[];
	answer record;
	later record;
	n bigint := 0;
	flips int[] := '{0,0,0,0}';
BEGIN
	FOR i IN 1 .. rounds LOOP
		rule := some_atom(the_kind);
		entry := some_entry();
		instant := some_time();
		before := ARRAY(SELECT truth FROM marketing_internal.rule_truth(rule, 'UTC', instant, ids, 'order_placed', entry));
		PERFORM some_change() FROM generate_series(1, 2);
		PERFORM aimed_change(the_kind, instant) FROM generate_series(1, 12);
		entry := coalesce(CASE WHEN the_kind = 16 THEN some_entry() END, entry);
		n := n + compare_rule(rule, 'UTC', instant, entry);
		after := ARRAY(SELECT truth FROM marketing_internal.rule_truth(rule, 'UTC', instant, ids, 'order_placed', entry));
		flips[1] := flips[1] + (SELECT count(*) FROM unnest(before, after) AS t(b, a) WHERE a AND NOT b);
		flips[2] := flips[2] + (SELECT count(*) FROM unnest(before, after) AS t(b, a) WHERE b AND NOT a);
		-- One that is true and one that is false, whoever they are.
		FOR answer IN SELECT DISTINCT ON (truth) * FROM marketing_internal.rule_truth(rule, 'UTC', instant, ids, 'order_placed', entry)
			WHERE isfinite(until) ORDER BY truth, random()
		LOOP
			n := n + compare_rule(rule, 'UTC', answer.until, entry);
			SELECT * INTO later FROM marketing_internal.rule_truth(rule, 'UTC', answer.until, ARRAY[answer.contact_id], 'order_placed', entry);
			flips[3] := flips[3] + (later.truth AND NOT answer.truth)::int;
			flips[4] := flips[4] + (answer.truth AND NOT later.truth)::int;
		END LOOP;
	END LOOP;
	INSERT INTO atom_coverage VALUES (the_kind, flips[1], flips[2], flips[3], flips[4], n)
	ON CONFLICT (kind) DO UPDATE SET row_true = atom_coverage.row_true + EXCLUDED.row_true,
		row_false = atom_coverage.row_false + EXCLUDED.row_false, time_true = atom_coverage.time_true + EXCLUDED.time_true,
		time_false = atom_coverage.time_false + EXCLUDED.time_false, compared = atom_coverage.compared + EXCLUDED.compared;
END $$;

-- Every kind, until each has changed often enough in each way; raises when one does not.
CREATE FUNCTION cover_atoms(seed float8, often int DEFAULT 20, kinds int DEFAULT 21) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	rare text;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 0 .. kinds LOOP
		FOR turn IN 1 .. 40 LOOP
			PERFORM cover_atom(i, 10);
			EXIT WHEN EXISTS (SELECT FROM atom_coverage WHERE kind = i AND least(row_true, row_false) >= often
				-- Time alone changes neither columns, lists and consent of a contact nor the row of an entry.
				AND (least(time_true, time_false) >= often OR i IN (16, 18, 20, 21)));
		END LOOP;
	END LOOP;
	SELECT string_agg(c::text, ' ') INTO rare FROM atom_coverage AS c
	WHERE least(row_true, row_false) < often OR (least(time_true, time_false) < often AND kind NOT IN (16, 18, 20, 21));
	IF rare IS NOT NULL THEN
		RAISE EXCEPTION 'kinds of atoms that were not tested enough (kind, by row true, false, by time true, false): %', rare;
	END IF;
	RETURN (SELECT sum(compared) FROM atom_coverage);
END $$;

-- Random rules over random rows, at random instants and at the ends of what was answered.
CREATE FUNCTION compare_rules(seed float8, rules int, changes int DEFAULT 3, instants int DEFAULT 3) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	compared bigint := 0;
	rule text;
	zone text;
	instant timestamptz;
	flip timestamptz;
	entry jsonb;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. rules LOOP
		PERFORM some_change() FROM generate_series(1, changes);
		rule := some_rule();
		entry := some_entry();
		zone := pick('UTC', 'Europe/Berlin', 'America/Sao_Paulo');
		IF marketing_internal.rule_text(marketing_internal.rule_text(rule, zone, 'order_placed'), zone, 'order_placed')
			<> marketing_internal.rule_text(rule, zone, 'order_placed') THEN
			RAISE EXCEPTION 'not canonical: %', rule;
		END IF;
		FOR j IN 1 .. instants LOOP
			instant := some_time();
			compared := compared + compare_rule(rule, zone, instant, entry);
			SELECT min(until) INTO flip FROM marketing_internal.rule_truth(rule, zone, instant,
				ARRAY(SELECT contact_id FROM marketing_internal.contact), 'order_placed', entry);
			IF isfinite(flip) THEN
				compared := compared + compare_rule(rule, zone, flip, entry);
				compared := compared + compare_rule(rule, zone, flip - interval '1 microsecond', entry);
			END IF;
		END LOOP;
	END LOOP;
	RETURN compared;
END $$;
