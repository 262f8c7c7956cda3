-- render.sql: templates made at random of pieces of the language, rendered with data at random, in the
-- server: psql -v n=100000 -f test/fuzz/render.sql, against a database with the extension. Whatever they
-- are, the answer is a text or an error of the template or its data, in bounded time; the last column of the
-- result must be empty. The same seed gives the same templates.
\if :{?n}
\else
\set n 100000
\endif
SET client_min_messages = warning;
SET statement_timeout = 0;
SELECT setseed(0.5) \gset
CREATE TEMP TABLE pieces AS SELECT row_number() OVER () AS i, p FROM unnest(ARRAY[
	'{{ a }}', '{{ a.b[c] | ', ' | append: b', ' | slice: -3, 2', ' }}', '{% if a contains b %}', '{% elsif c > 1 %}', '{% else %}', '{% endif %}', '{% unless d %}', '{% endunless %}',
	'{% for x in a limit: 3 offset: continue reversed %}', '{{ forloop.index }}{{ x }}', '{% break %}', '{% continue %}', '{% endfor %}', '{% case a %}', '{% when 1, "x" or nil %}', '{% endcase %}',
	'{% assign a = b | split: "," %}', '{% capture c %}', '{% endcapture %}', '{% increment a %}', '{% cycle "x", a %}', '{% tablerow x in (1..c) cols: 2 %}', '{% endtablerow %}', '{%- liquid', E'\n echo a | times: c', ' -%}',
	'{% raw %}', '{% endraw %}', '{% comment %}', '{% endcomment %}', '{% render "x", a: b %}', '{% include a %}', '{% abort a %}', '{% ifchanged %}', '{% endifchanged %}', '<a href="', '">', '<script>', '</script>', '<style>', '<!--', '-->', ' title=',
	'{{ a | sort | uniq | join: d | truncate: 5 | upcase }}', '{{ a | where: "b", c | map: "b" | sum }}', '{{ a | date: "%c %e %-d %^B %N" }}', '{{ c | divided_by: d | round: 2 | money: "EUR", "de" }}', '{{ b | url_encode | base64_encode | json | raw }}',
	'{{ b | strip_html | newline_to_br | escape_once | replace: "a", b | truncatewords: c }}', '{{ a | first | default: b, allow_false: true }}', '{{ (1..c) | reverse | concat: a | size }}', '{{ a | find: "b", 1 }}', '{{ b | base64_decode }}', '{{ b | url_decode }}',
	'{{', '}}', '{%', '%}', '-', '|', ':', '"', '''', ' ', E'\n', 'ü', '😀', '[', ']', '(', '..', ')', 'a.b', 'nil', 'blank', '1.5', '99999999999999999999', '-1']) AS p;
CREATE TEMP TABLE data AS SELECT row_number() OVER () AS i, d::jsonb AS d FROM unnest(ARRAY['{}', '{"a": [1, 2, [3, {"b": "x"}]], "b": "a,b<c>&d", "c": 3, "d": 0}',
	'{"a": "2026-11-22 10:00", "b": "%zz%C3", "c": -1, "d": null}', '{"a": {"b": {"x": [true, false, null]}}, "b": "bnVsbA==", "c": "b", "d": 1e30}', '{"a": [], "b": "", "c": 9223372036854775807, "d": -9223372036854775808}',
	'{"a": [{"b": 1}, {"b": "1"}, {}], "b": "ğüşiöç 😀", "c": 0.1, "d": [[[[]]]]}']) AS d;
CREATE FUNCTION pg_temp.attempt(source text, data jsonb, escape text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM marketing.render_liquid(source, data, escape);
	RETURN 'rendered';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE WHEN SQLSTATE IN ('MA030', 'MA031') OR SQLSTATE LIKE '22%' THEN SQLSTATE ELSE 'UNEXPECTED ' || SQLSTATE || ' ' || SQLERRM || ' in ' || source END;
END $$;
CREATE TEMP TABLE results AS
	SELECT pg_temp.attempt(s.source, d.d, CASE WHEN s.i % 2 = 0 THEN 'html' ELSE 'none' END) AS result
	FROM (SELECT g AS i, (SELECT string_agg(p.p, '' ORDER BY r.n) FROM (SELECT n, (random() * 77)::int + 1 + g * 0 AS k FROM generate_series(1, 2 + g % 14) AS n) AS r JOIN pieces AS p ON p.i = r.k) AS source, 1 + (random() * 5)::int AS k
		FROM generate_series(1, :n) AS g) AS s JOIN data AS d ON d.i = s.k;
SELECT count(*) AS templates, count(*) FILTER (WHERE result = 'rendered') AS rendered, count(*) FILTER (WHERE result = 'MA030') AS wrong, count(*) FILTER (WHERE result LIKE 'MA031' OR result LIKE '22%') AS failed,
	min(result) FILTER (WHERE result LIKE 'UNEXPECTED%') AS unexpected FROM results;
