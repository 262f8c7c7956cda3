-- Programs that send messages themselves, and what holds for every real server.
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
RESET client_min_messages;
SELECT marketing.define_topic('offers', consent => 'opt_out', channels => '{email,sms}');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com', '+90532100000' || i FROM generate_series(1, 9) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer', text => 'x'),
	marketing.define_template('receipt', topic => 'transactional', subject => 'Receipt', text => 'x'),
	marketing.define_template('told', topic => 'transactional', channel => 'webhook', text => 'told');
CREATE SERVER app FOREIGN DATA WRAPPER marketing_outside;
SELECT marketing.define_sender('mailer', channel => 'email', server => 'app', from_address => 'hello@example.com'),
	marketing.define_sender('teller', channel => 'webhook', server => 'app');
SET client_min_messages = warning;
SELECT marketing.arm() IS NOT NULL AS armed;
RESET client_min_messages;

-- without public_url links lead nowhere: only what is transactional leaves through a real server
SELECT marketing.send_message(1, 'offer') > 0 AS offer, marketing.send_message(1, 'receipt') > 0 AS receipt;
SELECT channel, to_address FROM marketing.claim_messages('app');
SELECT template, state, reason FROM marketing.messages ORDER BY message;
SELECT n, gate, verdict, detail, next FROM marketing.why_not_sent(1, 'offer') WHERE verdict IS DISTINCT FROM 'ok';
SELECT marketing.configure('public_url', 'https://m.example.com');
UPDATE marketing_internal.message SET next_at = marketing.now() WHERE state = 'deferred';
SELECT channel, to_address FROM marketing.claim_messages('app');

-- a claim that a crash forgets is a message sent twice
SELECT marketing.send_message(2, 'offer') > 0 AS asked;
SET synchronous_commit = off;
BEGIN;
SELECT count(*) FROM marketing.claim_messages('app');
SHOW synchronous_commit;
COMMIT;
SHOW synchronous_commit;
RESET synchronous_commit;

-- who claims needs the right to use the server
CREATE ROLE outside_program;
GRANT USAGE ON SCHEMA marketing TO outside_program;
GRANT EXECUTE ON FUNCTION marketing.claim_messages(text, int, interval) TO outside_program;
SET ROLE outside_program;
SELECT count(*) FROM marketing.claim_messages('app');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER app TO outside_program;
SET ROLE outside_program;
SELECT count(*) FROM marketing.claim_messages('app');
RESET ROLE;
DROP OWNED BY outside_program;
DROP ROLE outside_program;

-- staging: what has no address goes to nobody
SELECT marketing.configure('redirect_to', 'qa@example.com');
SELECT marketing.send_message(3, 'offer') > 0 AS offer, marketing.send_message(3, 'told') > 0 AS told;
SELECT channel, to_address FROM marketing.claim_messages('app');
SELECT template, state, reason FROM marketing.messages WHERE contact = '3' ORDER BY message;
SELECT marketing.configure('redirect_to', NULL);

-- what marketing.status and why_not_sent() say of servers
CREATE SERVER relay FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'relay.example.com', rate '14/second');
CREATE VIEW servers AS SELECT item, state, value, regexp_replace(detail, 'until [^:]*:..:[^:]*:', 'until TIME:') AS detail
	FROM marketing.status WHERE item LIKE 'server %' ORDER BY 1;
SELECT * FROM servers;
SELECT marketing.define_sender('mailer', channel => 'email', server => 'relay', from_address => 'hello@example.com');
SELECT marketing.send_message(4, 'receipt') > 0 AS asked;
SELECT * FROM servers;
SELECT n, verdict, detail FROM marketing.why_not_sent(4, 'receipt') WHERE n IN (0, 20);
INSERT INTO marketing_internal.server_state VALUES ('relay', 3, now() + interval '10 minutes', 'no route to host', 0, 0, now());
SELECT * FROM servers;
SELECT n, verdict, regexp_replace(detail, 'until [^:]*:..:[^:]*:', 'until TIME:') AS detail FROM marketing.why_not_sent(4, 'receipt') WHERE n IN (0, 20);
UPDATE marketing_internal.server_state SET open_until = now() - interval '1 minute', failures = 1;
SELECT * FROM servers;
UPDATE marketing_internal.server_state SET failures = 0;
ALTER SERVER relay OPTIONS (DROP rate);
SELECT * FROM servers;
DROP SERVER relay;
SELECT * FROM servers;
SELECT n, verdict, detail FROM marketing.why_not_sent(4, 'receipt') WHERE n IN (0, 20);
DROP VIEW servers;
