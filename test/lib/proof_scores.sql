-- proof_scores.sql: a shop with two score models, and what their scores must be: plain SQL over the
-- rows with decay in closed form, which knows nothing of the extension but whose contact is whose.
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;

CREATE TABLE customers (id int PRIMARY KEY, tz text, gone boolean NOT NULL DEFAULT false);
CREATE TABLE site_events (id bigserial PRIMARY KEY, name text NOT NULL, customer_id int, at timestamptz, path text);
CREATE TABLE visits (id bigserial PRIMARY KEY, customer_id int, at timestamptz, amount numeric, status text NOT NULL DEFAULT 'ok');
CREATE INDEX ON site_events (customer_id, name, at);
CREATE INDEX ON visits (customer_id, at);
INSERT INTO customers SELECT i, (ARRAY['Europe/Istanbul', 'America/New_York', 'Asia/Tokyo', NULL])[1 + i % 4]
	FROM generate_series(1, 12) AS i;
SELECT marketing.set_clock('2026-03-20 12:00+00');
SELECT marketing.attach_contacts('customers', id => 'id', time_zone => 'tz', exclude => 'gone');
SELECT marketing.attach_events('site_events', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at',
	condition => $$ status <> 'void' $$);
SELECT marketing.declare_event(n) FROM unnest('{page,form,called}'::text[]) AS n;
SELECT marketing.define_score_model('fading', half_life => '10 days', thresholds => '{"warm": 10, "hot": 25}');
SELECT marketing.define_score_model('steady', floor => -5, ceiling => 40, thresholds => '{"top": 30}');

-- Under the names of now, whatever the table's are.
CREATE VIEW shop_visits AS SELECT id, customer_id, at, amount, status FROM visits;
CREATE VIEW shop_events AS SELECT id, name, customer_id, at, path FROM site_events;

CREATE SCHEMA proof;
-- The expression with the columns' names of now; and another name for one of them.
CREATE FUNCTION proof.named(expression text) RETURNS text STABLE LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(expression, '\mamount\M', (SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'visits'::regclass AND attnum = 4)),
		'\mpath\M', (SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'site_events'::regclass AND attnum = 5))
