-- Local dates in every time zone of the server: a contact lives in each, with rows at the midnights around a
-- day and a microsecond beside them. What the evaluator says is compared with dates as PostgreSQL reads them
-- (date AT TIME ZONE), which nothing of the evaluator goes through; and what it says holds as long as it says.

CREATE TABLE people (id bigint PRIMARY KEY, tz text, moment timestamptz, day date, birth date);
CREATE TABLE visits (id bigserial PRIMARY KEY, person bigint, at timestamptz);
CREATE INDEX ON visits (person, at);
INSERT INTO people (id, tz) SELECT row_number() OVER (ORDER BY name), name FROM pg_timezone_names
WHERE name !~ '^(posix|right)/' AND name NOT IN ('Factory', 'localtime', 'posixrules');
SELECT marketing.attach_contacts('people', id => 'id', time_zone => 'tz');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'person', contact_source => 'people', occurred_at => 'at');

-- s(d): the instant the local day d begins; today: the local day; e: the person's visits up to now.
CREATE FUNCTION s(d date, z text) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT d::timestamp AT TIME ZONE z $$;
CREATE TABLE zone_rule (rule text PRIMARY KEY, expected text);
INSERT INTO zone_rule VALUES
	('any visited today', 'EXISTS (SELECT FROM e WHERE e.at >= s(today, z))'),
	('count(visited) today >= 2', '(SELECT count(*) FROM e WHERE e.at >= s(today, z)) >= 2'),
	('no visited yesterday', 'NOT EXISTS (SELECT FROM e WHERE e.at >= s(today - 1, z) AND e.at < s(today, z))'),
	('any visited this week', 'EXISTS (SELECT FROM e WHERE e.at >= s(today - (extract(isodow FROM today)::int - 1), z))'),
	('count(visited) last week >= 2', '(SELECT count(*) FROM e WHERE e.at >= s(today - (extract(isodow FROM today)::int + 6), z) AND e.at < s(today - (extract(isodow FROM today)::int - 1), z)) >= 2'),
	('count(visited) this month = 3', '(SELECT count(*) FROM e WHERE e.at >= s(today - (extract(day FROM today)::int - 1), z)) = 3'),
	('any visited last month', 'EXISTS (SELECT FROM e WHERE e.at >= s((today - extract(day FROM today)::int) - (extract(day FROM today - extract(day FROM today)::int)::int - 1), z) AND e.at < s(today - (extract(day FROM today)::int - 1), z))'),
	('no visited this quarter', 'NOT EXISTS (SELECT FROM e WHERE e.at >= s(make_date(extract(year FROM today)::int, (extract(month FROM today)::int - 1) / 3 * 3 + 1, 1), z))'),
	('count(visited) this year > 3', '(SELECT count(*) FROM e WHERE e.at >= s(make_date(extract(year FROM today)::int, 1, 1), z)) > 3'),
	('any visited in 1 month', 'EXISTS (SELECT FROM e WHERE (e.at AT TIME ZONE z + interval ''1 month'') AT TIME ZONE z > n)'),
	('moment is today', 'p.moment >= s(today, z) AND p.moment < s(today + 1, z)'),
	('moment is this week', 'p.moment >= s(today - (extract(isodow FROM today)::int - 1), z) AND p.moment < s(today - (extract(isodow FROM today)::int - 8), z)'),
	('day is today', 's(p.day, z) >= s(today, z) AND s(p.day, z) < s(today + 1, z)'),
	('day within next 2 days', 's(p.day, z) > n AND s(p.day, z) - interval ''48 hours'' <= n'),
	('day more than 1 month ago', '(p.day::timestamp AT TIME ZONE z AT TIME ZONE z + interval ''1 month'') AT TIME ZONE z <= n'),
	('anniversary(birth) is today', 'EXISTS (SELECT FROM y WHERE s(y.day, z) <= n AND s(y.day + 1, z) > n)'),
	('anniversary(birth) is within 3 days', 'EXISTS (SELECT FROM y WHERE s(y.day, z) - interval ''72 hours'' <= n AND s(y.day + 1, z) > n)');

