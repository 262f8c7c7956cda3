-- 5 lead score and hand-off
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 50}');
SELECT marketing.define_score_rule('lead', 'form',  event => 'form_submitted', points => 15);
SELECT marketing.define_score_rule('lead', 'page',  event => 'page_viewed',    points => 1, at_most => 10, per => 'day');
SELECT marketing.define_score_rule('lead', 'click', event => 'email_clicked',  points => 5);
SELECT marketing.define_score_rule('lead', 'fair',  event => 'store_visited',  points => 20);   -- offline: an INSERT
SELECT * FROM marketing.sales_ready WHERE model = 'lead';
SELECT * FROM marketing.explain_score(42, 'lead');
