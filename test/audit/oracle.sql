-- oracle.sql: what must be true in every snapshot, by SQL that shares nothing with the extension but
-- its tables of keys and tracked events.
SET client_min_messages = warning;

CREATE TABLE audit.run (
	audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	what text NOT NULL,				-- online or final
	contacts int NOT NULL,
	anybody boolean NOT NULL,		-- the dirty log named no contact
	dirty int NOT NULL,				-- contacts behind
	states int NOT NULL,			-- contacts x counters compared with the stored state
	overdue int NOT NULL,			-- not compared: past their time
	reads int NOT NULL,				-- contacts x counters of counter_values() compared
	keys int NOT NULL,				-- rows of contact sources compared
	fields int NOT NULL,			-- contacts whose fields were compared
	occurrences int NOT NULL,		-- rows whose occurrences were compared
	bad int NOT NULL
);
CREATE TABLE audit.bad (audit_id bigint, kind text NOT NULL, object text NOT NULL, detail text NOT NULL);

-- Every event of every contact: its keys that count, joined by their text with the users' rows.
CREATE VIEW audit.happening AS
	WITH key AS (
		SELECT k.contact_id, k.external_id, s.name AS source
		FROM marketing_internal.contact_key AS k
		JOIN marketing_internal.contact_source AS s USING (source_id)
		WHERE NOT k.excluded)
	SELECT k.contact_id, 'order_placed' AS event, o.created_at AS at
	FROM key AS k JOIN orders AS o ON o.customer_id::text = k.external_id
	WHERE k.source = 'customers' AND o.status <> 'cancelled' AND o.created_at IS NOT NULL
	UNION ALL
	SELECT k.contact_id, 'order_shipped', o.shipped_at
	FROM key AS k JOIN orders AS o ON o.customer_id::text = k.external_id
	WHERE k.source = 'customers' AND o.status <> 'cancelled' AND o.total > 2 AND o.shipped_at IS NOT NULL
	UNION ALL
	SELECT k.contact_id, 'item_bought', i.added_at
	FROM key AS k JOIN orders AS o ON o.customer_id::text = k.external_id JOIN order_items AS i ON i.order_id = o.id
	WHERE k.source = 'customers' AND i.pieces > 0
	UNION ALL
	SELECT k.contact_id, 'page_viewed', v.viewed_at AT TIME ZONE 'Europe/Istanbul'
	FROM key AS k JOIN page_views AS v ON v.customer_id::text = k.external_id
	WHERE k.source = 'customers' AND v.viewed_at IS NOT NULL
	UNION ALL
	SELECT k.contact_id, 'link_clicked', c.clicked_at
	FROM key AS k JOIN clicks AS c ON c.subscriber_id::text = k.external_id
	WHERE k.source = 'subscribers' AND c.clicked_at IS NOT NULL
	UNION ALL
	SELECT e.contact_id, t.name, e.occurred_at
	FROM marketing_internal.event AS e JOIN marketing_internal.event_type AS t USING (event_id);

-- What an auditor's session needs.
CREATE FUNCTION audit.begin() RETURNS void LANGUAGE sql AS $$
	CREATE TEMP TABLE behind (contact_id bigint);
	CREATE TEMP TABLE happened (contact_id bigint, event text, at timestamptz);
	CREATE TEMP TABLE expected (contact_id bigint, name text, value bigint, until timestamptz);
	CREATE TEMP TABLE answer (contact_id bigint, value bigint);
$$;

-- Counters of contacts with any event, as of a time.
CREATE FUNCTION audit.expected(at timestamptz)
	RETURNS TABLE (contact_id bigint, name text, value bigint, until timestamptz)
	LANGUAGE plpgsql STABLE
	AS $$
	BEGIN
		RETURN QUERY SELECT h.contact_id, c.name,
			count(*) FILTER (WHERE h.at <= $1 AND (c.within IS NULL OR h.at + c.within > $1)),
			coalesce(least(min(h.at) FILTER (WHERE h.at > $1),
				min(h.at + c.within) FILTER (WHERE h.at <= $1 AND h.at + c.within > $1)), 'infinity')
		FROM happened AS h JOIN audit.counter AS c ON c.event = h.event
		GROUP BY 1, 2;
	END
	$$;

-- Rows of contact sources, as their contacts' keys should be.
CREATE VIEW audit.source_row AS
	SELECT s.source_id, c.id::text COLLATE "C" AS external_id, c.blocked AS excluded, lower(btrim(c.email)) AS email, c.tz
	FROM customers AS c JOIN marketing_internal.contact_source AS s ON s.name = 'customers'
	UNION ALL
	SELECT s.source_id, b.id::text, false, lower(btrim(b.email)), NULL
	FROM subscribers AS b JOIN marketing_internal.contact_source AS s ON s.name = 'subscribers';