$$;
CREATE FUNCTION proof.rename(relation regclass, number int, name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	known text := (SELECT attname FROM pg_attribute WHERE attrelid = relation AND attnum = number);
BEGIN
	IF known <> name THEN
		EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', relation, known, name);
	END IF;
END $$;
-- Points without a row; who is no contact just now gets none.
CREATE FUNCTION proof.add(id int, model text, points numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM marketing.add_points(id, model, points);
EXCEPTION WHEN OTHERS THEN
	NULL;
END $$;
-- The rules as the oracle knows them: SQL over e, the row as jsonb.
CREATE TABLE proof.rule (model text, name text, event text, condition text, points text, at_most int, per text, expires interval,
	PRIMARY KEY (model, name));
CREATE FUNCTION proof.define(model text, name text, event text, points text, condition text DEFAULT NULL, at_most int DEFAULT NULL,
	per text DEFAULT NULL, expires interval DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	IF points ~ '^[-0-9.]+$' THEN
		answer := marketing.define_score_rule(model, name, event, points::numeric, proof.named(condition), at_most, per, false, expires);
	ELSE
		answer := marketing.define_score_rule(model, name, event, proof.named(points), proof.named(condition), at_most, per, false, expires);
	END IF;
	INSERT INTO proof.rule VALUES (model, name, event, condition, points, at_most, per, expires)
		ON CONFLICT ON CONSTRAINT rule_pkey DO UPDATE SET event = EXCLUDED.event, condition = EXCLUDED.condition, points = EXCLUDED.points,
			at_most = EXCLUDED.at_most, per = EXCLUDED.per, expires = EXCLUDED.expires;
	RETURN answer;
END $$;
CREATE FUNCTION proof.drop(model text, name text) RETURNS text LANGUAGE sql AS $$
	DELETE FROM proof.rule AS r WHERE (r.model, r.name) = ($1, $2);
	SELECT marketing.drop_score_rule($1, $2);
$$;

-- With scores; what they mean stands in proof.wrong_scores().
CREATE TABLE proof.segment (name text, rule text);
INSERT INTO proof.segment VALUES ('risen', 'score(fading) >= 9.50005'), ('far', 'NOT 12.00005 > score(steady)'), ('blend', '0.4 * score(fading) + score(steady) * 0.6 >= 7.00003'),
	('beats', 'score(fading) > score(steady)'), ('per', 'score(fading) / count(visited) in 7 days >= 2.50003');

-- Every row of every event: whose it is, and its columns under one roof.
CREATE VIEW proof.event AS
	SELECT k.contact_id, e.event, e.at, e.amount, e.path, e.properties, coalesce(c.time_zone, 'UTC') AS zone
	FROM (
		SELECT customer_id, name AS event, at, NULL::numeric AS amount, path, NULL::jsonb AS properties FROM site_events
		UNION ALL SELECT customer_id, 'visited', at, amount, NULL, NULL FROM visits WHERE status <> 'void') AS e
	JOIN marketing_internal.contact_key AS k ON k.external_id = e.customer_id::text AND NOT k.excluded
	JOIN marketing_internal.contact AS c USING (contact_id)
	WHERE e.at IS NOT NULL
	UNION ALL
	SELECT e.contact_id, t.name, e.occurred_at, NULL, NULL, e.properties, coalesce(c.time_zone, 'UTC')
	FROM marketing_internal.event AS e JOIN marketing_internal.event_type AS t USING (event_id)
	JOIN marketing_internal.contact AS c USING (contact_id);

-- What is left of a point; SQL's power() cannot tell next to nothing from nothing.
CREATE FUNCTION proof.fade(age interval, half_life interval) RETURNS float8 IMMUTABLE STRICT LANGUAGE sql AS $$
	SELECT power(2, -least(extract(epoch FROM $1) / extract(epoch FROM $2), 1000)::float8)
$$;

-- contact_id, model, raw: what the rows give at the instant.
CREATE FUNCTION proof.raw(now timestamptz) RETURNS TABLE (contact_id bigint, model text, raw float8) LANGUAGE plpgsql STABLE AS $$
DECLARE
	r proof.rule;
BEGIN
	FOR r IN SELECT * FROM proof.rule LOOP
		RETURN QUERY EXECUTE format($f$
			SELECT q.contact_id, %1$L::text, sum(q.points * coalesce(proof.fade($1 - q.at, h.half_life), 1))
			FROM (
				SELECT e.contact_id, e.at, (%2$s)::float8 AS points, e.zone,
					row_number() OVER (PARTITION BY e.contact_id, CASE WHEN %3$L IS NOT NULL THEN date_trunc(%3$L, e.at AT TIME ZONE e.zone) END
						ORDER BY e.at, (%2$s)::float8 DESC) AS n
				FROM proof.event AS e WHERE e.event = %4$L AND (%5$s) AND (%2$s) IS NOT NULL AND isfinite(e.at)) AS q,
				(SELECT half_life FROM marketing_internal.score_model WHERE name = %1$L) AS h
			WHERE q.at <= $1 AND q.n <= %6$s
				-- months by the contact's calendar, days of 24 hours
				AND (%7$L IS NULL OR (q.at AT TIME ZONE q.zone + make_interval(months => extract(month FROM %7$L::interval)::int)) AT TIME ZONE q.zone
					+ make_interval(secs => extract(day FROM %7$L::interval) * 86400) > $1)
			GROUP BY 1$f$, r.model, r.points, r.per, r.event, coalesce(r.condition, 'true'),
				coalesce(r.at_most, 2147483647), r.expires)
			USING now;
	END LOOP;
	RETURN QUERY SELECT coalesce(h.contact_id, e.contact_id), m.name, sum(e.points * coalesce(proof.fade(now - e.at, m.half_life), 1))
		FROM marketing_internal.score_entry AS e JOIN marketing_internal.score_model AS m USING (model_id)
		LEFT JOIN marketing_internal.contact_holder AS h ON h.merged_id = e.contact_id WHERE e.at <= now GROUP BY 1, 2;
END $$;

-- contact_id, model, score, level: of every contact, also without points.
CREATE FUNCTION proof.score(now timestamptz) RETURNS TABLE (contact_id bigint, model text, score float8, reached text[]) LANGUAGE sql STABLE AS $$
	SELECT q.contact_id, q.name, q.score,
		coalesce((SELECT array_agg(t.key ORDER BY t.value::float8) FROM jsonb_each_text(q.thresholds) AS t WHERE q.score >= t.value::float8), '{}')
	FROM (
		SELECT c.contact_id, m.name, m.thresholds,
			round(least(greatest(coalesce(r.raw, 0), m.floor), m.ceiling)::numeric, 4)::float8 AS score
		FROM marketing_internal.contact AS c CROSS JOIN marketing_internal.score_model AS m
		LEFT JOIN (SELECT p.contact_id, p.model, sum(p.raw) AS raw FROM proof.raw($1) AS p GROUP BY 1, 2) AS r
			ON r.contact_id = c.contact_id AND r.model = m.name) AS q
$$;

-- Every difference. strict: after the worker, so what is stored must be right, too.
CREATE FUNCTION proof.wrong_scores(strict boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	now timestamptz := marketing.now();
BEGIN
	CREATE TEMP TABLE expected ON COMMIT DROP AS SELECT * FROM proof.score(now);
	RETURN QUERY SELECT format('score(%s, %s) is %s, right is %s', x.contact, e.model, x.score, e.score)
		FROM expected AS e, LATERAL (SELECT marketing_internal.contact_text(e.contact_id)) AS t (contact),
			LATERAL (SELECT t.contact, marketing.score(t.contact, e.model)) AS x (contact, score)
		WHERE t.contact IS NOT NULL AND abs(x.score - e.score) > 0.00011;
	RETURN QUERY SELECT format('score_values: %s of %s is %s, right is %s', e.model, e.contact_id, v.score, e.score)
		FROM expected AS e FULL JOIN marketing_internal.score_values() AS v USING (contact_id, model)
		LEFT JOIN marketing_internal.score_model AS m ON m.name = e.model
		WHERE NOT coalesce(abs(coalesce(v.score, greatest(0, m.floor)) - e.score) <= 0.00011, false);
	RETURN QUERY SELECT format('over a threshold of %s: %s is %s since %s, right is %s', e.model, e.contact_id, v.threshold, v.since, e.reached)
		FROM expected AS e FULL JOIN marketing_internal.score_values(NULL, true) AS v USING (contact_id, model)
		WHERE v.threshold IS DISTINCT FROM e.reached[cardinality(e.reached)];
	RETURN QUERY SELECT format('explain_score(%s, %s) gives %s, right is %s', t.contact, e.model, x.sum, r.raw)
		FROM expected AS e JOIN (SELECT p.contact_id, p.model, sum(p.raw) AS raw FROM proof.raw(now) AS p GROUP BY 1, 2) AS r USING (contact_id, model),
			LATERAL (SELECT marketing_internal.contact_text(e.contact_id)) AS t (contact),
			LATERAL (SELECT coalesce(sum(points_now), 0), count(*) FROM marketing.explain_score(t.contact, e.model)) AS x (sum, n)
		WHERE t.contact IS NOT NULL AND abs(x.sum - r.raw) > 0.0001 + 0.00006 * x.n;
	RETURN QUERY SELECT format('segment %s: read %s, right is %s', n.name, m.contact, x.contact)
		FROM proof.segment AS n CROSS JOIN LATERAL (SELECT t.contact
			FROM (SELECT contact_id, max(score) FILTER (WHERE model = 'fading') AS fading, max(score) FILTER (WHERE model = 'steady') AS steady FROM expected GROUP BY 1) AS e,
				LATERAL (SELECT count(*) AS week FROM proof.event AS v WHERE v.contact_id = e.contact_id AND v.event = 'visited' AND v.at <= now AND v.at > now - interval '168 hours') AS v,
				LATERAL (SELECT marketing_internal.contact_text(e.contact_id)) AS t (contact)
			WHERE CASE n.name WHEN 'risen' THEN fading >= 9.50005 WHEN 'far' THEN steady >= 12.00005 WHEN 'blend' THEN 0.4 * fading + 0.6 * steady >= 7.00003
					WHEN 'beats' THEN fading > steady ELSE fading / nullif(week, 0) >= 2.50003 END AND t.contact IS NOT NULL
				-- who is excluded has a score of what was tracked, and is nobody's member
				AND EXISTS (SELECT FROM marketing_internal.contact_key AS k WHERE k.contact_id = e.contact_id AND NOT k.excluded)) AS x
		FULL JOIN (SELECT n.name, m.contact FROM proof.segment AS n, marketing.segment_members(n.name) AS m) AS m
			ON m.name = n.name AND m.contact = x.contact
		WHERE m.contact IS NULL OR x.contact IS NULL;
	IF strict THEN
		RETURN QUERY SELECT format('segment %s: %s', n.name, v) FROM proof.segment AS n, marketing.verify_segment(n.name) AS v;
		RETURN QUERY SELECT format('dirty: %s', d) FROM marketing_internal.dirty AS d;
		RETURN QUERY SELECT format('stored: %s of %s is %s, right is %s', e.model, e.contact_id, s, e)
			FROM expected AS e FULL JOIN (
				SELECT s.*, m.name AS model, m.version AS wanted, round(least(greatest(s.value *
					coalesce(proof.fade(now - s.instant, m.half_life), 1), m.floor), m.ceiling)::numeric, 4)::float8 AS score
				FROM marketing_internal.score AS s JOIN marketing_internal.score_model AS m USING (model_id)) AS s USING (contact_id, model)
			JOIN marketing_internal.score_model AS m ON m.name = e.model
			WHERE NOT coalesce(abs(coalesce(s.score, greatest(0, m.floor)) - e.score) <= 0.00011, false)
				OR coalesce(s.reached, '{}') <> e.reached OR s.version <> s.wanted OR s.wake <= now;
		RETURN QUERY SELECT format('not built: %s', name) FROM marketing_internal.score_model WHERE NOT built;
		-- what was told comes to what is: reached and lost in turn, the last one as it is stored
		RETURN QUERY SELECT format('told of %s: %s', o.key, o.kinds) FROM (
				SELECT contact_id || '/' || (o.properties->>'model') || '/' || (o.properties->>'threshold') AS key,
					string_agg(CASE t.name WHEN 'score_threshold_reached' THEN 'r' ELSE 'l' END, '' ORDER BY occurrence_id) AS kinds,
					bool_or(occurred_at > now) AS early
				FROM marketing_internal.occurrence AS o JOIN marketing_internal.event_type AS t USING (event_id) GROUP BY 1) AS o
			FULL JOIN (SELECT s.contact_id || '/' || m.name || '/' || u AS key FROM marketing_internal.score AS s
				JOIN marketing_internal.score_model AS m USING (model_id), unnest(s.reached) AS u) AS h USING (key)
			WHERE NOT coalesce(o.kinds ~ '^(rl)*r?$' AND (o.kinds ~ 'r$') = (h.key IS NOT NULL) AND NOT o.early, false);
	END IF;
	DROP TABLE expected;
END $$;

SELECT proof.define('fading', 'page', 'page', '1', NULL, 3, 'day');
SELECT proof.define('fading', 'form', 'form', '15', NULL, 1);
SELECT proof.define('fading', 'spent', 'visited', 'amount / 10', 'amount > 0');
SELECT proof.define('fading', 'returned', 'visited', '-4', 'amount < 0');
SELECT proof.define('fading', 'called', 'called', '3', $$ properties->>'by' = 'us' $$, NULL, NULL, '5 days');
SELECT proof.define('steady', 'page', 'page', '2', $$ path <> '/jobs' $$, 4, 'week');
SELECT proof.define('steady', 'visit', 'visited', '7', NULL, 2, 'month', '1 month 3 days');
SELECT proof.define('steady', 'form', 'form', '1');
SELECT proof.define('steady', 'called', 'called', '-1.5');
SELECT marketing_internal.record_event('score_threshold_reached'), marketing_internal.record_event('score_threshold_lost');
SELECT marketing.define_segment(name, rule) FROM proof.segment;
CALL marketing.work();
