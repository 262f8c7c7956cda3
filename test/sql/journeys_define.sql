-- Journeys: definitions, their errors, versions.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text, tz text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz, total numeric);
CREATE TABLE visits (person bigint REFERENCES people, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', time_zone => 'tz') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.attach_events('visits', event => 'visited', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_template('thanks', topic => 'transactional', subject => 'Thanks', text => 'Thank you') IS NOT NULL;
RESET client_min_messages;

-- Created, the same again, replaced; the draft is nobody's until it is activated.
SELECT marketing.define_journey('j', '{"entry": {"event": "order_placed"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('j', '{"steps": [{"wait": "1 day"}], "entry": {"event": "order_placed"}}');
SELECT marketing.define_journey('j', '{"entry": {"event": "order_placed"}, "steps": [{"wait": "2 days"}]}');
SELECT marketing.enroll(1, 'j');
INSERT INTO people VALUES (1, 'a@example.com', NULL);
SELECT marketing.enroll(1, 'j');
SELECT marketing.activate_journey('j');
SELECT marketing.activate_journey('j');
SELECT marketing.define_journey('j', '{"entry": {"event": "order_placed"}, "steps": [{"wait": "3 days"}]}');
SELECT journey, state, version, draft_version, inside FROM marketing.journeys;
SELECT marketing.define_journey('j', '{"entry": {"event": "order_placed"}, "steps": [{"wait": "2 days"}]}');
SELECT journey, state, version, draft_version, inside FROM marketing.journeys;

-- All errors at once, each with its place.
SELECT marketing.define_journey('bad', $$ {"entry": {"event": "order_placd"}, "exit_onn": [], "reentry": "sometimes", "max_live": 0,
	"filter": "any order_placed in (", "exit_on": [{"event": "order_placed", "if": "true"}, {"where": "x"}, 7],
	"steps": [{"wait": "2 dayz"}, {"sned": "thanks"}, {"send": "thank"}, {"send": "thanks"}, {"send": "thanks"},
		{"branch": [{"if": "no order_placd", "then": []}, {"else": [], "if": "x"}]},
		{"wait_until": {"event": "email_opened", "step": "nowhere"}}, {"wait_until": []},
		{"goto": "nirvana"}, {"wait": "1 day", "exit": "x"}, {"send": "thanks", "id": "other", "nowait": true, "otherwise": []}, "wait"]} $$);
SELECT marketing.define_journey('bad', '[]');
SELECT marketing.define_journey('bad', '7');
SELECT marketing.define_journey('bad', '{}');
SELECT marketing.define_journey('bad', '{"steps": {}}');
SELECT marketing.define_journey('bad', '{"entry": {"event": "order_placed", "segment_left": "x"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"event": "order_placed", "key": "idd"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"event": "order_placed", "where": "totl > 5"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('bad', '{"entry": {"event": "visited"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('bad', '{"reentry": "per_key", "entry": {"event": "order_placed"}, "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('', '{"steps": []}');
SELECT marketing.define_journey('bad', '{"steps": []}');
SELECT marketing.define_journey('bad', '{"reentry": {"every": "0 days"}, "steps": [{"wait": "0 days"}, {"wait_until": {"event": "order_placed"}, "timeout": "0 hours 0 minutes"}]}');
SELECT marketing.define_journey(repeat('n', 64), '{"steps": [{"exit": "x"}]}');
SELECT marketing.define_journey(NULL, '{"steps": []}');
SELECT marketing.define_journey('bad', NULL);
-- A test that says nothing, and a date that nobody has.
SELECT marketing.define_journey('later', '{"goal": {"event": "order_placed"}, "quiet_hours": {"from": "21:00", "to": "09:00"}, "steps": [{"test": "a"}]}');
SELECT marketing.define_journey('later', '{"entry": {"anniversary": "born"}, "steps": [{"exit": "x"}]}');
SELECT count(*) FROM marketing.journeys;

-- Names.
SELECT marketing.activate_journey('jj');
SELECT marketing.activate_journey('j', existing => 'maybe');
SELECT marketing.activate_journey('j', inside => 'move');
SELECT marketing.exit_journey(1, 'i');
SELECT marketing.explain_enrollment(7, 'j');
SELECT * FROM marketing.journey_status('k');
-- What a journey follows cannot be detached.
SELECT marketing.detach('orders', 'order_placed');
SELECT marketing.drop_journey('j');
SELECT marketing.drop_journey('j');
SELECT marketing.detach('orders', 'order_placed');
SELECT count(*) FROM marketing_internal.event_watch;
DROP EXTENSION marketing_automation;
