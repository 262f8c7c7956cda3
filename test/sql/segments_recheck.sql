-- sql (...) recheck every: a condition that reads other tables, kept by the worker and asked again from time to time.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT marketing.set_clock('2026-01-01 00:00+00');
CREATE TABLE customers (id bigint PRIMARY KEY, email text, tz text, city text, vip boolean);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, created_at timestamptz);
CREATE TABLE blocked (mail text, until timestamptz, city text);
CREATE TEMP TABLE fleeting (mail text);
CREATE VIEW everybody AS SELECT mail FROM blocked;
INSERT INTO customers SELECT i, 'c' || i || '@example.com', NULL, 'Rome', i % 2 = 0 FROM generate_series(1, 10) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', time_zone => 'tz');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'created_at');

-- Its canonical text has the names of tables in full; read again, also as JSON, it is the same rule.
CREATE FUNCTION canonical(rule text) RETURNS TABLE (canonical text, again boolean) LANGUAGE sql AS $$
	SELECT t, marketing_internal.rule_text(t, 'UTC') = t AND marketing.rule_text(marketing.rule_json(rule)) = t
		AND marketing_internal.rule_text(marketing.rule_json(rule)::text) = t FROM marketing_internal.rule_text(rule, 'UTC') AS t $$;
SELECT c.* FROM unnest(ARRAY[
	'sql (vip) recheck every 1 hour',
	'city = ''Rome'' and not sql (exists (select from blocked b where b.mail = email and contact.city = b.city and until > marketing.now())) recheck every 1 week',
	'sql (exists (select from blocked customers where customers.mail = email and city = vip::text)) RECHECK EVERY 1 month',
	'sql ((select count(*) from (select until from blocked b where b.mail = email union select created_at from orders where customer_id = customers.id) as x (y)) > 3) recheck every 90 minutes'
]) AS r CROSS JOIN LATERAL canonical(r) AS c;
SELECT marketing.rule_json('sql (vip) recheck every 1 hour');
\set r 'SELECT marketing_internal.rule_text($r$'
:r sql (vip) $r$);
:r sql (vip) recheck 1 hour $r$);
:r sql (vip) recheck every hour $r$);
:r sql (vip) recheck every 10 seconds $r$);
:r sql (vip = (random() > 0.5)) recheck every 1 hour $r$);
:r sql (exists (select from blocked where until > now())) recheck every 1 hour $r$);
:r sql (exists (select from blocked where until > current_timestamp)) recheck every 1 hour $r$);
:r sql (exists (select from nowhere)) recheck every 1 hour $r$);
:r vip or sql (exists (select from blocked where mail = emial)) recheck every 1 hour $r$);
:r sql (exists (select from blocked where mail = contact.contact_id::text)) recheck every 1 hour $r$);
:r sql (exists (select from blocked where mail = customers::text)) recheck every 1 hour $r$);
:r sql (exists (select from marketing_internal.contact)) recheck every 1 hour $r$);
:r sql (exists (select from fleeting)) recheck every 1 hour $r$);
:r sql (exists (select from blocked tablesample system (10))) recheck every 1 hour $r$);
:r sql (exists (select from blocked for update)) recheck every 1 hour $r$);
:r sql (exists (select from everybody)) recheck every 1 hour $r$);
:r sql ((select count(*) from blocked)) recheck every 1 hour $r$);
:r vip = (select true) $r$);
:r marketing.now() > '2026-01-01' $r$);

