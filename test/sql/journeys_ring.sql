-- Journeys that lead back into themselves: refused where the text tells it, bounded where it does not.
CREATE EXTENSION marketing_automation;
SET client_min_messages = warning;
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigserial PRIMARY KEY, person bigint REFERENCES people, at timestamptz);
SELECT marketing.attach_contacts('people', id => 'id', email => 'email') IS NOT NULL;
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'person', occurred_at => 'at') IS NOT NULL;
SELECT marketing.define_template('thanks', topic => 'transactional', subject => 'Thanks', text => 'Thank you') IS NOT NULL;
SELECT marketing.define_template('sms', topic => 'transactional', channel => 'sms', text => 'Thank you') IS NOT NULL;
SELECT marketing.define_list('l');
SELECT marketing.define_segment('s', 'in list l') IS NOT NULL;
SELECT marketing.define_segment('t', 'in segment s') IS NOT NULL;
INSERT INTO people VALUES (1, 'a@example.com');

-- Alone: by its step, by its message, by its own beginning and end.
SELECT marketing.define_journey('a', '{"steps": [{"send": "thanks"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "order_placed"}, "reentry": "always",
	"steps": [{"branch": [{"if": "any order_placed", "then": [{"send": "thanks"}, {"enroll": "a"}]}]}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "email_sent"}, "steps": [{"send": "sms", "otherwise": [{"send": "thanks"}]}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "email_skipped"}, "steps": [{"send": "thanks", "nowait": true}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "journey_entered"}, "reentry": "always", "steps": [{"wait": "1 day"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "journey_exited"}, "steps": [{"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"steps": [{"wait_until": {"event": "email_sent"}, "timeout": "1 day"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"steps": [{"send": "thanks", "id": "again"}, {"goto": "again", "at_most": 2}, {"enroll": "a"}]}');
-- What holds it up: a wait, or how often one may enter; what only somebody else can cause.
SELECT marketing.define_journey('a', '{"steps": [{"wait": "7 days"}, {"send": "thanks"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"reentry": "once", "steps": [{"send": "thanks"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"reentry": {"every": "7 days"}, "steps": [{"send": "thanks"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "email_opened"}, "steps": [{"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "sms_sent"}, "steps": [{"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"steps": [{"wait_until": {"event": "email_opened"}, "timeout": "1 day"}, {"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "journey_exited"}, "steps": [{"wait": "1 day"}, {"send": "thanks"}]}');

-- Several of them: told when the one that closes the ring is activated.
SELECT marketing.define_journey('a', '{"entry": {"event": "order_placed"}, "steps": [{"send": "thanks"}]}');
SELECT marketing.define_journey('b', '{"steps": [{"enroll": "a"}]}');
SELECT marketing.define_journey('a', '{"entry": {"event": "order_placed"}, "steps": [{"send": "thanks"}, {"enroll": "b"}]}');
SELECT marketing.activate_journey('b');
SELECT marketing.activate_journey('a');
SELECT state FROM marketing.journeys WHERE journey = 'a';
SELECT marketing.define_journey('a', '{"entry": {"event": "order_placed"}, "steps": [{"send": "thanks"}, {"wait": "1 day"}, {"enroll": "b"}]}');
SELECT marketing.activate_journey('a');
SELECT marketing.drop_journey('a'), marketing.drop_journey('b');
-- Lists and segments: only what takes back what it has done goes on without end.
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "t"}, "steps": [{"send": "thanks"}, {"add_to_list": "l"}]}');
SELECT marketing.activate_journey('a', existing => 'skip');
SELECT marketing.define_journey('b', '{"entry": {"segment_left": "s"}, "steps": [{"add_to_list": "l"}]}');
SELECT marketing.activate_journey('b');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "t"}, "steps": [{"send": "thanks"}, {"remove_from_list": "l"}]}');
SELECT marketing.activate_journey('a', existing => 'skip');
SELECT marketing.drop_journey('a'), marketing.drop_journey('b');

-- Segments that read what journeys do, when one more row may change them either way.
SELECT marketing.define_template('again', topic => 'transactional', subject => 'Again', text => 'Thank you') IS NOT NULL;
SELECT marketing.define_segment('thanked', 'last email_sent matching (template = ''thanks'')') IS NOT NULL, marketing.define_segment('by_name', 'not in segment thanked') IS NOT NULL,
	marketing.define_segment('mailed', 'any email_sent in 1 day') IS NOT NULL, marketing.define_segment('just_in', 'last journey_entered matching (journey = ''b'')') IS NOT NULL;
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "thanked"}, "steps": [{"send": "again"}, {"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_left": "by_name"}, "steps": [{"send": "again"}, {"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "mailed"}, "steps": [{"send": "again"}, {"send": "thanks"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "thanked"}, "steps": [{"send": "sms"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "thanked"}, "steps": [{"wait": "1 day"}, {"send": "again"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "just_in"}, "steps": [{"exit": "seen"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "thanked"}, "reentry": "once", "steps": [{"send": "again"}]}');
SELECT marketing.define_journey('a', '{"entry": {"segment_entered": "thanked"}, "steps": [{"send": "again"}]}');
SELECT marketing.activate_journey('a', existing => 'skip');
SELECT marketing.define_journey('b', '{"entry": {"segment_left": "thanked"}, "steps": [{"send": "thanks"}]}');
SELECT marketing.activate_journey('b', existing => 'skip');
SELECT marketing.drop_journey('a'), marketing.drop_journey('b');

-- What no text tells is bounded when it runs, and says so.
SELECT marketing.define_journey('net', '{"entry": {"event": "email_sent", "where": "template = ''thanks''"}, "reentry": "always", "steps": [{"send": "thanks"}]}');
SELECT marketing.activate_journey('net');
SELECT marketing.send_message(1, 'thanks') IS NOT NULL;
CALL marketing.work();
SELECT count(*) FROM marketing.messages;
SELECT what, detail, count(*) FROM marketing.explain_enrollment(1, 'net') WHERE what = 'refused' GROUP BY 1, 2;
SELECT item, state, regexp_replace(detail, '^.*? journey', 'journey') AS detail FROM marketing.status WHERE detail LIKE '%leads back%';
-- Rows of a user's table are not counted.
SELECT marketing.define_journey('many', '{"entry": {"event": "order_placed"}, "reentry": "always", "steps": [{"exit": "seen"}]}');
SELECT marketing.activate_journey('many');
INSERT INTO orders (person, at) SELECT 1, marketing.now() FROM generate_series(1, 60);
CALL marketing.work();
SELECT state, count(*) FROM marketing_internal.enrollment JOIN marketing_internal.journey USING (journey_id) WHERE name = 'many' GROUP BY 1;
