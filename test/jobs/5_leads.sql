-- 5 lead score and hand-off
SELECT marketing.define_owner('leyla', email => 'leyla@shop.example', team => 'call_centre');
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 50}');
SELECT marketing.define_score_rule('lead', 'form',  event => 'form_submitted', points => 15);
SELECT marketing.define_score_rule('lead', 'page',  event => 'page_viewed',    points => 1, at_most => 10, per => 'day');
SELECT marketing.define_score_rule('lead', 'click', event => 'email_clicked',  points => 5);
SELECT marketing.define_score_rule('lead', 'fair',  event => 'store_visited',  points => 20);   -- offline: an INSERT
SELECT marketing.define_journey('hand_off', $${"entry": {"event": "score_threshold_reached", "where": "model = 'lead' and threshold = 'hot'"},
 "reentry": "after_exit", "steps": [{"task": "call {{ contact.first_name }}", "assign": "round_robin:call_centre", "due": "4 hours"},
 {"notify": "hot_lead"}, {"wait_until": {"event": "lead_accepted"}, "timeout": "1 day", "else": [{"send": "sla_missed", "to": "owner"}]}]}$$);
SELECT marketing.activate_journey('hand_off');
SELECT * FROM marketing.sales_ready WHERE model = 'lead';
SELECT marketing.accept_lead(42, by => 'leyla');  SELECT marketing.reject_lead(43, reason => 'student');
SELECT * FROM marketing.explain_score(42, 'lead');