-- Read as last evaluated: at definition, when the contact's rows change, and once an hour.
SELECT marketing.define_segment('held', 'sql (exists (select from blocked b where b.mail = email and b.until > marketing.now())) recheck every 1 hour');
SELECT name, members, state, maintenance, evaluated_at FROM marketing.segments;
INSERT INTO blocked VALUES ('c3@example.com', '2026-01-01 02:00+00'), ('c4@example.com', '2026-01-02 02:00+00');
SELECT * FROM marketing.segment_members('held');
SELECT * FROM marketing.verify_segment('held');
UPDATE customers SET email = 'c3@example.com' WHERE id = 7;
SELECT marketing.in_segment(7, 'held') AS at_commit;
CALL marketing.work();
SELECT marketing.in_segment(7, 'held') AS after_the_worker;
SELECT * FROM marketing.segment_members('held');
SELECT marketing.set_clock('2026-01-01 01:00+00');
CALL marketing.work();
SELECT * FROM marketing.segment_members('held');
SELECT count(*) FROM marketing.verify_segment('held');
SELECT truth, because ~ 'as it is now; the worker asks again at' AS now, because ~ 'what reads say; evaluated again then' AS kept FROM marketing.explain_segment(3, 'held');
SELECT * FROM marketing.explain_segment(5, 'held') WHERE truth OR holds_until NOT BETWEEN '2026-01-01 01:00:00.000001+00' AND '2026-01-01 02:00+00';
SELECT marketing.forecast_segment('held', '1 day');
-- Each contact has an instant of his own, an hour from the one before.
SELECT count(DISTINCT next_wake) > 5 AS spread, max(next_wake) - min(next_wake) < interval '1 hour' AS within FROM marketing_internal.segment_state;
-- A worker that was away asks once, as of now; meanwhile it is said how old the answers are.
SELECT marketing.set_clock('2026-01-01 05:00+00');
SELECT evaluated_at BETWEEN '2026-01-01 00:00+00' AND '2026-01-01 01:00+00' AS behind FROM marketing.segments;
SELECT * FROM marketing.verify_segment('held');
CALL marketing.work();
SELECT evaluated_at BETWEEN '2026-01-01 04:00+00' AND '2026-01-01 05:00+00' AS up_to_date FROM marketing.segments;
SELECT count(*) FROM marketing.verify_segment('held');
SELECT contact_id, entered, effective_at, cause FROM marketing_internal.segment_transition ORDER BY transition_id;
SELECT * FROM marketing.preview_segment('sql (exists (select from blocked b where b.mail = email and b.until > marketing.now())) recheck every 1 hour') WHERE what <> 'cost';

-- With other conditions, and through a segment that is named.
SELECT marketing.define_segment('held_buyers', 'in segment held and any order_placed in 30 days');
INSERT INTO orders SELECT i, i, 10, marketing.now() FROM generate_series(3, 5) AS i;
SELECT marketing.segment_size('held_buyers') AS at_commit;
CALL marketing.work();
SELECT contact FROM marketing.segment_members('held_buyers');
SELECT name, maintenance FROM marketing.segments;
SELECT count(*) FROM marketing.verify_segment('held_buyers');
SELECT marketing.set_clock('2026-01-02 05:00+00');
CALL marketing.work();
SELECT marketing.segment_size('held_buyers') AS no_longer_held, (SELECT count(*) FROM marketing.verify_segment('held_buyers')) AS differ;

-- Names of tables and columns are followed; what is read cannot be dropped.
SELECT marketing.define_segment('same_city', 'sql (city = (select b.city from blocked b where b.mail = email limit 1)) recheck every 1 hour');
ALTER TABLE blocked RENAME TO blacklist;
ALTER TABLE blacklist RENAME mail TO address;
CALL marketing.work();
ALTER TABLE blacklist RENAME city TO town;
INSERT INTO blacklist VALUES ('c5@example.com', 'infinity');
SELECT marketing.set_clock('2026-01-02 07:00+00');
CALL marketing.work();
SELECT marketing.segment_rule(name), state, error FROM marketing.segments;
SELECT contact FROM marketing.segment_members('held_buyers');
DROP TABLE blacklist;
SELECT marketing.drop_segment('held_buyers'), marketing.drop_segment('held'), marketing.drop_segment('same_city');

-- In a journey, whose rules name tables with their schema: asked when a step comes to it, and again while it waits.
SELECT marketing.define_journey('freed', '{"entry": {"event": "order_placed"}, "steps": [{"wait_until": {"if": "not sql (exists (select from public.blacklist where address = email and entry.total > 1)) recheck every 1 hour"},
	"timeout": "5 days", "else": [{"exit": "blocked"}]}]}');
