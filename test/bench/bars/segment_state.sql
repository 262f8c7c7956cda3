-- segment_state.sql: bytes of state per contact at 8, 50 and 200 segments, without the lists of members and the log.
-- SIZE (20000) contacts. Of the segments each contact is in about one of sixteen, and half of those end by time, as
-- segments.md (4.2) assumes; the state's row, its key and the index of what falls due are counted.
\set QUIET on
SET client_min_messages = error;
\set contacts 20000
\getenv contacts STATE_SIZE
SELECT marketing.set_clock('2026-03-01 12:00+00') \g /dev/null
CREATE TABLE customers (id bigint PRIMARY KEY, points int);
INSERT INTO customers SELECT g, g % 1600 FROM generate_series(1, :contacts) AS g;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, at timestamptz, total int);
INSERT INTO orders (customer_id, at, total) SELECT g, timestamptz '2026-03-01 11:00+00' - g % 700 * interval '1 minute', g % 1600 FROM generate_series(1, :contacts) AS g;
CREATE INDEX ON orders (customer_id, at) INCLUDE (total);
\o /dev/null
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'bought', contact => 'customer_id', occurred_at => 'at');
CALL marketing.work();
VACUUM ANALYZE;
SET marketing_automation.build_in_call_rows = 0;
CREATE TABLE figure (segments int, bytes numeric, memberships numeric, wakes numeric);
CREATE PROCEDURE define(first int, last int) LANGUAGE sql AS $$
	SELECT marketing.define_segment('s' || i, CASE i % 2
		WHEN 0 THEN format('points between %s and %s', i * 7, i * 7 + 100)
		ELSE format('any bought where (total between %s and %s) in %s days', i * 7, i * 7 + 100, 20 + i) END)
	FROM generate_series(first, last) AS i;
$$;
CREATE PROCEDURE note() LANGUAGE sql AS $$
	INSERT INTO figure SELECT (SELECT count(*) FROM marketing.segments), pg_total_relation_size('marketing_internal.segment_state')::numeric / (SELECT count(*) FROM customers),
		(SELECT count(*)::numeric FROM marketing_internal.segment_member) / (SELECT count(*) FROM customers),
		sum(length(wakes) / 10)::numeric / (SELECT count(*) FROM customers) FROM marketing_internal.segment_state;
$$;
CALL define(1, 8);
CALL marketing.work();
VACUUM FULL marketing_internal.segment_state;
CALL note();
CALL define(9, 50);
CALL marketing.work();
VACUUM FULL marketing_internal.segment_state;
CALL note();
CALL define(51, 200);
CALL marketing.work();
VACUUM FULL marketing_internal.segment_state;
CALL note();
\o
\pset footer off
\set QUIET off
SELECT segments, round(bytes, 1) AS bytes_of_state_per_contact, round(memberships, 1) AS memberships, round(wakes, 1) AS wakes,
	CASE segments WHEN 200 THEN '<= 220' END AS goal FROM figure ORDER BY segments;
DO $$
BEGIN
	IF EXISTS (SELECT FROM figure WHERE segments = 200 AND bytes > 220) THEN
		RAISE EXCEPTION 'missed: 220 bytes of state per contact at 200 segments';
	END IF;
END $$;
