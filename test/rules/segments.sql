-- Segments under a hostile history: each step changes rows or the clock in a transaction of its own,
-- the worker runs now and then, and after every step what is read must be what the oracle says.
-- Loaded after property.sql.

CREATE TABLE tally (checks bigint NOT NULL DEFAULT 0, own bigint NOT NULL DEFAULT 0, stored bigint NOT NULL DEFAULT 0);
INSERT INTO tally DEFAULT VALUES;

-- Segments that between them have every kind of atom, and some that name each other.
CREATE FUNCTION define_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM marketing.define_list('staff');
	PERFORM marketing.define_segment(name, rule, 'UTC') FROM (VALUES
		('vip', 'sum(order_placed.total) in 20 days > 100 and count(order_placed) in 20 days >= 2'),
		('inactive', 'no page_viewed in 10 days'),
		('at_risk', 'count(order_placed) between 5 days and 20 days ago >= 1 and no order_placed in 5 days'),
		('returning', 'count(page_viewed) in 7 days >= 2'),
		('birthday', 'anniversary(birth) is within 3 days'),
		('cart_left', 'any cart_updated in 7 days not followed by order_placed within 5 hours'),
		('cart_bought', 'any cart_updated in 7 days followed by order_placed within 3 days'),
		('cold', 'none of last 2 order_placed matching (channel = ''web'')'),
		('istanbul', 'city = ''Istanbul'''),
		('vip_safe', 'in segment vip or not in segment at_risk and in segment istanbul'),
		('trial', 'trial_ends within next 3 days and no signed_up'),
		('month', 'sum(order_placed.total where (channel = ''web'')) this month >= 50'),
		('never_came', 'joined more than 24 hours ago and no page_viewed since joined'),
		('explorer', 'count(distinct page_viewed.url) in 8 days >= 2'),
		('basket', 'avg(order_placed.total) in 1 month >= 50'),
		('today', 'any page_viewed today or any order_placed yesterday'),
		('late', 'overdue order_placed by 1.5'),
		('lapsed', 'last order_placed more than 12 days ago'),
		('fresh', 'first page_viewed less than 15 days ago and credit > 10'),
		('parity', 'count(order_placed) in 9 days = 1 or count(order_placed) in 9 days = 3'),
		('listed', 'in list staff and any cart_updated in 5 days'),
		('online', 'any order_placed where (way.kind = ''online'') in 9 days and sum(order_placed.way.weight) in 20 days > 2'),
		('ratio', 'sum(order_placed.total) in 10 days / count(order_placed) in 20 days > 20')) AS s(name, rule);
END $$;

-- What is read, for every segment, against plain SQL in the same snapshot.
CREATE FUNCTION check_reads(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
BEGIN
	SELECT string_agg(format('%s: contact %s stored %s', s.name, v.contact, v.stored), '; ') INTO wrong
	FROM marketing_internal.segment AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION '% at %: %', what, marketing.now(), wrong;
	END IF;
	UPDATE tally SET checks = checks + (SELECT count(*) FROM marketing_internal.segment)
		* (SELECT count(*) FROM marketing_internal.contact);
END $$;

-- What is stored, when nothing waits: members, bits and the log of entries and exits agree.
CREATE FUNCTION check_stored() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
	segment record;
BEGIN
	IF EXISTS (SELECT FROM marketing_internal.dirty) THEN
		RAISE EXCEPTION 'the worker left % rows in the dirty log: %', (SELECT count(*) FROM marketing_internal.dirty),
			(SELECT error FROM marketing_internal.dirty WHERE error IS NOT NULL LIMIT 1);
	END IF;
	FOR segment IN SELECT * FROM marketing_internal.segment LOOP
		EXECUTE format('SELECT string_agg(contact_id::text, '','') FROM (
			(SELECT contact_id FROM (%1$s) AS o EXCEPT SELECT contact_id FROM marketing_internal.segment_member WHERE segment_id = %2$s)
			UNION ALL
			(SELECT contact_id FROM marketing_internal.segment_member WHERE segment_id = %2$s EXCEPT SELECT contact_id FROM (%1$s) AS o)) AS d',
			marketing.segment_sql(segment.name), segment.segment_id) INTO wrong;
		IF wrong IS NOT NULL THEN
			RAISE EXCEPTION 'stored members of % differ at % for %', segment.name, marketing.now(), wrong;
		END IF;
	END LOOP;
	SELECT string_agg(format('segment %s contact %s', segment_id, contact_id), ', ') INTO wrong
	FROM (SELECT t.segment_id, t.contact_id,
			t.entered = lag(t.entered) OVER w AS repeated,
			t.effective_at < lag(t.effective_at) OVER w AS backwards
		FROM marketing_internal.segment_transition AS t
		WINDOW w AS (PARTITION BY t.segment_id, t.contact_id ORDER BY t.transition_id)) AS l
	WHERE repeated OR backwards;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'entries and exits do not alternate: %', wrong;
	END IF;
	SELECT string_agg(format('segment %s contact %s', coalesce(t.segment_id, m.segment_id), coalesce(t.contact_id, m.contact_id)), ', ') INTO wrong
	FROM (SELECT DISTINCT ON (segment_id, contact_id) segment_id, contact_id, entered, effective_at
			FROM marketing_internal.segment_transition ORDER BY segment_id, contact_id, transition_id DESC) AS t
	FULL JOIN marketing_internal.segment_member AS m USING (segment_id, contact_id)
	WHERE t.entered IS DISTINCT FROM (m.contact_id IS NOT NULL) OR (m.contact_id IS NOT NULL AND m.since <> t.effective_at);
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'log and members differ: %', wrong;
	END IF;
	UPDATE tally SET stored = stored + 1;
