-- What is named only by comparing with it, in a where of a rule, in a CASE, in points and conditions of score
-- rules, is in use as well: it is not dropped under them.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY);
INSERT INTO customers VALUES (1);
SELECT marketing.attach_contacts('customers', id => 'id') IS NOT NULL;
SELECT marketing.define_score_model(m) FROM unnest('{accepted,refused,switch,points,condition,own,free}'::text[]) AS m;
SELECT marketing.define_stage(s, n::int) FROM unnest('{came,went,points,condition,free}'::text[]) WITH ORDINALITY AS u (s, n);
SELECT marketing.define_topic(t, t, channels => '{email}', consent => 'opt_in') FROM unnest('{left,points,free}'::text[]) AS t;
SELECT marketing.define_segment('answers', 'any lead_accepted where (model = ''accepted'') or no lead_rejected where (model is not null and model in (''refused'', ''x''))'),
	marketing.define_segment('moved', 'count(stage_changed where ("to" = ''came'')) > 1'), marketing.define_segment('gone', 'any unsubscribed where (topic = ''left'')');
SELECT marketing.define_stage('far', 90, 'any stage_changed where ("from" = ''went'')');
SELECT marketing.define_score_rule('own', 'p', 'stage_changed', $$CASE "to" WHEN 'points' THEN 3 ELSE 1 END$$), marketing.define_score_rule('own', 'c', 'stage_changed', 5, condition => $$"to" <> 'condition'$$),
	marketing.define_score_rule('own', 'm', 'lead_accepted', $$CASE WHEN model = 'points' THEN 1 END$$, condition => $$model <> 'condition' AND model <> 'own'$$),
	marketing.define_score_rule('own', 't', 'unsubscribed', -5, condition => $$topic = 'points'$$);
SELECT marketing.define_journey('j', $${"entry": {"event": "score_threshold_reached", "where": "CASE model WHEN 'switch' THEN true ELSE false END"}, "filter": "no lead_accepted where (model = 'refused')", "steps": [{"exit": "x"}]}$$);

SELECT marketing.drop_score_model('accepted');
SELECT marketing.drop_score_model('refused');
SELECT marketing.drop_score_model('switch');
SELECT marketing.drop_score_model('points');
SELECT marketing.drop_score_model('condition');
SELECT marketing.drop_stage('came');
SELECT marketing.drop_stage('went');
SELECT marketing.drop_stage('points');
SELECT marketing.drop_stage('condition');
SELECT marketing.drop_topic('left');
SELECT marketing.drop_topic('points');
-- What nobody names goes, and so does a model that its own rules name.
SELECT marketing.drop_score_model('free'), marketing.drop_stage('free'), marketing.drop_topic('free'), marketing.drop_score_model('own');
SELECT marketing.drop_score_model('points'), marketing.drop_stage('points'), marketing.drop_topic('points');
-- In an expression over a contact's columns names of rules stand nowhere.
SELECT marketing.define_segment('x', 'case when in segment moved then 1 else 0 end = 1');
SELECT marketing.define_segment('x', 'any stage_changed where (stage came)');
SELECT marketing.define_segment('x', 'case when score(accepted) > 5 then 1 else 0 end = 1');
SELECT marketing.define_segment('x', 'sum(lead_accepted.(score(accepted))) > 2');
DROP EXTENSION marketing_automation;
DROP TABLE customers;
