-- golden_liquid.sql: runs the cases of a public Liquid suite (psql variable content: its JSON) and
-- returns those that fail, then the totals. A case is a template, data, perhaps snippets ("templates"),
-- and its result, one of several results, or that it is an error ("invalid").
SET timezone = 'UTC';
SET client_min_messages = error;
CREATE TEMP TABLE golden AS
	SELECT row_number() OVER () AS n, t FROM json_array_elements((:'content'::json)->'tests') AS t;
CREATE FUNCTION pg_temp.golden_case(t json) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	snippet record;
	shown text;
BEGIN
	PERFORM marketing.drop_snippet(name) FROM marketing_internal.snippet;
	FOR snippet IN SELECT * FROM json_each_text(t->'templates') LOOP
		PERFORM marketing.define_snippet(snippet.key, snippet.value);
	END LOOP;
	shown := marketing.render_liquid(t->>'template', coalesce(t->'data', '{}')::jsonb);
	IF coalesce((t->>'invalid')::boolean, false) THEN
		RETURN format('no error but %L', shown);
	ELSIF shown = t->>'result' OR shown IN (SELECT json_array_elements_text(t->'results')) THEN
		RETURN NULL;
	END IF;
	RETURN format('%L', shown);
EXCEPTION WHEN OTHERS THEN
	RETURN CASE WHEN sqlstate NOT IN ('MA030', 'MA031') OR NOT coalesce((t->>'invalid')::boolean, false)
		THEN sqlstate || ' ' || sqlerrm END;
END $$;
CREATE TEMP TABLE outcome AS
	SELECT n, t->>'name' AS name, pg_temp.golden_case(t) AS fault FROM golden ORDER BY n;
SELECT name || E'\t' || replace(fault, E'\n', ' ') FROM outcome WHERE fault IS NOT NULL ORDER BY n;
SELECT E'total\t' || count(*) FILTER (WHERE fault IS NULL) || E'\t' || count(*) FROM outcome;
