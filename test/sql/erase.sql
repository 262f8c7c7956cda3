-- Somebody is exported and forgotten; preferences; lists of suppressed addresses.
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-03-01 10:00+00');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, news boolean);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers ON DELETE CASCADE, at timestamptz, total numeric);
INSERT INTO customers VALUES (1, 'marker-one@example.com', '+908505550101', true), (2, 'two@example.com', NULL, true), (3, 'three@example.com', NULL, true);
SELECT marketing.define_topic('offers', 'Offers', channels => '{email,sms}'), marketing.define_topic('letter', consent => 'double_opt_in'), marketing.define_topic('tips', consent => 'opt_out');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', consent => '{"offers/email": "news"}');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'x', html => '<a href="{{ preferences_url }}">p</a>'), marketing.define_template('tip', topic => 'tips', subject => 'x', text => 'x');
SELECT marketing.define_segment('buyers', 'any order_placed in 30 days'), marketing.define_list('staff'), marketing.define_score_model('lead', half_life => '30 days');
SELECT marketing.define_score_rule('lead', 'buys', event => 'order_placed', points => 10);
SELECT marketing.define_journey('thanks', $${"entry": {"event": "order_placed"}, "steps": [{"send": "offer"}, {"wait": "7 days"}, {"send": "tip"}]}$$);
SELECT marketing.activate_journey('thanks');
SELECT marketing.declare_event('called', '{"note": "text"}');

-- a life
INSERT INTO orders VALUES (1, 1, '2026-02-28', 10), (2, 2, '2026-02-28', 20);
SELECT marketing.identify(1, '{"nick": "marker-nick"}'), marketing.identify('web:marker-anon', '{"email": "marker-old@example.com"}');
SELECT marketing.track(1, 'called', '{"note": "marker-note"}', dedup_key => 'marker-call') IS NOT NULL;
SELECT marketing.merge_contacts(1, 'web:marker-anon');
SELECT marketing.add_to_list(1, 'staff'), marketing.add_to_list(2, 'staff');
SELECT marketing.subscribe(1, 'letter', proof => '{"ip": "marker-ip"}'), marketing.subscribe(2, 'letter', proof => '{"ip": "192.0.2.7"}');
SELECT marketing.send_message(1, 'tip', '{"secret": "marker-data"}', dedup_key => 'marker-key', not_before => '2027-01-01 00:00+00') IS NOT NULL;
CALL marketing.work();
SELECT marketing.record_delivery_event('esp', 'marker-event', 'bounced', message::text, status => '4.2.2', detail => '<marker-one@example.com> is full')
	FROM marketing.messages WHERE contact = '1' AND state = 'sent';
SELECT contact, count(*) FROM marketing.messages GROUP BY 1 ORDER BY 1;

-- export: all of it, by table, with names in place of numbers
CREATE TEMP TABLE export AS SELECT marketing.export_contact(1) AS all;
SELECT jsonb_object_keys(e.all) FROM export AS e;
SELECT e.all -> 'id' AS id, e.all -> 'rows' AS rows, e.all #> '{contact,1,attributes}' AS attributes FROM export AS e;
SELECT x ->> 'topic' AS topic, x ->> 'state' AS state, x ->> 'source' AS source, x -> 'proof' AS proof FROM export AS e, jsonb_array_elements(e.all -> 'consent_ledger') AS x;
SELECT x ->> 'segment' FROM export AS e, jsonb_array_elements(e.all -> 'segment_member') AS x;
SELECT x ->> 'list' FROM export AS e, jsonb_array_elements(e.all -> 'list_member') AS x;
SELECT x ->> 'journey', x ->> 'state' FROM export AS e, jsonb_array_elements(e.all -> 'enrollment') AS x;
SELECT count(*) FROM export AS e, unnest('{marker-one,marker-nick,marker-anon,marker-old,marker-note,marker-call,marker-ip,marker-data,marker-key,marker-event}'::text[]) AS m
	WHERE strpos(e.all::text, m) > 0;
