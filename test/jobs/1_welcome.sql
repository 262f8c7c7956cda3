-- 1 welcome with double opt-in
SELECT marketing.define_template('confirm', topic => 'transactional', subject => 'Please confirm',
         html => '<a href="{{ confirm_url }}">Yes, sign me up</a>');
SELECT marketing.define_template('welcome', topic => 'newsletter', layout => 'brand', subject => 'Welcome', html => '…'); -- and 'best_content', 'feedback'
SELECT marketing.define_journey('welcome', $$
{"entry": {"event": "subscription_requested", "where": "topic = 'newsletter'"}, "reentry": "once",
 "exit_on": [{"event": "unsubscribed", "where": "topic = 'newsletter'"}],
 "goal": {"event": "order_placed", "within": "30 days", "target": 0.2},
 "steps": [
   {"send": "confirm"},
   {"wait_until": {"event": "subscription_confirmed", "since": "entry"}, "timeout": "2 days",
    "else": [{"send": "confirm", "id": "confirm2"},
             {"wait_until": {"event": "subscription_confirmed", "since": "entry"}, "timeout": "5 days",
              "else": [{"exit": "never confirmed"}]}]},
   {"send": "welcome"}, {"wait": "2 days"}, {"send": "best_content"}, {"wait": "7 days"}, {"send": "feedback"}]}$$);
SELECT marketing.activate_journey('welcome');
INSERT INTO subscribers(email) VALUES ('ayse@example.com') RETURNING id \gset
SELECT marketing.subscribe('subscribers:' || :id, 'newsletter', 'email', proof => '{"form":"footer","text":"v3"}');
