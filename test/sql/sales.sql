-- Owners, tasks, what sales says of leads, and the list it works from.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, city text);
CREATE TABLE visits (id int PRIMARY KEY, customer_id int, at timestamptz, spent numeric);
INSERT INTO customers SELECT i, CASE WHEN i % 2 = 0 THEN 'Rome' ELSE 'Bari' END FROM generate_series(1, 8) AS i;
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL,
	marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at') IS NOT NULL,
	marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.define_score_model('lead', thresholds => '{"warm": 20, "hot": 50}'), marketing.define_score_rule('lead', 'spent', 'visited', 'spent'),
	marketing.define_score_model('fit', thresholds => '{"good": 1}');

-- The threshold of a hand-off stays, as long as it is one.
SELECT marketing.define_score_model('kept', thresholds => '{"warm": 20, "hot": 50}'), marketing.define_hand_off('kept', 'hot');
SELECT marketing.define_score_model('kept', thresholds => '{"warm": 20}');
SELECT marketing.define_score_model('kept', thresholds => '{"hot": 40}'), marketing.define_hand_off('kept');
SELECT marketing.define_score_model('kept', thresholds => '{"warm": 20}'), marketing.drop_score_model('kept');

-- Owners.
SELECT marketing.define_owner('leyla', 'Leyla@Shop.example', 'calls'), marketing.define_owner('can', email => 'can@shop.example', team => 'calls'), marketing.define_owner('rosa', team => 'field');
SELECT marketing.define_owner('leyla', 'leyla@shop.example', 'calls'), marketing.define_owner('rosa', email => 'rosa@shop.example');
SELECT marketing.define_owner('x', 'nobody');
SELECT marketing.define_owner('owner');
SELECT marketing.define_owner('function:public.territory');
SELECT marketing.assign_owner(1, 'round_robin:calls'), marketing.assign_owner(2, 'round_robin:calls'), marketing.assign_owner(3, 'round_robin:calls'),
	marketing.assign_owner(3, 'round_robin:calls') AS again, marketing.assign_owner(1, 'rosa') AS other, marketing.assign_owner(1, 'owner') AS same, marketing.assign_owner(5, 'owner') AS nobody;
SELECT marketing.assign_owner(1, 'lila');
SELECT marketing.assign_owner(1, 'round_robin:call');
SELECT marketing.assign_owner(99, 'can');
SELECT * FROM marketing.owners;

-- The list, its clock, and who gets a lead.
SELECT marketing.define_hand_off('lead', 'hott');
SELECT marketing.define_hand_off('fit', assign => 'round_robin:cals');
SELECT marketing.define_hand_off('fit', assign => 'owner');
SELECT marketing.define_hand_off('fit', assign => 'function:pg_catalog.max');
SELECT marketing.define_hand_off('lead', 'hot', assign => 'round_robin:calls', within => '4 hours'), marketing.define_hand_off('lead', 'hot', assign => 'round_robin:calls', within => '4 hours');
INSERT INTO visits VALUES (1, 4, '2026-03-01 12:00+00', 60), (2, 6, '2026-03-01 12:00+00', 55), (3, 8, '2026-03-01 12:00+00', 30);
SELECT marketing_internal.contact_text(contact_id) AS waiting FROM marketing_internal.lead_waiting ORDER BY waiting_id;
SELECT contact, model, score, threshold, reasons, since, owner, answer_by, waiting, overdue FROM marketing.sales_ready;
CALL marketing.work();
-- A day of 24 hours, in whatever zone it is read.
SELECT marketing.define_score_model('slow', thresholds => '{"x": 1}'), marketing.define_hand_off('slow', within => '10 days'), marketing.add_points(8, 'slow', 1);
SELECT marketing.define_hand_off('slow', within => '1 month');
SELECT answer_by FROM marketing.sales_ready WHERE model = 'slow';
SET timezone = 'America/Los_Angeles';
SELECT answer_by AT TIME ZONE 'UTC' AS answer_by FROM marketing.sales_ready WHERE model = 'slow';
SET timezone = 'UTC';
SELECT marketing.drop_score_model('slow');
SELECT marketing.set_clock('2026-03-01 17:00+00');
SELECT contact, owner, accepted_at, answer_by, waiting, overdue FROM marketing.sales_ready;
SELECT marketing.accept_lead(4, by => 'rosa'), marketing.accept_lead(6);
SELECT marketing.accept_lead(4, by => 'roza');
SELECT marketing.accept_lead(4, model => 'leed');
SELECT contact, owner, accepted_at, waiting, overdue FROM marketing.sales_ready;

