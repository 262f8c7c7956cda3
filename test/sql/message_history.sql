-- What is known of messages when their contacts are merged, split and erased, and when it is pruned.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\pset null -
SELECT marketing.set_clock('2026-03-01 10:00+00');
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}', consent => 'opt_out'), marketing.define_topic('letter', consent => 'double_opt_in');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'marker-' || i || '@example.com' FROM generate_series(1, 12) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.define_template('news', topic => 'offers', subject => 'News',
	html => '<a href="https://shop.example/all">all</a> <a href="https://shop.example/cart?of={{ contact.email }}">cart</a> <a href="{{ preferences_url }}">p</a>');
SELECT marketing.define_segment('clickers', 'any email_clicked in 30 days'), marketing.define_segment('answered', 'any email_sent where (clicked_at is not null) in 30 days');
CREATE FUNCTION token(customer int, kind text, n int DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT m[1] FROM marketing.messages AS s, regexp_matches(replace(replace(replace(replace(convert_from(pg_read_binary_file(s.detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-'), '=3D', '='),
		'http://localhost/' || kind || '/([A-Za-z0-9_-]+)', 'g') WITH ORDINALITY AS r (m, n) WHERE s.contact = customer::text AND s.template = 'news' AND r.n = $3 $$;
CREATE VIEW hits AS SELECT contact, kind, url, machine FROM marketing.message_hits ORDER BY occurred_at, url;
SELECT count(marketing.send_message(id, 'news')) FROM customers;
CALL marketing.work();
SELECT token(1, 'c') AS c1, token(2, 'c') AS c2, token(2, 'c', 2) AS c2_cart, token(3, 'c') AS c3, token(4, 'c', 2) AS c4_cart, token(4, 'p') AS p4, token(4, 'u') AS u4, token(4, 'o') AS o4 \gset

-- merged: hits from before and after count for who is left; the message knows its own
SELECT marketing.set_clock('2026-03-01 11:00+00');
SELECT marketing.record_click(:'c2');
SELECT marketing.merge_contacts(1, '2');
SELECT marketing.in_segment(1, 'clickers') AS clicked, marketing.in_segment(1, 'answered') AS answered;
SELECT marketing.set_clock('2026-03-01 12:00+00');
SELECT marketing.record_click(:'c2_cart');
SELECT * FROM hits;
SELECT marketing.merge_contacts(5, '6');
SELECT token(6, 'c') IS NULL AS of_5_now;
SELECT m.contact_id - min(m.contact_id) OVER () AS contact, m.template, (SELECT count(*) FROM marketing_internal.message_hit AS h
	WHERE h.contact_id = m.contact_id AND h.message_id = m.message_id) AS hits FROM marketing_internal.message_log AS m ORDER BY m.contact_id LIMIT 3;
-- clicked only after the merge, by a mail from before
SELECT marketing.merge_contacts(7, '3');
SELECT marketing.in_segment(7, 'answered') AS answered;
SELECT marketing.record_click(:'c3');
SELECT marketing.in_segment(7, 'clickers') AS clicked, marketing.in_segment(7, 'answered') AS answered;
SELECT marketing.split_contact(3);
SELECT marketing.in_segment(7, 'clickers') AS seven, marketing.in_segment(3, 'clickers') AS three, marketing.in_segment(3, 'answered') AS answered;
SELECT * FROM marketing.verify_segment('clickers');

-- codes: a message that was tried before its contact was merged keeps its own
SELECT marketing.define_coupon_pool('summer'), marketing.add_coupons('summer', '{AAA,BBB,CCC}');
SELECT marketing.define_template('code', topic => 'transactional', subject => '{{ "summer" | coupon }}', text => 'x');
SELECT marketing.send_message(9, 'code', not_before => '2026-03-02 10:00+00') AS m \gset
SELECT marketing_internal.claim_coupon(contact_id, message_id, 'summer') FROM marketing_internal.message WHERE message_id = :m;
SELECT marketing.merge_contacts(8, '9');
SELECT marketing.set_clock('2026-03-02 12:00+00');
CALL marketing.work();
SELECT substring(convert_from(pg_read_binary_file(detail), 'UTF8') FROM 'Subject: (\w+)') AS code FROM marketing.messages WHERE message = :m;
SELECT free FROM marketing.coupon_pools;
-- one that is erased holds his still: nobody else gets it, not even when the codes are added again
SELECT regexp_replace(marketing.erase_contact(8), '\d+ rows in \d+', 'N rows in M');
SELECT marketing.add_coupons('summer', '{AAA,BBB,CCC}');
SELECT free FROM marketing.coupon_pools;
SELECT contact_id, message_id IS NOT NULL AS taken FROM marketing_internal.coupon ORDER BY code LIMIT 1;

-- erased: what is still in his mailbox does nothing any more, and his own links are forgotten
SELECT marketing.subscribe(4, 'letter');
SELECT marketing_internal.contact_of_message(m.message::text) AS id, m.message FROM marketing.messages AS m WHERE contact = '4' \gset
SELECT url FROM marketing_internal.link WHERE contact_id = :id;
SELECT (marketing.export_contact(4) -> 'link' -> 0) ->> 'url' AS exported;
CREATE TEMP TABLE told AS SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), 'X-MA-Key: (\S+)'))[1] AS key FROM marketing.messages WHERE contact = '4';
BEGIN;
SELECT regexp_replace(marketing.erase_contact(4), '\d+ rows in \d+', 'N rows in M');
DELETE FROM customers WHERE id = 4;
COMMIT;
CALL marketing.work();
SELECT marketing.unsubscribe_by_token(:'u4'), marketing.set_preferences_by_token(:'p4', '{"offers/sms": true, "offers/email": false}');
SELECT count(*) FROM marketing.preferences_by_token(:'p4');
SELECT status FROM unnest(ARRAY['/u/' || :'u4', '/p/' || :'p4', '/p/' || :'u4', '/o/' || :'o4', '/c/' || :'c4_cart']) AS p, marketing.web_request('POST', p)
	UNION ALL SELECT status FROM unnest(ARRAY['/u/' || :'u4', '/p/' || :'p4', '/p/' || :'u4', '/o/' || :'o4', '/c/' || :'c4_cart']) AS p, marketing.web_request('GET', p);
SELECT marketing.record_open(:'o4');
SELECT marketing.record_delivery_event('esp', 'late-1', 'bounced', message => key, status => '5.1.1', detail => '<marker-4@example.com> is unknown') FROM told;
SELECT marketing.record_delivery_event('esp', 'late-2', 'bounced', message => key, recipient => 'marker-4@example.com', status => '5.1.1', detail => '<marker-4@example.com> is unknown') FROM told;
SELECT status FROM marketing.web_request('POST', replace(marketing.hook_url('ses'), 'http://localhost', ''), content => convert_to(jsonb_build_object('Type', 'Notification',
	'MessageId', 's1', 'TopicArn', 'arn:aws:sns:x', 'Message', '{"bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "marker-4@example.com", "diagnosticCode": "marker-4@example.com?"}]}}')::text, 'UTF8'));
SELECT kind, class, detail, message_id FROM marketing_internal.delivery_event ORDER BY event_id;
SELECT dedup_key FROM marketing_internal.delivery_event_key ORDER BY 1;
SELECT state, origin FROM marketing_internal.consent_entry WHERE contact_id = :id ORDER BY entry_id;
SELECT * FROM marketing.verify_consent();
CREATE FUNCTION marked() RETURNS TABLE (relation text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN SELECT c.oid::regclass FROM pg_class AS c WHERE c.relnamespace = 'marketing_internal'::regnamespace AND c.relkind = 'r' LOOP
		EXECUTE format('SELECT count(*) FROM %s AS x WHERE x::text ~ ''marker-4''', relation) INTO n;
		IF n > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
SELECT * FROM marked();
-- a confirmation likewise
SELECT marketing.define_template('confirm', topic => 'transactional', subject => 'x', text => '{{ confirm_url }} '),
	marketing.define_template('news', topic => 'offers', subject => 'News', text => '{{ confirm_url }} ');
SELECT marketing.subscribe(10, 'letter'), marketing.send_message(10, 'news') IS NOT NULL AS sent;
CALL marketing.work();
SELECT m[1] AS confirm FROM marketing.messages AS s, regexp_matches(convert_from(pg_read_binary_file(s.detail), 'UTF8'), '/confirm/([A-Za-z0-9_-]+)') AS m WHERE contact = '10' ORDER BY message DESC LIMIT 1 \gset
SELECT regexp_replace(marketing.erase_contact(10), '\d+ rows in \d+', 'N rows in M');
SELECT marketing.confirm(:'confirm');
SELECT status FROM marketing.web_request('POST', '/confirm/' || :'confirm');
SELECT state FROM marketing_internal.consent WHERE topic_id = 2 ORDER BY contact_id;
-- a refused row that named him
SELECT marketing.define_list('staff');
INSERT INTO marketing_internal.list_reject (list, contact, error_state, error, rejected_at) SELECT 'staff', c, 'MA001', 'x', marketing.now() FROM unnest('{customers:11,11,12}'::text[]) AS c;
SELECT regexp_replace(marketing.erase_contact(11), '\d+ rows in \d+', 'N rows in M');
SELECT contact FROM marketing.list_rejects;

-- times that no clock says
SELECT marketing.record_delivery_event('esp', 'far-' || at, 'bounced', recipient => 'far@example.com', status => '4.2.2', occurred_at => at::timestamptz) FROM unnest('{"4713-01-01 00:00+00 BC","1900-01-01 00:00+00","2026-03-01 00:00+00"}'::text[]) AS at;
SELECT occurred_at FROM marketing.delivery_events WHERE status = '4.2.2';

-- keys of messages and of told events: those of months that are pruned go, but for what has not ended and the last 90 days
SELECT marketing.send_message(12, 'news', dedup_key => 'once') IS NOT NULL AS sent, marketing.send_message(12, 'news', dedup_key => 'later', not_before => '2026-09-01') IS NOT NULL AS asked;
CALL marketing.work();
SELECT marketing.send_message(12, 'news', dedup_key => 'once') IS NULL AS known;

-- pruned by months: nothing that is counted still, and links with the last message that had them
SELECT marketing.prune_message_history(NULL);
SELECT marketing.prune_message_history('infinity');
SELECT marketing.prune_message_history('2027-01-01');
SELECT marketing.prune_message_history('2026-03-15');
SELECT marketing.set_clock('2026-04-15 10:00+00');
SELECT marketing.send_message(12, 'news') IS NOT NULL AS sent;
SELECT marketing.define_cap('monthly', 10, per => '60 days');
CALL marketing.work();
SELECT marketing.record_open(:'o4');
SELECT marketing.prune_message_history('2026-04-01');
SELECT marketing.drop_cap('monthly');
SELECT marketing.configure('bounce_limit', '3 in 100 days');
SELECT marketing.prune_message_history('2026-04-01');
SELECT marketing.configure('bounce_limit', '3 in 1 days');
SELECT count(*) > 5 AS logged, count(*) FILTER (WHERE settled_at < '2026-04-01') > 5 AS old FROM marketing_internal.message_log;
SELECT regexp_replace(marketing.prune_message_history('2026-04-10 03:00+00'), '\d+ single', 'N single');
SELECT relname FROM pg_class WHERE relnamespace = 'marketing_internal'::regnamespace AND relname ~ '^(message_log|message_decision|message_hit|delivery_event)_20' AND relkind = 'r' ORDER BY 1;
SELECT (SELECT count(*) FROM marketing_internal.message_log) AS messages, (SELECT count(*) FROM marketing_internal.message_decision WHERE decided_at < '2026-04-01') AS decisions,
	(SELECT count(*) FROM marketing_internal.message_hit) AS hits, (SELECT count(*) FROM marketing_internal.delivery_event) AS told;
SELECT (SELECT count(*) FROM marketing_internal.message_key) AS keys, (SELECT count(*) > 0 FROM marketing_internal.delivery_event_key) AS event_keys, marketing.send_message(12, 'news', dedup_key => 'once') IS NULL AS known;
-- links live longer than the log, and with them what is in mailboxes
SELECT count(*) > 0 AS links FROM marketing_internal.link;
SELECT status FROM marketing.web_request('GET', '/c/' || :'c1');
SELECT marketing.set_clock('2026-06-15 10:00+00');
SELECT marketing.define_segment('ever', 'any email_sent');
SELECT marketing.in_segment(12, 'ever') AS before;
SELECT regexp_replace(marketing.prune_message_history('2026-06-01'), '\d+ single', 'N single');
CALL marketing.work();
SELECT marketing.in_segment(12, 'ever') AS after;
SELECT * FROM marketing.verify_segment('ever');
SELECT count(*) FROM marketing_internal.link;
-- who follows a link that is pruned is not lost: he is told so
SELECT status, location FROM marketing.web_request('GET', '/c/' || :'c1');
SELECT marketing.record_click(:'c1');
SELECT regexp_replace(marketing.prune_message_history('2026-06-01'), '\d+ single', 'N single');
SELECT dedup_key FROM marketing_internal.message_key;
SELECT marketing.record_delivery_event('esp', 'late-2', 'bounced', recipient => 'marker-4@example.com', status => '5.1.1');
SELECT marketing.send_message(12, 'news', dedup_key => 'later') IS NULL AS later, marketing.send_message(12, 'news', dedup_key => 'once') IS NOT NULL AS again;

DROP EXTENSION marketing_automation CASCADE;
DROP FUNCTION token, marked;
DROP TABLE customers;