END $$;

-- The clock goes on: a while, or to the instant at which something is due, or a microsecond beside it.
CREATE FUNCTION step_clock() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	due timestamptz := (SELECT min(next_wake) FROM marketing_internal.segment_state WHERE next_wake > marketing.now());
	goal timestamptz;
BEGIN
	goal := CASE floor(random() * 6)::int
		WHEN 0 THEN due
		WHEN 1 THEN due - interval '1 microsecond'
		WHEN 2 THEN due + interval '1 microsecond'
		WHEN 3 THEN marketing.now() + random() * interval '3 days'
		ELSE marketing.now() + random() * interval '9 hours' END;
	IF isfinite(goal) AND goal > marketing.now() THEN
		PERFORM marketing.set_clock(goal);
	END IF;
END $$;

-- A change near the clock, so that windows move; one in three elsewhere, late or in the future.
CREATE FUNCTION change_now() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	who bigint := 1 + floor(random() * people());
	moment timestamptz := marketing.now() + (random() * 4 - 3) * (CASE WHEN random() < 0.5 THEN interval '1 hour' ELSE interval '4 days' END);
BEGIN
	IF random() < 0.33 THEN
		PERFORM some_change();
	ELSE
		CASE floor(random() * 6)::int
		WHEN 0, 1 THEN
			INSERT INTO orders SELECT coalesce(max(id), 0) + 1, who, (random() * 100)::int, 'paid', pick('web', 'shop', NULL), moment FROM orders;
		WHEN 2 THEN INSERT INTO carts SELECT coalesce(max(id), 0) + 1, who, moment FROM carts;
		WHEN 3 THEN INSERT INTO site_events SELECT coalesce(max(id), 0) + 1, who, 'page_viewed', moment, pick('/a', '/b', '/c') FROM site_events;
		WHEN 4 THEN
			IF random() < 0.5 THEN PERFORM marketing.add_to_list(who, 'staff'); ELSE PERFORM marketing.remove_from_list(who, 'staff'); END IF;
		ELSE
			DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY random() LIMIT 2);
			UPDATE orders SET customer_id = who WHERE id IN (SELECT id FROM orders ORDER BY random() LIMIT 1);
		END CASE;
	END IF;
END $$;

-- One transaction of changes; what this transaction itself has changed is read right before its end.
CREATE PROCEDURE transact() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM change_now() FROM generate_series(1, (1 + floor(random() * 3)::int) * people() / 8);
	IF random() < 0.2 THEN
		BEGIN
			PERFORM change_now();
			RAISE EXCEPTION 'undone';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END IF;
	IF random() < 0.3 THEN
		PERFORM check_reads('own changes');
		UPDATE tally SET own = own + 1;
	END IF;
	IF random() < 0.15 THEN ROLLBACK; ELSE COMMIT; END IF;
END $$;

CREATE PROCEDURE history(seed float8, steps int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. steps LOOP
		IF random() < 0.55 THEN
			CALL transact();
		ELSE
			PERFORM step_clock();
			COMMIT;
		END IF;
		PERFORM check_reads('after a step');
		COMMIT;
	END LOOP;
END $$;

-- How often each segment was entered and left, by rows and by time; the least of all counts.
CREATE VIEW coverage AS
	SELECT s.name,
		count(*) FILTER (WHERE t.entered AND t.cause = 'row') AS in_by_row,
		count(*) FILTER (WHERE NOT t.entered AND t.cause = 'row') AS out_by_row,
		count(*) FILTER (WHERE t.entered AND t.cause = 'time') AS in_by_time,
		count(*) FILTER (WHERE NOT t.entered AND t.cause = 'time') AS out_by_time
	FROM marketing_internal.segment AS s
	LEFT JOIN marketing_internal.segment_transition AS t USING (segment_id)
	GROUP BY s.name;