SELECT marketing.activate_journey('freed');
INSERT INTO orders SELECT 10 + i, i, 10, marketing.now() FROM generate_series(5, 6) AS i;
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment ORDER BY 1;
DELETE FROM blacklist WHERE address = 'c5@example.com';
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment ORDER BY 1;
-- (the segments above are dropped: their instants that are over now are nobody's)
SELECT marketing.set_clock('2026-01-02 08:00+00');
CALL marketing.work();
SELECT contact_id, state FROM marketing_internal.enrollment ORDER BY 1;
SELECT marketing.drop_journey('freed');
INSERT INTO blacklist VALUES ('c5@example.com', 'infinity');

-- Who asks: the owner of the contacts' table, who must be allowed to read the others, as must who defines it.
CREATE ROLE regress_recheck_owner;
CREATE ROLE regress_recheck_definer;
GRANT CREATE ON SCHEMA public TO regress_recheck_owner;
ALTER TABLE customers OWNER TO regress_recheck_owner;
GRANT USAGE ON SCHEMA marketing TO regress_recheck_definer;
GRANT EXECUTE ON FUNCTION marketing.define_segment TO regress_recheck_definer;
GRANT SELECT ON customers TO regress_recheck_definer;
SET ROLE regress_recheck_definer;
SELECT marketing.define_segment('held', 'sql (exists (select from blacklist where address = email and vip)) recheck every 1 hour');
RESET ROLE;
GRANT SELECT ON blacklist TO regress_recheck_definer;
SET ROLE regress_recheck_definer;
SELECT marketing.define_segment('held', 'sql (exists (select from blacklist where address = email and vip)) recheck every 1 hour');
RESET ROLE;
GRANT SELECT ON blacklist TO regress_recheck_owner;
SET ROLE regress_recheck_definer;
SELECT marketing.define_segment('held', 'sql (exists (select from blacklist where address = email and not vip)) recheck every 1 hour');
RESET ROLE;
-- A right that is taken back later is one more way for a rule to fail alone.
REVOKE SELECT ON blacklist FROM regress_recheck_owner;
SELECT marketing.define_segment('in_rome', 'city = ''Rome''');
UPDATE customers SET vip = true, city = 'Oslo' WHERE id = 5;
CALL marketing.work();
SELECT name, state, error FROM marketing.segments ORDER BY name;
SELECT count(*) FROM marketing.verify_segment('in_rome');
GRANT SELECT ON blacklist TO regress_recheck_owner;
SELECT marketing.rebuild_segment('held');

-- Views, and functions of users, run with his rights; never in somebody's commit, and not in a read's SQL.
GRANT SELECT ON everybody TO regress_recheck_owner;
CREATE FUNCTION not_at_commit(x text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF current_user <> 'regress_recheck_owner' THEN RAISE 'run as %', current_user; END IF;
	IF current_setting('regress.commit', true) = 'yes' THEN RAISE 'run at a commit'; END IF;
	RETURN x LIKE 'c1%';
END $$;
SELECT marketing.define_segment('held', 'sql (not_at_commit(customers.email) or exists (select from everybody where mail = email)) recheck every 1 hour');
SELECT marketing.define_segment('by_function', 'not_at_commit(customers.email)');
SELECT name, members, maintenance, evaluated_at FROM marketing.segments ORDER BY name;
SET marketing_automation.strict = on;
SET regress.commit = 'yes';
UPDATE customers SET email = 'c9' || email WHERE id IN (1, 2);
UPDATE customers SET city = 'Rome' WHERE id = 5;
RESET regress.commit;
RESET marketing_automation.strict;
SELECT marketing.in_segment(5, 'in_rome') AS live, marketing.in_segment(1, 'held') AS as_evaluated, evaluated_at FROM marketing.segments WHERE name = 'by_function';
CALL marketing.work();
SELECT contact FROM marketing.segment_members('held');
SELECT contact FROM marketing.segment_members('by_function');
SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
SELECT name, state, error FROM marketing.segments ORDER BY name;
SELECT evaluated_at = marketing.now() AS nothing_waits FROM marketing.segments WHERE name = 'by_function';

DROP EXTENSION marketing_automation;
DROP VIEW everybody;
DROP TABLE orders, customers, blacklist;
DROP FUNCTION not_at_commit;
REVOKE CREATE ON SCHEMA public FROM regress_recheck_owner;
DROP ROLE regress_recheck_owner, regress_recheck_definer;
