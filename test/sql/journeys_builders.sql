-- Definitions written as calls are the JSON that is written by hand.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE FUNCTION same(built jsonb, written jsonb) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN built = written THEN 'same' ELSE 'differs: ' || built::text END $$;
-- Each function with the least, and with all, it takes.
WITH m AS (SELECT ARRAY['{"exit": "x"}'::jsonb] AS x), c (n, built, written) AS (SELECT v.* FROM m, LATERAL (VALUES
	(1, marketing.step_wait('2 days'), '{"wait": "2 days"}'::jsonb), (2, marketing.step_wait('2 days', id => 'w'), '{"wait": "2 days", "id": "w"}'),
	(3, marketing.step_wait_for_time('{"at": "09:00"}', 't'), '{"wait_for_time": {"at": "09:00"}, "id": "t"}'),
	(4, marketing.step_send('a'), '{"send": "a"}'), (5, marketing.step_send('a', otherwise => x, id => 'i'), '{"send": "a", "otherwise": [{"exit": "x"}], "id": "i"}'),
	(6, marketing.step_send('a', nowait => true), '{"send": "a", "nowait": true}'), (7, marketing.step_webhook('h', x, false, 'i'), '{"webhook": "h", "otherwise": [{"exit": "x"}], "nowait": false, "id": "i"}'),
	(8, marketing.step_add_to_list('l'), '{"add_to_list": "l"}'), (9, marketing.step_remove_from_list('l', 'i'), '{"remove_from_list": "l", "id": "i"}'),
	(10, marketing.step_enroll('j'), '{"enroll": "j"}'), (11, marketing.step_goto('s', 3), '{"goto": "s", "at_most": 3}'), (12, marketing.step_goto('s', 3, 'i'), '{"goto": "s", "at_most": 3, "id": "i"}'),
	(13, marketing.step_exit('r'), '{"exit": "r"}'), (14, marketing.step_update('{"plan": null}'), '{"update": {"plan": null}}'), (15, marketing.step_sql('s.f'), '{"sql": "s.f"}'), (16, marketing.step_notify('c'), '{"notify": "c"}'),
	(17, marketing.step_branch(ARRAY[marketing.path_if('any a', x), marketing.path_else(x)]), '{"branch": [{"if": "any a", "then": [{"exit": "x"}]}, {"else": [{"exit": "x"}]}]}'),
	(18, marketing.step_split(ARRAY[marketing.path_share(0.5, x, 'p'), marketing.path_share(0.25), marketing.path_else(x)], 'i'),
		'{"split": [{"share": 0.5, "then": [{"exit": "x"}], "name": "p"}, {"share": 0.25}, {"else": [{"exit": "x"}]}], "id": "i"}'),
	(19, marketing.step_wait_until(marketing.until_event('e'), 'never'), '{"wait_until": {"event": "e"}, "timeout": "never"}'),
	(20, marketing.step_wait_until(to_jsonb(ARRAY[marketing.until_event('e', 'a > 1', 's', 'entry', x), marketing.until_if('any a', x), marketing.until_if('no a')]), '1 day', otherwise => x, id => 'i'),
		'{"wait_until": [{"event": "e", "where": "a > 1", "step": "s", "since": "entry", "then": [{"exit": "x"}]}, {"if": "any a", "then": [{"exit": "x"}]}, {"if": "no a"}], "timeout": "1 day", "else": [{"exit": "x"}], "id": "i"}'),
	(21, marketing.entry_event('e'), '{"event": "e"}'), (22, marketing.entry_event('e', 'a > 1', 'id', 'restart'), '{"event": "e", "where": "a > 1", "key": "id", "on_repeat": "restart"}'),
	(23, marketing.entry_segment_entered('s'), '{"segment_entered": "s"}'), (24, marketing.entry_segment_left('s'), '{"segment_left": "s"}'),
	(33, marketing.step_score('lead', -2.5), '{"score": "lead", "points": -2.5}'), (34, marketing.step_score('lead', 5, 'met', 'i'), '{"score": "lead", "points": 5, "reason": "met", "id": "i"}'),
	(35, marketing.step_stage('fan'), '{"stage": "fan"}'), (36, marketing.step_task('call', 'owner', '4 hours', 'i'), '{"task": "call", "assign": "owner", "due": "4 hours", "id": "i"}'),
	(38, marketing.step_test('{"a": "x", "b": "y"}', 'e', '1 day', 'a'), '{"test": {"variants": {"a": "x", "b": "y"}, "measure": {"event": "e"}, "after": "1 day", "no_winner": "a"}}'),
	(39, marketing.step_test('{"a": "x", "b": "y"}', 'e', '1 day', 'a', 0.2, 'wait', x, 'i'), '{"test": {"variants": {"a": "x", "b": "y"}, "share": 0.2, "measure": {"event": "e"}, "after": "1 day", "no_winner": "a", "rest": "wait"}, "otherwise": [{"exit": "x"}], "id": "i"}'),
	(37, marketing.step_send('a', recipient => 'owner'), '{"send": "a", "to": "owner"}'),
	(30, marketing.entry_date('d'), '{"date": "d"}'), (31, marketing.entry_date('d', '-3 days', '09:00'), '{"date": "d", "offset": "-3 days", "at": "09:00"}'),
	(32, marketing.entry_anniversary('d', '1 week', '09:00', 'mar1'), '{"anniversary": "d", "offset": "1 week", "at": "09:00", "leap": "mar1"}'),
	(25, marketing.exit_event('e'), '{"event": "e"}'), (26, marketing.exit_event('e', 'a'), '{"event": "e", "where": "a"}'), (27, marketing.exit_if('any a'), '{"if": "any a"}'),
	(28, marketing.journey(NULL, x), '{"steps": [{"exit": "x"}]}'),
	(29, marketing.journey(marketing.entry_event('e'), x, ARRAY[marketing.exit_if('r')], '{"reentry": "once", "holdout": 0.1}'),
		'{"entry": {"event": "e"}, "exit_on": [{"if": "r"}], "reentry": "once", "holdout": 0.1, "steps": [{"exit": "x"}]}')) AS v)
SELECT same(built, written), count(*) FROM c GROUP BY 1;
-- Every function of them is among those above.
SELECT count(*) FROM pg_proc WHERE pronamespace = 'marketing'::regnamespace AND proname ~ '^(step|path|until|entry|exit)_' AND prorettype = 'jsonb'::regtype;
-- All of the steps the parser knows have one, and the parser takes what they give.
CREATE TABLE people (id bigint PRIMARY KEY, email text);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.declare_event(e) FROM unnest('{visited,called}'::text[]) AS e;
SELECT marketing.define_template('hello', topic => 'transactional', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_journey('j', marketing.journey(marketing.entry_event('visited'), ARRAY[marketing.step_wait('1 day'), marketing.step_send('hello', otherwise => ARRAY[marketing.step_exit('no')]),
	marketing.step_wait_until(marketing.until_event('called', since => 'entry'), '2 days')], more => '{"reentry": "always"}'));
SELECT marketing.define_journey('j', '{"entry": {"event": "visited"}, "reentry": "always", "steps": [{"wait": "1 day"}, {"send": "hello", "otherwise": [{"exit": "no"}]}, {"wait_until": {"event": "called", "since": "entry"}, "timeout": "2 days"}]}');
