-- 8 why did 42 not get it?
SELECT * FROM marketing.why_not_sent(42, 'abandoned_cart');
SELECT * FROM marketing.contact_timeline(42, channel => 'email') LIMIT 20;