SELECT strpos(e.all::text, 'two@example.com') FROM export AS e;
SELECT marketing.export_contact(77);

-- preferences by the token of a mail
SELECT topic, description, channel, state, gets FROM marketing.preferences(1);
CREATE TEMP TABLE links AS SELECT (regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), '/p/([-_A-Za-z0-9]{40})'))[1] AS p,
	(regexp_match(convert_from(pg_read_binary_file(detail), 'UTF8'), '/u/([-_A-Za-z0-9]{40})'))[1] AS u FROM marketing.messages WHERE contact = '2' AND state = 'sent';
SELECT length(p), length(u) FROM links;
SELECT topic, channel, state, gets FROM links, marketing.preferences_by_token(p);
SELECT count(*) FROM links, marketing.preferences_by_token(u);
SELECT marketing.set_preferences_by_token(p, '{"offers/email": false, "offers/sms": true, "letter/email": true, "tips/email": false}', '{"page": "v1"}') FROM links;
SELECT marketing.set_preferences_by_token(p, '{"offers/email": false, "letter/email": true}') FROM links;
SELECT topic, channel, state, gets FROM marketing.preferences(2);
SELECT marketing.set_preferences_by_token(p, '{"offers/mail": true}') FROM links;
SELECT marketing.set_preferences_by_token(p, '{"transactional/email": false}') FROM links;
SELECT marketing.set_preferences_by_token(p, '{"offers/email": "yes"}') FROM links;
SELECT marketing.set_preferences_by_token(p, '[]') FROM links;
SELECT marketing.confirm(p) FROM links;
SELECT marketing.unsubscribe_by_token(p) FROM links;
-- a token with any bit changed is nobody's
CREATE FUNCTION refused(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT count(*) FROM marketing.%s(%L)', $1, $2);
	RETURN false;
EXCEPTION WHEN invalid_parameter_value THEN RETURN true;
END $$;
SELECT f, bool_and(refused(f, overlay(t PLACING c FROM i FOR 1))) FROM links, unnest(ARRAY[u, p]) AS t, generate_series(1, 40) AS i, unnest('{A,z,0,-,_}'::text[]) AS c,
	unnest('{preferences_by_token,unsubscribe_by_token,confirm}'::text[]) AS f WHERE overlay(t PLACING c FROM i FOR 1) <> t GROUP BY 1 HAVING count(*) > 300 AND bool_and(refused(f, overlay(t PLACING c FROM i FOR 1)));

-- forgotten; the row of the shop goes in the same transaction
SELECT contact, count(*) FROM marketing.messages GROUP BY 1 ORDER BY 1;
BEGIN;
SELECT regexp_replace(marketing.erase_contact(1), '\d+ rows in \d+', 'N rows in M');
DELETE FROM customers WHERE id = 1;
COMMIT;
CALL marketing.work();
SELECT marketing.export_contact(1);
CREATE FUNCTION marked() RETURNS TABLE (relation text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN SELECT c.oid::regclass FROM pg_class AS c WHERE c.relnamespace = 'marketing_internal'::regnamespace AND c.relkind = 'r' LOOP
		EXECUTE format('SELECT count(*) FROM %s AS x WHERE x::text ~ ''marker|555010''', relation) INTO n;
		IF n > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
SELECT * FROM marked();
SELECT state, origin, proof, proof_salt, proof_hash IS NOT NULL AS had_proof FROM marketing_internal.consent_entry WHERE contact_id = (SELECT min(contact_id) FROM marketing_internal.erasure) ORDER BY entry_id;
SELECT * FROM marketing.verify_consent();
SELECT channel, reason FROM marketing_internal.suppression ORDER BY 1, 2;
SELECT count(*) FROM marketing_internal.erasure;
SELECT contact FROM marketing.segment_members('buyers');
SELECT * FROM marketing.verify_segment('buyers');
SELECT contact FROM marketing.list_members;
SELECT inside FROM marketing.journeys;
-- others are as they were
SELECT contact, count(*) FROM marketing.messages GROUP BY 1 ORDER BY 1;
-- he comes again by an old list, and gets nothing
INSERT INTO customers VALUES (4, 'Marker-One@example.com', NULL, true);
SELECT marketing.send_message(4, 'tip') AS m \gset
CALL marketing.work();
SELECT state, reason FROM marketing.messages WHERE message = :m;
SELECT state FROM marketing.consent_state WHERE contact = '4';
-- a proof that only went is missing
BEGIN;
UPDATE marketing_internal.consent_entry SET proof = NULL, proof_salt = NULL WHERE proof IS NOT NULL;
SELECT contact, topic, problem FROM marketing.verify_consent() LIMIT 1;
ROLLBACK;
BEGIN;
UPDATE marketing_internal.consent_entry SET proof = '{"ip": "other"}' WHERE proof IS NOT NULL;
SELECT contact, topic, problem FROM marketing.verify_consent() LIMIT 1;
ROLLBACK;

-- a row that stays brings him back as somebody new, who was not suppressed
SELECT regexp_replace(marketing.erase_contact(3, suppress => false), '\d+ rows in \d+', 'N rows in M');
UPDATE customers SET phone = '+908505550103' WHERE id = 3;
SELECT contact, email FROM marketing.contacts ORDER BY 1;
SELECT topic, state, source FROM marketing.consent_state WHERE contact = '3';
SELECT marketing.erase_contact(3), marketing.erase_contact(3);
SELECT marketing.erase_contact(NULL::text);

-- lists of another system
SELECT * FROM marketing.import_suppressions('{a@example.com,A@EXAMPLE.com,b@example.com,nonsense,NULL,""}');
SELECT * FROM marketing.import_suppressions('{a@example.com,c@example.com}', reason => 'from the old system');
SELECT * FROM marketing.import_suppressions('{+908505550101,12}', 'sms');
SELECT * FROM marketing.import_suppressions(ARRAY(SELECT 'i' || i || '@example.com' FROM generate_series(1, 25001) AS i));
SELECT * FROM marketing.import_suppressions('{}');
SELECT * FROM marketing.import_suppressions(NULL);
SELECT * FROM marketing.import_suppressions('{a@example.com}', 'fax');
SELECT marketing.suppress('i25001@example.com');

-- the page of preferences: GET shows, POST saves what was shown
CREATE FUNCTION ask(method text, path text, content text DEFAULT NULL) RETURNS TABLE (status int, said text) LANGUAGE sql AS $$
	SELECT status, regexp_replace(regexp_replace(convert_from(page, 'UTF8'), '<style>.*</style>', ''), '\n', '', 'g')
	FROM marketing.web_request(method, path, '{}', convert_to(content, 'UTF8')) $$;
SELECT '/p/' || p AS path, '/p/' || u AS by_u FROM links \gset
SELECT * FROM ask('GET', :'path');
SELECT status FROM ask('GET', :'by_u') UNION ALL SELECT status FROM ask('HEAD', :'path') UNION ALL SELECT status FROM ask('GET', :'path' || 'A') UNION ALL SELECT status FROM ask('POST', '/p/', 'shown=x');
SELECT topic, channel, gets FROM marketing.preferences(2);
SELECT status, said ~ 'saved' AS saved FROM ask('POST', :'path', 'shown=offers%2Femail&wanted=offers%2Femail&shown=letter%2femail&shown=gone/email&wanted=tips/email&x&=&%&wanted=%zz&wanted=%00&wanted=%ff&shown');
SELECT topic, channel, gets FROM marketing.preferences(2);
SELECT status FROM ask('POST', :'path', NULL) UNION ALL SELECT status FROM ask('POST', :'path', repeat('shown=offers/email&', 5000));
SELECT topic, channel, gets FROM marketing.preferences(2);
SELECT topic, state, source, proof FROM marketing.consent_change WHERE contact = '2' ORDER BY change DESC LIMIT 2;
