-- Steps of journeys for who works on leads: score, stage, task, and sends to the owner.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = ISO;
CREATE TABLE customers (id int PRIMARY KEY, name text, tz text);
INSERT INTO customers VALUES (1, 'Ada', 'Europe/Istanbul'), (2, 'Bob', NULL);
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz') IS NOT NULL, marketing.set_clock('2026-03-01 12:00+00'),
	marketing.declare_event('asked') IS NOT NULL;
SELECT marketing.define_owner('leyla', 'leyla@shop.example', 'calls'), marketing.define_owner('can', team => 'calls');
SELECT marketing.define_score_model('lead'), marketing.define_stage('lead', 10), marketing.define_stage('mql', 20);
SELECT marketing.define_template('tell', topic => 'transactional', subject => '{{ contact.name }} asked for {{ entry.what }}', html => '<p>Call.</p>') IS NOT NULL,
	marketing.define_template('text', topic => 'transactional', channel => 'sms', text => 'x') IS NOT NULL;

-- What is refused, all at once.
SELECT marketing.define_journey('bad', '{"entry": {"event": "asked"}, "steps": [{"score": "leed", "points": 1}, {"score": "lead"}, {"score": "lead", "points": "many"}, {"stage": "mqll"},
	{"task": "call {{ contact.name", "assign": "lila", "due": "soon"}, {"task": "x", "assign": "round_robin:call"}, {"send": "tell", "to": "boss"}, {"send": "text", "to": "owner", "id": "t"}, {"task": "x", "points": 3}]}');

SELECT marketing.define_journey('asked', '{"entry": {"event": "asked"}, "reentry": "always", "steps": [
	{"send": "tell", "to": "owner", "id": "none", "otherwise": [{"score": "lead", "points": -2, "reason": "had no owner"}]},
	{"stage": "mql"}, {"stage": "lead"}, {"score": "lead", "points": 7.5},
	{"task": "call {{ contact.name }} about {{ entry.what }}", "assign": "round_robin:calls", "due": "2 days"}, {"task": "{{ contact.name | upcase }}"},
	{"send": "tell", "to": "owner", "otherwise": [{"exit": "no address"}]}, {"wait_until": {"event": "task_done", "where": "result = ''reached''"}, "timeout": "10 days", "else": [{"exit": "never reached"}]}]}');
SELECT marketing.activate_journey('asked');
SELECT marketing.track(1, 'asked', '{"what": "a demo"}'), marketing.track(2, 'asked', '{"what": "a price"}');
CALL marketing.work();
SELECT contact, at, step, what, detail FROM customers, LATERAL (SELECT customers.id AS contact, e.* FROM marketing.explain_enrollment(customers.id, 'asked') AS e) AS e ORDER BY contact, at, run;
SELECT task, contact, title, owner, due_at, journey, step FROM marketing.tasks ORDER BY 1;
SELECT contact, template, state FROM marketing.messages;
SELECT marketing.score(1, 'lead'), rule, row_key, points FROM marketing.explain_score(1, 'lead') ORDER BY 4;
SELECT stage, origin FROM marketing.stage_history(1);
SELECT marketing.complete_task(99);
SELECT marketing.complete_task(1, 'no answer'), marketing.complete_task(3, 'reached', by => 'leyla');
SELECT marketing.complete_task(1, 'reached');
CALL marketing.work();
SELECT task, done_at, done_by, result FROM marketing.tasks ORDER BY 1;
SELECT step, inside, state FROM (SELECT step, contacts AS inside, state FROM marketing.journey_status('asked') WHERE contacts > 0) AS s ORDER BY 1, 3;
-- A rule with a score follows the model, also to events it had not before.
SELECT marketing.declare_event('called') IS NOT NULL, marketing.define_score_model('warm'), marketing.define_score_rule('warm', 'asked', 'asked', 1);
SELECT marketing.define_journey('warming', '{"steps": [{"wait_until": {"if": "score(warm) >= 10"}, "timeout": "100 days", "else": [{"exit": "cold"}]}, {"exit": "warm"}]}'), marketing.activate_journey('warming'), marketing.enroll(1, 'warming');
CALL marketing.work();
SELECT marketing.define_score_rule('warm', 'called', 'called', 20);
CALL marketing.work();
SELECT marketing.track(1, 'called');
CALL marketing.work();
SELECT what, detail FROM marketing.explain_enrollment(1, 'warming');
-- A simulation does nothing in truth.
SELECT count(*) > 0 AS simulated FROM marketing.simulate_journey('asked', '2026-02-01', marketing.now());
SELECT count(*) AS tasks, (SELECT count(*) FROM marketing_internal.score_entry) AS entries FROM marketing.tasks;
-- With a merged contact go the tasks that are open, and back when they are split, also those done meanwhile, and step by step.
INSERT INTO customers VALUES (3, 'Eve', NULL);
CREATE FUNCTION whose() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(task || ' ' || coalesce(contact, 'nobody') || CASE WHEN done_at IS NULL THEN '' ELSE ' done' END, ', ' ORDER BY task) FROM marketing.tasks $$;
SELECT whose();
SELECT marketing.merge_contacts(2, 1), whose() AS before;
SELECT whose(), marketing.complete_task(min(task), 'while they were one') FROM marketing.tasks WHERE done_at IS NULL;
SELECT marketing.merge_contacts(3, 2);
SELECT whose();
SELECT marketing.split_contact(2);
SELECT whose();
SELECT marketing.split_contact(1);
SELECT whose();
DROP EXTENSION marketing_automation;