-- A rejected lead does not come back for the same reasons, and tells nobody.
SELECT marketing_internal.record_event(e) FROM unnest('{lead_accepted,lead_rejected,task_done,score_threshold_reached,score_threshold_lost}'::text[]) AS e;
SELECT marketing.reject_lead(6, 'student'), marketing.reject_lead(7, reason => 'no budget', by => 'can', model => 'lead');
SELECT marketing.reject_lead(6, '');
SELECT marketing.reject_lead(6, '  ');
SELECT marketing.lead_outcome(6, 'won', 'NaN');
SELECT string_agg(contact, ' ') AS left FROM marketing.sales_ready;
UPDATE visits SET spent = 40 WHERE id = 2;
UPDATE visits SET spent = 58 WHERE id = 2;
INSERT INTO visits VALUES (4, 6, '2026-03-01 17:00+00', 1);
SELECT marketing.score(6, 'lead'), string_agg(contact, ' ') AS left FROM marketing.sales_ready;
SELECT marketing.set_clock('2026-03-02 12:00+00');
INSERT INTO visits VALUES (5, 6, '2026-03-02 12:00+00', 50);
SELECT contact, score, owner FROM marketing.sales_ready ORDER BY 1;
SELECT t.name, o.properties, o.occurred_at, o.enroll FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) ORDER BY o.occurrence_id;
SELECT marketing.lead_outcome(4, 'won', 1200.50), marketing.lead_outcome(6, 'lost', model => 'lead');
SELECT * FROM marketing.leads;
SELECT marketing.define_segment('refused', 'any lead_rejected where (reason = ''student'') in 30 days'), marketing.define_segment('taken', 'any lead_accepted where ("by" = ''rosa'')');

-- Points without a row; what sales says as points.
SELECT marketing.add_points(5, 'fit', 3.5, 'met at the fair'), marketing.add_points('customers:5', 'fit', -1);
SELECT marketing.score(5, 'fit');
SELECT marketing.define_score_rule('fit', 'accepted', 'lead_accepted', 10), marketing.define_score_rule('fit', 'rejected', 'lead_rejected', -5);
SELECT marketing.score(4, 'fit') AS accepted, marketing.score(6, 'fit') AS both, contact, score, reasons FROM marketing.sales_ready WHERE model = 'fit' ORDER BY score;
SELECT rule, event, row_key, points, points_now, fades_at, state FROM marketing.explain_score(5, 'fit') ORDER BY points;
SELECT marketing.define_segment('met', 'score(fit) > 2');
SELECT name, (SELECT count(*) FROM marketing.verify_segment(name)) AS wrong, (SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members(name)) AS members FROM marketing.segments ORDER BY 1;
SELECT marketing.add_points(5, 'fitt', 1);
SELECT marketing.add_points(5, 'fit', NULL);