-- One audit. The caller's transaction is REPEATABLE READ, has the tables locked and its snapshot taken
-- in an earlier statement, so that marketing.now() is not before any evaluation the snapshot shows.
CREATE FUNCTION audit.audit(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	clock timestamptz := marketing.now();
	later timestamptz;
	everything boolean := what = 'final' OR random() < 0.05;
	id bigint;
	truncated boolean;
	n int;
	r audit.run;
	c record;
BEGIN
	IF current_setting('transaction_isolation') <> 'repeatable read' THEN
		RAISE EXCEPTION 'an audit needs one snapshot';
	END IF;
	id := nextval('audit.run_audit_id_seq');
	DELETE FROM pg_temp.behind;
	DELETE FROM pg_temp.happened;
	DELETE FROM pg_temp.expected;
	INSERT INTO behind SELECT * FROM marketing_internal.dirty_contacts();
	r.anybody := EXISTS (SELECT FROM behind AS b WHERE b.contact_id IS NULL);
	DELETE FROM behind AS b WHERE b.contact_id IS NULL;
	-- A link that waits means the contact its order has now; of a truncated table only its events are behind.
	INSERT INTO behind SELECT k.contact_id FROM marketing_internal.dirty AS d JOIN orders AS o ON o.id::text = d.external_id
		JOIN marketing_internal.contact_key AS k ON k.external_id = o.customer_id::text AND k.source_id = 1
		WHERE d.event_source_id IS NOT NULL;
	truncated := EXISTS (SELECT FROM marketing_internal.dirty AS d WHERE d.table_id IS NOT NULL);
	r.dirty := (SELECT count(DISTINCT b.contact_id) FROM behind AS b);
	r.contacts := (SELECT count(*) FROM marketing_internal.contact);
	r.states := 0; r.overdue := 0; r.reads := 0; r.keys := 0; r.fields := 0; r.occurrences := 0;
	INSERT INTO happened SELECT * FROM audit.happening;
	INSERT INTO expected SELECT e.contact_id, e.name, e.value, e.until FROM audit.expected(clock) AS e;

	-- The stored state of contacts that are not behind.
	BEGIN
		WITH pair AS (
			SELECT t.contact_id, d.name, s.value, s.until, e.value AS right_value, e.until AS right_until
			FROM (marketing_internal.contact AS t CROSS JOIN audit.counter AS d)
			LEFT JOIN (marketing_internal.contact_counter AS s JOIN marketing_internal.counter AS m USING (counter_id))
				ON s.contact_id = t.contact_id AND m.name = d.name
			LEFT JOIN expected AS e ON e.contact_id = t.contact_id AND e.name = d.name
			WHERE t.contact_id NOT IN (SELECT b.contact_id FROM behind AS b)
			AND NOT (truncated AND d.event = 'page_viewed')),
		wrong AS (
			INSERT INTO audit.bad
			SELECT id, 'state', p.contact_id || '/' || p.name, format('stored %s until %s, right %s until %s, as of %s',
				p.value, p.until, p.right_value, p.right_until, clock)
			FROM pair AS p
			WHERE coalesce(p.until, 'infinity') > clock
			AND (coalesce(p.value, 0) <> coalesce(p.right_value, 0)
				OR coalesce(p.until, 'infinity') <> coalesce(p.right_until, 'infinity'))
			RETURNING 1)
		SELECT count(*) FILTER (WHERE coalesce(p.until, 'infinity') > clock),
			count(*) FILTER (WHERE p.until <= clock) INTO r.states, r.overdue FROM pair AS p;
	END;

	-- The exact read, for everybody; the clock may go on while it reads, so what changes meanwhile is left out.
	FOR c IN SELECT * FROM audit.counter ORDER BY random() LIMIT CASE WHEN everything THEN 100 ELSE 3 END LOOP
		DELETE FROM pg_temp.answer;
		clock := marketing.now();
		INSERT INTO answer SELECT v.contact_id, v.value FROM marketing_internal.counter_values(c.name) AS v;
		later := marketing.now();
		WITH window_start AS (
			SELECT h.contact_id, count(*) FILTER (WHERE h.at <= clock AND (c.within IS NULL OR h.at + c.within > clock)) AS value,
				bool_or(h.at > clock AND h.at <= later OR h.at + c.within > clock AND h.at + c.within <= later) AS moving
			FROM happened AS h WHERE h.event = c.event GROUP BY 1),
		pair AS (
			SELECT coalesce(w.contact_id, a.contact_id) AS contact_id, coalesce(w.value, 0) AS right_value, a.value
			FROM window_start AS w FULL JOIN answer AS a ON a.contact_id = w.contact_id
			WHERE w.moving IS NOT TRUE),
		wrong AS (
			INSERT INTO audit.bad
			SELECT id, 'read', p.contact_id || '/' || c.name, format('counter_values() %s, right %s, as of %s, anybody %s, behind %s',
				p.value, p.right_value, clock, r.anybody, EXISTS (SELECT FROM behind AS b WHERE b.contact_id = p.contact_id))
			FROM pair AS p WHERE coalesce(p.value, 0) <> p.right_value OR p.value = 0
			RETURNING 1)
		SELECT count(*) INTO n FROM pair;
		r.reads := r.reads + n;
	END LOOP;

	-- Keys: each counting row has its one key, no other key counts. What the log names may be behind.
	BEGIN
		WITH waiting AS (
			SELECT d.source_id, d.external_id FROM marketing_internal.dirty AS d WHERE d.source_id IS NOT NULL AND d.events IS NULL
			UNION SELECT d.source_id, d.previous_id FROM marketing_internal.dirty AS d WHERE d.previous_id IS NOT NULL),
		pair AS (
			SELECT coalesce(w.source_id, k.source_id) AS source_id, coalesce(w.external_id, k.external_id) AS external_id,
				w.external_id IS NOT NULL AND NOT w.excluded AS counts, k.contact_id IS NOT NULL AND NOT k.excluded AS known,
				k.contact_id, k.contact_id IS NULL OR EXISTS (SELECT FROM marketing_internal.contact AS t WHERE t.contact_id = k.contact_id) AS whole
			FROM audit.source_row AS w
			FULL JOIN (SELECT * FROM marketing_internal.contact_key AS a
				WHERE a.source_id IN (SELECT s.source_id FROM marketing_internal.contact_source AS s WHERE s.table_id IS NOT NULL)) AS k
				ON k.source_id = w.source_id AND k.external_id = w.external_id
			WHERE NOT EXISTS (SELECT FROM waiting AS d WHERE d.source_id = coalesce(w.source_id, k.source_id)
				AND d.external_id = coalesce(w.external_id, k.external_id))),
		wrong AS (
			INSERT INTO audit.bad
			SELECT id, 'key', p.source_id || '/' || p.external_id,
				format('row counts %s, key counts %s, contact %s, contact exists %s', p.counts, p.known, p.contact_id, p.whole)
			FROM pair AS p WHERE p.counts <> p.known OR NOT p.whole
			RETURNING 1)
		SELECT count(*) INTO r.keys FROM pair AS p;
	END;

	-- Fields: those of the first counting row that has one.
	BEGIN
		WITH field AS (
			SELECT k.contact_id,
				(array_agg(w.email ORDER BY k.source_id, k.external_id) FILTER (WHERE w.email IS NOT NULL))[1] AS email,
				(array_agg(w.tz ORDER BY k.source_id, k.external_id) FILTER (WHERE w.tz IS NOT NULL))[1] AS tz
			FROM marketing_internal.contact_key AS k
			JOIN audit.source_row AS w ON w.source_id = k.source_id AND w.external_id = k.external_id AND NOT w.excluded
			WHERE NOT k.excluded GROUP BY 1),
		pair AS (
			SELECT t.contact_id, t.email, t.time_zone AS tz, f.email AS right_email, f.tz AS right_tz
			FROM marketing_internal.contact AS t LEFT JOIN field AS f USING (contact_id)
			WHERE t.contact_id NOT IN (SELECT b.contact_id FROM behind AS b)),
		wrong AS (
			INSERT INTO audit.bad
			SELECT id, 'field', p.contact_id::text, format('e-mail %s, right %s; zone %s, right %s', p.email, p.right_email, p.tz, p.right_tz)
			FROM pair AS p WHERE (p.email, p.tz) IS DISTINCT FROM (p.right_email, p.right_tz)
			RETURNING 1)
		SELECT count(*) INTO r.fields FROM pair;
	END;

	-- Tracked events stay with a contact that is somebody.
	INSERT INTO audit.bad
	SELECT id, 'lost event', e.event_row_id::text, format('event of contact %s, merged into %s', e.contact_id, m.contact_id)
	FROM marketing_internal.event AS e JOIN marketing_internal.contact_merge AS m ON m.merged_id = e.contact_id
	WHERE m.reason = 'merge' AND m.split_at IS NULL
	AND NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k WHERE k.contact_id = e.contact_id)
	AND e.contact_id NOT IN (SELECT b.contact_id FROM behind AS b WHERE b.contact_id IS NOT NULL);

	IF everything THEN
		r.occurrences := audit.occurrences(id);
	END IF;
	INSERT INTO audit.run OVERRIDING SYSTEM VALUE
	VALUES (id, DEFAULT, what, r.contacts, r.anybody, r.dirty, r.states, r.overdue, r.reads, r.keys, r.fields, r.occurrences,
		(SELECT count(*) FROM audit.bad AS b WHERE b.audit_id = id));
