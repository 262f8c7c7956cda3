-- 1 welcome with double opt-in
SELECT marketing.define_template('confirm', topic => 'transactional', subject => 'Please confirm',
         html => '<a href="{{ confirm_url }}">Yes, sign me up</a>');
SELECT marketing.define_template('welcome', topic => 'newsletter', layout => 'brand', subject => 'Welcome', html => '…'); -- and 'best_content', 'feedback'
INSERT INTO subscribers(email) VALUES ('ayse@example.com') RETURNING id \gset
SELECT marketing.subscribe('subscribers:' || :id, 'newsletter', 'email', proof => '{"form":"footer","text":"v3"}');
