-- 61_journey_insight: what journeys would have done.

CREATE FUNCTION marketing.simulate_journey(name text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	contacts text[] DEFAULT NULL, journey text DEFAULT NULL)
	RETURNS TABLE (contact text, run bigint, at timestamptz, step text, what text, detail text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_simulate_journey';
COMMENT ON FUNCTION marketing.simulate_journey(text, timestamptz, timestamptz, text[], text) IS
	'What the newest version of a journey would have done with the facts of since (30 days before until) to until (now, which is also the latest), if it had been activated at since with nobody inside: the lines explain_enrollment() would show, and what would have become of each message (message, deferred, sent, not sent). Later rules see what its steps have done. Sends and changes nothing, so it works in a READ ONLY transaction and on a standby. Nobody is taken to open or click but who did so with a message of this journey''s step in truth. contacts: only these; for a journey that is entered by enroll() alone, who enters at since. journey: the name it goes by (splits, holdout, openings of its messages), its own unless given. A name that begins with { is a definition. Errors: 22023 for times, MA051 unknown journey, MA050 a definition with errors.';

CREATE FUNCTION marketing.simulate_journey(definition jsonb, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	contacts text[] DEFAULT NULL, journey text DEFAULT NULL)
	RETURNS TABLE (contact text, run bigint, at timestamptz, step text, what text, detail text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_simulate_journey';
COMMENT ON FUNCTION marketing.simulate_journey(jsonb, timestamptz, timestamptz, text[], text) IS
	'The same for a definition that nobody has defined. journey: the name it goes by, so that splits and the holdout take the same contacts.';

CREATE FUNCTION marketing.simulate_journey_counts(name text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS TABLE (step text, what text, reason text, runs bigint, contacts bigint, first_at timestamptz, last_at timestamptz)
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	BEGIN ATOMIC
		SELECT s.step, s.what, CASE WHEN s.what OPERATOR(pg_catalog.=) ANY ('{"not sent",deferred,refused,exited,branch,split,test,woken,parked}') THEN s.detail END,
			pg_catalog.count(DISTINCT (s.contact, s.run)), pg_catalog.count(DISTINCT s.contact), pg_catalog.min(s.at), pg_catalog.max(s.at)
		FROM marketing.simulate_journey($1, $2, $3) AS s GROUP BY 1, 2, 3 ORDER BY 6, 1, 2, 3;
	END;
COMMENT ON FUNCTION marketing.simulate_journey_counts(text, timestamptz, timestamptz) IS
	'simulate_journey() counted: for each step and what happened there (with its reason: who was skipped by which cap, which path was taken), how many runs and contacts, first and last.';

CREATE FUNCTION marketing.simulate_journey_counts(definition jsonb, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	journey text DEFAULT NULL)
	RETURNS TABLE (step text, what text, reason text, runs bigint, contacts bigint, first_at timestamptz, last_at timestamptz)
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	BEGIN ATOMIC
		SELECT s.step, s.what, CASE WHEN s.what OPERATOR(pg_catalog.=) ANY ('{"not sent",deferred,refused,exited,branch,split,test,woken,parked}') THEN s.detail END,
			pg_catalog.count(DISTINCT (s.contact, s.run)), pg_catalog.count(DISTINCT s.contact), pg_catalog.min(s.at), pg_catalog.max(s.at)
		FROM marketing.simulate_journey($1, $2, $3, NULL, $4) AS s GROUP BY 1, 2, 3 ORDER BY 6, 1, 2, 3;
	END;
COMMENT ON FUNCTION marketing.simulate_journey_counts(jsonb, timestamptz, timestamptz, text) IS
	'The same for a definition that nobody has defined.';

CREATE FUNCTION marketing.simulate_journey_difference(name text, definition jsonb, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS TABLE (step text, what text, reason text, runs_before bigint, runs_after bigint, difference bigint)
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	BEGIN ATOMIC
		SELECT COALESCE(b.step, a.step), COALESCE(b.what, a.what), COALESCE(b.reason, a.reason), COALESCE(b.runs, 0), COALESCE(a.runs, 0),
			COALESCE(a.runs, 0) OPERATOR(pg_catalog.-) COALESCE(b.runs, 0)
		FROM marketing.simulate_journey_counts($1, $3, $4) AS b
		FULL JOIN marketing.simulate_journey_counts($2, $3, $4, $1) AS a
		ON ROW(COALESCE(b.step, ''), b.what, COALESCE(b.reason, '')) OPERATOR(pg_catalog.=) ROW(COALESCE(a.step, ''), a.what, COALESCE(a.reason, ''))
		ORDER BY LEAST(b.first_at, a.first_at), 1, 2, 3;
	END;
COMMENT ON FUNCTION marketing.simulate_journey_difference(text, jsonb, timestamptz, timestamptz) IS
	'What a new definition would have changed: the counts of the journey as it is (its newest version) and of the definition, over the same facts, with the same contacts in splits and holdout. Who is concerned tells simulate_journey() of the one EXCEPT that of the other.';

CREATE FUNCTION marketing.check_journey(definition jsonb, name text DEFAULT NULL)
	RETURNS TABLE (kind text, place text, problem text, hint text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_check_journey';
COMMENT ON FUNCTION marketing.check_journey(jsonb, text) IS
	'What is wrong with a definition, without defining it: kind form (what doc/journey.schema.json tells too) and name (what it names is not there, a rule cannot be read) are errors of define_journey(); warning is what nobody can have meant: a step that is never reached, a path that is never taken, a loop without a wait, a variable of a template that the entry never sets, more messages than a cap lets through. define_journey() gives the warnings as notices. name: of the journey, for steps that enroll into it.';

CREATE FUNCTION marketing.journey_report(name text, by text DEFAULT 'step')
	RETURNS TABLE (part text, runs bigint, sent bigint, not_sent bigint, opened bigint, clicked bigint, completed bigint, exited bigint,
		goals bigint, value numeric, currency text, first_at timestamptz, last_at timestamptz)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_journey_report';
COMMENT ON FUNCTION marketing.journey_report(text, text) IS
	'What a journey has done, by step (in the order of the journey; runs: those with a line in the log there), version, week (ISO, in the database''s zone, each thing in the week it happened), channel or variant (the path of a split, the variant of a test: their runs with what became of them, and of a test''s messages its own): runs, messages that were sent and that were not, those opened and clicked by people, runs completed and exited, goals reached with their value (null where there are several currencies), the first and the last of it all. Errors: 22023 for another by, MA051 unknown journey.';

CREATE FUNCTION marketing.journey_diagram(name text, format text DEFAULT 'mermaid') RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_journey_diagram';
COMMENT ON FUNCTION marketing.journey_diagram(text, text) IS
	'A journey (the version that takes entries, else the draft) as the source of a picture, in Mermaid or in DOT, with how many runs are at each step now and how they ended. Errors: 22023 for another format, MA051 unknown journey.';

CREATE FUNCTION marketing.stuck_enrollments(name text DEFAULT NULL)
	RETURNS TABLE (journey text, contact text, run bigint, step text, since timestamptz, reason text)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_stuck_enrollments';
COMMENT ON FUNCTION marketing.stuck_enrollments(text) IS
	'Runs that do not go on, of one journey or of all: parked by an error (retry_enrollment), due for more than five minutes, or waiting for a message that is gone. Journeys that are paused are left out. Reads all runs.';
