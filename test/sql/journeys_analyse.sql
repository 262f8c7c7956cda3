-- What is odd about a definition: check_journey(), and the notices of define_journey().
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE people (id bigint PRIMARY KEY, email text, plan text);
CREATE TABLE orders (id bigint PRIMARY KEY, person bigint REFERENCES people, total int, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.declare_event('called');
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_topic('deals', 'Deals', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Order {{ entry.id }}', text => 'Hello {{ contact.first_name }}') IS NOT NULL;
SELECT marketing.define_template('offer', topic => 'deals', subject => 'Hi', text => '{% if entry.totl > 5 %}{{ "entry.quoted" }} entry.text {{ entry.person }}{% endif %}') IS NOT NULL;
SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Hi', text => 'Hello') IS NOT NULL;
SELECT marketing.define_list('vip');
SELECT marketing.define_cap('weekly', 2, '7 days');
SELECT marketing.define_cap('deals', 1, 'day', topic => 'deals', when_over => 'defer');
CREATE FUNCTION look(definition jsonb) RETURNS SETOF text LANGUAGE sql AS $$ SELECT concat_ws(' | ', kind, place, problem, hint) FROM marketing.check_journey(definition, 'j') $$;

-- Nothing is odd.
SELECT look('{"entry": {"event": "ordered"}, "exit_on": [{"if": "plan = ''gone''"}], "steps": [{"send": "letter"}, {"wait_until": [{"event": "email_opened", "step": "letter", "then": [{"exit": "read"}]}, {"event": "ordered"}], "timeout": "2 days"},
	{"branch": [{"if": "plan = ''a'' and any ordered in 2 days", "then": [{"exit": "x"}]}, {"if": "plan = ''a''", "then": [{"exit": "y"}]}, {"if": "no ordered in 2 days", "then": [{"wait": "8 days"}, {"goto": "letter", "at_most": 2}]}, {"else": [{"exit": "z"}]}]}]}');
-- Errors are all there, those of form and those of names.
SELECT look('{"entry": {"event": "orderd"}, "stepps": [], "steps": [{"send": "leter"}, {"wait": "soon"}, {"branch": [{"if": "in segment x", "then": []}]}]}');
-- Steps that are never reached; what follows them is not told again.
SELECT look('{"steps": [{"exit": "here"}, {"wait": "1 day"}, {"send": "receipt"}]}');
SELECT look('{"steps": [{"split": [{"share": 0.5, "then": [{"exit": "a"}]}, {"share": 0.5, "then": [{"exit": "b"}]}]}, {"send": "receipt"}]}');
SELECT look('{"steps": [{"wait_until": {"event": "called"}, "timeout": "never", "else": [{"exit": "late"}]}, {"wait": "1 day"}]}');
-- Paths that are never taken.
SELECT look('{"steps": [{"branch": [{"if": "plan = ''a''", "then": [{"exit": "1"}]}, {"if": "PLAN  = ''a''", "then": [{"exit": "2"}, {"wait": "1 day"}]}, {"if": "no ordered", "then": [{"exit": "3"}]}, {"if": "any ordered", "then": [{"exit": "4"}]}, {"else": [{"exit": "5"}]}]}]}');
SELECT look('{"steps": [{"branch": [{"if": "plan = ''a'' and not plan = ''a''", "then": [{"exit": "1"}]}, {"if": "true", "then": [{"exit": "2"}]}, {"if": "in list vip", "then": [{"exit": "3"}]}]}, {"send": "receipt"}]}');
SELECT look('{"steps": [{"branch": [{"if": "any ordered in 1 day or plan = ''a''", "then": [{"exit": "1"}]}, {"if": "any ordered in 1 day and in list vip", "then": [{"exit": "2"}]}, {"if": "any ordered in 2 days", "then": [{"exit": "3"}]}]}]}');
SELECT look('{"exit_on": [{"if": "any ordered or no ordered"}, {"if": "false"}], "steps": [{"wait_until": [{"if": "in list vip and not in list vip", "then": [{"exit": "a"}]}, {"if": "true"}], "timeout": "1 day"}]}');
-- Loops, and waits for what cannot come.
SELECT look('{"steps": [{"send": "receipt"}, {"branch": [{"if": "any ordered", "then": [{"goto": "receipt", "at_most": 3}]}]}, {"wait": "1 day"}, {"goto": "receipt", "at_most": 5}]}');
SELECT look('{"reentry": "always", "steps": [{"wait": "1 day"}, {"enroll": "j"}]}');
SELECT look('{"steps": [{"wait_until": [{"event": "email_opened", "step": "receipt"}, {"event": "called", "then": [{"exit": "a"}]}, {"event": "called", "then": [{"exit": "b"}]}], "timeout": "1 day"}, {"send": "receipt"}]}');
-- Variables that are never set.
SELECT look('{"entry": {"event": "ordered"}, "steps": [{"send": "offer"}]}');
SELECT look('{"entry": {"event": "called"}, "steps": [{"send": "offer"}]}');
SELECT look('{"steps": [{"send": "letter"}]}');
-- Messages against caps, on the way that takes the least time.
SELECT look('{"entry": {"event": "ordered"}, "steps": [{"send": "letter"}, {"wait": "3 days"}, {"send": "letter", "id": "two"}, {"wait": "3 days"}, {"send": "receipt"}, {"send": "letter", "id": "three"}, {"wait": "1 day 1 hour"}, {"send": "letter", "id": "four"}]}');
SELECT look('{"entry": {"event": "ordered"}, "steps": [{"send": "letter"}, {"wait_until": {"event": "called"}, "timeout": "10 days", "else": [{"exit": "late"}]}, {"branch": [{"if": "in list vip", "then": [{"wait": "6 days"}]}, {"else": [{"wait": "8 days"}]}]}, {"send": "letter", "id": "two"}, {"goto": "two", "at_most": 1}]}');
SELECT look('{"entry": {"event": "ordered"}, "steps": [{"send": "letter"}, {"wait": "4 days"}, {"goto": "letter", "at_most": 3}]}');

-- Notices when it is defined, not when it is unchanged; it is defined all the same.
SET client_min_messages = notice;
SELECT marketing.define_journey('odd', '{"entry": {"event": "ordered"}, "steps": [{"exit": "here"}, {"send": "offer"}]}');
SELECT marketing.define_journey('odd', '{"entry": {"event": "ordered"}, "steps": [{"exit": "here"}, {"send": "offer"}]}');
SELECT marketing.check_journey(NULL);