-- Rows and dates around the day, in each zone at its own midnights.
CREATE FUNCTION live_on(the_day date) RETURNS void LANGUAGE sql AS $$
	DELETE FROM visits;
	UPDATE people SET moment = s(the_day + id::int % 2, tz) - (id % 3) * interval '1 microsecond', day = the_day + (id % 3)::int - 1,
		birth = CASE WHEN id % 5 = 0 THEN date '1992-02-29' ELSE (the_day - interval '30 years')::date + (id % 3)::int - 1 END;
	INSERT INTO visits (person, at) SELECT id, s((the_day + d)::date, tz) + m * interval '1 microsecond'
	FROM people CROSS JOIN unnest('{-31,-1,0,1}'::int[]) AS d CROSS JOIN generate_series(-1, 1) AS m WHERE (id + d * 3 + m) % 4 < 2;
	INSERT INTO visits (person, at) SELECT id, s(date_trunc('month', the_day)::date, tz) - (id % 2) * interval '1 microsecond' FROM people WHERE id % 3 = 0 $$;

-- Every rule, in every zone, at the midnights of all zones around the day and beside them; `most` instants.
CREATE FUNCTION compare_zones(the_day date, most int DEFAULT 1000000) RETURNS TABLE (compared bigint, came_true bigint) LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[] := (SELECT array_agg(contact_id) FROM marketing_internal.contact);
	the_rule zone_rule;
	wrong text;
BEGIN
	PERFORM live_on(the_day);
	compared := 0;
	came_true := 0;
	CREATE TEMP TABLE moments ON COMMIT DROP AS
		SELECT at FROM (SELECT DISTINCT s(the_day + d, tz) + m * interval '1 microsecond' AS at
			FROM people CROSS JOIN generate_series(0, 1) AS d CROSS JOIN generate_series(-1, 0) AS m) AS i ORDER BY hashtext(at::text) LIMIT most;
	CREATE TEMP TABLE answers (n timestamptz, id bigint, truth boolean, until timestamptz, expected boolean) ON COMMIT DROP;
	FOR the_rule IN SELECT * FROM zone_rule LOOP
		TRUNCATE answers;
		EXECUTE format($q$ INSERT INTO answers
			SELECT i.at, p.id, t.truth, t.until, x.expected FROM moments AS i
			CROSS JOIN LATERAL marketing_internal.rule_truth(%L, 'UTC', i.at, $1) AS t
			JOIN marketing_internal.contact_key AS k ON k.contact_id = t.contact_id JOIN people AS p ON p.id = k.external_id::bigint
			CROSS JOIN LATERAL (SELECT p.tz AS z, i.at AS n, (i.at AT TIME ZONE p.tz)::date AS today) AS now
			CROSS JOIN LATERAL (
				WITH e AS (SELECT v.at FROM visits AS v WHERE v.person = p.id AND v.at <= i.at),
				y AS (SELECT (p.birth + make_interval(years => g - extract(year FROM p.birth)::int))::date AS day
					FROM generate_series(extract(year FROM now.today)::int - 1, extract(year FROM now.today)::int + 1) AS g)
				SELECT coalesce(%s, false) AS expected) AS x $q$, the_rule.rule, the_rule.expected) USING ids;
		SELECT format('%s in %s at %s', truth, tz, n) INTO wrong FROM answers JOIN people USING (id) WHERE truth <> expected LIMIT 1;
		IF wrong IS NOT NULL THEN
			RAISE EXCEPTION '%: %', the_rule.rule, wrong;
		END IF;
		-- What holds until later than the next instant asked for is the same there.
		SELECT format('%s in %s at %s until %s', truth, tz, n, until) INTO wrong FROM (
			SELECT *, lead(truth) OVER w AS then_truth, lead(n) OVER w AS then FROM answers WINDOW w AS (PARTITION BY id ORDER BY n)) AS a JOIN people USING (id)
		WHERE until <= n OR until > a.then AND truth <> then_truth LIMIT 1;
		IF wrong IS NOT NULL THEN
			RAISE EXCEPTION '%: %, but not so long', the_rule.rule, wrong;
		END IF;
		compared := compared + (SELECT count(*) FROM answers);
		came_true := came_true + (SELECT count(*) FROM answers WHERE truth);
	END LOOP;
	DROP TABLE moments, answers;
	RETURN NEXT;
END $$;
