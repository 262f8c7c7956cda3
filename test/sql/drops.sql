-- What is used cannot be dropped; names that are not there; doing a thing twice.
CREATE EXTENSION marketing_automation;
SET client_min_messages = notice;
CREATE TABLE people (id bigint PRIMARY KEY, email text, news boolean);
INSERT INTO people VALUES (1, 'a@example.com', true), (2, 'b@example.com', false);

-- Topics and senders.
SELECT marketing.define_topic('offers'), marketing.define_topic('news', consent => 'double_opt_in', confirm => 'please'), marketing.define_topic('idle');
SELECT marketing.attach_contacts('people', id => 'id', email => 'email', consent => '{"news/email": "news"}');
SELECT marketing.define_sender('shop', channel => 'email', from_address => 'shop@example.com'), marketing.define_sender('idle', channel => 'sms');
SELECT marketing.define_template('hello', topic => 'offers', subject => 'Hello', text => 'Hello', sender => 'shop');
SELECT marketing.define_template('please', topic => 'transactional', subject => 'Confirm', text => '{{ confirm_url }}');
SELECT marketing.drop_topic('offers');
SELECT marketing.drop_topic('news');
SELECT marketing.drop_topic('idle');
SELECT marketing.drop_topic('idel');
SELECT marketing.drop_topic('transactional');
SELECT marketing.drop_topic(NULL);
SELECT marketing.drop_sender('shop');
SELECT marketing.drop_sender('shpo');
SELECT marketing.drop_sender('idle');
SELECT marketing.drop_sender(NULL);

-- A template that is sent by a draft, by what is active, or in a version somebody is still inside of; that a topic confirms by.
SELECT marketing.drop_template('please');
SELECT marketing.define_template('later', topic => 'transactional', subject => 'Later', text => 'Later');
SELECT marketing.define_journey('j', '{"steps": [{"wait": "1 day"}, {"branch": [{"if": "true", "then": [{"send": "hello"}]}]}]}');
SELECT marketing.drop_template('hello');
SELECT marketing.activate_journey('j');
SELECT marketing.enroll(1, 'j');
CALL marketing.work();
SELECT marketing.define_journey('j', '{"steps": [{"wait": "1 day"}, {"send": "later"}]}');
SELECT marketing.drop_template('hello');
SELECT marketing.drop_template('later');
SELECT marketing.activate_journey('j');
SELECT marketing.drop_template('hello');

-- Twice.
SELECT marketing.exit_journey(1, 'j');
SELECT marketing.exit_journey(1, 'j');
CALL marketing.work();
SELECT marketing.exit_journey(1, 'j');
SELECT marketing.retry_enrollment(1, 'j');
-- Before the scheduler has taken the entry.
SELECT marketing.enroll(1, 'j');
SELECT marketing.exit_journey(1, 'j', 'at once');
SELECT marketing.enroll(1, 'j');
SELECT marketing.exit_journey(1, 'j', 'again');
CALL marketing.work();
SELECT what, detail FROM marketing.explain_enrollment(1, 'j');
SELECT marketing.drop_template('hello');
SELECT marketing.drop_topic('offers');
SELECT marketing.drop_sender('shop');

-- Channels and snippets that are not there: a snippet may still come.
SELECT marketing.define_template('bad', topic => 'transactional', channel => 'emial', subject => 's', text => 'x');
SELECT marketing.define_template('bad', topic => 'transactional', channel => 'fax', text => 'x');
SELECT marketing.define_snippet('footer', 'Bye {% render "adress" %}{% render "footer" %}');
SELECT marketing.define_template('good', topic => 'transactional', subject => '{% render "line" %}', html => '{% render "foter" %}{% render "line" %}', text => '{% render "footer" %}');
SELECT marketing.define_snippet('adress', 'x');
SELECT marketing.define_template('good', topic => 'transactional', subject => 's', text => '{% render "footer" %}{% include "adress" %}');

-- Two thresholds that are one; names.
SELECT marketing.define_score_model('lead', thresholds => '{"warm": 10, "hot": 50, "ready": 50}');
SELECT marketing.define_score_model('lead', thresholds => '{"warm": 10, "": 50}');
SELECT marketing.define_list(repeat('l', 64));
SELECT marketing.define_sender(E'a\tb', channel => 'email');
SELECT marketing.declare_event(repeat('ü', 32));