END
$$;

-- Rows of recorded events: happened and taken_back take turns, and the last is what the row is now.
-- Left out are rows that wait, and those of contacts that come and go: their events leave with them.
CREATE FUNCTION audit.occurrences(id bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	WITH step AS (
		SELECT t.name AS event, o.row_key, o.kind, o.occurrence_id, o.contact_id,
			(o.properties ->> 'customer_id')::int AS customer_id, (o.properties ->> 'subscriber_id')::int AS subscriber_id, (o.properties ->> 'order_id')::bigint AS order_id,
			lag(o.kind) OVER (PARTITION BY o.event_id, o.row_key ORDER BY o.occurrence_id) AS before,
			lag(o.contact_id) OVER (PARTITION BY o.event_id, o.row_key ORDER BY o.occurrence_id) AS contact_before,
			row_number() OVER (PARTITION BY o.event_id, o.row_key ORDER BY o.occurrence_id DESC) AS back
		FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id)
		WHERE o.kind <> 'changed'),
	history AS (
		SELECT s.event, s.row_key, bool_and(s.kind IS DISTINCT FROM s.before) AS turns,
			-- Also of a contact that comes and goes: his orders move along with his id without happening anew.
			bool_or(s.kind = 'happened' AND s.before = 'happened' AND s.contact_id = s.contact_before AND s.customer_id > 1000) AS again,
			bool_and(s.before IS NOT NULL OR s.kind = 'happened'
				OR EXISTS (SELECT FROM audit.unrecorded AS u WHERE u.event = s.event AND u.row_key = s.row_key)) AS begins,
			bool_or(s.back = 1 AND s.kind = 'happened') AS is_on,
			bool_and(coalesce(s.customer_id <= 30, s.subscriber_id <= 10, true)) AS stays,
			-- An item goes with its order, and then nobody can tell whose it was.
			bool_or(s.event = 'item_bought' AND NOT EXISTS (SELECT FROM orders AS o WHERE o.id = s.order_id)) AS orphan,
			string_agg(s.kind || '(' || s.contact_id || ')', ' ' ORDER BY s.occurrence_id) AS steps
		FROM step AS s GROUP BY 1, 2),
	present AS (
		SELECT 'order_placed' AS event, o.id::text AS row_key, o.customer_id <= 30 AS stays FROM orders AS o
		WHERE o.status <> 'cancelled' AND o.created_at IS NOT NULL
		UNION ALL
		SELECT 'item_bought', i.id::text, o.customer_id <= 30 FROM order_items AS i JOIN orders AS o ON o.id = i.order_id WHERE i.pieces > 0
		UNION ALL
		SELECT 'link_clicked', c.id::text, c.subscriber_id BETWEEN 1 AND 10 FROM clicks AS c WHERE c.clicked_at IS NOT NULL
		UNION ALL
		SELECT 'logged_in', e.event_row_id::text, true FROM marketing_internal.event AS e JOIN marketing_internal.event_type AS t USING (event_id) WHERE t.name = 'logged_in'),
	waiting AS (
		SELECT t.name AS event, w.row_key FROM marketing_internal.capture_row AS w
		LEFT JOIN marketing_internal.event_source AS s USING (event_source_id)
		JOIN marketing_internal.event_type AS t ON t.event_id = coalesce(w.event_id, s.event_id)),
	pair AS (
		SELECT coalesce(h.event, p.event) AS event, coalesce(h.row_key, p.row_key) AS row_key,
			coalesce(h.turns, true) AS turns, coalesce(h.begins, true) AS begins, coalesce(h.is_on, false) AS is_on,
			p.row_key IS NOT NULL AS is_event, h.steps,
			h.row_key IS NULL AND EXISTS (SELECT FROM audit.unrecorded AS u
				WHERE u.event = p.event AND u.row_key = p.row_key) AS unrecorded
		FROM history AS h FULL JOIN present AS p ON p.event = h.event AND p.row_key = h.row_key
		WHERE coalesce(h.orphan, false) IS FALSE
		AND (coalesce(h.stays, true) AND coalesce(p.stays, true) OR h.again)
		AND (coalesce(h.event, p.event), coalesce(h.row_key, p.row_key)) NOT IN (SELECT w.event, w.row_key FROM waiting AS w)),
	wrong AS (
		INSERT INTO audit.bad
		SELECT id, 'occurrence', p.event || '/' || p.row_key, format('turns %s, begins %s, last is on %s, row is the event %s: %s',
			p.turns, p.begins, p.is_on, p.is_event, p.steps)
		FROM pair AS p WHERE NOT p.turns OR NOT p.begins OR (p.is_on <> p.is_event AND NOT p.unrecorded)
		RETURNING 1)
	SELECT count(*) INTO n FROM pair;
	RETURN n;
END
$$;
