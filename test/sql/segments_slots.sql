-- Slots of segments: cleared by the worker after a drop, then given to others; the state does not grow.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset null -
\pset tuples_only on
\pset format unaligned
SET client_min_messages = error;
SET marketing_automation.sync_wait = '10s';
CREATE TABLE customers (id bigint PRIMARY KEY, points int);
INSERT INTO customers SELECT i, i FROM generate_series(1, 50) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
CREATE VIEW slots AS SELECT (SELECT string_agg(format('%s %s', s.slot, s.name), ', ' ORDER BY s.slot) FROM marketing_internal.segment AS s) AS used,
	(SELECT string_agg(g.slot::text || CASE WHEN g.cleared THEN '' ELSE ' not clear' END, ', ' ORDER BY g.slot) FROM marketing_internal.segment_slot_gone AS g) AS gone,
	(SELECT max(length(s.bits)) FROM marketing_internal.segment_state AS s) AS bytes;
CREATE VIEW wrong AS SELECT s.name, v.* FROM marketing.segments AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;

-- The bit of a dropped segment stays until the worker comes; its slot is not given away before.
SELECT marketing.define_segment('a', 'points > 10'), marketing.define_segment('b', 'points <= 10');
SELECT marketing.drop_segment('a');
SELECT count(*) AS left FROM marketing_internal.segment_state WHERE get_bit(bits, 1) = 1;
SELECT marketing.define_segment('c', 'points > 20');
SELECT * FROM slots;
CALL marketing.work();
SELECT * FROM slots;
-- A second round sees that nobody has it; from then on it is free.
CALL marketing.work();
SELECT * FROM slots;
SELECT count(*) AS left FROM marketing_internal.segment_state WHERE length(bits) > 0 AND get_bit(bits, 1) = 1;
SELECT marketing.define_segment('d', 'points > 48');
SELECT * FROM slots;
SELECT contact FROM marketing.segment_members('d') ORDER BY 1;
SELECT marketing.in_segment(30, 'd'), marketing.in_segment(30, 'c'), marketing.in_segment(5, 'b');
SELECT * FROM wrong;

-- A drop that is rolled back, a definition that is rolled back, both in one transaction.
BEGIN;
SELECT marketing.drop_segment('d'), marketing.define_segment('d', 'points > 49'), marketing.define_segment('e', 'points = 1');
SELECT * FROM slots;
ROLLBACK;
SELECT * FROM slots;
BEGIN;
SELECT marketing.drop_segment('d'), marketing.define_segment('d', 'points > 49');
COMMIT;
SELECT * FROM slots;
CALL marketing.work();
CALL marketing.work();
SELECT * FROM slots;

-- A commit that evaluates a contact takes the bits of dropped segments along.
SELECT marketing.drop_segment('c');
UPDATE customers SET points = 21 WHERE id = 40;
SELECT k.external_id, s.bits FROM marketing_internal.contact_key AS k LEFT JOIN marketing_internal.segment_state AS s USING (contact_id)
	WHERE k.external_id IN ('39', '40', '50') ORDER BY 1;
SELECT marketing.drop_segment('b'), marketing.drop_segment('d');
SELECT count(*) AS before FROM marketing_internal.segment_state;
CALL marketing.work();
CALL marketing.work();
SELECT count(*) AS without_any_segment FROM marketing_internal.segment_state;
SELECT * FROM slots;

-- Many of them, again and again.
SELECT format('SELECT count(marketing.define_segment(%L || n, %L || n)) FROM generate_series(1, 20) AS n;', 's' || round || '_', 'points > '),
	format('SELECT count(*) FROM wrong; SELECT count(marketing.drop_segment(name)) FROM (SELECT name FROM marketing.segments) AS s;'), 'CALL marketing.work();', 'CALL marketing.work();'
FROM generate_series(1, 5) AS round \gexec
SELECT count(marketing.define_segment('last_' || n, 'points > ' || n)) FROM generate_series(1, 20) AS n;
SELECT max(slot) < 60 AS slots, (SELECT bytes < 8 FROM slots) AS bytes, (SELECT count(*) FROM wrong) AS wrong FROM marketing_internal.segment;

DROP VIEW slots, wrong;
DROP EXTENSION marketing_automation;
DROP TABLE customers;