-- Whom a function names.
CREATE FUNCTION territory(contact text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT CASE WHEN city = 'Rome' THEN 'rosa' ELSE 'can' END FROM public.customers WHERE id = contact::int $$;
SELECT marketing.define_hand_off('fit', assign => 'function:public.teritory');
SELECT marketing.define_hand_off('fit', assign => 'function:public.territory');
SELECT marketing.add_points(7, 'fit', 30);
CALL marketing.work();
SELECT contact, owner FROM marketing.sales_ready WHERE model = 'fit' ORDER BY 1;

-- Merged, dropped, gone.
SELECT marketing.merge_contacts(8, 4);
SELECT marketing_internal.contact_text(w.contact_id) AS contact, o.name FROM marketing_internal.contact_owner AS w JOIN marketing_internal.owner AS o USING (owner_id) ORDER BY w.contact_id;
SELECT contact, model, owner, score, accepted_at FROM marketing.sales_ready ORDER BY 1, 2;
SELECT contact, kind, by FROM marketing.leads WHERE by = 'rosa';
SELECT marketing.drop_owner('rosa');
SELECT marketing.drop_owner('rosa');
SELECT marketing.complete_task(1);
SELECT * FROM marketing.owners;
SELECT marketing.drop_hand_off('fit');
SELECT marketing.drop_hand_off('fit');
DROP FUNCTION territory;

-- One lead that cannot be given away keeps nobody waiting; a fault stops no other.
SELECT marketing.set_clock('2026-04-01 12:00+00');
INSERT INTO customers SELECT i, 'Rome' FROM generate_series(101, 180) AS i;
CREATE FUNCTION territory(contact text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT CASE WHEN contact = '101' THEN 'nobody' WHEN contact = '102' THEN (1 / length(replace(contact, '102', '')))::text WHEN contact::int > 170 THEN 'leyla' END $$;
SELECT marketing.define_score_model('many', thresholds => '{"some": 5, "most": 80}');
SELECT count(marketing.add_points(i::text, 'many', 10)) FROM generate_series(101, 180) AS i;
CALL marketing.work();
SELECT marketing.define_hand_off('many', 'some', assign => 'function:public.territory', within => '4 hours');
CALL marketing.work();
SELECT owner, count(*) FROM marketing.sales_ready WHERE model = 'many' GROUP BY 1 ORDER BY 1;
SELECT marketing.define_hand_off('many', 'some', assign => 'leyla', within => '4 hours');
SELECT marketing.drop_owner('leyla');

-- One that was rejected before anybody had it gets an owner when it comes back.
SELECT marketing.define_score_model('back', thresholds => '{"some": 5}'), marketing.define_owner('ece');
SELECT marketing.add_points(5, 'back', 10), marketing.reject_lead(5, 'student', model => 'back');
DELETE FROM marketing_internal.contact_owner WHERE contact_id = 5;
SELECT marketing.define_hand_off('back', 'some', assign => 'ece');
CALL marketing.work();
SELECT contact, owner FROM marketing.sales_ready WHERE model = 'back';
SELECT marketing.set_clock('2026-04-01 12:30+00'), marketing.add_points(5, 'back', 3);
SELECT count(*) FROM marketing.sales_ready WHERE model = 'back';
SELECT marketing.set_clock('2026-04-01 13:00+00'), marketing.add_points(5, 'back', 6);
CALL marketing.work();
SELECT contact, owner, since, waiting FROM marketing.sales_ready WHERE model = 'back';
SELECT count(*) AS waiting FROM marketing_internal.lead_waiting;

-- The time for an answer runs from the threshold of the hand-off.
SELECT marketing.set_clock('2026-04-01 14:00+00');
SELECT marketing.add_points(175, 'many', 100);
SELECT contact, threshold, since, answer_by FROM marketing.sales_ready WHERE contact = '175' AND model = 'many';

-- Points by hand alone fade, and a change of the model computes them anew.
SELECT marketing.define_score_model('hand', half_life => '10 days', thresholds => '{"good": 10}'), marketing.add_points(180, 'hand', 15);
SELECT marketing.set_clock('2026-04-20 14:00+00');
CALL marketing.work();
SELECT s.reached, s.instant > '2026-04-02' AS moved FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'hand';
SELECT marketing.define_score_model('hand', half_life => '40 days', thresholds => '{"good": 10}');
CALL marketing.work();
SELECT s.reached, s.version FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id) WHERE m.name = 'hand' AND s.value > 0;
SELECT marketing.add_points(180, 'hand', 1e300);

-- A contact that enters twice in a batch.
SELECT marketing.declare_event('seen'), marketing.define_journey('hi', '{"entry": {"event": "seen"}, "reentry": "always", "filter": "score(many) >= 15", "steps": [{"wait": "1 day"}]}'),
	marketing.define_journey('lo', '{"entry": {"event": "seen"}, "reentry": "always", "filter": "score(many) >= 10", "steps": [{"wait": "1 day"}]}');
SELECT marketing.activate_journey('hi'), marketing.activate_journey('lo');
CALL marketing.work();
BEGIN;
SELECT marketing.track(180, 'seen'), marketing.track(1, 'seen'), marketing.track(180, 'seen');
COMMIT;
CALL marketing.work();
SELECT j.name, marketing_internal.contact_text(e.contact_id) AS contact, count(*) FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j USING (journey_id) GROUP BY 1, 2 ORDER BY 1, 2;

-- The answers to each lead are found by the index, however many others there are.
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SET enable_seqscan = off;
SELECT count(*) FILTER (WHERE p LIKE '%lead_answer_pkey%') AS by_index, count(*) FILTER (WHERE p LIKE '%Seq Scan on lead_answer%') AS all_of_them
	FROM plan_of('SELECT * FROM marketing.sales_ready') AS p;
RESET enable_seqscan;
DROP FUNCTION plan_of;

-- Who may read what sales works from needs nothing else.
CREATE ROLE regress_sales;
GRANT USAGE ON SCHEMA marketing TO regress_sales;
GRANT SELECT ON marketing.sales_ready, marketing.tasks, marketing.leads, marketing.owners, marketing.grades, marketing.stages TO regress_sales;
SET ROLE regress_sales;
SELECT count(overdue) > 0 AS leads, count(waiting) > 0 AS waiting FROM marketing.sales_ready;
SELECT count(overdue) AS tasks, (SELECT count(at) > 0 FROM marketing.leads) AS said, (SELECT sum(overdue_tasks) FROM marketing.owners) AS overdue,
	(SELECT count(grade) FROM marketing.grades) AS grades, (SELECT count(reached) FROM marketing.stages) AS stages FROM marketing.tasks;
SELECT marketing.accept_lead(5);
RESET ROLE;
DROP OWNED BY regress_sales;
DROP ROLE regress_sales;

-- The last one of a team that leads or tasks go through stays in it.
SELECT marketing.define_owner('sole', team => 'night'), marketing.define_hand_off('many', 'some', assign => 'round_robin:night');
SELECT marketing.define_journey('nights', '{"steps": [{"task": "call", "assign": "round_robin:night"}]}');
SELECT marketing.drop_owner('sole');
SELECT marketing.define_owner('sole');
SELECT marketing.define_owner('other', team => 'night'), marketing.define_owner('sole'), marketing.drop_owner('sole');
SELECT marketing.define_hand_off('many', 'some'), marketing.drop_journey('nights'), marketing.drop_owner('other');

-- With a model goes what was said of its hand-off.
SELECT marketing.define_score_model('brief', thresholds => '{"x": 1}'), marketing.define_hand_off('brief', 'x', assign => 'can');
SELECT marketing.drop_score_model('brief');
SELECT count(*) FROM marketing_internal.hand_off AS h WHERE NOT EXISTS (SELECT FROM marketing_internal.score_model AS m WHERE m.model_id = h.model_id);
DROP FUNCTION territory;
DROP EXTENSION marketing_automation;
