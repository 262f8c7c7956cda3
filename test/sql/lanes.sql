-- Senders share the worker: a long queue of one does not keep back the others' messages of equal priority.
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
RESET client_min_messages;
CREATE TABLE customers (id int PRIMARY KEY, email text);
INSERT INTO customers SELECT i, 'c' || i || '@example.com' FROM generate_series(1, 300) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email');
SELECT marketing.define_sender('long', channel => 'email', from_address => 'a@example.com'),
	marketing.define_sender('short', channel => 'email', from_address => 'b@example.com'),
	marketing.define_template('many', topic => 'transactional', sender => 'long', subject => 'x', text => 'x'),
	marketing.define_template('few', topic => 'transactional', sender => 'short', subject => 'x', text => 'x');
BEGIN;
SELECT count(marketing.send_message(id, 'many')) FROM customers;
SELECT count(marketing.send_message(id, 'few')) FROM customers WHERE id <= 20;
COMMIT;
CALL marketing.work();
SELECT state, count(*) FROM marketing.messages GROUP BY 1;
SELECT max(d.decision_id) FILTER (WHERE m.template = 'few') < max(d.decision_id) FILTER (WHERE m.template = 'many') AS in_turn
	FROM marketing_internal.message_decision AS d JOIN marketing.messages AS m ON m.message = d.message_id WHERE d.decision = 'claimed';

-- As many servers as anybody has: each has its own lane.
DO $$ BEGIN
	FOR i IN 1 .. 600 LOOP
		EXECUTE format('CREATE SERVER s%s FOREIGN DATA WRAPPER marketing_outside', i);
		PERFORM marketing.define_sender('s' || i, channel => 'email', server => 's' || i, from_address => 'a@example.com');
	END LOOP;
END $$;
SELECT marketing.define_template('last', topic => 'transactional', sender => 's600', subject => 'x', text => 'x');
SELECT marketing.arm() IS NOT NULL AS armed;
SELECT marketing.send_message(7, 'last') > 0 AS asked;
SELECT to_address FROM marketing.claim_messages('s600');
