-- What a rule, a journey or a broadcast names is not dropped under it; the error says who uses it.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE customers (id int PRIMARY KEY, email text, city text);
INSERT INTO customers VALUES (1, 'a@example.com', 'Rome');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email') IS NOT NULL, marketing.set_clock('2026-03-01 12:00+00'), marketing.declare_event('seen');
SELECT marketing.define_segment('romans', 'city = ''Rome'''), marketing.define_segment('others', 'city <> ''Rome'''), marketing.define_segment('third', 'city = ''Oslo'''),
	marketing.define_list('staff'), marketing.define_list('guests'), marketing.define_topic('news'), marketing.define_stage('lead', 10), marketing.define_stage('customer', 20),
	marketing.define_score_model('hot', thresholds => '{"yes": 5}'), marketing.define_template('hello', topic => 'transactional', subject => 'Hello', text => 'Hello');

-- By stages and segments.
SELECT marketing.define_stage('late', 30, 'in segment romans AND NOT in list staff AND (subscribed news OR stage lead) AND score(hot) > 3');
SELECT marketing.drop_segment('romans');
SELECT marketing.drop_list('staff');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_stage('lead');
SELECT marketing.drop_score_model('hot');
SELECT marketing.define_stage('late', 30), marketing.define_segment('readers', 'subscribed news');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_segment('readers'), marketing.drop_segment('romans');

-- By journeys: in rules, entries and steps; of versions that matter.
SELECT marketing.define_journey('all', '{"entry": {"segment_entered": "others"}, "filter": "NOT in list staff", "exit_on": [{"if": "stage customer"}],
	"steps": [{"score": "hot", "points": 1}, {"stage": "lead"}, {"add_to_list": "guests"},
	{"wait_until": {"if": "in segment third"}, "timeout": "1 day"}, {"branch": [{"if": "score(hot) > 2 OR subscribed news", "then": [{"remove_from_list": "staff"}]}]}, {"send": "hello"}]}');
SELECT marketing.drop_segment('others');
SELECT marketing.drop_segment('third');
SELECT marketing.drop_list('staff');
SELECT marketing.drop_list('guests');
SELECT marketing.drop_stage('lead');
SELECT marketing.drop_stage('customer');
SELECT marketing.drop_score_model('hot');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_template('hello');
SELECT marketing.drop_journey('all');

-- By conditions of journeys on an event's row, which name by comparing; their own do not hold them.
SELECT marketing.define_segment('vips', 'city = ''Bonn'''), marketing.define_owner('leyla'), marketing.define_template('bye', topic => 'transactional', subject => 'Bye', text => 'Bye');
SELECT marketing.define_journey('next', '{"entry": {"event": "journey_exited", "where": "journey <> ''next''"}, "reentry": "once", "steps": [{"wait": "1 day"}]}'),
	marketing.define_journey('rows', '{"entry": {"event": "score_threshold_reached", "where": "''hot'' = model and threshold = ''others''"}, "exit_on": [{"event": "journey_exited", "where": "journey = ''next''"},
	{"event": "segment_left", "where": "segment = any (''{vips,third}'')"}, {"event": "lead_accepted", "where": "by = ''leyla'' and entry.model is distinct from ''cold''"}],
	"goal": {"event": "stage_changed", "where": "coalesce(\"to\" in (''none'', ''customer''), false)"},
	"steps": [{"wait_until": {"event": "email_opened", "where": "template = ''bye'' or topic = ''news''"}, "timeout": "1 day"}]}');
SELECT marketing.drop_score_model('hot');
SELECT marketing.drop_segment('vips');
SELECT marketing.drop_stage('customer');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_template('bye');
SELECT marketing.drop_owner('leyla');
SELECT marketing.drop_journey('next');
SELECT marketing.drop_journey('rows');
SELECT marketing.define_journey('rows', '{"entry": {"event": "seen"}, "steps": [{"task": "call", "assign": "leyla"}]}');
SELECT marketing.drop_owner('leyla');
SELECT marketing.drop_journey('rows');
SELECT marketing.drop_journey('next'), marketing.drop_owner('leyla'), marketing.drop_segment('vips'), marketing.drop_template('bye');

-- By broadcasts that are not sent yet.
SELECT marketing.define_broadcast('sale', '{"audience": "in segment third OR stage lead", "exclude": "in list staff OR score(hot) > 3 OR NOT subscribed news", "send": "hello"}');
SELECT marketing.drop_segment('third');
SELECT marketing.drop_stage('lead');
SELECT marketing.drop_list('staff');
SELECT marketing.drop_score_model('hot');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_template('hello');
SELECT marketing.drop_broadcast('sale');

-- An event that nothing watches, but a test measures by: its table is not detached.
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz);
CREATE TABLE site_events (id int PRIMARY KEY, name text, customer_id int, at timestamptz);
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', occurred_at => 'at') IS NOT NULL,
	marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', occurred_at => 'at') IS NOT NULL,
	marketing.define_template('again', topic => 'transactional', subject => 'Again', text => 'Again');
SELECT marketing.define_journey('tested', '{"steps": [{"test": {"variants": {"a": "hello", "b": "again"}, "measure": {"event": "ordered"}, "after": "1 day", "no_winner": "a"}}]}'),
	marketing.define_broadcast('tried', '{"audience": "city is not null", "test": {"variants": {"a": "hello", "b": "again"}, "share": 0.5, "measure": {"event": "seen"}, "after": "1 hour", "no_winner": "b"}}');
SELECT marketing.detach('orders');
SELECT marketing.detach('site_events');
SELECT marketing.drop_journey('tested'), marketing.drop_broadcast('tried'), marketing.drop_template('again');
SELECT marketing.detach('orders'), marketing.detach('site_events');
DROP TABLE orders, site_events;

-- Nobody names them any more.
SELECT marketing.drop_segment('third'), marketing.drop_segment('others'), marketing.drop_stage('late'), marketing.drop_stage('lead'), marketing.drop_stage('customer'), marketing.drop_list('staff'),
	marketing.drop_list('guests'), marketing.drop_score_model('hot'), marketing.drop_topic('news'), marketing.drop_template('hello');
DROP EXTENSION marketing_automation;
DROP TABLE customers;
