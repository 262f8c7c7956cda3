-- Servers that messages leave through: options and what is wrong with them, senders with several.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
RESET client_min_messages;

-- options: names, values, what belongs together
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp;
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (hots 'mail.example.com');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', port '70000');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', port 'x');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com
RSET');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail/example');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host '');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', tls 'ssl');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', user 'u', tls 'none');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', password 'secret');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', password_file '../passwd');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', rate '10');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', rate '0/day');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', verp 'true');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', verp 'maybe', return_path 'b@example.com');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', return_path 'no address');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', warm_up '50');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', warm_up '50', warm_up_from 'some day');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', warm_up '50', warm_up_from 'today');
SET DateStyle = 'German';
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', warm_up '50', warm_up_from '13.02.2026');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', warm_up '50', warm_up_from '2026-02-31');
RESET DateStyle;
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', verp 'true', return_path 'bounces.of.all.our.letters.to.you@shop.example');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', in_doubt 'drop');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', url 'https://example.com');
ALTER FOREIGN DATA WRAPPER marketing_smtp OPTIONS (ADD host 'x');
CREATE SERVER mail FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com', user 'shop', password_file 'mail_password',
	return_path 'bounces@shop.example', verp 'true', max_connections '8', rate '14/second', domain_rate '100/minute',
	warm_up '50', warm_up_from '2026-11-01', in_doubt 'hold');
ALTER SERVER mail OPTIONS (SET rate 'fast');

-- secrets: in files, or in a user mapping by one's own will
CREATE USER MAPPING FOR PUBLIC SERVER mail OPTIONS (password 'secret');
CREATE USER MAPPING FOR PUBLIC SERVER mail OPTIONS (pasword 'secret', allow_inline_secret 'true');
CREATE USER MAPPING FOR PUBLIC SERVER mail OPTIONS (host 'secret', allow_inline_secret 'true');
CREATE USER MAPPING FOR PUBLIC SERVER mail OPTIONS (password 'secret', allow_inline_secret 'true');

-- HTTP
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http;
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'ftp://example.com');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'http://example.com');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'https://example.com', body '{{ message.text | jsn }}');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'https://example.com', body '{% if %}');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'sendgird');
CREATE SERVER sms FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'twilio');
CREATE SERVER ses FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'ses', region 'eu-west-1');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'webhook');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (url 'https://example.com', auth 'header');
CREATE SERVER hook FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'webhook', url 'https://example.com/hook', password_file 'hook_key');
CREATE SERVER app FOREIGN DATA WRAPPER marketing_outside;
CREATE SERVER app2 FOREIGN DATA WRAPPER marketing_outside OPTIONS (host 'x');
CREATE SERVER app2 FOREIGN DATA WRAPPER marketing_outside OPTIONS (rate '1/second');

-- senders
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER other FOREIGN DATA WRAPPER other;
SELECT marketing.define_sender('shop', channel => 'email', server => 'other', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', server => 'nobody', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', server => 'mail', servers => '{"mail": 1}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": 1}');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '[1]', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": "1"}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": -1}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": 1.5}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": 1, "nobody": 2}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": 70, "app": 0}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"app": 0, "mail": 70}', from_address => 'a@example.com');
SELECT marketing.define_sender('shop', channel => 'email', servers => '{"mail": 60, "app": 0}', from_address => 'a@example.com');

-- the right to use a server is the right to have its password sent
CREATE ROLE servers_author;
GRANT USAGE ON SCHEMA marketing TO servers_author;
GRANT EXECUTE ON FUNCTION marketing.define_sender TO servers_author;
SET ROLE servers_author;
SELECT marketing.define_sender('shop2', channel => 'email', server => 'mail', from_address => 'a@example.com');
CREATE SERVER mine FOREIGN DATA WRAPPER marketing_smtp OPTIONS (host 'mail.example.com');
RESET ROLE;
DROP OWNED BY servers_author;
DROP ROLE servers_author;

-- servers are the user's: DROP EXTENSION stops at them, and goes without them or with CASCADE, which takes nothing else of his
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers VALUES (1, 'a@example.com');
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
DROP EXTENSION marketing_automation;
BEGIN;
DROP EXTENSION marketing_automation CASCADE;
SELECT s.srvname FROM pg_foreign_server AS s;
SELECT (SELECT count(*) FROM customers) AS rows, (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'customers'::regclass) AS triggers;
ROLLBACK;
DROP SERVER mail, sms, ses, hook, app CASCADE;
DROP EXTENSION marketing_automation;
SELECT (SELECT count(*) FROM customers) AS rows, (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'customers'::regclass) AS triggers;
DROP TABLE customers;
DROP FOREIGN DATA WRAPPER other CASCADE;
