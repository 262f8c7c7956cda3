-- Keys of links and hooks: what an older key has signed works until it is retired, and names do not change.
CREATE EXTENSION marketing_automation;
\set VERBOSITY default
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset null -
SELECT marketing.set_clock('2026-03-01 12:00+00');
-- nothing was signed yet
SELECT * FROM marketing.signing_keys;
SELECT marketing.retire_key(1);
SELECT marketing.retire_key(NULL);
SELECT marketing.define_topic('letter', consent => 'double_opt_in', confirm => 'please'), marketing.define_topic('offers', consent => 'opt_out');
SELECT marketing.define_template('please', topic => 'transactional', subject => 'Confirm', text => '{{ confirm_url }} ');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', html => '<a href="https://shop.example/">x</a> {{ preferences_url }} {{ unsubscribe_url }} ');
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 4) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.suppress('c4@example.com');

CREATE FUNCTION mail_of(who text, name text) RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-'), '=3D', '=')
	FROM marketing.messages WHERE template = name AND contact = who AND state = 'sent' $$;
CREATE FUNCTION hook() RETURNS text LANGUAGE sql AS $$ SELECT replace(marketing.hook_url('mail'), 'http://localhost', '') $$;
-- Links of a contact's mails and a hook, kept under the name of the key that signed them.
CREATE TABLE link (signed text, kind text, path text);
CREATE PROCEDURE keep(name text, who text) LANGUAGE sql AS $$
	INSERT INTO link SELECT DISTINCT name, split_part(p[1], '/', 2), p[1] FROM unnest('{please,offer}'::text[]) AS t,
		regexp_matches(mail_of(who, t), 'http://localhost(/(?:confirm|u|p|c|o)/[-_A-Za-z0-9]+)', 'g') AS p
	UNION ALL SELECT name, 'hook', hook() $$;
-- What each answers to somebody who fetches it, or tells something.
CREATE VIEW answers AS SELECT signed, string_agg(kind || ' ' || status, ', ' ORDER BY kind) AS answers
	FROM link, LATERAL marketing.web_request(CASE kind WHEN 'hook' THEN 'POST' ELSE 'GET' END, path, '{"user-agent": "test"}', '\x7b226576656e7473223a205b5d7d')
	GROUP BY 1 ORDER BY 1;

-- the first key is made when it is needed
SELECT marketing.subscribe(1, 'letter'), marketing.send_message(1, 'offer') > 0;
CALL marketing.work();
CALL keep('first', '1');
SELECT kind, count(*) FROM link GROUP BY 1 ORDER BY 1;
SELECT * FROM marketing.signing_keys;
SELECT marketing.retire_key(1);

-- a rotation: new links by the new key, old ones work
SELECT marketing.set_clock('2026-04-01 12:00+00');
BEGIN;
SELECT marketing.rotate_key();
SELECT hook() = (SELECT path FROM link WHERE kind = 'hook') AS same;
ROLLBACK;
SELECT hook() = (SELECT path FROM link WHERE kind = 'hook') AS same;
SELECT marketing.rotate_key();
SELECT * FROM marketing.signing_keys ORDER BY key;
SELECT marketing.subscribe(2, 'letter'), marketing.send_message(2, 'offer') > 0;
CALL marketing.work();
CALL keep('second', '2');
SELECT * FROM answers;

-- not before the mails that it signed are old
SELECT marketing.retire_key(2);
SELECT marketing.set_clock('2026-05-01 11:59+00');
SELECT marketing.retire_key(1);
SELECT * FROM answers;
SELECT marketing.set_clock('2026-05-01 12:00+00');
SELECT marketing.retire_key(1);
SELECT * FROM answers;
-- a session that begins now says the same
\c
\set VERBOSITY terse
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT * FROM answers;
SELECT marketing.confirm(replace(path, '/confirm/', '')) FROM link WHERE kind = 'confirm' AND signed = 'first';
SELECT marketing.confirm(replace(path, '/confirm/', '')) FROM link WHERE kind = 'confirm' AND signed = 'second';
SELECT marketing.unsubscribe_by_token(replace(path, '/u/', '')) FROM link WHERE kind = 'u' ORDER BY signed DESC;
SELECT contact, topic, state FROM marketing.consent_state ORDER BY 1, 2;

-- names stay: suppressed addresses, keys of messages, numbers of links
SELECT marketing.suppress('c4@example.com');
SELECT marketing.record_delivery_event('mail', 'late', 'delivered', message => substring(mail_of('1', 'offer') FROM 'X-MA-Key: (\S+)'));
SELECT marketing.send_message(3, 'offer') > 0;
CALL marketing.work();
SELECT url FROM marketing_internal.link;

-- a key that somebody knows
SELECT marketing.rotate_key();
SELECT marketing.retire_key(2);
SELECT marketing.retire_key(2, recent => true);
SELECT * FROM answers;
SELECT key, state FROM marketing.signing_keys;
-- not endlessly many, each of which would be tried
SELECT count(marketing.rotate_key()) FROM generate_series(1, 7);
SELECT marketing.rotate_key();
SELECT count(*), count(*) FILTER (WHERE state = 'signs') AS signs, max(key) FROM marketing.signing_keys;
-- nobody but who may is told of them
CREATE ROLE keys_user;
GRANT USAGE ON SCHEMA marketing TO keys_user;
SET ROLE keys_user;
SELECT marketing.rotate_key();
SELECT key FROM marketing_internal.signing_key;
RESET ROLE;
DROP OWNED BY keys_user;
DROP ROLE keys_user;

DROP VIEW answers;
DROP EXTENSION marketing_automation;
DROP FUNCTION mail_of, hook;
DROP PROCEDURE keep;
DROP TABLE link, customers;
